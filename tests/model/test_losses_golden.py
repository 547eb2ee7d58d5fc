"""The losses of other systems against values and gradients of their published code, or of their formula."""

import numpy as np
import pytest
import tensorflow as tf

from helpers.system_arrays import arrays, normal, unit
from mmv_tf.model import losses
from mmv_tf.model.gdt import gdt_pairs
from mmv_tf.model.losses import Embeddings

CASES = {  # of the references: batch, dimension, seed, and the settings of the loss
    "cvrl_loss/case0": (4, 16, 61, {"temperature": 0.1}),
    "cvrl_loss/case1": (7, 128, 62, {"temperature": 0.1}),
    "cvrl_loss/case2": (3, 8, 63, {"temperature": 0.5}),
    "simclr_loss_lars/case0": (4, 16, 161, {"temperature": 0.1}),
    "simclr_loss_lars/case1": (7, 128, 162, {"temperature": 0.5}),
    "simclr_loss_lars/case2": (5, 8, 163, {"temperature": 1.0, "normalize": False}),
}


def _loss(loss, first, second, masks=(None, None), **settings):
    """The mean loss and its gradients, on one replica."""
    sides = [tf.constant(x, tf.float32) for x in (first, second)]
    with tf.GradientTape() as tape:
        tape.watch(sides)
        value = loss(*(Embeddings.single(x, m) for x, m in zip(sides, masks, strict=True)), **settings).share()
    return value, tape.gradient(value, sides)


@pytest.mark.parametrize("case", CASES)
def test_nt_xent_is_that_of_simclr_and_cvrl(case):
    batch, dim, seed, settings = CASES[case]
    golden, both = arrays(case), normal([2 * batch, dim], seed)
    value, gradients = _loss(losses.nt_xent, both[:batch], both[batch:], **settings)
    np.testing.assert_allclose(value, golden["loss"], rtol=1e-5)
    np.testing.assert_allclose(tf.concat(gradients, axis=0), golden["grad"], atol=1e-6)


@pytest.mark.parametrize(
    ("case", "shape", "seed", "scale"),
    [("case0", (4, 1, 16), 1, 1.0), ("case1", (6, 3, 32), 2, 0.5), ("case2", (5, 5, 8), 3, 2.0)],
)
def test_mil_nce_is_that_of_its_authors(case, shape, seed, scale):
    golden = arrays(f"milnce_loss/{case}")
    video, text = (
        scale * normal([shape[0], shape[2]], seed),
        scale * normal([shape[0] * shape[1], shape[2]], 100 + seed),
    )
    value, (of_video, of_text) = _loss(
        losses.mil_nce, video, text.reshape(shape), temperature=1.0, normalize=False
    )  # fmt: skip
    np.testing.assert_allclose(value, golden["loss"], rtol=1e-5)
    np.testing.assert_allclose(of_video, golden["grad_video"], atol=2e-6)
    np.testing.assert_allclose(tf.reshape(of_text, text.shape), golden["grad_text"], atol=2e-6)


@pytest.mark.parametrize(
    ("case", "shape", "tau", "mask"),
    [
        ("loss0", (6, 1, 16), 0.07, None),
        ("loss1", (5, 3, 24), 0.07, [1, 1, 0, 1, 0]),
        ("loss2", (4, 2, 8), 1.0, [0] * 4),
    ],
)
def test_symmetric_nce_of_several_candidates_is_that_of_vatt(case, shape, tau, mask):
    golden, number = arrays("vatt_heads_losses"), int(case[-1])
    video, text = normal([shape[0], shape[2]], 110 + number), normal([shape[0] * shape[1], shape[2]], 120 + number)
    mask = None if mask is None else np.repeat(np.array(mask, bool)[:, None], shape[1], axis=1)
    value, gradients = _loss(losses.symmetric_nce, video, text.reshape(shape), (None, mask), temperature=tau)
    np.testing.assert_allclose(value, golden[f"{case}/symmetric"], rtol=2e-5)
    if number < 2:
        for found, name in zip(gradients, ("video", "text"), strict=True):
            wanted = golden[f"{case}/symmetric_grad_{name}"]
            np.testing.assert_allclose(tf.reshape(found, wanted.shape), wanted, atol=1e-6)


CLIPS = ("v", "a", "v2", "a2", "vR", "aR", "v2R", "a2R")


def _name(clip: str) -> str:
    view = clip[1:].lower()
    return {"v": "video", "a": "audio"}[clip[0]] + (f"_{view}" if view else "")


