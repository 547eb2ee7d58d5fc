"""Quiet start of TensorFlow: what its C++ side says once in every process, and that helps nobody, is left out.

That no CUDA is on a machine without a graphics card, that a logger is not yet made, that something was compiled. It is
provoked while the standard error goes to a file, of which all else is passed on: nothing that is not listed is lost.
TF_CPP_MIN_LOG_LEVEL=0 shows everything.
"""

import contextlib
import functools
import glob
import os
import re
import sys
import tempfile

_ALWAYS = (
    r"WARNING: All log messages before absl::InitializeLog\(\) is called are written to STDERR",
    r".*Compiled cluster using XLA!  This line is logged at most once.*",
    r".*XLA service 0x[0-9a-f]+ initialized for platform Host.*",
    r".*StreamExecutor device \(\d+\): Host.*",
    r".*Unable to register cu(FFT|DNN|BLAS) factory.*",
    r".*computation placer already registered.*",
)
# An error where there is a card, and none where there is none.
_WITHOUT_A_CARD = (r".*failed call to cuInit.*", r".*Could not find cuda drivers on your machine.*")


def kept(text: str, has_card: bool) -> str:
    """The lines of a text that a person should see."""
    known = re.compile("|".join(_ALWAYS + (() if has_card else _WITHOUT_A_CARD)))
    return "".join(line for line in text.splitlines(keepends=True) if not known.fullmatch(line.rstrip("\n")))


def has_card() -> bool:
    """Whether there is a device of NVIDIA's, usable or not."""
    return bool(glob.glob("/dev/nvidia*") or os.path.exists("/proc/driver/nvidia"))


@contextlib.contextmanager
def without_noise():
    """Keeps back what goes to the standard error inside; at the end, also in an error, it comes without the noise."""
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL") == "0":
        yield
        return
    sys.stderr.flush()
    with tempfile.TemporaryFile() as held:
        before = os.dup(2)
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(before, 2)
            os.close(before)
            held.seek(0)
            text = kept(held.read().decode(errors="replace"), has_card())
            if text:
                os.write(2, text.encode())


@functools.cache
def devices() -> None:
    """Imports TensorFlow and lets it look for devices, without operations: several machines must meet before those."""
    with without_noise():
        import tensorflow as tf

        tf.config.list_physical_devices()


@functools.cache
def start() -> None:
    """`devices`, and the first compilation by XLA, of which is told once a process."""
    devices()
    import tensorflow as tf

    with without_noise():
        tf.function(lambda x: x + 1, jit_compile=True, autograph=False)(tf.constant(1.0))
