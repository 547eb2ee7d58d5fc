"""The importer of published PyTorch weights, with small files of their form and the names of the whole ones."""

import os

import numpy as np
import pytest

from helpers.golden_others import about, array, sized, spectrogram, video, words
from helpers.golden_recipe import assert_close
from helpers.torch_files import as_row, as_zip
from mmv_tf.backbones import S3D, ResNetV1, VideoResNet
from mmv_tf.released import from_torch, torch_layout, torch_names
from mmv_tf.training import workdir

PYTORCH = {"unbiased": True, "debias": False}
KINDS = {"running_mean": "mean", "running_var": "var"}
SYSTEMS = {
    "mc3_18": ("torchvision", "VideoResNet", {"depth": 18, "convolution": "mixed"}),
    "r3d_18": ("torchvision", "VideoResNet", {"depth": 18, "convolution": "3"}),
    "r2plus1d_18": ("torchvision", "VideoResNet", {"depth": 18, "convolution": "2+1", "between": "block"}),
    "xdc_r2plus1d_18": ("XDC", "VideoResNet", {"depth": 18, "convolution": "2+1", "between": "own"}),
    "gdt_net": ("GDT", "VideoResNet", {"depth": 18, "convolution": "2+1", "between": "block"}),
    "milnce_s3d_train_rgb": ("MIL-NCE", "S3D", {"stem": "rgb_3x7x7", "padding": "even"}),
    "milnce_s3d_released_s2d": ("MIL-NCE", "S3D", {"stem": "space_to_depth", "padding": "even"}),
}


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_system_and_its_network_are_told_from_the_tensors(system):
    found = torch_layout.detect({name: tuple(shape) for name, shape, *_ in about(system)["parameters"]})
    name, network, settings = SYSTEMS[system]
    made, given = found.layout.backbones["video"]
    norm = {**PYTORCH, "epsilon": 1e-3, "decay": 0.1} if system == "xdc_r2plus1d_18" else PYTORCH
    assert found.system.name.startswith(name) and (made, given) == (network, {**settings, "width": 1.0, "norm": norm})


def tensors_of(entries) -> dict[str, np.ndarray]:
    made = {}
    for entry in entries:
        leaf = entry.name.rpartition(".")[2]
        kind = KINDS.get(leaf, "w" if len(entry.shape) > 1 else "scale" if leaf == "weight" else "b")
        counts = leaf == "num_batches_tracked"
        made[entry.name] = np.array(7, np.int64) if counts else array(entry.name, entry.shape, kind)
    return made


def head(module: str) -> dict[str, np.ndarray]:
    """One of GDT's, of 64 to 16 to 12."""
    shapes = {"2.weight": (16, 64), "8.weight": (12, 16), "8.bias": (12,)}
    shapes |= {f"4.{leaf}": (16,) for leaf in ("weight", "bias", "running_mean", "running_var")}
    kinds = {**KINDS, "bias": "b"}
    return {
        f"{module}.block_forward.{name}": array(name, shape, kinds.get(name[2:], "w" if len(shape) > 1 else "scale"))
        for name, shape in shapes.items()
    }


@pytest.fixture(scope="module")
def mixed():
    """An MC3-18 of an eighth of its channels, with its classifier."""
    tensors = tensors_of(torch_names.video_resnet(sized(VideoResNet(convolution="mixed", width=0.125))[0]))
    return {**tensors, "fc.weight": np.zeros((400, 64), np.float32), "fc.bias": np.zeros(400, np.float32)}


def test_the_workdir_has_the_network_of_the_file(mixed, tmp_path, capsys):
    file, output = tmp_path / "weights.pth", tmp_path / "run"
    file.write_bytes(as_row(mixed))
    assert from_torch.cli(["--checkpoint", str(file), "--output", str(output)]) == 0
    said = capsys.readouterr().out
    assert "torchvision" in said and "BSD 3-Clause" in said and "unused, as expected: fc.bias, fc.weight" in said
    assert "WARNING" not in said
    run = workdir.load(str(output))
    x = video(2, 5, 33, 31)
    network = VideoResNet(convolution="mixed", width=0.125, norm=PYTORCH)
    network.build(None)
    for entry in torch_names.video_resnet(network):
        entry.variable.assign(entry.ours(mixed[entry.name]))
    found = run.model.embed({"video": x})["video"]
    assert_close(found["repr"], network(x), 1e-6)
    assert_close(found["v"], found["repr"], 1e-6)  # the file has no head
    assert run.model.backbones["video"].stem[0].norm.counter == 7
    assert not run.model.backbones["video"].stem[0].norm.debias
    assert "BSD 3-Clause" in (output / workdir.WEIGHTS_LICENSE).read_text()
    with pytest.raises(FileExistsError, match="is a workdir already"):
        from_torch.main(["--checkpoint", str(file), "--output", str(output)])


