"""The plan of the site against the pages that there are; `make site` builds it, strictly."""

import importlib
import pathlib
import re

import yaml

ROOT = pathlib.Path(__file__).parents[2]


class _Loader(yaml.SafeLoader):
    """Of a file that names Python objects, too."""


_Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda loader, suffix, node: suffix)
SITE = yaml.load((ROOT / "mkdocs.yml").read_text(), _Loader)


def _pages(items):
    for item in items:
        for value in item.values():
            yield from _pages(value) if isinstance(value, list) else [value]


def test_every_page_has_its_place():
    outside = re.findall(r'^    "(.+)",$', (ROOT / "docs/site_hooks.py").read_text(), re.M)
    assert all((ROOT / path).is_file() for path in outside) and len(outside) >= 5
    pages = list(_pages(SITE["nav"]))
    assert sorted(pages) == sorted([*(path.name for path in (ROOT / "docs").glob("*.md")), *outside])
    assert SITE["strict"] is True and SITE["theme"]["font"] is False


def test_what_the_reference_names_is_there():
    names = re.findall(r"^::: (\S+)$", (ROOT / "docs/api.md").read_text(), re.M)
    assert len(names) > 10
    for name in names:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError:
            module, _, attribute = name.rpartition(".")
            assert getattr(importlib.import_module(module), attribute).__doc__, name
