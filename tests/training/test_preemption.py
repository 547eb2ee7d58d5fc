"""Signals: asked to stop, a run stops after the loop of steps that it is in; asked twice from the keyboard, at once."""

import hashlib
import os
import signal
import threading

import pytest
import tensorflow as tf

from helpers import processes
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
