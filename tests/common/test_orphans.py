import os
import signal
import subprocess
import sys

from helpers.processes import assert_ends
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
    assert_ends(child)


def test_nothing_happens_without_a_parent_or_in_its_own_process(monkeypatch):
    monkeypatch.delenv(orphans.PARENT, raising=False)
    orphans.exit_with_parent()
    monkeypatch.setenv(orphans.PARENT, str(os.getpid()))
    orphans.exit_with_parent()
    assert not hasattr(orphans.exit_with_parent, "of")
