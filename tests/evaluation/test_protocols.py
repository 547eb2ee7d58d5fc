"""Protocols on features that are given: against an independent implementation of them, and on degenerate input."""

import dataclasses

import numpy as np
import pytest
from sklearn import metrics, preprocessing, svm

from mmv_tf.evaluation import protocol
from mmv_tf.evaluation.classifiers import MLP, LinearSVM
from mmv_tf.evaluation.features import Features
from mmv_tf.evaluation.linear import LinearAudio, LinearVideo
from mmv_tf.evaluation.networks import Network
from mmv_tf.evaluation.zero_shot import ZeroShotRetrieval
from mmv_tf.metrics import control

OUTPUTS = {m: ("before_head", "va", "vat") for m in ("video", "audio")} | {"text": ("vat",)}


class Given:
    """An extractor whose features are given: {(modality, split, random): Features}; the same for every network."""

    def __init__(self, sets):
        self.sets = sets

    def extract(self, wanted, windows, pattern):
        split = pattern[0].rsplit("/", 1)[1].removesuffix("-*")
        found = self.sets[windows.modality, split, windows.random]
        return {name: found for name in wanted}


@pytest.fixture(autouse=True)
def records_are_there(monkeypatch):
    monkeypatch.setattr(protocol.tf.io.gfile, "glob", lambda pattern: [pattern])


def _compared():
    network = Network("network", "1", {}, OUTPUTS)
    return protocol.Comparison(network, Network("untrained", "2", {}, OUTPUTS), Network("raw", "3", {}, OUTPUTS))


def _clips(labels, seed, windows=3, dim=6, modality="video", spread=1.5):
    """Clouds around a centre a class; each label may be None, a name or a tuple of names."""
    rs, centres = np.random.default_rng(seed), np.random.default_rng(99).normal(size=(50, dim))
    labels = [() if x is None else (x,) if isinstance(x, str) else x for x in labels]
    places = [sum(map(ord, x[0])) % 50 if x else 0 for x in labels]
    values = centres[places][:, None] + spread * rs.normal(size=(len(labels), windows, dim))
    keys = tuple(f"clip{i}" if seed == 0 else f"clip{i} of {seed}" for i in range(len(labels)))
    return Features(modality, values.astype(np.float32), np.ones((len(labels), windows), bool), keys, tuple(labels))


def _run(train, test, **options):
    made = LinearVideo(records="records", folds=(("train", "test"),), **options)
    return made.run(_compared(), Given({("video", "train", True): train, ("video", "test", False): test}))


def test_a_linear_evaluation_is_what_scikit_learn_does_step_by_step():
    names = [f"class{i % 7}" for i in range(84)]
    train, test = _clips(names, 0, windows=4), _clips(names[::2], 1, windows=3)
    found = _run(train, test, classifier=LinearSVM(C=0.01))
    # The script of the paper: windows are examples, scores are averaged over the windows of a test clip.
    x, y = train.values.reshape(-1, 6), np.repeat(names, 4)
    scaler = preprocessing.StandardScaler().fit(x)
    machine = svm.LinearSVC(C=0.01, dual=False).fit(scaler.transform(x), y)
    scores = machine.decision_function(scaler.transform(test.values.reshape(-1, 6))).reshape(42, 3, 7).mean(axis=1)
    for k in (1, 5):
        expected = metrics.top_k_accuracy_score(names[::2], scores, k=k, labels=machine.classes_)
        for row in ("network", "untrained", "raw"):
            assert found.outcomes[row][f"top{k}"][0].mean() == pytest.approx(expected)
    assert 0.3 < found.outcomes["network"]["top1"][0].mean() < 1.0
    assert found.outcomes["chance"]["top1"][0].mean() == pytest.approx(6 / 42)
    assert found.items == list(test.keys) and found.n == {"test": 42, "classes": 7}


def test_only_test_windows_of_video_have_crops():
    for training, crops in ((True, 1), (False, 3)):
        assert LinearVideo(test_crops=3, random_windows=False).windows(training, 48000).crops == crops
    assert [LinearAudio().windows(False, 48000).crops, LinearVideo().windows(False, 48000).crops] == [1, 1]


