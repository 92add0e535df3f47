"""The figures as tables of texts, the same for a terminal and for a page. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from .figures import Figures, Tally
from .samples import percentile
from .wording import cost, duration, plain, share

_ROWS: Final = 20
_DAYS: Final = 31
_FAILING: Final = 0.05  # a provider that fails more often is in its table, however rarely asked
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
    " answered or timed out, first p95 is the time to the first content of streams. Unknown cost"
    " counts requests: answered without a known price, or ended early (timed out, cancelled,"
    " overtaken by another, broken off), which may be billed."
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
        _providers(figures),
        _tallies("Callers", "caller", figures.callers),
        _tallies("Models", "model", figures.models),
        _days(figures.days),
        _counts("Outcomes", "outcome", figures.outcomes),
        _counts("Refused by access rules", "caller", figures.refused),
        _openings(figures),
    )
    return [table for table in made if table.rows]


def _providers(figures: Figures) -> Table:
    """Make the table of the providers; those in trouble are never left out."""
    opened = figures.open_circuits
    note = _PROVIDERS_NOTE
    if opened:
        are = "The circuit is open of"
        note = f"{note} {are} {', '.join(plain(name) for name in sorted(opened)[:_ROWS])}."
    return _tallies(
        "Providers",
        "provider",
        figures.providers,
        note,
        keep=lambda name, tally: name in opened or tally.failed >= max(tally.calls * _FAILING, 1),
    )


def _tallies(
    title: str,
    of: str,
    group: Mapping[str, Tally],
    note: str = "",
    *,
    keep: Callable[[str, Tally], bool] = lambda _name, _tally: False,
) -> Table:
    most = sorted(group.items(), key=lambda item: (-item[1].calls, item[0]))
    shown = [item for place, item in enumerate(most) if place < _ROWS or keep(*item)]
    names = {name for name, _ in shown}
    rows = [(plain(name), *_cells([tally])) for name, tally in shown]
    if rest := [tally for name, tally in most if name not in names]:
        rows.append((f"others ({len(rest):,})", *_cells(rest)))
    return Table(title, (of, *_FIGURES), rows, note)


def _cells(tallies: Sequence[Tally]) -> tuple[str, ...]:
    calls, unpriced = (sum(each.calls for each in tallies), sum(each.unpriced for each in tallies))
    latencies = [each.latency for each in tallies]
    return (
        f"{calls:,}",
        share(sum(each.failed for each in tallies), calls),
        f"{sum(each.failovers for each in tallies):,}",
        duration(percentile(latencies, 0.5)),
        duration(percentile(latencies, 0.95)),
        duration(percentile((each.first_content for each in tallies), 0.95)),
        f"{sum(each.tokens for each in tallies):,}",
        cost(
            sum(each.cost_usd for each in tallies), sum(each.priced for each in tallies), unpriced
        ),
        f"{unpriced:,}" if unpriced else "-",
    )


def _days(days: Mapping[str, Tally]) -> Table:
    last = sorted(days, reverse=True)
    rows = [(day, *_cells([days[day]])) for day in last[:_DAYS]]
    if earlier := [days[day] for day in last[_DAYS:]]:
        rows.append((f"earlier ({len(earlier):,})", *_cells(earlier)))
    return Table("Days (UTC)", ("day", *_FIGURES), rows)


def _counts(title: str, of: str, counts: Counter[str]) -> Table:
    most = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    whole = counts.total()
    rows = [(plain(name), f"{many:,}", share(many, whole)) for name, many in most[:_ROWS]]
    if rest := [many for _, many in most[_ROWS:]]:
        rows.append((f"others ({len(rest):,})", f"{sum(rest):,}", share(sum(rest), whole)))
    return Table(title, (of, "calls", "share"), rows)


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
