"""The tables of the paper in miniature: which runs each needs, and what the paper says of their order."""

import pathlib
from typing import NamedTuple

DATA = pathlib.Path("build/miniature")


def folder(name: str, seed: int, data: pathlib.Path) -> pathlib.Path:
    """Of a run, below the folder of the data."""
    return data / "runs" / f"{name}-{seed}"


# {run: the run of the same seed whose weights and memories it begins with}.
AFTER = {"objectives/avid_cma": "objectives/avid"}
# {run without a step: the run whose network it has}; the first one is the baseline of all tables.
UNTRAINED = {
    "untrained": "fac",
    **{f"objectives/{name}_untrained": f"objectives/{name}" for name in ("vatt", "tsm", "simclr")},
}


class Claim(NamedTuple):
    """What has `better` above `worse` (rows of a table), with its figures; here judged by `measures`."""

    better: str
    worse: str
    measures: tuple[str, ...]
    source: str


class Table(NamedTuple):
    """A table.

    Attributes:
      rows: {name of the row: name of the run, which is that of its gin file}; in (c) the variant of the run of FAC.
      baselines: those that it must have.
      notes: where it differs from the paper's table.
    """

    title: str
    rows: dict[str, str]
    columns: tuple[str, ...]
    claims: tuple[Claim, ...]
    baselines: tuple[str, ...] = ("chance", "untrained", "raw")
    notes: tuple[str, ...] = ()


VIDEO = ("probe/video/event", "probe/video/event of new materials", "probe/video/material")
SOUND = ("probe/audio/event",)
BOTH = (*VIDEO, *SOUND)
TEXT = ("retrieval/text->video mAP", "retrieval/video->text event", "retrieval/video->text material")
CLIPS = ("retrieval/video->audio R@10", "retrieval/video->audio within event R@10")
AUDIO_TEXT = ("retrieval/text->audio mAP", "retrieval/audio->text event", "retrieval/audio->text material")
CONTROLS = ("probe/video/coin", "probe/audio/coin")  # a label that nothing shows
# What no single frame tells: how fast, which way, which of two events is first, which way the camera goes.
MOTION = ("probe/video/tempo", "probe/video/direction", "probe/video/first event", "probe/video/camera")
# Not judged by: raw sound gives the material, and no narration tells a motion but the camera's.
SHOWN = ("probe/video/new event", *MOTION, "probe/audio/event of new materials", "probe/audio/first event",
         "probe/audio/material", "probe/audio/tempo", *CONTROLS)  # fmt: skip
ALL = (*VIDEO, *SOUND, *TEXT, *CLIPS, *AUDIO_TEXT, *SHOWN)
IMAGES = ("probe/image/material", "probe/image/event")
# What one frame cannot tell: chance, and at most the half for the first of two events.
NOT_IN_A_FRAME = ("probe/image/event of new materials", "probe/image/direction", "probe/image/first event")
FOUND_IMAGES = ("retrieval/text->image mAP", "retrieval/image->text material", "retrieval/audio->image R@10")
TEN = "VAT (FAC, 10 : 1)"
BASE = "batch 64, 5 candidates"
NEGATIVES = "MIL-NCE, Miech et al. 2020: more negatives are better"
CANDIDATES = "MIL-NCE, Miech et al. 2020: several candidates are better than one"
SAME_DATA = (
    "A third of the clips has no text in every run; in the paper all of HowTo100M has, and with AudioSet about half"
)
SHOTS = (4, 16)
FEW = tuple(f"fine-tuned/{shots} clips an event" for shots in SHOTS)

