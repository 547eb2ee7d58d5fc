"""Graphics cards: those that the driver has, those that TensorFlow uses, and why the one are not the other."""

import ctypes
import glob
import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from typing import NamedTuple

_QUERY = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
# By the name of their file without version: what TensorFlow opens when it looks for GPUs.
_LIBRARIES = ("libcudart", "libcublas", "libcufft", "libcusparse", "libcusolver", "libcudnn")


class Driver(NamedTuple):
    """What the driver says."""

    cards: tuple[str, ...] = ()  # name, version of the driver, memory
    cuda: str = ""  # the newest CUDA that it runs, such as '12.4'
    fault: str = ""  # why it says nothing, '' where it does or there is none


def driver() -> Driver:
    """The NVIDIA driver's own word, by nvidia-smi."""
    try:
        listed = subprocess.run(_QUERY, capture_output=True, text=True, timeout=20)
        if listed.returncode:
            said = " ".join((listed.stdout or listed.stderr).split())[:200]
            return Driver(fault=f"nvidia-smi ends with status {listed.returncode}: {said}")
        shown = subprocess.run(["nvidia-smi"], capture_output=True, text=True, timeout=20).stdout
    except FileNotFoundError:
        devices = glob.glob("/dev/nvidia[0-9]*")
        return Driver(
            fault=f"{len(devices)} device files, and no nvidia-smi: the driver is not whole" if devices else ""
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Driver(fault=f"nvidia-smi does not answer ({type(error).__name__})")
    cuda = re.search(r"CUDA Version: *([\d.]+)", shown)
    return Driver(tuple(listed.stdout.strip().splitlines()), cuda[1] if cuda else "")


def missing_libraries(build: Mapping) -> list[str]:
    """Those of the libraries that a build of TensorFlow opens which are not there."""
    cuda = str(build.get("cuda_version", "")).partition(".")[0]
    cudnn = str(build.get("cudnn_version", "")).partition(".")[0]
    other = {"libcufft": "11", "libcusolver": "11"} if cuda == "12" else {}
    found = []
    for name in _LIBRARIES:
        file = f"{name}.so.{cudnn if name == 'libcudnn' else other.get(name, cuda)}"
        if not _opens(file):
            found.append(file)
    return found


def _opens(name: str) -> bool:
    try:
        ctypes.CDLL(name)
        return True
    except OSError:
        pass
    # Those of the packages nvidia-*, which TensorFlow finds by itself.
    import sysconfig

    places = glob.glob(os.path.join(sysconfig.get_paths()["purelib"], "nvidia", "*", "lib", name))
    return bool(places)


def why_unused(
    driver: Driver, used: int, build: Mapping, missing: Sequence[str], environment: Mapping[str, str] = os.environ
) -> str:
    """Why TensorFlow uses fewer cards than there are, and what to do; '' where it uses them all or there are none.

    Args:
      used: how many GPUs TensorFlow lists.
      build: tf.sysconfig.get_build_info().
      missing: of `missing_libraries`.
    """
    if driver.fault:
        return f"{driver.fault}; install the driver of the card anew"
    if used >= len(driver.cards):
        return ""
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return f"CUDA_VISIBLE_DEVICES={visible!r} hides cards; `unset CUDA_VISIBLE_DEVICES`"
    if not build.get("is_cuda_build"):
        return "this TensorFlow was built without CUDA; `pip install 'tensorflow[and-cuda]'` of the same version"
    wanted = str(build.get("cuda_version", ""))
    if driver.cuda and _numbers(driver.cuda)[:1] < _numbers(wanted)[:1]:
        return f"the driver runs CUDA up to {driver.cuda}, TensorFlow was built with {wanted}: install a newer driver"
    if missing:
        named = ", ".join(missing)
        return f"{named} cannot be opened; `pip install 'tensorflow[and-cuda]'` of the same version brings them"
    return "TensorFlow does not say; TF_CPP_MIN_LOG_LEVEL=0 in front of the command shows what it tried"


def look() -> tuple[Driver, int, str]:
    """(what the driver says, how many cards TensorFlow uses, why it uses no more, '' if all)."""
    import tensorflow as tf

    said, used, build = driver(), len(tf.config.list_physical_devices("GPU")), dict(tf.sysconfig.get_build_info())
    missing = missing_libraries(build) if said.cards and used < len(said.cards) else []
    return said, used, why_unused(said, used, build, missing)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))
