"""Classifiers on features: each is fitted once and then scores. One class of parameters a kind, set by gin."""

import dataclasses
import warnings
from collections.abc import Callable

import numpy as np

from mmv_tf.common.configurable import configurable
from mmv_tf.common.values import Count, CountOrNone, NotNegative, Positive, Seed, ShareBelowOne

Scores = Callable[[np.ndarray], np.ndarray]  # features [N, d] -> [N, C], the higher the likelier


class Classifier:
    """What learns to tell classes apart by features."""

    def fit(self, features: np.ndarray, targets: np.ndarray, counted: np.ndarray | None = None) -> Scores:
        """Learns from features [N, d] and targets: int [N] (classes 0 .. C-1, all of them there), or bool [N, C].

        counted: bool [N, C], with targets [N, C]: whether a clip counts for a class; None: all do.
        """
        raise NotImplementedError


@configurable
@dataclasses.dataclass
class LinearSVM(Classifier):
    """scikit-learn's LinearSVC, one class against the rest, on standardised features.

    Args:
      C: inverse strength of the regularisation.
      standardise: subtract the mean and divide by the standard deviation of the training features.
      max_iterations, tolerance: when to stop.
      seed: of the solver.
    """

    C: Positive = 0.001
    standardise: bool = True
    max_iterations: Count = 1000
    tolerance: Positive = 1e-4
    seed: Seed = 0

    def fit(self, features: np.ndarray, targets: np.ndarray, counted: np.ndarray | None = None) -> Scores:
        """As of `Classifier`."""
        from sklearn import exceptions, pipeline, preprocessing, svm

        def one(features, wanted):
            steps = [preprocessing.StandardScaler()] if self.standardise else []
            machine = svm.LinearSVC(
                C=self.C, dual="auto", max_iter=self.max_iterations, tol=self.tolerance, random_state=self.seed
            )
            with warnings.catch_warnings(record=True) as raised:
                warnings.simplefilter("always", exceptions.ConvergenceWarning)
                fitted = pipeline.make_pipeline(*steps, machine).fit(features, wanted)
            if any(issubclass(w.category, exceptions.ConvergenceWarning) for w in raised):
                print(f"LinearSVM has not converged after {self.max_iterations} iterations: raise .max_iterations")
            return fitted

        if targets.ndim == 2:
            rows = np.ones(targets.shape, bool) if counted is None else counted
            fitted = [one(features[row], column[row]) for column, row in zip(targets.T, rows.T, strict=True)]
            return lambda x: np.stack([machine.decision_function(x) for machine in fitted], axis=1)
        machine = one(features, targets)

        def scores(x):
            found = machine.decision_function(x)
            return np.stack([-found, found], axis=1) if found.ndim == 1 else found  # two classes have one score

        return scores


@dataclasses.dataclass
class _Gradient(Classifier):
    """What is fitted by gradient descent, in Keras, on standardised features; softmax for one class a clip, else
    logistic for each class."""

    def layers(self, num_classes: int) -> list:
        raise NotImplementedError

    def fit(self, features: np.ndarray, targets: np.ndarray, counted: np.ndarray | None = None) -> Scores:
        """As of `Classifier`."""
        import keras
        from sklearn import preprocessing

        keras.utils.set_random_seed(self.seed)
        several = targets.ndim == 2
        num_classes = targets.shape[1] if several else int(targets.max()) + 1
        scaler = preprocessing.StandardScaler().fit(features)
        model = keras.Sequential([keras.Input(features.shape[1:]), *self.layers(num_classes)])
        loss = _logistic if several else keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        optimizer = keras.optimizers.AdamW(self.learning_rate, weight_decay=self.weight_decay)
        model.compile(optimizer, loss)
        steps_an_epoch = -(-len(features) // self.batch_size)
        epochs = -(-self.steps // steps_an_epoch)  # the last one ends where the steps do
        x = scaler.transform(features).astype(np.float32)
        wanted = targets.astype(np.float32 if several else np.int32)
        if counted is not None:
            wanted[~counted] = _IGNORED
        model.fit(x, wanted, self.batch_size, epochs, verbose=0, callbacks=[_last_step(self.steps)])
        return lambda x: model.predict(scaler.transform(x).astype(np.float32), self.batch_size, verbose=0)


_IGNORED = -1.0  # the target of a class that a clip does not count for


def _logistic(targets, logits):
    """Binary cross-entropy, the mean over classes: [B, C] -> [B]; what is ignored adds 0."""
    from keras import ops

    losses = ops.binary_crossentropy(targets, logits, from_logits=True)
    return ops.mean(ops.where(targets == _IGNORED, 0.0, losses), axis=-1)


def _last_step(steps: int):
    """A callback that ends a fit after so many steps, in the middle of an epoch where it has to."""
    import keras

    class LastStep(keras.callbacks.Callback):
        taken = 0

        def on_train_batch_end(self, batch, logs=None):
            self.taken += 1
            self.model.stop_training = self.taken >= steps

    return LastStep()


@configurable
@dataclasses.dataclass
class FactorisedLinear(_Gradient):
    """VATT's linear classifier: two matrices without anything between them (factorised, rank 128), softmax.

    Adam 5e-4, batches of 64, 50,000 steps are VATT's (its configuration; its "10 % sampling" of the input is not known
    in detail and left out). Rank 0 is a plain linear layer: logistic regression.
    """

    rank: CountOrNone = 128
    learning_rate: Positive = 5e-4
    weight_decay: NotNegative = 0.0
    batch_size: Count = 64
    steps: Count = 50_000
    seed: Seed = 0

    def layers(self, num_classes):
        import keras

        inner = [keras.layers.Dense(self.rank, use_bias=False)] if self.rank else []
        return [*inner, keras.layers.Dense(num_classes)]


@configurable
@dataclasses.dataclass
class MLP(_Gradient):
    """A perceptron of one hidden layer (AudioSet in the paper: "MLP"; its size and training could not be read)."""

    hidden: Count = 512
    dropout: ShareBelowOne = 0.5
    learning_rate: Positive = 1e-3
    weight_decay: NotNegative = 1e-5
    batch_size: Count = 256
    steps: Count = 20_000
    seed: Seed = 0

    def layers(self, num_classes):
        import keras

        hidden = keras.layers.Dense(self.hidden, activation="relu")
        return [hidden, keras.layers.Dropout(self.dropout), keras.layers.Dense(num_classes)]
