"""S3D-G (Xie et al. 2018), with the stems and the gates of the released MMV networks."""

from collections.abc import Mapping
from typing import Literal

from mmv_tf.backbones import layers
from mmv_tf.backbones.inception import Endpoint, Inception
from mmv_tf.common.configurable import configurable
from mmv_tf.common.values import Positive


@configurable
class S3D(Inception):
    """S3D-G: clips [B,T,H,W,3] in [0,1] -> [B,1024], the mean of the last map over time and space.

    Where the released networks (deepmind-research/mmv, models/s3d.py) and the stock S3D-G differ, this follows the
    released ones: batch norm and ReLU also between the two halves of a separable convolution, a gate on every branch
    of a Mixed block instead of one behind it, 3x3x3 also in the third branch, no dropout. Any size and any number of
    frames will do, odd ones included.

    Args:
      stem: 'space_to_depth', which the released weights have: each 2x2x2 box of pixels becomes 24 channels, then a
        2x4x4 convolution. 'rgb': a 7x7x7 convolution with stride 2. 'rgb_3x7x7': a 3x7x7 one with stride 2, as in the
        PyTorch trainer of MIL-NCE.
      width: multiplies the channels (to multiples of 8); 0.25 is a network for a CPU.
      final_endpoint: the last layer, one of `inception.ENDPOINTS`.
      rematerialise: for the backward pass keep what goes from one stage to the next and compute the rest again: about
        half of the activations' memory, for a quarter to a third more time.
      padding: 'same', as released by DeepMind. 'even': as in the networks of MIL-NCE in PyTorch
        (antoine77340/MIL-NCE_HowTo100M and S3D_HowTo100M, s3dg.py): `layers.Padding` 'even' in the stem, 'least' in the
        pools. For the stem 'space_to_depth' and sizes that divide by all strides the two are the same at inference.
      norm: settings of `BatchNorm`, such as {'decay': 0.99}, for this network's alone.
    """

    def __init__(
        self,
        stem: Literal["space_to_depth", "rgb", "rgb_3x7x7"] = "space_to_depth",
        width: Positive = 1.0,
        final_endpoint: Endpoint = "Mixed_5c",
        rematerialise: bool = False,
        padding: Literal["same", "even"] = "same",
        norm: Mapping[str, float | bool] | None = None,
        **kwargs,
    ):
        stems = {"space_to_depth": ((2, 4, 4), 1), "rgb": ((7, 7, 7), 2), "rgb_3x7x7": ((3, 7, 7), 2)}
        super().__init__(width, final_endpoint, stems[stem], True, True, rematerialise, padding, norm, **kwargs)
        self.stem = stem
        # MIL-NCE's network pads the even kernel by half of it on both sides, and cuts off the place too many behind the
        # batch norm: its statistics in training have seen it.
        self.stages["Conv2d_1a_7x7"].margin = padding == "even" and stem == "space_to_depth"

    def get_config(self):
        return {**super().get_config(), "stem": self.stem}

    @property
    def prepared_channels(self) -> int:
        return 3 if self.stem != "space_to_depth" else 12 if self.for_images else 24

    def prepare(self, x):
        return layers.space_to_depth(x) if self.stem == "space_to_depth" else x
