"""Views: further inputs of a record, such as a second clip of the same video.

    InputPipeline.views = {
        'video_2': ('video', {'time': @anywhere()}),
        'audio_2': ('audio', {'to': 'video_2'}),
        'video_2r': ('video', {'to': 'video_2', 'reverse': True}),
    }

A batch holds them under their names, each with its mask; `Graph.views` says what is compared with them. Everything
random is a pure function of the record, the seed that it is given, and the name of the view.
"""

import dataclasses
import zlib
from collections.abc import Mapping
from typing import Literal

import tensorflow as tf

from mmv_tf.common import batches
from mmv_tf.common.configurable import checked, configurable
from mmv_tf.inputs.audio import LogMel
from mmv_tf.inputs.augmentation.sound import SoundAugment
from mmv_tf.inputs.faults import FAULT_MARK
from mmv_tf.inputs.video import VideoInput
from mmv_tf.inputs.views.times import Moment, Time, same


@configurable
@checked
@dataclasses.dataclass(frozen=True)
class View:
    """A further input of a modality.

    Attributes:
      of: the modality.
      time: where it begins, such as @anywhere().
      to: the view that `time` refers to; '' is the clip itself.
      reverse: backwards: the frames of a video, the spectrogram of a sound.
      video: a VideoInput of its own, with another size, length or augmentation; it also says how long a sound is. None:
        the one of the pipeline.
      audio: a LogMel of its own (None: the one of the pipeline) ...
      sound: ... and augmentation (None: that of the pipeline).
    """

    of: Literal["video", "audio", "text"] = "video"
    time: Time = dataclasses.field(default_factory=same)
    to: str = ""
    reverse: bool = False
    video: VideoInput | None = None
    audio: LogMel | None = None
    sound: SoundAugment | None = None


def in_order(views: Mapping[str, View | tuple], modalities, audio: LogMel | None) -> dict[str, View]:
    """The views of a pipeline, made and checked, each after the one that its time refers to.

    Args:
      views: {name: a View, or what it is made of}.
      modalities: that the pipeline reads.
      audio: of the pipeline.
    Raises:
      ValueError: names the view and the setting.
    """
    found, taken = {name: _made(name, view) for name, view in views.items()}, []
    moving = [name for name, view in found.items() if view.time.moves_clip]
    for name, view in found.items():
        place = f"InputPipeline.views[{name!r}]"
        if name in ("video", "audio", "text", *batches.BESIDE) or name.endswith(batches.ENDS):
            raise ValueError(f"{place}: a batch has something else of that name; give the view another one.")
        if view.of not in modalities:
            raise ValueError(f"{place}: of = {view.of!r}, and InputPipeline.modalities = {modalities} lacks it.")
        if view.to not in ("", *found):
            raise ValueError(f"{place}: to = {view.to!r} is no view; there are {', '.join(found)}.")
        if view.reverse and view.of == "text":
            raise ValueError(f"{place}: reverse = True, and a text has no direction.")
        if view.audio and view.audio.sample_rate != audio.sample_rate:
            raise ValueError(
                f"{place}: LogMel.sample_rate = {view.audio.sample_rate}, and that of InputPipeline.audio is "
                f"{audio.sample_rate}: a record has one."
            )
        if view.time.moves_clip and (view.to or moving != [name]):
            raise ValueError(
                f"{place}: its time places the clip itself, too: "
                + (f"it cannot refer to {view.to!r}." if view.to else f"only one view can, of {', '.join(moving)}.")
            )
    waiting = sorted(found, key=lambda name: name not in moving)  # who moves the clip comes first
    while waiting:
        ready = [name for name in waiting if found[name].to in ("", *taken)]
        if not ready:
            ring = " -> ".join([*waiting, found[waiting[-1]].to])
            raise ValueError(f"InputPipeline.views is a cycle: the times of {ring} refer to each other.")
        taken.append(ready[0])
        waiting.remove(ready[0])
    return {name: found[name] for name in taken}


def _made(name: str, view) -> View:
    if isinstance(view, View):
        return view
    names = [part for part in view if not isinstance(part, Mapping)]
    options = {key: value for part in view if isinstance(part, Mapping) for key, value in part.items()}
    known = [field.name for field in dataclasses.fields(View)]
    if unknown := sorted(set(options) - set(known)):
        raise ValueError(f"InputPipeline.views[{name!r}]: unknown setting {unknown[0]!r}; known: {', '.join(known)}.")
    return View(*names, **options)


def seed_of(name: str, seed: tf.Tensor) -> tf.Tensor:
    """The seed [2] of a view, of its name and of its record's seed [2]: other views make no difference to it."""
    return tf.random.experimental.stateless_fold_in(seed, 2 + zlib.crc32(name.encode()) // 2)


def starts_of(
    views: Mapping[str, View],
    video: VideoInput,
    frames: tf.Tensor,
    rate: tf.Tensor,
    first: tf.Tensor,
    seed: tf.Tensor,
    key: tf.Tensor,
) -> dict[str, tf.Tensor]:
    """Where all begin: {'': the clip itself, view: ...}, scalars int32.

    Args:
      views: from `in_order`.
      video: of the clip itself.
      frames, rate: stored frames of the record, and how many a second.
      first: where the clip itself would begin without views.
      seed: [2], of the record.
      key: of the record, for errors.
    Raises:
      tf.errors.InvalidArgumentError: the record is too short for a view's time; names both.
    """
    found, lasting = {"": first}, {"": video}
    for name, view in views.items():
        lasting[name] = view.video or video
        both = lasting[view.to], lasting[name]
        spans = [one.span(rate) for one in both]
        reach = tf.maximum(*(one.reach(rate) for one in both))
        moment = Moment(frames, rate, found[view.to], *spans, reach)
        with tf.control_dependencies(_fits(name, view, moment, key)):
            drawn = view.time.draw(moment, tf.random.experimental.stateless_fold_in(seed_of(name, seed), 0))
        if view.time.moves_clip:
            found[""], drawn = drawn
        found[name] = drawn
    return found


def _fits(name, view, moment, key):
    if view.time.needs is None:
        return []
    needs = view.time.needs(moment)
    told = [FAULT_MARK, "record ", key, ": ", tf.strings.as_string(moment.frames), " frames, and the time of "]
    told += [f"InputPipeline.views.{name} needs ", tf.strings.as_string(needs), ": take longer records, shorter "]
    told += ["clips or another time"]
    return [tf.debugging.Assert((moment.frames == 0) | (moment.frames >= needs), [tf.strings.join(told)])]
