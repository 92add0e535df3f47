"""Edits of a YAML file that leave everything else in it as it is.

A value that is there is replaced in the text itself, so that not a byte beside
it changes. What is not there yet is put on a line of its own; where that does not
do, ruamel.yaml adds it, which keeps comments, order and quotes. Either way the
result is read again, and must be what was meant and nothing else.
"""

from __future__ import annotations

import codecs
import copy
import io
import json
import re
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final, TypeAlias

import yaml

from ..providers.errors import ProviderConfigError
from .document import Document, Path, dotted
from .yaml_nodes import UNBRACES
from .yaml_source import parse_yaml, shield
from .yaml_trails import child_of, count_uses, end_of, name_of, reachable, trail_of

_SAFE: Final = re.compile(r"[A-Za-z0-9:_-]+")
_COMMENT: Final = re.compile(r"#[^\r\n]*")
_PLAIN: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_PLAIN_TEXT: Final = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*")
# What one parser or another takes for something that is no text.
_NO_TEXTS: Final = frozenset({"true", "false", "yes", "no", "on", "off", "y", "n", "null"})
_LINE_END: Final = re.compile(r"\r?\n")
_WIDE: Final = 1 << 16
_ROOT: Final = "providers"
_SHARED: Final = "is shared through an anchor (&, *, <<); write it out"
# A row that makes a longer line gets a line for each of its fields.
_LONGEST_LINE: Final = 100

Row: TypeAlias = Mapping[str, str | bool | Mapping[str, str]]
"""The fields of a provider, as they are to stand in the file."""


