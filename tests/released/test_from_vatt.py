"""The importer of VATT's checkpoints: what the reference computes with the same weights, and files gone bad."""

import os
import re

import numpy as np
import pytest

from helpers import tiny, vatt_checkpoints
from helpers.golden_others import golden
from helpers.golden_recipe import assert_close, probes
from helpers.vatt_arrays import example
from mmv_tf.inputs.pipeline import InputPipeline
from mmv_tf.released import from_vatt, vatt_layout
from mmv_tf.training import workdir

SIZE = {"layers": 3, "dim": 64, "hidden": 160, "heads": 4}
HEAD_DIM = 16  # of the stored networks


@pytest.fixture(scope="module")
def pretrained():
    """Arrays of three networks and the heads on them."""
    made = vatt_checkpoints.heads()
    for system in ("vatt_video", "vatt_audio", "vatt_text"):
        made |= vatt_checkpoints.network(system)
    return made


@pytest.fixture(scope="module")
def checkpoint(pretrained, tmp_path_factory):
    return vatt_checkpoints.write(pretrained, str(tmp_path_factory.mktemp("vatt") / "ckpt-500000"))


@pytest.fixture(scope="module")
def imported(checkpoint):
    return from_vatt.convert_file(f"{checkpoint}.index", HEAD_DIM)


@pytest.fixture(scope="module")
def embedded(imported):
    """{modality: what its network and heads give for the stored input}."""
    return embed(imported.model)


def embed(model):
    batch = {m: example(f"vatt_{m}") for m in ("video", "audio", "text")}
    return {m: {s: np.asarray(x) for s, x in model.embed({m: x})[m].items()} for m, x in batch.items()}


def batch_normed(x, arrays, module):
    gamma, beta, mean, variance = (
        arrays[f"{module}/{leaf}"] for leaf in ("gamma", "beta", "moving_mean", "moving_variance")
    )
    return (x - mean) / np.sqrt(variance + 1e-5) * gamma + beta


def test_networks_and_heads_compute_what_the_reference_does(pretrained, imported, embedded):
    assert (imported.mapped, imported.untrained, imported.unused) == (len(pretrained), (), ())
    found, stored = embedded, {"video": "eval/agg", "audio": "eval/agg", "text": "sentence"}
    for modality, name in stored.items():
        assert_close(found[modality]["repr"], golden(f"vatt_{modality}")[name], 1e-5, modality)
    heads = {name.removeprefix("_head_layer/_bridge_heads/0/"): x for name, x in pretrained.items() if "_heads" in name}
    hidden = batch_normed(found["video"]["repr"] @ heads["vid_to_hid/kernel"], heads, "hid_to_va/pre_bn")
    va = batch_normed(np.maximum(hidden, 0) @ heads["hid_to_va/dense/kernel"], heads, "hid_to_va/bn")
    vat = batch_normed(np.maximum(va, 0) @ heads["va_to_vat/dense/kernel"], heads, "va_to_vat/bn")
    assert_close(found["video"]["va"], va, 1e-5)
    assert_close(found["video"]["vat"], vat, 1e-5)
    va = found["audio"]["repr"] @ heads["aud_to_va/kernel"] + heads["aud_to_va/bias"]
    assert_close(found["audio"]["va"], va, 1e-5)
    vat = found["text"]["repr"] @ heads["txt_to_vat/kernel"] + heads["txt_to_vat/bias"]
    assert_close(found["text"]["vat"], vat, 1e-5)
    counter = imported.model.heads["video -> va"].norm.counter
    assert float(counter) > 100  # training on from here does not forget the averages


@pytest.mark.parametrize("given", ["ckpt-500000", "ckpt-500000.index", "ckpt-500000.data-00000-of-00001"])
def test_any_name_of_the_checkpoint_will_do(given, checkpoint):
    assert from_vatt.prefix_of(os.path.join(os.path.dirname(checkpoint), given)) == checkpoint


