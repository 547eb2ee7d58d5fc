"""Networks to evaluate, behind one interface: a model of ours, a SavedModel with the published signatures, raw data."""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

from mmv_tf.backbones import layers
from mmv_tf.common import identity
from mmv_tf.inputs.audio import LogMel
from mmv_tf.training import workdir

PUBLISHED_SAMPLE_RATE = 48000  # Hz; what the published modules take
BEFORE_HEAD = "before_head"
LAST_CONV = "last_conv"
TUNABLE = ("video", "audio")  # modalities whose networks can be fine-tuned
_THUMBNAIL, _THUMBNAILS = 8, 4  # pixels of a side, and how many of them, in a window of raw video


@dataclasses.dataclass(frozen=True)
class Network:
    """Embeds windows.

    Attributes:
      name: 'network', 'untrained' or 'raw'.
      checksum: the identity of all that its outputs depend on (`mmv_tf.common.identity`).
      functions: {modality: function}; of a batch of inputs (video [B,T,H,W,3] and image [B,H,W,3] float32 in [0,1],
        audio [B,S] float32 waveform in [-1,1], text [B] string) to {key: [B, d]}. Keys are those of the published
        modules: 'before_head' (the representation), the spaces ('va', 'vat', ...), and for audio 'last_conv' (pooled).
      outputs: {modality: keys}.
      sample_rate: Hz, of the sound that it takes.
      description: what a result says of it.
      trainable: {modality: Trainable} for fine-tuning; empty where there is none.
    """

    name: str
    checksum: str
    functions: Mapping[str, Callable]
    outputs: Mapping[str, tuple[str, ...]]
    sample_rate: int = PUBLISHED_SAMPLE_RATE
    description: Mapping = dataclasses.field(default_factory=dict)
    trainable: Mapping[str, "Trainable"] = dataclasses.field(default_factory=dict)

    def function(self, modality: str, output: str) -> Callable:
        """The function of a batch of inputs to [B, d], the output of this name; 'raw' has one output a modality.

        Raises:
          ValueError: the network has no such modality or output; names those that it has.
        """
        if output not in self.outputs_of(modality):
            has = ", ".join(self.outputs[modality])
            raise ValueError(
                f"the {self.name} network has no output {output!r} for {modality}; it has {has}: the protocol's "
                "`output` says which"
            )

        @tf.function(autograph=False)
        def embed(inputs):
            if modality in ("video", "image") and inputs.dtype == tf.uint8:
                inputs = tf.cast(inputs, tf.float32) * (1 / 255)
            return tf.cast(self.functions[modality](inputs)[output], tf.float32)

        return embed

    def outputs_of(self, modality: str) -> tuple[str, ...]:
        """The keys of a modality's outputs. ValueError if the network does not take it; names what it takes."""
        if modality not in self.outputs:
            has = ", ".join(self.outputs) or "nothing"
            raise ValueError(f"the {self.name} network takes no {modality}; it takes {has}")
        return self.outputs[modality]

    def spaces(self, modality: str) -> tuple[str, ...]:
        """The outputs of a modality that are embeddings in a space."""
        return tuple(key for key in self.outputs.get(modality, ()) if key not in (BEFORE_HEAD, LAST_CONV))


@dataclasses.dataclass(frozen=True)
class Trainable:
    """A network to fine-tune: call(inputs, training) -> [B, D], and its variables, which are changed in place.

    Inputs are those of `Network.functions`: its front end is in it. `settings` is an identity of what concerns its
    training alone (dropout, layers that are not trained), which `Network.checksum` leaves out; '' where it does not.
    """

    call: Callable
    trainable_variables: list
    variables: list
    settings: str = ""


