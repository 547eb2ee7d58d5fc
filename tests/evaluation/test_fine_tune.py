"""Fine-tuning: what is learned, what is left behind, what a stopped run has to do again."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from helpers import record_fixtures as fixtures
from mmv_tf.evaluation import protocol, tuner
from mmv_tf.evaluation.features import Extractor
from mmv_tf.evaluation.fine_tune import FineTune
from mmv_tf.evaluation.labelled import Labelled
from mmv_tf.evaluation.networks import Network, Trainable


def _network(name, seed):
    """Mean colour of the frames -> tanh -> 4 numbers; the seed is that of its weights."""
    weights = tf.Variable(np.random.default_rng(seed).normal(size=(3, 4)), dtype=tf.float32)
    seen = tf.Variable(0.0, trainable=False)

    def call(frames, training):
        if training:
            seen.assign_add(1.0)
        return tf.tanh(tf.reduce_mean(frames, axis=[1, 2, 3]) @ weights)

    tuned = {"video": Trainable(call, [weights], [weights, seen])}
    return Network(name, str(seed), {}, {"video": ("before_head",)}, trainable=tuned)


@pytest.fixture
def compared():
    return protocol.Comparison(_network("network", 0), _network("untrained", 1), Network("raw", "", {}, {}))


@pytest.fixture
def records(tmp_path):
    """Clips that are dark or bright, by their label, in the splits train and test of a folder."""
    _write_records(tmp_path, "train", range(8))
    _write_records(tmp_path, "test", range(8, 12))
    return str(tmp_path)


def _write_records(folder, split, numbers, dark=10, bright=200):
    """`dark` and `bright`: the grey level of the clips with that label; the greater the number, the lighter."""
    clips = []
    for number in numbers:
        for label, level in (("dark", dark), ("bright", bright)):
            record = fixtures.record(f"{split}{label}{number}", num_frames=1, sound=False)
            frames = (fixtures.jpeg(level + 2 * number, 40, 40),) * 3
            clips.append(dataclasses.replace(record, jpegs=frames, labels=((0, label),)))
    fixtures.write_shards(folder, [clips[:5], clips[5:]], split, card=False)


def _tune(records, **options):
    given = dict(num_frames=2, frame_rate=10.0, min_side=40, crop_size=36, test_windows=2, batch_size=8, epochs=30)
    given |= dict(warm_up_epochs=1, learning_rate=0.1, dropout=0.0, colour_probability=0.0, decay_epochs=(20,))
    return FineTune(records=records, **{**given, **options})


def test_it_learns_leaves_the_network_as_it_was_and_is_not_done_again(records, compared, tmp_path, monkeypatch):
    before = [variable.numpy() for variable in compared.network.trainable["video"].variables]
    extractor = Extractor(str(tmp_path / "cache"), batch_size=3)
    found = _tune(records, seeds=(0, 1)).run(compared, extractor)
    for row in ("network", "untrained"):
        assert [fold["top1"].mean() for fold in _by_fold(found, row)] == [1.0, 1.0]
    assert [fold["top1"].mean() for fold in _by_fold(found, "chance")] == [0.5, 0.5]
    assert found.folds == [{"name": f"test, seed {s}", "train": 16, "test": 8} for s in (0, 1)]
    assert found.seeds == 2 and found.n["test"] == len(found.items) == len(set(found.items)) == 8
    after = [variable.numpy() for variable in compared.network.trainable["video"].variables]
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)
    monkeypatch.setattr(tuner.Tuner, "step", None)
    again = _tune(records, seeds=(0, 1)).run(compared, extractor)
    for row in found.outcomes:
        for a, b in zip(_by_fold(found, row), _by_fold(again, row), strict=True):
            np.testing.assert_array_equal(a["top1"], b["top1"])


def test_scores_of_records_that_held_something_else_are_not_taken(records, compared, tmp_path):
    compared.untrained = None
    one, cache = _tune(records), str(tmp_path / "cache")
    assert _by_fold(one.run(compared, Extractor(cache)), "network")[0]["top1"].mean() == 1.0
    _write_records(tmp_path, "train", range(8), dark=200, bright=10)  # the same keys and labels
    assert _by_fold(one.run(compared, Extractor(cache)), "network")[0]["top1"].mean() == 0.0


def _by_fold(found, row):
    return [{"top1": fold} for fold in found.outcomes[row]["top1"]]


def test_the_same_seed_is_the_same_run(records, compared, tmp_path):
    compared.untrained = None
    scores = []
    for number, seeds in enumerate(((0, 1), (0,))):
        tf.random.set_seed(number)  # what was drawn before has no part in it
        cache = tmp_path / f"cache{number}"
        one = _tune(records, epochs=1, clips_per_class=4, dropout=0.3, seeds=seeds)
        assert one.run(compared, Extractor(str(cache))).folds[0]["train"] == 8
        scores.append({path.name: np.load(path) for path in cache.glob("tuned-network-*")})
    ((name, again),) = scores[1].items()
    np.testing.assert_array_equal(scores[0].pop(name), again)
    (other,) = scores[0].values()
    assert not np.allclose(again, other)


def test_a_loss_that_is_not_finite_names_run_and_step(records, compared):
    for variable in compared.network.trainable["video"].trainable_variables:
        variable.assign(variable * float("nan"))
    with pytest.raises(FloatingPointError, match=r"network, test, seed 0\): the loss is nan at step 0"):
        _tune(records).run(compared, Extractor())


def test_a_network_without_variables_is_told(records, compared):
    fixed = protocol.Comparison(Network("network", "", {}, {}), None, compared.raw)
    with pytest.raises(ValueError, match="the network network cannot be fine-tuned"):
        _tune(records).run(fixed, Extractor())


class _Steps:
    """A tuner that keeps what it is given; its logits are the grey level of the frames."""

    def __init__(self):
        self.seen = []

    def reset(self, frames, seed):
        assert not self.seen

    def step(self, frames, labels, rate, seed, end_to_end):
        self.seen.append((rate, end_to_end, seed))
        return 1.0

    def logits(self, frames):
        return tf.reduce_mean(tf.cast(frames, tf.float32), axis=[1, 2, 3])[:, :1]


def test_rates_fall_after_the_epochs_that_are_named(records):
    tuner, one = _Steps(), _tune(records, epochs=4, warm_up_epochs=1, learning_rate=0.1, decay=0.5, decay_epochs=(1, 3))
    train = Labelled.read([f"{records}/train-*"], "video", "", "")
    one._train(tuner, train, 3, "", None)
    rates = (
        [1.0] * 2 + [0.1] * 2 + [0.05] * 4 + [0.025] * 2
    )  # two steps an epoch; the first trains the classifier alone
    assert [rate for rate, _, _ in tuner.seen] == pytest.approx(rates)
    assert [whole for _, whole, _ in tuner.seen] == [False] * 2 + [True] * 8
    assert [seed for *_, seed in tuner.seen] == [(3, number) for number in range(10)]


def test_the_scores_of_a_clip_are_the_mean_of_its_windows(tmp_path):
    levels = {"a": (10, 10, 200, 200), "b": (100, 100, 40, 40)}
    clips = [
        dataclasses.replace(
            fixtures.record(key, num_frames=4, sound=False), jpegs=tuple(fixtures.jpeg(g, 40, 40) for g in grey)
        )
        for key, grey in levels.items()
    ]
    pattern = [fixtures.write_shards(tmp_path, [clips], "test", card=False)]
    scores = _tune(str(tmp_path))._test(_Steps(), Labelled.read(pattern, "video", "", ""), Extractor(batch_size=3))
    shown = [[fixtures.jpeg(g, 40, 40) for g in grey] for grey in levels.values()]
    means = [np.mean([tf.io.decode_jpeg(j).numpy()[2:38, 2:38, 0].mean() for j in jpegs]) for jpegs in shown]
    np.testing.assert_allclose(scores[:, 0], means, atol=3)


def test_smoothed_labels_a_bounded_gradient_and_momentum():
    frames, labels = tf.constant(np.random.default_rng(0).integers(0, 255, (6, 2, 4, 4, 3)), tf.uint8), tf.range(6) % 3

    def tuned(**options):
        one = tuner.Tuner(_network("network", 0).trainable["video"], 3, 0.0, 0.0, **options)
        one.reset(frames, 1)
        return one

    plain, smooth = tuned(), tuned(label_smoothing=0.3)
    logits = plain.logits(frames).numpy().astype(np.float64)
    logarithms = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    targets = 0.7 * np.eye(3)[labels] + 0.1
    np.testing.assert_allclose(
        plain.step(frames, labels, 0.1, (0, 0), True), -logarithms[np.arange(6), labels].mean(), rtol=1e-5
    )
    np.testing.assert_allclose(
        smooth.step(frames, labels, 0.1, (0, 0), True), -(targets * logarithms).sum(1).mean(), rtol=1e-5
    )
    momentum = tuned(optimizer="sgd", clip_norm=0.001)
    weights = momentum._network.trainable_variables
    before, steps = [w.numpy() for w in weights], []
    for number in range(2):
        momentum.step(frames, labels, 1.0, (0, number), True)
        steps.append(np.concatenate([(w.numpy() - b).ravel() for w, b in zip(weights, before, strict=True)]))
    # The gradient is .001 long with the classifier's; the second step has .9 of the first in it.
    assert 0 < np.linalg.norm(steps[0]) <= 0.001 * 1.001
    np.testing.assert_allclose(np.linalg.norm(steps[1]), 2.9 * np.linalg.norm(steps[0]), rtol=0.05)
