"""HowTo100M: instructional videos with what is said in them (Miech et al., ICCV 2019)."""

import bisect
import pathlib

from mmv_tf.beam.captions import cues
from mmv_tf.beam.captions.nearest import nearest
from mmv_tf.beam.captions.speech import clean
from mmv_tf.beam.datasets import annotation_files as files
from mmv_tf.beam.datasets.entries import FileIndex, bad_row, missing
from mmv_tf.beam.sources.folder import media_files
from mmv_tf.beam.sources.manifest import source
from mmv_tf.beam.specs import ClipSpec, Inputs
from mmv_tf.records.card import Remark
from mmv_tf.records.schema import Caption

WHAT = (
    "raw_caption.json ({video id: {start: [...], end: [...], text: [...]}}), from "
    "https://www.di.ens.fr/willow/research/howto100m/, or a folder with a csv (start,end,text) or json a video"
)
LIST = "a csv with a column video_id or video_path, or one id a line"
_NAMES = ("raw_caption.json", "caption.json", "*caption*.json")
_NEIGHBOURS = 50  # narrations before and after one that may become candidates of it


def read(request):
    """Inputs with a clip for each narration, under any name of a split.

    A clip is the span of its narration, grown around its middle to min_clip_seconds (MIL-NCE's loader, video_loader.py,
    does so without rounding the middle); its candidates are the narrations nearest in time.

    The narrations are read once, video by video; held in memory are the names of the files and the ids in request.ids.
    """
    captions = _located(request.annotations)
    wanted = _ids(request.ids) if request.ids else _official_list(request.annotations)
    videos = _files(captions) if captions.is_dir() else _items(captions)
    inputs = Inputs(())
    inputs.sources = _sources(videos, wanted, FileIndex(request.root), request, inputs)
    return inputs


def _located(given):
    given = pathlib.Path(given)
    if given.is_file() and given.suffix.lower() != ".json":
        raise ValueError(f"--annotations {given}: no narrations; expected {WHAT}; a list of videos is for --ids")
    try:
        return files.locate(given, _NAMES, WHAT)
    except ValueError:
        if given.is_dir() and next(_files(given), None):
            return given
        raise


def _official_list(given):
    path = pathlib.Path(given, "HowTo100M_v1.csv")
    return _ids(path) if path.is_file() else None


def _ids(path):
    """The video ids that a list names."""
    if not pathlib.Path(path).is_file():
        raise ValueError(f"--ids {path}: no such file; expected {LIST}")
    if pathlib.Path(path).suffix.lower() != ".csv":
        return {line for _, line in files.lines(path)}
    rows = files.rows(path, (), LIST, others=("video_id", "video_path"))
    ids = {row["video_id"] or pathlib.PurePosixPath(row["video_path"]).stem for _, row in rows} - {""}
    if not ids:
        raise ValueError(f"{path}: no video in it; expected {LIST}")
    return ids


def _items(path):
    """Yields (where, id, function that gives its narrations)."""
    for name, value in files.json_items(path, WHAT):
        yield f"{path}: {name[:50]}", name, lambda value=value: _columns(value)


def _files(folder):
    for path in media_files(folder, (".csv", ".json")):
        file = pathlib.Path(folder, path)
        if file.name != "HowTo100M_v1.csv":
            yield str(file), file.stem, lambda file=file: _of_file(file)


def _of_file(path):
    if path.suffix.lower() == ".json":
        return _columns(files.load_json(path, WHAT))
    rows = files.rows(path, ("start", "end", "text"), WHAT)
    return [(row["start"], row["end"], row["text"]) for _, row in rows]


def _columns(value):
    columns = [value.get(name) for name in ("start", "end", "text")] if isinstance(value, dict) else [None]
    if not all(isinstance(column, list) for column in columns):
        raise ValueError("no lists start, end and text")
    if len({len(column) for column in columns}) > 1:
        raise ValueError(f"lists of {', '.join(str(len(column)) for column in columns)} starts, ends and texts")
    return list(zip(*columns, strict=True))


def _sources(videos, wanted, index, request, inputs):
    found, done, rest = False, set(), None if wanted is None else set(wanted)
    for where, name, narrations in videos:
        found = True
        if rest is not None:
            rest.discard(name)
            if name not in wanted:
                continue
        path = index.find(name)
        if path is None:
            inputs.rejections.append(missing(name, where))
        elif path in done:
            inputs.rejections.append(bad_row(name, where, "narrations of this video for a second time"))
        else:
            done.add(path)
            try:
                with inputs.remarks.within(path):
                    clips = _clips(_narrations(narrations(), inputs.remarks), request)
            except ValueError as error:
                inputs.rejections.append(bad_row(name, where, error))
                continue
            if clips:
                yield source(path, clips, inputs)
            else:
                inputs.rejections.append(bad_row(name, where, "no narration with words and valid times"))
    if not found:
        raise ValueError(f"--annotations {request.annotations}: no video in it; expected {WHAT}")
    inputs.rejections += [bad_row(name, "--ids", "no narrations of this video") for name in sorted(rest or ())]


def _narrations(rows, remarks):
    """list of Caption, by time. Those without words, or whose times are none or run backwards, get a remark."""
    captions = []
    for number, (start, end, text) in enumerate(rows, 1):
        with remarks.within(place=f"narration {number}"):
            try:
                captions.append(_narration(start, end, text, remarks))
                if len(captions) > cues.MAX_CAPTIONS:
                    captions.pop()
                    raise ValueError(f"over {cues.MAX_CAPTIONS} captions")
            except ValueError as error:
                remarks.add(Remark.CAPTION_DROPPED, str(error))
    return sorted(captions, key=lambda caption: (caption.start, caption.end, caption.text))


def _narration(start, end, text, remarks):
    start, end = files.seconds(start, "start"), files.seconds(end, "end")
    if end < start:
        raise ValueError(f"end {end:g} is before start {start:g}")
    if not isinstance(text, str) or not (text := clean(text, remarks)):
        raise ValueError("no words")
    return Caption(text, start, end)


def _clips(captions, request):
    """A ClipSpec a narration, with its candidates."""
    settings, starts = request.settings, [caption.start for caption in captions]
    longest = max((caption.end - caption.start for caption in captions), default=0.0)
    gap, neighbours = settings.max_caption_gap, max(_NEIGHBOURS, settings.max_captions)
    clips = []
    for number, (_, start, end) in enumerate(captions):
        if end - start < request.min_clip_seconds:
            start = max(0.0, (start + end - request.min_clip_seconds) / 2)
            end = start + request.min_clip_seconds
        # Only those that can be near enough are compared, or a long video would take the square of its length.
        first = max(number - neighbours, bisect.bisect_left(starts, start - gap - longest))
        last = min(number + neighbours, bisect.bisect_right(starts, end + gap))
        near = nearest(captions[first:last], start, end, settings.max_captions, gap)
        clips.append(ClipSpec(round(start, 6), round(end, 6), near))
    return clips
