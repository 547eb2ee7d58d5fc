"""The whole preprocessing beside bare decoding of the same files, in CPU-seconds, in one run.

    python benchmarks/preprocessing.py [--videos FILE ...] [--rounds 3] [--ffmpeg PATH]

Measured, in turn, round after round; the medians are printed:

    ffmpeg     `ffmpeg -threads 1 -i FILE -f null -`, pictures and sound, of the package imageio-ffmpeg where it is
               installed, or the binary given
    pyav       the same through PyAV, the least that anything in Python can take
    decoding   our child process: frames, JPEGs, sound (mmv_tf.beam.decoding.clips)
    all of it  child and parent: records, staging, shards with their checksums (`mmv_tf.beam.preprocess`), without the
               start of the program: a run over a film of one second is taken off (from each of the four)

Bar: ffmpeg / all of it >= 60 %. Without --videos, four films of sixty seconds are made, of two sizes that are usual in
HowTo100M, with an unsteady camera, moving things and little or much noise. What is read from them says little about
other content: give files of your own.

Result of --rounds 2 on a core of an AMD EPYC, pictures a second by ffmpeg, by all of it, and their ratio:

    340x256,  350 kbit/s   2,729   1,832   67 %     59 CPU-seconds an hour of video
    340x256, 4801 kbit/s     591     456   77 %    237
    640x360,  598 kbit/s   1,606   1,084   68 %    100
    640x360, 12.6 Mbit/s     241     217   90 %    498

The 134,472 hours of HowTo100M would be 2,200 to 8,900 core hours at the first three rates; a decoding process took
259 MiB at most.
"""

import argparse
import collections
import math
import pathlib
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from fractions import Fraction

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
HOWTO100M_HOURS = 134_472
_FPS = 30  # of the films that are made

_PYAV = """
import sys, av
for path in sys.argv[1:]:
    with av.open(path) as container:
        for stream in container.streams.video:
            stream.codec_context.thread_count = 1
        for packet in container.demux(video=0, audio=0) if container.streams.audio else container.demux(video=0):
            packet.decode()
"""
_DECODING = """
import sys
from mmv_tf.beam.decoding import clips
from mmv_tf.beam.specs import Settings
import cv2
cv2.setNumThreads(1)
for path in sys.argv[1:]:
    pieces, _ = clips.plan(path, [(0.0, None)], Settings())
    for clip, error in clips.decode(path, pieces, Settings()):
        assert error is None, error
"""


