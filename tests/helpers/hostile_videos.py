"""Hostile files: small valid videos in every container, mutations of them, and bombs made by hand."""

import struct

import av
import numpy as np

from helpers.videos import write_video

# One file of each container that is allowed, with several codecs among them.
VALID = {
    "h264.mp4": {},
    "fast.mp4": {"options": {"movflags": "faststart"}},
    "parts.mp4": {"options": {"movflags": "frag_keyframe+empty_moov"}},
    "pcm.mov": {"codec": "mpeg4", "sound_codec": "pcm_s16le"},
    "h263.3gp": {"codec": "h263", "size": (176, 144), "fps": 25},
    "hevc.mkv": {"codec": "libx265", "sound_codec": "ac3", "size": (64, 64)},
    "flac.mkv": {"codec": "mpeg4", "sound_codec": "flac", "layout": "stereo"},
    "vp8.webm": {"codec": "libvpx", "sound_codec": "libopus"},
    "vp9.webm": {"codec": "libvpx-vp9", "sound_codec": "libopus"},
    "xvid.avi": {"codec": "mpeg4", "sound_codec": "libmp3lame"},
    "pictures.avi": {"codec": "mjpeg", "sound_codec": "pcm_s16le", "pix_fmt": "yuvj420p"},
    "flash.flv": {"codec": "flv", "sound_codec": "libmp3lame", "sound_rate": 44100},
    "vp8.ogv": {"codec": "libvpx", "sound_codec": "flac"},
    "disc.mpg": {"codec": "mpeg2video", "sound_codec": "mp2"},
    "broadcast.ts": {"codec": "mpeg2video", "sound_codec": "mp2"},
    "phone.ts": {},
    "stream.m2v": {"codec": "mpeg2video", "sound_codec": None},
    "media.wmv": {"codec": "wmv2", "sound_codec": "libmp3lame"},
    "speech.wav": {"codec": None, "sound_codec": "pcm_s16le"},
    "song.mp3": {"codec": None, "sound_codec": "libmp3lame"},
    "song.flac": {"codec": None, "sound_codec": "flac"},
    "song.aac": {"codec": None},
    "song.ogg": {"codec": None, "sound_codec": "libopus"},
}


def write_valid(folder, names=None):
    """Writes the valid files, a second or so each; returns their paths in a fixed order."""
    return [
        write_video(folder / name, **({"seconds": 1.2, "size": (48, 36), "gop": 8} | VALID[name]))
        for name in names or VALID
    ]


def mutate(data, random):
    """(kind of mutation, damaged bytes) of the bytes of a file; random is a numpy Generator."""
    kind = random.choice(sorted(_MUTATIONS))
    return kind, bytes(_MUTATIONS[kind](bytearray(data), random))


def _flip_bits(data, random):
    for position in random.integers(0, len(data), random.choice([1, 3, 30, 300])):
        data[position] ^= 1 << random.integers(8)
    return data


def _cut(data, random):
    return data[: random.integers(len(data))]


def _cut_the_start(data, random):
    return data[random.integers(len(data)) :]


def _nothing(data, random):
    return b""


def _zeros(data, random):
    begin = random.integers(len(data))
    length = min(random.choice([16, 512, 8192]), len(data) - begin)
    data[begin : begin + length] = bytes(length)
    return data


def _noise_in_the_header(data, random):
    count = min(random.choice([8, 64, 512]), len(data))
    data[:count] = random.bytes(count)
    return data


def _noise(data, random):
    begin = random.integers(len(data))
    length = min(random.choice([4, 64, 2048]), len(data) - begin)
    data[begin : begin + length] = random.bytes(length)
    return data


def _repeated(data, random):
    begin, end = sorted(random.integers(0, len(data), 2))
    return data[:end] + data[begin:end] * random.integers(1, 20) + data[end:]


def _left_out(data, random):
    begin, end = sorted(random.integers(0, len(data), 2))
    return data[:begin] + data[end:]


def _twice(data, random):
    return data + data


