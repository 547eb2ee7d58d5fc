"""Small videos whose frames and sound say what time it is."""

from fractions import Fraction

import av
import cv2
import numpy as np

STEP = 8  # grey levels between two numbered pictures: far more than what compression changes
LEVELS = 27


def write_video(
    path,
    seconds=2.0,
    fps=25,
    size=(64, 48),
    codec="libx264",
    sound_codec="aac",
    sound_rate=48000,
    layout="mono",
    beep_at=None,
    sound_from=0.0,
    sound_until=None,
    times=None,
    rotation=0,
    gop=12,
    pix_fmt="yuv420p",
    codec_options=None,
    aspect=None,
    draw=None,
    sound_first=False,
    options=None,
):
    """Writes a file. Picture n is uniformly grey, 16 + STEP * (n modulo LEVELS).

    Args:
      codec, sound_codec: None for a file without pictures, or without sound.
      beep_at: seconds; a loud 1 kHz for 10 ms from there and silence otherwise. None: a quiet 440 Hz.
      sound_from, sound_until: seconds in which there is a sound track.
      times: of the pictures in seconds, for a variable frame rate.
      codec_options: of the encoder of the pictures.
      aspect: (width, height) of a pixel.
      rotation: degrees that the display matrix turns the picture by.
      sound_first: the sound is stream 0.
      draw: function of n -> uint8 [height, width, 3] instead of the grey level.
    """
    draw = draw or (lambda n: np.full((size[1], size[0], 3), 16 + STEP * (n % LEVELS), np.uint8))
    with av.open(str(path), "w", options=options or {}) as container:
        if sound_codec and sound_first:
            track = container.add_stream(sound_codec, rate=sound_rate, layout=layout)
        if codec:
            stream = container.add_stream(codec, rate=fps, options=codec_options or {})
            stream.width, stream.height = size
            if aspect:
                stream.codec_context.sample_aspect_ratio = Fraction(*aspect)
            stream.pix_fmt = pix_fmt
            stream.codec_context.gop_size = gop
            stream.codec_context.time_base = base = Fraction(1, 1000 if times else fps)
            stream.bit_rate = 2_000_000
            if rotation:
                stream.set_display_rotation(rotation)
        if sound_codec and not sound_first:
            track = container.add_stream(sound_codec, rate=sound_rate, layout=layout)
        if codec:
            for n, time in enumerate(times or [n / fps for n in range(round(seconds * fps))]):
                frame = av.VideoFrame.from_ndarray(draw(n), format="rgb24")
                frame.pts, frame.time_base = round(time / base), base
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        if sound_codec:
            _write_sound(container, track, seconds if sound_until is None else sound_until, sound_from, beep_at)
    return path


def _write_sound(container, track, until, begin_at, beep_at):
    rate, layout = track.codec_context.sample_rate, track.codec_context.layout
    time = np.arange(round(begin_at * rate), round(until * rate)) / rate
    wave = 0.1 * np.sin(2 * np.pi * 440 * time)
    if beep_at is not None:
        wave = 0.9 * np.sin(2 * np.pi * 1000 * (time - beep_at)) * ((time >= beep_at) & (time < beep_at + 0.01))
    channels = np.repeat(wave[None].astype(np.float32), layout.nb_channels, 0)
    resampler = av.AudioResampler(track.codec_context.format, layout, rate)
    for first in range(0, channels.shape[1], 1024):
        block = np.ascontiguousarray(channels[:, first : first + 1024].T).reshape(1, -1)  # planar: 7.1 fails in PyAV
        frame = av.AudioFrame.from_ndarray(block, "flt", layout.name)
        frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
        frame.pts = first + round(begin_at * rate)
        for converted in resampler.resample(frame):
            container.mux(track.encode(converted))
    container.mux(track.encode())


def picture(jpeg):
    """uint8 [height, width, 3], RGB."""
    return cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


def numbers(jpegs):
    """Which numbered picture (modulo LEVELS) each JPEG shows; fails when a level is not close to one."""
    levels = [(float(picture(jpeg).mean()) - 16) / STEP for jpeg in jpegs]
    assert all(abs(level - round(level)) < 0.4 for level in levels), levels
    return [round(level) for level in levels]


def onset(waveform):
    """Index of the first loud sample."""
    loud = np.abs(waveform) > 0.2
    assert loud.any()
    return int(np.argmax(loud))
