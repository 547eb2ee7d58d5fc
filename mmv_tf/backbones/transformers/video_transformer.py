"""The video transformer of VATT, over patches of pixels in space and time."""

import keras
from keras import ops

from mmv_tf.backbones import draws, layers
from mmv_tf.backbones.transformers import tokens as parts
from mmv_tf.backbones.transformers.transformer import Size, Transformer, extents
from mmv_tf.common.configurable import configurable
from mmv_tf.common.values import Count, ShareBelowOne


@configurable
class VideoTokens(parts.Patches):
    """Clips [B,T,H,W,3] to tokens: patches of `patch`, in the order of time, height and width, AGG in front.

    Built for images [B,H,W,3] a patch has no time: its kernel is [h,w,3,dim], and the position in time is the mean of
    the table's.

    Args:
      patch: frames, height and width of a patch. What is left over at the end of a clip is not seen; a clip that is
        smaller than a patch is continued by its last frame, row or column.
      positions: patches along each axis for which there is a learned position; inputs of another size read between
        (`positions.read_at`).
      drop_token: share of the tokens that training leaves out (DropToken).
      drop_each: DropToken draws for each sample; otherwise all samples of a step keep the same places, as in the
        reference.
    """

    axes, channels = ("time", "height", "width"), 3

    def __init__(
        self,
        patch: tuple[Count, Count, Count] = (4, 16, 16),
        positions: tuple[Count, Count, Count] = (8, 14, 14),
        drop_token: ShareBelowOne = 0.5,
        drop_each: bool = False,
        **kwargs,
    ):
        super().__init__(**{"name": "tokens", **kwargs})  # checkpoints go by it
        self.patch, self.positions = tuple(patch), tuple(positions)
        self.drop_token, self.drop_each = drop_token, drop_each

    def get_config(self):
        names = ("patch", "positions", "drop_token", "drop_each")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}

    def at_least(self, x, axis, extent):
        size = ops.shape(x)[axis]
        if isinstance(size, int) and size >= extent:
            return x
        place = ops.minimum(ops.arange(ops.maximum(size, extent)), size - 1)
        return ops.take(x, place, axis=axis)


class PatchTransformer(keras.layers.Layer):
    """A transformer over the patches of an input; a base for those of one modality.

    Attributes that a class has: `made_of`, its kind of tokens.
    """

    OUTPUTS_DO_NOT_DEPEND_ON = ("dropout", "rematerialise")

    def _make(self, size, tokens, dropout, rematerialise, **sizes):
        owner = type(self).__name__
        self.size, self.sizes, self.dropout, self.rematerialise = size, sizes, dropout, rematerialise
        found = extents(owner, size, **sizes)
        self.tokens = tokens or self.made_of(dtype=self.dtype_policy)
        self.tokens.make(found.dim, dropout=dropout)
        self.transformer = Transformer(
            found, dropout=dropout, rematerialise=rematerialise, name="transformer", dtype=self.dtype_policy
        )
        self.output_dim = found.dim

    def get_config(self):
        names = ("size", "dropout", "rematerialise")
        settings = {name: getattr(self, name) for name in names}
        return {**super().get_config(), **settings, **self.sizes, "tokens": self.tokens.get_config()}

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "tokens": cls.made_of.from_config(config["tokens"])})

    def build(self, input_shape):
        self.for_images = input_shape is not None and len(input_shape) == 4 and self.made_of is VideoTokens
        self.tokens.build(self._shape(input_shape))
        self.transformer.build(None)

    def call(self, x, training=False):
        return self.endpoints(x, training=training)["embedding"]

    def _endpoints(self, x, training):
        drawn = draws.here(training)
        made = self.tokens(x, draws=drawn)
        out = self.transformer(made["tokens"], draws=drawn)
        return {"patches": made["patches"], "tokens": out[:, 1:], "embedding": out[:, 0]}


@configurable
class VideoTransformer(PatchTransformer):
    """Clips [B,T,H,W,3] -> [B,dim], the AGG token behind the last norm (vatt, modeling/backbones/video/vitx3d.py).

    VATT's take 32 frames of 224 x 224 in [-1, 1] (`VideoInput.value_range`). Weights with the AGG token and the tables
    of positions: base 87.45 million, medium 154.34, large 305.50.

    Args:
      size: 'tiny' (ours, for a CPU), 'small', 'base', 'medium' or 'large' ...
      layers, dim, hidden, heads: ... and what of it shall be otherwise.
      tokens: a VideoTokens; made with its gin settings if None.
      dropout: in training, of attention weights, of both branches of a block, of its hidden layer, behind the last norm
        and behind the positions. See `mmv_tf.backbones.draws`.
      rematerialise: see `TSMResNet`; block by block.
    """

    made_of, for_images = VideoTokens, False

    def __init__(
        self,
        size: Size = "base",
        layers: Count | None = None,
        dim: Count | None = None,
        hidden: Count | None = None,
        heads: Count | None = None,
        tokens: VideoTokens | None = None,
        dropout: ShareBelowOne = 0.1,
        rematerialise: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self._make(size, tokens, dropout, rematerialise, layers=layers, dim=dim, hidden=hidden, heads=heads)

    def _shape(self, input_shape):
        return layers.unknown_sizes(input_shape, 3) if input_shape is not None else (None,) * 4 + (3,)

    def endpoints(self, x, training=False):
        """{'patches': [B,t,h,w,dim], 'tokens': [B,n,dim] behind the last norm, 'embedding': [B,dim]}."""
        layers.check_input(self, x)
        return self._endpoints(x, training)
