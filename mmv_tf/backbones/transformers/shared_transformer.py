"""One transformer for video, sound and text: modality-agnostic VATT."""

from collections.abc import Mapping, Sequence
from typing import Literal

import keras
from keras import ops

from mmv_tf.backbones import draws
from mmv_tf.backbones import layers as shapes
from mmv_tf.backbones.transformers.text_transformer import WordTokens
from mmv_tf.backbones.transformers.transformer import Extents, Size, Transformer, dense, extents
from mmv_tf.backbones.transformers.video_transformer import VideoTokens
from mmv_tf.backbones.transformers.waveform_transformer import WaveformTokens
from mmv_tf.common.configurable import configurable
from mmv_tf.common.values import Count, ShareBelowOne

TOKENS = {"video": VideoTokens, "audio": WaveformTokens, "text": WordTokens}


class SharedTransformer(keras.layers.Layer):
    """One modality of a network in which all modalities pass one transformer: its input -> [..., units].

    Tokens of the modality, with a dense layer and GELU behind the patches or the word vectors, the AGG token of the
    modality in front, the transformer that others have too, a dense layer of the modality with GELU (vatt,
    modeling/backbones/unified/uvatt.py). Words have learned positions here, and no bias of distance.

    Args:
      tokens: a VideoTokens, WaveformTokens or WordTokens; `make` has not been called yet.
      transformer: the same object for all modalities.
      units: of the last dense layer.
    """

    OUTPUTS_DO_NOT_DEPEND_ON = ("vectors",)
    for_images = False
    forgets_order = False

    def __init__(self, tokens: keras.layers.Layer, transformer: Transformer, units: int = 1024, **kwargs):
        super().__init__(**kwargs)
        self.tokens, self.transformer, self.output_dim = tokens, transformer, units
        tokens.make(transformer.extents.dim, project=True, dropout=transformer.dropout)
        self.output_dense = dense(units, "output", gelu=True, dtype=self.dtype_policy)
        if isinstance(tokens, WordTokens):
            # What `MMV` asks of a text network.
            self.says_something = tokens.words.says_something
            self.vocabulary_size, self.vectors = tokens.words.vocabulary_size, tokens.words.vectors

    def get_config(self):
        """That of a network of one modality, with a transformer of its own: what deflation makes its copy of."""
        core = self.transformer
        made = {"extents": list(core.extents), "dropout": core.dropout, "rematerialise": core.rematerialise}
        kind = next(name for name, one in TOKENS.items() if isinstance(self.tokens, one))
        tokens = {"modality": kind, "tokens": self.tokens.get_config()}
        return {**super().get_config(), **tokens, "transformer": made, "units": self.output_dim}

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        core, tokens = dict(config.pop("transformer")), TOKENS[config.pop("modality")].from_config(config["tokens"])
        core = Transformer(Extents(*core.pop("extents")), name="transformer", dtype=config.get("dtype"), **core)
        return cls(**{**config, "tokens": tokens, "transformer": core})

    def build(self, input_shape):
        self.for_images = isinstance(self.tokens, VideoTokens) and len(input_shape) == 4
        self.tokens.build((*input_shape, 1) if isinstance(self.tokens, WaveformTokens) else input_shape)
        if not self.transformer.built:
            self.transformer.build(None)
        self.output_dense.build((None, None, self.transformer.extents.dim))

    def call(self, x, training=False):
        return self.endpoints(x, training=training)["embedding"]

    def endpoints(self, x, training=False):
        """{'patches' (or word vectors), 'tokens': [..., n, units], 'embedding': [..., units]}.

        Raises:
          ValueError: `x` is not of the modality.
        """
        if isinstance(self.tokens, VideoTokens):
            shapes.check_input(self, x)
        elif len(x.shape) not in ((2,) if isinstance(self.tokens, WaveformTokens) else (2, 3)):
            takes = "waveforms [B,S]" if isinstance(self.tokens, WaveformTokens) else "word ids [B,W] or [B,K,W]"
            raise ValueError(f"SharedTransformer takes {takes} here, not {tuple(x.shape)}.")
        if not self.built:
            self.build(x.shape)
        leading = ops.shape(x)[:-1] if isinstance(self.tokens, WordTokens) else ops.shape(x)[:1]
        if isinstance(self.tokens, WordTokens):
            x = ops.reshape(x, (-1, x.shape[-1]))
        drawn = draws.here(training)
        made = self.tokens(x, draws=drawn)
        out = self.output_dense(self.transformer(made["tokens"], attend=made.get("attend"), draws=drawn))
        patches, tokens = (ops.reshape(x, (*leading, *ops.shape(x)[1:])) for x in (made["patches"], out[:, 1:]))
        return {"patches": patches, "tokens": tokens, "embedding": ops.reshape(out[:, 0], (*leading, self.output_dim))}


@configurable
def modality_agnostic(
    modalities: Sequence[Literal["video", "audio", "text"]] = ("video", "audio", "text"),
    size: Size = "medium",
    layers: Count | None = None,
    dim: Count | None = None,
    hidden: Count | None = None,
    heads: Count | None = None,
    units: Count = 1024,
    dropout: ShareBelowOne = 0.1,
    rematerialise: bool = False,
) -> dict[str, SharedTransformer]:
    """{modality: SharedTransformer} over one transformer, for `MMV.backbones = @modality_agnostic()`.

    161.3 million weights beside the word vectors, with 'medium'. What is a token of each modality is set in
    `VideoTokens`, `WaveformTokens` and `WordVectors`.

    Args:
      modalities: that the graph has.
      size, layers, dim, hidden, heads, dropout, rematerialise: see `VideoTransformer`.
      units: numbers of a representation.
    """
    found = extents("modality_agnostic", size, layers=layers, dim=dim, hidden=hidden, heads=heads)
    tokens = {modality: TOKENS[modality]() for modality in modalities}
    return over_one_transformer(tokens, found, units, dropout=dropout, rematerialise=rematerialise)


def over_one_transformer(tokens: Mapping, found: Extents, units: int = 1024, **options) -> dict[str, SharedTransformer]:
    """{modality: SharedTransformer} of {modality: what makes its tokens}; `options` are those of `Transformer`."""
    transformer = Transformer(found, name="transformer", **options)
    return {
        modality: SharedTransformer(made, transformer, units, name=f"shared_{modality}")
        for modality, made in tokens.items()
    }
