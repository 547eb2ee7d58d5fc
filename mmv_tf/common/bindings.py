"""Bindings as they are written in gin files and on the command line, and what gin takes without a word.

Names: gin itself refuses an unknown function or parameter. `STPES = 100` after a file that says `STEPS`, or
`audoiset/Source.weight = 2` beside `@audioset/Source()`, would change nothing, and nobody would know. Values: gin hands
on whatever is written, and `LogMel.stride = 0` would end somewhere else, or nowhere.
"""

import difflib
import io
import itertools
import os
import re
import tokenize
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import gin
from gin import config_parser

from mmv_tf.common import files, references, values
from mmv_tf.common.signatures import Signature


class _References(config_parser.ParserDelegate):
    """Collects what the right-hand sides refer to."""

    def __init__(self):
        self.macros, self.scopes = set(), set()

    def configurable_reference(self, scoped_name, evaluate):
        self.scopes.update(scoped_name.split("/")[:-1])

    def macro(self, name):
        self.macros.add(name)


class Rules(NamedTuple):
    """What a gin file may do beside binding: an import runs code."""

    imports: bool = False
    includes: bool = True


_USERS = Rules()
FOREIGN = Rules(includes=False)  # for what came with a module or a workdir


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
    referred, macros, scopes = _References(), {}, {}
    for statement in _statements(gin_files, gin_params, search, referred, Rules(imports=True)):  # looked at before
        if statement.arg_name:
            name = f"{statement.scope}/{statement.selector}.{statement.arg_name}"
            scopes.update({part: name for part in statement.scope.split("/") if part})
        else:
            macros[statement.selector] = statement.selector
    _none_left_over(macros, referred.macros, "there is no macro %{}: nothing refers to it")
    # What a macro stands for is made in a scope of the macro's name, and an operative configuration writes it so.
    made_in = referred.scopes | referred.macros
    _none_left_over(scopes, made_in, "nothing is made in a scope {0!r} (as in @{0}/Source())")


def reach_scopes(
    stored: Sequence[str], gin_files: Sequence[str], gin_params: Iterable[str] = (), search: Sequence[str] = ("",)
) -> None:
    """Lets a user's bindings act on what a stored configuration binds in inner scopes, after gin has parsed all.

    An operative configuration writes `VIDEO/S3D.width` of what the macro VIDEO stands for, though nobody bound it so,
    and for gin that is nearer than the `S3D.width` of a user.

    Args:
      stored: files that came with a module or a workdir.
      gin_files, gin_params, search: of the user, as of `check`.

    Raises:
      ValueError: what is bound there has several values, and the user may mean one of them; names all.
    """
    before, given = (
        _bound(_statements(*some, search, _Written({}), Rules(imports=True)))
        for some in ((stored, ()), (gin_files, gin_params))
    )
    hidden: dict[tuple[str, str, str], list[str]] = {}
    for scope, *name in before.keys() - given.keys():
        parts = scope.split("/")
        outer = (("/".join(parts[:count]), *name) for count in reversed(range(len(parts))))
        if nearest := next((key for key in outer if key in given), None):
            hidden.setdefault(nearest, []).append(scope)
    for (scope, *name), inner in hidden.items():
        found = {one: before[one, *name] for one in (scope, *sorted(inner)) if (one, *name) in before}
        if len(set(map(repr, found.values()))) > 1:
            written = [f"{_shown(one, *name)} = {values.shown(value)}" for one, value in found.items()]
            raise ValueError(
                f"binding {_shown(scope, *name)!r}: the configuration that is there has {' and '.join(written)}: bind "
                "each by its own name"
            )
        for one in inner:
            gin.bind_parameter((one, *name), gin.query_parameter(f"{scope}/{'.'.join(name)}".lstrip("/")))


def bind_everywhere(name: str, value) -> None:
    """Binds a parameter without a scope, and in every scope in which it is bound."""
    _, *found = gin.config.ParsedBindingKey.parse(name).scope_selector_arg
    scopes = [
        scope for (scope, selector), bound in gin.config._CONFIG.items() if selector == found[0] and found[1] in bound
    ]
    for scope in {"", *scopes}:
        gin.bind_parameter((scope, *found), value)


