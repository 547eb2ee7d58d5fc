"""A split of the user's videos into a part to train on and a part to search in.

    python -m demo.manifest --videos FOLDER --output build/demo-videos/manifests

Writes OUTPUT/train.jsonl and test.jsonl for mmv_tf.beam.preprocess. A file long enough gives its last quarter, so
that a single video can be searched too; of shorter files every fourth is held out. Files that cannot be opened stay
in train.jsonl, for the preprocessing to reject with a reason.
"""

import argparse
import json
import pathlib

from mmv_tf.beam.sources.folder import MEDIA_SUFFIXES
from mmv_tf.common.files import whole_file

HELD_OUT = 4  # one part in so many
PIECE_SECONDS = 10.0


def duration(path: pathlib.Path) -> float:
    """Seconds that the container states; 0 where it cannot be opened or does not say."""
    import av

    # Only containers of the file's own data: a playlist could lead to other files.
    try:
        with av.open(str(path), options={"protocol_whitelist": "file", "format_whitelist": _CONTAINERS}) as container:
            return float(container.duration or 0) / av.time_base
    except (av.FFmpegError, ValueError):
        return 0.0


_CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,flv,ogg,mpeg,mpegts,asf"


def pieces(path: str, start: float, end: float, least: float) -> list[dict]:
    """Rows of PIECE_SECONDS from start to end; the last may be as short as `least`."""
    rows = []
    while end - start >= least:
        rows.append({"video_path": path, "start": start, "end": min(start + PIECE_SECONDS, end)})
        start += PIECE_SECONDS
    return rows


def split(files: list[tuple[str, float]], clip_seconds: float) -> dict[str, list[dict]]:
    """Rows {'train': [...], 'test': [...]} of (path, seconds)."""
    rows: dict[str, list[dict]] = {"train": [], "test": []}
    short = 0
    for path, seconds in files:
        if seconds >= HELD_OUT * clip_seconds:
            # Whole clips in the held-out part, and no clip on both sides of the cut.
            cut = seconds - max(clip_seconds, seconds / HELD_OUT // clip_seconds * clip_seconds)
            rows["train"] += pieces(path, 0.0, cut, clip_seconds / 2)
            rows["test"] += pieces(path, cut, seconds, clip_seconds / 2)
        elif seconds > 0:
            short += 1
            rows["test" if short % HELD_OUT == 0 else "train"].append({"video_path": path})
        else:
            rows["train"].append({"video_path": path})
    return rows


def main(arguments: argparse.Namespace) -> None:
    root, output = pathlib.Path(arguments.videos), pathlib.Path(arguments.output)
    paths = sorted(path for path in root.rglob("*") if path.suffix.lower() in MEDIA_SUFFIXES and path.is_file())
    if not paths:
        raise SystemExit(f"--videos {root}: no video file in it (looked for {' '.join(sorted(MEDIA_SUFFIXES))})")
    files = [(path.relative_to(root).as_posix(), duration(path)) for path in paths]
    rows = split(files, arguments.clip_seconds)
    if not rows["test"]:
        raise SystemExit(
            f"--videos {root}: {len(files)} files of {sum(seconds for _, seconds in files):.0f} s leave nothing to "
            f"search in: give at least {HELD_OUT} files, or one of {HELD_OUT * arguments.clip_seconds:g} s"
        )
    output.mkdir(parents=True, exist_ok=True)
    for name, part in rows.items():
        with whole_file(output / f"{name}.jsonl") as partial:
            partial.write_text("".join(json.dumps(row) + "\n" for row in part), "utf-8")
    total = sum(seconds for _, seconds in files)
    print(f"  {len(files)} files, {total:.0f} s: {len(rows['train'])} parts to train on, {len(rows['test'])} to search")


def cli() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--videos", required=True)
    parser.add_argument("--output", required=True)
    parser.add_argument("--clip_seconds", type=float, default=3.2, help="length of the clips that are searched")
    main(parser.parse_args())


if __name__ == "__main__":
    cli()
