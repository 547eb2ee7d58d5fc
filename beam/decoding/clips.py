"""One source -> the JPEG frames and the mono sound of its clips. Runs in the child process (worker.py) only.

Time 0 is the start of the source, where a player starts: the earliest of its streams. Clip frame i is shown at time
start + i / frame_rate, and is the picture that a player displays then: the last one whose time is not later (up to half
a tick of the stream's clock, half a millisecond at most, since containers round). Before the first picture that is the
first picture, after the last one the last, up to the end of the longer of the two streams. The sound covers exactly the
span of the frames; where the source has none in it (it starts late, ends early, has a gap) there is digital silence.
"""

import collections
import dataclasses
import math

import av
import numpy as np

from mmv_tf.beam.decoding.av_source import AvSource, LateSeek, SourceError
from mmv_tf.records.card import Reason

SEEK_GAP = 10.0  # seconds; a smaller gap between two clips is decoded through
PREROLL = 0.5  # seconds decoded before a clip: sound decoders need some packets to settle
MUX_SLACK, LONGEST_WAIT = 10.0, 300.0  # seconds that one stream may lie behind the other in the file, in the decoder
_SOUND_RATES = 1_000, 1_000_000  # Hz; a flipped bit can make it any number, and resampling from that take minutes
_KEPT_BACK = 64  # pictures, or fields of them, that a decoder has at most and gives out only after later ones
_RESYNC = 0.04  # seconds between the clock and the running count of samples from which on the clock is believed


@dataclasses.dataclass
class Clip:
    """One clip while it is being decoded, and then what became of it."""

    indices: tuple[int, ...]  # of the clips in the request that it is, or is a piece of
    start: float
    end: float
    num_frames: int  # ticks of the frame grid in the span
    jpegs: list[bytes] = dataclasses.field(default_factory=list)
    size: tuple[int, int] = (0, 0)  # height, width; that of its first picture
    waveform: np.ndarray | None = None
    pictures: int = 0  # decoded, or not needed, within the span
    failures: int = 0  # packets of the video stream that failed, within the span
    sounds: int = 0  # frames of sound decoded within the span
    sound_failures: int = 0  # packets of the sound stream that failed, within the span
    bytes: int = 0  # of its pictures
    refused: bool = False  # a picture within the span is over the limit of pixels
    sound_failed: bool = False  # there is sound in the span, which could not be decoded

    def __post_init__(self):
        self.wanted_end = self.end  # `end` becomes that of what there is


