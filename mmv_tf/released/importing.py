"""Parts of the commands that import released weights: arguments, names of a file, and what they say at the end."""

import os

from mmv_tf.common import paths


def add_arguments(parser, checkpoint: str) -> None:
    """Adds the arguments of such a command; `checkpoint` is the help of that one."""
    parser.add_argument("--checkpoint", required=True, help=checkpoint)
    parser.add_argument("--output", type=paths.argument, required=True, help="folder to write, the workdir")
    parser.add_argument("--vocabulary", help="file of one word a line, in the order of the word vectors, if it has any")


def printable(name: str) -> str:
    """A name from a file, which may hold anything, for a line of a message."""
    return name if name.isprintable() else repr(name)


def show(imported, args) -> None:
    """Prints what became of a file, its licence, and where the workdir is; `args` are those of the command."""
    from mmv_tf.common import files
    from mmv_tf.records import vocabulary as vocabularies
    from mmv_tf.training import workdir as workdirs

    print(imported.report())
    if "text" in imported.layout.backbones and args.vocabulary is None:
        print(
            "No --vocabulary: the file does not say which word has which id, so text is left out of the configuration, "
            "and an export will have no text signature. The weights of the text network are in the checkpoint."
        )
    elif args.vocabulary and len(vocabularies.read(args.vocabulary)) < (vectors := imported.layout.rows - 1):
        print(f"WARNING: {args.vocabulary} has fewer words than the {vectors} word vectors; is it the right one?")
    print(f"\n{files.read_text(os.path.join(args.output, workdirs.WEIGHTS_LICENSE))}")
    print(f"workdir: {args.output}")
