"""Deflation (paper section 3.3): one trained network for video and for images.

    python -m mmv_tf.deflate --workdir=runs/fac --gin_file=gin/deflate.gin

The image network is the video network with its kernels summed over time: what remains for a clip whose frames are all
alike, but for the zeros beyond the two ends of the clip. For those it gets scales and offsets of its own, trained to
make of an image what the video network makes of it, repeated. No labels are needed. The same command goes on where an
earlier one stopped. All that it finds is in WORKDIR/deflated; `image_network` and mmv_tf.export use it.
"""

import argparse
import hashlib
import os

if __name__ == "__main__":  # run the imported module instead, so that gin registers each class under one name only
    from mmv_tf.deflate import cli

    raise SystemExit(cli())

FOLDER = "deflated"
WEIGHTS = "weights"
REPORT = "report.json"
VARIANTS = ("naive", "trained", "inflated")


def image_network(model, workdir: str | None = None, variant: str | None = None, frames: int | None = None):
    """The image network of a model, with the weights that its video network has now.

    An image's embeddings are the video heads over its result: `model.embed_repr("video", image_network(images))`.

    Args:
      model: a built MMV with a backbone for video.
      workdir: of the run; where `python -m mmv_tf.deflate` leaves what it trains.
      variant: 'naive', without training; 'trained', with the scales and offsets of `workdir`; 'inflated', the video
        network on a clip of `frames` equal frames. None: 'trained' if `workdir` holds some, otherwise 'naive'.
      frames: of 'inflated'.
    Returns:
      A layer: images [B,H,W,3] float in [0,1] -> [B,D]; `endpoints(x)['embedding']` is the same.
    Raises:
      ValueError: no video network, an unknown variant, or nothing trained in `workdir`, or for other weights.
    """
    from mmv_tf.backbones.deflated import Inflated, deflate

    if variant not in (None, *VARIANTS):
        raise ValueError(f"variant must be one of {', '.join(VARIANTS)}, not {variant!r}.")
    video = model.backbones.get("video")
    if video is None:
        raise ValueError(f"There is nothing to deflate: the model has {', '.join(model.backbones)}, and no video.")
    if variant == "inflated":
        if frames is None:
            raise ValueError("variant 'inflated' needs frames: how often an image is repeated.")
        return Inflated(video, frames)
    network, trained = deflate(video), _newest_weights(workdir)
    if variant == "trained" and trained is None:
        raise ValueError(f"{workdir} holds no trained deflation: run python -m mmv_tf.deflate --workdir={workdir}.")
    if trained is not None and variant != "naive":
        _restore(network, video, trained, workdir)
    return network


def _newest_weights(workdir: str | None) -> str | None:
    import tensorflow as tf

    return tf.train.latest_checkpoint(os.path.join(workdir, FOLDER, WEIGHTS)) if workdir else None


def weights_checkpoint(network, video, step: int):
    """What WORKDIR/deflated/weights holds: scales and offsets by stable names, and of which weights they are."""
    import tensorflow as tf

    from mmv_tf.deflation.training import trained_variables

    named = {name: variable.value for name, variable in trained_variables(network).items()}
    return tf.train.Checkpoint(image=named, video=tf.Variable(fingerprint(video)), step=tf.Variable(step))


def _restore(network, video, path: str, workdir: str) -> None:
    import tensorflow as tf

    from mmv_tf import workdir as workdirs

    made_for = tf.train.load_checkpoint(path).get_tensor("video/.ATTRIBUTES/VARIABLE_VALUE").decode()
    if made_for != fingerprint(video):
        step = int(tf.train.load_variable(path, "step/.ATTRIBUTES/VARIABLE_VALUE"))
        raise ValueError(
            f"{os.path.join(workdir, FOLDER)} was trained for other weights of the video network (step {step}): run "
            f"python -m mmv_tf.deflate --workdir={workdir} again, or remove that folder."
        )
    workdirs.restore(weights_checkpoint(network, video, 0), path)


def fingerprint(network) -> str:
    """Of all weights of a network."""
    digest = hashlib.sha256()
    for variable in network.variables:
        digest.update(variable.numpy().tobytes())
    return digest.hexdigest()


def main(argv=None):
    """Makes an image network of the video network of a workdir, trains and measures it."""
    from mmv_tf import config

    parser = argparse.ArgumentParser(prog="python -m mmv_tf.deflate", description=main.__doc__)
    parser.add_argument("--workdir", required=True, help="folder of a trained run; the result is in its deflated/")
    parser.add_argument("--images", action="append", default=[], metavar="FOLDER_OR_PATTERN", help="JPEG or PNG files")
    parser.add_argument("--records", action="append", default=[], metavar="PATTERN", help="records, for their frames; "
        "default: those of the run, if there are no --images")  # fmt: skip
    parser.add_argument("--held_out", metavar="IMAGES_OR_RECORDS", help="to measure with; default: a part of the above")
    parser.add_argument("--retrieval", metavar="PATTERN", help="records in which sound and text are found by image; "
        "default: test or validation records beside those of the run; '' for none")  # fmt: skip
    config.add_arguments(parser)
    args = parser.parse_args(argv)
    from mmv_tf.deflation import page, run
    from mmv_tf.preemption import exit_when_preempted

    with exit_when_preempted("the state is saved"):
        result = run.deflate_workdir(
            args.workdir, args.gin_file, args.gin_param, args.images, args.records, args.held_out, args.retrieval
        )
    print(page.as_text(result), flush=True)
    print(f"the image network is in {os.path.join(args.workdir, FOLDER)}; index.html there shows this report")


def cli(argv=None):
    from mmv_tf import config

    return config.run(main, argv)
