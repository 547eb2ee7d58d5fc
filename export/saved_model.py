"""The export of a trained model: a SavedModel with the signatures of the published MMV modules, and one for images.

    python -m mmv_tf.export.saved_model --workdir runs/fac --output exported/fac

    signature  input (one tensor)                            outputs
    video      float32 [B,T,H,W,3] in [0,1], 10 frames/s     before_head, and a key for every space: va, vat
    image      float32 [B,H,W,3] in [0,1]                    the same, from the deflated network (mmv_tf.deflate)
    audio      float32 [B,S] in [-1,1], 48 kHz               before_head, last_conv, and the spaces
    text       string [B], sentences in UTF-8                before_head, and the spaces

All outputs are float32. Every modality has every space that a path of heads leads to: audio has vat also where no pair
trained it. Embeddings are raw (not normalised), as in the published modules; compare them by cosine similarity.

Loads in a process that has none of our code: tf.saved_model.load, hub.load, hub.KerasLayer (in tf_keras), and
keras.layers.TFSMLayer (in Keras 3, for inference: what it trains are copies of the weights that the graph never reads).
Everything is inside, the words and the mel filters too: the folder can be moved.

`embed` has a callable a modality, each a reusable module of its own for fine-tuning: `root.embed.audio(x,
training=True)`, `hub.KerasLayer(root.embed.audio, trainable=True)`. The root itself is that of the video network. One
thing that the published modules have is not here: TensorFlow 2 writes no second graph, so that `hub.load(path,
tags={"train"})` and TF1's `hub.Module(path, tags={"train"})` find nothing; pass training=True instead.

Inputs that are out of the ordinary:

    pictures     any number of frames, height and width from 1 on. Values below -0.5 or above 1.5 are an error
                 (InvalidArgumentError), so that 0..255 and -1..1 are not taken for [0,1]; what lies between is left as
                 it is, since resampling overshoots. `embed.video.uint8` and `embed.image.uint8` take uint8, which they
                 divide by 255; `.grey` and `.grey_uint8` one channel, which they repeat.
    waveforms    any length from one sample on. What is shorter than a window of the STFT is padded with zeros; what is
                 longer than the clips of training gives the mean over it all. Values beyond 8 are an error: 16-bit
                 samples that were not divided by 32768. `embed.audio.int16` takes int16, which it divides.
    sentences    accents may be composed or not, and letters full-width: it is the same word. Words that are not in the
                 vocabulary are left out, like stop words; the first 16 that are left count. A text of none (an empty
                 one, one of unknown words or of bytes that are not UTF-8) gives one vector, always the same: that of
                 the empty string, by which it can be told. It is finite, and of a trained network not zero. Only the
                 first 4096 bytes of a text are looked at.
    NaN          a sample with NaN in it gives NaN in all outputs, and changes no other sample (in inference).
    nothing      an empty batch gives empty outputs; frames or waveforms of size 0 are an error.

Checks are part of the graph, and fail a whole batch. XLA (and so a TPU) and LiteRT leave them out.
"""

import os

from mmv_tf.common import command, lock, paths, quiet


def networks(loaded, workdir: str | None = None, image: bool = True) -> dict:
    """{modality: network} of what is saved.

    Args:
      loaded: mmv_tf.training.workdir.Loaded.
      workdir: of the run; where `python -m mmv_tf.deflate` left the image network, if it did.
      image: whether to add the image network, where there is one for video.
    """
    from mmv_tf.deflation.network import image_network

    found = dict(loaded.model.backbones)
    if image and "video" in found:
        found["image"] = image_network(loaded.model, workdir)
    return found


def build(loaded, networks: dict):
    """The object that is saved, and its signatures.

    Args:
      loaded: mmv_tf.training.workdir.Loaded.
      networks: {modality: network}, as the function `networks` gives them.

    Returns:
      root: trackable with `embed`, which has a reusable module a modality (see `signatures.module`), and the same
        interface for the video network (or, without one, the first of the graph).
      signatures: {modality: function of one tensor}.
    """
    import tensorflow as tf

    from mmv_tf.export import signatures

    root, functions = tf.train.Checkpoint(), {}
    root.embed = tf.train.Checkpoint()
    for modality, network in networks.items():
        module, functions[modality] = signatures.module(loaded, modality, network)
        setattr(root.embed, modality, module)
    # A Keras 3 model does not have this interface by itself, and hub.KerasLayer reads it. The variables are those of
    # one network: tf_keras warns at every trace of weights that a loss does not reach, of each by name.
    first = getattr(root.embed, "video" if "video" in networks else loaded.model.graph.modalities[0])
    root.__call__ = first.__call__
    root.variables, root.trainable_variables = list(first.variables), list(first.trainable_variables)
    root.regularization_losses = []
    return root, functions


