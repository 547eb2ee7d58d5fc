"""Playing in a browser: which files it plays as they are, by their codecs, and previews of those that it does not."""

import io
import logging

import numpy as np

# Pictures and sound that browsers play in these containers; elsewhere they play the sound alone, without any error.
_PLAYED = {
    "mov,mp4": ({"h264", "av1", "vp9"}, {"aac", "mp3", "opus", "flac"}),
    "matroska,webm": ({"vp8", "vp9", "av1"}, {"opus", "vorbis"}),
    "ogg": ({"vp8"}, {"opus", "vorbis", "flac"}),
    "mp3": (set(), {"mp3"}),
    "wav": (set(), {"pcm_s16le", "pcm_u8", "pcm_s24le", "pcm_f32le"}),
    "flac": (set(), {"flac"}),
}
_PIXELS = {"yuv420p", "yuvj420p"}
PREVIEW_HEIGHT = 256


def looked_at(file: str) -> tuple[str, bool]:
    """('video' or 'sound', whether browsers play it), by the headers of a file that was decoded before or will be."""
    import av

    from mmv_tf.beam.decoding.av_source import FORMATS

    logging.getLogger("libav").setLevel(logging.CRITICAL)
    options = {"format_whitelist": FORMATS, "protocol_whitelist": "file", "enable_drefs": "0"}
    try:
        with av.open(f"file:{file}", options=options, metadata_errors="replace") as container:
            cover = av.stream.Disposition.attached_pic
            videos = [s for s in container.streams.video if s.codec_context and not s.disposition & cover]
            sounds = [s for s in container.streams.audio if s.codec_context]
            names = set(container.format.name.split(","))
            plays = False
            for container_names, (pictures, tracks) in _PLAYED.items():
                if names & set(container_names.split(",")):
                    plays = all(s.codec_context.name in pictures and s.codec_context.pix_fmt in _PIXELS for s in videos)
                    plays = plays and all(s.codec_context.name in tracks for s in sounds)
                    plays = plays and len(videos) <= 1 and len(sounds) <= 1
            # Matroska files are played as WebM, of which they must be a part.
            return "video" if videos else "sound", plays and bool(videos or sounds)
    except (av.error.FFmpegError, ValueError, UnicodeError):
        return "video", False


def preview(jpegs, rate: float, waveform, sample_rate: int) -> bytes:
    """An MP4 of some seconds of frames (JPEGs) and sound (float32 [S], or None), small, that browsers play.

    What comes in was decoded in a child process: no byte of the file itself is read here.
    """
    from fractions import Fraction

    import av
    import cv2

    from mmv_tf.pages import jpeg

    out = io.BytesIO()
    with av.open(
        out, "w", format="mp4", options={"movflags": "frag_keyframe+empty_moov+default_base_moof"}
    ) as container:
        video = audio = None
        if jpegs:
            height, width = jpeg.size(jpegs[0])
            scale = min(1.0, PREVIEW_HEIGHT / height)
            height, width = (max(2, round(side * scale / 2) * 2) for side in (height, width))
            video = container.add_stream("libx264", rate=Fraction(rate).limit_denominator(1000))
            video.width, video.height, video.pix_fmt = width, height, "yuv420p"
            video.options = {"preset": "ultrafast", "crf": "26", "tune": "zerolatency"}
        if waveform is not None:
            audio = container.add_stream("aac", rate=sample_rate, layout="mono")
        for data in jpegs:
            frame = av.VideoFrame.from_ndarray(cv2.resize(jpeg.decode(data), (width, height)), format="rgb24")
            container.mux(video.encode(frame))
        if video is not None:
            container.mux(video.encode())
        if audio is not None:
            samples = np.clip(waveform, -1, 1).astype(np.float32)[None]
            for begin in range(0, samples.shape[1], 1024):
                frame = av.AudioFrame.from_ndarray(
                    np.ascontiguousarray(samples[:, begin : begin + 1024]), "fltp", "mono"
                )
                frame.sample_rate, frame.pts = sample_rate, begin
                container.mux(audio.encode(frame))
            container.mux(audio.encode())
    return out.getvalue()
