"""Every page with hostile values in all its places: they come out as the text that they are, and as nothing else."""

import dataclasses
import pathlib

import numpy as np
import pytest

from benchmarks.miniature import page as miniature_page
from benchmarks.miniature import scenes, tables
from benchmarks.miniature.experiments import TABLES
from demo import page as demo_page
from demo.page import NEAR, RIGHT, UNKNOWN, WRONG, Example, Item, Page, Section
from helpers import record_fixtures
from helpers.html_shape import Shape
from mmv_tf.deflation import page as deflation_page
from mmv_tf.evaluation import report_page
from mmv_tf.inspection import show
from mmv_tf.model import graph_drawing
from mmv_tf.model.graph import Graph
from mmv_tf.pages import charts, curves, document, pictures
from mmv_tf.records.card import load

ROOT = pathlib.Path(__file__).parents[2]
TEMPLATES = [path for path in ROOT.glob("**/templates/*") if "build" not in path.relative_to(ROOT).parts]

# Leaves an attribute, a tag, and the elements whose content is no markup; holds what HTML and UTF-8 cannot.
PART = "' onevil=1 \"><evil onevil='1'>&\0\x85"
EVIL = f"</title></style></script></svg>{PART}\udcff"


class Hostile:
    """Texts to put on a page, each with a number of its own."""

    def __init__(self, hostile: bool):
        self.hostile, self.said = hostile, []

    def __call__(self, evil: str = EVIL) -> str:
        self.said.append(f"{evil if self.hostile else 'plain'}{len(self.said)}.")
        return self.said[-1]

    def part(self) -> str:
        """Of a path, or of a name that a slash divides."""
        return self(f"{PART}\udcff")

    def stored(self) -> str:
        """In a file that is UTF-8."""
        return self(EVIL.replace("\udcff", ""))


def deflation(say, tmp_path, monkeypatch):
    report = {
        "training": {"held_out_l1_naive": 0.2, "held_out_l1_trained": 0.1, "best_step": 9, "steps": 10},
        "images": {"held_out": 1, "crops": 5, "learned_from": 2, "source": say()},
        "distance_to_inflated": {say(): dict.fromkeys(("naive", "trained"), {"relative_l2": 0, "cosine_distance": 0})},
        "cost": {f"{of}_{what}": 1.0 for of in ("image", "video") for what in ("multiply_adds", "milliseconds")}
        | {"multiply_adds_ratio": 1.0, "milliseconds_ratio": 1.0},
        "frames": 32,
        "image_size": 200,
        "retrieval": {say(): {say(): {say(): 0.5}}},
        "retrieval_records": say(),
    }
    return deflation_page.render(report, [{"step": 0, "held_out_l1": 1.0, "train_l1": None}])


def report(say, tmp_path, monkeypatch):
    measure = say()
    row = {"measures": {measure: {"value": 5.0, "interval": {"low": 1.0, "high": 9.0}}}}
    folder = say.part()
    query = {"key": say(), "text": say()}
    found = [{"key": say(), "right": right} for right in (True, False)]
    result = {
        "protocol": say(),
        "dataset": say(),
        "metric": measure,
        "measures": {measure: {}},
        "interval": {"of": say()},
        "n": {"items": "1"},
        "network": {"workdir": f"/nowhere/{folder}", **row},
        "baselines": {say(): row, say(): {"not_possible": say()}},
        "settings": {"records": f"/nowhere/{say()}", "split": "test"},
        "notes": [say()],
        "command": say(),
        "examples": [
            {"pair": "text->video", "query": query, "found": found, "rank": 1},
            {"pair": f"{say()}->{say()}", "query": {"key": say()}, "found": [], "rank": 1},
        ],
    }
    table = report_page.published.TABLES[0]
    ours = {
        **result,
        "protocol": table.columns[0].protocol,
        "measures": {table.columns[0].metric: {}},
        "metric": table.columns[0].metric,
        "network": {"workdir": f"/nowhere/{say.part()}", "measures": {table.columns[0].metric: {"value": 1.0}}},
        "changed": {say("a<evil>\0"): (0, "<evil>")},
        "baselines": {},
    }
    del ours["examples"]
    scalars = {f"loss/{say.part()}": [(0, 1.0), (1, 2.0)], say.part(): [(0, float("nan"))]}
    monkeypatch.setattr(curves, "read", lambda place: scalars)
    return report_page.render([result, ours])


