"""A network with a linear classifier on its representation, trained end to end; one trace for all runs of a network."""

import keras
import numpy as np
import tensorflow as tf

from mmv_tf.backbones import draws
from mmv_tf.evaluation.networks import Trainable


class Tuner:
    """Trains the network's own variables in place, not a copy; `reset` restores them.

    Inputs are frames uint8 [B,T,H,W,3] or waveforms float32 [B,S]; labels are classes int [B], or with `several`
    float32 [B,C], 1 for every class that a clip is of.

    Args:
      network: what to tune.
      num_classes: C.
      dropout: rate in front of the classifier.
      weight_decay: decoupled from the gradient.
      label_smoothing: share of a label that is spread over all classes; of one label a clip.
      optimizer: 'adam', or 'sgd' with a momentum of 0.9.
      clip_norm: greatest norm of the network's gradient, 0 for any. The classifier's is as it is.
      mixup: alpha of `mixed`, 0 for inputs as they are.
      several: a logistic loss for each class, added up, in place of a softmax over all.
      balance: a clip's loss is weighed by `rarity`.
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
        mixup: float = 0.0,
        several: bool = False,
        balance: bool = False,
    ):
        self._network, self._dropout, self._smoothing = network, dropout, label_smoothing
        self._clip_norm, self._mixup, self._several, self._balance = clip_norm, mixup, several, balance
        self._before = [variable.numpy() for variable in network.variables]
        self._head = keras.layers.Dense(num_classes)
        if optimizer == "sgd":
            self._whole = keras.optimizers.SGD(momentum=0.9, weight_decay=weight_decay or None)
            self._alone = keras.optimizers.SGD(momentum=0.9)
        else:
            self._whole = keras.optimizers.AdamW(weight_decay=weight_decay)
            self._alone = keras.optimizers.Adam()
        self._steps = {
            True: tf.function(lambda *inputs: self._step(True, *inputs), autograph=False),
            False: tf.function(lambda *inputs: self._step(False, *inputs), autograph=False),
        }
        self.logits = tf.function(self._logits, autograph=False)

    def reset(self, example, seed: int) -> None:
        """The network as it came, a fresh classifier drawn by `seed`; example: a batch of inputs."""
        if not self._head.built:
            self._head.build(self._represent(_as_float(example), False).shape)
            # A step that makes variables is traced twice.
            for optimizer, end_to_end in ((self._whole, True), (self._alone, False)):
                tuned, head = self._trained(end_to_end)
                optimizer.build([*tuned, *head])
        for variable, value in zip(self._network.variables, self._before, strict=True):
            variable.assign(value)
        kernel, bias = self._head.kernel, self._head.bias
        kernel.assign(np.random.default_rng(seed).normal(0, 0.01, kernel.shape))
        # Of several labels most are wrong ones: as likely as one in C, not as one in two (vatt, audio/factory.py).
        bias.assign(np.full(bias.shape, -np.log(max(1, bias.shape[0] - 1)) if self._several else 0.0))
        for variable in [*self._whole.variables, *self._alone.variables]:
            variable.assign(np.zeros(variable.shape, variable.dtype))

    def restore(self) -> None:
        """Gives the network's variables back as they came."""
        for variable, value in zip(self._network.variables, self._before, strict=True):
            variable.assign(value)

    def step(self, inputs, labels, rate: float, seed, end_to_end: bool) -> float:
        """One step on inputs and labels of a batch; the loss. seed: (2 integers) of dropout and mixup.

        `end_to_end` False trains the classifier alone, the network being in inference mode.
        """
        (self._whole if end_to_end else self._alone).learning_rate = rate
        return float(self._steps[end_to_end](inputs, labels, tf.constant(seed, tf.int32)))

    def _step(self, end_to_end, inputs, labels, seed):
        inputs, targets = _as_float(inputs), labels
        if not self._several:
            count = self._head.bias.shape[0]
            targets = tf.one_hot(labels, count) * (1 - self._smoothing) + self._smoothing / count
        if self._mixup:
            inputs, targets = mixed(inputs, targets, self._mixup, seed)
        with tf.GradientTape() as tape:
            with draws.within(draws.Draws(*tf.unstack(seed))):
                representation = self._represent(inputs, end_to_end)
            if self._dropout:
                representation = tf.nn.experimental.stateless_dropout(representation, self._dropout, seed)
            logits = tf.cast(self._head(representation), tf.float32)
            if self._several:
                losses = tf.reduce_sum(tf.nn.sigmoid_cross_entropy_with_logits(targets, logits), axis=1)
            else:
                losses = tf.nn.softmax_cross_entropy_with_logits(targets, logits)
            loss = tf.reduce_mean(losses * rarity(targets) if self._balance else losses)
        tuned, head = self._trained(end_to_end)
        variables = [*tuned, *head]
        gradients = tape.gradient(loss, variables)
        if end_to_end and all(gradient is None for gradient in gradients[: len(tuned)]):
            raise ValueError("no variable of the network has a gradient: it cannot be fine-tuned")
        if self._clip_norm and tuned:
            clipped, _ = tf.clip_by_global_norm(gradients[: len(tuned)], self._clip_norm)
            gradients = [*clipped, *gradients[len(tuned) :]]
        # Heads that the representation does not pass have none.
        found = [pair for pair in zip(gradients, variables, strict=True) if pair[0] is not None]
        gradients, variables = zip(*found, strict=True)
        (self._whole if end_to_end else self._alone).apply(list(gradients), list(variables))
        return loss

    def _trained(self, end_to_end):
        """The variables that a step trains: the network's, and the classifier's."""
        tuned = self._network.trainable_variables if end_to_end else []
        return tuned, [variable.value for variable in self._head.trainable_variables]

    def _represent(self, inputs, training):
        return self._network.call(inputs, training)

    def _logits(self, inputs):
        """Logits [B, C] of inputs."""
        return tf.cast(self._head(self._represent(_as_float(inputs), False)), tf.float32)


