"""Files for TensorFlow Serving beside a module: warm-up requests, batching parameters, and calls to try.

    python -m mmv_tf.export.serving --module exported/fac            # prints a REST call for every signature

assets.extra/tf_serving_warmup_requests   a request for every signature, sent by the server before it takes others
assets.extra/batching_parameters.txt      for --batching_parameters_file

The warm-up file is a TFRecord of PredictionLog messages (tensorflow_serving/apis/prediction_log.proto). They are so
small that their protobuf wire form is written here; a dependency on tensorflow-serving-api is not worth it.
"""

import json
import os

from mmv_tf.common import command, paths
from mmv_tf.export import module_files
from mmv_tf.records import wire

WARMUP = "tf_serving_warmup_requests"
BATCHING = "batching_parameters.txt"
BATCH_SIZES = (1, 2, 4, 8, 16)

# Requests of one signature are joined along the batch only if all their other sizes agree: a server should be asked
# with one size of clip. Padding would change what the networks see, so it stays off.
_BATCHING_TEXT = """\
max_batch_size {{ value: {largest} }}
{allowed}
batch_timeout_micros {{ value: 5000 }}
max_enqueued_batches {{ value: 64 }}
num_batch_threads {{ value: 2 }}
pad_variable_length_inputs: false
"""

# Field numbers of the messages, from tensorflow_serving/apis: prediction_log.proto, predict.proto, model.proto.
_PREDICT_LOG, _REQUEST, _MODEL_SPEC, _INPUTS, _SIGNATURE_NAME = 6, 1, 1, 2, 3


def training_shapes(pipeline) -> dict[str, tuple[int, ...]]:
    """{signature: shape of the smallest request that looks like training}: one clip, picture, sound or sentence."""
    frames, height, width, channels = pipeline.video.shape
    return {
        "video": (1, frames, height, width, channels),
        "image": (1, height, width, channels),
        "audio": (1, pipeline.num_samples),
        "text": (1,),
    }


def write_warmup(folder: str, pipeline) -> None:
    """Writes the warm-up requests and the batching parameters into the assets.extra of a module.

    Args:
      folder: of the SavedModel.
      pipeline: the InputPipeline of the run, which knows the sizes of clips.
    """
    import tensorflow as tf

    from mmv_tf.common import files

    extra = os.path.join(folder, module_files.EXTRA)
    tf.io.gfile.makedirs(extra)
    shapes = training_shapes(pipeline)
    with tf.io.TFRecordWriter(os.path.join(extra, WARMUP)) as writer:
        for name, signature in module_files.signatures(folder).items():
            writer.write(_prediction_log(name, signature, shapes[name]))
    allowed = "\n".join(f"allowed_batch_sizes: {size}" for size in BATCH_SIZES)
    text = _BATCHING_TEXT.format(largest=BATCH_SIZES[-1], allowed=allowed)
    files.write_text(os.path.join(extra, BATCHING), text)


def _prediction_log(name: str, signature: module_files.Signature, shape) -> bytes:
    """A serialised PredictionLog of a predict request. One value stands for all of a tensor: it stays a few bytes."""
    import tensorflow as tf

    value = b"a sentence" if signature.input.dtype == "string" else 0.5
    tensor = tf.make_tensor_proto(value, dtype=signature.input.dtype, shape=shape)
    entry = wire.field(1, signature.argument.encode()) + wire.field(2, tensor.SerializeToString())
    request = wire.field(_MODEL_SPEC, wire.field(_SIGNATURE_NAME, name.encode())) + wire.field(_INPUTS, entry)
    return wire.field(_PREDICT_LOG, wire.field(_REQUEST, request))


def request(name: str, signature: module_files.Signature, instances) -> str:
    """The JSON of a REST predict call in row format, checked against the signature.

    Args:
      name: of the signature.
      instances: nested lists or an array, the first axis the batch; sentences for text.
    Raises:
      ValueError: type or shape are not those of the signature; names it.
    """
    import numpy as np

    values = np.asarray(instances)
    wanted = signature.input
    is_text = values.dtype.kind in "US"
    fits = values.ndim == len(wanted.shape) and all(
        size in (None, found) for size, found in zip(wanted.shape, values.shape, strict=False)
    )
    if not fits or is_text != (wanted.dtype == "string"):
        found = f"{'string' if is_text else values.dtype} {list(values.shape)}"
        raise ValueError(f"signature {name!r} takes {wanted}, not {found}")
    return json.dumps({"signature_name": name, "instances": values.tolist()}, separators=(",", ":"))


_HOW_TO = """\
# The server takes folders named by a version number: {module} goes to, for instance, /models/mmv/1
tensorflow_model_server --rest_api_port=8501 --port=8500 --model_name=mmv --model_base_path=/models/mmv \\
  --enable_batching --batching_parameters_file=/models/mmv/1/{extra}/{batching}
"""


def describe(folder: str) -> str:
    """Commands that start a server with a module and call each of its signatures."""
    lines = [_HOW_TO.format(module=folder, extra=module_files.EXTRA, batching=BATCHING)]
    for name, signature in module_files.signatures(folder).items():
        keys = ", ".join(signature.outputs)
        lines.append(f"# {name}: {signature.argument} {signature.input} -> {keys}")
        if name == "text":
            body = request(name, signature, ["a red ball"])
            lines.append(f"curl -s localhost:8501/v1/models/mmv:predict -d '{body}'\n")
        else:
            # A clip is megabytes: curl reads it from a file, not from its command line.
            script = (
                "import json, numpy as np; print(json.dumps({'signature_name': '%s', 'instances': "
                "np.load('%s.npy').round(%d).tolist()}, separators=(',', ':')))"
            )
            digits = 6 if name == "audio" else 3  # as fine as 16-bit samples, 8-bit pixels
            lines.append(f'python -c "{script % (name, name, digits)}" > {name}.json')
            lines.append(f"curl -s localhost:8501/v1/models/mmv:predict -d @{name}.json\n")
    return "\n".join(lines)


_THEN = """mmv_tf embed --videos my_videos/ --module exported/fac --output embeddings/
  mmv_tf evaluate --module exported/fac --gin_file=gin/evals/esc50.gin --output results/esc50.json"""


def main(argv=None):
    """Prints how to serve a module with TensorFlow Serving, and a REST call for every signature."""
    parser = command.parser("serving", main.__doc__, _THEN)
    parser.add_argument("--module", type=paths.argument, required=True, help="folder of an export")
    args = parser.parse_args(argv)
    print(describe(args.module))


def cli(argv=None) -> int:
    return command.run(main, argv)


if __name__ == "__main__":
    raise SystemExit(cli())
