"""Rematerialisation changes what is kept in memory, and no number."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.eager import context

from helpers import processes, toy
from helpers.golden_recipe import assert_close, unit_input
from mmv_tf.backbones import I3D, S3D, AudioResNet, R2Plus1D, ResNetV1, TSMResNet, VideoTokens, VideoTransformer, layers
from mmv_tf.backbones.batch_norm import averages_frozen, present
from mmv_tf.backbones.residual import Block

CLIPS, SMALL_CLIPS, SPECTROGRAMS = (4, 4, 32, 32, 3), (2, 4, 16, 16, 3), (4, 32, 16, 1)
NETWORKS = {
    "s3d": (S3D, {"width": 0.125, "final_endpoint": "Mixed_3c"}, CLIPS),
    "i3d": (I3D, {"width": 0.125, "final_endpoint": "Mixed_3b"}, SMALL_CLIPS),
    "tsm": (TSMResNet, {"depth": 18, "width": 0.125}, CLIPS),
    "r2plus1d": (R2Plus1D, {"width": 0.125}, SMALL_CLIPS),
    "resnet_v1": (ResNetV1, {"depth": 9, "width": 0.125}, SPECTROGRAMS),
    "audio": (AudioResNet, {"depth": 18, "width": 0.125}, SPECTROGRAMS),
    "transformer": (lambda **o: VideoTransformer("tiny", tokens=VideoTokens(positions=(1, 2, 2)), **o), {}, CLIPS),
}


def network(name, rematerialise, like=None):
    make, options, shape = NETWORKS[name]
    made = make(**options, rematerialise=rematerialise)
    made.build(shape)
    for variable, other in zip(made.variables, [] if like is None else like.variables, strict=like is not None):
        variable.assign(other)
    return made


def gradients_of(network, x, mask=None):
    keras.utils.set_random_seed(0)  # of dropout
    with tf.GradientTape() as tape, present(mask):
        outputs = network(x, training=True)
        loss = tf.reduce_sum(tf.square(outputs if mask is None else outputs * tf.cast(mask, outputs.dtype)[:, None]))
    return [outputs, *tape.gradient(loss, [v.value for v in network.trainable_variables])]


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_and_averages_equal_the_plain_ones(name):
    x = tf.constant(unit_input("x", NETWORKS[name][2]))
    plain = network(name, False)
    again = network(name, True, plain)
    expected, got = gradients_of(plain, x), gradients_of(again, x)
    for a, b in zip([*got, *again.variables], [*expected, *plain.variables], strict=True):
        np.testing.assert_array_equal(a, b)
    assert all(v == 1 for v in again.variables if v.name == "counter")  # one update, not two


def test_frozen_averages_stay_frozen_in_both_passes():
    again = network("audio", True)
    with averages_frozen():
        gradients_of(again, tf.constant(unit_input("x", SPECTROGRAMS)))
    assert all(v == 0 for v in again.variables if v.name == "counter")


class Blocks(keras.layers.Layer):
    """Residual blocks of 8 channels: small enough for compilers."""

    def __init__(self, rematerialise, like=None, count=2):
        super().__init__()
        keras.utils.set_random_seed(0)
        self.rematerialise = rematerialise
        self.blocks = [Block(8, name=f"block_{i}") for i in range(count)]
        for block in self.blocks:
            block.build((None, None, None, 8))
        for variable, other in zip(self.variables, [] if like is None else like.variables, strict=like is not None):
            variable.assign(other)

    def call(self, x, training=False):
        for block in self.blocks:
            x = layers.run(block, x, self.rematerialise, training=training)
        return keras.ops.mean(x, (1, 2))


@pytest.mark.parametrize("jit_compile", [False, True])
def test_compiled_with_missing_samples(jit_compile):
    # What is missing is large: a second pass that forgot the mask would show.
    x, mask = unit_input("x", (4, 8, 8, 8)), np.array([True, True, False, True])
    x[~mask] *= 50
    plain = Blocks(False)
    again = Blocks(True, plain)
    function = tf.function(gradients_of, autograph=False, jit_compile=jit_compile)
    expected, got = gradients_of(plain, tf.constant(x), mask), function(again, tf.constant(x), tf.constant(mask))
    for a, b in zip([*got, *again.variables], [*expected, *plain.variables], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4 * np.abs(b).max())


def test_two_replicas():
    x, strategy, plain = unit_input("x", (4, 8, 8, 8)), toy.mirrored(2), Blocks(False)
    with strategy.scope():
        again = Blocks(True, plain)
    shares = strategy.experimental_distribute_values_from_function(
        lambda c: tf.constant(np.split(x, 2)[c.replica_id_in_sync_group])
    )
    expected = gradients_of(plain, tf.constant(x))
    run = tf.function(lambda shares: strategy.run(gradients_of, (again, shares)), autograph=False)
    got = [strategy.experimental_local_results(a) for a in run(shares)]
    assert_close(np.concatenate(got[0]), expected[0], 1e-5)
    for a, b in zip(got[1:], expected[1:], strict=True):
        np.testing.assert_allclose(sum(a), b, rtol=1e-4, atol=1e-4 * np.abs(b).max())
    for a, b in zip(again.variables, plain.variables, strict=True):
        for copy in strategy.experimental_local_results(a.value):
            np.testing.assert_allclose(copy, b, rtol=1e-5, atol=1e-6)


@pytest.fixture
def grappler():
    """TensorFlow's optimiser of graphs, which is off in other tests."""
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False})
    yield
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


@pytest.mark.parametrize(("rematerialise", "expected"), [(False, 6), (True, 10)])
def test_convolutions_run_again_also_in_the_optimised_graph(rematerialise, expected, grappler):
    # Operations that an optimiser finds twice would be merged, and nothing saved. The last convolution of a block is
    # not run again: what it gives is kept anyway.
    function, blocks = tf.function(gradients_of, autograph=False), Blocks(rematerialise)
    context.context().enable_run_metadata()
    function(blocks, tf.constant(unit_input("x", (4, 8, 8, 8))))
    graphs = context.context().export_run_metadata().partition_graphs
    context.context().disable_run_metadata()
    assert sum(node.op.endswith("Conv2D") for graph in graphs for node in graph.node) == expected


def _print_peaks():
    def peak(rematerialise):
        blocks, x = Blocks(rematerialise, count=4), tf.constant(unit_input("x", (32, 32, 32, 8)))
        function = tf.function(gradients_of, autograph=False)
        function(blocks, x)
        before = tf.config.experimental.get_memory_info("CPU:0")["current"]
        tf.config.experimental.reset_memory_stats("CPU:0")
        function(blocks, x)
        return tf.config.experimental.get_memory_info("CPU:0")["peak"] - before

    print(peak(True), peak(False))


def test_memory_at_the_peak_falls():
    # In a process whose allocator counts: that of oneDNN, which the other tests have not (conftest).
    code = "from backbones import test_rematerialise; test_rematerialise._print_peaks()"
    counting = {"TF_ONEDNN_USE_SYSTEM_ALLOCATOR": "0", "PYTHONPATH": str(processes.ROOT / "tests")}
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | counting, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rematerialised, plain = map(int, done.stdout.split()[-2:])
    assert 0 < rematerialised < 0.75 * plain
