"""Model of `mmv_tf.load`: files, arrays and sentences in, vectors out, and how alike they are."""

import itertools
import os
import threading
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np

from mmv_tf.api import windows
from mmv_tf.api.networks import Networks
from mmv_tf.api.windows import Array, Item
from mmv_tf.common.batches import filled
from mmv_tf.metrics import retrieval

MODALITIES = ("video", "image", "audio", "text")
Modality = Literal["video", "image", "audio", "text"]
Embeddings = dict[str, dict[str, Array]]


class Model:
    """A network that embeds video, pictures, sound and text. Made by `mmv_tf.load`.

    Its workings are those of an export and of `mmv_tf embed`: the same files give the same vectors. Several threads may
    call it, and take turns: one child decodes, and one network runs.
    """

    def __init__(self, networks: Networks, path: str):
        self._networks, self.path = networks, path
        self._functions: dict = {}
        self._windows, self._turn = windows.Windows(networks.clips), threading.Lock()

    def __repr__(self):
        return f"<mmv_tf.Model {self.path}: {', '.join(self.modalities)}>"

    @property
    def modalities(self) -> tuple[str, ...]:
        """What can be embedded, of 'video', 'image', 'audio' and 'text'. Without an image network a picture is a video
        that stands still."""
        found = self._networks.spaces
        return tuple(one for one in MODALITIES if one in found or (one == "image" and "video" in found))

    @property
    def spaces(self) -> dict[str, dict[str, int]]:
        """{modality: {space: d}}: which vectors `embed` gives, and how many numbers each has."""
        return {one: dict(self._networks.spaces[self._network(one)]) for one in self.modalities}

    @property
    def seconds(self) -> float:
        """Length of a window, what the network sees or hears at once."""
        return self._networks.clips.seconds

    @property
    def frame_rate(self) -> float:
        """Frames a second that the network takes; arrays have it unless they come as (array, frames a second)."""
        return self._networks.clips.frame_rate

    @property
    def sample_rate(self) -> int | None:
        """Samples a second, in Hz, likewise; None for a network without sound."""
        return self._networks.clips.audio.sample_rate if self._networks.clips.audio else None

    @property
    def licence(self) -> str:
        """The licence of the weights, where they have one of their own (those of the authors: no commercial use)."""
        return self._networks.licence

    def _network(self, modality):
        """Which network takes a modality."""
        return "video" if modality == "image" and "image" not in self._networks.spaces else modality

    def embed(
        self,
        *,
        video: Item | Sequence[Item] | None = None,
        image: Item | Sequence[Item] | None = None,
        audio: Item | Sequence[Item] | None = None,
        text: str | Sequence[str] | None = None,
        batch_size: int = 8,
        representations: bool = False,
        on_error: Literal["raise", "nan"] = "raise",
        progress: bool | None = None,
    ) -> Embeddings:
        """Vectors of any number of inputs: a row for each, in their order.

        A file, or an array longer than a window, is cut into windows side by side, and its row is the mean of theirs,
        as in the paper's protocols; a shorter one is repeated to fill a window. Files are decoded in a child process,
        at the rates of the network. `mmv_tf embed` writes the windows one by one.

        Args:
          video: paths of files, or arrays [T,H,W,3], uint8 or float in [0, 1], at `frame_rate` or as (array, frames a
            second). The short side is resized and the middle taken, unless height and width are the network's.
          image: paths, or arrays [H,W,3] likewise.
          audio: paths of sounds or videos, or arrays [S], float in [-1, 1] or int16, at `sample_rate` or (array, Hz).
          text: sentences.
          batch_size: windows at once; a row does not depend on it.
          representations: give what comes before the heads as well, as 'before_head'.
          on_error: 'nan' gives an input that cannot be read a row of NaN, and warns of it by name.
          progress: show a bar. None: if it takes more than three seconds, and someone watches.

        Returns:
          {modality: {space: float32 [N, d]}}, not normalised: compare them with `similarity`, or by the cosine.
        Raises:
          ValueError: a modality that the network lacks, an input that cannot be read or is of no use; names it.
        """
        given = {"video": video, "image": image, "audio": audio, "text": text}
        given = {modality: one for modality, one in given.items() if one is not None}
        if not given:
            raise ValueError("nothing to embed: give video=, image=, audio= or text=")
        if batch_size < 1 or on_error not in ("raise", "nan"):
            raise ValueError(f"batch_size = {batch_size}, on_error = {on_error!r}: at least 1, and 'raise' or 'nan'")
        for modality in given:
            if modality not in self.modalities:
                raise ValueError(f"{self.path}: embeds {', '.join(self.modalities)}, not {modality}")
        named = {modality: windows.rows(modality, one) for modality, one in given.items()}
        # A list of 2,000 files with a mistyped one at its end should not say so after an hour.
        if on_error == "raise":
            for modality, rows in named.items():
                for row in rows if modality != "text" else ():
                    if isinstance(row.item, str | os.PathLike) and not os.path.isfile(row.name):
                        what = "is a folder: give its files" if os.path.isdir(row.name) else "no such file"
                        raise ValueError(f"{modality}: {row.name}: {what}")
        found = {}
        with self._turn:
            for modality, rows in named.items():
                found[modality] = self._embed(modality, rows, batch_size, representations, on_error, progress)
        return found

    def _embed(self, modality, rows, batch_size, representations, on_error, progress):
        from tqdm import tqdm

        sums: dict[str, Array] = {}
        counts, failed = np.zeros(len(rows), int), []
        hidden = None if progress is None else not progress
        bar = tqdm(total=len(rows), desc=modality, unit="input", disable=hidden, delay=0 if progress else 3)
        with bar, self._windows as cutting:
            pieces = self._pieces(modality, rows, cutting, None if on_error == "raise" else failed, bar)
            while batch := list(itertools.islice(pieces, batch_size)):
                outputs = self._run(modality, [value for _, value in batch], batch_size)
                for key, vectors in outputs.items():
                    if key == "before_head" and not representations:
                        continue
                    total = sums.setdefault(key, np.zeros((len(rows), vectors.shape[1])))
                    np.add.at(total, [number for number, _ in batch], vectors)
                np.add.at(counts, [number for number, _ in batch], 1)
        counts[failed] = 0  # also of those that broke off
        if not sums:  # nothing could be read, or nothing was given
            sums = {space: np.zeros((len(rows), size)) for space, size in self.spaces[modality].items()}
        shares = np.where(counts, 1 / np.maximum(counts, 1), np.nan)[:, None]
        found = {key: (total * shares).astype(np.float32) for key, total in sums.items()}
        if modality == "text" and len(rows):
            self._warn_of_unknown_texts(rows, found, batch_size)
        return found

    def _pieces(self, modality, rows, cutting, failed, bar) -> Iterator[tuple[int, Any]]:
        """(number of the input, window) of all inputs; numbers of those that cannot be read go into `failed`."""
        for number, row in enumerate(rows):
            try:
                if modality == "text":
                    yield number, row.item.encode()
                else:
                    for window in cutting.of(modality, row):
                        yield number, window
            except ValueError as error:
                if failed is None:
                    raise
                failed.append(number)
                warnings.warn(f"{error}: its row is NaN", stacklevel=2)
            bar.update()

    def _run(self, modality, values, batch_size):
        """{output: float32 [n, d]} of n windows; fewer than a batch are filled up, so that one shape is traced."""
        import tensorflow as tf

        network = self._network(modality)
        if network not in self._functions:
            self._functions[network] = self._networks.function(network)
        if modality == "text":
            stacked = np.array(values, object)
        else:
            stacked = np.stack([windows.as_float(value) for value in values])
            if modality != network:  # a picture as a video that stands still
                stacked = np.repeat(stacked[:, None], self._networks.clips.num_frames, axis=1)
        outputs = self._functions[network](tf.constant(filled(stacked, batch_size)))
        return {key: value.numpy()[: len(values)] for key, value in outputs.items() if value.shape.rank == 2}

    def _warn_of_unknown_texts(self, rows, found, batch_size):
        nothing = self._run("text", [b""], batch_size)
        space = next(iter(self.spaces["text"]))
        same = retrieval.same(found[space], nothing[space])
        unknown = [row.item for row, is_same in zip(rows, same, strict=True) if is_same and row.item.strip()]
        if unknown:
            shown = ", ".join(repr(text[:40]) for text in unknown[:3]) + (", ..." if len(unknown) > 3 else "")
            which = f"{len(unknown)} of {len(rows)} texts hold"
            warnings.warn(f"{which} no word that the network knows, and all get one vector: {shown}", stacklevel=4)

    def similarity(
        self, found: Embeddings, first: Modality | None = None, second: Modality | None = None, space: str | None = None
    ) -> Array:
        """Cosines between all inputs of two modalities: float64 [N, M].

        Args:
          found: what `embed` gave.
          first, second: modalities of rows and columns; by default the first two that were embedded, in the order
            video, image, audio, text, or the only one with itself.
          space: by default the one that fewest modalities share: in FAC the fine one for video and sound.
        Raises:
          ValueError: the two have no such space in common; says which there are.
        """
        embedded = list(found)
        rows: str = first or embedded[0]
        columns: str = second or next((one for one in embedded if one != rows), rows)
        for one in (rows, columns):
            if one not in found:
                raise ValueError(f"{one} is not among what was embedded: {', '.join(embedded)}")
        spaces = {str(one): tuple(of_one) for one, of_one in self.spaces.items()}
        chosen = space or retrieval.common_space(rows, columns, spaces)
        if chosen is None or any(chosen not in found[one] for one in (rows, columns)):
            have = "; ".join(f"{one} in {', '.join(spaces[one])}" for one in dict.fromkeys((rows, columns)))
            raise ValueError(f"{rows} and {columns} have no space {space or ''} in common: {have}".replace("  ", " "))
        return _cosines(found[rows][chosen], found[columns][chosen])

    def was_trained(self, first: Modality, second: Modality) -> bool | None:
        """Whether two modalities were compared in training: in FAC sound and text never were, and meet all the same.
        None where the network does not say."""
        return retrieval.was_trained(first, second, self._networks.pairs)

    def deflated(self) -> Any:
        """The image network alone (paper section 3.3), to embed frames by the thousand or to fine-tune.

        Returns:
          A module of TensorFlow Hub: `network(images float32 [B,H,W,3] in [0, 1], training=False)` -> {'before_head':
          [B, D], space: [B, d]}, with `variables` and `trainable_variables`; `hub.KerasLayer(network)` takes it. Before
          `mmv_tf deflate` its scales are those of the video network.
        Raises:
          ValueError: there is none, as in an export with --no_image.
        """
        if "video" not in self._networks.spaces and "image" not in self._networks.spaces:
            raise ValueError(f"{self.path}: embeds {', '.join(self.modalities)}, and no video: nothing to deflate")
        with self._turn:
            return self._networks.image_module()


def _cosines(first, second):
    """A row of NaN has NaN cosines, and no others have."""
    bad = [~np.isfinite(one).all(axis=1) for one in (first, second)]
    cleared = [np.where(rows[:, None], 0, one) for one, rows in zip((first, second), bad, strict=True)]
    if not all(len(one) for one in cleared):
        return np.zeros((len(first), len(second)))
    cosines = retrieval.similarity(*cleared)
    cosines[bad[0]], cosines[:, bad[1]] = np.nan, np.nan
    return cosines
