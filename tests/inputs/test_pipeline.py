import itertools

import numpy as np
import pytest
import tensorflow as tf

from helpers.record_fixtures import SAMPLE_RATE, record, write_shards
from mmv_tf.inputs.audio import LogMel
from mmv_tf.inputs.faults import explain_data_error
from mmv_tf.inputs.pipeline import InputPipeline, Source
from mmv_tf.inputs.text import Tokenizer
from mmv_tf.inputs.video import VideoInput

LOG_MEL = dict(sample_rate=SAMPLE_RATE, window=64, stride=32, num_bins=8, min_frequency=20.0, max_frequency=400.0)


class Waveform(LogMel):
    """Leaves the sound as it is, so that tests can see which samples a clip has: [B, S] -> [B, S, 1, 1]."""

    def __call__(self, waveform):
        return waveform[..., None, None]


def pipeline(*patterns, weights=(1.0, 1.0), video=None, audio=LogMel, **settings):
    sources = [Source(pattern, weight) for pattern, weight in zip(patterns, weights, strict=False)]
    video = VideoInput(**{"num_frames": 4, "min_side": 20, "crop_size": 16, "jit_compile": False, **(video or {})})
    return InputPipeline(
        sources,
        video=video,
        audio=audio(**LOG_MEL),
        text=Tokenizer(("dog", "cat")),
        **{"max_candidates": 2, **settings},
    )


@pytest.fixture(scope="module")
def pattern(tmp_path_factory):
    """16 records in 4 shards; the label of each is its number."""
    numbers = itertools.count()
    content = [[record(f"{s}/{i}", label=next(numbers)) for i in range(4)] for s in range(4)]
    return write_shards(tmp_path_factory.mktemp("records"), content)


def batches(dataset, count):
    return [{k: v.numpy() for k, v in batch.items()} for batch in dataset.take(count)]


def assert_equal(a, b, last_digits=()):
    """`last_digits` names what may differ there: with oneDNN a product of matrices hangs on the size of the batch."""
    assert a.keys() == b.keys()
    for name in a:
        if name in last_digits:
            np.testing.assert_allclose(a[name], b[name], rtol=1e-6, err_msg=name)
        else:
            np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def compiled(pattern, **settings):
    """A pipeline that makes frames as users do; where that is not the subject, compiling takes the most time."""
    return pipeline(pattern, video={"jit_compile": True}, **settings)


@pytest.fixture(scope="module")
def pipe(pattern):
    return compiled(pattern)


@pytest.fixture(scope="module")
def undisturbed(pipe):
    """Two epochs, in batches of 4."""
    dataset = pipe.training_dataset(4, seed=5)
    assert dataset.element_spec == pipe.element_spec(4)
    return batches(dataset, 8)


def test_a_batch(undisturbed):
    batch = undisturbed[0]
    assert batch["video"].shape == (4, 4, 16, 16, 3) and batch["video"].dtype == np.float32
    assert 0 <= batch["video"].min() and batch["video"].max() <= 1
    assert batch["audio"].shape == (4, 13, 8, 1) and batch["text"].shape == (4, 2, 16)
    np.testing.assert_array_equal(batch["text"][:, 0, :2], np.tile([1, 0], [4, 1]))  # 'a dog runs'
    np.testing.assert_array_equal(batch["text_mask"], np.tile([True, False], [4, 1]))
    assert batch["video_mask"].all() and batch["audio_mask"].all()


def test_epochs_and_resume(pattern, undisturbed):
    """Every record once an epoch; a stream that starts at step s is, bit by bit, the rest of the undisturbed one."""
    labels = np.concatenate([batch["label"] for batch in undisturbed])
    assert sorted(labels[:16]) == sorted(labels[16:]) == list(range(16))
    assert list(labels[:16]) != list(labels[16:])
    again = compiled(pattern).training_dataset(4, 5, start_step=5)  # by a pipeline that has made nothing before
    for ours, theirs in zip(undisturbed[5:], batches(again, 3), strict=True):
        assert_equal(ours, theirs)


