"""Pages of results: one HTML file each that needs nothing else, for a phone and a wide screen, light or dark.

They are Jinja2 templates on top of `templates/base.html`, which brings the one style sheet; `templates/macros.html` has
what several of them show. Every value is escaped. What is ready-made, an SVG of `charts`, comes as `markupsafe.Markup`
from the function that made it out of escaped parts, and from nowhere else: no template says `safe`.
"""

import functools
import os
import re

# What no HTML file may hold: control characters, and surrogates, by which Python spells file names that are no UTF-8.
_UNSEEN = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


def render(template: str, /, folder: str | os.PathLike | None = None, **values) -> str:
    """A page.

    Args:
      template: name of a file in `templates/`, or in `folder`.
      folder: more templates, of a room that has a page of its own; they may extend `base.html`.
      values: what the template names. It must be all there.
    Raises:
      jinja2.UndefinedError: the template names what is not there.
    """
    return visible(_environment(folder and os.fspath(folder)).get_template(template).render(values))


def visible(text: str) -> str:
    """The text with an escape sequence, such as \\x00 or \\udcff, for each character that no HTML file may hold."""
    return _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


@functools.lru_cache
def _environment(folder: str | None):
    import jinja2  # here, so that whoever writes no page does not wait for it

    from mmv_tf.pages import charts, pictures

    loaders: list[jinja2.BaseLoader] = [jinja2.PackageLoader("mmv_tf.pages")]
    if folder:
        loaders.append(jinja2.FileSystemLoader(folder))
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(loaders),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["data_uri"] = lambda content, kind: pictures.data_uri(kind, content)
    environment.globals.update(lines=charts.lines, colour=charts.colour)
    return environment
