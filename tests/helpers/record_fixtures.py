"""Small folders of records for tests of the input pipeline."""

import functools

import numpy as np
import tensorflow as tf

from mmv_tf.records import schema
from mmv_tf.records.card import DatasetCard, Split, load

SAMPLE_RATE = 1000


@functools.lru_cache
def jpeg(level: int, height: int, width: int) -> bytes:
    """A frame of one grey level on the left and noise on the right half."""
    image = np.random.default_rng(level).integers(0, 256, (height, width, 3), np.uint8)
    image[:, : width // 2] = level
    return tf.io.encode_jpeg(image, quality=95).numpy()


def record(
    key, num_frames=12, height=40, width=48, sound=True, captions=("a dog runs",), label=3, label_name="name", **fields
):
    """Frame i has the grey level 10 + 10 i on its left; sample s of the sound is s / (number of samples)."""
    samples = num_frames * SAMPLE_RATE // 10
    return schema.Record(
        key=key,
        video_path=f"{key}.mp4",
        start=0.0,
        end=num_frames / 10,
        jpegs=tuple(jpeg(10 + 10 * (i % 24), height, width) for i in range(num_frames)),
        height=height,
        width=width,
        waveform=np.linspace(0, 1, samples, endpoint=False, dtype=np.float32) if sound else None,
        sample_rate=SAMPLE_RATE,
        captions=tuple(schema.Caption(text, 0.0, 1.0) for text in captions),
        labels=() if label is None else ((label, label_name),),
        **fields,
    )


def write_shards(directory, shards, split="train", card=True):
    """Writes lists of records as shards; returns the pattern that matches them."""
    directory.mkdir(parents=True, exist_ok=True)
    counts = {}
    for number, content in enumerate(shards):
        name = f"{split}-{number:05d}-of-{len(shards):05d}"
        counts[name] = len(content)
        with tf.io.TFRecordWriter(str(directory / name)) as writer:
            for one in content:
                writer.write(schema.encode(one))
    if card:
        there = (directory / "dataset.json").exists()
        content = load(directory) if there else DatasetCard(10.0, SAMPLE_RATE, 40)
        content.splits[split] = Split(shards=counts)
        content.save(directory)
    return str(directory / f"{split}-*")


# Every field is set.
FULL = schema.Record(
    key="a/b.mp4|1500000-3500000",
    video_path="a/b.mp4",
    start=1.5,
    end=3.5,
    jpegs=(b"\xff\xd8one", b"\xff\xd8two"),
    frame_rate=12.5,
    height=256,
    width=340,
    waveform=np.linspace(-1, 1, 96, dtype=np.float32),
    sample_rate=44100,
    captions=(schema.Caption("gießen", 1.0, 2.25), schema.Caption("pour it", 4.0, 5.0)),
    labels=((3, "cooking"), (0, "archery")),
)


def foreign(context, lists):
    """A record of another program: the bytes of a SequenceExample with these features and lists."""

    def feature(values):
        if isinstance(values[0], bytes):
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
        if isinstance(values[0], int):
            return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))

    return tf.train.SequenceExample(
        context=tf.train.Features(feature={k: feature(v) for k, v in context.items()}),
        feature_lists=tf.train.FeatureLists(
            feature_list={k: tf.train.FeatureList(feature=[feature(v) for v in vs]) for k, vs in lists.items()}
        ),
    ).SerializeToString()
