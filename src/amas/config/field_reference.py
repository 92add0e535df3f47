"""Every field of a configuration, in words; made from the JSON schema."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from .document import one_of
from .field_types import REFERENCE_PATTERN
from .json_schema import document_schema

ANY: Final = "*"
"""Stands in a path for a name of the user's choice."""

_NO_BOUND: Final = 1_000_000_000
_PLAIN: Final = {"boolean": "true or false", "string": "a text", "object": "a mapping"}


@dataclass(frozen=True, slots=True)
class FieldEntry:
    """A field, or a section.

    Args:
        path: Where it stands: keys below ``providers:``, ``*`` for a name of the user's choice.
        title: Its title.
        description: What it means, with units.
        kind: What it takes, in words.
        default: What holds where it is left out, as YAML has it or in words.
        example: A value, as YAML has it.
        free: Whether the keys below it are not ours to know.
    """

    path: tuple[str, ...]
    title: str
    description: str
    kind: str
    default: str
    example: str
    free: bool = False

    @property
    def name(self) -> str:
        """The path as messages have it."""
        return ".".join(("providers", *self.path))

    def lines(self) -> Iterator[str]:
        """Yield the lines of a file in which it stands with its example."""
        before = ""
        for depth, part in enumerate(("providers", *self.path[:-1])):
            choice = "<outcome>" if before == "policy" else "<name>"
            yield "  " * depth + f"{choice if part == ANY else part}:"
            before = part
        yield "  " * len(self.path) + f"{self.path[-1]}: {self.example}"


@cache
def all_fields() -> tuple[FieldEntry, ...]:
    """Return every field and section, each section before its fields."""
    schema = document_schema()
    return tuple(_below((), schema["properties"]["providers"], schema["definitions"]))


def _below(
    path: tuple[str, ...], schema: Mapping[str, Any], models: Mapping[str, Any]
) -> Iterator[FieldEntry]:
    """Yield the fields of whatever sections a value can be."""
    for each in schema.get("anyOf", [schema]):
        if isinstance(each.get("additionalProperties"), dict):
            yield from _below((*path, ANY), each["additionalProperties"], models)
        for reference in each.get("allOf", ()):
            model = models[reference["$ref"].rpartition("/")[2]]
            for name, field in model["properties"].items():
                needed = name in model.get("required", ())
                yield _entry((*path, name), field, needed=needed)
                yield from _below((*path, name), field, models)


def _entry(path: tuple[str, ...], field: Mapping[str, Any], *, needed: bool) -> FieldEntry:
    return FieldEntry(
        path,
        field["title"],
        field["description"],
        in_words(field),
        "needed" if needed else _default(field),
        yaml_value(field["examples"][0]),
        free=any(each.get("additionalProperties") is True for each in _alternatives(field)),
    )


def _default(field: Mapping[str, Any]) -> str:
    value = field["default"]
    if value is None:
        return "not set"
    if value == {} and "a section" in in_words(field).split(" or "):
        return "the defaults of its fields"
    return "empty" if value in ([], {}) else yaml_value(value)


def _alternatives(schema: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    found: Sequence[Mapping[str, Any]] = schema.get("anyOf", [schema])
    return found


def in_words(schema: Mapping[str, Any]) -> str:
    """Say what a value may be; that a reference may stand for it goes without saying."""
    kinds: dict[str, None] = {}
    for each in _alternatives(schema):
        kinds |= dict.fromkeys(_kinds(each))
    if any("enum" in each for each in _alternatives(schema)):
        kinds.pop(_PLAIN["boolean"], None)  # what YAML makes of the words yes, no, on and off
    return " or ".join(kinds)


def _kinds(schema: Mapping[str, Any]) -> Iterator[str]:
    if "allOf" in schema:
        yield "a section"
        return
    if "enum" in schema:
        yield one_of([word for word in schema["enum"] if isinstance(word, str)])
        return
    types = schema["type"]
    types = [types] if isinstance(types, str) else types
    for kind in types:
        if kind in {"number", "integer"}:
            yield _number(kind, schema)
        elif kind == "array":
            yield f"a list of {_items(schema['items'])}"
        elif kind == "object":
            yield _mapping(schema)
        elif kind == "string" and (
            schema.get("pattern") == REFERENCE_PATTERN or types[0] != "string"
        ):
            continue  # a reference to something else, or a word for true or false
        elif kind != "null":
            yield _PLAIN[kind]


def _number(kind: str, schema: Mapping[str, Any]) -> str:
    word = "a whole number" if kind == "integer" else "a number"
    high = int(schema["maximum"])
    if "exclusiveMinimum" in schema:
        return f"{word} above {schema['exclusiveMinimum']:g}, up to {high}"
    low = f"{schema['minimum']:g}"
    return f"{word}, {low} or more" if high >= _NO_BOUND else f"{word} from {low} to {high}"


def _items(schema: Mapping[str, Any]) -> str:
    words = in_words(schema)
    return "texts" if words == _PLAIN["string"] else f"words: {words}"


def _mapping(schema: Mapping[str, Any]) -> str:
    below = schema.get("additionalProperties")
    if not isinstance(below, dict):
        return "a mapping"
    outcomes = schema.get("propertyNames", {}).get("enum")
    if outcomes:
        return f"a section for each of {', '.join(outcomes)}"
    return f"{in_words(below)} for each name"


def yaml_value(value: object) -> str:
    """Return a value as YAML has it on one line, as short as can be."""
    if isinstance(value, list):
        return f"[{', '.join(map(yaml_value, value))}]"
    if isinstance(value, dict):
        inner = ", ".join(f"{key}: {yaml_value(item)}" for key, item in value.items())
        return f"{{{inner}}}"
    if isinstance(value, str):
        return value if _is_plain(value) else json.dumps(value, ensure_ascii=False)
    return json.dumps(value)


def _is_plain(text: str) -> bool:
    """Whether a text needs no quotes."""
    odd = set("${}[]*&!%@`'\"#,|>")
    words = {"yes", "no", "on", "off", "true", "false", "null", ""}
    begins = text[:1].isalpha() or text[:1] == "/"
    return begins and not odd & set(text) and ": " not in text and text.lower() not in words