def records(say, tmp_path, monkeypatch):
    folder = tmp_path / "records"
    folder.mkdir()
    whole = record_fixtures.record(say.stored(), captions=(say.stored(),), num_frames=2)
    whole = dataclasses.replace(whole, labels=((3, say(PART)),))
    record_fixtures.write_shards(folder, [[whole, record_fixtures.record("damaged", num_frames=2)]])
    card = load(folder)
    card.splits["train"].counters = {"read": 9, "accepted": 4, "rejected": 5, "reasons": {say.stored(): 3}}
    card.save(folder)
    shard = folder / "train-00000-of-00001"
    shard.write_bytes(shard.read_bytes()[:-3] + b"\0\0\0")
    named = tmp_path / say(PART.replace("\0", "\udcff"))
    folder.rename(named)
    show.show(str(named), str(tmp_path / "page.html"))
    return (tmp_path / "page.html").read_text("utf-8")


def values_of_records(say, tmp_path, monkeypatch):
    """All that stands on a page of records, also what cannot come from outside today."""
    frames = [{"number": say(), "time": say(), "jpeg": b"1", "problem": ""}, {"number": say(), "problem": say()}]
    sound = {"missing": "", "wave": say(), "spectrogram": b"1", "axis": [say()], "wav": b"1"}
    clip = {
        "name": say(),
        "film": "",
        "facts": [say()],
        "frames": frames,
        "narrations": [(say(), say(), True)],
        "labels": [say()],
    }
    clip["more_narrations"] = say()
    return document.render(
        "records.html",
        title=say(),
        amount=say(),
        shares=[[say()], [say()]],
        has_card=False,
        num_damaged=say(),
        damaged=[say()],
        cards=[{"title": say(), "chart": say(), "note": say()}],
        remarks=[(say(), [say()])],
        dead_letters=say(),
        shown=say(),
        clips=[clip | {"sound": sound}, clip | {"sound": {"missing": say()}}],
    )


def api(say, tmp_path, monkeypatch):
    """The list of what the page of the search can be asked."""
    return document.render("api.html", title=say(), methods=[(say(), say(), say())])


def macros(say, tmp_path, monkeypatch):
    """What pages share, each with hostile values in all places."""
    calls = """{% extends "base.html" %}{% import "macros.html" as m %}{% block main %}{{ m.table(rows, classes) }}
    {{ m.curves(name, series) }}{{ m.chart_card(name, chart, note) }}{{ m.example(item, [(item, mark)], words, note) }}
    {% endblock %}"""
    (tmp_path / "page.html").write_text(calls)
    item = {"picture": b"1", "alt": say(), "text": say(), "name": say(), "sound_id": say()}
    mark = say()
    return document.render(
        "page.html",
        folder=tmp_path,
        title=say(),
        rows=[[say()], [say()]],
        classes=[say()],
        name=say(),
        series={say(): [(0, 1)]},
        chart=say(),
        note=say(),
        item=item,
        mark=mark,
        words={mark: say()},
    )


def demo(say, tmp_path, monkeypatch):
    picture, sound = pictures.strip(np.zeros((3, 8, 8, 3), np.uint8)), pictures.wav(np.zeros(480), 4800)
    figures, pair = {"R@1": 0.25, "R@5": 0.5, "R@10": 1.0, "MedR": 3.5}, say()
    found = [(Item("video", say(), say(), picture, sound, EVIL), mark) for mark in (RIGHT, NEAR, WRONG, UNKNOWN)]
    section = Section(pair, say(), [Example(Item("text", say(), say()), found, 2.0)])
    page = Page(
        title=say(),
        lead=say(),
        metrics={pair: {"trained": figures, "untrained": figures}},
        paragraphs=[say()],
        facts=[(say(), say())],
        sections=[section],
        curves={say(): {say(): [(0, 1.0)]}},
        graph_svg="<svg><evil/></svg>",
        never_trained=(pair,),
        near_means=say(),
        right_means={pair: say()},
    )
    return demo_page.render(page)


