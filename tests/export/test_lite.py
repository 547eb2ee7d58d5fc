"""LiteRT files: they compute what the module computes, and the report says how nearly."""

import json
import pathlib
import sys

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from helpers import tiny_export
from mmv_tf.export import file_measures, lite, onnx_file


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lite")
    flags = ["--samples", "3", "--times", "2", "--seconds", "0.5"]
    with tiny_export.loaded_once():
        lite.main(["--module", str(tiny_export.export().module), "--output", str(folder), *flags])
    return folder, json.loads((folder / "report.json").read_text())


@pytest.mark.parametrize(("name", "shape"), [("image", (1, 32, 32, 3)), ("audio", (1, 4000))])
def test_files_compute_what_the_module_computes(converted, name, shape):
    folder, _ = converted
    inputs = np.random.RandomState(0).uniform(0, 0.9, shape).astype(np.float32)
    wanted = tiny_export.module().signatures[name](tf.constant(inputs))
    for precision, tolerance in (("float32", 1e-5), ("int8", 0.1)):
        run = Interpreter(str(folder / f"{name}.{precision}.tflite")).get_signature_runner()
        found = run(**{name: inputs})
        assert set(found) == {"before_head", "va", "vat"}
        for key, value in found.items():
            right = wanted[key].numpy()
            assert np.linalg.norm(value - right) < tolerance * np.linalg.norm(right)
        broken = inputs.copy()
        broken.flat[7] = np.nan
        assert np.isnan(run(**{name: broken})["vat"]).all()


def test_files_need_no_operation_of_tensorflow(converted):
    for path in pathlib.Path(converted[0]).glob("*.tflite"):
        interpreter = Interpreter(str(path))
        names = {operation["op_name"] for operation in interpreter._get_ops_details()}
        assert not any(name.startswith("Flex") for name in names)
        assert "CONV_2D" in names and ("RFFT2D" in names) == path.name.startswith("audio")


def test_the_report(converted):
    folder, report = converted
    rows = {(row["network"], row["form"]): row for row in report["rows"]}
    forms = ("SavedModel", "float32.tflite", "int8.tflite")
    assert set(rows) == {(network, form) for network in ("image", "audio") for form in forms}
    assert all(row["milliseconds"] > 0 for row in rows.values())
    for network in ("image", "audio"):
        exact, rough = (rows[network, form] for form in forms[1:])
        assert exact["bytes"] == (folder / f"{network}.float32.tflite").stat().st_size
        assert rough["bytes"] == (folder / f"{network}.int8.tflite").stat().st_size < 0.6 * exact["bytes"]
        exact, rough = exact["errors"]["va"], rough["errors"]["va"]
        assert exact["relative_l2"] < 1e-5 < rough["relative_l2"] < 0.1
        assert 0.99 < rough["least_cosine"] <= rough["cosine"] < 1
    assert report["measured_on"] == "made-up inputs"
    assert file_measures.table(report["rows"]).count("int8.tflite") == 2


def test_errors_are_those_of_the_vectors():
    wanted, found = {"va": np.array([[3.0, 4.0], [1.0, 0.0]])}, {"va": np.array([[6.0, 8.0], [0.0, 1.0]])}
    errors = file_measures.compare(wanted, found)["va"]
    assert errors["cosine"] == pytest.approx(0.5)
    assert errors["least_cosine"] == pytest.approx(0)
    assert errors["relative_l2"] == pytest.approx((1 + 2**0.5) / 2)


def test_what_is_not_there_is_named(tmp_path, capsys):
    with pytest.raises(ValueError, match="no assets.extra/config.gin"):
        lite.main(["--module", str(tmp_path), "--output", str(tmp_path / "lite")])
    for option in ("--size=0", "--seconds=nan", "--samples=0", "--threads=-1", "--times=0"):
        with pytest.raises(SystemExit):
            lite.main(["--module", "nowhere", "--output", str(tmp_path), option])
        assert f"{option.partition('=')[0]} must be positive" in capsys.readouterr().err
    with pytest.raises(FileNotFoundError, match="nowhere-\\*: no such records"):
        file_measures.samples("image", [1, 8, 8, 3], 2, "nowhere-*")


def test_onnx_without_its_converter_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    with pytest.raises(ModuleNotFoundError, match="pip install tf2onnx"):
        onnx_file.convert(None, "image", [1, 8, 8, 3])
