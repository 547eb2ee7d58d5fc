"""Parameters and multiply-adds of every part of a configured model.

python -m mmv_tf.counts --gin_file=gin/fac.gin
"""

import argparse


def main(argv=None):
    """Prints the parameters and multiply-adds of a configured model, part by part."""
    parser = argparse.ArgumentParser(prog="python -m mmv_tf.counts", description=main.__doc__)
    from mmv_tf.common import config

    config.add_arguments(parser)
    args = parser.parse_args(argv)
    config.parse(args.gin_file, args.gin_param)
    import tensorflow as tf

    from mmv_tf.inputs.audio import LogMel
    from mmv_tf.inputs.video import VideoInput
    from mmv_tf.model.cost import count, table
    from mmv_tf.model.mmv import MMV

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
    from mmv_tf.common.command import run

    return run(main, argv)


if __name__ == "__main__":
    raise SystemExit(cli())