def save(loaded, output: str, workdir: str, image: bool = True) -> dict[str, list[str]]:
    """Writes the export to the folder `output`, whole or not at all.

    Its assets.extra holds the configuration, the vocabulary and the licence of `workdir`, the model card and what
    TensorFlow Serving wants.

    Returns:
      {signature: its output keys}.
    Raises:
      FileExistsError: `output` is there already.
    """
    import tensorflow as tf

    from mmv_tf.export import model_card, module_files, serving
    from mmv_tf.training import workdir as workdirs

    output = output.rstrip("/")
    if tf.io.gfile.exists(output):
        raise FileExistsError(f"{output} is there already: choose another --output, or remove it first.")
    saved = networks(loaded, workdir, image)
    identified = module_files.network(loaded, saved.get("image"))
    root, functions = build(loaded, saved)
    temporary = f"{output}.tmp"
    if tf.io.gfile.exists(temporary):
        tf.io.gfile.rmtree(temporary)
    # Without the lines of code behind each operation: paths of this machine, of no use elsewhere.
    options = tf.saved_model.SaveOptions(save_debug_info=False)
    tf.saved_model.save(root, temporary, signatures=functions, options=options)
    extra = os.path.join(temporary, module_files.EXTRA)
    tf.io.gfile.makedirs(extra)
    for name in (workdirs.CONFIG, workdirs.VOCABULARY, workdirs.WEIGHTS_LICENSE):
        if tf.io.gfile.exists(os.path.join(workdir, name)):
            tf.io.gfile.copy(os.path.join(workdir, name), os.path.join(extra, name))
    module_files.write_network(temporary, identified)
    serving.write_warmup(temporary, loaded.pipeline)
    model_card.write(temporary, loaded, workdir)
    tf.io.gfile.rename(temporary, output)
    return {name: sorted(function.structured_outputs) for name, function in functions.items()}


_THEN = """mmv_tf embed --videos my_videos/ --module exported/fac --output embeddings/
  mmv_tf evaluate --module exported/fac --gin_file=gin/evals/esc50.gin --output results/esc50.json"""


def main(argv=None):
    """Exports the newest checkpoint of a workdir as a SavedModel that TensorFlow Hub loads."""
    from mmv_tf.common import config

    parser = command.parser("export", main.__doc__, _THEN)
    parser.add_argument("--workdir", type=paths.argument, required=True, help="folder of a training run")
    parser.add_argument("--output", type=paths.argument, required=True, help="folder to write; must not exist")
    parser.add_argument(
        "--no_image", action="store_true", help="leave the image network out, for a video network with no image form"
    )
    config.add_imports(parser)
    args = parser.parse_args(argv)
    config.import_modules(args.gin_file)
    quiet.start()
    import tensorflow as tf

    from mmv_tf.training import workdir as workdirs

    with lock.beside(args.output, "export"):
        loaded = workdirs.load(args.workdir)
        print(f"step {loaded.step} of {args.workdir}: each network is traced twice, which takes a minute or several")
        made = save(loaded, args.output, args.workdir, image=not args.no_image)
    for name, keys in made.items():
        print(f"  {name}: {', '.join(keys)}")
    print(f"step {loaded.step} of {args.workdir} -> {args.output}")
    if "text" not in loaded.model.graph.modalities:
        imported = loaded.step == 0 and tf.io.gfile.exists(os.path.join(args.workdir, workdirs.WEIGHTS_LICENSE))
        more = " (mmv_tf from-deepmind --vocabulary FILE gives imported weights one)" if imported else ""
        print(f"  text: no signature, as the network was made without text{more}")
    if tf.io.gfile.exists(os.path.join(args.workdir, workdirs.WEIGHTS_LICENSE)):
        print(f"  the weights have a licence of their own: assets.extra/{workdirs.WEIGHTS_LICENSE}")


def cli(argv=None) -> int:
    return command.run(main, argv)


if __name__ == "__main__":
    raise SystemExit(cli())
