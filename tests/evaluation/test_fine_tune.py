"""Fine-tuning of video: what is learned, what is left behind, what a stopped run has to do again."""

import dataclasses
import itertools

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from helpers import record_fixtures as fixtures
from mmv_tf.evaluation import fine_tune, protocol, tuner
from mmv_tf.evaluation.features import Extractor
from mmv_tf.evaluation.fine_tune import FineTune
from mmv_tf.evaluation.labelled import Labelled
from mmv_tf.evaluation.networks import Network, Trainable
from mmv_tf.inputs.video import VideoInput
from mmv_tf.records import schema


def _network(name, seed):
    """Mean colour of the frames, in [-1, 1] -> tanh -> 4 numbers; the seed is that of its weights."""
    weights = tf.Variable(np.random.default_rng(seed).normal(size=(3, 4)), dtype=tf.float32)
    seen = tf.Variable(0.0, trainable=False)

    def call(frames, training):
        if training:
            seen.assign_add(1.0)
        return tf.tanh((2 * tf.reduce_mean(frames, axis=[1, 2, 3]) - 1) @ weights)

    tuned = {"video": Trainable(call, [weights], [weights, seen])}
    return Network(name, str(seed), {}, {"video": ("before_head",)}, trainable=tuned)


@pytest.fixture
def compared():
    return _compared()


