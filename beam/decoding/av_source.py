"""An opened source: packets with times from its start, and pictures as JPEGs. Used by clips.py only."""

import collections
import logging
import math
import os
import stat
import struct

import av
import cv2
import numpy as np
from av.sidedata.sidedata import Type as SideData
from av.video.reformatter import VideoReformatter

from mmv_tf.records.card import Reason, Remark

# Containers, not playlists: `hls`, `concat` and the like open other files by name, whatever the protocol.
FORMATS = "mov,matroska,avi,flv,ogg,mpeg,mpegts,mpegvideo,asf,wav,mp3,flac,aac,aiff,amr,au,caf,dv,mxf,w64"

# Headers of these formats state a duration that can be believed; others estimate it from a bit rate.
_STATED_DURATION = frozenset({"mov", "mp4", "matroska", "webm", "avi", "flv"})

# Of a stream in one of them there is often a single picture: a cover or a thumbnail that is not marked as one.
_PICTURE_CODECS = frozenset({"mjpeg", "png", "bmp", "gif", "tiff", "webp", "ljpeg"})

# Broadcast formats, in which the clock may jump (a recording that was joined): the jumps are taken out, as players do.
_JUMPING_CLOCK = frozenset({"mpeg", "mpegts"})
_MOST_BACK, _MOST_AHEAD = 0.5, 10.0  # seconds; what a packet may differ from its expected time, and is no jump

# Decoders that leave out a picture which no other is predicted from, when told to.
_LEAVES_OUT = frozenset({"h264", "hevc", "mpeg4", "mpeg2video", "mpeg1video"})
_REORDERED = 16  # pictures that one can stand before its turn, in any of these formats
_QUEUE = 256  # packets looked ahead at most, also where there is only sound for a long time
_KEYFRAMES = 30.0  # seconds between two of them, seldom more


_COVER = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails | av.stream.Disposition.still_image
_COMMENTARY = (
    av.stream.Disposition.comment
    | av.stream.Disposition.visual_impaired
    | av.stream.Disposition.hearing_impaired
    | av.stream.Disposition.clean_effects
    | av.stream.Disposition.karaoke
)


class SourceError(Exception):
    """The source, or a clip of it, cannot be used; `reason` is a Reason."""

    def __init__(self, reason, detail):
        super().__init__(detail)
        self.reason = reason


class LateSeek(Exception):
    """The source cannot be read from the time asked for; farther back it may."""


class _PixelWatch(logging.Handler):
    """Sees that libav refused a picture for its size: the only sign of it is a line of the log."""

    refused = False

    def emit(self, record):
        message = record.getMessage()
        self.refused |= "exceeds specified max pixel count" in message or "exceeds limit" in message  # AV1