@pytest.mark.parametrize("hypothesis", range(1, 10))
def test_the_pairs_of_gdt_are_its_nine_hypotheses(hypothesis):
    """For one of two ranks, as the reference computes it.

    The reference leaves out the changed versions of all samples of a rank where a network is not to tell them apart,
    and those of the other rank count. Ours leaves out a sample's own, on however many replicas; so the mask hides the
    rest of the rank here.
    """
    golden = arrays(f"gdt_loss/h{hypothesis}/clean")
    here = {_name(clip): tf.constant(unit([4, 16], 500 + 10 * i)) for i, clip in enumerate(CLIPS)}
    there = {_name(clip): tf.constant(unit([4, 16], 501 + 10 * i)) for i, clip in enumerate(CLIPS)}

    def side(name, everyone):
        mask = tf.constant([[everyone]] * 4 + [[True]] * 4)
        rows = tf.concat([here[name], there[name]], axis=0)[:, None]
        return Embeddings(here[name][:, None], tf.ones([4, 1], tf.bool), rows, mask)

    with tf.GradientTape() as tape:
        tape.watch(here)
        total = 0.0
        for pair in gdt_pairs(hypothesis, weight=1.0):
            others = [side(name, pair.against_own) for name in pair.against]
            settings = {"stop_keys": True, "normalize": False, "against_own": pair.against_own}
            compared = pair.loss(side(pair.first, True), side(pair.second, True), *others, **settings)
            total += pair.weight * tf.reduce_mean(compared.loss)
    np.testing.assert_allclose(total, golden["loss"], rtol=1e-5)
    for clip, gradient in zip(CLIPS, tape.gradient(total, [here[_name(clip)] for clip in CLIPS]), strict=True):
        assert (gradient is None) == (f"grad/{clip}" not in golden), clip
        if gradient is not None:
            np.testing.assert_allclose(gradient, golden[f"grad/{clip}"], atol=1e-6, err_msg=clip)


def test_weights_and_names_of_gdts_pairs():
    assert [len(gdt_pairs(h)) for h in range(1, 10)] == [2, 4, 8, 4, 8, 16, 20, 20, 24]
    pairs = gdt_pairs(4, space="vt", second="text", weight=2.0)
    assert [(p.first, p.second, p.against, p.against_own) for p in pairs] == [
        ("video", "text", ("text_2",), True),
        ("text", "video", ("video_2",), True),
        ("video_2", "text_2", ("text",), True),
        ("text_2", "video_2", ("video",), True),
    ]
    assert {(pair.space, pair.weight) for pair in pairs} == {("vt", 0.5)}
    with pytest.raises(
        ValueError, match="gdt_pairs.hypothesis = 10: must be a whole number of at least 1 and at most 9"
    ):
        gdt_pairs(10)


def test_the_margin_of_avts_equals_its_formula():
    golden = arrays("derived/avts")
    video, audio = (tf.constant(0.3 * normal([8, 16], seed)) for seed in (401, 402))
    in_sync = np.arange(8) % 2 == 0
    with tf.GradientTape() as tape:
        tape.watch([video, audio])
        sides = Embeddings.single(video), Embeddings.single(audio, in_sync), Embeddings.single(audio, ~in_sync)
        compared = losses.margin(*sides)
        value = compared.share()
    np.testing.assert_allclose(value, golden["loss"], rtol=1e-5)
    np.testing.assert_allclose(compared.loss, golden["per_pair"], rtol=1e-5)
    for found, name in zip(tape.gradient(value, [video, audio]), ("video", "audio"), strict=True):
        np.testing.assert_allclose(found, golden[f"grad_{name}"], atol=1e-6)


def test_the_easy_negative_is_the_next_sample_of_the_global_batch():
    x, y = 0.3 * normal([5, 4], 1), 0.3 * normal([5, 4], 2)
    mask = np.array([True, True, False, True, True])
    distance = np.linalg.norm(x[:, None] - y[None], axis=-1)
    terms = [distance[i, i] ** 2 for i in range(5) if mask[i]]
    terms += [max(0.8 - distance[i, (i + 1) % 5], 0) ** 2 for i in range(5) if mask[(i + 1) % 5]]
    one, other = Embeddings.single(x), Embeddings.single(y, mask)
    whole = losses.margin(one, other, margin=0.8)
    np.testing.assert_allclose(whole.share(), np.mean(terms), rtol=1e-5)
    assert float(whole.count) == 5 and np.all(whole.valid)
    parts = []
    for rows in (slice(0, 2), slice(2, 5)):
        halves = [s._replace(local=s.local[rows], mask=s.mask[rows], offset=rows.start) for s in (one, other)]
        parts.append(losses.margin(*halves, margin=0.8).share())
    np.testing.assert_allclose(sum(parts), whole.share(), rtol=1e-6)
    alone = losses.margin(*(Embeddings.single(s.local[:1]) for s in (one, other)))  # nobody to be told apart from
    np.testing.assert_allclose(alone.share(), distance[0, 0] ** 2, rtol=1e-5)


