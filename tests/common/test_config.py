"""gin files: every shipped experiment builds its graph, and mistakes are named."""

import argparse
import contextlib
import os
import subprocess
import sys

import gin
import pytest

from mmv_tf.common import config
from mmv_tf.common.command import run
from mmv_tf.model.graph import Graph

# All but the settings of what comes after training.
EXPERIMENTS = sorted(path.name for path in config.gin_folder().glob("*.gin") if path.name != "deflate.gin")


def test_there_are_experiments():
    assert {"fac.gin", "shared.gin", "disjoint.gin", "va.gin", "vt.gin", "demo.gin"} <= set(EXPERIMENTS)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_parses_and_states_a_command(name):
    text = (config.gin_folder() / name).read_text()
    assert f"--gin_file=gin/{name}" in text, "the header states the exact command"
    config.parse([f"gin/{name}"])
    graph = Graph()
    backbones = gin.query_parameter("MMV.backbones")
    assert set(graph.modalities) == set(backbones) == set(gin.query_parameter("InputPipeline.modalities"))


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_one_include_more_makes_every_experiment_small(name):
    config.parse([f"gin/{name}", "gin/models/tiny.gin"])
    Graph()
    assert gin.query_parameter("S3D.width") == 0.25
    assert gin.query_parameter("VideoInput.num_frames") == 8


def test_the_graphs_of_the_paper():
    config.parse(["gin/fac.gin"])
    fac = Graph()
    assert fac.spaces == {"va": 512, "vat": 256}
    assert [str(h) for h in fac.path("audio", "vat")] == ["audio -> va", "va -> vat"]
    config.parse(["gin/disjoint.gin"])
    assert "vt" not in Graph().spaces_of("audio")


def test_looking_for_a_file_is_no_error(caplog, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config.parse(["gin/fac.gin"])
    assert not caplog.records


def test_parsing_starts_from_nothing():
    config.parse(["gin/fac.gin"], ["train.batch_size = 3"])
    config.parse(["gin/fac.gin"])
    assert gin.query_parameter("train.batch_size") == 512


@pytest.mark.parametrize(
    ("binding", "word"),
    [("S3D.widht = 1", "widht"), ("Grahp.spaces = {}", "Grahp"), ("train.batch_size = ", "batch_size")],
)
def test_mistyped_bindings_are_errors(binding, word):
    with pytest.raises((ValueError, SyntaxError), match=word):
        config.parse(["gin/fac.gin"], [binding])


def test_a_missing_file_is_named():
    with pytest.raises(OSError, match="gin/nowhere.gin"):
        config.parse(["gin/nowhere.gin"])


def test_run_turns_an_error_into_one_line(capsys):
    def command(argv):
        raise ValueError("first\n  second\n  In call to configurable 'f'")

    assert run(command) == 2
    assert capsys.readouterr().err.splitlines()[0] == "error: first second"


def test_a_file_is_utf_8_with_or_without_a_byte_order_mark_whatever_the_locale(tmp_path):
    text = "# caf\u00e9\nVOCABULARY = 'caf\u00e9.txt'\n"
    (tmp_path / "bom.gin").write_bytes(b"\xef\xbb\xbf" + text.encode())
    plain = f"include '{tmp_path}/bom.gin'\n# \u00e9\nsaid.text = %VOCABULARY\n"
    (tmp_path / "plain.gin").write_bytes(plain.encode())
    code = (
        "import gin, sys; from mmv_tf.common import config; "
        "config._CONFIGURABLE_MODULES = (); "  # those of ours import TensorFlow
        "said = gin.external_configurable(lambda text: print(ascii(text)), 'said'); "
        "config.parse([sys.argv[1]]); said()"
    )
    ascii_only = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-c", code, str(tmp_path / "plain.gin")]
    done = subprocess.run(command, env=ascii_only, capture_output=True, text=True)
    assert done.stdout.strip() == "'caf\\xe9.txt'", done.stderr


CODE = {
    "import": "import evil\n",
    "from": "from os import path\n",
    "dynamic registration": "from __gin__ import dynamic_registration\nimport os\nos.popen.cmd = 'touch {mark}'\n",
}


@pytest.mark.parametrize("statement", CODE)
def test_a_gin_file_runs_no_code_unless_it_is_asked_for(tmp_path, statement, monkeypatch):
    mark = tmp_path / "ran"
    (tmp_path / "evil.py").write_text(f"open({str(mark)!r}, 'w')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "evil", raising=False)
    file = tmp_path / "a.gin"
    file.write_text("include 'gin/va.gin'\n" + CODE[statement].format(mark=mark))
    outer = tmp_path / "b.gin"
    outer.write_text(f"include '{file}'\n")
    for given in (dict(gin_files=[str(file)]), dict(gin_files=[str(outer)]), dict(gin_params=[file.read_text()])):
        with pytest.raises(ValueError, match="would run code.*--allow_gin_imports"):
            config.parse(**given)
    foreign = tmp_path / "c.gin"
    foreign.write_text(CODE[statement].format(mark=mark))
    parser = argparse.ArgumentParser()
    config.add_arguments(parser)
    assert parser.parse_args(["--allow_gin_imports"]).allow_gin_imports
    refused = pytest.raises(ValueError, match="c.gin, line 1: .* would run code, which a gin file may not$")
    with refused if "__gin__" in CODE[statement] else contextlib.nullcontext():  # another import is passed over
        config.parse(foreign=[str(foreign)])
    for more in (" import evil\n", "import \\\n  evil\n", "STEPS = 1; import evil\n", "if True:\n  import evil\n"):
        foreign.write_text(more)
        with pytest.raises(ValueError, match="c.gin"):
            config.parse(foreign=[str(foreign)])
    assert not mark.exists() and "evil" not in sys.modules
    if statement == "import":
        config.parse(gin_files=[str(file)])
        assert mark.exists()
    config.add_arguments(argparse.ArgumentParser())  # each command begins without


def test_the_configuration_of_a_module_reads_no_other_file(tmp_path):
    (tmp_path / "config.gin").write_text("include '/etc/passwd'\n")
    with pytest.raises(ValueError, match="line 1: include '/etc/passwd': .* reads no other file"):
        config.parse(foreign=[str(tmp_path / "config.gin")])
