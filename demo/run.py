"""The demo, from videos to a page of search results; `make demo` runs this.

    python -m demo.run                          # games, rendered here, with narration: the measured demo
    python -m demo.run --videos /some/folder    # the same path on your own files, without narration
    python -m demo.run --minutes 3              # and with about so much training, by the rule of gin/own.gin

Every stage is a command that you can run by itself; it is printed before it runs. Interrupted and started again, the
demo goes on where it was. Results: build/demo/results.json and index.html, or build/demo-videos/ for your own files.
"""

import argparse
import json
import os
import pathlib
import signal
import sys
import time

import mmv_tf
from demo import captions, games
from demo.stages import Runner, Stage, StageError, python, with_includes
from mmv_tf.common.files import whole_file

ROOT = pathlib.Path(__file__).resolve().parent.parent
GIN = {"games": ["gin/demo.gin"], "videos": ["gin/own.gin"], "minutes": ["gin/own_captions.gin"]}
CLIP_SECONDS = 3.2  # what the gin files above train on
# Small pictures: the networks of the demo see less than this, and a record is read the faster.
PREPROCESS = ["--short_side", "96"]
NEVER_TRAINED = ("audio->text", "text->audio")


def _code(*names: str) -> list[pathlib.Path]:
    return [ROOT / "demo" / f"{name}.py" for name in names]


def _pages(*names: str) -> list[pathlib.Path]:
    return [ROOT / "mmv_tf" / "pages" / name for name in names]


def gin_params(build: pathlib.Path, data: str, minutes: float | None = None) -> list[str]:
    """What the gin files leave open."""
    params = [f"TRAIN_DATA='{build}/records/train-*'"]
    if data == "games":
        params.append(f"VOCABULARY='{build}/vocabulary.txt'")
    if minutes is not None:
        params.append(f"Own.minutes={minutes:g}")
    return [f"--gin_param={param}" for param in params]


def data_stages(build: pathlib.Path, arguments: argparse.Namespace) -> list[Stage]:
    """Videos -> records: rendering, or a look at the user's folder; preprocessing; the vocabulary."""
    records = build / "records"

    def preprocess(split, *source):
        # A folder of records holds several splits, so it is not the output of one stage.
        return Stage(
            f"preprocess-{split}",
            f"decodes the {split} videos into TFRecords",
            python("mmv_tf.beam.preprocess", *source, "--output", records, "--split", split, *PREPROCESS),
            expected=[records / "dataset.json"],
            goes_on=True,
        )

    if arguments.videos:
        manifests, videos = build / "manifests", arguments.videos
        return [
            Stage(
                "split",
                "keeps a part out of training",
                python("demo.manifest", "--videos", videos, "--output", manifests, "--clip_seconds", CLIP_SECONDS),
                outputs=[manifests],
                inputs=_code("manifest"),
                facts=listing(videos),
            ),
            preprocess("train", "--manifest", manifests / "train.jsonl", "--video_root", videos),
            preprocess("test", "--manifest", manifests / "test.jsonl", "--video_root", videos),
        ]
    return [
        Stage(
            "render",
            f"plays {len(games.GAMES)} games into .mp4 files with sound and narration",
            python("demo.games", "--output", build / "videos"),
            expected=[build / "videos", build / "fingerprints"],
            inputs=_code("captions"),
            facts=[f"version {games.VERSION}"],
            goes_on=True,
        ),
        preprocess("train", "--videos", build / "videos" / "train"),
        # Before the held-out videos join the records: their words are not for training.
        Stage(
            "vocabulary",
            "lists the words of the narration",
            python("mmv_tf.vocabulary", "--records", records, "--from_card", "--output", build / "vocabulary.txt"),
            outputs=[build / "vocabulary.txt"],
        ),
        preprocess("test", "--videos", build / "videos" / "test"),
    ]


def model_stages(build: pathlib.Path, data: str, gin_files: list[str], minutes: float | None = None) -> list[Stage]:
    """Records -> trained and untrained networks -> exports."""
    gin = [*(f"--gin_file={file}" for file in gin_files), *gin_params(build, data, minutes)]
    files = [included for file in gin_files for included in with_includes(ROOT / file, ROOT)]
    run, untrained, exported, bare = (build / name for name in ("run", "untrained", "export", "export_untrained"))

    def export(workdir, output):
        return python("mmv_tf.export.saved_model", "--workdir", workdir, "--output", output)

    return [
        Stage(
            "graph",
            "draws the modality graph",
            python("mmv_tf.graph", *gin, "--output", build / "graph.svg"),
            outputs=[build / "graph.svg"],
            inputs=files,
        ),
        Stage(
            "train",
            "trains the network; it says for about how long",
            python("mmv_tf.train", *gin, f"--workdir={run}"),
            outputs=[run],
            goes_on=True,
        ),
        Stage(
            "untrained",
            "writes the same network before its first step, to compare with",
            python("mmv_tf.train", *gin, f"--workdir={untrained}", "--mode=init"),
            outputs=[untrained],
        ),
        Stage("export", "publishes the trained network", export(run, exported), outputs=[exported]),
        Stage("export-untrained", "publishes the untrained one", export(untrained, bare), outputs=[bare]),
    ]


