"""Evolution of the weights of a system's pairs: short runs, judged by Zipf's law, no labels (ELo, arXiv 2002.12177).

    python -m benchmarks.miniature.make --output build/miniature --share 0.25
    python -m benchmarks.evolve --steps 60                  # gin/systems/elo.gin, made tiny; ten minutes on two cores
    python -m benchmarks.evolve --gin_file=my.gin --weights WEIGHT_A WEIGHT_B \\
      --gin_param="TRAIN_DATA='records/train-*'" --gin_param="Probe.retrieval_data='records/val-*'" --output evolution

A weight is a macro of the gin file (`WEIGHT_A = 1.0`, and `{'weight': %WEIGHT_A}` in a pair). A candidate is a number
from 0 to 1 for each. The first one is the file as it is, scaled to 1; the others of the first generation are drawn
evenly. Later ones are children: each weight is that of one of two parents, moved a little; parents are the better half
of all candidates so far. Every candidate is a run of `mmv_tf.train` of its own, from the same weights of the network,
and its fitness the probe of the last step: how near the sizes of the clusters of held-out clips come to Zipf's law
(`Probe.zipf_clusters`, of the representation of video).

Everything is a function of --seed and of what the runs find. The same command goes on where it was stopped, in the
middle of a run too; what is found stands in OUTPUT/evolve.json. The runs of a generation are a job of Apache Beam: one
after the other here, and with its options on many machines that have this checkout and share OUTPUT and the records.
"""

import argparse
import functools
import json
import logging
import os
import pathlib
import subprocess
import sys

import numpy as np

from benchmarks.systems import GIN, OWN
from mmv_tf.common import config, files, orphans
from mmv_tf.training import outlook

ROOT = pathlib.Path(__file__).resolve().parents[1]
ELO = "gin/systems/elo.gin"
WEIGHTS = ("WEIGHT_CLIPS", "WEIGHT_SOUND", "WEIGHT_ORDER", "WEIGHT_DISTILLED")
FITNESS = "probe/zipf/video"
SPREAD = 0.2  # of what a child differs by from its parents
# `mmv_tf train`, which ends with the search, however that ends.
_TRAIN = "from mmv_tf.common import orphans; orphans.exit_with_parent(); from mmv_tf import train; exit(train.cli())"
_LINE = "{:>4}  {:<9}{:>9}  {}"


def first_generation(own: list[float], population: int, seed: int) -> list[list[float]]:
    """The weights of each candidate: `own` over the largest of them, and others that are drawn evenly from [0, 1]."""
    draws = [np.random.RandomState([seed, 0, number]).uniform(size=len(own)) for number in range(1, population)]
    return [_rounded(np.array(own) / max(own)), *map(_rounded, draws)]


