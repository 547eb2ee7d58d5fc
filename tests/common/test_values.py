"""Values of settings: every parameter of everything that gin can make, right values and wrong ones of each kind."""

import inspect
import pathlib
import subprocess
import sys

import gin
import numpy as np
import pytest
import tensorflow as tf

from mmv_tf.common import config, configurable, signatures, values
from mmv_tf.common.configurable import LayerSettings

ROOT = pathlib.Path(__file__).parents[2]
GIN_FILES = sorted(
    str(path.relative_to(ROOT)) for folder in ("gin", "benchmarks") for path in ROOT.glob(f"{folder}/**/*.gin")
)
STATED = signatures.of_configurables(config._CONFIGURABLE_MODULES)

# What is tried everywhere, as it is typed.
TRIED = """
    'abc'; 'no'; ''; None; True; -1; 0; 1; 2; .5; -.5; 1.0; 1e999; -1e999; [1, 2]; [-1]; ['a']; []; {'a': 1};
    @nce; @nce(); @LogMel(); @LogMel; @Adam()
""".replace("\n", " ")
TRIED = [value.strip() for value in TRIED.split(";")]
# What of it is right, by what a parameter wants, in its own words.
RIGHT = {
    "a string": "'abc' 'no' ''",
    "a string or None": "'abc' 'no' '' None",
    "a string or a path": "'abc' 'no' ''",
    "a string or a list, each item a string": "'abc' 'no' '' ['a'] []",
    "a list, each item a string": "['a'] []",
    "True or False": "True",
    "True": "True",
    "a whole number of at least 0": "0 1 2",
    "a whole number of at least 1": "1 2",
    "a whole number of at least 1 or None": "1 2 None",
    "a whole number of at least 2": "2",
    "a whole number of at least 2 or None": "2 None",
    "a whole number of at least 0 and at most 4294967295": "0 1 2",
    "a number": "-1 0 1 2 .5 -.5 1.0",
    "a number above 0": "1 2 .5 1.0",
    "a number above 0 or None": "1 2 .5 1.0 None",
    "a number of at least 0": "0 1 2 .5 1.0",
    "a number of at least 0 or None": "0 1 2 .5 1.0 None",
    "a number of at least 0 and at most 1": "0 1 .5 1.0",
    "a number of at least 0 and below 1": "0 .5",
    "a number above 0 and below 1": ".5",
    "a number of at least 0 and at most 0.5": "0 .5",
    "a number of at least 0, a LearningRateSchedule (@NAME(), with parentheses) or what makes a float (@NAME, without "
    "parentheses)": "0 1 2 .5 1.0",
    "a list, each item a whole number of at least 0 and at most 4294967295": "[1, 2] []",
    "a list, each item a whole number of at least 0": "[1, 2] []",
    "a list, each item a whole number of at least 1": "[1, 2] []",
    "a whole number of at least 1 and at most 9": "1 2",
    "1 or 3": "1",
    "a list, each item a number": "[1, 2] [-1] []",
    "a list, each item a number above 0": "[1, 2] []",
    "a number or a list, each item a number": "-1 0 1 2 .5 -.5 1.0 [1, 2] [-1] []",
    "a number above 0 or a list, each item a number above 0": "1 2 .5 1.0 [1, 2] []",
    "a list of 2: (a number) and (a number)": "[1, 2]",
    "a list of 2: (a number above 0) and (a number above 0)": "[1, 2]",
    "a list of 2: (a number above 0) and (a number above 0) or None": "[1, 2] None",
    "a dict, each value a whole number of at least 1": "{'a': 1}",
    "a dict, each value a number above 0": "{'a': 1}",
    "a dict, each value a number or True or False or None": "{'a': 1} None",
    "a LogMel (@NAME(), with parentheses) or None": "@LogMel() None",
    "what makes an Optimizer (@NAME, without parentheses) or None": "None",
    "what makes a Compared (@NAME, without parentheses)": "@nce",
    "anything": "all",
}  # fmt: skip


def _wanted():
    return [(name, parameter, one) for name, found in STATED.items() for parameter, one in found.parameters.items()]


