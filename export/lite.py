"""The image and the audio network of an export as LiteRT files (.tflite), with what that costs in precision.

    python -m mmv_tf.export.lite --module exported/fac --output exported/fac_lite --records 'records/test-*'

    image.float32.tflite  image.int8.tflite    pictures [1,H,W,3] in [0,1]  -> before_head and the spaces
    audio.float32.tflite  audio.int8.tflite    waveforms [1,S] in [-1,1]    -> before_head and the spaces
    report.json                                bytes, milliseconds and embedding errors, as printed

Sizes are fixed: those of training unless flags say otherwise. The log-mel spectrogram is inside: LiteRT has an
operation for the Fourier transform. int8 is dynamic range quantisation: weights are stored as int8, inputs and outputs
stay float32, and no data is needed to convert. The checks of raw inputs are left out; NaN gives NaN, as in the module.
All operations are LiteRT's own, none of TensorFlow's. Run a file by `get_signature_runner()` of
`ai_edge_litert.interpreter.Interpreter(path)`, which takes `image=` or `audio=`. ai-edge-litert goes on where the
interpreter of tf.lite stops (https://developers.google.com/edge/litert/migration); the converter is still tf.lite's.

The errors are those of each file against the module on the same inputs: of the records, or, without records, of made-up
pictures and sounds, which says less.
"""

import argparse
import json
import os
import time

NETWORKS = ("image", "audio")
PRECISIONS = ("float32", "int8")


def convert(signature, name: str, shape, precision: str) -> bytes:
    """A LiteRT file of one signature.

    Args:
      signature: of the loaded module.
      name: of its input.
      shape: of the input, all sizes given.
      precision: of PRECISIONS.
    """
    import tensorflow as tf

    function = frozen(signature, name, shape).get_concrete_function(tf.TensorSpec(shape, tf.float32, name))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], tf.Module())
    if precision == "int8":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    return converter.convert()


def frozen(signature, name: str, shape):
    """A signature as a tf.function whose weights are constants: input -> {key: vector}.

    This also leaves the module's table of words behind, which no converter takes.
    """
    import tensorflow as tf
    from tensorflow.python.framework import convert_to_constants

    spec, keys = tf.TensorSpec(shape, tf.float32, name), vector_keys(signature)

    def vectors(inputs):
        outputs = signature(inputs)
        return [outputs[key] for key in keys]

    whole = tf.function(vectors, autograph=False).get_concrete_function(spec)
    constant = convert_to_constants.convert_variables_to_constants_v2(whole)
    return tf.function(lambda inputs: dict(zip(keys, constant(inputs), strict=True)), autograph=False)


def vector_keys(signature) -> list[str]:
    """The outputs of a signature that are a vector an input: all but last_conv."""
    return sorted(key for key, spec in signature.structured_outputs.items() if spec.shape.rank == 2)


class Runner:
    """A LiteRT file as a function: float32 array -> {key: array}."""

    def __init__(self, content: bytes, threads: int):
        from ai_edge_litert import interpreter

        self._interpreter = interpreter.Interpreter(model_content=content, num_threads=threads)
        self._run = self._interpreter.get_signature_runner()
        (self._input,) = self._run.get_input_details()

    def __call__(self, inputs):
        return self._run(**{self._input: inputs})


def compare(wanted, found) -> dict[str, dict[str, float]]:
    """{key: mean and least cosine, mean relative L2 error} of embeddings [N,d] against those of the module."""
    import numpy as np

    errors = {}
    for key, right in wanted.items():
        length = np.linalg.norm(right, axis=-1)
        cosines = np.sum(right * found[key], -1) / (length * np.linalg.norm(found[key], axis=-1))
        relative = np.linalg.norm(found[key] - right, axis=-1) / length
        errors[key] = {
            "cosine": float(cosines.mean()),
            "least_cosine": float(cosines.min()),
            "relative_l2": float(relative.mean()),
        }
    return errors


def milliseconds(functions, inputs, times: int) -> list[float]:
    """Median time of a call of each function; they take turns, so that a busy machine is as busy for all."""
    import numpy as np

    taken = [[] for _ in functions]
    for _ in range(times):
        for function, seen in zip(functions, taken, strict=True):
            begin = time.perf_counter()
            function(inputs)
            seen.append(1000 * (time.perf_counter() - begin))
    return [float(np.median(seen)) for seen in taken]


def _samples(name: str, shape, count: int, records: str):
    """Inputs [N,1,...] to measure with: from records, or made up of a few waves."""
    import numpy as np

    from mmv_tf.audio import LogMel

    if records:
        return _from_records(name, shape, count, records)
    rs = np.random.RandomState(0)
    if name == "audio":
        time_ = np.arange(shape[1]) / LogMel().sample_rate
        waves = [np.sin(2 * np.pi * rs.uniform(80, 7000, (1, 6)) * time_[:, None]).sum(-1) for _ in range(count)]
        # With some noise: below a pure tone lies nothing but the rounding of the Fourier transform.
        return (np.stack(waves)[:, None] / 12 + rs.normal(0, 0.01, (count, *shape))).astype(np.float32)
    ramp = [np.linspace(0, 2 * np.pi, size) for size in shape[1:3]]
    pictures = []
    for _ in range(count):
        rows, columns = (np.sin(rs.uniform(1, 9, 3) * axis[:, None] + rs.uniform(0, 6, 3)) for axis in ramp)
        pictures.append(0.5 + 0.4 * rows[:, None] * columns[None] + rs.uniform(-0.1, 0.1, shape[1:]))
    return np.stack(pictures)[:, None].astype(np.float32)


