"""Makes the miniature benchmark: real rendered video with its own sound, narrations, labels, records.

    python -m benchmarks.miniature.make --output build/miniature

One deterministic command; a run that was interrupted goes on where it was. OUTPUT/videos has the .mp4 files, manifests/
what mmv_tf.beam.preprocess reads, clips.jsonl a line for each clip with its labels, records/ the TFRecords of the
splits, vocabulary.txt the words of the training narrations, and CARD.md sizes and checksums. Nothing of it is for the
repository: see CARD.md here for the licence.
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys

import numpy as np

from benchmarks.miniature import scenes, words
from demo import duplicates, encode, games
from demo.run import python
from demo.stages import Runner, Stage, StageError
from mmv_tf.beam.specs import clip_key

ROOT = pathlib.Path(__file__).resolve().parents[2]
HERE = pathlib.Path(__file__).resolve().parent
RECORD = ["--short_side", str(scenes.SIZE), "--sample_rate", "16000", "--num_shards", "4"]
SPLITS = (*scenes.EPISODES, *scenes.NEW_EPISODES)
PRETRAINING = ("narrated", "plain")
CAPTION_REACH = 3.0  # seconds around a clip, so that some captions are of the shot before or after


def render(episode: scenes.Episode, output: pathlib.Path) -> None:
    """Writes video, fingerprint and labels of an episode, unless they are there with the same settings."""
    path = output / "videos" / episode.path
    folder = output / "fingerprints" / pathlib.Path(episode.path).parent
    labels, prints = path.with_suffix(".json"), folder / f"{path.stem}.npz"
    settings = f"miniature {scenes.VERSION}: {episode.game} {episode.split} {episode.number}"
    if path.is_file() and labels.is_file() and prints.is_file() and encode.read_comment(path) == settings:
        return
    screens, sounds, scored, lost = map(list, zip(*scenes.play(episode), strict=True))
    per_shot = len(screens) // scenes.SHOTS
    frames, rows = [], []
    for index, shot in enumerate(episode.shots):
        part = slice(index * per_shot, (index + 1) * per_shot)
        frames += scenes.film(screens[part], shot)
        rows.append({"scored": bool(any(scored[part])), "lost": bool(any(lost[part]))})
    clean = games.waveform(np.concatenate(sounds))
    for file in (path, prints):
        file.parent.mkdir(parents=True, exist_ok=True)
    # Of what is played, not of how it is filmed: the same play in other colours is still a duplicate.
    with encode.whole_file(prints) as partial:
        np.savez(partial, **encode.fingerprint(screens, clean, scenes.FPS))
    with encode.whole_file(labels) as partial:
        partial.write_text(json.dumps(rows), "utf-8")
    with encode.whole_file(path) as partial:
        encode.write_mp4(partial, frames, scenes.recorded(clean, episode), scenes.FPS, comment=settings)


def render_all(output: pathlib.Path, names, jobs: int) -> None:
    """Renders each game in a child process, since some games kill the process that loads them."""

    def one(game: str) -> str:
        command = python("benchmarks.miniature.make", "--output", output, "--child", game)
        done = subprocess.run(command, capture_output=True, text=True, timeout=1800, check=False, cwd=ROOT)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
            raise StageError(f"game {game!r} could not be rendered: {reason}")
        return game

    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        for number, game in enumerate(pool.map(one, names), 1):
            print(f"  {number}/{len(names)} {game}", flush=True)


def clips(episode: scenes.Episode, events: list[dict]) -> list[dict]:
    """A line of clips.jsonl for each shot: the key of its record, split and labels."""
    rows = []
    for shot, event in zip(episode.shots, events, strict=True):
        start, end = shot.span
        rows.append(
            {
                "key": clip_key(episode.path, start, end),
                "video_path": episode.path,
                "start": start,
                "end": end,
                "split": episode.split,
                "game": episode.game,
                "episode": episode.number,
                "action": shot.action,
                "camera": shot.camera,
                **event,
            }
        )
    return rows


def manifest_row(row: dict, captions: list[dict]) -> dict:
    """A line of a manifest. Labels are texts such as 'camera: zoom'."""
    near = [c for c in captions if c["end"] > row["start"] - CAPTION_REACH and c["start"] < row["end"] + CAPTION_REACH]
    labels = [f"{name}: {row[name]}" for name in ("action", "camera", "game")]
    return {
        "video_path": row["video_path"],
        "start": row["start"],
        "end": row["end"],
        "captions": near,
        "label": labels,
    }


def plan(output: pathlib.Path, names=(*scenes.GAMES, *scenes.NEW_GAMES)) -> dict[str, list[tuple[dict, dict]]]:
    """{split: [(line of clips.jsonl, line of the manifest)]} of the rendered episodes."""
    made: dict[str, list[tuple[dict, dict]]] = {split: [] for split in SPLITS}
    for episode in (episode for game in names for episode in scenes.episodes(game)):
        events = json.loads((output / "videos" / episode.path).with_suffix(".json").read_text("utf-8"))
        named = ["lost" if event["lost"] else "scored" if event["scored"] else "" for event in events]
        said = words.narration(episode, named) if episode.split == "narrated" else []
        for row, shot in zip(clips(episode, events), episode.shots, strict=True):
            heard = said
            if episode.split not in (*PRETRAINING, "new_train"):
                row["caption"] = words.caption(shot, episode)
                heard = [{"text": row["caption"], "start": row["start"], "end": row["end"]}]
            made[episode.split].append((row, manifest_row(row, heard)))
    return made


def mark_duplicates(output: pathlib.Path, rows: list[dict]) -> None:
    """Sets 'left_out' of held-out clips that pretraining, or another of them, has as good as shown, and of silent ones.

    A clip is seen when both its play and its sound are: the same waiting screen under another camera, with another
    sound, is another clip.
    """
    held_out = [row for row in rows if row["split"] not in (*PRETRAINING, "new_train")]
    pieces = [duplicates.Clip(row["video_path"].removesuffix(".mp4"), row["start"], row["end"]) for row in held_out]
    for row, verdict in zip(held_out, duplicates.judge(output / "fingerprints", pieces), strict=True):
        seen = verdict.video < duplicates.VIDEO_SAME and verdict.sound < duplicates.SOUND_SAME
        row["left_out"] = "seen" if seen else verdict.reason if verdict.reason in ("twin", "silent") else ""


def write_manifests(output: pathlib.Path) -> None:
    """Writes manifests/SPLIT.jsonl and clips.jsonl; of held-out clips only those that count."""
    made = plan(output)
    rows = [row for pairs in made.values() for row, _ in pairs]
    mark_duplicates(output, rows)
    (output / "manifests").mkdir(exist_ok=True)
    for split, pairs in made.items():
        with encode.whole_file(output / "manifests" / f"{split}.jsonl") as partial:
            kept = [line for row, line in pairs if row.get("left_out", "") not in ("seen", "twin")]
            partial.write_text("".join(json.dumps(line) + "\n" for line in kept), "utf-8")
    with encode.whole_file(output / "clips.jsonl") as partial:
        partial.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


def stages(output: pathlib.Path, jobs: int) -> list[Stage]:
    records, code = output / "records", [HERE / "scenes.py", HERE / "words.py", HERE / "make.py"]
    this = python("benchmarks.miniature.make", "--output", output)
    made = [
        Stage("render", "plays and films the games", [*this, "--jobs", str(jobs), "--only", "render"],
              expected=[output / "videos"], facts=[f"version {scenes.VERSION}"], goes_on=True),
        Stage("manifests", "narrations, labels, splits, duplicates", [*this, "--only", "manifests"],
              outputs=[output / "manifests", output / "clips.jsonl"], inputs=code),
    ]  # fmt: skip
    for split in SPLITS:
        source = ["--manifest", output / "manifests" / f"{split}.jsonl", "--video_root", output / "videos"]
        command = python("mmv_tf.beam.preprocess", *source, "--output", records, "--split", split, *RECORD)
        # The folder is that of all splits: when a manifest has changed, it is begun anew, so that words of an earlier
        # one are not counted.
        made.append(Stage(f"preprocess-{split}", "decodes the clips into TFRecords", command, goes_on=True,
                          outputs=[records] if split == SPLITS[0] else [],
                          expected=[records / "dataset.json"]))  # fmt: skip
        if split == "plain":  # before the captions of held-out clips join the records
            command = python("mmv_tf.vocabulary", "--records", records, "--output", output / "vocabulary.txt")
            made.append(Stage("vocabulary", "lists the words", command, outputs=[output / "vocabulary.txt"]))
    made.append(Stage("card", "counts and checksums", [*this, "--only", "card"], outputs=[output / "CARD.md"],
                      inputs=[HERE / "card.py"]))  # fmt: skip
    return made


def main(arguments: argparse.Namespace) -> None:
    output = pathlib.Path(arguments.output)
    output.mkdir(parents=True, exist_ok=True)
    if arguments.child:
        for episode in scenes.episodes(arguments.child):
            render(episode, output)
    elif arguments.only == "render":
        render_all(output, (*scenes.GAMES, *scenes.NEW_GAMES), arguments.jobs)
    elif arguments.only == "manifests":
        write_manifests(output)
    elif arguments.only == "card":
        from benchmarks.miniature import card

        card.write(output)
    else:
        wanted = stages(output, arguments.jobs)
        runner = Runner(output / ".stages", len(wanted))
        for stage in wanted:
            runner.run(stage)
        print(
            f"{output} is complete, in {sum(runner.seconds.values()):.0f} s in all; sizes are in {output / 'CARD.md'}"
        )


def cli() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.miniature.make", description=__doc__.split("\n")[0])
    parser.add_argument("--output", default="build/miniature")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="games rendered at the same time")
    parser.add_argument("--only", choices=["render", "manifests", "card"], help=argparse.SUPPRESS)
    parser.add_argument("--child", metavar="GAME", help=argparse.SUPPRESS)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        main(parser.parse_args())
    except StageError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    cli()
