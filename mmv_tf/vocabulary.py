"""A vocabulary from the counts of dataset.json."""

import argparse
import sys


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(description="Writes the vocabulary of a folder of records.")
    parser.add_argument("--records", required=True, help="folder with dataset.json")
    parser.add_argument("--output", required=True, help="file to write, one word a line")
    parser.add_argument("--size", type=int, default=65535, help="at most so many words (default: %(default)s)")
    parser.add_argument("--min_count", type=int, default=1, help="leave out rarer words (default: %(default)s)")
    args = parser.parse_args(argv)
    from mmv_tf.records.vocabulary import from_card, write

    try:
        found = from_card(args.records, args.size, args.min_count)
        write(found, args.output)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{len(found)} words in {args.output}")
    return 0


def cli() -> None:
    """Console entry point."""
    raise SystemExit(main())


if __name__ == "__main__":
    cli()
