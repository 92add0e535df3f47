"""One configuration document: its data, where everything stands, and what is wrong with it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any, Final, TypeAlias

from ..providers.errors import ProviderConfigError, nearest
from ..providers.secret import scrub

Path: TypeAlias = tuple[str | int, ...]
"""Keys and list indexes below ``providers:``."""

MAX_DEPTH: Final = 64
MAX_NODES: Final = 100_000

_MAX_PROBLEMS: Final = 200
_MAX_NUMBER: Final = 10**18
# Longer than any key of the schema, shorter than any key of a vendor: what is
# pasted into the wrong place must not come back in a message.
_MAX_KEY: Final = 31
_MAX_VALUE: Final = 24
_MAX_NAME: Final = 64
_MAX_HINTS: Final = 50
_PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9_-]+")
# A key that has swallowed its value, for want of a space; the value may be a secret.
_SWALLOWED: Final = re.compile(r"(?s)([A-Za-z][\w.-]*)\s*[:=\uff1a].+")
# What people write for numbers, times and truth values; a text of any other form may be a secret.
_NUMBER_LIKE: Final = re.compile(
    r"[-+]?[0-9][0-9.,:_ ]*([#*/]?\s*(%|[kmg]b?|ms|s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?"
    r"|d|days?|rpm|tpm|tokens?|usd|[$\u20ac]))?",
    re.IGNORECASE,
)
_COMMON: Final = re.compile(
    "true|false|yes|no|on|off|none|null|nil|never|default|auto|(en|dis)abled|inf(inity|inite)?"
    "|unlimited|zero|one|two|three|four|five|six|seven|eight|nine|ten|twenty|thirty|sixty|hundred",
    re.IGNORECASE,
)
_QUOTES: Final = "\"'`\u2018\u2019\u201c\u201d"
# Below these sections the keys are names of the user's choice, up to 64 characters.
_NAMED: Final = (("llm",), ("models",), ("security", "access"))


@dataclass(frozen=True, slots=True)
class Source:
    """What a part of a configuration was read from.

    Args:
        name: Path of the file as the user gave it, fit for a terminal; ``${NAME}`` of a
            variable; None for a mapping.
        folder: Where relative paths in it begin.
        rank: Its number among the layers of a configuration, the lowest first.
        lines: Whether places in it are told by line and column.
    """

    name: str | None
    folder: str = ""
    rank: int = 0
    lines: bool = True


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands: line and column, both from 1.

    A mapping and a variable have no lines; in a mapping ``line`` counts the entries, for the
    order only.

    Args:
        line: The line.
        column: The column.
        source: What it stands in, where that is not what the whole document was read from.
    """

    line: int
    column: int = 0
    source: Source | None = None

    def within(self, source: Source) -> Place:
        """Return the same place of a layer.

        Args:
            source: What the layer was read from, where the place itself does not know better.
        """
        own = source if self.source is None else replace(self.source, rank=source.rank)
        return replace(self, source=own)

    def order(self) -> tuple[int, int, int]:
        """Return what places are sorted by: the layer, then line and column."""
        return (self.source.rank if self.source else 0, self.line, self.column)


START: Final = Place(1, 1)


