"""The outputs of a network for crops; those of the video network, whose passes are the dear part, kept in files."""

import io
import os

import numpy as np
import tensorflow as tf
import tqdm

from mmv_tf.common import files
from mmv_tf.common.batches import filled
from mmv_tf.deflation.images import Crops

_CHUNK = 128  # crops in a file: what a killed run loses at most


def embedder(network, normalised=tf.identity):
    """A compiled function: crops [B,H,W,3] uint8 -> what `network` makes of them, [B,D] float32.

    Args:
      normalised: of the run's VideoInput.
    """

    def embed(crops):
        return tf.cast(network(normalised(to_float(crops)), training=False), tf.float32)

    return tf.function(embed, autograph=False)


def to_float(crops):
    return tf.cast(crops, tf.float32) / 255


def outputs(embed, crops: Crops, batch_size: int, numbers=None) -> np.ndarray:
    """What an `embedder` makes of crops (all, or those of `numbers`): [N, D] float32.

    Raises:
      FloatingPointError: one is NaN or Inf; names the image.
    """
    numbers = np.arange(len(crops)) if numbers is None else numbers
    rows = []
    for batch, _ in crops.batches(numbers, batch_size):
        rows.append(embed(tf.constant(filled(batch, batch_size))).numpy()[: len(batch)])
    rows = np.concatenate(rows)
    bad = ~np.isfinite(rows).all(axis=1)
    if bad.any():
        raise FloatingPointError(
            f"{crops.name(int(numbers[bad.argmax()]))}: the network makes NaN or Inf of it; are its weights finite?"
        )
    return rows


def kept_outputs(embed, crops: Crops, batch_size: int, folder: str, stop) -> np.ndarray:
    """`outputs`, with a progress bar, in files of `folder` as soon as they are there: a killed run goes on.

    Args:
      stop: called between two files; raises if the run is to end (see `mmv_tf.training.preemption`).
    """
    tf.io.gfile.makedirs(folder)
    parts = []
    with tqdm.tqdm(total=len(crops), unit="clip", desc="video network", dynamic_ncols=True) as bar:
        for first in range(0, len(crops), _CHUNK):
            numbers = np.arange(first, min(first + _CHUNK, len(crops)))
            path = os.path.join(folder, f"{first:08d}.npy")
            if tf.io.gfile.exists(path):
                with tf.io.gfile.GFile(path, "rb") as file:
                    parts.append(np.load(io.BytesIO(file.read())))
            else:
                parts.append(outputs(embed, crops, batch_size, numbers))
                content = io.BytesIO()
                np.save(content, parts[-1])
                files.write_bytes(path, content.getvalue())
            bar.update(len(numbers))
            stop()
    return np.concatenate(parts)
