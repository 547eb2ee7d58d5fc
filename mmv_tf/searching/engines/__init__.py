"""The engines by name: which one an index is made with is written in it, and it answers by no other."""

import os
import uuid

from mmv_tf.searching.engines import two_stage

NAMES = ("numpy", "faiss", "milvus")
_NEEDS = {"faiss": "faiss-cpu", "milvus": "pymilvus"}


def settings(name: str | None, uri: str | None, known: dict | None) -> dict:
    """What an index writes down of its engine.

    Args:
      name: of the engine; None for the one that it has, or NumPy for a new index.
      uri: of Milvus, where it is (now).
      known: settings of the index that is there, or None.
    Returns:
      {"engine", "uri", "collections"}; of Milvus alone the latter two say something.
    Raises:
      ValueError: no such engine, another one than the index has, a uri too many or too few.
    """
    before = (known or {}).get("engine")
    name = name or before or NAMES[0]
    check(name, before)
    uri = uri or (known or {}).get("uri") or ""
    if (name == "milvus") != bool(uri):
        raise ValueError(
            "--engine milvus needs --uri: http://HOST:19530, or the path of a file for milvus-lite"
            if name == "milvus"
            else f"--uri belongs to --engine milvus, and the engine is {name}"
        )
    made = (known or {}).get("collections") or (f"mmv_tf_{uuid.uuid4().hex[:12]}" if name == "milvus" else "")
    return {"engine": name, "uri": place(uri), "collections": made}


def check(name: str, of_index: str | None) -> None:
    """Raises ValueError where there is no such engine, it is not installed, or the index was made with another."""
    if name not in NAMES:
        raise ValueError(f"--engine {name}: there are {', '.join(NAMES)}")
    if of_index not in (None, name):
        raise ValueError(
            f"--engine {name}: this index was made with {of_index}; leave --engine out, or make another --index"
        )
    _module(name)


def place(uri: str) -> str:
    """A uri as it is written down: a file by its whole path.

    Raises:
      ValueError: it holds a password, which would be written into the index.
    """
    scheme, slashes, rest = uri.partition("://")
    if "@" in rest:
        raise ValueError("--uri with a password in it: give user:password in the environment, as MILVUS_TOKEN")
    return uri if slashes or not uri else os.path.abspath(os.path.expanduser(uri))


def _module(name):
    try:
        if name == "faiss":
            from mmv_tf.searching.engines import with_faiss as module
        elif name == "milvus":
            from mmv_tf.searching.engines import with_milvus as module
        else:
            module = two_stage
    except ModuleNotFoundError as error:
        if error.name not in ("faiss", "pymilvus"):
            raise
        raise ValueError(f"--engine {name} needs {_NEEDS[name]}: pip install 'mmv_tf[{name}]'") from None
    return module


def opened(made_with: dict, key: tuple[str, str], parts, ids, is_live, cache) -> two_stage.Rows:
    """The engine of an index over the rows of a modality and space; arguments as of the classes."""
    name = made_with.get("engine", NAMES[0])
    module = _module(name)
    if name == "milvus":
        return module.Engine(parts, is_live, ids, made_with["uri"], made_with["collections"], key)
    return module.Engine(parts, is_live, cache)


def mirror(made_with: dict):
    """What the writer of an index keeps up to date beside it, or None: with_milvus.Mirror."""
    if made_with.get("engine") != "milvus":
        return None
    return _module("milvus").Mirror(made_with["uri"], made_with["collections"])
