"""The importer of the released networks, with synthetic files in the released layout."""

import contextlib
import dataclasses
import io
import os
import shutil

import numpy as np
import pytest
import tensorflow as tf

import mmv_tf
from helpers import tiny
from helpers.golden_recipe import assert_close, load, make_array, make_inputs
from helpers.released_pickles import arrays_of, dumps, released_arrays, tree_of
from mmv_tf.backbones.inception import ENDPOINTS
from mmv_tf.common import config
from mmv_tf.export import saved_model
from mmv_tf.model.mmv import MMV
from mmv_tf.released import from_deepmind, name_map
from mmv_tf.released.layout import Layout, detect
from mmv_tf.released.unpickle import CheckpointError
from mmv_tf.training import workdir
from mmv_tf.training.run import train

HEADS = name_map.HEADS
STEM = f"{name_map.VISUAL}/S3D/Conv2d_1a_7x7"
SMALL = Layout(
    backbones={
        "video": ("S3D", {"stem": "space_to_depth", "width": 0.125, "final_endpoint": "Conv2d_2c_3x3"}),
        "audio": ("AudioResNet", {"depth": 50, "width": 0.125}),
        "text": ("TextNetwork", {"vocabulary_size": 7, "dim": 5, "units": 9}),
    },
    graph="fac",
    modules=name_map.FAC,
    spaces={"va": 16, "vat": 8},
    heads=(
        ("video", "va", {"hidden": (16,), "batch_norm": True}),
        ("va", "vat", {"activation": "relu", "batch_norm": True}),
        ("audio", "va", {}),
        ("text", "vat", {}),
    ),
    pairs=(("video", "audio", "va", "nce"), ("video", "text", "vat", "mil_nce")),
)
# In a file of training there are also the heads that nothing uses.
UNUSED = [
    ("params", f"{HEADS}/{head}/final_projection/{leaf}", shape)
    for head in name_map.UNTRAINED_HEADS
    for leaf, shape in (("w", (9, 16)), ("b", (16,)))
]


@pytest.fixture(scope="module")
def small_model():
    return SMALL.build()


@pytest.fixture(scope="module")
def small_arrays(small_model):
    return [*arrays_of(small_model, SMALL.modules), *UNUSED]


@pytest.fixture(scope="module")
def small_file(small_arrays, tmp_path_factory):
    path = tmp_path_factory.mktemp("released") / "weights.pkl"  # nothing of the network is in the name
    path.write_bytes(dumps(tree_of(small_arrays), "jax"))
    return str(path)


@pytest.fixture(scope="module")
def imported(small_file, small_model):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Layout, "build", lambda self: {SMALL.gin(): small_model}[self.gin()])
        return from_deepmind.convert_file(small_file)


@pytest.fixture
def built_already(small_model, monkeypatch):
    """Saves the time of building, in tests of what comes after it."""
    monkeypatch.setattr(Layout, "build", lambda self: small_model)


def inputs(batch=2):
    video, audio, words = make_inputs(batch, 4, 32, 32, vocabulary=7)
    return {"video": video, "audio": audio, "text": words}


def change(tree, name, function):
    """The tree with one array changed."""
    module, leaf = name.rsplit("/", 1)
    part = tree["params" if module in tree["params"] else "state"]
    part[module][leaf] = function(part[module][leaf])
    return tree


# Whole networks.


@pytest.fixture(scope="module")
def released_s3d(tmp_path_factory):
    path = tmp_path_factory.mktemp("released") / "tsm.pkl"  # the name must not matter
    path.write_bytes(dumps(tree_of(released_arrays("s3d_s2d")), "FlatMapping"))
    return from_deepmind.convert_file(str(path))


