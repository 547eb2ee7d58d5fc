"""Publishes a trained model as a SavedModel with the signatures of the published MMV modules.

    python -m mmv_tf.export.saved_model --workdir runs/fac --output exported/fac

    signature  input (one tensor)                            outputs
    video      float32 [B,T,H,W,3] in [0,1], 10 frames/s     before_head, and a key for every space: va, vat
    audio      float32 [B,S] in [-1,1], 48 kHz               before_head, last_conv, and the spaces
    text       string [B], sentences                         before_head, and the spaces

Loads in a process that has none of our code: tf.saved_model.load, hub.load, hub.KerasLayer. Embeddings are raw (not
normalised), as in the published modules; compare them by cosine similarity.
"""

import argparse
import os

BEFORE_HEAD = "before_head"


def _input_specs(modalities) -> dict:
    """{modality: TensorSpec of its raw input}; batch, time and image sizes are free."""
    import tensorflow as tf

    specs = {
        "video": tf.TensorSpec([None, None, None, None, 3], tf.float32, "video"),
        "audio": tf.TensorSpec([None, None], tf.float32, "audio"),
        "text": tf.TensorSpec([None], tf.string, "text"),
    }
    return {modality: specs[modality] for modality in modalities}


def make_embed(loaded, modality: str):
    """embed(raw inputs, training=False) -> {'before_head': [B,D], space: [B,d], ...} for one modality."""
    front_end = {"audio": loaded.pipeline.audio, "text": loaded.pipeline.text}.get(modality)
    backbone = loaded.model.backbones[modality]

    def embed(inputs, training=False):
        endpoints = backbone.endpoints(inputs if front_end is None else front_end(inputs), training=training)
        embeddings = loaded.model.embed_repr(modality, endpoints["embedding"], training=training, every_space=True)
        outputs = {BEFORE_HEAD: embeddings.pop("repr"), **embeddings}
        if "last_conv" in endpoints:
            outputs["last_conv"] = endpoints["last_conv"]
        return outputs

    return embed


def build(loaded):
    """The object that is saved, and its signatures.

    Args:
      loaded: mmv_tf.workdir.Loaded.

    Returns:
      root: trackable with `embed`, which has a function a modality (`root.embed.audio(x, training=False)`), and the
        reusable SavedModel interface of TensorFlow Hub for the first modality of the graph, the video network:
        `__call__(inputs, training=False)`, `variables`, `trainable_variables`, `regularization_losses`.
      signatures: {modality: function of one tensor}.
    """
    import tensorflow as tf

    root, signatures = tf.train.Checkpoint(), {}
    root.embed = tf.train.Checkpoint()
    for modality, spec in _input_specs(loaded.model.graph.modalities).items():
        embed = make_embed(loaded, modality)
        function = tf.function(embed)
        # Traced for both modes: what is saved is what was traced, and none of our code.
        function.get_concrete_function(spec, training=True)
        signatures[modality] = function.get_concrete_function(spec, training=False)
        setattr(root.embed, modality, function)
    # A Keras 3 model does not have this interface by itself, and hub.KerasLayer reads it.
    root.__call__ = getattr(root.embed, loaded.model.graph.modalities[0])
    root.variables = [variable.value for variable in loaded.model.variables]
    root.trainable_variables = [variable.value for variable in loaded.model.trainable_variables]
    root.regularization_losses = []
    root.tokenizer = loaded.pipeline.text
    return root, signatures


def save(loaded, output: str, workdir: str) -> None:
    """Writes the export to the folder `output`, whole or not at all, with the configuration of `workdir` inside.

    Raises:
      FileExistsError: `output` is there already.
    """
    import tensorflow as tf

    from mmv_tf import workdir as workdirs

    output = output.rstrip("/")
    if tf.io.gfile.exists(output):
        raise FileExistsError(f"{output} is there already: choose another --output, or remove it first.")
    root, signatures = build(loaded)
    temporary = f"{output}.tmp"
    if tf.io.gfile.exists(temporary):
        tf.io.gfile.rmtree(temporary)
    tf.saved_model.save(root, temporary, signatures=signatures)
    extra = os.path.join(temporary, "assets.extra")
    tf.io.gfile.makedirs(extra)
    for name in (workdirs.CONFIG, workdirs.VOCABULARY, workdirs.WEIGHTS_LICENSE):
        if tf.io.gfile.exists(os.path.join(workdir, name)):
            tf.io.gfile.copy(os.path.join(workdir, name), os.path.join(extra, name))
    tf.io.gfile.rename(temporary, output)


def main(argv=None):
    """Exports the newest checkpoint of a workdir as a SavedModel that TensorFlow Hub loads."""
    parser = argparse.ArgumentParser(prog="python -m mmv_tf.export.saved_model", description=main.__doc__)
    parser.add_argument("--workdir", required=True, help="folder of a training run")
    parser.add_argument("--output", required=True, help="folder to write; must not exist")
    args = parser.parse_args(argv)
    import tensorflow as tf

    from mmv_tf import workdir as workdirs

    loaded = workdirs.load(args.workdir)
    save(loaded, args.output, args.workdir)
    print(f"step {loaded.step} of {args.workdir} -> {args.output}")
    for modality in loaded.model.graph.modalities:
        print(f"  {modality}: {BEFORE_HEAD}, {', '.join(loaded.model.graph.spaces_of(modality))}")
    if "text" not in loaded.model.graph.modalities:
        print("  text: no signature, as the configuration leaves text out (imported weights: attach a vocabulary)")
    if tf.io.gfile.exists(os.path.join(args.workdir, workdirs.WEIGHTS_LICENSE)):
        print(f"  the weights have a licence of their own: assets.extra/{workdirs.WEIGHTS_LICENSE}")


def cli(argv=None):
    from mmv_tf import config

    return config.run(main, argv)


if __name__ == "__main__":
    raise SystemExit(cli())
