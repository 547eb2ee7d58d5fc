"""Looks at a folder of records.

python -m mmv_tf.inspect verify RECORDS             # is it whole? exit status 0, or 1 and a line for each thing wrong
python -m mmv_tf.inspect show RECORDS --output page.html   # a page of clips and statistics
"""

import argparse
import os
import sys
import time

from mmv_tf import __version__


def _parser():
    parser = argparse.ArgumentParser(prog="python -m mmv_tf.inspect", description=__doc__.split("\n\n")[0])
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    verify = commands.add_parser("verify", help="check every byte and record; exit status 1 names what is wrong")
    verify.add_argument("records", help="folder with dataset.json and shards; without dataset.json, shards alone")
    verify.add_argument("--decode", action="store_true", help="decode every frame, not only look at its header")
    show = commands.add_parser("show", help="write a page with clips and statistics")
    show.add_argument("records", help="folder of records")
    show.add_argument("--key", action="append", default=[], help="show this clip (repeatable); default: a sample")
    show.add_argument("--split", help="look at this split only")
    show.add_argument("--number", type=int, default=24, help="clips of the sample (default: %(default)s)")
    show.add_argument("--max_shards", type=int, help="look at so many shards only, spread over the set")
    show.add_argument("--vocabulary", help="file of words: which share of the narrations is not in it?")
    show.add_argument("--output", default="page.html", help="file to write (default: %(default)s)")
    for command in (verify, show):
        command.add_argument("--processes", type=int, default=os.cpu_count(), help="default: one a core")
    return parser


def main(argv=None) -> int:
    """Returns the exit status: 0, 1 (`verify`: something is wrong), 2 (the command cannot be done)."""
    args = _parser().parse_args(argv)
    try:
        return {"verify": _verify, "show": _show}[args.command](args)
    except (ValueError, OSError) as error:
        print(f"python -m mmv_tf.inspect: {error}", file=sys.stderr)
        return 2


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
    for problem in found.problems:
        print(problem)
    records, size = (sum(getattr(shard, name) for shard in found.shards) for name in ("records", "bytes"))
    what = f"{records} records in {len(found.shards)} shards, {size / 1e6:.1f} MB, {time.monotonic() - began:.1f} s"
    print(f"{args.records}: {what}: " + (f"{len(found.problems)} PROBLEMS" if found.problems else "everything holds"))
    return 1 if found.problems else 0


def _show(args) -> int:
    from mmv_tf.inspection.show import show

    if args.number < 0 or args.max_shards is not None and args.max_shards < 1:
        raise ValueError("--number must be at least 0, and --max_shards at least 1")
    show(args.records, args.output, args.split, args.key, args.number, args.max_shards, args.vocabulary, args.processes)
    print(args.output)
    return 0


def cli() -> None:
    raise SystemExit(main())


if __name__ == "__main__":
    cli()
