"""Videos in, records out.

    python -m mmv_tf.beam.preprocess --videos FOLDER --output RECORDS
    python -m mmv_tf.beam.preprocess --manifest FILE.csv --video_root FOLDER --output RECORDS

Writes RECORDS/train-00000-of-00008 ... (TFRecords of tf.train.SequenceExample, keys in mmv_tf/records.py),
dataset.json (counts, label map, settings) and dead_letters.jsonl (every clip that was rejected, and why).
"""

import argparse
import logging
import sys

from mmv_tf.beam import pipeline_options
from mmv_tf.beam.specs import Settings

_EXAMPLES = """
The columns of a manifest are video_path (relative to --video_root), start, end (seconds; both may be empty), caption,
label. In .jsonl `captions` may be a list of {"text", "start", "end"}, and `label` a text or a list.
Narrations of --videos lie beside each video: x.srt or x.vtt for x.mp4. All other options go to Apache Beam, such as
--runner, --direct_num_workers or --direct_running_mode. A run that was killed goes on when started again.
"""


def _options(default):
    """{group: {option: (default, help)}}; the type is that of the default."""
    return {
        "what a record looks like": {
            "clip_seconds": (default.clip_seconds, "length of the pieces of a whole source"),
            "fps": (default.frame_rate, "frames per second"),
            "short_side": (default.short_side, "pixels; smaller pictures are not enlarged"),
            "sample_rate": (default.sample_rate, "of the sound, Hz"),
            "jpeg_quality": (default.jpeg_quality, "1 to 100"),
            "max_captions": (default.max_captions, "captions a clip, nearest in time first"),
            "max_caption_gap": (default.max_caption_gap, "seconds from a clip to its captions"),
        },
        "what a source may cost": {
            "timeout_seconds": (default.timeout_seconds, "without a finished clip"),
            "max_memory_mb": (default.max_memory_bytes >> 20, "of a decoding process"),
            "max_source_seconds": (default.max_source_seconds, "of a source wanted whole"),
        },
    }


def _parser():
    parser = argparse.ArgumentParser(
        prog="python -m mmv_tf.beam.preprocess",
        usage="%(prog)s (--videos FOLDER | --manifest FILE --video_root FOLDER) --output FOLDER [options]",
        description=__doc__.split("\n\n")[0],
        epilog=_EXAMPLES,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        allow_abbrev=False,
    )
    inputs = parser.add_argument_group("what to read")
    inputs.add_argument("--videos", help="folder with videos, searched recursively")
    inputs.add_argument("--manifest", help=".csv or .jsonl file with one clip a row")
    inputs.add_argument("--video_root", help="folder that the paths of the manifest are relative to")
    outputs = parser.add_argument_group("what to write")
    outputs.add_argument("--output", required=True, help="folder for the records")
    outputs.add_argument("--split", default="train", help="name of the split; other splits in the folder are kept")
    outputs.add_argument("--num_shards", type=int, default=8, help="files that the records are spread over")
    for title, options in _options(Settings()).items():
        group = parser.add_argument_group(title)
        for name, (default, text) in options.items():
            group.add_argument(f"--{name}", type=type(default), default=default, help=text)
    return parser


def _settings(parser, args):
    """The Settings that the options ask for; an impossible one ends the program with a line that names it."""
    for name in ("num_shards", "short_side", "sample_rate", "clip_seconds", "fps", "timeout_seconds", "max_memory_mb"):
        if not 0 < getattr(args, name) < float("inf"):
            parser.error(f"--{name} must be positive, not {getattr(args, name)}")
    if not 1 <= args.jpeg_quality <= 100:
        parser.error(f"--jpeg_quality must be 1 to 100, not {args.jpeg_quality}")
    if not args.split.isidentifier():
        parser.error(f"--split must be a word, not {args.split!r}")
    if bool(args.videos) == bool(args.manifest):
        parser.error("give either --videos or --manifest")
    if bool(args.manifest) != bool(args.video_root):
        parser.error("--manifest and --video_root belong together")
    return Settings(
        frame_rate=args.fps,
        short_side=args.short_side,
        sample_rate=args.sample_rate,
        jpeg_quality=args.jpeg_quality,
        clip_seconds=args.clip_seconds,
        max_captions=args.max_captions,
        max_caption_gap=args.max_caption_gap,
        timeout_seconds=args.timeout_seconds,
        max_memory_bytes=args.max_memory_mb << 20,
        max_source_seconds=args.max_source_seconds,
    )


def main(argv=None):
    """Runs the command. Returns the exit status: 0, or 1 when not a single clip was accepted."""
    parser = _parser()
    args, flags = parser.parse_known_args(argv)
    settings = _settings(parser, args)
    logging.getLogger().setLevel(logging.ERROR)  # Beam's imports warn of Google Cloud packages that we do not need
    options = pipeline_options.parse(parser, flags)
    from mmv_tf.beam import manifest, run

    try:
        inputs = (
            manifest.from_folder(args.videos) if args.videos else manifest.from_manifest(args.manifest, args.video_root)
        )
        return run.preprocess(
            inputs, args.videos or args.video_root, args.output, args.split, args.num_shards, settings, options
        )
    except ValueError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2


def cli():
    sys.exit(main())


if __name__ == "__main__":
    cli()
