"""Frames are those nearest in time to the sound; sound that is not there is absent."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from helpers.record_fixtures import SAMPLE_RATE, record
from mmv_tf.inputs.audio import LogMel
from mmv_tf.inputs.clip import ClipMaker
from mmv_tf.inputs.video import VideoInput
from mmv_tf.records import schema

STILL = dict(scale_jitter_probability=0.0, flip_probability=0.0, colour_probability=0.0)
LOG_MEL = dict(sample_rate=SAMPLE_RATE, window=64, stride=32, num_bins=8, min_frequency=20.0, max_frequency=400.0)


@pytest.mark.parametrize("rate", [29.97, 9.99, 25.0, 10.0, 12.5, 24.0, 30.0, 59.94, 5.0, 7.3])
@pytest.mark.parametrize(("wanted", "num_frames"), [(10.0, 16), (12.5, 8)])
def test_frames_are_the_nearest_in_time(rate, wanted, num_frames):
    video = VideoInput(num_frames=num_frames, frame_rate=wanted)
    stored = int(8 * rate)
    last = int(video._last_start(tf.constant(stored), tf.constant(rate)))
    for start in (0, 3, last):
        off = offsets(video, stored, rate, start)
        times = start / rate + np.arange(num_frames) / wanted
        np.testing.assert_allclose(
            np.abs(off), np.abs(np.arange(stored)[:, None] / rate - times).min(axis=0), atol=1e-5
        )


@pytest.mark.parametrize("rate", [29.97, 9.99, 25.0, 10.0])
def test_pictures_are_neither_early_nor_late_as_a_whole(rate):
    assert abs(offsets(VideoInput(num_frames=16), int(8 * rate), rate, 3).mean()) < 0.0011  # seconds


def offsets(video, stored, rate, start):
    """How many seconds after its time each frame of a clip was taken."""
    names = tf.strings.as_string(tf.range(stored))
    frames = video.sample(names, tf.constant(rate), tf.constant(start)).numpy().astype(int)
    return (frames - start) / rate - np.arange(video.num_frames) / video.frame_rate


def test_no_clip_of_a_long_record_goes_round():
    for rate in (4.99, 5.0, 5.01, 7.3, 9.99, 10.01, 29.97):
        for num_frames in (1, 2, 4, 5, 16, 32):
            video = VideoInput(num_frames=num_frames, frame_rate=10.0)
            stored = int(5 * rate)
            start = video._last_start(tf.constant(stored), tf.constant(rate))
            names = tf.strings.as_string(tf.range(stored))
            frames = [int(name) for name in video.sample(names, tf.constant(rate), start).numpy()]
            assert frames == sorted(frames), (rate, num_frames)


def sound_of(seconds_of_sound, seconds=8.0, pad=False, level=0.5):
    one = record("x", num_frames=round(seconds * 10), captions=())
    waveform = np.full(round(seconds_of_sound * SAMPLE_RATE), level, np.float32)
    if pad:
        waveform = np.pad(waveform, (0, len(one.waveform) - len(waveform)))
    return schema.encode(dataclasses.replace(one, waveform=waveform))


@pytest.fixture(scope="module")
def maker():
    video = VideoInput(num_frames=8, min_side=20, crop_size=16, jit_compile=False, **STILL)
    return ClipMaker(("audio",), video, LogMel(**LOG_MEL), 1)


@pytest.mark.parametrize("pad", [False, True])
def test_sound_that_is_silence_by_padding_is_absent(maker, pad):
    """2 s of sound under 8 s of pictures; as stored by others, and as our preprocessing fills it up."""
    serialized, video = sound_of(2.0, pad=pad), VideoInput(num_frames=8)
    absent = 0
    for number in range(40):
        seed = tf.constant([3, number], tf.int64)
        example = maker.traced_training(tf.constant(serialized), tf.constant(0), seed)
        start = video.random_start(
            tf.constant(80), tf.constant(10.0), tf.random.experimental.stateless_split(seed, 2)[0]
        )
        assert bool(example["audio_mask"]) == (int(start) < 20) == bool(np.any(example["audio"]))
        absent += not example["audio_mask"]
    assert absent > 20
    masks = [bool(maker.evaluation(tf.constant(serialized), clip, 10)["audio_mask"]) for clip in range(10)]
    assert masks == [True] * 3 + [False] * 7


def test_sound_that_is_there_is_present(maker):
    def mask(*arguments, **settings):
        return bool(maker.evaluation(tf.constant(sound_of(*arguments, **settings)), 0, 1)["audio_mask"])

    assert mask(8.0) and mask(8.0, level=1e-6)
    assert mask(3.65)  # of the middle clip, from 3.6 s to 4.4 s, a twentieth
    assert not mask(3.6) and not mask(8.0, level=0.0)
    assert mask(0.3, seconds=0.4)  # a short record is repeated with its sound
