"""A record to the inputs of a module: its clips, side by side, as evaluation cuts them."""

import dataclasses
import functools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from mmv_tf.beam.specs import Settings
from mmv_tf.inputs.audio import LogMel
from mmv_tf.inputs.clip import ClipMaker
from mmv_tf.inputs.pipeline import front_end
from mmv_tf.inputs.video import VideoInput
from mmv_tf.records import schema

_JPEG_QUALITY = 95  # frames are decoded again at once: nothing is won by small ones


@dataclasses.dataclass(frozen=True)
class ClipSettings:
    """What a module was trained on; travels to the workers. Arguments as in VideoInput; `audio` None without sound."""

    num_frames: int
    frame_rate: float
    min_side: int
    crop_size: int
    audio: LogMel | None

    @classmethod
    def from_gin(cls, has_audio: bool) -> "ClipSettings":
        """Those of the configuration that was parsed."""
        video = VideoInput()
        audio = front_end() if has_audio else None
        return cls(video.num_frames, video.frame_rate, video.min_side, video.crop_size, audio)

    @property
    def seconds(self) -> float:
        return self.num_frames / self.frame_rate

    def decoding(self, jpeg_quality: int = _JPEG_QUALITY, clip_seconds: float | None = None, **limits) -> Settings:
        """How a source is decoded for this module.

        Args:
          clip_seconds: of the pieces in which it is decoded; None for those of a clip.
          limits: others of the Settings.
        """
        return Settings(
            frame_rate=self.frame_rate,
            short_side=self.min_side,
            sample_rate=self.audio.sample_rate if self.audio else Settings.sample_rate,
            jpeg_quality=jpeg_quality,
            clip_seconds=self.seconds if clip_seconds is None else clip_seconds,
            **limits,
        )

    def box_for(self, sizes) -> tuple[int, int]:
        """Height and width of a box that every clip of frames of these sizes fits in."""
        return VideoInput(min_side=self.min_side, crop_size=self.crop_size, jit_compile=False).box_for(sizes, draws=0)


class Boxed(NamedTuple):
    """Frames that an accelerator is to resize: T times [h,w,3] uint8, and their place (`boxes.place`)."""

    frames: tuple[np.ndarray, ...]
    place: np.ndarray

    @property
    def nbytes(self) -> int:
        return self.place.nbytes + sum(frame.nbytes for frame in self.frames)


class Input(NamedTuple):
    """One input of a signature, and what it is of. Times are seconds from the start of the source, or None."""

    modality: str
    key: str
    start: float | None
    end: float | None
    value: np.ndarray | bytes | Boxed  # video [T,H,W,3], image [H,W,3] uint8; audio [S] float32; text bytes