class YamlText:
    """The text of a configuration file.

    Args:
        name: Path of the file, for messages.
        content: What it has.

    Raises:
        ProviderConfigError: It is no YAML, or has no section ``providers``.
    """

    def __init__(self, name: str, content: bytes) -> None:
        self.document: Document = parse_yaml(name, content)
        self.document.raise_problems()
        self._name = name
        self._mark = codecs.BOM_UTF8 if content.startswith(codecs.BOM_UTF8) else b""
        self._text = content.decode("utf-8-sig")

    @property
    def data(self) -> Any:
        """The data of the section ``providers``."""
        return self.document.data

    def replace(self, values: Mapping[Path, str]) -> bytes:
        """Put other values in the place of some that are there.

        Args:
            values: The new values by their places; letters, digits and ``: _ -`` alone.

        Returns:
            The content, in which nothing else is different.

        Raises:
            ProviderConfigError: One of them is shared through an anchor, so it cannot be changed.
        """
        root = self._nodes()
        uses = count_uses(root)
        text = self._text
        trails = {path: trail_of(root, (_ROOT, *path)) for path in values}
        for path, trail in sorted(trails.items(), key=lambda item: -item[1][-1].start_mark.index):
            if any(uses[id(each)] > 1 for each in trail):
                raise self._refuse(path, _SHARED)
            node = trail[-1]
            begin, end = node.start_mark.index, node.end_mark.index
            end -= len(text[begin:end]) - len(text[begin:end].rstrip())  # of a block of lines
            text = f"{text[:begin]}{_quoted(values[path], node.style)}{text[end:]}"
        expected = copy.deepcopy(self.data)
        for path, value in values.items():
            _put(expected, path, value)
        return self._checked(text, expected, next(iter(values), ()))

    def add(self, path: Path, value: str | Row) -> bytes:
        """Add a value, and the mappings around it that are not there yet.

        Args:
            path: Where it will stand; the index of a list is that of its end.
            value: Letters, digits and ``: _ -`` alone; or the fields of a row.

        Returns:
            The content, with all its comments.

        Raises:
            ProviderConfigError: It cannot be added without changing something else, such as a row
                that is there.
        """
        if not isinstance(value, str) and self.has_own(path):
            raise self._refuse(path, "is there already")
        self._require_unshared(path)
        expected = {_ROOT: copy.deepcopy(self.data)}
        _put(expected, (_ROOT, *path), value)
        with suppress(ProviderConfigError):
            return self._checked(self._inserted(path, value), expected[_ROOT], path)
        return self._checked(self._round_trip(path, value), expected[_ROOT], path)

    def has_own(self, path: Path) -> bool:
        """Whether something is written at a place, rather than brought there by ``<<``."""
        return self._walk((_ROOT, *path))[-1] == ()

    def _nodes(self) -> Any:
        # The parser in C counts in bytes; this one in characters.
        return yaml.compose(shield(self._text), Loader=yaml.SafeLoader)

    def _require_unshared(self, path: Path) -> None:
        """Refuse to add to what also stands elsewhere, where it would change, too."""
        root = self._nodes()
        uses = count_uses(root)
        outside = reachable([value for key, value in root.value if name_of(key) != _ROOT])
        node, rest = root, (_ROOT, *path)
        while rest and (found := child_of(node, rest[0])) is not None:
            (_, node), rest = found, rest[1:]
            if uses[id(node)] > 1 or id(node) in outside:
                raise self._refuse(path[: len(path) - len(rest)], _SHARED, at_key=True)

    def _inserted(self, path: Path, value: str | Row) -> str:
        """Put an entry on a line behind the last one of its mapping or list, or into its braces."""
        key, node, rest = self._walk((_ROOT, *path))
        if not rest:
            raise self._refuse(path, "is there already")
        entry = _quoted(value, None) if isinstance(value, str) else inline(value)
        for part in reversed(rest[1:]):
            entry = f"{{{key_text(part)}: {entry}}}"
        if not isinstance(rest[0], int):
            entry = f"{key_text(rest[0])}: {entry}"
        if isinstance(node, yaml.CollectionNode) and node.flow_style:
            return self._in_braces(node, entry)
        step = _indents(self._text)[0]
        if isinstance(node, yaml.CollectionNode):
            column = node.start_mark.column
            entry = f"- {entry}" if isinstance(node, yaml.SequenceNode) else entry
        else:
            column = key.start_mark.column + step if key else 0
        lines = [entry] if isinstance(value, str) else _lines(rest, value, step, _is_open(node))
        at = _end_of_line(self._text, end_of(key, node))
        newline = ("\r\n" if "\r\n" in self._text else "\n") + " " * column
        return f"{self._text[:at]}{newline}{newline.join(lines)}{self._text[at:]}"

    def _in_braces(self, node: yaml.CollectionNode, entry: str) -> str:
        """Put an entry behind the last one in braces or brackets; on its own line if they end so."""
        text, at = self._text, node.end_mark.index - 1
        if not node.value:
            return f"{text[:at]}{entry}{text[at:]}"
        key, last = node.value[-1] if isinstance(node, yaml.MappingNode) else node.value[-1:] * 2
        end = last.end_mark.index
        line = _end_of_line(text, end)
        if line > at:
            return f"{text[:at]}, {entry}{text[at:]}"
        comma = "" if text[end:].lstrip().startswith(",") else ","
        begin = text[text.rfind("\n", 0, key.start_mark.index) + 1 :]
        indent = begin[: len(begin) - len(begin.lstrip())]
        newline = "\r\n" if text.startswith("\r", line) else "\n"
        return f"{text[:end]}{comma}{text[end:line]}{newline}{indent}{entry}{text[line:]}"

    def _walk(self, path: Path) -> tuple[Any, Any, Path]:
        """Go as far as a path is written; return the last key and value, and the rest of it."""
        key, node, rest = None, self._nodes(), path
        while rest and (found := child_of(node, rest[0])) is not None:
            (key, node), rest = found, rest[1:]
        return key, node, rest

    def _round_trip(self, path: Path, value: str | Row) -> str:
        from ruamel.yaml import YAML  # noqa: PLC0415 -- only this needs it, and it takes time
        from ruamel.yaml.scalarstring import DoubleQuotedScalarString  # noqa: PLC0415

        editor = YAML(typ="rt", pure=True)
        editor.preserve_quotes = True
        editor.width = _WIDE
        editor.map_indent, editor.sequence_indent, editor.sequence_dash_offset = _indents(
            self._text
        )
        loaded = editor.load(shield(self._text).replace("\r\n", "\n"))

        def quoted(part: Any) -> Any:
            if isinstance(part, Mapping):
                return {name: quoted(inner) for name, inner in part.items()}
            return DoubleQuotedScalarString(part) if isinstance(part, str) else part

        _put(loaded, (_ROOT, *path), quoted(value))
        out = io.StringIO()
        editor.dump(loaded, out)
        text = out.getvalue().translate(UNBRACES)
        return text.replace("\n", "\r\n") if "\r\n" in self._text else text

    def _checked(self, text: str, expected: Any, path: Path) -> bytes:
        content = self._mark + text.encode()
        document = parse_yaml(self._name, content)
        lost = Counter(_COMMENT.findall(self._text)) - Counter(_COMMENT.findall(text))
        if document.data != expected or lost:
            raise self._refuse(path, "cannot be changed without changing more; edit it by hand")
        document.raise_problems()
        return content

    def _refuse(self, path: Path, text: str, *, at_key: bool = False) -> ProviderConfigError:
        place = self.document.place(path, at_key=at_key)
        return ProviderConfigError(
            f"{self._name}:{place.line}:{place.column}: {dotted(path)}: {text}"
        )