def _compared():
    return protocol.Comparison(_network("network", 0), _network("untrained", 1), Network("raw", "", {}, {}))


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Clips that are dark or bright, by their label, in the splits train and test of a folder."""
    folder = tmp_path_factory.mktemp("records")
    _write_records(folder, "train", range(8))
    _write_records(folder, "test", range(8, 12))
    return str(folder)


def _write_records(folder, split, numbers, dark=10):
    """`dark`: the grey level of the clips with that label; the greater the number, the lighter."""
    clips = []
    for number in numbers:
        for label, level in (("dark", dark), ("bright", 200)):
            record = fixtures.record(f"{split}{label}{number}", num_frames=1, sound=False)
            frames = (fixtures.jpeg(level + 2 * number, 40, 40),) * 3
            clips.append(dataclasses.replace(record, jpegs=frames, labels=((0, label),)))
    fixtures.write_shards(folder, [clips[:5], clips[5:]], split, card=False)


def _tune(records, **options):
    given = dict(num_frames=2, frame_rate=10.0, min_side=38, crop_size=36, test_windows=2, batch_size=8, epochs=3)
    given |= dict(warm_up_epochs=0, learning_rate=0.1, dropout=0.0, colour_probability=0.0, decay_epochs=(2,))
    return FineTune(records=records, **{**given, **options})


def test_it_learns_leaves_the_network_as_it_was_and_is_not_done_again(records, compared, tmp_path, monkeypatch):
    variables = compared.network.trainable["video"].variables
    before = [variable.numpy() for variable in variables]
    found = _tune(records).run(compared, Extractor(str(tmp_path), batch_size=3))
    for row, value in {"network": 1.0, "untrained": 1.0, "chance": 0.5}.items():
        assert [fold.mean() for fold in found.outcomes[row]["top1"]] == [value]
    for one, other in zip(before, variables, strict=True):
        np.testing.assert_array_equal(one, other)
    monkeypatch.setattr(tuner.Tuner, "step", None)
    again = _tune(records).run(compared, Extractor(str(tmp_path), batch_size=3))
    for row in found.outcomes:
        np.testing.assert_array_equal(found.outcomes[row]["top1"], again.outcomes[row]["top1"])


def test_scores_are_kept_by_what_concerns_the_training_of_the_network_alone(compared, tmp_path, monkeypatch):
    compared.untrained, trained, records, cache = None, [], tmp_path / "records", tmp_path / "cache"
    monkeypatch.setattr(FineTune, "_train", lambda _, tuner, *rest: trained.append(tuner))
    monkeypatch.setattr(FineTune, "_test", lambda _, tuner, test, *rest: np.eye(2)[test.targets(["bright", "dark"])])
    network = compared.network
    _write_records(records, "train", range(2))
    _write_records(records, "test", range(2, 4))
    # The last time the records hold something else under the same keys and labels.
    for settings, dark, trainings in (("a", 10, 1), ("a", 10, 1), ("b", 10, 2), ("b", 20, 3)):
        tuned = {"video": dataclasses.replace(network.trainable["video"], settings=settings)}
        compared.network = dataclasses.replace(network, trainable=tuned)
        _write_records(records, "train", range(2), dark)
        _tune(str(records)).run(compared, Extractor(str(cache)))
        assert len(trained) == len(list(cache.iterdir())) == trainings


def test_test_clips_that_are_training_clips_are_told_and_training_clips_left_out_are_counted(
    compared, tmp_path, monkeypatch
):
    """Of 6 clips each, 3 the same in both; of those of training one has no frames, and one no label."""
    monkeypatch.setattr(FineTune, "_train", lambda *_: None)
    monkeypatch.setattr(FineTune, "_test", lambda _, tuner, test, *rest: np.zeros((len(test.keys), 2)))
    for split, first in (("train", 0), ("test", 3)):
        clips = [
            dataclasses.replace(fixtures.record(f"clip{n}", num_frames=1, sound=False), labels=((0, "ab"[n % 2]),))
            for n in range(first, first + 6)
        ]
        if split == "train":
            clips[0], clips[1] = dataclasses.replace(clips[0], jpegs=()), dataclasses.replace(clips[1], labels=())
        fixtures.write_shards(tmp_path, [clips], split, card=False)
    both = (("train", "test"), ("test", "test"))
    found = _tune(str(tmp_path), folds=both, seeds=(0, 1)).run(compared, Extractor())
    assert found.left_out == {"train: no video": 1, "train: no label": 1, "test: no video": 0, "test: no label": 0}
    assert found.notes[1:] == [f"{n} clips of the test set are training clips, too" for n in (3, 6)]
    few = _tune(str(tmp_path), clips_per_class=1).run(compared, Extractor())
    (drawn,) = (fold["train"] for fold in few.folds)
    assert drawn == 2 and found.folds[0]["train"] == 4


def test_the_same_seed_is_the_same_run(records, compared, monkeypatch):
    """Whatever was drawn or learned before: the first and the last run have the same seed."""
    compared.untrained, scores, drawn = None, [], itertools.count()
    monkeypatch.setattr(fine_tune, "_write", lambda path, found: scores.append(found))
    one = _tune(records, epochs=1, warm_up_epochs=1, clips_per_class=4, dropout=0.3, seeds=(0, 1, 0))
    found = one.run(compared, Extractor(stop=lambda: tf.random.set_seed(next(drawn))))
    np.testing.assert_array_equal(scores[0], scores[2])
    assert not np.allclose(scores[0], scores[1])
    assert found.folds == [{"name": f"test, seed {s}", "train": 8, "test": 8} for s in (0, 1, 0)]
    assert found.seeds == 3 and found.n["test"] == len(found.items) == len(set(found.items)) == 8
    # Of other seeds beside it nothing is asked when its scores are kept.
    assert one._path("cache", ["network", 0]) == dataclasses.replace(one, seeds=(0,))._path("cache", ["network", 0])


def test_a_loss_that_is_not_finite_names_run_and_step(records, compared, monkeypatch):
    monkeypatch.setattr(tuner.Tuner, "step", lambda *_, **__: float("nan"))
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
    one._train(tuner, train, 3, "", None, one._windows(True, 48000))
    rates = (
        [1.0] * 2 + [0.1] * 2 + [0.05] * 4 + [0.025] * 2
    )  # two steps an epoch; the first trains the classifier alone
    assert [rate for rate, _, _ in tuner.seen] == pytest.approx(rates)
    assert [whole for _, whole, _ in tuner.seen] == [False] * 2 + [True] * 8
    assert [seed for *_, seed in tuner.seen] == [(3, number) for number in range(10)]


def test_the_scores_of_a_clip_are_the_mean_of_all_crops_of_its_windows(tmp_path):
    """Frames of 40 x 64 pixels, grey on the left and noise on the right: crops of 36 lie at 0, 14 and 28."""
    levels, record = {"a": (10, 200), "b": (100, 40)}, fixtures.record("", num_frames=2, sound=False)
    shown = {key: tuple(fixtures.jpeg(level, 40, 64) for level in of_key) for key, of_key in levels.items()}
    clips = [dataclasses.replace(record, key=key, jpegs=jpegs) for key, jpegs in shown.items()]
    pattern = [fixtures.write_shards(tmp_path, [clips], "test", card=False)]
    test = Labelled.read(pattern, "video", "", "")
    tunes = [_tune("", num_frames=1, min_side=40, test_crops=n) for n in (1, 3)]
    one, three = (t._test(_Steps(), test, Extractor(batch_size=5), t._windows(False, 48000)) for t in tunes)
    for number, jpegs in enumerate(shown.values()):
        whole = [tf.io.decode_jpeg(jpeg).numpy().astype(float) for jpeg in jpegs]
        means = [[image[2:38, left : left + 36, 0].mean() for left in (0, 14, 28)] for image in whole]
        np.testing.assert_allclose(three[number], [np.mean(means)], rtol=1e-6)
        np.testing.assert_allclose(one[number], [np.mean(means, axis=0)[1]], rtol=1e-6)


def test_training_windows_are_random_parts_of_the_frame_as_in_pretraining():
    """The box of each by pretraining's own functions, resized by TensorFlow; and nothing of it where it is not set."""
    record = fixtures.record("a", num_frames=2, height=50, width=64, sound=False)
    serialized = tf.constant(schema.encode(record))
    plain = dict(num_frames=1, colour_probability=0.0, flip_probability=0.0, scale_jitter=0.0)
    tune = _tune("", crop_area=[0.1, 0.3], crop_aspect=(0.5, 2.0), **plain)
    pretrained = VideoInput(crop_area=(0.1, 0.3), crop_aspect=(0.5, 2.0), min_side=40, crop_size=36)
    whole = [tf.io.decode_jpeg(jpeg).numpy().astype(np.float32) for jpeg in record.jpegs]
    shares, matched = [], 0
    windows = tune._windows(True, 0)
    for number in range(6):
        found = windows.function()(tf.constant(number, tf.int64), serialized)["input"].numpy()
        seed = tf.stack([tf.constant(0, tf.int64), tf.strings.to_hash_bucket_fast("a", 2**62)])
        seed = tf.random.experimental.stateless_fold_in(seed, tf.constant(number, tf.int64))
        _, clip_seed = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
        box = pretrained._window(tf.constant([50, 64]), tf.zeros([16]), clip_seed).numpy()
        top, left, height, width = box.astype(int)
        resized = [tf.image.resize(f[top : top + height, left : left + width], [36, 36]).numpy() for f in whole]
        matched += any(np.array_equal((one + 0.5).astype(np.uint8), found[0]) for one in resized)
        shares.append(height * width / 50 / 64)
    assert matched == 6 and len(set(shares)) > 3 and 0.09 < min(shares) <= max(shares) <= 0.31
    assert windows.settings()["crop_area"] == (0.1, 0.3)
    assert not {"crop_area", "crop_aspect"} & _tune("")._windows(True, 0).settings().keys()


