"""Files of word vectors: word2vec (text and binary), GloVe (text) and .npy; bounded, and never executed."""

import codecs
import hashlib
import os
import pathlib
import re
import tokenize
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np

from mmv_tf.common.files import whole_file, write_text

_WORDS_OF = ".words"  # beside a matrix: a digest of the words that its rows are of
_MAX_DIM = 4096
_MAX_WORDS = 10_000_000
_MAX_WORD_BYTES = 1024  # of one word; GoogleNews has phrases of up to about 100
_MAX_BYTES = 8 << 30  # of the matrix that is returned


def read(path, keep: Collection[str] | None = None) -> tuple[list[str], np.ndarray]:
    """Reads a file of words and vectors, of whichever format it is.

    Args:
      path: word2vec text (a first line 'count dim') or GloVe text (none), UTF-8; or word2vec binary.
      keep: return only these words. A file of three million words then costs the memory of those kept.

    Returns:
      (words in the order of the file, float32 matrix [len(words), dim]).

    Raises:
      ValueError: the file is malformed, truncated or too large; names the file and the line or record.
    """
    with open(path, "rb") as file:
        begin = len(codecs.BOM_UTF8) if file.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8 else 0
        file.seek(begin)
        first = file.readline(_MAX_WORD_BYTES + 32 * _MAX_DIM)
        header = _header(first)
        if header is None:
            file.seek(begin)
            return _read_text(path, file, None, None, keep)
        count, dim = header
        _check_size(path, count, dim)
        start = file.tell()
        if _is_binary(path, file, dim):
            file.seek(start)
            return _read_binary(path, file, count, dim, keep)
        file.seek(start)
        return _read_text(path, file, count, dim, keep)


def read_npy(path) -> np.ndarray:
    """Reads a matrix [V, dim] from a .npy file as float32; pickled objects are refused.

    Raises:
      ValueError: not such a file, or not a finite matrix of numbers.
    """
    try:
        matrix = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, TypeError, EOFError, OverflowError, MemoryError, SyntaxError, tokenize.TokenError) as error:
        # numpy reads the header as an expression of Python (literals only); what is none fails in many ways.
        raise ValueError(f"{path}: not a .npy file of numbers ({' '.join(str(error).split())[:200]}).") from error
    if not isinstance(matrix, np.ndarray) or matrix.ndim != 2 or matrix.dtype.kind not in "fiu":
        raise ValueError(f"{path}: must hold one matrix of numbers, [words, dim].")
    _check_size(path, *matrix.shape)
    return _finite(path, np.asarray(matrix, np.float32))


