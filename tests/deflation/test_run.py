"""Deflation of a workdir: what is trained, what is left, and what the report says."""

import json
import os
import types

import gin
import numpy as np
import pytest
import tensorflow as tf

from helpers import graphs, tiny_export, toy
from helpers.golden_recipe import unit_input
from mmv_tf.deflation import report, run
from mmv_tf.deflation.images import Images
from mmv_tf.deflation.network import image_network
from mmv_tf.deflation.settings import Deflation
from mmv_tf.inputs.pipeline import InputPipeline
from mmv_tf.inputs.video import VideoInput
from mmv_tf.training import workdir

FEW = [
    "Deflation.steps = 40",
    "Deflation.check_every = 10",
    "Deflation.learning_rate = 0.02",
    "Deflation.batch_size = 16",
]
FEW += ["Deflation.crops_per_image = 2", "Deflation.held_out_share = 0.25"]


@pytest.fixture(scope="module")
def deflated(tmp_path_factory):
    """(workdir, what deflating it gave)."""
    export = tiny_export.copied(tmp_path_factory.mktemp("deflate") / "run")
    path, beside = str(export.workdir), export.module.parent / "beside"
    beside.mkdir()
    for shard in export.records.glob("train-*"):
        shard.rename(beside / shard.name.replace("train", "test"))
    with tiny_export.loaded_once():
        return path, run.deflate_workdir(path, gin_params=FEW, retrieval_records=str(beside / "test-*"))


def test_what_is_trained_and_used(deflated):
    path, result = deflated
    model = tiny_export.export().loaded.model
    images = unit_input("images", (3, 32, 32, 3)) ** 2
    naive = image_network(model)
    trained = image_network(model, path)
    assert trained.endpoints(images)["embedding"].shape == (3, model.backbones["video"].output_dim)
    changed = set()
    for before, after in zip(naive.variables, trained.variables, strict=True):
        if not np.array_equal(before, after):
            changed.add(after.name)
    assert changed == {"scale", "offset"}  # neither kernels nor moving averages
    wanted = image_network(model, variant="inflated", frames=4)(images)
    distance = [report.distances(n(images).numpy(), wanted.numpy())["relative_l2"] for n in (naive, trained)]
    assert distance[1] < distance[0]  # though these are no pictures
    np.testing.assert_array_equal(image_network(model, path, "naive")(images), naive(images))

    # The same folder is refused for other weights.
    video = model.backbones["video"]
    other = type(video).from_config(video.get_config())
    other.build(None)
    other = types.SimpleNamespace(backbones={"video": other})
    with pytest.raises(ValueError, match="was trained for other weights of the video network .step 0.: run python"):
        image_network(other, path)
    image_network(other, path, "naive")


def test_report(deflated):
    path, result = deflated
    folder = os.path.join(path, "deflated")
    with open(os.path.join(folder, "report.json")) as file:
        assert json.load(file) == result
    assert result["frames"] == 4 and result["image_size"] == 32 and result["step"] == 0
    assert result["images"]["held_out"] + result["images"]["learned_from"] == 96  # 24 records, 4 frames of each
    assert result["images"]["crops"] == 2 * result["images"]["learned_from"]
    training = result["training"]
    assert training["held_out_l1_trained"] < 0.8 * training["held_out_l1_naive"]
    for space in ("repr", "va", "vat"):
        naive, trained = (result["distance_to_inflated"][space][v] for v in ("naive", "trained"))
        assert 0 < trained["relative_l2"] < naive["relative_l2"] < 2
    cost = result["cost"]
    assert cost["multiply_adds_ratio"] == cost["video_multiply_adds"] / cost["image_multiply_adds"] > 2
    assert set(result["retrieval"]) == {"image -> audio", "image -> text"}
    for rows in result["retrieval"].values():
        assert list(rows) == ["video", "naive", "trained", "inflated", "chance"]
        assert all(0 <= row["R@1"] <= row["R@5"] <= 1 for row in rows.values())
    with open(os.path.join(folder, "learning_curve.json")) as file:
        curve = json.load(file)
    assert [check["step"] for check in curve] == [0, 10, 20, 30, 40]
    assert training["held_out_l1_trained"] == min(check["held_out_l1"] for check in curve)
    with open(os.path.join(folder, "index.html")) as file:
        page = file.read()
    assert "<svg" in page and f"{result['distance_to_inflated']['repr']['trained']['relative_l2']:.4f}" in page
    assert any(name.startswith("events.out") for name in os.listdir(folder))
    with open(os.path.join(folder, "config.gin")) as file:
        assert "Deflation.steps = 40" in file.read()


def test_same_command_again_trains_nothing_new(deflated, capsys, monkeypatch):
    path, result = deflated
    monkeypatch.setattr("mmv_tf.deflation.training.Training.run", None)
    gin.clear_config()
    with tiny_export.loaded_once():
        again = run.deflate_workdir(path, gin_params=FEW, retrieval_records="")
    assert again["training"] == result["training"]
    assert again["distance_to_inflated"] == result["distance_to_inflated"]
    assert "resumed from step 40" in capsys.readouterr().out


def test_shipped_file_says_the_defaults():
    gin.clear_config()
    defaults = vars(Deflation())
    gin.parse_config_file("gin/deflate.gin")
    assert vars(Deflation()) == defaults
    assert all(f"Deflation.{name} =" in gin.config_str() for name in defaults)


