"""The reader of released checkpoints: every layout that the libraries write, and nothing from a hostile file."""

import gc
import os
import random
import subprocess
import sys
import time

import numpy as np
import pytest

from helpers.golden_recipe import load
from helpers.hostile_pickles import array, dtype, hostile, inside, mutate, reorder, shape
from helpers.processes import PATIENCE
from helpers.released_pickles import LAYOUTS, dumps
from mmv_tf.released import pickle_machine, unpickle
from mmv_tf.released.unpickle import CheckpointError

# Written by the libraries themselves: jax 0.10.2, dm-haiku 0.0.17, dill 0.4.1, numpy 2.4.6.
REAL = {name: data.tobytes() for name, data in load("pickles").items()}
HOSTILE = hostile()


def small_tree() -> dict:
    """The tree that is in the files of `REAL`."""
    w = np.arange(12, dtype=np.float32).reshape(3, 4) / 4 - 1
    ones, zeros = np.ones((1, 1, 4), np.float32), np.zeros((1, 1, 4), np.float32)
    average = np.array([[[0.5, 1, -2, 0]]], np.float32)
    return {
        "params": {"net/~/conv": {"w": w}, "net/norm": {"scale": ones, "offset": zeros}},
        "state": {"net/norm/~/mean_ema": {"average": average, "counter": np.array(7, np.int32)}},
    }


def read(data: bytes, tmp_path):
    path = tmp_path / "file.pkl"
    path.write_bytes(data)
    return unpickle.read(str(path))


def assert_is_small_tree(tree):
    expected = small_tree()
    assert tree.keys() == expected.keys()
    for part, modules in expected.items():
        assert tree[part].keys() == modules.keys()
        for module, leaves in modules.items():
            assert tree[part][module].keys() == leaves.keys()
            for leaf, values in leaves.items():
                found = tree[part][module][leaf]
                assert type(found) is np.ndarray and found.dtype == values.dtype and found.dtype.isnative
                np.testing.assert_array_equal(found, values)


@pytest.mark.parametrize("name", REAL)
def test_reads_what_the_libraries_write(name, tmp_path):
    assert_is_small_tree(read(REAL[name], tmp_path))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_reads_every_layout(layout, protocol, tmp_path):
    data = dumps(small_tree(), layout, protocol)
    mapping, function = LAYOUTS[layout]
    assert all(name.encode() in data for where in (mapping, function) if where for name in where)
    assert_is_small_tree(read(data, tmp_path))


@pytest.mark.parametrize("kind", ["f2", "f8", "i1", "i8", "u4", "?", ">f4", ">i2"])
def test_reads_every_type(kind, tmp_path):
    values = np.array([[0, 1, 1], [1, 0, 1]], kind)
    tree = {"params": {"m": {"w": values}}, "state": {"m": {"w": np.asfortranarray(values)}}}
    for protocol in (3, 5):
        found = read(dumps(tree, protocol=protocol), tmp_path)
        for part in ("params", "state"):
            assert found[part]["m"]["w"].dtype == values.dtype.newbyteorder("=")
            np.testing.assert_array_equal(found[part]["m"]["w"], values)


def test_arrays_cannot_be_changed(tmp_path):
    found = read(dumps(small_tree()), tmp_path)["params"]["net/~/conv"]["w"]
    with pytest.raises(ValueError):
        found[0, 0] = 1


