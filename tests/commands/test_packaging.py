"""The wheel: what it claims, and that it works in an environment and a folder that have no checkout."""

import pathlib
import shutil
import site
import subprocess
import sys
import zipfile

import pytest

import mmv_tf

ROOT = pathlib.Path(__file__).parents[2]
PAGE = """
from mmv_tf.pages import document
values = {"title": "A & B", "about": "", "history": {"c": [(0, 1), (1, 0)]}, "tables": [("t", [["a"], ["b"]])]}
print(document.render("deflation.html", **values))
"""
SOURCES = ["mmv_tf", "gin", "beam", "export", "setup.py", "pyproject.toml", "README.md", "LICENSE"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy: a build leaves files behind, and a stale build/ folder would get into the wheel."""
    source = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(path, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, source / name)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", source / "dist", source]
    subprocess.run(command, check=True, capture_output=True)
    (path,) = (source / "dist").glob("*.whl")
    return path


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


def test_an_installed_wheel_finds_its_gin_files_from_any_folder(wheel, tmp_path):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    (packages,) = (tmp_path / "venv").glob("lib/python3*/site-packages")
    # The dependencies of the environment that runs the tests; its own mmv_tf is left out.
    paths = [p for p in [*site.getsitepackages(), *sys.path] if p.endswith("site-packages")]
    (packages / "dependencies.pth").write_text("\n".join(dict.fromkeys(paths)) + "\n")
    zipfile.ZipFile(wheel).extractall(packages)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    def run(*arguments):
        return subprocess.run(
            [python, "-c", "import mmv_tf; print(mmv_tf.__file__)"] if not arguments else [python, *arguments],
            cwd=elsewhere,
            capture_output=True,
            text=True,
        )

    assert str(packages) in run().stdout
    result = run("-m", "mmv_tf.graph", "--gin_file=gin/fac.gin", "--output=fac.svg")
    assert result.returncode == 0, result.stderr
    assert "audio also reaches vat at inference" in result.stdout
    assert (elsewhere / "fac.svg").read_text().startswith("<svg")
    page = run("-c", PAGE)
    assert "<title>A &amp; B</title>" in page.stdout and "prefers-color-scheme" in page.stdout, page.stderr
    assert "<polyline" in page.stdout and "<td>b</td>" in page.stdout
    mistyped = run("-m", "mmv_tf.graph", "--gin_file=gin/fac.gin", "--gin_param=Graph.spacs={}")
    assert mistyped.returncode == 2
    assert "spacs" in mistyped.stderr.splitlines()[-1]
