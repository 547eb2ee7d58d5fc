"""What is installed: what it claims, and that it works in environments and folders that have no checkout."""

import hashlib
import os
import pathlib
import shutil
import site
import subprocess
import sys
import tarfile
import zipfile

import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.portability.stager import Stager

import mmv_tf
from helpers import processes
from helpers.videos import write_video
from mmv_tf.beam import preprocess

ROOT = pathlib.Path(__file__).parents[2]
PAGE = """
import mmv_tf
from mmv_tf.pages import document
values = {"title": "A & B", "about": "", "history": {"c": [(0, 1), (1, 0)]}, "tables": [("t", [["a"], ["b"]])]}
print(document.render("deflation.html", **values), mmv_tf.__file__)
"""
# In a fork that has TensorFlow, what it knows of the checkout goes.
DRAWING = """
import os, sys
from helpers import processes
os.chdir({folder!r})
sys.meta_path = [finder for finder in sys.meta_path if not getattr(finder, "__module__", "").startswith("__editable__")]
outside = [path for path in sys.path if path.endswith("site-packages") or not path.startswith({ROOT!r})]
sys.path = [{installed!r}, *filter(None, outside)]
for name in list(sys.modules):
    if name.partition(".")[0] in {{"helpers", *os.listdir({ROOT!r})}}:
        del sys.modules[name]
import mmv_tf
print(mmv_tf.__file__)
processes.run_module(["-m", "mmv_tf.graph", "--gin_file=gin/fac.gin", "--output=fac.svg"])
"""
SOURCES = ["mmv_tf", "gin", "beam", "export", "setup.py", "pyproject.toml", "README.md", "LICENSE"]


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """What --setup_file sends to the workers of Dataflow: the source distribution, made from a copy (a build leaves
    files behind, and a stale build/ folder would get into the wheel)."""
    source, staged = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("staged")
    for name in SOURCES:
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(path, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, source / name)
    options = PipelineOptions([f"--setup_file={source / 'setup.py'}", "--requirements_cache=skip"])
    resources = Stager.create_job_resources(options, str(staged), log_submission_env_dependencies=False)
    files = [beam_runner_api_pb2.ArtifactFilePayload.FromString(resource.type_payload).path for resource in resources]
    (package,) = [file for file in files if file.endswith(".tar.gz")]
    return package


@pytest.fixture(scope="module")
def wheel(package, tmp_path_factory):
    """Built from the source distribution, as pip does it on a worker and `make dist` for a release."""
    folder = tmp_path_factory.mktemp("wheel")
    with tarfile.open(package) as archive:
        archive.extractall(folder, filter="data")
    (source,) = folder.iterdir()
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder / "dist", source]
    subprocess.run(command, check=True, capture_output=True)
    (path,) = (folder / "dist").glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    folder = tmp_path_factory.mktemp("installed")
    zipfile.ZipFile(wheel).extractall(folder)
    return folder


def test_the_wheel_claims_one_import_name_and_holds_every_module_and_gin_file(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"mmv_tf"}
    expected = {f"mmv_tf/{p.relative_to(ROOT / 'mmv_tf')}" for p in (ROOT / "mmv_tf").rglob("*.py")}
    for folder in ("beam", "export"):
        expected |= {f"mmv_tf/{p.relative_to(ROOT)}" for p in (ROOT / folder).rglob("*.py")}
    expected |= {f"mmv_tf/{p.relative_to(ROOT)}" for p in (ROOT / "gin").rglob("*.gin")}
    expected |= {f"{p.relative_to(ROOT)}" for p in (ROOT / "mmv_tf" / "pages" / "templates").iterdir()}
    expected |= {"mmv_tf/py.typed", "mmv_tf/searching/static/page.js"}
    assert expected <= set(names), sorted(expected - set(names))
    assert wheel.name.split("-")[1] == mmv_tf.__version__
    assert f"\nversion: {mmv_tf.__version__}\n" in (ROOT / "CITATION.cff").read_text()


def test_an_installed_wheel_finds_its_files_from_any_folder(installed, tmp_path):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    (packages,) = (tmp_path / "venv").glob("lib/python3*/site-packages")
    # The dependencies of the environment that runs the tests; its own mmv_tf is left out.
    paths = [p for p in [*site.getsitepackages(), *sys.path] if p.endswith("site-packages")]
    (packages / "dependencies.pth").write_text("\n".join(dict.fromkeys([str(installed), *paths])) + "\n")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    def run(*arguments):
        command = [tmp_path / "venv" / "bin" / "python", *arguments]
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        return subprocess.run(command, cwd=elsewhere, env=environment, capture_output=True, text=True)

    page = run("-c", PAGE)
    assert "<title>A &amp; B</title>" in page.stdout and "prefers-color-scheme" in page.stdout, page.stderr
    assert "<polyline" in page.stdout and "<td>b</td>" in page.stdout
    assert page.stdout.split()[-1] == str(installed / "mmv_tf" / "__init__.py")
    mistyped = run("-m", "mmv_tf.graph", "--gin_file=gin/fac.gin", "--gin_param=Graph.spacs={}")
    assert mistyped.returncode == 2
    assert "spacs" in mistyped.stderr.splitlines()[-1]


def test_a_command_of_an_installed_wheel_needs_no_checkout(installed, tmp_path):
    code = DRAWING.format(ROOT=str(ROOT), installed=str(installed), folder=str(tmp_path))
    process = processes.Process(tmp_path / "log", exec, code)
    assert process.wait() == 0, process.output()
    said = process.output()
    assert str(installed / "mmv_tf" / "__init__.py") in said and "audio also reaches vat at inference" in said
    assert (tmp_path / "fac.svg").read_text().startswith("<svg")


def test_the_package_of_a_worker_runs_without_tensorflow(installed, tmp_path):
    for folder in ("videos", "without"):
        (tmp_path / folder).mkdir()
    (tmp_path / "without" / "tensorflow.py").write_text("raise ImportError('no TensorFlow here')")
    write_video(tmp_path / "videos" / "a.mp4", seconds=2)
    write_video(tmp_path / "videos" / "b.mkv", seconds=1, sound_codec=None)
    (tmp_path / "videos" / "c.mp4").write_text("no video")
    flags = [f"--videos={tmp_path / 'videos'}", "--num_shards=3", "--clip_seconds=1", "--short_side=32"]
    flags += ["--direct_num_workers=1", "--direct_running_mode=multi_threading"]
    done = subprocess.run(
        [sys.executable, "-m", "mmv_tf.beam.preprocess", *flags, f"--output={tmp_path / 'there'}"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path / "without"), str(installed)])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert preprocess.cli([*flags, f"--output={tmp_path / 'here'}"]) == 0
    there, here = (
        {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (tmp_path / name).iterdir()}
        for name in ("there", "here")
    )
    assert there == here and len(here) == 5
