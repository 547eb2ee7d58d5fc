"""Waveform to log-mel spectrogram; the same for training, export and search."""

import functools
import warnings
from typing import Literal

import numpy as np
import tensorflow as tf

from mmv_tf.common.configurable import configurable
from mmv_tf.common.values import Count, NotNegative, Positive


@configurable
class LogMel:
    """Log-mel spectrogram of sound, from standard TensorFlow ops only: it can be part of an exported graph.

    The defaults are MMV's: 80 bins up to 7600 Hz of a 48 kHz waveform, a 2048-sample Hann window every 1024 samples
    (VATT's configuration names these as MMV's), zero padding at the end, so that 153600 samples give 150 frames.
    Which logarithm MMV used is not published. `log1p_scaled`, log(1 + 10000 mel), is VATT's and BraVe's;
    `log_offset`, log(mel + 1e-6), is DMVR's default.

    Args:
      sample_rate: Hz.
      window: samples under the window, also the length of the FFT.
      stride: samples from one frame to the next.
      num_bins: mel bins, M.
      min_frequency, max_frequency: edges of the mel filters, Hz.
      log_form: 'log1p_scaled' or 'log_offset'.
      normalize: map each clip to [0, 1] by its least and greatest value, as VATT does; silence becomes 0.

    Raises:
      ValueError: unknown log_form, or filters beyond half of the sample rate.
    """

    axes = 4  # of what it gives

    def __init__(
        self,
        sample_rate: Count = 48000,
        window: Count = 2048,
        stride: Count = 1024,
        num_bins: Count = 80,
        min_frequency: NotNegative = 80.0,
        max_frequency: Positive = 7600.0,
        log_form: Literal["log1p_scaled", "log_offset"] = "log1p_scaled",
        normalize: bool = False,
    ):
        if not 0 <= min_frequency < max_frequency <= sample_rate / 2:
            raise ValueError(
                f"LogMel.min_frequency = {min_frequency:g}, LogMel.max_frequency = {max_frequency:g}: the filters must "
                f"lie between 0 and {sample_rate / 2:g} Hz (half of the sample rate), in order."
            )
        self.sample_rate, self.window, self.stride = sample_rate, window, stride
        self.num_bins, self.min_frequency, self.max_frequency = num_bins, min_frequency, max_frequency
        self.log_form, self.normalize = log_form, normalize

    def num_frames(self, num_samples: int) -> int:
        """Frames T' that a waveform of `num_samples` gives."""
        return -(-num_samples // self.stride)

    def __call__(self, waveform: tf.Tensor) -> tf.Tensor:
        """[B, S] float32 in [-1, 1] -> [B, T', M, 1] float32, T' = ceil(S / stride)."""
        tfio = tensorflow_io()
        magnitude = tfio.audio.spectrogram(waveform, self.window, self.window, self.stride)
        mel = tf.matmul(magnitude, self._filters()[None])  # clip by clip, so that they round alike
        logarithm = tf.math.log1p(10000.0 * mel) if self.log_form == "log1p_scaled" else tf.math.log(mel + 1e-6)
        if self.normalize:
            low = tf.reduce_min(logarithm, [-2, -1], keepdims=True)
            high = tf.reduce_max(logarithm, [-2, -1], keepdims=True)
            logarithm = tf.math.divide_no_nan(logarithm - low, high - low)
        return logarithm[..., None]

    def _filters(self):
        """The mel filters [window / 2 + 1, M], as `tfio.audio.melscale` takes them for its one product of all clips."""
        edges = (self.sample_rate, self.min_frequency, self.max_frequency)
        return _mel_filters(self.num_bins, self.window // 2 + 1, *edges)

    def zeros(self, batch_size: int, num_samples: int) -> np.ndarray:
        """An input of the right shape, to build a network with."""
        return np.zeros([batch_size, self.num_frames(num_samples), self.num_bins, 1], np.float32)

    def in_words(self) -> str:
        """What it does, for people."""
        logarithm = {"log1p_scaled": "log(1 + 10000 mel)", "log_offset": "log(mel + 0.000001)"}[self.log_form]
        return (
            f"magnitude of a short-time Fourier transform (Hann window and FFT of {self.window} samples, one every "
            f"{self.stride} samples, zeros at the end), {self.num_bins} mel bins from {self.min_frequency:g} to "
            f"{self.max_frequency:g} Hz, {logarithm}, natural logarithm"
            f"{', scaled to [0, 1] clip by clip' if self.normalize else ''}"
        )


@functools.cache
def _mel_filters(*settings) -> np.ndarray:
    """Made once: as operations of each graph that needs it, it is a good part of tracing a pipeline."""
    with tf.init_scope(), tf.device("CPU"):
        return tf.signal.linear_to_mel_weight_matrix(*settings).numpy()


def tensorflow_io():
    """The module tensorflow_io.

    Its native library does not load with TensorFlow 2.20, and it says so in warnings. Only its functions that are
    written in TensorFlow are used here, and those need no library.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import tensorflow_io
    return tensorflow_io