def converted(tensors):
    """The model of a file that does not count its steps; all of its variables have a place there."""
    tensors = {name: x for name, x in tensors.items() if not name.endswith("num_batches_tracked")}
    imported = from_torch.convert(tensors)
    entries = {id(entry.variable) for entry in imported.found.entries(imported.model)}
    assert {id(variable) for variable in imported.model.variables} == entries
    assert (imported.unused, imported.untrained, imported.mapped) == ((), (), len(tensors))
    return imported


def test_gdt_with_its_heads():
    tensors = tensors_of(torch_names.video_resnet(sized(VideoResNet(width=0.125))[0], "video_network.base."))
    sound = sized(ResNetV1(9, width=0.125), (None, None, None, 1))[0]
    tensors |= tensors_of(torch_names.resnet_v1(sound, "audio_network.base.")) | head("mlp_v") | head("mlp_a")
    model = converted(tensors).model
    assert model.backbones["audio"].stem.norm.counter == from_torch._STEPS_UNKNOWN
    found = model.embed({"audio": spectrogram(2, 33, 20)})["audio"]
    part = {leaf: tensors[f"mlp_a.block_forward.{leaf}"] for leaf in ("2.weight", "8.weight", "8.bias")}
    norm = [tensors[f"mlp_a.block_forward.4.{leaf}"] for leaf in ("running_mean", "running_var", "weight", "bias")]
    x = (np.asarray(found["repr"]) @ part["2.weight"].T - norm[0]) / np.sqrt(norm[1] + 1e-5) * norm[2] + norm[3]
    assert_close(found["va"], np.maximum(x, 0) @ part["8.weight"].T + part["8.bias"], 1e-5)
    assert [str(head) for head in model.graph.heads] == ["video -> va", "audio -> va"]


def test_mil_nce_with_its_words(tmp_path, capsys):
    tensors = tensors_of(torch_names.s3d(sized(S3D("rgb_3x7x7", width=0.125))[0]))
    shapes = {"fc.weight": (12, 128), "fc.bias": (12,), "text_module.word_embd.weight": (16, 6)}
    shapes |= {"text_module.fc1.weight": (24, 6), "text_module.fc1.bias": (24,)}
    shapes |= {"text_module.fc2.weight": (12, 24), "text_module.fc2.bias": (12,)}
    tensors |= {name: array(name, shape, "w" if len(shape) > 1 else "b") for name, shape in shapes.items()}
    imported = converted(tensors)
    batch = {"text": words(3, 5, 16)}
    found = imported.model.embed(batch)["text"]
    expected = np.asarray(found["repr"]) @ tensors["text_module.fc2.weight"].T + tensors["text_module.fc2.bias"]
    assert_close(found["vt"], expected, 1e-5)
    np.testing.assert_array_equal(imported.model.heads["video -> vt"].projection.kernel, tensors["fc.weight"].T)
    vocabulary, output, file = tmp_path / "words.txt", tmp_path / "run", tmp_path / "s3d.pth"
    vocabulary.write_text("\n".join(f"word{i}" for i in range(15)))
    file.write_bytes(b"")
    from_torch.save(imported, str(output), str(file), str(vocabulary))
    written = (output / workdir.CONFIG).read_text()
    assert "('video', 'text', 'vt', {'loss': @mil_nce})" in written and "mil_nce.normalize = False" in written
    assert (
        "TextNetwork.vocabulary_size = 16" in written and len((output / workdir.VOCABULARY).read_text().split()) == 15
    )


def changed(tensors, name, function):
    return {**tensors, name: function(tensors[name])}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: {"a.weight": t["fc.bias"]}, "not those of a network whose weights are read here"),
        (lambda t: {n: x for n, x in t.items() if "layer3.1" not in n}, "no video ResNet here has those blocks"),
        (lambda t: {n: x for n, x in t.items() if n != "stem.1.bias"}, "1 tensors are missing: stem.1.bias"),
        (lambda t: changed(t, "stem.1.bias", lambda x: x[:7]), "stem.1.bias: shape [7], but [8] belongs there"),
        (lambda t: changed(t, "stem.1.bias", lambda x: x * np.nan), "stem.1.bias: holds NaN"),
        (lambda t: changed(t, "stem.1.running_var", lambda x: -x), "stem.1.running_var: holds negative values"),
        (lambda t: changed(t, "stem.1.bias", lambda x: x.astype(np.int64)), "stem.1.bias: int64 is no type for it"),
        (lambda t: changed(t, "stem.0.weight", lambda x: x[:, :1].repeat(512, 0)), "4096 channels, which no published"),
        (lambda t: changed(t, "stem.0.weight", lambda x: x[0]), "but a tensor of 5 axes belongs there"),
    ],
)
def test_a_file_with_something_wrong_leaves_nothing_behind(change, message, mixed, tmp_path, capsys):
    file, output = tmp_path / "weights.pth", tmp_path / "run"
    file.write_bytes(as_zip(change(mixed)))
    assert from_torch.cli(["--checkpoint", str(file), "--output", str(output)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: checkpoint {file}: ") and said.count("\n") == 1
    assert message in said
    assert not output.exists() or set(os.listdir(output)) <= {".lock"}
