"""Frames as JPEGs or as H.264 in records: bytes a clip and processor time of the frames of a training clip.

    python benchmarks/frame_coding.py --videos build/demo/videos

Five seconds at 10 Hz are stored either way, at the same likeness to what they were made of (PSNR, within .2 dB: the
quality of H.264 is searched for), and 16 frames in a row are asked for from every place. Of JPEGs just these are
decoded; of H.264 all from the key frame before them. `--keyframes` says how many frames lie between those.
"""

import argparse
import io
import pathlib
import statistics
import sys
import time

import av
import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from mmv_tf.beam.specs import Settings  # noqa: E402
from mmv_tf.pages import jpeg, pictures  # noqa: E402

_RATE, _STORED, _TAKEN, _SHORT_SIDE = 10, 50, 16, 256


def frames_of(path: pathlib.Path) -> np.ndarray | None:
    """[50, H, W, 3] uint8 at 10 Hz, the shorter side 256; None where a film is too short."""
    found, due = [], 0.0
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            if frame.time is None or frame.time < due:
                continue
            scale = _SHORT_SIDE / min(frame.width, frame.height)
            width, height = (2 * round(side * scale / 2) for side in (frame.width, frame.height))
            found.append(frame.to_ndarray(format="rgb24", width=width, height=height))
            due += 1 / _RATE
            if len(found) == _STORED:
                return np.stack(found)
    return None


def likeness(one: np.ndarray, other: np.ndarray) -> float:
    """PSNR in dB."""
    error = np.mean(np.square(one.astype(np.float32) - other.astype(np.float32)))
    return float(10 * np.log10(255**2 / max(error, 1e-9)))


def as_h264(frames: np.ndarray, crf: int, keyframes: int) -> bytes:
    """Without B frames: what is decoded is what is asked for, and nothing after it."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        options = {"crf": str(crf), "preset": "medium", "bf": "0"}
        stream = container.add_stream("libx264", rate=_RATE, options=options)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        stream.codec_context.gop_size = keyframes
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return file.getvalue()


def from_h264(coded: bytes, first: int, count: int) -> np.ndarray:
    """`count` frames from number `first`, on one thread, as the input decodes one clip a thread."""
    found = []
    with av.open(io.BytesIO(coded)) as container:
        stream = container.streams.video[0]
        stream.thread_count = 1
        container.seek(int(first / _RATE / stream.time_base), stream=stream)
        for frame in container.decode(stream):
            if round(frame.time * _RATE) >= first:
                found.append(frame.to_ndarray(format="rgb24"))
            if len(found) == count:
                break
    return np.stack(found)


def processor_ms(decode, places) -> float:
    """The median of a clip."""
    times = []
    for place in places:
        began = time.process_time()
        decode(place)
        times.append((time.process_time() - began) * 1000)
    return statistics.median(times)


def measure(frames: np.ndarray, keyframes: int) -> tuple[float, ...]:
    """(kB of JPEGs, kB of H.264, dB of each, ms of 16 JPEGs, ms of 16 frames of H.264)."""
    import tensorflow as tf

    jpegs = [pictures.encoded(frame, Settings.jpeg_quality) for frame in frames]  # as `mmv_tf preprocess` stores them
    goal = likeness(frames, np.stack([jpeg.decode(one) for one in jpegs]))
    worst, best = 51, 1  # of crf: the coarsest that is as like
    while worst - best > 1:
        middle = (worst + best) // 2
        is_like = likeness(frames, from_h264(as_h264(frames, middle, keyframes), 0, len(frames))) >= goal - 0.2
        worst, best = (worst, middle) if is_like else (middle, best)
    coded = as_h264(frames, best, keyframes)
    reached = likeness(frames, from_h264(coded, 0, len(frames)))
    places = range(len(frames) - _TAKEN + 1)
    in_jpegs = processor_ms(lambda n: [tf.io.decode_jpeg(one) for one in jpegs[n : n + _TAKEN]], places)
    in_h264 = processor_ms(lambda n: from_h264(coded, n, _TAKEN), places)
    return sum(map(len, jpegs)) / 1e3, len(coded) / 1e3, goal, reached, in_jpegs, in_h264


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--videos", type=pathlib.Path, required=True)
    parser.add_argument("--keyframes", type=int, default=10)
    parser.add_argument("--number", type=int, default=8, help="films to look at")
    args = parser.parse_args()
    rows = []
    for path in sorted(args.videos.rglob("*.mp4")):
        frames = frames_of(path)
        if frames is None:
            continue
        rows.append(measure(frames, args.keyframes))
        print(f"{path.name}: " + ", ".join(f"{value:.1f}" for value in rows[-1]), flush=True)
        if len(rows) == args.number:
            break
    names = "kB of JPEGs", "kB of H.264", "dB of JPEGs", "dB of H.264", "ms of 16 JPEGs", "ms of 16 of H.264"
    for name, values in zip(names, zip(*rows, strict=True), strict=True):
        print(f"{name}: {statistics.median(values):.1f}")


if __name__ == "__main__":
    main()
