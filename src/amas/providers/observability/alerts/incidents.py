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
from .latencies import Latencies
from .outages import Outages

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
                yield from self._call(event)
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
            case HealthChanged(healthy=False):
                # Its circuit tells; an ill provider with a closed one is still asked.
                self._outages.ailing(event.provider)
            case _:
                pass

    def _attempt(self, event: AttemptEnded, now: float) -> Iterator[Signal]:
        provider, outcome = event.attempt["provider"], event.attempt["outcome"]
        self._outages.attempted(provider, outcome)
        if self._latencies is None or outcome != Outcome.OK:
            return
        changed = self._latencies.add(provider, event.attempt["latency_ms"] / 1000, now)
        if changed is None:
            return
        bound, p95 = self._latencies.bound, self._latencies.p95(provider)
        details = {"p95_seconds": round(p95, 3), "bound_seconds": bound}
        if changed:
            yield Trouble(
                kind="latency_high",
                subject=provider,
                provider=provider,
                what=f"95 of 100 answers of provider {provider} take up to {p95:.3g} s, more than"
                f" alerts.latency allows ({bound:g} s),",
                advice="look at its status page, put a faster provider before it or raise"
                " alerts.latency",
                details=details,
            )
        else:
            yield Recovery(
                kinds=("latency_high",),
                subject=provider,
                what=f"95 of 100 answers of provider {provider} take no more than {p95:.3g} s"
                " again",
                details=details,
            )

    def _call(self, event: CallEnded) -> Iterator[Signal]:
        if event.ok:
            yield _ANSWERED
        elif self._outages.is_total(event):
            asked = sorted({attempt["provider"] for attempt in event.attempts})
            failed = (
                f"All providers that were asked have failed ({', '.join(asked)})"
                if asked
                else "No provider can be asked"
            )
            yield Trouble(
                kind="all_providers_failed",
                subject="all providers",
                what=f"{failed} and calls go unanswered",
                advice="see `amas-providers status` for what is wrong with each",
                severity="critical",
                details={"outcome": event.outcome, "attempts": len(event.attempts)},
            )

    def _circuit(self, event: CircuitChanged) -> Iterator[Signal]:
        if event.after not in {"open", "closed"}:
            return
        is_open = event.after == "open"
        self._outages.circuit(event.provider, event.key, is_open=is_open)
        if not is_open and event.key is None:
            yield Recovery(
                kinds=("circuit_open",),
                subject=event.provider,
                what=f"Provider {event.provider} is asked again",
            )
        elif not is_open:
            yield Recovery(
                kinds=_KEY_KINDS,
                subject=_key_name(event.provider, event.key),
                what=f"Key {event.key} of provider {event.provider} is used again",
            )
        elif event.key is None:
            yield _circuit_open(event)
        elif event.outcome == Outcome.AUTH:
            yield _of_key(event, "key_rejected", "is refused", "give it another key")
        elif event.outcome == Outcome.QUOTA:
            yield _of_key(
                event, "key_exhausted", "has nothing left", "top its account up or give another key"
            )

    def _key(self, event: KeyChange) -> Iterator[Signal]:
        name = _key_name(event.provider, event.key)
        if event.changed:
            self._outages.key_changed(event.provider, event.key)
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
        whole = kind == "budget_100"
        whose = "all callers without a rule" if event.caller == "*" else f"caller {event.caller}"
        yield Trouble(
            kind=kind,
            subject=event.caller,
            what=f"{event.used:.6g} of the {event.limit:.6g} {event.unit} that {whose} may use on"
            f" {event.day} are {'used up' if whole else 'used'}",
            advice="its calls are refused until midnight UTC unless you raise"
            if whole
            else "look at what it calls or raise",
            severity="critical" if whole else "warning",
            details={
                "unit": event.unit,
                "used": event.used,
                "limit": event.limit,
                "day": event.day,
            },
            lasting=False,
        )

    def _configuration(self, event: ConfigurationChanged) -> Iterator[Signal]:
        for name in (*event.added, *event.changed):
            self._outages.begin(name)
        for name in event.removed:
            self._outages.remove(name)
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


def _key_name(provider: str, key: int | None) -> str:
    return f"{provider} key {key}"


def _circuit_open(event: CircuitChanged) -> Trouble:
    if event.cause == "operator":
        why = "was set aside by hand"
    elif event.outcome is None:
        why = "has failed too often in another process and is set aside"
    else:
        why = f"has failed too often (last: {event.outcome}) and is set aside"
    again = "" if event.retry_after is None else f", it is tried again in {event.retry_after:.3g} s"
    return Trouble(
        kind="circuit_open",
        subject=event.provider,
        provider=event.provider,
        what=f"Provider {event.provider} {why}",
        advice=f"other providers, if there are any, are asked in its place{again}; look at its status page and your network",
        details={
            "outcome": event.outcome,
            "cause": event.cause,
            "retry_after": event.retry_after,
        },
    )


def _of_key(event: CircuitChanged, kind: str, what: str, advice: str) -> Trouble:
    return Trouble(
        kind=kind,
        subject=_key_name(event.provider, event.key),
        provider=event.provider,
        what=f"Key {event.key} of provider {event.provider} {what} and is not used",
        advice=f"{advice}, in the configuration or by ProviderManager.rotate_key",
        details={"outcome": event.outcome, "key": event.key, "retry_after": event.retry_after},
    )


def _records(event: RecordsTrouble) -> Iterator[Signal]:
    if not event.working or event.lost:
        lost = f", {event.lost} records were lost" if event.lost else ""
        yield Trouble(
            kind="records",
            subject=event.trail,
            what=f"Records of {event.trail} are in trouble ({reason(event.reason)}{lost})",
            advice="look at its disk, folder and permissions",
            severity="critical",
            details={"reason": event.reason, "lost": event.lost},
        )
    if event.working:
        lost = f"; {event.lost} were lost in between" if event.lost else ""
        yield Recovery(
            kinds=("records",),
            subject=event.trail,
            what=f"Records of {event.trail} are written again{lost}",
            details={"lost": event.lost},
        )
