"""gin files: where they are found, what they may bind, and errors that a person can act on."""

import argparse
import contextlib
import functools
import importlib
import io
import logging
import os
import pathlib

import gin

import mmv_tf
from mmv_tf.common import bindings, files, paths, signatures

# Every module that gives gin something to bind. Imported before a file is parsed, so that a name which a file
# uses is known, and one that is not known is a mistake in the file.
_CONFIGURABLE_MODULES = (
    "mmv_tf.backbones",
    "mmv_tf.backbones.transformers",
    "mmv_tf.deflation.settings",
    "mmv_tf.evaluation.classifiers",
    "mmv_tf.evaluation.fine_tune",
    "mmv_tf.evaluation.linear",
    "mmv_tf.evaluation.protocol",
    "mmv_tf.evaluation.zero_shot",
    "mmv_tf.inputs.audio",
    "mmv_tf.inputs.augmentation.sound",
    "mmv_tf.inputs.front_ends.filter_bank",
    "mmv_tf.inputs.front_ends.log_power",
    "mmv_tf.inputs.front_ends.waveform",
    "mmv_tf.inputs.mixture",
    "mmv_tf.inputs.pipeline",
    "mmv_tf.inputs.text",
    "mmv_tf.inputs.video",
    "mmv_tf.inputs.views.times",
    "mmv_tf.inputs.views.view",
    "mmv_tf.model.classification",
    "mmv_tf.model.gdt",
    "mmv_tf.model.graph",
    "mmv_tf.model.losses",
    "mmv_tf.model.memory",
    "mmv_tf.model.mmv",
    "mmv_tf.model.record_losses",
    "mmv_tf.model.scorers",
    "mmv_tf.training.observer",
    "mmv_tf.training.optimizers",
    "mmv_tf.training.own",
    "mmv_tf.training.per_record.agreement",
    "mmv_tf.training.per_record.clusters",
    "mmv_tf.training.per_record.refresh",
    "mmv_tf.training.probe",
    "mmv_tf.training.run",
)


def _opened(path: str, foreign: bool = False) -> io.StringIO:
    text = bindings.read_text(path)
    text = io.StringIO(bindings.without_imports(text) if foreign else text)
    text.name = path  # for what gin says of it
    return text


@contextlib.contextmanager
def kept():
    """Inside, configurations can be parsed; afterwards gin holds what it held before, for whoever uses it beside us."""
    held = {name: dict(getattr(gin.config, name)) for name in ("_CONFIG", "_OPERATIVE_CONFIG", "_SINGLETONS")}
    imports, locked = set(gin.config._IMPORTS), gin.config._CONFIG_IS_LOCKED
    try:
        yield
    finally:
        with gin.unlock_config():
            gin.clear_config()
        for name, values in held.items():
            getattr(gin.config, name).update(values)
        gin.config._IMPORTS.update(imports)
        gin.config._CONFIG_IS_LOCKED = locked


def _is_there(path: str) -> bool:
    if not files.is_remote(path):
        return os.path.isfile(path)
    import tensorflow as tf  # which knows gs:// and its like

    return tf.io.gfile.exists(path)


# gin opens local files by `open`, in the encoding of the locale, and has no way to say otherwise.
gin.config._FILE_READERS[0] = (_opened, _is_there)


class _Allowed:
    imports = False  # of this process, by its command line


_allowed = _Allowed()


def _rules() -> bindings.Rules:
    return bindings.Rules(imports=_allowed.imports)


