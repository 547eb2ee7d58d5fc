"""Augmentation of sound in training: louder and softer, noise, and parts of the spectrogram hidden (SpecAugment)."""

import tensorflow as tf

from mmv_tf.common.configurable import configurable
from mmv_tf.common.values import Count, CountOrNone, NotNegative, Share


@configurable
class SoundAugment:
    """What is changed of the sound of training clips; one draw a clip.

    The defaults change nothing. GDT's are volume 0.1, one mask over up to 2 bins and one over up to 5 frames
    (facebookresearch/GDT, datasets: 'medium' SpecAugment, arXiv 1904.08779).

    Args:
      volume: greatest change of the factor (0.1: from 0.9 to 1.1).
      frequency_masks, time_masks: how many.
      frequency_width, time_width: a mask is over 0 to so many bins or frames, less one; each width is as likely.
      value: what stands in a mask.
      noise: deviation of the noise that is added to every sample, as a part of the clip's greatest one (VATT: 0.01).
    """

    def __init__(
        self,
        volume: Share = 0.0,
        frequency_masks: CountOrNone = 0,
        frequency_width: Count = 3,
        time_masks: CountOrNone = 0,
        time_width: Count = 6,
        value: float = 0.0,
        noise: NotNegative = 0.0,
    ):
        self.volume, self.frequency_masks, self.time_masks = volume, frequency_masks, time_masks
        self.frequency_width, self.time_width, self.value = frequency_width, time_width, value
        self.noise = noise

    def draw(self, seed: tf.Tensor) -> tf.Tensor:
        """What `change_volume` and `mask` need, [n] float32 in [0, 1): one number, and two a mask."""
        return tf.random.stateless_uniform([1 + 2 * (self.frequency_masks + self.time_masks)], seed)

    @property
    def masks(self) -> bool:
        """Whether parts of a spectrogram are hidden."""
        return bool(self.frequency_masks or self.time_masks)

    def add_noise(self, waveform: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """[S] float32 of one clip -> [S]; silence stays silent."""
        if not self.noise:
            return waveform
        deviation = self.noise * tf.reduce_max(tf.abs(waveform))
        return waveform + deviation * tf.random.stateless_normal(tf.shape(waveform), seed)

    def change_volume(self, waveform: tf.Tensor, draw: tf.Tensor) -> tf.Tensor:
        """[B, S] float32, draws [B, n] -> [B, S]."""
        return waveform * (1.0 + self.volume * (2.0 * draw[:, :1] - 1.0))

    def mask(self, spectrogram: tf.Tensor, draw: tf.Tensor) -> tf.Tensor:
        """[B, T, M, 1] float32, draws [B, n] -> [B, T, M, 1]."""
        ways = [(2, self.frequency_width)] * self.frequency_masks + [(1, self.time_width)] * self.time_masks
        for number, (axis, width) in enumerate(ways):
            size = tf.cast(tf.shape(spectrogram)[axis], tf.float32)
            extent = tf.floor(tf.minimum(draw[:, 1 + 2 * number] * float(width), size))
            first = tf.floor(draw[:, 2 + 2 * number] * (size - extent))
            place = tf.range(size)
            hidden = (place >= first[:, None]) & (place < (first + extent)[:, None])
            shape = [-1, 1, 1, 1]
            shape[axis] = tf.shape(spectrogram)[axis]
            spectrogram = tf.where(tf.reshape(hidden, shape), self.value, spectrogram)
        return spectrogram


def check_masks(sound: SoundAugment | None, audio) -> None:
    """Raises ValueError where a front end (or None) makes no spectrogram that masks could hide parts of."""
    if sound and audio and sound.masks and audio.axes == 2:
        raise ValueError(
            f"SoundAugment.frequency_masks and time_masks hide parts of a spectrogram, and InputPipeline.audio = "
            f"@{type(audio).__name__}() makes none: set them to 0."
        )
