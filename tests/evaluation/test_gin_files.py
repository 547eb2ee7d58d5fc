"""gin/evals/: a file for every evaluation of the paper: its numbers, sources, commands, and every parameter."""

import dataclasses
import random
import re
import shlex

import pytest

from helpers.mistyped import BINDING, mistyped, refused
from mmv_tf.beam.datasets import catalog
from mmv_tf.common import bindings, config
from mmv_tf.evaluation.protocol import Evaluation

ROOT = config.gin_folder().parent
FILES = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("gin/evals/*.gin"))
NOT_SHOWN = {"label_prefix", "pool_prefix"}  # for data sets that are not the paper's


def _protocol(file):
    config.parse([file])
    return Evaluation().protocol


def test_there_is_a_file_for_every_evaluation_of_the_paper():
    wanted = "ucf101 ucf101_finetune hmdb51 hmdb51_finetune esc50 audioset kinetics600 youcook2 msrvtt voc2007 imagenet"
    wanted += " kinetics600_finetune audioset_finetune"  # VATT's
    assert FILES == sorted(f"gin/evals/{name}.gin" for name in wanted.split())


@pytest.mark.parametrize("file", FILES)
def test_a_header_has_numbers_source_our_defaults_and_commands(file):
    header = re.match(r"(?:#.*\n)+", (ROOT / file).read_text())[0]
    for part in ("# Published (paper): ", "# Source: ", "# Our default, as it could not be read: "):
        assert part in header
    commands = re.findall(r"python -m mmv_tf.*?(?=\n#   (?:#|python)|\Z)", header, re.S)
    prepare, run = (" ".join(c.replace("\\\n#", "").split()) for c in (commands[-2], commands[-1]))
    assert f"--gin_file={file} " in run and "--gin_param=\"RECORDS='" in run
    assert _protocol(file).prepare.partition(" (")[0] == prepare  # what the error message says
    words = shlex.split(prepare)
    given = dict(zip(words[3::2], words[4::2], strict=True))
    dataset = catalog.DATASETS[given["--dataset"]]
    assert not dataset.splits or set(given["--split"].split(",")) <= set(dataset.splits)


@pytest.mark.parametrize("file", FILES)
def test_every_parameter_is_visible_and_none_is_bound_in_vain(file):
    protocol = _protocol(file)
    text = (ROOT / file).read_text()
    name = type(protocol).__name__
    shown = set(re.findall(rf"^{name}\.(\w+) =", text, re.M))
    hidden = {field.name for field in dataclasses.fields(protocol)} - shown - NOT_SHOWN
    if not getattr(protocol, "several_labels", True):
        hidden -= {"several_labels", "average_precision", "ignored_prefix"}
    assert not hidden
    assert bindings.unused() == []


@pytest.mark.parametrize("file", FILES)
def test_splits_are_those_that_the_preparation_writes(file):
    protocol = _protocol(file)
    splits = [protocol.split] if hasattr(protocol, "split") else [side for fold in protocol.folds for side in fold]
    names = {name for side in splits for name in ([side] if isinstance(side, str) else side)}
    written = re.search(r"--split (\S+)", protocol.prepare)[1].split(",")
    assert {name.rpartition("/")[2] for name in names} == set(written)


@pytest.mark.parametrize("file", FILES)
def test_every_mistyped_name_is_an_error(file, tmp_path):
    text, rs = (ROOT / file).read_text(), random.Random(file)
    for match in BINDING.finditer(text):
        wrong = mistyped(match[1], rs) + match[0][len(match[1]) :]
        assert refused([file], [wrong]), wrong


def test_esc50_tests_every_fold_with_the_four_others():
    folds = _protocol("gin/evals/esc50.gin").folds
    assert [test for _, test in folds] == [f"fold{i}" for i in range(1, 6)]
    assert all({*train, test} == {f"fold{i}" for i in range(1, 6)} for train, test in folds)


def test_vatts_classifier_is_one_parameter():
    config.parse(["gin/evals/kinetics600.gin"], ["FactorisedLinear.rank = 128"])
    found = Evaluation().protocol.classifier
    assert (found.rank, found.learning_rate, found.steps, found.batch_size) == (
        128,
        5e-4,
        50_000,
        64,
    )
