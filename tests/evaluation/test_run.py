"""python -m mmv_tf.evaluate from end to end on tiny records: one protocol of each sort, ours and a foreign module."""

import dataclasses
import json
import re
import shutil

import numpy as np
import pytest
import tensorflow as tf

from helpers import tiny, tiny_export
from mmv_tf import evaluate as command
from mmv_tf.common import config
from mmv_tf.evaluation import features, networks, report_page, results
from mmv_tf.evaluation import run as evaluate
from mmv_tf.evaluation.linear import LinearAudio, LinearVideo
from mmv_tf.evaluation.windows import Windows
from mmv_tf.inputs import pipeline
from mmv_tf.training import strategies
from mmv_tf.training import workdir as workdirs

RATE = tiny.SAMPLE_RATE
RESIZED = "an accelerator resized the frames"  # what a result says of it
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


def _records_in_two_splits(folder):
    """12 clips in the splits train and test, which are the same."""
    tiny.make_records(folder, count=12, shards=2)
    for path in folder.glob("train-*"):
        path.with_name(path.name.replace("train", "test")).write_bytes(path.read_bytes())
    (folder / "dataset.json").unlink()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A folder with records in two splits, and the workdir and module of an untrained network, which are loaded."""
    folder = tmp_path_factory.mktemp("evaluate")
    _records_in_two_splits(folder / "records")
    shutil.copytree(tiny_export.export().workdir, folder / "run")  # results go into it
    (folder / "module").symlink_to(tiny_export.export().module)
    fresh, made = evaluate._fresh, {}

    def fresh_once(seed, loaded):
        """The fresh weights of the run, which take a second to make and which nobody changes; of a module as ever."""
        if loaded is None:
            return fresh(seed, loaded)
        if (seed, id(loaded)) not in made:
            made[seed, id(loaded)] = fresh(seed, loaded)
        return made[seed, id(loaded)]

    with tiny_export.loaded_once(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate, "_fresh", fresh_once)
        yield folder


@pytest.fixture(scope="module")
def sound(run):
    """The result of the network of `run` on sound."""
    return _evaluate(run, AUDIO)


def _evaluate(folder, params, records="records", **options):
    name = params[0].split("@")[1].removesuffix("()")
    return evaluate.evaluate(
        str(folder / "run"), gin_params=[*params, f"{name}.records = '{folder / records}'"], **options
    )


def test_video_over_two_folds_with_all_baselines(run, capsys):
    chosen = "InputPipeline.finish_on = 'host'"
    result = _evaluate(run, [*VIDEO, chosen], gin_files=["gin/evals/ucf101.gin"])
    assert f"input: all of it is made by the host ({chosen})\n" in capsys.readouterr().out
    assert RESIZED not in result["notes"]
    # Under another name than a result of the protocol as its file has it.
    assert results.read(str(run / "run" / "results" / "ucf101_changed.json")) == json.loads(json.dumps(result))
    assert result["changed"] == {
        "crop_size": [224, 32],
        "folds": [
            tuple((f"fold{i}/train", f"fold{i}/test") for i in (1, 2, 3)),
            (("train", "test"), ("test", "train")),
        ],
        "frame_rate": [12.5, 10.0],
        "min_side": [224, 36],
        "num_frames": [32, 4],
        "test_windows": [10, 3],
        "train_windows": [10, 2],
    }
    assert "not the protocol of gin/evals/ucf101.gin: crop_size = 32 (not 224)" in results.table(result)
    assert result["folds"] == [{"name": n, "train": 12, "test": 12, "classes": 2} for n in ("test", "train")]
    # Red and green squares: whatever sees the colour tells them apart.
    assert result["value"] == 100 and result["baselines"]["raw"]["measures"]["top1"]["value"] == 100
    assert result["baselines"]["chance"]["measures"]["top1"]["value"] == 50
    assert result["network"]["against_untrained"]["outside_noise"] is False
    assert result["interval"] == {"low": 100, "high": 100, "of": "95% t over 2 folds"}
    assert "LinearVideo.num_frames = 4" in result["gin"] and result["settings"]["classifier"]["C"] == 0.001
    assert "untrained" in results.table(result)


def test_an_accelerator_finishes_frames_where_the_setting_says_so(run, capsys, tmp_path):
    params = [*VIDEO, "LinearVideo.folds = (('train', 'test'),)", "LinearVideo.random_windows = False"]
    params += ["LinearVideo.train_windows = 1", "LinearVideo.test_windows = 1"]
    chosen = "InputPipeline.finish_on = 'accelerator'"
    found = _evaluate(run, [*params, chosen], output=str(tmp_path / "it.json"), cache=str(tmp_path / "cache"))
    who = "the host reads, decodes and cuts frames; the accelerator does the rest"
    assert f"input: {who} ({chosen})\n" in capsys.readouterr().out
    assert RESIZED in found["notes"] and found["value"] == 100
    # Both splits hold the same, and are embedded once.
    assert len(list((tmp_path / "cache").glob("video-network-*"))) == 1


def test_automatically_it_is_the_accelerator_where_there_is_one(monkeypatch, capsys):
    config.parse([])
    assert pipeline.finish_on() == "auto"
    for is_there in (True, False):
        monkeypatch.setattr(strategies, "on_accelerator", lambda strategy, is_there=is_there: is_there)
        assert evaluate._on_accelerator(LinearVideo()) == is_there
    assert not evaluate._on_accelerator(LinearAudio())
    assert len(capsys.readouterr().out.splitlines()) == 2  # of sound there is nothing to say


def test_the_difference_is_that_of_the_network_from_the_untrained_one(run, sound, monkeypatch):
    compared = []
    compare = results.compare_rows
    monkeypatch.setattr(results, "compare_rows", lambda *rows, **o: compared.append(rows[:2]) or compare(*rows, **o))
    result = _evaluate(run, AUDIO)  # its features are there
    ((before, after),) = compared
    assert before["about"] == "the same network with fresh weights" and "about" not in after
    assert before["outcomes"] == result["baselines"]["untrained"]["outcomes"]


def test_sound_leaves_out_clips_without_it_and_says_so(sound):
    result = sound
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
    # Four queries a pair with the nearest four; a query's own clip is the right one.
    assert len(result["examples"]) == 8
    for example in result["examples"]:
        right = [item["right"] for item in example["found"]]
        assert right == [item["key"] == example["query"]["key"] for item in example["found"]] and len(right) == 4
        assert right.index(True) + 1 == example["rank"] if any(right) else example["rank"] > 4
    page = report_page.render([result])
    # Of four queries text->video the clips found, and of four video->text the queries: frames of their records.
    assert page.count('alt="video"') == 4 * 4 + 4 and "Without pictures" not in page
    other = report_page.render([{**result, "data": "of other contents"}])  # under the same keys
    assert 'alt="video"' not in other and "holds other records than those that were measured" in other
    assert result["baselines"]["chance"]["measures"]["video->text R@5"]["value"] == pytest.approx(50, abs=0.1)
    assert result["baselines"].keys() == {"chance", "untrained"}
    assert "text->video: 10 texts, each among 10 clips" in result["notes"]
    # Only two different texts: of five that are equal the right one counts as the last.
    assert result["network"]["measures"]["video->text R@1"]["value"] == 0


def test_images_by_the_deflated_network(run):
    result = _evaluate(run, IMAGES)
    assert result["value"] == 100 and result["protocol"] == "LinearImages"
    assert (run / "run" / "results" / "LinearImages_naive.json").exists()


def test_the_video_network_of_a_run_and_of_a_module_can_be_tuned(run):
    loaded = workdirs.load(str(run / "run"))
    ours = networks.of_model(loaded.model, loaded.pipeline).trainable["video"]
    theirs = networks.of_module(str(run / "module"), "checksum").trainable["video"]
    # The module's variables are those of the network and of its heads.
    assert {tuple(v.shape) for v in ours.trainable_variables} <= {tuple(v.shape) for v in theirs.trainable_variables}
    frames = tf.constant(np.random.default_rng(0).random((2, 4, 32, 32, 3)), tf.float32)
    for network in (ours, theirs):
        before = [variable.numpy() for variable in network.variables]
        with tf.GradientTape() as tape:
            made = network.call(frames, True)
            loss = tf.reduce_sum(made**2)
        found = tape.gradient(loss, network.trainable_variables)
        assert made.shape[0] == 2 and sum(g is not None for g in found) >= len(ours.trainable_variables)
        for variable, value in zip(network.variables, before, strict=True):  # moving averages have moved
            variable.assign(value)
    np.testing.assert_allclose(ours.call(frames, False), theirs.call(frames, False), atol=1e-5)


def test_the_sound_network_of_a_run_and_of_a_module_can_be_tuned_behind_their_front_end(run):
    loaded = workdirs.load(str(run / "run"))
    network = networks.of_model(loaded.model, loaded.pipeline)
    module = networks.of_module(str(run / "module"), "checksum")
    assert sorted(network.trainable) == sorted(module.trainable) == ["audio", "video"]
    sound = tf.constant(np.random.default_rng(0).uniform(-1, 1, (2, 3200)), tf.float32)
    expected = network.functions["audio"](sound)["before_head"]
    for trainable in (network.trainable["audio"], module.trainable["audio"]):
        np.testing.assert_allclose(trainable.call(sound, False), expected, atol=1e-5)
        weights = {tuple(v.shape) for v in trainable.trainable_variables}
        assert {tuple(v.shape) for v in loaded.model.backbones["audio"].trainable_variables} <= weights


def test_sound_is_tuned_with_several_labels_by_the_file_that_is_shipped(run):
    """Every clip has one of two labels; one step tells nothing, but all is there."""
    small = dict(epochs=1, batch_size=12, seconds=0.4, test_windows=2)
    params = ["Evaluation.protocol = @FineTuneAudio()", "FineTuneAudio.folds = (('train', 'test'),)"]
    params += [f"FineTuneAudio.{name} = {value}" for name, value in small.items()]
    result = _evaluate(run, params, gin_files=["gin/evals/audioset_finetune.gin"])
    assert (run / "run" / "results" / "audioset_finetune_changed.json").exists()
    assert result["metric"] == "mAP" and result["n"]["test"] == 11 and result["n"]["classes"] == 2
    silent = {"audio": 1, "label": 0}
    # Of the 11 clips that have sound, 5 are red and 6 green.
    chance = result["baselines"]["chance"]["measures"]
    assert chance["mAP"]["value"] == pytest.approx(50) and chance["d_prime"]["value"] == 0
    assert result["baselines"].keys() == {"chance", "untrained"}
    assert result["left_out"] == {f"{side}: no {what}": n for side in ("train", "test") for what, n in silent.items()}
    assert {name: used for name, (_, used) in result["changed"].items()} == {"folds": (("train", "test"),), **small}
    assert result["settings"]["mixup"] == 5.0 and result["settings"]["sample_stride"] == 2
    assert len(list((run / "run" / "results" / "features").glob("tuned-*.npy"))) == 2


def _foreign_module(folder):
    """A SavedModel with the published signatures that none of this library made: colours, loudness, hashed words."""

    class Foreign(tf.Module):
        def __init__(self):
            super().__init__()
            self.to_va = tf.Variable(np.random.default_rng(0).normal(size=(3, 6)), dtype=tf.float32)

        @tf.function(input_signature=[tf.TensorSpec([None, None, None, None, 3], tf.float32, "frames")])
        def video(self, frames):
            colour = tf.reduce_mean(frames, axis=[1, 2, 3])
            va = colour @ self.to_va
            return {"before_head": colour, "va": va, "vat": va[:, :4]}

        @tf.function(input_signature=[tf.TensorSpec([None, None], tf.float32, "wave")])
        def audio(self, wave):
            power = tf.abs(tf.signal.rfft(wave[:, :2048]))
            bands = tf.reduce_mean(tf.reshape(power[:, :1024], [-1, 4, 8, 32]), axis=-1)
            return {"last_conv": bands[:, :, :, None] * tf.ones(5), "va": bands[:, 0, :6], "vat": bands[:, 0, :4]}

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "sentences")])
        def text(self, sentences):
            return {"vat": tf.one_hot(tf.strings.to_hash_bucket_fast(sentences, 4), 4)}

    module = Foreign()
    signatures = {name: getattr(module, name) for name in ("video", "audio", "text")}
    tf.saved_model.save(module, str(folder), signatures=signatures)
    return str(folder)


def test_a_foreign_module_in_every_modality(tmp_path, capsys, monkeypatch):
    module = _foreign_module(tmp_path / "module")
    monkeypatch.setattr(tiny, "SAMPLE_RATE", 48_000)  # that of the published modules
    _records_in_two_splits(tmp_path / "records")
    found = {}
    video = [*VIDEO, "LinearVideo.folds = (('train', 'test'),)"]
    for params, name in ((video, "LinearVideo"), (AUDIO, "LinearAudio"), (RETRIEVAL, "ZeroShotRetrieval")):
        records = f"{name}.records = '{tmp_path / 'records'}'"
        arguments = [f"--module={module}", f"--output={tmp_path / name}.json"]
        command.main([*arguments, *(f"--gin_param={p}" for p in [*params, records])])
        found[name] = results.read(f"{tmp_path / name}.json")
        assert "untrained" in capsys.readouterr().out
    video = found["LinearVideo"]
    assert video["value"] == 100 and video["network"]["module"] == module and "raw" in video["baselines"]
    assert "no assets.extra/config.gin" in video["baselines"]["untrained"]["not_possible"]
    assert found["LinearAudio"]["settings"]["output"] == "last_conv" and found["LinearAudio"]["n"]["test"] == 11
    assert any("text->video vat" in note for note in found["ZeroShotRetrieval"]["notes"])
    assert video["command"].startswith("python -m mmv_tf.evaluate --module=")


def test_our_module_is_the_run_and_has_fresh_weights_to_compare_with(run, sound, tmp_path):
    params = [*AUDIO, f"LinearAudio.records = '{run / 'records'}'"]
    result = evaluate.evaluate(
        module=str(run / "module"), gin_params=params, output=str(tmp_path / "out" / "audio.json")
    )
    assert (tmp_path / "out" / "audio.json").exists() and (tmp_path / "out" / "features").is_dir()
    for rows in zip(*([r["network"], *r["baselines"].values()] for r in (result, sound)), strict=True):
        assert rows[0]["measures"]["top1"] == rows[1]["measures"]["top1"]
    assert results.compare(result, sound)["difference"] == 0


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (["LinearVideo.folds = (('train', 'val'),)"], "no records .*val-.*; prepare them: make some"),
        (["LinearVideo.output = 'fine'"], "no output 'fine' for video; it has before_head, va, vat"),
        (["LinearVideo.label_prefix = 'action:'"], "none of the 12 train clips has video and a label that begins with"),
        (["LinearVideo.records = ''"], "no records are named: give .*; prepare them: make some"),
        (["LinearVideo.min_side = 16"], "crop_size = 32 is more than"),
        (["LinearVideo.windowz = 3"], "windowz"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(run, params, message, capsys):
    records = f"LinearVideo.records = '{run / 'records'}'"
    given = [*VIDEO, records, "LinearVideo.prepare = 'make some'", *params]
    assert command.cli([f"--workdir={run / 'run'}", *(f"--gin_param={p}" for p in given)]) == 2
    assert re.search(message, capsys.readouterr().err.splitlines()[-1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give either --workdir or --module"),
        (["--workdir=nowhere"], "give --gin_file=gin/evals/NAME.gin"),
        (["--module=nowhere", "--gin_file=gin/evals/ucf101.gin"], "a module needs --output"),
        (["--workdir=nowhere", "--gin_file=gin/evals/ucf101.gin"], "nowhere is not a workdir"),
    ],
)
def test_wrong_commands(arguments, message, capsys):
    assert command.cli(arguments) == 2
    assert message in capsys.readouterr().err


def test_nan_weights_are_told_with_the_clip(run, tmp_path):
    loaded = workdirs.load(str(run / "run"))
    broken = networks.of_model(loaded.model, loaded.pipeline)
    broken = dataclasses.replace(broken, functions={"video": lambda x: {"va": tf.reduce_mean(x, [1, 2, 3]) / 0 * 0}})
    windows = Windows("video", num_frames=4, min_side=36, crop_size=32)
    with pytest.raises(ValueError, match=r"clip 'clip\d+': the network features of its video hold NaN or Inf"):
        features.Extractor().extract({"network": (broken, "va")}, windows, str(run / "records" / "train-*"))
