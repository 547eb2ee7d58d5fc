"""All that only a graphics card can tell, in one run that may be cut short: speed, equality with the CPU, a whole run.

    python -m benchmarks.gpu.run                        # all jobs, the most telling first
    python -m benchmarks.gpu.run --only step            # those whose names begin so
    python -m benchmarks.gpu.run --tiny                 # the jobs themselves, on any machine, in minutes
    python -m benchmarks.gpu.run --list

Each job has a process of its own and a limit, and its result is written when it ends (benchmarks/results/gpu.json): a
second call does what is not there yet. A job that fails or takes too long is a result, too, with the end of its output.
"""

import argparse
import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

from benchmarks.gpu.jobs import JOBS, Job

ROOT = pathlib.Path(__file__).resolve().parents[2]
_TOLD = 1500  # characters of the output of a job that failed


def _output(command: list[str], environment: dict, seconds: float) -> tuple[str, str]:
    """What a command printed, and how it ended; after so many seconds it is killed with all that it has started, such
    as a training run, which would go on using the card."""
    with tempfile.TemporaryFile() as file:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            ended = f"exit status {process.wait(seconds)}"
        except subprocess.TimeoutExpired:
            ended = f"not done after {seconds:g} s"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        file.seek(0)
        return file.read().decode(errors="replace"), ended


def _run(job: Job, tiny: bool, seconds: float) -> dict:
    """The result of a job, or why there is none."""
    command = [sys.executable, "-m", "benchmarks.gpu.jobs", job.name, *["--tiny"] * tiny]
    began = time.perf_counter()
    output, ended = _output(command, {**os.environ, **job.environment}, seconds)
    taken = {"seconds": round(time.perf_counter() - began, 1), "tiny": tiny, "environment": dict(job.environment)}
    results = [line for line in output.splitlines() if line.startswith("RESULT ")]
    if not results or ended != "exit status 0":
        return {**taken, "failed": ended, "output": output[-_TOLD:]}
    return {**taken, **json.loads(results[-1].removeprefix("RESULT "))}


def _write(path: pathlib.Path, results: dict) -> None:
    from mmv_tf.common import files

    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_text(str(path), json.dumps(results, indent=1, sort_keys=True) + "\n")


def _line(name: str, found: dict) -> str:
    without = ("seconds", "tiny", "environment", "output")
    shown = {key: value for key, value in found.items() if key not in without and not isinstance(value, dict)}
    told = ", ".join(f"{key} {value}" for key, value in shown.items())
    return f"{name:32s} {told} ({found['seconds']} s)"


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[""], metavar="BEGINNING", help="of the names of jobs")
    parser.add_argument("--output", type=pathlib.Path, default=ROOT / "benchmarks" / "results" / "gpu.json")
    parser.add_argument("--limit", type=float, default=150.0, help="seconds of a job (default: %(default)s)")
    parser.add_argument("--tiny", action="store_true", help="tiny networks, on whatever TensorFlow finds")
    parser.add_argument("--again", action="store_true", help="also what has failed, or has a result")
    parser.add_argument("--list", action="store_true", help="name the jobs, run nothing")
    args = parser.parse_args(argv)
    chosen = [job for job in JOBS if job.name.startswith(tuple(args.only))]
    if not chosen:
        parser.error(f"--only: no job begins with {' or '.join(args.only)}; --list names them")
    if args.list:
        print(*(f"{job.name:32s} {job.what}" for job in chosen), sep="\n")
        return
    results = json.loads(args.output.read_text()) if args.output.exists() else {}
    if other := sorted(name for name, found in results.items() if found["tiny"] != args.tiny):
        parser.error(f"{args.output} has results of the other size ({other[0]}): give another --output")
    for job in chosen:
        if job.name not in results or args.again:
            results[job.name] = _run(job, args.tiny, args.limit)
            _write(args.output, results)
        print(_line(job.name, results[job.name]), flush=True)


if __name__ == "__main__":
    main()