def plan(path, clips, settings):
    """Cuts what is wanted whole into pieces, all other clips stay as they are.

    Args:
      path: of the source.
      clips: list of (start, end or None), seconds.
    Returns:
      (pieces, truncated): pieces is a list of (indices in clips, start, end), sorted by start; truncated is None or the
      span (end of the data, stated end) that is missing. A source that is cut is read through once, without decoding,
      because headers lie. There are round(duration / clip_seconds) pieces, at least one, of clip_seconds each; the
      last one is between half as long and half as long again, or two halves of that where it is longer than
      max_clip_seconds: nothing is dropped, no piece is tiny.
    """
    pieces = [(i, start, end) for i, (start, end) in enumerate(clips) if end is not None]
    truncated = None
    whole = [(i, start) for i, (start, end) in enumerate(clips) if end is None]
    if whole:
        duration, stated = _scan(path, settings)
        if stated and stated - duration > max(1.0, 0.02 * stated):
            truncated = (duration, stated)
        most = max(1, math.floor(settings.max_clip_seconds * settings.frame_rate + 1e-6))
        ticks_per_clip = min(most, max(1, round(settings.clip_seconds * settings.frame_rate)))
        for i, start in whole:
            ticks = _ticks(duration - start, settings.frame_rate)
            number = max(1, math.floor(ticks / ticks_per_clip + 0.5))
            edges = [n * ticks_per_clip for n in range(number)]
            if ticks - edges[-1] > most:
                edges.append((edges[-1] + ticks) // 2)
            edges.append(ticks)
            times = [round(start + edge / settings.frame_rate, 6) for edge in edges]
            pieces += [(i, begin, end) for begin, end in zip(times, times[1:], strict=False)]
    # A piece may equal a clip that was asked for by its times: that is one clip.
    of_span = {}
    for i, *span in sorted(pieces):
        of_span.setdefault(tuple(span), []).append(i)
    return [(tuple(indices), *span) for span, indices in sorted(of_span.items())], truncated


def _ticks(seconds, rate):
    """The number of frames in a span: to the nearest, at least one."""
    return max(1, math.floor(seconds * rate + 0.5))


def decode(path, pieces, settings, remarks=None):
    """Decodes clips, forward and once.

    Args:
      path: of the source.
      pieces: list of (indices, start, end), sorted by start.
      remarks: list, to which (Remark, detail, number) about the source are added when it is opened.
    Yields:
      (Clip, None) with jpegs and waveform, or (Clip, SourceError), in the order in which they are finished.
    """
    runs = []
    for piece in pieces:
        if piece[2] - piece[1] > settings.max_clip_seconds + 1e-6:  # to which times are rounded
            what = f"{piece[2] - piece[1]:.0f} s long, over {settings.max_clip_seconds:.0f} s"
            yield Clip(*piece, 0), SourceError(Reason.TOO_LARGE, what)
            continue
        if runs and piece[1] <= max(end for _, _, end in runs[-1]) + SEEK_GAP:
            runs[-1].append(piece)
        else:
            runs.append([piece])
    if not runs:
        return
    media = AvSource(path, settings)
    if remarks is not None:
        remarks += media.remarks
    fresh = True
    try:
        for run in runs:
            first = run[0][1]
            # A bad index may lead behind the clip; then farther back; then from the start.
            for target in (first - PREROLL, first - 30.0, 0.0):
                try:
                    if target > 0:
                        media.seek(target)
                    elif not fresh:
                        media.rewind()
                    fresh = False
                    yield from _Stretch(media, run, settings, must_precede=target > 0).clips()
                    break
                except LateSeek:
                    continue
    finally:
        media.close()


def _scan(path, settings):
    """(duration of the data, duration that the header states or None), in seconds, by reading packets only."""
    media = AvSource(path, settings)
    try:
        ends = {index: _StreamEnd(media, tick) for index, tick in media.ticks.items()}
        for packet in media.packets():
            end = ends[packet.stream.index]
            end.pass_by(packet)
            if end.last > settings.max_source_seconds:
                what = f"{end.last:.0f} s long or more, over {settings.max_source_seconds:.0f} s"
                raise SourceError(Reason.TOO_LARGE, what)
        end = max(end.seconds() for end in ends.values())
        if end <= 0:
            raise SourceError(Reason.NOT_A_VIDEO, "no picture and no sound with a time in it")
        return end, media.stated_duration()
    finally:
        media.close()


class _StreamEnd:
    """Where a stream ends: where its last picture or sound does, in the order in which they are presented.

    How long that is, its packet says, unless pictures are decoded in another order (B-frames): then containers state
    the time until the next one is decoded, which may be anything, and the last one is taken to last as long as the one
    before.
    """

    def __init__(self, media, tick):
        self._media, self._tick = media, tick
        self.last = 0.0  # time of the last one, seconds
        self._before, self._duration, self._is_reordered = 0.0, 0.0, False

    def pass_by(self, packet):
        time = self._media.time(packet, self._tick)
        if time is None:
            return
        if time < self.last:
            self._is_reordered = True
            self._before = max(self._before, time)
        else:
            self._before, self.last = self.last if time > self.last else self._before, time
            self._duration = (packet.duration or 0) * self._tick

    def seconds(self):
        # A single wrong time looks like another order, and is far from the one before.
        step = min(self.last - self._before, self._duration or 1.0) if self._is_reordered else self._duration
        return self.last + step


class _Picture:
    """A decoded picture; encoded once for each size however many frames show it."""

    def __init__(self, media, frame, time, duration):
        self.media, self.frame, self.time, self.end = media, frame, time, time + duration
        self._jpegs = {}

    def jpeg(self, clip):
        if not clip.jpegs:
            clip.size = self.media.picture_size(self.frame)
        if clip.size not in self._jpegs:
            self._jpegs[clip.size] = self.media.jpeg(self.frame, clip.size)
        return self._jpegs[clip.size]


class _Sound:
    """Decoded sound on the clock of the source, at the sample rate wanted, mono."""

    def __init__(self, rate):
        self.rate, self.resampler, self.position = rate, None, None
        self._form = self._base = self._taken = None

    def push(self, frame, time):
        """Yields (position in samples from the start, float32 [n]). Raises ValueError, or libav's errors."""
        if not _SOUND_RATES[0] <= frame.sample_rate <= _SOUND_RATES[1]:
            raise ValueError(f"sound of {frame.sample_rate} Hz")
        form = (frame.format.name, frame.layout.name, frame.sample_rate)
        expected = None if self._base is None else self._base + self._taken / frame.sample_rate
        if form != self._form or expected is None or time is not None and abs(time - expected) > _RESYNC:
            yield from self.flush()
            # maxval 1: channels are weighed so that the sum cannot exceed full scale; frames in float otherwise may.
            self.resampler = av.AudioResampler("flt", "mono", self.rate, options={"rematrix_maxval": 1.0})
            self._form, self._base, self._taken = form, time if time is not None else expected or 0.0, 0
            self.position = round(self._base * self.rate)
        self._taken += frame.samples
        try:
            frames = self.resampler.resample(frame)
        except (av.error.FFmpegError, ValueError):  # more channels than it knows
            self.resampler = self._form = None
            raise
        yield from self._out(frames)

    def flush(self):
        if self.resampler is not None:
            yield from self._out(self.resampler.resample(None))
            self.resampler = None

    def _out(self, frames):
        for frame in frames:
            if frame is not None:
                samples = np.frombuffer(frame.planes[0], np.float32, frame.samples)
                yield self.position, samples
                self.position += len(samples)


class _Stretch:
    """One stretch of the source: the clips of a run, filled as the container goes by from where it stands.

    Args:
      media: the open source.
      run: [(indices, start, end)] of the clips, sorted by start; seconds.
      must_precede: whether the first picture (sound, if there are none) must come before the first clip, after a seek.
    """

    def __init__(self, media, run, settings, must_precede):
        self.media, self.settings, self.must_precede = media, settings, must_precede
        self.rate = settings.frame_rate
        self.waiting = [Clip(of, start, end, _ticks(end - start, self.rate)) for of, start, end in run]
        video = media.video
        # Containers with a clock of milliseconds round; a clock that ticks once a picture (AVI) is exact.
        self.half_tick = min(media.ticks[video.index] / 2, 0.0005) if video is not None else 0.0
        self.usual = 1 / float(video.guessed_rate or 25) if video is not None else 0.0  # seconds that a picture lasts
        self.picture, self.sound = None, _Sound(settings.sample_rate)  # what is displayed now; the sound so far
        self.video_end = self.sound_time = -math.inf
        self.refused = False  # pictures that are too large, since the last good one
        self.kept_back = collections.deque(maxlen=_KEPT_BACK)  # times of pictures that the decoder has not given out
        self.planned = _StreamEnd(media, media.ticks[video.index]) if video is not None else None

    def clips(self):
        """Yields (clip, None) or (clip, SourceError), in the order of their starts. Raises LateSeek."""
        video_index = None if self.media.video is None else self.media.video.index
        for packet, unneeded in self.media.chosen(self._wanted):
            # Not packet.stream_index, which is 0 in the packets that flush.
            is_video, tick = packet.stream.index == video_index, self.media.ticks[packet.stream.index]
            try:
                frames = self.media.decode(packet, unneeded)
            except (av.error.FFmpegError, ValueError) as error:
                if isinstance(error, MemoryError):
                    raise
                self._note_failure(self.media.time(packet, tick), is_video)
                continue
            if is_video:
                self.planned.pass_by(packet)
            if unneeded:
                self.video_end = max(self.video_end, self.media.time(packet, tick) + (packet.duration or 0) * tick)
                for clip in self._within(self.media.time(packet, tick)):
                    clip.pictures += 1
            elif is_video and packet.pts is not None and not packet.is_discard:
                self.kept_back.append(self.media.time(packet, tick))
            for frame in frames:
                if is_video:
                    self._see(frame, self.media.time(frame, tick), min(frame.duration * tick, 1.0) or self.usual)
                else:
                    self._listen(frame, self.media.time(frame, tick))
            yield from self._complete()
            if not self.waiting:
                return
        yield from self._rest()

    def _wanted(self, begin, end):
        """Whether a frame of a clip shows what is displayed in that time; all is needed until there is a picture."""
        for clip in self.waiting:
            if clip.start >= end + 1e-6:
                break
            frame = max(0, math.ceil((begin - self.half_tick - clip.start) * self.rate - 1e-6))
            if frame < clip.num_frames and clip.start + frame / self.rate + self.half_tick < end + 1e-6:
                return True
        return self.picture is None

    def _within(self, time):
        """The clips in whose span a time lies; all of them if it is not known."""
        for clip in self.waiting:
            if time is None or clip.start <= time < clip.end:
                yield clip
            elif time < clip.start:
                break

    def _note_failure(self, time, is_video):
        self.refused = self.media.refused_pixels() or self.refused
        for clip in self._within(time):
            clip.failures += is_video
            clip.sound_failures += not is_video
            clip.refused |= is_video and self.refused

    def _see(self, frame, time, duration):
        """The next picture; what was displayed until its time is now known."""
        self.refused = False
        if time is None:
            time = self.picture.end if self.picture else 0.0
        new = _Picture(self.media, frame, max(time, self.picture.time) if self.picture else time, duration)
        if self.picture is None:
            if self.must_precede and new.time > self.waiting[0].start + self.half_tick:
                raise LateSeek
            self.picture = new  # also shown before its time
        self._show(new.time)
        self.picture, self.video_end = new, max(self.video_end, new.end)
        # Earlier ones that have not come are left out: the decoder gives them out in the order of their times.
        self.kept_back = collections.deque((late for late in self.kept_back if late > new.time), _KEPT_BACK)
        for clip in self.waiting:
            if clip.start - duration > new.time:
                break
            clip.pictures += new.time < clip.end

    def _show(self, upto):
        """Gives every clip the frames that are displayed before the time `upto`."""
        for clip in self.waiting:
            while len(clip.jpegs) < clip.num_frames:
                if clip.start + len(clip.jpegs) / self.rate + self.half_tick >= upto:
                    break
                clip.jpegs.append(self.picture.jpeg(clip) if clip.bytes <= self.settings.max_clip_bytes else b"")
                clip.bytes += len(clip.jpegs[-1])
            if clip.start > upto:
                break  # sorted by start

    def _listen(self, frame, time):
        """The next piece of sound."""
        alone = self.media.video is None and self.must_precede and self.sound.position is None
        if alone and (time or 0.0) > self.waiting[0].start:
            raise LateSeek
        try:
            for position, samples in self.sound.push(frame, time):
                self._hear(position, samples)
            for clip in self._within(time):
                clip.sounds += 1
        except (av.error.FFmpegError, ValueError) as error:
            if isinstance(error, MemoryError):
                raise
            for clip in self._within(time):
                clip.sound_failures += 1

    def _hear(self, position, samples):
        """Gives every clip its part of the samples that begin at `position`."""
        sample_rate = self.settings.sample_rate
        for clip in self.waiting:
            first = round(clip.start * sample_rate)
            length = round(clip.num_frames / self.rate * sample_rate)
            begin, end = max(position, first), min(position + len(samples), first + length)
            if begin < end:
                if clip.waveform is None:
                    clip.waveform = np.zeros(length, np.float32)
                clip.waveform[begin - first : end - first] = samples[begin - position : end - position]
            elif first > position + len(samples):
                break
        self.sound_time = (position + len(samples)) / sample_rate

    def _complete(self):
        """Yields the clips of which all has come."""
        # A stream that is so far behind the other has paused or ended; waiting for it would pile up clips.
        seen = self.picture.time if self.picture else -math.inf
        if self.picture is not None and seen < self.sound_time - MUX_SLACK and not self._awaits_pictures():
            self._show(self.sound_time - MUX_SLACK)
        while self.waiting:
            clip, end = self.waiting[0], self.waiting[0].start + self.waiting[0].num_frames / self.rate
            heard = self.media.audio is None or max(self.sound_time, seen - MUX_SLACK) >= end
            if not heard or self.media.video is not None and len(clip.jpegs) < clip.num_frames:
                return
            yield _finish(self.waiting.pop(0), self.media, self.settings)

    def _awaits_pictures(self):
        """Whether the decoder keeps back pictures that may still come, and the sound that waits is not too much."""
        sounds = (one.waveform.nbytes for one in self.waiting if one.waveform is not None)
        may_come = bool(self.kept_back) and self.sound_time - self.picture.time < LONGEST_WAIT
        return may_come and sum(sounds) <= self.settings.max_clip_bytes

    def _rest(self):
        """Yields the clips that the end of the source leaves unfinished, cut where it ends."""
        for position, samples in self.sound.flush():
            self._hear(position, samples)
        if self.picture is not None and self.picture.time >= self.planned.last:  # all else may state what it likes
            self.video_end = max(self.video_end, self.planned.seconds())
        end = max(self.video_end, self.sound_time)
        for clip in self.waiting:
            clip.num_frames = min(clip.num_frames, _ticks(end - clip.start, self.rate) if end > clip.start else 0)
        if self.picture is not None:
            self._show(math.inf)
        for clip in self.waiting:
            yield _finish(clip, self.media, self.settings)


def _finish(clip, media, settings):
    """(clip, None) or (clip, SourceError)."""
    if clip.num_frames <= 0:
        if media.broken:
            return clip, SourceError(Reason.DECODE_ERROR, "reading failed before it")
        if not clip.failures and not clip.sound_failures:
            return clip, SourceError(Reason.EMPTY_CLIP, "the source ends before it")
    size = clip.bytes + (0 if clip.waveform is None else clip.waveform.nbytes)
    if size > settings.max_clip_bytes:
        what = (
            f"{size >> 20} MiB of pictures and sound or more, over {settings.max_clip_bytes >> 20} MiB: cut it shorter"
        )
        return clip, SourceError(Reason.TOO_LARGE, what)
    if media.video is not None and (not clip.jpegs or clip.failures > clip.pictures):
        if clip.refused or media.refused_pixels():
            return clip, SourceError(Reason.TOO_LARGE, f"pictures of over {settings.max_pixels} pixels")
        what = f"{clip.pictures} pictures decoded, {clip.failures} packets failed ({media.video.name})"
        return clip, SourceError(Reason.DECODE_ERROR, what)
    finite = clip.waveform is None or np.isfinite(clip.waveform).all()
    clip.sound_failed = media.deaf or clip.sound_failures > clip.sounds or not finite
    if clip.sound_failed:
        clip.waveform = None
        if not clip.jpegs:
            what = f"{clip.sounds} frames of sound decoded, {clip.sound_failures} failed ({media.audio.name})"
            return clip, SourceError(Reason.DECODE_ERROR, what if finite else "the sound is not finite")
    if clip.waveform is None and not clip.pictures:
        # Held pictures only: a gap in the times, which one flipped bit can make hours long.
        return clip, SourceError(Reason.EMPTY_CLIP, "no picture and no sound that begins in the span")
    if clip.waveform is not None:
        samples = round(clip.num_frames / settings.frame_rate * settings.sample_rate)
        clip.waveform = clip.waveform[:samples]
        np.clip(clip.waveform, -1.0, 1.0, out=clip.waveform)
    clip.end = clip.start + clip.num_frames / settings.frame_rate
    return clip, None
