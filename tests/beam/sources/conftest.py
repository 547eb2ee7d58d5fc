"""A folder with three files that have the names of videos, and one outside of it."""

import pytest


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "videos"
    (root / "sub").mkdir(parents=True)
    for name in ("a.mp4", "sub/b.mkv", "c.wav"):
        (root / name).write_bytes(b"x")
    (tmp_path / "outside.mp4").write_bytes(b"x")
    return root
