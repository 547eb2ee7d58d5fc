"""Pages from templates: what every page has, what escapes its values, and templates of other rooms."""

import subprocess
import sys

import jinja2
import pytest

from mmv_tf.pages import document

TABLE = '{% from "macros.html" import table %}{% block main %}{{ table(rows, classes) }}{% endblock %}'


@pytest.fixture
def folder(tmp_path):
    """Templates of a room that has a page of its own."""
    (tmp_path / "page.html").write_text('{% extends "base.html" %}' + TABLE)
    (tmp_path / "base.html").write_text("another base")
    return tmp_path


def test_every_text_is_escaped_and_rows_carry_their_class(folder):
    rows, classes = [["<a>", "b"], ["x & y", "1"], ["chance", "2"]], ["ours", "baseline"]
    page = document.render("page.html", folder=folder, title="T <script>", rows=rows, classes=classes)
    assert "<th>&lt;a&gt;</th><th>b</th>" in page
    assert '<tr class="ours"><td>x &amp; y</td><td>1</td></tr>' in page
    assert '<tr class="baseline"><td>chance</td><td>2</td></tr>' in page
    assert "<h1>T &lt;script&gt;</h1>" in page and "<title>T &lt;script&gt;</title>" in page
    assert "<script>" not in page


def test_a_page_is_one_file_with_the_one_style_sheet(folder):
    page = document.render("page.html", folder=folder, title="T", rows=[["a"]], classes=[])
    assert page.startswith("<!doctype html>") and page.endswith("</html>\n")
    assert "prefers-color-scheme: dark" in page and "width=device-width" in page
    assert "another base" not in page and "http" not in page


def test_a_value_that_is_missing_is_an_error(folder):
    with pytest.raises(jinja2.UndefinedError, match="'rows' is undefined"):
        document.render("page.html", folder=folder, title="T", classes=[])
    with pytest.raises(jinja2.TemplateNotFound):
        document.render("page.html", title="T")


def test_what_a_file_cannot_hold_is_spelt_out():
    assert document.visible("a\0b\x1b\udcff\x85 \t\n\u00e9\u732b\U0001f600") == (
        "a\\x00b\\x1b\\udcff\\x85 \t\n\u00e9\u732b\U0001f600"
    )


def test_tools_that_write_pages_start_without_tensorflow_and_without_jinja():
    code = """if True:
        import sys
        from mmv_tf.inspection import show
        assert not {"tensorflow", "jinja2"} & set(sys.modules)
        from mmv_tf.pages import document
        document.render("deflation.html", title="", about="", history={"a": [(0, 1)]}, tables=[])
        assert "tensorflow" not in sys.modules
    """
    subprocess.run([sys.executable, "-c", code], check=True)
