"""Freed memory is there for the next batch: page faults are counted, in a process of its own."""

import platform
import subprocess
import sys

import pytest

_COUNT = """
import ctypes, resource, sys
from mmv_tf.common import batches

kept = sys.argv[1] == "kept" and batches.keep_freed_memory()
library, size = ctypes.CDLL(None), 48 << 20  # above what glibc keeps by itself
library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
library.memset.argtypes, library.free.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t], [ctypes.c_void_p]

def batch():
    block = library.malloc(size)
    library.memset(block, 1, size)
    library.free(block)

batch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    batch()
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def _faults(how):
    printed = subprocess.run([sys.executable, "-c", _COUNT, how], capture_output=True, text=True, check=True).stdout
    kept, faults = printed.split()
    return kept == "True", int(faults)


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="another C library keeps what is freed, or has no such call"
)
def test_a_batch_takes_no_new_pages():
    kept, faults = _faults("kept")
    _, otherwise = _faults("as ever")
    pages = 4 * (48 << 20) // 4096
    assert kept and faults < pages / 100
    assert otherwise > 0.9 * pages  # otherwise there is nothing to gain, and the setting can go


def test_elsewhere_nothing_is_done(monkeypatch):
    from mmv_tf.common import batches

    monkeypatch.setattr(platform, "libc_ver", lambda: ("musl", "1.2"))
    assert batches.keep_freed_memory() is False