def test_released_s3d_equals_the_reference(released_s3d):
    imported, arrays = released_s3d, released_arrays("s3d_s2d")
    video, audio, words = make_inputs(4, 16, 64, 64)
    found = imported.model.embed({"video": video, "audio": audio, "text": words})
    expected = load("imported")
    for name, (modality, space) in {
        "vid_repr": ("video", "repr"),
        "aud_repr": ("audio", "repr"),
        "vid_embd/toaud": ("video", "va"),
        "vid_embd/totxt": ("video", "vat"),
        "aud_embd/tovid": ("audio", "va"),
        "aud_embd/totxt": ("audio", "vat"),
        "txt_embd/tovid": ("text", "vat"),
    }.items():
        assert_close(found[modality][space], expected[name], 1e-5, name)
    # Every array has a place: mapped, implied by a mapped one, or of the two heads that the reference leaves unused.
    assert imported.mapped + len(imported.implied) + len(imported.untrained) == len(arrays) == 475 + 768
    assert [name.split("/")[2] for name in imported.untrained] == ["audio2txt_embd"] * 2 + ["txt2audio_embd"] * 2
    assert imported.unused == ()


def shapes_only(arrays) -> dict:
    """{name: array of that shape} without memory behind it."""
    return {name: np.broadcast_to(np.float32(0), shape) for _, name, shape in arrays}


def test_released_tsm_is_told_from_its_arrays_and_every_one_has_a_place(released_s3d, monkeypatch):
    arrays = shapes_only(released_arrays("tsm_x1"))
    layout = detect(arrays)
    assert layout.backbones["video"] == ("TSMResNet", {"depth": 50, "width": 1.0})
    assert layout.backbones["audio"] == ("AudioResNet", {"depth": 50, "width": 1.0})
    # Its two other networks are those of the S3D.
    video = {"video": layout.backbones["video"]}
    assert layout.backbones == {**released_s3d.layout.backbones, **video}
    networks = {**released_s3d.model.backbones, **dataclasses.replace(layout, backbones=video).networks()}
    monkeypatch.setattr(Layout, "networks", lambda self: networks)
    entries = {entry.name: entry.shape for entry in name_map.model(layout.build(), layout.modules)}
    rest = {name: array.shape for name, array in arrays.items() if name not in entries}
    assert entries == {name: array.shape for name, array in arrays.items() if name not in rest}
    assert {name.split("/")[2] for name in rest} == set(name_map.UNTRAINED_HEADS)


def s3d_names(kernel, last):
    """The names of S3D up to the stage `last`, with another stem."""
    names = {name: shape for _, name, shape in released_arrays("s3d_s2d")}
    names[f"{STEM}/~/conv3_d/w"] = kernel
    later = ENDPOINTS[ENDPOINTS.index(last) + 1 :]
    return {name: shape for name, shape in names.items() if not any(f"/{stage}/" in name for stage in later)}


def tsm_names(channels, third_group):
    """The names of a TSM ResNet, with so many channels in the stem and blocks in the third group."""
    names = {name: shape for _, name, shape in released_arrays("tsm_x1")}
    names[f"{name_map.VISUAL}/TSMResNetV2/tsm_resnet_stem/w"] = (7, 7, 3, channels)
    block = "tsm_resnet_unit_2/block_"
    more = {
        n.replace(f"{block}5", f"{block}{i}"): s
        for n, s in names.items()
        for i in range(third_group)
        if f"{block}5" in n
    }
    return {**names, **more}


@pytest.mark.parametrize(
    ("names", "network", "settings"),
    [
        (s3d_names((7, 7, 7, 3, 64), "Mixed_5c"), "S3D", {"stem": "rgb", "width": 1.0, "final_endpoint": "Mixed_5c"}),
        (
            s3d_names((2, 4, 4, 24, 16), "Mixed_4b"),
            "S3D",
            {"stem": "space_to_depth", "width": 0.25, "final_endpoint": "Mixed_4b"},
        ),
        (tsm_names(128, 6), "TSMResNet", {"depth": 50, "width": 2.0}),
        (tsm_names(64, 23), "TSMResNet", {"depth": 101, "width": 1.0}),
    ],
)
def test_the_network_is_told_from_names_and_shapes(names, network, settings):
    arrays = shapes_only([("", name, shape) for name, shape in names.items()])
    assert detect(arrays).backbones["video"] == (network, settings)


# Graphs.


