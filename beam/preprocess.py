"""Videos in, records out.

    python -m mmv_tf.beam.preprocess --videos FOLDER --output RECORDS
    python -m mmv_tf.beam.preprocess --manifest FILE.csv --video_root FOLDER --output RECORDS

Writes RECORDS/train-00000-of-00008 ... (TFRecords of tf.train.SequenceExample, keys in mmv_tf/records.py),
dataset.json (counts, label map, settings) and dead_letters.jsonl (every clip that was rejected, and why).
"""

import argparse
import sys

_EXAMPLES = """
The columns of a manifest are video_path (relative to --video_root), start, end (seconds; both may be empty), caption,
label. In .jsonl `captions` may be a list of {"text", "start", "end"}, and `label` a text or a list.
Narrations of --videos lie beside each video: x.srt or x.vtt for x.mp4. All other options go to Apache Beam, such as
--runner, --direct_num_workers or --direct_running_mode. A run that was killed goes on when started again.
"""


def _parser():
    parser = argparse.ArgumentParser(
        prog="python -m mmv_tf.beam.preprocess",
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
    settings = parser.add_argument_group("what a record looks like")
    settings.add_argument("--clip_seconds", type=float, default=10.0, help="length of the pieces of a whole source")
    settings.add_argument("--fps", type=float, default=10.0, help="frames per second")
    settings.add_argument("--short_side", type=int, default=256, help="pixels; smaller pictures are not enlarged")
    settings.add_argument("--sample_rate", type=int, default=48000, help="of the sound, Hz")
    settings.add_argument("--jpeg_quality", type=int, default=85, help="1 to 100")
    settings.add_argument("--max_captions", type=int, default=5, help="captions a clip, nearest in time first")
    settings.add_argument("--max_caption_gap", type=float, default=10.0, help="seconds from a clip to its captions")
    limits = parser.add_argument_group("what a source may cost")
    limits.add_argument("--timeout_seconds", type=float, default=60.0, help="without a finished clip")
    limits.add_argument("--max_memory_mb", type=int, default=2048, help="of a decoding process")
    limits.add_argument("--max_source_seconds", type=float, default=6 * 3600.0, help="of a source wanted whole")
    return parser


def _settings(parser, args):
    """The Settings that the options ask for; an impossible one ends the program with a line that names it."""
    from mmv_tf.beam.specs import Settings

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


def _beam_options(parser, flags):
    """PipelineOptions; an unknown option is an error here, since Beam only warns of it."""
    from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, StandardOptions

    known = argparse.ArgumentParser(add_help=False, allow_abbrev=False, conflict_handler="resolve")
    for options in PipelineOptions.__subclasses__():
        options._add_argparse_args(known)
    unknown = known.parse_known_args(flags)[1]
    if unknown:
        parser.error(f"unknown option {unknown[0]}: neither of this program nor of Apache Beam")
    options = PipelineOptions(flags)
    direct = options.view_as(DirectOptions)
    if (options.view_as(StandardOptions).runner or "DirectRunner") == "DirectRunner":
        # Decoding happens in one child process a worker thread: threads start at once, processes take 10 s.
        if not any(flag.startswith("--direct_num_workers") for flag in flags):
            direct.direct_num_workers = 0  # as many as there are cores
        if not any(flag.startswith("--direct_running_mode") for flag in flags):
            direct.direct_running_mode = "multi_threading"
    return options


def main(argv=None):
    """Runs the command. Returns the exit status: 0, or 1 when not a single clip was accepted."""
    parser = _parser()
    args, flags = parser.parse_known_args(argv)
    settings = _settings(parser, args)
    options = _beam_options(parser, flags)
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
