"""One clip on the page: frames with times, waveform, spectrogram as the network gets it, narrations, labels, sizes."""

import html

import numpy as np

from mmv_tf.inspection.folder import shown
from mmv_tf.inspection.statistics import duration, loudness
from mmv_tf.pages import jpeg, pictures
from mmv_tf.records.reader import Stored

FRAMES = 12  # shown of a clip
_HEIGHT = 84  # pixels of a frame shown
_COLUMNS = 320  # of the waveform
_SECONDS = 30.0  # of sound that can be played, from the start


def card(record: Stored, where: str) -> str:
    """HTML of a clip; `where` says in which shard it lies."""
    seconds = duration(record)
    name = html.escape(shown(record.key) or "(no key)")
    parts = [
        f'<div class="card clip"><h3>{name}</h3><p class="soft facts">{html.escape(_facts(record, seconds, where))}</p>'
    ]
    parts.append(_frames(record))
    parts.append(
        f'<div class="beside"><div>{_sound(record, seconds)}</div><div>{_narrations(record, seconds)}</div></div>'
    )
    if record.labels:
        names = [shown(text, 60) for text in record.label_names] or [""] * len(record.labels)
        tags = zip(record.labels, names, strict=False)
        shown_tags = "".join(f'<span class="tag">{index} {html.escape(text)}</span>' for index, text in tags)
        parts.append(f"<p>{shown_tags}</p>")
    return "".join(parts) + "</div>"


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
    return " · ".join(facts)


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
    if not record.jpegs:
        return '<p class="missing">no frames</p>'
    import cv2

    figures = []
    for i in np.unique(np.linspace(0, len(record.jpegs) - 1, FRAMES).round().astype(int)):
        try:
            image = jpeg.decode(record.jpegs[i])
        except ValueError as error:
            figures.append(f'<figure><div class="missing">frame {i} {error}</div></figure>')
            continue
        width = max(1, round(image.shape[1] * _HEIGHT / image.shape[0]))
        small = cv2.resize(np.ascontiguousarray(image), (min(width, 400), _HEIGHT), interpolation=cv2.INTER_AREA)
        uri = pictures.data_uri("image/jpeg", cv2.imencode(".jpg", small[..., ::-1])[1].tobytes())
        # Times as they are stored where they are; relative to the clip.
        time = i / record.frame_rate if record.frame_rate > 0 else 0.0
        if i < len(record.picture_times) and record.start is not None:
            time = (record.picture_times[i] - record.start) / 1e6
        figures.append(f'<figure><img alt="frame {i}" src="{uri}"><figcaption>{time:.1f} s</figcaption></figure>')
    return f'<div class="frames">{"".join(figures)}</div>'


def _sound(record, seconds):
    if record.waveform is None:
        return '<p class="missing">no sound</p>'
    if not len(record.waveform) or not np.isfinite(record.waveform).all() or not record.sample_rate > 0:
        return '<p class="missing">sound without samples, rate or finite values</p>'
    heard = record.waveform[: int(_SECONDS * record.sample_rate)]
    uri = pictures.data_uri("audio/wav", pictures.wav(heard, record.sample_rate))
    player = f'<audio controls preload="none" src="{uri}"></audio>'
    return f"{_waveform(record.waveform)}{_spectrogram(record)}{_axis(seconds)}{player}"


def _waveform(samples):
    """From the least to the greatest sample of each column."""
    edges = np.linspace(0, len(samples), min(_COLUMNS, len(samples)) + 1).astype(int)[:-1]
    highs, lows = np.maximum.reduceat(samples, edges), np.minimum.reduceat(samples, edges)
    xs = np.linspace(0, 600, len(edges))
    there = [f"{x:.0f},{30 - 28 * np.clip(y, -1, 1):.1f}" for x, y in zip(xs, highs, strict=True)]
    back = [f"{x:.0f},{30.5 - 28 * np.clip(y, -1, 1):.1f}" for x, y in zip(xs[::-1], lows[::-1], strict=True)]
    return (
        '<svg viewBox="0 0 600 60" preserveAspectRatio="none" role="img" aria-label="waveform" class="wave">'
        f'<polygon points="{" ".join(there + back)}" fill="var(--accent)"/></svg>'
    )


def _spectrogram(record):
    import cv2

    from mmv_tf.inputs.audio import LogMel
    from mmv_tf.pages.clip_picture import spectrogram

    rate = round(record.sample_rate)
    if rate < 2000:
        return '<p class="missing">too low a sample rate for the spectrogram</p>'
    log_mel = LogMel(rate, max_frequency=min(7600.0, rate / 2))(record.waveform[None])
    picture = spectrogram(log_mel[0].numpy(), 600)
    content = cv2.imencode(".jpg", np.ascontiguousarray(picture[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, 80])[
        1
    ].tobytes()
    return f'<img class="mel" alt="log-mel spectrogram" src="{pictures.data_uri("image/jpeg", content)}">'


def _axis(seconds):
    return f'<div class="axis"><span>0</span><span>{seconds / 2:g}</span><span>{seconds:g} s</span></div>'


def _narrations(record, seconds):
    if not record.captions:
        return '<p class="missing">no narration</p>'
    rows = []
    for i, caption in enumerate(record.captions):
        times, inside = "", True
        if record.start is not None and i < min(len(record.caption_starts), len(record.caption_ends)):
            start, end = (times[i] - record.start for times in (record.caption_starts, record.caption_ends))
            times, inside = f"{start / 1e6:+.1f} to {end / 1e6:+.1f} s", end >= 0 and start <= seconds * 1e6
        text = html.escape(shown(caption, 1000))
        rows.append(f'<tr class="{"" if inside else "soft"}"><td>{times}</td><td>{text}</td></tr>')
    return f'<table class="narrations">{"".join(rows)}</table>'