@pytest.mark.parametrize(
    ("graph", "spaces", "heads"),
    [
        (
            "shared",
            {"s": 6},
            (("video", "s", {"hidden": (5,), "batch_norm": True}), ("audio", "s", {}), ("text", "s", {})),
        ),
        (
            "disjoint",
            {"va": 6, "vt": 4},
            (
                ("video", "va", {"hidden": (5, 7), "batch_norm": True}),
                ("video", "vt", {"batch_norm": True}),
                ("audio", "va", {}),
                ("text", "vt", {}),
            ),
        ),
        (
            "fac",
            {"va": 6, "vat": 4},
            (
                ("video", "va", {"hidden": (5,)}),
                ("va", "vat", {"activation": "bnrelu", "batch_norm": True}),
                ("audio", "va", {}),
                ("text", "vat", {}),
            ),
        ),
    ],
)
def test_graphs_are_told_from_the_heads(graph, spaces, heads, small_model, monkeypatch):
    monkeypatch.setattr(Layout, "networks", lambda self: small_model.backbones)
    modules = {"shared": name_map.SHARED, "disjoint": name_map.DISJOINT, "fac": name_map.FAC}[graph]
    pairs = {"shared": "s", "disjoint": "vt", "fac": "vat"}[graph]
    pairs = (("video", "audio", "s" if graph == "shared" else "va", "nce"), ("video", "text", pairs, "mil_nce"))
    layout = Layout(SMALL.backbones, graph, modules, spaces, heads, pairs)
    assert detect(shapes_only(arrays_of(layout.build(), modules))) == layout


def test_the_activation_of_fac_is_relu_unless_said_otherwise(small_arrays):
    for options, activation in (((), "relu"), (("relu",), "relu"), ((None,), None)):
        heads = {source: settings for source, _, settings in detect(shapes_only(small_arrays), *options).heads}
        assert heads["va"] == {"activation": activation, "batch_norm": True}


# Values and reports.


def test_values_arrive_moving_averages_and_counters_included(imported):
    model = imported.model
    assert type(model) is MMV
    for entry in name_map.model(model, name_map.FAC):
        if entry.variable is not None:
            expected = make_array(entry.name, entry.shape).reshape(entry.variable.shape)
            np.testing.assert_array_equal(entry.variable, expected, entry.name)
    assert float(model.heads["va -> vat"].norm.counter) == 1000


def test_the_report_names_what_is_unused(small_arrays, built_already):
    arrays = [*small_arrays, ("params", "text_audio_video/visual_module/~/S3D/logits/w", (3, 4))]
    imported = from_deepmind.convert(tree_of(arrays))
    assert imported.unused == ("text_audio_video/visual_module/~/S3D/logits/w",)
    report = imported.report()
    assert "none missing" in report and f"{HEADS}/audio2txt_embd/final_projection/w" in report
    assert "WARNING: unused, and not expected:\n  text_audio_video/visual_module/~/S3D/logits/w" in report


@pytest.mark.parametrize(
    ("name", "function", "message"),
    [
        (f"{STEM}/__cross_replica_batch_norm/scale", lambda a: a[..., :4], "shape [1, 1, 1, 1, 4], but S3D("),
        (f"{STEM}/__cross_replica_batch_norm/scale", lambda a: a[0], "shape [1, 1, 1, 8]"),
        (f"{STEM}/~/conv3_d/w", lambda a: np.where(a == a.max(), np.nan, a), "holds NaN, infinite"),
        (f"{STEM}/~/conv3_d/w", lambda a: a.astype(np.float64) * 1e300, "too large values"),
        (f"{STEM}/~/conv3_d/w", lambda a: a.astype(np.int32), "int32 is no type for it"),
        (f"{STEM}/~/conv3_d/w", lambda a: a[:, :3], "kernel [2, 3, 4, 24], but S3D has [2, 4, 4, 24] or [7, 7, 7, 3]"),
        (f"{STEM}/__cross_replica_batch_norm/~/var_ema/average", lambda a: -a, "negative"),
        (f"{HEADS}/audio_embd/final_projection/w", lambda a: a[:, :8], "leads into 8 dimensions, but another head"),
        (f"{STEM}/~/conv3_d/w", lambda a: np.repeat(a, 32, -1), "256 channels, more than any released network has"),
        (f"{HEADS}/txt_embd/final_projection/w", lambda a: np.repeat(a, 1024, -1), "8192 units, more than any"),
        (f"{name_map.TEXT}/embed/embeddings", lambda a: a[None], "an array of 2 axes belongs there"),
    ],
)
def test_bad_arrays_are_named(name, function, message, small_arrays, built_already, tmp_path):
    path = tmp_path / "weights.pkl"
    path.write_bytes(dumps(change(tree_of(small_arrays), name, function)))
    with pytest.raises(CheckpointError) as error:
        from_deepmind.load(str(path))
    assert message in str(error.value)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "name", [f"{STEM}/__cross_replica_batch_norm/~/mean_ema/average", f"{HEADS}/txt_embd/final_projection/b"]
)
def test_missing_arrays_are_named(name, small_arrays, built_already):
    with pytest.raises(CheckpointError, match=f"1 arrays are missing: {name}"):
        from_deepmind.convert(tree_of([array for array in small_arrays if array[1] != name]))


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("visual_module", "holds neither .*S3D"),
        ("text_module", "embed/embeddings"),
        ("_0/block_2", r"\(2, 4, 6, 3\) bottlenecks a group"),
    ],
)
def test_other_networks_are_refused(part, message, small_arrays):
    with pytest.raises(CheckpointError, match=message):
        from_deepmind.convert(tree_of([array for array in small_arrays if part not in array[1]]))


