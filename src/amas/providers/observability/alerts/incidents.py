"""From events to troubles and recoveries. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from ...types import Outcome
from ..events import (
    AttemptEnded,
    BudgetUsed,
    CallEnded,
    CircuitChanged,
    ConfigurationChanged,
    Event,
    HealthChanged,
    KeyChange,
    RecordsTrouble,
)
from .alert import Recovery, Signal, Trouble, reason
from .latencies import WINDOW, Latencies
from .outages import Outages
from .troubles import budget_used, circuit_open, key_name, records_lost

_KEY_KINDS = "key_rejected", "key_exhausted"

# Budgets of callers on a day that are remembered, so that each is told once.
_MOST_BUDGETS = 1000

_NEARLY = 0.8

_ANSWERED = Recovery(
    kinds=("all_providers_failed",), subject="all providers", what="Calls are answered again"
)


class Incidents:
    """Reads troubles, and their ends, out of events.

    Args:
        latency: Seconds that 95 of 100 answers of a provider may take; None for not watched.
    """

    def __init__(self, latency: float | None = None) -> None:
        self._latencies = None if latency is None else Latencies(latency)
        self._outages = Outages()
        self._budgets: dict[tuple[str, str, str], str] = {}

    def read(self, event: Event, now: float) -> Iterator[Signal]:
        """Yield what an event tells; the same may be told again and again.

        Args:
            event: What has happened.
            now: The time in seconds; only differences matter.
        """
        match event:
            case AttemptEnded():
                yield from self._attempt(event, now)
            case CallEnded():
                yield from self._call(event, now)
            case CircuitChanged():
                yield from self._circuit(event)
            case KeyChange():
                yield from self._key(event)
            case BudgetUsed():
                yield from self._budget(event)
            case RecordsTrouble():
                yield from _records(event)
            case ConfigurationChanged():
                yield from self._configuration(event)
            case HealthChanged():
                # Its circuit tells; an ill provider with a closed one is still asked.
                self._outages.checked(event.provider, event.key, healthy=event.healthy)
            case _:
                pass

    def passed(self, now: float) -> Iterator[Signal]:
        """Yield what has ended by the mere passing of time.

        Args:
            now: The time in seconds of the clock that ``read`` is given.
        """
        if self._latencies is not None:
            for provider in self._latencies.recovered(now):
                yield _fast_again(provider, self._latencies)

    def next_due(self, now: float) -> float | None:
        """Return the seconds after which ``passed`` is to be asked; None if that is not needed."""
        return None if self._latencies is None else self._latencies.next_due(now)

    def _attempt(self, event: AttemptEnded, now: float) -> Iterator[Signal]:
        provider, outcome = event.attempt["provider"], event.attempt["outcome"]
        self._outages.attempted(provider, event.key, outcome, now)
        if self._latencies is None or outcome != Outcome.OK:
            return
        changed = self._latencies.add(provider, event.attempt["latency_ms"] / 1000, now)
        if changed is True:
            yield _too_slow(provider, self._latencies)
        elif changed is False:
            yield _fast_again(provider, self._latencies)

    def _call(self, event: CallEnded, now: float) -> Iterator[Signal]:
        if event.ok:
            self._outages.answered()
            yield _ANSWERED
            return
        unanswered = self._outages.failed(event, now)
        if unanswered is None:
            return
        asked = sorted({attempt["provider"] for attempt in event.attempts})
        failed = (
            f"All providers that were asked have failed ({', '.join(asked)})"
            if asked
            else "No provider can be asked"
        )
        yield Trouble(
            kind="all_providers_failed",
            subject="all providers",
            what=f"{failed}, and calls go unanswered ({unanswered.calls} in a row)",
            advice="see `amas-providers status` for what is wrong with each",
            severity="critical",
            began=unanswered.at,
            details={
                "outcome": event.outcome,
                "attempts": len(event.attempts),
                "calls": unanswered.calls,
            },
        )

    def _circuit(self, event: CircuitChanged) -> Iterator[Signal]:
        if event.after == "open":
            last = self._outages.opened(event.provider, event.key)
            trouble = circuit_open(event, last=last)
            if trouble is not None:
                # One that was open before was told of as it was then.
                if trouble.severity == "critical" and event.before == "closed":
                    self._outages.told(event.provider)
                yield trouble
        elif event.after == "closed":
            self._outages.closed(event.provider, event.key)
            yield _asked_again(event)

    def _key(self, event: KeyChange) -> Iterator[Signal]:
        name = key_name(event.provider, event.key)
        if event.changed:
            self._outages.closed(event.provider, event.key)
            yield Recovery(
                kinds=(*_KEY_KINDS, "key_not_taken"),
                subject=name,
                what=f"Key {event.key} of provider {event.provider} was replaced by one that works",
            )
            return
        yield Trouble(
            kind="key_not_taken",
            subject=name,
            provider=event.provider,
            what=f"The new key {event.key} of provider {event.provider} was not taken"
            f" ({reason(event.reason)}) and the old one is kept",
            advice="give one that works",
            details={"cause": event.cause, "reason": reason(event.reason)},
        )

    def _budget(self, event: BudgetUsed) -> Iterator[Signal]:
        if event.limit <= 0 or event.used < _NEARLY * event.limit:
            return
        kind = "budget_100" if event.used >= event.limit else "budget_80"
        budget = event.caller, event.unit, event.day
        # What is given back does not make a budget that was used up one that nearly is.
        if self._budgets.get(budget) in {kind, "budget_100"}:
            return
        self._budgets[budget] = kind
        if len(self._budgets) > _MOST_BUDGETS:
            del self._budgets[next(iter(self._budgets))]
        yield budget_used(event, whole=kind == "budget_100")

    def _configuration(self, event: ConfigurationChanged) -> Iterator[Signal]:
        for name in (*event.added, *event.changed):
            self._outages.begin(name)
        for name in event.removed:
            self._outages.remove(name)
        for name in event.rekeyed:
            self._outages.rekeyed(name)
        for name in (*event.changed, *event.removed):
            if self._latencies is not None:
                self._latencies.forget(name)
            yield Recovery(
                kinds=("circuit_open", "latency_high", *_KEY_KINDS, "key_not_taken"),
                provider=name,
                what=f"Provider {name} was removed or configured anew",
            )
        if not event.taken or event.problems:
            told = reason("; ".join(event.problems))
            kept = "in part" if event.taken else "at all"
            yield Trouble(
                kind="reload_failed",
                subject="configuration",
                what=f"The configuration was read again and not taken over {kept} ({told})",
                advice="what ran before goes on; correct the file and reload",
                details={"problems": told},
            )
            return
        for name in event.rekeyed:
            # Keys may have changed their numbers; one that is still bad is told anew.
            yield Recovery(kinds=_KEY_KINDS, provider=name, what=f"Provider {name} has other keys")
        yield Recovery(
            kinds=("reload_failed", "key_not_taken"),
            what="The configuration was read again and is in force as it stands",
        )


def _asked_again(event: CircuitChanged) -> Recovery:
    if event.key is None:
        return Recovery(
            kinds=("circuit_open",),
            subject=event.provider,
            what=f"Provider {event.provider} is asked again",
        )
    return Recovery(
        kinds=_KEY_KINDS,
        subject=key_name(event.provider, event.key),
        what=f"Key {event.key} of provider {event.provider} is used again",
    )


def _too_slow(provider: str, latencies: Latencies) -> Trouble:
    bound, p95 = latencies.bound, latencies.p95(provider)
    return Trouble(
        kind="latency_high",
        subject=provider,
        provider=provider,
        what=f"95 of 100 answers of provider {provider} take up to {p95:.3g} s, more than"
        f" alerts.latency allows ({bound:g} s),",
        advice="look at its status page, put a faster provider before it or raise alerts.latency",
        details=_figures(bound, p95),
    )


def _fast_again(provider: str, latencies: Latencies) -> Recovery:
    bound, p95 = latencies.bound, latencies.p95(provider)
    what = (
        f"95 of 100 answers of provider {provider} take no more than {p95:.3g} s again"
        if p95
        else f"Provider {provider} has given no answer for {WINDOW:g} s, and so no slow one"
    )
    return Recovery(
        kinds=("latency_high",), subject=provider, what=what, details=_figures(bound, p95)
    )


def _figures(bound: float, p95: float) -> dict[str, float]:
    found = {"bound_seconds": bound}
    return {"p95_seconds": round(p95, 3), **found} if p95 else found


def _records(event: RecordsTrouble) -> Iterator[Signal]:
    if not event.working or event.lost:
        yield records_lost(event)
    if event.working:
        lost = f"; {event.lost} were lost in between" if event.lost else ""
        yield Recovery(
            kinds=("records",),
            subject=event.trail,
            what=f"Records of {event.trail} are written again{lost}",
            details={"lost": event.lost},
        )
