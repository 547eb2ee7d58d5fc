"""Mistyped names that gin takes without a word: a macro that nothing refers to, a scope in which nothing is made.

gin itself refuses an unknown function or parameter. `STPES = 100` after a file that says `STEPS`, or
`audoiset/Source.weight = 2` beside `@audioset/Source()`, would change nothing, and nobody would know.
"""

import difflib
import os
import re
from collections.abc import Iterable, Iterator, Sequence

import gin
from gin import config_parser


class _References(config_parser.ParserDelegate):
    """Collects what the right-hand sides refer to."""

    def __init__(self):
        self.macros, self.scopes = set(), set()

    def configurable_reference(self, scoped_name, evaluate):
        self.scopes.update(scoped_name.split("/")[:-1])

    def macro(self, name):
        self.macros.add(name)


def check(gin_files: Sequence[str], gin_params: Iterable[str] = (), search: Sequence[str] = ("",)) -> None:
    """Checks that every macro and every scope that is bound is referred to, somewhere in all that gin has parsed.

    What a later file overrides counts as well: files can be combined, and replace parts of each other.

    Args:
      gin_files: as gin parsed them; with their includes.
      gin_params: further bindings.
      search: folders in which the files are looked for, in this order.

    Raises:
      ValueError: names the binding, and the name that was probably meant.
    """
    references, macros, scopes = _References(), {}, {}
    texts = [text for file in gin_files for text in _texts(os.fspath(file), search)]
    for text in [*texts, *gin_params]:
        for statement in config_parser.ConfigParser(text, references):
            if isinstance(statement, config_parser.BindingStatement):
                if statement.arg_name:
                    name = f"{statement.scope}/{statement.selector}.{statement.arg_name}"
                    scopes.update({part: name for part in statement.scope.split("/") if part})
                else:
                    macros[statement.selector] = statement.selector
    _none_left_over(macros, references.macros, "there is no macro %{}: nothing refers to it")
    # What a macro stands for is made in a scope of the macro's name, and an operative configuration writes it so.
    made_in = references.scopes | references.macros
    _none_left_over(scopes, made_in, "nothing is made in a scope {0!r} (as in @{0}/Source())")


def unused() -> list[str]:
    """Names of the bindings, such as 'S3D.width', that nothing of what has been made so far has taken; no macros."""
    texts = gin.config_str(), gin.operative_config_str()
    bound, taken = (set(re.findall(r"^([\w./]+\.\w+) =", text, re.M)) for text in texts)
    taken |= {name.rpartition("/")[2] for name in taken}  # a binding without a scope holds in every scope
    return sorted(bound - taken)


def _texts(file: str, search: Sequence[str]) -> Iterator[str]:
    """The texts of a gin file and of those that it includes."""
    if "://" in file:
        from mmv_tf.common import files

        text = files.read_text(file)
    else:
        path = next(path for path in (os.path.join(folder, file) for folder in search) if os.path.isfile(path))
        with open(path, encoding="utf-8") as opened:
            text = opened.read()
    yield text
    for statement in config_parser.ConfigParser(text, _References()):
        if isinstance(statement, config_parser.IncludeStatement):
            yield from _texts(statement.filename, search)


def _none_left_over(bound: dict[str, str], referred: set[str], message: str) -> None:
    for name, binding in bound.items():
        if name not in referred:
            close = difflib.get_close_matches(name, sorted(referred), n=1)
            known = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(sorted(referred)) or 'none'}."
            raise ValueError(f"binding {binding!r}: {message.format(name)}; {known}")
