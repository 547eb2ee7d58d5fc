"""What a training run has left in its workdir."""

import pathlib

import numpy as np
import tensorflow as tf


def newest(workdir: pathlib.Path) -> int:
    """The step of the newest checkpoint."""
    return int(tf.train.latest_checkpoint(str(workdir / "checkpoints")).rsplit("-")[-1])


def events(workdir: pathlib.Path):
    """The TensorBoard events, of one sitting after the other."""
    for path in sorted(workdir.glob("events*"), key=lambda path: path.stat().st_mtime_ns):
        yield from tf.compat.v1.train.summary_iterator(str(path))


def losses(workdir: pathlib.Path) -> dict[int, float]:
    """{step: total loss}; a step that was taken twice, such as before and after a kill, gave the same loss."""
    found = {}
    for event in events(workdir):
        for value in event.summary.value:
            if value.tag == "total_loss":
                loss = float(tf.make_ndarray(value.tensor))
                np.testing.assert_allclose(found.setdefault(event.step, loss), loss, rtol=1e-5, err_msg=event.step)
    return found
