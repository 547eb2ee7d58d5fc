"""Readers of word vectors: the formats, and files that are cut off, malformed or hostile."""

import codecs
import pickle

import numpy as np
import pytest

from mmv_tf.records import word_vectors

WORDS = ["the", "caf\u00e9", "New_York"]
MATRIX = np.array([[0.5, -1.25], [3.0, 1e-3], [0.0, -7.5]], np.float32)


def word2vec_text(words=WORDS, matrix=MATRIX, header=None):
    lines = [header or f"{len(words)} {matrix.shape[1]}"]
    lines += [" ".join([word, *map(str, row)]) for word, row in zip(words, matrix, strict=True)]
    return "\n".join(lines).encode() + b"\n"


def glove_text(words=WORDS, matrix=MATRIX):
    return word2vec_text(words, matrix).split(b"\n", 1)[1]


def word2vec_binary(words=WORDS, matrix=MATRIX, header=None, newline=b"\n"):
    data = (header or f"{len(words)} {matrix.shape[1]}").encode() + b"\n"
    for word, row in zip(words, matrix, strict=True):
        data += word.encode() + b" " + row.astype("<f4").tobytes() + newline
    return data


FORMATS = [word2vec_text(), glove_text(), word2vec_binary(), word2vec_binary(newline=b"")]
MARKED = [codecs.BOM_UTF8 + data for data in FORMATS[:2]]  # as some editors write text


@pytest.mark.parametrize("data", FORMATS + MARKED)
def test_formats(tmp_path, data):
    (tmp_path / "vectors").write_bytes(data)
    words, matrix = word_vectors.read(tmp_path / "vectors")
    assert words == WORDS and matrix.dtype == np.float32
    np.testing.assert_array_equal(matrix, MATRIX)
    words, matrix = word_vectors.read(tmp_path / "vectors", keep={"New_York", "absent"})
    assert words == ["New_York"]
    np.testing.assert_array_equal(matrix, MATRIX[2:])


def test_glove_words_may_have_spaces(tmp_path):
    (tmp_path / "vectors").write_bytes(b"at 1.0 2.0\n. . . 3.0 4.0\n")
    words, matrix = word_vectors.read(tmp_path / "vectors")
    assert words == ["at", ". . ."] and matrix.tolist() == [[1, 2], [3, 4]]


def test_numbers_of_any_length(tmp_path):
    (tmp_path / "vectors").write_bytes(b"at 1.2345678901234567890123456789012e-05 " + b"0" * 40 + b"2\n")
    assert word_vectors.read(tmp_path / "vectors")[1].tolist() == [[float(np.float32(1.2345678901234567e-05)), 2]]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no word vectors"),
        (b"word\n", "line 1 must be a word and"),
        (b"one 1.0 2.0\ntwo 3.0\n", "line 2 must be a word and 2 numbers"),
        (b"one 1.0 2.0\ntwo 3.0 x\n", "line 2 must be a word and 2 numbers"),
        (b"one 1.0 nan\n", "vector 0 has numbers that are not finite"),
        (b"a" * 2_000_000, "line 1 is longer than"),
        (word2vec_text(header="4 2"), "announces 4 words"),
        (word2vec_binary()[:-4], "too short|cut off"),
        (word2vec_binary(header="99999 2"), "announces 99999 words and is too short"),
        (b"99999999999 300\n", "99999999999 vectors of 300 numbers; at most"),
        (b"3 99999999\n", "3 vectors of 99999999 numbers; at most"),
        (word2vec_binary(matrix=np.full((3, 2), np.inf, np.float32)), "not finite"),
        (b"2 2\n" + b"\x01" * 5000, "record 0 has no word"),
    ],
)
def test_malformed_files_are_named(tmp_path, data, message):
    (tmp_path / "vectors").write_bytes(data)
    with pytest.raises(ValueError, match=message) as error:
        word_vectors.read(tmp_path / "vectors")
    assert str(tmp_path / "vectors") in str(error.value)


def test_every_truncation_is_an_error_or_whole_lines(tmp_path):
    for data in (word2vec_text(), word2vec_binary()):
        for length in range(len(data) - 1):
            (tmp_path / "vectors").write_bytes(data[:length])
            try:
                words, matrix = word_vectors.read(tmp_path / "vectors")
            except ValueError:
                continue
            assert len(words) == len(matrix) == 3  # a last number that is shorter cannot be told apart


def test_npy(tmp_path):
    np.save(tmp_path / "good.npy", MATRIX.astype(np.float64))
    np.testing.assert_array_equal(word_vectors.read_npy(tmp_path / "good.npy"), MATRIX)
    np.save(tmp_path / "flat.npy", MATRIX.ravel())
    with pytest.raises(ValueError, match="flat.npy: must hold one matrix"):
        word_vectors.read_npy(tmp_path / "flat.npy")
    np.save(tmp_path / "objects.npy", np.array([[object()]]), allow_pickle=True)
    (tmp_path / "pickle.npy").write_bytes(pickle.dumps(MATRIX))
    (tmp_path / "short.npy").write_bytes((tmp_path / "good.npy").read_bytes()[:-8])
    good = (tmp_path / "good.npy").read_bytes()
    (tmp_path / "open.npy").write_bytes(good.replace(b"}", b"(", 1))
    for name in ("objects.npy", "pickle.npy", "short.npy", "open.npy"):
        with pytest.raises(ValueError, match=f"{name}: not a .npy file of numbers"):
            word_vectors.read_npy(tmp_path / name)


def test_align():
    aligned, missing = word_vectors.align(["", "New_York", "absent", "the"], WORDS, MATRIX)
    np.testing.assert_array_equal(aligned, [[0, 0], MATRIX[2], [0, 0], MATRIX[0]])
    assert missing == ["absent"]


@pytest.mark.parametrize("header", ["1000000000000 300", "-5 300", "+5 -3", "0 7", "9" * 90 + " 1"])
def test_a_header_that_cannot_be_is_no_vector_of_one_number(tmp_path, header):
    path = tmp_path / "v.txt"
    path.write_text(f"{header}\nx 1\n")
    with pytest.raises(ValueError, match=r"v.txt: .* vectors of .* numbers; at most 10000000 of 4096 are read"):
        word_vectors.read(path)
