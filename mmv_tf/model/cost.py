"""The cost of a network: multiply-adds, counted in its graph, and parameters."""

import contextlib
import dataclasses
import functools
import math

import tensorflow as tf
from tensorflow.python.framework import ops

from mmv_tf.inputs.pipeline import InputPipeline
from mmv_tf.model.mmv import MMV

_EINSUM = "Einsum,flops"


def multiply_adds(function, *inputs: tf.TensorSpec) -> int:
    """Multiply-adds of the convolutions and matrix products of `function(*inputs)`; all shapes must be known.

    Batch norm, gates, ReLU and pooling are not counted, as is usual. One multiply-add is two operations.

    Raises:
      ValueError: a shape in the graph is unknown.
    """
    return sum(_of_op(op) for op in graph_of(function, *inputs).get_operations())


def graph_of(function, *inputs: tf.TensorSpec) -> tf.Graph:
    return tf.function(function, autograph=False).get_concrete_function(*inputs).graph


def _of_op(op) -> int:
    if op.type in ("Conv2D", "Conv3D"):
        *window, channels, _ = _shape(op.inputs[1])
        return math.prod(_shape(op.outputs[0])) * math.prod(window) * channels
    if op.type == "Einsum":
        letters, _ = op.get_attr("equation").decode().split("->")
        sizes = {}
        for names, tensor in zip(letters.split(","), op.inputs, strict=True):
            sizes |= dict(zip(names, _shape(tensor), strict=True))
        return math.prod(sizes.values())
    if op.type in ("MatMul", "BatchMatMulV2"):
        transposed = op.get_attr("transpose_a" if op.type == "MatMul" else "adj_x")
        return math.prod(_shape(op.outputs[0])) * _shape(op.inputs[0])[-2 if transposed else -1]
    return 0


def in_training(network, spec: tf.TensorSpec) -> tuple[int, int]:
    """Of a forward pass in training: multiply-adds, and operations as TensorFlow's profiler counts them.

    The profiler, which VATT's table was made with, counts two operations a multiply-add, additions, norms and the like,
    too, and no `einsum`: of a transformer the products of queries and keys are missing.
    """
    graph = graph_of(functools.partial(network, training=True), spec)
    options = {**tf.compat.v1.profiler.ProfileOptionBuilder.float_operation(), "output": "none"}
    with _as_it_comes():
        counted = tf.compat.v1.profiler.profile(graph, options=options).total_float_ops
    return sum(_of_op(op) for op in graph.get_operations()), counted


@contextlib.contextmanager
def _as_it_comes():
    """TensorFlow's profiler as it comes: tf-models-official, once it is imported, teaches it `einsum`.

    And without the line that this part of TensorFlow is of its first version.
    """
    before, taught = tf.compat.v1.logging.get_verbosity(), ops._stats_registry._registry.pop(_EINSUM, None)
    tf.compat.v1.logging.set_verbosity(tf.compat.v1.logging.ERROR)
    try:
        yield
    finally:
        tf.compat.v1.logging.set_verbosity(before)
        if taught is not None:
            ops._stats_registry._registry[_EINSUM] = taught


def _shape(tensor) -> list[int]:
    if not tensor.shape.is_fully_defined():
        raise ValueError(f"{tensor.name} has the shape {tensor.shape}; give inputs of fixed sizes.")
    return tensor.shape.as_list()


@dataclasses.dataclass(frozen=True)
class Count:
    """One part: a backbone (by its modality), a head or a scorer.

    Attributes:
      part: 'video', 'audio', 'va -> vat', or a scorer, of training alone ...
      parameters: as the paper counts: weights, biases, batch-norm scales and offsets; no moving averages.
      frozen: of those, the ones that training leaves alone (word vectors).
      multiply_adds: of convolutions and matrix products, for one clip, one spectrogram or one sentence (of a scorer:
        for two vectors).
      shared: of the parameters, those that a part before this one has, too.
      trained: multiply-adds of the forward pass in training, where that differs (DropToken); otherwise None ...
      profiled: ... and its operations as TensorFlow's profiler counts them.
    """

    part: str
    parameters: int
    frozen: int
    multiply_adds: int
    shared: int = 0
    trained: int | None = None
    profiled: int | None = None


