"""All results of one or several networks on one page, beside the paper's tables: `mmv_tf report`."""

import os

from mmv_tf.common import command

_MORE = """
--results is a workdir (its folder results/), a folder of results, or one file that `mmv_tf evaluate` wrote with a gin
file such as gin/evals/ucf101.gin. The page shows each published table with our rows in it, every result with its
baselines, whether differences between networks on the same clips are outside noise, training curves, and examples of
retrieval.
"""


def main(argv=None):
    """Writes all results of one or several networks on one page, beside the paper's tables."""
    parser = command.parser("report", main.__doc__, "mmv_tf export --workdir=runs/fac --output=exported/fac", _MORE)
    parser.add_argument("--results", action="append", required=True, metavar="PLACE", help="repeatable")
    parser.add_argument("--output", default="report.html", help="file to write (default: %(default)s)")
    args = parser.parse_args(argv)
    from mmv_tf.common import files
    from mmv_tf.evaluation import report_page, results

    found = results.gather(args.results)
    files.write_text(args.output, report_page.render(found))
    networks = len(report_page.network_names(found))
    print(f"{os.path.abspath(args.output)}: {len(found)} results of {networks} networks")


def cli(argv=None) -> int:
    return command.run(main, argv)


if __name__ == "__main__":
    raise SystemExit(cli())
