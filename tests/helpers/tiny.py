"""Tiny records and a tiny configuration: the whole path, small enough for tests."""

import os

import cv2
import numpy as np
import tensorflow as tf

from mmv_tf.common import config
from mmv_tf.records import schema
from mmv_tf.records.card import DatasetCard, Split

WORDS = ("red", "green", "ball", "box", "rolling", "jumps")
COLOURS = ((200, 40, 40), (40, 200, 40))
SAMPLE_RATE = 8000
SMALL_CLIPS = [
    "VideoInput.num_frames = 4",
    "VideoInput.min_side = 36",
    "VideoInput.crop_size = 32",
    "VideoInput.jit_compile = False",  # whose compilation takes longer than these frames
]


def make_records(folder, count=24, shards=4, frames=10, size=40) -> str:
    """Clips of a coloured square on grey with a tone of their own; some lack text, some lack sound."""
    os.makedirs(folder, exist_ok=True)
    rs = np.random.RandomState(0)
    counts = {}
    for shard in range(shards):
        name = f"train-{shard:05d}-of-{shards:05d}"
        numbers = range(shard, count, shards)
        with tf.io.TFRecordWriter(os.path.join(folder, name)) as writer:
            for number in numbers:
                writer.write(schema.encode(_record(number, frames, size, rs)))
        counts[name] = len(numbers)
    DatasetCard(10.0, SAMPLE_RATE, size, splits={"train": Split(shards=counts)}).save(str(folder))
    return os.path.join(folder, "train-*")


def _record(number, frames, size, rs):
    jpegs = []
    for frame in range(frames):
        image = np.full((size, size, 3), 128, np.uint8)
        left = (3 * number + 2 * frame) % (size - 10)
        image[10:22, left : left + 10] = COLOURS[number % 2]
        image = np.clip(image + rs.normal(0, 8, image.shape), 0, 255).astype(np.uint8)
        jpegs.append(cv2.imencode(".jpg", image[..., ::-1])[1].tobytes())
    seconds = frames / 10
    time = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    tone = 0.3 * np.sin(2 * np.pi * (300 + 60 * number) * time) + rs.normal(0, 0.02, time.shape)
    sentences = [f"a {'red' if number % 2 == 0 else 'green'} ball", "a box is rolling"][: 1 + number % 2]
    return schema.Record(
        key=f"clip{number:03d}",
        video_path=f"videos/{number}.mp4",
        start=0.0,
        end=seconds,
        jpegs=tuple(jpegs),
        height=size,
        width=size,
        waveform=None if number % 7 == 6 else tone.astype(np.float32),
        sample_rate=SAMPLE_RATE,
        captions=() if number % 5 == 4 else tuple(schema.Caption(s, 0.0, seconds) for s in sentences),
        labels=((number % 2, sentences[0]),),
    )


def bindings(records_pattern, vocabulary) -> list[str]:
    """What makes gin/fac.gin tiny."""
    return [
        f"TRAIN_DATA = '{records_pattern}'",
        f"VOCABULARY = '{vocabulary}'",
        "STEPS = 8",
        "train.batch_size = 8",
        "train.steps_per_loop = 2",
        "train.checkpoint_every = 2",
        "warmup_cosine.warmup_steps = 2",
        "S3D.width = 0.125",
        "S3D.final_endpoint = 'Conv2d_2c_3x3'",
        "AudioResNet.depth = 10",
        "AudioResNet.width = 0.125",
        f"TextNetwork.vocabulary_size = {len(WORDS) + 1}",
        "TextNetwork.dim = 8",
        "TextNetwork.units = 16",
        "TextNetwork.learned = True",
        "Graph.spaces = {'va': 16, 'vat': 8}",
        *SMALL_CLIPS,
        f"LogMel.sample_rate = {SAMPLE_RATE}",
        "LogMel.window = 256",
        "LogMel.stride = 128",
        "LogMel.num_bins = 16",
        "LogMel.max_frequency = 3800.0",
    ]


def write_vocabulary(path) -> str:
    with open(path, "w") as file:
        file.write("\n".join(WORDS) + "\n")
    return str(path)


def untrained_workdir(workdir, folder, *more):
    """A workdir of the untrained tiny network, with `more` bindings; its records are made in `folder`."""
    from mmv_tf.training.run import train

    pattern = make_records(folder)
    vocabulary = write_vocabulary(os.path.join(folder, "vocabulary.txt"))
    config.parse(["gin/fac.gin"], [*bindings(pattern, vocabulary), *more])
    train(str(workdir), tf.distribute.get_strategy(), mode="init")
    return workdir
