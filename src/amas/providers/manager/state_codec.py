"""Entries of the shared state as text, with times on the server's clock. Pure."""

from __future__ import annotations

import json
import math
from typing import Any

from .state_store import Entry

_FORMAT = 1

# Nothing is remembered for longer, in seconds; "until further notice" is infinite.
_LONGEST = 366 * 24 * 3600.0


def lifetime(entry: Entry, now: float) -> float:
    """Return for how many seconds an entry is still worth knowing; 0 or less if it is not.

    Args:
        entry: The entry.
        now: The local time.
    """
    return _bounded(entry.until - now) + _bounded(entry.ttl)


def encode(entry: Entry, now: float, offset: float) -> str:
    """Return an entry as text.

    Args:
        entry: The entry, with its time on the local clock.
        now: The local time.
        offset: The server's time minus the local time, in seconds.
    """
    return json.dumps(
        {
            "f": _FORMAT,
            "v": entry.version,
            "until": round(now + _bounded(entry.until - now) + offset, 6),
            "ttl": _bounded(entry.ttl),
            "data": dict(entry.data),
        },
        separators=(",", ":"),
    )


def decode(text: str, offset: float) -> Entry | None:
    """Return the entry that a text stands for, with its time on the local clock.

    Args:
        text: What ``encode`` made, in whatever process; or anything else.
        offset: The server's time minus the local time, in seconds.

    Returns:
        The entry; None if the text is none, or one of another format.
    """
    try:
        match json.loads(text):
            case {
                "f": int(number),
                "v": str(version),
                "until": int() | float() as until,
                "ttl": int() | float() as ttl,
                "data": dict(data),
            } if number == _FORMAT and math.isfinite(until) and math.isfinite(ttl) and _plain(data):
                return Entry(version, float(until) - offset, data, float(ttl))
    except (ValueError, OverflowError, RecursionError):
        pass
    return None


def _plain(data: dict[str, Any]) -> bool:
    return all(isinstance(value, str | int | float | None) for value in data.values())


def _bounded(seconds: float) -> float:
    # Not min() and max(), which let NaN through.
    return max(-_LONGEST, seconds) if seconds < _LONGEST else _LONGEST
