"""Files and modules that the code names, in docstrings, comments and programs that it starts, are there."""

import ast
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[2]
ROOMS = ("mmv_tf", "beam", "export")
MODULES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
PROGRAMS = sorted(path for room in (*ROOMS, "demo", "benchmarks") for path in (ROOT / room).rglob("*.py"))
FILES = {
    f"/{prefix}{path.relative_to(ROOT)}"
    for room in (*ROOMS, "benchmarks", "demo", "docs", "examples", "tests")
    for path in (ROOT / room).rglob("*.py")
    for prefix in ("", "mmv_tf/")  # where beam and export are installed
}
# Whoever names a file of another repository says so, just before it: 'owner/name, file.py', 'reference: file.py'.
OTHERS = re.compile(r"reference\b|[\w-]+/[\w-]+,\s|\b(?:vatt|torchvision|MIL-NCE|GDT|XDC)\b")


def _defines(name: str):
    """Whether a dotted name is a module or a package of ours, or something that is made or imported in one."""
    parts = name.split(".")
    parts = parts[1:] if parts[1] in ROOMS else parts
    for number in range(len(parts), 0, -1):
        place = ROOT.joinpath(*parts[:number])
        file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
        if file.is_file():
            if number == len(parts):
                return True
            name = parts[number]
            made = rf"^(?:def|class) {name}\b|^{name}\b.*=|^(?:from|import) .*\b{name}\b"
            return re.search(made if file.name != "__init__.py" else rf"\b{name}\b", file.read_text("utf-8"), re.M)
    return False


def _stale(text: str) -> list[str]:
    found = []
    for match in re.finditer(r"(?<![\w/.*{}-])[\w/-]*\w\.py\b", text):
        before = text[max(0, match.start() - 250) : match.start()]
        if not any(file.endswith(f"/{match[0]}") for file in FILES) and not OTHERS.search(before):
            found.append(match[0])
    for name in re.findall(r"\bmmv_tf(?:\.\w+)+", text):
        if not (_defines(name) or name in ("mmv_tf.NAME", "mmv_tf.__file__")):
            found.append(name)
    return found


def _each(paths, find):
    """{file: what was found in it}, of the files in which something was."""
    return {str(path.relative_to(ROOT)): found for path in paths if (found := find(path.read_text("utf-8")))}


def _own_names(text: str) -> list[str]:
    """What a file alone calls a module, where its documentation says so: of `from mmv_tf.x import y as z` z."""
    made = re.findall(r"^ *from (mmv_tf[\w.]*) import (\w+) as (\w+)$", text, re.M)
    return [own for module, name, own in made if f"`{own}." in text and _defines(f"{module}.{name}")]


def _missing_imports(text: str) -> list[str]:
    """What programs that stand in strings import of ours, and is not there."""
    strings = [node.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant)]
    programs = "\n".join(value for value in strings if isinstance(value, str) and "from mmv_tf" in value)
    imports = re.findall(r"^from (mmv_tf[\w.]*) import ([\w, ]+)$", programs, re.M)
    names = [f"{module}.{name.split()[0]}" for module, names in imports for name in names.split(",")]
    return [name for name in names if not _defines(name)]


def test_files_and_modules_that_are_named_exist():
    assert _each(MODULES, _stale) == {}


def test_documentation_calls_modules_by_their_own_names():
    assert _each(MODULES, _own_names) == {}


def test_programs_in_strings_import_what_is_there():
    assert _each(PROGRAMS, _missing_imports) == {}


@pytest.mark.parametrize(
    "text",
    [
        "The parent's side of decode_worker.py: starts the child",
        "columns: mmv_tf/export/parquet_file.py",
        "as `mmv_tf.report.gather` gives them",
        "from mmv_tf.beam.decode import plan",
    ],
)
def test_what_is_planted_is_found(text):
    assert len(_stale(text)) == 1
