"""The face of a run: scalars, example clips, configuration, probes, early warnings."""

import math
import sys
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf
import tqdm

from mmv_tf.common.configurable import configurable
from mmv_tf.common.values import Count, CountOrNone, Share
from mmv_tf.inputs.faults import explain_data_error
from mmv_tf.pages import clip_picture, curves
from mmv_tf.training import outlook
from mmv_tf.training import probe as probes


class Observer:
    """Writes to the TensorBoard files of a run; as an Orbit train action, writes the logs of a loop and looks at them.

    Args:
      workdir: folder of the run.
      model: an MMV.
      pipeline: the InputPipeline that feeds it.
      step: the global step, a tf.Variable.
      batch_size: clips in the global batch.
      probe: what to measure now and then.
    """

    def __init__(self, workdir: str, model, pipeline, step: tf.Variable, batch_size: int, probe: probes.Probe):
        self.last_probe: dict[str, float] = {}
        self.history = outlook.History(workdir, int(step.numpy()))
        self._model, self._pipeline, self._step, self._probe = model, pipeline, step, probe
        self._watch = CollapseWatch(batch_size)
        self._writer = tf.summary.create_file_writer(workdir)

    def begin(self, config: str, seed: int) -> None:
        """Shows what the run is made of, and probes the untrained network: that is what to compare with."""
        write_text(self._writer, config, self._model.graph.describe(), int(self._step.numpy()))
        if step := int(self._step.numpy()):
            self._probe.due(step)  # that of this step, if any, was made before
            return
        words, names = self._pipeline.text.words if self._pipeline.text else (), self._pipeline.source_names
        weights = [source.weight for source in self._pipeline.sources]
        size = min(64, max(8, math.ceil(sum(weights) / min(weights))))  # a source that is not very rare has a place
        try:
            examples = next(iter(self._pipeline.training_dataset(size, seed=seed)))
            examples = examples if self._pipeline.is_finished else self._pipeline.finish(examples)
        except tf.errors.InvalidArgumentError as error:
            if fault := explain_data_error(error) or self._pipeline.find_fault(size, seed, 0, 1):
                raise ValueError(fault) from error
            raise
        if "video" in examples:
            examples = {**examples, "video": self._pipeline.video.restored(examples["video"].numpy())}
        write_examples(self._writer, examples, words, 0, min(size, 16), names)
        self._measure()

    def __call__(self, output) -> None:
        logs = {name: float(value) for name, value in output.items()}
        self._write(logs)
        for warning in self._watch(int(self._step.numpy()), logs):
            tqdm.tqdm.write(f"warning: {warning}", file=sys.stderr)
        self._measure()

    def _measure(self):
        step = int(self._step.numpy())
        if not self._probe.due(step):
            return
        self.last_probe = self._probe.run(self._model, self._pipeline)
        self._write(self.last_probe)
        self.history.add(step, self.last_probe)
        tqdm.tqdm.write(f"step {step}: {probes.summary(self.last_probe)}", file=sys.stderr)

    def _write(self, scalars: dict[str, float]):
        with self._writer.as_default(step=int(self._step.numpy())):
            for name, value in scalars.items():
                tf.summary.scalar(name, value)
        self._writer.flush()  # before the checkpoint of this step: a killed run would not come by it again


def write_text(writer: tf.summary.SummaryWriter, config: str, graph_text: str, step: int) -> None:
    """Writes the operative configuration and `Graph.describe()` to TensorBoard's Text tab."""
    with writer.as_default(step=step):
        for name, text in (("config", config), ("graph", graph_text)):
            tf.summary.text(name, f"```\n{text.strip()}\n```")
    writer.flush()


