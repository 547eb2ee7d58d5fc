"""The export: equal to the Python model, and usable in a process that has none of our code."""

import numpy as np
import pytest
import tensorflow as tf

from helpers import tiny, tiny_export
from mmv_tf.deflation import network as deflate
from mmv_tf.export import saved_model, signatures

SPACES = {"video": {"va", "vat"}, "image": {"va", "vat"}, "audio": {"va", "vat"}, "text": {"vat"}}
WAYS = ("tf", "hub", "embed", "layer", "keras3")


@pytest.fixture(scope="module")
def exported():
    return tiny_export.export()


@pytest.fixture(scope="module")
def image_network(exported):
    return deflate.image_network(exported.loaded.model)


@pytest.fixture(scope="module")
def client():
    return tiny_export.client()


@pytest.fixture(scope="module")
def expected(exported, image_network):
    """What the Python model gives: {modality: {key: array}}."""
    loaded, inputs = exported.loaded, {k: tf.constant(v) for k, v in tiny_export.inputs().items()}
    batch = {
        "video": inputs["video"],
        "audio": loaded.pipeline.audio(inputs["audio"]),
        "text": loaded.pipeline.text(inputs["text"]),
    }
    embeddings = loaded.model.embed(batch)
    embeddings["image"] = loaded.model.embed_repr("video", image_network(inputs["image"]))
    for outputs in embeddings.values():
        outputs[signatures.BEFORE_HEAD] = outputs.pop("repr")
    return embeddings


def _assert_close(found, wanted):
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())


@pytest.mark.parametrize("modality", SPACES)
def test_every_way_to_load_it_gives_what_the_python_model_gives(client, expected, modality):
    outputs = client.outputs
    assert set(expected[modality]) == {signatures.BEFORE_HEAD, *SPACES[modality]}
    for way in WAYS:
        keys = {name.split("/")[2] for name in outputs if name.startswith(f"{way}/{modality}/")}
        assert keys - {"last_conv"} == set(expected[modality])
        for key, wanted in expected[modality].items():
            _assert_close(outputs[f"{way}/{modality}/{key}"], wanted)
    assert (f"tf/{modality}/last_conv" in outputs) == (modality == "audio")


def test_the_calls_of_the_published_modules_documentation(client, expected):
    outputs = client.outputs
    for key, wanted in expected["video"].items():
        _assert_close(outputs[f"call/video/{key}"], wanted)
    for way in ("output_key", "subscript"):
        _assert_close(outputs[f"{way}/video/before_head"], expected["video"]["before_head"])
    _assert_close(outputs["functional/video/va"], expected["video"]["va"])
    texts, videos = (np.asarray(expected[modality]["vat"]) for modality in ("text", "video"))
    # A product of vectors that are nearly at right angles is rounded as one of their lengths.
    lengths = np.linalg.norm(texts, axis=1).max() * np.linalg.norm(videos, axis=1).max()
    np.testing.assert_allclose(outputs["similarity"], texts @ videos.T, rtol=0, atol=1e-6 * lengths)


def test_last_conv_is_the_map_before_the_last_batch_norm(exported, client):
    loaded = exported.loaded
    mel = loaded.pipeline.audio(tf.constant(tiny_export.inputs()["audio"]))
    _assert_close(client.outputs["hub/audio/last_conv"], loaded.model.backbones["audio"].endpoints(mel)["last_conv"])


def test_image_and_video_network_are_two(client):
    clips = tiny_export.inputs()["image"][:, None].repeat(4, axis=1)
    of_clips = tiny_export.module().signatures["video"](tf.constant(clips))["before_head"].numpy()
    of_images = client.outputs["tf/image/before_head"]
    assert 1e-3 < np.linalg.norm(of_clips - of_images) / np.linalg.norm(of_clips) < 1


def test_fine_tuning_through_hub_changes_the_network_and_its_moving_averages(exported, image_network, client):
    heads = exported.loaded.model.heads
    networks = {**exported.loaded.model.backbones, "image": image_network}
    # The root is the video network's; the bias in front of its first head's batch norm has a gradient of zero.
    for name, network, head, without_effect in (
        ("", "video", "video -> va", 1),
        ("image", "image", "video -> va", 1),
        ("audio", "audio", "audio -> va", 0),
    ):
        on_the_way = len(networks[network].trainable_variables) + len(heads[head].trainable_variables)
        report = client.report[name]
        assert report["trainable"] == on_the_way + len(heads["va -> vat"].trainable_variables)
        assert report["changed"] == on_the_way - without_effect
        assert report["moving_averages_changed"] > 10


def test_a_classifier_fits_on_top(client):
    assert client.report[""]["last"] < 0.5 * client.report[""]["first"]


def test_the_export_holds_its_configuration_words_and_card(exported):
    extra = exported.module / "assets.extra"
    assert "Graph.spaces" in (extra / "config.gin").read_text()
    assert (extra / "vocabulary.txt").read_text().split() == list(tiny.WORDS)
    assert "image" in (extra / "README.md").read_text()
    assert (extra / "tf_serving_warmup_requests").stat().st_size > 0


@pytest.mark.parametrize("texts", [[["a", "b"]], "a"])
def test_texts_of_another_rank_are_told(exported, texts):
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"text takes a tensor \[B\] .* has the shape"):
        tiny_export.module().signatures["text"](tf.constant(texts))


def test_an_export_never_overwrites(exported):
    with pytest.raises(FileExistsError, match="is there already"):
        saved_model.save(exported.loaded, str(exported.module), "anywhere")


def test_the_image_network_can_be_left_out(exported, monkeypatch):
    def module(loaded, modality, network):
        made = tf.train.Checkpoint()
        made.__call__, made.variables, made.trainable_variables = tf.function(tf.identity), [], []
        return made, network

    monkeypatch.setattr(signatures, "module", module)  # what is traced is the business of the tests above
    loaded = exported.loaded
    assert set(saved_model.build(loaded, saved_model.networks(loaded))[1]) == {"video", "audio", "text", "image"}
    assert saved_model.build(loaded, saved_model.networks(loaded, image=False))[1] == loaded.model.backbones
