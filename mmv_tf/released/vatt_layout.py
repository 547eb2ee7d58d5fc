"""The layout of a checkpoint of VATT: which of its networks it has, from the names and shapes of its arrays alone."""

import dataclasses
import re
from collections.abc import Mapping
from typing import ClassVar

from mmv_tf.released import vatt_names as names
from mmv_tf.released.layout import PAIRS, Layout, extent
from mmv_tf.released.pickle_machine import CheckpointError
from mmv_tf.released.torch_layout import Found, System

PRETRAINING = """\
# What the network saw in training: 32 frames at 10 a second, 3.2 s of sound at 48 kHz.
InputPipeline.audio = @Waveform()
VideoInput.num_frames = 32
VideoInput.frame_rate = 10.0
VideoInput.crop_size = 224
VideoInput.value_range = (-1.0, 1.0)
"""
FINE_TUNING = {
    "video": """\
# What the network saw in fine-tuning: 32 frames at 12.5 a second.
VideoInput.num_frames = 32
VideoInput.frame_rate = 12.5
VideoInput.crop_size = 224
VideoInput.value_range = (-1.0, 1.0)
""",
    "audio": """\
# What the network heard in fine-tuning: every other sample of 6.4 s at 48 kHz, as many as 3.2 s have in pretraining.
InputPipeline.audio = @Waveform()
""",
}
TRANSFORMERS = {"video": "VideoTransformer", "audio": "WaveformTransformer", "text": "TextTransformer"}
PARTS = {"video": "VideoTokens", "audio": "WaveformTokens", "text": "WordVectors"}
HEAD_DIM = 64  # numbers of a head of attention, in all released networks; no array of a file tells it
_PLACES = "pos_embedding_lookup"
_MAX_LAYERS, _MAX_UNITS, _MAX_ROWS = 48, 8192, 1 << 17  # a file says what is built for it


def _system(inputs: str) -> System:
    return System(
        "VATT (Akbari et al. 2021, github.com/google-research/google-research, folder vatt)",
        "Apache License 2.0 (github.com/google-research/google-research/blob/master/LICENSE)",
        inputs,
    )


@dataclasses.dataclass(frozen=True)
class TransformerLayout(Layout):
    """What to build for a checkpoint of VATT.

    Attributes:
      parts: {modality: settings of what makes its tokens, a class of `PARTS`}.
      shared: settings of `modality_agnostic`, if all modalities have one transformer.
    """

    parts: Mapping[str, dict] = dataclasses.field(default_factory=dict)
    shared: dict | None = None

    least: ClassVar[Mapping[str, tuple]] = {"video": (1, 4, 16, 16, 3), "audio": (1, 128), "text": (1, 1)}

    @property
    def rows(self):
        return self.parts["text"]["vocabulary_size"]

    def networks(self):
        from mmv_tf import backbones
        from mmv_tf.backbones.transformers import shared_transformer, text_transformer, transformer

        made = {m: getattr(backbones, PARTS[m])(**self.parts[m]) for m in self.backbones}
        if self.shared is not None:
            size = {"size": "medium", **self.shared}
            units = size.pop("units")
            if "text" in made:
                made["text"] = text_transformer.WordTokens(made["text"])
            extents = transformer.extents("modality_agnostic", **size)
            return shared_transformer.over_one_transformer(made, extents, units, dropout=0.1)
        return {
            m: getattr(backbones, name)(**settings, **{"words" if m == "text" else "tokens": made[m]})
            for m, (name, settings) in self.backbones.items()
        }

    def bindings(self):
        networks = list(self.backbones.values())
        if self.shared is not None:
            networks = [("modality_agnostic", {"modalities": tuple(self.backbones), **self.shared})]
        return [*networks, *((PARTS[m], self.parts[m]) for m in self.backbones)]

    def networks_gin(self):
        return super().networks_gin() if self.shared is None else "@modality_agnostic()"

    def __str__(self):
        if self.shared is None:
            return super().__str__()
        settings = ", ".join(f"{key}={value!r}" for key, value in self.shared.items())
        return f"modality_agnostic({settings}) of {', '.join(self.backbones)}; graph {self.graph}"


def detect(shapes: Mapping[str, tuple[int, ...]], head_dim: int = HEAD_DIM) -> Found:
    """The layout of a checkpoint.

    Args:
      shapes: {name of an array, as in `vatt_names`: shape}.
      head_dim: numbers of a head of attention.

    Raises:
      CheckpointError: the names are not those of VATT's transformers, or no network of ours has the shapes.
    """
    if any(name.startswith(f"{names.SHARED}/") for name in shapes):
        return _agnostic(shapes, head_dim)
    for modality, patches in names.PATCHES.items():
        if f"{names.FINE_TUNED}/{patches}/kernel" in shapes:
            return _fine_tuned(shapes, modality, head_dim)
    if f"{names.VIDEO}/{names.PATCHES['video']}/kernel" not in shapes:
        raise CheckpointError(
            "its arrays are not those of VATT's transformers on pixels, waveform and words, pretrained or fine-tuned "
            "(its convolutional networks and the spectrogram transformer are not read)"
        )
    modules = {"video": names.VIDEO, "audio": names.AUDIO}
    found = {m: _extents(shapes, f"{module}/tx", head_dim) for m, module in modules.items()}
    text, inner = f"{names.TEXT}/base_lm", "self_attention/attention/"
    distances = f"{text}/layers/0/{inner}relative_attention_bias/embeddings"  # one number a head
    found["text"] = _extents(shapes, text, head_dim, inner, _axis(shapes, distances, 2, 1))
    parts = {
        m: _tokens(shapes, m, f"{module}/{names.PATCHES[m]}", f"{module}/{_PLACES}") for m, module in modules.items()
    }
    parts["text"] = _words(shapes, f"{names.TEXT}/embedding/embeddings")
    networks = {m: (TRANSFORMERS[m], settings) for m, settings in found.items()}
    layout = TransformerLayout(networks, **_fac(shapes), parts=parts)

    def entries(model):
        for m, module in modules.items():
            yield from names.network(model.backbones[m], module, m)
        yield from names.text(model.backbones["text"])
        yield from names.heads(model.heads)

    return Found(_system(PRETRAINING), layout, entries, unused="$")