def test_several_labels_a_clip_give_mean_average_precision_and_d_prime():
    names = [("a",), ("b",), ("a", "c"), ("b", "c"), ("c",), ("a", "b")] * 10
    train, test = _clips(names, 0), _clips(names, 1)
    found = _run(train, test, several_labels=True, classifier=LinearSVM(C=0.01))
    truth = np.array([[letter in labels for letter in "abc"] for labels in names])
    x = preprocessing.StandardScaler().fit(train.values.reshape(-1, 6))
    for column in range(3):
        machine = svm.LinearSVC(C=0.01, dual=False)
        machine.fit(x.transform(train.values.reshape(-1, 6)), np.repeat(truth[:, column], 3))
        scores = machine.decision_function(x.transform(test.values.reshape(-1, 6))).reshape(60, 3).mean(axis=1)
        expected = metrics.average_precision_score(truth[:, column], scores)
        assert found.outcomes["network"]["average_precision"][0][column] == pytest.approx(expected, abs=1e-3)
        expected = metrics.roc_auc_score(truth[:, column], scores)
        assert found.outcomes["network"]["area_under_roc"][0][column] == pytest.approx(expected, abs=1e-3)
    np.testing.assert_allclose(found.outcomes["chance"]["average_precision"][0], truth.mean(axis=0))
    assert [m.name for m in found.measures] == ["mAP", "d_prime"]
    assert [found.measures[1].value(found.outcomes[row]["area_under_roc"][0]) for row in ("chance",)] == [0.0]


def test_a_label_that_nothing_shows_is_told_by_chance_unless_clips_are_in_both_sets():
    names = [f"class{i % 3}" for i in range(300)]
    train, test = _clips(names, 0), _clips(names, 1)
    found = _run(train, test).control
    assert found["clips"] == 300 and found["noise"] == pytest.approx(100 / np.sqrt(300))
    assert found["value"] == pytest.approx(50, abs=2 * found["noise"])
    assert "LEAK" not in control.in_words(found) and "(chance 50.0, +- 5.8)" in control.in_words(found)
    train = _clips(names, 0, windows=1, dim=400)  # in which each clip can be told from all others
    leaked = _run(train, dataclasses.replace(train, values=train.values + 0.01), classifier=LinearSVM(C=1.0)).control
    assert leaked["value"] > 90 and "A LEAK" in control.in_words(leaked)


def test_classes_that_the_test_set_cannot_tell_are_counted():
    train = _clips([("a",), ("b",), ("a", "c")] * 10, 0)
    found = _run(train, _clips([("a",), ("b",)] * 5, 1), several_labels=True)
    assert found.n["classes"] == 2 and found.notes == ["1 of 3 classes cannot be measured on the test set"]


def test_with_several_labels_a_clip_without_any_is_a_wrong_one_for_all_classes():
    labels = [("a",), ("b",), None, ("a", "b"), None, ("c",)] * 10
    train, test = _clips(labels, 0, windows=1), _clips(labels, 1, windows=1)
    found = _run(train, test, several_labels=True, average_precision="11_point")
    assert found.n["test"] == 60 and found.left_out["test: no label"] == 0
    assert found.notes == ["20 training and 20 test clips have no label: wrong ones for all classes"]
    scaler, expected = preprocessing.StandardScaler().fit(train.values[:, 0]), []
    for name in "abc":
        truth = np.array([name in found for found in test.labels])
        machine = svm.LinearSVC(C=0.001, random_state=0).fit(scaler.transform(train.values[:, 0]), truth)
        order = np.argsort(-machine.decision_function(scaler.transform(test.values[:, 0])))
        precision = np.cumsum(truth[order]) / np.arange(1, 61)
        recall = np.cumsum(truth[order]) / truth.sum()
        expected.append(np.mean([precision[recall >= level / 10 - 1e-9].max() for level in range(11)]))
    np.testing.assert_allclose(found.outcomes["network"]["average_precision"][0], expected)


