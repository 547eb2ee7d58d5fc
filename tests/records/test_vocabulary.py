"""Words without TensorFlow are those that the tokenizer looks up; vectors reach the text network in their order."""

import gin
import numpy as np
import pytest
import tensorflow as tf

from mmv_tf.backbones import TextNetwork
from mmv_tf.inputs.text import Tokenizer
from mmv_tf.records import vocabulary, word_vectors
from mmv_tf.records.card import DatasetCard, Split

TEXTS = [
    "The dog; the CAT! Café\u2014NAÏVE 東京 don\u2019t",
    "dog's 'dog' ''cat'' dogs' rock'n'roll 's ''s' dogs's's '",
    "x_y a-b 3.5 1,000 \u0e01\u0e33 e\u0301te\u0301 \x00 tab\tnew\nline \u200b \ud7ff \u00bd \u2167",
    "GIE\u00dfEN \u0391\u03a3 \u01c5 \u02bcn'\u02bc",
]


def test_words_are_those_of_the_tokenizer():
    rng = np.random.default_rng(0)
    alphabet = list("abcS'\u2019  .-_7\u00e9\u4e1c\u0301")
    texts = TEXTS + ["".join(rng.choice(alphabet, 30)) for _ in range(300)]
    entries = tuple(dict.fromkeys(word for text in texts for word in vocabulary.words(text)))
    ids = Tokenizer(entries, max_words=40, remove_stop_words=False)(tf.constant(texts)).numpy()
    for text, row in zip(texts, ids, strict=True):
        assert [entries[i - 1] for i in row if i] == vocabulary.words(text), text


def test_words_are_those_of_the_tokenizer_in_whatever_order_their_marks_are():
    """Windows-1258, and keyboards, put marks in another order than Unicode's forms."""
    rng = np.random.default_rng(0)
    letters = list("aeo\u00ea\u01a1\u1ed9\u0130\u0149\u05d1\u0628 ")
    marks = list("\u0301\u0323\u0302\u0327\u0345\u05b8\u05bc\u064e\u0651\u0344\u0e38")
    texts = ["vi\u00ea\u0323t vi\u1ec7t", "\u0130\u0323", "a\u0149 \u0149", "\u0628\u064e\u0651", "\u0301\u0323a"]
    for _ in range(300):
        chosen = (str(rng.choice(letters)) + "".join(rng.choice(marks, rng.integers(4))) for _ in range(8))
        texts.append("".join(chosen))
    entries = tuple(dict.fromkeys(word for text in texts for word in vocabulary.words(text)))
    ids = Tokenizer(entries, max_words=40, remove_stop_words=False)(tf.constant(texts)).numpy()
    for text, row in zip(texts, ids, strict=True):
        assert [entries[i - 1] for i in row if i] == vocabulary.words(text), ascii(text)


def test_words_of_a_card_are_words_of_the_tokenizer(tmp_path):
    card = DatasetCard(10, 48000, 256)
    card.splits["train"] = Split(shards={}, word_counts={"the": 9, "dog's": 5, "cat": 6, "dog": 2})
    card.save(tmp_path)
    assert vocabulary.from_card(tmp_path) == ("dog", "cat")


def test_a_byte_order_mark_is_no_part_of_the_first_word(tmp_path):
    (tmp_path / "words.txt").write_text("dog\ncat\n", "utf-8-sig")
    assert vocabulary.read(str(tmp_path / "words.txt")) == ("dog", "cat")
    np.save(tmp_path / "matrix.npy", np.array([[1, 2], [3, 4]], np.float32))
    output = tmp_path / "embeddings.npy"
    written = word_vectors.write_matrix(("cat", "dog"), tmp_path / "matrix.npy", tmp_path / "words.txt", output)
    assert written.words == 2 and np.load(output).tolist() == [[0, 0], [3, 4], [1, 2]]


@pytest.fixture
def vectors(tmp_path):
    path = tmp_path / "vectors.txt"
    path.write_text("dog 1 2 3\nCat 4 5 6\n### 7 8 9\n")
    return path


def test_training_takes_the_vectors(tmp_path, vectors):
    """As `python -m mmv_tf.beam.vocabulary` says: three bindings."""
    words, output = ("cat", "unheard", "dog", "747"), tmp_path / "embeddings.npy"
    written = word_vectors.write_matrix(words, vectors, None, output)
    word_vectors.check_words(output, words)
    word_vectors.check_words(vectors, words[::-1])  # from elsewhere: nothing is known of it
    with pytest.raises(ValueError, match="its rows are those of another vocabulary, or of this one in another order"):
        word_vectors.check_words(output, words[::-1])
    assert written == ((5, 3), 3)
    with gin.unlock_config():
        gin.parse_config(
            [f"TextNetwork.vectors = '{output}'", "TextNetwork.vocabulary_size = 5", "TextNetwork.dim = 3"]
        )
    try:
        network = TextNetwork(units=4)
    finally:
        gin.clear_config()
    network(Tokenizer(words)(tf.constant(["dog cat"])))
    tokens = Tokenizer(words, max_words=4)(tf.constant("A 747, unheard dog")).numpy()
    assert network.embeddings.numpy()[tokens].tolist() == [[7, 8, 9], [0, 0, 0], [1, 2, 3], [0, 0, 0]]
    assert not any(weight is network.embeddings for weight in network.trainable_weights)


def test_vectors_of_an_array_with_a_list_of_words(tmp_path):
    np.save(tmp_path / "v.npy", np.array([[1, 2], [3, 4]], np.float32))
    (tmp_path / "w.txt").write_text("cat\ndog\n")
    output = tmp_path / "e.npy"
    assert word_vectors.write_matrix(("dog",), tmp_path / "v.npy", tmp_path / "w.txt", output).words == 1
    assert np.load(output).tolist() == [[0, 0], [3, 4]]
    (tmp_path / "w.txt").write_text("cat\n")
    with pytest.raises(ValueError, match="w.txt: 1 words, and 2 vectors"):
        word_vectors.write_matrix(("dog",), tmp_path / "v.npy", tmp_path / "w.txt", output)
    with pytest.raises(ValueError, match="v.npy: needs the word of each row"):
        word_vectors.write_matrix(("dog",), tmp_path / "v.npy", None, output)


def test_vectors_of_none_of_the_words_are_an_error(tmp_path, vectors):
    with pytest.raises(ValueError, match="vectors.txt: none of the 1 words"):
        word_vectors.write_matrix(("zebra",), vectors, None, tmp_path / "e.npy")
    assert not (tmp_path / "e.npy").exists()
