"""The probe: its figures where embeddings are known, no trace in the model, clear words for wrong settings."""

import random

import keras
import numpy as np
import pytest
import tensorflow as tf

from helpers import graphs, toy
from helpers import record_fixtures as fixtures
from mmv_tf.inputs.audio import LogMel
from mmv_tf.inputs.pipeline import InputPipeline, Source
from mmv_tf.inputs.text import Tokenizer
from mmv_tf.inputs.video import VideoInput, preprocess_ops_3d
from mmv_tf.metrics import zipf
from mmv_tf.training import probe as probes
from mmv_tf.training.embedder import RecordEmbedder
from mmv_tf.training.probe import Probe


class Sets:
    """A pipeline whose patterns are names of batches."""

    is_finished = True

    def __init__(self, **sets):
        self.sets = sets

    def evaluation_dataset(self, pattern, batch_size):
        clips = dict(self.sets[pattern])
        clips.setdefault("label_names", np.array([f"class {n}" if n >= 0 else "" for n in clips["label"]]))
        return tf.data.Dataset.from_tensor_slices(clips).batch(batch_size)


class Passing:
    """A model that gives its inputs back in every space."""

    def __init__(self, graph):
        self.graph = graph

    def without_empty_texts(self, batch):
        return batch

    def embed(self, batch, training):
        assert not training
        flat = {m: tf.cast(tf.reshape(rows, [rows.shape[0], -1]), tf.float32) for m, rows in batch.items()}
        return {m: {space: rows for space in ("repr", *self.graph.spaces_of(m))} for m, rows in flat.items()}


def _clips(count, labels=None, seed=0):
    """Video and sound of a clip are one vector; so is its first known narration, which is its second candidate."""
    rs = np.random.RandomState(seed)
    ids = rs.randint(1, 1000, (count, 6)).astype(np.int32)
    return {
        "video": ids[:, None, None].astype(np.float32),
        "audio": ids[:, None].astype(np.float32),
        "text": np.stack([0 * ids, ids, ids[::-1]], axis=1),
        "text_mask": np.tile([False, True, True], (count, 1)),
        "video_mask": np.ones(count, bool),
        "audio_mask": np.ones(count, bool),
        "label": np.full(count, -1, np.int32) if labels is None else np.asarray(labels, np.int32),
        "key": np.array([f"clip{i}" for i in range(count)]),
    }


def _retrieval(clips, graph=None, **options):
    return Probe(retrieval_data="test", **options).run(Passing(graph or graphs.fac()), Sets(test=clips))


def test_embeddings_that_agree_find_each_other_in_every_pair_also_one_never_trained():
    scalars = _retrieval(_clips(10), batch_size=4)
    ways = [f"{a}_to_{b}" for a in ("video", "audio", "text") for b in ("video", "audio", "text") if a != b]
    measures = ("R@1", "R@5", "median_rank")
    names = {f"probe/retrieval/{way}/{m}{end}" for way in ways for m in measures for end in ("", "_chance")}
    names |= {f"probe/retrieval/{way}/clips" for way in ways}
    assert scalars.keys() == names and scalars["probe/retrieval/audio_to_text/clips"] == 10
    for way in ways:
        assert [scalars[f"probe/retrieval/{way}/{m}"] for m in measures] == [1.0, 1.0, 1.0]
        assert [scalars[f"probe/retrieval/{way}/{m}_chance"] for m in measures] == pytest.approx([0.1, 0.5, 5.5])


def test_embeddings_that_know_nothing_find_by_chance():
    clips = _clips(400)
    clips["audio"] = clips["audio"][np.random.RandomState(1).permutation(400)]
    scalars = _retrieval(clips, graphs.disjoint())
    assert scalars["probe/retrieval/video_to_audio/R@5"] < 0.04
    assert scalars["probe/retrieval/audio_to_video/median_rank"] == pytest.approx(200.5, abs=30)
    assert scalars["probe/retrieval/video_to_audio/R@5_chance"] == pytest.approx(5 / 400)
    assert scalars["probe/retrieval/video_to_text/R@1"] == 1.0
    assert not [name for name in scalars if "audio_to_text" in name]  # no common space


