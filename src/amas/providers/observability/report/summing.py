"""Adds records up, in one pass and in memory that does not grow with their number. Pure."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

from ..audit.reading import time_of
from .calls import NOBODY, OK, Asked, Call, name_of, number, read_call
from .figures import Endings, Figures, Opening, Slot, Tally
from .samples import EXACT, Moment, Moments, Sample

OTHERS: Final = "(others)"
"""Stands for all further names where there are too many."""

_LOOK_BACK: Final = timedelta(days=7)
_CANCELLED: Final = "cancelled"
_HOUR: Final = 3600
_RECENT_SHARE: Final = 1 / 6
_MOST_SLOTS: Final = 150
_WIDTHS: Final = (60, 300, 600, 1_800, 3_600, 10_800, 21_600, 43_200, 86_400, 604_800)
_SLOT_SAMPLE: Final = 10_000
_BEFORE_SAMPLE: Final = 1_000
_MOST_NAMES: Final = 2_000  # a caller may call itself something else each time

_T = TypeVar("_T")


def look_back(since: datetime) -> datetime:
    """Return from when on records tell what is usual, for a range that begins at a time."""
    try:
        return since - _LOOK_BACK
    except OverflowError:  # in the first week of the first year
        return since


def summarize(
    records: Iterable[Mapping[str, Any]], since: datetime, until: datetime, *, seed: int = 0
) -> Figures:
    """Add up records.

    Args:
        records: Those of the range, from ``audit.reading``, in the order of time. Those before it,
            from ``look_back`` on, tell what is usual and are in no sum.
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
    return summing.finish()


def _width(length: float) -> int:
    fitting = (width for width in _WIDTHS if length / width <= _MOST_SLOTS)
    return next(fitting, int(length / _MOST_SLOTS) + 1)


