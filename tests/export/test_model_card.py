"""The model card: its numbers are those of the run, and nothing that comes from outside becomes mark-up."""

import json
import pathlib
import re
import types

import pytest
from markdown_it import MarkdownIt

from helpers import tiny, tiny_export
from mmv_tf.backbones.transformers.text_transformer import TextTransformer
from mmv_tf.common import identity
from mmv_tf.deflation import network as deflation
from mmv_tf.deflation.training import trained_variables
from mmv_tf.export import card_data, markdown, model_card, module_files
from mmv_tf.inputs import mixture
from mmv_tf.records import card as dataset_card


@pytest.fixture
def run():
    return tiny_export.export()


def _card(run):
    return model_card.text(str(run.module), run.loaded, str(run.workdir))


def _headings(text):
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    return [tokens[i + 1].content for i, token in enumerate(tokens) if token.type == "heading_open"]


def test_the_numbers_are_those_of_the_run(run):
    text = (run.module / "assets.extra" / "README.md").read_text()
    assert text == _card(run)
    model = run.loaded.model
    assert f"{model.count_params():,} parameters" in text
    assert "| video | S3D | final\\_endpoint 'Conv2d\\_2c\\_3x3'" in text
    assert f"| {model.backbones['audio'].count_params():,} |" in text
    assert model.graph.describe() in text
    # As tests/helpers/tiny.py configures it.
    assert "4 frames at 10 frames/s (0.4 s)" in text and "resized to 36 pixels" in text and "32 x 32 pixels" in text
    assert "8000 Hz" in text and "3200 samples" in text and "16 mel bins from 80 to 3800 Hz" in text
    assert "FFT of 256 samples, one every 128 samples" in text and "log(1 + 10000 mel), natural" in text
    assert f"the vocabulary of {len(tiny.WORDS)} words" in text and "the first 16 that remain" in text
    assert "stop words are left out" in text and "that remain are used, without regard to their order; at most" in text
    assert "split train: 24 clips" in text and "batch_size 8" in text
    assert "| audio - text | vat | by composition of heads that others train; never trained |" in text
    assert "| video - audio | va | trained in va |" in text
    assert "| audio | output last\\_conv | float32 \\[any, any, 1, 64\\] | feature maps |" in text
    assert "not normalised" in text and "by their cosine" in text
    assert "Nothing in it was trained (`naive`)" in text
    assert "No results of an evaluation were found" in text and "untrained: the vectors mean nothing" in text
    for digest in module_files.checksums(str(run.module)).values():
        assert digest in text
    assert module_files.checksum(str(run.module)) in text
    assert "http" not in text and "![" not in text  # nothing is fetched to show it


def test_a_transformer_takes_words_in_their_order(run, monkeypatch):
    monkeypatch.setattr(
        run.loaded.model.backbones["text"], "forgets_order", TextTransformer.forgets_order, raising=False
    )
    assert "that remain are used, in their order; at most" in _card(run)


def test_what_lies_in_the_run_is_in_the_card(tmp_path):
    run = tiny_export.copied(tmp_path / "run")
    workdir = run.workdir
    found = {
        "summary.json": {"steps": 0, "total_loss": 1.2345678, "bad_records": []},
        "deflated/report.json": {"naive": {"cosine": 0.25}},
        "results/retrieval.json": {"video->audio": {"R@1": 0.125}},
    }
    for name, content in found.items():
        (workdir / name).parent.mkdir(exist_ok=True)
        (workdir / name).write_text(json.dumps(content))
    (workdir / "WEIGHTS_LICENSE.txt").write_text("CC BY-NC 4.0\n```\n# not a heading\n")
    (workdir / "DATA_LICENSE.txt").write_text("CC BY 4.0 of the archive\n")
    _write_network(run.module, variant="trained")
    text = _card(run)
    assert "| total\\_loss | 1.235 |" in text and "| bad\\_records |  |" in text
    assert "| video-\\>audio / R@1 | 0.125 |" in text and "### retrieval" in text
    assert "CC BY 4.0 of the archive" in text and "```` text".replace(" ", "") in text
    assert "not a heading" not in "".join(_headings(text)) and "retrieval" in _headings(text)
    assert "was not evaluated" not in text
    assert "| naive / cosine | 0.25 |" in text and "batch norms were trained" in text