def next_generation(known: list[dict], population: int, seed: int, generation: int) -> list[list[float]]:
    """The weights of each child of the candidates so far, a function of these, the seed and the generation.

    Args:
      known: [{'weights': list, 'fitness': float}] of all generations before.
    """
    best = sorted(known, key=lambda one: -one["fitness"])  # stable: of two the earlier one
    parents, children = [one["weights"] for one in best[: max(2, len(best) // 2)]], []
    for number in range(population):
        rs = np.random.RandomState([seed, generation, number])
        mother, father = (parents[i] for i in rs.choice(len(parents), 2, replace=False))
        mixed = np.where(rs.uniform(size=len(mother)) < 0.5, mother, father)
        children.append(_rounded(np.clip(mixed + SPREAD * rs.standard_normal(len(mother)), 0, 1)))
    return children


def _rounded(weights) -> list[float]:
    return [round(float(weight), 3) for weight in weights]  # so that what is printed is what was tried


def name_of(generation: int, number: int) -> str:
    return f"g{generation:02}-{number:02}"


def _command_of(settings: dict, output: str, name: str, weights: list[float]) -> list[str]:
    """The training run of a candidate."""
    given = [f"STEPS = {settings['steps']}", f"Probe.every = {settings['steps']}"]
    given += [f"Probe.zipf_clusters = {settings['clusters']}", "train.deterministic = True", *settings["gin_param"]]
    given += [f"{macro} = {weight}" for macro, weight in zip(settings["weights"], weights, strict=True)]
    arguments = [f"--gin_file={file}" for file in settings["gin_file"]] + [f"--gin_param={one}" for one in given]
    return [sys.executable, "-c", _TRAIN, f"--workdir={os.path.join(output, name)}", *arguments]


def _read(path: str):
    """What a file of JSON holds; None if there is none."""
    if files.is_remote(path):
        import tensorflow as tf

        there = tf.io.gfile.exists(path)
    else:
        there = os.path.isfile(path)
    return json.loads(files.read_text(path)) if there else None


def probes_of(output: str, name: str) -> dict[int, dict[str, float]]:
    """{step: what was found} of the run of a candidate so far."""
    return dict(_read(os.path.join(output, name, outlook.FILE)) or ())


def run_candidate(candidate: tuple, settings: dict, output: str) -> str:
    """Trains a candidate (name, weights), unless its run is complete; its name. On whatever machine Beam chooses."""
    name, weights = candidate
    if settings["steps"] in probes_of(output, name):
        return name
    command = _command_of(settings, output, name, weights)
    environment = {**os.environ, orphans.PARENT: str(os.getpid())}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
    log = os.path.join(output, f"{name}.log")
    files.write_text(log, done.stdout + done.stderr)
    if done.returncode:
        lines = [f"it ended with {done.returncode}", *done.stderr.splitlines()]
        said = [line for line in lines if line.startswith("error: ")] or lines
        raise ValueError(f"candidate {name} with the weights {weights}: {said[-1].removeprefix('error: ')} ({log})")
    return name


def run_generation(candidates: list[tuple], settings: dict, output: str, options) -> None:
    import apache_beam as beam

    from mmv_tf.beam import options as run_options

    with run_options.pipeline(options, output) as pipeline:
        made = pipeline | beam.Create(candidates) | beam.Reshuffle()
        made | beam.Map(run_candidate, settings, output)


def table(found: dict) -> str:
    """All candidates, the best one first."""
    names = found["settings"]["weights"]
    lines = [_LINE.format("rank", "run", "fitness", "  ".join(names))]
    ranked = sorted(found["candidates"], key=lambda one: -one["fitness"])
    for rank, one in enumerate(ranked, 1):
        shown = "  ".join(f"{weight:<{len(name)}}" for name, weight in zip(names, one["weights"], strict=True))
        lines.append(_LINE.format(rank, one["name"], f"{one['fitness']:.4f}", shown).rstrip())
    lines.append(
        f"{name_of(0, 0)} is the gin file as it is; untrained: {found['untrained']:.4f}; 0 is Zipf's law itself"
    )
    lines.append(" ".join(f'--gin_param="{n}={w}"' for n, w in zip(names, ranked[0]["weights"], strict=True)))
    return "\n".join(lines)


def main(arguments: argparse.Namespace, options) -> None:
    given = list(arguments.gin_param)
    if arguments.gin_file is None:
        data = os.path.abspath(arguments.data)
        patterns = {"TRAIN_DATA": "narrated", "Probe.retrieval_data": "val"}
        given = [*OWN.get("elo", ()), *(f"{n} = '{data}/records/{split}-*'" for n, split in patterns.items()), *given]
    output = arguments.output if files.is_remote(arguments.output) else os.path.abspath(arguments.output)
    settings = {
        "gin_file": arguments.gin_file or [ELO, *GIN],
        "gin_param": given,
        "weights": list(arguments.weights),
        **{name: getattr(arguments, name) for name in ("population", "steps", "clusters", "seed")},
    }
    own = _own_weights(settings)
    if not files.is_remote(output):
        os.makedirs(output, exist_ok=True)
    path = os.path.join(output, "evolve.json")
    found = _known(path, settings)
    if found is None:  # before the first run, so that no other settings take its runs for theirs
        found = {"settings": settings, "untrained": None, "candidates": []}
        files.write_text(path, json.dumps(found, indent=1) + "\n")
    for generation in range(arguments.generations):
        known = [one for one in found["candidates"] if one["generation"] < generation]
        if generation:
            drawn = next_generation(known, arguments.population, arguments.seed, generation)
        else:
            drawn = first_generation(own, arguments.population, arguments.seed)
        candidates = [(name_of(generation, number), weights) for number, weights in enumerate(drawn)]
        if generation not in {one["generation"] for one in found["candidates"]}:
            runs = ", ".join(name for name, _ in candidates)
            print(f"generation {generation}: runs of {arguments.steps} steps in {output}: {runs}", flush=True)
            run_generation(candidates, settings, output, options)
            for name, weights in candidates:
                probes = probes_of(output, name)
                one = {"name": name, "generation": generation, "weights": weights}
                found["candidates"].append(one | {"fitness": probes[settings["steps"]][FITNESS]})
                found["untrained"] = probes[0][FITNESS]  # of all the same
            files.write_text(path, json.dumps(found, indent=1) + "\n")
        best = max(one["fitness"] for one in found["candidates"] if one["generation"] == generation)
        print(f"generation {generation}: the best of {len(candidates)} has a fitness of {best:.4f}", flush=True)
    print(table(found))


def _own_weights(settings: dict) -> list[float]:
    """The weights as the gin files have them."""
    last = config.last_values(settings["gin_file"], settings["gin_param"])
    found = [getattr(last.get(name), "value", None) for name in settings["weights"]]
    for name, value in zip(settings["weights"], found, strict=True):
        if not isinstance(value, (int, float)) or value < 0:
            raise ValueError(f"--weights {name}: no gin file gives this macro a weight, such as {name} = 1.0")
    if not any(found):
        raise ValueError("all weights of the gin file are 0: there is nothing to begin with.")
    return found


def _known(path: str, settings: dict) -> dict | None:
    """What an earlier command has found there, None if there was none."""
    found = _read(path)
    if found is None:
        return None
    changed = [name for name, value in settings.items() if found["settings"].get(name) != value]
    if changed:
        raise ValueError(
            f"{path} was found with other settings ({changed[0]} = {found['settings'].get(changed[0])!r}): give the "
            "same, or another --output."
        )
    return found


def cli(argv=None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.evolve",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--gin_file", action="append", help="repeatable; default: ELo on the miniature benchmark")
    parser.add_argument("--gin_param", action="append", default=[], help="repeatable")
    parser.add_argument("--weights", nargs="+", default=WEIGHTS, metavar="MACRO", help=f"default: {' '.join(WEIGHTS)}")
    numbers = functools.partial(parser.add_argument, type=int)
    numbers("--population", default=4, help="candidates of a generation (default: %(default)s)")
    numbers("--generations", default=3, help="in all, those of earlier commands included (default: %(default)s)")
    numbers("--steps", default=100, help="of each run (default: %(default)s)")
    numbers("--clusters", default=20, help="whose sizes are looked at (default: %(default)s)")
    numbers("--seed", default=0, help="of the search; runs have that of their gin file (default: %(default)s)")
    parser.add_argument("--data", default="build/miniature", help="the miniature benchmark (default: %(default)s)")
    parser.add_argument("--output", default="build/evolution", help="folder of the runs (default: %(default)s)")
    arguments, flags = parser.parse_known_args(argv)
    if min(arguments.population, arguments.steps) < 2 or arguments.generations < 1:
        parser.error("--population and --steps must be 2 or more, --generations 1 or more")
    logging.getLogger().setLevel(logging.ERROR)  # Beam's imports warn of Google Cloud packages that we do not need
    from mmv_tf.beam import options

    if not any(flag.startswith(("--runner", "--direct_num_workers")) for flag in flags):
        flags.append("--direct_num_workers=1")  # a run takes all cores
    main(arguments, options.parse(parser, flags))


if __name__ == "__main__":
    from benchmarks import evolve  # by its name, under which Beam's workers find what they are to do
    from mmv_tf.common.command import run

    raise SystemExit(run(evolve.cli))
