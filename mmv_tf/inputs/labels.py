"""Labels of records as text, and the one of several that counts."""

import tensorflow as tf

SEPARATOR = "\x1f"  # a control character, which no label holds


def joined(record) -> tf.Tensor:
    """The labels of a parsed record in one string; their numbers where it names none."""
    numbers = tf.strings.as_string(record["label"])
    names = tf.cond(tf.size(record["label_name"]) > 0, lambda: record["label_name"], lambda: numbers)
    return tf.strings.reduce_join(names, separator=SEPARATOR)


def split(text: str) -> tuple[str, ...]:
    """What was `joined`."""
    return tuple(text.split(SEPARATOR)) if text else ()


def one_label(key: str, labels, prefix: str, setting: str) -> str | None:
    """The label of a clip that begins with `prefix`; None if it has none.

    Raises:
      ValueError: it has several; names the clip and the `setting` that would choose.
    """
    found = tuple(dict.fromkeys(label for label in labels if label.startswith(prefix)))
    if len(found) > 1:
        raise ValueError(
            f"clip {key!r} has {len(found)} labels, {found[0]!r} and {found[1]!r} among them: say with {setting} which "
            "sort counts"
        )
    return found[0] if found else None
