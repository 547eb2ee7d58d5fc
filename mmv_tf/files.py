"""Small text files, local or remote, through TensorFlow's file systems."""

import tensorflow as tf


def write_text(path: str, text: str) -> None:
    """Writes a file whole or not at all."""
    temporary = f"{path}.tmp"
    with tf.io.gfile.GFile(temporary, "w") as file:
        file.write(text)
    tf.io.gfile.rename(temporary, path, overwrite=True)


def read_text(path: str) -> str:
    with tf.io.gfile.GFile(path, "r") as file:
        return file.read()
