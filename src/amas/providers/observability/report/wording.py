"""How figures, times and foreign texts are written in a report."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

_LONGEST: Final = 120
_MINUTE: Final = 60
_SECOND_MS: Final = 1000.0
_UNITS: Final = ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second"))


def plain(text: object, longest: int = _LONGEST) -> str:
    """Make a text harmless to a terminal: one line, no control characters, not too long.

    Args:
        text: Anything from a record, such as a caller's name; others chose it.
        longest: Characters above which it is cut.
    """
    whole = str(text)
    cut = whole[:longest] + "…" if len(whole) > longest else whole
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in cut
    )


def duration(ms: float | None) -> str:
    """Write milliseconds so that they are read at a glance; a dash for None."""
    if ms is None:
        return "-"
    if ms < _SECOND_MS:
        return f"{ms:.0f} ms"
    seconds = ms / _SECOND_MS
    if seconds < 2 * _MINUTE:
        return f"{seconds:.1f} s"
    return f"{seconds / _MINUTE:.1f} min"


def money(usd: float) -> str:
    """Write US dollars: two places, and as many as it takes below a dollar."""
    if usd == 0 or usd >= 1:
        return f"${usd:,.2f}"
    return f"${usd:.4f}" if usd >= 0.0001 else "< $0.0001"  # noqa: PLR2004 -- the last place


def cost(usd: float, priced: int, unknown: int) -> str:
    """Write what calls cost, as far as that is known; never 0 for what is not.

    Args:
        usd: Sum of the calls whose price is known.
        priced: How many those are.
        unknown: How many requests have no known price.
    """
    if priced:
        return money(usd)
    return "unknown" if unknown else "-"


def share(part: int, whole: int) -> str:
    """Write a share in percent; none is 0 %, and few of many are not."""
    if not whole:
        return "-"
    percent = 100 * part / whole
    if 0 < percent < 0.1:  # noqa: PLR2004 -- the last place
        return "<0.1 %"
    return f"{percent:.0f} %" if percent in {0, 100} else f"{percent:.1f} %"


def count(number: int, one: str, many: str | None = None) -> str:
    """Write a number of things, such as ``1 call`` or ``2 calls``."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def short(number: int) -> str:
    """Write a large number so that it has room, such as ``14.3 M``."""
    for size, unit in ((1_000_000_000, "G"), (1_000_000, "M")):
        if number >= size:
            return f"{number / size:,.1f} {unit}"
    return f"{number:,}"


def span(seconds: float) -> str:
    """Write a length of time in its largest whole unit, such as ``24 hours``."""
    for length, unit in _UNITS:
        many = seconds / length
        if many >= 2 or (many == 1 and length < 86_400):  # noqa: PLR2004 -- 24 hours, not 1 day
            return f"{f'{many:.1f}'.removesuffix('.0')} {unit}{'' if many == 1 else 's'}"
    return f"{seconds:.1f} seconds"


def moment(at: float, until: float) -> str:
    """Write a time of a range that ends at ``until``: the day only where it is another one.

    Args:
        at: Seconds since 1970.
        until: Likewise; the end of the range.
    """
    then, last = datetime.fromtimestamp(at, UTC), datetime.fromtimestamp(until, UTC)
    if then.date() == last.date():
        return f"{then:%H:%M}"
    return f"{then:%Y-%m-%d %H:%M}" if then.year != last.year else f"{then:%d %b %H:%M}"
