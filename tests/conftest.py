"""Set-up of all tests: one temporary folder for the run, quiet TensorFlow, little memory."""

import atexit
import ctypes
import gc
import os
import resource
import shutil
import sys
import tempfile

gc.disable()  # until all is imported: a tenth of the time of that, and nothing of it goes

# Of this process and of those that it starts: TensorFlow, Beam and Python leave files there, and so does whoever is
# killed in a test. Registered before TensorFlow is imported: it runs after whatever TensorFlow does at the end.
os.environ["TMPDIR"] = tempfile.tempdir = tempfile.mkdtemp(prefix="mmv_tf_tests_")
atexit.register(shutil.rmtree, tempfile.tempdir, ignore_errors=True)

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
# Of commands that are started (helpers/kernels.py): on by default where the processor has instructions for networks;
# with it the kernels are the same on every x86.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
# Otherwise TensorFlow keeps whatever the largest test took, 8 GB in the end; what it computes is the same.
os.environ.setdefault("TF_ONEDNN_USE_SYSTEM_ALLOCATOR", "1")
# XLA's own passes are as ever; LLVM takes half the time where it optimises nothing of what they give it.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")
# argparse looks for translations of its words, in several files each; Beam makes a dozen parsers in every run.
os.environ["LANGUAGE"] = "C"

import pytest  # noqa: E402  (the environment comes first)


def pytest_configure(config):
    """What a test needs comes here, and not in the process that only hands the files out to others (pytest-xdist)."""
    if getattr(config.option, "numprocesses", None) and not hasattr(config, "workerinput"):
        gc.enable()
    else:  # to import TensorFlow takes five seconds and half a gigabyte
        import helpers.tensorflow_of_tests  # noqa: F401


@pytest.fixture(autouse=True)
def no_configuration():
    """gin's configuration is global: no test sees what another one has parsed, or how much it has drawn."""
    import gin
    import keras

    gin.clear_config()
    keras.utils.set_random_seed(0)


@pytest.fixture(autouse=True, scope="module")
def draws_of_a_file():
    """What is made once for a file is the same whatever ran before."""
    import keras

    keras.utils.set_random_seed(0)


@pytest.fixture(autouse=True, scope="module")
def nothing_is_left_of_a_file(request):
    """What a file has made once, and what was traced once for a process, goes with the file: a traced function holds a
    graph of thousands of objects, and whatever that was made of."""
    from tensorflow.python.framework import ops

    gradients = ops.gradient_registry._registry
    before = set(gradients)
    yield
    # TensorFlow has no end for gradients of functions that were traced, such as those of keras.remat.
    if _shares(request.node) != "tiny_export":  # what files share may still need its own
        for name in gradients.keys() - before:
            del gradients[name]
    windows = sys.modules.get("mmv_tf.evaluation.windows")
    for owner in filter(None, (request.module, windows)):
        for value in vars(owner).values():
            if hasattr(value, "cache_clear") and value.__module__ == owner.__name__:
                value.cache_clear()

    import tensorflow as tf

    tf.compat.v1.reset_default_graph()  # where tf.data leaves the function of each Dataset.reduce


def _shares(item) -> str:
    """What a file shares with others: what is made once for all of them should be made in one process alone."""
    if "tiny_export" in vars(item.module) or "searching" in item.path.parts:
        return "tiny_export"
    return "processes" if "processes" in vars(item.module) else item.nodeid.partition("::")[0]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Side by side (pytest-xdist), a file runs in one process, and so do all files that share something dear."""
    for item in items if hasattr(config, "workerinput") else ():
        item.add_marker(pytest.mark.xdist_group(_shares(item)))


def pytest_make_parametrize_id(val):
    """A name that fits into a line, of inputs that are hostile by their length: names go to and fro between processes,
    and some would be of 17 MB."""
    if isinstance(val, str | bytes) and len(val) > 200:
        return f"{ascii(val[:20])} and so on, of {len(val)}"
    return None  # as pytest names it


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_node_collection_finished(node, ids):
    """Groups that nobody heeds show in nothing but time and memory: every process makes the fixtures of every file."""
    scattered = [name for name in ids if "@" not in name.rpartition("]")[2]]
    if node.config.option.dist == "loadgroup" and scattered:
        raise pytest.UsageError(
            f"{len(scattered)} tests are in no group, such as {scattered[0]}: this pytest and pytest-xdist do not fit "
            "each other; install those of requirements.lock."
        )


def pytest_collection_finish():
    gc.freeze()  # what the imports have made stays: looking through it takes a third of a second each time
    gc.enable()
    gc.set_threshold(50_000, 10, 10)  # graphs are many small objects, and hardly any of them goes before its graph


@pytest.fixture(autouse=True, scope="session")
def freed_memory_is_not_kept():
    """What a command sets of the C library holds for its process: here blocks above 32 MB, which is what glibc has by
    itself, go back to the system as ever when commands have been called."""
    from mmv_tf.common import batches

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "_LARGEST", 32 << 20)
        yield


_GROWTH = 300e6  # bytes until what is free is looked for: that takes a second, however little there is
_before = 0.0


def _resident() -> float:
    """Bytes of memory that this process has; where the system does not say it, the most that it has had."""
    if sys.platform == "linux":
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.fixture(autouse=True)
def memory_is_given_back():
    """Networks and graphs are cycles of references; what they free, the C library keeps unless it is asked."""
    global _before
    _before = _before or _resident()
    yield
    if _resident() < _before + _GROWTH:
        return
    from tensorflow.python.eager import context

    context.context().clear_kernel_cache()  # of functions that were called: with it go all that they were made of
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)
    _before = _resident()
