"""What is slow, since when, and what did it cost: the sentences on top of a report. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from .figures import Figures, Slot
from .samples import percentile
from .wording import count, duration, moment, money, plain, share, span

_HIGH: Final = 0.95
_FACTOR: Final = 2.0  # so many times what is usual is worth a word
_NOTICEABLE_MS: Final = 100.0  # a server on this machine may well take 4 ms instead of 2
_NOTICEABLE_SHARE: Final = 0.15  # of failures
_LEAST_CALLS: Final = 20  # fewer at a time may be bad by chance
_LEAST_STAGES: Final = 3  # fewer say nothing about what is usual
_LEAST_FAILURES: Final = 3
_MOSTLY: Final = 0.5
_FINE: Final = "No provider got slower, or failed more, than usual."
_TOO_FEW: Final = "There were too few calls to say whether a provider is slower than usual."


@dataclass(frozen=True, slots=True)
class _Stage:
    """Some slots of a provider in a row, with calls enough to judge.

    Args:
        start: Begin of the first, in seconds since 1970.
        end: End of the last.
        slots: They, by their begin.
    """

    start: int
    end: int
    slots: dict[int, Slot]


@dataclass(frozen=True, slots=True)
class _Measure:
    """Something that can get worse.

    Args:
        of: Its value in some slots; None if they do not tell.
        noticeable: By how much it must be above the usual value.
        verbs: What the provider does while it is worse, and what it did.
        tell: Puts the value of some slots into words.
        usually: Puts the usual value into words.
    """

    of: Callable[[Sequence[Slot]], float | None]
    noticeable: float
    verbs: tuple[str, str]
    tell: Callable[[Sequence[Slot]], str]
    usually: Callable[[float], str]


def findings(figures: Figures) -> list[str]:
    """Say in a few sentences what somebody should know who is woken at 3 a.m.

    Args:
        figures: What the records of the range add up to.

    Returns:
        Sentences: each provider that is or was slow or failing, then the cost.
    """
    length = span(figures.until - figures.since)
    incomplete = []
    if figures.dropped:
        lost = count(figures.dropped, "record")
        incomplete = [f"{lost} could not be written or were lost, so the figures are too low."]
    if not figures.total.calls:
        return [f"There was no call in {length}.", *incomplete]
    names = figures.busiest()
    troubles = [f"{plain(name)} {text}" for name in names for text in _troubles(figures, name)]
    judged = any(len(_stages(figures, name)) > _LEAST_STAGES for name in names)
    return [
        *(troubles or [_FINE if judged else _TOO_FEW]),
        _cost(figures, length),
        *incomplete,
    ]


def _troubles(figures: Figures, name: str) -> list[str]:
    found = [_trouble(figures, name, measure) for measure in (_FAILURES, _LATENCY)]
    tally = figures.providers[name]
    if found[0] is None and tally.failed >= max(_LEAST_FAILURES, tally.calls * _MOSTLY):
        # Whatever was so all the time is usual; it is worth a word nevertheless.
        told = _tell_failures(list(figures.slots[name].values()))
        found[0] = f"fails: {told} in {span(figures.until - figures.since)}."
    return [text for text in found if text is not None]


def _trouble(figures: Figures, name: str, measure: _Measure) -> str | None:
    """Say what got worse and since when, or from when until when."""
    recent = figures.until - figures.recent
    stages = _stages(figures, name)
    values = [(stage, measure.of(list(stage.slots.values()))) for stage in stages]
    before = [value for stage, value in values if value is not None and stage.end <= recent]
    if len(before) < _LEAST_STAGES:
        return None
    usual = median(before)
    bound = max(usual * _FACTOR, usual + measure.noticeable)
    bad = [value is not None and value > bound for _, value in values]
    if True not in bad:
        return None
    last = len(bad) - bad[::-1].index(True)
    first = last
    while first and bad[first - 1]:
        first -= 1
    begin, end = _edges(stages[first:last], measure, bound, figures.width)
    slots = [slot for start, slot in figures.slots[name].items() if begin <= start < end]
    now, then = measure.verbs
    start = moment(begin, figures.until)
    # Who was not asked of late is not known to be slow still.
    if last < len(bad) or name not in figures.latest:
        when = f"{then} from {start} to {moment(end, figures.until)} UTC"
        what = f"{measure.tell(slots)} then"
    elif begin <= recent:
        when = f"{now} since {start} UTC"
        what = f"{measure.tell([figures.latest[name]])} in the last {_recently(figures)}"
    else:
        when, what = f"{now} since {start} UTC", measure.tell(slots)
    return f"{when}: {what}, usually {measure.usually(usual)}."


def _edges(run: Sequence[_Stage], measure: _Measure, bound: float, width: int) -> tuple[int, int]:
    """Return where a run begins and ends: a stage is long where calls are few."""
    bad = [
        start
        for stage in run
        for start, slot in stage.slots.items()
        if (value := measure.of([slot])) is not None and value > bound
    ]
    # What is bad together is so somewhere.
    return min(bad), max(bad) + width


def _stages(figures: Figures, name: str) -> list[_Stage]:
    """Put slots in a row together until they have enough calls; what is left joins the last."""
    slots = figures.slots.get(name, {})
    rows: list[list[int]] = []
    gathered: list[int] = []
    for start in sorted(slots):
        gathered.append(start)
        if sum(slots[each].calls for each in gathered) >= _LEAST_CALLS:
            rows.append(gathered)
            gathered = []
    if rows:
        rows[-1].extend(gathered)
    return [
        _Stage(row[0], row[-1] + figures.width, {each: slots[each] for each in row}) for row in rows
    ]


def _recently(figures: Figures) -> str:
    return span(figures.recent).removeprefix("1 ")


def _cost(figures: Figures, length: str) -> str:
    total = figures.total
    if not total.priced:
        unknown = f"It is not known what it cost: {count(total.unpriced, 'call')} of unknown cost."
        return unknown if total.unpriced else "It cost nothing."
    text = (
        f"It cost {money(total.cost_usd)} in {length}, {money(figures.recent_usd)} of that in the"
        f" last {_recently(figures)}"
    )
    unknown = f"; {count(total.unpriced, 'call')} of unknown cost not included"
    return f"{text}{unknown if total.unpriced else ''}."


def _p95(slots: Sequence[Slot]) -> float | None:
    return percentile((slot.latency for slot in slots), _HIGH)


def _failed_share(slots: Sequence[Slot]) -> float | None:
    return sum(slot.failed for slot in slots) / max(sum(slot.calls for slot in slots), 1)


def _tell_failures(slots: Sequence[Slot]) -> str:
    failed, calls = sum(slot.failed for slot in slots), sum(slot.calls for slot in slots)
    outcomes = sum((slot.outcomes for slot in slots), Counter[str]())
    mostly = "".join(f" ({plain(name)})" for name, _ in outcomes.most_common(1))
    return f"{share(failed, calls)} of its calls{mostly}"


_FAILURES: Final = _Measure(
    of=_failed_share,
    noticeable=_NOTICEABLE_SHARE,
    verbs=("fails", "failed"),
    tell=_tell_failures,
    usually=lambda usual: f"{100 * usual:.1f}".removesuffix(".0") + " %",
)
_LATENCY: Final = _Measure(
    of=_p95,
    noticeable=_NOTICEABLE_MS,
    verbs=("is slow", "was slow"),
    tell=lambda slots: f"p95 {duration(_p95(slots))}",
    usually=duration,
)
