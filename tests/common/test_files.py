"""Files written whole or not at all."""

import subprocess
import sys
import threading

import pytest

from mmv_tf.common import files


def test_a_file_is_there_when_it_is_whole(tmp_path):
    path = tmp_path / "a.txt"
    with files.whole_file(path) as partial:
        partial.write_text("half")
        assert not path.exists() and partial.parent == tmp_path and partial.name.startswith(files.PARTIAL)
    assert path.read_text() == "half" and [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_one_that_fails_leaves_the_one_before(tmp_path):
    path = tmp_path / "a.txt"
    files.write_text(path, "before")
    with pytest.raises(KeyboardInterrupt), files.whole_file(path) as partial:
        partial.write_text("half")
        raise KeyboardInterrupt
    assert files.read_text(path) == "before" and len(list(tmp_path.iterdir())) == 1


def test_two_writers_do_not_share_a_temporary_file(tmp_path):
    path, barrier = tmp_path / "a.txt", threading.Barrier(2)

    def write(text):
        with files.whole_file(path) as partial:
            partial.write_text(text)
            barrier.wait()
            assert partial.read_text() == text

    threads = [threading.Thread(target=write, args=[text]) for text in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_text() in ("one", "two") and len(list(tmp_path.iterdir())) == 1


def test_text_is_utf8_and_remote_paths_go_through_tensorflow(tmp_path):
    files.write_text(f"file://{tmp_path}/remote.txt", "gießen\n")
    assert (tmp_path / "remote.txt").read_bytes() == "gießen\n".encode()
    assert files.read_text(f"file://{tmp_path}/remote.txt") == files.read_text(tmp_path / "remote.txt") == "gießen\n"
    assert len(list(tmp_path.iterdir())) == 1
    with pytest.raises(FileNotFoundError):
        files.write_text(tmp_path / "no" / "folder.txt", "x")


def test_local_files_need_no_tensorflow(tmp_path):
    code = (
        "import sys; from mmv_tf.common import files; files.write_text(sys.argv[1], files.__name__); "
        "assert files.read_text(sys.argv[1]); assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "a.txt"], check=True)
