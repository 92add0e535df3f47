"""One value from a child at a time: what is not as it should be counts as not given."""

from __future__ import annotations

import math
from typing import Any, Final

from ...types import Usage

MAX_NAME: Final = 512
"""Longest name, in characters."""

_LARGEST_COUNT: Final = 2**53


def name(value: object) -> str | None:
    """Return a short text."""
    return value if isinstance(value, str) and len(value) <= MAX_NAME else None


def text(value: object) -> str | None:
    """Return a text of any length."""
    return value if isinstance(value, str) else None


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