def test_seed_changes_order_and_augmentation(pipe, undisturbed):
    other = batches(pipe.training_dataset(4, seed=6), 4)
    labels = [[label for batch in epoch for label in batch["label"]] for epoch in (undisturbed[:4], other)]
    assert labels[0] != labels[1]
    by_label = [
        dict(zip(names, np.concatenate([batch["video"] for batch in epoch]), strict=True))
        for names, epoch in zip(labels, (undisturbed[:4], other), strict=True)
    ]
    assert sum(np.array_equal(by_label[0][label], by_label[1][label]) for label in range(16)) < 4


def test_hosts_and_replicas_see_the_global_batch(pipe, undisturbed):
    whole, parts = undisturbed[2], []
    for host in range(2):
        context = tf.distribute.InputContext(2, host, num_replicas_in_sync=4)
        parts += batches(pipe.training_dataset(4, seed=5, start_step=2, input_context=context), 2)
    together = {name: np.concatenate([part[name] for part in parts]) for name in whole}
    assert together["label"].shape == (4,)
    order, other = np.argsort(whole["label"]), np.argsort(together["label"])
    assert_equal({k: v[order] for k, v in whole.items()}, {k: v[other] for k, v in together.items()}, ["audio"])


def test_missing_modalities_are_zeros_under_a_mask(tmp_path):
    silent = record("silent", sound=False, captions=(), label=None)
    unseen = record("unseen", captions=("unknown words", "cat", "dog", "dog"))
    unseen = unseen.__class__(**{**unseen.__dict__, "jpegs": ()})
    pattern = write_shards(tmp_path, [[silent, unseen]])
    (batch,) = batches(pipeline(pattern).evaluation_dataset(pattern, 4), 1)
    assert batch["key"].tolist() == [b"silent", b"unseen"] and batch["label"].tolist() == [-1, 3]
    np.testing.assert_array_equal(batch["audio_mask"], [False, True])
    np.testing.assert_array_equal(batch["video_mask"], [True, False])
    np.testing.assert_array_equal(batch["text_mask"], [[False, False], [False, True]])  # the first K candidates
    assert not batch["audio"][0].any() and batch["audio"][1].any()
    assert batch["video"][0].any() and not batch["video"][1].any()


def starts(batch):
    """Start times of frames and sound, in seconds, read off their contents."""
    # Frame i has the grey level 10 + 10 i on its left.
    frames = (batch["video"][:, 0, :, :4].mean(axis=(1, 2, 3)) * 255 - 10) / 10 / 10
    return frames, batch["audio"][:, 0, 0, 0] * 1.2  # sample s of the 1.2 s is s / 1200


SEEN_AND_HEARD = dict(modalities=("video", "audio"), audio=Waveform)


