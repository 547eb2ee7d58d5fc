"""CARD.md of a made benchmark: sizes, labels and checksums, by which two machines can tell that they made the same."""

import collections
import hashlib
import json
import pathlib

import numpy as np

from demo.encode import whole_file

LABELS = ("action", "camera", "scored", "lost", "left_out")


def digest_of_play(fingerprints: pathlib.Path) -> str:
    """Of what was played: thumbnails and loudness of every episode; how the videos are encoded does not matter."""
    digest = hashlib.sha256()
    for path in sorted(fingerprints.rglob("*.npz")):
        with np.load(path) as arrays:
            digest.update(path.relative_to(fingerprints).as_posix().encode())
            digest.update(arrays["video"].tobytes())
            digest.update(np.round(arrays["level"], 3).astype("<f4").tobytes())
    return digest.hexdigest()


def sha256(path: pathlib.Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


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
            "games": len({row["game"] for row in of_split}),
            "with text": sum(bool(line["captions"]) for line in manifest),
            **{name: dict(sorted(collections.Counter(str(r[name]) for r in of_split if name in r).items()))
               for name in LABELS},
        }  # fmt: skip
    checksums = {f"manifests/{path.name}": sha256(path) for path in sorted((output / "manifests").glob("*.jsonl"))}
    checksums |= {name: sha256(output / name) for name in ("clips.jsonl", "vocabulary.txt")}
    return {"splits": splits, "checksums": checksums | {"play": digest_of_play(output / "fingerprints")}}


def render(found: dict) -> str:
    """Markdown of `statistics`."""
    lines = [
        "| split | episodes | games | clips | with text | scored | life lost | left out |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for split, n in found["splits"].items():
        out = ", ".join(f"{count} {why}" for why, count in n["left_out"].items() if why) or "-"
        lines.append(
            f"| {split} | {n['episodes']} | {n['games']} | {n['clips']} | {n['with text']} | "
            f"{n['scored'].get('True', 0)} | {n['lost'].get('True', 0)} | {out} |"
        )
    lines += [
        "",
        "| sha256 of | |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in found["checksums"].items()),
    ]
    return "\n".join(lines) + "\n"


def write(output: pathlib.Path) -> None:
    """Writes OUTPUT/statistics.json and CARD.md."""
    found = statistics(output)
    with whole_file(output / "statistics.json") as partial:
        partial.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    with whole_file(output / "CARD.md") as partial:
        partial.write_text(render(found), "utf-8")
    print(render(found))
