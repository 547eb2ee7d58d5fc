"""Measures of a network on the miniature benchmark: linear probes and retrieval, all values in per cent.

    python -m benchmarks.miniature.measure --workdir build/miniature/runs/fac-0 --data build/miniature

Probes are linear classifiers on the representation, trained on the narrated clips of pretraining (whose labels it never
saw), their regularisation chosen on the validation episodes, measured on the test episodes. Others are trained and
measured on clips of their own: 'new event' on events that no pretraining saw, 'direction' on which way all balls go,
'first event' on two events that follow each other. No single frame tells the latter two, or the tempo. In 'event of new
materials' neither pretraining nor probe saw the materials. 'coin' is a label that nothing shows, the control: more than
chance is a leak. Text is compared with clips by cosine, in wordings that no narration had: which of six sentences fits
a clip's event, which of four its material, and mean average precision of the 24 captions among all clips. 'within
event' is among the clips of one event, so that telling events apart does not help. The probe is a ridge classifier,
whose fit takes a second; the protocols of the paper are those of mmv_tf.evaluate.

`--on_val` measures on the validation episodes, for what is chosen: the strength of a probe is then chosen on a third of
the narrated episodes.
"""

import argparse
import json
import pathlib

import numpy as np

from benchmarks.miniature import embeddings, scenes, words
from benchmarks.miniature.embeddings import Embedder, Part
from mmv_tf.common.files import whole_file
from mmv_tf.metrics import classification, retrieval

PROBES = {modality: ("event", "material", "tempo", "camera", "coin") for modality in ("video", "audio")}
# {probe: (splits SPLIT_train and SPLIT_test that are made for it, label)}
OWN_CLIPS = {"new event": ("new", "event"), "direction": ("direction", "direction"), "first event": ("order", "event")}
UNSEEN = "event of new materials"
STRENGTHS = (10.0, 100.0, 1000.0, 10000.0, 100000.0)  # alpha of the ridge classifier
RECALL = 10  # of the clips of one modality among those of another


def probe(train: Part, val: Part, test: Part, modality: str, label: str) -> float:
    """Accuracy on `test`; the strength is the best one on `val`."""
    from sklearn.linear_model import RidgeClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def side(part):
        return part.embeddings[modality, "repr"], part.labels(label)

    def fitted(strength):
        return make_pipeline(StandardScaler(), RidgeClassifier(alpha=strength)).fit(*side(train))

    best = max((fitted(strength) for strength in STRENGTHS), key=lambda model: model.score(*side(val)))
    return 100 * float(best.score(*side(test)))


def chance_of(train: Part, test: Part, label: str) -> float:
    """Accuracy of naming the most frequent label of `train`, or of guessing, whichever is better."""
    names, counts = np.unique(train.labels(label), return_counts=True)
    return 100 * max(float(np.mean(test.labels(label) == names[counts.argmax()])), 1 / len(names))


def halves(part: Part) -> tuple[Part, Part]:
    """Two parts by episode, to choose the strength of a probe on: every third episode is in the second."""
    second = np.unique([row["video_path"] for row in part.rows], return_inverse=True)[1] % 3 == 2
    return part.where(~second), part.where(second)


def probes(parts: dict[str, Part], wanted: dict = PROBES) -> dict[str, float]:
    """{'probe/video/event': accuracy, ..., 'probe/video/direction': ...} of the modalities that are embedded.

    `parts` are those of all splits, or of 'narrated', 'val' and 'test' alone.
    """
    found = {}
    for modality, labels in wanted.items():
        if (modality, "repr") not in parts["test"].embeddings:
            continue
        for label in labels:
            of = (parts[name] for name in ("narrated", "val", "test"))
            found[f"probe/{modality}/{label}"] = probe(*of, modality, label)
        if "unseen" not in parts:
            continue
        of = (parts[name] for name in ("narrated", "val", "unseen"))
        found[f"probe/{modality}/{UNSEEN}"] = probe(*of, modality, "event")
        for name, (split, label) in OWN_CLIPS.items():
            of = (*halves(parts[f"{split}_train"]), parts[f"{split}_test"])
            found[f"probe/{modality}/{name}"] = probe(*of, modality, label)
    return found


def probe_chance(parts: dict[str, Part]) -> dict[str, float]:
    """What `probes` would find by guessing."""
    train, test = parts["narrated"], parts["test"]
    found = {f"probe/{m}/{label}": chance_of(train, test, label) for m in PROBES for label in PROBES[m]}
    for modality in PROBES:
        found[f"probe/{modality}/{UNSEEN}"] = chance_of(train, parts["unseen"], "event")
        for name, (split, label) in OWN_CLIPS.items():
            sides = parts[f"{split}_train"], parts[f"{split}_test"]
            found[f"probe/{modality}/{name}"] = chance_of(*sides, label)
    return found


def sentences() -> list[dict]:
    """The held-out sentences: of each event, each material, and both."""
    about = [{"what": "event", "is": event, "text": words.clean("event", event)} for event in scenes.EVENTS]
    about += [{"what": "material", "is": name, "text": words.clean("material", name)} for name in scenes.MATERIALS]
    return about + [
        {"what": "both", "is": f"{event} {material}", "text": words.caption(event, material)}
        for event in scenes.EVENTS
        for material in scenes.MATERIALS
    ]


