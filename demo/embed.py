"""Embeddings of held-out clips by two exports, trained and untrained, through hub.KerasLayer.

    python -m demo.embed --records build/demo/records --workdir build/demo/run \\
      --trained build/demo/export --untrained build/demo/export_untrained --output build/demo/embeddings

Writes OUTPUT/embeddings.npz ('model/modality/space' -> float32 [N, d]), clips.json, and for each clip NNNN.strip.jpg
(frames), NNNN.sound.jpg (spectrogram) and NNNN.wav. Only the shape of a clip is read from the workdir.
"""

import argparse
import dataclasses
import json
import pathlib

import numpy as np

from demo.evaluation import NOT_SPACES, Clip
from mmv_tf.common.files import whole_file
from mmv_tf.pages import curves, pictures

BATCH = 16
SILENT = 1e-3  # root mean square of the waveform, in which 1 is full scale


@dataclasses.dataclass(frozen=True)
class Sample:
    """What an export takes, and what the page shows."""

    clip: Clip
    frames: np.ndarray  # uint8 [T, H, W, 3]
    waveform: np.ndarray  # float32 [S]
    shown: np.ndarray  # uint8 [3, h, w, 3]: whole frames, uncropped


def read_clips(pattern: str, video_input, audio_rate: int, most: int = 600):
    """Yields a Sample for each stretch of a clip's length in the records, one after another, at most `most` in all.

    A record that is too short for one clip is repeated, as in training. Records without frames or sound are left out.
    """
    import tensorflow as tf

    from mmv_tf.inputs import shards
    from mmv_tf.records import schema

    seconds, number = video_input.seconds, 0
    samples = round(seconds * audio_rate)
    for serialized in tf.data.TFRecordDataset(list(shards.find(pattern).files)):
        record = schema.parse(serialized)
        name = record["key"].numpy().decode().rsplit(":", 1)[0]
        rate, sound = float(record["frame_rate"]), record["audio"].numpy()
        stored, step = int(tf.size(record["video"])), round(seconds * rate)
        if not stored or not len(sound):
            continue
        for first in range(0, max(1, stored - step + 1), step):
            if number == most:
                return
            jpegs = video_input.sample(record["video"], record["frame_rate"], tf.constant(first))
            begin = round(first / rate * audio_rate)
            waveform = np.resize(sound[begin : begin + samples], samples).astype(np.float32)
            level = float(np.sqrt(np.mean(waveform**2)))
            start = float(record["start"]) + first / rate
            yield Sample(
                Clip(number, name, "", start, start + seconds, "silent" if level < SILENT else ""),
                video_input.evaluation_clip(jpegs).numpy(),
                waveform,
                np.stack([tf.io.decode_jpeg(jpegs[i], 3).numpy() for i in (0, len(jpegs) // 2, len(jpegs) - 1)]),
            )
            number += 1


class HubModel:
    """The signatures of an export as hub.KerasLayer objects: {modality: [N, ...]} -> {modality: {space: [N, d]}}."""

    def __init__(self, path: str):
        import tensorflow_hub as hub

        loaded = hub.load(path)
        self._layers = {
            modality: hub.KerasLayer(loaded, signature=modality, signature_outputs_as_dict=True)
            for modality in loaded.signatures
        }

    def embed(self, inputs: dict[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
        import tensorflow as tf

        outputs = {}
        for modality, values in inputs.items():
            if modality not in self._layers:
                continue
            parts = []
            for start in range(0, len(values), BATCH):
                batch = values[start : start + BATCH]
                batch = tf.cast(batch, tf.float32) / 255.0 if modality == "video" else tf.constant(batch)
                out = self._layers[modality](batch)
                parts.append({space: rows.numpy() for space, rows in out.items() if space not in NOT_SPACES})
            outputs[modality] = {space: np.concatenate([part[space] for part in parts]) for space in parts[0]}
        return outputs


def write_media(folder: pathlib.Path, sample: Sample, audio_rate: int) -> None:
    stem = f"{sample.clip.number:04d}"
    (folder / f"{stem}.strip.jpg").write_bytes(pictures.strip(sample.shown))
    (folder / f"{stem}.sound.jpg").write_bytes(pictures.spectrogram(sample.waveform, audio_rate))
    (folder / f"{stem}.wav").write_bytes(pictures.wav(sample.waveform, audio_rate))


def main(arguments: argparse.Namespace) -> None:
    from mmv_tf.inputs.video import VideoInput
    from mmv_tf.training import workdir as workdirs

    workdirs.parse_config(arguments.workdir)
    output = pathlib.Path(arguments.output)
    output.mkdir(parents=True, exist_ok=True)
    samples = list(read_clips(f"{arguments.records}/{arguments.split}-*", VideoInput(), arguments.sample_rate))
    if not samples:
        raise SystemExit(f"{arguments.records}: no clip of {VideoInput().seconds:g} s with frames in it")
    for sample in samples:
        write_media(output, sample, arguments.sample_rate)
    sentences = json.loads(pathlib.Path(arguments.sentences).read_text("utf-8")) if arguments.sentences else []
    inputs = {
        "video": np.stack([sample.frames for sample in samples]),
        "audio": np.stack([sample.waveform for sample in samples]),
    }
    if sentences:
        inputs["text"] = np.array([sentence["text"] for sentence in sentences])
    arrays = {}
    for model, path in (("trained", arguments.trained), ("untrained", arguments.untrained)):
        for modality, spaces in HubModel(path).embed(inputs).items():
            for space, rows in spaces.items():
                arrays[f"{model}/{modality}/{space}"] = rows
                print(f"  {model} {modality} -> {space}: {rows.shape[0]} embeddings of {rows.shape[1]}", flush=True)
    with whole_file(output / "embeddings.npz") as partial:
        np.savez(partial, **arrays)
    about = {
        "clips": [dataclasses.asdict(sample.clip) for sample in samples],
        "sentences": sentences,
        "curves": curves.read(arguments.workdir),
    }
    with whole_file(output / "clips.json") as partial:
        partial.write_text(json.dumps(about), "utf-8")


def cli() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--records", required=True, help="folder that mmv_tf.beam.preprocess wrote")
    parser.add_argument("--split", default="test")
    parser.add_argument("--workdir", required=True, help="of the training run")
    parser.add_argument("--trained", required=True, help="export")
    parser.add_argument("--untrained", required=True, help="export of the same network untrained")
    parser.add_argument("--sentences", default="", help='JSON: [{"text", "group"}]')
    parser.add_argument("--sample_rate", type=int, default=48_000, help="of the records, Hz")
    parser.add_argument("--output", required=True)
    main(parser.parse_args())


if __name__ == "__main__":
    cli()
