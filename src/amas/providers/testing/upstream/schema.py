"""Example values for JSON schemas."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

_DEPTH_LIMIT: Final = 16
_HUGE: Final = 10**18
_FORMATS: Final = {
    "date": "2024-01-31",
    "date-time": "2024-01-31T12:00:00Z",
    "time": "12:00:00Z",
    "email": "someone@example.com",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "ipv4": "192.0.2.1",
}


def example_of(schema: Mapping[str, Any]) -> Any:
    """Make up a value that conforms to a JSON schema.

    Objects get their required properties only. Understood are ``type``, ``enum``, ``const``,
    ``$ref`` into the same document, ``allOf``, ``anyOf``, ``oneOf``, and the bounds of numbers,
    strings and arrays; ``pattern``, ``uniqueItems`` and ``not`` are not. Type names may be in capitals, as Gemini
    writes them.

    Args:
        schema: The schema; {} and schemas without a type count as objects.

    Returns:
        The value, always the same for the same schema.
    """
    return _example(schema, schema, 0)


def _example(schema: Mapping[str, Any], root: Mapping[str, Any], depth: int) -> Any:
    schema = _resolve(schema, root)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    if depth > _DEPTH_LIMIT:
        return None
    kind = _type_of(schema)
    if kind == "object":
        properties = schema.get("properties", {})
        return {
            name: _example(properties.get(name, {"type": "string"}), root, depth + 1)
            for name in schema.get("required", ())
        }
    if kind == "array":
        item = schema.get("items") or {"type": "string"}
        return [_example(item, root, depth + 1)] * int(schema.get("minItems", 0))
    return _scalar(kind, schema)


def _resolve(schema: Mapping[str, Any], root: Mapping[str, Any]) -> dict[str, Any]:
    """Follow a reference, and merge what combines schemas into one."""
    merged = dict(schema)
    for _ in range(_DEPTH_LIMIT):
        if reference := merged.pop("$ref", None):
            parts = [_look_up(reference, root)]
        elif "allOf" in merged:
            parts = merged.pop("allOf")
        elif options := merged.pop("anyOf", None) or merged.pop("oneOf", None):
            parts = [next((o for o in options if _type_of(o) != "null"), options[0])]
        else:
            break
        for part in parts:
            merged = _merge(merged, part)
    return merged


def _merge(base: Mapping[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    merged = {**base, **extra}
    for key in ("properties", "required"):
        if key in base and key in extra:
            both = base[key], extra[key]
            merged[key] = {**both[0], **both[1]} if key == "properties" else [*both[0], *both[1]]
    return merged


def _look_up(reference: str, root: Mapping[str, Any]) -> Mapping[str, Any]:
    place: Any = root
    for step in filter(None, reference.removeprefix("#").split("/")):
        place = place.get(step, {}) if isinstance(place, Mapping) else {}
    return place if isinstance(place, Mapping) else {}


def _type_of(schema: Mapping[str, Any]) -> str:
    kind = schema.get("type", "object")
    if isinstance(kind, list):
        kind = next((name for name in kind if name != "null"), "null")
    return str(kind).lower()


def _scalar(kind: str, schema: Mapping[str, Any]) -> Any:
    if kind == "string":
        text = _FORMATS.get(schema.get("format", ""), "example")
        return text.ljust(schema.get("minLength", 0), "x")[: schema.get("maxLength")]
    if kind == "integer":
        return _integer(schema)
    if kind == "number":
        return _number(schema)
    return True if kind == "boolean" else None


def _integer(schema: Mapping[str, Any]) -> int:
    low = max(
        math.ceil(schema.get("minimum", -_HUGE)),
        math.floor(schema.get("exclusiveMinimum", -_HUGE)) + 1,
    )
    high = min(
        math.floor(schema.get("maximum", _HUGE)),
        math.ceil(schema.get("exclusiveMaximum", _HUGE)) - 1,
    )
    step = int(schema.get("multipleOf", 1))
    value = -(-max(1, low) // step) * step
    return int(value if value <= high else high // step * step)


def _number(schema: Mapping[str, Any]) -> float:
    low = max(schema.get("minimum", -math.inf), schema.get("exclusiveMinimum", -math.inf))
    high = min(schema.get("maximum", math.inf), schema.get("exclusiveMaximum", math.inf))
    if math.isfinite(low) and math.isfinite(high):
        return float((low + high) / 2)
    if math.isfinite(low):
        return float(low + 1)
    return float(high - 1) if math.isfinite(high) else 1.5
