"""Held-out clips from records, and embeddings through hub.KerasLayer."""

import cv2
import numpy as np
import pytest
import tensorflow as tf

from demo import embed
from mmv_tf.inputs.video import VideoInput
from mmv_tf.records import schema

RATE = 4800  # of the sound, Hz; small, for speed


def record(key, seconds, loud=0.5, frames=True, sound=True):
    """A clip at 10 fps whose frames get brighter by 5 a frame, and whose sound is a ramp."""
    count = int(seconds * 10)
    jpegs = [cv2.imencode(".jpg", np.full((24, 16, 3), 5 * n, np.uint8))[1].tobytes() for n in range(count)]
    return schema.Record(
        key=key,
        video_path=key.rsplit(":", 1)[0],
        start=10.0,
        end=10.0 + seconds,
        jpegs=tuple(jpegs) if frames else (),
        height=24,
        width=16,
        waveform=np.linspace(-loud, loud, round(seconds * RATE), dtype=np.float32) if sound else None,
        sample_rate=RATE,
    )


@pytest.fixture
def pattern(tmp_path):
    whole = [
        record("a/04.mp4:10-12.5", 2.5),
        record("b/04.mp4:10-10.5", 0.5, loud=0.0),
        record("c/04.mp4:10-12", 2.0, frames=False),
        record("d/04.mp4:10-12", 2.0, sound=False),
    ]
    path = str(tmp_path / "test-00000-of-00001")
    with tf.io.TFRecordWriter(path) as writer:
        for one in whole:
            writer.write(schema.encode(one))
    return str(tmp_path / "test-*")


def test_clips_follow_one_another_and_short_records_repeat(pattern):
    video_input = VideoInput(num_frames=4, frame_rate=4.0, min_side=16, crop_size=8)
    first, second, short = embed.read_clips(pattern, video_input, RATE)
    assert [sample.clip.video for sample in (first, second, short)] == ["a/04.mp4", "a/04.mp4", "b/04.mp4"]
    assert (first.clip.start, first.clip.end, second.clip.start) == (10.0, 11.0, 11.0)
    assert [sample.clip.number for sample in (first, second, short)] == [0, 1, 2]
    # Frames 0, 2, 5, 8 of a second are nearest to a clip of four (2.5 and 7.5 lie between two); 5 levels a frame.
    np.testing.assert_allclose(first.frames.mean(axis=(1, 2, 3)), [0, 10, 25, 40], atol=2)
    np.testing.assert_allclose(second.frames.mean(axis=(1, 2, 3)), [50, 60, 75, 90], atol=2)
    assert first.frames.shape == (4, 8, 8, 3) and first.frames.dtype == np.uint8
    assert first.shown.shape == (3, 24, 16, 3)
    ramp = np.linspace(-0.5, 0.5, round(2.5 * RATE), dtype=np.float32)
    np.testing.assert_allclose(first.waveform, ramp[:RATE], atol=1e-6)
    np.testing.assert_allclose(second.waveform, ramp[RATE : 2 * RATE], atol=1e-6)
    assert [sample.clip.left_out for sample in (first, second, short)] == ["", "", "silent"]
    assert len(short.waveform) == RATE and len(short.frames) == 4
    assert len(list(embed.read_clips(pattern, video_input, RATE, most=1))) == 1


def test_embeds_in_batches_through_the_signatures_of_an_export(tmp_path):
    module = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, None, 3], tf.float32)])
    def video(x):
        return {"before_head": tf.reduce_mean(x, [1, 2, 3]), "va": tf.reduce_max(x, [1, 2, 3])}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def text(x):
        return {"before_head": tf.zeros([tf.shape(x)[0], 1]), "vat": tf.cast(tf.strings.length(x), tf.float32)[:, None]}

    module.__call__ = video  # as in our exports: hub.KerasLayer takes a loaded object only if it is callable
    tf.saved_model.save(module, str(tmp_path / "export"), signatures={"video": video, "text": text})
    model = embed.HubModel(str(tmp_path / "export"))
    count = embed.BATCH + 3
    frames = np.zeros((count, 2, 4, 4, 3), np.uint8) + np.arange(count, dtype=np.uint8)[:, None, None, None, None]
    got = model.embed({"video": frames, "audio": np.zeros((count, 8), np.float32), "text": np.array(["ab", "c"])})
    assert set(got) == {"video", "text"} and set(got["video"]) == {"va"}  # this export knows no audio
    np.testing.assert_allclose(got["video"]["va"], np.arange(count)[:, None] / 255 * np.ones(3), rtol=1e-6)
    np.testing.assert_allclose(got["text"]["vat"], [[2.0], [1.0]])