def _parameters(layer, seen: set) -> tuple[int, int, int]:
    """How many there are, how many of them are frozen, and how many are `seen` (which is added to)."""
    statistics = ("moving_mean", "moving_variance", "counter")
    variables = [v for v in layer.variables if v.name not in statistics]
    known = [v for v in variables if id(v) in seen]
    seen.update(map(id, variables))
    frozen = [v for v in variables if not v.trainable]
    return tuple(sum(math.prod(v.shape) for v in some) for some in (variables, frozen, known))


def count(model, inputs: dict) -> list[Count]:
    """Counts of the backbones, heads and scorers of `model`, an MMV.

    Args:
      model: built.
      inputs: {modality: TensorSpec of one input} with known shapes, such as video [1,T,H,W,3].
    """
    found, seen = [], set()
    differs = any(hasattr(backbone, "transformer") for backbone in model.backbones.values())
    for modality, backbone in model.backbones.items():
        parameters, frozen, shared = _parameters(backbone, seen)
        spec, passed = inputs[modality], functools.partial(backbone, training=False)
        trained = in_training(backbone, spec) if differs else (None, None)
        found.append(Count(modality, parameters, frozen, multiply_adds(passed, spec), shared, *trained))
    for head in model.graph.heads:
        layer = model.heads[str(head)]
        dim = model.graph.spaces.get(head.source) or model.backbones[model.graph.modality_of(head.source)].output_dim
        spec = tf.TensorSpec([1, dim], tf.float32)
        cost = multiply_adds(lambda x, layer=layer: layer(x, training=False), spec)
        parameters, frozen, shared = _parameters(layer, seen)
        found.append(Count(str(head), parameters, frozen, cost, shared))
    for pair in (pair for pair in model.graph.pairs if pair.scorer):
        layer = model.scorers[pair.scorer_name]
        specs = [tf.TensorSpec([1, model.graph.spaces[space]], tf.float32) for _, space in pair.sides[:2]]
        parameters, frozen, shared = _parameters(layer, seen)
        found.append(Count(pair.scorer_name, parameters, frozen, multiply_adds(layer, *specs), shared))
    return found


def table(counts: list[Count]) -> str:
    """The counts as aligned text, with a total."""
    total = Count("total", *(sum(getattr(c, f) for c in counts) for f in ("parameters", "frozen", "multiply_adds")))
    shared = sum(c.shared for c in counts)
    total = dataclasses.replace(total, parameters=total.parameters - shared)
    width = max(16, *(len(c.part) + 2 for c in counts))
    lines = [f"{'part':<{width}}{'parameters':>14}{'of them frozen':>16}{'multiply-adds per input':>26}"]
    for c in [*counts, total]:
        lines.append(f"{c.part:<{width}}{c.parameters:>14,}{c.frozen:>16,}{c.multiply_adds:>26,}")
    if shared:
        lines.append(f"{shared:,} parameters are those of several parts, and counted once in the total")
    if trained := [c for c in counts if c.trained is not None]:
        sums = Count("total", 0, 0, 0, 0, *(sum(getattr(c, f) for c in trained) for f in ("trained", "profiled")))
        lines += [
            "",
            "one forward pass in training, with DropToken, in GFLOP:",
            f"{'part':<16}{'2 x multiply-adds':>20}{'as the profiler of TensorFlow counts':>40}",
            *(f"{c.part:<16}{2e-9 * c.trained:>20.1f}{1e-9 * c.profiled:>40.1f}" for c in [*trained, sums]),
            "(the profiler counts no einsum, so no product of queries and keys; VATT's table has its numbers)",
        ]
    return "\n".join(lines)


def of_configuration() -> tuple[dict[str, tf.TensorSpec], list[Count]]:
    """One input of each modality as the parsed configuration trains with it, and the counts of the model for them.

    No records and no vocabulary are needed to count.
    """
    model = MMV()
    seen_and_heard = [modality for modality in model.graph.modalities if modality != "text"]
    pipeline = InputPipeline((), seen_and_heard, views={})
    inputs = {"video": tf.TensorSpec([1, *pipeline.video.shape], tf.float32), "text": tf.TensorSpec([1, 16], tf.int32)}
    if pipeline.audio:
        inputs["audio"] = tf.TensorSpec(pipeline.audio(tf.zeros([1, pipeline.num_samples])).shape, tf.float32)
    inputs = {modality: inputs[modality] for modality in model.graph.modalities}
    model.build_by_call({modality: tf.zeros(spec.shape, spec.dtype) for modality, spec in inputs.items()})
    return inputs, count(model, inputs)
