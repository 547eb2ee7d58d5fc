"""The experiments of the miniature benchmark, and their tables.

    python -m benchmarks.miniature.run a b --seeds 0 1 2

trains what the tables need (DATA/runs/NAME-SEED; a run that ended with the same settings and data is not repeated,
an interrupted one goes on), measures it, and after each run writes benchmarks/results/miniature_TABLE.json, beside
chance, the untrained network and raw frames and sound, and README.md there; in the end DATA/index.html. All rows of the
first seed come before the second seed. `--report` only writes what is measured already.
"""

import argparse
import concurrent.futures
import hashlib
import os
import pathlib
import re
import sys
import threading
from collections.abc import Iterable, Mapping

from benchmarks.miniature import curves, make, page, tables
from benchmarks.miniature.experiments import AFTER, DATA, ORDER, SHOTS, TABLES, UNTRAINED, folder
from demo.stages import Runner, Stage, StageError, one_line_errors, python, with_includes

ROOT = pathlib.Path(__file__).resolve().parents[2]
HERE = pathlib.Path(__file__).resolve().parent
BASELINE = next(iter(UNTRAINED))
CURVES = "curves"
MEASURING = [HERE / f"{name}.py" for name in ("measure", "embeddings", "words", "scenes")]


def gin_file(name: str) -> str:
    """As a command takes it, from the root of the repository."""
    return f"benchmarks/miniature/gin/{name}.gin"


def own_vocabulary(name: str) -> list[pathlib.Path]:
    """The vocabulary of a gin file that names one of this folder, and not that of the data."""
    found = re.findall(r"^VOCABULARY = '(benchmarks/.+)'$", (ROOT / gin_file(name)).read_text("utf-8"), re.M)
    return [ROOT / path for path in found]


def gin_inputs(name: str) -> list[pathlib.Path]:
    """The file and what it includes: a stage depends on all of them."""
    return [*with_includes(ROOT / gin_file(name), ROOT), *own_vocabulary(name)]


def made_of(name: str) -> list[pathlib.Path]:
    """The gin files of a run, and of the one that it begins with."""
    name = UNTRAINED.get(name, name)
    return [*gin_inputs(name), *(gin_inputs(AFTER[name]) if name in AFTER else [])]


def gin(name: str, data: pathlib.Path) -> list[str]:
    """Arguments for a training command: the gin file, and where the data is if not where the file says."""
    given = [f"--gin_file={gin_file(name)}"]
    if data != DATA:
        given += [f"--gin_param={split.upper()}='{data}/records/{split}-*'" for split in ("narrated", "plain")]
        if not own_vocabulary(name) and any("VOCABULARY" in path.read_text("utf-8") for path in gin_inputs(name)):
            given.append(f"--gin_param=VOCABULARY='{data}/vocabulary.txt'")
    return given


def seed_of(run: pathlib.Path) -> int:
    return int(run.name.rpartition("-")[2])


def train_stage(name: str, seed: int, data: pathlib.Path, settings: Mapping | None = None, run=None) -> Stage:
    """Of a run in a folder of its own if `run` is none; `settings` are bindings beside the gin file."""
    run = run or folder(name, seed, data)
    source = UNTRAINED.get(name, name)
    more = ["--mode=init"] if name in UNTRAINED else []
    if name in AFTER:
        more.append(f"--gin_param=train.init_from = '{folder(AFTER[name], seed, data)}'")
    more += [f"--gin_param={setting} = {value}" for setting, value in (settings or {}).items()]
    command = python("mmv_tf.train", *gin(source, data), f"--gin_param=train.seed = {seed}", f"--workdir={run}", *more)
    return Stage("train", run.name, command, outputs=[run], inputs=made_of(name), goes_on=name not in UNTRAINED,
                 facts=[(data / "statistics.json").read_text("utf-8")])  # fmt: skip


def begin_stages(seeds, data: pathlib.Path) -> dict[pathlib.Path, tuple[pathlib.Path, Stage]]:
    """{folder of a run that begins with what another ended with: folder and training of that one}."""
    return {
        folder(name, seed, data): (folder(first, seed, data), train_stage(first, seed, data))
        for name, first in AFTER.items()
        for seed in seeds
    }


def measure_stage(run: pathlib.Path, data: pathlib.Path) -> Stage:
    command = python("benchmarks.miniature.measure", "--workdir", run, "--data", data)
    if run.name.startswith(BASELINE):
        command.append("--baselines")
    return Stage("measure", run.name, command, outputs=[run / "miniature.json"], inputs=MEASURING)


def curve_branches(data: pathlib.Path) -> list[tuple[pathlib.Path, list[Stage]]]:
    """The runs of the learning curves, the short ones of all rows first."""
    found = []
    for _, name, steps in curves.points():
        run = curves.folder(name, steps, data)
        train = train_stage(name, curves.SEED, data, curves.schedule(steps), run)
        command = python("benchmarks.miniature.measure", "--workdir", run, "--data", data, "--on_val")
        measured = Stage("measure", run.name, command, outputs=[run / "validation.json"], inputs=MEASURING)
        found.append((run, [train, measured]))
    return found


