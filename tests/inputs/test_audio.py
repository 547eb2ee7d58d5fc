import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import op_def_registry

from mmv_tf.inputs.audio import LogMel


def mel_by_hand(waveform, sample_rate, window, stride, num_bins, low, high):
    """[S] -> [T', M] with numpy alone: Hann window, FFT magnitude, triangles on the HTK mel scale."""
    frames = -(-len(waveform) // stride)
    padded = np.pad(waveform.astype(np.float64), [0, frames * stride + window])
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    magnitude = np.abs([np.fft.rfft(padded[i * stride : i * stride + window] * hann) for i in range(frames)])

    def mel(hertz):
        return 1127.0 * np.log1p(np.asarray(hertz) / 700.0)

    bins = mel(np.fft.rfftfreq(window, 1 / sample_rate))
    edges = np.linspace(mel(low), mel(high), num_bins + 2)
    rising = (bins[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins[:, None]) / (edges[2:] - edges[1:-1])
    weights = np.maximum(0, np.minimum(rising, falling))
    weights[0] = 0  # TensorFlow leaves the constant part out
    return magnitude @ weights


def test_values_by_hand():
    time = np.arange(20000) / 48000
    waveform = np.stack([0.5 * np.sin(2 * np.pi * 440 * time), np.random.default_rng(0).uniform(-1, 1, 20000)])
    mel = np.stack([mel_by_hand(w, 48000, 2048, 1024, 80, 80.0, 7600.0) for w in waveform])
    result = LogMel()(tf.constant(waveform, tf.float32))
    assert result.shape == [2, 20, 80, 1]
    # Compared before the logarithm, which magnifies the rounding of float32 where there is next to no sound.
    np.testing.assert_allclose(np.expm1(result[..., 0]) / 10000, mel, rtol=1e-4, atol=3e-5)
    result = LogMel(log_form="log_offset")(tf.constant(waveform, tf.float32))
    np.testing.assert_allclose(np.exp(result[..., 0]), mel + 1e-6, rtol=1e-4, atol=3e-5)


def test_a_tone_is_in_its_bin():
    time = np.arange(48000) / 48000
    mel = LogMel()(tf.constant(np.sin(2 * np.pi * 1000 * time)[None], tf.float32))[0, :, :, 0].numpy()
    centers = np.linspace(np.log1p(80 / 700), np.log1p(7600 / 700), 82)[1:-1]
    assert set(mel[:-2].argmax(axis=1)) == {np.abs(centers - np.log1p(1000 / 700)).argmin()}


def test_mmv_sizes():
    assert LogMel()(tf.zeros([1, 153600])).shape == [1, 150, 80, 1]
    assert LogMel().zeros(2, 76800).shape == (2, 75, 80, 1)


def test_normalized_per_clip_and_silence_is_finite():
    waveform = tf.stack([tf.zeros([5000]), tf.sin(tf.range(5000.0) * 0.1)])
    result = LogMel(normalize=True, log_form="log_offset")(waveform).numpy()
    assert result[1].min() == 0 and result[1].max() == 1
    np.testing.assert_array_equal(result[0], 0)


def test_standard_ops_only():
    function = tf.function(LogMel()).get_concrete_function(tf.TensorSpec([None, None], tf.float32))
    types = {op.type for op in function.graph.get_operations()}
    assert "RFFT" in types
    assert not [name for name in types if op_def_registry.get(name) is None or name.startswith("IO>")]


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="LogMel.log_form = 'log10': must be 'log1p_scaled' or 'log_offset'"):
        LogMel(log_form="log10")
    with pytest.raises(ValueError, match="8000 Hz"):
        LogMel(sample_rate=16000, max_frequency=9000.0)