class _AllowImports(argparse.Action):
    def __call__(self, parser, namespace, values, option_string=None):
        _allowed.imports = True
        setattr(namespace, self.dest, True)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds --gin_file and --gin_param, both repeatable, and --allow_gin_imports."""
    add_imports(parser, "a gin file; repeatable")
    parser.add_argument(
        "--gin_param", action="append", default=[], metavar="'NAME=VALUE'", help="one binding more; repeatable"
    )


def add_imports(
    parser: argparse.ArgumentParser,
    about: str = "a gin file that imports modules of your own which a run needs; what else it says is not looked at",
) -> None:
    """Adds --gin_file, repeatable, and --allow_gin_imports: all that a command needs which takes a run as it is."""
    parser.add_argument("--gin_file", action="append", default=[], metavar="FILE", help=about)
    _allowed.imports = False
    parser.add_argument(
        "--allow_gin_imports", action=_AllowImports, nargs=0, help="let gin files import modules, which runs their code"
    )


def gin_folder() -> pathlib.Path:
    """The folder of the shipped gin files: mmv_tf/gin, which in a checkout is a link to gin/."""
    folder = pathlib.Path(mmv_tf.__file__).parent / "gin"
    if not (folder / "fac.gin").is_file():
        raise FileNotFoundError("The gin files of mmv_tf are missing from this installation: install it again.")
    return folder


def _not_a_place_looked_in_vain(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith("Path not found:")


def check_values(gin_files=(), gin_params=(), foreign=(), partly: bool = False) -> None:
    """Checks every value that gin files and bindings give, before anything is imported that takes long (TensorFlow).

    `parse` does so as well; a command asks first where it has other things to do before that.

    Raises:
      ValueError, OSError: one line that names the binding, its value and what is wanted, or the file at fault.
    """
    known = signatures.of_configurables(_CONFIGURABLE_MODULES)
    bindings.check_values(known, gin_files, gin_params, _search(), _rules(), foreign)
    if not (partly or _allowed.imports):  # otherwise it is known when they are imported
        bindings.check_known(known, foreign, _search())


def check_run(workdir: str | None, gin_files=(), gin_params=()) -> None:
    """`check_values`, and what else can be said of the settings for a run in a workdir before TensorFlow is imported.

    Names that nothing knows, a folder that is no run, and records (`RECORDS`, `TRAIN_DATA`) in no folder.

    Raises:
      ValueError, OSError: one line that names the binding or the folder.
    """
    check_values(gin_files, gin_params)
    foreign = []
    if workdir is not None and not files.is_remote(workdir):
        foreign = [os.path.join(workdir, "config.gin")]
        if not os.path.isfile(foreign[0]):
            raise FileNotFoundError(
                f"{workdir} is not a workdir: it has no config.gin. `mmv_tf train --workdir ...` makes one."
            )
        check_values(gin_files, gin_params, foreign)
    if (workdir is None or foreign) and not _allowed.imports:
        bindings.check([*foreign, *gin_files], gin_params, _search())
    written = last_values(gin_files, gin_params)
    # Where one is left open that is said first, and by the part that wants it.
    names = (
        () if any(one.value == "" and "." not in name for name, one in written.items()) else ("RECORDS", "TRAIN_DATA")
    )
    how = next((one.value for name, one in written.items() if name.endswith(".prepare") and one.value), "")
    for name, (value, _) in written.items():
        if name in names and isinstance(value, str) and value and not files.is_remote(value):
            folder = paths.home(value if name == "RECORDS" else os.path.dirname(value) or ".")
            if not os.path.isdir(folder) and "*" not in folder:
                advice = how or "`mmv_tf preprocess` makes records"
                raise ValueError(f"{name} = {value!r}: there is no folder {folder}; prepare them: {advice}")


def last_values(gin_files=(), gin_params=()) -> dict[str, bindings.Value]:
    """What gin files and bindings say of each name, without parsing them: see `bindings.last_values`."""
    known = signatures.of_configurables(_CONFIGURABLE_MODULES)
    return bindings.last_values(known, gin_files, gin_params, _search())


def _search() -> tuple[str, str]:
    """The folders in which gin files are looked for, in this order."""
    return "", str(gin_folder().parent)


def import_modules(gin_files=(), gin_params=()) -> None:
    """Imports the modules that gin files import; what else they say is not looked at.

    Raises:
      ValueError, OSError: one line that names the file that imports one without --allow_gin_imports, or is not there.
      ModuleNotFoundError: there is no such module.
    """
    for module in bindings.imports(gin_files, gin_params, _search(), _rules()):
        with gin.unlock_config():  # they register what they define
            importlib.import_module(module)


def operative() -> str:
    """The operative configuration as a workdir keeps it: it binds, and imports nothing."""
    return bindings.without_imports(gin.operative_config_str()).lstrip("\n")


def parse(gin_files=(), gin_params=(), finalize: bool = True, foreign=(), partly: bool = False) -> None:
    """Parses gin files and bindings, from nothing. `gin/fac.gin` is found from any working directory.

    Args:
      gin_files, gin_params: of the user; an import in them needs --allow_gin_imports, and comes before all bindings.
      finalize: refuse further bindings.
      foreign: files that came with a module or workdir, taken before the others. They may bind, and do nothing else: an
        import in them is passed over. What a user binds acts on what they bind in scopes, too
        (`bindings.reach_scopes`).
      partly: of `foreign`, names that nothing here knows are passed over, too, for whoever makes only what is ours. To
        make something else then is an error. Not with `finalize`.
    Raises:
      ValueError, SyntaxError, OSError: one line that names the file or the binding at fault. Unknown names are errors.
    """
    check_values(gin_files, gin_params, foreign, partly)
    names = functools.partial(bindings.check, [*foreign, *gin_files], gin_params, _search())
    if not (partly or _allowed.imports):
        names()
    for module in _CONFIGURABLE_MODULES:
        importlib.import_module(module)
    gin.clear_config()
    if _allowed.imports:
        import_modules(gin_files, gin_params)
        if not partly:
            names()  # what is imported may define constants
            bindings.check_known({}, foreign, _search())
    gin.add_config_file_search_path(str(gin_folder().parent))
    for file in foreign:
        gin.parse_config(_opened(os.fspath(file), foreign=True), skip_unknown=partly)
    # gin logs an error for every place where it looks in vain before the one where it finds a file.
    quietly = logging.getLogger()
    quietly.addFilter(_not_a_place_looked_in_vain)
    try:
        for file in gin_files:
            gin.parse_config_file(os.fspath(file))
    finally:
        quietly.removeFilter(_not_a_place_looked_in_vain)
    for binding in gin_params:
        try:
            gin.parse_config(binding)
        except (ValueError, SyntaxError) as error:
            raise ValueError(f"binding {binding.strip().splitlines()[0]!r}: {error}") from error
    if foreign and not partly:
        bindings.reach_scopes(foreign, gin_files, gin_params, _search())
    if finalize:
        gin.finalize()
