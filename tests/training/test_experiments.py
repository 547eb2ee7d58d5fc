"""Every experiment in gin/: its header, what it builds, and that nothing in it is bound in vain or can be mistyped."""

import itertools
import math
import random
import re

import gin
import keras
import pytest
import tensorflow as tf

from helpers import tiny
from helpers.mistyped import BINDING, ROOT, mistyped, refused
from mmv_tf import train
from mmv_tf.common import bindings, config
from mmv_tf.common.command import run
from mmv_tf.inputs.pipeline import InputPipeline
from mmv_tf.model.graph import Graph
from mmv_tf.model.mmv import MMV

AFTER_TRAINING = {"deflate.gin"}
OWN = ("gin/own.gin", "gin/own_captions.gin")
TOP = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("gin/*.gin") if path.name not in AFTER_TRAINING)
PUBLISHED = sorted(str(path.relative_to(ROOT)) for path in [*ROOT.glob("gin/ablations/*"), *ROOT.glob("gin/final/*")])


def _text(file: str) -> str:
    """A gin file with its includes in their places."""
    text = (ROOT / file).read_text()
    return re.sub(r"^include '(.+)'$", lambda match: _text(match[1]), text, flags=re.M)


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory):
    return tiny.write_vocabulary(tmp_path_factory.mktemp("words") / "vocabulary.txt")


def _given(file: str, vocabulary: str) -> list[str]:
    """What a user gives to the experiment: the macros that it leaves open."""
    values = {"TRAIN_DATA": "records/train-*", "AUDIOSET_DATA": "audioset/train-*", "VOCABULARY": vocabulary}
    return [f"{macro} = {values[macro]!r}" for macro in re.findall(r"^(\w+) = ''$", _text(file), re.M)]


def _make(files, params):
    """The parts that training makes of a configuration, with nothing built: model, pipeline, optimiser."""
    config.parse(files, params)
    optimizer = gin.query_parameter("train.optimizer").scoped_configurable_fn()
    return MMV(), InputPipeline(), optimizer


def test_there_is_a_file_for_every_row_of_the_paper():
    ablations = {"vt_howto100m", "va_howto100m", "fac_howto100m"}
    ablations |= {f"{graph}_howto100m_audioset" for graph in ("shared", "disjoint", "fac")}
    final = {"va_r2plus1d_audioset", "va_s3d_audioset", "va_s3d_howto100m_audioset"}
    final |= {"fac_s3d", "fac_tsm50", "fac_tsm50x2"}
    assert set(PUBLISHED) == {f"gin/ablations/{x}.gin" for x in ablations} | {f"gin/final/{x}.gin" for x in final}


@pytest.mark.parametrize("file", PUBLISHED)
def test_a_header_states_numbers_data_hardware_and_the_command(file):
    header = re.match(r"(?:#.*\n)+", (ROOT / file).read_text())[0]
    for part in ("# Published (paper, ", "UCF101", "# Data: ", "# Hardware and time there: ", "# Could not be read"):
        assert part in header
    command = " ".join(header[header.index("#   python -m mmv_tf.train ") :].replace("\\\n#", "").split())
    assert f"--gin_file={file} " in command
    macros = re.findall(r"--gin_param=\"(\w+)='", command)
    assert sorted(macros) == sorted(re.findall(r"^(\w+) = ''$", _text(file), re.M))


@pytest.mark.parametrize("file", [*TOP, *PUBLISHED])
def test_nothing_is_bound_in_vain(file, vocabulary):
    _, pipeline, _ = _make([file], _given(file, vocabulary))
    demo = file in ("gin/demo.gin", *OWN)  # they include tiny.gin, which is for every network
    # `train` itself is not called here; gin knows its parameters.
    assert demo or [name for name in bindings.unused() if not name.startswith("train.")] == []
    assert pipeline.video.num_frames == (8 if demo else 32 if "/final/" in file else 16)
    assert gin.query_parameter("%STEPS") == (400 if demo else 500_000)
    data = re.search(r"include 'gin/data/(\w+)\.gin'", (ROOT / file.replace("_captions", "")).read_text())[1]
    assert [(source.name, source.weight) for source in pipeline.sources] == [(name, 1.0) for name in data.split("_")]


def _one_a(parts: str) -> list[str]:
    """Of the experiments that include the same of these parts, one: they differ in other parts and numbers alone."""
    included = re.compile(rf"^include 'gin/(?:{parts})/.+'$", re.M)
    files = [file for file in TOP + PUBLISHED if file not in OWN]  # which include tiny.gin already
    return sorted({tuple(included.findall((ROOT / file).read_text())): file for file in files}.values())