def miniature(say, tmp_path, monkeypatch):
    shot = scenes.Shot(0.0, say(), say(), say(), say(), "heads", (1, 0))
    sight_and_sound = (np.zeros((8, 8, 8, 3), np.uint8), np.zeros(480, np.float32))
    monkeypatch.setattr(miniature_page, "examples", lambda: [(scenes.Episode(say(), 1), shot)])
    monkeypatch.setattr(miniature_page, "film_and_sound", lambda shot: sight_and_sound)
    made, order = TABLES["e"], {name: say() for name in ("better", "worse", "source", "measure", "verdict")}
    result = {
        "table": "e",
        "title": say(),
        "command": say(),
        "notes": [say()],
        "seeds": [0],
        "rows": {say(): {column: [1.0] for column in made.columns}},
        "baselines": {name: {column: [1.0] for column in made.columns} for name in made.baselines},
        "orderings": [{**order, "difference": 1.0, "low": None, "high": None}],
    }
    assert tables.value_rows(result)
    return miniature_page.render([result])


PAGES = {
    deflation: "mmv_tf/pages/templates/deflation.html",
    report: "mmv_tf/pages/templates/report.html",
    records: "mmv_tf/pages/templates/records.html",
    values_of_records: "mmv_tf/pages/templates/clip.html",
    api: "mmv_tf/pages/templates/api.html",
    macros: "mmv_tf/pages/templates/macros.html",
    demo: "demo/templates/page.html",
    miniature: "benchmarks/miniature/templates/page.html",
}


def check(page: str, plain: str, said: list[str]) -> None:
    shape = Shape(page)
    assert not [element for element in shape.elements if "evil" in element[0] or "onevil" in element[1]]
    assert set(shape.elements) <= set(Shape(plain).elements)
    texts = "\n".join(shape.texts)
    for text in said:
        assert document.visible(text) in texts, text
    assert "&amp;lt;" not in page and "&amp;#" not in page, "escaped twice"
    page.encode("utf-8")
    assert "\0" not in page and "\x85" not in page


@pytest.mark.parametrize("page", PAGES)
def test_hostile_values_are_texts(page, tmp_path, monkeypatch):
    made = []
    for folder, hostile in (("plain", False), ("hostile", True)):
        (tmp_path / folder).mkdir()
        say = Hostile(hostile)
        made.append(page(say, tmp_path / folder, monkeypatch))
    check(made[1], made[0], say.said)


def test_every_template_is_among_the_pages_and_none_says_safe():
    texts = {path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in TEMPLATES}
    assert {name for name in texts if name.endswith(".html")} == {*PAGES.values(), "mmv_tf/pages/templates/base.html"}
    for name, text in texts.items():
        assert "safe" not in text and "autoescape" not in text, name


def test_what_is_not_escaped_by_a_template_is_seen(tmp_path):
    """The check itself: one `safe` is enough to fail it."""
    text = '{% extends "base.html" %}{% block main %}<p class="{{ b }}">{{ a }}</p>{% endblock %}'
    plain = "".join(f"<p class='x'>{word}</p>" for word in "ab")
    for number, leak in enumerate(("", "a", "b")):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "page.html").write_text(text.replace(f"{{{{ {leak} }}}}", f"{{{{ {leak} | safe }}}}"))
        page = document.render("page.html", folder=folder, title=EVIL, a=EVIL, b=EVIL)
        if leak:
            with pytest.raises(AssertionError):
                check(page, plain, [EVIL])
        else:
            check(page, page, [EVIL])


def test_charts_and_drawings_escape_names():
    say = Hostile(True)
    name, unit, label, space = say(), say(), say(), say()
    plain = "".join([charts.columns([("a", 1)], "b", "c"), charts.rows([("a", 1)], "b"), charts.lines({"a": [(0, 1)]})])
    drawn = [charts.columns([(label, 1)], name, unit), charts.rows([(label, 1)], name)]
    drawn.append(charts.lines({label: [(0, 1)]}, unit))
    check(document.visible("".join(drawn)), plain, [name, unit, label])
    graph, other = (
        Graph({space: 3}, [("video", space), ("audio", space)], [("video", "audio", space)]) for space in (space, "va")
    )
    check(graph_drawing.svg(graph), graph_drawing.svg(other), [space])


def test_markup_is_made_where_its_parts_are_escaped():
    makers = {
        path.relative_to(ROOT).as_posix()
        for folder in ("mmv_tf", "demo", "benchmarks", "beam", "export")
        for path in (ROOT / folder).rglob("*.py")
        if "Markup" in (text := path.read_text("utf-8")) or "html.escape" in text
    }
    assert makers == {"mmv_tf/pages/charts.py", "mmv_tf/pages/document.py", "mmv_tf/model/graph_drawing.py"}
