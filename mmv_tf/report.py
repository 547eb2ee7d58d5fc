"""All results of one or several networks on one page, beside the paper's tables.

    python -m mmv_tf.report --results runs/fac --results runs/va --output report.html

`--results` is a workdir (its folder results/), a folder of results, or one file that `python -m mmv_tf.evaluate` wrote.
The page shows each published table with our rows in it, every result with its baselines, whether differences between
networks on the same clips are outside noise, training curves, and examples of retrieval.
"""

import argparse
import os
import pathlib
import sys

if __name__ == "__main__":
    from mmv_tf.report import cli

    raise SystemExit(cli())


def gather(places: list[str]) -> list[dict]:
    """The results of workdirs, folders and files, checked; each with its 'path'.

    Raises:
      ValueError: a place without results, or a result that is not whole (a missing baseline above all); names it.
    """
    from mmv_tf.evaluation import results

    paths = {}
    for place in map(pathlib.Path, places):
        if not place.exists():
            raise ValueError(f"--results {place}: no such file or folder")
        folder = place / "results" if (place / "results").is_dir() else place
        found = [place] if place.is_file() else sorted(folder.glob("*.json"))
        if not found:
            how = f"`python -m mmv_tf.evaluate --workdir {place} --gin_file=gin/evals/NAME.gin` makes one"
            raise ValueError(f"--results {place}: no result in it; {how}")
        paths |= dict.fromkeys(found)
    return [results.read(str(path)) | {"path": str(path)} for path in paths]


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m mmv_tf.report", description=__doc__.split("\n\n")[0])
    parser.add_argument("--results", action="append", required=True, metavar="PLACE", help="repeatable")
    parser.add_argument("--output", default="report.html", help="file to write (default: %(default)s)")
    args = parser.parse_args(argv)
    from mmv_tf.common import files
    from mmv_tf.evaluation import report_page

    try:
        found = gather(args.results)
        files.write_text(args.output, report_page.render(found))
    except (ValueError, OSError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    networks = len(report_page.network_names(found))
    print(f"{os.path.abspath(args.output)}: {len(found)} results of {networks} networks")
    return 0


def cli():
    return main()
