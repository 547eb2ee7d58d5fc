"""What TensorBoard shows besides scalars, and when a run warns."""

import glob

import numpy as np
import pytest
import tensorflow as tf

from helpers import toy
from mmv_tf.pages import clip_picture
from mmv_tf.training.observer import CollapseWatch, write_examples, write_text


@pytest.fixture
def writer(tmp_path):
    return tf.summary.create_file_writer(str(tmp_path))


def _read(folder) -> dict:
    """{tag: (step, value)} of the event files in a folder."""
    from tensorflow.python.summary.summary_iterator import summary_iterator

    found = {}
    for path in glob.glob(f"{folder}/events*"):
        for event in summary_iterator(path):
            for value in event.summary.value:
                found[value.tag] = (event.step, tf.make_ndarray(value.tensor))
    return found


def test_configuration_and_graph_are_code_blocks(writer, tmp_path):
    write_text(writer, "train.steps = 3\n# __init__\n", "spaces: va [6]", 7)
    found = _read(tmp_path)
    assert found["config"] == (7, b"```\ntrain.steps = 3\n# __init__\n```")
    assert found["graph"] == (7, b"```\nspaces: va [6]\n```")


def test_clips_of_a_batch_become_images(writer, tmp_path):
    batch = toy.batch(6) | {"source": tf.constant([0, 1, 0, 1, 0, 1]), "label": tf.constant([-1, 4, -1, -1, 2, 2])}
    words = [f"word{i}" for i in range(1, 20)]
    write_examples(writer, batch, words, 30, count=4, source_names=("howto100m", "audioset"))
    step, (width, height, *images) = _read(tmp_path)["clips"]
    assert (step, len(images)) == (30, 4)
    for index, image in enumerate(images):
        clip = {name: values[index].numpy() for name, values in batch.items()}
        picture = clip_picture.draw(clip, words, ("howto100m", "audioset")[index % 2])
        shown = tf.io.decode_png(image).numpy()
        assert shown.shape == (int(height), int(width), 3)
        np.testing.assert_array_equal(shown[: len(picture)], picture)
        assert (shown[len(picture) :] == clip_picture.BACKGROUND).all()


def test_a_batch_of_sound_alone_and_fewer_clips_than_asked_for(writer, tmp_path):
    write_examples(writer, {"audio": toy.batch(2)["audio"].numpy()}, (), 0)
    assert len(_read(tmp_path)["clips"][1]) == 2 + 2


BATCH = 100
HEALTHY = {
    "total_loss": 3.0,
    "accuracy/video_audio": 0.3,
    "accuracy/video_audio_reverse": 0.25,
    "similarity/video_audio/positive": 9.0,
    "similarity/video_audio/negative": 1.0,
    "spread/video/va": 0.9,
    "spread/audio/va": 0.8,
}
LOST = {"accuracy/video_audio": 0.01, "accuracy/video_audio_reverse": 0.011}
SAME = {"similarity/video_audio/positive": 13.05, "similarity/video_audio/negative": 13.0}


def _watch(**options):
    return CollapseWatch(BATCH, first_step=100, patience=1, **options)


def test_a_healthy_run_is_not_warned_of():
    watch = _watch()
    assert [watch(step, HEALTHY) for step in (100, 200, 300)] == [[], [], []]


@pytest.mark.parametrize(
    ("fault", "parts"),
    [
        ({"spread/audio/va": 0.05}, ["audio", "in va", "spread 0.050"]),
        (LOST, ["video_audio", "finds 1.10%", "chance 1.00%", "positives 9.00, of negatives 1.00"]),
        (LOST | {"accuracy/video_audio": 0.0, "accuracy/video_audio_reverse": 0.0}, ["video_audio", "finds 0.00%"]),
        ({"accuracy/video_audio": 0.025, "accuracy/video_audio_reverse": 0.01} | SAME, ["positives 13.05"]),
    ],
)
def test_each_fault_is_one_sentence_with_its_figures(fault, parts):
    (warning,) = _watch()(500, HEALTHY | fault)
    assert all(part in warning for part in ["step 500", *parts]), warning
    assert "\n" not in warning


@pytest.mark.parametrize(
    "harmless",
    [
        {"accuracy/video_audio": 0.0},  # one way finds, the other does not
        SAME,  # a narrow cone, in which clips are nevertheless found
        {"accuracy/video_audio": 0.025, "accuracy/video_audio_reverse": 0.01},  # slow, and on its way
        {"norm/video/va": 0.0, "loss/video_audio": 99.0},
    ],
)
def test_what_is_no_collapse_is_not_warned_of(harmless):
    assert _watch()(500, HEALTHY | harmless) == []


def test_a_pair_whose_name_ends_as_reverses_do_is_watched():
    view = {name.replace("audio", "audio_reverse"): value for name, value in (HEALTHY | LOST).items()}
    (warning,) = _watch()(500, view)
    assert "video_audio_reverse is not learned" in warning and "finds 1.10%" in warning
    longer = {name.replace("_audio", "_audio_reverse_va"): value for name, value in LOST.items()}
    (warning,) = _watch()(500, HEALTHY | longer)
    assert "video_audio_reverse_va is not learned" in warning


def test_nothing_is_said_before_the_first_step():
    watch = _watch()
    assert watch(99, HEALTHY | LOST) == []
    assert len(watch(100, HEALTHY | LOST)) == 1


def test_a_warning_comes_once_until_the_run_recovers():
    watch = _watch()
    said = [len(watch(step, HEALTHY | fault)) for step, fault in enumerate([LOST, LOST, {}, LOST, LOST], start=100)]
    assert said == [1, 0, 0, 1, 0]


def test_patience_waits_for_faults_in_a_row():
    watch = CollapseWatch(BATCH, first_step=0, patience=3)
    said = [len(watch(step, HEALTHY | fault)) for step, fault in enumerate([LOST, LOST, {}, LOST, LOST, LOST, LOST])]
    assert said == [0, 0, 0, 0, 0, 1, 0]


def test_logs_without_similarities_are_enough():
    (warning,) = _watch()(100, {"accuracy/video_audio": 0.0})
    assert "similarity" not in warning
