"""The noise of TensorFlow's start, and that nothing else is kept back."""

import os
import subprocess
import sys

import pytest

from mmv_tf.common import quiet

CUDA = "2026-01-01 00:00:00.1: E external/x/cuda_platform.cc:51] failed call to cuInit: INTERNAL: CUDA error\n"
NOISE = "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\n"
XLA = (
    "I0000 00:00:1795.1 1 device_compiler.h:196] Compiled cluster using XLA!  This line is logged at most once for it\n"
)


@pytest.mark.parametrize(
    ("text", "card", "kept"),
    [
        (NOISE + XLA, True, ""),
        (CUDA + "W something else\n", False, "W something else\n"),
        (CUDA, True, CUDA),  # where there is a card it is the very thing to know
        ("E out of memory\nhalf a line", False, "E out of memory\nhalf a line"),
    ],
)
def test_what_is_kept(text, card, kept):
    assert quiet.kept(text, card) == kept


def test_it_comes_out_in_the_end_also_in_an_error():
    code = """
import os
from mmv_tf.common import quiet
quiet.has_card = lambda: False
with quiet.without_noise():
    os.write(2, b"E one\\nE failed call to cuInit: x\\n")
    raise ValueError("two")
"""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.stderr.startswith("E one\nTraceback") and done.stderr.endswith("ValueError: two\n")
    environment["TF_CPP_MIN_LOG_LEVEL"] = "0"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert "cuInit" in done.stderr
