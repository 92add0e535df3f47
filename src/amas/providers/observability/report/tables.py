"""The figures as tables of texts, the same for a terminal and for a page. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from .figures import Figures, Tally
from .wording import cost, duration, plain, share

_ROWS: Final = 20
_DAYS: Final = 31
_FIGURES: Final = (
    "calls",
    "failed",
    "failovers",
    "p50",
    "p95",
    "first p95",
    "tokens",
    "cost",
    "unknown cost",
)
_PROVIDERS_NOTE: Final = (
    "A call counts at each provider that it asked; p50 and p95 are of the attempts that were"
    " answered or timed out, first p95 is the time to the first content of streams."
)


@dataclass(frozen=True, slots=True)
class Table:
    """A table of texts.

    Args:
        title: What it shows.
        columns: Heads of the columns; the first is of names.
        rows: The rows.
        note: What the rows mean, or leave out.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


def tables(figures: Figures) -> list[Table]:
    """Make the tables of a report; those without rows are left out.

    Args:
        figures: What the records of the range add up to.
    """
    total = {"all calls": figures.total} if figures.total.calls else {}
    made = (
        _tallies("Total", "", total),
        _tallies("Providers", "provider", figures.providers, _PROVIDERS_NOTE),
        _tallies("Callers", "caller", figures.callers),
        _tallies("Models", "model", figures.models),
        _days(figures.days),
        _counts("Outcomes", "outcome", figures.outcomes),
        _counts("Refused by access rules", "caller", figures.refused),
        _openings(figures),
    )
    return [table for table in made if table.rows]


def _tallies(title: str, of: str, group: Mapping[str, Tally], note: str = "") -> Table:
    most = sorted(group.items(), key=lambda item: (-item[1].calls, item[0]))
    rows = [(plain(name), *_cells(tally)) for name, tally in most[:_ROWS]]
    return Table(title, (of, *_FIGURES), rows, _with_rest(note, len(most), of))


def _cells(tally: Tally) -> tuple[str, ...]:
    return (
        f"{tally.calls:,}",
        share(tally.failed, tally.calls),
        f"{tally.failovers:,}",
        duration(tally.latency.percentile(0.5)),
        duration(tally.latency.percentile(0.95)),
        duration(tally.first_content.percentile(0.95)),
        f"{tally.tokens:,}",
        cost(tally.cost_usd, tally.priced, tally.unpriced),
        f"{tally.unpriced:,}" if tally.unpriced else "-",
    )


def _days(days: Mapping[str, Tally]) -> Table:
    last = sorted(days, reverse=True)[:_DAYS]
    rows = [(day, *_cells(days[day])) for day in last]
    left_out = len(days) - len(last)
    note = f"{left_out:,} earlier days are not shown." if left_out else ""
    return Table("Days (UTC)", ("day", *_FIGURES), rows, note)


def _counts(title: str, of: str, counts: Counter[str]) -> Table:
    most = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    whole = counts.total()
    rows = [(plain(name), f"{many:,}", share(many, whole)) for name, many in most[:_ROWS]]
    return Table(title, (of, "calls", "share"), rows, _with_rest("", len(most), of))


def _openings(figures: Figures) -> Table:
    rows = [
        (
            f"{datetime.fromtimestamp(opening.at, UTC):%Y-%m-%d %H:%M:%S}",
            plain(opening.provider),
            "-" if opening.key is None else str(opening.key),
            plain(opening.outcome or "-"),
        )
        for opening in reversed(figures.last_openings)
    ]
    left_out = figures.openings.total() - len(rows)
    note = f"{left_out:,} earlier ones are not shown." if left_out else ""
    return Table("Circuits opened", ("time (UTC)", "provider", "key", "because of"), rows, note)


def _with_rest(note: str, many: int, of: str) -> str:
    left_out = many - _ROWS
    rest = f"The {_ROWS} with the most calls of {many:,} {of}s." if left_out > 0 else ""
    return " ".join(filter(None, (note, rest)))
