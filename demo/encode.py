"""Frames and sound -> .mp4 (h264 + aac), and the fingerprints by which near-duplicates are found. Uses PyAV."""

import fractions
import pathlib
from collections.abc import Sequence

import numpy as np

SOUND_RATE = 30_720  # samples a second that the games make
FINGERPRINT_RATE = 10  # fingerprints a second
_AAC_RATE = 48_000
_AAC_FRAME = 1024


def write_mp4(
    path: pathlib.Path,
    frames: Sequence[np.ndarray],
    samples: np.ndarray,
    fps: int,
    comment: str,
    rate: int = SOUND_RATE,
) -> None:
    """Writes frames uint8 [H, W, 3] (H, W even) at `fps` and mono samples float32 [S] at `rate`.

    One thread, bit-exact flags and no macroblock tree, so that the same input gives the same bytes: the tree's code for
    this processor reads memory that nobody wrote (about half of the files differed).
    """
    import av
    import cv2

    height, width, _ = frames[0].shape
    with av.open(str(path), "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        container.metadata["comment"] = comment
        options = {"preset": "veryfast", "crf": "20", "threads": "1", "x264-params": "mbtree=0"}
        video = container.add_stream("libx264", rate=fps, options=options)
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        # The default coder of this encoder, "twoloop", took four fifths of the whole encoding time.
        audio = container.add_stream("aac", rate=_AAC_RATE, layout="mono", options={"aac_coder": "fast"})
        audio.bit_rate = 96_000
        for frame in frames:
            # FFmpeg's own conversion from RGB is not repeatable to the last bit.
            planes = cv2.cvtColor(frame, cv2.COLOR_RGB2YUV_I420)
            container.mux(video.encode(av.VideoFrame.from_ndarray(planes, format="yuv420p")))
        container.mux(video.encode())
        resampler = av.AudioResampler(format="fltp", layout="mono", rate=_AAC_RATE, frame_size=_AAC_FRAME)
        whole = av.AudioFrame.from_ndarray(samples[None, :], format="fltp", layout="mono")
        whole.sample_rate, whole.pts, whole.time_base = rate, 0, fractions.Fraction(1, rate)
        for frame in [*resampler.resample(whole), *resampler.resample(None)]:
            container.mux(audio.encode(frame))
        container.mux(audio.encode())


def read_comment(path: pathlib.Path) -> str | None:
    """The comment that `write_mp4` left in a file; None if it has none or cannot be read."""
    import av

    try:
        with av.open(str(path), format="mp4") as container:
            return container.metadata.get("comment")
    except av.FFmpegError:
        return None


def fingerprint(frames: Sequence[np.ndarray], samples: np.ndarray, fps: int) -> dict[str, np.ndarray]:
    """What remains of an episode to compare it with others, FINGERPRINT_RATE times a second.

    Returns 'video' uint8 [N, 16 * 12] (grey thumbnails), 'sound' float32 [N, 24] (log energy in bands, in bels) and
    'level' float32 [N] (root mean square of the samples).
    """
    import cv2

    step = fps // FINGERPRINT_RATE
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames[::step]]
    video = np.stack([cv2.resize(frame, (12, 16), interpolation=cv2.INTER_AREA).reshape(-1) for frame in grey])
    length = SOUND_RATE // FINGERPRINT_RATE
    pieces = samples[: len(samples) // length * length].reshape(-1, length)
    power = np.abs(np.fft.rfft(pieces * np.hanning(length), axis=1)) ** 2 / length
    edges = np.unique(np.geomspace(4, power.shape[1], 25).astype(int))
    bands = np.add.reduceat(power[:, : edges[-1]], edges[:-1], axis=1)
    count = min(len(video), len(pieces))
    return {
        "video": video[:count],
        "sound": np.log10(1e-4 + bands[:count]).astype(np.float32),
        "level": np.sqrt(np.mean(pieces[:count] ** 2, axis=1)).astype(np.float32),
    }
