"""One page to look at: what the benchmark shows and sounds like, and the tables.

    python -m benchmarks.miniature.page --output build/miniature/index.html --picture build/miniature/events.jpg

The results are those of benchmarks/results; the clips are simulated anew.
"""

import argparse
import json
import pathlib

import numpy as np

from benchmarks.miniature import curves, make, scenes, tables, words
from demo.stages import one_line_errors
from mmv_tf.common.files import whole_file
from mmv_tf.pages import document, pictures

_FRAMES = 8
_TWO = "two events"
_VERDICTS = {"holds": "ours", "reversed": "baseline"}


def examples() -> list[tuple[scenes.Episode, scenes.Shot]]:
    """The first shot of each event in the held-out episodes, of what drifts, and of two events."""
    found: dict[str, tuple[scenes.Episode, scenes.Shot]] = {}
    for episode in scenes.episodes():
        if episode.split.endswith("test"):
            for shot in episode.shots:
                found.setdefault(_TWO if shot.then else shot.event, (episode, shot))
    return [found[event] for event in (*scenes.EVENTS, *scenes.NEW_EVENTS, scenes.DRIFT, _TWO)]


def film_and_sound(shot: scenes.Shot) -> tuple[np.ndarray, np.ndarray]:
    """The clip of a shot as it was rendered: frames uint8 [T, SIZE, SIZE, 3], samples float32 [S]."""
    _, frames, samples = make.show(shot)
    first, last = (time - shot.start for time in shot.span)
    return (
        np.stack(frames[round(first * scenes.FPS) : round(last * scenes.FPS)]),
        samples[round(first * scenes.SAMPLE_RATE) : round(last * scenes.SAMPLE_RATE)],
    )


def picture(height: int = 96) -> bytes:
    """JPEG for docs/benchmarks.md: a row of frames, each `height` pixels high, an event of pretraining."""
    shown = [film_and_sound(shot)[0] for _, shot in examples() if shot.event in scenes.EVENTS and not shot.then]
    return pictures.strip(np.concatenate(shown, axis=1), _FRAMES, height * len(shown))


def _clip(episode: scenes.Episode, shot: scenes.Shot) -> dict:
    frames, samples = film_and_sound(shot)
    is_told = shot.event in scenes.EVENTS and not shot.then
    told = words.caption(shot.event, shot.material) if is_told else "in no pretraining"
    shown = f"{shot.event}, then {shot.then}" if shot.then else f"{shot.event} {shot.direction or ''}".strip()
    return {
        "title": f"{shown}, {shot.material}",
        "frames": pictures.strip(frames, _FRAMES, 96),
        "spectrogram": pictures.spectrogram(samples, scenes.SAMPLE_RATE, width=480),
        "wav": pictures.wav(samples, scenes.SAMPLE_RATE),
        "about": f"{told} ({shot.tempo}; camera: {shot.camera}; {episode.path})",
    }


def _table(result: dict) -> dict:
    return {
        "title": f"({result['table']}) {result['title']}",
        "command": result["command"],
        "notes": tables.notes(result),
        "rows": tables.value_rows(result),
        "orderings": tables.ordering_rows(result),
        "verdicts": [_VERDICTS.get(one["verdict"], "") for one in result["orderings"]],
    }


def render(results: list[dict], curve: dict | None = None) -> str:
    """HTML of the whole page. `curve`: of benchmarks.miniature.curves."""
    return document.render(
        "page.html",
        folder=pathlib.Path(__file__).parent / "templates",
        title="The miniature benchmark",
        clips=[_clip(*one) for one in examples()],
        verdicts_mean=tables.VERDICTS,
        tables=[_table(result) for result in results],
        learning=_curves(curve) if curve else None,
    )


def _curves(result: dict) -> dict:
    drawn = {tables.short(one): curves.series(result, one) for one in curves.MEASURES}
    charts = [{"title": title, "series": series} for title, series in drawn.items() if series]
    return {"command": result["command"], "rows": curves.value_rows(result), "charts": charts}


def write_readme() -> dict | None:
    """Writes RESULTS/README.md; the learning curves, if they are there."""
    found = tables.RESULTS / "curves.json"
    curve = json.loads(found.read_text("utf-8")) if found.is_file() else None
    tables.write_page(tables.RESULTS, [curves.markdown(curve)] if curve else [])
    return curve


def write(path: pathlib.Path) -> None:
    """Writes the page, and RESULTS/README.md."""
    curve = write_readme()
    with whole_file(path) as partial:
        partial.write_text(render(tables.read_all(tables.RESULTS), curve), "utf-8")


def main(argv=None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.miniature.page", description=__doc__.split("\n")[0])
    parser.add_argument("--output", default="build/miniature/index.html", type=pathlib.Path)
    parser.add_argument("--picture", type=pathlib.Path, help="a JPEG of the events, too")
    arguments = parser.parse_args(argv)
    with one_line_errors():
        make.check_physics()
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    write(arguments.output)
    print(f"wrote {arguments.output}")
    if arguments.picture:
        with whole_file(arguments.picture) as partial:
            partial.write_bytes(picture())
        print(f"wrote {arguments.picture}")


if __name__ == "__main__":
    main()
