"""Videos in, records out: `mmv_tf preprocess`.

Writes RECORDS/train-00000-of-00008 ... (TFRecords of tf.train.SequenceExample, keys in mmv_tf/records/schema.py),
dataset.json (counts, label map, settings) and dead_letters.jsonl (every clip that was rejected, and why).
"""

import argparse
import dataclasses

from mmv_tf.beam import options as pipeline_options
from mmv_tf.beam.captions import sidecars
from mmv_tf.beam.datasets import catalog
from mmv_tf.beam.datasets.entries import Request
from mmv_tf.beam.specs import MOST, Settings
from mmv_tf.common import command, lock

_DATASET_OPTIONS = ("fold", "classes", "ids", "files", "min_clip_seconds")

_THEN = """mmv_tf inspect verify RECORDS
  mmv_tf vocabulary --records RECORDS --output vocabulary.txt        # if there are narrations
  mmv_tf train --gin_file=gin/fac.gin --workdir=runs/fac --gin_param="TRAIN_DATA='RECORDS/train-*'\""""
_EXAMPLES = f"""
examples:
  mmv_tf preprocess --videos FOLDER --output RECORDS
  mmv_tf preprocess --manifest FILE.csv --video_root FOLDER --output RECORDS
  mmv_tf preprocess --dataset ucf101 --videos FOLDER --annotations FILE --output RECORDS

The columns of a manifest are video_path (relative to --video_root), start, end (seconds; both may be empty), caption,
label. In .jsonl `captions` may be a list of {{"text", "start", "end"}}, and `label` a text or a list.
Narrations of --videos lie beside each video: x.srt, x.vtt or x.en.vtt for x.mp4, or below --captions
in the same subfolder; of several languages --caption_languages are taken, or else one without a language, then English,
then the first. All other options go to Apache Beam, such as --runner, --direct_num_workers or --direct_running_mode. A
run that was killed goes on when started again.

--dataset takes the original annotation files of (docs/datasets.md says where they come from and what becomes of them):
{catalog.listing()}
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


def _languages(text):
    try:
        return sidecars.languages(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _parser():
    parser = command.parser(
        "preprocess",
        "Videos, sounds and pictures in, records out.",
        _THEN,
        _EXAMPLES,
        usage="%(prog)s (--videos FOLDER | --manifest FILE --video_root FOLDER | --dataset NAME --videos FOLDER) "
        "--output FOLDER [options]",
    )
    inputs = parser.add_argument_group("what to read")
    inputs.add_argument("--videos", help="folder with videos, sounds or pictures, searched recursively")
    inputs.add_argument("--captions", help="folder with .srt and .vtt files in the subfolders that --videos has")
    inputs.add_argument(
        "--caption_languages",
        type=_languages,
        metavar="en,de",
        help="of several narrations of a video, those to take, in this order",
    )
    inputs.add_argument("--manifest", help=".csv or .jsonl file with one clip a row")
    inputs.add_argument("--video_root", help="folder that the paths of the manifest are relative to")
    dataset = parser.add_argument_group("what to read, of a dataset")
    dataset.add_argument("--dataset", choices=catalog.DATASETS, metavar="NAME", help="one of those listed below")
    dataset.add_argument("--annotations", help="its annotation file, or a folder with it (default: that of --videos)")
    dataset.add_argument("--fold", type=int, choices=(1, 2, 3), help="which of its three ways to split it (default: 1)")
    dataset.add_argument("--classes", help="file with the names of its classes, if not beside the annotations")
    dataset.add_argument("--ids", help="file with the ids of the videos to take: a csv, or one a line")
    dataset.add_argument(
        "--files",
        choices=("whole", "cut"),
        help="what the files are that are named by an id alone: whole videos, or the segments already",
    )
    dataset.add_argument("--min_clip_seconds", type=float, help="of a clip around a narration (default: 5)")
    outputs = parser.add_argument_group("what to write")
    outputs.add_argument("--output", required=True, help="folder for the records")
    outputs.add_argument(
        "--split",
        help="name of the split, or several with commas of a dataset (default: train; of a dataset without it, all); "
        "other splits in the folder are kept",
    )
    outputs.add_argument("--num_shards", type=int, help="files that the records are spread over (default: by amount)")
    for title, options in _options(Settings()).items():
        group = parser.add_argument_group(title)
        for name, (default, text) in options.items():
            group.add_argument(f"--{name}", type=type(default), help=f"{text} (default: {default:g})")
    return parser


def _settings(parser, args):
    """The Settings that the options ask for; an impossible one ends the program with a line that names it."""
    dataset = catalog.DATASETS.get(args.dataset)
    default = dataclasses.replace(Settings(), **(dataset.settings if dataset else {}))
    for options in _options(default).values():
        for name, (value, _) in options.items():
            if getattr(args, name) is None:
                setattr(args, name, value)
    positive = "short_side sample_rate clip_seconds fps timeout_seconds max_memory_mb max_source_seconds".split()
    most = MOST | dict.fromkeys(("clip_seconds", "min_clip_seconds"), default.max_clip_seconds)
    parser.check_positive(args, [*positive, "num_shards", "min_clip_seconds"], most)
    for name in ("max_captions", "max_caption_gap"):
        if not 0 <= getattr(args, name) < float("inf"):
            parser.error(f"--{name} must not be negative, and is {getattr(args, name)}")
    if not 1 <= args.jpeg_quality <= 100:
        parser.error(f"--jpeg_quality must be 1 to 100, not {args.jpeg_quality}")
    return dataclasses.replace(
        default,
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


def _splits(parser, args):
    """Names of the splits to write, after a check that the options about the input belong together."""
    if bool(args.videos) == bool(args.manifest):
        parser.error("give either --videos or --manifest")
    if bool(args.manifest) != bool(args.video_root):
        parser.error("--manifest and --video_root belong together")
    for name in ("captions", "caption_languages"):
        if getattr(args, name) is not None and (args.manifest or args.dataset):
            parser.error(f"--{name} belongs to --videos without --dataset")
    dataset = catalog.DATASETS.get(args.dataset)
    allowed = ("annotations", *dataset.options) if dataset else ()
    for name in ("annotations", *_DATASET_OPTIONS):
        if getattr(args, name) is not None and name not in allowed:
            parser.error(f"--{name} is for datasets that have it, not for {args.dataset or 'what has no --dataset'}")
    if dataset and not args.videos:
        parser.error("--dataset needs --videos: the folder with its files")
    known = dataset.splits if dataset else ()
    splits = (args.split or ("train" if "train" in known or not known else ",".join(known))).split(",")
    for split in splits:
        if not split.isidentifier():
            parser.error(f"--split must be a word, not {split!r}")
        if known and split not in known:
            parser.error(f"--split {split}: {args.dataset} has {', '.join(known)}")
    if len(splits) > 1 and not dataset:
        parser.error("several splits in one --split are for a --dataset")
    return splits


def _inputs(args, split, settings):
    from mmv_tf.beam.sources.folder import from_folder
    from mmv_tf.beam.sources.manifest import from_manifest

    if not args.dataset:
        if args.videos:
            return from_folder(args.videos, args.captions, args.caption_languages or ())
        return from_manifest(args.manifest, args.video_root)
    options = {name: getattr(args, name) for name in _DATASET_OPTIONS if getattr(args, name) is not None}
    request = Request(args.videos, args.annotations or args.videos, split, settings, **options)
    return catalog.read(args.dataset, request)


def main(argv=None):
    """Runs the command. Returns the exit status: 0, or 1 when not a single clip of a split was accepted."""
    parser = _parser()
    args, flags = parser.parse_known_args(argv)
    settings, splits = _settings(parser, args), _splits(parser, args)
    options = pipeline_options.parse(parser, flags)
    from mmv_tf.beam import job

    status = 0
    with lock.folder(args.output, "preprocess"):
        for split in splits:
            inputs, root = _inputs(args, split, settings), args.videos or args.video_root
            status |= job.preprocess(inputs, root, args.output, split, args.num_shards, settings, options)
    return status


def cli(argv=None) -> int:
    return command.run(main, argv)


if __name__ == "__main__":
    raise SystemExit(cli())
