"""Times as a person types them. Pure."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import Final

from ...errors import ProviderConfigError

_AGO: Final = re.compile(r"(?P<many>[0-9]{1,9})(?P<unit>[smhdw])")
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def read_range(
    since: str | None, until: str | None, now: datetime
) -> tuple[datetime | None, datetime | None]:
    """Read the begin and the end of a range.

    Args:
        since: What was typed for the begin.
        until: What was typed for the end; a day is in the range whole.
        now: The time.

    Returns:
        The begin, and the first time behind the end; None for what was not typed.

    Raises:
        ProviderConfigError: One of them is no time, or the end is not after the begin.
    """
    first = None if since is None else _read("--since", since, now)
    last = None if until is None else _read("--until", until, now, end=True)
    if first is not None and last is not None and last <= first:
        raise ProviderConfigError("--until must be later than --since")
    return first, last


def _read(option: str, text: str, now: datetime, *, end: bool = False) -> datetime:
    text = text.strip()
    try:
        if ago := _AGO.fullmatch(text):
            return now - timedelta(**{_UNITS[ago["unit"]]: int(ago["many"])})
        if _DAY.fullmatch(text):
            day = datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC)
            return day + timedelta(days=1) if end else day
        at = datetime.fromisoformat(text)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ProviderConfigError(
            f"{option} takes how long ago (30m, 24h, 7d), a day (2026-11-24), or a time"
            f" (2026-11-24T02:40Z, without a zone in UTC); {text[:40]!r} is none"
        ) from None
