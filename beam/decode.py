"""One source -> the JPEG frames and the mono sound of its clips. Runs in the child process (decode_worker.py) only.

Time 0 is the start of the source, where a player starts: the earliest of its streams. Clip frame i is shown at time
start + i / frame_rate, and is the picture that a player displays then: the last one whose time is not later (up to half
a tick of the stream's clock, half a millisecond at most, since containers round). Before the first picture that is the
first picture, after the last one the last, up to the end of the longer of the two streams. The sound covers exactly the
span of the frames; where the source has none in it (it starts late, ends early, has a gap) there is digital silence.
"""

import dataclasses
import math

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter

from mmv_tf.beam.specs import Reason

# Containers, not playlists: `hls`, `concat` and the like open other files by name, whatever the protocol.
FORMATS = "mov,matroska,avi,flv,ogg,mpeg,mpegts,mpegvideo,asf,wav,mp3,flac,aac"

# Headers of these formats state a duration that can be believed; others estimate it from a bit rate.
_STATED_DURATION = frozenset({"mov", "mp4", "matroska", "webm", "avi", "flv"})

SEEK_GAP = 10.0  # seconds; a smaller gap between two clips is decoded through
PREROLL = 0.5  # seconds decoded before a clip: sound decoders need some packets to settle
MUX_SLACK = 10.0  # seconds that one stream may lie behind the other in the file
_RESYNC = 0.04  # seconds between the clock and the running count of samples from which on the clock is believed


class SourceError(Exception):
    """The source, or a clip of it, cannot be used; `reason` is a Reason."""

    def __init__(self, reason, detail):
        super().__init__(detail)
        self.reason = reason


class _LateSeek(Exception):
    """The first picture after a seek lies behind the clip."""


@dataclasses.dataclass
class Clip:
    """One clip while it is being decoded, and then what became of it."""

    index: int  # of the clip in the request
    start: float
    end: float
    num_frames: int  # ticks of the frame grid in the span
    jpegs: list[bytes] = dataclasses.field(default_factory=list)
    size: tuple[int, int] = (0, 0)  # height, width
    waveform: np.ndarray | None = None
    pictures: int = 0  # decoded within the span
    failures: int = 0  # packets of the video stream that failed, within the span

    def __post_init__(self):
        self.wanted_end = self.end  # `end` becomes that of what there is


def plan(path, clips, settings):
    """Cuts what is wanted whole into pieces, all other clips stay as they are.

    Args:
      path: of the source.
      clips: list of (start, end or None), seconds.
    Returns:
      (pieces, truncated): pieces is a list of (index in clips, start, end), sorted by start; truncated is None or the
      span (end of the data, stated end) that is missing. A source that is cut is read through once, without decoding,
      because headers lie. There are round(duration / clip_seconds) pieces, at least one, of clip_seconds each; the
      last one is between half as long and half as long again: nothing is dropped, no piece is tiny.
    """
    pieces = [(i, start, end) for i, (start, end) in enumerate(clips) if end is not None]
    truncated = None
    whole = [(i, start) for i, (start, end) in enumerate(clips) if end is None]
    if whole:
        duration, stated = _scan(path, settings)
        if stated and stated - duration > max(1.0, 0.02 * stated):
            truncated = (duration, stated)
        ticks_per_clip = max(1, round(settings.clip_seconds * settings.frame_rate))
        for i, start in whole:
            ticks = _ticks(duration - start, settings.frame_rate)
            number = max(1, math.floor(ticks / ticks_per_clip + 0.5))
            edges = [n * ticks_per_clip for n in range(number)] + [ticks]
            times = [round(start + edge / settings.frame_rate, 6) for edge in edges]
            pieces += [(i, begin, end) for begin, end in zip(times, times[1:], strict=False)]
    # A piece may equal a clip that was asked for by its times: that is one clip.
    unique = {(start, end): (i, start, end) for i, start, end in sorted(pieces, reverse=True)}
    return sorted(unique.values(), key=lambda piece: piece[1:]), truncated


def _ticks(seconds, rate):
    """The number of frames in a span: to the nearest, at least one."""
    return max(1, math.floor(seconds * rate + 0.5))


