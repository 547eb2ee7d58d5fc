"""Text to word ids; the same for training, export and search."""

import unicodedata

import numpy as np
import tensorflow as tf

from mmv_tf.common.configurable import configurable
from mmv_tf.common.values import Count, Strings
from mmv_tf.records import vocabulary as vocabularies

# RE2. Everything but letters, digits, marks and apostrophes separates words; so do apostrophes at the edges of a word.
_SEPARATORS = r"[^\p{L}\p{N}\p{M}']+"
_WORD_START = r"(^| )'+"
_WORD_END = r"('s|')*( |$)"  # the possessive s goes, too
_CURLY_APOSTROPHES = "[\u2018\u2019\u02bc]"


@configurable
class Tokenizer(tf.Module):
    """Sentences to word ids: lower case, no punctuation, no stop words, no unknown words, cut or padded to `max_words`.

    Accents may be composed or not, and letters full-width: they are compared as `records.vocabulary.decomposed`.

    As in MMV (and MIL-NCE), whose text network takes 16 ids and knows no order of words. Runs in a graph of standard
    TensorFlow ops: the words are constants of the graph, so an export needs no other file and no tensorflow_text.

    Args:
      vocabulary: file of one word a line, or the words. Upper and lower case are one; the first of equal words counts.
      max_words: W, length of the output.
      remove_stop_words: leave out `records.vocabulary.STOP_WORDS`.
      max_bytes: what lies beyond so many bytes of a text is not looked at.

    Raises:
      ValueError: no vocabulary, one of stop words only, or a bad vocabulary file (see `records.vocabulary.read`).
    """

    def __init__(
        self,
        vocabulary: Strings = (),
        max_words: Count = 16,
        remove_stop_words: bool = True,
        max_bytes: Count = 4096,
    ):
        super().__init__(name="tokenizer")
        if not vocabulary:
            raise ValueError(
                "Tokenizer.vocabulary is not set: give --gin_param=\"VOCABULARY='vocabulary.txt'\", a file of one word "
                "a line (`python -m mmv_tf.vocabulary --records DIR --output FILE` makes one), or leave the text out."
            )
        words = vocabularies.read(vocabulary) if isinstance(vocabulary, str) else tuple(vocabulary)
        self.max_words, self.remove_stop_words, self.max_bytes = max_words, remove_stop_words, max_bytes
        self._words = np.array(words, object)  # an array: tf.Module would track 65,536 entries of a tuple
        ids = {}
        for number, word in enumerate(words, start=1):
            ids.setdefault(vocabularies.decomposed(word.lower()), number)
        # A stop word has an id, so that line numbers and ids stay in step, but no text ever gives it.
        ids = {word: i for word, i in ids.items() if not (remove_stop_words and word in vocabularies.STOP_WORDS)}
        variants = vocabularies.variants(ids)
        if not ids:
            raise ValueError(
                f"Tokenizer.vocabulary holds stop words only ({', '.join(words[:5])}): no text gives an id."
            )
        entries = tf.lookup.KeyValueTensorInitializer(
            tf.constant(list(ids), tf.string), tf.constant(list(ids.values()), tf.int32)
        )
        self._table = tf.lookup.StaticHashTable(entries, default_value=0)
        numbers = tf.lookup.KeyValueTensorInitializer(
            tf.constant([*variants, ""], tf.string), tf.range(1, len(variants) + 2)
        )
        self._variants = tf.lookup.StaticHashTable(numbers, default_value=0)
        self._forms = tf.constant(["", *variants.values(), ""], tf.string)
        classes = {char: unicodedata.combining(char) for char in sorted(set("".join(ids)))}
        marks = {char: number for char, number in classes.items() if number}
        self._marks = None
        if len(set(marks.values())) > 1:  # marks of one class stay in the order in which they are written
            numbers = tf.lookup.KeyValueTensorInitializer(
                tf.constant(list(marks), tf.string), tf.constant(list(marks.values()), tf.int64)
            )
            self._marks = tf.lookup.StaticHashTable(numbers, default_value=0)

    @property
    def words(self) -> tuple[str, ...]:
        """The vocabulary; word i has the id i + 1."""
        return tuple(self._words)

    @property
    def num_ids(self) -> int:
        """Ids that can come out, 0 included."""
        return len(self._words) + 1

    def save(self, path: str) -> None:
        """Writes the vocabulary as a file."""
        vocabularies.write(self._words, path)

    def __call__(self, text: tf.Tensor) -> tf.Tensor:
        """Strings [...] (UTF-8; bad bytes separate words) -> int32 [..., W], 0 after the last word."""
        import tensorflow_text

        text = tf.convert_to_tensor(text, tf.string)
        shape = tf.shape(text)
        flat = tf.reshape(tf.strings.substr(text, 0, self.max_bytes), [-1])
        flat = tf.strings.regex_replace(flat, r"\x00", " ")  # strings.lower would end the text there
        flat = tf.strings.lower(flat, encoding="utf-8")
        is_ascii = tf.reduce_all(tf.strings.length(flat) == tf.strings.length(flat, unit="UTF8_CHAR"))
        flat = tf.cond(is_ascii, lambda: flat, lambda: self._decomposed(flat))
        flat = tf.strings.regex_replace(flat, _CURLY_APOSTROPHES, "'")
        flat = tf.strings.regex_replace(flat, _SEPARATORS, " ")
        flat = tf.strings.regex_replace(flat, _WORD_END, " ")
        flat = tf.strings.regex_replace(flat, _WORD_START, " ")
        ids = tf.ragged.map_flat_values(self._table.lookup, tf.strings.split(flat))
        known = tf.ragged.boolean_mask(ids, ids > 0)
        ids, _ = tensorflow_text.pad_model_inputs(known, self.max_words)
        ids = tf.reshape(ids, tf.concat([shape, [self.max_words]], axis=0))
        ids.set_shape(text.shape.concatenate(self.max_words))
        return ids

    def _decomposed(self, flat):
        """Strings [N] as `records.vocabulary.decomposed`, as far as the vocabulary has their letters and marks."""
        characters = tf.strings.unicode_split(flat, "UTF-8", errors="replace", replacement_char=0x20)
        number = self._variants.lookup(characters.values)
        values = tf.where(number > 0, tf.gather(self._forms, number), characters.values)
        flat = tf.strings.reduce_join(characters.with_values(values).to_tensor(""), axis=1)
        return flat if self._marks is None else self._ordered(flat)

    def _ordered(self, flat):
        """Strings [N] with the marks on each letter in the order of their classes."""
        characters = tf.strings.unicode_split(flat, "UTF-8", errors="replace", replacement_char=0x20)
        mark = self._marks.lookup(characters.values)  # its class; 0: none
        letter = tf.cumsum(tf.cast(mark == 0, tf.int64)) + characters.value_rowids()
        order = tf.argsort(256 * letter + mark, stable=True)  # a class is below 256
        return tf.strings.reduce_join(characters.with_values(tf.gather(characters.values, order)).to_tensor(""), axis=1)