class AvSource:
    """A source: its container, the video stream and the sound stream that a player shows.

    That is, of several: no cover and no still if there is anything else, the one that is marked as default, no
    commentary, the largest, the first.

    Args:
      path: of a regular file.
      settings: a specs.Settings.
    Raises:
      SourceError: the source cannot be used.
    """

    def __init__(self, path, settings):
        self._path, self.settings = path, settings
        self._watch = _PixelWatch()
        logger = logging.getLogger("libav")
        logger.handlers, logger.propagate = [self._watch], False
        av.logging.set_level(av.logging.ERROR)
        av.logging.set_skip_repeated(False)
        self._scaler, self._converter = VideoReformatter(), VideoReformatter()  # keep their tables between frames
        self._fields = None  # ((size, format) that it is for, filter graph)
        self._open()

    def _open(self):
        try:
            is_file = stat.S_ISREG(os.stat(self._path).st_mode)
        except OSError as error:
            raise SourceError(Reason.MISSING_FILE, error.strerror) from None
        if not is_file:
            raise SourceError(Reason.MISSING_FILE, "not a regular file")
        most_pixels = {"max_pixels": str(self.settings.max_pixels)}
        try:
            # `file:` keeps any name from being taken as a URL. drefs would open other files.
            self.container = av.open(
                "file:" + self._path,
                options={"format_whitelist": FORMATS, "protocol_whitelist": "file", "enable_drefs": "0"} | most_pixels,
                metadata_errors="replace",
            )
        except (av.error.FFmpegError, UnicodeError) as error:
            if isinstance(error, MemoryError):
                raise
            why = getattr(error, "strerror", None) or error  # libav's own text would hold the path
            raise SourceError(Reason.NOT_A_VIDEO, f"cannot be opened: {why}"[:200]) from None
        streams, self.remarks = self.container.streams, []
        self.video = self._chosen(streams.video)
        self.audio = self._chosen(streams.audio)
        if streams.subtitles:
            names = ", ".join(f"#{stream.index} {stream.name}" for stream in streams.subtitles)
            self.remarks.append((Remark.SUBTITLES_IGNORED, names[:200], len(streams.subtitles)))
        self.deaf = self.audio is None and bool(streams.audio)  # there is sound that we have no decoder for
        if self.video is None and self.audio is None:
            self.close()
            raise SourceError(Reason.NOT_A_VIDEO, "neither pictures nor sound in it that can be decoded")
        if self.video is not None:
            context = self.video.codec_context
            context.thread_count = 1  # workers share the cores already
            if context.width * context.height > self.settings.max_pixels:
                self.close()
                raise SourceError(Reason.TOO_LARGE, self._too_large(context.width, context.height))
            context.options = most_pixels
        # Arithmetic in floats: exact fractions took as long as decoding small pictures.
        self.ticks = {stream.index: float(stream.time_base) for stream in self.streams}
        starts = [s.start_time * s.time_base for s in self.streams if s.start_time is not None]
        self.offset = float(min(starts, default=0))
        self._jumps = bool(_JUMPING_CLOCK & self._formats())
        self._shift = dict.fromkeys(self.ticks, 0.0)  # seconds added to the clock of a stream
        self._expected = {}  # {stream index: decoding time of its next packet, seconds}
        self._read_from, self._position = -math.inf, -math.inf  # seconds
        self.broken = False  # reading failed before the end

    def _chosen(self, streams):
        """The stream that a player shows of those of one type; None where none can be decoded."""
        candidates = [s for s in streams if s.codec_context and not s.disposition & _COVER]
        if not candidates:
            return None
        rank = _rank_of_picture if candidates[0].type == "video" else self._rank_of_sound
        taken = min(candidates, key=rank)
        if len(candidates) > 1:
            what = "video" if taken.type == "video" else "sound"
            names = ", ".join(f"#{stream.index} {stream.name}" for stream in candidates)
            told = f"{len(candidates)} {what} streams ({names[:150]}): #{taken.index} is taken"
            self.remarks.append((Remark.STREAM_CHOSEN, told, 1))
        return taken

    def _rank_of_sound(self, stream):
        # libav's own choice is of the programme of the pictures, and has the most channels.
        best = self.container.streams.best("audio", related=self.video)
        is_default = bool(stream.disposition & av.stream.Disposition.default)
        is_extra = bool(stream.disposition & _COMMENTARY)
        return not is_default, is_extra, best is None or stream.index != best.index, stream.index

    def close(self):
        self.container.close()

    def rewind(self):
        """Back to the start, exactly: no seek is trusted with it."""
        self.close()
        self._open()

    @property
    def streams(self):
        return [stream for stream in (self.video, self.audio) if stream is not None]

    def _formats(self):
        return set(self.container.format.name.split(","))

    def stated_duration(self):
        """Seconds, from the header; None where it says nothing that can be believed."""
        stated = self.container.duration
        if not stated or not _STATED_DURATION & self._formats():
            return None
        # Matroska counts from 0, wherever the first packet is; some who write it count from there.
        before = max(0.0, self.offset) if {"matroska", "webm"} & self._formats() else 0.0
        return max(0.0, stated / av.time_base - before)

    def seek(self, seconds):
        """Goes to a key frame before the time. Raises LateSeek when the source cannot be read from there."""
        if self._jumps:  # the clock of the file is not that of the source: read up to there, without decoding
            if self._position > seconds - _KEYFRAMES:
                self.rewind()
            self._read_from = seconds - _KEYFRAMES
            return
        try:
            self.container.seek(int((seconds + self.offset) * av.time_base), backward=True)
        except av.error.FFmpegError:
            raise LateSeek from None  # not seekable: from the start then

    def time(self, stamped, tick):
        """Seconds from the start of the source of a packet or frame, or None; tick is that of its stream in seconds."""
        stamp = stamped.dts if stamped.pts is None else stamped.pts
        return None if stamp is None else stamp * tick - self.offset

    def packets(self):
        """Yields the packets of both streams, at the end those that flush; a file that breaks off ends there."""
        packets = self.container.demux(*self.streams)
        while True:
            try:
                packet = next(packets, None)
            except av.error.FFmpegError as error:
                if isinstance(error, MemoryError):
                    raise
                self.broken = True
                return
            except IndexError:  # PyAV, at the end of a file in which further streams turned up on the way
                return
            if packet is None:
                return
            if self._jumps and packet.dts is not None:
                self._mend(packet)
                self._position = packet.dts * self.ticks[packet.stream.index] - self.offset
                if self._position < self._read_from:
                    continue
            yield packet

    def _mend(self, packet):
        """Takes a jump of the clock out of the times of a packet. A stream follows the other one's jump, if it fits."""
        index = packet.stream.index
        tick = self.ticks[index]
        stamp = packet.dts * tick
        expected = self._expected.get(index)
        if expected is not None and not -_MOST_BACK < stamp + self._shift[index] - expected < _MOST_AHEAD:
            others = [shift for shift in self._shift.values() if abs(stamp + shift - expected) < 1.0]
            self._shift[index] = others[0] if others else expected - stamp
        shift = round(self._shift[index] / tick)
        packet.dts += shift
        if packet.pts is not None:
            packet.pts += shift
        self._expected[index] = (packet.dts + (packet.duration or 0)) * tick

    def chosen(self, wanted):
        """Like packets(), as pairs (packet, whether the decoder may leave its picture out).

        Args:
          wanted: function of (begin, end), seconds: whether a picture that is displayed in that time is needed.
        """
        if self.video is None or self.video.codec_context.name not in _LEAVES_OUT:
            yield from ((packet, False) for packet in self.packets())
            return
        index, tick = self.video.index, self.ticks[self.video.index]
        queue, ahead = collections.deque(), 0
        times = collections.deque(maxlen=2 * _REORDERED + 1)  # of the pictures around the one that is decided on

        def decided(packet):
            # Without the time of one, those around it are guessed from what is decoded.
            if packet.stream.index != index or None in times or packet.is_discard:
                return packet, False
            begin = packet.pts * tick - self.offset
            # A picture that is not among the known ones only makes the time longer, and the picture more needed.
            return packet, not wanted(begin, min((time for time in times if time > begin), default=math.inf))

        for packet in self.packets():
            queue.append(packet)
            if packet.stream.index == index:
                ahead += 1
                if not packet.is_discard:
                    times.append(None if packet.pts is None else packet.pts * tick - self.offset)
            while ahead > _REORDERED or len(queue) > _QUEUE:
                ahead -= queue[0].stream.index == index
                yield decided(queue.popleft())
        while queue:
            yield decided(queue.popleft())

    def decode(self, packet, leave_out=False):
        """The frames of a packet. Raises ValueError, a class that libav's errors are of, or one of them."""
        if self.video is not None and packet.stream.index == self.video.index:
            context = self.video.codec_context
            wanted = "NONREF" if leave_out else "DEFAULT"
            if context.skip_frame != wanted:
                context.skip_frame = wanted
        return packet.decode()

    def refused_pixels(self):
        """Whether a picture over the limit was met since the last call."""
        refused, self._watch.refused = self._watch.refused, False
        return refused

    def _too_large(self, width, height):
        return f"pictures of {width}x{height}, over {self.settings.max_pixels} pixels"

    def picture_size(self, frame):
        """(height, width) of its JPEG: square pixels, upright, short side at most short_side, never enlarged."""
        aspect = self.video.sample_aspect_ratio
        aspect = float(aspect) if aspect and 0.2 < aspect < 5 else 1.0
        height, width = frame.height, frame.width * aspect
        scale = min(1.0, self.settings.short_side / min(height, width))
        if too_long := self.settings.too_long(height * scale, width * scale):
            raise SourceError(Reason.TOO_LARGE, too_long)
        size = max(1, round(height * scale)), max(1, round(width * scale))
        return size[::-1] if _orientation(frame)[0] else size

    def jpeg(self, frame, size):
        """The picture as a JPEG of (height, width), upright; of an interlaced one, its first field."""
        if frame.width * frame.height > self.settings.max_pixels:
            raise SourceError(Reason.TOO_LARGE, self._too_large(frame.width, frame.height))
        turned, lines, columns = _orientation(frame)
        height, width = size[::-1] if turned else size
        if frame.interlaced_frame:
            frame = self._first_field(frame)
        # Scaling planes and then converting takes a third of the time of doing both at once; a JPEG halves the chroma
        # anyway. AREA is the filter for shrinking.
        if (frame.height, frame.width) != (height, width):
            frame = self._scaler.reformat(frame, width, height, "yuv420p", interpolation="AREA", threads=1)
        image = self._converter.reformat(frame, format="bgr24", threads=1).to_ndarray()
        if turned or lines < 0 or columns < 0:
            image = np.ascontiguousarray((image.swapaxes(0, 1) if turned else image)[::lines, ::columns])
        done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, self.settings.jpeg_quality])
        if not done:
            raise SourceError(Reason.DECODE_ERROR, "a picture could not be written as JPEG")
        return data.tobytes()

    def _first_field(self, frame):
        """The lines that are shown first of an interlaced picture: no combs, and its time is exactly theirs."""
        form = (frame.width, frame.height, frame.format.name)
        if self._fields is None or self._fields[0] != form:
            graph = av.filter.Graph()
            bottom_first = self.video.codec_context.field_order in (3, 4)
            graph.link_nodes(
                graph.add_buffer(
                    width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base
                ),
                graph.add("field", "bottom" if bottom_first else "top"),
                graph.add("buffersink"),
            ).configure()
            self._fields = form, graph
        self._fields[1].vpush(frame)
        return self._fields[1].vpull()


def _rank_of_picture(stream):
    context = stream.codec_context
    is_still = context.name in _PICTURE_CODECS or stream.frames == 1
    is_default = bool(stream.disposition & av.stream.Disposition.default)
    return is_still, not is_default, -context.width * context.height, stream.index


def _orientation(frame):
    """(whether lines and columns change places, step of the lines, step of the columns), from the display matrix."""
    if SideData.DISPLAYMATRIX not in frame.side_data:
        return False, 1, 1
    # x' = a x + c y, y' = b x + d y; in steps of a quarter turn, with or without a flip.
    a, b, _, c, d = struct.unpack("=5i", bytes(frame.side_data[SideData.DISPLAYMATRIX])[:20])
    turned = abs(b) + abs(c) > abs(a) + abs(d)
    return turned, -1 if (b if turned else d) < 0 else 1, -1 if (c if turned else a) < 0 else 1
