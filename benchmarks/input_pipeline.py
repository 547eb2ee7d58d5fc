"""Speed of the input pipeline beside bare JPEG decoding of the same frames; clips a second, side by side in one run.

    python benchmarks/input_pipeline.py

The bar is a pipeline with all augmentation on at 60 % of bare decoding, and at 85 % where an accelerator finishes its
batches (InputPipeline.finish_on). Every line is measured in turns, several times
over, and the median is shown, so that other work on the machine disturbs all of them alike.
"""

import argparse
import os
import pathlib
import statistics
import sys
import tempfile
import time

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", help="pattern of records to read; a photograph that moves, if not given")
    parser.add_argument("--num_frames", type=int, default=16)
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=4.0, help="of one measurement (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402


def photograph_frames(num_frames):
    """256 x 340 pixels of a photograph under a camera that pans: real detail, which decides how long decoding takes."""
    from sklearn.datasets import load_sample_image

    photo = tf.image.resize(load_sample_image("china.jpg"), [300, 450], antialias=True)
    photo = tf.cast(tf.clip_by_value(photo, 0, 255), tf.uint8)
    places = [(i % 40, (2 * i) % 100) for i in range(num_frames)]
    return [tf.io.encode_jpeg(photo[y : y + 256, x : x + 340], quality=85).numpy() for y, x in places]


def write_records(directory, shards=4, records_per_shard=4, num_frames=50):
    """Clips of 5 s with sound and captions."""
    from mmv_tf.records import schema
    from mmv_tf.records.naming import shard_name

    jpegs = tuple(photograph_frames(num_frames))
    waveform = np.random.default_rng(0).uniform(-0.5, 0.5, num_frames * 4800).astype(np.float32)
    captions = tuple(schema.Caption(text, 0, 1) for text in ("a palace in the park", "people walk by", "a blue sky"))
    for shard in range(shards):
        with tf.io.TFRecordWriter(os.path.join(directory, shard_name("train", shard, shards))) as writer:
            for i in range(records_per_shard):
                record = schema.Record(
                    f"{shard}/{i}", "a.mp4", 0, num_frames / 10, jpegs, 10.0, 256, 340, waveform, 48000, captions
                )
                writer.write(schema.encode(record))
    return os.path.join(directory, "train-*")


def contenders(pattern, num_frames, batch_size):
    """{name: (dataset, clips an element)}."""
    from mmv_tf.inputs.audio import LogMel
    from mmv_tf.inputs.pipeline import InputPipeline, Source
    from mmv_tf.inputs.text import Tokenizer
    from mmv_tf.inputs.video import VideoInput
    from mmv_tf.records import schema

    def pipeline(modalities, **video):
        words = ("palace", "park", "people", "walk", "blue", "sky")
        video = VideoInput(num_frames=num_frames, **video)
        return InputPipeline([Source(pattern)], modalities, video, LogMel(), Tokenizer(words))

    everything = pipeline(("video", "audio", "text"))
    raw = everything._training_examples(batch_size).records()
    parsed = raw.map(lambda serialized, *_: schema.parse(serialized), tf.data.AUTOTUNE, deterministic=True)
    clips = [record["video"][:num_frames] for record in parsed.take(8)]
    stored = tf.data.Dataset.zip(raw.take(8).cache().repeat(), tf.data.Dataset.counter())
    video_only = pipeline(("video",))
    for_accelerator = video_only.boxed()

    def without_reading(pipeline):
        examples = stored.map(
            lambda element, i: pipeline.clips.training(element[0], 0, tf.stack([i, i])),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
        return pipeline._batches(examples, batch_size, training=True), batch_size

    in_memory = tf.data.Dataset.from_tensor_slices(tf.stack(clips)).cache().repeat()

    def bare(**settings):
        def decode(jpegs):
            return [tf.io.decode_jpeg(jpegs[i], channels=3, **settings) for i in range(num_frames)]

        return in_memory.map(decode, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)

    return {
        "bare decode_jpeg of the frames": (bare(), 1),
        "bare decode_jpeg, INTEGER_FAST": (bare(dct_method="INTEGER_FAST"), 1),
        "read and parse only": (parsed, 1),
        "video, all augmentation": (video_only.training_dataset(batch_size), batch_size),
        "the same, records in memory": without_reading(video_only),
        "video, for an accelerator": (for_accelerator.training_dataset(batch_size), batch_size),
        "the same so, records in memory": without_reading(for_accelerator),
        "video, evaluation": (video_only.evaluation_dataset(pattern, batch_size).repeat(), batch_size),
        "video, audio and text": (everything.training_dataset(batch_size), batch_size),
        "the same, for an accelerator": (everything.boxed().training_dataset(batch_size), batch_size),
        "audio only": (pipeline(("audio",)).training_dataset(batch_size), batch_size),
    }


def measure(datasets, seconds, rounds):
    """Prints clips a second and processor time of each, with ratios to the first; medians over the rounds."""
    options = tf.data.Options()
    options.experimental_optimization.inject_prefetch = False  # nothing may run in another one's turn, if avoidable
    rates, costs = {name: [] for name in datasets}, {name: [] for name in datasets}
    for _ in range(rounds):
        for name, (dataset, clips) in datasets.items():
            iterator = iter(dataset.with_options(options))  # a new one each time: it stops when it is dropped
            for _ in range(64 // clips):  # until what runs ahead is full
                next(iterator)
            count, start, cpu_start = 0, time.perf_counter(), time.process_time()
            while time.perf_counter() - start < seconds:
                next(iterator)
                count += clips
            rates[name].append(count / (time.perf_counter() - start))
            costs[name].append((time.process_time() - cpu_start) / count * 1000)
            del iterator
    first = next(iter(rates))
    print(f"{'':34s} {'clips/s':>9s} {'ratio':>8s} {'core-ms/clip':>14s} {'ratio':>8s}")
    for name in datasets:
        by_rate = statistics.median(a / b for a, b in zip(rates[name], rates[first], strict=True))
        by_cost = statistics.median(b / a for a, b in zip(costs[name], costs[first], strict=True))
        rate, cost = statistics.median(rates[name]), statistics.median(costs[name])
        print(f"{name:34s} {rate:9.1f} {100 * by_rate:6.1f} % {cost:14.2f} {100 * by_cost:6.1f} %", flush=True)


def main():
    from mmv_tf.common import batches

    batches.keep_freed_memory()  # as the commands do
    with tempfile.TemporaryDirectory() as directory:
        pattern = args.records or write_records(directory)
        print(f"{args.num_frames} frames a clip, batches of {args.batch_size}, {os.cpu_count()} cores")
        measure(contenders(pattern, args.num_frames, args.batch_size), args.seconds, args.rounds)


if __name__ == "__main__":
    main()