@pytest.mark.parametrize("file", sorted({*_one_a("models|graphs"), *_one_a("models")}))
def test_one_include_more_makes_every_experiment_cpu_sized(file, vocabulary):
    model, pipeline, _ = _make([file, "gin/models/tiny.gin"], _given(file, vocabulary))
    inputs = pipeline.zeros(batch_size=1)
    for modality, backbone in model.backbones.items():
        if file in _one_a("models"):
            representation = backbone(inputs[modality])
            assert 1e5 < backbone.count_params() < 1e6
        else:
            representation = tf.zeros([1, backbone.output_dim])
        assert set(model.embed_repr(modality, representation)) == {"repr", *model.graph.spaces_of(modality)}
    assert pipeline.video.shape == (8, 64, 64, 3)
    assert gin.query_parameter("train.batch_size") == 64 and gin.query_parameter("warmup_cosine.warmup_steps") == 40


@pytest.mark.parametrize(
    ("file", "millions"),
    [("fac_s3d", 9.1), ("fac_tsm50", 23.5), ("fac_tsm50x2", 93.9), ("va_r2plus1d_audioset", 33.2)],
)
def test_full_size_networks_have_the_parameters_of_the_paper(file, millions, vocabulary, monkeypatch):
    # The paper prints 33.3 for R(2+1)D, with a classifier of 400 classes (see mmv_tf/backbones/video_resnet.py).
    model, _, _ = _make([f"gin/final/{file}.gin"], _given(f"gin/final/{file}.gin", vocabulary))
    # Drawing 94 million numbers takes seconds.
    monkeypatch.setattr(keras.initializers.VarianceScaling, "__call__", lambda _, shape, dtype: tf.zeros(shape, dtype))
    video = model.backbones["video"]
    video.build((None, None, None, None, 3))
    assert round(sum(math.prod(v.shape) for v in video.trainable_variables) / 1e6, 1) == millions


@pytest.mark.parametrize(("data", "weights"), [("howto100m", [1, 10]), ("howto100m_audioset", [1, 1])])
def test_vision_text_counts_ten_times_as_much_on_howto100m_alone(data, weights):
    config.parse([f"gin/ablations/fac_{data}.gin"])
    assert [(pair.second, pair.weight) for pair in Graph().pairs] == list(zip(["audio", "text"], weights, strict=True))


@pytest.mark.parametrize(
    ("left_out", "message"),
    [
        ("TRAIN_DATA", "--gin_param=\"TRAIN_DATA='howto100m/train-*'\""),
        ("AUDIOSET_DATA", "--gin_param=\"AUDIOSET_DATA='audioset/train-*'\""),
        ("VOCABULARY", "VOCABULARY='vocabulary.txt'"),
    ],
)
def test_what_a_user_must_give_is_asked_for_by_its_name(left_out, message, vocabulary, tmp_path, capsys):
    file = "gin/final/fac_s3d.gin"
    given = [p for p in _given(file, vocabulary) if not p.startswith(left_out)]
    arguments = [f"--gin_file={file}", f"--workdir={tmp_path}", *(f"--gin_param={p}" for p in given)]
    assert run(train.main, arguments) == 2
    error = capsys.readouterr().err.splitlines()[0]
    assert error.startswith("error: ") and message in error


def _of_no_file_before(file: str) -> list[re.Match]:
    """The bindings of an experiment, but for those of parts that a file before it in the list includes as well."""
    before = itertools.takewhile(lambda other: other != file, [*TOP, *PUBLISHED])
    known = {match[0] for other in before for match in BINDING.finditer(_text(other))}
    return [match for match in BINDING.finditer(_text(file)) if match[0] not in known]


@pytest.mark.parametrize("file", [*TOP, *PUBLISHED])
def test_every_mistyped_name_is_an_error(file, tmp_path):
    text, rs = _text(file), random.Random(file)
    assert not refused([file], [])
    for match in _of_no_file_before(file):
        wrong = mistyped(match[1], rs) + match[0][len(match[1]) :]
        # One more binding after the right one, as on a command line, and in a copy of the file in its place.
        assert refused([file], [wrong]), wrong
        copy = tmp_path / "copy.gin"
        copy.write_text(text[: match.start()] + wrong + text[match.end() :])
        assert refused([str(copy)], []), wrong


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "lars"])
def test_another_optimiser_is_one_more_file(optimizer, vocabulary):
    _, _, made = _make(
        ["gin/fac.gin", f"gin/optim/{optimizer}_cosine.gin"],
        [*_given("gin/fac.gin", vocabulary), "STEPS = 20000"],
    )
    assert type(made).__name__.lower() == optimizer
    peak = {"adam": 0.002, "sgd": 0.1, "lars": 1.0}[optimizer]
    schedule = made._learning_rate
    assert float(schedule(5000)) == pytest.approx(peak) and float(schedule(20000)) == pytest.approx(0, abs=1e-8)
