"""Adds records up, in one pass and in memory that does not grow with their number. Pure."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from ..audit.reading import time_of
from .calls import NOBODY, Asked, Call, name_of, number, read_call
from .figures import Endings, Figures, Opening, Slot, Tally
from .samples import Sample

OTHERS: Final = "(others)"
"""Stands for all further names where there are too many."""

_HOUR: Final = 3600.0
_RECENT_SHARE: Final = 1 / 6
_MOST_SLOTS: Final = 150
_WIDTHS: Final = (60, 300, 600, 1_800, 3_600, 10_800, 21_600, 43_200, 86_400, 604_800)
_SLOT_SAMPLE: Final = 10_000
_MOST_NAMES: Final = 2_000  # a caller may call itself something else each time

_T = TypeVar("_T")


def summarize(
    records: Iterable[Mapping[str, Any]], since: datetime, until: datetime, *, seed: int = 0
) -> Figures:
    """Add up records.

    Args:
        records: Those of the range, from ``audit.reading``.
        since: Begin of the range.
        until: Its end, not before the begin.
        seed: For the choice of values where there are too many of them; see ``Sample``.

    Returns:
        The figures.
    """
    chance = random.Random(seed)  # noqa: S311 -- nothing here is secret
    summing = _Summing(since.timestamp(), until.timestamp(), chance)
    for record in records:
        summing.add(record)
    return summing.figures


def _width(length: float) -> int:
    fitting = (width for width in _WIDTHS if length / width <= _MOST_SLOTS)
    return next(fitting, int(length / _MOST_SLOTS) + 1)


class _Summing:
    def __init__(self, since: float, until: float, chance: random.Random) -> None:
        self._chance = chance
        length = max(until - since, 1.0)
        self.figures = Figures(
            since=since,
            until=until,
            width=_width(length),
            recent=min(_HOUR, length * _RECENT_SHARE),
            total=self._tally(),
        )

    def add(self, record: Mapping[str, Any]) -> None:
        kind = record.get("kind")
        if kind == "call":
            self._add_call(read_call(record), time_of(record).timestamp())
        elif kind == "access" and record.get("allowed") is False:
            refused = self.figures.refused
            refused[_bounded(name_of(record.get("caller")), refused)] += 1
        elif kind == "circuit":
            self._add_circuit(record)
        elif kind == "dropped":
            self.figures.dropped += int(number(record.get("count")) or 0)
        elif kind == "lost":
            first, last = number(record.get("first")), number(record.get("last"))
            if first is not None and last is not None and first <= last:
                self.figures.dropped += int(last - first) + 1

    def _add_call(self, call: Call, at: float) -> None:
        figures = self.figures
        recent = at >= figures.until - figures.recent
        day = datetime.fromtimestamp(at, UTC).date().isoformat()
        for tally in (
            figures.total,
            self._of(figures.callers, call.caller, self._tally),
            self._of(figures.models, call.model, self._tally),
            self._of(figures.days, day, self._tally),
        ):
            tally.calls += 1
            tally.failed += call.failed
            tally.failovers += call.moved
            if call.latency_ms is not None:
                tally.latency.add(call.latency_ms)
            _charge(tally, call)
        figures.outcomes[_bounded(call.outcome, figures.outcomes)] += 1
        slot = int(at // figures.width) * figures.width
        endings = figures.calls.setdefault(slot, Endings())
        endings.failed += call.failed
        endings.moved += call.moved and not call.failed
        endings.fine += not call.moved and not call.failed
        for asked in call.asked:
            self._add_asked(asked, slot, recent=recent)
        if call.provider != NOBODY:
            _charge(self._of(figures.providers, call.provider, self._tally), call)
        self._add_cost(call, day, recent=recent)

    def _add_asked(self, asked: Asked, slot: int, *, recent: bool) -> None:
        figures = self.figures
        tally = self._of(figures.providers, asked.provider, self._tally)
        tally.calls += 1
        tally.failed += asked.failed
        tally.failovers += asked.left
        for ms in asked.waits:
            tally.latency.add(ms)
        slots: dict[int, Slot] = self._of(figures.slots, asked.provider, dict)
        _add_to_slot(slots.setdefault(slot, self._slot(_SLOT_SAMPLE)), asked)
        if recent:
            _add_to_slot(self._of(figures.latest, asked.provider, self._slot), asked)

    def _add_cost(self, call: Call, day: str, *, recent: bool) -> None:
        if call.cost_usd is None:
            return
        costs: dict[str, float] = self.figures.day_costs.setdefault(day, {})
        name = _bounded(call.provider, costs)
        costs[name] = costs.get(name, 0.0) + call.cost_usd
        self.figures.recent_usd += call.cost_usd if recent else 0.0

    def _add_circuit(self, record: Mapping[str, Any]) -> None:
        # What another process has told stands in the records of that one.
        if record.get("after") != "open" or record.get("cause") == "shared":
            return
        provider, key, outcome = (record.get(name) for name in ("provider", "key", "outcome"))
        self.figures.openings[_bounded(name_of(provider), self.figures.openings)] += 1
        self.figures.last_openings.append(
            Opening(
                time_of(record).timestamp(),
                name_of(provider),
                key if isinstance(key, int) else None,
                str(outcome) if outcome else None,
            )
        )

    def _of(self, group: dict[str, _T], name: str, make: Callable[[], _T]) -> _T:
        name = _bounded(name, group)
        found = group.get(name)
        if found is None:
            found = group[name] = make()
        return found

    def _tally(self) -> Tally:
        return Tally(Sample(self._chance), Sample(self._chance))

    def _slot(self, limit: int | None = None) -> Slot:
        return Slot(Sample(self._chance, limit) if limit else Sample(self._chance))


def _bounded(name: str, known: Collection[str]) -> str:
    return name if name in known or len(known) < _MOST_NAMES else OTHERS


def _charge(tally: Tally, call: Call) -> None:
    """Add what a call has brought, and what it cost, to whoever brought it."""
    tally.tokens += call.tokens
    tally.unpriced += call.unpriced
    if call.cost_usd is not None:
        tally.cost_usd += call.cost_usd
        tally.priced += 1
    if call.first_content_ms is not None:
        tally.first_content.add(call.first_content_ms)


def _add_to_slot(slot: Slot, asked: Asked) -> None:
    slot.calls += 1
    slot.failed += asked.failed
    if asked.failed:
        slot.outcomes[asked.outcome] += 1
    for ms in asked.waits:
        slot.latency.add(ms)