def pooled(outputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Outputs as vectors: maps [B,...,C] are averaged over all but their first and last axis."""
    return {
        key: tf.reduce_mean(value, axis=list(range(1, value.shape.rank - 1))) if value.shape.rank > 2 else value
        for key, value in outputs.items()
    }


def of_model(model, pipeline, name: str = "network", image_network=None, description=None) -> Network:
    """A built MMV with the pipeline that says how its sound and text are made into inputs.

    Args:
      image_network: a layer for images [B,H,W,3] -> [B,D], from `deflation.network.image_network`; None: no images.
    """
    networks = dict(model.backbones) | ({"image": image_network} if image_network is not None else {})
    seen = pipeline.video.normalised
    front_ends = {"audio": pipeline.audio, "text": pipeline.text, "video": seen, "image": seen}

    def function(modality, network):
        def embed(inputs):
            front_end = front_ends.get(modality) or tf.identity
            ends = layers.endpoints(network, front_end(inputs))
            headed = "video" if modality == "image" else modality
            outputs = dict(model.embed_repr(headed, ends["embedding"], training=False))
            outputs[BEFORE_HEAD] = outputs.pop("repr")
            if modality == "audio" and LAST_CONV in ends:
                outputs[LAST_CONV] = ends[LAST_CONV]
            return pooled(outputs)

        return embed

    about = {"identity": workdir.network_identity(model, pipeline)}
    if image_network is not None:
        about["image_identity"] = identity.of_layer(image_network)
    trainable = {
        modality: Trainable(
            lambda inputs, training, backbone=backbone, seen=front_ends[modality]: backbone(
                seen(inputs), training=training
            ),
            [variable.value for variable in backbone.trainable_variables],
            [variable.value for variable in backbone.variables],
            identity.of_training(backbone),
        )
        for modality, backbone in model.backbones.items()
        if modality in TUNABLE
    }
    spaces = {m: model.graph.spaces_of("video" if m == "image" else m) for m in networks}
    has_maps = getattr(networks.get("audio"), "has_last_conv", False)
    outputs = {m: (BEFORE_HEAD, *spaces[m], *[LAST_CONV] * (m == "audio" and has_maps)) for m in networks}
    return Network(
        name,
        identity.of(about),
        {modality: function(modality, network) for modality, network in networks.items()},
        outputs,
        pipeline.audio.sample_rate if pipeline.audio else PUBLISHED_SAMPLE_RATE,
        {"parameters": parameters(model.trainable_variables), **about, **(description or {})},
        trainable,
    )


def of_module(
    path: str, checksum: str, inflate: int = 0, sample_rate: int = PUBLISHED_SAMPLE_RATE, description=None
) -> Network:
    """A SavedModel with signatures 'video', 'audio', 'text' or 'image' of one input each, whoever made it.

    Args:
      path: its folder.
      checksum: of its files.
      inflate: if above 0, images are embedded by 'video', each repeated so often, also where there is an 'image'.
      sample_rate: Hz, of the sound that it takes.
    Raises:
      ValueError: none of these signatures is there; names what is.
    """
    module = tf.saved_model.load(path)
    known = [name for name in ("video", "audio", "text", "image") if name in module.signatures]
    if not known:
        has = ", ".join(module.signatures) or "none"
        raise ValueError(f"{path} has none of the signatures video, audio, text, image; it has {has}")

    functions = {name: _positional(module, name) for name in known}
    outputs = {name: tuple(sorted(module.signatures[name].structured_outputs)) for name in known}
    if inflate and "video" in functions:
        clips, outputs["image"] = functions["video"], outputs["video"]
        functions["image"] = lambda images: clips(tf.repeat(images[:, None], inflate, axis=1))
    trainable = {}
    for modality in (name for name in TUNABLE if name in known):
        # The callable of somebody else's module itself takes frames, where it has no `embed`.
        network = getattr(getattr(module, "embed", module), modality, module if modality == "video" else None)
        if callable(network) and hasattr(network, "trainable_variables"):
            trainable[modality] = Trainable(
                lambda inputs, training, network=network: _representation(network(inputs, training=training)),
                list(network.trainable_variables),
                list(network.variables),
            )
    return Network(
        "network",
        identity.of(checksum, inflate),
        functions,
        outputs,
        sample_rate,
        {"checksum_of_files": checksum, **(description or {})},
        trainable,
    )


def _positional(module, name: str) -> Callable:
    """A signature as a function of its one input, whatever the name of that is. It holds the module: its variables."""

    def embed(inputs):
        signature = module.signatures[name]
        ((argument, _),) = signature.structured_input_signature[1].items()
        return pooled(signature(**{argument: inputs}))

    return embed


def _representation(outputs):
    return outputs[BEFORE_HEAD] if isinstance(outputs, Mapping) else outputs


def raw(sample_rate: int = PUBLISHED_SAMPLE_RATE) -> Network:
    """No network: colours and small pictures of a window, and statistics of a log-mel spectrogram, as 'before_head'.

    video: the mean colour, and 4 thumbnails of 8 x 8 pixels evenly spaced in time; image: mean colour and one
    thumbnail; audio: mean and standard deviation over time of each of the 80 bins.
    """
    mel = LogMel(
        sample_rate,
        window=max(64, sample_rate * 2048 // 48000),
        stride=max(32, sample_rate * 1024 // 48000),
        num_bins=80 if sample_rate >= 16000 else 40,
        min_frequency=80.0,
        max_frequency=min(7600.0, sample_rate / 2),
        log_form="log1p_scaled",
        normalize=False,
    )

    def video(frames):
        times = tf.cast(tf.linspace(0.0, tf.cast(tf.shape(frames)[1] - 1, tf.float32), _THUMBNAILS), tf.int32)
        shown = tf.gather(frames, times, axis=1)
        small = [image(shown[:, i])["before_head"] for i in range(_THUMBNAILS)]
        return {BEFORE_HEAD: tf.concat(small, axis=1)}

    def image(frames):
        small = tf.image.resize(frames, [_THUMBNAIL, _THUMBNAIL], method="area")
        mean = tf.reduce_mean(frames, axis=[1, 2])
        return {BEFORE_HEAD: tf.concat([mean, tf.reshape(small, [-1, 3 * _THUMBNAIL**2])], axis=1)}

    def audio(waveform):
        bins = mel(waveform)[..., 0]
        return {BEFORE_HEAD: tf.concat([tf.reduce_mean(bins, axis=1), tf.math.reduce_std(bins, axis=1)], axis=1)}

    about = {
        "video": f"mean colour and thumbnails of {_THUMBNAIL} x {_THUMBNAIL} pixels at {_THUMBNAILS} times",
        "audio": f"mean and standard deviation over time of {mel.num_bins} log-mel bins",
    }
    functions = {"video": video, "image": image, "audio": audio}
    outputs = dict.fromkeys(functions, (BEFORE_HEAD,))
    return Network("raw", f"raw-1-{sample_rate}", functions, outputs, sample_rate, about)


def parameters(variables) -> int:
    """How many numbers training changes."""
    return int(sum(np.prod(variable.shape) for variable in variables))
