import os
import signal
import subprocess
import sys
import time

from mmv_tf.common import orphans

_CHILD = """
import os, sys, time
from mmv_tf.common import orphans
orphans.exit_with_parent()
print(os.getpid(), flush=True)
time.sleep(60)
"""
_PARENT = """
import os, subprocess, sys, time
from mmv_tf.common import orphans
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], env=os.environ | {orphans.PARENT: str(os.getpid())})
time.sleep(60)
"""


def test_a_child_ends_with_a_parent_that_is_killed():
    parent = subprocess.Popen([sys.executable, "-c", _PARENT, _CHILD], stdout=subprocess.PIPE, text=True)
    child = int(parent.stdout.readline())
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    for _ in range(1000):  # it takes a millisecond
        if not _runs(child):
            return
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    raise AssertionError("the child runs on")


def _runs(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_nothing_happens_without_a_parent_or_in_its_own_process(monkeypatch):
    monkeypatch.delenv(orphans.PARENT, raising=False)
    orphans.exit_with_parent()
    monkeypatch.setenv(orphans.PARENT, str(os.getpid()))
    orphans.exit_with_parent()
    assert not hasattr(orphans.exit_with_parent, "of")
