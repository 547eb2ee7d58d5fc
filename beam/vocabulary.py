"""A vocabulary from the narrations of records, and word vectors in its order: `mmv_tf vocabulary`.

A narration counts once, however many clips have it among their candidates: narrations are told apart by the path of
the source, their start and their text. Words are those of `records.vocabulary.words`; stop words are left out; the
most frequent come first, of equally frequent ones the first in the alphabet. Beside the vocabulary, OUTPUT.json says
how much of the narrations it covers.
"""

import json
import os

from mmv_tf.beam import options as pipeline_options
from mmv_tf.common import command

SIZE = 65535  # with the padding 2^16 ids: MMV's, and the default of TextNetwork.vocabulary_size
_THEN = """mmv_tf train --gin_file=gin/fac.gin --workdir=runs/fac --gin_param="TRAIN_DATA='records/train-*'" \\
    --gin_param="VOCABULARY='vocabulary.txt'\""""
_EXAMPLES = """
examples:
  mmv_tf vocabulary --records records/ --output vocabulary.txt
  mmv_tf vocabulary --records records/ --output vocabulary.txt --from_card
  mmv_tf vocabulary --records records/ --output vocabulary.txt \\
    --vectors GoogleNews-vectors-negative300.bin --embeddings embeddings.npy

All other options go to Apache Beam, such as --runner or --direct_num_workers.
"""


def _parser():
    parser = command.parser(
        "vocabulary",
        main.__doc__,
        _THEN,
        _EXAMPLES,
    )
    parser.add_argument("--records", nargs="+", required=True, help="folders of records")
    parser.add_argument("--split", default="train", help="whose narrations count (default: %(default)s)")
    parser.add_argument(
        "--from_card",
        action="store_true",
        help="take the counts in dataset.json (the 20,000 most frequent words of each split) and read no record: "
        "at once, for a set of any size",
    )
    parser.add_argument("--output", required=True, help="file to write, one word a line")
    parser.add_argument("--size", type=int, default=SIZE, help="at most so many words (default: %(default)s)")
    parser.add_argument("--min_count", type=int, default=1, help="leave out rarer words (default: %(default)s)")
    vectors = parser.add_argument_group("word vectors in the order of the vocabulary")
    vectors.add_argument("--vectors", help="word2vec (.bin or text), GloVe (text), or a .npy with --vector_words")
    vectors.add_argument("--vector_words", help="for a .npy: the word of each row, one a line")
    vectors.add_argument("--embeddings", help=".npy file to write")
    return parser


def main(argv=None):
    """Writes the vocabulary of the narrations of records, and word vectors in its order."""
    parser = _parser()
    args, flags = parser.parse_known_args(argv)
    if args.size < 1 or args.min_count < 1:
        parser.error("--size and --min_count must be at least 1")
    if bool(args.vectors) != bool(args.embeddings):
        parser.error("--vectors and --embeddings belong together")
    if args.from_card and flags:
        parser.error(f"unknown option {flags[0]}: with --from_card no Beam pipeline is run")
    from mmv_tf.records import word_vectors

    if args.vectors:
        word_vectors.check(args.vectors, args.vector_words)  # before the long part
    words = _from_cards(args) if args.from_card else _counted(args, parser, flags)
    if args.vectors:
        found = word_vectors.write_matrix(words, args.vectors, args.vector_words, args.embeddings)
        print(_with_vectors(args, found, len(words)))


def _from_cards(args) -> list[str]:
    """The words by the counts of dataset.json, written to args.output."""
    from mmv_tf.records import vocabulary

    words = list(vocabulary.from_card(args.records, args.size, args.min_count, args.split))
    vocabulary.write(words, args.output)
    print(f"{args.output}: {len(words)} words, by the counts of {len(args.records)} dataset.json")
    return words


def _counted(args, parser, flags) -> list[str]:
    """The words of every narration, counted by a Beam pipeline and written to args.output."""
    options = pipeline_options.parse(parser, flags)
    from mmv_tf.beam import storage, word_count

    output = args.output if storage.is_remote(args.output) else os.path.abspath(args.output)
    paths = word_count.find(args.records, args.split)
    storage.make_folder(os.path.dirname(output))
    with pipeline_options.pipeline(options, output) as pipeline:
        word_count.build(pipeline, paths, output, args.size, args.min_count)
    report = json.loads(storage.read_text(f"{output}.json"))
    if report["damaged"]:
        lines = "; ".join(report["damaged"])
        raise ValueError(f"no vocabulary: there are records that cannot be read: {lines}")
    if not report["vocabulary_size"]:
        raise ValueError(
            f"{report['narrations']} narrations in {len(paths)} shards, and no word for a vocabulary: gin/own.gin and "
            "gin/va.gin train on video and sound alone, and `mmv_tf transcribe` makes narrations from speech"
        )
    print(summary(args.output, report))
    return storage.read_text(output).splitlines()


def summary(output, report):
    """What was counted, for people."""
    tokens, stop_words = report["tokens"], report["stop_words"]
    covered = ", ".join(f"{size} words {share:.1%}" for size, share in report["coverage"].items())
    return (
        f"{output}: {report['vocabulary_size']} words, of {report['distinct_words']} distinct ones\n"
        f"  {report['narrations']} narrations with {tokens} words, {stop_words} of them stop words\n"
        f"  of the other {tokens - stop_words}, the vocabulary covers: {covered}"
    )


def _with_vectors(args, found, number):
    rows, dim = found.shape
    return (
        f"{args.embeddings}: {rows} x {dim}; {found.words} of {number} words have a vector, the others get zeros\n"
        "  training takes them with\n"
        f"    --gin_param=\"VOCABULARY='{args.output}'\" --gin_param=\"TextNetwork.vectors='{args.embeddings}'\" \\\n"
        f"    --gin_param=TextNetwork.vocabulary_size={rows} --gin_param=TextNetwork.dim={dim}"
    )


def cli(argv=None) -> int:
    return command.run(main, argv)


if __name__ == "__main__":
    raise SystemExit(cli())