def _as_float(inputs):
    return tf.cast(inputs, tf.float32) * (1 / 255) if inputs.dtype == tf.uint8 else inputs


def mixed(inputs: tf.Tensor, targets: tf.Tensor, alpha: float, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Mixup (arXiv 1710.09412) as VATT does it (vatt, data/processing.py): every clip with another one of the batch.

    Args:
      inputs: [B, ...] float32.
      targets: [B, C] float32.
      alpha: each clip has its share from Beta(alpha, alpha); the greater, the nearer to a half.
      seed: [2] int32; all that is drawn is a function of it.
    Returns:
      share * clip + (1 - share) * the one that a permutation of the batch puts there, of both.
    """
    size = tf.shape(targets)[0]
    keys = [tf.random.experimental.stateless_fold_in(seed, number) for number in (1, 2, 3)]
    other = tf.random.experimental.stateless_shuffle(tf.range(size), keys[0])
    # The share of one of two gamma variates in their sum is a beta variate.
    first, second = (tf.random.stateless_gamma([size], key, alpha) for key in keys[1:])
    share = first / (first + second)

    def mix(values):
        mine = tf.reshape(share, [size] + [1] * (values.shape.rank - 1))
        return mine * values + (1 - mine) * tf.gather(values, other)

    return mix(inputs), mix(targets)


def rarity(targets: tf.Tensor) -> tf.Tensor:
    """How rare the labels of each clip are in its batch: [B, C] float32 -> [B].

    The mean over a clip's labels of 1 / how often the batch has the label; 0 of a clip without labels (vatt,
    modeling/backbones/audio/factory.py: inverse_label_occurance).
    """
    often = tf.reduce_sum(targets, axis=0)
    weights = tf.linalg.matvec(targets, tf.math.divide_no_nan(tf.ones_like(often), often))
    return tf.math.divide_no_nan(weights, tf.reduce_sum(targets, axis=1))