def write_examples(
    writer: tf.summary.SummaryWriter,
    batch: Mapping[str, tf.Tensor],
    words: Sequence[str],
    step: int,
    count: int = 8,
    source_names: Sequence[str] = (),
) -> None:
    """Writes the first clips of a training batch to TensorBoard's Images tab, as `clip_picture.draw` draws them.

    Args:
      writer: of the run.
      batch: as the input pipeline makes it; any modality may be absent.
      words: the vocabulary (`Tokenizer.words`); () without text.
      step: the step that the batch is for.
      count: how many clips.
      source_names: names of the numbers in batch['source'].
    """
    kept = {name: np.asarray(values)[:count] for name, values in batch.items()}
    size = min(len(values) for values in kept.values())
    pictures = []
    for index in range(size):
        clip = {name: values[index] for name, values in kept.items()}
        number = int(clip.pop("source", -1))
        source = source_names[number] if 0 <= number < len(source_names) else ""
        pictures.append(clip_picture.draw(clip, words, source))
    height = max(len(picture) for picture in pictures)
    same_size = [
        np.pad(picture, ((0, height - len(picture)), (0, 0), (0, 0)), constant_values=clip_picture.BACKGROUND)
        for picture in pictures
    ]
    with writer.as_default(step=step):
        tf.summary.image("clips", np.stack(same_size), max_outputs=count)
    writer.flush()


@configurable(denylist=["batch_size"])
class CollapseWatch:
    """Early warning of a network that maps everything to one place, or cannot tell one clip from another.

        --gin_param="CollapseWatch.first_step = 200"

    Args:
      batch_size: clips in the global batch.
      first_step: nothing is said before this step: every network begins that way.
      patience: logs in a row that must show a fault before it is reported.
      least_spread: a spread below this is a collapse (1 is spread out, 0 one point; 0.1 is a mean cosine of .99).
      least_gap: similarity of positives over that of negatives, both over temperature; below this they are the same.
    """

    def __init__(
        self,
        batch_size: Count,
        first_step: CountOrNone = 1000,
        patience: Count = 2,
        least_spread: Share = 0.1,
        least_gap: float = 0.1,
    ):
        self._batch_size, self._first_step, self._patience = batch_size, first_step, patience
        self._least_spread, self._least_gap = least_spread, least_gap
        self._seen: dict[str, int] = {}  # name of the log at fault -> logs in a row

    def __call__(self, step: int, logs: Mapping[str, float]) -> list[str]:
        """New warnings, one sentence each. A fault is reported once until it has gone and come again.

        Args:
          step: of the logs.
          logs: {name: value} as the model logs them: spread/<modality>/<space>, accuracy/<pair> and
            similarity/<pair>/positive and negative; other names are not looked at.
        """
        if step < self._first_step:
            return []
        faults = self._faults(logs)
        self._seen = {name: self._seen.get(name, 0) + 1 for name in faults}
        return [f"step {step}: {text}" for name, text in faults.items() if self._seen[name] == self._patience]

    def _faults(self, logs) -> dict[str, str]:
        faults = {}
        for name, value in logs.items():
            kind, _, rest = name.partition("/")
            if kind == "spread" and value < self._least_spread:
                modality, _, space = rest.partition("/")
                faults[name] = (
                    f"{modality} has all but collapsed to one point in {space} (spread {value:.3f}; 1 is spread out). "
                    "Lower the learning rate, or warm up for longer."
                )
            elif kind == "accuracy" and not curves.is_reverse(name, logs):
                if fault := self._knows_nothing(rest, logs):
                    faults[name] = fault
        return faults

    def _knows_nothing(self, pair, logs) -> str:
        found = max(logs[f"accuracy/{pair}"], logs.get(f"accuracy/{pair}_reverse", 0.0)) * self._batch_size
        positive, negative = (logs.get(f"similarity/{pair}/{sign}") for sign in ("positive", "negative"))
        known = positive is not None and negative is not None
        same = known and positive - negative < self._least_gap
        # Chance is 1 / batch size, or a few times that where other clips of the batch lack the modality.
        if not (found <= 1.5 or (same and found <= 3)):
            return ""
        similarities = f", similarity of positives {positive:.2f}, of negatives {negative:.2f}" if known else ""
        return (
            f"{pair} is not learned: retrieval in the batch finds {found / self._batch_size:.2%} "
            f"(chance {1 / self._batch_size:.2%}{similarities}). "
            "Look at the example clips, the learning rate and the spread."
        )