def test_clips_without_a_modality_are_left_out():
    clips = _clips(10)
    clips["audio_mask"][::2] = False
    clips["text_mask"][3:] = False
    scalars = _retrieval(clips, batch_size=4)
    assert scalars["probe/retrieval/video_to_audio/R@1_chance"] == pytest.approx(1 / 5)
    assert scalars["probe/retrieval/text_to_video/R@1_chance"] == pytest.approx(1 / 3)
    assert not [name for name in scalars if "audio_to_text" in name]  # one clip alone has both


def test_clips_with_the_same_narration_are_all_right():
    clips = _clips(8)
    clips["text"][1] = clips["text"][0]
    chance = _retrieval(clips)["probe/retrieval/text_to_video/R@1_chance"]
    assert chance == pytest.approx((2 * 2 / 8 + 6 * 1 / 8) / 8)


@pytest.mark.parametrize(("most", "kept"), [(7, 7), (8, 8), (1000, 20)])
def test_max_clips_is_a_cap(most, kept):
    assert _retrieval(_clips(20), max_clips=most, batch_size=4)[
        "probe/retrieval/video_to_audio/R@1_chance"
    ] == pytest.approx(1 / kept)


def _knn(train, test, **options):
    probe = Probe(labelled_train="train", labelled_test="test", **options)
    return probe.run(Passing(graphs.fac()), Sets(train=train, test=test))


def _labelled(count, seed):
    """The class is in the video, and not in the sound."""
    labels = np.arange(count) % 3
    clips = _clips(count, labels, seed)
    clips["video"] = 0.001 * clips["video"] + 9 * np.eye(3, 6, dtype=np.float32)[labels][:, None, None]
    return clips


def test_knn_of_representations_beside_the_most_frequent_class():
    scalars = _knn(_labelled(300, 0), _labelled(200, 1), batch_size=64)
    assert scalars.keys() == {
        f"probe/knn/{m}{end}" for m in ("video", "audio") for end in ("", "_chance", "_control", "_clips")
    }
    assert [scalars[f"probe/knn/{m}_control"] for m in ("video", "audio")] == pytest.approx([0.5, 0.5], abs=0.12)
    assert scalars["probe/knn/video"] == 1.0
    assert scalars["probe/knn/audio"] == pytest.approx(1 / 3, abs=0.1)
    assert scalars["probe/knn/audio_chance"] == pytest.approx(67 / 200)


def test_classes_are_compared_by_their_names():
    """The two sets number them in other orders, as folders do that were made one by one."""
    train, test = _labelled(300, 0), _labelled(200, 1)
    names = np.array(["bark", "chirp", "meow"])
    train["label_names"], test["label_names"] = names[train["label"]], names[test["label"]]
    test["label"] = (test["label"] + 1) % 3
    assert _knn(train, test)["probe/knn/video"] == 1.0


def test_of_several_labels_those_with_the_prefix_count():
    train, test = _labelled(300, 0), _labelled(200, 1)
    for seed, side in enumerate((train, test)):
        cameras = np.random.RandomState(seed).randint(2, size=len(side["label"]))
        side["label_names"] = np.array(
            [f"camera: {c}\x1fevent: {e}" for c, e in zip(cameras, side["label"], strict=False)]
        )
    assert _knn(train, test, label_prefix="event:")["probe/knn/video"] == 1.0
    assert _knn(train, test, label_prefix="camera:")["probe/knn/video"] == pytest.approx(0.5, abs=0.12)
    several = (
        r"Probe.labelled_train = 'train': clip 'clip0' has 2 labels, 'camera: .' and 'event: 0' .* Probe.label_prefix"
    )
    with pytest.raises(ValueError, match=several):
        _knn(train, test)
    with pytest.raises(ValueError, match="none of its 300 clips has a label that begins with 'action:'"):
        _knn(train, test, label_prefix="action:")


def test_the_control_finds_clips_that_are_in_both_sets():
    clips = _labelled(300, 0)
    clips["video"] = _clips(300, seed=5)["video"]  # each is like itself alone
    scalars = _knn(clips, clips, num_neighbours=1)
    assert scalars["probe/knn/video_control"] == 1.0


