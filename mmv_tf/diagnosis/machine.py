"""Machine that a command runs on: cores, memory, how fast it multiplies. No TensorFlow, except to ask for GPUs."""

import os
import time
from typing import NamedTuple

_SIZE, _SECONDS = 1024, 0.2  # of the matrices that are multiplied, and how long


class Machine(NamedTuple):
    """What a rule that chooses sizes wants to know."""

    cores: int
    memory: float  # GiB that are free
    gflops: float  # of a product of float32 matrices, on all cores
    gpus: int = 0

    def __str__(self):
        graphics = f"{self.gpus} GPU{'s' * (self.gpus > 1)}" if self.gpus else "no GPU"
        return f"{self.cores} cores, {graphics}, {self.memory:.0f} GiB of free memory, {self.gflops:.0f} GFLOP/s"


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory() -> tuple[float, float] | None:
    """(free, all) in GiB, of the machine or of the container where that is less; None where it cannot be told."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            found = {line.partition(":")[0]: int(line.split()[1]) * 1024 for line in file}
        free, total = found["MemAvailable"], found["MemTotal"]
    except (OSError, KeyError, ValueError, IndexError):
        return None
    try:
        with open("/sys/fs/cgroup/memory.max", encoding="ascii") as most:
            limit = int(most.read())
        with open("/sys/fs/cgroup/memory.current", encoding="ascii") as used:
            free, total = min(free, max(0, limit - int(used.read()))), min(total, limit)
    except (OSError, ValueError):  # no container, or 'max'
        pass
    return free / 2**30, total / 2**30


def gflops() -> float:
    """Of a product of float32 matrices on all cores: the best of as many tries as fit, since others may use it too."""
    import numpy as np

    square, best, until = np.ones((_SIZE, _SIZE), np.float32), 0.0, time.perf_counter() + _SECONDS
    while True:
        began = time.perf_counter()
        square @ square
        ended = time.perf_counter()
        best = max(best, 2 * _SIZE**3 / (ended - began) / 1e9)
        if ended > until:
            return best


def look(gpus: int = 0) -> Machine:
    """This machine; the number of GPUs is for who has TensorFlow to say."""
    found = memory()
    return Machine(cores(), found[0] if found else 8.0, gflops(), gpus)
