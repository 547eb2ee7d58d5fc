"""What the commands that import weights have in common: what they say at the end, of any of the three."""

import argparse
import types

import pytest

from mmv_tf.released import importing
from mmv_tf.training import workdir


@pytest.mark.parametrize(
    ("modalities", "words", "told"),
    [
        (("video", "text"), None, "text is left out of the configuration, and an export will have no text signature"),
        (("video", "text"), 4, "WARNING: words.txt has fewer words than the 5 word vectors; is it the right one?"),
        (("video", "text"), 5, None),
        (("video",), None, None),
    ],
)
def test_what_a_command_says_of_the_words_its_licence_and_the_workdir(
    modalities, words, told, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / workdir.WEIGHTS_LICENSE).write_text("free for all")
    (tmp_path / "words.txt").write_text("".join(f"word{i}\n" for i in range(words or 0)))
    parser = argparse.ArgumentParser()
    importing.add_arguments(parser, "a file")
    given = ["--vocabulary", "words.txt"] if words else []
    args = parser.parse_args(["--checkpoint", "weights", "--output", str(tmp_path), *given])
    layout = types.SimpleNamespace(backbones=dict.fromkeys(modalities), rows=6)
    importing.show(types.SimpleNamespace(report=lambda: "2 tensors mapped", layout=layout), args)
    first, *about, _, licence, place = capsys.readouterr().out.splitlines()
    assert (first, licence, place) == ("2 tensors mapped", "free for all", f"workdir: {tmp_path}")
    assert told in about[0] if told else not about


def test_a_name_of_a_file_is_one_line_whatever_it_holds():
    assert importing.printable("a/b") == "a/b" and importing.printable("a\nb") == "'a\\nb'"
