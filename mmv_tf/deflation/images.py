"""Images to deflate with: files, or frames of records; and crops of them."""

import copy
import dataclasses
import hashlib
import os
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from mmv_tf.beam.decoding import picture
from mmv_tf.common import paths
from mmv_tf.inputs import faults, shards
from mmv_tf.inputs.stream import record_stream
from mmv_tf.records import schema

ENDINGS = (".jpg", ".jpeg", ".png")
_MOST_PIXELS = 1 << 26  # a small file can claim any size


@dataclasses.dataclass(frozen=True)
class Images:
    """JPEGs with the names that errors call them by. Images of one group are all held out, or none of them."""

    jpegs: tuple[bytes, ...] = ()
    names: tuple[str, ...] = ()
    groups: tuple[bytes, ...] = ()

    def __len__(self):
        return len(self.jpegs)

    def __add__(self, other: "Images") -> "Images":
        return Images(self.jpegs + other.jpegs, self.names + other.names, self.groups + other.groups)

    def take(self, numbers: Sequence[int]) -> "Images":
        parts = (self.jpegs, self.names, self.groups)
        return Images(*(tuple(part[number] for number in numbers) for part in parts))

    def split(self, share: float) -> tuple["Images", "Images"]:
        """(to learn from, held out): groups go by their hash, until `share` of the images is held out.

        Raises:
          ValueError: there is one group only.
        """
        groups = sorted(set(self.groups), key=_hash)
        if len(groups) < 2:
            raise ValueError(
                f"{len(self)} image(s) of one file or video: at least two are needed, one of them to hold out."
            )
        sizes = np.cumsum([self.groups.count(group) for group in groups[:-1]])
        apart = set(groups[: 1 + int(np.searchsorted(sizes, share * len(self)))][: len(groups) - 1])
        sides = [], []
        for number, group in enumerate(self.groups):
            sides[group in apart].append(number)
        return self.take(sides[0]), self.take(sides[1])

    def fingerprint(self) -> str:
        return hashlib.sha256(b"".join(map(_hash, self.jpegs))).hexdigest()