def test_scores_are_kept_by_the_part_of_the_frame():
    def kept_at(**options):
        return _tune("", scale_jitter=0.0, **options)._path("cache", ["network"])

    areas = [kept_at(crop_area=area, crop_aspect=(0.5, 2.0)) for area in ((0.1, 1.0), (0.2, 1.0))]
    assert len({kept_at(), *areas}) == 3


def test_training_and_testing_take_what_an_accelerator_finishes(records, compared, tmp_path, monkeypatch):
    """The same clips and labels in the same order; scores of the one form are not taken for the other's."""
    compared.untrained, seen = None, []
    monkeypatch.setattr(tuner.Tuner, "step", lambda _, *batch, **__: seen.append(batch[:2]) or 0.0)
    monkeypatch.setattr(tuner.Tuner, "logits", None, raising=False)
    tested, test = [], FineTune._test

    def tests(self, tuner, *rest):
        tuner.logits = lambda frames: tested.append(frames) or tf.reduce_mean(tf.cast(frames, tf.float32), [1, 2])[:, 0]
        return test(self, tuner, *rest)

    monkeypatch.setattr(FineTune, "_test", tests)
    one = _tune(records, epochs=1, scale_jitter=0.2, decay_epochs=())
    made, kept = {}, tmp_path / "cache"
    for form in (False, True):
        one.run(compared, Extractor(str(kept), batch_size=8, on_accelerator=form))
        made[form], seen, tested = (seen, tested), [], []
        assert len(list(kept.iterdir())) == 1 + form
    for ours, theirs in zip(made[True], made[False], strict=True):
        assert len(ours) == len(theirs) == 2
        for one, other in zip(tf.nest.flatten(ours), tf.nest.flatten(theirs), strict=True):
            difference = np.abs(one.numpy().astype(float) - other.numpy())
            assert difference.max() <= 1 and (difference > 0).mean() < 0.03 and other.numpy().std() > 0.1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"crop_area": (0.1, 1.0)}, "FineTune.crop_area = (0.1, 1.0) and FineTune.crop_aspect = None: a random part"),
        ({"crop_aspect": (0.5, 2.0)}, "FineTune.crop_aspect = (0.5, 2.0) and FineTune.crop_area = None"),
        ({"crop_area": (0.5, 0.1), "crop_aspect": (1, 1)}, "FineTune.crop_area = (0.5, 0.1): the second number must"),
        ({"crop_area": (0.0, 0.1), "crop_aspect": (1, 1)}, "FineTune.crop_area = (0.0, 0.1): the first number must"),
        ({"crop_area": (0.1, 1.0), "crop_aspect": (2, 1)}, "FineTune.crop_aspect = (2, 1): the second number must"),
        ({"crop_area": (0.1, 1), "crop_aspect": (1, 1)}, "FineTune.scale_jitter = 0.2 does nothing to a random part"),
    ],
)
def test_a_part_of_the_frame_that_cannot_be_drawn_is_refused(settings, message):
    with pytest.raises(ValueError) as caught:
        _tune("", **settings)
    assert str(caught.value).startswith(message)


