"""The model card of an export: README.md in its assets.extra.

    python -m mmv_tf.export.model_card --workdir runs/fac --module exported/fac

Every number comes from the configuration of the run, the module itself or a file of the run. What is not known is said
to be not known.
"""

import os
import platform

from mmv_tf.common import command, paths
from mmv_tf.export import card_data, module_files
from mmv_tf.export.markdown import bullets, escape, fenced, sections, table

FILE_NAME = "README.md"


def write(folder: str, loaded, workdir: str) -> str:
    """Writes the card of the module in `folder`.

    Args:
      folder: of the SavedModel.
      loaded: mmv_tf.training.workdir.Loaded, what was exported.
      workdir: the run that it comes from.
    Returns:
      Path of the card.
    """
    import tensorflow as tf

    from mmv_tf.common import files

    extra = os.path.join(folder, module_files.EXTRA)
    tf.io.gfile.makedirs(extra)
    path = os.path.join(extra, FILE_NAME)
    files.write_text(path, text(folder, loaded, workdir))
    return path


def text(folder: str, loaded, workdir: str) -> str:
    """The card as Markdown."""
    from mmv_tf.training import workdir as workdirs

    signatures = module_files.signatures(folder)
    config = _config_text(workdir)
    graph, pipeline = loaded.model.graph, loaded.pipeline
    weights = os.path.join(workdir, workdirs.WEIGHTS_LICENSE)
    data = os.path.join(workdir, card_data.DATA_LICENSE)
    results = card_data.describe_results(workdir, loaded)
    return sections(
        f"MMV: one network that embeds {_listed(sorted(signatures))}",
        [
            ("What it is", _what(loaded, config)),
            ("How to load it", _how_to_load(signatures)),
            ("Inputs and outputs", _inputs_and_outputs(signatures)),
            ("Preprocessing", _preprocessing(pipeline, signatures, config, loaded.model.backbones)),
            ("Spaces, and how to compare", _comparisons(graph, signatures)),
            ("Training data", card_data.describe_sources(pipeline.sources, pipeline.source_names)),
            ("Training", _training(loaded, config, workdir)),
            ("The image network", _image_network(folder, workdir, loaded.step) if "image" in signatures else ""),
            ("Results", results or "No results of an evaluation were found in the run."),
            ("Limits", _limits(loaded, signatures, bool(results))),
            ("Licence of the weights", card_data.licence(weights, _NO_WEIGHTS_LICENCE)),
            ("Licence of the data", card_data.licence(data, _NO_DATA_LICENCE)),
            ("Versions", _versions()),
            ("Checksums", _checksums(folder)),
        ],
    )


_NO_WEIGHTS_LICENCE = (
    "Not stated: the run records no licence, neither of weights that it began with nor of those that it trained. Ask "
    "whoever trained them."
)
_NO_DATA_LICENCE = (
    f"Not stated: there is no {card_data.DATA_LICENSE} in the run. The rights of those who made the videos were not "
    "looked at."
)


def _config_text(workdir):
    from mmv_tf.common import files
    from mmv_tf.training import workdir as workdirs

    return files.read_text(os.path.join(workdir, workdirs.CONFIG))


def _listed(names):
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _what(loaded, config):
    model = loaded.model
    rows = []
    for modality, network in model.backbones.items():
        name = type(network).__name__
        settings = ", ".join(f"{key} {value}" for key, value in card_data.bindings(config, name).items())
        rows.append((modality, name, settings, f"{network.count_params():,}"))
    heads = sum(head.count_params() for head in model.heads.values())
    rows.append(("heads", f"{len(model.heads)} projections", "", f"{heads:,}"))
    trainable = sum(variable.numpy().size for variable in model.trainable_variables)
    return "\n\n".join(
        [
            "A Self-Supervised MultiModal Versatile network (Alayrac et al., NeurIPS 2020), learned from videos "
            f"without labels; made with mmv_tf. {model.count_params():,} parameters, {trainable:,} of them trainable.",
            table(("part", "network", "settings", "parameters"), rows),
            "The modality graph:",
            fenced(model.graph.describe(), "text"),
        ]
    )


