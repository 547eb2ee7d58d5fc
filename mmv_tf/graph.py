"""The modality graph of a configuration: `mmv_tf graph`."""

from mmv_tf.common import command


def main(argv=None):
    """Prints and draws the graph that a gin file means."""
    from mmv_tf.common import config

    parser = command.parser("graph", main.__doc__, "mmv_tf counts --gin_file=gin/fac.gin")
    config.add_arguments(parser)
    parser.add_argument("--output", default="graph.svg", help="where the drawing is written (default: %(default)s)")
    args = parser.parse_args(argv)
    config.parse(args.gin_file, args.gin_param)
    from mmv_tf.common import files
    from mmv_tf.model import graph_drawing
    from mmv_tf.model.graph import Graph

    graph = Graph()
    print(graph.describe())
    files.write_text(args.output, graph_drawing.svg(graph))
    print(f"drawing: {args.output}")


def cli(argv=None) -> int:
    return command.run(main, argv)


if __name__ == "__main__":
    raise SystemExit(cli())
