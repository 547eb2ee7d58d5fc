"""The checkpoints that lie in a folder: which is the newest, and whether its files are all there.

TensorFlow believes the small file `checkpoint`. Where a copy has lost it, or lost a part of what it names, TensorFlow
says that there is no checkpoint at all, and a run would begin again over its own past.
"""

import os
import re

import tensorflow as tf

from mmv_tf.common import files

POINTER = "checkpoint"
VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"  # what the keys of variables end in
_FILE = re.compile(r"(?P<name>.+-(?P<step>\d+))\.(?P<kind>index|data-\d{5}-of-(?P<parts>\d{5}))")


def key_of(name: str) -> str:
    """A name as it stands in the keys of a checkpoint: where "/" parts it, they have ".S", and ".." for "."."""
    return name.replace(".", "..").replace("/", ".S")


def name_of(key: str) -> str:
    """`key_of` back."""
    return re.sub(r"\.(.)", lambda found: "/" if found[1] == "S" else found[1], key)  # from the left: "..S" is ".S"


def newest(folder: str, say=print) -> str | None:
    """The path of the checkpoint to go on from: the one that the file `checkpoint` names; None if there is none at all.

    Without that file, or where all of what it names is gone, it is the newest whole one, and a line says so.

    Args:
      folder: with the files of checkpoints. May be missing.
      say: gets the line.
    Raises:
      ValueError: the checkpoint that is named is not whole, or none is; names what is missing and what to do.
    """
    there = _found(folder)
    whole = sorted(step for step, (_, missing) in there.items() if not missing)
    named = _named(folder)
    if named and (found := _FILE.fullmatch(f"{named}.index")):
        name, missing = there.get(int(found["step"]), (None, []))
        if name == named:
            if not missing:
                return os.path.join(folder, named)
            advice = "and no other one is whole"
            if whole:
                advice = f"or remove {named}.* to go on from {there[whole[-1]][0]}, which is whole"
            raise ValueError(
                f"{os.path.join(folder, named)} is not whole: {named}{missing[0]} is missing. Copy it again, {advice}"
            )
    if whole:
        name = there[whole[-1]][0]
        why = f"names {named}, which is not there" if named else "is missing or cannot be read"
        say(f"{folder}: the file '{POINTER}' {why}; the newest whole checkpoint is {name}")
        return os.path.join(folder, name)
    if there and max(there) > 0:  # what is left of step 0 is from a process that was killed in its first moment
        name, missing = there[max(there)]
        what = f"{name}{missing[0]} is missing. Copy it again, or remove {name}.* to begin anew"
        raise ValueError(f"{folder} holds no whole checkpoint: {what}")
    return None


def repair(folder: str, path: str) -> None:
    """Makes the file `checkpoint` name `path` as the newest, and before it the older whole ones of the same folder.

    Otherwise the manager of checkpoints would count from nothing, and never remove those that are there.
    """
    if _named(folder) == os.path.basename(path):
        return
    there, last = _found(folder), int(_FILE.fullmatch(f"{os.path.basename(path)}.index")["step"])
    names = [there[step][0] for step in sorted(there) if not there[step][1] and step <= last]
    # A CheckpointState as text. The manager keeps for good what is not younger than `last_preserved_timestamp`.
    lines = [f'model_checkpoint_path: "{names[-1]}"', *(f'all_model_checkpoint_paths: "{name}"' for name in names)]
    for name in names:
        made = tf.io.gfile.stat(os.path.join(folder, f"{name}.index")).mtime_nsec / 1e9
        lines.append(f"all_model_checkpoint_timestamps: {made}")
    files.write_text(os.path.join(folder, POINTER), "\n".join([*lines, "last_preserved_timestamp: 0", ""]))


def _named(folder: str) -> str:
    """The name of the checkpoint that the file `checkpoint` points to; '' if it does not."""
    try:
        state = tf.train.get_checkpoint_state(folder)
    except (tf.errors.OpError, ValueError):  # which are no text at all
        return ""
    return os.path.basename(state.model_checkpoint_path) if state else ""


def _found(folder: str) -> dict[int, tuple[str, list[str]]]:
    """{step: (name, endings of the files that are missing)} of all checkpoints of which some file is there."""
    if not tf.io.gfile.isdir(folder):
        return {}
    kinds: dict[tuple[int, str], set[str]] = {}
    parts: dict[tuple[int, str], int] = {}
    for file in tf.io.gfile.listdir(folder):
        if found := _FILE.fullmatch(file):
            one = int(found["step"]), found["name"]
            kinds.setdefault(one, set()).add(found["kind"])
            if found["parts"]:
                parts[one] = int(found["parts"])
    result = {}
    for (step, name), there in kinds.items():
        count = parts.get((step, name), 1)
        wanted = ["index", *(f"data-{part:05d}-of-{count:05d}" for part in range(count))]
        result[step] = name, [f".{kind}" for kind in wanted if kind not in there]
    return result


def restore(checkpoint: tf.train.Checkpoint, path: str) -> None:
    """Restores all that `checkpoint` lists.

    Raises:
      ValueError: the file is damaged, lacks something, or has another shape of it; names the file.
    """
    try:
        # Partial first: what an error leaves unread would be listed at exit, a warning each.
        checkpoint.restore(path).expect_partial().assert_existing_objects_matched()
    except (AssertionError, ValueError, IndexError, tf.errors.OpError) as error:
        # What TensorFlow says of a file that was cut short, or changed; an index is an sstable.
        if isinstance(error, IndexError | tf.errors.DataLossError) or "sstable" in str(error):
            what = "copy its files again, or take them away to go on from an older checkpoint"
            raise ValueError(f"{path} is damaged ({error}): {what}") from error
        raise ValueError(f"{path} does not fit the configured model: {error}") from error
