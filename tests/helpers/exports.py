"""One export of the untrained tiny network for all tests that only look at it: making it takes a while."""

import functools
import pathlib
from typing import NamedTuple

from helpers import tiny
from mmv_tf.export import saved_model
from mmv_tf.training import workdir as workdirs


class Export(NamedTuple):
    """Folders of the records, of the run and of its module, and the run as it was loaded."""

    records: pathlib.Path
    workdir: pathlib.Path
    module: pathlib.Path
    loaded: workdirs.Loaded


@functools.cache
def tiny_export(base: pathlib.Path) -> Export:
    """The same one for the whole session; who changes something in it puts it back.

    Args:
      base: `tmp_path_factory.getbasetemp()`.
    """
    return make(base / "tiny_export")


def make(folder: pathlib.Path) -> Export:
    """A new one, in a folder that is not there yet."""
    folder.mkdir()
    export = Export(folder / "records", folder / "run", folder / "module", None)
    tiny.untrained_workdir(export.workdir, export.records)
    loaded = workdirs.load(str(export.workdir))
    saved_model.save(loaded, str(export.module), str(export.workdir))
    return export._replace(loaded=loaded)
