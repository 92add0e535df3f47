"""What the parameters that every vendor knows look like; of any other nothing is known."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from .document import Document, Path, kind


@dataclass(frozen=True, slots=True)
class Values:
    """The values that a parameter takes.

    Args:
        words: What they are, in words.
        example: One of them, as it is written.
        schema: What they are, for editors.
        fits: Tells whether a value is one of them.
    """

    words: str
    example: str
    schema: Mapping[str, Any]
    fits: Callable[[Any], bool]


def _number(example: str, low: float = -math.inf, high: float = math.inf) -> Values:
    def fits(value: Any) -> bool:
        return _is_number(value) and math.isfinite(value) and low <= value <= high

    return Values(f"a number{_range(low, high)}", example, _bounded("number", low, high), fits)


def _whole(example: str, low: float = -math.inf) -> Values:
    def fits(value: Any) -> bool:
        return _is_number(value) and isinstance(value, int) and value >= low

    words = f"a whole number{_range(low, math.inf)}"
    return Values(words, example, _bounded("integer", low, math.inf), fits)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _range(low: float, high: float) -> str:
    if low == -math.inf:
        return ""
    return f", {low} or more" if high == math.inf else f" from {low} to {high}"


def _bounded(type_: str, low: float, high: float) -> dict[str, Any]:
    bounds = {"minimum": low, "maximum": high}
    return {"type": type_} | {name: bound for name, bound in bounds.items() if math.isfinite(bound)}


def _is_texts(value: Any) -> bool:
    return isinstance(value, str) or (
        isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)
    )


def _is_mappings(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(item, Mapping) for item in value)


_FLAG = Values("true or false", "true", {"type": "boolean"}, lambda value: isinstance(value, bool))
_COUNT = _whole("2000", 1)
_PENALTY = _number("0.5")

PARAM_VALUES: Final[Mapping[str, Values]] = {
    "frequency_penalty": _PENALTY,
    "logit_bias": Values(
        "a mapping of tokens to numbers",
        "{'50256': -100}",
        {"type": "object"},
        lambda value: isinstance(value, Mapping) and all(map(_is_number, value.values())),
    ),
    "logprobs": _FLAG,
    "max_completion_tokens": _COUNT,
    "max_tokens": _COUNT,
    "parallel_tool_calls": _FLAG,
    "presence_penalty": _PENALTY,
    "response_format": Values(
        "a mapping",
        "{type: json_object}",
        {"type": "object"},
        lambda value: isinstance(value, Mapping | type),  # code may give a pydantic model
    ),
    "seed": _whole("42"),
    "stop": Values(
        "a text or a list of texts",
        '["END"]',
        {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
        _is_texts,
    ),
    "temperature": _number("0.2", 0),
    "tool_choice": Values(
        "a word or a mapping",
        "auto",
        {"anyOf": [{"type": "string"}, {"type": "object"}]},
        lambda value: isinstance(value, str | Mapping),
    ),
    "tools": Values(
        "a list of mappings",
        "[{type: function, function: {…}}]",
        {"type": "array", "items": {"type": "object"}},
        _is_mappings,
    ),
    "top_k": _whole("40", -1),  # -1 is vLLM's word for all
    "top_logprobs": _whole("5", 0),
    "top_p": _number("0.9", 0, 1),
}
"""Those of the adapter's allow-list whose values are the same everywhere, by name."""


def report_params(params: Mapping[str, Any], path: Path, document: Document) -> None:
    """Note the parameters whose values no vendor takes, each at its place.

    Args:
        params: Parameters of a row or an alias; None means not given.
        path: Where they stand.
        document: Where the problems go. They do not have the value, which may be a secret that
            was pasted there by mistake.
    """
    for name, value in params.items():
        known = PARAM_VALUES.get(name)
        if known is None or value is None or known.fits(value):
            continue
        told = _is_number(value) or kind(value) in known.words
        found = "" if told else f", not {kind(value)}"
        text = f"must be {known.words}{found}; write for example `{name}: {known.example}`"
        document.problem((*path, name), text)
