"""The data of the miniature benchmark: simulated video with its own sound, narrations, labels, records.

    python -m benchmarks.miniature.make --output build/miniature

One deterministic command; a run that was interrupted goes on where it was. OUTPUT/videos has the .mp4 files, manifests/
what mmv_tf.beam.preprocess reads, clips.jsonl a line for each clip with its labels, records/ the TFRecords of the
splits, vocabulary.txt the words of the training narrations, and CARD.md sizes and checksums. See CARD.md here.
"""

import argparse
import concurrent.futures
import functools
import importlib.util
import json
import os
import pathlib

import numpy as np

from benchmarks.miniature import film, physics, scenes, sound, words
from demo import encode
from demo.stages import Runner, Stage, StageError, one_line_errors, python
from mmv_tf.common.files import whole_file
from mmv_tf.records.naming import clip_key

HERE = pathlib.Path(__file__).resolve().parent
RECORD = ["--short_side", "52", "--sample_rate", str(scenes.SAMPLE_RATE), "--num_shards", "4"]
LABELS = (*scenes.LABELS, *scenes.FURTHER_LABELS)
CAPTION_REACH = 1.0  # seconds around a clip, so that some captions are of the shot before or after


def show(shot: scenes.Shot) -> tuple[physics.Motion, list[np.ndarray], np.ndarray]:
    """What happens in a shot, its frames uint8 [SIZE, SIZE, 3] and its samples float32 [S]."""
    rng, seconds = shot.stream("motion"), scenes.SHOT_SECONDS
    if shot.then:
        motion = physics.one_then_another((shot.event, shot.then), shot.tempo, seconds, scenes.SEEN_SECONDS, rng)
    else:
        motion = physics.simulate(shot.event, shot.tempo, seconds, rng)
    if shot.direction:
        motion = physics.turned(motion, shot.direction)
    frames = film.frames(motion, shot.material, shot.camera, shot.stream("film"), may_mirror=not shot.direction)
    return motion, frames, sound.samples(motion, shot.material, scenes.SHOT_SECONDS, shot.stream("sound"))


def render(episode: scenes.Episode, output: pathlib.Path) -> None:
    """Writes the video of an episode and, beside it, statistics of its shots; unless they are there already."""
    path = output / "videos" / episode.path
    facts, settings = path.with_suffix(".json"), f"miniature {scenes.VERSION}: {episode.split} {episode.number}"
    if path.is_file() and facts.is_file() and encode.read_comment(path) == settings:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    frames, heard, rows = [], [], []
    for shot in episode.shots:
        motion, pictures, samples = show(shot)
        frames += pictures
        heard.append(samples)
        rows.append(
            {
                "impacts": len(motion.impacts),
                "brightness": round(float(np.mean(pictures)), 1),
                "level": round(float(np.sqrt(np.mean(samples**2))), 3),
            }
        )
    with whole_file(facts) as partial:
        partial.write_text(json.dumps(rows), "utf-8")
    with whole_file(path) as partial:
        encode.write_mp4(partial, frames, np.concatenate(heard), scenes.FPS, settings, scenes.SAMPLE_RATE)


def render_all(output: pathlib.Path, share: float, jobs: int) -> None:
    episodes = scenes.episodes(share)
    with concurrent.futures.ProcessPoolExecutor(jobs, initializer=_one_thread) as pool:
        try:
            for number, _ in enumerate(pool.map(functools.partial(render, output=output), episodes, chunksize=5), 1):
                if number % 50 == 0 or number == len(episodes):
                    print(f"  {number}/{len(episodes)} episodes", flush=True)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _one_thread() -> None:
    import cv2

    cv2.setNumThreads(1)


def clip_row(episode: scenes.Episode, shot: scenes.Shot, facts: dict) -> dict:
    """A line of clips.jsonl: key of the record, split, labels, statistics of the whole shot."""
    start, end = shot.span
    row = {"key": clip_key(episode.path, start, end), "video_path": episode.path, "start": start, "end": end}
    return row | {"split": episode.split, **shot.labels, **facts}


def manifest_row(row: dict, captions: list[dict]) -> dict:
    """A line of a manifest. Labels are texts such as 'event: roll'."""
    near = [c for c in captions if c["end"] > row["start"] - CAPTION_REACH and c["start"] < row["end"] + CAPTION_REACH]
    place = {name: row[name] for name in ("video_path", "start", "end")}
    return place | {"captions": near, "label": [f"{name}: {value}" for name, value in row.items() if name in LABELS]}


