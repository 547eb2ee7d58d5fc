"""Processes of their own for tests, in a moment: forked from one that has imported what training needs, and no more.

To import TensorFlow takes five seconds of a processor; whatever starts a thread (the first operation) comes after the
fork. What the command line itself does is tested with real commands.
"""

import atexit
import gc
import multiprocessing
import multiprocessing.forkserver
import os
import pathlib
import runpy
import signal
import sys
import time

from helpers import eager, kernels, quick_graphs

ROOT = pathlib.Path(__file__).parents[2]
PATIENCE = 600  # seconds until a process counts as hanging: no busy machine needs so many

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [
        "orbit",
        "official.common.distribute_utils",
        "official.vision.ops.preprocess_ops_3d",
        "mmv_tf.backbones",
        "mmv_tf.evaluation.linear",
        "mmv_tf.inputs.pipeline",
        "mmv_tf.model.mmv",
        "mmv_tf.training.observer",
        "mmv_tf.training.trainer",
        "mmv_tf.training.workdir",
    ]
)
atexit.register(multiprocessing.forkserver._forkserver._stop)  # it waits, so that its time is counted as ours


class Process:
    """A function in a process of its own; what it prints goes to a file.

    Args:
      log: path of that file.
      function, *arguments: what to run; both can be pickled.
      environment: variables that it has besides ours.
      as_users: whether TensorFlow makes graphs as it does for users, in half as much time again.
    """

    def __init__(self, log: pathlib.Path, function, *arguments, environment=None, as_users=False):
        self._log = log
        self._process = _CONTEXT.Process(target=_run, args=(log, environment or {}, as_users, function, arguments))
        with kernels.without_onednn():  # for the first, which starts the one that all are forked from
            self._process.start()
        self.pid = self._process.pid

    def poll(self) -> int | None:
        """The exit status (negative: by that signal), or None while it runs."""
        return self._process.exitcode

    def wait(self) -> int:
        """Waits until it has ended; its exit status."""
        self._process.join(PATIENCE)
        assert self.poll() is not None, f"still running after {PATIENCE} s: {self.output()}"
        return self.poll()

    def wait_for(self, text: str) -> None:
        """Waits until it has printed that."""
        while text not in self.output():
            assert self.poll() is None, self.output()
            time.sleep(0.02)

    def send_signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        """Ends it, if it is still there."""
        self._process.kill()
        self._process.join()

    def output(self) -> str:
        return self._log.read_text() if self._log.exists() else ""


def command(log: pathlib.Path, arguments: list[str], environment=None, as_users=False) -> Process:
    """`python -m MODULE FLAGS` from the folder of the repository; `arguments` begin with '-m'."""
    return Process(log, run_module, arguments, environment=environment, as_users=as_users)


def assert_ends(pid: int) -> None:
    """Waits for a process that somebody else has started, which ends in a millisecond; kills it if it does not."""
    for _ in range(1000):
        if not _runs(pid):
            return
        time.sleep(0.02)
    os.kill(pid, signal.SIGKILL)
    raise AssertionError(f"process {pid} runs on")


def _runs(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def _run(log, environment, as_users, function, arguments):
    with open(log, "w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ.update(environment)
    os.chdir(ROOT)
    if as_users:
        eager.at_once()
    else:
        quick_graphs.set_up()
    gc.freeze()  # of what was imported before the fork nothing is free: nobody looks through it
    gc.set_threshold(50_000, 10, 10)  # as in conftest.py: an eighth of the time of a short run
    function(*arguments)


def run_module(arguments: list[str]) -> None:
    """What `command` runs."""
    _, module, *flags = arguments
    sys.argv = [module, *flags]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