def test_what_is_ignored_for_a_class_has_no_part_in_it():
    labels = [("a",), ("b",), None, ("a", "b"), ("hard:a",), ("b", "hard:a"), ("a",), ("hard:b",)] * 10
    train, test = _clips(labels, 0, windows=1), _clips(labels, 1, windows=1)
    options = dict(several_labels=True, average_precision="11_point", ignored_prefix="hard:")
    # Whatever such clips look like, a class that ignores them is found as well as without them.
    hard = np.array([bool(names) and "hard:a" in names for names in labels])
    for side in (train, test):
        side.values[hard] += 100.0
    found = _run(train, test, **options)
    assert "ignored, being neither of a class nor not of it: 30 times in training, 30 in testing" in found.notes
    assert found.n == {"test": 80, "classes": 2}
    x = train.values[:, 0]
    scaler, truth = preprocessing.StandardScaler().fit(x[~hard]), np.array([bool(n) and "a" in n for n in labels])
    machine = svm.LinearSVC(C=0.001, random_state=0).fit(scaler.transform(x)[~hard], truth[~hard])
    scores = machine.decision_function(scaler.transform(test.values[:, 0]))
    precision, recall, _ = metrics.precision_recall_curve(truth[~hard], scores[~hard])
    expected = np.mean([precision[:-1][recall[:-1] >= level / 10 - 1e-9].max() for level in range(11)])
    assert found.outcomes["network"]["average_precision"][0][0] == pytest.approx(expected)
    old = _run(_clips([("a",), None] * 9, 0), _clips([("a",), None] * 9, 1), **options)
    assert any("no clip has a label that begins with 'hard:'" in note for note in old.notes)


@pytest.mark.parametrize("kind", ["area", "11_point"])
def test_one_measurable_class_of_several(kind):
    train = _clips([("a",), ("b",), ("a", "b"), None] * 10, 0)
    found = _run(train, _clips([("a",), None] * 10, 1), several_labels=True, average_precision=kind)
    assert found.n["classes"] == 1 and found.outcomes["network"]["average_precision"][0].shape == (1,)


def test_one_class_can_be_measured_where_some_clips_are_of_none():
    labels = [("a",), None] * 10
    assert _run(_clips(labels, 0), _clips(labels, 1), several_labels=True).n["classes"] == 1
    with pytest.raises(ValueError, match="all 4 training clips are of class 'a'"):
        _run(_clips(["a"] * 4, 0), _clips(labels, 1), several_labels=True)


def test_what_the_training_set_lacks_or_shares_with_the_test_set_is_said():
    train = _clips([("a",), ("b",)] * 5, 0)
    found = _run(train, _clips([("a",), ("b",), ("z",)] * 5, 1), several_labels=True)
    assert "1 classes of the dataset have no training clip, 'z' among them" in found.notes
    assert _run(train, train).notes == ["10 clips of the test set are training clips, too"]


def test_missing_windows_do_not_count():
    names = ["a", "b"] * 20
    train, test = _clips(names, 0, spread=0.3), _clips(names, 1, spread=0.3)
    test.present[:, 0] = False
    test.values[:, 0] = 1e6
    assert _run(train, test).outcomes["network"]["top1"][0].all()
    test.present[3] = False
    found = _run(train, test)
    assert found.left_out == {"train: no video": 0, "train: no label": 0, "test: no video": 1, "test: no label": 0}
    assert len(found.items) == 39 and "clip3" not in found.items


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        (["a"] * 4, ["a"] * 4, "all 4 training clips are of class 'a'"),
        (["a", "b"], ["a", "c"], "class 'c' of the test set has no training clip"),
        ([None, None], ["a"], "none of the 2 train clips has video and a label"),
        (["a", "b"], [None], "none of the 1 test clips has video and a label"),
        ([("a", "b"), "b"], ["a"], "clip 'clip0' has 2 labels, 'a' and 'b' among them: say with LinearVideo.label_pre"),
    ],
)
def test_what_cannot_be_classified_is_told(train, test, message):
    with pytest.raises(ValueError, match=message):
        _run(_clips(train, 0), _clips(test, 1))


