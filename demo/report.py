"""results.json and index.html from the embeddings of held-out clips.

python -m demo.report --data games --embeddings build/demo/embeddings --output build/demo
"""

import argparse
import collections
import dataclasses
import json
import pathlib

import numpy as np

from demo import duplicates
from demo.evaluation import Clip, Evaluation, Sentence
from demo.page import NEAR, RIGHT, WRONG, Example, Item, Page, Section, render
from mmv_tf.common.files import whole_file
from mmv_tf.metrics.intervals import of_share
from mmv_tf.pages import curves

EXAMPLES = 4

_WHAT = {"video": "the silent pictures of a clip", "audio": "the sound of a clip", "text": "a sentence"}
_AMONG = {"video": "the pictures of all held-out clips", "audio": "the sounds of all held-out clips"}
_AMONG["text"] = "all held-out sentences"

_LEAD = {
    "games": "A small MMV network learned from narrated game videos, without labels, which pictures, sounds and "
    "sentences belong together. Below it searches among clips and sentences that it has never seen or heard.",
    "videos": "A small MMV network learned from your videos, without labels, which pictures and sounds belong "
    "together. Below it searches among parts of them that were kept out of training.",
}
_PARAGRAPHS = {
    "games": [
        "How to read the table: R@5 is the share of queries for which a right answer is among the first five found; "
        "MedR is the place of the right answer in the middle query (1 is best). Untrained is the same network before "
        "its first step. Chance is what a random order would give.",
        "Sound and text were never trained together: the network met pictures with sound, and pictures with text. "
        "That sound and text can be compared at all comes from the graph, in which sound reaches the space of text "
        "through the space that it shares with pictures.",
        "The narration is loose, as in real videos: a sentence is about the game, not about the moment, and now and "
        "then about nothing. The sentences used here were not in the training videos; only their words were.",
    ],
    "videos": [
        "How to read the table: R@5 is the share of queries for which the right answer, the same moment of the same "
        "video, is among the first five found; MedR is its place in the middle query (1 is best). Untrained is the "
        "same network before its first step. Chance is what a random order would give.",
        "With few or short videos the network has little to learn from: expect modest figures from minutes of "
        "material, and better ones from hours.",
    ],
}
_NEAR_MEANS = {"games": "same game", "videos": "same video"}


def read_clips(about: dict, data: str, fingerprints: pathlib.Path | None) -> list[Clip]:
    """The clips of clips.json with their groups, and the reasons why some are left out of the measurement."""
    clips = [Clip(**clip) for clip in about["clips"]]
    if data == "videos":
        return [dataclasses.replace(clip, group=clip.video) for clip in clips]
    clips = [dataclasses.replace(clip, group=clip.video.split("/")[0]) for clip in clips]
    if fingerprints is None:
        return clips
    stems = [duplicates.Clip(f"test/{clip.video.rsplit('.', 1)[0]}", clip.start, clip.end) for clip in clips]
    verdicts = duplicates.judge(fingerprints, stems)
    return [
        dataclasses.replace(clip, left_out=clip.left_out or verdict.reason)
        for clip, verdict in zip(clips, verdicts, strict=True)
    ]


def read_embeddings(path: pathlib.Path) -> dict:
    """{model: {modality: {space: [N, d]}}} of embeddings.npz."""
    tree: dict = {}
    with np.load(path) as arrays:
        for name in arrays.files:
            model, modality, space = name.split("/")
            tree.setdefault(model, {}).setdefault(modality, {})[space] = arrays[name]
    return tree


def _item(modality: str, one, folder: pathlib.Path) -> Item:
    if modality == "text":
        return Item("text", text=one.text)
    picture = folder / f"{one.number:04d}.{'strip' if modality == 'video' else 'sound'}.jpg"
    name = f"{one.video.rsplit('.', 1)[0]}, {one.start:.1f} s"
    sound = (folder / f"{one.number:04d}.wav").read_bytes()
    return Item(modality, name, "", picture.read_bytes(), sound, key=str(one.number))


def section(evaluation: Evaluation, pair: str, folder: pathlib.Path, seed: int) -> Section:
    query, target = pair.split("->")
    queries, targets = evaluation.side(query), evaluation.side(target)
    by_group = "text" in (query, target)
    examples = []
    for index, hits, rank in evaluation.examples(pair, EXAMPLES, seed):
        found = []
        for hit in hits:
            same_group = targets[hit].group == queries[index].group
            right = same_group if by_group else hit == index
            found.append((_item(target, targets[hit], folder), RIGHT if right else NEAR if same_group else WRONG))
        examples.append(Example(_item(query, queries[index], folder), found, rank))
    explanation = (
        f"The query is {_WHAT[query]}; searched are {_AMONG[target]}. The queries shown were drawn by a fixed seed, "
        "however well they went."
    )
    return Section(pair, explanation, examples)


def _right_means(pair: str, data: str) -> str:
    if "text" in pair.split("->"):
        return "about the same game" if data == "games" else "from the same video"
    return "the other half of the very same clip"


def training_facts(path: pathlib.Path) -> list[tuple[str, str]]:
    """Lines about the run from its summary.json."""
    summary = json.loads(path.read_text("utf-8"))
    return [
        ("training", f"{summary['steps']} steps, {summary['seconds']:.0f} s in the last sitting"),
        ("parameters", f"{summary['parameters']:,}"),
        ("clips a second", f"{summary['clips_per_second']:.0f} in training"),
    ]