class _Summing:
    def __init__(self, since: float, until: float, chance: random.Random) -> None:
        self._chance = chance
        self._open: dict[str, None] = {}
        length = max(until - since, 1.0)
        self.figures = Figures(
            since=since,
            until=until,
            width=_width(length),
            recent=min(float(_HOUR), length * _RECENT_SHARE),
            total=self._tally(),
        )

    def add(self, record: Mapping[str, Any]) -> None:
        kind, at = record.get("kind"), time_of(record).timestamp()
        within = at >= self.figures.since
        if kind == "call":
            add = self._add_call if within else self._add_earlier
            add(read_call(record), at)
        elif kind == "circuit":
            self._add_circuit(record, at, within=within)
        elif within:
            self._add_other(kind, record)

    def finish(self) -> Figures:
        """Return the figures once all records are in."""
        self.figures.open_circuits.update(self._open)
        for name in self._open:
            # It is in the table, though nobody asks it.
            self._of(self.figures.providers, name, self._tally)
        return self.figures

    def _add_other(self, kind: object, record: Mapping[str, Any]) -> None:
        if kind == "access" and record.get("allowed") is False:
            refused = self.figures.refused
            refused[_bounded(name_of(record.get("caller")), refused)] += 1
        elif kind == "dropped":
            self.figures.dropped += int(number(record.get("count")) or 0)
        elif kind == "lost":
            first, last = number(record.get("first")), number(record.get("last"))
            if first is not None and last is not None and first <= last:
                self.figures.dropped += int(last - first) + 1

    def _add_earlier(self, call: Call, at: float) -> None:
        width = max(self.figures.width, _HOUR)
        start = int(at // width) * width
        end = min(start + width, self.figures.since)
        for asked in call.asked:
            self._note_answer(asked)
            self._add_to_slots(self.figures.before, asked, at, (start, end), _BEFORE_SAMPLE)

    def _add_call(self, call: Call, at: float) -> None:
        figures = self.figures
        recent = at >= figures.until - figures.recent
        day = datetime.fromtimestamp(at, UTC).date().isoformat()
        model = self._of(figures.models, call.model, self._tally)
        groups = (
            figures.total,
            self._of(figures.callers, call.caller, self._tally),
            self._of(figures.days, day, self._tally),
        )
        for tally in (*groups, model):
            tally.calls += 1
            tally.failed += call.failed
            tally.failovers += call.moved
            if call.latency_ms is not None:
                tally.latency.add(call.latency_ms)
            _charge(tally, call)
        for tally in groups:
            tally.unpriced += len(call.unpriced)
        figures.outcomes[_bounded(call.outcome, figures.outcomes)] += 1
        slot = int(at // figures.width) * figures.width
        _add_ending(figures.calls.setdefault(slot, Endings()), call)
        for asked in call.asked:
            self._add_asked(asked, at, recent=recent)
        if call.provider != NOBODY:
            _charge(self._of(figures.providers, call.provider, self._tally), call)
        for provider, name in call.unpriced:
            self._of(figures.models, name, self._tally).unpriced += 1
            if provider != NOBODY:
                self._of(figures.providers, provider, self._tally).unpriced += 1
        self._add_cost(call, day, recent=recent)

    def _add_asked(self, asked: Asked, at: float, *, recent: bool) -> None:
        figures = self.figures
        self._note_answer(asked)
        tally = self._of(figures.providers, asked.provider, self._tally)
        tally.calls += 1
        tally.failed += asked.failed
        tally.failovers += asked.left
        for ms in asked.waits:
            tally.latency.add(ms)
        start = int(at // figures.width) * figures.width
        self._add_to_slots(figures.slots, asked, at, (start, start + figures.width), _SLOT_SAMPLE)
        if recent:
            times = figures.until - figures.recent, figures.until
            slot = self._of(figures.latest, asked.provider, lambda: self._slot(times))
            _add_to_slot(slot, asked, at)

    def _add_to_slots(
        self,
        group: dict[str, dict[int, Slot]],
        asked: Asked,
        at: float,
        times: tuple[int, float],
        limit: int,
    ) -> None:
        slots: dict[int, Slot] = self._of(group, asked.provider, dict)
        slot = slots.get(times[0])
        if slot is None:
            slot = slots[times[0]] = self._slot(times, limit)
        _add_to_slot(slot, asked, at)

    def _note_answer(self, asked: Asked) -> None:
        if asked.outcome == OK:
            self._open.pop(asked.provider, None)

    def _add_cost(self, call: Call, day: str, *, recent: bool) -> None:
        if call.cost_usd is None:
            return
        costs: dict[str, float] = self.figures.day_costs.setdefault(day, {})
        name = _bounded(call.provider, costs)
        costs[name] = costs.get(name, 0.0) + call.cost_usd
        self.figures.recent_usd += call.cost_usd if recent else 0.0

    def _add_circuit(self, record: Mapping[str, Any], at: float, *, within: bool) -> None:
        provider, key, outcome = (record.get(name) for name in ("provider", "key", "outcome"))
        if key is None:
            self._note_circuit(name_of(provider), record.get("after"))
        # What another process has told stands in the records of that one.
        if not within or record.get("after") != "open" or record.get("cause") == "shared":
            return
        self.figures.openings[_bounded(name_of(provider), self.figures.openings)] += 1
        self.figures.last_openings.append(
            Opening(
                at,
                name_of(provider),
                key if isinstance(key, int) else None,
                str(outcome) if outcome else None,
            )
        )

    def _note_circuit(self, provider: str, state: object) -> None:
        if state == "open":
            self._open[_bounded(provider, self._open)] = None
        elif state == "closed":
            self._open.pop(provider, None)

    def _of(self, group: dict[str, _T], name: str, make: Callable[[], _T]) -> _T:
        name = _bounded(name, group)
        found = group.get(name)
        if found is None:
            found = group[name] = make()
        return found

    def _tally(self) -> Tally:
        return Tally(Sample(self._chance), Sample(self._chance))

    def _slot(self, times: tuple[float, float], limit: int = EXACT) -> Slot:
        return Slot(*times, Sample(self._chance, limit), Moments(self._chance))


def _bounded(name: str, known: Collection[str]) -> str:
    return name if name in known or len(known) < _MOST_NAMES else OTHERS


def _charge(tally: Tally, call: Call) -> None:
    """Add what a call has brought, and what it cost, to whoever brought it."""
    tally.tokens += call.tokens
    if call.cost_usd is not None:
        tally.cost_usd += call.cost_usd
        tally.priced += 1
    if call.first_content_ms is not None:
        tally.first_content.add(call.first_content_ms)


def _add_ending(endings: Endings, call: Call) -> None:
    if call.failed:
        endings.failed += 1
    elif call.outcome == _CANCELLED:
        endings.cancelled += 1
    elif call.moved:
        endings.moved += 1
    else:
        endings.fine += 1


def _add_to_slot(slot: Slot, asked: Asked, at: float) -> None:
    slot.calls += 1
    slot.failed += asked.failed
    if asked.failed:
        slot.outcomes[asked.outcome] += 1
    for ms in asked.waits:
        slot.latency.add(ms)
    slot.moments.add(Moment(at, max(asked.waits, default=-1.0), asked.failed))