def test_the_workdir_has_the_networks_of_the_file(checkpoint, imported, embedded, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(from_vatt, "convert_file", lambda path, *_: {f"{checkpoint}.index": imported}[path])
    assert from_vatt.load(f"{checkpoint}.index") is imported.model
    output, vocabulary = tmp_path / "run", tmp_path / "words.txt"
    vocabulary.write_text("\n".join(f"word{i}" for i in range(499)))
    asked = ["--checkpoint", f"{checkpoint}.index", "--output", str(output), "--vocabulary", str(vocabulary)]
    assert from_vatt.cli(asked) == 0
    said = capsys.readouterr().out
    assert "VATT (Akbari" in said and "Apache License 2.0" in said and "WARNING" not in said
    config = (output / workdir.CONFIG).read_text()
    for line in (
        "imported by mmv_tf.released.from_vatt",
        "VideoTransformer.layers = 3",
        "VideoTransformer.heads = 4",
        "VideoTokens.patch = (4, 8, 8)",
        "VideoTokens.positions = (4, 4, 3)",
        "WaveformTokens.positions = 50",
        "WordVectors.vocabulary_size = 500",
        "InputPipeline.audio = @Waveform()",
        "VideoInput.value_range = (-1.0, 1.0)",
        "('video', 'audio', 'va', {'loss': @nce})",
    ):
        assert line in config, line
    workdir.parse_config(str(output))
    assert InputPipeline().zeros(batch_size=1)["video"].shape == (1, 32, 224, 224, 3)
    found = embed(workdir.load(str(output), tiny.SMALL_CLIPS).model)
    for modality, spaces in embedded.items():
        for space, values in spaces.items():
            np.testing.assert_array_equal(found[modality][space], values, err_msg=f"{modality} {space}")


def test_one_transformer_for_all(tmp_path):
    arrays = {**vatt_checkpoints.network("vatt_agnostic"), **vatt_checkpoints.heads(dict.fromkeys(MODALITIES, 56))}
    imported = from_vatt.convert_file(vatt_checkpoints.write(arrays, str(tmp_path / "ckpt-1")), HEAD_DIM)
    assert (imported.mapped, imported.unused) == (len(arrays), ())
    assert imported.layout.shared == {**SIZE, "layers": 2, "units": 56}
    assert "MMV.backbones = @modality_agnostic()" in imported.layout.gin()
    assert "modality_agnostic.modalities = ('video', 'audio')" in imported.layout.without_text().gin()
    networks = imported.model.backbones
    assert len({id(network.transformer) for network in networks.values()}) == 1
    for modality, network in networks.items():
        ends = network.endpoints(
            example("vatt_agnostic", modality=modality).astype("float32" if modality != "text" else "int32")
        )
        stored = golden("vatt_agnostic")
        assert_close(ends["embedding"], stored[f"{modality}/pooled"], 1e-5, modality)
        assert_close(probes(np.asarray(ends["tokens"]), 32), stored[f"{modality}/tokens_probes"], 1e-5, modality)


MODALITIES = ("video", "audio", "text")
CLASSIFIER = {"_ops/cls/kernel": np.zeros((64, 400), np.float32), "_ops/cls/bias": np.zeros(400, np.float32)}


@pytest.mark.parametrize("modality", ["video", "audio"])
def test_fine_tuned_networks_come_without_their_classifier(modality, tmp_path):
    arrays = {**vatt_checkpoints.network(f"vatt_{modality}", "_base"), **CLASSIFIER}
    imported = from_vatt.convert_file(vatt_checkpoints.write(arrays, str(tmp_path / "ckpt-1")), HEAD_DIM)
    assert (imported.untrained, imported.unused) == (tuple(sorted(CLASSIFIER)), ())
    found = imported.model.embed({modality: example(f"vatt_{modality}")})[modality]
    assert_close(found["repr"], golden(f"vatt_{modality}")["eval/agg"], 1e-5)
    assert_close(found[modality[0]], found["repr"], 1e-6)  # the file has no head
    network = {"video": "VideoTransformer", "audio": "WaveformTransformer"}[modality]
    assert f"MMV.backbones = {{'{modality}': @{network}()}}" in imported.layout.gin()


def test_fine_tuned_after_pretraining_with_one_transformer(tmp_path):
    arrays = {}
    for name, value in vatt_checkpoints.network("vatt_agnostic", "_base").items():
        name = name.replace("raw_to_embeddings/video/", "voxel_to_patch/").replace("vid_agg_embedding", "agg_embedding")
        name = re.sub(r"(pre_proj|post_proj|pos_embedding_lookup)/video/", r"\1/", name)
        if not re.search(r"/audio/|/text/|/aud_|/txt_", name):
            arrays[name] = value
    imported = from_vatt.convert_file(vatt_checkpoints.write(arrays, str(tmp_path / "ckpt-1")), HEAD_DIM)
    assert (imported.mapped, imported.unused) == (len(arrays), ())
    found = imported.model.embed({"video": example("vatt_agnostic", modality="video")})["video"]
    assert_close(found["repr"], golden("vatt_agnostic")["video/pooled"], 1e-5)


RELEASED = {"base": (12, 768, 3072), "medium": (12, 1024, 4096), "large": (24, 1024, 4096)}


@pytest.mark.parametrize("size", RELEASED)
def test_the_released_sizes_have_their_names(size, pretrained):
    """By shapes alone, of the extents that the tables of the reference state."""
    layers, dim, hidden = RELEASED[size]
    shapes = {name: x.shape for name, x in pretrained.items()}
    video = "_base_layer/vid_backbone/_base/tx/layers"
    shapes = {name: shape for name, shape in shapes.items() if not name.startswith(video)}
    for i in range(layers):
        shapes[f"{video}/{i}/mha/q/kernel"] = (dim, dim)
        shapes[f"{video}/{i}/feed_forward/mlp/wi/kernel"] = (dim, hidden)
    found = vatt_layout.detect(shapes)
    assert found.layout.backbones["video"] == ("VideoTransformer", {"size": size})
    assert found.layout.backbones["audio"][1] == {**SIZE, "heads": 1}  # of 64 numbers


QUERY = "_base_layer/aud_backbone/_base/tx/layers/1/mha/q/kernel"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: {n: x for n, x in t.items() if "_base_layer" not in n}, "not those of VATT's transformers"),
        (lambda t: {n: x for n, x in t.items() if n != QUERY}, f"1 tensors are missing: {QUERY}"),
        (lambda t: {n: x for n, x in t.items() if "txt_backbone" not in n}, "holds no array '_base_layer/txt_backbone"),
        (
            lambda t: {n: x for n, x in t.items() if "txt_to_vat" not in n},
            "missing: _head_layer/_bridge_heads/0/txt_to",
        ),
        (lambda t: {**t, QUERY: t[QUERY][:7]}, f"{QUERY}: shape [7, 64], but [64, 64] belongs there"),
        (lambda t: {**t, QUERY: t[QUERY] * np.nan}, f"{QUERY}: holds NaN"),
        (lambda t: {**t, QUERY: t[QUERY].astype(np.int64)}, f"{QUERY}: int64 is no type for it"),
        (
            lambda t: {n: -x if n.endswith("moving_variance") else x for n, x in t.items()},
            "moving_variance: holds negative values",
        ),
    ],
)
def test_a_checkpoint_with_something_wrong_leaves_nothing_behind(change, message, pretrained, tmp_path, capsys):
    prefix, output = vatt_checkpoints.write(change(pretrained), str(tmp_path / "ckpt-1")), tmp_path / "run"
    assert_refused(prefix, output, message, capsys)


