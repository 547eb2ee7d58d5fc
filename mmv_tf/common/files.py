"""Small files, local or remote, through TensorFlow's file systems."""

import tensorflow as tf


def write_text(path: str, text: str) -> None:
    """Writes a file whole or not at all."""
    write_bytes(path, text.encode())


def write_bytes(path: str, content: bytes) -> None:
    """Writes a file whole or not at all."""
    temporary = f"{path}.tmp"
    with tf.io.gfile.GFile(temporary, "wb") as file:
        file.write(content)
    tf.io.gfile.rename(temporary, path, overwrite=True)


def read_text(path: str) -> str:
    with tf.io.gfile.GFile(path, "r") as file:
        return file.read()