def plan(output: pathlib.Path, share: float = 1.0) -> dict[str, list[tuple[dict, dict]]]:
    """{split: [(line of clips.jsonl, line of the manifest)]} of the rendered episodes."""
    made: dict[str, list[tuple[dict, dict]]] = {split: [] for split in scenes.EPISODES}
    for episode in scenes.episodes(share):
        facts = json.loads((output / "videos" / episode.path).with_suffix(".json").read_text("utf-8"))
        said = words.narration(episode) if episode.split == "narrated" else []
        for shot, of_shot in zip(episode.shots, facts, strict=True):
            row, heard = clip_row(episode, shot, of_shot), said
            if episode.split in ("val", "test"):
                text = words.caption(shot.event, shot.material)
                heard = [{"text": text, "start": row["start"], "end": row["end"]}]
            made[episode.split].append((row, manifest_row(row, heard)))
    return made


def write_manifests(output: pathlib.Path, share: float) -> None:
    """Writes manifests/SPLIT.jsonl and clips.jsonl."""
    made = plan(output, share)
    (output / "manifests").mkdir(exist_ok=True)
    for split, pairs in made.items():
        with whole_file(output / "manifests" / f"{split}.jsonl") as partial:
            partial.write_text("".join(json.dumps(line) + "\n" for _, line in pairs), "utf-8")
    with whole_file(output / "clips.jsonl") as partial:
        rows = [row for pairs in made.values() for row, _ in pairs]
        partial.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


def stages(output: pathlib.Path, share: float, jobs: int) -> list[Stage]:
    records, code = output / "records", [HERE / "scenes.py", HERE / "words.py", HERE / "make.py"]
    this = python("benchmarks.miniature.make", "--output", output, "--share", str(share))
    made = [
        Stage("render", "simulates and films the episodes", [*this, "--jobs", str(jobs), "--only", "render"],
              expected=[output / "videos"], facts=[f"version {scenes.VERSION}"], goes_on=True),
        Stage("manifests", "narrations, labels, splits", [*this, "--only", "manifests"],
              outputs=[output / "manifests", output / "clips.jsonl"], inputs=code),
    ]  # fmt: skip
    for split in scenes.EPISODES:
        source = ["--manifest", output / "manifests" / f"{split}.jsonl", "--video_root", output / "videos"]
        command = python("mmv_tf.beam.preprocess", *source, "--output", records, "--split", split, *RECORD)
        # The folder is that of all splits: when a manifest has changed, it is begun anew, so that words of an earlier
        # one are not counted.
        made.append(Stage(f"preprocess-{split}", "decodes the clips into TFRecords", command, goes_on=True,
                          outputs=[records] if split == "narrated" else [],
                          expected=[records / "dataset.json"]))  # fmt: skip
        if split == "plain":  # before the captions of held-out clips join the records
            words = ["--records", records, "--split", "narrated", "--from_card", "--output", output / "vocabulary.txt"]
            command = python("mmv_tf.vocabulary", *words)
            made.append(Stage("vocabulary", "lists the words", command, outputs=[output / "vocabulary.txt"]))
    made.append(Stage("card", "counts and checksums", [*this, "--only", "card"], inputs=[HERE / "card.py"],
                      outputs=[output / "CARD.md", output / "statistics.json"]))  # fmt: skip
    return made


def check_physics() -> None:
    """Raises StageError where the engine is not installed."""
    if importlib.util.find_spec("pymunk") is None:
        raise StageError("the physics of the benchmark needs pymunk: pip install '.[miniature]'")


def main(arguments: argparse.Namespace) -> None:
    check_physics()
    output = pathlib.Path(arguments.output)
    output.mkdir(parents=True, exist_ok=True)
    if arguments.only == "render":
        render_all(output, arguments.share, arguments.jobs)
    elif arguments.only == "manifests":
        write_manifests(output, arguments.share)
    elif arguments.only == "card":
        from benchmarks.miniature import card

        card.write(output)
    else:
        wanted = stages(output, arguments.share, arguments.jobs)
        runner = Runner(output / ".stages", len(wanted))
        for stage in wanted:
            runner.run(stage)
        seconds = sum(runner.seconds.values())
        print(f"{output} is complete, in {seconds:.0f} s in all; sizes are in {output / 'CARD.md'}")


def cli() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.miniature.make", description=__doc__.split("\n")[0])
    parser.add_argument("--output", default="build/miniature")
    parser.add_argument("--share", type=float, default=1.0, help="of the episodes, to try it out; 1 is the benchmark")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="episodes rendered at the same time")
    parser.add_argument("--only", choices=["render", "manifests", "card"], help=argparse.SUPPRESS)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with one_line_errors():
        main(parser.parse_args())


if __name__ == "__main__":
    cli()