def align(vocabulary: Sequence[str], words: Sequence[str], matrix: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Puts vectors in the order of a vocabulary.

    Args:
      vocabulary: the word of each id; '' (padding) gets zeros.
      words, matrix: what `read` returns.

    Returns:
      (float32 [len(vocabulary), dim], the words of the vocabulary that have no vector). Those get zeros as well.
    """
    row = {word: i for i, word in reversed(list(enumerate(words)))}
    aligned = np.zeros((len(vocabulary), matrix.shape[1]), np.float32)
    missing = []
    for i, word in enumerate(vocabulary):
        if word in row:
            aligned[i] = matrix[row[word]]
        elif word:
            missing.append(word)
    return aligned, missing


class Written(NamedTuple):
    """A matrix that was written, and how many words of the vocabulary have a vector in it."""

    shape: tuple[int, int]
    words: int


def check(path, words_path=None) -> None:
    """Raises ValueError if a file of vectors cannot be read at all, in one line; looks at its beginning only."""
    for file in filter(None, (path, words_path)):
        if not os.path.isfile(file):
            raise ValueError(f"{file}: no such file.")
    is_npy = os.fspath(path).endswith(".npy")
    if is_npy != bool(words_path):
        what = "needs the word of each row, one a line (--vector_words)" if is_npy else "holds its words itself"
        raise ValueError(f"{path}: {what}.")


def write_matrix(vocabulary: Sequence[str], path, words_path, output) -> Written:
    """Writes the vectors of a vocabulary as .npy, float32 [1 + words, dim], whole or not at all: TextNetwork.vectors.

    Row 0 is the padding. Rows of words without a vector are zeros, as that of the padding: while the vectors stay as
    they are, such a word says nothing; with TextNetwork.learned it can learn.

    Args:
      vocabulary: lower-case words, without the padding.
      path: a file of vectors, see `read`; or a .npy whose words stand in `words_path`, one a line.
    Raises:
      ValueError: a bad file, or not one word of the vocabulary in it; names the file.
    """
    check(path, words_path)
    if words_path:
        matrix = read_npy(path)
        with open(words_path, encoding="utf-8-sig", errors="replace") as file:
            words = file.read(_MAX_WORDS * 64).removesuffix("\n").split("\n")
        if len(words) != len(matrix):
            raise ValueError(f"{words_path}: {len(words)} words, and {len(matrix)} vectors in {path}.")
    else:
        words, matrix = read(path, keep={variant for word in vocabulary for variant in variants(word)})
    row = {word: i for i, word in reversed(list(enumerate(words)))}
    # Under the name that the vectors have it by; a word that they do not have keeps its own, and gets zeros.
    names = [next((name for name in variants(word) if name in row), word) for word in vocabulary]
    aligned, missing = align(["", *names], words, matrix)
    if len(missing) == len(names):
        raise ValueError(f"{path}: none of the {len(names)} words of the vocabulary is in it.")
    with whole_file(output) as partial, open(partial, "wb") as file:
        np.save(file, aligned)
    write_text(f"{os.fspath(output)}{_WORDS_OF}", f"{_digest(vocabulary)}\n")
    return Written(aligned.shape, len(names) - len(missing))


def check_words(path, vocabulary: Sequence[str]) -> None:
    """Checks that a matrix of `write_matrix` was made for a vocabulary: its rows are in the order of the words.

    Of a matrix from elsewhere nothing is known, and nothing is said.

    Raises:
      ValueError: it was made for other words, or for these in another order.
    """
    note = pathlib.Path(f"{os.fspath(path)}{_WORDS_OF}")
    if not note.is_file():
        return
    made_for, now = note.read_text("utf-8").strip(), _digest(vocabulary)
    if made_for != now:
        raise ValueError(
            f"{path}: its rows are those of another vocabulary, or of this one in another order (words "
            f"{made_for[:12]}, and now {now[:12]}): make both by one `mmv_tf vocabulary --vectors ... --embeddings`"
        )


def _digest(vocabulary):
    return hashlib.sha256("\n".join(word.lower() for word in vocabulary).encode()).hexdigest()


def variants(word: str) -> list[str]:
    """The names under which a lower-case word may stand in a file of vectors, best first.

    Google News tells upper and lower case apart, and has # for each digit of longer numbers. Its phrases (New_York)
    are no words here: the tokenizer gives none.
    """
    names = [word, word.capitalize(), word.upper()]
    if re.search(r"\d\d", word):
        names += [re.sub(r"\d", "#", name) for name in names]
    return list(dict.fromkeys(names))


def _header(line: bytes) -> tuple[int, int] | None:
    parts = line.split()
    # Whatever the numbers, these are a header: GloVe has no vectors of one number.
    if len(parts) == 2 and all(re.fullmatch(rb"[+-]?\d{1,100}", part) for part in parts):
        return int(parts[0]), int(parts[1])
    return None


def _check_size(path, count: int, dim: int):
    if not (0 < dim <= _MAX_DIM and 0 < count <= _MAX_WORDS):
        raise ValueError(f"{path}: {count} vectors of {dim} numbers; at most {_MAX_WORDS} of {_MAX_DIM} are read.")


def _is_binary(path, file, dim: int) -> bool:
    """Whether the record at the position of `file` is a word and 4*dim bytes, and not a line of numbers."""
    line = file.readline(_MAX_WORD_BYTES + 32 * dim)
    parts = line.split()
    if len(parts) < dim + 1:
        return True
    try:
        [float(part) for part in parts[-dim:]]
    except ValueError:
        return True
    return False


def _read_text(path, file, count, dim, keep):
    words, rows = [], []
    seen = 0
    limit = _MAX_WORD_BYTES + 32 * (dim or _MAX_DIM)
    while line := file.readline(limit):
        number = seen + (2 if count is not None else 1)
        if len(line) == limit:
            raise ValueError(f"{path}: line {number} is longer than a word and its vector can be.")
        parts = line.rstrip(b"\r\n ").split(b" ")
        if parts == [b""]:
            continue
        dim = dim or len(parts) - 1
        # GloVe has words with spaces in them (". . ."): the vector is the last `dim` parts.
        word = b" ".join(parts[:-dim]).decode("utf-8", errors="replace") if len(parts) > dim else ""
        if not word or dim < 1:
            raise ValueError(f"{path}: line {number} must be a word and {dim} numbers.")
        seen += 1
        if seen > _MAX_WORDS:
            raise ValueError(f"{path}: more than {_MAX_WORDS} words.")
        if keep is not None and word not in keep:
            continue
        try:
            rows.append(np.fromiter(map(float, parts[-dim:]), np.float32, dim))
        except ValueError:
            raise ValueError(f"{path}: line {number} must be a word and {dim} numbers.") from None
        words.append(word)
        _check_memory(path, len(words), dim)
    if not seen:
        raise ValueError(f"{path}: no word vectors in it.")
    if count is not None and seen != count:
        raise ValueError(f"{path}: announces {count} words and has {seen}; is it cut off?")
    return words, _finite(path, np.stack(rows) if rows else np.zeros((0, dim), np.float32))


def _read_binary(path, file, count, dim, keep):
    size = 4 * dim
    if count * (size + 2) > os.fstat(file.fileno()).st_size:
        raise ValueError(f"{path}: announces {count} words and is too short for them; is it cut off?")
    words, rows = [], []
    for number in range(count):
        word = bytearray()
        while (byte := file.read(1)) != b" ":
            if not byte or len(word) > _MAX_WORD_BYTES:
                raise ValueError(f"{path}: record {number} has no word; is it cut off, or not word2vec binary?")
            if byte != b"\n":  # some writers end a record with one
                word += byte
        values = file.read(size)
        if len(values) < size:
            raise ValueError(f"{path}: cut off in record {number} of {count}.")
        word = word.decode("utf-8", errors="replace")
        if keep is None or word in keep:
            words.append(word)
            rows.append(np.frombuffer(values, "<f4"))
            _check_memory(path, len(words), dim)
    return words, _finite(path, np.stack(rows) if rows else np.zeros((0, dim), np.float32))


def _check_memory(path, count: int, dim: int):
    if 4 * count * dim > _MAX_BYTES:
        raise ValueError(f"{path}: more than {_MAX_BYTES >> 30} GiB of vectors; name the words to keep.")


def _finite(path, matrix):
    bad = np.flatnonzero(~np.isfinite(matrix).all(axis=1))
    if len(bad):
        raise ValueError(f"{path}: vector {bad[0]} has numbers that are not finite.")
    return matrix
