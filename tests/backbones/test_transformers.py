"""VATT's transformers: against arrays of the reference, in float64, and their parameters against its counts."""

from unittest import mock

import numpy as np
import pytest
import tensorflow as tf

from helpers.golden_others import golden, normal, sized
from helpers.golden_recipe import assert_close, probes
from helpers.vatt_arrays import SIZE, example, fill, named, our_name
from mmv_tf.backbones import (
    SharedTransformer,
    TextTransformer,
    VideoTokens,
    VideoTransformer,
    WaveformTokens,
    WaveformTransformer,
    WordVectors,
    draws,
    modality_agnostic,
)
from mmv_tf.backbones.transformers import positions, text_transformer, tokens
from mmv_tf.backbones.transformers.text_transformer import WordTokens
from mmv_tf.backbones.transformers.transformer import Transformer, extents

WIDE = {"dtype": "float64"}


@pytest.fixture(scope="module")
def video():
    network = VideoTransformer(
        tokens=VideoTokens((4, 8, 8), (4, 4, 3), **WIDE), dropout=0.0, rematerialise=True, **SIZE, **WIDE
    )
    network.build((2, 16, 32, 24, 3))
    fill(network, "vatt_video")
    return network


def assert_ends(ends, expected, prefix, names):
    for ours, theirs in names.items():
        values = expected[f"{prefix}/{theirs}"]
        found = np.asarray(ends[ours])
        # Computed in float32 there.
        assert_close(found if found.shape == values.shape else probes(found, len(values)), values, 2e-6, theirs)


def test_video(video):
    expected = golden("vatt_video")
    ends = video.endpoints(example("vatt_video"))
    assert_ends(ends, expected, "eval", {"embedding": "agg", "tokens": "tokens_probes", "patches": "patches_probes"})
    assert ends["tokens"].shape == tuple(expected["eval/tokens_shape"])


def permuted(order):
    return mock.patch.object(draws.Draws, "permutation", lambda self, count, name: tf.constant(order))


def test_drop_token_and_its_gradients(video):
    expected, ours = golden("vatt_video"), named(video)
    with permuted(expected["drop_token/permutation"]), tf.GradientTape() as tape:
        ends = video.endpoints(example("vatt_video"), training=True)
        loss = tf.reduce_sum(ends["embedding"] * normal((2, 64), 99))
    assert_ends(ends, expected, "drop_token", {"embedding": "agg", "tokens": "tokens_probes"})
    stored = {name.partition("grad/")[2]: x for name, x in expected.items() if "/grad/" in name}
    variables = [ours[our_name(name, True)].value for name in stored]
    for found, (name, x) in zip(tape.gradient(loss, variables), stored.items(), strict=True):
        assert_close(probes(tf.convert_to_tensor(found)), x, 3e-6, name)
    assert len(stored) == 7


def test_other_sizes_read_between_the_positions(video):
    expected, table = golden("vatt_video"), named(video)["tokens/positions/time"]
    x = example("vatt_video", "interpolated_input")
    assert_close(video(x), expected["interpolated/agg"], 2e-6)
    for count in (6, tf.constant(6)):  # known beforehand, or not, as in an export
        read = positions.read_at(tf.convert_to_tensor(table), count)
        assert_close(read, expected["interpolated/temporal_table"], 5e-6)  # there from an ill-conditioned system
    unknown = tf.function(video, input_signature=[tf.TensorSpec([None, None, None, None, 3], tf.float64)])
    assert_close(unknown(x), video(x), 1e-12)
    np.testing.assert_array_equal(positions.read_at(tf.convert_to_tensor(table), tf.constant(4)), table)


def test_a_line_stays_a_line_beyond_the_table():
    line = np.arange(5.0)[:, None]
    np.testing.assert_allclose(positions.read_at(tf.constant(line), 20)[:, 0], np.arange(20) / 4, atol=1e-12)
    np.testing.assert_array_equal(positions.read_at(tf.constant(line[:1]), 3), np.zeros((3, 1)))


def test_waveform():
    network = WaveformTransformer(tokens=WaveformTokens(16, 50, **WIDE), dropout=0.0, **SIZE, **WIDE)
    x, expected = example("vatt_audio"), golden("vatt_audio")
    network.build(x.shape)
    fill(network, "vatt_audio")
    names = {"embedding": "agg", "tokens": "tokens_probes", "patches": "patches_probes"}
    assert_ends(network.endpoints(x), expected, "eval", names)
    with permuted(expected["drop_token/permutation"]):
        assert_ends(network.endpoints(x, training=True), expected, "drop_token", {"embedding": "agg"})
    # Shorter than a patch: zeros behind it; what is left over behind the last patch is not heard.
    np.testing.assert_array_equal(network(x[:, :5]), network(np.pad(x[:, :5], [(0, 0), (0, 11)])))
    np.testing.assert_array_equal(network(x[:, :40]), network(x[:, :32]))


