"""What a training run has left in its workdir."""

import pathlib

import numpy as np
import tensorflow as tf


def newest(workdir: pathlib.Path) -> int:
    """The step of the newest checkpoint."""
    return int(tf.train.latest_checkpoint(str(workdir / "checkpoints")).rsplit("-")[-1])


def tensors(workdir: pathlib.Path) -> dict[str, bytes]:
    """{name: bytes} of the newest checkpoint, without the count of how often this run has saved."""
    reader = tf.train.load_checkpoint(tf.train.latest_checkpoint(str(workdir / "checkpoints")))
    names = [name for name in reader.get_variable_to_shape_map() if name.endswith("VARIABLE_VALUE")]
    return {name: reader.get_tensor(name).tobytes() for name in names if not name.startswith("save_counter")}


def events(workdir: pathlib.Path):
    """The TensorBoard events, of one sitting after the other."""
    for path in sorted(workdir.glob("events*"), key=lambda path: path.stat().st_mtime_ns):
        yield from tf.compat.v1.train.summary_iterator(str(path))


def losses(workdir: pathlib.Path, rtol: float = 0.0) -> dict[int, float]:
    """{step: total loss}; where a step was logged twice, both must agree to `rtol`."""
    found = {}
    for event in events(workdir):
        for value in event.summary.value:
            if value.tag == "total_loss":
                loss = float(tf.make_ndarray(value.tensor))
                np.testing.assert_allclose(found.setdefault(event.step, loss), loss, rtol=rtol, err_msg=event.step)
    return found
