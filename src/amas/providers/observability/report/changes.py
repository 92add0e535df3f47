"""What got worse, since when, and what was usual before. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import median
from typing import Final, TypeAlias

from .figures import Figures, Slot
from .samples import Moment

Stage: TypeAlias = Sequence[Slot]
"""Some slots of a provider in a row, with calls enough to judge."""

_FACTOR: Final = 2.0  # so many times what is usual is worth a word
_LEAST_CALLS: Final = 20  # fewer at a time may be bad by chance
_LEAST_STAGES: Final = 3  # fewer say nothing about what is usual


@dataclass(frozen=True, slots=True)
class Measure:
    """Something that can get worse.

    Args:
        of: Its value in some slots; None if they do not tell.
        exceeds: Whether a moment is worse than a bound; None if it does not tell.
        noticeable: By how much the value must be above the usual one.
    """

    of: Callable[[Sequence[Slot]], float | None]
    exceeds: Callable[[Moment, float], bool | None]
    noticeable: float


@dataclass(frozen=True, slots=True)
class Edge:
    """When something began or ended, as precisely as calls tell.

    Args:
        at: In seconds since 1970.
        within: Seconds between the calls that tell.
    """

    at: float
    within: float


@dataclass(frozen=True, slots=True)
class Change:
    """A time in which a provider was worse than usual.

    Args:
        begin: When it began; that may be before the range.
        end: When it ended.
        ongoing: Whether it has not ended, as far as is known.
        slots: The slots in which it was.
        usual: The usual value.
    """

    begin: Edge
    end: Edge
    ongoing: bool
    slots: Sequence[Slot]
    usual: float


def find_change(figures: Figures, name: str, measure: Measure) -> Change | None:
    """Find the last time in the range in which a provider was worse than usual.

    Args:
        figures: What the records add up to.
        name: The provider.
        measure: What may have got worse.
    """
    before, within = _stages(figures.before, name), _stages(figures.slots, name)
    usual = _usual(figures, before, within, measure)
    if usual is None:
        return None
    bound = max(usual * _FACTOR, usual + measure.noticeable)
    row = [*before, *within]
    bad = [(value := measure.of(stage)) is not None and value > bound for stage in row]
    if True not in bad[len(before) :]:
        return None
    last = len(bad) - 1 - bad[::-1].index(True)
    first = last
    while first and bad[first - 1]:
        first -= 1
    begin = _edge(row[max(first - 1, 0) : first + 1], measure, bound)
    end = _edge(row[last : last + 2], measure, bound, backwards=True)
    return Change(
        begin=begin,
        end=end,
        # Who was not asked of late is not known to be bad still.
        ongoing=last == len(bad) - 1 and name in figures.latest,
        slots=[
            slot
            for stage in row[first : last + 1]
            for slot in stage
            if slot.end > begin.at and slot.start <= end.at
        ],
        usual=usual,
    )


def is_compared(figures: Figures, name: str) -> bool | None:
    """Whether a provider is set against the time before the range; None if against nothing.

    Args:
        figures: What the records add up to.
        name: The provider.
    """
    many = len(_stages(figures.slots, name))
    if many and len(_stages(figures.before, name)) >= _LEAST_STAGES:
        return True
    return False if many > _LEAST_STAGES else None


def _usual(
    figures: Figures, before: Sequence[Stage], within: Sequence[Stage], measure: Measure
) -> float | None:
    earlier = _values(before, measure)
    if len(earlier) >= _LEAST_STAGES:
        # What has been bad for days would be usual by now: it was not in the first half of them.
        half = earlier[: max(len(earlier) // 2, _LEAST_STAGES)]
        return min(median(earlier), median(half))
    recent = figures.until - figures.recent
    rest = _values([stage for stage in within if stage[-1].end <= recent], measure)
    return median(rest) if len(rest) >= _LEAST_STAGES else None


def _values(stages: Iterable[Stage], measure: Measure) -> list[float]:
    values = (measure.of(stage) for stage in stages)
    return [value for value in values if value is not None]


def _stages(group: dict[str, dict[int, Slot]], name: str) -> Sequence[Stage]:
    """Put slots in a row together until they have enough calls; what is left joins the last."""
    slots = group.get(name, {})
    rows: list[list[Slot]] = []
    gathered: list[Slot] = []
    for start in sorted(slots):
        gathered.append(slots[start])
        if sum(slot.calls for slot in gathered) >= _LEAST_CALLS:
            rows.append(gathered)
            gathered = []
    if rows:
        rows[-1].extend(gathered)
    return rows


def _edge(
    stages: Iterable[Stage], measure: Measure, bound: float, *, backwards: bool = False
) -> Edge:
    """Find the call with which things got bad; backwards, the last one of the bad ones.

    That is where the sum of what is bad, less what would be bad on average, is lowest (CUSUM).
    """
    told = sorted(
        (moment.at, is_bad)
        for stage in stages
        for slot in stage
        for moment in slot.moments.all()
        if (is_bad := measure.exceeds(moment, bound)) is not None
    )
    if backwards:
        told.reverse()
    average = sum(is_bad for _, is_bad in told) / len(told)
    sums = [0.0, *accumulate(is_bad - average for _, is_bad in told[:-1])]
    place = sums.index(min(sums))
    at = told[place][0]
    return Edge(at, abs(at - told[place - 1][0]) if place else 0.0)