def decode(path, pieces, settings):
    """Decodes clips, forward and once.

    Args:
      path: of the source.
      pieces: list of (index, start, end), sorted by start.
    Yields:
      (Clip, None) with jpegs and waveform, or (Clip, SourceError), in the order in which they are finished.
    """
    media = None
    runs = []
    for piece in pieces:
        if piece[2] - piece[1] > settings.max_clip_seconds:
            what = f"{piece[2] - piece[1]:.0f} s long, over {settings.max_clip_seconds:.0f} s"
            yield Clip(*piece, 0), SourceError(Reason.TOO_LARGE, what)
            continue
        if runs and piece[1] <= max(end for _, _, end in runs[-1]) + SEEK_GAP:
            runs[-1].append(piece)
        else:
            runs.append([piece])
    try:
        for run in runs:
            first = run[0][1]
            # A bad index may lead behind the clip; then farther back; then from the start.
            for target in (first - PREROLL, first - 30.0, 0.0):
                if media is None or target <= 0:
                    media = _reopened(media, path, settings)
                if target > 0:
                    media.seek(target)
                try:
                    yield from _run(media, run, settings, must_precede=target > 0)
                    break
                except _LateSeek:
                    continue
    finally:
        if media is not None:
            media.container.close()


def _reopened(media, path, settings):
    if media is not None:
        media.container.close()
    return _Media(path, settings)


class _Media:
    """An opened source: its container, its first video stream that is not a cover picture, its first sound stream."""

    def __init__(self, path, settings):
        self.settings = settings
        try:
            # `file:` keeps any name from being taken as a URL. drefs would open other files.
            self.container = av.open(
                "file:" + path,
                options={"format_whitelist": FORMATS, "protocol_whitelist": "file", "enable_drefs": "0"}
                | {"max_pixels": str(settings.max_pixels)},
                metadata_errors="replace",
            )
        except av.error.FFmpegError as error:
            raise SourceError(Reason.NOT_A_VIDEO, f"cannot be opened: {error.strerror}") from None
        streams = self.container.streams
        attached = av.stream.Disposition.attached_pic
        self.video = next((s for s in streams.video if not s.disposition & attached and s.codec_context), None)
        self.audio = next((s for s in streams.audio if s.codec_context), None)
        if self.video is None and self.audio is None:
            self.container.close()
            raise SourceError(Reason.NOT_A_VIDEO, "neither pictures nor sound in it")
        if self.video is not None:
            context = self.video.codec_context
            context.thread_count = 1  # workers share the cores already
            self._check_pixels(context.width, context.height)
            context.options = {"max_pixels": str(settings.max_pixels)}
        # Arithmetic in floats: exact fractions took as long as decoding small pictures.
        self.ticks = {stream.index: float(stream.time_base) for stream in self.streams}
        starts = [s.start_time * s.time_base for s in self.streams if s.start_time is not None]
        self.offset = float(min(starts, default=0))
        self._scaler, self._converter = VideoReformatter(), VideoReformatter()  # keep their tables between frames
        self.size = None  # (height, width) of the frames, fixed by the first picture

    @property
    def streams(self):
        return [stream for stream in (self.video, self.audio) if stream is not None]

    def _check_pixels(self, width, height):
        if width * height > self.settings.max_pixels:
            raise SourceError(Reason.TOO_LARGE, f"pictures of {width}x{height}, over {self.settings.max_pixels} pixels")

    def seek(self, seconds):
        try:
            self.container.seek(int((seconds + self.offset) * av.time_base), backward=True)
        except av.error.FFmpegError:
            raise _LateSeek from None  # not seekable: from the start then

    def time(self, stamped, tick):
        """Seconds from the start of the source of a packet or frame, or None; tick is that of its stream in seconds."""
        stamp = stamped.dts if stamped.pts is None else stamped.pts
        return None if stamp is None else stamp * tick - self.offset

    def jpeg(self, frame):
        """The picture as a JPEG: square pixels, upright, short side at most short_side, never enlarged."""
        self._check_pixels(frame.width, frame.height)
        rotation = frame.rotation
        turned = rotation % 180 == 90
        if self.size is None:
            aspect = self.video.sample_aspect_ratio
            aspect = float(aspect) if aspect and 0.2 < aspect < 5 else 1.0
            height, width = frame.height, frame.width * aspect
            scale = min(1.0, self.settings.short_side / min(height, width))
            size = max(1, round(height * scale)), max(1, round(width * scale))
            self.size = size[::-1] if turned else size
        height, width = self.size[::-1] if turned else self.size
        # Scaling planes and then converting takes a third of the time of doing both at once; a JPEG halves the chroma
        # anyway. AREA is the filter for shrinking.
        if (frame.height, frame.width) != (height, width):
            frame = self._scaler.reformat(frame, width, height, "yuv420p", interpolation="AREA", threads=1)
        image = self._converter.reformat(frame, format="bgr24", threads=1).to_ndarray()
        if rotation:
            image = np.ascontiguousarray(np.rot90(image, round(rotation / 90)))
        done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, self.settings.jpeg_quality])
        if not done:
            raise SourceError(Reason.DECODE_ERROR, "a picture could not be written as JPEG")
        return data.tobytes()


