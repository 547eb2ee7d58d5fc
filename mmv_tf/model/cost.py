"""The cost of a network: multiply-adds, counted in its graph, and parameters."""

import dataclasses
import math

import tensorflow as tf

from mmv_tf.inputs.pipeline import front_end
from mmv_tf.inputs.video import VideoInput
from mmv_tf.model.mmv import MMV


def multiply_adds(function, *inputs: tf.TensorSpec) -> int:
    """Multiply-adds of the convolutions and matrix products of `function(*inputs)`; all shapes must be known.

    Batch norm, gates, ReLU and pooling are not counted, as is usual. One multiply-add is two operations.

    Raises:
      ValueError: a shape in the graph is unknown.
    """
    graph = tf.function(function).get_concrete_function(*inputs).graph
    return sum(_of_op(op) for op in graph.get_operations())


def _of_op(op) -> int:
    if op.type in ("Conv2D", "Conv3D"):
        *window, channels, _ = _shape(op.inputs[1])
        return math.prod(_shape(op.outputs[0])) * math.prod(window) * channels
    if op.type in ("MatMul", "BatchMatMulV2"):
        transposed = op.get_attr("transpose_a" if op.type == "MatMul" else "adj_x")
        return math.prod(_shape(op.outputs[0])) * _shape(op.inputs[0])[-2 if transposed else -1]
    return 0


def _shape(tensor) -> list[int]:
    if not tensor.shape.is_fully_defined():
        raise ValueError(f"{tensor.name} has the shape {tensor.shape}; give inputs of fixed sizes.")
    return tensor.shape.as_list()


@dataclasses.dataclass(frozen=True)
class Count:
    """One part: a backbone (by its modality) or a head.

    Attributes:
      part: 'video', 'audio', 'va -> vat' ...
      parameters: as the paper counts: weights, biases, batch-norm scales and offsets; no moving averages.
      frozen: of those, the ones that training leaves alone (word vectors).
      multiply_adds: of convolutions and matrix products, for one clip, one spectrogram or one sentence.
    """

    part: str
    parameters: int
    frozen: int
    multiply_adds: int


def _parameters(layer) -> tuple[int, int]:
    statistics = ("moving_mean", "moving_variance", "counter")
    sizes = [(v.trainable, math.prod(v.shape)) for v in layer.variables if v.name not in statistics]
    return sum(size for _, size in sizes), sum(size for trainable, size in sizes if not trainable)


def count(model, inputs: dict) -> list[Count]:
    """Counts of the backbones and heads of `model`, an MMV.

    Args:
      model: built.
      inputs: {modality: TensorSpec of one input} with known shapes, such as video [1,T,H,W,3].
    """
    found = []
    for modality, backbone in model.backbones.items():
        cost = multiply_adds(lambda x, backbone=backbone: backbone(x, training=False), inputs[modality])
        found.append(Count(modality, *_parameters(backbone), cost))
    for head in model.graph.heads:
        layer = model.heads[str(head)]
        dim = model.graph.spaces.get(head.source) or model.backbones[model.graph.modality_of(head.source)].output_dim
        spec = tf.TensorSpec([1, dim], tf.float32)
        cost = multiply_adds(lambda x, layer=layer: layer(x, training=False), spec)
        found.append(Count(str(head), *_parameters(layer), cost))
    return found


def table(counts: list[Count]) -> str:
    """The counts as aligned text, with a total."""
    total = Count("total", *(sum(getattr(c, f) for c in counts) for f in ("parameters", "frozen", "multiply_adds")))
    lines = [f"{'part':<16}{'parameters':>14}{'of them frozen':>16}{'multiply-adds per input':>26}"]
    for c in [*counts, total]:
        lines.append(f"{c.part:<16}{c.parameters:>14,}{c.frozen:>16,}{c.multiply_adds:>26,}")
    return "\n".join(lines)


def of_configuration() -> tuple[dict[str, tf.TensorSpec], list[Count]]:
    """One input of each modality as the parsed configuration trains with it, and the counts of the model for them.

    No records and no vocabulary are needed to count.
    """
    video, audio = VideoInput(), front_end()
    sound = audio(tf.zeros([1, round(video.seconds * audio.sample_rate)]))
    inputs = {
        "video": tf.TensorSpec([1, *video.shape], tf.float32),
        "audio": tf.TensorSpec(sound.shape, tf.float32),
        "text": tf.TensorSpec([1, 16], tf.int32),
    }
    model = MMV()
    inputs = {modality: inputs[modality] for modality in model.graph.modalities}
    model.build_by_call({modality: tf.zeros(spec.shape, spec.dtype) for modality, spec in inputs.items()})
    return inputs, count(model, inputs)
