"""One evaluation: a network by one of the paper's protocols, beside its baselines.

    python -m mmv_tf.evaluate --workdir=runs/fac --gin_file=gin/evals/ucf101.gin --gin_param="RECORDS='ucf101'"
    python -m mmv_tf.evaluate --module=exported/fac --gin_file=gin/evals/esc50.gin --gin_param="RECORDS='esc50'" \\
      --output=results/esc50.json

The network is a run of ours, or any SavedModel with the published signatures (video, audio, text, one input each).
In the same run the same protocol measures chance, the same network with fresh weights, and raw pixels or sound. The
result is WORKDIR/results/NAME.json, NAME being that of the gin file (NAME_changed.json where a setting is not that of
gin/evals/NAME.gin: the result says which); features are kept in WORKDIR/results/features, so
that a run that was stopped goes on. docs/evaluation.md says more.
"""

import os

FOLDER = "results"
FEATURES = "features"
_ABOUT_CHANCE = {
    "ZeroShotRetrieval": "a random order of the targets",
    "": "a classifier that knows how frequent each class is, and nothing else",
}


def evaluate(
    workdir: str = "",
    module: str = "",
    gin_files=(),
    gin_params=(),
    output: str = "",
    cache: str = "",
    command: str = "",
    allow_file_operations: bool = False,
) -> dict:
    """Measures the network of a workdir or module and writes the result.

    Args:
      workdir, module: one of the two.
      gin_files, gin_params: one of gin/evals/ and what it leaves open.
      output: file of the result; '' is WORKDIR/results/NAME.json.
      cache: folder for features; '' is features/ beside the result.
      command: to be written in the result.
      allow_file_operations: run a module whose graph can read and write files.
    Returns:
      the result (docs/evaluation.md).
    Raises:
      Preempted: SIGTERM or Ctrl-C came; the same call goes on.
      ValueError: settings, network, records or features are wrong; names them.
    """
    import tensorflow as tf

    from mmv_tf.common import config
    from mmv_tf.evaluation import results
    from mmv_tf.evaluation.features import Extractor
    from mmv_tf.evaluation.protocol import Evaluation
    from mmv_tf.export import module_files
    from mmv_tf.training.preemption import Preemption

    if bool(workdir) == bool(module):
        raise ValueError("give either --workdir or --module: what is to be measured")
    if not gin_files and not gin_params:
        raise ValueError("give --gin_file=gin/evals/NAME.gin: which protocol")
    if module and not output:
        raise ValueError("a module needs --output: where the result is to go")
    if module:
        module_files.check_operations(module, allow_file_operations)
    name = os.path.splitext(os.path.basename(gin_files[-1]))[0] if gin_files else ""
    standard = _standard(name)
    loaded, folder = _load(workdir, module, gin_files, gin_params)
    settings = Evaluation()
    protocol = settings.protocol
    name = name or type(protocol).__name__
    changed = results.settings_apart(standard, _settings(settings)) if standard else {}
    parts = [name, *[protocol.variant] * bool(protocol.variant), *["changed"] * bool(changed)]
    output = output or os.path.join(workdir, FOLDER, f"{'_'.join(parts)}.json")
    compared, impossible = _networks(workdir, module, loaded, folder, settings)
    cache = cache or os.path.join(os.path.dirname(output), FEATURES)
    with Preemption(tf.distribute.get_strategy()) as stop:
        extractor = Extractor(cache, settings.batch_size, stop, _on_accelerator(protocol))
        measured = protocol.run(compared, extractor)

    options = dict(samples=settings.bootstrap_samples, confidence=settings.confidence, seed=settings.seed)
    rows, about = {}, {"raw": compared.raw.description}
    for row, outcomes in measured.outcomes.items():
        if row != "chance":
            drawn = dict(seeds=measured.seeds, groups=measured.groups, **options)
            rows[row] = results.make_row(measured.measures, outcomes, about.get(row, ""), **drawn)
    kind = type(protocol).__name__
    chance = _ABOUT_CHANCE.get(kind, _ABOUT_CHANCE[""])
    baselines = {"chance": results.make_chance(measured.measures, measured.outcomes["chance"], chance)}
    network, main = rows.pop("network"), measured.measures[0]
    baselines |= rows or {}
    if "untrained" in baselines:
        baselines["untrained"]["about"] = "the same network with fresh weights"
        network["against_untrained"] = results.compare_rows(baselines["untrained"], network, main, **options)
    else:
        baselines["untrained"] = {results.NOT_POSSIBLE: impossible}
    result = {
        "schema": results.SCHEMA,
        "protocol": name,
        "dataset": settings.dataset or name,
        "data": extractor.data,
        "metric": main.name,
        "value": network["measures"][main.name]["value"],
        "unit": main.unit,
        "interval": network["measures"][main.name]["interval"],
        "n": {**measured.n, "items": results.identity(measured.items)},
        "measures": {m.name: {"outcome": m.outcome, "summary": m.summary} for m in measured.measures},
        "units": {m.name: m.unit for m in measured.measures},
        "network": {**_described(workdir, module, compared.network), **network},
        "baselines": baselines,
        "folds": measured.folds,
        "left_out": measured.left_out,
        "control": measured.control,
        "notes": measured.notes + ["an accelerator resized the frames"] * extractor.on_accelerator,
        "examples": measured.examples,
        "settings": _settings(settings),
        "changed": changed,
        "gin": config.operative(),
        "versions": _versions(),
        "command": command,
    }
    if folder := os.path.dirname(output):
        tf.io.gfile.makedirs(folder)
    results.write(output, result)
    return result


