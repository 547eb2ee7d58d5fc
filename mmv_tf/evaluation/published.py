"""The published tables that results are shown beside. Values are percent unless the column says otherwise."""

from typing import NamedTuple


class Column(NamedTuple):
    """A column, and which result fills it: `protocol` and `metric` as in a results file."""

    name: str
    protocol: str
    metric: str


class Table(NamedTuple):
    """A published table: rows are (name, values in the order of the columns; None where nothing is published)."""

    title: str
    note: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, tuple[float | None, ...]], ...]


SOURCES = (
    "Published: the tables of Alayrac et al., Self-Supervised MultiModal Versatile Networks (NeurIPS 2020, arXiv "
    "2006.16228), in %; that of zero-shot retrieval from Akbari et al., VATT (NeurIPS 2021, arXiv 2104.11178). Rows of "
    "other systems (gin/systems) are as these tables print them; BraVe is from its own paper (arXiv 2103.16559), GDT "
    "of HowTo100M and AVID without CMA from their repositories. A dash: not published, or not measured here."
)

_UCF = Column("UCF101 linear", "ucf101", "top1")
_HMDB = Column("HMDB51 linear", "hmdb51", "top1")
_UCF_TUNED = Column("UCF101 tuned", "ucf101_finetune", "top1")
_HMDB_TUNED = Column("HMDB51 tuned", "hmdb51_finetune", "top1")
_YOUCOOK = Column("YouCook2 R@10", "youcook2", "text->video R@10")
_MSRVTT = Column("MSR-VTT R@10", "msrvtt", "text->video R@10")
_ESC = Column("ESC-50 linear", "esc50", "top1")

