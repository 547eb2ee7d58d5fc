"""The log power spectrogram of AVID, in the place of `LogMel`."""

from collections.abc import Sequence

import tensorflow as tf

from mmv_tf.common.configurable import configurable
from mmv_tf.common.values import Count, Positive
from mmv_tf.inputs.audio import LogMel


@configurable
class LogPower(LogMel):
    """Power spectrogram in dB, its frequencies averaged in pairs (AVID, arXiv 2004.12943).

    A Fourier transform of `fft` samples under a Hann window every `stride` samples, centred, the sound reflected at its
    ends; the power; bins 1 to fft / 2 averaged in pairs, bin 0 as it is; 10 log10, at least 1e-10, and at most `range`
    dB below the greatest value of the clip. Two seconds at 24 kHz give 200 frames of 257. Made after the figures of the
    published one (facebookresearch/AVID-CMA, CC BY-NC 4.0, of which nothing else is here).

        InputPipeline.audio = @LogPower()

    The records must have sound of `sample_rate`. At 48,000 Hz, with fft = 2048, stride = 480 and num_bins = 257, it
    sees the same frequencies of the same windows, 6 dB higher.

    Args:
      sample_rate: Hz.
      fft: samples of the transform and under the window; even.
      stride: samples from one frame to the next.
      num_bins: the lowest so many of the fft / 4 + 1; None: all.
      range: dB.
      mean, deviation: the result is (dB - mean) / deviation; a number, or one for each bin. AVID measures both on its
        data; ours are the means over the bins of what it has.

    Raises:
      ValueError: `fft` cannot be divided by four, or there are not so many bins; or lists of another length.
    """

    def __init__(
        self,
        sample_rate: Count = 24000,
        fft: Count = 1024,
        stride: Count = 240,
        num_bins: Count | None = None,
        range: Positive = 100.0,
        mean: float | Sequence[float] = -28.476,
        deviation: Positive | Sequence[Positive] = 19.657,
    ):
        # Not LogMel's constructor: what a configuration binds to that has no meaning here.
        if fft % 4:
            raise ValueError(f"LogPower.fft = {fft}: it must be a multiple of four, as frequencies are taken in pairs.")
        there = fft // 4 + 1
        if (num_bins or there) > there:
            raise ValueError(f"LogPower.num_bins = {num_bins}, and LogPower.fft = {fft} gives {there}.")
        self.sample_rate, self.fft, self.stride, self.num_bins = sample_rate, fft, stride, num_bins or there
        self.range, self.mean, self.deviation = range, mean, deviation
        for name in ("mean", "deviation"):
            value = getattr(self, name)
            if isinstance(value, Sequence) and len(value) != self.num_bins:
                raise ValueError(f"LogPower.{name} has {len(value)} numbers for {self.num_bins} bins.")

    def num_frames(self, num_samples: int) -> int:
        """Frames T' that a waveform of `num_samples` gives: one every `stride` samples, as far as there are so many."""
        return max(1, num_samples // self.stride)

    def __call__(self, waveform: tf.Tensor) -> tf.Tensor:
        """[B, S] float32 in [-1, 1] -> [B, T', M, 1] float32."""
        waveform = tf.convert_to_tensor(waveform, tf.float32)
        static = None if waveform.shape[1] is None else self.num_frames(waveform.shape[1])
        samples = tf.shape(waveform)[1]
        # A sound shorter than half a window has not enough to reflect: zeros make it long enough.
        waveform = tf.pad(waveform, [[0, 0], [0, tf.maximum(0, self.fft // 2 + 1 - samples)]])
        centred = tf.pad(waveform, [[0, 0], [self.fft // 2, self.fft // 2]], "REFLECT")
        spectrum = tf.signal.stft(centred, self.fft, self.stride, self.fft)
        power = tf.square(tf.abs(spectrum[:, : tf.maximum(1, samples // self.stride)]))
        pairs = tf.reshape(power[..., 1:], [*tf.unstack(tf.shape(power)[:2]), self.fft // 4, 2])
        power = tf.concat([power[..., :1], tf.reduce_mean(pairs, -1)], -1)[..., : self.num_bins]
        decibel = tf.math.log(tf.maximum(power, 1e-10)) * (10 / tf.math.log(10.0))
        decibel = tf.maximum(decibel, tf.reduce_max(decibel, [1, 2], keepdims=True) - self.range)
        scaled = (decibel - tf.constant(self.mean, tf.float32)) / tf.constant(self.deviation, tf.float32)
        return tf.ensure_shape(scaled, [None, static, self.num_bins])[..., None]

    def in_words(self) -> str:
        one = [f"{x:g}" if not isinstance(x, Sequence) else "one of each bin" for x in (self.mean, self.deviation)]
        return (
            f"power of a short-time Fourier transform (Hann window and FFT of {self.fft} samples, centred, one every "
            f"{self.stride} samples, reflected at the ends), frequencies averaged in pairs, of which the lowest "
            f"{self.num_bins}, 10 log10, at most {self.range:g} dB below the greatest, less {one[0]} and divided by "
            f"{one[1]}"
        )