def _on_accelerator(protocol) -> bool:
    """Whether frames are finished by an accelerator (`InputPipeline.finish_on`), which it says."""
    import tensorflow as tf

    from mmv_tf.inputs import pipeline
    from mmv_tf.training import strategies

    if not {"video", "image"} & set(protocol.modalities):
        return False
    setting = pipeline.finish_on()
    does = pipeline.is_finished_there(setting, strategies.on_accelerator(tf.distribute.get_strategy()))
    print(f"input: {pipeline.WHO_DOES_WHAT[does]} (InputPipeline.finish_on = '{setting}')", flush=True)
    return does


def _standard(name) -> dict:
    """The settings of gin/evals/NAME.gin as it is shipped; {} if there is none."""
    from mmv_tf.common import config
    from mmv_tf.evaluation.protocol import Evaluation

    path = config.gin_folder() / "evals" / f"{name}.gin"
    if not path.is_file():
        return {}
    config.parse([path])
    return _settings(Evaluation())


def _load(workdir, module, gin_files, gin_params):
    """(the model of a workdir with its step, folder of the configuration or '') after parsing all of gin."""
    import tensorflow as tf

    from mmv_tf.common import config
    from mmv_tf.export import module_files
    from mmv_tf.training import workdir as workdirs

    if workdir:
        return workdirs.load(workdir, gin_params, gin_files), workdir
    extra = os.path.join(module, module_files.EXTRA)
    if tf.io.gfile.exists(os.path.join(extra, workdirs.CONFIG)):
        workdirs.parse_config(extra, gin_params, gin_files)
        return None, extra
    config.parse(gin_files, gin_params)
    return None, ""


def _networks(workdir, module, loaded, folder, settings):
    """What is compared (`Comparison`), and why there is no untrained network if there is none."""
    from mmv_tf.evaluation import networks
    from mmv_tf.evaluation.protocol import Comparison
    from mmv_tf.export import module_files

    protocol, images = settings.protocol, "image" in settings.protocol.modalities
    untrained, impossible = None, ""
    if folder:
        fresh, pipeline = _fresh(settings.untrained_seed, loaded)
        picture = _image_network(fresh, None, protocol, naive=True) if images else None
        about = {"seed": settings.untrained_seed}
        untrained = networks.of_model(fresh, pipeline, "untrained", picture, about)
    else:
        impossible = f"{module} has no {module_files.CONFIG}, which would say how to build it with fresh weights"
    if workdir:
        picture = _image_network(loaded.model, workdir, protocol) if images else None
        network = networks.of_model(loaded.model, loaded.pipeline, "network", picture, {"step": loaded.step})
    else:
        rate = untrained.sample_rate if untrained else networks.PUBLISHED_SAMPLE_RATE
        inflate = protocol.image_frames if protocol.variant == "inflated" else 0
        if images and protocol.variant == "naive":
            raise ValueError("a module has one image network: LinearImages.variant can be 'trained' or 'inflated'")
        network = networks.of_module(module, module_files.checksum(module), inflate, rate)
    for modality in protocol.modalities:
        network.outputs_of(modality)
    return Comparison(network, untrained, networks.raw(network.sample_rate)), impossible


def _fresh(seed, loaded):
    """The configured model with fresh weights, and its pipeline. Word vectors that training leaves alone are kept."""
    import keras

    from mmv_tf.inputs.pipeline import InputPipeline
    from mmv_tf.model.mmv import MMV

    keras.utils.set_random_seed(seed)
    model, pipeline = MMV(), loaded.pipeline if loaded else InputPipeline()
    model.build_by_call(pipeline.zeros(batch_size=1))
    if loaded:
        trained = loaded.model.named_variables()
        for name, variable in model.named_variables().items():
            if name == "text/embeddings" and not variable.trainable:
                variable.assign(trained[name])
    return model, pipeline


def _image_network(model, workdir, protocol, naive=False):
    from mmv_tf.deflation.network import image_network

    variant = "naive" if naive and protocol.variant != "inflated" else protocol.variant
    return image_network(model, workdir, variant, protocol.image_frames)


def _described(workdir, module, network) -> dict:
    where = {"workdir": workdir} if workdir else {"module": module}
    return {**where, "checksum": network.checksum, **network.description}


def _settings(settings) -> dict:
    import dataclasses

    found = {name: value for name, value in dataclasses.asdict(settings).items() if name != "protocol"}
    protocol = dataclasses.asdict(settings.protocol)
    if "classifier" in protocol:
        protocol["classifier"] = {"class": type(settings.protocol.classifier).__name__, **protocol["classifier"]}
    return {"class": type(settings.protocol).__name__, **protocol, "evaluation": found}


def _versions() -> dict:
    import importlib.metadata
    import platform

    names = ("mmv_tf", "tensorflow", "keras", "scikit-learn", "numpy")
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed as a package"
    return found
