import tensorflow as tf

from mmv_tf.pages import curves


def test_curves_come_from_the_event_files(tmp_path):
    with tf.summary.create_file_writer(str(tmp_path / "train")).as_default():
        for step in (0, 10):
            tf.summary.scalar("loss/total", 3.0 - step / 10, step=step)
    assert curves.read(str(tmp_path)) == {"loss/total": [(0, 3.0), (10, 2.0)]}


def test_a_curve_ends_before_the_first_that_is_no_number():
    nan = float("nan")
    scalars = {"a": [(0, 1.0), (1, 2.0)], "b": [(0, 1.0), (5, nan), (6, 3.0)], "c": [(0, float("inf")), (5, nan)]}
    assert curves.finite(scalars) == (
        {"a": [(0, 1.0), (1, 2.0)], "b": [(0, 1.0)]},
        ["b is nan at step 5: shown up to there", "c is inf at step 0: not shown"],
    )


def test_every_curve_has_a_name_of_its_own():
    """Pairs of views, spaces and losses, pairs that are each other's reverse, and losses of single sources."""
    pairs = ["video_audio", "audio_video", "video_audio_va", "video_r_audio_r_against_audio_own"]
    tags = [f"accuracy/{pair}{side}" for pair in pairs for side in ("", "_reverse")]
    tags += ["loss/video_audio", "loss/video_audio/films", "loss/video_text/films", "total_loss", "loss_scale"]
    charts = curves.by_chart({tag: [(0, float(number))] for number, tag in enumerate(tags)})
    names = {title: {name: value for name, [(_, value)] in chart.items()} for title, chart in charts.items()}
    assert names["right one of the batch is nearest"] == {
        "video→audio": 0, "video→audio reverse": 1, "audio→video": 2, "audio→video reverse": 3,
        "video_audio_va": 4, "video_audio_va reverse": 5,
        "video_r_audio_r_against_audio_own": 6, "video_r_audio_r_against_audio_own reverse": 7,
    }  # fmt: skip
    assert names["loss"] == {"video audio": 8, "video audio/films": 9, "video text/films": 10, "total loss": 11}


def test_charts_hold_losses_and_accuracies_by_direction():
    points = [(0, 1.0)]
    scalars = {"loss/video_audio": points, "accuracy/video_audio": points, "accuracy/video_audio_reverse": points}
    assert curves.by_chart(scalars | {"learning_rate": points}) == {
        "loss": {"video audio": points},
        "right one of the batch is nearest": {"video→audio": points, "audio→video": points},
    }


def test_curves_whose_names_are_alike_are_all_there():
    pairs = ["v_a", "v_a_2", "v_a_reverse", "v_a_reverse_va"]
    tags = [*(f"accuracy/{pair}" for pair in pairs), "loss/v_a/x", "loss/w/x"]
    found = curves.by_chart({tag: [(number, 1.0)] for number, tag in enumerate(tags)})
    assert {title: [number for ((number, _),) in chart.values()] for title, chart in found.items()} == {
        "loss": [4, 5],
        "right one of the batch is nearest": [0, 1, 2, 3],
    }
    assert found["right one of the batch is nearest"]["a→v"] == [(2, 1.0)]
