"""YouCook2: cooking videos, a sentence for each step (Zhou et al., AAAI 2018)."""

from mmv_tf.beam.captions.speech import clean
from mmv_tf.beam.datasets import annotation_files as files
from mmv_tf.beam.datasets.entries import Entry, bad_row, inputs_of
from mmv_tf.beam.specs import ClipSpec
from mmv_tf.records.schema import Caption

WHAT = (
    "youcookii_annotations_trainval.json, from http://youcook2.eecs.umich.edu/download (or the csv of MIL-NCE: "
    "end,start,task,text,video_id)"
)
_SUBSETS = {"train": "training", "val": "validation", "test": "testing"}


def read(request):
    """Inputs of the split train, val or test: a clip for each step, with its sentence.

    A csv as MIL-NCE's validation_youcook.csv is taken whole, whatever the split is called.

    Raises:
      ValueError: the file is missing or of another kind, or has no video of the split; names it.
    """
    names = ["youcookii_annotations_trainval.json", "youcookii_annotations*.json", "*youcook*.csv"]
    if request.split == "test":
        names.insert(0, "youcookii_annotations_test*.json")
    path = files.locate(request.annotations, names, WHAT)
    if path.suffix.lower() == ".csv":
        return inputs_of(lambda inputs, index: _rows(path, inputs), request)
    database = files.load_json(path, WHAT).get("database")
    if not isinstance(database, dict):
        raise ValueError(f"{path}: no object 'database' in it; expected {WHAT}")
    subsets = {str(video.get("subset")) for video in database.values() if isinstance(video, dict)}
    if _SUBSETS[request.split] not in subsets:
        found = ", ".join(sorted(subsets))
        raise ValueError(f"{path}: no video of the subset {_SUBSETS[request.split]}; it has {found[:200] or 'none'}")
    wanted = {name: video for name, video in database.items() if _is_of(video, _SUBSETS[request.split])}
    return inputs_of(lambda inputs, index: _entries(path, wanted, inputs), request)


def _is_of(video, subset):
    return not isinstance(video, dict) or video.get("subset") == subset


def _entries(path, database, inputs):
    for name, video in sorted(database.items()):
        where = f"{path}: {name[:50]}"
        steps = video.get("annotations") if isinstance(video, dict) else None
        if not isinstance(steps, list):
            yield bad_row(name, where, "no list 'annotations'")
            continue
        clips = []
        for step in steps:
            try:
                if video.get("subset") == _SUBSETS["test"] and "sentence" not in step:  # theirs are not published
                    clips.append(ClipSpec(*files.span(*step["segment"])))
                else:
                    clips.append(_clip(*step["segment"], step["sentence"], inputs))
            except (KeyError, TypeError, ValueError) as error:
                what = error if isinstance(error, ValueError) else "a step without segment and sentence"
                yield bad_row(name, where, str(what)[:200])
        if clips:
            yield Entry(where, name, tuple(clips))


def _rows(path, inputs):
    for where, row in files.rows(path, ("video_id", "start", "end", "text"), WHAT):
        try:
            clip = _clip(row["start"], row["end"], row["text"], inputs)
        except ValueError as error:
            yield bad_row(row["video_id"], where, error)
            continue
        yield Entry(where, row["video_id"], (clip,))


def _clip(start, end, sentence, inputs):
    if not isinstance(sentence, str) or not (text := clean(sentence, inputs.remarks)):
        raise ValueError("no sentence")
    return ClipSpec(*files.span(start, end), (Caption(text, None, None),))
