"""VATT's transformers with the weights of the stored arrays (`golden_others`, systems vatt_video ... vatt_agnostic)."""

import re

import numpy as np

from helpers.golden_others import INPUTS, about, weights

SIZE = {"layers": 3, "dim": 64, "hidden": 160, "heads": 4}
_INSIDE_BLOCKS = [
    (r"(layer_\d+)/layer_norm/", r"\1/attention_norm/"),
    (r"self_attention/layer_norm/weight", "attention_norm/scale"),
    (r"(multi_head|self)_attention/", "attention/"),
    (r"feed_forward/dense_gelu_dense/wi/", "hidden/"),
    (r"feed_forward/dense_gelu_dense/wo/", "output/"),
    (r"feed_forward/layer_norm/", "norm/"),
    (r"final_layer_norm/weight", "final_norm/scale"),
    (r"final_layer_norm/", "final_norm/"),
    (r"/q/", "/query/"),
    (r"/k/", "/key/"),
    (r"/v/", "/value/"),
    (r"/o/", "/output/"),
    (r"^t5_encoder/", "transformer/"),
]
_OUTSIDE = [
    (r"^t5_encoder/layer_0/self_attention/relative_attention_bias/embeddings", "distance"),
    (r"^(embedding|text_embedding)/embeddings", "words/embeddings"),
    (r"^pre_proj/", "projection/"),
    (r"^((vid|aud|txt)_)?agg_embedding", "aggregate/token"),
    (r"^(voxel|waveform)_to_patch/", ""),
    (r"^((video|audio|text)_)?(spatio_)?temporal_embeddings/layer_norm/", "positions/norm/"),
    (r"^((video|audio|text)_)?(spatio_)?temporal_embeddings/temporal_.*", "positions/time"),
    (r"^((video|audio|text)_)?(spatio_)?temporal_embeddings/vertical_.*", "positions/height"),
    (r"^((video|audio|text)_)?(spatio_)?temporal_embeddings/horizontal_.*", "positions/width"),
    (r"^(video|audio|text)_pre_tx_projection/", "projection/"),
]


def our_name(theirs: str, in_tokens: bool) -> str:
    """The name in our network of a parameter of the reference's; the first part, the network, is left away."""
    name = theirs.partition("/")[2]
    for pattern, ours in _OUTSIDE:
        if re.match(pattern, name):
            return f"{'tokens/' if in_tokens else ''}{re.sub(pattern, ours, name)}"
    name = re.sub(r"^(video|audio|text)_post_tx_projection/", "output/", name)
    for pattern, ours in _INSIDE_BLOCKS:
        name = re.sub(pattern, ours, name)
    return name


def named(network) -> dict:
    """{name without the network's own: variable}."""
    return {variable.path.partition("/")[2]: variable for variable in network.variables}


def fill(network, system: str, modality: str = "", in_tokens: bool = True) -> None:
    """Gives a built network its weights, every one of them.

    Args:
      modality: of the modality-agnostic network: what others have for themselves is left out.
    """
    ours, left = named(network), set(named(network))
    others = [m for m in ("video", "audio", "text") if modality and m != modality]
    own = {"video": ("vid_", "voxel"), "audio": ("aud_", "waveform"), "text": ("txt_",)}
    foreign = tuple(prefix for m in others for prefix in (f"{m}_", *own[m]))
    for theirs, value in weights(system).items():
        if foreign and theirs.partition("/")[2].startswith(foreign):
            continue
        name = our_name(theirs, in_tokens)
        assert tuple(ours[name].shape) == value.shape, (theirs, name)
        ours[name].assign(value)
        left.remove(name)
    assert not left, left


def example(system: str, key: str = "input", modality: str = ""):
    """An input of the stored arrays; pixels and samples in float64."""
    kind, args, *_ = about(system)[key][modality] if modality else about(system)[key]
    if kind == "words":
        return INPUTS["words"](*args)
    if kind == "2*video-1":
        return 2 * INPUTS["video"](*args).astype(np.float64) - 1
    return INPUTS[kind](*args).astype(np.float64)
