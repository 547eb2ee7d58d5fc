"""Deflation (paper section 3.3): `mmv_tf deflate`. One trained network for video and for images.

The image network is the video network with its kernels summed over time: what remains for a clip whose frames are all
alike, but for the zeros beyond the two ends of the clip. For those it gets scales and offsets of its own, trained to
make of an image what the video network makes of it, repeated. No labels are needed. The same command goes on where an
earlier one stopped. All that it finds is in WORKDIR/deflated; deflation/network.py and the export use it.
"""

import os

from mmv_tf.common import command, lock, paths, quiet

_EXAMPLE = """
example:
  mmv_tf deflate --workdir=runs/fac --gin_file=gin/deflate.gin
"""


def main(argv=None):
    """Makes an image network of the video network of a workdir, trains and measures it."""
    from mmv_tf.common import config

    parser = command.parser("deflate", main.__doc__, "mmv_tf export --workdir=runs/fac --output=exported/fac", _EXAMPLE)
    parser.add_argument(
        "--workdir", type=paths.argument, required=True, help="folder of a trained run; the result is in its deflated/"
    )
    parser.add_argument("--images", action="append", default=[], metavar="FOLDER_OR_PATTERN", help="JPEG or PNG files")
    parser.add_argument("--records", action="append", default=[], metavar="PATTERN", help="records, for their frames; "
        "default: those of the run, if there are no --images")  # fmt: skip
    parser.add_argument("--held_out", metavar="IMAGES_OR_RECORDS", help="to measure with; default: a part of the above")
    parser.add_argument("--retrieval", metavar="PATTERN", help="records in which sound and text are found by image; "
        "default: test or validation records beside those of the run; '' for none")  # fmt: skip
    config.add_arguments(parser)
    args = parser.parse_args(argv)
    config.check_run(args.workdir, args.gin_file, args.gin_param)
    quiet.start()
    from mmv_tf.common import batches
    from mmv_tf.deflation import page, run
    from mmv_tf.deflation.network import FOLDER
    from mmv_tf.training.preemption import exit_when_preempted

    batches.keep_freed_memory()
    with lock.folder(os.path.join(args.workdir, FOLDER), "deflate"), exit_when_preempted("the state is saved"):
        result = run.deflate_workdir(
            args.workdir, args.gin_file, args.gin_param, args.images, args.records, args.held_out, args.retrieval
        )
    print(page.as_text(result), flush=True)
    print(f"the image network is in {os.path.join(args.workdir, FOLDER)}; index.html there shows this report")


def cli(argv=None) -> int:
    return command.run(main, argv)


if __name__ == "__main__":
    raise SystemExit(cli())
