"""Warm-up requests and REST calls, against the messages of TensorFlow Serving and the signatures of a module."""

import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

from helpers import tiny, tiny_export
from mmv_tf.export import module_files, serving


def _message_classes():
    """The messages of tensorflow_serving/apis, as far as they matter: numbers, names and types as published."""
    file = descriptor_pb2.FileDescriptorProto(name="serving_of_this_test.proto", package="t", syntax="proto3")
    file.dependency.append("tensorflow/core/framework/tensor.proto")
    string, integer, boolean, message = 9, 3, 8, 11

    def add(name, *fields):
        added = file.message_type.add(name=name)
        for number, field, kind, type_name, is_repeated in fields:
            added.field.add(
                name=field, number=number, type=kind, type_name=type_name or None, label=3 if is_repeated else 1
            )
        return added

    add("ModelSpec", (1, "name", string, "", False), (3, "signature_name", string, "", False))
    request = add(
        "PredictRequest",
        (1, "model_spec", message, ".t.ModelSpec", False),
        (2, "inputs", message, ".t.PredictRequest.InputsEntry", True),
    )
    entry = request.nested_type.add(name="InputsEntry")
    entry.field.add(name="key", number=1, type=string, label=1)
    entry.field.add(name="value", number=2, type=message, type_name=".tensorflow.TensorProto", label=1)
    entry.options.map_entry = True
    add("PredictLog", (1, "request", message, ".t.PredictRequest", False))
    add("PredictionLog", (6, "predict_log", message, ".t.PredictLog", False))
    add("Int64Value", (1, "value", integer, "", False))
    add(
        "BatchingParameters",
        (1, "max_batch_size", message, ".t.Int64Value", False),
        (2, "batch_timeout_micros", message, ".t.Int64Value", False),
        (3, "max_enqueued_batches", message, ".t.Int64Value", False),
        (4, "num_batch_threads", message, ".t.Int64Value", False),
        (6, "allowed_batch_sizes", integer, "", True),
        (7, "pad_variable_length_inputs", boolean, "", False),
    )
    pool = descriptor_pool.Default()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"t.{name}"))
        for name in ("PredictionLog", "BatchingParameters")
    }


MESSAGES = _message_classes()


@pytest.fixture(scope="module")
def export():
    return tiny_export.export()


@pytest.fixture(scope="module")
def module():
    return tiny_export.module()


def test_a_warm_up_request_for_every_signature_runs(export, module):
    path = export.module / "assets.extra" / serving.WARMUP
    logs = [MESSAGES["PredictionLog"].FromString(record.numpy()) for record in tf.data.TFRecordDataset(str(path))]
    requests = {log.predict_log.request.model_spec.signature_name: log.predict_log.request for log in logs}
    assert set(requests) == set(module.signatures) == {"video", "image", "audio", "text"} and len(logs) == 4
    frames, size = 4, 32  # as tests/helpers/tiny.py has them
    shapes = {
        "video": [1, frames, size, size, 3],
        "image": [1, size, size, 3],
        "audio": [1, frames * tiny.SAMPLE_RATE // 10],
        "text": [1],
    }
    for name, request in requests.items():
        ((argument, tensor),) = request.inputs.items()
        assert argument == name
        # The server makes a tensor of it as TensorFlow's C++ does: the last value fills what is not given.
        value = tf.io.parse_tensor(tensor.SerializeToString(), tf.dtypes.as_dtype(tensor.dtype))
        assert value.shape == shapes[name]
        assert value.numpy().flat[-1] == (b"a sentence" if name == "text" else 0.5)
        outputs = module.signatures[name](**{argument: value})
        assert all(np.isfinite(output).all() for output in outputs.values())
    assert path.stat().st_size < 1000


def test_the_batching_parameters_are_a_message_that_a_server_accepts(export):
    text = (export.module / "assets.extra" / serving.BATCHING).read_text()
    parameters = text_format.Parse(text, MESSAGES["BatchingParameters"]())
    allowed = list(parameters.allowed_batch_sizes)
    # The server's own conditions: ascending, and the last one the largest batch.
    assert allowed == sorted(set(allowed)) == [1, 2, 4, 8, 16] and allowed[-1] == parameters.max_batch_size.value
    assert not parameters.pad_variable_length_inputs


INSTANCES = {
    "video": np.full((2, 3, 20, 24, 3), 0.25),
    "image": np.full((1, 33, 20, 3), 0.25),
    "audio": np.full((2, 1000), -0.125),
    "text": ["a red ball", 'quoted "box" \u00fc\U0001f600'],
}


@pytest.mark.parametrize("name", INSTANCES)
def test_a_rest_call_gives_what_the_module_gives(export, module, name):
    signature = module_files.signatures(str(export.module))[name]
    body = json.loads(serving.request(name, signature, INSTANCES[name]))
    assert set(body) == {"signature_name", "instances"}
    # What the server does with the row format of a signature with one input.
    tensor = tf.constant(body["instances"], dtype=signature.input.dtype)
    assert tensor.shape.is_compatible_with(signature.input.shape)
    outputs = module.signatures[body["signature_name"]](**{signature.argument: tensor})
    direct = module.signatures[name](tf.constant(INSTANCES[name], dtype=signature.input.dtype))
    assert set(outputs) == set(signature.outputs)
    for key, output in outputs.items():
        assert len(output) == len(INSTANCES[name])  # row format needs it
        np.testing.assert_array_equal(output, direct[key])


@pytest.mark.parametrize(
    ("name", "instances", "message"),
    [
        ("video", np.zeros((3, 20, 24, 3)), r"'video' takes float32 \[any, any, any, any, 3\], not float64 \[3, 20"),
        ("image", np.zeros((1, 20, 24, 1)), r"'image' takes float32 \[any, any, any, 3\]"),
        ("audio", ["a"], "not string"),
        ("text", [1.0], r"'text' takes string \[any\], not float64"),
    ],
)
def test_a_request_that_does_not_fit_is_refused(export, name, instances, message):
    with pytest.raises(ValueError, match=message):
        serving.request(name, module_files.signatures(str(export.module))[name], instances)


def test_the_description_has_a_call_for_every_signature(export, tmp_path, capsys):
    serving.main(["--module", str(export.module)])
    text = capsys.readouterr().out
    # The lines that write requests do: 16-bit sound and 8-bit pixels lose nothing.
    levels = {"audio": np.arange(-3, 3) / 32768, "image": np.arange(256) / 255}
    for name, values in levels.items():
        np.save(tmp_path / f"{name}.npy", values)
        (line,) = [line for line in text.splitlines() if f"> {name}.json" in line]
        subprocess.run(line.replace("python", sys.executable, 1), shell=True, check=True, cwd=tmp_path)
        body = json.loads((tmp_path / f"{name}.json").read_text())
        assert body["signature_name"] == name
        scale = 32768 if name == "audio" else 255
        np.testing.assert_array_equal(np.round(np.array(body["instances"]) * scale), np.round(values * scale))
    for name in ("video", "image", "audio"):
        assert f"-d @{name}.json" in text and f"'signature_name': '{name}'" in text
    assert '{"signature_name":"text","instances":["a red ball"]}' in text
    assert "--batching_parameters_file=/models/mmv/1/assets.extra/batching_parameters.txt" in text