def _may_be(wanted, value: str) -> bool:
    words = values.words(wanted)
    if words in RIGHT:
        return RIGHT[words] == "all" or value in _split(RIGHT[words])
    # Of the rest None fits where it is named, and an empty list where a list is wanted.
    return value == "None" and words.endswith("or None") or value == "[]" and words.startswith("a list, each item")


def _split(text):
    return [value for value in TRIED if f" {value} " in f" {text} "]


def _refused(binding: str) -> str:
    """What is said of a binding, '' if nothing is."""
    try:
        config.check_values([], [binding])
    except ValueError as error:
        return str(error)
    return ""


def test_no_parameter_is_without_an_annotation():
    assert [f"{name}.{one}" for name, one, wanted in _wanted() if wanted is inspect.Parameter.empty] == []
    assert len(STATED) > 25 and len(_wanted()) > 250


@pytest.mark.parametrize("name", STATED)
def test_wrong_values_are_refused_in_one_line_that_names_binding_and_value(name):
    short = name.rpartition(".")[2]
    for parameter, wanted in STATED[name].parameters.items():
        for value in TRIED:
            said = _refused(f"{short}.{parameter} = {value}")
            if _may_be(wanted, value):
                assert not said, f"{short}.{parameter} = {value} is right: {said}"
            else:
                shown = value.replace("1e999", "inf").replace("-.5", "-0.5") if value != ".5" else "0.5"
                assert said.startswith(f"binding {short}.{parameter} = {shown}: "), f"{parameter} = {value}: {said!r}"
                assert "must be " in said and "\n" not in said


def test_every_kind_of_wrong_value_was_tried_somewhere():
    """A table that calls everything right would prove nothing."""
    refused = {value for _, _, wanted in _wanted() for value in TRIED if not _may_be(wanted, value)}
    taken = {value for _, _, wanted in _wanted() for value in TRIED if _may_be(wanted, value)}
    assert refused == set(TRIED)
    assert taken >= {"'abc'", "None", "True", "0", "1", ".5", "[1, 2]", "['a']", "{'a': 1}", "@LogMel()"}


@pytest.mark.parametrize("file", GIN_FILES)
def test_shipped_values_are_right(file):
    config.check_values([file])


def _in_the_registry():
    for module in config._CONFIGURABLE_MODULES:
        __import__(module)
    return {n: one for n, one in gin.config._REGISTRY._selector_map.items() if n.startswith(("mmv_tf.", "keras."))}


def test_what_the_source_says_is_what_python_sees():
    """The signatures are read without an import; nothing may be missing from them, or read otherwise."""
    registry = _in_the_registry()
    assert set(registry) == set(STATED)
    for name, one in registry.items():
        live = inspect.signature(one.wrapped).parameters
        live = {p: x for p, x in live.items() if x.kind not in (x.VAR_POSITIONAL, x.VAR_KEYWORD)}
        bound = one.allowlist or set(live) - set(one.denylist or ())
        assert set(bound) <= set(STATED[name].parameters), name
        for parameter in live:
            if not name.startswith("keras."):  # whose signatures say nothing
                read, seen = STATED[name].parameters[parameter], live[parameter].annotation
                assert values.words(read) == values.words(seen), f"{name}.{parameter}"


def test_defaults_are_right():
    for name, one in _in_the_registry().items():
        for parameter, stated in inspect.signature(one.wrapped).parameters.items():
            default, wanted = stated.default, STATED[name].parameters.get(parameter)
            if default is not inspect.Parameter.empty and "factory" not in repr(default):
                assert not values.fault(default, wanted), f"{name}.{parameter} = {default}"


