"""Uses found by reading text: in scripts and configuration, in strings, and in broken Python."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from .findings import Source
from .imports import (
    Imported,
    report_address,
    report_call,
    report_import,
    report_names,
    report_variable,
)
from .module_names import Place
from .vocabulary import Module, vocabulary

_IMPORT = re.compile(
    r"""(?:^|[;:"'`(])[ \t>$.]*
    (?P<statement>
        from[ \t]+ (?P<dots>\.*) (?P<source>\w[\w.]*|(?<=\.)) [ \t]+ import\b [ \t]*
            (?P<names> \([^()]*\) | [^\n\r;"'`()#]* )
      | import[ \t]+ (?P<modules>\w[\w.]*(?:[ \t]+as[ \t]+\w+)?
            (?:[ \t]*,[ \t]*\w[\w.]*(?:[ \t]+as[ \t]+\w+)?)*) (?=[ \t]*(?:$|[;"'`)\\#\r]))
    )""",
    re.VERBOSE | re.MULTILINE,
)
_DYNAMIC = re.compile(
    r"\b(?:import_module|__import__|importorskip|find_spec|run_module)\(\s*(?P<quote>[\"'])"
    r"(?P<module>\w[\w.]*)(?P=quote)"
)
_COMMAND = re.compile(r"(?<![\w-])-m[\"',\s]+(?P<module>[A-Za-z_][\w.]*)")
_DOTTED = re.compile(
    r"(?<![\w.$/-])(?P<name>(?:src\.)?(?:amas\.)?(?:services|providers|config)\.[A-Za-z_][\w.]*)"
)
_ADDRESS = re.compile(r"https?://[^\s\"'<>`\\)\]},;|]+")
_READ = re.compile(
    r"(?:getenv|environ(?:\.get|\.pop|\.setdefault)?|get_api_key|setenv|delenv)[(\[]\s*"
    r"(?P<quote>[\"'])(?P<name>[A-Z][A-Z0-9_]*)(?P=quote)"
)
_COMMENT = re.compile(r"^[ \t]*#[^\n\r]*", re.MULTILINE)

_CALLABLE = frozenset({"class", "factory", "function"})

# One quick look before the careful ones.
_WORTH = re.compile(r"import|-m\b|\.py\b|https?://|services\.|providers\.|config\.")


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a text, and what it may contain.

    Args:
        begin: Where it begins.
        end: Where it ends; None for the end of the text.
        is_code: Whether it is Python itself, so that calls and reads of variables count.
        addresses: Whether an address in it is there to be used.
        certain: Whether what looks like an import is one.
    """

    begin: int = 0
    end: int | None = None
    is_code: bool = False
    addresses: bool = True
    certain: bool = True


def without_comments(text: str) -> str:
    """Blank out the lines that are comments, so that all else keeps its place."""
    return _COMMENT.sub(lambda match: " " * len(match[0]), text)


def scan_text(source: Source, place: Place, part: Part) -> None:
    """Take down what a piece of a text uses.

    Args:
        source: The text.
        place: Where its file lies.
        part: The piece.
    """
    text = source.text[part.begin : part.end]
    if not part.is_code and not _WORTH.search(text):
        return
    begin, certain = part.begin, part.certain
    names = _imports(source, place, part, text)
    _calls_by_name(source, begin, text, names)
    for match in _COMMAND.finditer(text):
        found = vocabulary().find(match["module"])
        if found and not found.module.is_sdk and found.module.file and not found.rest:
            what = f"runs python -m {match['module']}"
            source.add(begin + match.start(), "command", found.module, what, found.module.do)
    for match in _DOTTED.finditer(text):
        report_dotted(source, begin + match.start(), match["name"].rstrip("."), certain=certain)
    for match in _paths().finditer(text):
        module = vocabulary().modules[_endings()[match[0]]]
        source.add(
            begin + match.start(), "name", module, f"names the file {match[0]}", module.do,
            certain=False,
        )  # fmt: skip
    if part.addresses:
        for match in _ADDRESS.finditer(text):
            report_address(source, begin + match.start(), match[0])
    if part.is_code:
        _code(source, begin, text)


def report_dotted(source: Source, at: int, dotted: str, *, certain: bool = True) -> None:
    """Take down a dotted name in a text, if it leads into an old module."""
    match = vocabulary().find(dotted)
    if match is None or match.module.is_sdk:
        return
    module, rest = match.module, match.rest
    if (rest and not module.counts(rest[0])) or not (rest or module.file):
        return
    source.add(at, "name", module, f"names {dotted}", module.todo(rest[:1]), certain=certain)


def _imports(source: Source, place: Place, part: Part, text: str) -> dict[str, tuple[Module, str]]:
    """Take down the imports.

    Returns:
        The names that they bind, with what each is called in which old module.
    """
    bound: dict[str, tuple[Module, str]] = {}
    for match in _IMPORT.finditer(text):
        at = part.begin + match.start("statement")
        if match["modules"] is not None:
            for one in match["modules"].split(","):
                report_import(source, at, one.split()[0], place, certain=part.certain)
            continue
        module = place.absolute(match["source"], len(match["dots"]))
        bare = re.sub(r"#[^\n]*|[()\\]", " ", match["names"])
        # The last word is the name in this file: that behind `as`, or the only one.
        words = {one.split()[0]: one.split()[-1] for one in bare.split(",") if one.split()}
        if module:
            imported = Imported(module, list(words), is_relative=bool(match["dots"]))
            known = report_names(source, at, imported, place, certain=part.certain)
            bound |= {
                words[name]: (owner, name) for owner, names in known.items() for name in names
            }
    for match in _DYNAMIC.finditer(text):
        at = part.begin + match.start()
        report_import(source, at, match["module"], place, certain=part.certain)
    return bound


def _calls_by_name(
    source: Source, begin: int, text: str, bound: Mapping[str, tuple[Module, str]]
) -> None:
    """Take down calls of names that the same text imports."""
    callable_names = [
        name
        for name, (module, own) in bound.items()
        if own != "get_api_key" and module.names.get(own, {}).get("is") in _CALLABLE
    ]
    if not callable_names:
        return
    calls = re.compile(rf"(?<![\w.])(?P<name>{'|'.join(map(re.escape, callable_names))})\(")
    for match in calls.finditer(text):
        module, own = bound[match["name"]]
        source.add(
            begin + match.start(), "call", module, f"calls {own}() of {module.key}",
            module.todo([own]), certain=False,
        )  # fmt: skip


def _code(source: Source, begin: int, text: str) -> None:
    """Take down what only a program does: read variables, and call what is named as usual."""
    for match in _READ.finditer(text):
        report_variable(source, begin + match.start(), match["name"])
    for match in _calls().finditer(text):
        module = called_names()[match["owner"]]
        if match["method"] in module.methods:
            report_call(source, begin + match.start(), match["method"], module, certain=False)


@cache
def called_names() -> dict[str, Module]:
    """Return what people call an instance: a variable, or a call that gives one (with brackets)."""
    return {
        name: module
        for module in vocabulary().modules.values()
        for name in (*module.called, *(f"{accessor}()" for accessor in module.accessors))
    }


@cache
def _calls() -> re.Pattern[str]:
    owners = "|".join(map(re.escape, called_names()))
    return re.compile(rf"(?<!\w)(?P<owner>{owners})\.(?P<method>\w+)\s*\(")


@cache
def _endings() -> dict[str, str]:
    """Return how an old module's file may be written, and which it is."""
    endings: dict[str, str] = {}
    for module in vocabulary().modules.values():
        if module.file:
            endings[module.file] = module.key
            if "" in module.packages:
                endings[module.file.rpartition("/")[2]] = module.key
    return endings


@cache
def _paths() -> re.Pattern[str]:
    longest_first = sorted(_endings(), key=len, reverse=True)
    return re.compile(rf"(?<![\w-])(?:{'|'.join(map(re.escape, longest_first))})(?!\w)")


def own_module(path: str) -> Module | None:
    """Return the old module whose own source a file is, by its absolute path with ``/``."""
    for module in vocabulary().modules.values():
        if module.file and path.endswith(f"/{module.file}"):
            return module
    return None
