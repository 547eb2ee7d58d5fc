"""The settings of deflation."""

from typing import Annotated

from mmv_tf.common.configurable import configurable
from mmv_tf.common.values import Count, Positive, Range, Seed


@configurable
class Deflation:
    """How new scales and offsets are learned. The paper's settings could not be read: see gin/deflate.gin.

    Args:
      steps: optimiser steps at most.
      batch_size: crops a step.
      learning_rate: of Adam at the start; half a period of a cosine brings it to 0 at `steps`.
      check_every: steps between two looks at the held-out images; also how often is saved.
      patience: checks without a smaller L1 on the held-out images after which training stops.
      max_images: to learn from, at most.
      max_held_out: to measure with, at most.
      held_out_share: share of the images that is held out, if none are named.
      images_per_record: frames of a record, evenly spaced.
      crops_per_image: random crops of an image. What the video network makes of each is computed once.
      video_batch_size: clips that pass the video network at once.
      seed: of the choice of images, the crops and their order.

    Raises:
      ValueError: names the setting.
    """

    def __init__(
        self,
        steps: Count = 5000,
        batch_size: Count = 64,
        learning_rate: Positive = 0.003,
        check_every: Count = 100,
        patience: Count = 10,
        max_images: Count = 10_000,
        max_held_out: Count = 1000,
        held_out_share: Annotated[float, Range(above=0, below=1)] = 0.1,
        images_per_record: Count = 4,
        crops_per_image: Count = 4,
        video_batch_size: Count = 8,
        seed: Seed = 0,
    ):
        for name, value in list(locals().items()):
            if name != "self":
                setattr(self, name, value)