def search_stages(build: pathlib.Path, data: str, videos: pathlib.Path) -> list[Stage]:
    """Exports -> embeddings of held-out clips -> results and page -> an index of the videos to search in."""
    embeddings = build / "embeddings"
    embed = python("demo.embed", "--records", build / "records", "--workdir", build / "run")
    embed += ["--trained", str(build / "export"), "--untrained", str(build / "export_untrained")]
    report = python("demo.report", "--data", data, "--embeddings", embeddings, "--output", build)
    report += ["--graph_svg", str(build / "graph.svg")]
    if data == "games":
        embed += ["--sentences", str(build / "sentences.json")]
        report += ["--fingerprints", str(build / "fingerprints"), "--never_trained", *NEVER_TRAINED]
    return [
        Stage(
            "embed",
            "loads both with hub.KerasLayer and embeds the held-out clips",
            [*embed, "--output", str(embeddings)],
            outputs=[embeddings],
            inputs=[*_code("embed"), *_pages("pictures.py")],
        ),
        Stage(
            "report",
            "searches, measures and writes the page",
            [*report, "--summary", str(build / "run" / "summary.json")],
            outputs=[build / "results.json", build / "index.html"],
            inputs=[
                *_code("report", "evaluation", "duplicates", "page"),
                *_pages("document.py", "charts.py", "curves.py"),
                *sorted((ROOT / "mmv_tf" / "pages" / "templates").iterdir()),
                *sorted((ROOT / "demo" / "templates").iterdir()),
            ],
        ),
        Stage(
            "index",
            "makes an index of the videos, to search in a browser",
            python("mmv_tf.search", "index", videos, "--module", build / "export", "--index", build / "index"),
            expected=[build / "index"],
            facts=listing(videos) if data == "videos" else [],
            goes_on=True,
        ),
    ]


def listing(folder: pathlib.Path) -> list[str]:
    """Name, size and time of each file below a folder: changes when the user's files change."""
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            status = path.stat()
            found.append(f"{path.relative_to(folder)} {status.st_size} {status.st_mtime_ns}")
    return found


def write_sentences(path: pathlib.Path) -> None:
    """The held-out wordings of every game, each with its game, for demo.embed."""
    sentences = [{"text": t, "group": game} for game in games.GAMES for t in captions.wordings(game, "test")]
    with whole_file(path) as partial:
        partial.write_text(json.dumps(sentences, indent=1), "utf-8")


def main(arguments: argparse.Namespace) -> None:
    data = "videos" if arguments.videos else "games"
    if arguments.minutes is not None and not 0 < arguments.minutes < 1e5:
        raise SystemExit(f"error: --minutes {arguments.minutes:g}: a number of minutes above 0")
    if arguments.videos:
        arguments.videos = pathlib.Path(arguments.videos).resolve()
        if not arguments.videos.is_dir():
            raise SystemExit(f"--videos {arguments.videos}: not a folder")
    # Relative, as they are typed and printed; the commands run from the checkout.
    build = pathlib.Path(arguments.output or ("build/demo-videos" if arguments.videos else "build/demo"))
    build.mkdir(parents=True, exist_ok=True)
    if data == "games":
        write_sentences(build / "sentences.json")
    gin_files = arguments.gin_file or GIN["minutes" if arguments.minutes and data == "games" else data]
    stages = [
        *data_stages(build, arguments),
        *model_stages(build, data, gin_files, arguments.minutes),
        *search_stages(build, data, arguments.videos or build / "videos" / "test"),
    ]
    stages[0].facts.append(mmv_tf.__version__)
    runner, start = Runner(build / ".stages", len(stages)), time.time()
    for stage in stages:
        runner.run(stage)
    print(f"\nThe demo took {time.time() - start:.0f} s this time, {sum(runner.seconds.values()):.0f} s in all:")
    longest = sorted(runner.seconds.items(), key=lambda one: -one[1])[:5]
    print("  " + ", ".join(f"{name} {seconds:.0f} s" for name, seconds in longest) + " and the rest.")
    print(f"Open {build / 'index.html'} in a browser; the figures are in {build / 'results.json'}.")
    print(f"Search: {pathlib.Path(sys.executable).parent / 'mmv_tf'} search serve --index {build / 'index'}")


def cli() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--videos", default="", metavar="FOLDER", help="your own videos with sound, found recursively")
    parser.add_argument("--gin_file", action="append", help=f"default: {GIN['games']}; with --videos {GIN['videos']}")
    parser.add_argument(
        "--minutes", type=float, metavar="N", help="of training, about (default: as long as the gin file says)"
    )
    parser.add_argument("--output", default="", help="default: build/demo, or build/demo-videos with --videos")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # for the commands: TensorFlow talks much at its start
    # A plain kill ends the running stage as Ctrl-C does, so that no child is left behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        main(parser.parse_args())
    except (StageError, OSError) as error:
        raise SystemExit(f"error: {error}") from None
    except KeyboardInterrupt:
        raise SystemExit("interrupted; the same command goes on from here") from None


if __name__ == "__main__":
    cli()
