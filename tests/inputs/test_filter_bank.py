"""The filter bank against arrays of python_speech_features, as GDT calls it."""

import gin
import numpy as np
import pytest
import tensorflow as tf

from helpers.golden_others import about, golden, waveform
from helpers.golden_recipe import probes
from mmv_tf.inputs.front_ends.filter_bank import FilterBank
from mmv_tf.inputs.pipeline import InputPipeline


@pytest.fixture(scope="module")
def samples():
    """[1, 48000] in [-1, 1], two seconds of int16 at 24 kHz."""
    asked = about("front_ends")["gdt"]["input"]
    return np.round(20000 * waveform(*asked[1])) / np.float32(32768)


def test_equals_gdt(samples):
    expected, start = golden("front_ends"), int(about("front_ends")["gdt"]["second"] * 24000)
    second = samples[:, start : start + 24000]
    found = FilterBank()(second)
    assert found.shape == (1, 99, 40, 1) and FilterBank().zeros(1, 24000).shape == found.shape
    np.testing.assert_allclose(found[0, ..., 0], expected["gdt/z"], atol=1e-4)
    np.testing.assert_allclose(FilterBank(mean=0.0, deviation=1)(second)[0, ..., 0], expected["gdt/raw"], atol=1e-3)


def test_257_bands_also_of_unknown_length(samples):
    expected, bank = golden("front_ends"), FilterBank(num_bins=257, mean=0.0, deviation=1.0)
    unknown = tf.function(bank, input_signature=[tf.TensorSpec([None, None])])
    found = unknown(samples[:, 6000:30000])[0, ..., 0]
    assert tuple(found.shape) == tuple(expected["gdt/257_bands_shape"])
    np.testing.assert_allclose(probes(found, 128), expected["gdt/257_bands_probes"], atol=1e-3)


def test_the_last_second(samples):
    found = FilterBank(mean=0.0, deviation=1.0)(samples[:, -24000:])  # which GDT takes past the end
    np.testing.assert_allclose(probes(found, 64), golden("front_ends")["gdt/past_the_end_probes"], atol=1e-3)


def test_short_sound_and_silence():
    bank = FilterBank(mean=0.0, deviation=1.0)
    found = bank(np.zeros((2, 100), np.float32))
    assert found.shape == (2, 1, 40, 1) == bank.zeros(2, 100).shape
    np.testing.assert_allclose(found, np.log(2.0**-52), rtol=1e-6)
    assert bank(np.zeros((1, 481), np.float32)).shape[1] == bank.num_frames(481) == 2


def test_it_takes_the_place_of_log_mel():
    gin.parse_config("InputPipeline.audio = @FilterBank()\nFilterBank.num_bins = 20\nLogMel.num_bins = 7")
    try:
        assert InputPipeline(modalities=("audio",)).audio.num_bins == 20
    finally:
        gin.clear_config()
    with pytest.raises(ValueError, match="between 0 and 12000 Hz"):
        FilterBank(max_frequency=13000.0)