def _from_records(name, shape, count, records):
    import numpy as np
    import tensorflow as tf

    from mmv_tf.export.clip_cutter import ClipCutter, ClipSettings

    cutter, found = ClipCutter(ClipSettings.from_gin(has_audio=name == "audio"), [name]), []
    files = tf.io.gfile.glob(records)
    if not files:
        raise FileNotFoundError(f"{records}: no such records.")
    for serialized in tf.data.TFRecordDataset(sorted(files)).as_numpy_iterator():
        for item in cutter.cut(serialized):
            value = item.value.astype(np.float32) / 255 if name == "image" else item.value
            if name == "audio":
                value = np.resize(value, shape[1])
            elif value.shape != tuple(shape[1:]):
                value = tf.image.resize(value, shape[1:3]).numpy()
            found.append(value[None])
        if len(found) >= count:
            break
    return np.stack(found[:count])


def measure(module, name: str, shape, contents, samples, threads: int, times: int) -> list[dict]:
    """A row for the module and one for each file: bytes, milliseconds, errors.

    Args:
      contents: {precision: LiteRT file}.
      samples: float32 [N, *shape].
    """
    import numpy as np
    import tensorflow as tf

    signature = module.signatures[name]
    keys = vector_keys(signature)

    def exported(inputs):
        outputs = signature(tf.constant(inputs))
        return {key: outputs[key].numpy() for key in keys}

    runners = {precision: Runner(content, threads) for precision, content in contents.items()}

    def embed(function):
        rows = [function(inputs) for inputs in samples]
        return {key: np.concatenate([row[key] for row in rows]) for key in keys}

    wanted = embed(exported)
    medians = milliseconds([exported, *runners.values()], samples[0], times)
    rows = [{"network": name, "form": "SavedModel", "input": list(shape), "milliseconds": medians[0]}]
    for (precision, runner), median in zip(runners.items(), medians[1:], strict=True):
        rows.append(
            {
                "network": name,
                "form": precision,
                "input": list(shape),
                "bytes": len(contents[precision]),
                "milliseconds": median,
                "samples": len(samples),
                "errors": compare(wanted, embed(runner)),
            }
        )
    return rows


def table(rows) -> str:
    lines = [f"{'network':8}{'form':12}{'MB':>8}{'ms':>9}   output        cosine  (least)  relative L2"]
    for row in rows:
        size = f"{row['bytes'] / 1e6:.2f}" if "bytes" in row else ""
        head = f"{row['network']:8}{row['form']:12}{size:>8}{row['milliseconds']:9.1f}"
        lines += (
            [
                f"{head if number == 0 else '':37}   {key:12}{error['cosine']:8.5f} {error['least_cosine']:8.5f}"
                f"{error['relative_l2']:13.2e}"
                for number, (key, error) in enumerate(row["errors"].items())
            ]
            if "errors" in row
            else [head]
        )
    return "\n".join(lines)


def main(argv=None):
    """Converts the image and the audio network of an export to LiteRT, and measures the files."""
    parser = argparse.ArgumentParser(prog="python -m mmv_tf.export.lite", description=main.__doc__)
    parser.add_argument("--module", required=True, help="folder of an export")
    parser.add_argument("--output", required=True, help="folder to write")
    parser.add_argument("--records", default="", help="pattern of records to measure the errors on")
    parser.add_argument("--size", type=int, help="height and width of pictures (default: those of training)")
    parser.add_argument("--seconds", type=float, help="length of sounds (default: that of training)")
    parser.add_argument("--samples", type=int, default=32, help="inputs to measure the errors on (default: 32)")
    parser.add_argument(
        "--threads", type=int, default=2, help="of the interpreter; the module uses all cores (default: 2)"
    )
    parser.add_argument("--times", type=int, default=20, help="calls to take the median time of (default: 20)")
    args = parser.parse_args(argv)
    import tensorflow as tf

    from mmv_tf import files
    from mmv_tf.audio import LogMel
    from mmv_tf.export import module_files
    from mmv_tf.video import VideoInput

    module_files.parse_config(args.module)
    video, module = VideoInput(), tf.saved_model.load(args.module)
    size, seconds = args.size or video.crop_size, args.seconds or video.seconds
    os.makedirs(args.output, exist_ok=True)
    rows = []
    for name in (name for name in NETWORKS if name in module.signatures):
        shape = [1, size, size, 3] if name == "image" else [1, round(seconds * LogMel().sample_rate)]
        contents = {p: convert(module.signatures[name], name, shape, p) for p in PRECISIONS}
        for precision, content in contents.items():
            with open(os.path.join(args.output, f"{name}.{precision}.tflite"), "wb") as file:
                file.write(content)
        samples = _samples(name, shape, args.samples, args.records)
        rows += measure(module, name, shape, contents, samples, args.threads, args.times)
    report = {"module": module_files.checksum(args.module), "threads": args.threads, "rows": rows}
    report |= {"measured_on": args.records or "made-up inputs", "tensorflow": tf.__version__}
    files.write_text(os.path.join(args.output, "report.json"), json.dumps(report, indent=2) + "\n")
    print(table(rows))


def cli(argv=None):
    from mmv_tf import config

    return config.run(main, argv)


if __name__ == "__main__":
    raise SystemExit(cli())
