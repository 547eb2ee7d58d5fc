"""Every clip of the splits through a network: embeddings, and the raw frames and sound that a network must beat."""

import dataclasses
import json
import pathlib

import numpy as np

from benchmarks.miniature import scenes

SPLITS = tuple(split for split in scenes.EPISODES if split != "plain")
RAW_SIDE = 16  # pixels of the frames that the raw baseline sees


@dataclasses.dataclass
class Part:
    """The clips of one part. rows: lines of clips.jsonl; embeddings {(modality, space): float32 [N, d]}."""

    rows: list[dict]
    embeddings: dict[tuple[str, str], np.ndarray]

    def labels(self, name: str) -> np.ndarray:
        """A label of each clip as text."""
        return np.array([row[name] for row in self.rows])

    def where(self, keep: np.ndarray) -> "Part":
        rows = [row for row, kept in zip(self.rows, keep, strict=True) if kept]
        return Part(rows, {name: values[keep] for name, values in self.embeddings.items()})


def read_rows(data: pathlib.Path) -> dict[str, dict]:
    """{key of the record: line of clips.jsonl}."""
    lines = (data / "clips.jsonl").read_text("utf-8").splitlines()
    return {row["key"]: row for row in map(json.loads, lines)}


class Embedder:
    """Embeds clips and sentences with the model of a workdir, or any with its `embed`.

    Args:
      loaded: of mmv_tf.training.workdir.load.
      data: folder that benchmarks.miniature.make wrote.
    """

    def __init__(self, loaded, data: pathlib.Path):
        import tensorflow as tf

        self._model, self._pipeline, self._data = loaded.model, loaded.pipeline, data
        self._rows = read_rows(data)
        self._embed = tf.function(lambda inputs: self._model.embed(inputs, training=False), autograph=False)

    def part(self, split: str, embed=None) -> Part:
        """The clips of a split. `embed`: batch as numpy -> {(modality, space): [B, d]}; the model's if None."""
        embed, rows, found = embed or self.of_batch, [], []
        for batch in self._pipeline.evaluation_dataset(str(self._data / "records" / f"{split}-*"), 64):
            batch = {key: value.numpy() for key, value in batch.items()}
            try:
                rows += [self._rows[key.decode()] for key in batch["key"]]
            except KeyError as error:
                raise ValueError(
                    f"the records of {split!r} hold the clip {error}, which {self._data}/clips.jsonl does not know: "
                    f"run python -m benchmarks.miniature.make --output {self._data}"
                ) from None
            found.append(embed(batch))
        return Part(rows, {name: np.concatenate([one[name] for one in found]) for name in found[0]})

    def of_batch(self, batch: dict) -> dict[tuple[str, str], np.ndarray]:
        return self._run({m: batch[m] for m in self._model.graph.modalities if m != "text"})

    def sentences(self, texts: list[str]) -> dict[tuple[str, str], np.ndarray]:
        """Embeddings of texts; nothing where the model takes no text."""
        import tensorflow as tf

        if "text" not in self._model.graph.modalities:
            return {}
        return self._run({"text": self._pipeline.text(tf.constant(texts)).numpy()})

    def _run(self, inputs):
        return {
            (modality, space): values.numpy()
            for modality, spaces in self._embed(inputs).items()
            for space, values in spaces.items()
        }


def raw(batch: dict) -> dict[tuple[str, str], np.ndarray]:
    """What is seen and heard without a network: small frames of the whole clip; mean and spread of the log-mel."""
    video, sound = batch["video"], batch["audio"][..., 0]
    count, frames, side = video.shape[:3]
    box = side // RAW_SIDE
    small = video.reshape(count, frames, RAW_SIDE, box, RAW_SIDE, box, 3).mean((3, 5))
    return {
        ("video", "repr"): small.reshape(count, -1),
        ("audio", "repr"): np.concatenate([sound.mean(1), sound.std(1)], axis=1),
    }
