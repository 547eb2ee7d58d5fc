"""What a network has learned of the miniature benchmark: linear probes and retrieval, all values in per cent.

    python -m benchmarks.miniature.measure --workdir build/miniature/runs/fac-0 --data build/miniature

Probes are linear classifiers on the representation, trained on the clips of pretraining (whose labels it never saw),
their regularisation chosen on the validation episodes, measured on the test episodes; 'new_game' on games that no
pretraining saw. Retrieval is by cosine among the clips of the test episodes. 'within' means: among the clips of one
game, averaged over the games, so that telling games apart does not help.
"""

import argparse
import json
import pathlib

import numpy as np

from benchmarks.miniature import embeddings, scenes, words
from benchmarks.miniature.embeddings import Embedder, Part
from demo import captions
from demo.encode import whole_file
from mmv_tf.evals import retrieval

PROBES = {
    "video": ("camera", "action", "game"),
    "audio": ("action", "firing", "game"),
}
STRENGTHS = (10.0, 100.0, 1000.0, 10000.0, 100000.0)  # alpha of the ridge classifier


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
    """Accuracy of naming the most frequent label of `train`."""
    names, counts = np.unique(train.labels(label), return_counts=True)
    return 100 * float(np.mean(test.labels(label) == names[counts.argmax()]))


def halves(part: Part) -> tuple[Part, Part]:
    """Two parts by episode, to choose the strength of a probe on: of each game every third episode is the second."""
    second = np.array([row["episode"] % 3 == 2 for row in part.rows])
    return part.where(~second), part.where(second)


def probes(parts: dict[str, Part]) -> dict[str, float]:
    found = {}
    for modality, labels in PROBES.items():
        if (modality, "repr") not in parts["test"].embeddings:
            continue
        for label in labels:
            found[f"probe/{modality}/{label}"] = probe(*(parts[p] for p in ("train", "val", "test")), modality, label)
        fit, choose = halves(parts["new_train"])
        found[f"probe/{modality}/new_game"] = probe(fit, choose, parts["new_test"], modality, "game")
    return found


def probe_chance(parts: dict[str, Part]) -> dict[str, float]:
    found = {
        f"probe/{m}/{label}": chance_of(parts["train"], parts["test"], label) for m in PROBES for label in PROBES[m]
    }
    new = chance_of(parts["new_train"], parts["new_test"], "game")
    return found | {f"probe/{modality}/new_game": new for modality in PROBES}


def sentences() -> list[dict]:
    """The held-out sentences: about each game, each action, each camera."""
    about = [{"what": "game", "is": game, "text": t} for game in scenes.GAMES for t in captions.wordings(game, "test")]
    for what, values in (("action", scenes.ACTIONS), ("camera", scenes.CAMERAS)):
        about += [{"what": what, "is": value, "text": words.clean(what, value)} for value in values]
    return about


def tasks(test: Part) -> dict[str, list[tuple[str, np.ndarray, str, np.ndarray, np.ndarray]]]:
    """{name: [(query modality, its rows, target modality, its rows, relevance [Q, N])]}; one a game where 'within'."""
    said = sentences()
    game, clips = test.labels("game"), np.arange(len(test.rows))
    about = {w: np.array([i for i, s in enumerate(said) if s["what"] == w]) for w in ("game", "action", "camera")}
    values = np.array([s["is"] for s in said])
    audible = clips[[row["left_out"] != "silent" for row in test.rows]]
    found: dict = {}

    def add(name, query, rows, target, columns, relevant):
        rows = rows[relevant.any(axis=1)]  # a camera that no clip of this game has cannot be found
        if len(rows) and len(columns) > 1:
            found.setdefault(name, []).append((query, rows, target, columns, relevant[relevant.any(axis=1)]))

    for first, second in (("video", "audio"), ("audio", "video")):
        add(f"{first}->{second}", first, audible, second, audible, np.eye(len(audible), dtype=bool))
        for one in scenes.GAMES:
            rows = audible[game[audible] == one]
            add(f"{first}->{second} within", first, rows, second, rows, np.eye(len(rows), dtype=bool))
    for clip in ("video", "audio"):
        same = values[about["game"]][:, None] == game[None]
        add(f"text->{clip} game", "text", about["game"], clip, clips, same)
        add(f"{clip}->text game", clip, clips, "text", about["game"], same.T)
        for what in ("action", "camera") if clip == "video" else ("action",):
            for one in scenes.GAMES:
                rows = clips[game == one]
                same = values[about[what]][:, None] == test.labels(what)[rows][None]
                add(f"text->{clip} {what} within", "text", about[what], clip, rows, same)
    return found


RECALL = {"video->audio": 10, "audio->video": 10}  # 1 for all others


def retrievals(test: Part, texts: dict) -> dict[str, float]:
    """Recall of every task; chance for modalities that have no space in common."""
    sides = {m: {s: v for (one, s), v in {**test.embeddings, **texts}.items() if one == m and s != "repr"} for m in
             ("video", "audio", "text")}  # fmt: skip
    found = {}
    for name, games in tasks(test).items():
        k, total, count = RECALL.get(name, 1), 0.0, 0
        for query, rows, target, columns, relevant in games:
            space = retrieval.common_space(query, target, sides)
            relevance = retrieval.Relevance(relevant)
            if space:
                value = retrieval.retrieval(sides[query][space][rows], sides[target][space][columns], relevance, [k])
            else:
                value = retrieval.chance(relevance, [k])
            total, count = total + value[f"R@{k}"] * len(rows), count + len(rows)
        found[f"retrieval/{name} R@{k}"] = 100 * total / count
    return found


def incomparable(embedded: dict) -> list[str]:
    """Pairs of modalities that the network cannot compare: their retrieval values are chance."""
    spaces = {m: {s for one, s in embedded if one == m and s != "repr"} for m in ("video", "audio", "text")}
    return [f"{a}, {b}" for a, b in (("video", "audio"), ("video", "text"), ("audio", "text"))
            if not retrieval.common_space(a, b, spaces)]  # fmt: skip


def measure(workdir: pathlib.Path, data: pathlib.Path, baselines: bool = False) -> dict:
    """{'measures': {name: per cent}, 'incomparable': [...]}, and with `baselines` 'raw' and 'chance' alike."""
    from mmv_tf import workdir as workdirs

    embedder = Embedder(workdirs.load(str(workdir)), data)
    parts = {name: embedder.part(name) for name in embeddings.SPLITS}
    texts = embedder.sentences([s["text"] for s in sentences()])
    result = {
        "measures": probes(parts) | retrievals(parts["test"], texts),
        "incomparable": incomparable({**parts["test"].embeddings, **texts}),
    }
    if baselines:
        result["raw"] = probes({name: embedder.part(name, embeddings.raw) for name in embeddings.SPLITS})
        result["chance"] = probe_chance(parts) | retrievals(Part(parts["test"].rows, {}), {})
    return result


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.miniature.measure", description=__doc__.split("\n")[0])
    parser.add_argument("--workdir", required=True, type=pathlib.Path)
    parser.add_argument("--data", default="build/miniature", type=pathlib.Path)
    parser.add_argument("--output", type=pathlib.Path, help="default: WORKDIR/miniature.json")
    parser.add_argument("--baselines", action="store_true", help="raw frames and sound, and chance, too")
    arguments = parser.parse_args()
    result = measure(arguments.workdir, arguments.data, arguments.baselines)
    output = arguments.output or arguments.workdir / "miniature.json"
    with whole_file(output) as partial:
        partial.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