def _hash(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def load(pattern: str, most: int, per_record: int, seed: int = 0) -> Images:
    """Images that a folder or a pattern means: of records, unless it is a folder or the names end as images do."""
    if tf.io.gfile.isdir(pattern) or pattern.lower().endswith(ENDINGS):
        return from_files(pattern, most, seed)
    return from_records(pattern, most, per_record, seed)


def from_files(pattern: str, most: int, seed: int = 0) -> Images:
    """JPEG and PNG files: all in a folder and below, or those that match a pattern; of many, a random choice.

    Raises:
      ValueError: none, or one that is no image; names it.
    """
    pattern = paths.home(pattern)
    if tf.io.gfile.isdir(pattern):
        every = [os.path.join(folder, name) for folder, _, names in tf.io.gfile.walk(pattern) for name in names]
        found = [path for path in every if path.lower().endswith(ENDINGS)]
        if left_out := paths.by_ending(set(every) - set(found)):
            print(f"{pattern}: left out, being neither JPEG nor PNG: {left_out}", flush=True)
    else:
        found = [path for path in paths.matching(pattern) if not tf.io.gfile.isdir(path)]
        if others := [path for path in found if not path.lower().endswith(ENDINGS)]:
            raise ValueError(f"{others[0]} is no image: --images takes files that end in {', '.join(ENDINGS)}.")
    if not found:
        raise ValueError(f"{pattern!r} holds no image ({', '.join(ENDINGS)}).")
    chosen = sorted(sorted(found), key=lambda path: _hash(f"{seed} {os.path.basename(path)}".encode()))[:most]
    contents = [tf.io.gfile.GFile(path, "rb").read() for path in chosen]
    # The same picture under two names is one group.
    jpegs = (_as_jpeg(content, path) for content, path in zip(contents, chosen, strict=True))
    return Images(tuple(jpegs), tuple(chosen), tuple(map(_hash, contents)))


def from_records(pattern: str | Sequence[str], most: int, per_record: int, seed: int = 0) -> Images:
    """Frames of records in a random order, `per_record` of each, evenly spaced. The frames of a video are one group.

    Raises:
      ValueError: no records, no frames in them, or a bad one; names it.
    """
    found = shards.find(pattern)
    stream = record_stream(found, seed, readers=4).take(found.num_records)
    images = []
    try:
        for serialized, _ in stream:
            record = schema.parse(serialized)
            key, stored = record["key"].numpy(), record["video"].numpy()
            video = _video_of(serialized) or key
            places = {int((i + 0.5) * len(stored) / per_record) for i in range(per_record)} if len(stored) else ()
            for place in sorted(places)[: most - len(images)]:
                name = f"record {key.decode(errors='replace')!r}, frame {place}"
                images.append((_as_jpeg(stored[place], name), name, video))
            if len(images) == most:
                break
    except tf.errors.OpError as error:
        raise ValueError(f"{pattern}: {faults.reason(error)}") from error
    if not images:
        raise ValueError(f"{pattern!r}: there are no frames in the {found.num_records} records.")
    return Images(*zip(*images, strict=True))


def _video_of(serialized):
    features = {"video/filename": tf.io.FixedLenFeature([], tf.string, "")}
    return tf.io.parse_single_sequence_example(serialized, features)[0]["video/filename"].numpy()


def _as_jpeg(content: bytes, name: str) -> bytes:
    """The JPEG itself, or a JPEG of what is to be turned or lies on white (`picture.decode`); both must decode."""
    try:
        if tf.image.is_jpeg(content):
            _check_size(tf.io.extract_jpeg_shape(content).numpy(), name)
            tf.io.decode_jpeg(content, channels=3)
            if picture.orientation(content) == 1:
                return content
        if content.startswith(b"\x89PNG"):
            _check_size((int.from_bytes(content[20:24], "big"), int.from_bytes(content[16:20], "big")), name)
        pixels = picture.decode(content, _MOST_PIXELS)[..., ::-1]
    except (tf.errors.OpError, ValueError) as error:
        why = faults.reason(error) if isinstance(error, tf.errors.OpError) else error
        raise ValueError(f"{name} is no image that can be read (JPEG or PNG): {why}.") from None
    return tf.io.encode_jpeg(np.ascontiguousarray(pixels), quality=95).numpy()


def _check_size(shape, name):
    if int(shape[0]) * int(shape[1]) > _MOST_PIXELS:
        raise ValueError(f"{name} has {shape[1]} x {shape[0]} pixels; {_MOST_PIXELS} are the most. Make it smaller.")


class Crops:
    """Crops of images, in the size of the clips of a run: n is crop n % `per_image` of image n // `per_image`.

    Args:
      video: the run's VideoInput: crops are cut and changed as its frames are.
      per_image: random crops of an image, each always the same; 0: one, the centre, not changed.
    """

    def __init__(self, images: Images, video, per_image: int, seed: int = 0):
        self.images, self.per_image = images, max(1, per_image)
        self._video, self._random, self._seed = copy.copy(video), per_image > 0, seed
        self._video.num_frames = 1
        self._jpegs = tf.constant(images.jpegs)
        # Traced once, however often the crops are gone through.
        self._cut = tf.function(self._crop, input_signature=[tf.TensorSpec([], tf.int64)], autograph=False)

    def __len__(self):
        return len(self.images) * self.per_image

    def name(self, number: int) -> str:
        return self.images.names[number // self.per_image]

    @tf.autograph.experimental.do_not_convert
    def batches(self, numbers, batch_size: int) -> tf.data.Dataset:
        """Crops [B,H,W,3] uint8 with their numbers [B] int64, in the order of `numbers`."""
        dataset = tf.data.Dataset.from_tensor_slices(np.asarray(numbers, np.int64))
        dataset = dataset.map(self._cut, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        return dataset.batch(batch_size).prefetch(2)

    def _crop(self, number):
        jpeg = tf.gather(self._jpegs, number // self.per_image)[None]
        if self._random:
            seed = tf.random.experimental.stateless_fold_in(tf.constant([self._seed, 0xDEF], tf.int64), number)
            return self._video.training_clip(jpeg, seed)[0], number
        return self._video.evaluation_clip(jpeg)[0], number