TABLES = (
    Table(
        "Which modalities",
        "S3D-G, 16 frames, batch 512, pretrained on HowTo100M.",
        (_UCF, _HMDB, _YOUCOOK, _MSRVTT, _ESC),
        (
            ("VT", (82.7, 55.9, 33.6, 27.5, None)),
            ("VA", (75.5, 51.6, None, None, 79.0)),
            ("VAT (FAC)", (84.7, 57.3, 32.2, 28.6, 78.7)),
        ),
    ),
    Table(
        "How the modalities are merged",
        "S3D-G, 16 frames, batch 512, pretrained on HowTo100M and AudioSet.",
        (_UCF, _HMDB, _YOUCOOK, _MSRVTT, _ESC),
        (
            ("Shared", (84.7, 60.2, 20.8, 22.4, 88.5)),
            ("Disjoint", (85.1, 59.3, 25.0, 22.5, 87.0)),
            ("FAC", (86.2, 62.5, 23.8, 23.5, 88.0)),
        ),
    ),
    Table(
        "Downstream: video and sound",
        "32 frames, batch 4096 (as VATT says of MMV). AS: AudioSet, HT: HowTo100M.",
        (_UCF, _UCF_TUNED, _HMDB, _HMDB_TUNED, _ESC)
        + (Column("AudioSet mAP", "audioset", "mAP"), Column("Kinetics-600 linear", "kinetics600", "top1")),
        (
            ("VA R(2+1)D-18, AS", (83.9, 91.5, 60.0, 70.1, 85.6, 29.7, 55.5)),
            ("VA S3D-G, AS", (84.7, 90.1, 60.4, 68.2, 86.1, 29.7, 59.8)),
            ("VA S3D-G, AS+HT", (86.2, 91.1, 61.5, 68.3, 87.2, 30.6, 59.8)),
            ("FAC S3D-G, AS+HT", (89.6, 92.5, 62.6, 69.6, 87.7, 30.3, 68.0)),
            ("FAC TSM-50, AS+HT", (91.5, 94.9, 66.7, 73.2, 86.4, 30.6, 67.8)),
            ("FAC TSM-50x2, AS+HT", (91.8, 95.2, 67.1, 75.0, 88.9, 30.9, 70.5)),
            ("MIL-NCE I3D, HT", (83.4, 89.1, 54.8, 59.2, None, None, None)),
            ("MIL-NCE S3D-G, HT", (82.7, 91.3, 53.1, 61.0, None, None, None)),
            ("AVTS MC3-18, AS", (None, 89.0, None, 61.6, 80.6, None, None)),
            ("GDT R(2+1)D-18, AS", (None, 92.5, None, 66.1, 88.5, None, None)),
            ("GDT R(2+1)D-18, IG65M", (None, 95.2, None, 72.8, None, None, None)),
            ("GDT R(2+1)D-18 with text, HT", (None, 94.1, None, 67.4, None, None, None)),
            ("BraVe TSM-50, AS", (93.0, None, 69.4, None, None, None, 70.6)),
            ("VATT Medium, AS+HT", (89.6, None, 65.2, None, 84.7, None, None)),
            ("VATT Medium, AS+HT, SVM", (89.2, None, 63.3, None, 82.5, None, None)),
            ("VATT modality-agnostic, AS+HT", (84.4, None, 63.1, None, 81.2, None, None)),
            ("AVID R(2+1)D-18, AS", (None, 91.0, None, 64.1, None, None, None)),
            ("AVID-CMA R(2+1)D-50, AS", (None, 91.5, None, 64.7, 89.2, None, None)),
            ("XDC R(2+1)D-18, AS", (None, 91.2, None, 61.0, 84.8, None, None)),
            ("ELo R(2+1)D-50, YouTube-8M", (None, 93.8, 64.5, 67.4, None, None, None)),
            ("AA+AV CC ResNet-50, AS", (None, None, None, None, None, 28.5, None)),
            ("CVRL R3D-50, Kinetics-600", (None, None, None, None, None, None, 64.1)),
        ),
    ),
    Table(
        "Fine-tuned, as VATT reports it",
        "By its repository. Sound: the waveform transformer, which is of size Base beside a video network of any size.",
        (
            Column("Kinetics-600 tuned", "kinetics600_finetune", "top1"),
            Column("AudioSet tuned mAP", "audioset_finetune", "mAP"),
        ),
        (
            ("VATT Base, AS+HT", (80.5, 39.4)),
            ("VATT Medium, AS+HT", (82.4, None)),
            ("VATT Large, AS+HT", (83.6, None)),
            ("VATT modality-agnostic, AS+HT", (80.8, 39.3)),
        ),
    ),
    Table(
        "Images: the deflated network",
        "n-def: naive deflation; def: trained deflation; i-inf: the image repeated into a clip for the video network.",
        (
            Column("VOC 2007 mAP", "voc2007", "mAP"),
            Column("ImageNet top-1", "imagenet", "top1"),
            Column("ImageNet top-5", "imagenet", "top5"),
        ),
        (
            ("S3D-G n-def", (41.8, 20.7, 40.5)),
            ("S3D-G def", (71.4, 45.2, 71.3)),
            ("S3D-G i-inf", (72.1, 46.7, 72.5)),
            ("TSM-50 n-def", (34.4, 10.9, 24.6)),
            ("TSM-50 def", (74.8, 50.4, 76.0)),
            ("TSM-50 i-inf", (75.7, 51.5, 77.3)),
            ("TSM-50x2 n-def", (45.6, 20.3, 39.9)),
            ("TSM-50x2 def", (77.4, 56.6, 81.4)),
            ("TSM-50x2 i-inf", (77.4, 57.4, 81.7)),
            ("supervised S3D-G def", (67.9, 42.8, 68.0)),
            ("supervised TSM-50 def", (66.9, 43.4, 68.3)),
            ("supervised TSM-50x2 def", (66.9, 47.8, 72.7)),
            ("SimCLR ResNet-50", (80.5, 69.3, 89.0)),
            ("SimCLR ResNet-50x2", (None, 74.2, 92.0)),
            ("SimCLR ResNet-50x4", (84.2, 76.5, 93.2)),
        ),
    ),
    Table(
        "Zero-shot retrieval, as VATT compares it",
        "MMV's row as VATT prints it. MedR is a rank: smaller is better.",
        (_YOUCOOK, Column("YouCook2 MedR", "youcook2", "text->video MedR"))
        + (_MSRVTT, Column("MSR-VTT MedR", "msrvtt", "text->video MedR")),
        (
            ("MMV", (45.4, 13, 31.1, 38)),
            ("MIL-NCE S3D-G", (51.2, 10, 32.4, 30)),
            ("VATT MBS", (45.5, 13, 29.7, 49)),
            ("VATT modality-agnostic", (40.6, 17, 23.6, 67)),
        ),
    ),
)
