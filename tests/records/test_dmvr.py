"""Our records through the reader of DMVR, which VATT, BraVe and Scenic build on.

DMVR is not on PyPI, so its steps stand here in our words, after its sources (google-deepmind/dmvr, dmvr/builders.py:
SequenceExampleParserBuilder; dmvr/modalities.py: add_image, add_audio, add_text, add_label; dmvr/processors.py:
sample_sequence, sample_or_pad_non_sorted_sequence).
"""

import pytest
import tensorflow as tf

from helpers import record_fixtures
from mmv_tf.records import schema

NUM_FRAMES, NUM_SAMPLES, NUM_CAPTIONS, NUM_CLASSES = 4, 400, 3, 5


def parse(raw):
    """SequenceExampleParserBuilder, with all that the four functions ask for; the names are DMVR's outputs."""
    context, sequence = tf.io.parse_single_sequence_example(
        raw,
        context_features={
            "caption/string": tf.io.VarLenFeature(tf.string),
            "clip/label/index": tf.io.VarLenFeature(tf.int64),
            "clip/label/text": tf.io.VarLenFeature(tf.string),
        },
        sequence_features={
            "image/encoded": tf.io.FixedLenSequenceFeature((), tf.string),
            "WAVEFORM/feature/floats": tf.io.VarLenFeature(tf.float32),
        },
    )
    return {
        "image": sequence["image/encoded"],
        "audio": sequence["WAVEFORM/feature/floats"],
        "text": context["caption/string"],
        "label": context["clip/label/index"],
        "label_name": context["clip/label/text"],
    }


def sample(sequence, num_steps, proportion):
    """From a share of the length on (the state that image and audio have in common), or from the middle; repeats."""
    length = tf.shape(sequence)[0]
    offset = tf.maximum(0, (length - num_steps) // 2)
    if proportion is not None:
        offset = tf.cast(tf.math.round(proportion * tf.cast(length, tf.float32)), tf.int32)
    return tf.gather(sequence, (offset + tf.range(num_steps)) % length)


def read(path, proportion=None):
    """TFRecordsSource and then a video dataset that is not for training."""

    def process(raw):
        features = parse(raw)
        image = sample(features["image"], NUM_FRAMES, proportion)
        text = tf.sparse.to_dense(features["text"])[:NUM_CAPTIONS]
        label = tf.sparse.to_dense(features["label"])
        return {
            "image": tf.map_fn(lambda jpeg: tf.io.decode_jpeg(jpeg, 3), image, fn_output_signature=tf.uint8),
            "audio": sample(tf.sparse.to_dense(features["audio"])[0], NUM_SAMPLES, proportion),
            "text": tf.pad(text, [[0, NUM_CAPTIONS - tf.shape(text)[0]]], constant_values=b""),
            "label": tf.reduce_sum(tf.one_hot(label, NUM_CLASSES), axis=0),
            "label_name": tf.sparse.to_dense(features["label_name"]),
        }

    return list(tf.data.TFRecordDataset(path).map(process).as_numpy_iterator())


@pytest.fixture
def shard(tmp_path):
    content = [
        record_fixtures.record("a", captions=("nearest", "next", "third", "farthest"), label=3),
        record_fixtures.record("b", captions=(), label=None),
    ]
    record_fixtures.write_shards(tmp_path, [content])
    return str(tmp_path / "train-00000-of-00001")


def times(clip):
    """Seconds of the frames and of the sound: frame i is 10 + 10 i grey on its left, sample s is s / 1200."""
    frames = (clip["image"][:, :, :20].mean(axis=(1, 2, 3)) - 10) / 10 / 10
    return frames.tolist(), (clip["audio"] * 1.2).tolist()


def test_frames_and_sound_are_of_the_same_span(shard):
    for proportion, start in ((None, 0.4), (0.25, 0.3), (0.5, 0.6)):
        for clip in read(shard, proportion):
            frames, sound = times(clip)
            assert frames == pytest.approx([start + i / 10 for i in range(NUM_FRAMES)], abs=0.02)
            assert (sound[0], sound[-1]) == pytest.approx((start, start + 0.399), abs=1e-4)


def test_candidates_keep_their_order_and_labels_their_index(shard):
    told, untold = read(shard)
    assert told["text"].tolist() == [b"nearest", b"next", b"third"]
    assert untold["text"].tolist() == [b"", b"", b""]
    assert told["label"].tolist() == [0, 0, 0, 1, 0] and told["label_name"].tolist() == [b"name"]
    assert untold["label"].tolist() == [0, 0, 0, 0, 0]


def test_what_dmvr_itself_cannot_read_is_a_clip_without_frames():
    """Its reader of frames takes none for an error; ours gives an empty list."""
    data = schema.encode(record_fixtures.record("c", num_frames=0))
    with pytest.raises(tf.errors.InvalidArgumentError, match="image/encoded"):
        parse(data)
    assert schema.parse(data)["video"].shape == [0]
