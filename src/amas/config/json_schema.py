"""The JSON schema of a configuration file, made from the models of its sections.

It is what editors complete, check and explain a file by. A file that loads fits it: where the
loader takes a reference (``${VAR}``), an empty value or a word of YAML's for a truth value, so does
the schema. It is of draft 7, which every editor knows; there ``$ref`` stands alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Final, TypeAlias

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema
from typing_extensions import override

from .document import one_of
from .field_types import REFERENCE_PATTERN
from .loader import MAX_PROVIDERS
from .provider_settings import ProvidersSettings
from .section import NAME

Schema: TypeAlias = dict[str, Any]

DRAFT: Final = "http://json-schema.org/draft-07/schema#"
FILE_NAME: Final = "providers.schema.json"

_POINTER: Final = "#/definitions/"
_ROOT: Final = ProvidersSettings.__name__
_IN_WORDS: Final = {
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
}
_EMPTY: Final[Mapping[str, Any]] = {"type": "null"}
_SOME_REFERENCE: Final = "\u00e9 ${A} "  # nothing but a pattern for any text takes it
_NOTES: Final = ("title", "description", "default", "examples")
# YAML 1.1 and our loader read these as truth values, YAML 1.2 and editors as texts.
_TRUTH_WORDS: Final = "^([Yy]es|YES|[Nn]o|NO|[Oo]n|ON|[Oo]ff|OFF)$"
_ORDER: Final = (
    *("$schema", "title", "description", "type", "allOf", "anyOf", "enum", "default", "examples"),
    *("required", "properties", "additionalProperties", "definitions"),
)


@cache
def document_schema() -> Mapping[str, Any]:
    """Return the schema of a whole file: ``providers:`` is ours, other sections are the host's."""
    raw = ProvidersSettings.model_json_schema(
        ref_template=_POINTER + "{model}", schema_generator=_Generator
    )
    models: dict[str, Schema] = raw.pop("$defs")
    models[_ROOT] = raw
    words = {name: model for name, model in models.items() if "enum" in model}
    touch = _Touch(words, _with_empty_values(models))
    definitions = {
        name: touch.model(name, model)
        for name, model in sorted(models.items())
        if name not in words
    }
    named = {"propertyNames": {"pattern": f"^{NAME.pattern}$"}}
    sections = definitions[_ROOT]["properties"]
    sections["llm"] |= {**named, "maxProperties": MAX_PROVIDERS}
    sections["models"] |= named
    definitions["SecuritySettings"]["properties"]["access"]["propertyNames"] = {"minLength": 1}
    _exclude(definitions["ProviderSettings"], "api_key", "api_keys")
    section = {
        "title": "Providers of language models",
        "description": "The section that amas-providers reads.",
        "default": {},
        "examples": [{"llm": {"openai": {"api_key": "${OPENAI_API_KEY}"}}}],
        "allOf": [{"$ref": _POINTER + _ROOT}],
    }
    ordered: Schema = _ordered(
        {
            "$schema": DRAFT,
            "title": "Configuration of amas-providers",
            "description": "Sections beside providers: are the host application's.",
            "type": "object",
            "required": ["providers"],
            "properties": {"providers": section},
            "definitions": definitions,
        }
    )
    return ordered


def schema_text() -> str:
    """Return the schema as the text of a file."""
    return json.dumps(document_schema(), indent=2, ensure_ascii=False) + "\n"


class _Generator(GenerateJsonSchema):
    """pydantic's generator, without defaults that are made anew, and with sets as they are read."""

    @override
    def frozenset_schema(self, schema: core_schema.FrozenSetSchema) -> Schema:
        made = super().frozenset_schema(schema)
        del made["uniqueItems"]  # the loader takes a word twice for once
        return made

    @override
    def default_schema(self, schema: core_schema.WithDefaultSchema) -> Schema:
        made = super().default_schema(schema)
        factory: Any = schema.get("default_factory")
        if factory is not None:
            value = factory()
            empty: object = {} if isinstance(value, BaseModel | Mapping) else []
            made = {**made, "default": empty}
        return made