@pytest.fixture(scope="module")
def heap_of_a_small_process():
    """The collector passes over what other tests left in memory, which no user's process holds."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_files_end_in_an_error(what, tmp_path, monkeypatch, heap_of_a_small_process):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "bad.pkl"
    path.write_bytes(HOSTILE[what])
    started = time.process_time()
    with pytest.raises(CheckpointError) as error:
        unpickle.read(str(path))
    assert time.process_time() - started < 1
    message = str(error.value)
    assert str(path) in message and "\n" not in message and len(message) < 400 + len(str(path))
    assert os.listdir(tmp_path) == ["bad.pkl"]


def test_the_builders_of_hostile_files_can_also_build_good_ones(tmp_path):
    # So that a hostile file is refused for what is hostile in it.
    data = np.array([[1, 2, 3]], "f4").tobytes()
    tree = read(inside(array(shape(1, 3), dtype("f4"), data)), tmp_path)
    np.testing.assert_array_equal(tree["params"]["m"]["w"], [[1, 2, 3]])


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("os.system", "asks for 'os', 'system', which no checkpoint needs: refused"),
        ("jax with another function inside", "asks for 'os', 'system'"),
        ("10^9 elements", "an array of 4 bytes whose shape asks for another number"),
        ("objects", "dtype 'O8'"),
        ("a text of 2^63 bytes", "the file ends too early"),
        ("one MB used by 1000 arrays", "its arrays are larger than the file"),
        ("one MB with 1000 names", "its arrays are larger than the file, as many names have the same one"),
        ("one mapping of 1000 arrays as 1000 modules", f"more than {pickle_machine.MAX_OPCODES} arrays"),
        ("a million marks", f"more than {pickle_machine.MAX_OPCODES} opcodes"),
        ("a persistent id", "opcode b'P'"),
        ("protocol 0", "not a pickle of protocol 2 to 5"),
        ("a second pickle behind", "bytes follow the end"),
        ("no state", "'state' is missing"),
        ("numbers for arrays", "'a', 'b' is a float, not an array"),
    ],
)
def test_the_error_says_what_is_wrong(what, message, tmp_path):
    with pytest.raises(CheckpointError, match="checkpoint .*file.pkl: ") as error:
        read(HOSTILE[what], tmp_path)
    assert message in str(error.value)


def test_every_truncation_is_an_error(tmp_path):
    data = dumps(small_tree(), "jax")
    for length in range(len(data)):
        with pytest.raises(CheckpointError):
            read(data[:length], tmp_path)


def test_no_file_no_regular_file_too_large_a_file(tmp_path):
    with pytest.raises(CheckpointError, match="nowhere.pkl: No such file"):
        unpickle.read(str(tmp_path / "nowhere.pkl"))
    with pytest.raises(CheckpointError, match="not a regular file"):
        unpickle.read(str(tmp_path))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CheckpointError, match="not a regular file"):
        unpickle.read(str(tmp_path / "pipe"))
    (tmp_path / "large.pkl").write_bytes(dumps(small_tree()))
    with pytest.raises(CheckpointError, match="more than the 100 that are allowed"):
        unpickle.read(str(tmp_path / "large.pkl"), max_bytes=100)


def test_mutated_files_give_arrays_or_an_error(tmp_path):
    rng, files, errors = random.Random(0), [*REAL.values()], 0
    path = tmp_path / "file.pkl"
    for number in range(2500):
        data = (mutate, reorder)[number % 2](files, rng)
        path.write_bytes(data)
        try:
            tree = unpickle.read(str(path))
        except CheckpointError as error:
            errors += 1
            assert "\n" not in str(error), number
        else:
            arrays = [values for part in tree.values() for leaves in part.values() for values in leaves.values()]
            assert all(type(values) is np.ndarray for values in arrays)
            assert all(values.dtype.kind in "fiub" for values in arrays)
    assert 1250 < errors < 2500  # the rest changed a number, a name, or nothing


# Reads all files of a folder under an audit hook, which sees every import, open, exec and process of the interpreter.
AUDITED = """
import os, sys
from mmv_tf.released import unpickle

for library in ("jax", "haiku", "dill", "tensorflow", "keras"):
    assert library not in sys.modules, library
folder = sys.argv[1]
paths = [os.path.join(folder, name) for name in sorted(os.listdir(folder))]
unpickle.read(paths[0])  # what numpy imports at its first use
events = []
sys.addaudithook(lambda event, arguments: events.append((event, arguments)))
errors = 0
for path in paths:
    try:
        unpickle.read(path)
    except unpickle.CheckpointError:
        errors += 1
seen = [(e, a) for e, a in events if not (e == "open" and a[0] in paths)]
print(errors, seen[:5])
"""


def test_nothing_from_a_file_is_executed_or_imported(tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    rng = random.Random(1)
    files = {"00_good": REAL["jax/FlatMapping/dill/4"]}
    files |= {f"hostile_{i:03d}": data for i, data in enumerate(HOSTILE.values())}
    files |= {f"mutated_{i:03d}": mutate([*HOSTILE.values()], rng) for i in range(200)}
    for name, data in files.items():
        (folder / name).write_bytes(data)
    root = os.path.dirname(os.path.dirname(os.path.abspath(unpickle.__file__)))
    environment = {**os.environ, "PYTHONPATH": os.path.dirname(root)}
    result = subprocess.run(
        [sys.executable, "-c", AUDITED, str(folder)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        cwd=tmp_path,
        env=environment,
    )
    assert result.returncode == 0, result.stderr
    errors, seen = result.stdout.split(maxsplit=1)
    assert seen.strip() == "[]"
    assert int(errors) >= len(HOSTILE)
    assert os.listdir(tmp_path) == ["files"]
