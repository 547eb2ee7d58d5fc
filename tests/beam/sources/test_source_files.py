"""What was looked at is what is read, whatever becomes of its name."""

import os

import pytest

from helpers.videos import write_video
from mmv_tf.beam.decoding.client import DecodeClient, Failure
from mmv_tf.beam.decoding.image_worker import ImageClient
from mmv_tf.beam.sources import paths, source_files
from mmv_tf.beam.specs import Settings
from mmv_tf.records.card import Reason


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "sub/a.MP4").write_bytes(b"inside")
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/secret.mp4").write_bytes(b"secret")
    return root


def _read(root, path):
    with source_files.opened(str(root), path, 100) as found, source_files.local(found, 100) as file:
        assert file.endswith(".MP4")
        return open(file, "rb").read()


def test_a_name_that_changes_while_the_file_is_open(root):
    with source_files.opened(str(root), "sub/a.MP4", 100) as found, source_files.local(found, 100) as file:
        os.unlink(root / "sub/a.MP4")
        (root / "sub/a.MP4").symlink_to("../../secret/secret.mp4")
        assert open(file, "rb").read() == b"inside" and found.size == 6
    assert not os.path.lexists(file)


@pytest.mark.parametrize("swap", ["file for link", "folder for link", "file for pipe", "file for folder", "gone"])
def test_what_is_swapped_between_look_and_opening(root, tmp_path, monkeypatch, swap):
    real = paths.confine

    def confine(*arguments):
        found = real(*arguments)
        if swap == "folder for link":
            os.rename(root / "sub", root / "other")
            (root / "sub").symlink_to(tmp_path / "secret")
            (tmp_path / "secret/a.MP4").write_bytes(b"secret")
            return found
        os.unlink(root / "sub/a.MP4")
        if swap == "file for link":
            (root / "sub/a.MP4").symlink_to(tmp_path / "secret/secret.mp4")
        elif swap == "file for pipe":
            os.mkfifo(root / "sub/a.MP4")
        elif swap == "file for folder":
            os.mkdir(root / "sub/a.MP4")
        return found

    monkeypatch.setattr(paths, "confine", confine)
    descriptors = len(os.listdir("/proc/self/fd"))
    with pytest.raises(source_files.Refused) as refused:
        _read(root, "sub/a.MP4")
    is_link = swap.endswith("link")
    assert refused.value.reason is (Reason.OUTSIDE_ROOT if is_link else Reason.MISSING_FILE)
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_links_within_the_root_are_followed(root):
    (root / "b.MP4").symlink_to("sub/a.MP4")
    assert _read(root, "b.MP4") == b"inside"
    (root / "c.MP4").symlink_to("../secret/secret.mp4")
    with pytest.raises(source_files.Refused, match="leads out of the root"):
        _read(root, "c.MP4")


@pytest.mark.parametrize("client", [DecodeClient, ImageClient])
def test_a_file_that_is_gone_is_missing(client, tmp_path):
    asked = client(Settings())
    with pytest.raises(Failure) as failure:
        list(asked.ask(str(tmp_path / "nothing.mp4"), [(0.0, None)]))
    asked.close()
    assert failure.value.reason is Reason.MISSING_FILE


def test_a_video_is_decoded_through_its_descriptor(tmp_path):
    write_video(tmp_path / "a.mp4", seconds=1)
    asked = DecodeClient(Settings())
    with source_files.opened(str(tmp_path), "a.mp4", 1 << 30) as found:
        os.unlink(tmp_path / "a.mp4")
        answers = [header for header, _ in asked.ask(found.file, [(0.0, None)])]
    asked.close()
    assert [answer.get("frames") for answer in answers] == [None, 10]
