"""Parameters and multiply-adds of every part of a configured model: `mmv_tf counts`."""

from mmv_tf.common import command


def main(argv=None):
    """Prints the parameters and multiply-adds of a configured model, part by part."""
    from mmv_tf.common import config

    parser = command.parser("counts", main.__doc__, "mmv_tf train --gin_file=gin/fac.gin --workdir=runs/fac")
    config.add_arguments(parser)
    args = parser.parse_args(argv)
    config.parse(args.gin_file, args.gin_param)
    from mmv_tf.model import cost

    inputs, counts = cost.of_configuration()
    for modality, spec in inputs.items():
        print(f"{modality}: one input is {spec.shape.as_list()}")
    print(cost.table(counts))


def cli(argv=None) -> int:
    return command.run(main, argv)


if __name__ == "__main__":
    raise SystemExit(cli())
