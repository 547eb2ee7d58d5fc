"""The parent's side of worker.py: starts the child, asks it, kills it when it takes too long or dies."""

import dataclasses
import math
import os
import pathlib
import selectors
import signal
import subprocess
import sys
import tempfile
import time

from mmv_tf.beam.decoding import worker as decode_worker
from mmv_tf.common import orphans
from mmv_tf.records.card import Reason

_START_SECONDS = 60.0  # allowed for the imports of a fresh child, beside the time for its first answer
# What a source may take in all, beside settings.timeout_seconds, for each second that is decoded: more than 4k video at
# 60 Hz takes on one core. Without it a source could answer a clip a minute for days.
_SLOWEST = 3.0
_TO_REACH = 10.0  # seconds decoded before a clip, where another one does not end there


class Failure(Exception):
    """The child, or the source as a whole, failed: all pieces without an answer are lost. `reason` is a Reason."""

    def __init__(self, reason, detail):
        super().__init__(detail)
        self.reason = reason


class DecodeClient:
    """One child process, started when first needed, restarted after a failure. Not for several threads at once."""

    worker = "mmv_tf.beam.decoding.worker"  # the module that the child runs

    def __init__(self, settings):
        self._settings = settings
        self._child = self._errors = None

    def ask(self, path, clips):
        """Decodes the clips of a source.

        Args:
          path: of the file.
          clips: list of (start, end or None), seconds.
        Yields:
          (header, blobs) as worker.py states, the plan first, without the last {done}. The time that the caller
          takes with them does not count.
        Raises:
          Failure: TIMEOUT, CRASH or whatever makes the source unusable.
        """
        allowed = self._settings.timeout_seconds
        if self._child is None:
            self._start()
            allowed += _START_SECONDS
        finished, total, used = False, math.inf, 0.0  # seconds
        try:
            request = {"path": os.path.abspath(path), "clips": clips, "settings": dataclasses.asdict(self._settings)}
            decode_worker.write_message(self._child.stdin, request)
            while True:
                if used >= total:
                    raise TimeoutError
                began = time.monotonic()
                deadline = began + min(allowed, total - used)
                header, blobs = decode_worker.read_message(lambda size, deadline=deadline: self._read(size, deadline))
                used += time.monotonic() - began
                allowed = self._settings.timeout_seconds
                if "plan" in header:
                    total = used + allowed + _SLOWEST * _decoded_seconds(header["plan"])
                finished = "done" in header or "piece" not in header and "reason" in header
                if "done" in header:
                    return
                if finished:
                    raise Failure(Reason(header["reason"]), header["detail"])
                yield header, blobs
        except TimeoutError:
            what = f"no clip finished within {allowed:g} s"
            if total - used < allowed:
                what = f"slow throughout: not all clips finished within {total:.0f} s"
            raise Failure(Reason.TIMEOUT, what) from None
        except (EOFError, BrokenPipeError, ValueError, KeyError) as error:
            raise Failure(Reason.CRASH, self._epitaph(error)) from None
        finally:
            if not finished:  # a failure, or the caller lost interest: what the child says next belongs to nobody
                self.close()

    def close(self):
        """Kills the child, if there is one."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            for stream in (self._child.stdin, self._child.stdout, self._errors):
                try:
                    stream.close()
                except BrokenPipeError:
                    continue  # a request that the child never read
            self._child = None

    def _start(self):
        # The child finds mmv_tf where this process found it, installed or in a checkout.
        package_root = str(pathlib.Path(sys.modules["mmv_tf"].__file__).parent.parent)
        paths = [package_root, os.environ.get("PYTHONPATH", "")]
        self._errors = tempfile.TemporaryFile()
        self._child = subprocess.Popen(
            [sys.executable, "-m", self.worker],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            cwd="/",
            env=os.environ
            | {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "MALLOC_ARENA_MAX": "2"}
            | {orphans.PARENT: str(os.getpid())},
            start_new_session=True,  # Ctrl-C reaches the parent only, which ends the children in order
        )

    def _read(self, size, deadline):
        chunks, descriptor = bytearray(), self._child.stdout.fileno()
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, selectors.EVENT_READ)
            while len(chunks) < size:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise TimeoutError
                # Read past Python's buffer, or select would not see what is in it.
                data = os.read(descriptor, min(size - len(chunks), 1 << 20))
                if not data:
                    raise EOFError
                chunks += data
        return bytes(chunks)

    def _epitaph(self, error):
        """How the child ended, in a line."""
        try:
            code = self._child.wait(timeout=1)
        except subprocess.TimeoutExpired:
            return f"answered what cannot be understood ({type(error).__name__})"
        self._errors.seek(0)
        lines = self._errors.read(1 << 20).decode("utf-8", "replace").strip().splitlines()
        how = signal.Signals(-code).name if code < 0 else f"exit status {code}"
        return f"{how}: {lines[-1][:200]}" if lines else how


def _decoded_seconds(plan):
    """Of the source, that are decoded for the pieces of a plan, about."""
    seconds, before = 0.0, 0.0
    for _, start, end in plan:
        seconds += end - start + min(max(0.0, start - before), _TO_REACH)
        before = max(before, end)
    return seconds