def _bound(statements: Iterable[config_parser.BindingStatement]) -> dict[tuple[str, str, str], object]:
    """{(scope, whole name of the configurable, parameter): value} of bindings of what gin knows; no macros."""
    keys = ((one, (one.scope, one.selector, one.arg_name)) for one in statements if one.arg_name)
    return {gin.config.ParsedBindingKey.parse(key).scope_selector_arg: one.value for one, key in keys}


def _shown(scope: str, selector: str, name: str) -> str:
    return f"{scope}/{selector.rpartition('.')[2]}.{name}".lstrip("/")


class _Written(config_parser.ParserDelegate):
    """Keeps what the right-hand sides refer to as `references.Reference`s; macros are put in later."""

    def __init__(self, signatures: Mapping[str, Signature]):
        self._signatures = signatures

    def full_name(self, name: str) -> str | None:
        """The one configurable that gin would take `name` for, if we know it."""
        found = [full for full in self._signatures if full == name or full.endswith(f".{name}")]
        return found[0] if len(found) == 1 else None

    def configurable_reference(self, scoped_name, evaluate):
        known = self._signatures.get(self.full_name(scoped_name.rpartition("/")[2]))
        text = f"@{scoped_name}{'()' if evaluate else ''}"
        return references.Reference(text, known and known.product, evaluate)

    def macro(self, name):
        return references.Macro(name)


def check_values(
    signatures: Mapping[str, Signature],
    gin_files: Sequence[str],
    gin_params: Iterable[str] = (),
    search: Sequence[str] = ("",),
    rules: Rules = _USERS,
    foreign: Sequence[str] = (),
) -> None:
    """Checks that every value which is bound is what its parameter wants; of several for one parameter the last counts.

    Args:
      signatures: of what can be bound; bindings of others are left to gin.
      gin_files, gin_params, search: as of `check`.
      rules: for them.
      foreign: files that came with a module or a workdir, before the others: they may bind, and do nothing else.

    Raises:
      ValueError: one line that names the binding, its value and what is wanted, or the statement that is not allowed.
    """
    written, bound, macros = _Written(signatures), {}, {}
    of_others = _statements(foreign, (), search, written, FOREIGN)
    for statement in itertools.chain(of_others, _statements(gin_files, gin_params, search, written, rules)):
        scope, selector, name, value, location = statement
        place = f" ({location.filename}, line {location.line_num})" if location.filename else ""
        full = written.full_name(selector)
        if not name:
            macros["/".join(filter(None, [scope, selector]))] = value, place
        elif full and name not in signatures[full].parameters:
            known = difflib.get_close_matches(name, signatures[full].parameters, n=1, cutoff=0)
            close = f"; did you mean {known[0]!r}?" if known else ""
            raise ValueError(f"binding '{selector}.{name}': {selector} has no parameter {name!r}{close}{place}")
        elif not full and not rules.imports and not any(known.endswith(f".{selector}") for known in signatures):
            known = {name.rpartition(".")[2] for name in signatures}
            if close := difflib.get_close_matches(selector.rpartition(".")[2], known, n=1):
                raise ValueError(
                    f"binding '{selector}.{name}': there is no {selector}; did you mean {close[0]!r}?{place}"
                )
        elif full:
            shown = f"{scope}/{selector}.{name}".lstrip("/")
            bound[scope, full, name] = shown, value, place
    for (_, full, name), (shown, value, place) in bound.items():
        resolved = references.without_macros(value, {macro: one for macro, (one, _) in macros.items()})
        if text := values.fault(resolved, signatures[full].parameters[name]):
            through = ""
            if isinstance(value, references.Macro):
                through, place = f" = {values.shown(resolved)}", macros[value][1]
            raise ValueError(f"binding {shown} = {values.shown(value)}{through}: {text}{place}")


class Value(NamedTuple):
    """What a name is bound to last, macros put in, and the place of the statement among all of them."""

    value: object
    place: int


def last_values(
    signatures: Mapping[str, Signature],
    gin_files: Sequence[str],
    gin_params: Iterable[str] = (),
    search: Sequence[str] = ("",),
) -> dict[str, Value]:
    """{'STEPS' or 'train.batch_size': Value} of what `check_values` lets pass; bindings in scopes are left out."""
    written, found = _Written(signatures), {}
    statements = _statements(gin_files, gin_params, search, written, _USERS)
    for place, (scope, selector, name, value, _) in enumerate(statements):
        if not scope:
            found[f"{selector.rpartition('.')[2]}.{name}" if name else selector] = Value(value, place)
    macros = {name: one.value for name, one in found.items() if "." not in name}
    return {name: Value(references.without_macros(one.value, macros), one.place) for name, one in found.items()}