class _Windows(VideoInput):
    """A VideoInput whose evaluation clips may be any number, given as a tensor: one trace for all records."""

    def num_clips(self, stored_frames, stored_rate):
        """So many clips that their length is that of the record, to the nearest; int32, at least one."""
        ratio = tf.cast(stored_frames, tf.float32) * self.frame_rate / (self.num_frames * stored_rate)
        return tf.maximum(1, tf.cast(tf.floor(ratio + 0.5), tf.int32))

    def spaced_starts(self, stored_frames, stored_rate, num_clips):
        last = self._last_start(stored_frames, stored_rate)
        spread = tf.cast(tf.linspace(0.0, tf.cast(last, tf.float32), num_clips), tf.int32)
        return tf.where(tf.equal(num_clips, 1), last // 2, spread)


class ClipCutter:
    """Cuts records into inputs.

    Clips are evenly spaced over the record, from its first frame to its last, as many as fit to the nearest: their gaps
    or overlaps are less than half a clip in all. A record that is shorter than a clip is repeated to fill one.

    Args:
      settings: of the module.
      modalities: the signatures to make inputs for. An image is the middle frame of each clip; a text is a caption.
      box: height and width of a box; with it frames are not resized: video and images are `Boxed`, T = 1 of an image.
    """

    def __init__(self, settings: ClipSettings, modalities, box: tuple[int, int] | None = None):
        self._modalities = tuple(modalities)
        wanted = [m for m in ("video", "audio") if m in modalities or (m == "video" and "image" in modalities)]
        if "audio" in wanted and settings.audio is None:
            raise ValueError("the module has no sound network: leave audio out of the signatures")
        self._video = _Windows(
            num_frames=settings.num_frames,
            frame_rate=settings.frame_rate,
            min_side=settings.min_side,
            crop_size=settings.crop_size,
            jit_compile=False,
        )
        self._maker = ClipMaker(wanted, self._video, settings.audio, max_candidates=1)
        scalar, number = tf.TensorSpec([], tf.string), tf.TensorSpec([], tf.int32)
        # Traced here: TensorFlow warns of threads that wait for the first trace as if each had made one.
        self._plan = tf.function(self._plan_of, input_signature=[scalar], autograph=False).get_concrete_function()
        cut = functools.partial(self._maker.evaluation, box=box)
        self._clip = tf.function(cut, input_signature=[scalar, number, number], autograph=False)

    def _plan_of(self, serialized):
        """What a record holds: its times, captions, and the starts of its clips in seconds from its own start."""
        record = schema.parse(serialized)
        frames, rate = self._maker.stored(record)
        starts = self._video.spaced_starts(frames, rate, self._video.num_clips(frames, rate))
        kept = ("key", "start", "end", "text", "text_start", "text_end")
        return {name: record[name] for name in kept} | {
            "has_clips": frames > 0,
            "starts": tf.cast(starts, tf.float32) / rate,
            "seconds": tf.cast(frames, tf.float32) / rate,
            "frames": frames,
            "rate": rate,
        }

    def cut(self, serialized: bytes) -> Iterator[Input]:
        """The inputs that a record gives, in the order of time; what it lacks gives none.

        Raises:
          tf.errors.OpError: no record, a frame that cannot be decoded, or sound of another rate.
        """
        plan = {name: value.numpy() for name, value in self._plan(serialized).items()}
        key, begin = plan["key"].decode(errors="replace"), float(plan["start"])
        if "text" in self._modalities:
            yield from self._captions(plan, key)
        if not plan["has_clips"] or self._modalities == ("text",):
            return
        starts = plan["starts"]
        for number, offset in enumerate(starts):
            clip = self._clip(serialized, number, len(starts))
            start = _microseconds(begin + float(offset))
            end = _microseconds(min(start + self._video.seconds, begin + float(plan["seconds"])))
            if "video" in clip and clip["video_mask"]:
                frames = _frames(clip)
                if "video" in self._modalities:
                    yield Input("video", key, start, end, frames)
                if "image" in self._modalities:
                    middle = self._video.num_frames // 2
                    shown = _microseconds(begin + self._time_of(middle, float(offset), plan))
                    is_boxed = isinstance(frames, Boxed)
                    value = Boxed((frames.frames[middle],), frames.place) if is_boxed else frames[middle]
                    yield Input("image", key, shown, shown, value)
            if "audio" in clip and clip["audio_mask"]:
                yield Input("audio", key, start, end, clip["audio"].numpy())

    def _time_of(self, number: int, offset: float, plan) -> float:
        """Seconds from the start of a record to frame `number` of a clip that begins at `offset`.

        A record that is shorter than a clip is repeated: the frame is one of its own (`VideoInput.sample`).
        """
        seconds, rate = offset + number / self._video.frame_rate, float(plan["rate"])
        frame = round(offset * rate) + round(number * rate / self._video.frame_rate)
        return seconds if frame < plan["frames"] else frame % int(plan["frames"]) / rate

    def _captions(self, plan, key):
        have_times = len(plan["text_start"]) == len(plan["text_end"]) == len(plan["text"])
        for number, text in enumerate(plan["text"]):
            times = (
                (plan["text_start"][number], plan["text_end"][number]) if have_times else (plan["start"], plan["end"])
            )
            yield Input("text", key, *(_microseconds(float(time)) for time in times), text)


def _frames(clip):
    """The frames of an example of ClipMaker: [T,H,W,3], or Boxed."""
    if "video_place" not in clip:
        return clip["video"].numpy()
    return Boxed(tuple(frame.numpy() for frame in clip["video"]), clip["video_place"].numpy())


def _microseconds(seconds: float) -> float:
    """Without the digits that float32 adds: records keep times to the microsecond."""
    return round(seconds, 6)