def assert_refused(prefix, output, message, capsys):
    assert from_vatt.cli(["--checkpoint", prefix, "--output", str(output)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: checkpoint {prefix}: ") and said.count("\n") == 1
    assert message in said, said
    assert not output.exists() or set(os.listdir(output)) <= {".lock"}


def damaged(path, at, more):
    data = bytearray(path.read_bytes())
    data[at] ^= 0xFF
    path.write_bytes(bytes(data)[: len(data) - more])


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda f: f(".index").unlink(), "there is no ckpt-1.index"),
        (lambda f: f(".data-00000-of-00001").unlink(), "there is no ckpt-1.data-00000-of-00001"),
        (lambda f: f(".index").write_bytes(b"not a table"), "it cannot be read: "),
        (lambda f: damaged(f(".index"), 100, 0), "it cannot be read: "),
        (lambda f: damaged(f(".data-00000-of-00001"), 5000, 0), "it cannot be read: "),
        (lambda f: damaged(f(".data-00000-of-00001"), 5000, 200_000), "its index speaks of "),
    ],
)
def test_damaged_files(harm, message, pretrained, tmp_path, capsys):
    prefix = vatt_checkpoints.write(pretrained, str(tmp_path / "ckpt-1"))
    harm(lambda ending: tmp_path / f"ckpt-1{ending}")
    assert_refused(prefix, tmp_path / "run", message, capsys)
