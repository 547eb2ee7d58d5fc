"""Classifiers by gradient descent: as many steps as were asked for, and what does not count."""

import keras
import numpy as np
import pytest

from mmv_tf.evaluation import classifiers
from mmv_tf.evaluation.classifiers import MLP, FactorisedLinear


@pytest.mark.parametrize(("kind", "steps"), [(MLP, 3), (MLP, 8), (FactorisedLinear, 11)])
def test_it_takes_the_steps_that_were_asked_for(kind, steps, monkeypatch):
    taken = []
    apply = keras.optimizers.AdamW.apply_gradients

    class Counting(keras.optimizers.AdamW):
        def apply_gradients(self, *args, **kwargs):
            taken.append(self)
            return apply(self, *args, **kwargs)

    monkeypatch.setattr(keras.optimizers, "AdamW", Counting)
    rs = np.random.default_rng(0)
    features, targets = rs.normal(size=(40, 3)), rs.integers(0, 2, 40)
    kind(steps=steps, batch_size=10).fit(features, targets)
    assert int(taken[0].iterations.numpy()) == steps  # an epoch has 4


def test_what_does_not_count_for_a_class_is_no_loss():
    """And it is fitted: of the others the loss is the mean of the logistic one over all classes."""
    logits = np.array([[2.0, -1.0], [0.5, 3.0]], np.float32)
    targets, counted = np.array([[1, 0], [1, 1]], bool), np.array([[True, False], [True, True]])
    own = -np.log(1 / (1 + np.exp(-np.where(targets, logits, -logits))))
    wanted = np.where(counted, targets, classifiers._IGNORED).astype(np.float32)
    np.testing.assert_allclose(classifiers._logistic(wanted, logits), (own * counted).mean(axis=1), rtol=1e-5)
    features = np.random.default_rng(0).normal(size=(2, 3))
    assert np.isfinite(MLP(hidden=2, steps=1).fit(features, targets, counted)(features)).all()
