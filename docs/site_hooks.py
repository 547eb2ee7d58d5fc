"""Pages of the site that stand elsewhere in the repository, with links as the site has them (hooks of mkdocs)."""

import pathlib

from mkdocs.structure.files import File

ROOT = pathlib.Path(__file__).parents[1]
OUTSIDE = (
    "CONTRIBUTING.md",
    "SECURITY.md",
    "CHANGELOG.md",
    "benchmarks/miniature/CARD.md",
    "benchmarks/results/README.md",
)


def on_files(files, config):
    """Adds them."""
    for path in OUTSIDE:
        files.append(File.generated(config, path, content=(ROOT / path).read_text("utf-8")))
    return files


def on_page_markdown(markdown, page, **_):
    """In the site docs/ is the root: what leads out of it, or into it, is one folder less."""
    return (
        markdown.replace("](docs/", "](").replace("](../../docs/", "](../../").replace("](../", "](")
        if page.file.src_uri not in OUTSIDE
        else markdown.replace("](../../docs/", "](../../").replace("](docs/", "](")
    )
