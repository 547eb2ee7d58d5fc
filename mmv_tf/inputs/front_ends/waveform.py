"""The waveform itself, in the place of a spectrogram: what VATT's sound network takes."""

import numpy as np
import tensorflow as tf

from mmv_tf.common.configurable import configurable
from mmv_tf.common.values import Count
from mmv_tf.inputs.audio import LogMel


@configurable
class Waveform(LogMel):
    """Sound as it is: [B, S] in [-1, 1] -> [B, S].

        InputPipeline.audio = @Waveform()

    VATT takes 153,600 samples at 48 kHz, as long as 32 frames at 10 a second, and adds noise in training
    (`SoundAugment.noise`). The records must have sound of `sample_rate`.

    Args:
      sample_rate: Hz.
    """

    axes = 2

    def __init__(self, sample_rate: Count = 48000):
        # Not LogMel's constructor: what a configuration binds to that has no meaning here.
        self.sample_rate = sample_rate

    def num_frames(self, num_samples: int) -> int:
        """Samples that a waveform of `num_samples` gives."""
        return num_samples

    def __call__(self, waveform: tf.Tensor) -> tf.Tensor:
        """[B, S] float32 -> [B, S] float32."""
        return tf.convert_to_tensor(waveform, tf.float32)

    def zeros(self, batch_size: int, num_samples: int) -> np.ndarray:
        return np.zeros([batch_size, num_samples], np.float32)

    def in_words(self) -> str:
        return "the samples themselves go into the network"
