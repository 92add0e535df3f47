"""One value from a child at a time: what is not as it should be counts as not given."""

from __future__ import annotations

import math
import re
from typing import Any, Final

from ...types import Usage

MAX_NAME: Final = 512
"""Longest name, in characters."""

_MAX_DEPTH: Final = 64
_SURROGATES: Final = re.compile("[\ud800-\udfff]")
_LARGEST_COUNT: Final = 2**53


def name(value: object) -> str | None:
    """Return a short text without control characters."""
    if isinstance(value, str) and len(value) <= MAX_NAME and value.isprintable():
        return value
    return None


def text(value: object) -> str | None:
    """Return a text of any length, without halves of characters."""
    return _SURROGATES.sub("\ufffd", value) if isinstance(value, str) else None


def line(value: object, longest: int) -> str:
    """Return what can be shown: one line, no longer than so many characters."""
    shown = str(value)[:longest]
    return "".join(item if item.isprintable() else " " for item in shown)


def whole(value: object, depth: int = 0) -> Any:
    """Return plain data with all its texts as ``text`` does; nothing of what is too deep."""
    if depth > _MAX_DEPTH:
        return None
    if isinstance(value, dict):
        return {text(key): whole(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [whole(item, depth + 1) for item in value]
    return text(value) if isinstance(value, str) else value


def items(value: object) -> list[Any]:
    """Return a list; an empty one if it is none."""
    return value if isinstance(value, list) else []


def mapping(value: object) -> dict[str, Any]:
    """Return a mapping; an empty one if it is none."""
    return value if isinstance(value, dict) else {}


def count(value: object) -> int | None:
    """Return a whole number, 0 or more."""
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 <= value < _LARGEST_COUNT else None


def amount(value: object) -> float | None:
    """Return a number, 0 or more."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # A whole number may be too large for a float.
    return float(value) if 0 <= value < _LARGEST_COUNT and math.isfinite(value) else None


def usage(value: object) -> Usage | None:
    """Return counts of tokens; None unless the three that belong together are there."""
    counts = {key: count(item) for key, item in mapping(value).items()}
    prompt, completion, total = (
        counts.get(key) for key in ("prompt_tokens", "completion_tokens", "total_tokens")
    )
    if prompt is None or completion is None or total is None:
        return None
    read = Usage(prompt_tokens=prompt, completion_tokens=completion, total_tokens=total)
    if (cached := counts.get("cached_tokens")) is not None:
        read["cached_tokens"] = cached
    if (reasoning := counts.get("reasoning_tokens")) is not None:
        read["reasoning_tokens"] = reasoning
    return read