def scalar(value: str | bool) -> str:
    """Return how a value is written, without quotes where it can be mistaken for nothing else."""
    if isinstance(value, bool):
        return "true" if value else "false"
    plain = _PLAIN_TEXT.fullmatch(value) and value.lower() not in _NO_TEXTS
    return value if plain else json.dumps(value)


def inline(value: str | bool | Mapping[str, Any]) -> str:
    """Return how a field or a whole row is written on one line."""
    if not isinstance(value, Mapping):
        return scalar(value)
    return f"{{{', '.join(f'{key_text(name)}: {inline(part)}' for name, part in value.items())}}}"


def _lines(names: Path, row: Row, step: int, open_rows: bool) -> list[str]:
    """Write a row below the names that lead to it, as lines of their own if its like are."""
    lines = [f"{' ' * step * depth}{key_text(name)}:" for depth, name in enumerate(names)]
    line = f"{lines[-1]} {inline(row)}"
    if not open_rows and len(line) <= _LONGEST_LINE:
        return [*lines[:-1], line]
    inner = " " * step * len(names)
    return [*lines, *(f"{inner}{field}: {inline(text)}" for field, text in row.items())]


def _is_open(node: Any) -> bool:
    """Tell whether the last entry of a mapping is one of several lines."""
    last = node.value[-1][1] if isinstance(node, yaml.MappingNode) and node.value else None
    return isinstance(last, yaml.MappingNode) and not last.flow_style


def _end_of_line(text: str, at: int) -> int:
    if text[at - 1] == "\n":  # a block of lines ends with its last line break
        at = len(text[:at].rstrip())
    found = _LINE_END.search(text, at)
    return found.start() if found else len(text)


def key_text(name: str | int) -> str:
    """Return how a key is written, without quotes where it can be mistaken for nothing else."""
    plain = isinstance(name, str) and _PLAIN.fullmatch(name) and name.lower() not in _NO_TEXTS
    return str(name) if plain else json.dumps(name)


def _quoted(value: str, style: str | None) -> str:
    assert _SAFE.fullmatch(value)
    return f"'{value}'" if style == "'" else f'"{value}"'


def _put(data: Any, path: Path, value: Any) -> None:
    """Put a value into data, with the mappings around it."""
    for part in path[:-1]:
        if not isinstance(part, int) and data.get(part) is None:
            data[part] = {}
        data = data[part]
    if isinstance(path[-1], int) and path[-1] == len(data):
        data.append(value)
    else:
        data[path[-1]] = value


def _indents(text: str) -> tuple[int, int, int]:
    """Guess how a file is indented: its mappings, its lists, and the dashes of these."""
    found = re.search(
        r"(?m)^( *)[^\s#-][^#\n]*:[ \t]*(?:#.*)?\r?\n(?:[ \t]*(?:#.*)?\r?\n)*( +)[^\s#-]", text
    )
    mapping = len(found[2]) - len(found[1]) if found else 2
    listed = re.search(r"(?m)^( *)[^\s#-][^#\n]*:[ \t]*(?:#.*)?\r?\n( *)-( +)", text)
    offset = max(len(listed[2]) - len(listed[1]), 0) if listed else 2
    return max(mapping, 2), offset + (1 + len(listed[3]) if listed else 2), offset
