"""The modality graph of a configuration, printed and drawn."""


def main(argv=None):
    """Prints and draws the graph that a gin file means."""
    import argparse

    from mmv_tf.common import config
    from mmv_tf.model import graph_drawing
    from mmv_tf.model.graph import Graph

    parser = argparse.ArgumentParser(prog="python -m mmv_tf.graph", description=main.__doc__)
    config.add_arguments(parser)
    parser.add_argument("--output", default="graph.svg", help="where the drawing is written (SVG)")
    args = parser.parse_args(argv)
    config.parse(args.gin_file, args.gin_param)
    graph = Graph()
    print(graph.describe())
    with open(args.output, "w", encoding="utf-8") as file:
        file.write(graph_drawing.svg(graph))
    print(f"drawing: {args.output}")


def cli(argv=None):
    from mmv_tf.common.command import run

    return run(main, argv)


if __name__ == "__main__":
    raise SystemExit(cli())