TABLES = {
    "a": Table(
        "Modalities",
        {"VT": "vt", "VA": "va", "VAT (FAC)": "fac", TEN: "fac10"},
        ALL,
        (
            Claim(TEN, "VT", VIDEO, "UCF101 84.7 > 82.7, HMDB51 57.3 > 55.9"),
            Claim(TEN, "VA", VIDEO, "UCF101 84.7 > 75.5, HMDB51 57.3 > 51.6"),
            Claim("VAT (FAC)", "VT", VIDEO, "UCF101 84.7 > 82.7, HMDB51 57.3 > 55.9"),
            Claim("VAT (FAC)", "VA", VIDEO, "UCF101 84.7 > 75.5, HMDB51 57.3 > 51.6"),
            Claim("VT", "VA", VIDEO, "UCF101 82.7 > 75.5, HMDB51 55.9 > 51.6"),
            Claim("VA", TEN, SOUND, "ESC-50 79.0 > 78.7"),
            Claim("VA", "VAT (FAC)", SOUND, "ESC-50 79.0 > 78.7"),
        ),
        notes=(
            SAME_DATA,
            "On HowTo100M alone the paper weights text and sound ten to one; all other runs here weight them alike",
            "Text and video: the paper has no order of VAT and VT (R@10, MSR-VTT 28.6 > 27.5, YouCook2 32.2 < 33.6)",
        ),
    ),
    "b": Table(
        "Merging strategies",
        {"Shared": "shared", "Disjoint": "disjoint", "FAC": "fac"},
        ALL,
        (
            Claim("FAC", "Shared", VIDEO, "UCF101 86.2 > 84.7, HMDB51 62.5 > 60.2"),
            Claim("FAC", "Disjoint", VIDEO, "UCF101 86.2 > 85.1, HMDB51 62.5 > 59.3"),
            Claim("Shared", "FAC", SOUND, "ESC-50 88.5 > 88.0"),
            Claim("FAC", "Disjoint", SOUND, "ESC-50 88.0 > 87.0"),
            Claim("FAC", "Shared", TEXT, "YouCook2 23.8 > 20.8, MSR-VTT 23.5 > 22.4"),
            Claim("FAC", "Disjoint", AUDIO_TEXT, "disjoint spaces cannot compare audio and text"),
            Claim("Shared", "Disjoint", AUDIO_TEXT, "disjoint spaces cannot compare audio and text"),
        ),
        notes=(
            SAME_DATA,
            "Text and video: the paper has no order of FAC and disjoint (R@10, MSR-VTT 23.5 > 22.5, YouCook2 23.8 "
            "< 25.0)",
        ),
    ),
    "c": Table(
        "Deflation",
        {"naive": "naive", "trained": "trained", "inflated": "inflated"},
        (*IMAGES, *FOUND_IMAGES, *NOT_IN_A_FRAME),
        (
            Claim("trained", "naive", (*IMAGES, *FOUND_IMAGES), "VOC 71.4 > 41.8, ImageNet top-1 45.2 > 20.7"),
            Claim("inflated", "trained", (*IMAGES, *FOUND_IMAGES), "VOC 72.1 > 71.4, ImageNet top-1 46.7 > 45.2"),
        ),
    ),
    "d": Table(
        "Batch size and narration candidates",
        {
            "batch 64, 5 candidates": "fac",
            "batch 16, as many clips": "batch16",
            "batch 16, as many steps": "batch16_steps",
            "batch 128, as many clips": "batch128",
            "1 candidate": "candidates1",
            "3 candidates": "candidates3",
        },
        ALL,
        (
            Claim(BASE, "batch 16, as many clips", (*VIDEO, *SOUND, *TEXT, *CLIPS), NEGATIVES),
            Claim(BASE, "batch 16, as many steps", (*VIDEO, *SOUND, *TEXT, *CLIPS), NEGATIVES),
            Claim("batch 128, as many clips", BASE, (*VIDEO, *SOUND, *TEXT, *CLIPS), NEGATIVES),
            Claim(BASE, "1 candidate", TEXT, CANDIDATES),
            Claim("3 candidates", "1 candidate", TEXT, CANDIDATES),
        ),
        notes=(
            "This paper has no such table. With as many clips, a smaller batch takes more steps; with as many steps, "
            "it sees fewer clips: neither changes the negatives alone",
        ),
    ),
    "e": Table(
        "Fine-tuning with few labels",
        {"pretrained (FAC)": "fac", "from scratch": "untrained"},
        FEW,
        (Claim("pretrained (FAC)", "from scratch", FEW, "pretraining beats training from scratch"),),
        ("chance",),
    ),
    "f": Table(
        "Systems",
        {
            "MMV, VT": "vt",
            "MMV, VA": "va",
            "MMV, shared": "shared",
            "MMV, disjoint": "disjoint",
            "MMV, FAC": "fac",
            "MIL-NCE": "objectives/milnce",
            "GDT": "objectives/gdt",
            "AVID": "objectives/avid",
            "XDC": "objectives/xdc",
            "CVRL": "objectives/cvrl",
            "VATT": "objectives/vatt",
            "AA+AV CC": "objectives/aa_av_cc",
            "AA+AV CC, clusters": "objectives/aa_av_cc_clusters",
            "AVTS": "objectives/avts",
            "ELo": "objectives/elo",
            "BraVe": "objectives/brave",
            "AVID-CMA": "objectives/avid_cma",
            "SimCLR": "objectives/simclr",
            "MMV, FAC, TSM": "objectives/tsm",
            "VATT, untrained": "objectives/vatt_untrained",
            "TSM, untrained": "objectives/tsm_untrained",
            "SimCLR, untrained": "objectives/simclr_untrained",
        },
        ALL,
        (
            Claim("MMV, FAC", "MIL-NCE", VIDEO, "UCF101 89.6 > 82.7, HMDB51 62.6 > 53.1"),
            Claim("MMV, FAC", "MMV, VA", VIDEO, "UCF101 89.6 > 84.7, HMDB51 62.6 > 60.4"),
            Claim("MMV, FAC, TSM", "MMV, FAC", VIDEO, "UCF101 91.5 > 89.6, HMDB51 66.7 > 62.6"),
            Claim("MMV, FAC", "VATT", SOUND, "ESC-50 87.7 > 84.7"),
            Claim("MMV, FAC", "CVRL", VIDEO, "Kinetics-600 68.0 > 64.1"),
            Claim("CVRL", "MMV, VA", VIDEO, "Kinetics-600 64.1 > 59.8"),
            Claim("BraVe", "MMV, VA", VIDEO, "UCF101 93.0 > 84.7, HMDB51 69.4 > 60.4"),
            Claim("ELo", "MMV, VA", VIDEO, "HMDB51 64.5 > 60.4"),
            Claim("GDT", "MMV, VA", SOUND, "ESC-50 88.5 > 86.1"),
            Claim("MMV, VA", "AVTS", BOTH, "tuned, UCF101 90.1 > 89.0, HMDB51 68.2 > 61.6; ESC-50 86.1 > 80.6"),
            Claim("GDT", "AVID-CMA", VIDEO, "tuned, UCF101 92.5 > 91.5, HMDB51 66.1 > 64.7"),
            Claim("AVID-CMA", "AVID", VIDEO, "tuned, UCF101 91.5 > 91.0, HMDB51 64.7 > 64.1"),
            Claim("AVID-CMA", "XDC", BOTH, "tuned, UCF101 91.5 > 91.2, HMDB51 64.7 > 61.0; ESC-50 89.2 > 84.8"),
            Claim("AVID", "AVTS", VIDEO, "tuned, UCF101 91.0 > 89.0, HMDB51 64.1 > 61.6"),
            Claim("XDC", "AVTS", SOUND, "ESC-50 84.8 > 80.6"),
            Claim("MMV, VA", "AA+AV CC", SOUND, "AudioSet mAP 29.7 > 28.5"),
        ),
        notes=(
            "All have one video network (but TSM, VATT and SimCLR: rows of theirs are untrained), one for sound and "
            "words, one optimiser, the same clips, and as many through the video network; the published figures are of "
            "networks, data and evaluations that differ",
            "AVTS has its first stage, AVID-CMA 800 steps after AVID's 1,600 (half as many clips again), ELo equal "
            "weights, SimCLR single frames and a network of its own; BraVe's sound is 1.9 times as long as its video, "
            "not eight times",
        ),
    ),
    "g": Table(
        "DropToken",
        {
            "S3D": "fac",
            "VATT, 0 %": "objectives/vatt_0",
            "VATT, 25 %": "objectives/vatt_25",
            "VATT, 50 %": "objectives/vatt",
            "VATT, 75 %": "objectives/vatt_75",
            "VATT, 50 %, S3D's time": "objectives/vatt_time",
            "VATT, untrained": "objectives/vatt_untrained",
        },
        ALL,
        (
            Claim("VATT, 0 %", "VATT, 25 %", BOTH, "UCF101 87.6 > 87.2, HMDB51 66.4 > 65.6; ESC-50 84.9 > 84.6"),
            Claim("VATT, 25 %", "VATT, 50 %", BOTH, "UCF101 87.2 > 85.5, HMDB51 65.6 > 64.8; ESC-50 84.6 > 84.1"),
            Claim("VATT, 50 %", "VATT, 75 %", BOTH, "UCF101 85.5 > 84.0, HMDB51 64.8 > 62.5; ESC-50 84.1 > 78.9"),
            Claim("S3D", "VATT, 50 %", SOUND, "ESC-50 87.7 > 84.7"),
        ),
        notes=(
            "Published: MBS, 260 million weights; here the tiny sizes: 18 tokens of pictures, 50 of sound",
            "1,600 steps for all, but 1,880 in S3D's time: as much processor time as its 1,600 take",
        ),
    ),
}
ORDER = ("b", "a", "f", "g", "c", "e", "d")  # the most important first
