"""Times of what is cut from records that are shorter than a clip."""

import dataclasses

import pytest

from helpers import record_fixtures as fixtures
from mmv_tf.beam.specs import Settings
from mmv_tf.export.embedding.clip_cutter import ClipCutter, ClipSettings
from mmv_tf.inputs.audio import LogMel
from mmv_tf.records import schema


@pytest.fixture(scope="module")
def cutter():
    return ClipCutter(ClipSettings(4, 10.0, 40, 40, None), ("video", "image"))


@pytest.mark.parametrize(("frames", "rate"), [(1, 10.0), (2, 10.0), (3, 10.0), (4, 10.0), (5, 25.0), (9, 25.0)])
def test_no_time_lies_beyond_the_record_and_a_picture_has_that_of_its_frame(cutter, frames, rate):
    record = fixtures.record("k", num_frames=frames, sound=False)
    record = dataclasses.replace(record, start=5.0, end=5.0 + frames / rate, frame_rate=rate)
    made = list(cutter.cut(schema.encode(record)))
    assert {item.modality for item in made} == {"video", "image"}
    for item in made:
        assert 5.0 <= item.start <= item.end <= record.end + 1e-6
        if item.modality == "image":
            shown = (float(item.value[20, 4, 0]) - 10) / 10  # frame i has the grey level 10 + 10 i on its left
            assert item.start == item.end < record.end
            assert shown == pytest.approx(round((item.start - 5.0) * rate), abs=0.4)


def test_a_source_is_decoded_as_the_module_wants_it():
    clips = ClipSettings(4, 8.0, 40, 32, LogMel(sample_rate=16000))
    expected = Settings(frame_rate=8.0, short_side=40, sample_rate=16000, jpeg_quality=95, clip_seconds=0.5)
    assert clips.decoding() == expected
    changed = dataclasses.replace(expected, jpeg_quality=90, clip_seconds=30.0, max_pixels=9)
    assert clips.decoding(jpeg_quality=90, clip_seconds=30.0, max_pixels=9) == changed
    assert dataclasses.replace(clips, audio=None).decoding() == dataclasses.replace(expected, sample_rate=48000)