def test_a_prefix_chooses_among_sorts_of_labels():
    names = [(f"game:{i % 3}", f"action:{'ab'[i % 2]}", "other") for i in range(12)]
    found = _run(_clips(names, 0), _clips(names, 1), label_prefix="action:")
    assert found.n["classes"] == 2


def test_features_that_are_all_the_same_find_no_more_than_chance():
    names = ["a", "b", "c", "d"] * 5
    train, test = _clips(names, 0), _clips(names, 1)
    for side in (train, test):
        side.values[:] = 1.0
    assert _run(train, test).outcomes["network"]["top1"][0].mean() <= 0.25


def test_fewer_clips_than_classes_or_k():
    found = _run(_clips(["a", "b", "c"], 0, windows=1), _clips(["b"], 1, windows=1))
    assert found.outcomes["network"].keys() == {"top1"} and len(found.outcomes["network"]["top1"][0]) == 1


def test_folds_are_measured_one_by_one():
    sets = {("audio", f"fold{i}", r): _clips(["a", "b"] * (i + 3), i, modality="audio") for i in (1, 2) for r in (0, 1)}
    folds = (("fold1", "fold2"), (("fold2",), "fold1"))
    found = LinearAudio(records="r", folds=folds).run(_compared(), Given(sets))
    assert [len(fold) for fold in found.outcomes["network"]["top1"]] == [10, 8]
    assert [fold["name"] for fold in found.folds] == ["fold2", "fold1"]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_folds_of_different_classes_have_the_measures_of_all(order):
    names = "abcdef"
    sets = {(split, fold): _clips([*names[: 6 - fold]] * 3, fold) for fold in (0, 1) for split in ("train", "test")}
    given = {("video", f"{split}{fold}", split == "train"): clips for (split, fold), clips in sets.items()}
    folds = tuple((f"train{fold}", f"test{fold}") for fold in order)
    found = LinearVideo(records="r", folds=folds).run(_compared(), Given(given))
    assert [measure.name for measure in found.measures] == ["top1"] and found.n["classes"] == 6
    assert [len(fold) for fold in found.outcomes["network"]["top1"]] == [18 - 3 * fold for fold in order]
    assert found.notes[0] == "top5: not measured, since a fold has too few classes for it"


@pytest.mark.parametrize(
    "train",
    [
        [("dog", "difficult:dog"), "cat", "bird", "bird"],  # the only dog is difficult
        ["dog", "dog", ("cat", "difficult:dog"), ("bird", "difficult:dog")],  # and whatever is no dog
    ],
)
def test_a_class_with_nothing_to_learn_from_beside_what_is_ignored_is_named(train):
    with pytest.raises(ValueError, match="class 'dog': of the training clips that count .* all or none are of it"):
        _run(_clips(train, 0), _clips(["dog", "cat", "bird"], 1), several_labels=True, ignored_prefix="difficult:")


def _pairs(count=30, seed=0, noise=1.0, windows=4):
    rs = np.random.default_rng(seed)
    truth = rs.normal(size=(count, 5))
    video = truth[:, None] + noise * rs.normal(size=(count, windows, 5))
    keys, present = tuple(map(str, range(count))), np.ones((count, windows), bool)
    labels = tuple((f"game:{i % 3}",) for i in range(count))
    clips = Features("video", video.astype(np.float32), present, keys, labels)
    texts = Features(
        "text", truth[:, None].astype(np.float32), present[:, :1], keys, tuple((f"t{i}",) for i in range(count))
    )
    return clips, texts


def _retrieve(clips, texts, **options):
    sets = {("video", "test", False): clips, ("text", "test", False): texts}
    return ZeroShotRetrieval(records="records", **options).run(_compared(), Given(sets))


