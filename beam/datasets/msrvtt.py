"""MSR-VTT: clips of 10 to 30 s, cut already, with 20 sentences each (Xu et al., CVPR 2016)."""

import pathlib

from mmv_tf.beam.captions.speech import clean
from mmv_tf.beam.datasets import annotation_files as files
from mmv_tf.beam.datasets.entries import Entry, bad_row, inputs_of
from mmv_tf.beam.specs import ClipSpec
from mmv_tf.records.card import Remark
from mmv_tf.records.schema import Caption

JSON = (
    "MSRVTT_data.json or videodatainfo.json with 'videos' and 'sentences' (MSR-VTT, "
    "https://www.microsoft.com/en-us/research/publication/msr-vtt-a-large-video-description-dataset-for-bridging-video-and-language/)"
)
TEST_1K = "MSRVTT_JSFUSION_test.csv (key,vid_key,video_id,sentence; https://github.com/antoine77340/howto100m)"
_SPLITS = {"train": ("train",), "val": ("validate", "val", "validation"), "test": ("test",)}
_JSON_NAMES = {
    "train": ("MSRVTT_data.json", "train_val_videodatainfo.json", "videodatainfo*.json", "*videodatainfo.json"),
    "test": ("MSRVTT_data.json", "test_videodatainfo.json", "videodatainfo*.json"),
}


def read(request):
    """Inputs of a split, one clip a video.

    train, val, test: those of the json, with all sentences of a video. test_1k: the 1,000 pairs of JSFusion's csv
    ("1k-A"), with one sentence a video. train_9k, train_7k: the videos of MSRVTT_train.9k.csv or 7k, with the sentences
    of the json.

    Raises:
      ValueError: a file is missing or of another kind, or has no video of the split; names it.
    """
    given = pathlib.Path(request.annotations)
    if request.split == "test_1k":
        path = files.locate(given, ["MSRVTT_JSFUSION_test.csv"], TEST_1K)
        return inputs_of(lambda inputs, index: _pairs(path, inputs), request)
    if given.suffix.lower() == ".csv":
        raise ValueError(f"--annotations {given}: a csv is --split=test_1k; the split {request.split} needs {JSON}")
    path = files.locate(given, _JSON_NAMES["test" if request.split == "test" else "train"], JSON)
    videos, sentences = _content(path)
    needed = ("video_id",) if request.split.startswith("train_") else ("video_id", "split")
    for video in videos:
        if not isinstance(video, dict) or not all(isinstance(video.get(name), str) for name in needed):
            what = f"a video without {' and '.join(needed)}: {str(video)[:80]!r}"
            raise ValueError(f"{path}: {what}; expected {JSON}")
    if request.split.startswith("train_"):
        wanted = _listed(given, request.split)
        # Published in two files, the test videos, which the 9k list takes most of, have theirs in the other.
        if not wanted <= {video["video_id"] for video in videos}:
            other = files.locate(given, _JSON_NAMES["test"], JSON)
            sentences = sentences + (_content(other)[1] if other != path else [])
    else:
        wanted = _of_split(path, videos, request)
    return inputs_of(lambda inputs, index: _entries(path, wanted, sentences, inputs), request)


def _content(path):
    content = files.load_json(path, JSON)
    videos, sentences = content.get("videos"), content.get("sentences")
    if not isinstance(videos, list) or not isinstance(sentences, list):
        raise ValueError(f"{path}: no lists 'videos' and 'sentences'; expected {JSON}")
    return videos, sentences


def _pairs(path, inputs):
    for where, row in files.rows(path, ("video_id", "sentence"), TEST_1K):
        if text := clean(row["sentence"], inputs.remarks):
            yield Entry(where, row["video_id"], (ClipSpec(captions=(Caption(text, None, None),)),))
        else:
            yield bad_row(row["video_id"], where, "no sentence")


def _listed(folder, split):
    what = f"MSRVTT_{split.replace('_', '.')}.csv (column video_id; https://github.com/gabeur/mmt)"
    if folder.is_file():
        raise ValueError(f"--annotations {folder}: --split={split} needs the folder with the json and {what}")
    path = files.locate(folder, [f"MSRVTT_{split.replace('_', '.')}.csv"], what)
    return {row["video_id"] for _, row in files.rows(path, ("video_id",), what)}


def _of_split(path, videos, request):
    of_split = {}
    for video in videos:
        of_split.setdefault(video["split"], set()).add(video["video_id"])
    wanted = set().union(*(of_split.get(name, ()) for name in _SPLITS[request.split]))
    if not wanted:
        found = ", ".join(sorted(of_split))
        raise ValueError(f"{path}: no video of the split {request.split}; it has {found[:200] or 'none'}")
    return wanted


def _entries(path, wanted, sentences, inputs):
    texts = {}
    for sentence in sentences:
        name, text = (sentence.get(n) for n in ("video_id", "caption")) if isinstance(sentence, dict) else (None, None)
        if not isinstance(name, str) or not isinstance(text, str):
            yield bad_row("", str(path), f"a sentence without video_id and caption: {str(sentence)[:80]!r}")
        elif name in wanted:
            number = sentence.get("sen_id")
            number = number if isinstance(number, int) else 0
            if text := clean(text, inputs.remarks):
                texts.setdefault(name, []).append((number, text))
            else:
                inputs.remarks.add(Remark.CAPTION_DROPPED, f"sentence {number}: no words", path=name)
    for name in sorted(wanted):
        where, captions = (
            f"{path}: {name[:50]}",
            tuple(Caption(text, None, None) for _, text in sorted(texts.get(name, ()))),
        )
        if captions:
            yield Entry(where, name, (ClipSpec(captions=tuple(dict.fromkeys(captions))),))
        else:
            yield bad_row(name, where, "no sentence")
