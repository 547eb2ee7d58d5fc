"""A folder of records as it lies there, local or in a bucket: its card, its shards, other files."""

import dataclasses
import os

from mmv_tf.common import paths
from mmv_tf.records import card as dataset_card
from mmv_tf.records.naming import parse_shard_name


@dataclasses.dataclass(frozen=True)
class Folder:
    """`card` is None when there is no dataset.json: records of another tool, or a card that was lost."""

    path: str
    names: list[str]  # of all files and folders in it, sorted
    card: dataset_card.DatasetCard | None

    def join(self, name: str) -> str:
        return os.path.join(self.path, name)

    def shards(self, split: str | None = None) -> dict[str, str]:
        """{name of a shard that is there: its split}, of one split or of all, in order.

        Raises:
          ValueError: there is no such split, or no file with the name of a shard.
        """
        if self.card:
            if split is not None:
                self.card.files(split)
            of = {name: one for one, content in self.card.splits.items() for name in content.shards}
        else:
            parsed = {name: parse_shard_name(name) for name in self.names}
            of = {name: parts.split if parts else "" for name, parts in parsed.items() if parts or "tfrecord" in name}
        found = {name: of[name] for name in self.names if name in of and split in (None, of[name])}
        if self.card and not self.card.splits:
            raise ValueError(
                f"{self.path}: {dataset_card.FILE_NAME} lists no split: a run of preprocess has not ended; "
                "start it again"
            )
        if not found and not self.card:
            raise ValueError(
                f"{self.path}: no {dataset_card.FILE_NAME}, and no file named like a shard, such as "
                f"train-00000-of-00008{f' (of the split {split})' if split else ''}: is it a folder of records?"
            )
        return found


def read(path: str) -> Folder:
    """Lists a folder and reads its card.

    Raises:
      ValueError: no such folder, or a bad dataset.json; one line that names it.
    """
    path = paths.home(path)
    if "://" in path:
        from mmv_tf.beam import storage as shards

        names, read_text = shards.names(path), shards.read_text
    else:
        if not os.path.isdir(path):
            raise ValueError(f"{path}: no such folder")
        names, read_text = sorted(os.listdir(path)), None
    card = dataset_card.load(path, read_text) if dataset_card.FILE_NAME in names else None
    return Folder(path, names, card)


def open_file(path: str):
    """(file open for reading bytes, its size)."""
    if "://" in path:
        from apache_beam.io.filesystems import FileSystems

        from mmv_tf.beam import storage as shards

        return FileSystems.open(path, compression_type="uncompressed"), shards.size(path)
    if not os.path.isfile(path):  # a pipe would be waited for
        raise OSError("not a regular file" if os.path.exists(path) else "no such file")
    return open(path, "rb"), os.path.getsize(path)


def shown(text: bytes | str, most: int = 200) -> str:
    """A text from outside in one bounded line that no terminal takes for a command."""
    text = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    text = "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text[: most + 1])
    return text if len(text) <= most else text[:most] + "..."
