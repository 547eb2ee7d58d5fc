"""Classifiers: as many steps as were asked for."""

import keras
import numpy as np
import pytest

from mmv_tf.evaluation.classifiers import MLP, FactorisedLinear


@pytest.mark.parametrize("steps", [3, 8, 11])
def test_it_takes_the_steps_that_were_asked_for(steps, monkeypatch):
    taken = []
    apply = keras.optimizers.AdamW.apply_gradients

    class Counting(keras.optimizers.AdamW):
        def apply_gradients(self, *args, **kwargs):
            taken.append(self)
            return apply(self, *args, **kwargs)

    monkeypatch.setattr(keras.optimizers, "AdamW", Counting)
    rs = np.random.default_rng(0)
    features, targets = rs.normal(size=(40, 3)), rs.integers(0, 2, 40)
    for classifier in (MLP(hidden=2, steps=steps, batch_size=10), FactorisedLinear(steps=steps, batch_size=10)):
        taken.clear()
        classifier.fit(features, targets)
        assert int(taken[0].iterations.numpy()) == steps  # an epoch has 4
