import numpy as np
import pytest
import tensorflow as tf

from helpers.record_fixtures import record
from mmv_tf.inputs.audio import LogMel
from mmv_tf.inputs.clip import ClipMaker
from mmv_tf.inputs.video import VideoInput
from mmv_tf.records import schema

CLIP = VideoInput(num_frames=4, min_side=20, crop_size=16)  # 0.4 s
# A record of 1.2 s from second 100 on; its narrations are nearest to its middle first, as preprocessing stores them.
NARRATIONS = [("middle", 100.5, 100.7), ("late", 100.8, 100.9), ("early", 100.2, 100.3), ("before", 98.0, 99.0)]


def texts(clip, captions, max_candidates=2):
    one = record("x", sound=False, captions=())
    fields = dict(start=100.0, end=101.2, captions=tuple(schema.Caption(*caption) for caption in captions))
    serialized = schema.encode(one.__class__(**{**one.__dict__, **fields}))
    maker = ClipMaker(("text",), CLIP, None, max_candidates)
    example = maker.evaluation(tf.constant(serialized), clip, 3)  # three clips, from 100.0, 100.4 and 100.8 on
    return [text.decode() for text in example["text"].numpy()]


@pytest.mark.parametrize(
    ("clip", "expected"), [(0, ["early", "middle"]), (1, ["middle", "late"]), (2, ["late", "middle"])]
)
def test_narrations_are_those_nearest_to_the_clip(clip, expected):
    assert texts(clip, NARRATIONS) == expected


def test_where_nothing_is_to_choose_the_stored_order_stays():
    assert texts(2, NARRATIONS, max_candidates=4) == ["middle", "late", "early", "before"]
    assert texts(2, NARRATIONS[:1]) == ["middle", ""]
    assert texts(2, [(text, 100.0, 101.2) for text in "ab"]) == ["a", "b"]


@pytest.mark.parametrize("sample", [0.0, -0.5, np.nan])
def test_sound_is_there_unless_it_is_silence(sample):
    """NaN is no silence: it must be seen, and stop a run."""
    one = record("x", captions=())
    waveform = np.zeros_like(one.waveform)
    waveform[-1] = 0.25
    serialized = schema.encode(one.__class__(**{**one.__dict__, "waveform": waveform}))
    serialized = serialized.replace(np.float32(0.25).tobytes(), np.float32(sample).tobytes())
    whole = VideoInput(num_frames=12, min_side=20, crop_size=16)
    audio = LogMel(sample_rate=one.sample_rate, max_frequency=400)
    found = ClipMaker(("audio",), whole, audio, 1).evaluation(serialized, 0, 1)
    np.testing.assert_array_equal(found["audio"][-1], np.float32(sample))
    assert bool(found["audio_mask"]) == (sample != 0)


@pytest.mark.parametrize("frames, frame_rate, rate", [(53, 25.0, 48000), (53, 6.25, 48000), (7, 30.0, 8000)])
def test_a_record_of_sound_alone_ends_with_its_last_sample(frames, frame_rate, rate):
    """So many frames in float32 are a little less; at 8 kHz sound of 7 frames is a third of a sample shorter."""
    waveform = np.linspace(0.1, 0.9, round(frames / frame_rate * rate), dtype=np.float32)
    serialized = schema.encode(schema.Record("k", "p", 0.0, frames / frame_rate, waveform=waveform, sample_rate=rate))
    video = VideoInput(num_frames=frames, frame_rate=frame_rate, min_side=20, crop_size=16)
    maker = ClipMaker(("video", "audio"), video, LogMel(sample_rate=rate, max_frequency=3900), 1)
    stored = maker.stored(schema.parse(serialized))
    assert [float(one) for one in stored] == [frames, frame_rate]
    np.testing.assert_array_equal(maker.evaluation(serialized, 0, 1)["audio"], waveform)
    cut = schema.encode(schema.Record("k", "p", 0.0, 1.0, waveform=waveform[:-2], sample_rate=rate))
    assert int(maker.stored(schema.parse(cut))[0]) == frames - 1
