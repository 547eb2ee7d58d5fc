"""The sound transformer of VATT, over patches of the waveform."""

from mmv_tf.backbones.transformers.tokens import Patches
from mmv_tf.backbones.transformers.transformer import Size
from mmv_tf.backbones.transformers.video_transformer import PatchTransformer
from mmv_tf.common.configurable import configurable
from mmv_tf.common.values import Count, ShareBelowOne


@configurable
class WaveformTokens(Patches):
    """Waveforms [B,S] to tokens: patches of `patch` samples, AGG in front.

    Args:
      patch: samples. What is left over at the end is not heard; a shorter waveform is continued by zeros.
      positions: patches for which there is a learned position (1200 of 128 samples are 3.2 s at 48 kHz); inputs of
        another length read between (`positions.read_at`).
      drop_token, drop_each: see `VideoTokens`.
    """

    axes, channels = ("time",), 1

    def __init__(
        self,
        patch: Count = 128,
        positions: Count = 1200,
        drop_token: ShareBelowOne = 0.5,
        drop_each: bool = False,
        **kwargs,
    ):
        super().__init__(**{"name": "tokens", **kwargs})  # checkpoints go by it
        self.patch, self.positions = (patch,), (positions,)
        self.drop_token, self.drop_each = drop_token, drop_each

    def get_config(self):
        settings = {"patch": self.patch[0], "positions": self.positions[0]}
        return {**super().get_config(), **settings, "drop_token": self.drop_token, "drop_each": self.drop_each}

    def call(self, x, draws=None):
        return super().call(x[..., None], draws=draws)


@configurable
class WaveformTransformer(PatchTransformer):
    """Waveforms [B,S] -> [B,dim], the AGG token behind the last norm (vatt, modeling/backbones/audio/autx1d.py).

    VATT's take 153,600 samples, 3.2 s at 48 kHz, as `InputPipeline.audio = @Waveform()` gives them. Weights with the
    AGG token and the table of positions: base 86.08 million, medium 152.52.

    Args:
      size, layers, dim, hidden, heads, dropout, rematerialise: see `VideoTransformer`.
      tokens: a WaveformTokens; made with its gin settings if None.
    """

    made_of = WaveformTokens

    def __init__(
        self,
        size: Size = "base",
        layers: Count | None = None,
        dim: Count | None = None,
        hidden: Count | None = None,
        heads: Count | None = None,
        tokens: WaveformTokens | None = None,
        dropout: ShareBelowOne = 0.1,
        rematerialise: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self._make(size, tokens, dropout, rematerialise, layers=layers, dim=dim, hidden=hidden, heads=heads)

    def _shape(self, input_shape):
        return (None, None, 1)

    def endpoints(self, x, training=False):
        """{'patches': [B,t,dim], 'tokens': [B,n,dim] behind the last norm, 'embedding': [B,dim]}."""
        if len(x.shape) != 2:
            raise ValueError(
                f"WaveformTransformer takes waveforms [B,S] (InputPipeline.audio = @Waveform()), not {tuple(x.shape)}."
            )
        if not self.built:
            self.build(x.shape)
        return self._endpoints(x, training)
