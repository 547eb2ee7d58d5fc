"""The claims of dataset.json about the files beside it, against the files."""

import collections
from collections.abc import Iterator
from typing import NamedTuple

from mmv_tf.common.files import PARTIAL
from mmv_tf.inspection.folder import Folder, open_file, shown
from mmv_tf.records.card import DEAD_LETTERS, Reason, Remark, dead_letter
from mmv_tf.records.naming import parse_shard_name

# Counters of dataset.json that can be counted again from the records.
_COUNTED = ("with_video", "with_sound", "silent", "with_captions", "with_labels", "frames", "milliseconds")


def files(folder: Folder) -> Iterator[str]:
    """Missing, surplus and half-written files."""
    listed = folder.card.shards
    for name in sorted(set(listed) - set(folder.names)):
        yield f"{name}: is in dataset.json and not in the folder"
    for split, content in folder.card.splits.items():
        names = {name: parse_shard_name(name) for name in content.shards}
        for name in sorted(name for name, parts in names.items() if not parts or parts.split != split):
            yield f"{name}: no name for a shard of the split {split}"
        indices = sorted(parts.index for parts in names.values() if parts)
        numbers = {parts.number for parts in names.values() if parts}
        if len(numbers) > 1 or numbers and indices != list(range(next(iter(numbers)))):
            yield f"split {split}: dataset.json does not list every shard from 0 on exactly once"
    for name in folder.names:
        if name in listed or name == DEAD_LETTERS:
            continue
        if name.startswith(".staging-"):
            yield f"{name}: a run of preprocess that has not ended; start it again"
        elif name.endswith(".tmp") or name.startswith(("tmp-", PARTIAL)):
            yield f"{name}: a temporary file that was left behind; delete it"
        elif parse_shard_name(name):
            yield f"{name}: is in the folder and not in dataset.json; a reader with a pattern would take it"


def contents(folder: Folder, shards: list) -> Iterator[str]:
    """Counts, checksums, counters and dead letters; `shards`: what verify.check_shard found in each."""
    letters = _dead_letters(folder)
    yield from letters.problems
    for split, content in folder.card.splits.items():
        of_split = [shard for shard in shards if shard.split == split]
        checksums = content.settings.get("sha256", {})
        for shard in of_split:
            if shard.records != content.shards[shard.name]:
                yield f"{shard.name}: {shard.records} good records; dataset.json says {content.shards[shard.name]}"
            stated = str(checksums.get(shard.name, shard.sha256))
            if shard.sha256 and stated != shard.sha256:
                yield f"{shard.name}: SHA-256 {shard.sha256[:12]}...; dataset.json says {shown(stated, 12)}"
        counters = content.counters
        if not counters:
            continue
        read, accepted, rejected = (counters.get(name, 0) for name in ("read", "accepted", "rejected"))
        if accepted + rejected != read:
            yield f"split {split}: {accepted} accepted + {rejected} rejected is not {read} read"
        if accepted != content.num_records:
            yield f"split {split}: {accepted} accepted; the shards of dataset.json hold {content.num_records}"
        reasons = collections.Counter(counters.get("reasons", {}))
        if reasons.total() != rejected:
            yield f"split {split}: {rejected} rejected; the reasons add up to {reasons.total()}"
        if letters.reasons[split] != reasons:
            yield (
                f"split {split}: {DEAD_LETTERS} holds {letters.reasons[split].total()} lines; dataset.json says "
                f"{rejected} rejected, or the reasons differ"
            )
        total = sum((shard.counters for shard in of_split), collections.Counter())
        for name in _COUNTED:
            if name in counters and len(of_split) == len(content.shards) and counters[name] != total[name]:
                yield f"split {split}: {name} is {total[name]}; dataset.json says {counters[name]}"


class _Letters(NamedTuple):
    reasons: collections.defaultdict  # split -> Counter of reasons
    problems: list[str]


def _dead_letters(folder: Folder) -> _Letters:
    letters = _Letters(collections.defaultdict(collections.Counter), [])
    if DEAD_LETTERS not in folder.names:
        return letters
    known = {reason.value for reason in Reason}
    remarks = {remark.value for remark in Remark}  # of which no clip is rejected
    file, _ = open_file(folder.join(DEAD_LETTERS))
    with file:
        for number, line in enumerate(file, 1):
            try:
                entry = dead_letter(line)
                if entry["reason"] in remarks and isinstance(entry["split"], str):
                    continue
                letters.reasons[entry["split"]][entry["reason"]] += 1
                if entry["reason"] not in known:
                    letters.problems.append(f"{DEAD_LETTERS}: line {number}: unknown reason {shown(entry['reason'])}")
            except (ValueError, KeyError, TypeError):
                letters.problems.append(f"{DEAD_LETTERS}: line {number}: not a line that preprocess writes")
    return letters