def _largest_numbers(data, random):
    for _ in range(random.integers(1, 6)):
        begin = random.integers(max(1, len(data) - 4))
        data[begin : begin + 4] = random.choice([b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x00\x00\x00\x00"])
    return data


def _atoms(data):
    """(offset, size, name) of the top-level boxes of an mp4; [] of anything else."""
    found, at = [], 0
    while at + 8 <= len(data):
        size, name = struct.unpack(">I4s", data[at : at + 8])
        if size < 8 or at + size > len(data) or not name.isalnum():
            return []
        found.append((at, size, name))
        at += size
    return found


def _boxes_out_of_order(data, random):
    atoms = _atoms(data)
    if len(atoms) < 2:
        return _repeated(data, random)
    pieces = [data[at : at + size] for at, size, _ in atoms]
    random.shuffle(pieces)
    return b"".join(pieces)


def _zero_index(data, random):
    for at, size, name in _atoms(data):
        if name == b"moov":
            begin = at + 8 + random.integers(size - 8)
            data[begin : at + size] = bytes(at + size - begin)
            return data
    return _zeros(data, random)


_MUTATIONS = {
    function.__name__.strip("_"): function
    for function in (_flip_bits, _cut, _cut_the_start, _nothing, _zeros, _noise_in_the_header, _noise, _repeated)
    + (_left_out, _twice, _largest_numbers, _boxes_out_of_order, _zero_index)
}


def write_bombs(folder, good):
    """Writes the bombs: {name: reasons that are right, () where it may also be accepted}.

    Args:
      folder: for the files.
      good: path of a valid video, which playlists name, and which must not be read through them.
    """
    texts = {
        "concat.mp4": f"ffconcat version 1.0\nfile '{good}'\n",
        "relative.mp4": f"ffconcat version 1.0\nfile {good.name}\n",
        "hls.mp4": f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{good}\n#EXT-X-ENDLIST\n",
        "asx.mp4": f'<asx version="3.0"><entry><ref href="file://{good}"/></entry></asx>',
        "pls.mp4": f"[playlist]\nFile1={good}\nNumberOfEntries=1\n",
        "edl.mp4": f"# mpv EDL v0\n{good},0,5\n",
        "sdp.mp4": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
        "dash.mp4": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period/></MPD>',
        "smil.mp4": f'<smil><body><video src="{good}"/></body></smil>',
        "titles.srt.mp4": "1\n00:00:00,000 --> 99:59:59,999\nx\n\n" * 2000,
    }
    expected = {}
    for name, text in texts.items():
        (folder / name).write_text(text)
        expected[name] = ("not_a_video",)
    for name, (reasons, write) in _BOMBS.items():
        write(folder / name)
        expected[name] = reasons
    return expected


def _one_picture(path, codec, pix_fmt, size, **options):
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=1, options=options)
        (stream.width, stream.height), stream.pix_fmt = size, pix_fmt
        frame = av.VideoFrame(*size, pix_fmt)
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        frame.pts = 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _png(path):
    _one_picture(path, "png", "monob", (16000, 16000))


def _large_header(path):
    """A small video whose header says 16,000 x 16,000."""
    write_video(path, seconds=1, size=(64, 48), codec="mpeg4", sound_codec=None)
    data = bytearray(path.read_bytes())
    at = data.index(b"mp4v") + 28
    assert struct.unpack(">HH", data[at : at + 4]) == (64, 48)
    data[at : at + 4] = struct.pack(">HH", 16000, 16000)
    path.write_bytes(data)


def _gap(path):
    write_video(path, seconds=1, times=[0.0, 0.04, 90000.0], sound_codec=None, codec="mpeg4")


def _wave(path, rate, channels, seconds):
    body = b"\x00\x10" * (channels * round(rate * seconds))
    form = struct.pack("<HHIIHH", 1, channels, rate, rate * channels * 2, channels * 2, 16)
    head = b"RIFF" + struct.pack("<I", 36 + len(body)) + b"WAVEfmt " + struct.pack("<I", 16) + form
    path.write_bytes(head + b"data" + struct.pack("<I", len(body)) + body)


def _streams(path):
    with av.open(str(path), "w") as container:
        for _ in range(900):
            track = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
        frame.sample_rate, frame.pts = 8000, 0
        container.mux(track.encode(frame))


def _packets(path, number=16_000):
    """Sound in packets of one sample."""
    with av.open(str(path), "w") as container:
        track = container.add_stream("pcm_s16le", rate=48000, layout="mono")
        container.start_encoding()
        for n in range(number):
            packet = av.Packet(b"\0\1")
            packet.stream, packet.pts, packet.dts, packet.duration = track, n, n, 1
            packet.time_base = track.time_base
            container.mux(packet)


def _metadata(path):
    with av.open(str(path), "w") as container:
        container.metadata.update({f"key{n}": "x" * 100_000 for n in range(100)})
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for n in range(25):
            frame = av.VideoFrame(64, 48, "yuv420p")
            frame.pts = n
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _many_times(path):
    """The same frames of sound over and over, each file whole."""
    write_video(path, seconds=1, codec=None, sound_codec="libmp3lame", sound_rate=8000)
    data = path.read_bytes()
    path.write_bytes(data + data * 40)


def _grows(path):
    """Pictures that get larger on the way, up to more than is allowed."""
    parts = []
    for size in ((64, 48), (9600, 9600)):
        part = path.with_name("part.m2v")
        write_video(part, seconds=0.4, size=(64, 48), codec="mpeg2video", sound_codec=None)
        data = bytearray(part.read_bytes())
        at = 0
        while (at := data.find(b"\x00\x00\x01\xb3", at)) >= 0:
            # 12 bits each; the upper two bits of each lie in the extension that follows.
            data[at + 4 : at + 7] = ((size[0] & 4095) << 12 | size[1] & 4095).to_bytes(3, "big")
            at += 4
        parts.append(bytes(data))
        part.unlink()
    path.write_bytes(b"".join(parts))


_BOMBS = {
    "png.mov": (("too_large",), _png),
    "png.avi": (("too_large",), _png),
    "header.mov": ((), _large_header),
    "gap.mkv": (("too_large",), _gap),
    "channels.wav": (("decode_error",), lambda path: _wave(path, 768_000, 64, 0.2)),
    "fast.wav": ((), lambda path: _wave(path, 768_000, 2, 0.5)),
    "rate.wav": (("decode_error",), lambda path: _wave(path, 67_000_000, 1, 0.02)),
    "slow.wav": (("decode_error",), lambda path: _wave(path, 3, 2, 2000)),
    "streams.mkv": ((), _streams),
    "packets.mkv": ((), _packets),
    "metadata.mkv": ((), _metadata),
    "again.mp3": ((), _many_times),
    "grows.mpg": ((), _grows),
    "empty.mkv": (("not_a_video",), lambda path: path.touch()),
    "zeros.ts": (("not_a_video",), lambda path: path.write_bytes(bytes(1 << 20))),
    "starts.mpg": (
        ("not_a_video", "decode_error", "empty_clip"),
        lambda path: path.write_bytes(b"\0\0\1\xba" * 50_000),
    ),
}
