"""Pretraining: `mmv_tf train`. What happens is in training/run.py, read from top to bottom."""

import contextlib

from mmv_tf.common import command, lock, paths, quiet

_THEN = """mmv_tf evaluate --workdir=runs/fac --gin_file=gin/evals/ucf101.gin --gin_param="RECORDS='ucf101'"
  mmv_tf export --workdir=runs/fac --output=exported/fac"""
_EXAMPLE = """
examples (your own videos, with numbers that fit them; the paper, CPU-sized by gin/models/tiny.gin in addition):
  mmv_tf train --gin_file=gin/own.gin --workdir=runs/own --gin_param="TRAIN_DATA='records/train-*'"
  mmv_tf train --gin_file=gin/fac.gin --workdir=runs/fac --gin_param="TRAIN_DATA='records/train-*'"
"""


def main(argv=None):
    """Trains an MMV from a gin configuration; the same command goes on where an earlier one stopped."""
    from mmv_tf.common import config
    from mmv_tf.training import strategies

    parser = command.parser("train", main.__doc__, _THEN, _EXAMPLE)
    parser.add_argument(
        "--workdir", type=paths.argument, required=True, help="folder of the run; the same command again goes on there"
    )
    parser.add_argument("--mode", choices=["train", "init"], default="train", help="init: write the untrained network")
    strategies.add_arguments(parser)
    config.add_arguments(parser)
    args = parser.parse_args(argv)
    config.check_run(None, args.gin_file, args.gin_param)
    # The strategy first: several processes must meet before any of them runs an operation.
    quiet.devices()
    strategy = strategies.from_flags(args)
    from mmv_tf.common import batches
    from mmv_tf.diagnosis import device
    from mmv_tf.training import own

    if strategies.on_one_machine(strategy):
        quiet.start()
        print(*device.lines(strategy.num_replicas_in_sync), sep="\n", flush=True)
    if batches.keep_freed_memory() and strategies.is_chief(strategy):
        print("memory that a step frees is kept for the next", flush=True)
    chosen = own.bindings(args.gin_file, args.gin_param, args.workdir, strategy)
    config.parse(args.gin_file, [*chosen, *args.gin_param])
    from mmv_tf.training.preemption import exit_when_preempted
    from mmv_tf.training.run import train

    # Of several machines one writes what is not a checkpoint.
    held = lock.folder(args.workdir, "train") if strategies.is_chief(strategy) else contextlib.nullcontext()
    with held, exit_when_preempted("the checkpoint is written"), strategies.lost_worker_in_one_line(strategy):
        train(args.workdir, strategy, args.mode)


def cli(argv=None) -> int:
    return command.run(main, argv)


if __name__ == "__main__":
    raise SystemExit(cli())
