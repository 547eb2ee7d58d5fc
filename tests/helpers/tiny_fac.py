"""A run of FAC that starts quickly: gin/fac.gin with networks of few layers, for tests of what lies around them.

To trace a layer takes longer here than to compute it, so that the time of a test goes by the number of layers.
"""

import contextlib
from unittest import mock

from helpers import tiny
from mmv_tf.backbones import residual

FILES = ["gin/fac.gin"]


def bindings(folder) -> list[str]:
    """Makes tiny records in `folder`; what makes FILES tiny."""
    everything = tiny.bindings(tiny.make_records(folder), tiny.write_vocabulary(folder / "vocabulary.txt"))
    # XLA compiles for longer than these few frames take.
    return [*everything, "S3D.final_endpoint = 'Conv2d_2b_1x1'", "VideoInput.jit_compile = False"]


def shallow() -> contextlib.AbstractContextManager:
    """As long as this lasts, a ResNet-18 has one block."""
    return mock.patch.dict(residual.DEPTHS, {18: ((1,), False)})


def arguments(workdir, bindings) -> list[str]:
    """The flags of such a run."""
    files = [f"--gin_file={file}" for file in FILES]
    return [*files, f"--workdir={workdir}", *(f"--gin_param={line}" for line in bindings)]


def command(arguments: list[str]) -> None:
    """`python -m mmv_tf.train` with those flags, and the shallow network."""
    from mmv_tf import train

    with shallow():
        train.cli(arguments)
