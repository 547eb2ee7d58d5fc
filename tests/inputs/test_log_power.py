"""AVID's spectrogram, against arrays of the published one."""

import gin
import numpy as np
import pytest
import tensorflow as tf

from helpers.avid_arrays import arrays
from helpers.golden_others import waveform
from helpers.golden_recipe import probes
from mmv_tf.inputs.front_ends.log_power import LogPower
from mmv_tf.inputs.pipeline import InputPipeline


def test_equals_avid_also_of_unknown_length():
    sound, front_end = waveform(1, 48000, 201), LogPower(mean=0.0, deviation=1.0)
    expected = arrays()
    for function in (front_end, tf.function(front_end, input_signature=[tf.TensorSpec([None, None])])):
        found = function(sound)[0]
        assert (found.shape[-1], *found.shape[:2]) == tuple(expected["front_end/shape"])
        np.testing.assert_allclose(probes(found, 512), expected["front_end/probes"], atol=1e-3)
    assert front_end.zeros(1, 48000).shape == (1, 200, 257, 1)


def test_statistics_of_each_bin_short_sound_and_silence():
    sound = waveform(2, 4800, 0)
    plain = LogPower(mean=0.0, deviation=1.0, num_bins=5)(sound)[..., 0]
    each = LogPower(mean=[1, 2, 3, 4, 5], deviation=[1, 2, 1, 2, 1], num_bins=5)(sound)[..., 0]
    np.testing.assert_allclose(each, (plain - [1, 2, 3, 4, 5]) / [1, 2, 1, 2, 1], rtol=1e-6)
    assert plain.shape == (2, 20, 5) and LogPower().zeros(2, 100).shape == LogPower()(sound[:, :100]).shape
    np.testing.assert_allclose(LogPower(mean=0.0, deviation=1.0)(np.zeros((1, 2400), np.float32)), -100, atol=1e-4)
    loud = LogPower(mean=0.0, deviation=1.0)(sound)
    assert float(tf.reduce_max(loud) - tf.reduce_min(loud)) <= 100.001


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fft": 1022}, "LogPower.fft = 1022"),
        ({"num_bins": 300}, "LogPower.num_bins = 300, and LogPower.fft = 1024 gives 257"),
        ({"mean": [1.0, 2.0]}, "LogPower.mean has 2 numbers for 257 bins"),
    ],
)
def test_settings_that_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        LogPower(**settings)


def test_gin_chooses_it():
    gin.parse_config("InputPipeline.audio = @LogPower()\nLogPower.sample_rate = 8000\nVideoInput.frame_rate = 10.0")
    try:
        pipeline = InputPipeline(modalities=("video", "audio"))
    finally:
        gin.clear_config()
    assert pipeline.zeros(1)["audio"].shape[2] == 257 and pipeline.audio.sample_rate == 8000