def image_stages(run: pathlib.Path, data: pathlib.Path) -> list[Stage]:
    """What table (c) needs of a run."""
    measured = Stage("images", run.name, python("benchmarks.miniature.images", "--workdir", run, "--data", data),
                     outputs=[run / "images.json"], inputs=[HERE / "images.py", *MEASURING])  # fmt: skip
    if run.name.startswith(BASELINE):
        measured.command.append("--untrained")
        return [measured]
    command = python("mmv_tf.deflate", f"--workdir={run}", f"--gin_file={gin_file('deflate')}", "--retrieval=")
    return [Stage("deflate", run.name, command, expected=[run / "deflated" / "report.json"], goes_on=True,
                  inputs=gin_inputs("deflate")), measured]  # fmt: skip


def few_label_stages(run: pathlib.Path, seed: int, data: pathlib.Path) -> list[Stage]:
    """What table (e) needs of a run: fine-tuning of it and of fresh weights, by mmv_tf.evaluate."""
    stages, name = [], "few_labels"
    for shots in SHOTS:
        output = run / "results" / f"few_labels_{shots}.json"
        command = python("mmv_tf.evaluate", f"--workdir={run}", f"--gin_file={gin_file(name)}", f"--output={output}")
        command += [f"--gin_param=FineTune.clips_per_class = {shots}", f"--gin_param=RECORDS='{data}/records'"]
        # The weights that it starts from without pretraining are of this seed, too.
        command += [f"--gin_param=FineTune.seeds = ({seed},)", f"--gin_param=Evaluation.untrained_seed = {seed}"]
        stages.append(Stage(f"few-labels-{shots}", run.name, command, outputs=[output], inputs=gin_inputs(name)))
    return stages


def runs_of(table: str) -> list[str]:
    """Names of the runs that a table needs, baselines first."""
    return [BASELINE, "fac"] if table in "ce" else [BASELINE, *dict.fromkeys(TABLES[table].rows.values())]


def run_name(run: pathlib.Path, data: pathlib.Path) -> str:
    """Of a folder of a run, without its seed: 'fac', 'objectives/gdt', 'curves/fac-6400'."""
    return run.relative_to(data / "runs").as_posix().rpartition("-")[0]


def branches(table: str, seeds, data: pathlib.Path) -> list[tuple[pathlib.Path, list[Stage]]]:
    """[(folder of a run, stages)] that a table needs, seed by seed, baselines first; each starts with the training."""
    found = []
    for seed in seeds:
        for name in runs_of(table):
            run, train = folder(name, seed, data), train_stage(name, seed, data)
            if table == "c":
                found.append((run, [train, *image_stages(run, data)]))
            elif table == "e":
                if name != BASELINE:
                    found.append((run, [train, *few_label_stages(run, seed, data)]))
            else:
                found.append((run, [train, measure_stage(run, data)]))
    return found


def run_all(wanted: dict[str, list], jobs: int, done, first=None) -> None:
    """Runs all branches, those of one run one after the other, `jobs` runs at the same time.

    Rows go before seeds: all runs of the first seed come first, whatever table they are for.

    Args:
      wanted: {table: its branches}.
      done: called with the name of each table that a run is for, when the run is complete.
      first: of `begin_stages`: such a run waits for the one that it begins with.
    """
    by_run: dict[pathlib.Path, dict[tuple, list[Stage]]] = {}
    tables_of: dict[pathlib.Path, list[str]] = {}
    for table, run, stages in ((table, *branch) for table, branches in wanted.items() for branch in branches):
        by_run.setdefault(run, {})[tuple(stage.name for stage in stages)] = stages
        tables_of.setdefault(run, []).append(table)
    waits = {run: (other, stage) for run, (other, stage) in (first or {}).items() if run in by_run}
    for other, stage in waits.values():
        by_run.setdefault(other, {}).setdefault((stage.name,), [stage])
        tables_of.setdefault(other, [])
    seeds = list(dict.fromkeys(seed_of(run) for run in by_run))
    stop, futures = threading.Event(), {}

    def one(run):
        if run in waits:
            futures[waits[run][0]].result()
        try:
            for stages in by_run[run].values():
                runner = Runner(run / ".stages", len(stages))
                for stage in stages:
                    if not stop.is_set():
                        runner.run(stage)
        except StageError as error:
            stop.set()  # here, before this thread takes the next run
            print(f"error: {error}\nwaiting for the stages that run beside it", file=sys.stderr, flush=True)
            raise
        return run

    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        try:
            # Who waits comes last of its seed: then what it waits for has begun.
            for run in sorted(by_run, key=lambda run: (seeds.index(seed_of(run)), run in waits)):
                futures[run] = pool.submit(one, run)
            for future in concurrent.futures.as_completed(futures.values()):
                for table in tables_of[future.result()]:
                    done(table)
        except BaseException:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def is_complete(run: pathlib.Path, stages: list[Stage]) -> bool:
    """Whether a branch was run with the settings and code that are there now."""
    runner = Runner(run / ".stages", len(stages))
    try:
        for stage in stages:
            runner.check(stage)
    except StageError:
        return False
    return True


