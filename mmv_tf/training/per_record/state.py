"""Memories and tables of a run: made for its records, begun, restored, and brought along from another run."""

import tensorflow as tf

from mmv_tf.common import identity
from mmv_tf.model.per_record import of_fingerprint
from mmv_tf.training import checkpoint_files, strategies

SHORT_EPOCH = 1000  # steps
_PLACE = "per_record/"  # in a checkpoint


def prepare(model, pipeline, batch_size: int, strategy, widths=None) -> None:
    """Makes what the graph of a built model asks for, over the training records of a pipeline; says its memory.

    Nothing, where the graph asks for nothing.

    Args:
      widths: {table: numbers for each record} that train.refresh writes.
    Raises:
      ValueError: no records, too few of them, or tables that do not fit; names the setting.
    """
    if not model.graph.keeps_records:
        if widths:
            raise ValueError(f"train.refresh writes the table {next(iter(widths))!r}, and the graph names none.")
        return
    pipeline.numbers_records = True
    contents = pipeline.training_contents(batch_size)
    count = sum(sum(one.records) for one in contents)
    sources = [(sum(one.records), source.weight) for one, source in zip(contents, pipeline.sources, strict=True)]
    with strategy.scope():
        model.keep_records(count, identity.of([one.identities for one in contents]), widths, sources)
    kept = model.per_record
    parts = [f"memory of {name} in {space}" for name, space in kept.memories]
    parts += [f"table {name}" for name in kept.tables]
    strategies.say(strategy)(
        f"kept of each of {count:,} records: {', '.join(parts)}; {kept.bytes / 1e6:,.1f} MB on each device and in each "
        "checkpoint"
    )
    steps = count / batch_size
    if kept.memories and pipeline.order == "epochs" and steps < SHORT_EPOCH:
        strategies.say(strategy)(
            f"an epoch is {steps:,.0f} steps, and in epochs a sample's own vector is older than those it is compared "
            "with: a network can tell it by drifting and learn nothing else, seen where an epoch was 47 steps. Set "
            "InputPipeline.order = 'independent' if the spread falls towards 0"
        )


def restore(kept, path: str, seed: int) -> list[str]:
    """Gives a model's `PerRecord` what a checkpoint holds; what it does not hold begins anew.

    Returns:
      lines for people, about what begins anew.
    Raises:
      ValueError: the checkpoint's is of other records: names both.
    """
    theirs = _names(path)
    if theirs:
        _check_records(kept, path)
    ours = kept.named_variables()
    taken = {name: variable for name, variable in ours.items() if name in theirs}
    if any(name.startswith("table/") and name not in taken for name in ours):
        taken.pop("refreshed", None)
        kept.refreshed.assign(-1)  # a table without numbers teaches nothing: the next refresh is at once
    kept.begin(seed, [name for name in ours if name not in taken])
    if taken:
        checkpoint_files.restore(tf.train.Checkpoint(**{_PLACE[:-1]: taken}), path)
        kept.weigh()
    anew = [name for name in ours if name not in taken and name.startswith(("memory/", "table/"))]
    return [f"{path} does not hold {', '.join(anew)}, which begin anew"] if anew else []


def take(kept, path: str, seed: int) -> list[str]:
    """Gives a model's `PerRecord` the memories of another run's checkpoint, with their Z; tables begin anew.

    Returns:
      the names of the memories that were taken.
    Raises:
      ValueError: they are of other records: names both.
    """
    theirs = _names(path)
    ours = kept.named_variables()
    names = [name for name in ours if name in theirs and name.startswith("memory/")]
    kept.begin(seed, [name for name in ours if name not in names])
    if not names:
        return []
    _check_records(kept, path)
    variables = {name: ours[name] for name in (*names, "z")}
    checkpoint_files.restore(tf.train.Checkpoint(**{_PLACE[:-1]: variables}), path)
    return names


def _names(path: str) -> set[str]:
    found = (key for key, _ in tf.train.list_variables(path) if key.startswith(_PLACE))
    return {checkpoint_files.name_of(key.removeprefix(_PLACE).removesuffix(checkpoint_files.VALUE)) for key in found}


def _check_records(kept, path: str) -> None:
    numbers = tf.train.load_checkpoint(path).get_tensor(f"{_PLACE}records{checkpoint_files.VALUE}")
    count, theirs = of_fingerprint(numbers)
    if (count, theirs) != (kept.count, kept.identity):
        raise ValueError(
            f"{path} keeps memories or tables of {count:,} records ({theirs}), and the training records are "
            f"{kept.count:,} ({kept.identity}): put those back, or begin a new workdir with train.init_from and "
            "train.init_parts, which take the weights of the parts alone"
        )
