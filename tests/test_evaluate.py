"""python -m mmv_tf.evaluate from end to end on tiny records: one protocol of each sort, ours and a foreign module."""

import json

import pytest
import tiny

from mmv_tf import evaluate
from mmv_tf.evals import results

RATE = tiny.SAMPLE_RATE
VIDEO = [
    "Evaluation.protocol = @LinearVideo()",
    "LinearVideo.folds = (('train', 'test'), ('test', 'train'))",
    "LinearVideo.num_frames = 4",
    "LinearVideo.frame_rate = 10.0",
    "LinearVideo.min_side = 36",
    "LinearVideo.crop_size = 32",
    "LinearVideo.train_windows = 2",
    "LinearVideo.test_windows = 3",
]
AUDIO = [
    "Evaluation.protocol = @LinearAudio()",
    "LinearAudio.folds = (('train', 'test'),)",
    "LinearAudio.seconds = 0.4",
    "LinearAudio.train_windows = 2",
    "LinearAudio.test_windows = 2",
]
RETRIEVAL = [
    "Evaluation.protocol = @ZeroShotRetrieval()",
    "ZeroShotRetrieval.windows = 2",
    "ZeroShotRetrieval.num_frames = 4",
    "ZeroShotRetrieval.min_side = 36",
    "ZeroShotRetrieval.crop_size = 32",
]
IMAGES = [
    "Evaluation.protocol = @LinearImages()",
    "LinearImages.variant = 'naive'",
    "LinearImages.min_side = 36",
    "LinearImages.crop_size = 32",
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A folder with records in two splits, and the workdir of an untrained network."""
    folder = tmp_path_factory.mktemp("evaluate")
    tiny.make_records(folder / "records", count=12, shards=2)
    for path in (folder / "records").glob("train-*"):
        path.with_name(path.name.replace("train", "test")).write_bytes(path.read_bytes())
    (folder / "records" / "dataset.json").unlink()
    tiny.untrained_workdir(folder / "run", folder / "pretraining")
    return folder


def _evaluate(folder, params, records="records", **options):
    name = params[0].split("@")[1].removesuffix("()")
    return evaluate.evaluate(
        str(folder / "run"), gin_params=[*params, f"{name}.records = '{folder / records}'"], **options
    )


def test_video_over_two_folds_with_all_baselines(run):
    result = _evaluate(run, VIDEO)
    assert results.read(str(run / "run" / "results" / "LinearVideo.json")) == json.loads(json.dumps(result))
    assert result["folds"] == [{"name": n, "train": 12, "test": 12, "classes": 2} for n in ("test", "train")]
    # Red and green squares: whatever sees the colour tells them apart.
    assert result["value"] == 100 and result["baselines"]["raw"]["measures"]["top1"]["value"] == 100
    assert result["baselines"]["chance"]["measures"]["top1"]["value"] == 50
    assert result["network"]["against_untrained"]["outside_noise"] is False
    assert result["interval"] == {"low": 100, "high": 100, "of": "95% t over 2 folds"}
    assert "LinearVideo.num_frames = 4" in result["gin"] and result["settings"]["classifier"]["C"] == 0.001
    assert "untrained" in results.table(result)


def test_sound_leaves_out_clips_without_it_and_says_so(run):
    result = _evaluate(run, AUDIO)
    assert result["left_out"] == {
        "train: no audio": 1,
        "train: no label": 0,
        "test: no audio": 1,
        "test: no label": 0,
    }
    assert result["n"]["test"] == 11 and result["settings"]["output"] == "last_conv"
    # The most frequent class, red, has 5 of the 11 clips that have sound (number 6 is red and silent).
    assert result["baselines"]["chance"]["measures"]["top1"]["value"] == pytest.approx(100 * 6 / 11)


def test_retrieval_states_pool_and_averaging(run):
    result = _evaluate(run, RETRIEVAL)
    assert result["metric"] == "text->video R@10" and result["unit"] == "%"
    assert result["n"]["text->video queries"] == 10 and result["left_out"] == {"text->video": 2, "video->text": 2}
    assert result["baselines"]["chance"]["measures"]["video->text MedR"]["value"] == 5.5
    assert result["baselines"]["chance"]["measures"]["video->text R@5"]["value"] == pytest.approx(50, abs=0.1)
    assert result["baselines"].keys() == {"chance", "untrained"}
    assert any("pool: 10 clips" in note for note in result["notes"])
    # Only two different texts: of five that are equal the right one counts as the last.
    assert result["network"]["measures"]["video->text R@1"]["value"] == 0


def test_images_by_the_deflated_network(run):
    result = _evaluate(run, IMAGES)
    assert result["value"] == 100 and result["protocol"] == "LinearImages"
    assert (run / "run" / "results" / "LinearImages_naive.json").exists()


def test_fine_tuning_against_training_from_scratch(run):
    tuned = [
        "Evaluation.protocol = @FineTune()",
        *(line.replace("LinearVideo", "FineTune") for line in VIDEO[2:6]),
        "FineTune.folds = (('train', 'test'),)",
        "FineTune.seeds = (3,)",
        "FineTune.warm_up_epochs = 0",
        "FineTune.clips_per_class = 5",
        "FineTune.epochs = 12",
        "FineTune.colour_probability = 0.0",
        "FineTune.learning_rate = 0.003",
        "FineTune.batch_size = 8",
        "FineTune.test_windows = 2",
    ]
    result = _evaluate(run, tuned)
    print(results.table(result))
    assert [fold["train"] for fold in result["folds"]] == [10]
    assert result["value"] == 100