def main(arguments: argparse.Namespace) -> None:
    folder, output = pathlib.Path(arguments.embeddings), pathlib.Path(arguments.output)
    about = json.loads((folder / "clips.json").read_text("utf-8"))
    fingerprints = pathlib.Path(arguments.fingerprints) if arguments.fingerprints else None
    clips = read_clips(about, arguments.data, fingerprints)
    sentences = [Sentence(**sentence) for sentence in about["sentences"]]
    try:
        evaluation = Evaluation(read_embeddings(folder / "embeddings.npz"), clips, sentences)
    except ValueError as error:
        raise SystemExit(f"{folder}: {error}") from None
    metrics = evaluation.metrics()
    left_out = collections.Counter(clip.left_out for clip in clips if clip.left_out)
    facts = [
        ("held-out clips", f"{len(evaluation.clips)} of {clips[0].end - clips[0].start:.1f} s"),
        ("left out", ", ".join(f"{count} {reason}" for reason, count in sorted(left_out.items())) or "none"),
        (_NEAR_MEANS[arguments.data].split()[1] + "s", str(len({clip.group for clip in evaluation.clips}))),
    ]
    between = [pair for pair in evaluation.pairs if "text" not in pair]
    shares = (f"{pair.replace('->', chr(0x2192))} {100 * evaluation.same_group_first(pair):.0f} %" for pair in between)
    facts.append((f"{_NEAR_MEANS[arguments.data]} found first", ", ".join(shares)))
    if sentences:
        facts.append(("held-out sentences", str(len(sentences))))
    sure = how_sure(metrics, {pair: len(evaluation.side(pair.split("->")[0])) for pair in evaluation.pairs})
    facts.append(("how sure", "\n".join(line.strip().replace("->", chr(0x2192)) for line in sure)))
    facts += training_facts(pathlib.Path(arguments.summary)) if arguments.summary else []
    graph = pathlib.Path(arguments.graph_svg) if arguments.graph_svg else None
    page = Page(
        title="MMV: searching across pictures, sound and text" if sentences else "MMV: searching pictures by sound",
        lead=_LEAD[arguments.data],
        metrics=metrics,
        paragraphs=_PARAGRAPHS[arguments.data],
        facts=facts,
        sections=[section(evaluation, pair, folder, seed) for seed, pair in enumerate(evaluation.pairs)],
        curves=curves.by_chart(about["curves"]),
        graph_svg=graph.read_text("utf-8") if graph and graph.is_file() else "",
        never_trained=tuple(arguments.never_trained),
        near_means=_NEAR_MEANS[arguments.data],
        right_means={pair: _right_means(pair, arguments.data) for pair in evaluation.pairs},
    )
    output.mkdir(parents=True, exist_ok=True)
    with whole_file(output / "results.json") as partial:
        partial.write_text(json.dumps(metrics, indent=2) + "\n", "utf-8")
    with whole_file(output / "index.html") as partial:
        partial.write_text(render(page), "utf-8")
    print(as_text(metrics))
    print(*sure, sep="\n")
    print(f"  {dict(facts)['held-out clips']}, left out: {dict(facts)['left out']}")
    print(f"  {output / 'results.json'}\n  {output / 'index.html'}")


def how_sure(metrics: dict, queries: dict[str, int]) -> list[str]:
    """For each direction the interval of what is found first, and whether it can be told from chance.

    Args:
      queries: {pair: how many there are}. Clips of one film are alike, so that the interval is if anything too narrow.
    """
    lines = []
    for pair, rows in metrics.items():
        share, chance = rows["trained"]["R@1"], rows["chance"]["R@1"]
        low, high = of_share(share, queries[pair])
        verdict = "" if low > chance else ": too few to tell" if high > chance else ": below chance"
        found = f"{share:.0%} of {queries[pair]} found first (95 %: {low:.0%} to {high:.0%})"
        lines.append(f"  {pair:14}{found}, chance {chance:.0%}{verdict}")
    return lines


def as_text(metrics: dict) -> str:
    """The figures as lines of text."""
    lines = [f"  {'':14}{'R@1':>30}{'R@5':>24}{'MedR':>27}"]
    lines.append(f"  {'':14}" + "".join(f"{'trained':>11}{'untrained':>10}{'chance':>7}" for _ in range(3)))
    for pair, rows in metrics.items():
        cells = ""
        for column in ("R@1", "R@5", "MedR"):
            shown = [f"{rows[row][column]:.3f}" if column != "MedR" else f"{rows[row][column]:g}" for row in rows]
            cells += "".join(f"{text:>{width}}" for text, width in zip(shown, (11, 10, 7), strict=False))
        lines.append(f"  {pair:14}{cells}")
    return "\n".join(lines)


def cli() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", choices=["games", "videos"], required=True)
    parser.add_argument("--embeddings", required=True, help="folder that demo.embed wrote")
    parser.add_argument("--fingerprints", default="", help="folder that demo.games wrote; finds near-duplicates")
    parser.add_argument("--graph_svg", default="", help="drawing of the modality graph")
    parser.add_argument("--never_trained", nargs="*", default=[], metavar="PAIR")
    parser.add_argument("--summary", default="", help="summary.json of the training run")
    parser.add_argument("--output", required=True)
    main(parser.parse_args())


if __name__ == "__main__":
    cli()
