"""The pairs of GDT (Patrick et al., arXiv 2003.04298): which changes of a sample a network shall tell apart.

A sample is a clip, the clip at another time (`_2`), and both run backwards (`_r`, `_2r`), each in two modalities:

    Graph.views = {
        'video_2': 'video', 'video_r': 'video', 'video_2r': 'video',
        'audio_2': 'audio', 'audio_r': 'audio', 'audio_2r': 'audio',
    }
    Graph.pairs = @gdt_pairs()
    gdt_pairs.hypothesis = 6
    gdt_pairs.loss = @info_nce

The network is *variant* to a change if a sample's changed version is a negative of it, and *invariant* if the changed
version is its positive. The nine hypotheses are those of the reference (facebookresearch/GDT, main_gdt.py and
gdt_helper.py; with the list of negatives that its formula means, where its own grows from call to call).
"""

from collections.abc import Callable
from typing import Annotated

from mmv_tf.common.configurable import configurable
from mmv_tf.common.values import NotNegative, Range
from mmv_tf.model import losses
from mmv_tf.model.graph import Pair

# hypothesis: what the network is to reversal and to a shift in time
_MEANING = {
    1: (None, None),
    2: ("variant", None),
    3: ("invariant", None),
    4: (None, "variant"),
    5: (None, "invariant"),
    6: ("variant", "variant"),
    7: ("invariant", "variant"),
    8: ("variant", "invariant"),
    9: ("invariant", "invariant"),
}


@configurable
def gdt_pairs(
    hypothesis: Annotated[int, Range(least=1, most=9)] = 6,
    space: str = "va",
    first: str = "video",
    second: str = "audio",
    weight: NotNegative = 1.0,
    loss: Callable[..., losses.Compared] = losses.info_nce,
):
    """The pairs of a hypothesis, whose weighted losses sum to `weight` times GDT's loss.

    Args:
      hypothesis: 1: neither change; variant to reversal (2), to the shift (4), to both (6); invariant to reversal (3),
        to the shift (5), to both (9); invariant to reversal and variant to the shift (7), and the other way round (8).
      space: in which the pairs are compared.
      first, second: two modalities; their views are called as above.
      weight: of the sum.
      loss: as `losses.info_nce`, with `stop_keys` and a temperature of .07.
    Returns:
      list of `Pair`.
    """
    reversal, shift = _MEANING[hypothesis]
    forward, backward = ("", "_r"), ("_2", "_2r")  # each clip with itself reversed
    present, turned = ("", "_2"), ("_r", "_2r")  # each clip with itself at the other time
    if reversal and shift:
        terms = [(reversal, forward), (reversal, backward), (shift, present), (shift, turned)]
    else:
        terms = [(kind, clips) for kind, clips in ((reversal, forward), (shift, present)) if kind]
    terms += [("base", clips) for kind, clips in ((reversal, forward), (shift, present)) if kind == "invariant"]
    found: list[Pair] = []
    for kind, (one, other) in terms or [("base", ("", None))]:
        for clip, changed in ((one, other), (other, one)) if other is not None else ((one, None),):
            key, further = (changed, clip) if kind == "invariant" else (clip, changed)
            for query, keys in ((first, second), (second, first)):
                against = () if further is None else (f"{keys}{further}",)
                own = kind == "variant"
                found.append(Pair(f"{query}{clip}", f"{keys}{key}", space, loss, 1.0, against, own))
    return [Pair(**{**vars(pair), "weight": weight / len(found)}) for pair in found]