def _scan(path, settings):
    """(duration of the data, duration that the header states or None), in seconds, by reading packets only."""
    media = _Media(path, settings)
    try:
        end = 0.0
        packets = media.container.demux(*media.streams)
        while packet := _next_packet(packets)[0]:
            tick = media.ticks[packet.stream.index]
            time = media.time(packet, tick)
            if time is not None:
                end = max(end, time + (packet.duration or 0) * tick)
        if end > settings.max_source_seconds:
            raise SourceError(Reason.TOO_LARGE, f"{end:.0f} s long, over {settings.max_source_seconds:.0f} s")
        if end <= 0:
            raise SourceError(Reason.NOT_A_VIDEO, "no picture and no sound with a time in it")
        stated = media.container.duration
        believed = _STATED_DURATION & set(media.container.format.name.split(","))
        return end, stated / av.time_base if stated and believed else None
    finally:
        media.container.close()


def _next_packet(packets):
    """(packet or None at the end, whether reading failed): a file that breaks off ends there."""
    try:
        return next(packets, None), False
    except av.error.FFmpegError:
        return None, True
    except IndexError:  # PyAV, at the end of a file in which further streams turned up on the way
        return None, False


class _Picture:
    """A decoded picture; encoded once however many frames show it."""

    def __init__(self, media, frame, time, duration):
        self.media, self.frame, self.time, self.end = media, frame, time, time + duration
        self._jpeg = None

    def jpeg(self):
        if self._jpeg is None:
            self._jpeg, self.frame = self.media.jpeg(self.frame), None
        return self._jpeg


class _Sound:
    """Decoded sound on the clock of the source, at the sample rate wanted, mono."""

    def __init__(self, rate):
        self.rate, self.resampler, self.position = rate, None, None
        self._form = self._base = self._taken = None

    def push(self, frame, time):
        """Yields (position in samples from the start of the source, float32 [n])."""
        form = (frame.format.name, frame.layout.name, frame.sample_rate)
        expected = None if self._base is None else self._base + self._taken / frame.sample_rate
        if form != self._form or expected is None or time is not None and abs(time - expected) > _RESYNC:
            yield from self.flush()
            # maxval 1: channels are weighed so that the sum cannot exceed full scale; frames in float otherwise may.
            self.resampler = av.AudioResampler("flt", "mono", self.rate, options={"rematrix_maxval": 1.0})
            self._form, self._base, self._taken = form, time if time is not None else expected or 0.0, 0
            self.position = round(self._base * self.rate)
        self._taken += frame.samples
        yield from self._out(self.resampler.resample(frame))

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