def test_evaluation_is_finite_sorted_and_spaced_with_its_sound(pattern):
    pipe = pipeline(pattern, **SEEN_AND_HEARD)
    result = batches(pipe.evaluation_dataset(pattern, 6, num_clips=4), 9)
    assert [len(batch["key"]) for batch in result] == [24, 24, 16]
    keys = [key.decode() for batch in result for key in batch["key"]]
    assert keys == [f"{s}/{i}" for s in range(4) for i in range(4) for _ in range(4)]
    for batch in result:
        frames, sound = starts(batch)
        np.testing.assert_allclose(frames, sound, atol=0.03)
        np.testing.assert_allclose(sound, [0, 0.2, 0.5, 0.8] * (len(sound) // 4), atol=1e-3)


def test_sound_and_frames_are_of_one_time_in_training(pattern):
    still = dict(scale_jitter_probability=0.0, flip_probability=0.0, colour_probability=0.0, crop_size=20)
    (batch,) = batches(pipeline(pattern, video=still, **SEEN_AND_HEARD).training_dataset(16), 1)
    frames, sound = starts(batch)
    np.testing.assert_allclose(frames, sound, atol=0.03)
    assert len(set(np.round(sound, 2))) > 4


def test_one_clip_is_the_middle_and_a_short_record_is_repeated_with_its_sound(tmp_path):
    pattern = write_shards(tmp_path, [[record("long"), record("short", num_frames=3)]])
    (batch,) = batches(pipeline(pattern, **SEEN_AND_HEARD).evaluation_dataset(pattern, 2), 1)
    frames, sound = starts(batch)
    np.testing.assert_allclose(frames[0], sound[0], atol=0.03)
    np.testing.assert_allclose(sound[0], 0.4, atol=1e-3)
    levels = batch["video"][1, :, :, :4].mean(axis=(1, 2, 3)) * 255
    np.testing.assert_allclose(levels, [10, 20, 30, 10], atol=3)
    np.testing.assert_allclose(
        batch["audio"][1, [0, 150, 299, 300, 399], 0, 0], [0, 0.5, 299 / 300, 0, 0.33], atol=1e-5
    )


def test_sources_are_mixed_by_weight(tmp_path, pattern):
    (tmp_path / "more").mkdir()
    other = write_shards(tmp_path / "more", [[record(f"o{i}", captions=(), label=100 + i) for i in range(6)]])
    pipe = pipeline(pattern, other, weights=(3.0, 1.0), modalities=("video",))
    result = batches(pipe.training_dataset(8), 4)
    for batch in result:
        assert [(batch["label"][i : i + 4] >= 100).sum() for i in (0, 4)] == [1, 1]
        np.testing.assert_array_equal(batch["source"], batch["label"] >= 100)
    assert sorted({label for batch in result for label in batch["label"] if label >= 100}) == list(range(100, 106))
    assert_equal(result[3], batches(pipe.training_dataset(8, start_step=3), 1)[0])


def test_only_what_is_asked_for(pattern):
    pipe = InputPipeline([Source(pattern)], ["audio"], audio=LogMel(**LOG_MEL), video=VideoInput(num_frames=4))
    assert set(pipe.zeros(1)) == {"audio", "audio_mask", "label", "source"}
    assert set(pipe.training_dataset(2).element_spec) == {"audio", "audio_mask", "label", "source"}


def failure(dataset):
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        batches(dataset, 5)
    return explain_data_error(caught.value)


def test_faults_in_the_data_are_named(tmp_path):
    pattern = write_shards(tmp_path, [[record("a"), record("b")]])
    wrong = InputPipeline([Source(pattern)], ["audio"], VideoInput(num_frames=4), LogMel())
    assert failure(wrong.evaluation_dataset(pattern, 1)) == (
        "record a: sound at 1000 Hz, and LogMel.sample_rate is 48000: preprocess with that rate, or change the setting"
    )
    path = tmp_path / "train-00000-of-00001"
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    pipe = pipeline(pattern, modalities=())  # whatever is made of a record, it is read before
    for dataset in (pipe.training_dataset(2), pipe.evaluation_dataset(pattern, 2)):
        assert failure(dataset).startswith(f"shard {path}: record 1 of 2 cannot be read")


def test_mistakes_are_named(pattern, tmp_path):
    with pytest.raises(ValueError, match="InputPipeline.modalities = .*'vidoe', must be 'video', 'audio'"):
        InputPipeline(modalities=("vidoe",))
    with pytest.raises(ValueError, match="InputPipeline.max_bad_records = -1"):
        pipeline(pattern, max_bad_records=-1)
    with pytest.raises(ValueError, match="InputPipeline.sources is empty"):
        pipeline().training_dataset(2)
    with pytest.raises(ValueError, match="no file matches '.*/empty/train-\\*'"):
        pipeline(str(tmp_path / "empty" / "train-*")).training_dataset(2)
    with pytest.raises(ValueError, match="batch of 3 cannot be shared by 2 replicas"):
        pipeline(pattern).training_dataset(3, input_context=tf.distribute.InputContext(1, 0, 2))


def test_vocabulary_is_saved_with_text_only(pattern, tmp_path):
    pipeline(pattern).save_vocabulary(str(tmp_path / "words.txt"))
    assert (tmp_path / "words.txt").read_text() == "dog\ncat\n"
    pipeline(pattern, modalities=("video",)).save_vocabulary(str(tmp_path / "none.txt"))
    assert not (tmp_path / "none.txt").exists()
