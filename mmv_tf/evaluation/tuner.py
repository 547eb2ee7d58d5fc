"""A network with a linear classifier on its representation, trained end to end; one trace for all runs of a network."""

import keras
import numpy as np
import tensorflow as tf

from mmv_tf.backbones import draws
from mmv_tf.evaluation.networks import Trainable


class Tuner:
    """Trains a copy of nothing: the network's variables are changed in place, and `reset` gives them back.

    Args:
      network: what to tune.
      num_classes: C.
      dropout: rate in front of the classifier.
      weight_decay: decoupled from the gradient.
      label_smoothing: share of a label that is spread over all classes.
      optimizer: 'adam', or 'sgd' with a momentum of 0.9.
      clip_norm: greatest norm of the gradient, 0 for any.
    """

    def __init__(
        self,
        network: Trainable,
        num_classes: int,
        dropout: float,
        weight_decay: float,
        label_smoothing: float = 0.0,
        optimizer: str = "adam",
        clip_norm: float = 0.0,
    ):
        self._network, self._dropout, self._smoothing = network, dropout, label_smoothing
        self._before = [variable.numpy() for variable in network.variables]
        self._head = keras.layers.Dense(num_classes)
        options = {"global_clipnorm": clip_norm or None}
        if optimizer == "sgd":
            self._whole = keras.optimizers.SGD(momentum=0.9, weight_decay=weight_decay or None, **options)
            self._alone = keras.optimizers.SGD(momentum=0.9, **options)
        else:
            self._whole = keras.optimizers.AdamW(weight_decay=weight_decay, **options)
            self._alone = keras.optimizers.Adam(**options)
        self._steps = {
            True: tf.function(lambda *inputs: self._step(True, *inputs), autograph=False),
            False: tf.function(lambda *inputs: self._step(False, *inputs), autograph=False),
        }
        self.logits = tf.function(self._logits, autograph=False)

    def reset(self, example, seed: int) -> None:
        """The network as it came, a fresh classifier drawn by `seed`; example: frames uint8 [B,T,H,W,3]."""
        if not self._head.built:
            self._head.build(self._represent(example, False).shape)
        for variable, value in zip(self._network.variables, self._before, strict=True):
            variable.assign(value)
        kernel = self._head.kernel
        kernel.assign(np.random.default_rng(seed).normal(0, 0.01, kernel.shape))
        self._head.bias.assign(np.zeros(self._head.bias.shape))
        for variable in [*self._whole.variables, *self._alone.variables]:
            variable.assign(np.zeros(variable.shape, variable.dtype))

    def restore(self) -> None:
        """Gives the network's variables back as they came."""
        for variable, value in zip(self._network.variables, self._before, strict=True):
            variable.assign(value)

    def step(self, frames, labels, rate: float, seed, end_to_end: bool) -> float:
        """One step on frames uint8 [B,T,H,W,3] and classes [B]; the loss. seed: (2 integers) of the dropout.

        `end_to_end` False trains the classifier alone, the network being in inference mode.
        """
        (self._whole if end_to_end else self._alone).learning_rate = rate
        return float(self._steps[end_to_end](frames, labels, tf.constant(seed, tf.int32)))

    def _step(self, end_to_end, frames, labels, seed):
        with tf.GradientTape() as tape:
            with draws.within(draws.Draws(*tf.unstack(seed))):
                representation = self._represent(frames, end_to_end)
            if self._dropout:
                representation = tf.nn.experimental.stateless_dropout(representation, self._dropout, seed)
            logits = tf.cast(self._head(representation), tf.float32)
            targets = tf.one_hot(labels, logits.shape[-1]) * (1 - self._smoothing) + self._smoothing / logits.shape[-1]
            loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(targets, logits))
        tuned = self._network.trainable_variables if end_to_end else []
        variables = [*tuned, *(variable.value for variable in self._head.trainable_variables)]
        found = list(zip(tape.gradient(loss, variables), variables, strict=True))
        if end_to_end and all(gradient is None for gradient, _ in found[: len(tuned)]):
            raise ValueError("no variable of the network has a gradient: it cannot be fine-tuned")
        # Heads that the representation does not pass have none.
        gradients, variables = zip(*[pair for pair in found if pair[0] is not None], strict=True)
        (self._whole if end_to_end else self._alone).apply(list(gradients), list(variables))
        return loss

    def _represent(self, frames, training):
        return self._network.call(tf.cast(frames, tf.float32) * (1 / 255), training)

    def _logits(self, frames):
        """Logits [B, C] of frames uint8 [B,T,H,W,3]."""
        return tf.cast(self._head(self._represent(frames, False)), tf.float32)
