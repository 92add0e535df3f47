"""Settings in variables, such as ``AMAS_PROVIDERS__LLM__OPENAI__TIMEOUT=10``.

The parts of the name lead through the schema, and through the names that are there. A
variable holds a value: what looks like a reference in it is none. A credential that looks
like one is refused: it would be sent to the vendor.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from types import UnionType
from typing import Annotated, Any, Final, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from ..providers.errors import ProviderConfigError
from ..providers.secret import Secret, scrub
from .document import Document, Path, Place, Source, label, one_of, scalar_problem
from .references import Expanded, References
from .resolution import is_secret
from .short_forms import lengthen
from .yaml_source import parse_value

PREFIX: Final = "AMAS_PROVIDERS__"
"""How the names of such variables begin."""

_BETWEEN: Final = "__"
_ALMOST: Final = ("AMAS_PROVIDERS_", "AMAS_PROVIDER_")
_NO_REFERENCES: Final = (
    "variables hold values, no references; put the key itself into the variable, or write the"
    " reference into the file"
)
_NOTHING: Final = frozenset({"null", "Null", "NULL", "~"})
_YAML: Final = ("[", "{", '"', "'")
_TO_WORD: Final = str.maketrans("-.", "__")
# A misspelt caller would be a new rule, and leave the caller that was meant without one.
_CLOSED: Final = ("security", "access")
_PROVIDERS: Final = ("llm",)


class Settable(NamedTuple):
    """What the names of variables may lead to.

    Args:
        fields: The schema of the section ``providers``.
        data: What the files say.
        known: Names of the catalogue.
    """

    fields: Mapping[str, FieldInfo]
    data: Any
    known: Collection[str]


class _Level(NamedTuple):
    """How far a name has led.

    Args:
        path: Where that is.
        fields: The fields there, if it is a section.
        entries: What the entries are, if it is a mapping with free names.
        data: What the files say there.
    """

    path: Path
    fields: Mapping[str, FieldInfo] | None
    entries: Any
    data: Any

    def names(self) -> list[str]:
        """Return the names that are known here."""
        if self.fields is not None:
            return list(self.fields)
        return list(self.data) if isinstance(self.data, dict) else []

    def below(self, key: str) -> _Level:
        """Return the level below one of the names."""
        annotation = self.entries if self.fields is None else self.fields[key].annotation
        data = self.data.get(key) if isinstance(self.data, dict) else None
        return _Level((*self.path, key), _fields_of(annotation), _entries_of(annotation), data)


class _UnknownError(Exception):
    """A name leads nowhere; the message says why, ``path`` how far it led."""

    def __init__(self, path: Path, text: str) -> None:
        super().__init__(text)
        self.path = path


def read_variables(environ: Mapping[str, str], section: Settable) -> Document | None:
    """Read the settings that stand in variables.

    Args:
        environ: The variables.
        section: What there is to set.

    Returns:
        A layer of them; what is wrong is among its problems. None if there is none.
    """
    names = [
        name for name, value in environ.items() if name.upper().startswith(PREFIX) and value.strip()
    ]
    if not names:
        return None
    document = Document(None)
    document.data = {}
    reader = _Reader(document, section)
    document.mark((), key=Place(0), value=Place(0))
    found: list[tuple[Path, str]] = []
    for name in names:
        try:
            found.append((reader.find(name), name))
        except _UnknownError as unknown:
            document.problem(unknown.path, str(unknown), place=_place(name))
    # What sets a whole mapping goes first, and a single entry of it over that.
    for path, name in sorted(found, key=lambda each: (len(each[0]), each[1])):
        reader.put(path, name, environ[name])
        lengthen(document)
    return document


def misspelt(environ: Mapping[str, str], sections: Collection[str]) -> Document:
    """Find variables that were meant as settings, and are none for an underscore.

    Args:
        environ: The variables.
        sections: Names of the sections.

    Returns:
        A document with a warning for each.
    """
    document = Document(None)
    for name, value in environ.items():
        start = next((each for each in _ALMOST if name.upper().startswith(each)), None)
        if start is None or name.upper().startswith(PREFIX) or not value.strip():
            continue
        rest = name[len(start) :]
        if _BETWEEN in rest or rest.split("_")[0].lower() in sections:
            text = f"is no setting, and not read; the names of settings begin with {PREFIX}"
            document.warn((), f"{text}, and have two underscores between parts", place=_place(name))
    return document


def _shown(name: str) -> str:
    """Return the name of a variable as it may be shown: somebody may have pasted a key into it."""
    parts = name.split(_BETWEEN)
    return _BETWEEN.join(label(scrub(part), named=index > 1) for index, part in enumerate(parts))


def _source(name: str) -> Source:
    return Source(f"${{{_shown(name)}}}", lines=False)


def _place(name: str) -> Place:
    return Place(1, 0, _source(name))


class _Reader:
    """Follows names, and puts values where they lead.

    Args:
        document: Where values and problems go.
        section: What there is to set.
    """

    def __init__(self, document: Document, section: Settable) -> None:
        self._document = document
        self._section = section
        self._set: dict[Path, str] = {}
        self._marked: set[Path] = set()

    def find(self, name: str) -> Path:
        """Return where a variable's value belongs.

        Args:
            name: Its name.

        Raises:
            _UnknownError: There is nothing of that name.
        """
        parts = name[len(PREFIX) :].split(_BETWEEN)
        level = _Level((), self._section.fields, None, self._section.data)
        while parts:
            key, taken = self._step(level, parts)
            level = level.below(key)
            parts = parts[taken:]
        return level.path

    def _step(self, level: _Level, parts: list[str]) -> tuple[str, int]:
        """Return the key that the next parts stand for, and how many they are."""
        path = level.path
        if level.fields is None and level.entries is None:
            whole = PREFIX + _BETWEEN.join(_word(str(part)) for part in path).upper()
            raise _UnknownError(path, f"has nothing below it; set it as a whole, by {whole}")
        there = level.names()
        for names in (there, self._section.known if path == _PROVIDERS else ()):
            if found := _match(path, parts, names):
                return found
        word = parts[0].lower()
        if level.fields is None and path != _CLOSED and word:
            return word, 1
        words = [_word(name) for name in there]
        text = f"there is no {label(word)!r} below it"
        if near := self._document.nearest(word, words):
            raise _UnknownError(path, f"{text}; did you mean {near.upper()}?")
        if level.fields is None:
            raise _UnknownError(path, f"{text}; write its entry into the file")
        raise _UnknownError(path, f"{text}; it may be {one_of([each.upper() for each in words])}")

    def put(self, path: Path, name: str, text: str) -> None:
        """Put the value of a variable where it belongs.

        Args:
            path: Where that is.
            name: Name of the variable.
            text: What it holds.
        """
        if path in self._set:
            wrong = f"${{{self._set[path]}}} sets the same; keep one"
            self._document.problem(path, wrong, place=_place(name))
            return
        self._set[path] = _shown(name)
        value = self._value(path, name, text)
        data = self._document.data
        for end in range(1, len(path)):
            if path[:end] not in self._marked:
                self._mark(path[:end], name)
            if not isinstance(data.get(path[end - 1]), dict):
                data[path[end - 1]] = {}
            data = data[path[end - 1]]
        data[path[-1]] = value
        self._mark_all(value, path, name)

    def _value(self, path: Path, name: str, text: str) -> Any:
        if wrong := scalar_problem(text):
            self._document.problem(path, wrong, place=_place(name))
            return None
        if is_secret(path):
            return self._secret(text, path, name)
        text = text.strip()
        if text in _NOTHING:
            return None
        if not text.startswith(_YAML):
            return Expanded(text)
        scratch = Document(None)
        try:
            value = parse_value(text, scratch, path)
        except ProviderConfigError as error:
            self._document.problem(path, f"is no YAML: {error}", place=_place(name))
            return None
        self._document.take_notes(scratch, _source(name))
        return self._plain(value, path, name)

    def _plain(self, value: Any, path: Path, name: str) -> Any:
        """Make secrets of credentials, and texts that are no references of the other texts."""
        if isinstance(value, dict):
            return {key: self._plain(item, (*path, key), name) for key, item in value.items()}
        if isinstance(value, list):
            return [self._plain(item, (*path, i), name) for i, item in enumerate(value)]
        if isinstance(value, str):
            return self._secret(value, path, name) if is_secret(path) else Expanded(value)
        return value

    def _secret(self, text: str, path: Path, name: str) -> Secret:
        option = path[-2] == "options"
        if References({}, {}, "").looks_like_reference(text, option=option):
            self._document.problem(path, _NO_REFERENCES, place=_place(name))
        return Secret(text)

    def _mark(self, path: Path, name: str) -> None:
        self._marked.add(path)
        self._document.mark(path, key=_place(name), value=_place(name))

    def _mark_all(self, value: Any, path: Path, name: str) -> None:
        self._mark(path, name)
        entries = value.items() if isinstance(value, dict) else ()
        for key, item in enumerate(value) if isinstance(value, list) else entries:
            self._mark_all(item, (*path, key), name)


def _word(name: str) -> str:
    """Return a name as a variable's name has it."""
    return name.translate(_TO_WORD).lower()


