"""Signals: asked to stop, a run stops after the loop of steps that it is in; asked twice from the keyboard, at once."""

import hashlib
import os
import signal
import threading

import numpy as np
import pytest
import tensorflow as tf

from helpers import processes, runs, tiny_vt
from mmv_tf.training.preemption import Preempted, Preemption


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_raised_after_the_loop_and_not_before(number):
    before = signal.getsignal(number)
    done = []
    with pytest.raises(Preempted, match=number.name) as error, Preemption(tf.distribute.get_strategy()) as action:
        action({"total_loss": 1.0})
        os.kill(os.getpid(), number)
        done.append("the rest of the loop")
        action({"total_loss": 0.5})
        done.append("another loop")
    assert done == ["the rest of the loop"]
    assert error.value.signal == number
    assert signal.getsignal(number) == before
    assert signal.set_wakeup_fd(-1) == -1


def test_outside_the_main_thread_handlers_stay_as_they_are():
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def run():
        with Preemption(tf.distribute.get_strategy()) as action:
            seen.append(signal.getsignal(signal.SIGTERM))
            action()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [before]


def _busy():
    """One call of C that gives Python no chance to run a handler, as a loop of steps inside TensorFlow does."""
    with Preemption(strategy=None):
        print("ready", flush=True)
        hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)


def test_a_second_interrupt_ends_the_process_in_the_middle_of_a_loop(tmp_path):
    process = processes.Process(tmp_path / "log.txt", _busy)
    try:
        process.wait_for("ready\n")
        process.send_signal(signal.SIGINT)
        process.wait_for("SIGINT: stopping after this loop of steps")
        process.send_signal(signal.SIGINT)
        assert process.wait() == 128 + signal.SIGINT
    finally:
        process.kill()
    assert "stopped at once" in process.output()


def test_a_run_that_was_stopped_goes_on_as_if_nothing_had_happened(tmp_path):
    """As a user runs it; the steps until SIGTERM have no checkpoint but that of the start, so it must save."""
    bindings = [*tiny_vt.bindings(tmp_path / "data"), "train.checkpoint_every = 1000000"]
    stopped, undisturbed = tmp_path / "stopped", tmp_path / "undisturbed"
    command = tiny_vt.command(stopped, [*bindings, "STEPS = 1000000"])
    process = processes.command(tmp_path / "log.txt", command, as_users=True)
    process.wait_for("first step after")  # the fewer it has taken by then, the fewer the undisturbed run has to take
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 128 + signal.SIGTERM
    last = process.output().splitlines()[-1]
    assert "SIGTERM" in last and "the checkpoint is written, and the same command goes on from there" in last
    reached = runs.newest(stopped)
    assert reached == max(runs.losses(stopped)) > 0
    for workdir in (stopped, undisturbed):
        command = tiny_vt.command(workdir, [*bindings, f"STEPS = {reached + 3}"])
        process = processes.command(tmp_path / "log.txt", command, as_users=True)
        assert process.wait() == 0, process.output()
    losses, expected = runs.losses(stopped), runs.losses(undisturbed)
    assert losses.keys() == expected.keys()
    np.testing.assert_allclose([losses[step] for step in expected], list(expected.values()), rtol=1e-6)
    tensors, expected = _tensors(stopped), _tensors(undisturbed)
    assert tensors.keys() == expected.keys()
    for name, tensor in expected.items():  # whole numbers (step, place in the data) are equal
        np.testing.assert_allclose(tensors[name], tensor, rtol=1e-5, atol=1e-7, err_msg=name)


def _tensors(workdir):
    """{name: array} of the newest checkpoint, without the count of how often this run has saved."""
    reader = tf.train.load_checkpoint(tf.train.latest_checkpoint(str(workdir / "checkpoints")))
    names = [name for name in reader.get_variable_to_shape_map() if name.endswith("VARIABLE_VALUE")]
    return {name: reader.get_tensor(name) for name in names if not name.startswith("save_counter")}
