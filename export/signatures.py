"""The signatures of an export, modality by modality: raw inputs, their checks, networks and heads, as graphs.

What is not said here of an input that is out of the ordinary stands in the docstring of mmv_tf.export.saved_model.
"""

import dataclasses
from collections.abc import Callable, Mapping

import tensorflow as tf

from mmv_tf.backbones import layers

BEFORE_HEAD = "before_head"
_PIXELS = (-0.5, 1.5)  # [0, 1] and what resampling overshoots; 0..255 and -1..1 do not pass
_LOUDEST = 8.0  # full scale is 1; samples that were never divided by 32768 do not pass


@dataclasses.dataclass(frozen=True)
class RawInput:
    """What a signature takes.

    Args:
      spec: the signature's input.
      others: {name: what the callable of this name of `embed` takes instead}; `canonical` turns it into the first.
      canonical: see above.
      checks: functions of an input -> a condition, and the message and the numbers to show where it is not met.
    """

    spec: tf.TensorSpec
    others: Mapping[str, tf.TensorSpec] = dataclasses.field(default_factory=dict)
    canonical: Callable = tf.identity
    checks: tuple[Callable, ...] = ()


def _pictures(name: str, axes: str) -> RawInput:
    sizes = [None] * axes.count(",")
    others = {"uint8": (tf.uint8, 3), "grey": (tf.float32, 1), "grey_uint8": (tf.uint8, 1)}
    return RawInput(
        tf.TensorSpec([*sizes, 3], tf.float32, name),
        {kind: tf.TensorSpec([*sizes, channels], dtype, name) for kind, (dtype, channels) in others.items()},
        _to_rgb,
        (lambda inputs: _has_axes(inputs, name, axes), lambda inputs: _in_range(inputs, name)),
    )


def _to_rgb(frames):
    if frames.dtype == tf.uint8:
        frames = tf.cast(frames, tf.float32) * (1 / 255)
    return tf.repeat(frames, 3, axis=-1) if frames.shape[-1] == 1 else frames


def _has_axes(inputs, name: str, axes: str):
    # Asked of the tensor that comes, which need not have the shape that the signature promises. Its rank is counted:
    # TensorFlow would put the promised one in the place of tf.rank.
    shape = tf.shape(inputs)
    fits = tf.equal(tf.reduce_sum(tf.cast(shape >= 0, tf.int32)), axes.count(",") + 1)
    fits &= tf.reduce_all(shape[1:] > 0)
    if axes.endswith("3]"):
        fits &= tf.equal(shape[-1], 3)
    return fits, f"{name} takes a tensor {axes} with nothing of size 0 but the batch; this one has the shape", [shape]


def _in_range(frames, name: str):
    low, high = tf.reduce_min(frames), tf.reduce_max(frames)
    # Value by value, since NaN compares as false: it passes and comes out again, and hides nothing else of the batch.
    outside = tf.reduce_any((frames < _PIXELS[0]) | (frames > _PIXELS[1]))
    return (
        ~outside,
        f"{name} takes pixels in [0, 1] (8-bit ones divided by 255); these have least and most",
        [low, high],
    )


def _not_too_loud(waveform):
    most = tf.reduce_max(tf.abs(waveform))
    loud = tf.reduce_any(tf.abs(waveform) > _LOUDEST)  # see _in_range
    return ~loud, "audio takes samples in [-1, 1] (16-bit ones divided by 32768); the greatest here is", [most]


RAW_INPUTS = {
    "video": _pictures("video", "[B,T,H,W,3]"),
    "image": _pictures("image", "[B,H,W,3]"),
    "audio": RawInput(
        tf.TensorSpec([None, None], tf.float32, "audio"),
        {"int16": tf.TensorSpec([None, None], tf.int16, "audio")},
        lambda waveform: tf.cast(waveform, tf.float32) * (1 / 32768) if waveform.dtype == tf.int16 else waveform,
        (lambda waveform: _has_axes(waveform, "audio", "[B,S]"), _not_too_loud),
    ),
    "text": RawInput(tf.TensorSpec([None], tf.string, "text"), checks=(lambda texts: _has_axes(texts, "text", "[B]"),)),
}


