"""Runs the experiments of the miniature benchmark and writes their tables.

    python -m benchmarks.miniature.run a b --seeds 0 1 2

trains what the tables need (OUTPUT/runs/NAME-SEED; a run that ended with the same settings and data is not repeated,
an interrupted one goes on), measures it, and writes benchmarks/results/miniature_TABLE.json, each beside chance, the
untrained network and raw frames and sound, and README.md there. `--report` only writes what is measured already.
"""

import argparse
import json
import os
import pathlib
import sys

from benchmarks.miniature import tables
from benchmarks.miniature.experiments import ORDER, SHOTS, TABLES
from demo.run import python
from demo.stages import Runner, Stage, StageError, with_includes

ROOT = pathlib.Path(__file__).resolve().parents[2]
HERE = pathlib.Path(__file__).resolve().parent
DATA = pathlib.Path("build/miniature")
RESULTS = ROOT / "benchmarks" / "results"
UNTRAINED = "untrained"


def gin(name: str, data: pathlib.Path) -> list[str]:
    """Arguments for a training command: the gin file, and where the data is if not where the file says."""
    given = [f"--gin_file=gin/miniature/{name}.gin"]
    if data != DATA:
        given += [f"--gin_param={split.upper()}='{data}/records/{split}-*'" for split in ("narrated", "plain")]
        given += [f"--gin_param=VOCABULARY='{data}/vocabulary.txt'"] * (name != "va")
    return given


def train_stages(name: str, seed: int, data: pathlib.Path) -> tuple[pathlib.Path, list[Stage]]:
    """The folder of a run, and the stages that train it and measure it."""
    run = data / "runs" / f"{name}-{seed}"
    source = "fac" if name == UNTRAINED else name
    files = [ROOT / file for file in with_includes(pathlib.Path(f"gin/miniature/{source}.gin"), ROOT) if file.is_file()]
    mode = ["--mode=init"] if name == UNTRAINED else []
    train = python("mmv_tf.train", *gin(source, data), f"--gin_param=train.seed = {seed}", f"--workdir={run}", *mode)
    measure = python("benchmarks.miniature.measure", "--workdir", run, "--data", data)
    if name == UNTRAINED:
        measure.append("--baselines")
    code = [HERE / file for file in ("measure.py", "embeddings.py", "words.py", "scenes.py")]
    return run, [
        Stage("train", f"{run.name}", train, outputs=[run], inputs=files, goes_on=not mode,
              facts=[(data / "statistics.json").read_text("utf-8")]),
        Stage("measure", f"{run.name}", measure, outputs=[run / "miniature.json"], inputs=code),
    ]  # fmt: skip


def image_stages(run: pathlib.Path, data: pathlib.Path) -> list[Stage]:
    """What table (c) needs of a run."""
    measured = Stage("images", f"{run.name}", python("benchmarks.miniature.images", "--workdir", run, "--data", data),
                     outputs=[run / "images.json"], inputs=[HERE / "images.py"])  # fmt: skip
    if run.name.startswith(UNTRAINED):
        measured.command.append("--untrained")
        return [measured]
    command = python("mmv_tf.deflate", f"--workdir={run}", "--gin_file=gin/miniature/deflate.gin", "--retrieval=")
    return [Stage("deflate", f"{run.name}", command, expected=[run / "deflated" / "report.json"], goes_on=True,
                  inputs=[ROOT / "gin/miniature/deflate.gin"]), measured]  # fmt: skip


def few_label_stages(run: pathlib.Path, seed: int, data: pathlib.Path) -> list[Stage]:
    """What table (e) needs of a run: fine-tuning of it and of fresh weights, by mmv_tf.evaluate."""
    stages, file = [], "gin/miniature/few_labels.gin"
    for shots in SHOTS:
        output = run / "results" / f"few_labels_{shots}.json"
        command = python("mmv_tf.evaluate", f"--workdir={run}", f"--gin_file={file}", f"--output={output}")
        command += [f"--gin_param=FineTune.clips_per_class = {shots}", f"--gin_param=RECORDS='{data}/records'"]
        command += [f"--gin_param=FineTune.seeds = ({seed},)"]
        stages.append(Stage(f"few-labels-{shots}", f"{run.name}", command, outputs=[output], inputs=[ROOT / file]))
    return stages


def needed(table: str, seeds, data: pathlib.Path) -> dict[pathlib.Path, list[Stage]]:
    """{folder of a run: its stages} for a table, seed by seed, baselines first."""
    names = [UNTRAINED, "fac"] if table in "ce" else [UNTRAINED, *dict.fromkeys(TABLES[table].rows.values())]
    found = {}
    for seed in seeds:
        for name in names:
            run, stages = train_stages(name, seed, data)
            if table == "c":
                stages += image_stages(run, data)
            if table == "e" and name != UNTRAINED:
                stages += few_label_stages(run, seed, data)
            found[run] = stages
    return found


def main(arguments: argparse.Namespace) -> None:
    data = pathlib.Path(arguments.data)
    if not (data / "statistics.json").is_file():
        raise StageError(f"{data} is not complete: run python -m benchmarks.miniature.make --output {data}")
    for table in sorted(arguments.tables or ORDER, key=ORDER.index):
        for run, stages in needed(table, arguments.seeds, data).items():
            # One state a run and a stage: what another table made of it stays.
            runner = Runner(run / ".stages", len(stages))
            for stage in [] if arguments.report else stages:
                runner.run(stage)
        command = f"python -m benchmarks.miniature.run {table} --seeds {' '.join(map(str, arguments.seeds))}"
        path = RESULTS / f"miniature_{table}.json"
        tables.write(path, tables.collect(table, data, arguments.seeds, command))
        tables.write_page(RESULTS)
        print(tables.markdown(json.loads(path.read_text("utf-8"))), flush=True)


def cli() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.miniature.run", description=__doc__.split("\n")[0])
    parser.add_argument("tables", nargs="*", metavar="TABLE", choices=[[], *TABLES], help=f"of {' '.join(TABLES)}; all")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--data", default=str(DATA))
    parser.add_argument("--report", action="store_true", help="run nothing, write the tables of what is measured")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        main(parser.parse_args())
    except (StageError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        raise SystemExit("interrupted; the same command goes on from here") from None


if __name__ == "__main__":
    cli()
