"""All training records as a refresh sees them: their memories, and embeddings of each of them in a fixed order."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import tensorflow as tf
import tqdm

from mmv_tf.model.per_record import local
from mmv_tf.training.embedder import Clips, RecordEmbedder


class WholeSet:
    """What a `Computation` computes from.

    Attributes:
      model, pipeline: of the run.
      count: N, training records.
      number: of the refresh, from 0: at step `number * Refresh.every`.
      seed: of this refresh, below 2^32: a function of the run's seed and the number.
      say: prints a line, in one process of the run.
      is_chief: whether this process is that one.

    Args:
      begun: keys of the memories that hold random vectors yet: a line says so when the first of them is read.
    """

    def __init__(
        self, model, pipeline, batch_size: int, number: int, seed: int, say=print, is_chief: bool = True, begun=()
    ):
        self.model, self.pipeline, self.number, self.say, self.is_chief = model, pipeline, number, say, is_chief
        self.count = model.per_record.count
        self.seed = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
        self._batch_size, self._embedders, self._begun = batch_size, {}, tuple(begun)

    def memory(self, name: str, space: str) -> tf.Variable:
        """The memory of a modality (or view) in a space, [N, d]; unit vectors."""
        if (name, space) in self._begun:
            names = " and ".join(f"the memory of {name} in {space}" for name, space in self._begun)
            self.say(
                f"refresh {self.number}: {names} began anew, with random vectors: what is computed from them is "
                "random, and a run with such positives has diverged. Begin a new workdir with train.init_from = a "
                "workdir that has them, of the same records, such as that of gin/systems/avid.gin, and "
                "without train.init_parts"
            )
            self._begun = ()
        return local(self.model.per_record.memories[name, space])[0]

    def embeddings(self, batch_size: int = 16) -> Iterator[tuple[int, Clips]]:
        """(number of the first record, embeddings of some that follow), through all records in the order of their
        numbers: the middle clip of each, not augmented, by the network as it is at inference.

        A record that the run leaves out (InputPipeline.max_bad_records) has no modality.
        """
        if batch_size not in self._embedders:
            self._embedders[batch_size] = RecordEmbedder(self.model, self.pipeline, batch_size)
        dataset = self.pipeline.every_training_record(self._batch_size, batch_size)
        first, described = 0, f"refresh {self.number}: embedding the training records"
        with tqdm.tqdm(total=self.count, desc=described, unit="clip", disable=not self.is_chief, leave=False) as bar:
            for clips in self._embedders[batch_size].each(dataset):
                yield first, clips
                first += len(clips.keys)
                bar.update(len(clips.keys))


class Computation:
    """What `Refresh.what` is: it says which tables it writes, and computes them.

    Attributes:
      widths: {table: numbers that it has for each record}.
      resets: heads ('video -> audio_clusters') that begin anew after each refresh, with the optimiser's state of them.
    """

    widths: Mapping[str, int] = {}
    resets: Sequence[str] = ()

    def compute(self, whole: WholeSet) -> Mapping[str, np.ndarray]:
        """{table: int32 [N, width]}, -1 where there is nothing for a record. A function of `whole` alone, so that a run
        which was killed goes on with the same; it holds no more of the set at once than it says."""
        raise NotImplementedError
