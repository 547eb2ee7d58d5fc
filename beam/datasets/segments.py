"""Segments of YouTube videos with labels, as AudioSet and Kinetics name them; the files are often cut already."""

from typing import NamedTuple

from mmv_tf.beam.datasets.entries import Entry, bad_row, inputs_of
from mmv_tf.beam.specs import ClipSpec


class Segment(NamedTuple):
    """A row: from start to end (seconds) of the video with this id."""

    where: str
    video_id: str
    start: float
    end: float
    labels: tuple[str, ...]


def inputs_of_segments(segments, request, labels):
    """Inputs of the segments that `segments()` gives anew each time; of a row that cannot be used, it gives (where, id,
    error).

    A file is known to be the segment itself, already cut, by its name: id_start_end or id_start, with the times of the
    row in seconds or milliseconds (id_000010_000020, id_10.000_20.000, id_10_20, id_10000_20000, id_10000). A file that
    is named by the id alone (or by Y and the id, as PANNs does) may be either, and --files must say.
    """

    def entries(inputs, index):
        del inputs  # no captions to count
        for segment in segments():
            if isinstance(segment, Segment):
                yield _entry(segment, index, request.files)
            else:
                where, video_id, error = segment
                yield bad_row(video_id, where, error)

    return inputs_of(entries, request, labels)


def _entry(segment, index, files):
    where, video_id, start, end, labels = segment
    cut = ClipSpec(labels=labels)
    for stem in cut_names(video_id, start, end):
        if index.find(stem):
            return Entry(where, stem, (cut,), labels[0] if labels else "", is_unique=True)
    plain = next((stem for stem in (video_id, f"Y{video_id}") if index.find(stem)), video_id)
    if (path := index.find(plain)) and files is None:
        raise ValueError(
            f"{where}: {path} is named by the id alone: say with --files=whole that such files are whole videos, of "
            f"which the segment is taken, or with --files=cut that they are the segments already"
        )
    clip = cut if files == "cut" else ClipSpec(start, end, labels=labels)
    return Entry(where, plain, (clip,), labels[0] if labels else "", is_unique=True)


def cut_names(video_id, start, end):
    """The names that tools give to the file of a segment which they have cut out."""
    spellings = [
        [f"{time:06.0f}" if time == round(time) else None for time in (start, end)],
        [f"{time:.3f}" for time in (start, end)],
        [f"{time:.1f}" if time == round(time, 1) else None for time in (start, end)],
        [f"{time:g}" for time in (start, end)],
        [f"{time * 1000:.0f}" for time in (start, end)],
    ]
    spellings = [times for times in spellings if None not in times]
    return [f"{video_id}_{a}_{b}" for a, b in spellings] + [f"{video_id}_{a}" for a, _ in spellings]
