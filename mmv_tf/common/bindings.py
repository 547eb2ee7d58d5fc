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


class Rules(NamedTuple):
    """What a gin file may do beside binding: an import runs code."""

    imports: bool = False
    includes: bool = True


_USERS = Rules()
FOREIGN = Rules(includes=False)  # for what came with a module or a workdir; imports are passed over
_LOOKED_AT = Rules(imports=True)  # for what has passed `check_values`


def check(gin_files: Sequence[str], gin_params: Iterable[str] = (), search: Sequence[str] = ("",)) -> None:
    """Checks that every macro and every scope that is bound is referred to, somewhere in all that gin parses.

    What a later file overrides counts as well: files can be combined, and replace parts of each other. Of what is bound
    in the end every macro must be there, and none may stand for itself.

    Args:
      gin_files: as gin parses them; with their includes.
      gin_params: further bindings.
      search: folders in which the files are looked for, in this order.

    Raises:
      ValueError: names the binding, and the name that was probably meant.
    """
    macros, scopes, referred, made_in, bound = {}, {}, set(), set(), {}
    for statement in _statements(gin_files, gin_params, search, _Written({}), _LOOKED_AT):
        scope, selector, name, value, _ = statement
        inside = list(references.within(value))
        referred |= {str(one) for one in inside if isinstance(one, references.Macro)}
        made_in |= {part for one in inside if isinstance(one, references.Reference) for part in one.scopes}
        shown = f"{scope}/{selector}.{name}" if name else "/".join(filter(None, [scope, selector]))
        if name:
            scopes.update({part: shown for part in scope.split("/") if part})
        else:
            macros[shown] = shown
        bound[scope, selector.rpartition(".")[2], name] = shown.lstrip("/"), value, _place(statement)
    _none_left_over(macros, referred, "there is no macro %{}: nothing refers to it")
    # What a macro stands for is made in a scope of the macro's name, and an operative configuration writes it so.
    _none_left_over(scopes, made_in | referred, "nothing is made in a scope {0!r} (as in @{0}/Source())")
    stands_for = {shown: _macros_in(value) for shown, value, _ in bound.values() if shown in macros}
    for shown, value, place in bound.values():
        for name in _macros_in(value):
            if name not in macros and not gin.config._CONSTANTS.matching_selectors(name):
                said = f"there is no macro %{name}; {_meant(name, macros)}"
                raise ValueError(f"binding {shown} = {values.shown(value)}: {said}{place}")
        if circle := _circle([shown], stands_for):
            said = " = ".join(f"%{name}" for name in circle)
            raise ValueError(f"binding {shown} = {values.shown(value)}: the macro stands for itself ({said}){place}")


def _macros_in(value) -> list[str]:
    return [str(one) for one in references.within(value) if isinstance(one, references.Macro)]


def _circle(way: list[str], stands_for: Mapping[str, list[str]]) -> list[str]:
    """The way from its first macro back to that one, [] if there is none."""
    for name in stands_for.get(way[-1], ()):
        if name == way[0]:
            return [*way, name]
        if name not in way and (found := _circle([*way, name], stands_for)):
            return found
    return []


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
    ours = [*_statements(stored, (), search, _Written({}), _LOOKED_AT)]
    theirs = [*_statements(gin_files, gin_params, search, _Written({}), _LOOKED_AT)]
    before, given, made_in = _bound(ours), _bound(theirs), _made_in([*ours, *theirs])
    hidden: dict[tuple[str, str, str], list[str]] = {}
    for scope, *name in before.keys() - given.keys():
        if not made_in.issuperset(filter(None, scope.split("/"))):
            continue  # as of two sources, where the user has one of his own
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


