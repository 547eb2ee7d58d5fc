"""Embeddings of a collection by an exported module: records, videos or pictures in, Parquet files of vectors out.

    python -m mmv_tf.export.embed --records 'records/test-*' --module exported/fac --output embeddings
    python -m mmv_tf.export.embed --videos FOLDER --module exported/fac --output embeddings

Writes OUTPUT/video-vat-00000-of-00008.parquet ... (columns: mmv_tf/export/embedding/parquet_file.py), embeddings.json
(what was embedded by which module; written last) and dead_letters.jsonl (what could not be embedded, and why).
"""

import logging
import os

from mmv_tf.common import command, lock, paths
from mmv_tf.export import module_files

_MORE = """
Clips are as long as those that the module was trained on, side by side over each record or video. All other options
go to Apache Beam, such as --runner, --direct_num_workers or --direct_running_mode.
"""


def _parser():
    parser = command.parser(
        "embed",
        __doc__,
        "mmv_tf evaluate --module exported/fac --gin_file=gin/evals/msrvtt.gin --output results/msrvtt.json",
        _MORE,
        usage="%(prog)s (--records GLOB | --videos FOLDER | --images FOLDER) --module FOLDER --output FOLDER [options]",
    )
    inputs = parser.add_argument_group("what to read").add_mutually_exclusive_group(required=True)
    inputs.add_argument("--records", help="glob of shards that mmv_tf.beam.preprocess wrote, such as 'records/test-*'")
    inputs.add_argument("--videos", help="folder with videos, searched recursively")
    inputs.add_argument("--images", help="folder with pictures, searched recursively")
    parser.add_argument(
        "--module", type=paths.argument, required=True, help="folder of an export (see mmv_tf.export.saved_model)"
    )
    parser.add_argument("--output", type=paths.argument, required=True, help="folder for the vectors")
    parser.add_argument("--signatures", help="of the module, with commas between them (default: by what is read)")
    parser.add_argument("--spaces", help="with commas; before_head is one, too (default: all spaces, not before_head)")
    parser.add_argument("--batch_size", type=int, default=8, help="inputs at once (default: %(default)s)")
    parser.add_argument(
        "--num_shards",
        type=int,
        default=8,
        help="files a signature and space (default: %(default)s); a worker holds one at a time in memory",
    )
    module_files.add_argument(parser)
    parser.add_argument("--timeout_seconds", type=float, default=60.0, help="of decoding without a finished clip")
    parser.add_argument("--max_memory_mb", type=int, default=2048, help="of a decoding process")
    return parser


def _names(text):
    return [name.strip() for name in text.split(",") if name.strip()]


def main(argv=None):
    """Runs the command. Returns the exit status: 0, or 1 when not a single vector was written."""
    parser = _parser()
    args, flags = parser.parse_known_args(argv)
    from mmv_tf.beam.specs import MOST

    parser.check_positive(args, ("batch_size", "num_shards", "timeout_seconds", "max_memory_mb"), MOST)
    logging.getLogger().setLevel(logging.ERROR)  # Beam's imports warn of Google Cloud packages that we do not need
    from mmv_tf.beam import options as pipeline_options

    options = pipeline_options.parse(parser, flags)
    from mmv_tf.export.embedding import job as embed_run

    kind = next(kind for kind in ("records", "videos", "images") if getattr(args, kind))
    signatures = module_files.signatures(args.module)
    module_files.check_operations(args.module, args.allow_file_operations)
    dims = _dims(args, kind, signatures)
    job = embed_run.Job(
        kind=kind,
        source=getattr(args, kind),
        module=args.module if "://" in args.module else paths.plain(os.path.abspath(args.module), "--module"),
        output=args.output if "://" in args.output else os.path.abspath(args.output),
        dims=dims,
        batch_size=args.batch_size,
        num_shards=args.num_shards,
        limits={"timeout_seconds": args.timeout_seconds, "max_memory_bytes": args.max_memory_mb << 20},
    )
    with lock.folder(job.output, "embed"):
        return embed_run.run(job, options)


def _dims(args, kind, signatures):
    """{(signature, space): dimension} of what is to be written; one line for what the module does not have."""
    from mmv_tf.export.embedding import inputs as embed_inputs

    for option in ("signatures", "spaces"):
        if (given := getattr(args, option)) and not _names(given):
            raise ValueError(f"--{option} {given!r}: no name in it; leave the option out for the default")
    offered = embed_inputs.OFFERED[kind]
    wanted = (
        _names(args.signatures) if args.signatures else [m for m in embed_inputs.BY_DEFAULT[kind] if m in signatures]
    )
    has = f"{args.module} has the signatures {', '.join(signatures)}"
    if not wanted:
        raise ValueError(f"{has}: none of them takes what --{kind} gives ({', '.join(offered)})")
    dims = {}
    for name in dict.fromkeys(wanted):
        if name not in signatures:
            raise ValueError(f"--signatures: {has}, not {name!r}")
        if name not in offered:
            raise ValueError(f"--signatures: --{kind} gives {', '.join(offered)}, not {name!r}")
        spaces = signatures[name].spaces
        chosen = _names(args.spaces) if args.spaces else [space for space in spaces if space != "before_head"]
        for space in (space for space in chosen if space in spaces):
            dims[name, space] = spaces[space]
    known = sorted({space for name in wanted for space in signatures[name].spaces})
    for space in _names(args.spaces or ""):
        if space not in known:
            raise ValueError(f"--spaces: the signatures {', '.join(wanted)} give {', '.join(known)}, not {space!r}")
    for name in dict.fromkeys(wanted):
        if not any(name == of for of, _ in dims):
            print(f"{name} is left out: it gives {', '.join(signatures[name].spaces)}, and --spaces is {args.spaces}")
    return dims


def cli(argv=None) -> int:
    return command.run(main, argv)


if __name__ == "__main__":
    raise SystemExit(cli())
