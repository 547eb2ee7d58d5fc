"""The whole training step compiles with XLA, gives the same numbers, and has nothing that a TPU lacks.

What XLA:TPU lacks and a CPU may have are strings, callbacks to the host (py_function, print), state other than
variables, and sizes that depend on values (unique, where). All of these show in the graph.
"""

import itertools

import gin
import keras
import numpy as np
import pytest
import tensorflow as tf

from helpers import tiny
from mmv_tf.backbones import residual
from mmv_tf.common import config
from mmv_tf.inputs.pipeline import InputPipeline
from mmv_tf.model.mmv import MMV

BATCH = 4
VARIABLES = {"ReadVariableOp", "AssignVariableOp", "AssignAddVariableOp", "AssignSubVariableOp", "ResourceApplyAdam"}
CONTROL_FLOW = {"While", "If", "PartitionedCall", "StatefulPartitionedCall"}


@pytest.fixture(scope="module")
def bindings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("records")
    pattern = tiny.make_records(folder, count=8, shards=1)
    everything = tiny.bindings(pattern, tiny.write_vocabulary(folder / "vocabulary.txt"))
    return [*everything, "AudioResNet.depth = 18"]


@pytest.fixture
def made(bindings, monkeypatch):
    """A function of settings: gin/fac.gin at a size that compiles in seconds, with its own optimiser."""
    monkeypatch.setitem(residual.DEPTHS, 18, ((1, 1), False))  # two blocks, where depth 10 has four

    def make(*settings):
        config.parse(["gin/fac.gin"], [*bindings, *settings])
        keras.utils.set_random_seed(0)
        pipeline = InputPipeline()
        model = MMV()
        optimizer = gin.query_parameter("train.optimizer").scoped_configurable_fn()
        model.compile(optimizer=optimizer, jit_compile=True)  # so that the model keeps all sizes static
        model.build_by_call(pipeline.zeros(batch_size=1))
        model.optimizer.build(model.trainable_variables)
        return model, pipeline

    return make


def check_static(graph, lists=False):
    """Loops have lists, which are variants: of a fixed length, and their elements of fixed shapes."""
    graphs = [graph, *(function.graph for function in graph._functions.values())]
    operations = [op for each in graphs for op in each.get_operations()]
    assert len(operations) > 1000
    for tensor in (tensor for op in operations for tensor in op.outputs):
        assert tensor.dtype != tf.string, tensor
        if tensor.consumers() and tensor.dtype != tf.resource and not (lists and tensor.dtype == tf.variant):
            assert tensor.shape.is_fully_defined(), tensor
    stateful = {op.type for op in operations if op.op_def.is_stateful}
    assert stateful <= {*VARIABLES, *CONTROL_FLOW}, stateful


def test_compiled_steps_equal_the_plain_ones(made):
    model, pipeline = made("S3D.final_endpoint = 'Conv2d_2c_3x3'")
    variables = [*model.variables, *model.optimizer.variables]  # the latter hold averages of the gradients
    start = [v.numpy() for v in variables]
    batches = list(itertools.islice(pipeline.training_dataset(BATCH, seed=0), 2))
    compiled_step = tf.function(model.take_step, jit_compile=True)
    check_static(compiled_step.get_concrete_function(pipeline.element_spec(BATCH)).graph)
    results = []
    for step in (model.take_step, compiled_step):
        model.jit_compile = step is compiled_step  # the plain way leaves out what is missing, with sizes that vary
        for variable, value in zip(variables, start, strict=True):
            variable.assign(value)
        sums = [step(batch).numpy() for batch in batches]
        results.append((sums, [v.numpy() for v in variables]))
    (plain_sums, plain), (sums, compiled) = results
    np.testing.assert_allclose(sums, plain_sums, rtol=1e-3, atol=1e-3)
    # As one vector: Adam turns the rounding noise of a gradient that is zero into whole steps.
    change, difference = (
        np.concatenate([np.ravel(a - b) for a, b in zip(plain, other, strict=True)]) for other in (start, compiled)
    )
    assert np.linalg.norm(difference) < 0.01 * np.linalg.norm(change)


def test_micro_batches_and_rematerialisation_are_static_too(made):
    settings = ("MMV.micro_batches = 2", "S3D.rematerialise = True", "AudioResNet.rematerialise = True")
    model, pipeline = made("S3D.final_endpoint = 'Mixed_3b'", *settings)
    graph = tf.function(model.take_step).get_concrete_function(pipeline.element_spec(BATCH)).graph
    check_static(graph, lists=True)