def _agnostic(shapes, head_dim: int) -> Found:
    module = names.SHARED
    extents = _extents(shapes, f"{module}/tx", head_dim)
    units = _axis(shapes, f"{module}/post_proj/video/kernel", 2, 1)
    parts = {
        m: _tokens(shapes, m, f"{module}/raw_to_embeddings/{m}", f"{module}/{_PLACES}/{m}") for m in ("video", "audio")
    }
    parts["text"] = _words(shapes, f"{module}/raw_to_embeddings/text/embeddings")
    networks = {m: ("SharedTransformer", {}) for m in parts}
    layout = TransformerLayout(networks, **_fac(shapes), parts=parts, shared={**extents, "units": units})

    def entries(model):
        yield from names.shared(model.backbones)
        yield from names.heads(model.heads)

    return Found(_system(PRETRAINING), layout, entries, unused="$")


def _fine_tuned(shapes, modality: str, head_dim: int) -> Found:
    """Of one modality, with a classifier on it, which has no place here."""
    module = names.FINE_TUNED
    extents = _extents(shapes, f"{module}/tx", head_dim)
    parts = {modality: _tokens(shapes, modality, f"{module}/{names.PATCHES[modality]}", f"{module}/{_PLACES}")}
    if f"{module}/post_proj/kernel" in shapes:
        dim = _axis(shapes, f"{module}/post_proj/kernel", 2, 1)
        network, shared, place = ("SharedTransformer", {}), {**extents, "units": dim}, names.fine_tuned
    else:
        dim = _axis(shapes, f"{module}/agg_embedding", 1, 0)
        network, shared, place = (TRANSFORMERS[modality], extents), None, names.network
    space = modality[0]
    layout = TransformerLayout(
        {modality: network}, "", {}, {space: dim}, ((modality, space, {}),), (), parts=parts, shared=shared
    )

    def entries(model):
        yield from place(model.backbones[modality], module, modality)

    identity = (f"{modality} -> {space}",)
    system = _system(FINE_TUNING[modality])
    return Found(system, layout.with_a_pair(), entries, identity, unused=names.CLASSIFIER)


def _extents(shapes, module: str, head_dim: int, attention: str = "mha/", heads: int | None = None) -> dict:
    """The settings of a transformer: its size, if it is one of those that have a name."""
    from mmv_tf.backbones.transformers.transformer import SIZES, Extents

    pattern = re.compile(re.escape(module) + r"/layers/(\d{1,3})/")
    layers = len({match[1] for name in shapes if (match := pattern.match(name))})
    if layers > _MAX_LAYERS:
        raise CheckpointError(f"{module}: {layers} layers, more than any released network has")
    dim, inner = (_axis(shapes, f"{module}/layers/0/{attention}q/kernel", 2, axis) for axis in (0, 1))
    heads = heads or dim // head_dim
    if inner != dim or not heads or dim % heads:
        raise CheckpointError(f"{module}: attention of {dim} to {inner} numbers, which no network here has")
    hidden = _axis(shapes, f"{module}/layers/0/feed_forward/mlp/wi/kernel", 2, 1)
    found = Extents(layers, dim, hidden, heads)
    named = {extents: name for name, extents in SIZES.items()}
    return {"size": named[found]} if found in named else found._asdict()


def _tokens(shapes, modality: str, patches: str, places: str) -> dict:
    """The settings of `VideoTokens` or `WaveformTokens`."""
    axes = ("time", "height", "width") if modality == "video" else ("time",)
    extents = tuple(_axis(shapes, f"{patches}/kernel", len(axes) + 2, i) for i in range(len(axes)))
    tables = (f"{places}/{names.TABLES[axis]}_position_embeddings/embeddings" for axis in axes)
    rows = tuple(_axis(shapes, table, 2, 0) for table in tables)
    return {"patch": extents, "positions": rows} if modality == "video" else {"patch": extents[0], "positions": rows[0]}


def _words(shapes, table: str) -> dict:
    return {"vocabulary_size": _axis(shapes, table, 2, 0, _MAX_ROWS), "dim": _axis(shapes, table, 2, 1)}


def _fac(shapes) -> dict:
    """Its graph, which is that of MMV's FAC."""
    va = _axis(shapes, f"{names.HEADS}/vid_to_hid/kernel", 2, 1)
    vat = _axis(shapes, f"{names.HEADS}/va_to_vat/dense/kernel", 2, 1)
    heads = (
        ("video", "va", {"hidden": (va,), "batch_norm": True}),
        ("audio", "va", {}),
        ("va", "vat", {"activation": "relu", "batch_norm": True}),
        ("text", "vat", {}),
    )
    return {"graph": "fac", "modules": {}, "spaces": {"va": va, "vat": vat}, "heads": heads, "pairs": PAIRS["fac"]}


def _axis(shapes, name: str, rank: int, axis: int, most: int = _MAX_UNITS) -> int:
    size = extent(shapes, name, rank, axis)
    if not 1 <= size <= most:
        raise CheckpointError(f"{name}: {size} in its shape, which no released network has")
    return size