def _made_in(statements: Iterable[config_parser.BindingStatement]) -> set[str]:
    """The scopes, and the macros, which are scopes too, that what is bound last makes something in."""
    last = {(one.scope, one.selector.rpartition(".")[2], one.arg_name): one.value for one in statements}
    found: set[str] = set()
    for one in itertools.chain.from_iterable(map(references.within, last.values())):
        found.update(one.scopes if isinstance(one, references.Reference) else {str(one)})
    return found


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

    def knows(self, name: str) -> bool:
        """Whether there is a configurable that gin would take `name` for; also one that a user's module registered."""
        stated = any(full == name or full.endswith(f".{name}") for full in self._signatures)
        return stated or bool(gin.config._REGISTRY.matching_selectors(name))

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
      signatures: of what can be bound. Others must be registered with gin, unless `rules` allow imports.
      gin_files, gin_params, search: as of `check`.
      rules: for them.
      foreign: files that came with a module or a workdir, before the others: they may bind, and do nothing else.

    Raises:
      ValueError: one line that names the binding, its value and what is wanted, or the statement that is not allowed.
    """
    written, bound, macros = _Written(signatures), {}, {}
    of_others = [(False, one) for one in _statements(foreign, (), search, written, FOREIGN)]
    ours = ((not rules.imports, one) for one in _statements(gin_files, gin_params, search, written, rules))
    for must_be_known, statement in itertools.chain(of_others, ours):
        scope, selector, name, value, _ = statement
        place = _place(statement)
        if must_be_known and (unknown := _unknown(statement, written)):
            known = {full.rpartition(".")[2] for full in signatures}
            close = difflib.get_close_matches(unknown.rpartition(".")[2], known, n=1)
            cure = f"did you mean {close[0]!r}?" if close else "a gin file may import yours with --allow_gin_imports"
            shown = f"{selector}.{name}" if name else selector
            shown = repr(shown) if unknown == selector else f"{shown} = {values.shown(value)}"
            raise ValueError(f"binding {shown}: there is no {unknown}; {cure}{place}")
        full = written.full_name(selector)
        if not name:
            macros["/".join(filter(None, [scope, selector]))] = value, place
        elif full and name not in signatures[full].parameters:
            known = difflib.get_close_matches(name, signatures[full].parameters, n=1, cutoff=0)
            close = f"; did you mean {known[0]!r}?" if known else ""
            raise ValueError(f"binding '{selector}.{name}': {selector} has no parameter {name!r}{close}{place}")
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


def check_known(signatures: Mapping[str, Signature], foreign: Sequence[str], search: Sequence[str] = ("",)) -> None:
    """Checks that all that the files of a workdir name is there.

    Raises:
      ValueError: they name what a module of the user defines, and that has not been imported; says how it is.
    """
    written = _Written(signatures)
    for statement in _statements(foreign, (), search, written, FOREIGN):
        if unknown := _unknown(statement, written):
            raise ValueError(
                f"{statement.location.filename}, line {statement.location.line_num}: there is no {unknown}. If it is "
                "yours, give a gin file that imports it: --allow_gin_imports --gin_file=FILE (in Python, import it "
                "before)"
            )


def _unknown(statement, written: _Written) -> str:
    """The first name of a binding that nothing here knows, '' if there is none."""
    named = [one.name for one in references.within(statement.value) if isinstance(one, references.Reference)]
    named = [statement.selector, *named] if statement.arg_name else named
    return next((name for name in named if not written.knows(name)), "")


def _place(statement) -> str:
    location = statement.location
    return f" ({location.filename}, line {location.line_num})" if location.filename else ""


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
    statements = _statements(gin_files, gin_params, search, written, _LOOKED_AT)
    for place, (scope, selector, name, value, _) in enumerate(statements):
        if not scope:
            found[f"{selector.rpartition('.')[2]}.{name}" if name else selector] = Value(value, place)
    macros = {name: one.value for name, one in found.items() if "." not in name}
    return {name: Value(references.without_macros(one.value, macros), one.place) for name, one in found.items()}


def imports(
    gin_files: Sequence[str], gin_params: Iterable[str] = (), search: Sequence[str] = ("",), rules: Rules = _USERS
) -> list[str]:
    """The modules that gin files import. ValueError: `rules` do not allow it."""
    found: list[str] = []
    for _ in _statements(gin_files, gin_params, search, _Written({}), rules, found.append):
        pass
    return [module for module in dict.fromkeys(found) if not module.startswith("__gin__.")]


def unused() -> list[str]:
    """Names of the bindings, such as 'S3D.width', that nothing of what has been made so far has taken; no macros."""
    texts = gin.config_str(), gin.operative_config_str()
    bound, taken = (set(re.findall(r"^([\w./]+\.\w+) =", text, re.M)) for text in texts)
    taken |= {name.rpartition("/")[2] for name in taken}  # a binding without a scope holds in every scope
    return sorted(bound - taken)


def _statements(
    gin_files, gin_params, search, delegate, rules, imported=lambda module: None
) -> Iterator[config_parser.BindingStatement]:
    """All bindings in the order in which gin takes them; of those of files `location` says where they stand.

    `imported` is called with the name of each module that is imported.

    Raises:
      ValueError, OSError: a text that is not gin's language, or a file that is not there; one line that names it.
    """
    for file in gin_files:
        yield from _in_file(os.fspath(file), search, delegate, rules, imported)
    for text in gin_params:
        try:
            yield from _in_text(text, None, search, delegate, rules, imported)
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


def without_imports(text: str) -> str:
    """A configuration as a workdir has it: where a line imports a module, a blank one. To read it shall run no code.

    What it names the reader has imported himself (`check_known`). Dynamic registration stays, and is refused.
    """
    return re.sub(r"^(import|from(?![ \t]+__gin__))[ \t].*$", "", text, flags=re.MULTILINE)


def _in_file(file: str, search, delegate, rules, imported) -> Iterator[config_parser.BindingStatement]:
    places = (os.path.join(folder, file) for folder in search)
    path = file if files.is_remote(file) else next(filter(os.path.isfile, places), None)
    if path is None:
        raise FileNotFoundError(f"there is no gin file {file}, here or among those of mmv_tf")
    text = without_imports(read_text(path)) if rules == FOREIGN else read_text(path)
    try:
        yield from _in_text(text, file, search, delegate, rules, imported)
    except (SyntaxError, tokenize.TokenError, TypeError) as error:
        raise ValueError(f"{file}: {_reason(error)}") from error


def _in_text(text, name, search, delegate, rules, imported) -> Iterator[config_parser.BindingStatement]:
    lines = io.StringIO(text)
    lines.name = name  # for the locations
    for statement in config_parser.ConfigParser(lines, delegate):
        if isinstance(statement, config_parser.IncludeStatement):
            if not rules.includes:
                where = f"{name}, line {statement.location.line_num}: include {statement.filename!r}"
                raise ValueError(
                    f"{where}: the configuration of a module or workdir binds values, and reads no other file"
                )
            yield from _in_file(statement.filename, search, delegate, rules, imported)
        elif isinstance(statement, config_parser.ImportStatement):
            if not rules.imports:
                where = f"{name}, line {statement.location.line_num}" if name else "--gin_param"
                raise ValueError(
                    f"{where}: {statement.format()!r} would run code, which a gin file may not"
                    + ("" if rules == FOREIGN else "; --allow_gin_imports allows it in files of your own")
                )
            imported(statement.module)
        elif isinstance(statement, config_parser.BindingStatement):
            yield statement


def _reason(error) -> str:
    """What gin's parser says, in one line."""
    if isinstance(error, tokenize.TokenError):
        return f"{error.args[0]} (line {error.args[1][0]})"
    if token := re.search(r"Failed to parse token (.*)", str(error), re.S):
        return f"{token[1]} is no value; one is a number, 'a string', True, False, None, a list, a dict, @NAME or %NAME"
    return " ".join(str(error).split())


def _none_left_over(bound: Mapping[str, str], referred: set[str], message: str) -> None:
    for name, binding in bound.items():
        if name not in referred:
            raise ValueError(f"binding {binding!r}: {message.format(name)}; {_meant(name, referred)}")


def _meant(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, sorted(known), n=1)
    return f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(sorted(known)) or 'none'}."
