"""A vocabulary of the narrations: `mmv_tf vocabulary`, which beam/vocabulary.py holds."""

from mmv_tf.beam.vocabulary import cli, main

__all__ = ["cli", "main"]

if __name__ == "__main__":
    raise SystemExit(cli())