class _Touch:
    """What the loader takes and pydantic does not know of, and the form that editors read best.

    Args:
        words: Enumerations by the name of their definition; they are put in where they are used.
        emptied: Names of the models whose fields may have an empty value.
    """

    def __init__(self, words: Mapping[str, Schema], emptied: frozenset[str]) -> None:
        self._words = words
        self._emptied = emptied

    def model(self, name: str, model: Schema) -> Schema:
        """Touch up a section."""
        required = model.get("required", [])
        empty = name in self._emptied
        nothing = empty and name != "ModelAlias"  # an alias that asks nobody is none
        touched: Schema = {
            "description": model["description"].replace("``", "`"),
            "type": ["object", "null"] if nothing else "object",
            "properties": {
                key: self._field(field, empty=empty and key not in required)
                for key, field in model["properties"].items()
            },
            "additionalProperties": False,
        }
        return touched | ({"required": required} if required else {})

    def _field(self, field: Schema, *, empty: bool) -> Schema:
        notes = {key: field[key] for key in _NOTES if key in field}
        if isinstance(notes.get("default"), float):
            notes["default"] = _short(notes["default"])
        value = {key: item for key, item in field.items() if key not in _NOTES}
        empty = empty or any(each == _EMPTY for each in self._alternatives(value))
        touched = self._value(value)
        return notes | (_or_empty(touched) if empty else touched)

    def _value(self, schema: Schema) -> Schema:
        """Return the schema of a value, with everything that may stand there instead."""
        plain = _Plain()
        others = [
            self._collection(each)
            for each in self._alternatives(schema)
            if each != _EMPTY and not plain.add(each)
        ]
        alternatives = plain.schemas() + others
        return alternatives[0] if len(alternatives) == 1 else {"anyOf": alternatives}

    def _alternatives(self, schema: Schema) -> Iterator[Schema]:
        for each in schema.get("anyOf", [schema]):
            yield self._words.get(_target(each), each)

    def _collection(self, schema: Schema) -> Schema:
        if "$ref" in schema:
            return {"allOf": [schema]}
        touched = dict(schema)
        for key in ("items", "additionalProperties"):
            if isinstance(touched.get(key), dict):
                touched[key] = self._value(touched[key])
        if "properties" in touched:
            entries = touched["properties"].items()
            touched["properties"] = {key: _or_empty(self._value(value)) for key, value in entries}
        return touched


class _Plain:
    """The alternatives that are no collections, put together as one or two schemas."""

    def __init__(self) -> None:
        self._words: list[object] = []
        self._types: dict[str, None] = {}
        self._patterns: dict[str, None] = {}
        self._bounds: Schema = {}

    def add(self, schema: Schema) -> bool:
        """Take an alternative in; one that is a collection is not taken."""
        if "enum" in schema or "const" in schema:
            self._words += schema.get("enum", [schema.get("const")])
            self._patterns[REFERENCE_PATTERN] = None
            return True
        kind = schema.get("type")
        if kind not in {"string", "number", "integer", "boolean"}:
            return False
        self._types[kind] = None
        self._bounds |= {
            key: value for key, value in schema.items() if key not in {"type", "pattern"}
        }
        pattern = _TRUTH_WORDS if kind == "boolean" else schema.get("pattern")
        if pattern:
            self._patterns[pattern] = None
        if kind != "string" or (pattern and not re.search(pattern, _SOME_REFERENCE)):
            self._patterns[REFERENCE_PATTERN] = None
        return True

    def schemas(self) -> list[Schema]:
        """Return what was taken in."""
        types = list(self._types)
        if self._patterns and "string" not in types:
            types.append("string")
        words: list[Schema] = [{"enum": self._words}] if self._words else []
        if not types:
            return words
        plain: Schema = {"type": types[0] if len(types) == 1 else types, **self._bounds}
        if self._patterns:
            plain["pattern"] = "|".join(self._patterns)
            # Not of the draft; editors show it instead of the pattern.
            plain.setdefault("patternErrorMessage", self._message())
        return [*words, plain]

    def _message(self) -> str:
        kinds = [_IN_WORDS[kind] for kind in self._types if kind in _IN_WORDS]
        words = [str(word) for word in self._words if isinstance(word, str)]
        return f"Must be {one_of([*words, *kinds, 'a reference such as ${VAR}'])}."


def _target(schema: Schema) -> str:
    return str(schema.get("$ref", "")).removeprefix(_POINTER)


def _with_empty_values(models: Mapping[str, Schema]) -> frozenset[str]:
    """Return the models whose empty values are left out before they are checked.

    The loader does so down to the names of the user's choice, and anew in the rows it checks
    one by one.
    """
    found: set[str] = set()
    waiting = [_ROOT, "ProviderSettings", "ModelAlias"]
    while waiting:
        name = waiting.pop()
        if name in found or "properties" not in models.get(name, {}):
            continue
        found.add(name)
        for field in models[name]["properties"].values():
            waiting += [_target(each) for each in (field, *field.get("anyOf", []))]
    return frozenset(found)


def _or_empty(schema: Schema) -> Schema:
    """Return a schema that takes nothing as well, as every section of ours does."""
    if "anyOf" in schema:
        *others, last = schema["anyOf"]
        return {"anyOf": [*others, _or_empty(last)]}
    if "allOf" in schema:
        return schema
    types = schema["type"]
    return {**schema, "type": [*([types] if isinstance(types, str) else types), "null"]}


def _exclude(model: Schema, one: str, other: str) -> None:
    filled = {"not": {"type": "null"}}
    both = {"type": "object", "required": [one, other]}
    model["not"] = both | {"properties": {one: filled, other: filled}}


def _short(number: float) -> float | int:
    return int(number) if number.is_integer() else number


def _ordered(schema: Any) -> Any:
    """Bring keywords into an order that people can read; names of fields keep theirs."""
    if isinstance(schema, list):
        return [_ordered(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    ranks = {key: rank for rank, key in enumerate(_ORDER)}
    ordered: Schema = {}
    for key in sorted(schema, key=lambda key: (ranks.get(key, len(ranks)), key)):
        value = schema[key]
        if key in {"properties", "definitions"}:
            ordered[key] = {name: _ordered(item) for name, item in value.items()}
        else:
            ordered[key] = value if key in {"default", "examples", "enum"} else _ordered(value)
    return ordered
