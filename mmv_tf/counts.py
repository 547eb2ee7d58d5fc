"""Parameters and multiply-adds of every part of a configured model.

python -m mmv_tf.counts --gin_file=gin/fac.gin
"""

import argparse
import dataclasses
import math

from mmv_tf.backbones.cost import multiply_adds


@dataclasses.dataclass(frozen=True)
class Count:
    """One part: a backbone (by its modality) or a head.

    Attributes:
      part: 'video', 'audio', 'va -> vat' ...
      parameters: as the paper counts: weights, biases, batch-norm scales and offsets; no moving averages.
      frozen: of those, the ones that training leaves alone (word vectors).
      multiply_adds: of convolutions and matrix products, for one clip, one spectrogram or one sentence.
    """

    part: str
    parameters: int
    frozen: int
    multiply_adds: int


def _parameters(layer) -> tuple[int, int]:
    statistics = ("moving_mean", "moving_variance", "counter")
    sizes = [(v.trainable, math.prod(v.shape)) for v in layer.variables if v.name not in statistics]
    return sum(size for _, size in sizes), sum(size for trainable, size in sizes if not trainable)


def count(model, inputs: dict) -> list[Count]:
    """Counts of the backbones and heads of `model`, an MMV.

    Args:
      model: built.
      inputs: {modality: TensorSpec of one input} with known shapes, such as video [1,T,H,W,3].
    """
    import tensorflow as tf

    found = []
    for modality, backbone in model.backbones.items():
        cost = multiply_adds(lambda x, backbone=backbone: backbone(x, training=False), inputs[modality])
        found.append(Count(modality, *_parameters(backbone), cost))
    for head in model.graph.heads:
        layer = model.heads[str(head)]
        dim = model.graph.spaces.get(head.source) or model.backbones[head.source].output_dim
        spec = tf.TensorSpec([1, dim], tf.float32)
        cost = multiply_adds(lambda x, layer=layer: layer(x, training=False), spec)
        found.append(Count(str(head), *_parameters(layer), cost))
    return found


def table(counts: list[Count]) -> str:
    """The counts as aligned text, with a total."""
    total = Count("total", *(sum(getattr(c, f) for c in counts) for f in ("parameters", "frozen", "multiply_adds")))
    lines = [f"{'part':<16}{'parameters':>14}{'of them frozen':>16}{'multiply-adds per input':>26}"]
    for c in [*counts, total]:
        lines.append(f"{c.part:<16}{c.parameters:>14,}{c.frozen:>16,}{c.multiply_adds:>26,}")
    return "\n".join(lines)


def main(argv=None):
    """Prints the parameters and multiply-adds of a configured model, part by part."""
    parser = argparse.ArgumentParser(prog="python -m mmv_tf.counts", description=main.__doc__)
    from mmv_tf import config

    config.add_arguments(parser)
    args = parser.parse_args(argv)
    config.parse(args.gin_file, args.gin_param)
    import tensorflow as tf

    from mmv_tf.audio import LogMel
    from mmv_tf.model import MMV
    from mmv_tf.video import VideoInput

    # The shapes of a training clip; no records and no vocabulary are needed to count.
    video, audio = VideoInput(), LogMel()
    sound = audio(tf.zeros([1, round(video.seconds * audio.sample_rate)]))
    inputs = {
        "video": tf.TensorSpec([1, *video.shape], tf.float32),
        "audio": tf.TensorSpec(sound.shape, tf.float32),
        "text": tf.TensorSpec([1, 16], tf.int32),
    }
    model = MMV()
    model.build_by_call({m: tf.zeros(inputs[m].shape, inputs[m].dtype) for m in model.graph.modalities})
    for modality in model.graph.modalities:
        print(f"{modality}: one input is {inputs[modality].shape.as_list()}")
    print(table(count(model, inputs)))


def cli(argv=None):
    from mmv_tf import config

    return config.run(main, argv)


if __name__ == "__main__":
    raise SystemExit(cli())
