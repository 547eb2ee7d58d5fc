"""One clip on the page: frames with times, waveform, spectrogram as the network gets it, narrations, labels, sizes."""

import numpy as np

from mmv_tf.inspection.folder import shown
from mmv_tf.inspection.statistics import duration, loudness
from mmv_tf.pages import charts, jpeg, pictures
from mmv_tf.records.card_checks import MAX_SAMPLE_RATE
from mmv_tf.records.reader import Stored

FRAMES, NARRATIONS = 12, 100  # shown of a clip
_HEIGHT, _WIDEST = 84, 400  # pixels of a frame shown
_SECONDS = 30.0  # of sound that can be played, from the start


def about(record: Stored, where: str) -> dict:
    """What `clip.html` shows of a clip; `where` says in which shard it lies."""
    seconds = duration(record)
    names = [shown(text, 60) for text in record.label_names] or [""] * len(record.labels)
    return {
        "name": shown(record.key) or "(no key)",
        "facts": _facts(record, seconds, where),
        "frames": _frames(record),
        "sound": _sound(record, seconds),
        "narrations": _narrations(record, seconds),
        "more_narrations": max(0, len(record.captions) - NARRATIONS),
        "labels": [f"{index} {name}" for index, name in zip(record.labels, names, strict=False)],
    }


def _facts(record, seconds, where):
    facts = [where]
    if record.start is not None and record.end is not None:
        facts.append(f"{record.start / 1e6:g} to {record.end / 1e6:g} s of {shown(record.path) or 'its source'}")
    facts.append(f"{seconds:g} s")
    if record.jpegs:
        size = sum(map(len, record.jpegs))
        facts.append(
            f"{len(record.jpegs)} frames, {record.frame_rate:g} a second, {_size(record)}, {size / 1e3:,.0f} kB"
        )
    if record.waveform is not None:
        facts.append(f"{len(record.waveform):,} samples at {record.sample_rate:g} Hz, {_level(record.waveform)}")
    return facts


def _size(record):
    try:
        height, width = jpeg.size(record.jpegs[0])
        return f"{width} x {height}"
    except ValueError as error:
        return f"first frame {error}"


def _level(waveform):
    level = loudness(waveform)
    return "silent" if level == -np.inf else f"{level:.1f} dBFS"


def _frames(record):
    """[{'number', 'time', 'jpeg'; or what is the 'problem'}]."""
    frames = []
    for i in np.unique(np.linspace(0, len(record.jpegs) - 1, FRAMES).round().astype(int)) if record.jpegs else ():
        # Times as they are stored where they are; relative to the clip.
        time = i / record.frame_rate if record.frame_rate > 0 else 0.0
        if i < len(record.picture_times) and record.start is not None:
            time = (record.picture_times[i] - record.start) / 1e6
        small, problem = b"", ""
        try:
            small = _small(jpeg.decode(record.jpegs[i]))
        except ValueError as error:
            problem = str(error)
        frames.append({"number": int(i), "time": f"{time:.1f} s", "jpeg": small, "problem": problem})
    return frames


def _small(image) -> bytes:
    import cv2

    width = min(max(1, round(image.shape[1] * _HEIGHT / image.shape[0])), _WIDEST)
    small = cv2.resize(np.ascontiguousarray(image), (width, _HEIGHT), interpolation=cv2.INTER_AREA)
    return pictures.encoded(small, 90)


def _sound(record, seconds):
    """{'wave', 'spectrogram', 'axis', 'wav'}, or {'missing': why there is nothing to see or hear}."""
    if record.waveform is None:
        return {"missing": "no sound"}
    if not len(record.waveform) or not np.isfinite(record.waveform).all():
        return {"missing": "sound without samples or finite values"}
    if not 0 < record.sample_rate <= MAX_SAMPLE_RATE:
        return {"missing": f"sound at a sample rate of {record.sample_rate:g}"}
    return {
        "missing": "",
        "wave": charts.waveform(record.waveform),
        "spectrogram": _spectrogram(record),
        "axis": ["0", f"{seconds / 2:g}", f"{seconds:g} s"],
        "wav": pictures.wav(record.waveform[: int(_SECONDS * record.sample_rate)], record.sample_rate),
    }


def _spectrogram(record) -> bytes:
    """JPEG of what the network hears; b'' if the rate is too low for that."""
    rate = round(record.sample_rate)
    if rate < 2000:
        return b""
    from mmv_tf.inputs.audio import LogMel
    from mmv_tf.pages.clip_picture import spectrogram

    log_mel = LogMel(rate, max_frequency=min(7600.0, rate / 2))(record.waveform[None])
    return pictures.encoded(spectrogram(log_mel[0].numpy(), 600), 80)


def _narrations(record, seconds):
    """[(times relative to the clip or '', text, whether it is within the clip)]."""
    rows = []
    for i, caption in enumerate(record.captions[:NARRATIONS]):
        times, inside = "", True
        if record.start is not None and i < min(len(record.caption_starts), len(record.caption_ends)):
            start, end = (times[i] - record.start for times in (record.caption_starts, record.caption_ends))
            times, inside = f"{start / 1e6:+.1f} to {end / 1e6:+.1f} s", end >= 0 and start <= seconds * 1e6
        rows.append((times, shown(caption, 1000), inside))
    return rows
