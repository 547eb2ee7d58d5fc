"""A look at a folder of records: `mmv_tf inspect`."""

import os
import sys
import time

from mmv_tf import __version__
from mmv_tf.common import command

_MOST_PRINTED = 10_000  # problems; a dataset.json can name as many shards as it likes
_EXAMPLES = """
examples:
  mmv_tf inspect verify records/                       # exit status 0, or 1 and a line for each thing that is wrong
  mmv_tf inspect show records/ --output page.html      # a page of clips and statistics
"""
_THEN = """mmv_tf train --gin_file=gin/fac.gin --workdir=runs/fac --gin_param="TRAIN_DATA='records/train-*'\""""


def _parser():
    parser = command.parser("inspect", main.__doc__, _THEN, _EXAMPLES)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="look", required=True)
    verify = commands.add_parser("verify", help="check every byte and record; exit status 1 names what is wrong")
    verify.add_argument("records", help="folder with dataset.json and shards; without dataset.json, shards alone")
    verify.add_argument("--decode", action="store_true", help="decode every frame, not only look at its header")
    show = commands.add_parser("show", help="write a page with clips and statistics")
    show.add_argument("records", help="folder of records")
    show.add_argument("--key", action="append", default=[], help="show this clip (repeatable); default: a sample")
    show.add_argument("--contains", default="", help="a sample of clips with this in key, file, narration or label")
    show.add_argument("--videos", help="folder of the videos, to which clips are linked")
    show.add_argument("--split", help="look at this split only")
    show.add_argument("--number", type=int, default=24, help="clips of the sample (default: %(default)s)")
    show.add_argument("--max_shards", type=int, help="look at so many shards only, spread over the set")
    show.add_argument("--vocabulary", help="file of words: which share of the narrations is not in it?")
    show.add_argument("--output", default="page.html", help="file to write (default: %(default)s)")
    for look in (verify, show):
        look.add_argument("--processes", type=int, default=os.cpu_count(), help="default: one a core")
    return parser


def main(argv=None) -> int:
    """Looks at a folder of records: is it whole, and what is in it?

    Returns the exit status: 0, or 1 where `verify` finds something wrong.
    """
    args = _parser().parse_args(argv)
    return {"verify": _verify, "show": _show}[args.look](args)


def _verify(args) -> int:
    from mmv_tf.inspection import folder as folders
    from mmv_tf.inspection.verify import verify

    began = time.monotonic()
    folder = folders.read(args.records)
    if folder.card is None:
        print(
            f"{args.records}: no dataset.json, so that counts, checksums, labels and the places of keys cannot be "
            "checked; only the records themselves are",
            file=sys.stderr,
        )
    found = verify(folder, args.decode, args.processes)
    for problem in found.problems[:_MOST_PRINTED]:
        print(problem)
    if (more := len(found.problems) - _MOST_PRINTED) > 0:
        print(f"and {more} more problems")
    records, size = (sum(getattr(shard, name) for shard in found.shards) for name in ("records", "bytes"))
    what = f"{records} records in {len(found.shards)} shards, {size / 1e6:.1f} MB, {time.monotonic() - began:.1f} s"
    print(f"{args.records}: {what}: " + (f"{len(found.problems)} PROBLEMS" if found.problems else "everything holds"))
    return 1 if found.problems else 0


def _show(args) -> int:
    from mmv_tf.beam.sources import paths
    from mmv_tf.inspection.show import show

    if args.number < 0 or args.max_shards is not None and args.max_shards < 1:
        raise ValueError("--number must be at least 0, and --max_shards at least 1")
    if args.key and args.contains:
        raise ValueError("--key and --contains: a clip is chosen by one of them")
    if args.videos:
        paths.check_root("--videos", args.videos)
    limits = (args.split, args.key, args.number, args.max_shards)
    show(args.records, args.output, *limits, args.vocabulary, args.processes, args.contains, args.videos)
    print(args.output)
    return 0


def cli(argv=None) -> int:
    return command.run(main, argv)


if __name__ == "__main__":
    raise SystemExit(cli())