def _run(media, run, settings, must_precede):
    """Decodes one stretch of the source, from where the container stands to the end of the last clip of the run."""
    rate, sample_rate = settings.frame_rate, settings.sample_rate
    waiting = [Clip(i, start, end, _ticks(end - start, rate)) for i, start, end in run]
    video, audio = media.video, media.audio
    # Containers with a clock of milliseconds round; a clock that ticks once a picture (AVI) is exact.
    half_tick = min(media.ticks[video.index] / 2, 0.0005) if video is not None else 0.0
    video_index = None if video is None else video.index
    usual = 1 / float(video.guessed_rate or 25) if video is not None else 0.0  # seconds that a picture lasts
    picture, sound, sound_time, failed_reading = None, _Sound(sample_rate), -math.inf, False

    def show(upto):
        """Gives every clip the frames that are displayed before the time `upto`."""
        for clip in waiting:
            while len(clip.jpegs) < clip.num_frames:
                if clip.start + len(clip.jpegs) / rate + half_tick >= upto:
                    break
                clip.jpegs.append(picture.jpeg())
            if clip.start > upto:
                break  # sorted by start

    def hear(position, samples):
        for clip in waiting:
            first = round(clip.start * sample_rate)
            length = round(clip.num_frames / rate * sample_rate)
            begin, end = max(position, first), min(position + len(samples), first + length)
            if begin < end:
                if clip.waveform is None:
                    clip.waveform = np.zeros(length, np.float32)
                clip.waveform[begin - first : end - first] = samples[begin - position : end - position]
            elif first > position + len(samples):
                break

    packets = media.container.demux(*media.streams)
    while waiting:
        packet, failed = _next_packet(packets)
        failed_reading |= failed
        if packet is None:
            break
        # Not packet.stream_index, which is 0 in the packets that flush.
        is_video, tick = packet.stream.index == video_index, media.ticks[packet.stream.index]
        try:
            frames = packet.decode()
        except (av.error.FFmpegError, ValueError) as error:
            if isinstance(error, MemoryError):
                raise
            time = media.time(packet, tick)
            for clip in waiting:
                clip.failures += is_video and (time is None or clip.start <= time < clip.end)
            continue
        for frame in frames:
            time = media.time(frame, tick)
            if is_video:
                if time is None:
                    time = picture.end if picture else 0.0
                duration = min(frame.duration * tick, 1.0) or usual
                new = _Picture(media, frame, max(time, picture.time) if picture else time, duration)
                if picture is None:
                    if must_precede and new.time > waiting[0].start + half_tick:
                        raise _LateSeek
                    picture = new  # also shown before its time
                show(new.time)
                picture = new
                for clip in waiting:
                    clip.pictures += clip.start - duration <= new.time < clip.end
            else:
                if video is None and must_precede and sound.position is None and (time or 0.0) > waiting[0].start:
                    raise _LateSeek
                for position, samples in sound.push(frame, time):
                    hear(position, samples)
                    sound_time = (position + len(samples)) / sample_rate
        # A stream that is so far behind the other has paused or ended; waiting for it would pile up clips.
        seen = picture.time if picture else -math.inf
        if picture is not None and seen < sound_time - MUX_SLACK:
            show(sound_time - MUX_SLACK)
        while waiting:
            clip, end = waiting[0], waiting[0].start + waiting[0].num_frames / rate
            heard = audio is None or max(sound_time, seen - MUX_SLACK) >= end
            if not heard or video is not None and len(clip.jpegs) < clip.num_frames:
                break
            yield _finish(waiting.pop(0), media, settings)
    if waiting:
        for position, samples in sound.flush():
            hear(position, samples)
            sound_time = (position + len(samples)) / sample_rate
        end = max(picture.end if picture else -math.inf, sound_time)
        for clip in waiting:
            clip.num_frames = min(clip.num_frames, _ticks(end - clip.start, rate) if end > clip.start else 0)
        if picture is not None:
            show(math.inf)
        for clip in waiting:
            yield _finish(clip, media, settings, failed_reading)


def _finish(clip, media, settings, failed_reading=False):
    """(clip, None) or (clip, SourceError)."""
    clip.size = media.size or (0, 0)
    if clip.num_frames <= 0:
        if failed_reading:
            return clip, SourceError(Reason.DECODE_ERROR, "reading failed before it")
        if not clip.failures:
            return clip, SourceError(Reason.EMPTY_CLIP, "the source ends before it")
    if media.video is not None and (not clip.jpegs or clip.failures > clip.pictures):
        what = f"{clip.pictures} pictures decoded, {clip.failures} packets failed ({media.video.name})"
        return clip, SourceError(Reason.DECODE_ERROR, what)
    if clip.waveform is None and not clip.pictures:
        # Held pictures only: a gap in the times, which one flipped bit can make hours long.
        return clip, SourceError(Reason.EMPTY_CLIP, "no picture and no sound that begins in the span")
    if clip.waveform is not None:
        samples = round(clip.num_frames / settings.frame_rate * settings.sample_rate)
        clip.waveform = clip.waveform[:samples]
        if not np.isfinite(clip.waveform).all():
            return clip, SourceError(Reason.DECODE_ERROR, "the sound is not finite")
        np.clip(clip.waveform, -1.0, 1.0, out=clip.waveform)
    clip.end = clip.start + clip.num_frames / settings.frame_rate
    return clip, None
