"""PyYAML's nodes, turned into plain data that knows where it stands.

Stricter than YAML 1.1 where YAML 1.1 surprises: duplicate keys, keys that are
no texts and application tags are mistakes, and ``1:30``, ``010`` and
``2024-10-21`` are texts.
"""

from __future__ import annotations

import re
from typing import Any, Final

import yaml

from .document import MAX_DEPTH, MAX_NODES, Document, Path, Place, label, scalar_problem
from .syntax import nearly_a_mapping

# In `{api_key: ${KEY}}` YAML takes the reference for a mapping. While it is parsed, the braces
# of references are these two characters of nobody, so that every column stays what it is.
BRACES: Final = str.maketrans("{}", "\U0010fff0\U0010fff1")
UNBRACES: Final = {new: old for old, new in BRACES.items()}

TAG: Final = "tag:yaml.org,2002:"
_TEXT_TAGS: Final = frozenset(TAG + name for name in ("str", "timestamp", "value", "merge"))
_NO_TAGS: Final = "tags (!name) are not allowed; remove it (a variable is written ${NAME})"
_INT: Final = re.compile(r"[-+]?(?:0|[1-9][0-9_]*)")
_FLOAT: Final = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_TRUTH: Final = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def place_of(mark: Any) -> Place:
    """Return where a mark of PyYAML's, which counts from 0, stands."""
    return Place(mark.line + 1, mark.column + 1)


def twice(key: str, first: Place) -> str:
    """Return what to say about a key that has been there before."""
    name = label(key)
    return f"{name!r} is written twice, first in line {first.line}, column {first.column}; keep one"


