"""Draws of networks in training (dropout, DropToken): functions of seed, step, input, part of the network and sample.

Nothing is kept from step to step, so a run that was killed and goes on draws what it would have drawn. A number belongs
to a sample of the global batch, wherever that is computed: replicas and micro-batches draw what one device would draw
for the whole batch. That costs nothing, because Philox, TensorFlow's generator, counts: the numbers of a later sample
are those of a later count. XLA has a generator of its own, which gives other numbers, and repeats them as well.
"""

import contextlib
import dataclasses
import threading
import zlib

import tensorflow as tf

_PHILOX = 1  # the number of the algorithm in TensorFlow's operations


@dataclasses.dataclass
class Draws:
    """What one pass of a network draws from.

    Attributes:
      seed: of the run, an integer below 2^32 or an integer scalar.
      step: of the optimiser, the same.
      modality: of the network; what is the same for the whole batch hangs on it, ...
      views: ... and what is drawn sample by sample on the inputs, which are one after the other in the batch.
      first: number of the batch's first sample in the global batch, of each view.
      rows: [n] the samples of the batch that pass, where not all do; then there are no candidates.
      size: samples of the batch, of all views; None: as many as the first axis of what is asked for.
    """

    seed: object
    step: object = 0
    modality: str = ""
    views: tuple[str, ...] = ("",)
    first: object = 0
    rows: object = None
    size: object = None

    def __post_init__(self):
        # Once a pass: a network asks some fifty times, and a graph takes milliseconds an operation to trace.
        self._place = tf.stack([tf.cast(self.seed, tf.int64), tf.cast(self.step, tf.int64)])
        self._first = None if self._is_whole else tf.stack([tf.cast(self.first, tf.uint64), tf.constant(0, tf.uint64)])

    @property
    def _is_whole(self) -> bool:
        return isinstance(self.first, int) and self.first == 0

    def bits(self, name: str, shape) -> tf.Tensor:
        """`shape` uint32, every value as likely; the first axis is samples, or a multiple of them (candidates).

        Args:
          name: of the part of the network: other names give other numbers.
        """
        rows, *rest = shape
        size = rows if self.size is None else self.size
        each = rows // size if self.rows is None else 1
        wide = 1
        for extent in rest:
            wide *= extent
        blocks = (each * wide + 3) // 4  # a count gives four numbers
        of_view = size // len(self.views)
        parts = []
        for view in self.views:
            key, counter = tf.raw_ops.StatelessRandomGetKeyCounter(seed=self._key(f"{self.modality}/{view}", name))
            if not self._is_whole:
                counter += self._first * tf.cast(blocks, tf.uint64)
            part = tf.raw_ops.StatelessRandomUniformFullIntV2(
                shape=[of_view, 4 * blocks], key=key, counter=counter, alg=_PHILOX, dtype=tf.uint32
            )
            parts.append(part if isinstance(blocks, int) and 4 * blocks == each * wide else part[:, : each * wide])
        found = parts[0] if len(parts) == 1 else tf.concat(parts, axis=0)
        if self.rows is not None:
            found = tf.gather(found, self.rows)
        return tf.reshape(found, shape)

    def dropout(self, x, rate: float, name: str):
        """`x` with a share `rate` of its values at 0, and the others divided by 1 - rate."""
        if not rate:
            return x
        sizes = [n if n is not None else tf.shape(x)[i] for i, n in enumerate(x.shape)]
        dropped = self.bits(name, sizes) < tf.constant(round(rate * 2**32), tf.uint32)
        return tf.where(dropped, tf.zeros([], x.dtype), x * tf.cast(1 / (1 - rate), x.dtype))

    def permutation(self, count, name: str) -> tf.Tensor:
        """[count] int32, the same for the whole global batch."""
        whole = dataclasses.replace(self, views=("",), first=0, rows=None, size=None)
        return whole.permutations(1, count, name)[0]

    def permutations(self, samples, count, name: str) -> tf.Tensor:
        """[samples, count] int32, one for each sample."""
        # Sorted as float32, which XLA can do everywhere; that a few are equal does not matter.
        return tf.argsort(tf.cast(self.bits(name, [samples, count]), tf.float32), axis=1)

    def _key(self, owner: str, name: str):
        return self._place + tf.constant([_number(owner) << 32, _number(name) << 32], tf.int64)


def _number(name: str) -> int:
    """31 bits of a name: above them a step and a seed have room for 32."""
    return zlib.crc32(name.encode()) & 0x7FFFFFFF


class _Here(threading.local):  # MirroredStrategy traces each replica in a thread of its own
    draws = None


_here = _Here()


@contextlib.contextmanager
def within(draws: Draws | None):
    """Inside it, networks in training mode draw from `draws`. It holds for the thread that enters it."""
    before, _here.draws = _here.draws, draws
    try:
        yield
    finally:
        _here.draws = before


def only(rows):
    """Inside it, the rows `rows` [n] of the batch are all that passes. It holds for the thread that enters it."""
    return within(_here.draws and dataclasses.replace(_here.draws, rows=rows))


def here(training: bool) -> Draws | None:
    """What a network that is called now draws from; None at inference.

    Outside of a training step of ours (a Keras model of someone else's, an export that is fine-tuned) it is a seed that
    TensorFlow draws for this call; `keras.utils.set_random_seed` makes that repeatable.
    """
    if not training:
        return None
    if _here.draws is not None:
        return _here.draws
    return Draws(*tf.unstack(tf.random.uniform([2], maxval=2**31 - 1, dtype=tf.int64)))
