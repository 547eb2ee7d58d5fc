"""The memory of a modality in a space: one vector for each record, as AVID has it (arXiv 2004.12943).

    Graph.memories = {('video', 'va'): @Memory(), ('audio', 'va'): @Memory()}
    Graph.pairs = [('video', 'memory:audio', 'va', {'loss': @memory_nce}), ...]

Vectors are read before a step's loss, and moved towards the embeddings of the step after it:
m = unit(momentum * m + (1 - momentum) * unit(e)). They begin as random unit vectors.
"""

import dataclasses
from typing import Literal

from mmv_tf.common.configurable import checked, configurable
from mmv_tf.common.values import CountOrNone, ShareBelowOne


@configurable
@checked
@dataclasses.dataclass(frozen=True)
class Memory:
    """How the memory of one modality in one space works.

    Attributes:
      momentum: share of the old vector in the new one, before it is made a unit vector again.
      negatives: K, records that are drawn for each sample and step, evenly and with repetitions; the same ones for all
        memories of a graph (of the smaller K the first).
      positives: a table ('agreement') whose records are a sample's positives, -1 being none: none of them is drawn, and
        `memory_nce.positives` compares with them. '': a sample's own record is not drawn. As in AVID-CMA, a
        sample's own record can be drawn where a table says what its positives are.
      dtype: of the stored vectors; 'bfloat16' takes half of the memory.
    """

    momentum: ShareBelowOne = 0.5
    negatives: CountOrNone = 1024
    positives: str = ""
    dtype: Literal["float32", "bfloat16"] = "float32"

    def __str__(self):
        avoided = f"none of those in {self.positives}" if self.positives else "never the sample's own"
        return f"momentum {self.momentum:g}, {self.negatives} negatives, {avoided}, {self.dtype}"
