"""What a run shows of itself: scalars, example clips, configuration, probes, early warnings."""

import math
import sys

import tensorflow as tf
import tqdm

from mmv_tf.inputs.faults import explain_data_error
from mmv_tf.training import monitor
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
        self._model, self._pipeline, self._step, self._probe = model, pipeline, step, probe
        self._watch = monitor.CollapseWatch(batch_size)
        self._writer = tf.summary.create_file_writer(workdir)

    def begin(self, config: str, seed: int) -> None:
        """Shows what the run is made of, and probes the untrained network: that is what to compare with."""
        monitor.write_text(self._writer, config, self._model.graph.describe(), int(self._step.numpy()))
        if int(self._step.numpy()):
            return
        words, names = self._pipeline.text.words if self._pipeline.text else (), self._pipeline.source_names
        weights = [source.weight for source in self._pipeline.sources]
        size = max(8, math.ceil(sum(weights) / min(weights)))  # every source has a place
        try:
            examples = next(iter(self._pipeline.training_dataset(size, seed=seed)))
        except tf.errors.InvalidArgumentError as error:
            if fault := explain_data_error(error) or self._pipeline.find_fault(size, seed, 0, 1):
                raise ValueError(fault) from error
            raise
        monitor.write_examples(self._writer, examples, words, 0, min(size, 16), names)
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
        tqdm.tqdm.write(f"step {step}: {probes.summary(self.last_probe)}", file=sys.stderr)

    def _write(self, scalars: dict[str, float]):
        with self._writer.as_default(step=int(self._step.numpy())):
            for name, value in scalars.items():
                tf.summary.scalar(name, value)
        self._writer.flush()  # before the checkpoint of this step: a killed run would not come by it again
