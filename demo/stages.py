"""Stages of a long job that goes on where it was: each is a command, run when its settings or inputs changed.

The state of a stage is a file STATE/NAME.json: the digest of all that it depends on, and whether it ended well. A
stage that ended well with the same digest is not run again. One that was interrupted is run again on what it left
behind (its command goes on by itself, or starts over); one whose digest changed first loses its outputs.
"""

import contextlib
import dataclasses
import hashlib
import json
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

from mmv_tf.common.files import whole_file


@dataclasses.dataclass(frozen=True)
class Stage:
    """One command.

    Attributes:
      name, purpose: what is printed.
      command: arguments, the first of them the program.
      outputs: files and folders that it alone makes; removed when they are stale.
      expected: what else must be there after it; the command itself sees to what is stale in it.
      inputs: files whose contents count, besides the command and the stages before.
      facts: other things that count, as text.
      goes_on: whether the command goes on from what an interrupted run left; if not, that is removed first.
    """

    name: str
    purpose: str
    command: list[str]
    outputs: list[pathlib.Path] = dataclasses.field(default_factory=list)
    expected: list[pathlib.Path] = dataclasses.field(default_factory=list)
    inputs: list[pathlib.Path] = dataclasses.field(default_factory=list)
    facts: list[str] = dataclasses.field(default_factory=list)
    goes_on: bool = False


class StageError(RuntimeError):
    """A stage's command failed; the message is one line."""


_children: set[subprocess.Popen] = set()  # commands that run now


def _status(command: list[str]) -> int:
    """Runs a command; its exit status. It is killed where this is interrupted."""
    with subprocess.Popen(command) as child:
        _children.add(child)
        try:
            return child.wait()
        except BaseException:
            child.kill()
            raise
        finally:
            _children.discard(child)


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """Ends the process with status 2 and one line where a stage fails or a setting is wrong, with one on Ctrl-C.

    A plain kill ends it as Ctrl-C does; only, no terminal tells the running stages, so this does. It is for a
    command: the handler of the signal stays.
    """

    def terminate(*_):
        for child in tuple(_children):
            child.terminate()
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    except (StageError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        raise SystemExit("interrupted; the same command goes on from here") from None


def with_includes(path: pathlib.Path, root: pathlib.Path) -> list[pathlib.Path]:
    """A gin file and, after it, the files that it includes, relative to `root`; each once."""
    found: list[pathlib.Path] = []
    waiting = [path]
    while waiting:
        file = waiting.pop(0)
        if file in found or not file.is_file():
            continue
        found.append(file)
        waiting += [root / name for name in re.findall(r"^include\s+['\"](.+?)['\"]", file.read_text("utf-8"), re.M)]
    return found


def shown(command: list[str]) -> str:
    """A command as it can be typed into a shell; double quotes around what holds single ones."""

    def quoted(argument: str) -> str:
        plain = "'" in argument and not set('"$`\\\\!') & set(argument)
        return f'"{argument}"' if plain else shlex.quote(argument)

    return " ".join(map(quoted, command))


def _remove(path: pathlib.Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _missing(stage: Stage) -> list[str]:
    return [str(path) for path in [*stage.outputs, *stage.expected] if not path.exists()]


def _complete(stage: Stage, state: dict) -> bool:
    return bool(state.get("done")) and not _missing(stage)


class Runner:
    """Runs stages in order. `state` is the folder of their state files; `total` is for the printed numbers."""

    def __init__(self, state: pathlib.Path, total: int):
        self._state, self._total, self._number = state, total, 0
        self._digest = hashlib.sha256()  # of everything so far: a stage depends on all before it
        self.seconds: dict[str, float] = {}

    def _next(self, stage: Stage) -> tuple[str, pathlib.Path, dict]:
        """The digest up to and with a stage, its state file, and what that says."""
        self._number += 1
        self._digest.update(json.dumps([stage.name, stage.command[1:], stage.facts]).encode())
        for path in stage.inputs:
            content = path.read_bytes() if path.is_file() else b"missing"
            self._digest.update(hashlib.sha256(content).digest())
        file = self._state / f"{stage.name}.json"
        return self._digest.hexdigest(), file, json.loads(file.read_text("utf-8")) if file.is_file() else {}

    def check(self, stage: Stage) -> None:
        """Takes a stage as done. Raises StageError if it is not, or was with other settings or inputs."""
        digest, _, state = self._next(stage)
        if not (_complete(stage, state) and state["digest"] == digest):
            raise StageError(f"{stage.name} of {stage.purpose} is not done, or was done with other settings or inputs")

    def run(self, stage: Stage) -> bool:
        """Runs a stage unless it is complete; True if it was run. Raises StageError if its command fails."""
        digest, file, state = self._next(stage)
        title = f"[{self._number}/{self._total}] {stage.name}: {stage.purpose}"
        if state.get("digest") == digest and _complete(stage, state):
            self.seconds[stage.name] = state["seconds"]
            print(f"{title}\n  done before, in {state['seconds']:.0f} s", flush=True)
            return False
        print(f"{title}\n  $ {shown(stage.command)}", flush=True)
        spent = 0.0
        if state.get("digest") == digest and not state.get("done") and stage.goes_on:
            spent = state.get("seconds", 0.0)
        else:
            for path in stage.outputs:
                _remove(path)
        self._write(file, digest, spent, done=False)
        start = time.time()
        try:
            status = _status(stage.command)
        finally:
            seconds = spent + time.time() - start
            self._write(file, digest, seconds, done=False)
        if status:
            raise StageError(
                f"{stage.name} failed with exit status {status}; what it says is above. Run again to go on."
            )
        if missing := _missing(stage):
            raise StageError(f"{stage.name} ended well but did not write {', '.join(missing)}")
        self._write(file, digest, seconds, done=True)
        self.seconds[stage.name] = seconds
        print(f"  {seconds:.0f} s", flush=True)
        return True

    def _write(self, file: pathlib.Path, digest: str, seconds: float, done: bool) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(file) as partial:
            partial.write_text(json.dumps({"digest": digest, "done": done, "seconds": round(seconds, 1)}), "utf-8")


def python(module: str, *arguments) -> list[str]:
    return [sys.executable, "-m", module, *map(str, arguments)]
