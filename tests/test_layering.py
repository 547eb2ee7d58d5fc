"""Data flows in one direction (README, "How it is laid out"): a module imports only from what is left of it."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parent.parent

# Left to right. A module may import from layers to the left, and from its own.
LAYERS = [
    ["charts", "curves", "media", "pages", "published"],
    ["configurable", "files", "quiet", "replicas"],
    ["sequence_example", "tfrecord", "record_reader", "records", "dataset_card", "vocabulary", "word_vectors"],
    ["beam"],
    ["text", "audio", "video"],
    [
        "faults",
        "shards",
        "shard_reader",
        "record_stream",
        "sources",
        "clip_maker",
        "training_examples",
        "input_pipeline",
    ],
    ["batch_norm", "backbones"],
    ["losses", "graph", "graph_drawing", "heads", "step_logs", "accumulation", "model"],
    ["evals"],
    [
        "bindings",
        "config",
        "optim",
        "lars",
        "strategies",
        "workdir",
        "checkpointing",
        "preemption",
        "clip_picture",
        "monitor",
        "probe",
        "observer",
        "trainer",
        "train",
    ],
    ["deflation", "deflate", "checkpoints"],
    ["export"],
    ["counts", "evaluate", "search", "inspection", "inspect", "retrieval_examples", "report_page", "report"],
]
# `config` is what every command line begins with; it stands to the right since it knows all that gin can bind.
ENTRY_POINTS_MAY_USE = {"config"}
POSITION = {name: number for number, names in enumerate(LAYERS) for name in names}
FOLDERS = {"mmv_tf": "", "beam": "beam", "export": "export"}


def _modules():
    for folder, prefix in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = [*([prefix] if prefix else []), *path.relative_to(ROOT / folder).with_suffix("").parts]
            if parts != ["__init__"]:
                yield parts[0], path


def _imports(path):
    """Names x of `mmv_tf.x` that a file imports, and whether each import stands at the top of the module."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            names = [f"{node.module}.{alias.name}" if node.module == "mmv_tf" else node.module for alias in node.names]
        for name in names:
            if name.startswith("mmv_tf."):
                yield name.split(".")[1]


def test_every_module_has_a_place():
    unknown = sorted({name for name, _ in _modules()} - set(POSITION))
    assert not unknown, f"say in LAYERS where {unknown} stand"
    assert len(list(_modules())) > 20


@pytest.mark.parametrize(("module", "path"), [pytest.param(m, p, id=str(p.relative_to(ROOT))) for m, p in _modules()])
def test_a_module_imports_only_from_what_is_left_of_it(module, path):
    for imported in _imports(path):
        if imported in ENTRY_POINTS_MAY_USE or imported.startswith("__"):
            continue
        assert POSITION[imported] <= POSITION[module], f"{path.name} imports {imported}, which stands to its right"


def test_gin_folder_is_no_package():
    assert not list((ROOT / "gin").rglob("__init__.py")), "gin/__init__.py would shadow the library gin"
