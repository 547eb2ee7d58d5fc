"""Clips decoded from a file, and what they should show."""

import math

from helpers.videos import LEVELS
from mmv_tf.beam.decoding import clips as decode
from mmv_tf.beam.specs import Settings


def run(path, clips, **settings):
    """Decoded clips, sorted by the indices in their request and by time; fails on a rejection."""
    settings = Settings(**settings)
    pieces, _ = decode.plan(str(path), clips, settings)
    results = list(decode.decode(str(path), pieces, settings))
    assert [str(error) for _, error in results if error] == []
    return sorted((clip for clip, _ in results), key=lambda clip: (clip.indices, clip.start))


def shown(start, count, fps=25, rate=10):
    """Numbers of the pictures that a player shows at the times of the frames."""
    return [math.floor((start + i / rate) * fps + 1e-6) % LEVELS for i in range(count)]
