"""A campaign against checkpoints: a write that ends at any of its file system operations, and what is left then.

    python benchmarks/faults/checkpoint_faults.py

A run holds the checkpoints of steps 2 and 3, and writes that of step 4: a copy to keep, the file itself, its entry in
`checkpoint`, the removal of step 2. At each operation on the folder in turn (a C shim counts them), the process is
stopped before it, stopped after half of the bytes of a write, or the operation fails for want of space or permission.
Then a new process must restore the values of step 3 or 4, whole, write the next checkpoint, and leave no other file.

Measured (TensorFlow 2.20, ext4): 79 operations, 271 faults. Stopped (113): step 3 restored 106 times, step 4 seven
times (it was recorded already). No space or permission (158): one clear OSError 150 times, with step 3 restored 138
times and step 4 twelve times; 8 faults, in removing temporary files, changed nothing. About 3 minutes.

Needs Linux and a C compiler (`cc`).
"""

import collections
import ctypes
import errno
import multiprocessing
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
SHIM = ROOT / "benchmarks" / "faults" / "checkpoint_faults.c"
ACTIONS = {"stopped before": -1, "stopped halfway": -2, "no space": errno.ENOSPC, "no permission": errno.EACCES}
STOPPED, FAILED = 77, 3  # exit statuses: of the shim, and of a process whose save raised OSError
SIZE = 5000


class _Model:
    """What Checkpoints wants of a model."""

    def __init__(self, weights):
        self._weights = weights

    def named_variables(self):
        return {"weights": self._weights}


class _Run:
    """Weights and the momentum of an optimiser, all equal to the step."""

    def __init__(self, folder):
        import keras
        import tensorflow as tf

        from mmv_tf.training.checkpointing import Checkpoints

        weights, optimizer = keras.Variable([0.0] * SIZE, name="weights"), keras.optimizers.SGD(momentum=0.9)
        optimizer.build([weights])
        self.values = [weights, *optimizer.momentums]
        self.step = tf.Variable(0, dtype=tf.int64)
        options = {"every": 1, "keep": 2, "keep_every": 4, "strategy": tf.distribute.get_strategy()}
        self.checkpoints = Checkpoints(str(folder), _Model(weights), optimizer, self.step, **options)
        self.checkpoints.restore()

    def save(self, step):
        for variable in self.values:
            variable.assign([float(step)] * SIZE)
        self.step.assign(step)
        self.checkpoints.save()

    def check(self):
        """The step, when all that was restored is of it."""
        step = int(self.step)
        for variable in self.values:
            assert set(variable.numpy()) == {float(step)}, f"step {step} has values of another"
        return step


def _prepare(folder):
    run = _Run(folder)
    for step in range(1, 4):
        run.save(step)


def _write(folder, n, action, journal=""):
    run = _Run(folder)
    assert run.check() == 3
    shim = ctypes.CDLL(None)
    shim.fault_arm(os.fsencode(folder), n, action, os.fsencode(journal))
    try:
        run.save(4)
    except OSError as error:
        assert "The checkpoint of step 4 could not be written" in str(error)
        assert str(error).endswith("the checkpoint of step 3 is whole, and the same command goes on from there.")
        os._exit(FAILED)


def _go_on(folder):
    step = _Run(folder).check()
    assert step in (3, 4), f"step {step} was restored"
    run = _Run(folder)
    for following in range(step + 1, 6):
        run.save(following)
    assert _Run(folder).check() == 5
    left = {path.name.partition(".data")[0] for path in (folder / "checkpoints").rglob("*")}
    assert left == {"checkpoint", "kept", "ckpt-4", "ckpt-4.index", "ckpt-5", "ckpt-5.index"}, left
    os._exit(step)


def _process(function, *args):
    """Exit status of a process of its own; forked before TensorFlow has started anything, which spares its import."""
    process = multiprocessing.get_context("fork").Process(target=function, args=args)
    process.start()
    process.join()
    return process.exitcode


def main():
    os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="")
    sys.path.insert(0, str(ROOT))
    import mmv_tf.training.checkpointing  # noqa: F401  (imported once, for all the processes)

    with tempfile.TemporaryDirectory() as temporary:
        prepared, journal = pathlib.Path(temporary, "prepared"), os.path.join(temporary, "journal")
        folder = pathlib.Path(temporary, "run")
        assert _process(_prepare, prepared) == 0
        shutil.copytree(prepared, folder)
        assert _process(_write, folder, -1, 0, journal) == 0
        operations = [line.split() for line in pathlib.Path(journal).read_text().splitlines()]
        outcomes = collections.Counter()
        for n, (name, path) in enumerate(operations):
            for action, number in ACTIONS.items():
                if action == "stopped halfway" and "write" not in name:
                    continue
                shutil.rmtree(folder)
                shutil.copytree(prepared, folder)
                status = _process(_write, folder, n, number)
                restored = _process(_go_on, folder)
                place = f"{n:3d} {name:8s} {path.removeprefix(str(folder))}"
                if status not in (0, STOPPED, FAILED) or restored not in (3, 4) or (status == 0 and restored != 4):
                    raise SystemExit(f"{place}: {action}: the writer ended with {status}, the next one with {restored}")
                happened = {0: "written all the same", STOPPED: "process stopped", FAILED: "OSError"}[status]
                outcomes[action, happened, restored] += 1
                print(f"{place}: {action}: {happened}; step {restored} restored", flush=True)
    print(f"{len(operations)} operations, {sum(outcomes.values())} faults:")
    for (action, happened, restored), count in sorted(outcomes.items()):
        print(f"{count:4d} x {action}: {happened}; step {restored} restored, and the run went on")


def preload():
    """Starts this program again with the shim in it."""
    with tempfile.TemporaryDirectory() as temporary:
        library = os.path.join(temporary, "faults.so")
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-Wall", "-o", library, str(SHIM), "-ldl"], check=True)
        return subprocess.run([sys.executable, __file__], env={**os.environ, "LD_PRELOAD": library}).returncode


if __name__ == "__main__":
    if "LD_PRELOAD" in os.environ:
        main()
    else:
        sys.exit(preload())
