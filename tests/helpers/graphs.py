"""The paper's graphs at a small size, for tests of several modules."""

from mmv_tf.model import losses
from mmv_tf.model.graph import Graph


def fac(**options) -> Graph:
    settings = {
        "spaces": {"va": 6, "vat": 4},
        "heads": [
            ("video", "va", {"hidden": (6,), "batch_norm": True}),
            ("audio", "va"),
            ("va", "vat", {"activation": "relu", "batch_norm": True}),
            ("text", "vat"),
        ],
        "pairs": [("video", "audio", "va"), ("video", "text", "vat", {"loss": losses.mil_nce})],
    }
    return Graph(**{**settings, **options})


def va() -> Graph:
    """One pair: the least that can be trained."""
    return Graph(spaces={"va": 5}, heads=[("video", "va"), ("audio", "va")], pairs=[("video", "audio", "va")])


def shared() -> Graph:
    return Graph(
        spaces={"s": 5},
        heads=[("video", "s", {"hidden": (6,), "batch_norm": True}), ("audio", "s"), ("text", "s")],
        pairs=[("video", "audio", "s"), ("video", "text", "s", {"loss": losses.mil_nce, "weight": 2.0})],
    )


def disjoint() -> Graph:
    return Graph(
        spaces={"va": 5, "vt": 4},
        heads=[("video", "va"), ("audio", "va"), ("video", "vt"), ("text", "vt")],
        pairs=[("video", "audio", "va"), ("video", "text", "vt", {"loss": losses.mil_nce})],
    )