# The workdir.


@pytest.fixture(scope="module")
def embedded(imported):
    """What the network of the file gives."""
    return imported.model.embed(inputs())


@pytest.fixture(scope="module")
def written(small_file, imported, tmp_path_factory):
    """(workdir that the command makes of the file with a vocabulary, the vocabulary, what it says, the workdir loaded).

    Reading the file is what `imported` has done already.
    """
    folder = tmp_path_factory.mktemp("written")
    vocabulary, output, said = tiny.write_vocabulary(folder / "words.txt"), str(folder / "run"), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said):
        patch.setattr(from_deepmind, "convert_file", lambda path: {small_file: imported}[path])
        from_deepmind.main(["--checkpoint", small_file, "--output", output, "--vocabulary", vocabulary])
    loaded = workdir.load(output, tiny.SMALL_CLIPS)
    return output, vocabulary, said.getvalue(), loaded


def assert_embeds_alike(model, expected, modalities):
    found = model.embed({modality: inputs()[modality] for modality in modalities})
    for modality in modalities:
        assert found[modality].keys() == expected[modality].keys()
        for space, values in expected[modality].items():
            np.testing.assert_allclose(found[modality][space], values, rtol=1e-5, atol=1e-5)


def test_command_writes_a_workdir_that_training_begins_with(written, embedded, tmp_path):
    _, vocabulary, said, loaded = written
    output = shutil.copytree(written[0], tmp_path / "run")
    assert "CC BY-NC 4.0" in said and "audio2txt_embd" in said and "WARNING" not in said
    with open(os.path.join(output, "WEIGHTS_LICENSE.txt")) as file:
        license_note = file.read()
    assert "CC BY-NC 4.0" in license_note and "weights.pkl, sha256" in license_note
    assert loaded.step == 0 and loaded.pipeline.text.words == tiny.WORDS
    assert loaded.pipeline.modalities == ("video", "audio", "text")
    assert_embeds_alike(loaded.model, embedded, ("video", "audio", "text"))

    records = tiny.make_records(str(tmp_path / "records"))
    network = ("S3D", "Audio", "Text", "Graph")
    bindings = [b for b in tiny.bindings(records, vocabulary) if not b.startswith(network)]
    files = [f"{output}/config.gin", "gin/graphs/vt.gin", "gin/data/records.gin", "gin/optim/adam_cosine.gin"]
    # A part of the graph, without the sound.
    graph = [
        "VIDEO = @S3D()",
        "Graph.spaces = {'va': 16, 'vat': 8}",
        "Graph.heads = [('video', 'va', {'hidden': (16,), 'batch_norm': True}), "
        "('va', 'vat', {'activation': 'relu', 'batch_norm': True}), ('text', 'vat')]",
        "Graph.pairs = [('video', 'text', 'vat', {'loss': @mil_nce})]",
    ]
    config.parse(files, [*bindings, *graph, "warmup_cosine.peak = 1e-30", "train.steps = 2"])
    train(str(output), tf.distribute.get_strategy())
    loaded = workdir.load(str(output))
    assert loaded.step == 2
    # With a learning rate of next to nothing the weights are the file's; the moving averages went two steps on.
    kernel = loaded.model.backbones["video"].stages["Conv2d_1a_7x7"].convs[0].conv.kernel
    np.testing.assert_array_equal(kernel, make_array(f"{STEM}/~/conv3_d/w", kernel.shape))
    assert float(loaded.model.heads["va -> vat"].norm.counter) == 1002
    with open(os.path.join(output, "WEIGHTS_LICENSE.txt")) as file:
        assert file.read() == license_note