def test_a_cosine_from_a_rise_of_some_steps_beside_the_epochs_that_are_named():
    one = _tune("", epochs=4, learning_rate=0.1, decay=0.5, decay_epochs=(3,), cosine=True, ramp=0.125)
    # 16 steps, of which 2 rise; over the other 14 the rate falls as vatt's schedule has it, and by half in the end.
    rates = [0.0, 0.05] + [0.1 * (np.cos(np.pi * (step - 2) / 14) + 1) / 2 for step in range(2, 16)]
    assert [one._rate(step, 4) for step in range(16)] == pytest.approx(rates[:12] + [rate / 2 for rate in rates[12:]])
    assert one._rate(-1, 4) == 1.0


def test_mixup_takes_a_share_of_another_clip_of_the_batch_and_of_its_labels():
    inputs, targets = tf.range(1000.0)[:, None] * [1.0, 10.0], tf.one_hot(tf.range(1000), 1000)
    found, labels = (values.numpy() for values in tuner.mixed(inputs, targets, 5.0, tf.constant([3, 4])))
    np.testing.assert_allclose(labels.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(found, labels @ inputs.numpy(), rtol=1e-4)  # the same shares of the same clips
    share = labels[np.arange(1000), np.arange(1000)]
    other = np.where(np.eye(1000, dtype=bool), 0, labels).argmax(axis=1)[share < 1]
    assert len(set(other)) == len(other) > 990  # a permutation; few clips are mixed with themselves
    # Beta(5, 5): mean a half, variance 1 / 44; as a whole it is that of scipy.
    assert stats.kstest(share[share < 1], stats.beta(5, 5).cdf).pvalue > 0.01
    np.testing.assert_array_equal(found, tuner.mixed(inputs, targets, 5.0, tf.constant([3, 4]))[0])
    for seed in ([3, 5], [4, 4]):
        assert not np.allclose(found, tuner.mixed(inputs, targets, 5.0, tf.constant(seed))[0])


def test_a_step_learns_from_what_was_mixed():
    frames, labels = tf.constant(np.random.default_rng(0).integers(0, 255, (6, 2, 4, 4, 3)), tf.uint8), tf.range(6) % 3
    network = _network("network", 0).trainable["video"]
    one = tuner.Tuner(network, 3, 0.0, 0.0, label_smoothing=0.3, mixup=5.0)
    one.reset(frames, 1)
    targets = tf.constant(0.7 * np.eye(3)[labels] + 0.1, tf.float32)
    inputs, targets = tuner.mixed(tf.cast(frames, tf.float32) / 255, targets, 5.0, tf.constant([7, 8]))
    logits = network.call(inputs, False).numpy() @ one._head.kernel.numpy()
    logarithms = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    np.testing.assert_allclose(
        one.step(frames, labels, 0.1, (7, 8), True), -(targets * logarithms).numpy().sum(1).mean(), rtol=1e-5
    )


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
    momentum = tuned(optimizer="sgd", clip_norm=1e-4)
    weights = momentum._network.trainable_variables
    before, steps = [w.numpy() for w in weights], []
    for number in range(2):
        momentum.step(frames, labels, 0.1, (0, number), True)
        steps.append(np.concatenate([(w.numpy() - b).ravel() for w, b in zip(weights, before, strict=True)]))
    # The network's gradient is 1e-4 long, the classifier's as it was; the second step has .9 of the first in it.
    np.testing.assert_allclose(np.linalg.norm(steps[0]), 0.1 * 1e-4, rtol=0.03)
    assert np.abs(momentum._head.kernel - np.random.default_rng(1).normal(0, 0.01, (4, 3))).max() > 0.001
    np.testing.assert_allclose(np.linalg.norm(steps[1]), 2.9 * np.linalg.norm(steps[0]), rtol=0.05)