@pytest.mark.parametrize("average", ["embeddings", "similarities"])
@pytest.mark.parametrize("measure", ["cosine", "dot"])
def test_retrieval_by_loops(average, measure):
    clips, texts = _pairs()
    unit = (lambda x: x / np.linalg.norm(x)) if measure == "cosine" else (lambda x: x)
    ranks = {"text->video": [], "video->text": []}
    scores = np.zeros((30, 30))  # [text, video]
    for t in range(30):
        for v in range(30):
            text, windows = texts.values[t, 0].astype(float), clips.values[v].astype(float)
            if average == "embeddings":
                scores[t, v] = unit(text) @ unit(np.mean(windows, axis=0))
            else:
                scores[t, v] = np.mean([unit(text) @ unit(window) for window in windows])
    for i in range(30):
        ranks["text->video"].append(1 + sum(scores[i, v] > scores[i, i] for v in range(30)))
        ranks["video->text"].append(1 + sum(scores[t, i] > scores[i, i] for t in range(30)))
    found = _retrieve(clips, texts, average=average, measure=measure)
    for pair, expected in ranks.items():
        assert found.outcomes["network"][pair][0].tolist() == expected
    values = {m.name: m.value(found.outcomes["network"][m.outcome][0]) for m in found.measures}
    assert values["text->video R@5"] == pytest.approx(100 * np.mean(np.array(ranks["text->video"]) <= 5))
    assert values["video->text MedR"] == np.median(ranks["video->text"])
    assert found.measures[0].name == "text->video R@10"


def test_chance_of_retrieval_is_exact():
    found = _retrieve(*_pairs())
    values = {m.name: m.value(found.outcomes["chance"][m.outcome][0]) for m in found.measures}
    assert values["text->video R@1"] == pytest.approx(100 / 30, abs=0.01)
    assert values["video->text R@10"] == pytest.approx(1000 / 30, abs=0.01)
    assert values["text->video MedR"] == 15.5


def test_a_pool_smaller_than_k_is_found_whole_as_chance_says_too():
    found = _retrieve(*_pairs(count=4, noise=9.0))
    for row in ("network", "chance"):
        values = {m.name: m.value(found.outcomes[row][m.outcome][0]) for m in found.measures}
        assert values["text->video R@10"] == values["text->video R@5"] == 100 and 1 <= values["text->video MedR"] <= 4
    assert "text->video: 4 texts, each among 4 clips" in found.notes


def test_everything_in_one_point_finds_nothing():
    clips, texts = _pairs()
    clips.values[:] = 1.0
    assert (_retrieve(clips, texts).outcomes["network"]["text->video"][0] == 30).all()


def test_pools_are_searched_one_by_one():
    clips, texts = _pairs(noise=0.0)
    texts.values[:] = np.roll(texts.values, 1, axis=0)  # the text of a clip of another game
    whole, pools = _retrieve(clips, texts), _retrieve(clips, texts, pool_prefix="game:")
    assert (whole.outcomes["network"]["text->video"][0] > 1).all()
    assert pools.n["pools"] == 3 and max(pools.outcomes["network"]["text->video"][0]) <= 10
    chance = {m.name: m.value(pools.outcomes["chance"][m.outcome][0]) for m in pools.measures}
    assert chance["text->video R@5"] == pytest.approx(50) and chance["text->video MedR"] == 5.5
    assert "text->video: 30 texts, each among 10 clips of its own pool (3 pools)" in pools.notes


def test_the_same_text_is_right_where_that_is_wanted():
    clips, texts = _pairs(noise=0.0)
    labels = tuple((f"t{i // 2}",) for i in range(30))
    values = np.repeat(texts.values[::2], 2, axis=0)
    texts = Features("text", values, texts.present, texts.keys, labels)
    strict, lenient = (_retrieve(clips, texts, same_text_is_right=right) for right in (False, True))
    # Clip 1 has the text, and the embedding, of clip 0.
    assert (strict.outcomes["network"]["text->video"][0][1::2] > 1).all()
    assert (lenient.outcomes["network"]["text->video"][0] == 1).all()