@pytest.mark.parametrize(
    ("binding", "said"),
    [
        ("Graph.heads = [('video', 'va', {'hidden': 5})]", "item 1, .*, hidden = 5: must be a list, each item a "),
        ("Graph.heads = [('video', 'va'), ('va', 3)]", r"item 2, \('va', 3\), space = 3: must be a string"),
        ("Graph.heads = [('video', 'va', {'batch_norm': 'no'})]", "batch_norm = 'no': must be True or False"),
        ("Graph.pairs = ['video']", "item 1, 'video', must be a list of first, second, space, loss, weight"),
        ("Graph.pairs = [('a', 'b', 's', {'loss': 'nce'})]", "loss = 'nce': must be what makes a Compared"),
        ("Graph.pairs = [('a', 'b', 's', {'loss': @nce()})]", r"loss = @nce\(\): must be what makes a Compared"),
        ("Graph.pairs = [('a', 'b', 's', {'loss': @Adam})]", "loss = @Adam: must be what makes a Compared"),
        ("Graph.pairs = [('a', 'b', 's', {'loss': @nce, 'weight': -1})]", "weight = -1: must be a number of at "),
        ("Graph.spaces = {'va': 512, 'vat': 0}", "'vat', 0, must be a whole number of at least 1"),
        ("MMV.backbones = {'video': @S3D(), 'audio': @LogMel()}", r"'audio', @LogMel\(\), must be a Layer"),
        ("MMV.backbones = {'video': @S3D}", "'video', @S3D, must be a Layer"),
        ("MMV.graph = @S3D()", "must be a Graph"),
        ("InputPipeline.sources = [@Source(), @LogMel()]", r"item 2, @LogMel\(\), must be a Source"),
        ("InputPipeline.modalities = ('video', 'smell')", "item 2, 'smell', must be 'video', 'audio' or 'text'"),
        ("keras.optimizers.Adam.learning_rate = @warmup_cosine", "@warmup_cosine: must be a number of at least"),
        ("train.optimizer = @Adam()", r"@Adam\(\): must be what makes an Optimizer \(@NAME, without parentheses\)"),
        ("train.optimizer = @S3D", "@S3D: must be what makes an Optimizer"),
        ("FineTune.folds = (('train', 'test', 'more'),)", "item 1, .*, must be a list of 2: "),
        ("LinearVideo.folds = (('train', ('a', 5)),)", "item 1, .*, item 2, .*, item 2, 5, must be a string"),
        ("LinearVideo.classifier = @LARS()", "must be a Classifier"),
        ("Evaluation.protocol = @MLP()", "must be a Protocol"),
        ("S3D.dtype = 'float33'", "must be 'float32', "),
        ("few/Source.weight = 0", "binding few/Source.weight = 0: must be a number above 0"),
        ("LogMel.stride = %N\nN = 2.5", "binding LogMel.stride = %N = 2.5: must be a whole number of at least 1"),
        ("MMV.backbones = {'video': %V}\nV = %W\nW = 3", "binding MMV.backbones = {'video': %V}: 'video', 3, must be"),
        ("LogMel.stride = 1\nLogMel.stride = 0", "binding LogMel.stride = 0"),
        ("LogMel:\n  stride = 0\n", "binding LogMel.stride = 0"),
        ("S3D.width = [1,", r"binding 'S3D.width = \[1,': EOF in multi-line statement"),
        ("S3D.width = wide", "binding 'S3D.width = wide': 'wide' .* is no value; one is a number, 'a string'"),
        ("S3D.width = {[1]: 2}", "unhashable"),
        ("VIDEO = @S3d()", r"binding VIDEO = @S3d\(\): there is no S3d; did you mean 'S3D'\?$"),
        ("MMV.backbones = {'video': @a/S3d()}", "there is no S3d; did you mean 'S3D'"),
        ("LogMel.stride = @its_own()", r"LogMel.stride = @its_own\(\): there is no its_own; .* --allow_gin_imports"),
        ("Unknown.stride = 0", "binding 'Unknown.stride': there is no Unknown; .* --allow_gin_imports"),
    ],
)  # fmt: skip
def test_what_stands_inside_of_values_is_looked_at(binding, said):
    with pytest.raises(ValueError, match=said) as error:
        config.check_values([], [binding])
    assert "\n" not in str(error.value) and str(error.value).startswith("binding ")


