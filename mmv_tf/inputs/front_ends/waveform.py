"""The waveform itself, in the place of a spectrogram: what VATT's sound network takes."""

import numpy as np
import tensorflow as tf

from mmv_tf.common.configurable import configurable
from mmv_tf.common.values import Count, NotNegative
from mmv_tf.inputs.audio import LogMel


@configurable
class Waveform(LogMel):
    """Sound as it is: [B, S] in [-1, 1] -> [B, S].

        InputPipeline.audio = @Waveform()

    VATT takes 153,600 samples at 48 kHz, as long as 32 frames at 10 a second, and adds noise in training
    (`SoundAugment.noise`). The records must have sound of `sample_rate`.

    Args:
      sample_rate: Hz.
      level: root mean square that each clip is brought to, whatever its loudness; silence stays what it is. 0: none, as
        VATT has it. Patches of quiet sound are small beside the positions that are added to them, and a network that
        begins so takes long to hear anything (docs/benchmarks.md has figures with 1).
    """

    axes = 2

    def __init__(self, sample_rate: Count = 48000, level: NotNegative = 0.0):
        # Not LogMel's constructor: what a configuration binds to that has no meaning here.
        self.sample_rate, self.level = sample_rate, level

    def num_frames(self, num_samples: int) -> int:
        """Samples that a waveform of `num_samples` gives."""
        return num_samples

    def __call__(self, waveform: tf.Tensor) -> tf.Tensor:
        """[B, S] float32 -> [B, S] float32."""
        waveform = tf.convert_to_tensor(waveform, tf.float32)
        if not self.level:
            return waveform
        loudness = tf.sqrt(tf.reduce_mean(tf.square(waveform), axis=1, keepdims=True))
        return tf.math.divide_no_nan(self.level * waveform, loudness)

    def zeros(self, batch_size: int, num_samples: int) -> np.ndarray:
        return np.zeros([batch_size, num_samples], np.float32)

    def in_words(self) -> str:
        scaled = f", scaled to a root mean square of {self.level:g} clip by clip" if self.level else ""
        return f"the samples themselves go into the network{scaled}"
