"""Checkup of an installation: what there is, what is wrong, and how fast it is, as lines to paste into an issue."""

import getpass
import importlib.metadata
import os
import platform
import re
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from typing import NamedTuple

from mmv_tf import __version__
from mmv_tf.common import lock, quiet
from mmv_tf.diagnosis import graphics, machine

_LEAST_MEMORY, _LEAST_DISK = 2.0, 2.0  # GiB, with which a small training and its records fit
_SECONDS = 4.0  # of the film that is decoded


class Line(NamedTuple):
    """A finding."""

    name: str
    value: str
    fault: str = ""  # what is wrong, and what to do


def checkup() -> Iterator[Line]:
    """All findings, one by one, as they are made; it takes some ten seconds."""
    yield Line("mmv_tf", __version__)
    yield Line(
        "Python", f"{platform.python_version()} on {platform.system()} {platform.release()} {platform.machine()}"
    )
    yield from packages()
    yield from _tensorflow()
    found = machine.memory()
    if found:
        short = found[0] < _LEAST_MEMORY
        yield Line(
            "memory",
            f"{found[0]:.1f} GiB free of {found[1]:.1f}",
            f"training a small network takes {_LEAST_MEMORY:g} GiB: close other programs" if short else "",
        )
    for name, folder in (("working folder", os.getcwd()), ("temporary folder", tempfile.gettempdir())):
        yield _disk(name, folder)
    yield _locks()
    yield Line("processor", f"{machine.cores()} of {os.cpu_count()} cores may be used")
    yield Line("matrix product", f"{machine.gflops():.0f} GFLOP/s on them (float32)")
    yield _decoding()


def packages() -> Iterator[Line]:
    """The packages that mmv_tf needs: their versions, and which are missing or others than it wants."""
    try:
        needed = importlib.metadata.requires("mmv_tf") or []
    except importlib.metadata.PackageNotFoundError:
        needed = []
        yield Line("packages", "not installed as a package: a checkout", "")
    from packaging.requirements import Requirement

    shown, faults = [], []
    for requirement in map(Requirement, needed or ["tensorflow", "keras", "numpy"]):
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            faults.append(f"{requirement.name} is not installed")
            continue
        shown.append(f"{requirement.name} {version}")
        if not requirement.specifier.contains(version, prereleases=True):
            faults.append(f"{requirement.name} {version} is installed, and {requirement.specifier} is wanted")
    cure = "; install mmv_tf anew into an environment of its own" if faults else ""
    yield Line("packages", ", ".join(shown), "; ".join(faults) + cure)


def _tensorflow():
    """Its lines."""
    began = time.monotonic()
    try:
        quiet.devices()
        import tensorflow as tf
    except Exception as error:  # whatever an installation that is not whole may raise
        yield Line("TensorFlow", "cannot be imported", f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
        return
    build = dict(tf.sysconfig.get_build_info())
    cuda = f"CUDA {build['cuda_version']}" if build.get("is_cuda_build") and build.get("cuda_version") else "no CUDA"
    yield Line("TensorFlow", f"{tf.__version__} ({cuda}), imported in {time.monotonic() - began:.1f} s")
    driver, used, why = graphics.look()
    shown = "; ".join(driver.cards) or "none"
    yield Line("GPU", f"{shown}; TensorFlow uses {used}", why)


def _disk(name, folder):
    free = shutil.disk_usage(folder).free / 2**30
    fault = f"records and checkpoints take {_LEAST_DISK:g} GiB and more" if free < _LEAST_DISK else ""
    if not os.access(folder, os.W_OK):
        fault = "cannot be written to"
    return Line(name, f"{free:.1f} GiB free", fault)


def _locks():
    try:
        with tempfile.TemporaryDirectory(prefix=".mmv_tf-", dir=os.getcwd()) as folder, lock.folder(folder, "doctor"):
            return Line("locks", "work in the working folder")
    except (OSError, ValueError) as error:
        return Line("locks", "do not work in the working folder", f"one command at a time there ({error})")


def _decoding():
    """The speed of the decoder on a film of its own making, and that it works at all."""
    import av

    from mmv_tf.beam.decoding.client import DecodeClient, Failure
    from mmv_tf.beam.specs import Settings

    with tempfile.TemporaryDirectory(prefix="mmv_tf-") as folder:
        path = os.path.join(folder, "film.mp4")
        try:
            _film(path)
            client = DecodeClient(Settings())
            try:
                for _ in range(2):  # the first asks the child to start
                    began = time.monotonic()
                    frames = sum(header.get("frames", 0) for header, _ in client.ask(path, [(0.0, None)]))
                    seconds = time.monotonic() - began
            finally:
                client.close()
        except (Failure, OSError, ValueError, av.FFmpegError) as error:
            return Line("decoding", f"PyAV {av.__version__}", f"a film of its own cannot be decoded: {error}")
    rate = _SECONDS / seconds
    return Line("decoding", f"PyAV {av.__version__}: {frames} frames, {rate:.0f} times real time at 640 x 360")


def _film(path):
    import av
    import numpy as np

    pictures = np.random.RandomState(0).randint(0, 255, (360, 680, 3), np.uint8)
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 640, 360, "yuv420p"
        for number in range(round(_SECONDS * 25)):
            shown = np.ascontiguousarray(pictures[:, number % 40 :][:, :640])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(shown, format="rgb24")))
        container.mux(stream.encode())


def without_paths(text: str) -> str:
    """A text without what tells of a person or a place: home, working and temporary folder, name and host."""
    places = {os.getcwd(): "WORKING_FOLDER", os.path.expanduser("~"): "~", tempfile.gettempdir(): "TEMPORARY_FOLDER"}
    for place, name in sorted(places.items(), key=lambda one: -len(one[0])):
        if len(place) > 1:
            text = text.replace(place, name)
    try:
        words = {getpass.getuser(): "USER", socket.gethostname(): "HOST"}
    except (OSError, KeyError):
        words = {}
    for word, name in words.items():
        if len(word) > 3:  # 'root' says nothing, and a short one is part of other words
            text = text.replace(word, name) if word != "root" else text
    return _without_absolute(text)


def _without_absolute(text: str) -> str:
    """Paths from the root, of which the last part stays: '/data/films/train-*' is '.../train-*'.

    One between quotes may hold blanks.
    """
    text = re.sub(r"""(['"])/(?:(?:(?!\1)[^/\n])+/)+""", r"\1.../", text)
    return re.sub(r"(?<![\w.~-])/(?:[^\s/'\":;,]+/)+", ".../", text)
