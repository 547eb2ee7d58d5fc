"""The captions that a clip gets, of those of its source."""

import hashlib

import numpy as np

from mmv_tf.records.schema import Caption


class CaptionIndex:
    """The captions of a source, to be asked for those of each of its clips.

    Args:
      captions: sequence of Caption; those without times are about the whole of any clip.
    """

    def __init__(self, captions):
        self._captions = captions
        self._untimed = np.array([caption.start is None for caption in captions], bool)
        times = [(0.0, 0.0) if caption.start is None else caption[1:] for caption in captions]
        self._starts, self._ends = np.array(times, np.float64).reshape(-1, 2).T

    def nearest(self, start, end, max_captions, max_gap, key=""):
        """See nearest(). Costs a pass over arrays, and a sort of what is near enough."""
        starts = np.where(self._untimed, start, self._starts)
        ends = np.where(self._untimed, end, self._ends)
        gaps = np.maximum(0.0, np.maximum(starts - end, start - ends))
        near = np.flatnonzero(gaps <= max_gap)
        starts, ends, gaps = starts[near], ends[near], gaps[near]
        distances = np.stack([starts, np.abs((starts + ends) - (start + end)) / 2, gaps])
        order = np.lexsort((near, *distances))  # the last key counts most
        if len(order) > max_captions:
            order = _drawn(order, distances, lambda place: self._captions[near[place]].text, max_captions, key)
        return tuple(self._at(near[place], start, end) for place in order)

    def _at(self, number, start, end):
        caption = self._captions[number]
        return Caption(caption.text, start, end) if caption.start is None else caption


def _drawn(order, distances, text_of, number, key):
    """The first of an order; where equal ones are one too many, those with the least hash of key and text."""
    if not number:
        return order[:0]
    is_equal = (distances[:, order] == distances[:, order[number - 1], None]).all(axis=0)
    first, last = np.flatnonzero(is_equal)[[0, -1]]
    if last < number:
        return order[:number]

    def draw(place):
        return hashlib.sha256(f"{key}\x1f{text_of(place)}".encode("utf-8", "surrogatepass")).digest()

    # Equal ones stay in the order that they came in.
    equal = set(sorted(order[first : last + 1], key=draw)[: number - first])
    return [*order[:first], *(place for place in order[first : last + 1] if place in equal)]


def nearest(captions, start, end, max_captions, max_gap, key=""):
    """The captions of a clip, nearest in time first, as the candidates of MIL-NCE (Miech et al., CVPR 2020, 3.1).

    Args:
      captions: of the source; those without times are about the whole clip.
      start, end: of the clip, seconds.
      max_captions: how many at most.
      max_gap: seconds between the spans of clip and caption from which on a caption is not about the clip any more.
      key: of the clip.
    Returns:
      tuple of Caption. Nearer means: a smaller gap between the two spans, then nearer middles, then earlier. Of equal
      ones, such as sentences about the whole clip, those that are one too many go by a hash of key and text: the order
      in which they come can be that of the alphabet.
    """
    return CaptionIndex(captions).nearest(start, end, max_captions, max_gap, key)
