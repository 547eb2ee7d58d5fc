"""The image and the audio network of an export as LiteRT files (.tflite), with what that costs in precision; a file
takes one picture or sound at a time.

    python -m mmv_tf.export.lite --module exported/fac --output exported/fac_lite --records 'records/test-*'

    image.float32.tflite  image.int8.tflite    pictures [1,H,W,3] in [0,1]  -> before_head and the spaces
    audio.float32.tflite  audio.int8.tflite    waveforms [1,S] in [-1,1]    -> before_head and the spaces
    image.onnx             audio.onnx          the same, with --onnx
    report.json                                bytes, milliseconds and embedding errors, as printed

Sizes are fixed, the batch of one too: those of training unless flags say otherwise. The log-mel spectrogram is inside:
LiteRT has an operation for the Fourier transform. int8 is dynamic range quantisation: weights are stored as int8,
inputs and outputs stay float32, and no data is needed to convert. The checks of raw inputs are left out; NaN gives NaN,
as in the module. All operations are LiteRT's own, none of TensorFlow's. Run a file by `get_signature_runner()` of
`ai_edge_litert.interpreter.Interpreter(path)`, which takes `image=` or `audio=`. ai-edge-litert goes on where the
interpreter of tf.lite stops (https://developers.google.com/edge/litert/migration); the converter is still tf.lite's.

Full size (S3D-G and a ResNet-50, random weights; 200x200 pixels, 3.2 s): image 34 MB, int8 8.8 MB with relative L2
errors of 2 %; audio 99 MB, int8 25 MB with 1.5 %; float32 files differ from the module by 1e-6. On two busy cores a
picture took 81 ms in the module, 57 in float32, 16 in int8; a sound 37, 19 and 8.

The errors are those of each file against the module on the same inputs: of the records, or, without records, of made-up
pictures and sounds, which says less.
"""

import json
import os

from mmv_tf.common import command, files, paths
from mmv_tf.export import module_files

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

    from mmv_tf.export.frozen import frozen

    function = frozen(signature, name, shape).get_concrete_function(tf.TensorSpec(shape, tf.float32, name))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], tf.Module())
    if precision == "int8":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    return converter.convert()


class Runner:
    """A LiteRT file as a function: float32 array -> {key: array}."""

    def __init__(self, content: bytes, threads: int):
        from ai_edge_litert import interpreter

        self._interpreter = interpreter.Interpreter(model_content=content, num_threads=threads)
        self._run = self._interpreter.get_signature_runner()
        (self._input,) = self._run.get_input_details()

    def __call__(self, inputs):
        return self._run(**{self._input: inputs})


_THEN = """mmv_tf evaluate --module exported/fac --gin_file=gin/evals/esc50.gin --output results/esc50.json"""


def main(argv=None):
    """Converts the image and the audio network of an export to LiteRT, and measures the files."""
    parser = command.parser("lite", main.__doc__, _THEN)
    parser.add_argument("--module", type=paths.argument, required=True, help="folder of an export")
    parser.add_argument("--output", type=paths.argument, required=True, help="folder to write")
    parser.add_argument("--records", default="", help="pattern of records to measure the errors on")
    parser.add_argument("--size", type=int, help="height and width of pictures (default: those of training)")
    parser.add_argument("--seconds", type=float, help="length of sounds (default: that of training)")
    parser.add_argument("--samples", type=int, default=32, help="inputs to measure the errors on (default: 32)")
    parser.add_argument(
        "--threads", type=int, default=2, help="of the interpreter; the module uses all cores (default: 2)"
    )
    parser.add_argument("--times", type=int, default=20, help="calls to take the median time of (default: 20)")
    parser.add_argument("--onnx", action="store_true", help="write ONNX files, too (see mmv_tf.export.onnx_file)")
    module_files.add_argument(parser)
    args = parser.parse_args(argv)
    parser.check_positive(args, ("size", "seconds", "samples", "threads", "times"))
    import tensorflow as tf

    from mmv_tf.export import file_measures, onnx_file
    from mmv_tf.export.frozen import vector_keys
    from mmv_tf.inputs.pipeline import front_end
    from mmv_tf.inputs.video import VideoInput

    module_files.parse_config(args.module)
    module_files.check_operations(args.module, args.allow_file_operations)
    video, module = VideoInput(), tf.saved_model.load(args.module)
    size, seconds = args.size or video.crop_size, args.seconds or video.seconds
    os.makedirs(args.output, exist_ok=True)
    rows = []
    for name in (name for name in NETWORKS if name in module.signatures):
        signature = module.signatures[name]
        shape = [1, size, size, 3] if name == "image" else [1, round(seconds * front_end().sample_rate)]
        made = {f"{p}.tflite": (convert(signature, name, shape, p), Runner) for p in PRECISIONS}
        if args.onnx:
            made["onnx"] = onnx_file.convert(signature, name, shape), onnx_file.Runner
        for form, (content, _) in made.items():
            files.write_bytes(os.path.join(args.output, f"{name}.{form}"), content)
        runners = {form: (len(content), runner(content, args.threads)) for form, (content, runner) in made.items()}
        samples = file_measures.samples(name, shape, args.samples, args.records)
        measured = file_measures.measure(signature, vector_keys(signature), runners, samples, args.times)
        rows += [{"network": name, "input": shape, **row} for row in measured]
    report = {"module": module_files.checksum(args.module), "threads": args.threads, "rows": rows}
    report |= {"measured_on": args.records or "made-up inputs", "tensorflow": tf.__version__}
    files.write_text(os.path.join(args.output, "report.json"), json.dumps(report, indent=2) + "\n")
    print(file_measures.table(rows))


def cli(argv=None) -> int:
    return command.run(main, argv)


if __name__ == "__main__":
    raise SystemExit(cli())