def retrievals(test: Part, texts: dict) -> dict[str, float]:
    """Every comparison of two modalities; guessing, for those that have no space in common.

    Args:
      texts: {('text', space): [sentences, d]} of `sentences`.
    """
    embedded = {**test.embeddings, **texts}
    sides = by_modality(embedded)
    said, event = sentences(), test.labels("event")
    shown = {"event": event, "material": test.labels("material")}
    shown["both"] = np.char.add(np.char.add(event, " "), shown["material"])

    def recall(query, rows, target, columns, relevant, k):
        space, relevance = retrieval.common_space(query, target, sides), retrieval.Relevance(relevant)
        if space is None:
            return 100 * retrieval.chance(relevance, [k])[f"R@{k}"]
        found = retrieval.retrieval(sides[query][space][rows], sides[target][space][columns], relevance, [k])
        return 100 * found[f"R@{k}"]

    found, everything = {}, np.arange(len(event))
    for first, second in (("video", "audio"), ("audio", "video")):

        def among(clips, first=first, second=second):
            return recall(first, clips, second, clips, np.eye(len(clips), dtype=bool), RECALL)

        groups = [everything[event == one] for one in scenes.EVENTS]
        within = sum(among(clips) * len(clips) for clips in groups if len(clips)) / len(event)
        found |= {f"{first}->{second} R@{RECALL}": among(everything)}
        found |= {f"{first}->{second} within event R@{RECALL}": within}
    for clip in ("video", "audio"):
        for what in ("event", "material"):
            about = np.array([index for index, one in enumerate(said) if one["what"] == what])
            relevant = shown[what][:, None] == np.array([said[index]["is"] for index in about])
            found[f"{clip}->text {what}"] = recall(clip, everything, "text", about, relevant, 1)
        found[f"text->{clip} mAP"] = _mean_precision(said, sides, clip, shown["both"])
    return {f"retrieval/{name}": value for name, value in found.items()}


def _mean_precision(said: list[dict], sides: dict, clip: str, shown: np.ndarray) -> float:
    """Mean average precision of the captions of both among all clips."""
    about = [index for index, one in enumerate(said) if one["what"] == "both" and (shown == one["is"]).any()]
    right = shown[:, None] == np.array([said[index]["is"] for index in about])
    space = retrieval.common_space("text", clip, sides)
    if space is None:
        return 100 * float(np.mean([chance_precision(len(right), count) for count in right.sum(axis=0)]))
    scores = retrieval.similarity(sides[clip][space], sides["text"][space][about])
    return 100 * float(classification.average_precision(scores, right).mean())


def chance_precision(count: int, right: int) -> float:
    """Expected average precision of `count` targets, `right` of them relevant, in a random order.

    The relevant target at rank k has (k - 1) (right - 1) / (count - 1) others before it on average, so the precision
    there is expected to be 1 / k + (right - 1) / (count - 1) (1 - 1 / k); the mean over k needs the harmonic number.
    """
    harmonic = float(np.sum(1 / np.arange(1, count + 1))) / count
    return harmonic + (right - 1) / max(count - 1, 1) * (1 - harmonic)


def by_modality(embedded: dict) -> dict[str, dict[str, np.ndarray]]:
    """{modality: {space: embeddings}} without the representations before the heads."""
    return {
        modality: {space: rows for (one, space), rows in embedded.items() if one == modality and space != "repr"}
        for modality in ("video", "audio", "text")
    }


def incomparable(embedded: dict) -> list[str]:
    """Pairs of modalities that the network cannot compare: their retrieval values are chance."""
    spaces = by_modality(embedded)
    return [f"{a}, {b}" for a, b in (("video", "audio"), ("video", "text"), ("audio", "text"))
            if not retrieval.common_space(a, b, spaces)]  # fmt: skip


def measure(workdir: pathlib.Path, data: pathlib.Path, baselines: bool = False, on_val: bool = False) -> dict:
    """{'measures': {name: per cent}, 'incomparable': [...]}, and with `baselines` 'raw' and 'chance' alike."""
    from mmv_tf.training import workdir as workdirs

    embedder = Embedder(workdirs.load(str(workdir)), data)
    parts = {name: embedder.part(name) for name in (("narrated", "val") if on_val else embeddings.SPLITS)}
    if on_val:
        parts["test"] = parts.pop("val")
        parts["narrated"], parts["val"] = halves(parts["narrated"])
    texts = embedder.sentences([s["text"] for s in sentences()])
    result = {
        "measures": probes(parts) | retrievals(parts["test"], texts),
        "incomparable": incomparable({**parts["test"].embeddings, **texts}),
    }
    if baselines:
        result["raw"] = probes({name: embedder.part(name, embeddings.raw) for name in embeddings.SPLITS})
        result["chance"] = probe_chance(parts) | retrievals(Part(parts["test"].rows, {}), {})
    return result


def cli(argv=None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.miniature.measure", description=__doc__.split("\n")[0])
    parser.add_argument("--workdir", required=True, type=pathlib.Path)
    parser.add_argument("--data", default="build/miniature", type=pathlib.Path)
    parser.add_argument("--output", type=pathlib.Path, help="default: WORKDIR/miniature.json")
    parser.add_argument("--baselines", action="store_true", help="raw frames and sound, and chance, too")
    parser.add_argument("--on_val", action="store_true", help="on the validation clips, into WORKDIR/validation.json")
    arguments = parser.parse_args(argv)
    if arguments.baselines and arguments.on_val:
        raise ValueError("--baselines are measured on the test clips: without --on_val")
    result = measure(arguments.workdir, arguments.data, arguments.baselines, arguments.on_val)
    output = arguments.output or arguments.workdir / ("validation.json" if arguments.on_val else "miniature.json")
    with whole_file(output) as partial:
        partial.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    from mmv_tf.common.command import run

    run(cli)