def make_film(path, size, noise, seconds=60):
    """Writes a film: a panned texture, a disc that moves, noise of +-`noise` grey levels; x264, default quality."""
    import av
    import cv2
    import numpy as np

    random, (width, height) = np.random.default_rng(0), size
    octaves = [random.standard_normal((height * 2 >> k, width * 4 >> k, 3)).astype(np.float32) for k in range(7)]
    scene = 110 + sum(cv2.resize(o, (width * 4, height * 2)) * 2.0**k for k, o in enumerate(octaves))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=_FPS, options={"preset": "fast"})
        (stream.width, stream.height), stream.pix_fmt = size, "yuv420p"
        track = container.add_stream("aac", rate=44100, layout="stereo")
        for n in range(seconds * _FPS):
            x, y = int(width * 1.5 * (1 + np.sin(n / 97))), int(height * 0.5 * (1 + np.sin(n / 61)))
            image = scene[y : y + height, x : x + width].copy()
            centre = int(width * (0.5 + 0.3 * np.sin(n / 20))), int(height * (0.5 + 0.3 * np.cos(n / 17)))
            cv2.circle(image, centre, height // 5, (200, 120, 60), -1)
            image += random.integers(-noise, noise + 1, (height, width, 1))
            frame = av.VideoFrame.from_ndarray(np.clip(image, 0, 255).astype(np.uint8), format="rgb24")
            frame.pts, frame.time_base = n, Fraction(1, _FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        wave = (0.1 * random.standard_normal((2, seconds * 44100))).astype(np.float32)
        for first in range(0, wave.shape[1], 1024):
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(wave[:, first : first + 1024]), "fltp", "stereo")
            frame.sample_rate, frame.pts = 44100, first
            container.mux(track.encode(frame))
        container.mux(track.encode())
    return path


def cpu_seconds(*command):
    """User and system time of a command and of its children; it must succeed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(list(map(str, command)), check=True, cwd=ROOT, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def preprocess(files, folder):
    """CPU-seconds of the command over copies of the files."""
    videos = pathlib.Path(tempfile.mkdtemp(dir=folder))
    for n, file in enumerate(files):
        shutil.copy(file, videos / f"{n}{file.suffix}")
    command = [sys.executable, "-m", "mmv_tf.beam.preprocess", "--videos", videos, "--output", videos / "records"]
    return cpu_seconds(*command, "--direct_num_workers=1", "--num_shards=1")


def describe(files):
    """(seconds, pictures) of all the files, as their headers have them."""
    import av

    seconds = pictures = 0
    for file in files:
        with av.open(str(file)) as container:
            duration = container.duration / av.time_base
            seconds, pictures = seconds + duration, pictures + duration * float(container.streams.video[0].average_rate)
    return seconds, round(pictures)


def measure(files, rounds, ffmpeg, folder):
    """{what: median CPU-seconds} for the files together; the start of each program is taken off."""
    tiny = [make_film(folder / "tiny.mp4", (64, 48), 0, seconds=1)]
    taken = collections.defaultdict(list)
    for _ in range(rounds):
        for name, run in {
            "ffmpeg": lambda files: sum(cpu_seconds(*_bare(ffmpeg, file)) for file in files) if ffmpeg else math.nan,
            "pyav": lambda files: cpu_seconds(sys.executable, "-c", _PYAV, *files),
            "decoding": lambda files: cpu_seconds(sys.executable, "-c", _DECODING, *files),
            "all of it": lambda files: preprocess(files, folder),
        }.items():
            taken[name].append(run(files) - run(tiny))
    return {name: statistics.median(values) for name, values in taken.items()}


def _bare(ffmpeg, file):
    return ffmpeg, "-v", "error", "-threads", "1", "-i", file, "-f", "null", "-"


def memory(files):
    """Peak resident bytes of a decoding process over the files."""
    from mmv_tf.beam.decoding.client import DecodeClient
    from mmv_tf.beam.specs import Settings

    client = DecodeClient(Settings())
    for file in files:
        for _ in client.ask(str(file), [(0.0, None)]):
            continue
    client.close()
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss << 10


def find_ffmpeg(path):
    if path is None:
        try:
            import imageio_ffmpeg

            path = imageio_ffmpeg.get_ffmpeg_exe()
        except ImportError:
            print("no ffmpeg: pip install imageio-ffmpeg, or --ffmpeg PATH; PyAV stands in for it")
    return path


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", nargs="*", type=pathlib.Path, help="files; else films are made")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ffmpeg", help="binary; else that of imageio-ffmpeg")
    args = parser.parse_args()
    ffmpeg = find_ffmpeg(args.ffmpeg)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        groups = {file.name: [file] for file in args.videos or ()}
        if not groups:
            for size, noise in [((340, 256), 6), ((340, 256), 30), ((640, 360), 6), ((640, 360), 30)]:
                name = f"{size[0]}x{size[1]}, noise {noise}"
                groups[name] = [make_film(folder / f"{size[0]}-{noise}.mp4", size, noise)]
        print(f"decoding process: {memory([f for files in groups.values() for f in files]) >> 20} MiB at its peak")
        for name, files in groups.items():
            seconds, pictures = describe(files)
            taken = measure(files, args.rounds, ffmpeg, folder)
            bare = taken["ffmpeg"] if ffmpeg else taken["pyav"]
            rates = ", ".join(f"{what} {value:.2f} s ({pictures / value:.0f}/s)" for what, value in taken.items())
            hour = taken["all of it"] / seconds * 3600
            print(
                f"{name}: {seconds:.0f} s, {sum(f.stat().st_size for f in files) * 8e-3 / seconds:.0f} kbit/s: {rates}"
            )
            print(
                f"  {bare / taken['all of it']:.0%} of bare decoding; {hour:.0f} CPU-seconds an hour of video, ", end=""
            )
            print(f"HowTo100M ({HOWTO100M_HOURS} h): {hour * HOWTO100M_HOURS / 3600:,.0f} core hours")


if __name__ == "__main__":
    main()
