"""A folder of small videos and an index of it, made by the tiny module that all tests share."""

import pathlib
from typing import NamedTuple

import pytest

from helpers import tiny_export
from helpers.videos import write_video
from mmv_tf.searching import indexing
from mmv_tf.searching.embedder import Embedder
from mmv_tf.searching.index import Index
from mmv_tf.searching.store import Store


class Made(NamedTuple):
    videos: pathlib.Path
    folder: pathlib.Path
    index: Index
    report: indexing.Report


@pytest.fixture(scope="session")
def asked(made, embedder):
    """What a question by a.mp4 is embedded as; to decode and embed it takes a third of a second each time."""
    return embedder.of_file("video", str(made.videos / "a.mp4"))


@pytest.fixture(scope="session")
def embedder():
    return Embedder(str(tiny_export.export().module))


@pytest.fixture(scope="session")
def made(embedder, tmp_path_factory):
    base = tmp_path_factory.mktemp("search")
    videos = base / "videos"
    (videos / "sub").mkdir(parents=True)
    write_video(videos / "a.mp4", seconds=4, beep_at=1.0)
    write_video(videos / "sub/<img src=x onerror=alert(1)>.mkv", seconds=3, codec="mpeg4", sound_codec="flac")
    write_video(videos / "sound.wav", seconds=3, codec=None, sound_codec="pcm_s16le", beep_at=0.5)
    (videos / "broken.mp4").write_text("no video")
    (videos / "a.srt").write_text("1\n00:00:02,000 --> 00:00:03,000\nPour the <b>batter</b>\n")
    store = Store(str(base / "index"), *indexing.made_with(embedder, str(videos)))
    report = indexing.update(store, embedder, str(videos), progress=False)
    index = Index(store, embedder)
    yield Made(videos, base / "index", index, report)
    index.close()
