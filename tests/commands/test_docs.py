"""The documentation against the repository: commands, flags, paths and links that it names are there."""

import ast
import pathlib
import re
import shlex
import subprocess
import sys

import pytest

from mmv_tf import __main__ as mmv_tf

ROOT = pathlib.Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
GIN_FILES = sorted([*ROOT.glob("gin/**/*.gin"), *ROOT.glob("benchmarks/miniature/gin/*.gin")])
FOLDERS = "beam benchmarks demo docs examples export gin mmv_tf tests".split()
TO_BEAM = {"preprocess", "vocabulary", "embed"}  # hand what they do not know to Apache Beam, and say so in their help
OF_A_RUNNER = "--dask_"  # options that exist where the runner's own package is installed
PLACEHOLDER = re.compile(r"[A-Z]{2,}|\.\.\.")  # beam/datasets/NAME.py, `mmv_tf NAME`, gin/final/...


def _named(path: pathlib.Path) -> str:
    return str(path.relative_to(ROOT))


def _text(path: pathlib.Path) -> str:
    """A page; of the changelog's tables without the first column, which says what things were called before."""
    text = path.read_text("utf-8")
    return re.sub(r"^\|[^|]*\|", "|", text, flags=re.M) if path.name == "CHANGELOG.md" else text


def _blocks(text: str) -> list[tuple[str, str]]:
    """(language, code) of the fenced blocks; the language of a block without one is ''."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", text, flags=re.M | re.S)


def _prose(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)


def _spans(text: str) -> list[str]:
    """What stands between backticks outside blocks, a span that goes over a line end in one line."""
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", _prose(text))]


def _lines(path: pathlib.Path) -> list[str]:
    """The lines of a page or of a gin file's comments that may be commands, those that go on joined."""
    if path.suffix == ".gin":
        comments = "\n".join(re.findall(r"^#(.*)$", path.read_text("utf-8"), flags=re.M))
        return [line for line in comments.replace("\\\n", " ").splitlines() if line.startswith("   ")]
    text = _text(path)
    code = "\n".join(code for language, code in _blocks(text) if language in ("bash", "sh"))
    indented = "\n".join(line for line in text.replace("\\\n", " ").splitlines() if line.startswith("    "))
    return [*code.replace("\\\n", " ").splitlines(), *indented.splitlines(), *_spans(text)]


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line, comments=True)
    except ValueError:  # prose with an apostrophe
        return []


def _commands(path: pathlib.Path):
    """(what is run, its arguments): a name such as 'train' or 'inspect verify', or the file of another program."""
    modules = {one.module: name for name, one in mmv_tf.COMMANDS.items()} | {"mmv_tf.beam.vocabulary": "vocabulary"}
    for line in _lines(path):
        words = _words(line)
        while words and re.match(r"\w+=", words[0]):  # TF_CONFIG=...
            words = words[1:]
        if words[:1] in (["mmv_tf"], [".venv/bin/mmv_tf"]):
            name, arguments = (words + [""])[1], words[2:]
        elif words[:1] and words[0].endswith("python") and words[1:2] == ["-m"] and len(words) > 2:
            name, arguments = words[2], words[3:]
            if name == "mmv_tf":
                name, arguments = (words + [""])[3], words[4:]
            elif name in modules:
                name = modules[name]
            elif name.split(".")[0] in FOLDERS:
                name = name.replace(".", "/") + ".py"
            else:
                continue  # pip, venv, pytest
        elif words[:1] == ["python"] and words[1:] and words[1].endswith(".py"):
            name, arguments = words[1], words[2:]
        else:
            continue
        if PLACEHOLDER.search(name) or name in ("", "--help", "--version"):
            continue
        if name in ("inspect", "search"):
            look = next((word for word in arguments if not word.startswith("-")), "")
            name = f"{name} {look}".strip()
        yield name, arguments


def _flags(arguments: list[str]) -> list[str]:
    return [word.partition("=")[0] for word in arguments if word.startswith("--") and len(word) > 2]


