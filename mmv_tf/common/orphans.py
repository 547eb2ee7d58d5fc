"""The end of a process whose parent is gone: one that was killed cannot end its children."""

import os
import select
import threading

PARENT = "MMV_TF_PARENT"  # environment variable: the process with which a worker ends


def exit_with_parent() -> bool:
    """Has this process end, at once and without a word, when the one that PARENT names has ended.

    Returns:
      False, and nothing happens, where there is none, or where it is this process itself (threads in place of
      processes).
    """
    parent = int(os.environ.get(PARENT, "0"))
    if parent in (0, os.getpid()):
        return False
    if getattr(exit_with_parent, "of", None) != parent:
        exit_with_parent.of = parent
        _watch(parent)
    return True


def _watch(parent):
    try:
        descriptor = os.pidfd_open(parent)  # readable when the process has ended
    except ProcessLookupError:
        os._exit(1)
    except (AttributeError, OSError):  # no Linux, or an old one
        return
    threading.Thread(target=_wait, args=(descriptor,), daemon=True).start()


def _wait(descriptor):
    select.select([descriptor], [], [])
    os._exit(1)
