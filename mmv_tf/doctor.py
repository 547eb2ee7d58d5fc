"""Checkup of an installation and its machine: `mmv_tf doctor`."""

import itertools

from mmv_tf.common import command

_EXAMPLE = """
example (paste what it prints into an issue; absolute paths are left out of it):
  mmv_tf doctor --data 'records/train-*'
"""


def main(argv=None) -> int:
    """Says what is installed, what is wrong with it, how fast the machine is, and what gin/own.gin would choose."""
    parser = command.parser("doctor", main.__doc__, "mmv_tf preprocess --videos my_videos/ --output records/", _EXAMPLE)
    parser.add_argument("--data", default="", metavar="PATTERN", help="records, such as 'records/train-*', or a folder")
    parser.add_argument("--paths", action="store_true", help="leave absolute paths, user and host in what is printed")
    args = parser.parse_args(argv)
    import os

    from mmv_tf.diagnosis import checkup

    data = os.path.join(args.data, "train-*") if args.data and os.path.isdir(args.data) else args.data
    shown = str if args.paths else checkup.without_paths
    faults = 0
    for line in itertools.chain(checkup.checkup(), _numbers(data) if data else ()):
        print(shown(f"{line.name:<18}{line.value}").rstrip(), flush=True)
        if line.fault:
            faults += 1
            print(shown(f"{'':<18}WRONG: {line.fault}"), flush=True)
    print(f"{faults} thing{'s' * (faults != 1)} wrong" if faults else "nothing wrong")
    return 1 if faults else 0


def _numbers(data):
    """What gin/own.gin would choose for records."""
    import tensorflow as tf

    from mmv_tf.diagnosis import machine
    from mmv_tf.diagnosis.checkup import Line
    from mmv_tf.training import own

    try:
        records, here = own.read(data), machine.look(len(tf.config.list_physical_devices("GPU")))
        chosen = own.choose(records, here, own.Own(records=data))
    except (ValueError, OSError) as error:
        yield Line("gin/own.gin", "chooses nothing", str(error))
        return
    for number, line in enumerate(own.said(records, here, chosen)[:-1]):
        yield Line("" if number else "gin/own.gin", line.strip())


def cli(argv=None) -> int:
    return command.run(main, argv)


if __name__ == "__main__":
    raise SystemExit(cli())
