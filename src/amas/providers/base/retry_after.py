"""What a server asks for with ``Retry-After``. Pure."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


def retry_after(value: str, now: datetime) -> float | None:
    """Read a ``Retry-After`` header, seconds or date (RFC 9110, section 10.2.3).

    Args:
        value: The header's value.
        now: The time a date counts from, with its zone.

    Returns:
        Seconds to wait, 0 or more; None if it is not readable.
    """
    try:
        seconds = float(value)
    except ValueError:
        try:
            date = parsedate_to_datetime(value)
        except ValueError:
            return None
        seconds = (date.replace(tzinfo=date.tzinfo or UTC) - now).total_seconds()
    return max(0.0, seconds) if math.isfinite(seconds) else None
