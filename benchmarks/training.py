"""Training as a whole: clips a second of the input alone, of the model alone, and of both, beside their limits.

    python benchmarks/training.py                              # gin/demo.gin, CPU-sized
    python benchmarks/training.py --gin_file=gin/fac.gin --gin_param="train.batch_size = 4"

The limit of the input is bare JPEG decoding of the frames that it uses. The limit of the model is the rate of a
float32 matrix product on this machine over the operations of a training step (three forward passes). All are
measured in turns in one run, and medians are shown.
"""

import argparse
import os
import pathlib
import statistics
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from demo.stages import with_includes  # noqa: E402


def rate(call, clips: int, seconds: float) -> float:
    """Clips a second of `call`, which handles `clips`, for about `seconds`."""
    call()
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        call()
        count += clips
    return count / (time.perf_counter() - start)


def setting(args, directory):
    """The configured pipeline, model and batch size, on records that are made here or those that a gin file names."""
    import gin
    import input_pipeline as frames

    from mmv_tf.common import config

    pattern = frames.write_records(directory, shards=4, records_per_shard=16)
    vocabulary = os.path.join(directory, "vocabulary.txt")
    with open(vocabulary, "w") as file:
        file.write("palace\npark\npeople\nwalk\nblue\nsky\n")
    files = args.gin_file or ["gin/demo.gin"]
    written = "\n".join(path.read_text("utf-8") for file in files for path in with_includes(ROOT / file, ROOT))
    data = {"TRAIN_DATA": pattern, "AUDIOSET_DATA": pattern, "VOCABULARY": vocabulary}
    data = [f"{name} = '{value}'" for name, value in data.items() if name in written]
    config.parse(files, [*data, *args.gin_param])
    import keras

    from mmv_tf.inputs.pipeline import InputPipeline
    from mmv_tf.model.mmv import MMV

    pipeline, model = InputPipeline(), MMV()
    model.build_by_call(pipeline.zeros(1))
    model.compile(optimizer=keras.optimizers.Adam(1e-4))
    model.optimizer.build(model.trainable_variables)
    return pipeline, model, gin.query_parameter("train.batch_size")


def multiply_adds(model, batch) -> int:
    """Of a forward pass of one clip, with one of its narrations."""
    import tensorflow as tf

    from mmv_tf.model.cost import count

    shapes = {name: [1, *batch[name].shape[-1 if name == "text" else 1 :]] for name in model.graph.modalities}
    inputs = {name: tf.TensorSpec(shape, batch[name].dtype) for name, shape in shapes.items()}
    return sum(part.multiply_adds for part in count(model, inputs))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    from mmv_tf.common import config

    config.add_arguments(parser)
    parser.add_argument("--seconds", type=float, default=8.0, help="of one measurement (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        import backbones
        import input_pipeline as frames
        import tensorflow as tf

        pipeline, model, batch_size = setting(args, directory)
        batch = next(iter(pipeline.training_dataset(batch_size)))
        operations = 3 * 2 * multiply_adds(model, batch)
        step = tf.function(model.train_step)
        alone, both = iter(pipeline.training_dataset(batch_size)), iter(pipeline.training_dataset(batch_size))
        clip = tf.constant(frames.photograph_frames(pipeline.video.num_frames))
        decode = (
            tf.data.Dataset.from_tensors(clip)
            .repeat()
            .map(
                lambda jpegs: [tf.io.decode_jpeg(jpegs[i], 3) for i in range(pipeline.video.num_frames)],
                tf.data.AUTOTUNE,
            )
        )
        decoded = iter(decode)
        calls = {
            "limit of the input: bare JPEG decoding": (lambda: [next(decoded) for _ in range(64)], 64),
            "input pipeline alone": (lambda: next(alone), batch_size),
            "training step alone": (lambda: step(batch)["total_loss"].numpy(), batch_size),
            "both": (lambda: step(next(both))["total_loss"].numpy(), batch_size),
        }
        product, product_operations = backbones.matrix_product()
        rates, limits = {name: [] for name in calls}, []
        for _ in range(args.rounds):
            limits.append(rate(lambda: product().numpy(), 1, 2.0) * product_operations / operations)
            for name, (call, clips) in calls.items():
                rates[name].append(rate(call, clips, args.seconds))
        print(f"batch {batch_size}, {operations / 3e9:.2f} GFLOP forward a clip, {os.cpu_count()} cores; clips/s:")
        print(f"{'limit of the model: matrix product':42s}{statistics.median(limits):10.1f}")
        for name, values in rates.items():
            print(f"{name:42s}{statistics.median(values):10.1f}")


if __name__ == "__main__":
    main()
