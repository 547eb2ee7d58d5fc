"""All commands under one name: `mmv_tf NAME` is `python -m mmv_tf.NAME`."""

import difflib
import importlib
import sys
from typing import NamedTuple

from mmv_tf import __version__
from mmv_tf.common import command


class Command(NamedTuple):
    """A command: its module, which has a `cli(argv)`, and what it does in a few words."""

    module: str
    does: str


# In the order of the work.
COMMANDS = {
    "doctor": Command("mmv_tf.doctor", "is all installed, does the GPU work, how fast is it?"),
    "preprocess": Command("mmv_tf.beam.preprocess", "videos, sounds and pictures to records"),
    "vocabulary": Command("mmv_tf.vocabulary", "the words of the narrations, and vectors for them"),
    "transcribe": Command("mmv_tf.beam.transcribe", "narrations for videos without any, by a speech recogniser"),
    "inspect": Command("mmv_tf.inspect", "are the records whole, and what is in them?"),
    "train": Command("mmv_tf.train", "pretraining; the same command again goes on"),
    "graph": Command("mmv_tf.graph", "the modality graph of a configuration, printed and drawn"),
    "counts": Command("mmv_tf.counts", "parameters and multiply-adds of a configuration"),
    "deflate": Command("mmv_tf.deflate", "the image network that a video network contains"),
    "evaluate": Command("mmv_tf.evaluate", "a protocol of the paper, beside its baselines"),
    "report": Command("mmv_tf.report", "all results on one page, beside the paper's tables"),
    "export": Command("mmv_tf.export.saved_model", "a module for TensorFlow Hub"),
    "model-card": Command("mmv_tf.export.model_card", "the card of an export, written anew"),
    "lite": Command("mmv_tf.export.lite", "LiteRT and ONNX files of an export"),
    "embed": Command("mmv_tf.export.embed", "vectors of a collection, by an export"),
    "search": Command("mmv_tf.search", "moments in one's own videos, by text, sound, picture or clip"),
    "serving": Command("mmv_tf.export.serving", "how to serve an export, with a call for each signature"),
    "from-deepmind": Command("mmv_tf.released.from_deepmind", "a workdir from the authors' released weights"),
    "from-vatt": Command("mmv_tf.released.from_vatt", "a workdir from the released TensorFlow checkpoints of VATT"),
    "from-torch": Command("mmv_tf.released.from_torch", "a workdir from published PyTorch weights of other systems"),
}


def _help() -> str:
    lines = [f"  {name:<15}{one.does}" for name, one in COMMANDS.items()]
    return "\n".join(
        [
            "usage: mmv_tf COMMAND [options]",
            "",
            "Self-Supervised MultiModal Versatile Networks: raw videos in, a trained, evaluated, exported network out.",
            "",
            *lines,
            "",
            "mmv_tf COMMAND --help has the options of each; begin with",
            "  mmv_tf preprocess --videos my_videos/ --output records/",
            "  mmv_tf train --gin_file=gin/fac.gin --workdir=runs/fac --gin_param=\"TRAIN_DATA='records/train-*'\"",
        ]
    )


def cli(argv=None) -> int:
    """Runs the command that the arguments name. Returns its exit status."""
    name, *rest = (sys.argv[1:] if argv is None else list(argv)) or ["--help"]
    if name in ("-h", "--help"):
        print(_help())
        return 0
    if name == "--version":
        print(__version__)
        return 0
    if name not in COMMANDS:
        close = difflib.get_close_matches(name, COMMANDS, n=1)
        meant = f"did you mean {close[0]}?" if close else f"there are {', '.join(COMMANDS)}"
        print(f"error: no command {name!r}; {meant}", file=sys.stderr)
        return 2
    return command.run(lambda arguments: importlib.import_module(COMMANDS[name].module).cli(arguments), rest)


if __name__ == "__main__":
    raise SystemExit(cli())
