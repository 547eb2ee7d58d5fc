"""The place of each variable of ours in the TensorFlow checkpoints of VATT.

A name of theirs is the path of attributes that leads from the model to a variable: those of the classes in
google-research/google-research, vatt/modeling, as they were from 2021 to 2023. `vatt/utils/train/restore.py` there
states the names of the video and the sound network and of the one for all; those of the text network and of the heads
follow from the classes in the same way.
"""

from collections.abc import Iterator

from mmv_tf.released.from_torch import COUNTER
from mmv_tf.released.torch_names import Entry

VIDEO, AUDIO, TEXT = (f"_base_layer/{name}" for name in ("vid_backbone/_base", "aud_backbone/_base", "txt_backbone"))
SHARED = "_base_layer/unified_backbone/unified_transformer"
HEADS = "_head_layer/_bridge_heads/0"
FINE_TUNED = "_base"  # the network of a model that was fine-tuned ...
CLASSIFIER = r"_ops/cls/(kernel|bias)"  # ... and what was put on it

PATCHES = {"video": "voxel_to_patch", "audio": "wave_to_patch"}
TABLES = {"time": "temporal", "height": "vertical", "width": "horizontal"}
AGGREGATES = {"video": "vid", "audio": "aud", "text": "txt"}


def network(net, module: str, modality: str) -> Iterator[Entry]:
    """`backbones.VideoTransformer` or `WaveformTransformer`."""
    yield from _patches(net.tokens, f"{module}/{PATCHES[modality]}")
    yield from _positions(net.tokens.places, f"{module}/pos_embedding_lookup")
    yield Entry(f"{module}/agg_embedding", net.tokens.aggregate.token)
    yield from _transformer(net.transformer, f"{module}/tx")


def fine_tuned(net, module: str, modality: str) -> Iterator[Entry]:
    """`backbones.SharedTransformer` of one modality, as fine-tuning there has it."""
    yield from network(net, module, modality)
    yield from _dense(net.tokens.projection, f"{module}/pre_proj")
    yield from _dense(net.output_dense, f"{module}/post_proj")


def shared(networks, module: str = SHARED) -> Iterator[Entry]:
    """{modality: `backbones.SharedTransformer`} over one transformer."""
    for modality, net in networks.items():
        made = net.tokens
        if modality == "text":
            yield Entry(f"{module}/raw_to_embeddings/text/embeddings", made.words.embeddings)
        else:
            yield from _patches(made, f"{module}/raw_to_embeddings/{modality}")
        yield from _dense(made.projection, f"{module}/pre_proj/{modality}")
        yield from _positions(made.places, f"{module}/pos_embedding_lookup/{modality}")
        yield Entry(f"{module}/{AGGREGATES[modality]}_agg_embedding", made.aggregate.token)
        yield from _dense(net.output_dense, f"{module}/post_proj/{modality}")
    yield from _transformer(net.transformer, f"{module}/tx")


def text(net, module: str = TEXT) -> Iterator[Entry]:
    """`backbones.TextTransformer`."""
    yield Entry(f"{module}/embedding/embeddings", net.words.embeddings)
    yield Entry(f"{module}/agg_embedding", net.aggregate.token)
    yield from _dense(net.projection, f"{module}/pre_proj")
    yield Entry(f"{module}/base_lm/layers/0/self_attention/attention/relative_attention_bias/embeddings", net.distance)
    for i, block in enumerate(net.transformer.blocks):
        inner = f"{module}/base_lm/layers/{i}"
        yield Entry(f"{inner}/self_attention/layer_norm/weight", block.attention_norm.scale)
        yield from _attention(block.attention, f"{inner}/self_attention/attention")
        yield from _feed_forward(block, f"{inner}/feed_forward")
    yield Entry(f"{module}/base_lm/final_layer_norm/weight", net.transformer.final_norm.scale)


def heads(ours, module: str = HEADS) -> Iterator[Entry]:
    """{'source -> space': `heads.ProjectionHead`} of a FAC graph."""
    video, coarse = ours["video -> va"], ours["va -> vat"]
    yield Entry(f"{module}/vid_to_hid/kernel", video.hidden[0].kernel)
    yield Entry(f"{module}/vid_to_hid/bias", video.hidden[0].bias, optional=True)  # theirs has none
    yield from _batch_norm(video.hidden_norms[0], f"{module}/hid_to_va/pre_bn")
    yield from _dense(video.projection, f"{module}/hid_to_va/dense")
    yield from _batch_norm(video.norm, f"{module}/hid_to_va/bn")
    yield Entry(f"{module}/va_to_vat/dense/kernel", coarse.projection.kernel)
    yield Entry(f"{module}/va_to_vat/dense/bias", coarse.projection.bias, optional=True)
    yield from _batch_norm(coarse.norm, f"{module}/va_to_vat/bn")
    yield from _dense(ours["audio -> va"].projection, f"{module}/aud_to_va")
    yield from _dense(ours["text -> vat"].projection, f"{module}/txt_to_vat")


def _patches(made, module: str) -> Iterator[Entry]:
    yield Entry(f"{module}/kernel", made.kernel)
    yield Entry(f"{module}/bias", made.bias)


def _positions(places, module: str) -> Iterator[Entry]:
    for name, table in zip(places.names, places.tables, strict=True):
        yield Entry(f"{module}/{TABLES[name]}_position_embeddings/embeddings", table)
    yield from _layer_norm(places.norm, f"{module}/layernorm")


def _transformer(core, module: str) -> Iterator[Entry]:
    for i, block in enumerate(core.blocks):
        inner = f"{module}/layers/{i}"
        yield from _layer_norm(block.attention_norm, f"{inner}/layer_norm")
        yield from _attention(block.attention, f"{inner}/mha")
        yield from _feed_forward(block, f"{inner}/feed_forward")
    yield from _layer_norm(core.final_norm, f"{module}/final_layer_norm")


def _attention(layer, module: str) -> Iterator[Entry]:
    for letter, part in zip("qkvo", (layer.query, layer.key, layer.value, layer.output_dense), strict=True):
        yield from _dense(part, f"{module}/{letter}")


def _feed_forward(block, module: str) -> Iterator[Entry]:
    yield from _layer_norm(block.norm, f"{module}/layer_norm")
    yield from _dense(block.hidden, f"{module}/mlp/wi")
    yield from _dense(block.output_dense, f"{module}/mlp/wo")


def _dense(layer, module: str) -> Iterator[Entry]:
    yield Entry(f"{module}/kernel", layer.kernel)
    if layer.use_bias:
        yield Entry(f"{module}/bias", layer.bias)


def _layer_norm(layer, module: str) -> Iterator[Entry]:
    yield Entry(f"{module}/gamma", layer.gamma)
    yield Entry(f"{module}/beta", layer.beta)


def _batch_norm(layer, module: str) -> Iterator[Entry]:
    yield Entry(f"{module}/gamma", layer.scale)
    yield Entry(f"{module}/beta", layer.offset)
    yield Entry(f"{module}/moving_mean", layer.moving_mean)
    yield Entry(f"{module}/moving_variance", layer.moving_variance)
    yield Entry(f"{module}/{COUNTER}", layer.counter, optional=True)  # theirs does not count
