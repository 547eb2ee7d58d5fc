"""I3D (Carreira and Zisserman 2017), the second video network of MIL-NCE."""

from collections.abc import Mapping
from typing import Literal

from mmv_tf.backbones.inception import Endpoint, Inception
from mmv_tf.common.configurable import configurable
from mmv_tf.common.values import Positive


@configurable
class I3D(Inception):
    """I3D: clips [B,T,H,W,3] in [0,1] -> [B,1024], the mean of the last map over time and space.

    Inception-v1 with every convolution inflated to 3-D. No published weights are loaded, so that pooling, padding and
    batch norm are those of `S3D`: what differs between the two is what separates the architectures (full convolutions
    instead of separable ones, and no gates).

    It has 12,287,264 parameters. The tables print 12.1 million; which layer makes the difference is not known.

    Args:
      width: multiplies the channels (to multiples of 8).
      final_endpoint: the last layer, one of `inception.ENDPOINTS`.
      rematerialise, padding, norm: see `S3D`.
    """

    def __init__(
        self,
        width: Positive = 1.0,
        final_endpoint: Endpoint = "Mixed_5c",
        rematerialise: bool = False,
        padding: Literal["same", "even"] = "same",
        norm: Mapping[str, float | bool] | None = None,
        **kwargs,
    ):
        stem = ((7, 7, 7), 2)
        super().__init__(width, final_endpoint, stem, False, False, rematerialise, padding, norm, **kwargs)
