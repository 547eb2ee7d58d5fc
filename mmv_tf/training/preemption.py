"""SIGTERM (a machine is taken back) and SIGINT (Ctrl-C): the run stops after the loop of steps that it is in."""

import contextlib
import os
import signal
import sys
import threading

from mmv_tf.training import strategies

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Preempted(Exception):
    """The run was asked to stop; `signal` says by what (a signal.Signals)."""

    def __init__(self, number: int):
        self.signal = signal.Signals(number)
        super().__init__(f"stopped by {self.signal.name}")


@contextlib.contextmanager
def exit_when_preempted(saved: str):
    """Around a command: Preempted ends it with a line that says what is `saved`, and exit status 128 + signal."""
    try:
        yield
    except Preempted as stop:
        # Not the exception as text: gin adds lines of its own to that.
        stopped = f"stopped by {stop.signal.name}"
        print(f"{stopped}; {saved}, and the same command goes on from there", flush=True)
        raise SystemExit(128 + stop.signal) from None


class Preemption:
    """Context manager that notices SIGTERM and SIGINT; as an Orbit train action, raises Preempted after a loop.

    A second SIGINT ends the process at once. Outside the main thread, where Python allows no handlers, it does nothing.
    In several processes all raise after the same loop, whichever of them got the signal.

    Python runs its handlers only when TensorFlow returns, after a whole loop of steps; the byte that the interpreter
    writes for each signal (signal.set_wakeup_fd) comes at once, and a thread reads it.

    Args:
      strategy: tf.distribute.Strategy.
    """

    def __init__(self, strategy):
        self._strategy = strategy
        self._signal = 0
        self._handlers = {}

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            reader, self._writer = os.pipe()
            os.set_blocking(self._writer, False)
            threading.Thread(target=_watch, args=[reader], daemon=True).start()
            self._wakeup = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
            self._handlers = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, *_):
        if self._handlers:
            for number, handler in self._handlers.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(self._wakeup)
            os.close(self._writer)  # the thread reads the end of the pipe, and ends

    def __call__(self, output=None) -> None:
        """Raises Preempted if a signal came to any of the processes."""
        number = max(strategies.everyone(self._strategy, self._signal))
        if number:
            raise Preempted(number)

    def _note(self, number, frame):
        self._signal = self._signal or number


def _watch(reader: int) -> None:
    """Answers each signal as it comes: in the middle of a loop of steps, `_note` has not run yet."""
    stopping = False
    with open(reader, "rb", buffering=0) as pipe:
        while received := pipe.read(1):
            number = received[0]
            if stopping and number == signal.SIGINT:
                print("stopped at once; the same command goes on from the newest checkpoint", file=sys.stderr)
                os._exit(128 + number)
            if number in SIGNALS and not stopping:
                stopping = True
                name = signal.Signals(number).name
                print(f"{name}: stopping after this loop of steps; SIGINT stops at once", file=sys.stderr)
