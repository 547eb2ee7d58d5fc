"""The file of a checkpoint from elsewhere: opened within limits, and what is wrong with it in one line."""

import io
import os
import stat
from collections.abc import Callable, Iterable
from typing import TypeVar

from mmv_tf.released.pickle_machine import CheckpointError

Content = TypeVar("Content")


def read(path: str, max_bytes: int, parse: Callable[[io.BufferedIOBase, int], Content]) -> Content:
    """What `parse`, given the open file and its size in bytes, makes of a local file.

    Raises:
      CheckpointError: no such file, no regular one, larger than `max_bytes`, or what `parse` raises; one line with the
        file and the reason.
    """
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise CheckpointError("not a regular file")
        if status.st_size > max_bytes:
            raise CheckpointError(f"{status.st_size} bytes, more than the {max_bytes} that are allowed")
        with open(path, "rb") as file:
            return parse(file, os.fstat(file.fileno()).st_size)
    except CheckpointError as error:
        raise CheckpointError(f"checkpoint {path}: {error}") from None
    except OSError as error:
        raise CheckpointError(f"checkpoint {path}: {error.strerror or error}") from None
    except MemoryError:
        raise CheckpointError(f"checkpoint {path}: it needs more memory than there is") from None


def check_uses(sizes: Iterable[int], size: int) -> None:
    """Checks that the arrays of a file of `size` bytes, each as often as a name has it, are about as large as the file.

    Args:
      sizes: bytes of the array of each name. What follows looks at all of them, though many may share their memory.

    Raises:
      CheckpointError: they have more than twice its bytes (of bfloat16, float32 is made).
    """
    if sum(sizes) > 2 * size:
        raise CheckpointError("its arrays are larger than the file, as many names have the same one")