def test_without_a_vocabulary_text_is_left_out(small_file, imported, embedded, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(from_deepmind, "convert_file", lambda path: imported)
    output, exported = str(tmp_path / "run"), str(tmp_path / "export")
    from_deepmind.main(["--checkpoint", small_file, "--output", output])
    assert "text is left out" in capsys.readouterr().out
    # The weights of the text network lie in the checkpoint all the same.
    names = [name for name, _ in tf.train.list_variables(tf.train.latest_checkpoint(f"{output}/checkpoints"))]
    assert any("text" in name and "embeddings" in name for name in names)
    found = []

    # What is saved is the business of test_saved_model, and takes long for a ResNet-50.
    def build(loaded, *_):
        found.append(loaded)
        audio = tf.function(lambda audio: {"va": audio}).get_concrete_function(tf.TensorSpec([None, 3], name="audio"))
        return tf.train.Checkpoint(), {"audio": audio}

    monkeypatch.setattr(saved_model, "build", build)
    saved_model.main(["--workdir", output, "--output", exported])
    assert "text: no signature" in capsys.readouterr().out
    assert found[0].model.graph.modalities == ("video", "audio")
    assert_embeds_alike(found[0].model, embedded, ("video", "audio"))
    with (
        open(f"{exported}/assets.extra/WEIGHTS_LICENSE.txt") as note,
        open(f"{output}/WEIGHTS_LICENSE.txt") as original,
    ):
        assert note.read() == original.read()


def test_load_takes_the_released_file_itself(small_file, imported, written, monkeypatch):
    monkeypatch.setattr(from_deepmind, "convert_file", lambda path: imported)
    _, vocabulary, _, loaded = written
    model = mmv_tf.load(small_file, vocabulary=vocabulary)
    expected = loaded.model.embed({"text": loaded.pipeline.text(["red ball"])[:, None]}, training=False)["text"]
    np.testing.assert_allclose(model.embed(text="red ball")["text"]["vat"], expected["vat"][0], rtol=1e-4, atol=1e-6)
    assert model.licence.startswith("These weights were made by DeepMind")
    assert model.modalities == ("video", "image", "audio", "text")
    assert (model.seconds, model.sample_rate) == (3.2, 48000)
    assert mmv_tf.load(small_file).modalities == ("video", "image", "audio")


def test_errors_of_the_command_are_one_line(small_file, imported, tmp_path, capsys, monkeypatch):
    assert from_deepmind.cli(["--checkpoint", "nowhere.pkl", "--output", str(tmp_path / "run")]) == 2
    assert "checkpoint nowhere.pkl: No such file" in capsys.readouterr().err.splitlines()[0]
    monkeypatch.setattr(from_deepmind, "convert_file", lambda path: imported)
    words = tmp_path / "words.txt"
    words.write_text("".join(f"word{i}\n" for i in range(7)))
    for vocabulary, message in (
        (str(words), "7 words, but the checkpoint has word vectors for 6"),
        ("nowhere.txt", "vocabulary nowhere.txt: cannot be read"),
    ):
        arguments = ["--checkpoint", small_file, "--vocabulary", vocabulary, "--output", str(tmp_path / "run")]
        assert from_deepmind.cli(arguments) == 2
        assert message in capsys.readouterr().err.splitlines()[0]
        assert not os.path.exists(tmp_path / "run")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.gin").write_text("")
    with pytest.raises(FileExistsError, match="is a workdir already"):
        from_deepmind.main(["--checkpoint", small_file, "--output", str(tmp_path / "run")])