def test_text():
    network = TextTransformer(words=WordVectors(500, 30, **WIDE), dropout=0.0, **SIZE, **WIDE)
    words, expected = example("vatt_text"), golden("vatt_text")
    network.build(words.shape)
    fill(network, "vatt_text", in_tokens=False)
    ends = network.endpoints(words)
    assert_close(ends["embedding"], expected["sentence"], 2e-6)
    assert_close(probes(ends["words"], 64), expected["words_probes"], 2e-6)
    candidates = network.endpoints(np.stack([words, words[::-1]], 1))
    assert_close(candidates["embedding"][:, 1], expected["sentence"][::-1], 2e-6)
    assert candidates["words"].shape == (5, 2, 16, 64)


def test_buckets_of_distances():
    place, expected = np.arange(17), golden("vatt_text")
    np.testing.assert_array_equal(text_transformer.bucket(place[None] - place[:, None]), expected["buckets"])
    found = text_transformer.bucket(np.arange(-200, 201))
    np.testing.assert_array_equal(found, expected["buckets_of_minus200_to_200"])


@pytest.mark.parametrize("modality", ["video", "audio", "text"])
def test_one_transformer_for_all(modality):
    parts = {
        "video": lambda: VideoTokens((4, 8, 8), (4, 3, 3), **WIDE),
        "audio": lambda: WaveformTokens(16, 50, **WIDE),
        "text": lambda: WordTokens(WordVectors(500, 30, **WIDE), **WIDE),
    }
    size = extents("", "tiny", **{**SIZE, "layers": 2})
    network = SharedTransformer(parts[modality](), Transformer(size, name="transformer", **WIDE), 56, **WIDE)
    x, expected = example("vatt_agnostic", modality=modality), golden("vatt_agnostic")
    network.build(x.shape)
    fill(network, "vatt_agnostic", modality)
    ends = network.endpoints(x)
    assert_ends(ends, expected, modality, {"embedding": "pooled", "tokens": "tokens_probes"})


@pytest.mark.parametrize(
    ("network", "shape", "millions"),
    [
        (lambda: VideoTransformer("base"), (None,) * 4 + (3,), 87.45),
        (lambda: VideoTransformer("medium"), (None,) * 4 + (3,), 154.34),
        (lambda: VideoTransformer("large"), (None,) * 4 + (3,), 305.50),
        (lambda: WaveformTransformer("base"), (None, None), 86.08),
        (lambda: WaveformTransformer("medium"), (None, None), 152.52),
        (lambda: TextTransformer("small"), None, 19.04),
    ],
)
def test_counts_of_the_reference(network, shape, millions):
    assert round(sized(network(), shape)[1] / 1e6, 2) == millions


def test_the_agnostic_network_has_one_transformer():
    networks = modality_agnostic()
    shapes = {"video": (None,) * 4 + (3,), "audio": (None, None), "text": (None, None)}
    total = sum(sized(networks[m], shapes[m])[1] for m in networks)
    assert round(total / 1e6, 1) == 161.3
    assert networks["video"].transformer is networks["text"].transformer


@pytest.mark.parametrize(("drop", "left"), [(0.0, 1568), (0.25, 1176), (0.5, 784), (0.75, 392), (0.9, 156)])
def test_how_many_tokens_are_left(drop, left):
    assert tokens.kept(1568, drop) == left == int(tokens.kept(tf.constant(1568), drop))


def test_tokens_of_each_sample_or_of_all():
    x = tf.tile(tf.range(40.0)[None, :, None], [3, 1, 1])
    drawn = draws.Draws(seed=1, step=2, modality="video")
    same = tokens.drop_tokens(x, 0.5, False, drawn)[..., 0].numpy()
    own = tokens.drop_tokens(x, 0.5, True, drawn)[..., 0].numpy()
    assert same.shape == own.shape == (3, 20)
    assert (same[0] == same).all() and len(set(same[0])) == 20 and set(same[0]) != set(range(20))
    assert all(len(set(row)) == 20 for row in own) and (own[0] != own[1]).any() and (own[1] != own[2]).any()


@pytest.mark.parametrize(
    ("network", "shape", "message"),
    [
        (VideoTransformer, (2, 8, 8), "VideoTransformer takes clips"),
        (WaveformTransformer, (2, 8, 8, 1), "InputPipeline.audio = @Waveform()"),
        (TextTransformer, (2, 8, 8, 1), "TextTransformer takes word ids"),
    ],
)
def test_inputs_that_do_not_fit(network, shape, message):
    with pytest.raises(ValueError, match=message.replace("(", r"\(").replace(")", r"\)")):
        network("tiny").endpoints(np.zeros(shape, np.float32))
    with pytest.raises(ValueError, match=f"{network.__name__}.heads = 5"):
        network("tiny", heads=5)


def test_attention_with_dropout_is_that_without_where_nothing_is_dropped():
    network = TextTransformer("tiny", words=WordVectors(20, 8, **WIDE), dropout=0.1, **WIDE)
    words = np.array([[3, 4, 5, 0], [6, 0, 0, 0]], np.int32)
    expected = network(words)
    with mock.patch.object(draws.Draws, "dropout", lambda self, x, rate, name: x):
        assert_close(network(words, training=True), expected, 1e-12)