def test_the_margin_ranks_by_distance_and_has_a_slope_at_nothing():
    x = np.array([[0.0, 0.0], [1.0, 0.0]], np.float32)
    y = np.array([[0.1, 0.0], [0.3, 0.0]], np.float32)
    compared = losses.margin(Embeddings.single(x), Embeddings.single(y))
    np.testing.assert_array_equal(compared.found, [True, True])
    np.testing.assert_array_equal(compared.found_reverse, [True, False])  # y_1 is nearer to x_0
    np.testing.assert_allclose(compared.positive, [-0.1, -0.7], rtol=1e-5)
    np.testing.assert_allclose(compared.negative, [-0.3, -0.9], rtol=1e-5)
    _, gradients = _loss(losses.margin, np.ones((3, 2)), np.ones((3, 2)))
    np.testing.assert_array_equal(gradients, np.zeros((2, 3, 2)))


def test_regression_is_that_of_brave_and_stops_on_one_side():
    golden, target = arrays("derived/regression"), normal([6, 9], 442)
    target[2] *= 1e-7
    value, (gradient, none) = _loss(losses.regression, normal([6, 9], 441), target)
    np.testing.assert_allclose(value, golden["loss"], rtol=1e-5)
    np.testing.assert_allclose(gradient, golden["grad_first"], atol=1e-6)
    assert none is None
    _, (none, gradient) = _loss(losses.regression, target, normal([6, 9], 441), stop="first")
    assert none is None
    np.testing.assert_allclose(gradient, golden["grad_first"], atol=1e-6)
    both, gradients = _loss(losses.regression, normal([6, 9], 441), target, stop=None)
    np.testing.assert_allclose(both, value, rtol=1e-6)
    assert all(g is not None for g in gradients)


def test_regression_without_normalising_is_elos_distillation():
    sides = normal([6, 10], 431), normal([6, 10], 432)
    value, _ = _loss(losses.regression, *sides, normalize=False)
    np.testing.assert_allclose(2 * value, arrays("derived/elo")["distillation"], rtol=1e-5)


def test_further_negatives_join_the_denominator_with_their_own_entry_or_without():
    x, y, z = (unit([3, 4], seed) for seed in (1, 2, 3))
    mask = np.array([True, False, True])
    sides = [Embeddings.single(x), Embeddings.single(y), Embeddings.single(z, mask)]

    def softmax(query, i, own, *without_own):
        """-log of the share of the i-th of `own` among all others that count, at temperature 1."""
        scores = [query @ key for key in own]
        scores += [query @ key for keys in without_own for j, key in enumerate(keys) if j != i]
        scores += [query @ z[j] for j in range(3) if mask[j] and (own_too or j != i)]
        return np.logaddexp.reduce(scores) - query @ own[i]

    for own_too in (True, False):
        found = losses.info_nce(*sides, temperature=1.0, against_own=own_too)
        np.testing.assert_allclose(found.loss, [softmax(x[i], i, y) for i in range(3)], rtol=1e-5)
        found = losses.nt_xent(*sides, temperature=1.0, against_own=own_too)
        wanted = [softmax(x[i], i, y, x) + softmax(y[i], i, x, y) for i in range(3)]
        np.testing.assert_allclose(found.loss, wanted, rtol=1e-5)


def test_the_margin_of_others_is_to_the_own_entry_alone():
    x, y, z = (Embeddings.single(normal([3, 4], seed)) for seed in (1, 2, 3))
    squares = [np.sum(np.square(np.asarray(x.local - side.local)), axis=(1, 2)) for side in (y, z)]
    wanted = np.mean([*squares[0], *np.square(np.maximum(3.0 - np.sqrt(squares[1]), 0))])
    np.testing.assert_allclose(losses.margin(x, y, z, margin=3.0, against_own=True).share(), wanted, rtol=1e-5)
    with pytest.raises(ValueError, match="^margin.against_own = False: must be True\n"):
        losses.margin(x, y, z, against_own=False)


@pytest.mark.parametrize("loss", [losses.nt_xent, losses.margin, losses.regression])
def test_several_candidates_are_refused(loss):
    with pytest.raises(ValueError, match=f"{loss.__name__} compares one candidate a sample, and got 2"):
        loss(Embeddings.single(normal([3, 4], 1)), Embeddings.single(normal([3, 2, 4], 2)))


@pytest.mark.parametrize("loss", [losses.info_nce, losses.nt_xent, losses.margin, losses.regression])
def test_what_is_absent_or_nan_is_treated_as_in_the_other_losses(loss):
    x, y, mask = normal([4, 3], 1), normal([4, 3], 2), np.array([True, False, True, True])
    value, (_, gradient) = _loss(loss, x, y, (None, mask), **({"stop": None} if loss is losses.regression else {}))
    y[1] = 50.0
    again, _ = _loss(loss, x, y, (None, mask))
    np.testing.assert_allclose(value, again, rtol=1e-6)
    assert not np.any(gradient[1])
    nothing, _ = _loss(loss, x, y, (np.zeros(4, bool), mask))
    assert nothing == 0
    y[2] = np.nan
    assert np.isnan(_loss(loss, x, y)[0])