class Document:
    """What was read from one source.

    Args:
        name: Path of the file as the user gave it; None for a mapping.

    Attributes:
        source: What it was read from; of several layers, the one that was asked for.
        data: Its data.
    """

    def __init__(self, name: str | None) -> None:
        self.source = (
            Source(None) if name is None else Source(printable(name), str(PurePath(name).parent))
        )
        self.data: Any = None
        self._keys: dict[Path, Place] = {}
        self._values: dict[Path, Place] = {}
        self._problems: list[tuple[Place, str]] = []
        self._warnings: list[tuple[Place, str]] = []
        self._hints = 0

    @property
    def name(self) -> str | None:
        """Path of the file, fit for a terminal; None for a mapping."""
        return self.source.name

    def source_of(self, path: Path) -> Source:
        """Return what an entry was read from."""
        return self.place(path).source or self.source

    def take_notes(self, other: Document, source: Source) -> None:
        """Take over the problems and warnings of another document.

        Args:
            other: The other document.
            source: What it was read from.
        """
        for mine, theirs in (
            (self._problems, other._problems),
            (self._warnings, other._warnings),
        ):
            mine += [(place.within(source), text) for place, text in theirs]

    def mark(self, path: Path, *, key: Place, value: Place) -> None:
        """Remember where an entry and its value stand."""
        self._keys[path] = key
        self._values[path] = value

    def place(self, path: Path, *, at_key: bool = False) -> Place:
        """Return where an entry stands; for one that is not there, its nearest parent's key."""
        if not at_key and path in self._values:
            return self._values[path]
        for end in range(len(path), 0, -1):
            if path[:end] in self._keys:
                return self._keys[path[:end]]
        return self._keys.get((), START)

    def problem(
        self, path: Path, text: str, *, at_key: bool = False, place: Place | None = None
    ) -> None:
        """Note a mistake.

        Args:
            path: The entry it is about.
            text: What is wrong and what to do.
            at_key: Whether the key is the mistake, rather than the value.
            place: Where it stands, if not where the entry does.
        """
        where = place or self.place(path, at_key=at_key)
        self._problems.append((where, f"{dotted(path)}: {text}"))

    def warn(self, path: Path, text: str, *, place: Place | None = None) -> None:
        """Note something the user should know, which stops nothing.

        Args:
            path: The entry it is about.
            text: What it is.
            place: Where it stands, if not where the entry does.
        """
        self._warnings.append((place or self.place(path), f"{dotted(path)}: {text}"))

    def nearest(self, word: str, names: Collection[str]) -> str | None:
        """Return the name that was probably meant, if one was.

        Args:
            word: What the user wrote.
            names: What could be meant.
        """
        # Comparing is slow, and a file full of mistakes needs another kind of help.
        self._hints += 1
        if self._hints > _MAX_HINTS or len(word) > _MAX_NAME:
            return None
        return nearest(word, names)

    def fatal(self, text: str, place: Place | None = None) -> ProviderConfigError:
        """Make the error for a mistake after which reading on makes no sense.

        Args:
            text: What is wrong and what to do.
            place: Where; None if the file could not be read at all.

        Returns:
            The error, with the problems found before.
        """
        if place is None:
            return ProviderConfigError(problems=[f"{self.name}: {text}" if self.name else text])
        self._problems.append((place, text))
        return self.error()

    def error(self) -> ProviderConfigError:
        """Make the one error that has all problems, in their order in the source."""
        ordered = _in_order(dict.fromkeys(self._problems))
        lines = [self._line(place, text) for place, text in ordered[:_MAX_PROBLEMS]]
        rest = ordered[_MAX_PROBLEMS:]
        if rest:
            lines.append(self._line(rest[0][0], f"{len(rest)} more problems from here on"))
        return ProviderConfigError(problems=lines)

    def raise_problems(self) -> None:
        """Raise what has been found, if anything was.

        Raises:
            ProviderConfigError: There are problems.
        """
        if self._problems:
            raise self.error()

    @property
    def warnings(self) -> tuple[str, ...]:
        """The warnings, in their order in the source."""
        return tuple(scrub(self._line(place, text)) for place, text in _in_order(self._warnings))

    def _line(self, place: Place, text: str) -> str:
        where = self.where(place)
        return f"{where}: {text}" if where else text

    def where(self, place: Place) -> str | None:
        """Return a place as messages have it, such as ``c.yaml:3:5``; None in a mapping."""
        source = place.source or self.source
        if source.name is None or not source.lines:
            return source.name
        return f"{source.name}:{place.line}:{place.column}"


def _in_order(notes: Iterable[tuple[Place, str]]) -> list[tuple[Place, str]]:
    return sorted(notes, key=lambda note: (note[0].order(), note[1]))


def printable(text: str) -> str:
    """Return a text with everything escaped that would disturb a terminal or a log."""
    return text if text.isprintable() else ascii(text)[1:-1]


def label(key: str, *, named: bool = False) -> str:
    """Return a key as it may be shown.

    Args:
        key: The key.
        named: Whether it is a name of the user's choice, which may be longer.

    Returns:
        The key, or its length if it might be something pasted by mistake; of one that has
        swallowed a value only what stands before it.
    """
    if not named and (found := _SWALLOWED.fullmatch(key)):
        key = f"{found[1]}:\u2026"
    limit = _MAX_NAME if named else _MAX_KEY
    return printable(key) if len(key) <= limit else f"<{len(key)} characters>"


def dotted(path: Path) -> str:
    """Return a path as messages have it, such as ``providers.llm.openai.timeout``."""
    text = "providers"
    for index, part in enumerate(path):
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += "." + label(part, named=path[:index] in _NAMED)
    return text


def address(path: Path) -> str:
    """Return a path in full and without ambiguity, such as ``providers.llm."my.own".api_key``."""
    text = "providers"
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += "." + (part if _PLAIN_NAME.fullmatch(part) else json.dumps(part))
    return text


def kind(value: object) -> str:
    """Return what a value is, in words."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return "a number"
        case str():
            return "a text"
        case list():
            return "a list"
        case _:
            return "a mapping"


def describe(value: object, *, near: bool = False) -> str:
    """Return a value as a message may have it.

    Args:
        value: The value, of a field where no text is right, or only one of a few words.
        near: Whether it is nearly one of these words.

    Returns:
        A number; a text only if it is near, or looks like a number, a time or a truth value:
        any other may be a secret that was pasted there. Else what it is, in words.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:.15g}" if isinstance(value, float) else str(value)
    if type(value) is str and len(value) <= _MAX_VALUE:
        bare = value.strip(f"{_QUOTES} ")
        if near or not bare or _NUMBER_LIKE.fullmatch(bare) or _COMMON.fullmatch(bare):
            return repr(value)
    return "this text" if isinstance(value, str) else kind(value)


def scalar_problem(value: object) -> str | None:
    """Say what is wrong with a text or a number as such, if anything is."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return "has half a character (a lone surrogate); write the text in UTF-8"
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return "is not a finite number; write a number"
    if isinstance(value, int | float) and abs(value) > _MAX_NUMBER:
        return "is too large a number; write a smaller one, or in quotes if it is a text"
    return None


def one_of(names: Sequence[str]) -> str:
    """Return names as an enumeration: ``a, b or c``."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
