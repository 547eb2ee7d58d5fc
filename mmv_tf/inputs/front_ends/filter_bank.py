"""The log filter bank of GDT, in the place of `LogMel`."""

import numpy as np
import tensorflow as tf

from mmv_tf.common.configurable import configurable
from mmv_tf.common.values import Count, NotNegative, Positive
from mmv_tf.inputs.audio import LogMel


@configurable
class FilterBank(LogMel):
    """Log of a mel filter bank as python_speech_features 0.6 makes it, with what GDT subtracts and divides by.

    facebookresearch/GDT, datasets/audio_utils.py (`get_spec`): pre-emphasis .97, rectangular windows of 20 ms every
    10 ms, the power of an FFT of 1024 divided by 1024, triangular filters, the logarithm, where 0 becomes 2**-52. The
    reference does not bring its int16 samples to [-1, 1]; `scale` makes up for that. One second at 24 kHz gives 99
    frames of 40 bands; GDT has 257 bands for two seconds and more.

        InputPipeline.audio = @FilterBank()

    The records must have sound of `sample_rate`. At 48,000 Hz, with max_frequency = 12000.0, it sees the same bands of
    the same windows, with filters half as fine.

    Args:
      sample_rate: Hz.
      num_bins: mel bands, M.
      window_seconds, stride_seconds: length of a window, and from one to the next.
      fft: length of the FFT, in samples; a longer window is cut.
      pre_emphasis: share of each sample that is taken from the next.
      min_frequency, max_frequency: edges of the filters, Hz; None: half of the sample rate.
      scale: what a sample of 1 stands for.
      mean, deviation: the result is (log - mean) / deviation.

    Raises:
      ValueError: filters beyond half of the sample rate.
    """

    def __init__(
        self,
        sample_rate: Count = 24000,
        num_bins: Count = 40,
        window_seconds: Positive = 0.02,
        stride_seconds: Positive = 0.01,
        fft: Count = 1024,
        pre_emphasis: NotNegative = 0.97,
        min_frequency: NotNegative = 0.0,
        max_frequency: Positive | None = None,
        scale: Positive = 32768.0,
        mean: float = 1.93,
        deviation: Positive = 17.89,
    ):
        # Not LogMel's constructor: what a configuration binds to that has no meaning here.
        top = sample_rate / 2 if max_frequency is None else max_frequency
        if not 0 <= min_frequency < top <= sample_rate / 2:
            raise ValueError(
                f"FilterBank.min_frequency = {min_frequency:g}, FilterBank.max_frequency = {top:g}: the filters must "
                f"lie between 0 and {sample_rate / 2:g} Hz (half of the sample rate), in order."
            )
        self.sample_rate, self.num_bins, self.fft, self.pre_emphasis = sample_rate, num_bins, fft, pre_emphasis
        self.window, self.stride = round(window_seconds * sample_rate), round(stride_seconds * sample_rate)
        self.min_frequency, self.max_frequency = min_frequency, top
        self.scale, self.mean, self.deviation = scale, mean, deviation

    def num_frames(self, num_samples: int) -> int:
        """Frames T' that a waveform of `num_samples` gives: the last of them may reach beyond its end."""
        return 1 + max(0, -(-(num_samples - self.window) // self.stride))

    def __call__(self, waveform: tf.Tensor) -> tf.Tensor:
        """[B, S] float32 in [-1, 1] -> [B, T', M, 1] float32."""
        x = self.scale * tf.convert_to_tensor(waveform, tf.float32)
        x = tf.concat([x[:, :1], x[:, 1:] - self.pre_emphasis * x[:, :-1]], 1)
        samples = tf.shape(x)[1]
        frames = 1 + tf.maximum(0, -(-(samples - self.window) // self.stride))
        x = tf.pad(x, [[0, 0], [0, tf.maximum(0, (frames - 1) * self.stride + self.window - samples)]])
        windows = tf.signal.frame(x, self.window, self.stride)[:, :, : self.fft]
        power = tf.square(tf.abs(tf.signal.rfft(windows, [self.fft]))) / self.fft
        # Clip by clip: no last digit hangs on the size of the batch.
        bands = tf.matmul(power, tf.constant(self.filters().T, tf.float32)[None])
        logarithm = tf.math.log(tf.where(bands == 0, np.float32(np.finfo(float).eps), bands))
        static = None if waveform.shape[1] is None else self.num_frames(waveform.shape[1])
        return tf.ensure_shape((logarithm - self.mean) / self.deviation, [None, static, self.num_bins])[..., None]

    def in_words(self) -> str:
        return (
            f"pre-emphasis {self.pre_emphasis:g}, power of an FFT of {self.fft} over windows of {self.window} samples, "
            f"one every {self.stride} samples, {self.num_bins} mel bands from {self.min_frequency:g} to "
            f"{self.max_frequency:g} Hz, natural logarithm, less {self.mean:g} and divided by {self.deviation:g}"
        )

    def filters(self) -> np.ndarray:
        """[M, fft // 2 + 1] float64: triangles whose corners lie evenly in mel, at whole numbers of the FFT."""
        ends = 2595 * np.log10(1 + np.array([self.min_frequency, self.max_frequency]) / 700)
        corners = 700 * (10 ** (np.linspace(*ends, self.num_bins + 2) / 2595) - 1)
        left, middle, right = (
            np.floor((self.fft + 1) * corners / self.sample_rate)[i : i + self.num_bins, None] for i in range(3)
        )
        place = np.arange(self.fft // 2 + 1)[None]
        with np.errstate(divide="ignore", invalid="ignore"):  # corners at one place, where nothing rises or falls
            rising, falling = (place - left) / (middle - left), (right - place) / (right - middle)
        return np.where(
            (left <= place) & (place < middle), rising, np.where((middle <= place) & (place < right), falling, 0.0)
        )