def _write_network(module, **changes):
    """network.json with changed values; None: without this key."""
    path = module / "assets.extra/network.json"
    found = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in found.items() if value is not None}))


def test_the_image_network_in_the_card_is_that_of_the_module(tmp_path):
    """Deflation may begin or go on in the run after the export."""
    run = tiny_export.copied(tmp_path / "run")
    held, model = module_files.read_network(str(run.module)), run.loaded.model
    assert held["variant"] == "naive" and held["image_identity"] == identity.of_layer(deflation.image_network(model))
    (run.workdir / "deflated").mkdir()
    (run.workdir / "deflated/report.json").write_text(json.dumps({"step": 0, "cosine": 0.25}))

    def train(scale):
        trained = deflation.image_network(model)
        next(iter(trained_variables(trained).values())).assign_add([scale] * 8)
        checkpoint = deflation.weights_checkpoint(trained, model.backbones["video"], 0)
        checkpoint.save(str(run.workdir / "deflated/weights/ckpt"))
        return trained

    trained = train(0.5)
    module_files.check_network(str(run.module), run.loaded, str(run.workdir))
    assert "Nothing in it was trained (`naive`)" in _card(run) and "0.25" not in _card(run)
    module_files.write_network(str(run.module), module_files.network(run.loaded, trained))
    assert module_files.read_network(str(run.module))["variant"] == "trained"
    module_files.check_network(str(run.module), run.loaded, str(run.workdir))
    assert "| cosine | 0.25 |" in _card(run) and "does not say" not in _card(run)
    train(0.75)
    with pytest.raises(ValueError, match="module holds another trained image network than .*deflated has now.*again$"):
        module_files.check_network(str(run.module), run.loaded, str(run.workdir))
    _write_network(run.module, variant=None, image_identity=None)  # of an earlier version
    module_files.check_network(str(run.module), run.loaded, str(run.workdir))
    assert "does not say which image network it holds" in _card(run) and "| cosine | 0.25 |" in _card(run)


@pytest.mark.parametrize(
    "text", ["[]", "{", "null", '{"step": 0}', '{"identity": "a", "step": 0, "variant": "naive"}', "[" * 10**5]
)
def test_a_damaged_network_json_is_named(tmp_path, text):
    (tmp_path / "assets.extra").mkdir()
    (tmp_path / "assets.extra/network.json").write_text(text)
    with pytest.raises(
        ValueError, match=r"assets.extra/network.json is not what an export writes \(.*\): export again$"
    ):
        module_files.check_network(str(tmp_path), None, "the workdir")


def test_numbers_of_other_weights_are_not_in_the_card(tmp_path):
    run = tiny_export.copied(tmp_path / "run")
    ours = {"identity": run.loaded.identity, "step": 0}
    found = {
        "results/ours.json": {"value": 11.25, "network": ours},
        "results/later.json": {"value": 22.25, "network": ours | {"step": 7000}},
        "results/changed.json": {"value": 33.25, "network": ours | {"identity": "of others"}},
        "results/old.json": {"value": 44.25, "network": {"step": 0}},
        "summary.json": {"steps": 7000, "total_loss": 55.25},
        "deflated/report.json": {"step": 7000, "relative_l2": 66.25},
    }
    for name, content in found.items():
        (run.workdir / name).parent.mkdir(exist_ok=True)
        (run.workdir / name).write_text(json.dumps(content))
    _write_network(run.module, variant="trained")
    text = _card(run)
    assert [number in text for number in ("11.25", "22.25", "33.25", "44.25", "55.25", "66.25")] == [
        *(True, False, False, True, False, False)
    ]
    assert "of other weights (step 7000, and these are of step 0): its numbers are not shown" in text
    assert "other weights or other settings of the network: its numbers are not shown" in text
    assert "### old\n\nThe file does not say which weights it is of." in text
    assert "summary.json is of step 7000, and these weights are of step 0: it is not shown" in text
    assert "report.json is of step 7000" in text


def test_the_card_of_a_module_is_not_written_for_other_weights(tmp_path):
    run = tiny_export.export()
    module_files.check_network(str(run.module), run.loaded, "the workdir")
    other = types.SimpleNamespace(identity="of others", step=8)
    with pytest.raises(ValueError, match=r"\(step 0\) than the workdir has now \(step 8\).*export again"):
        module_files.check_network(str(run.module), other, "the workdir")


