"""The importer of published PyTorch weights, with small files of their form and the names of the whole ones."""

import os

import numpy as np
import pytest

from helpers.golden_others import about, array, spectrogram, video, words
from helpers.golden_recipe import assert_close
from helpers.torch_files import FORMATS, as_zip
from mmv_tf.backbones import VideoResNet
from mmv_tf.released import from_torch, torch_layout, torch_names
from mmv_tf.released.pickle_machine import CheckpointError
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


def narrow(system: str, width: float) -> dict[str, np.ndarray]:
    """The tensors of a system whose networks have so much less channels, and 16 words of 6 numbers."""
    layout = torch_layout.detect({name: tuple(shape) for name, shape, *_ in about(system)["parameters"]}).layout
    for modality, (_, settings) in layout.backbones.items():
        settings |= {"vocabulary_size": 16, "dim": 6, "units": 24} if modality == "text" else {"width": width}
    for _, _, settings in layout.heads:
        settings |= {"hidden": (16,)} if "hidden" in settings else {}
    layout.spaces.update({space: 12 for space in layout.spaces if space != "v"})
    model = layout.build()
    found = torch_layout.detect({name: tuple(shape) for name, shape, *_ in about(system)["parameters"]})
    tensors = {}
    for entry in found.entries(model):
        leaf = entry.name.rpartition(".")[2]
        kind = KINDS.get(leaf, "w" if len(entry.shape) > 1 else "scale" if leaf == "weight" else "b")
        if leaf == "num_batches_tracked":
            tensors[entry.name] = np.array(7, np.int64)
        elif not entry.optional:
            tensors[entry.name] = array(entry.name, entry.shape, kind)
    return tensors


@pytest.fixture(scope="module")
def mixed():
    """An MC3-18 of an eighth of its channels, with its classifier."""
    tensors = narrow("mc3_18", 0.125)
    return {**tensors, "fc.weight": np.zeros((400, 64), np.float32), "fc.bias": np.zeros(400, np.float32)}


@pytest.mark.parametrize("form", FORMATS)
def test_the_workdir_has_the_network_of_the_file(form, mixed, tmp_path, capsys):
    file, output = tmp_path / "weights.pth", tmp_path / "run"
    file.write_bytes(FORMATS[form](mixed))
    assert from_torch.cli(["--checkpoint", str(file), "--output", str(output)]) == 0
    said = capsys.readouterr().out
    assert "torchvision" in said and "BSD 3-Clause" in said and "unused, as expected: fc.bias, fc.weight" in said
    assert "WARNING" not in said
    if form != "zip":  # one file was read; the rest is the same
        return
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


@pytest.mark.parametrize(("system", "width"), [("gdt_net", 0.125), ("milnce_s3d_train_rgb", 0.125)])
def test_every_variable_has_a_place_in_the_file(system, width, tmp_path):
    tensors = narrow(system, width)
    without_counts = {name: x for name, x in tensors.items() if not name.endswith("num_batches_tracked")}
    imported = from_torch.convert(without_counts)
    entries = {id(entry.variable) for entry in imported.found.entries(imported.model)}
    assert {id(variable) for variable in imported.model.variables} == entries
    assert (imported.unused, imported.untrained, imported.mapped) == ((), (), len(without_counts))
    model = imported.model
    if system == "gdt_net":
        batch = {"video": video(2, 4, 32, 32), "audio": spectrogram(2, 33, 20)}
        assert model.backbones["audio"].stem.norm.counter == from_torch._STEPS_UNKNOWN
        module = "mlp_a.block_forward"
        x = np.asarray(model.embed(batch)["audio"]["repr"]) @ tensors[f"{module}.2.weight"].T
        x = (x - tensors[f"{module}.4.running_mean"]) / np.sqrt(tensors[f"{module}.4.running_var"] + 1e-5)
        x = np.maximum(x * tensors[f"{module}.4.weight"] + tensors[f"{module}.4.bias"], 0)
        expected = {"audio": x @ tensors[f"{module}.8.weight"].T + tensors[f"{module}.8.bias"]}
        space = "va"
    else:
        batch = {"video": video(2, 4, 32, 32), "text": words(3, 5, 16)}
        reprs = model.embed(batch)
        fcs = {"video": "fc", "text": "text_module.fc2"}
        expected = {
            m: np.asarray(reprs[m]["repr"]) @ tensors[f"{fc}.weight"].T + tensors[f"{fc}.bias"] for m, fc in fcs.items()
        }
        space = "vt"
    for modality, values in expected.items():
        assert_close(model.embed(batch)[modality][space], values, 1e-5)
    if space == "vt":  # words and their numbers: only with a vocabulary
        vocabulary, output = tmp_path / "words.txt", tmp_path / "run"
        vocabulary.write_text("\n".join(f"word{i}" for i in range(15)))
        (tmp_path / "s3d.pth").write_bytes(as_zip(tensors))
        from_torch.save(imported, str(output), str(tmp_path / "s3d.pth"), str(vocabulary))
        run = workdir.load(str(output))
        assert_close(run.model.embed(batch)["text"]["vt"], expected["text"], 1e-5)
        pair = run.model.graph.pairs[0]
        assert pair.loss_name == "mil_nce" and "mil_nce.normalize = False" in (output / workdir.CONFIG).read_text()


def changed(tensors, name, function):
    return {**tensors, name: function(tensors[name])}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: {"a.weight": t["fc.bias"]}, "not those of a network whose weights are read here"),
        (lambda t: {n: x for n, x in t.items() if "layer3.1" not in n}, "no video ResNet here has those blocks"),
        (lambda t: {n: x for n, x in t.items() if n != "stem.1.bias"}, "1 tensors are missing: stem.1.bias"),
        (lambda t: changed(t, "stem.1.bias", lambda x: x[:7]), r"stem.1.bias: shape \[7\], but \[8\] belongs there"),
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
    with pytest.raises(CheckpointError, match=message):
        from_torch.load(str(file))
    said = capsys.readouterr().err
    assert said.startswith(f"error: checkpoint {file}: ") and said.count("\n") == 1
    assert not output.exists() or set(os.listdir(output)) <= {".lock"}
