"""CARD.md of a made benchmark: sizes, labels and checksums, by which two machines can tell that they made the same."""

import collections
import hashlib
import json
import pathlib

from benchmarks.miniature import scenes
from mmv_tf.common.files import whole_file

CHECKED = ("impacts", "brightness", "level")  # statistics of each shot, of the pictures and samples before encoding


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def statistics(output: pathlib.Path) -> dict:
    """{'splits': {split: counts}, 'checksums': {name: sha256}} of a made benchmark."""
    rows = [json.loads(line) for line in (output / "clips.jsonl").read_text("utf-8").splitlines()]
    splits: dict[str, dict] = {}
    for split in dict.fromkeys(row["split"] for row in rows):
        of_split = [row for row in rows if row["split"] == split]
        manifest = [json.loads(line) for line in (output / "manifests" / f"{split}.jsonl").read_text().splitlines()]
        splits[split] = {
            "clips": len(manifest),
            "episodes": len({row["video_path"] for row in of_split}),
            "with text": sum(bool(line["captions"]) for line in manifest),
            "impacts": sum(row["impacts"] for row in of_split) / len(of_split),
            **{
                name: dict(sorted(collections.Counter(row[name] for row in of_split).items())) for name in scenes.LABELS
            },
        }
    said = [(output / "manifests" / f"{split}.jsonl").read_bytes() for split in splits]
    return {
        "splits": splits,
        "checksums": {
            "what is said and labelled": sha256(b"".join(said)),
            "impacts, brightness and level of each shot": sha256(
                json.dumps([[row[name] for name in CHECKED] for row in rows]).encode()
            ),
            "vocabulary.txt": sha256((output / "vocabulary.txt").read_bytes()),
        },
    }


def render(found: dict) -> str:
    """Markdown of `statistics`."""
    lines = [
        "| split | episodes | clips | with text | impacts a shot | clips of an event |",
        "|---|---|---|---|---|---|",
    ]
    for split, n in found["splits"].items():
        events = f"{min(n['event'].values())} to {max(n['event'].values())}"
        lines.append(f"| {split} | {n['episodes']} | {n['clips']} | {n['with text']} | {n['impacts']:.0f} | {events} |")
    lines += ["", "| sha256 of | |", "|---|---|", *(f"| {k} | {v} |" for k, v in found["checksums"].items())]
    return "\n".join(lines) + "\n"


def write(output: pathlib.Path) -> None:
    """Writes OUTPUT/statistics.json and CARD.md."""
    found = statistics(output)
    with whole_file(output / "statistics.json") as partial:
        partial.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    with whole_file(output / "CARD.md") as partial:
        partial.write_text(render(found), "utf-8")
    print(render(found))
