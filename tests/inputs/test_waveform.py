"""The waveform as an input, and its noise in training."""

import gin
import numpy as np
import pytest
import tensorflow as tf

from helpers.record_fixtures import SAMPLE_RATE, record, write_shards
from mmv_tf.inputs.augmentation.sound import SoundAugment
from mmv_tf.inputs.front_ends.waveform import Waveform
from mmv_tf.inputs.mixture import Source
from mmv_tf.inputs.pipeline import InputPipeline, front_end
from mmv_tf.inputs.video import VideoInput


@pytest.fixture(scope="module")
def pattern(tmp_path_factory):
    return write_shards(tmp_path_factory.mktemp("records"), [[record("a"), record("b", sound=False), record("c")]])


def pipeline(pattern, sound=None, **options):
    video = VideoInput(num_frames=4, min_side=8, crop_size=8)
    return InputPipeline([Source(pattern)], ("audio",), video, Waveform(SAMPLE_RATE), sound=sound, **options)


def first(pipeline, seed=0, start=0):
    return next(iter(pipeline.training_dataset(3, seed=seed, start_step=start)))


@pytest.fixture(scope="module")
def plain(pattern):
    """A batch of sound as it is stored."""
    return first(pipeline(pattern))


def test_samples_come_as_they_are(pattern, plain):
    assert pipeline(pattern).zeros(2)["audio"].shape == (2, 400)
    batch = plain
    assert batch["audio"].shape == (3, 400) and batch["audio"].dtype == tf.float32
    for samples, there in zip(batch["audio"].numpy(), batch["audio_mask"].numpy(), strict=True):
        # Sample s of a record is s / 1200.
        np.testing.assert_allclose(np.diff(samples), 1 / 1200 if there else 0, atol=1e-6)
    assert sorted(batch["audio_mask"].numpy()) == [False, True, True]
    assert Waveform().zeros(2, 7).shape == (2, 7) == (2, Waveform().num_frames(7))


def test_a_level_makes_quiet_sound_as_loud_as_any_and_leaves_silence():
    sound = np.sin(np.arange(800, dtype=np.float32)).reshape(1, -1) * np.array([[0.9], [0.001], [0.0]], np.float32)
    loud, quiet, silent = Waveform(level=0.5)(sound).numpy()
    np.testing.assert_allclose(np.sqrt(np.mean(np.square([loud, quiet]), axis=1)), 0.5, rtol=1e-5)
    np.testing.assert_allclose(loud, quiet, atol=1e-6)
    np.testing.assert_array_equal(silent, 0.0)
    np.testing.assert_array_equal(Waveform()(sound), sound)
    assert "mean square of 0.5" in Waveform(level=0.5).in_words() and "square" not in Waveform().in_words()


def test_noise_in_training_is_a_share_of_the_greatest_sample_and_comes_again(pattern, plain):
    noisy, without = pipeline(pattern, SoundAugment(noise=0.05)), plain
    with_noise, deviations = first(noisy), []
    for i in range(3):
        noise, clean = with_noise["audio"][i] - without["audio"][i], without["audio"][i].numpy()
        if without["audio_mask"][i]:
            deviations.append(np.std(noise) / np.abs(clean).max())
        else:
            np.testing.assert_array_equal(noise, 0.0)  # silence stays silent
    np.testing.assert_allclose(deviations, 0.05, rtol=0.15)
    np.testing.assert_array_equal(first(noisy)["audio"], with_noise["audio"])
    # Other noise for each clip and each seed: what is not the even rise of the samples goes together in no two of them.
    made = [one for step in (with_noise, first(noisy, seed=1)) for one in step["audio"][step["audio_mask"]].numpy()]
    alike = np.corrcoef(np.diff(made) - 1 / 1200) - np.eye(4)
    assert np.abs(alike).max() < 0.25
    (looked_at,) = noisy.evaluation_dataset(pattern, 3)
    for samples, there in zip(looked_at["audio"], (True, False, True), strict=True):
        np.testing.assert_array_equal(samples, record("a").waveform[400:800] * there)


def test_masks_of_a_spectrogram_are_refused(pattern):
    with pytest.raises(ValueError, match="SoundAugment.frequency_masks and time_masks .* @Waveform"):
        pipeline(pattern, SoundAugment(time_masks=1))
    views = {"audio_2": ("audio", {"sound": SoundAugment(frequency_masks=1)})}
    with pytest.raises(ValueError, match="SoundAugment.frequency_masks and time_masks .* @Waveform"):
        pipeline(pattern, views=views)


def test_the_configured_front_end_needs_no_vocabulary():
    gin.parse_config("InputPipeline.audio = @Waveform()\nWaveform.sample_rate = 16000")
    try:
        assert isinstance(front_end(), Waveform) and front_end().sample_rate == 16000
    finally:
        gin.clear_config()