def _match(path: Path, parts: list[str], names: Iterable[str]) -> tuple[str, int] | None:
    """Return the name that the longest run of parts stands for, and how long that is."""
    words: dict[str, list[str]] = {}
    for name in names:
        words.setdefault(_word(name), []).append(name)
    for taken in range(len(parts), 0, -1):
        found = words.get(_BETWEEN.join(parts[:taken]).lower())
        if found and found[1:]:
            both = " and ".join(repr(label(name, named=True)) for name in found)
            raise _UnknownError(path, f"this means both {both}; set it in the file")
        if found:
            return found[0], taken
    return None


def _kinds(annotation: Any) -> Iterator[Any]:
    """Give what a value may be: of ``Model | None`` the model and None."""
    if get_origin(annotation) in {Annotated, Union, UnionType}:
        for each in get_args(annotation):
            yield from _kinds(each)
    else:
        yield annotation


def _fields_of(annotation: Any) -> Mapping[str, FieldInfo] | None:
    """Return the fields of a model; None for what is none."""
    for kind in _kinds(annotation):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind.model_fields
    return None


def _entries_of(annotation: Any) -> Any:
    """Return what the entries of a mapping with free names are; None for what is none."""
    for kind in _kinds(annotation):
        origin = get_origin(kind)
        if isinstance(origin, type) and issubclass(origin, Mapping):
            return get_args(kind)[1]
    return None
