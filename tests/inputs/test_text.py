import unicodedata

import numpy as np
import pytest
import tensorflow as tf

from mmv_tf import vocabulary as command
from mmv_tf.inputs.text import Tokenizer
from mmv_tf.records import vocabulary
from mmv_tf.records.card import DatasetCard, Split

WORDS = ("Cat", "dog", "the", "don't", "café", "naïve", "東京", "cat", "chase")


def ids(texts, **settings):
    return Tokenizer(WORDS, **{"max_words": 4, **settings})(tf.constant(texts)).numpy().tolist()


@pytest.mark.parametrize(
    "text, expected",
    [
        ("The dog; the CAT!", [2, 1, 0, 0]),  # stop word out, case and punctuation too; of two cats the first counts
        ("Café—NAÏVE 東京", [5, 6, 7, 0]),
        ("dog's 'dog' ''cat'' dogs'", [2, 2, 1, 0]),  # possessives and quotation marks
        ("", [0, 0, 0, 0]),
        ("zebra and ,.!?", [0, 0, 0, 0]),
        ("dog " * 9, [2, 2, 2, 2]),
        (b"\xff\xfecat\xc3 \xe6dog", [1, 2, 0, 0]),  # not UTF-8
        (b"cat\x00dog", [1, 2, 0, 0]),
    ],
)
def test_values(text, expected):
    assert ids([text]) == [expected]


FORMS = {
    "decomposed, as macOS names files": "cafe\u0301",
    "capital, decomposed": "CAFE\u0301",
    "full width": "\uff43\uff41\uff46\u00e9",
    "full width capitals": "\uff23\uff21\uff26\u00c9",
    "half decomposed": "ca\uff46e\u0301",
    "a ligature": "ca\ufb01",  # which is another word
}


@pytest.mark.parametrize("written", FORMS)
def test_one_word_however_it_is_written(written):
    text, known = FORMS[written], written != "a ligature"
    assert ids([text, "dog"])[0][0] == (5 if known else 0) and ids(["a " + text, "dog"])[1][0] == 2
    assert vocabulary.words(text)[0] == ("café" if known else "cafi")
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        other = unicodedata.normalize(form, "Caf\u00e9 na\u00efve \u6771\u4eac")
        assert ids([other]) == [[5, 6, 7, 0]] and vocabulary.words(other) == ["café", "naïve", "東京"]


def test_a_vocabulary_of_any_form_knows_all_forms():
    for form in ("NFC", "NFD"):
        words = [unicodedata.normalize(form, word) for word in ("한국", "ångström", "ﬁre", "Ｄｏｇ")]
        tokenizer = Tokenizer(words, max_words=4)
        for text in ("한국 Ångström fire dog", unicodedata.normalize("NFD", "한국 ångström ﬁre ＤＯＧ")):
            assert tokenizer(tf.constant([text])).numpy().tolist() == [[1, 2, 3, 4]]


def test_marks_count_in_any_order():
    written = ("ca\u0302\u0323", "c\u1ead", "c\u00e2\u0323", "c\u1ea1\u0302")
    tokenizer = Tokenizer(("dog", *written), max_words=4)  # of equal words the first counts
    assert tokenizer(tf.constant([" ".join(written), "\u0323dog dog"])).numpy().tolist() == [[2] * 4, [1, 0, 0, 0]]
    assert vocabulary.words(" ".join(written)) == ["c\u1ead"] * 4


def test_what_is_no_letter_stays_what_it_is():
    # Of form KD they would be a space and a mark, and letters of their own.
    assert ids(["dog\u00a8cat \u00bd", "cat\u2122dog"]) == [[2, 1, 0, 0], [1, 2, 0, 0]]
    assert vocabulary.words("dog\u00a8cat") == ["dog", "cat"]


def test_stop_words_are_optional_and_keep_the_numbering():
    assert ids(["the cat don't"], remove_stop_words=False) == [[3, 1, 4, 0]]
    assert ids(["the cat don\u2019t"], remove_stop_words=False) == [[3, 1, 4, 0]]
    assert ids(["the cat don't"]) == [[1, 0, 0, 0]]


def test_any_rank():
    assert ids([["dog", "cat"]]) == [[[2, 0, 0, 0], [1, 0, 0, 0]]]
    assert Tokenizer(WORDS)(tf.constant("dog")).shape == [16]
    assert ids(tf.zeros([0, 3], tf.string)) == []


def test_a_megabyte_of_text_is_not_looked_at():
    assert ids(["cat " + "x" * 4090 + " dog", "cat " + "dog " * 250_000], max_bytes=4096) == [
        [1, 0, 0, 0],
        [1, 2, 2, 2],
    ]


def test_vocabulary_file_and_words_are_the_same(tmp_path):
    path = str(tmp_path / "words.txt")
    Tokenizer(WORDS).save(path)
    tokenizer = Tokenizer(path)
    assert tokenizer.words == WORDS and tokenizer.num_ids == 10
    assert tokenizer(tf.constant(["cat dog"])).numpy()[0, :3].tolist() == [1, 2, 0]


@pytest.mark.parametrize("content, said", [(b"a\n\nb\n", "line 2"), (b"", "empty"), (b"a\n\xff\n", "UTF-8")])
def test_bad_vocabulary_file_is_named(tmp_path, content, said):
    path = tmp_path / "words.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{path}.*{said}"):
        Tokenizer(str(path))


def test_missing_vocabulary_is_named(tmp_path):
    with pytest.raises(ValueError, match="nowhere.txt"):
        Tokenizer(str(tmp_path / "nowhere.txt"))
    with pytest.raises(ValueError, match="Tokenizer.vocabulary"):
        Tokenizer()
    with pytest.raises(ValueError, match="stop words only"):
        Tokenizer(("the", "a"))


def test_survives_in_a_saved_model_of_standard_ops(tmp_path):
    module = tf.Module()
    module.tokenizer = Tokenizer((*WORDS, "vi\u1ec7t"), max_words=4)
    module.tokenize = tf.function(module.tokenizer, input_signature=[tf.TensorSpec([None], tf.string)])
    # An op of tensorflow_text would need that package wherever the export is loaded.
    assert not [op.type for op in module.tokenize.get_concrete_function().graph.get_operations() if "Text" in op.type]
    tf.saved_model.save(module, str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))
    np.testing.assert_array_equal(loaded.tokenize(tf.constant(["the dog"])), [[2, 0, 0, 0]])
    np.testing.assert_array_equal(loaded.tokenize(tf.constant(["vi\u00ea\u0323t dog"])), [[10, 2, 0, 0]])


def test_vocabulary_from_a_card(tmp_path, capsys):
    card = DatasetCard(frame_rate=10, sample_rate=48000, short_side=256)
    card.splits["train"] = Split(shards={}, word_counts={"the": 9, "dog": 5, "cat": 2, "rare": 1})
    card.save(tmp_path)
    assert vocabulary.from_card(tmp_path, min_count=2) == ("dog", "cat")
    output = tmp_path / "words.txt"
    assert command.cli(["--records", str(tmp_path), "--output", str(output), "--size", "1", "--from_card"]) == 0
    assert output.read_text() == "dog\n"
    assert command.cli(["--records", str(tmp_path / "no"), "--output", str(output), "--from_card"]) == 2
    assert "no" in capsys.readouterr().err