def test_records_that_are_gone_are_said_to_be_gone(tmp_path, monkeypatch):
    run = tiny_export.copied(tmp_path / "run")
    monkeypatch.setattr(run.loaded.pipeline.sources[0], "pattern", str(run.records / "train-*"))
    assert "24 clips" in _card(run)
    (run.records / dataset_card.FILE_NAME).unlink()
    text = _card(run)
    assert "The records cannot be described" in text and "24 clips" not in text


def test_counters_of_the_records(tmp_path):
    split = dataset_card.Split({"train-00000-of-00001": 30}, settings={"clip_seconds": 10.0})
    split.counters = {"read": 33, "accepted": 30, "rejected": 3, "reasons": {"crash": 3}, "milliseconds": 300_000}
    split.counters |= {"with_video": 30, "with_sound": 28}
    other = dataset_card.Split({"test-00000-of-00001": 99})
    dataset_card.DatasetCard(12.5, 16000, 128, {"train": split, "test": other}).save(tmp_path)
    lines = card_data._describe_records(str(tmp_path / "train-*"))
    assert lines[0] == "stored at 12.5 frames/s, short side 128 pixels at most, sound at 16000 Hz"
    assert lines[1:] == [
        "split train: 30 clips, 0.0833 hours (300 s)",
        "of them 30 with video, 28 with sound",
        "33 clips were read, 3 rejected (3 crash)",
        "whole videos were cut into clips of about 10 s",
    ]


def test_each_folder_of_a_pattern_is_described(tmp_path):
    for name, number in (("a", 3), ("b", 4)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "train-00000-of-00001").touch()
        split = dataset_card.Split({"train-00000-of-00001": number})
        dataset_card.DatasetCard(12.5, 16000, 128, {"train": split}).save(tmp_path / name)
    source = mixture.Source([str(tmp_path / "*/train-*"), "gone*/train-*"], name="both")
    text = card_data.describe_sources([source], ["both"])
    assert re.findall("split train: (.*) clips", text) == ["3", "4"]
    assert text.count("(weight 1), records") == 3 and text.count("cannot be described") == 1


HOSTILE = [
    "# heading",
    "a | b\n\n# heading",
    "[link](http://x.y) ![i](j) <script>alert(1)</script>",
    "`code` **bold** __init__ &amp;",
    "\\| \u202egpj.exe \x00\x1b[31m",
    "- item\n1. one\n```",
    "\ud800",
]


@pytest.mark.parametrize("value", HOSTILE)
def test_text_from_outside_stays_text(value):
    escaped = markdown.escape(value)
    document = markdown.sections(
        "t", [("h", markdown.bullets([f"is {escaped}"])), ("g", markdown.table("ab", [[value, 1]]))]
    )
    tokens = MarkdownIt("commonmark").enable("table").parse(document)
    assert _headings(document) == ["t", "h", "g"]
    inline = [child.type for token in tokens for child in token.children or []]
    assert set(inline) <= {"text", "text_special"}
    cells = [tokens[i + 1] for i, token in enumerate(tokens) if token.type == "td_open"]
    assert len(cells) == 2
    shown = "".join(child.content for child in cells[0].children)
    assert shown == " ".join("".join(c if c.isprintable() else " " for c in value.replace("\ud800", "?")).split())


def test_long_values_are_cut():
    assert markdown.escape("x" * 1000) == "x" * 297 + "..."


def test_a_card_of_a_hostile_path(run, monkeypatch):
    source = run.loaded.pipeline.sources[0]
    monkeypatch.setattr(source, "pattern", "a|b`\n# heading\n<b>/train-*")
    assert _headings(_card(run)) == _headings(_card(run)) and "heading" not in " ".join(_headings(_card(run)))


def test_macros_of_the_configuration_are_looked_up():
    text = "STEPS = 400\n\ntrain.steps = %STEPS\nA/train.batch_size = \\\n    8\nother.train.x = 1\n"
    assert card_data.bindings(text, "train") == {"steps": "400", "batch_size": "    8"}


def test_a_folder_without_a_module_is_named(tmp_path):
    with pytest.raises(ValueError, match=f"{pathlib.Path(tmp_path).name}.*no exported module"):
        module_files.signatures(str(tmp_path))