def test_knn_leaves_out_what_has_no_label_or_no_sound():
    train, test = _labelled(30, 0), _labelled(30, 1)
    train["label"][::3] = -1
    test["audio_mask"][:] = False
    scalars = _knn(train, test)
    assert scalars["probe/knn/video"] == pytest.approx(20 / 30)  # the class without labels is never named
    assert "probe/knn/audio" not in scalars


def test_a_summary_is_one_line_with_chance():
    line = probes.summary(_retrieval(_clips(10)) | _knn(_labelled(30, 0), _labelled(30, 1)))
    assert "video->audio R@1 100.0% (chance 10.0%)" in line
    assert "knn video 100.0% (chance 33.3%, a random label " in line and "control" not in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"every": -1}, "Probe.every = -1"),
        ({"max_clips": 1}, "Probe.max_clips = 1"),
        ({"num_neighbours": 0}, "Probe.num_neighbours = 0"),
        ({"batch_size": 0}, "Probe.batch_size = 0"),
        ({"labelled_test": "x"}, "Probe.labelled_train is not set"),
        ({"labelled_train": "x"}, "Probe.labelled_test is not set"),
        ({"every": 5}, "nothing to probe"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Probe(**settings)


def _with(clips, **changes):
    return clips | {name: np.full_like(clips[name], value) for name, value in changes.items()}


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        (_labelled(4, 0), _labelled(9, 1), "labelled_train = 'train', video: 4 labelled clips cannot give 5"),
        (_with(_labelled(9, 0), label=2), _labelled(9, 1), "labelled_train = 'train', video: all 9 .* class 2"),
        (_labelled(9, 0), _with(_labelled(9, 1), label=-1), "Probe.labelled_test = 'test': none of its 9 clips"),
        (_with(_labelled(9, 0), video_mask=0, audio_mask=0), _labelled(9, 1), "neither video nor audio in common"),
        (_with(_labelled(9, 0), video=np.nan), _labelled(9, 1), "NaN or Inf"),
    ],
)
def test_labelled_sets_that_cannot_work_are_refused(train, test, message):
    with pytest.raises(ValueError, match=message):
        _knn(train, test)


def test_a_held_out_set_without_two_clips_to_compare_is_refused():
    with pytest.raises(ValueError, match=r"Probe\.retrieval_data = 'test': fewer than 2 clips"):
        _retrieval(_with(_clips(5), video_mask=0, text_mask=0))


def test_when_it_is_due():
    probe = Probe(every=20, retrieval_data="test")
    assert [step for step in range(0, 70, 10) if probe.due(step)] == [0, 20, 40, 60]
    assert not Probe(retrieval_data="test").due(0)


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """A pipeline of real records and its settings for a probe; sound and narrations are missing here and there."""
    folder = tmp_path_factory.mktemp("records")
    captions = ["a dog runs", "red ball", "green ball", ""]
    clips = [
        fixtures.record(
            f"clip{i}", 4 + i, sound=i % 5 != 4, captions=(captions[i % 4],), label=i % 2, label_name=f"class {i % 2}"
        )
        for i in range(12)
    ]
    pattern = fixtures.write_shards(folder, [clips[:7], clips[7:]])
    pipeline = InputPipeline(
        [Source(pattern)],
        video=VideoInput(num_frames=2, min_side=20, crop_size=16, jit_compile=False),
        audio=LogMel(sample_rate=fixtures.SAMPLE_RATE, window=64, stride=32, num_bins=4, max_frequency=400.0),
        text=Tokenizer(vocabulary=("dog", "runs", "red", "green", "ball"), max_words=3),
        max_candidates=2,
    )
    return pipeline, Probe(20, pattern, pattern, pattern, num_neighbours=3, batch_size=8)


@pytest.fixture(scope="module")
def model():
    return toy.mmv(graphs.fac())


def test_real_records_on_one_and_on_two_replicas(real, model):
    pipeline, probe = real
    strategy = toy.mirrored(2)
    with strategy.scope():
        mirrored = toy.mmv(graphs.fac())
    for variable, value in zip(mirrored.variables, model.variables, strict=True):
        variable.assign(value)
    found = probe.run(mirrored, pipeline)
    assert len(found) == 7 * 6 + 2 * 4
    assert found["probe/retrieval/video_to_audio/R@1_chance"] == pytest.approx(1 / 10)
    assert probe.run(model, pipeline) == found