def measured(branches: list[tuple[pathlib.Path, list[Stage]]]) -> dict[str, list[int]]:
    """{name of a run: its seeds that are complete}."""
    found: dict[str, list[int]] = {}
    for run, stages in branches:
        if is_complete(run, stages):
            found.setdefault(run.name.rpartition("-")[0], []).append(seed_of(run))
    return found


def digest(files: Iterable[pathlib.Path]) -> str:
    found = hashlib.sha256()
    for file in files:
        found.update(hashlib.sha256(file.read_bytes()).digest())
    return found.hexdigest()


def recipes(table: str) -> dict[str, str]:
    """{name of a run of a table, or row of the curves: digest of its gin files and of the code that measures it}."""
    if table == CURVES:
        return {row: digest([*made_of(name), *MEASURING]) for row, name in (curves.ROWS | curves.APART).items()}
    more = {"c": [*gin_inputs("deflate"), HERE / "images.py"], "e": gin_inputs("few_labels")}.get(table, [])
    return {name: digest([*made_of(name), *more, *MEASURING]) for name in runs_of(table)}


def main(arguments: argparse.Namespace) -> None:
    data = pathlib.Path(arguments.data)
    if unknown := set(arguments.tables) - {*TABLES, CURVES}:
        raise ValueError(f"there is no table {', '.join(sorted(unknown))}; there are {', '.join([*TABLES, CURVES])}")
    make.check_physics()
    if not (data / "statistics.json").is_file():
        raise StageError(f"{data} is not complete: run python -m benchmarks.miniature.make --output {data}")
    names = sorted(arguments.tables or ORDER, key=[*ORDER, CURVES].index)
    wanted = {
        table: curve_branches(data) if table == CURVES else branches(table, arguments.seeds, data) for table in names
    }

    if only := set(arguments.runs or ()):
        if unknown := only - {run_name(run, data) for found in wanted.values() for run, _ in found}:
            raise ValueError(f"no run of these tables is named {', '.join(sorted(unknown))}")
        wanted = {table: [one for one in found if run_name(one[0], data) in only] for table, found in wanted.items()}

    def write(table):
        file = tables.RESULTS / (f"{CURVES}.json" if table == CURVES else f"miniature_{table}.json")
        earlier = tables.read(file) if file.is_file() else None
        if table == CURVES:
            there = [run for run, stages in wanted[table] if is_complete(run, stages)]
            command = f"python -m benchmarks.miniature.run {CURVES}"
            result = curves.collect(data, there, command, recipes(table), earlier)
            curves.write(file, result)
            print(curves.markdown(result), flush=True)
            page.write_readme()
            return
        result = tables.collect(table, data, measured(wanted[table]), recipes(table), earlier)
        if not result["seeds_of"]["chance"]:
            print(f"table ({table}) waits for a run of {'fac' if table == 'e' else BASELINE!r}", flush=True)
            return
        tables.write(file, result)
        print(tables.markdown(result), flush=True)
        page.write_readme()

    if arguments.report:
        for table in names:
            write(table)
    else:
        jobs = arguments.jobs
        threads = str(max(1, (os.cpu_count() or 1) // jobs))  # each with its share of the cores
        os.environ |= {"TF_NUM_INTRAOP_THREADS": threads, "TF_NUM_INTEROP_THREADS": threads, "OMP_NUM_THREADS": threads}
        run_all(wanted, jobs, write, begin_stages(arguments.seeds, data))
    page.write(data / "index.html")
    print(f"the tables, and what is in them: {data / 'index.html'}")


def cli() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.miniature.run", description=__doc__.split("\n")[0])
    parser.add_argument(
        "tables", nargs="*", metavar="TABLE", help=f"of {' '.join(TABLES)}, or {CURVES}; all tables if none"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument(
        "--runs",
        nargs="+",
        metavar="NAME",
        help="these alone, such as vt, objectives/gdt or curves/fac-6400; other rows stay",
    )
    parser.add_argument("--data", default=str(DATA))
    parser.add_argument(
        "--jobs", type=int, default=min(os.cpu_count() or 1, 4), help="runs at the same time, of 2.5 GB each"
    )
    parser.add_argument("--report", action="store_true", help="run nothing, write the tables of what is measured")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with one_line_errors():
        main(parser.parse_args())


if __name__ == "__main__":
    cli()