@pytest.mark.parametrize(
    "binding",
    [
        "Adam.learning_rate = @warmup_cosine()",
        "LARS.learning_rate = 1",
        "train.optimizer = @LARS",
        "LogMel.stride = 0\nLogMel.stride = 1",  # the last one counts
        "LogMel.stride = %NOWHERE",  # of which gin knows more
        "A = %B\nB = %A\nLogMel.stride = %A",
        "LinearVideo.folds = ((('a', 'b'), 'c'), ('d', 'e'))",
        "LinearVideo.classifier = @scope/FactorisedLinear()",
        "Evaluation.protocol = @AudioMLP()",
        "Graph.heads = [('video', 'va', {'hidden': (512,), 'activation': None}), ['audio', 'va']]",
    ],
)
def test_right_values_pass(binding):
    config.check_values([], [binding])


def test_a_name_that_is_registered_or_may_be_imported_passes(monkeypatch):
    gin.external_configurable(lambda x: x, name="of_a_caller", module="mine")
    config.check_values([], ["LogMel.stride = @of_a_caller()\nmine.of_a_caller.x = 3"])
    monkeypatch.setattr(config._allowed, "imports", True)
    config.check_values([], ["VIDEO = @S3d()"])


def test_a_value_of_a_file_is_found_there(tmp_path):
    inner, outer = tmp_path / "inner.gin", tmp_path / "outer.gin"
    inner.write_text("# a comment\nLogMel.stride = 0\ntrain.steps = %STEPS\n")
    outer.write_text(f"include '{inner}'\nSTEPS = 7\n\n")
    with pytest.raises(ValueError, match=rf"binding LogMel.stride = 0: must be .* \({inner}, line 2\)$"):
        config.parse([outer])
    outer.write_text(f"include '{inner}'\nLogMel.stride = 5\nSTEPS = 'many'\n")
    with pytest.raises(ValueError, match=rf"train.steps = %STEPS = 'many': must be .* \({outer}, line 3\)$"):
        config.parse([outer])
    with pytest.raises(ValueError, match="binding train.steps = %STEPS = -1: must be a whole number of at least 0$"):
        config.parse([outer], ["STEPS = -1"])
    outer.write_text("LogMel.stride = (1,\n")
    with pytest.raises(ValueError, match=f"{outer}: EOF in multi-line statement"):
        config.parse([outer])


