"""What is slow, since when, and what did it cost: the sentences on top of a report. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from .changes import Edge, Measure, find_change, is_compared
from .figures import Figures, Slot
from .samples import percentile
from .wording import count, duration, moment, money, plain, share, span

_HIGH: Final = 0.95
_NOTICEABLE_MS: Final = 100.0  # a server on this machine may well take 4 ms instead of 2
_NOTICEABLE_SHARE: Final = 0.15  # of failures
_LEAST_FAILURES: Final = 3
_MOSTLY: Final = 0.5
_MINUTE: Final = 60
_PRECISE: Final = 5 * _MINUTE  # a time that is known no better says so
_NAMED: Final = 5
_FINE: Final = "No provider got slower, or failed more, than usual."
_TOO_FEW: Final = "There were too few calls to say whether a provider is slower than usual."


@dataclass(frozen=True, slots=True)
class _Telling:
    """How something that got worse is put into words.

    Args:
        measure: What got worse.
        verbs: What the provider does while it is worse, and what it did.
        tell: Puts the value of some slots into words.
        usually: Puts the usual value into words.
    """

    measure: Measure
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
    compared = {name: is_compared(figures, name) for name in names}
    judged = any(each is not None for each in compared.values())
    return [
        *(troubles or [_FINE if judged else _TOO_FEW]),
        *_alone(figures, [name for name, each in compared.items() if each is False]),
        _cost(figures, length),
        *incomplete,
    ]


def _troubles(figures: Figures, name: str) -> list[str]:
    found = [_trouble(figures, name, telling) for telling in (_FAILURES, _LATENCY)]
    tally = figures.providers[name]
    if found[0] is None and tally.failed >= max(_LEAST_FAILURES, tally.calls * _MOSTLY):
        # Whatever was so all the time is usual; it is worth a word nevertheless.
        told = _tell_failures(list(figures.slots[name].values()))
        found[0] = f"fails: {told} in {span(figures.until - figures.since)}."
    return [text for text in found if text is not None]


def _trouble(figures: Figures, name: str, telling: _Telling) -> str | None:
    """Say what got worse and since when, or from when until when."""
    change = find_change(figures, name, telling.measure)
    if change is None:
        return None
    now, then = telling.verbs
    begin = _about(change.begin, figures)
    if not change.ongoing:
        when = f"{then} from {begin} to {_about(change.end, figures)} UTC"
        what = f"{telling.tell(change.slots)} then"
    elif change.begin.at <= figures.until - figures.recent:
        when = f"{now} since {begin} UTC"
        what = f"{telling.tell([figures.latest[name]])} in the last {_recently(figures)}"
    else:
        when, what = f"{now} since {begin} UTC", telling.tell(change.slots)
    return f"{when}: {what}, usually {telling.usually(change.usual)}."


def _about(edge: Edge, figures: Figures) -> str:
    """Write a time to the minute, and how well it is known where calls are few."""
    at = round(edge.at / _MINUTE) * _MINUTE
    known = f" (± {span(round(edge.within / _MINUTE) * _MINUTE)})" if edge.within > _PRECISE else ""
    return f"about {moment(at, figures.until)}{known}"


def _alone(figures: Figures, names: Sequence[str]) -> list[str]:
    """Say who is set against nothing but the range itself."""
    if not names:
        return []
    which = ""
    if len(names) < len(figures.providers):
        more = [f"{len(names) - _NAMED:,} more"] if len(names) > _NAMED else []
        which = f" for {', '.join([*map(plain, names[:_NAMED]), *more])}"
    since = moment(figures.since, figures.until)
    nothing = f"There is nothing to compare with before {since} UTC{which}"
    return [f"{nothing}: what was bad all the time would not be noticed."]


def _recently(figures: Figures) -> str:
    return span(figures.recent).removeprefix("1 ")


def _cost(figures: Figures, length: str) -> str:
    total = figures.total
    unknown = f"{count(total.unpriced, 'request')} of unknown cost"
    if not total.priced:
        return f"It is not known what it cost: {unknown}." if total.unpriced else "It cost nothing."
    text = (
        f"It cost {money(total.cost_usd)} in {length}, {money(figures.recent_usd)} of that in the"
        f" last {_recently(figures)}"
    )
    return f"{text}; {unknown} not included." if total.unpriced else f"{text}."


def _p95(slots: Sequence[Slot]) -> float | None:
    return percentile((slot.latency for slot in slots), _HIGH)


def _failed_share(slots: Sequence[Slot]) -> float | None:
    return sum(slot.failed for slot in slots) / max(sum(slot.calls for slot in slots), 1)


def _tell_failures(slots: Sequence[Slot]) -> str:
    failed, calls = sum(slot.failed for slot in slots), sum(slot.calls for slot in slots)
    outcomes = sum((slot.outcomes for slot in slots), Counter[str]())
    mostly = "".join(f" ({plain(name)})" for name, _ in outcomes.most_common(1))
    return f"{share(failed, calls)} of its calls{mostly}"


_FAILURES: Final = _Telling(
    Measure(
        of=_failed_share,
        exceeds=lambda each, _: each.failed,
        noticeable=_NOTICEABLE_SHARE,
    ),
    verbs=("fails", "failed"),
    tell=_tell_failures,
    usually=lambda usual: f"{100 * usual:.1f}".removesuffix(".0") + " %",
)
_LATENCY: Final = _Telling(
    Measure(
        of=_p95,
        exceeds=lambda each, bound: None if each.ms < 0 else each.ms > bound,
        noticeable=_NOTICEABLE_MS,
    ),
    verbs=("is slow", "was slow"),
    tell=lambda slots: f"p95 {duration(_p95(slots))}",
    usually=duration,
)