def _how_to_load(signatures):
    example = {
        "video": "frames",
        "image": "pixels",
        "audio": "waveform",
        "text": 'tf.constant(["a sentence"])',
    }
    lines = ["import tensorflow as tf", 'module = tf.saved_model.load("this/folder")']
    lines += [f'module.signatures["{name}"]({example.get(name, "x")})' for name in signatures]
    return fenced("\n".join(lines), "python") + (
        "\n\nNo other package is needed. `hub.load` and `hub.KerasLayer` of TensorFlow Hub take the same folder, and "
        "`keras.layers.TFSMLayer` does for inference. A signature returns a dict of tensors. "
        "`module.embed.video(...)` and its like are callables for fine-tuning; `module.embed.video.uint8` and `.grey` "
        "take 8-bit and grey pictures as they are, `module.embed.audio.int16` 16-bit sound. A signature takes tensors "
        "(`tf.constant`), not NumPy arrays."
    )


_MEANING = {
    "video": "clips, RGB in [0, 1]",
    "image": "pictures, RGB in [0, 1]",
    "audio": "mono waveform in [-1, 1]",
    "text": "sentences, UTF-8",
}


def _inputs_and_outputs(signatures):
    rows = []
    for name, signature in signatures.items():
        rows.append((name, f"input {signature.argument}", str(signature.input), _MEANING.get(name, "")))
        for key, tensor in signature.outputs.items():
            what = "space" if key in signature.spaces else "feature maps"
            rows.append((name, f"output {key}", str(tensor), "before the heads" if key == "before_head" else what))
    return table(("signature", "tensor", "type and shape", "what"), rows)


def _preprocessing(pipeline, signatures, config, backbones):
    video, audio, words = pipeline.video, pipeline.audio, pipeline.text
    size = f"the shorter side is resized to {video.min_side} pixels (bilinear), then the centre of " + (
        f"{video.crop_size} x {video.crop_size} pixels is taken"
    )
    lines = []
    inside = " (the module does so itself)" if video.normalises else ""
    if "video" in signatures:
        lines.append(
            f"**video**, as the caller prepares it: {video.num_frames} frames at {video.frame_rate:g} frames/s "
            f"({video.seconds:g} s); {size}; RGB in this order, values divided by 255 to [0, 1]; no mean or "
            f"deviation is subtracted{inside}. Other numbers of frames and other sizes are taken, too."
        )
    if "image" in signatures:
        lines.append(f"**image**, likewise: {size}; RGB, divided by 255 to [0, 1]. Other sizes are taken, too.")
    if "audio" in signatures:
        lines.append(
            f"**audio**, likewise: mono, {audio.sample_rate} Hz, float in [-1, 1]; {pipeline.num_samples} samples "
            f"({video.seconds:g} s) were heard in training. Inside the module: {audio.in_words()}."
        )
    if "text" in signatures:
        from mmv_tf.records import vocabulary

        without = card_data.bindings(config, "Tokenizer").get("remove_stop_words", "True") == "True"
        stops = f"{len(vocabulary.STOP_WORDS)} English stop words are " + ("left out" if without else "kept")
        order = _order_of_words(backbones["text"])
        lines.append(
            f"**text**, inside the module: lower case; everything but letters, digits, marks and apostrophes separates "
            f"words; a possessive 's goes; {stops}; words that are not in the vocabulary of {len(words.words)} words "
            f"are left out; the first {words.max_words} that remain are used{order}; at most "
            f"{words.max_bytes} bytes of a text are read. The vocabulary is in {module_files.EXTRA}/vocabulary.txt, "
            "for people; the module has its own copy."
        )
    return bullets(lines)


def _order_of_words(network) -> str:
    """What the card says of it; nothing of a network that does not tell."""
    told = {True: ", without regard to their order", False: ", in their order"}
    return told.get(getattr(network, "forgets_order", None), "")


def _comparisons(graph, signatures):
    from mmv_tf.metrics import retrieval

    spaces = {m: graph.spaces_of(m) for m in graph.modalities}
    rows = []
    for number, first in enumerate(graph.modalities):
        for second in graph.modalities[number + 1 :]:
            of_both = (p.space for p in graph.pairs if set(graph.modalities_of(p)) == {first, second})
            trained = list(dict.fromkeys(of_both))
            space = trained[0] if trained else retrieval.common_space(first, second, spaces)
            if trained:
                how = f"trained in {_listed(trained)}"
            else:
                how = "by composition of heads that others train; never trained" if space else "no space in common"
            rows.append((f"{first} - {second}", space or "none", how))
    lines = [
        "Vectors are raw: they are not normalised, neither before the heads nor in the spaces.",
        "Compare two vectors of the same space by their cosine. Lengths carry no meaning, and vectors of different "
        "spaces cannot be compared.",
    ]
    if "image" in signatures:
        lines.append(
            "A picture stands in the same spaces as a video (`image` has its own network and the heads of the video): "
            "compare it with sound and text as a video is."
        )
    return bullets(lines) + "\n\n" + table(("pair", "space to use", "how it came about"), rows)