def test_commands_refuse_a_value_before_tensorflow_is_imported():
    code = """
import importlib, sys
for name in ("train", "evaluate", "deflate", "graph", "counts"):
    arguments = ["--gin_file=gin/fac.gin", "--gin_param=TextNetwork.learned = 'no'"]
    if name in ("train", "evaluate", "deflate"):
        arguments.append("--workdir=nowhere")
    status = importlib.import_module(f"mmv_tf.{name}").cli(arguments)
    assert status == 2, (name, status)
    assert not {"tensorflow", "keras", "numpy"} & set(sys.modules), name
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stderr == "error: binding TextNetwork.learned = 'no': must be True or False\n" * 5


def test_python_gets_the_same_line():
    from mmv_tf.backbones import S3D, TextNetwork
    from mmv_tf.evaluation.linear import LinearVideo
    from mmv_tf.inputs.audio import LogMel
    from mmv_tf.inputs.pipeline import InputPipeline
    from mmv_tf.model import losses
    from mmv_tf.model.graph import Graph, Head, Pair
    from mmv_tf.training.optimizers import LARS

    for call, said in (
        (lambda: LogMel(stride=0), "LogMel.stride = 0: must be a whole number of at least 1"),
        (lambda: LogMel(48000, 2048, "abc"), "LogMel.stride = 'abc': must be a whole number of at least 1"),
        (lambda: S3D(width="abc"), "S3D.width = 'abc': must be a number above 0"),
        (lambda: TextNetwork(dim=None), "TextNetwork.dim = None: must be a whole number of at least 1"),
        (lambda: TextNetwork(learned=0), "TextNetwork.learned = 0: must be True or False"),
        (lambda: InputPipeline(audio=3), r"InputPipeline.audio = 3: must be a LogMel"),
        (lambda: Head("video", "va", 5), "Head.hidden = 5: must be a list"),
        (lambda: Pair("video", "audio", "va", "nce"), "Pair.loss = 'nce': must be what makes a Compared"),
        (lambda: Graph({"va": 8}, 5, []), "Graph.heads = 5: must be a list"),
        (lambda: LARS(momentum=float("nan")), "LARS.momentum = nan: must be a finite number of at least 0 and below 1"),
        (lambda: losses.nce(None, None), "nce.first = None: must be an Embeddings"),
        (lambda: LinearVideo(classifier="svm"), "LinearVideo.classifier = 'svm': must be a Classifier"),
        (lambda: LinearVideo(frame_rate=np.inf), "LinearVideo.frame_rate = inf: must be a finite number above 0"),
    ):
        with pytest.raises(ValueError, match=said):
            call()
    LogMel(stride=np.int64(512), min_frequency=np.float32(50), max_frequency=7600)
    Head("video", "va", hidden=[512], batch_norm=np.bool_(True))


def test_what_is_needed_and_not_set_is_said_alike():
    from mmv_tf.model.graph import Graph
    from mmv_tf.model.mmv import MMV

    config.parse([])
    for name, said in (
        ("Graph", "Graph.spaces is not set: it must be a dict, each value a whole number of at least 1"),
        ("MMV", "MMV.backbones is not set: it must be a dict, each value a Layer"),
        ("Source", "Source.pattern is not set: it must be a string or a list"),
        ("Evaluation", "Evaluation.protocol is not set: it must be a Protocol"),
        ("warmup_cosine", "warmup_cosine.total_steps is not set: it must be a whole number"),
    ):
        with pytest.raises(ValueError, match=said):
            gin.get_configurable(name)()
    with pytest.raises(TypeError, match="unexpected keyword argument 'spaecs'"):
        Graph(spaecs={}, heads=[], pairs=[])
    with pytest.raises(ValueError, match="MMV.graph is not set"):
        MMV({})


def test_what_gin_binds_past_our_parser_gets_it_too():
    _in_the_registry()
    gin.parse_config("Adam.beta_1 = 'abc'\nSGD.learning_rate = 1\nLogMel.stride = 0")
    with pytest.raises(ValueError, match="Adam.beta_1 = 'abc': must be a number of at least 0 and below 1"):
        gin.get_configurable("Adam")()
    with pytest.raises(ValueError, match="LogMel.stride = 0: must be a whole number of at least 1"):
        gin.get_configurable("LogMel")()
    # Keras takes 1.0 for a rate and no 1.
    assert float(gin.get_configurable("SGD")().learning_rate) == 1.0


def test_layers_take_what_every_layer_takes():
    taken = {name for name, found in STATED.items() if set(LayerSettings.__annotations__) <= set(found.parameters)}
    assert {name.rpartition(".")[2] for name in taken} == {
        *(
            "AVIDAudio",
            "AVIDVideo",
            "AudioResNet",
            "BatchNorm",
            "I3D",
            "MMV",
            "PlainCNN",
            "R2Plus1D",
            "ResNetV1",
            "S3D",
            "Scorer",
            "TSMResNet",
            "TextNetwork",
            "TextTransformer",
            "VideoResNet",
            "VideoTokens",
            "VideoTransformer",
            "WaveformTokens",
            "WaveformTransformer",
        ),
        "WordVectors",
    }


def test_a_long_value_is_cut_in_its_middle():
    said = _refused(f"S3D.width = {list(range(1000))}")
    assert said.startswith("binding S3D.width = [0, 1, 2") and said.endswith("999]: must be a number above 0")
    assert len(said) < 300


def test_of_many_names_some_are_listed():
    assert values.listed(iter("ab"), most=2) == "a, b" and values.listed([], most=2) == ""
    assert values.listed("abcde", most=2) == "a, b and 3 more"


def test_a_users_tf_function_may_call_what_checks():
    """AutoGraph converts it there, and warns of what it cannot read."""
    tf.autograph.to_graph(configurable.check)
