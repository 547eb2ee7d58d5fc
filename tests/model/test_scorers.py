"""Scorers: AA+AV CC's coincidence against its formula, what a graph says of them, and where their weights are."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from helpers import toy
from helpers.system_arrays import arrays, normal
from mmv_tf.model import graph_drawing, losses
from mmv_tf.model.cost import count, table
from mmv_tf.model.graph import Graph
from mmv_tf.model.losses import Embeddings
from mmv_tf.model.scorers import Scorer, coincidence

PAIR = ("video", "audio", "va", {"loss": coincidence, "scorer": Scorer})
NAME = "video_audio in va by coincidence"


def graph(*pairs) -> Graph:
    return Graph(spaces={"va": 5}, heads=[("video", "va"), ("audio", "va")], pairs=pairs or (PAIR,))


@pytest.fixture(scope="module")
def of_the_formula():
    """The scorer that the arrays were computed with."""
    scorer = Scorer(hidden=(10,))
    scorer(normal([7, 12], 421), normal([7, 12], 422))
    scorer.kernels[0].assign(0.3 * normal([24, 10], 423))
    scorer.kernels[1].assign(0.5 * normal([10], 424)[:, None])
    return scorer


def test_the_coincidence_of_aa_av_cc_equals_its_formula(of_the_formula):
    golden, x, y = arrays("derived/coincidence"), normal([7, 12], 421), normal([7, 12], 422)
    np.testing.assert_allclose(of_the_formula(x, y), golden["logits"], atol=2e-6)
    compared = coincidence(Embeddings.single(x), Embeddings.single(y), of_the_formula)
    np.testing.assert_allclose(compared.share(), golden["loss"], rtol=1e-5)
    np.testing.assert_allclose(compared.positive, np.diag(golden["logits"]), atol=2e-6)
    best = golden["logits"] - 1e9 * np.eye(7)
    np.testing.assert_array_equal(compared.found, np.diag(golden["logits"]) > best.max(axis=1))
    np.testing.assert_array_equal(compared.found_reverse, np.diag(golden["logits"]) > best.max(axis=0))


def test_what_is_missing_counts_neither_with_itself_nor_with_others(of_the_formula):
    x, y = normal([5, 12], 1), normal([5, 12], 2)
    there = np.array([1, 1, 0, 1, 1], bool), np.array([1, 0, 1, 1, 1], bool)
    x[2], y[1] = 50.0, -50.0
    logits = np.array(of_the_formula(x, y), np.float64)
    of_both = there[0][:, None] & there[1][None]
    own = np.eye(5, dtype=bool)
    wanted = np.log1p(np.exp(-logits[of_both & own])).mean() + np.log1p(np.exp(logits[of_both & ~own])).mean()
    sides = [Embeddings.single(tf.constant(side), mask) for side, mask in zip((x, y), there, strict=True)]
    with tf.GradientTape() as tape:
        tape.watch([side.local for side in sides])
        value = coincidence(*sides, of_the_formula).share()
    np.testing.assert_allclose(value, wanted, rtol=1e-5)
    gradients = tape.gradient(value, [side.local for side in sides])
    assert not np.any(gradients[0][2]) and not np.any(gradients[1][1]) and np.any(gradients[0][1])
    absent = np.zeros((5, 1), bool)
    nothing = coincidence(sides[0], sides[1]._replace(mask=absent, everyone_mask=absent), of_the_formula)
    assert nothing.share() == 0 and not np.any(nothing.valid)
    y[3] = np.nan
    assert np.isnan(coincidence(sides[0], Embeddings.single(y), of_the_formula).share())
    with pytest.raises(ValueError, match="coincidence compares one candidate a sample, and got 2"):
        coincidence(Embeddings.single(x), Embeddings.single(normal([5, 2, 12], 3)), of_the_formula)


class _Nearness(keras.layers.Layer):
    def call(self, a, b):
        return -tf.abs(a[:, None, 0] - b[None, :, 0])


def test_what_is_missing_is_not_found_before_what_is_there():
    x, y = (np.array([values], np.float32).T for values in ([0.0, 1.0, 0.1, 3.0, 4.0], [0.1, 0.0, 2.0, 3.0, 4.0]))
    there = np.array([1, 1, 0, 1, 1], bool), np.array([1, 0, 1, 1, 1], bool)
    sides = [Embeddings.single(tf.constant(side), mask) for side, mask in zip((x, y), there, strict=True)]
    # The nearest to clip 0 is a sound that is missing, and the nearest to its sound a clip that is missing.
    compared = coincidence(*sides, _Nearness())
    both = there[0] & there[1]
    assert np.array(compared.found)[both].all() and np.array(compared.found_reverse)[both].all()


def test_a_deeper_scorer_is_a_perceptron_over_both_vectors_side_by_side():
    scorer, x, y = Scorer(hidden=(4, 3)), normal([2, 5], 1), normal([3, 6], 2)
    found = scorer(x, y)
    kernels, biases = ([v.numpy() for v in part] for part in (scorer.kernels, scorer.biases))
    for i in range(2):
        for j in range(3):
            values = np.concatenate([x[i], y[j]])
            for kernel, bias in zip(kernels[:-1], biases[:-1], strict=True):
                values = np.maximum(values @ kernel + bias, 0)
            np.testing.assert_allclose(found[i, j], (values @ kernels[-1] + biases[-1])[0], rtol=1e-5)
    assert Scorer.from_config(scorer.get_config()).hidden == (4, 3)
    with pytest.raises(ValueError, match=r"Scorer.hidden = \(\): a scorer without a hidden layer cannot compare"):
        Scorer(hidden=())


def test_the_weights_of_a_scorer_are_named_trained_and_counted():
    model = toy.mmv(graph())
    names = [name for name in model.named_variables() if name.startswith(NAME)]
    assert [n.removeprefix(f"{NAME}/") for n in names] == [
        "hidden_0_kernel", "hidden_0_bias", "score_kernel", "score_bias"
    ]  # fmt: skip
    before = {name: model.named_variables()[name].numpy() for name in names}
    model.take_step(toy.batch(6))
    assert not any(np.array_equal(before[name], model.named_variables()[name]) for name in names[:3])
    for backbone in model.backbones.values():
        backbone.output_dim = 6
    specs = {"video": tf.TensorSpec([1, 2, 4, 4, 3]), "audio": tf.TensorSpec([1, 5, 4, 1])}
    found = count(model, specs)
    assert (found[-1].part, found[-1].parameters) == (NAME, 10 * 128 + 128 + 128 + 1)
    assert found[-1].multiply_adds == 10 * 128 + 128 and NAME in table(found)


def test_a_graph_tells_and_checks_scorers():
    plain = ("video", "audio", "va")
    both = graph(PAIR, plain)
    assert "(video, audio) in va: coincidence of a Scorer, weight 1" in both.describe()
    assert "(video, audio) in va: nce, weight 1\n" in both.describe() + "\n"
    assert "coincidence of a Scorer x 1" in graph_drawing.svg(both)
    # Their name does not hang on what else a graph has, unlike that of the logs.
    assert [p.scorer_name for p in both.pairs][:1] == [NAME] == [p.scorer_name for p in graph().pairs]
    for options, said in (
        ({"loss": coincidence}, "the loss coincidence needs a 'scorer', such as @Scorer"),
        ({"loss": losses.nce, "scorer": Scorer}, "the loss nce compares by the cosine, not by a 'scorer'"),
        (
            {"loss": coincidence, "scorer": Scorer()},
            "a 'scorer' is what makes a layer, such as Scorer, and this is one",
        ),
    ):
        with pytest.raises(ValueError, match=said):
            graph((*plain, options))
