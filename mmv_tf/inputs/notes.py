"""Lines that a run says of its data at the start: the order and its memory, shares, and clips that meet themselves."""

import math
import os

from mmv_tf.inputs.examples import TrainingExamples
from mmv_tf.inputs.stream import page_of

_GS_BLOCK = "GCS_READ_CACHE_BLOCK_SIZE_MB"


def lines(examples: TrainingExamples) -> list[str]:
    """What is worth knowing before a run with such batches; the first line always, the others where they apply."""
    index, batch = examples.index, examples.batch * examples.hosts
    mean = index.bytes / len(index.offsets)
    found = [
        f"data: {len(index.offsets):,} records of {_size(mean)} in {len(index.files):,} shards; {_order(examples)}; "
        f"index {_size(index.memory)}, the order is computed and takes no memory; {examples.readers} records "
        f"are read side by side, {_size(examples.readers * mean)} on each host"
    ]
    if examples.window_bytes is not None and not examples.window:
        found.append(
            f"InputPipeline.shuffle_bytes = {examples.window_bytes:g} has no effect: a shuffle of all records takes no "
            "memory; it bounds InputPipeline.shuffle_window, which is 0"
        )
    if len(examples.names) > 1:
        shares = zip(examples.names, examples.order.shares.of(batch), strict=True)
        found.append(
            f"shares of a batch of {batch}, on average and exact over the run: "
            + ", ".join(f"{share:.3g} of {name}" for name, share in shares)
        )
    found += _repeats(examples, batch) + _remote(index, mean)
    return found


def _order(examples):
    if examples.independent:
        return "each clip is of a record drawn by itself, so some come more often than others"
    windows = {
        min(window, size) if window else size
        for window, size in zip(examples.order.windows, examples.order.sizes, strict=True)
    }
    if windows == set(examples.order.sizes):
        return "each epoch is a permutation of all records" + (" of each source" if len(examples.names) > 1 else "")
    window = examples.order.windows[0]
    less = f", less than InputPipeline.shuffle_window = {examples.window} to stay within shuffle_bytes"
    return (
        f"about {window} records are permuted among themselves ({page_of(window)} neighbours at a time"
        f"{less if window < examples.window else ''}), so clips come together again more often than in a full shuffle "
        "(InputPipeline.shuffle_window = 0)"
    )


def _repeats(examples, batch):
    """Clips that are in a batch twice, and so are each other's negatives."""
    found = []
    for name, share, size in zip(examples.names, examples.order.shares.of(batch), examples.order.sizes, strict=True):
        of = "" if len(examples.names) == 1 else f" of {name}"
        if examples.independent:
            # size (1 - (1 - 1 / size) ^ share) of them differ on average.
            if (twice := share - size * -math.expm1(share * math.log1p(-1 / size))) >= 1:
                found.append(
                    f"about {twice:.2g} of the {share:.4g} clips{of} in a batch are windows of a clip that is in the "
                    "batch already, and negatives of it"
                )
        elif share > size:
            found.append(
                f"a batch holds {share:.4g} clips{of} and there are {size} records: each is in it "
                f"{_times(share / size)}, so {share - size:.4g} of {share:.4g} are windows of a clip that is in the "
                "batch already, and negatives of it; make train.batch_size smaller"
            )
        # An epoch ends anywhere in a batch: `a` clips before its end and share - a after it have a (share - a) / size
        # records in common on average, which is share ^ 2 / 6 size over all a.
        elif (twice := share**2 / (6 * size)) >= 1:
            found.append(
                f"where an epoch ends within a batch (1 batch in {size / share:.3g}), about {twice:.2g} of {share:.4g} "
                f"clips{of} are windows of a clip that is in the batch already, and negatives of it"
            )
    files = [file for one in examples.found for file in one.files]
    if shared := len(files) - len(set(files)):
        found.append(
            f"{shared} shards belong to two sources: a clip of theirs can be in a batch twice, negative of itself"
        )
    return found


def _times(number):
    low, high = math.floor(number), math.ceil(number)
    return f"{low} times" if low == high else f"{low} or {high} times"


def _remote(index, mean):
    remote = next((file for file in index.files if "://" in file), None)
    if remote is None:
        return []
    found = f"{remote.partition('://')[0]}://: each record is read by requests of its own, {_size(mean)}"
    if remote.startswith("gs://"):
        block = os.environ.get(_GS_BLOCK, "64")
        wanted = max(1, math.ceil(mean / 2**20))
        found += (
            f"; its file system reads {block} MB each time ({_GS_BLOCK} in the environment"
            f"{f'; {wanted} would be enough' if block != str(wanted) else ''})"
        )
    return [found]


def _size(count):
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.3g} {unit}" if count < 1000 else f"{count:,.0f} {unit}"
        count /= 1000
