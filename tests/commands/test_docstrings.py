"""Module docstrings say what a module is, in its first word: a noun, not a question and not a verb."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[2]
PLACES = ("mmv_tf", "beam", "export", "demo", "benchmarks", "examples")
MODULES = sorted(path for place in PLACES for path in (ROOT / place).rglob("*.py"))
QUESTIONS = set("What How Why Which Where When Whether Whose Who That".split())
VERBS = """
Adds Builds Checks Computes Converts Counts Decodes Downloads Embeds Evaluates Exports Extracts Finds Fine-tunes Gives
Imports Loads Looks Makes Parses Prints Publishes Reads Renders Returns Runs Saves Shows Splits Tells Trains
Turns Verifies Wraps Writes
""".split()


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_says_what_it_is(path):
    docstring = ast.get_docstring(ast.parse(path.read_text("utf-8")))
    assert docstring, "no docstring"
    assert docstring.split()[0].rstrip(":,.") not in QUESTIONS | set(VERBS)