def embed_function(loaded, modality: str, network) -> Callable:
    """embed(inputs as the signature takes them, training=False) -> {'before_head': [B,D], space: [B,d], ...}.

    Args:
      loaded: mmv_tf.training.workdir.Loaded.
      modality: of RAW_INPUTS; an image has the heads of a video.
      network: the backbone.
    """
    raw = RAW_INPUTS[modality]
    front_ends = {"audio": loaded.pipeline.audio, "text": loaded.pipeline.text}
    front_end = front_ends.get(modality, loaded.pipeline.video.normalised)
    headed = "video" if modality == "image" else modality

    def embed(inputs, training=False):
        for check in raw.checks:
            fits, message, shown = check(inputs)
            # One after the other, so that what fails is the check, and not an operation that needed it to hold.
            with tf.control_dependencies([tf.debugging.Assert(fits, [message, *shown], summarize=6)]):
                inputs = tf.identity(inputs)
        numeric = inputs.dtype.is_floating
        seen = front_end(_at_least_one(inputs) if numeric else inputs)
        endpoints = layers.endpoints(network, seen, training)
        embeddings = loaded.model.embed_repr(headed, endpoints["embedding"], training=training, every_space=True)
        outputs = {BEFORE_HEAD: embeddings.pop("repr"), **embeddings}
        if "last_conv" in endpoints and modality == "audio":
            outputs["last_conv"] = endpoints["last_conv"]
        outputs = {key: tf.cast(value, tf.float32) for key, value in outputs.items()}
        return {key: _with_nan_of(inputs, value) for key, value in outputs.items()} if numeric else outputs

    return embed


def _at_least_one(inputs):
    """An empty batch gets one sample of zeros: some of TensorFlow's kernels do not take empty tensors."""
    missing = tf.cast(tf.equal(tf.shape(inputs)[0], 0), tf.int32)
    return tf.pad(inputs, [[0, missing], *[[0, 0]] * (inputs.shape.rank - 1)])


def _with_nan_of(inputs, outputs):
    """The outputs without what `_at_least_one` added; NaN for each sample that has some.

    Said outright, because ReLU and max pooling on a CPU can turn NaN into numbers.
    """
    has_nan = tf.reduce_any(tf.math.is_nan(inputs), axis=range(1, inputs.shape.rank))
    has_nan = tf.reshape(has_nan, [-1, *[1] * (outputs.shape.rank - 1)])
    return tf.where(has_nan, float("nan"), outputs[: tf.shape(inputs)[0]])


def module(loaded, modality: str, network) -> tuple[tf.train.Checkpoint, tf.types.experimental.ConcreteFunction]:
    """One modality as a reusable SavedModel of TensorFlow Hub, and its signature.

    Returns:
      trackable: with `__call__(inputs, training=False)`, `variables`, `trainable_variables` (those on the way from the
        input to the spaces) and `regularization_losses` (none); and a callable of each of `RawInput.others`. Each is of
        one signature: a loaded function without one is traced anew for every shape, and TensorFlow keeps all of that.
      signature: the concrete function of the raw input.
    """
    raw = RAW_INPUTS[modality]
    embed = tf.function(embed_function(loaded, modality, network), autograph=False)
    # Traced once a mode: what is saved is what was traced, and none of our code. All inputs that the module takes go
    # through these two, so that another dtype costs a few operations and not a network.
    traces = {training: embed.get_concrete_function(raw.spec, training=training) for training in (False, True)}

    def function(spec):
        def call(inputs, training=False):
            inputs = raw.canonical(inputs)
            return tf.cond(training, lambda: traces[True](inputs), lambda: traces[False](inputs))

        whether = tf.TensorSpec([], tf.bool, "training")
        made = tf.function(call, autograph=False, input_signature=[spec, whether])
        made.get_concrete_function()
        return made

    headed = "video" if modality == "image" else modality
    graph = loaded.model.graph
    heads = {str(head): None for space in graph.spaces_of(headed) for head in graph.path(headed, space)}
    parts = [network, *(loaded.model.heads[head] for head in heads)]
    trackable = tf.train.Checkpoint()
    trackable.__call__ = function(raw.spec)
    for name, spec in raw.others.items():
        setattr(trackable, name, function(spec))
    trackable.variables = [variable.value for part in parts for variable in part.variables]
    trackable.trainable_variables = [variable.value for part in parts for variable in part.trainable_variables]
    trackable.regularization_losses = []
    if modality == "text":
        trackable.tokenizer = loaded.pipeline.text  # which owns the table of words
    return trackable, traces[False]
