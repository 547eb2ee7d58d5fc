"""Evaluation by one of the paper's protocols: `mmv_tf evaluate`."""

import shlex
import sys

from mmv_tf.common import command, paths, quiet

_EXAMPLES = """
examples (a run of ours, or any SavedModel with the published signatures):
  mmv_tf evaluate --workdir=runs/fac --gin_file=gin/evals/ucf101.gin --gin_param="RECORDS='ucf101'"
  mmv_tf evaluate --module=exported/fac --gin_file=gin/evals/esc50.gin --gin_param="RECORDS='esc50'" \\
    --output=results/esc50.json
"""


def main(argv=None):
    """Measures a network by a protocol of gin/evals/, beside chance, fresh weights and raw features."""
    from mmv_tf.common import config
    from mmv_tf.export import module_files

    parser = command.parser("evaluate", main.__doc__, "mmv_tf report --results runs/fac", _EXAMPLES)
    parser.add_argument("--workdir", type=paths.argument, default="", help="folder of a training run")
    parser.add_argument(
        "--module", type=paths.argument, default="", help="folder of a SavedModel with the published signatures"
    )
    parser.add_argument(
        "--output", type=paths.argument, default="", metavar="FILE", help="result; default: WORKDIR/results/NAME.json"
    )
    parser.add_argument(
        "--cache", default="", metavar="FOLDER", help="for features; default: features/ beside the result"
    )
    module_files.add_argument(parser)
    config.add_arguments(parser)
    args = parser.parse_args(argv)
    if bool(args.workdir) == bool(args.module):
        raise ValueError("give either --workdir or --module: what is to be measured")
    if not args.gin_file and not args.gin_param:
        raise ValueError("give --gin_file=gin/evals/NAME.gin: which protocol")
    config.check_run(args.workdir or None, args.gin_file, args.gin_param)
    quiet.start()
    from mmv_tf.common import batches
    from mmv_tf.evaluation import results
    from mmv_tf.evaluation.run import evaluate
    from mmv_tf.training.preemption import exit_when_preempted

    batches.keep_freed_memory()
    typed = shlex.join(["python", "-m", "mmv_tf.evaluate", *(sys.argv[1:] if argv is None else argv)])
    with exit_when_preempted("the features so far are saved"):
        given = (args.workdir, args.module, args.gin_file, args.gin_param, args.output, args.cache, typed)
        result = evaluate(*given, args.allow_file_operations)
    print(results.table(result), flush=True)


def cli(argv=None) -> int:
    return command.run(main, argv)


if __name__ == "__main__":
    raise SystemExit(cli())