def test_what_an_accelerator_finishes_is_embedded_as_what_the_host_makes(real, model):
    pipeline, probe = real
    boxed = pipeline.boxed()
    embedders = {one: RecordEmbedder(model, one, 12) for one in (pipeline, boxed)}
    for given in (probe.retrieval_data, None):  # a set of its own, and all that training reads
        host, device = (
            one.evaluation_dataset(given, 12) if given else one.every_training_record(8, 12) for one in embedders
        )
        frames = device.element_spec["video"]
        assert len(frames) == 2 and frames[0].dtype == tf.uint8 and frames[0].shape[1:3] == boxed.boxes["video"]
        here, there = next(embedders[pipeline].each(host)), next(embedders[boxed].each(device))
        assert here.keys == there.keys == tuple(f"clip{i}" for i in range(12)) and here.labels == there.labels
        np.testing.assert_array_equal(here.words, there.words)
        for name, present in here.present.items():
            np.testing.assert_array_equal(present, there.present[name])
        for (modality, space), rows in here.embeddings.items():
            found = there.embeddings[modality, space][here.present[modality]]
            np.testing.assert_allclose(found, rows[here.present[modality]], atol=4e-3, err_msg=f"{modality} {space}")


def _state():
    keras_seed = keras.src.random.seed_generator.global_seed_generator().state.numpy().tolist()
    return (
        random.getstate(),
        np.random.get_state()[1].tolist(),
        keras_seed,
        tf.random.get_global_generator().state.numpy().tolist(),
    )


def _weights(model):
    return [variable.numpy() for variable in [*model.variables, *model.optimizer.variables]]


def test_training_does_not_notice_a_probe(real, model):
    pipeline, probe = real
    preprocess_ops_3d()  # to import tf-models-official draws a number from Python's generator, once a process
    model.train_step(toy.batch(8))
    start, ends = _weights(model), []
    for probed in (False, True):
        for variable, value in zip([*model.variables, *model.optimizer.variables], start, strict=True):
            variable.assign(value)
        if probed:
            state = _state()
            probe.run(model, pipeline)
            assert all(np.array_equal(one, other) for one, other in zip(start, _weights(model), strict=True))
            assert _state() == state
        model.train_step(toy.batch(8, seed=1))
        ends.append(_weights(model))
    assert not all(np.array_equal(one, other) for one, other in zip(start, ends[0], strict=True))
    assert all(np.array_equal(one, other) for one, other in zip(*ends, strict=True))


def test_a_set_that_is_missing_is_named_by_its_setting(real, model, tmp_path):
    with pytest.raises(ValueError, match=r"Probe\.retrieval_data: no file matches .*nothing-\*"):
        Probe(retrieval_data=str(tmp_path / "nothing-*")).run(model, real[0])


def test_zipf_is_measured_on_the_clips_that_are_found():
    clips = _clips(20)
    clips["video"] = np.repeat(np.eye(2, 6, dtype=np.float32), [14, 6], axis=0)[:, None, None]
    clips["audio_mask"][:] = np.arange(20) < 9
    scalars = _retrieval(clips, graphs.va(), zipf_clusters=2)
    assert scalars["probe/zipf/video"] == pytest.approx(-zipf.divergence([14, 6]))
    assert scalars["probe/zipf/audio"] == zipf.fitness(clips["audio"][:9, 0], 2)
    assert "zipf video -0.0" in probes.summary(scalars)
    assert not [name for name in _retrieval(clips, graphs.va()) if "zipf" in name]
    with pytest.raises(ValueError, match="Probe.zipf_clusters = 10, audio: 9 clips cannot be in 10 clusters"):
        _retrieval(clips, graphs.va(), zipf_clusters=10)
    with pytest.raises(ValueError, match="Probe.zipf_clusters = 5, and there is nothing to cluster: set Probe.retr"):
        Probe(zipf_clusters=5)
