"""Checkpoints with the names of VATT's, of small networks: those whose arrays are stored, or of random values.

The names are what `tf.train.Checkpoint` gives to classes with the attributes of the reference's (see
`released.vatt_names`): those of the weights of Keras layers, changed by the rules of `restore.py` there and, for the
text network and the heads, of the classes.
"""

import re

import numpy as np
import tensorflow as tf

from helpers.golden_others import array, weights

MODEL, VALUE = "model/layer_with_weights-0/", "/.ATTRIBUTES/VARIABLE_VALUE"
HEADS = {
    "vid_to_hid/kernel": (64, 32),
    "hid_to_va/pre_bn": 32,
    "hid_to_va/dense/kernel": (32, 32),
    "hid_to_va/bn": 32,
    "aud_to_va/kernel": (64, 32),
    "aud_to_va/bias": (32,),
    "va_to_vat/dense/kernel": (32, 24),
    "va_to_vat/bn": 24,
    "txt_to_vat/kernel": (64, 24),
    "txt_to_vat/bias": (24,),
}
_RULES = [
    (r"/transformer/", "/tx/"),
    (r"/layer_(\d+)/", r"/layers/\1/"),
    (r"/multi_head_attention/", "/mha/"),
    (r"/dense_gelu_dense/", "/mlp/"),
    (r"/(spatio_)?temporal_embeddings/", "/pos_embedding_lookup/"),
    (r"/(video|audio|text)_(spatio_)?temporal_embeddings/", r"/pos_embedding_lookup/\1/"),
    (r"/pos_embedding_lookup/(|video/|audio/|text/)layer_norm/", r"/pos_embedding_lookup/\1layernorm/"),
    (r"/(video|audio|text)_pre_tx_projection/", r"/pre_proj/\1/"),
    (r"/(video|audio|text)_post_tx_projection/", r"/post_proj/\1/"),
]
_SYSTEMS = {
    "vatt_video": ("vid_backbone/_base", []),
    "vatt_audio": ("aud_backbone/_base", [(r"/waveform_to_patch/", "/wave_to_patch/")]),
    "vatt_text": (
        "txt_backbone",
        [
            (r"/t5_encoder/", "/base_lm/"),
            (r"/self_attention/(?!layer_norm)", "/self_attention/attention/"),
        ],
    ),
    "vatt_agnostic": (
        "unified_backbone/unified_transformer",
        [
            (r"/voxel_to_patch/", "/raw_to_embeddings/video/"),
            (r"/waveform_to_patch/", "/raw_to_embeddings/audio/"),
            (r"/text_embedding/", "/raw_to_embeddings/text/"),
        ],
    ),
}


def network(system: str, module: str = "") -> dict[str, np.ndarray]:
    """{name below the model: array} of a network whose arrays are stored; `module`: where it is, if not as there."""
    place, rules = _SYSTEMS[system]
    made = {}
    for name, value in weights(system).items():
        name = "/" + name.partition("/")[2]
        for pattern, theirs in [*rules, *_RULES]:
            name = re.sub(pattern, theirs, name)
        made[(module or f"_base_layer/{place}") + name] = value
    return made


def heads(dims=None) -> dict[str, np.ndarray]:
    """Those of a FAC graph; `dims`: {modality: numbers of its representation}, 64 if None."""
    made, inputs = {}, {"vid": "video", "aud": "audio", "txt": "text"}
    for name, shape in HEADS.items():
        place = f"_head_layer/_bridge_heads/0/{name}"
        if isinstance(shape, int):
            kinds = {"gamma": "scale", "beta": "offset", "moving_mean": "mean", "moving_variance": "var"}
            made |= {f"{place}/{leaf}": array(f"{place}/{leaf}", (shape,), kind) for leaf, kind in kinds.items()}
            continue
        if dims and name[:3] in inputs and len(shape) == 2:
            shape = (dims[inputs[name[:3]]], shape[1])
        made[place] = array(place, shape, "w" if len(shape) == 2 else "b", layout="tf")
    return made


def write(arrays: dict[str, np.ndarray], prefix: str) -> str:
    """A checkpoint of them, with the state of an optimiser beside; its prefix."""
    whole = {f"{MODEL}{name}{VALUE}": value for name, value in arrays.items()}
    first = next(iter(arrays))
    slot = f"{MODEL}{first}/.OPTIMIZER_SLOT/optimizer/m{VALUE}"
    whole |= {
        slot: arrays[first],
        f"optimizer/iter{VALUE}": np.array(7, np.int64),
        "_CHECKPOINTABLE_OBJECT_GRAPH": b"x",
    }
    names = sorted(whole)
    tf.raw_ops.SaveV2(
        prefix=prefix,
        tensor_names=names,
        shape_and_slices=[""] * len(names),
        tensors=[tf.convert_to_tensor(whole[name]) for name in names],
    )
    return prefix