def test_every_caption_is_a_query():
    clips, texts = _pairs(noise=0.0)
    both = np.concatenate([texts.values, texts.values], axis=1)
    present = np.ones((30, 2), bool)
    present[7, 1] = False
    labels = tuple((f"t{i}", f"u{i}") for i in range(30))
    found = _retrieve(clips, Features("text", both, present, texts.keys, labels), captions=2)
    assert found.n["text->video queries"] == 59 and (found.outcomes["network"]["text->video"][0] == 1).all()
    assert found.n["video->text queries"] == 30 and (found.outcomes["network"]["video->text"][0] == 1).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pairs": ("text->smell",)}, "item 1, 'text->smell', must be 'text->video', "),
        ({"average": "median"}, "average = 'median': must be 'embeddings' or 'similarities'"),
        ({"space": "va"}, "text->video have no common space 'va'"),
        ({"pool_prefix": "level:"}, "clip '0' has 0 labels that begin with 'level:'"),
    ],
)
def test_what_cannot_be_retrieved_is_told(options, message):
    with pytest.raises(ValueError, match=message):
        _retrieve(*_pairs(), **options)


def test_one_pair_alone_is_no_retrieval():
    clips, texts = _pairs()
    texts.present[1:] = False
    with pytest.raises(ValueError, match="1 of 30 clips have both; at least 2"):
        _retrieve(clips, texts)


@pytest.mark.parametrize("classifier", [LinearSVM(), MLP(hidden=2, steps=1)])
@pytest.mark.parametrize("broken", ["train", "test"])
def test_nan_features_are_an_error_for_every_classifier(classifier, broken):
    sides = {"train": _clips(["a", "b"] * 3, 0), "test": _clips(["a", "b"] * 3, 1)}
    sides[broken].values[2, 1] = np.nan
    with pytest.raises(ValueError, match="clip 'clip2.*': its features hold NaN or Inf"):
        _run(**sides, classifier=classifier)


def test_an_empty_split_is_told():
    clips = _clips(["a", "b"], 0)
    with pytest.raises(ValueError, match="none of the 0 test clips has video and a label"):
        _run(clips, clips.take(np.zeros(2, bool)))


def test_the_scores_of_a_clip_are_the_mean_over_the_windows_that_it_has():
    """Of several labels the clips are ranked against each other: a short one must not come last for being short."""
    names = [("a",), ("b",)] * 30
    train, test = (_clips(names, seed, windows=3, spread=9.0) for seed in (0, 1))  # which overlap
    test.present[::3, 1:] = False  # a third of them is so short that it has one window
    found = _run(train, test, several_labels=True, classifier=LinearSVM(C=0.01))
    scaler = preprocessing.StandardScaler().fit(train.values.reshape(-1, 6))
    for column, name in enumerate("ab"):
        truth = np.array([name in labels for labels in names])
        machine = svm.LinearSVC(C=0.01, dual=False, random_state=0)
        machine.fit(scaler.transform(train.values.reshape(-1, 6)), np.repeat(truth, 3))
        scores = machine.decision_function(scaler.transform(test.values.reshape(-1, 6))).reshape(60, 3)
        scores = [row[present].mean() for row, present in zip(scores, test.present, strict=True)]
        expected = metrics.average_precision_score(truth, scores)
        assert found.outcomes["network"]["average_precision"][0][column] == pytest.approx(expected, abs=1e-6)


def test_a_clip_of_few_windows_is_as_long_as_others_by_the_scalar_product():
    clips, texts = _pairs(count=12, noise=1.5)
    clips.present[::2, 1:] = False
    found = _retrieve(clips, texts, measure="dot")
    videos = np.stack([v[p].astype(np.float64).mean(axis=0) for v, p in zip(clips.values, clips.present, strict=True)])
    scores = texts.values[:, 0].astype(np.float64) @ videos.T
    expected = 1 + (scores > np.diag(scores)[:, None]).sum(axis=1)
    np.testing.assert_array_equal(found.outcomes["network"]["text->video"][0], expected)
    assert len(set(expected)) > 2