def test_a_training_is_made_for_all_that_crops_are_cut_and_changed_by():
    """Those of earlier versions, which knew the numbers alone, keep their name where the rest is as usual."""
    gin.clear_config()
    usual = VideoInput(value_range=(0, 1), mean=[0, 0, 0])
    assert run._crops_by(usual) == {name: one for name, one in vars(usual).items() if isinstance(one, (int, float))}
    network = tf.keras.layers.Layer()
    others = {"crop_area": (0.3, 1.0), "crop_aspect": (1.0, 1.0), "colour_order": "random", "blur_sigma": (0.1, 1.0)}
    others |= {"value_range": (-1.0, 1.0), "mean": (0.5, 0.5, 0.5), "deviation": (2.0, 2.0, 2.0), "min_side": 256}
    inputs = [usual, VideoInput(), *(VideoInput(**{name: value}) for name, value in others.items())]
    names = [run._made_for(Deflation(), one, network, Images(), Images()) for one in inputs]
    assert names[0] == names[1] and len(set(names)) == 1 + len(others)


def test_console_shows_every_table(deflated):
    from mmv_tf.deflation import page

    text = page.as_text(deflated[1])
    assert "image -> text" in text and "million multiply-adds" in text and "space vat" in text


def test_distances():
    wanted = np.array([[3.0, 4.0], [0.0, 2.0]])
    assert report.distances(wanted, wanted) == {"relative_l2": 0, "cosine_distance": pytest.approx(0)}
    turned = report.distances(np.array([[-4.0, 3.0], [0.0, 2.0]]), wanted)
    assert turned["cosine_distance"] == pytest.approx(0.5)
    assert turned["relative_l2"] == pytest.approx(np.sqrt(50 / 29))


class Passing:
    """A model that gives its inputs back in every space."""

    graph = graphs.fac()

    def without_empty_texts(self, batch):
        return batch

    def embed(self, batch, training):
        flat = {m: tf.cast(tf.reshape(rows, [rows.shape[0], -1]), tf.float32) for m, rows in batch.items()}
        return {m: {space: rows for space in ("repr", *self.graph.spaces_of(m))} for m, rows in flat.items()}

    def embed_repr(self, modality, rows):
        return {space: rows for space in ("repr", *self.graph.spaces_of(modality))}


def test_retrieval_asks_with_the_middle_frame():
    count = 10
    clips = np.zeros((count, 4, 1, 1, 3), np.float32)
    clips[:, 2, 0, 0] = unit_input("frames", (count, 3))
    found = {
        "video": clips,
        "audio": np.where(np.arange(count)[:, None] % 2, -1, 1) * clips[:, 2, 0, 0],  # right for every second clip
        "text": np.arange(1, 4) * np.ones((count, 2, 3), np.int32),  # the same narration everywhere
        "video_mask": np.ones(count, bool),
        "audio_mask": np.arange(count) != 9,
        "text_mask": np.ones((count, 2), bool),
        "label": np.zeros(count, np.int32),
        "label_names": np.full(count, "a"),
        "key": np.array([f"clip{i}" for i in range(count)]),
    }
    pipeline = type("Pipeline", (), {"is_finished": True})()
    pipeline.evaluation_dataset = lambda pattern, size: tf.data.Dataset.from_tensor_slices(found).batch(size)
    networks = {"pixels": lambda x: tf.reshape(x, [-1, 3]), "turned": lambda x: -tf.reshape(x, [-1, 3])}
    model = Passing()
    model.embed = lambda batch, training: Passing.embed(model, {**batch, "video": batch["video"][:, 2]}, training)
    result = report.image_retrieval(model, pipeline, networks, "any", count, batch_size=4)
    audio, text = result["image -> audio"], result["image -> text"]
    assert audio["pixels"] == audio["video"]
    assert audio["pixels"]["R@1"] >= 5 / 9  # nine have sound
    assert audio["turned"]["R@1"] >= 4 / 9
    assert audio["chance"]["R@1"] == pytest.approx(1 / 9)
    assert text["turned"]["R@1"] == text["chance"]["R@1"] == 1


def test_errors(deflated, tmp_path):
    model = toy.mmv(graphs.fac())
    with pytest.raises(ValueError, match="variant must be one of naive, trained, inflated, not 'best'"):
        image_network(model, variant="best")
    with pytest.raises(ValueError, match="holds no trained deflation: run python -m mmv_tf.deflate"):
        image_network(model, str(tmp_path), "trained")
    with pytest.raises(ValueError, match="'inflated' needs frames"):
        image_network(model, variant="inflated")
    del model.backbones["video"]
    with pytest.raises(ValueError, match="nothing to deflate: the model has audio, text, and no video"):
        image_network(model)
    with pytest.raises(ValueError, match="Deflation.batch_size = 0: must be a whole number of at least 1"):
        Deflation(batch_size=0)
    with pytest.raises(ValueError, match="Deflation.held_out_share = 1: must be a number above 0 and below 1"):
        Deflation(held_out_share=1)
    gin.clear_config()
    with tiny_export.loaded_once(), pytest.raises(ValueError, match="empty' holds no image"):
        os.makedirs(tmp_path / "empty")
        run.deflate_workdir(deflated[0], images=[str(tmp_path / "empty")])
    workdir.parse_config(deflated[0], ["TRAIN_DATA = 'nowhere/train-*'"])
    with pytest.raises(ValueError, match="records of the run are not at 'nowhere/train-.*' .*give --records"):
        run._images(Deflation(), InputPipeline(), images=(), records=(), held_out=None)