@pytest.fixture(scope="module")
def known():
    """{command: flags of its parser; 'beam': those of Apache Beam}, from one process."""
    code = """
import argparse, contextlib, io, re
from mmv_tf import __main__ as mmv_tf
def flags(*arguments):
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        mmv_tf.cli([*arguments, "--help"])
    options = text.getvalue().partition("options:")[2]
    return sorted(set(re.findall(r"^  (?:-\\w, )?(--[\\w-]+)", options, re.M)))
found = {name: flags(name) for name in mmv_tf.COMMANDS}
found |= {f"inspect {look}": flags("inspect", look) for look in ("verify", "show")}
found |= {f"search {what}": flags("search", what) for what in ("index", "serve", "query", "export")}
from apache_beam.options.pipeline_options import PipelineOptions
parser = argparse.ArgumentParser(add_help=False, conflict_handler="resolve")
for options in PipelineOptions.__subclasses__():
    options._add_argparse_args(parser)
found["beam"] = sorted(parser._option_string_actions)
print(repr(found))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return ast.literal_eval(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("path", [*PAGES, *GIN_FILES], ids=_named)
def test_commands_and_their_flags_exist(path, known):
    for name, arguments in _commands(path):
        if name.endswith(".py"):
            assert (ROOT / name).is_file(), name
            program = (ROOT / name).read_text("utf-8")
            accepted = re.findall(r"\"(--[\w-]+)\"", program)
            accepted += ["--gin_file", "--gin_param"] if "config.add_arguments(" in program else []
        else:
            assert name in known, f"mmv_tf {name}"
            accepted = known[name] + (known["beam"] if name.split()[0] in TO_BEAM else [])
        for flag in _flags(arguments):
            assert flag in accepted or flag.startswith(OF_A_RUNNER) or PLACEHOLDER.search(flag), f"{name} {flag}"


def test_every_command_is_documented():
    found = {name.split()[0] for path in PAGES for name, _ in _commands(path)}
    assert set(mmv_tf.COMMANDS) <= found


@pytest.mark.parametrize("path", PAGES, ids=_named)
def test_links_lead_somewhere(path):
    for link in re.findall(r"\]\(([^)\s]+)\)", _prose(_text(path))):
        if not link.startswith(("https://", "http://")):
            assert (path.parent / link.partition("#")[0]).exists(), link


@pytest.mark.parametrize("path", [*PAGES, *GIN_FILES], ids=_named)
def test_paths_exist(path):
    """Of files, wherever they are named; of folders, between backticks."""
    text = _text(path) if path.suffix == ".md" else path.read_text("utf-8")
    folders = "|".join(FOLDERS)
    files = re.findall(rf"(?<![\w./-])((?:{folders})/[\w./-]+\.(?:py|gin|md|json|npz|svg|jpg))\b", text)
    spans = [span for span in _spans(text) if re.fullmatch(rf"(?:{folders})/[\w./-]*", span)]
    for named in {*files, *spans}:
        if not PLACEHOLDER.search(named):
            assert (ROOT / named).exists(), named


@pytest.mark.parametrize("path", PAGES, ids=_named)
def test_names_of_python_exist(path):
    """Dotted names between backticks, and what examples import from us."""
    text, names = _text(path), []
    for language, code in _blocks(text):
        if language == "python":
            for node in ast.walk(ast.parse(code)):
                if isinstance(node, ast.ImportFrom):
                    names += [f"{node.module}.{alias.name}" for alias in node.names]
    names += [span for span in _spans(text) if re.fullmatch(r"mmv_tf(\.\w+)+", span)]
    for name in (name for name in names if name.startswith("mmv_tf.") and not PLACEHOLDER.search(name)):
        place, last = ROOT / name.replace(".", "/"), name.rpartition(".")[2]
        holders = [place.parent.with_suffix(".py"), place.parent / "__init__.py"]
        defined = [holder for holder in holders if holder.is_file() and re.search(rf"\b{last}\b", holder.read_text())]
        assert place.is_dir() or place.with_suffix(".py").is_file() or defined, name


def test_the_readme_is_a_first_page():
    text = (ROOT / "README.md").read_text("utf-8")
    assert len(text.split()) <= 1200
    for page in ROOT.glob("docs/*.md"):
        assert f"(docs/{page.name})" in text, f"{page.name} is not linked"


@pytest.mark.parametrize("page", ["docs/design.md", "README.md"])
def test_every_room_is_described(page):
    listed = re.search(r'ROOMS = """(.*?)"""', (ROOT / "tests/commands/test_rooms.py").read_text(), re.S)[1].split()
    text = (ROOT / page).read_text("utf-8")
    if page == "docs/design.md":
        assert re.findall(r"^\| `(\w+)` \| ", text.partition("## 3. Rooms")[2].partition("## 4.")[0], re.M) == listed
    for room in set(listed) - {"commands"}:
        assert f"`{room}/`" in text or f"`{room}` |" in text, room


@pytest.mark.parametrize(
    ("check", "text"),
    [
        (test_commands_and_their_flags_exist, "```bash\nmmv_tf trian --workdir runs\n```\n"),
        (
            test_commands_and_their_flags_exist,
            "```bash\nmmv_tf train --gin_file=a \\\n  --wrokdir x  # word\n```\n",
        ),
        (test_commands_and_their_flags_exist, "see `mmv_tf inspect verify --key x`\n"),
        (test_commands_and_their_flags_exist, "    X=1 python -m mmv_tf.train --steps 3\n"),
        (test_commands_and_their_flags_exist, "```sh\npython -m mmv_tf.checkpoints.from_deepmind --output x\n```\n"),
        (test_commands_and_their_flags_exist, "```sh\npython -m mmv_tf.beam.preprocess --runer=DirectRunner\n```\n"),
        (test_commands_and_their_flags_exist, "`python benchmarks/faults/kills.py --kill 5`\n"),
        (test_paths_exist, "look at gin/facs.gin\n"),
        (test_paths_exist, "in `tests/recrods` and so on\n"),
        (test_links_lead_somewhere, "[here](nowhere.md)\n"),
        (test_names_of_python_exist, "```python\nfrom mmv_tf.evals import results\n```\n"),
        (test_names_of_python_exist, "`mmv_tf.training.run.trian`\n"),
    ],
)
def test_what_is_planted_is_found(check, text, known, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(AssertionError):
        check(page, known) if check is test_commands_and_their_flags_exist else check(page)