def unused() -> list[str]:
    """Names of the bindings, such as 'S3D.width', that nothing of what has been made so far has taken; no macros."""
    texts = gin.config_str(), gin.operative_config_str()
    bound, taken = (set(re.findall(r"^([\w./]+\.\w+) =", text, re.M)) for text in texts)
    taken |= {name.rpartition("/")[2] for name in taken}  # a binding without a scope holds in every scope
    return sorted(bound - taken)


def _statements(gin_files, gin_params, search, delegate, rules) -> Iterator[config_parser.BindingStatement]:
    """All bindings in the order in which gin takes them; of those of files `location` says where they stand.

    Raises:
      ValueError, OSError: a text that is not gin's language, or a file that is not there; one line that names it.
    """
    for file in gin_files:
        yield from _in_file(os.fspath(file), search, delegate, rules)
    for text in gin_params:
        try:
            yield from _in_text(text, None, search, delegate, rules)
        except (SyntaxError, tokenize.TokenError, TypeError) as error:
            raise ValueError(f"binding {text.strip().splitlines()[0]!r}: {_reason(error)}") from error


def read_text(path: str) -> str:
    """The text of a gin file, local or remote: UTF-8 whatever the locale says, without a byte-order mark.

    A file that it includes is looked for beside it first: the path of one that is there is put in.
    """
    folder = os.path.dirname(path)

    def beside(include):
        start, name, rest = include.groups()
        found = os.path.join(folder, name)
        return f"{start}{found!r}{rest}" if folder and os.path.isfile(found) else include[0]

    text = files.read_text(path).removeprefix("\ufeff")
    return re.sub(r"""^([ \t]*include[ \t]+)['"]([^'"\n]+)['"](.*)$""", beside, text, flags=re.MULTILINE)


def _in_file(file: str, search, delegate, rules) -> Iterator[config_parser.BindingStatement]:
    places = (os.path.join(folder, file) for folder in search)
    path = file if files.is_remote(file) else next(filter(os.path.isfile, places), None)
    if path is None:
        raise FileNotFoundError(f"there is no gin file {file}, here or among those of mmv_tf")
    text = read_text(path)
    try:
        yield from _in_text(text, file, search, delegate, rules)
    except (SyntaxError, tokenize.TokenError, TypeError) as error:
        raise ValueError(f"{file}: {_reason(error)}") from error


def _in_text(text, name, search, delegate, rules) -> Iterator[config_parser.BindingStatement]:
    lines = io.StringIO(text)
    lines.name = name  # for the locations
    for statement in config_parser.ConfigParser(lines, delegate):
        if isinstance(statement, config_parser.IncludeStatement):
            if not rules.includes:
                where = f"{name}, line {statement.location.line_num}: include {statement.filename!r}"
                raise ValueError(
                    f"{where}: the configuration of a module or workdir binds values, and reads no other file"
                )
            yield from _in_file(statement.filename, search, delegate, rules)
        elif isinstance(statement, config_parser.ImportStatement):
            if not rules.imports:
                where = f"{name}, line {statement.location.line_num}" if name else "--gin_param"
                raise ValueError(
                    f"{where}: {statement.format()!r} would run code, which a gin file may not"
                    + ("" if rules == FOREIGN else "; --allow_gin_imports allows it in files of your own")
                )
        elif isinstance(statement, config_parser.BindingStatement):
            yield statement


def _reason(error) -> str:
    """What gin's parser says, in one line."""
    if isinstance(error, tokenize.TokenError):
        return f"{error.args[0]} (line {error.args[1][0]})"
    if token := re.search(r"Failed to parse token (.*)", str(error), re.S):
        return f"{token[1]} is no value; one is a number, 'a string', True, False, None, a list, a dict, @NAME or %NAME"
    return " ".join(str(error).split())


def _none_left_over(bound: dict[str, str], referred: set[str], message: str) -> None:
    for name, binding in bound.items():
        if name not in referred:
            close = difflib.get_close_matches(name, sorted(referred), n=1)
            known = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(sorted(referred)) or 'none'}."
            raise ValueError(f"binding {binding!r}: {message.format(name)}; {known}")
