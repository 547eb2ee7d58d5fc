"""The plan of the house: a room imports only from rooms before it, and nothing goes round in a circle."""

import ast
import graphlib
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[2]

# In the order in which data flows. A room (a folder, with the folders in it) imports from itself and from what stands
# before it. `commands` are the files of mmv_tf/ itself.
ROOMS = """
    common pages metrics records beam inputs backbones model inspection diagnosis training deflation released export api
    searching evaluation commands demo benchmarks
""".split()
TOP_LEVEL = ("beam", "export", "demo", "benchmarks")  # the others are folders of mmv_tf/


def _modules() -> dict[str, pathlib.Path]:
    """{dotted name: file} of all modules that are no tests."""
    found = {}
    for top in ("mmv_tf", *TOP_LEVEL):
        for path in sorted((ROOT / top).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            parts = (("mmv_tf",) if top in ("beam", "export") else ()) + parts
            found[".".join(parts).removesuffix(".__init__")] = path
    return found


MODULES = _modules()


def _room(module: str) -> str:
    parts = module.removeprefix("mmv_tf.").split(".")
    in_the_hall = MODULES[module].parent == ROOT / "mmv_tf"
    return "commands" if in_the_hall else parts[0]


def _imports(path: pathlib.Path):
    """The modules of this project that a file imports, wherever in the file it does."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            found = next((n for n in (name, name.rpartition(".")[0]) if n in MODULES), None)
            # Whoever asks `import mmv_tf` wants its version or its place; that is no way into the hall.
            if found and found != "mmv_tf":
                yield found


IMPORTS = {module: set(_imports(path)) - {module} for module, path in MODULES.items()}


def test_every_room_is_in_the_list_and_there():
    assert {_room(module) for module in MODULES} == set(ROOMS)
    assert len(MODULES) > 200


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_from_rooms_before_it(room):
    allowed = set(ROOMS[: ROOMS.index(room) + 1])
    wrong = [
        f"{module} imports {imported}"
        for module, names in IMPORTS.items()
        for imported in sorted(names)
        if _room(module) == room and _room(imported) not in allowed
    ]
    assert not wrong, "\n".join(wrong)


def test_nothing_goes_round_in_a_circle():
    try:
        graphlib.TopologicalSorter(IMPORTS).prepare()
    except graphlib.CycleError as error:
        pytest.fail(f"a circle: {' <- '.join(error.args[1])}")


def test_no_folder_is_overfull():
    """More than 16 files in a folder are not seen at one look. Datasets, one file each, are a list."""
    folders = [path.parent for path in MODULES.values()]
    full = {str(f.relative_to(ROOT)): n for f in set(folders) if (n := folders.count(f)) > 16}
    assert set(full) <= {"beam/datasets"}, full


def test_the_folder_gin_is_no_package():
    assert not list((ROOT / "gin").rglob("__init__.py")), "gin/__init__.py would shadow the library gin"