def _training(loaded, config, workdir):
    from mmv_tf.training import workdir as workdirs

    settings = card_data.bindings(config, "train")
    shown = [f"{name} {escape(settings[name])}" for name in ("batch_size", "steps", "seed", "optimizer", "precision")
             if name in settings]  # fmt: skip
    begun = [f"steps taken: {loaded.step}", *shown, f"all settings: {module_files.CONFIG}"]
    summary = card_data.describe_of_step(os.path.join(workdir, workdirs.SUMMARY), loaded.step, "steps")
    return bullets(begun) + ("\n\nWhat the run ended with:\n\n" + summary if summary else "")


def _image_network(folder, workdir, step):
    from mmv_tf.deflation.network import FOLDER, REPORT

    what = (
        "The video network with its kernels summed over time (paper, section 3.3); the heads are those of the video. "
    )
    variant = module_files.read_network(folder).get("variant")
    found = card_data.describe_of_step(os.path.join(workdir, FOLDER, REPORT), step, "step")
    if variant is None:
        what += "The module does not say which image network it holds: this is what lies in the run. "
        variant = "trained" if found else "naive"
    if variant == "naive":
        return what + "Nothing in it was trained (`naive`), and how far it is from the video network was not measured."
    trained = f"{what}Its batch norms were trained to agree with the video network. "
    return trained + (f"What `mmv_tf.deflate` found:\n\n{found}" if found else "The run holds no report of that.")


def _limits(loaded, signatures, has_results):
    video = loaded.pipeline.video
    lines = []
    if loaded.step == 0 and loaded.pipeline.sources:
        lines.append("**The weights are untrained: the vectors mean nothing.**")
    if not has_results:
        lines.append("It was not evaluated, as far as its files tell.")
    lines += [
        "Not tested on anything that is not listed under Results: other sources of video, other cameras, other "
        "languages, or groups of people. It learned what its training videos show, with their biases.",
        "Vectors say what is alike. They are no identification of persons and no basis for decisions about them.",
    ]
    if "video" in signatures:
        lines.append(
            f"Trained on clips of {video.num_frames} frames of {video.crop_size} x {video.crop_size} pixels at "
            f"{video.frame_rate:g} frames/s. Other lengths, sizes and rates work; how well was not measured."
        )
    if "text" in signatures:
        lines.append("A text without any known word gives one and the same vector, whatever it says.")
    if "image" in signatures:
        lines.append("The image network agrees with the video network on a still picture only approximately.")
    return bullets(lines)


def _versions():
    import keras
    import tensorflow as tf

    import mmv_tf

    versions = {"mmv_tf": mmv_tf.__version__, "tensorflow": tf.__version__, "keras": keras.__version__}
    return table(("package", "version"), [*versions.items(), ("python", platform.python_version())])


def _checksums(folder):
    lines = "\n".join(f"{digest}  {name}" for name, digest in module_files.checksums(folder).items())
    how = "In the folder of the module, `sha256sum -c` accepts these lines:"
    return f"{how}\n\n{fenced(lines, 'text')}\n\nTheir own sha256: {module_files.checksum(folder)}"


_THEN = """mmv_tf serving --module exported/fac
  mmv_tf evaluate --module exported/fac --gin_file=gin/evals/esc50.gin --output results/esc50.json"""


def main(argv=None):
    """Writes the model card of an export anew, for instance after an evaluation, and prints it."""
    from mmv_tf.common import config

    parser = command.parser("model-card", main.__doc__, _THEN)
    parser.add_argument("--workdir", type=paths.argument, required=True, help="folder of the training run")
    parser.add_argument("--module", type=paths.argument, required=True, help="folder of the export of that run")
    config.add_imports(parser)
    args = parser.parse_args(argv)
    config.import_modules(args.gin_file)
    from mmv_tf.common import files
    from mmv_tf.training import workdir as workdirs

    module_files.signatures(args.module)
    loaded = workdirs.load(args.workdir)
    module_files.check_network(args.module, loaded, args.workdir)
    path = write(args.module, loaded, args.workdir)
    print(files.read_text(path))


def cli(argv=None) -> int:
    return command.run(main, argv)


if __name__ == "__main__":
    raise SystemExit(cli())