class Converter:
    """Turns nodes into plain data, notes the places, and reports what YAML lets pass.

    Args:
        document: Where places and problems go.
    """

    def __init__(self, document: Document) -> None:
        self._document = document
        self._count = 0
        self._open: set[int] = set()  # nodes being converted: an alias to one is a loop

    def convert(self, node: yaml.Node, path: Path) -> Any:
        """Turn a node into data.

        Args:
            node: The node.
            path: Where the data will be.

        Returns:
            Texts, numbers, truth values, None, lists and mappings; None in the
            place of what is wrong.

        Raises:
            ProviderConfigError: Aliases unfold to more than ``MAX_NODES`` values.
        """
        place = place_of(node.start_mark)
        if isinstance(node, yaml.ScalarNode):
            self._count_one(place)
            return self._scalar(node, path, place)
        if not self._enter(node, path, place):
            return None
        value = self._collection(node, path, place)
        self._open.remove(id(node))
        return value

    def _count_one(self, place: Place) -> None:
        self._count += 1
        if self._count > MAX_NODES:
            text = f"more than {MAX_NODES} values, aliases unfolded; write fewer"
            raise self._document.fatal(text, place)

    def _enter(self, node: yaml.Node, path: Path, place: Place) -> bool:
        self._count_one(place)
        if id(node) in self._open:
            text = "an alias leads back to its own parent; remove it"
        elif len(self._open) >= MAX_DEPTH:
            text = f"nested deeper than {MAX_DEPTH} levels; flatten it"
        else:
            self._open.add(id(node))
            return True
        self._document.problem(path, text, place=place)
        return False

    def _collection(self, node: yaml.Node, path: Path, place: Place) -> Any:
        if node.tag not in {TAG + "map", TAG + "seq"}:
            self._forbid_tag(path, place)
            return None
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        items = []
        for index, item in enumerate(node.value):
            where = place_of(item.start_mark)
            self._document.mark((*path, index), key=where, value=where)
            items.append(self.convert(item, (*path, index)))
        return items

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        result: dict[str, Any] = {}
        self._fill(result, node, path)
        return result

    def _fill(self, result: dict[str, Any], node: yaml.MappingNode, path: Path) -> None:
        """Add the entries of a mapping that are not there yet: its own, then the merged ones."""
        seen: dict[str, Place] = {}
        merged: list[yaml.Node] = []
        for index, (key, value) in enumerate(node.value):
            place = place_of(key.start_mark)
            if key.tag == TAG + "merge":
                merged.append(value)
                continue
            if node.flow_style and self._is_slip(node.value[max(index - 1, 0) : index + 1], path):
                continue
            name = self._key(key, path, place)
            if name in seen:
                self._document.problem((*path, name), twice(name, seen[name]), place=place)
            elif name:
                seen[name] = place
                if name not in result:
                    where = (*path, name)
                    # Where nothing is written, the parsers differ in where it begins.
                    begin = place if _is_empty(value) else place_of(value.start_mark)
                    self._document.mark(where, key=place, value=begin)
                    result[name] = self.convert(value, where)
        for source in merged:
            self._merge(result, source, path)

    def _is_slip(self, entries: list[tuple[yaml.Node, yaml.Node]], path: Path) -> bool:
        """Report the last of one or two entries in braces if it lacks its value by a slip."""
        key, value = entries[-1]
        if not isinstance(key, yaml.ScalarNode) or key.style or not _is_empty(value):
            return False
        before = entries[-2] if entries[1:] else None
        if before and (text := _decimals(key, *before)):
            self._document.problem((*path, before[0].value), text, place=place_of(key.start_mark))
            return True
        found = nearly_a_mapping(key.value)
        if found is None:
            return False
        place = place_of(key.start_mark)
        at = Place(place.line, place.column + found[0])
        # Only the name: what follows it may be a secret.
        name = re.split(r"[\s:=\uff1a]", key.value)[0]
        self._document.problem((*path, name), found[1], place=at)
        return True

    def _merge(self, result: dict[str, Any], source: yaml.Node, path: Path) -> None:
        """Add what ``<<: *anchor`` or ``<<: [*one, *other]`` brings."""
        for item in source.value if isinstance(source, yaml.SequenceNode) else [source]:
            place = place_of(item.start_mark)
            if not isinstance(item, yaml.MappingNode):
                text = "`<<` takes the alias of a mapping; write `<<: *name`"
                self._document.problem(path, text, place=place)
            elif self._enter(item, path, place):
                self._fill(result, item, path)
                self._open.remove(id(item))

    def _key(self, node: yaml.Node, path: Path, place: Place) -> str | None:
        if not isinstance(node, yaml.ScalarNode):
            text = "a key must be a text, not a list or a mapping; write `name: value`"
        elif node.tag == TAG + "null":
            text = "this key is empty; write a name before the colon"
        elif node.tag != TAG + "str":
            text = f"the key {label(node.value)!r} is not read as a text; write it in quotes"
        elif wrong := scalar_problem(node.value):
            text = f"this key {wrong}"
        elif not node.value:
            text = "this key is empty; write a name before the colon"
        else:
            return str(node.value.translate(UNBRACES))
        self._document.problem(path, text, place=place)
        return None

    def _scalar(self, node: yaml.ScalarNode, path: Path, place: Place) -> Any:
        text: str = node.value.translate(UNBRACES)
        kind = node.tag.removeprefix(TAG)
        value: Any = text
        if kind == "null":
            return None
        if kind == "bool" and text.lower() in _TRUTH:
            return _TRUTH[text.lower()]
        if kind in {"int", "float"} or (kind == "str" and not node.style):
            value = _number(text, kind)
        elif node.tag not in _TEXT_TAGS:
            self._forbid_tag(path, place)
            return None
        if wrong := scalar_problem(value):
            self._document.problem(path, wrong, place=place)
            return None
        return value

    def _forbid_tag(self, path: Path, place: Place) -> None:
        self._document.problem(path, _NO_TAGS, place=place)


def _is_empty(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and not (node.value or node.style)


def _decimals(key: yaml.ScalarNode, name: yaml.Node, number: yaml.Node) -> str | None:
    """Say what is wrong if a key without a value is what a comma has cut off a number."""
    parts = (number, key)
    if not isinstance(name, yaml.ScalarNode) or not all(_is_plain_number(part) for part in parts):
        return None
    written = f"{number.value}.{key.value}"
    return f"a comma ends a value in braces; decimals take a point: write {written}"


def _is_plain_number(node: yaml.Node) -> bool:
    plain = isinstance(node, yaml.ScalarNode) and not node.style
    return plain and re.fullmatch(r"-?[0-9]{1,9}", node.value) is not None


def _number(text: str, kind: str) -> str | int | float:
    """Read a number as JSON and YAML 1.2 do; anything else stays a text."""
    if kind == "float" and text.lstrip("+-").lower() in {".inf", ".nan"}:
        return float("nan")
    plain = text.replace("_", "") if kind != "str" else text
    if kind == "int" and _INT.fullmatch(plain):
        # int() refuses thousands of digits; so many are out of bounds anyway.
        return int(plain[:32])
    # `1e3` is a text in YAML 1.1 and a number everywhere else.
    if _FLOAT.fullmatch(plain) and (kind == "float" or "e" in plain.lower()):
        return float(plain)
    return text
