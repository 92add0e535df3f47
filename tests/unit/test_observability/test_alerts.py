"""Alerts: what is one, how often it is told, and to whom. The webhook has a file of its own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amas.providers.errors import ProviderConfigError
from amas.providers.observability.alerts import Alert, Alerts
from amas.providers.observability.alerts.alert import Recovery, Trouble
from amas.providers.observability.alerts.latencies import MOST, WINDOW, Latencies
from amas.providers.observability.alerts.throttle import Throttle
from amas.providers.observability.events import (
    AccessDecision,
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
from amas.providers.types import Attempt

NOON = 1_795_608_000.0  # 2026-11-25 12:00:00 UTC
INTERVAL = 300.0


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now

    def wall(self) -> float:
        return NOON + self.now


@dataclass
class Desk:
    """Alerts with a clock of their own, and what they have told."""

    latency: float | None = None
    told: list[Alert] = field(default_factory=list)
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.alerts = Alerts(
            min_interval=INTERVAL,
            latency=self.latency,
            callback=self.told.append,
            wall=self.clock.wall,
            clock=self.clock,
        )

    def sees(self, *events: Event) -> list[tuple[str, str, bool]]:
        """Hand over events; return what is told of them: kind, subject, firing."""
        before = len(self.told)
        self.alerts.handle(events)
        return [(alert.kind, alert.subject, alert.firing) for alert in self.told[before:]]


@pytest.fixture
def desk() -> Desk:
    """Return alerts that watch everything but latency."""
    return Desk()


def attempt(provider: str, outcome: str = "ok", seconds: float = 0.1) -> Attempt:
    """Return the record of a request."""
    return Attempt(
        provider=provider,
        model=None,
        outcome=outcome,
        status_code=None,
        latency_ms=seconds * 1000,
        error=None,
    )


def tried(provider: str, outcome: str = "ok", seconds: float = 0.1) -> AttemptEnded:
    """Return the event of a request that has ended."""
    record = attempt(provider, outcome, seconds)
    return AttemptEnded(at=NOON, request_id="r", caller=None, attempt=record, key=1)


def health(provider: str, key: int = 1, healthy: bool = True) -> HealthChanged:
    """Return the event of a check that has found something new."""
    return HealthChanged(at=NOON, provider=provider, key=key, healthy=healthy)


def key_of(provider: str) -> KeyChange:
    """Return the event of a provider that has a new key."""
    return KeyChange(at=NOON, provider=provider, key=1, changed=True, cause="reload")


def call(outcome: str, *attempts: Attempt, provider: str | None = None) -> CallEnded:
    """Return the event of a call that has ended."""
    return CallEnded(
        at=NOON,
        request_id="r",
        caller=None,
        provider=provider,
        model=None,
        outcome=outcome,
        attempts=attempts,
    )


def circuit(
    after: str, provider: str = "openai", key: int | None = None, **rest: Any
) -> CircuitChanged:
    """Return the event of a circuit that has changed."""
    rest = {"before": "closed", "outcome": "unavailable", "retry_after": 30.0, **rest}
    return CircuitChanged(at=NOON, provider=provider, key=key, after=after, **rest)


def key(changed: bool = True, number: int = 1, reason: str | None = None) -> Event:
    """Return the event of a key that was changed, or not taken."""
    return KeyChange(
        at=NOON, provider="openai", key=number, changed=changed, cause="reload", reason=reason
    )


def budget(used: float, unit: str = "usd", day: str = "2026-11-25", caller: str = "osint") -> Event:
    """Return the event of a budget that is used."""
    return BudgetUsed(at=NOON, caller=caller, unit=unit, used=used, limit=10.0, day=day)


def records(working: bool, lost: int = 0, reason: str | None = None) -> Event:
    """Return the event of records in trouble, or well again."""
    return RecordsTrouble(at=NOON, trail="audit.jsonl", working=working, lost=lost, reason=reason)


def reloaded(taken: bool = True, **rest: Any) -> Event:
    """Return the event of a configuration that was read again."""
    return ConfigurationChanged(at=NOON, taken=taken, **rest)


def test_a_circuit_that_opens_and_closes(desk: Desk) -> None:
    """A circuit is told when it opens and when it closes again, not while it is probed."""
    desk.sees(tried("local"))
    assert desk.sees(circuit("open")) == [("circuit_open", "openai", True)]
    assert desk.sees(circuit("half_open"), circuit("open"), circuit("half_open")) == []
    assert desk.sees(circuit("closed")) == [("circuit_open", "openai", False)]
    opened, closed = desk.told
    assert opened.severity == closed.severity == "warning"
    assert opened.id == closed.id
    assert opened.details == {"outcome": "unavailable", "cause": "calls", "retry_after": 30.0}
    assert opened.summary == (
        "Provider openai has failed too often (last: unavailable) and is set aside since"
        " 2026-11-25 12:00:00 UTC; other providers are asked in its place, it is tried again in"
        " 30 s; look at its status page and your network."
    )
    assert closed.summary == (
        "Provider openai is asked again; the trouble had begun at 2026-11-25 12:00:00 UTC."
    )


@pytest.mark.parametrize(
    ("cause", "words", "severity"),
    [
        ("operator", "was set aside by hand", "warning"),
        ("shared", "in another process", "critical"),
    ],
)
def test_a_circuit_that_was_opened_elsewhere(
    desk: Desk, cause: str, words: str, severity: str
) -> None:
    """The summary says when it was no call of ours; what somebody does by hand is never critical."""
    desk.sees(circuit("open", outcome=None, cause=cause, retry_after=None))
    (told,) = desk.told
    assert words in told.summary
    assert told.details == {"cause": cause}
    assert told.severity == severity
    assert ("manager.reset() takes it back" in told.summary) is (cause == "operator")


LEFT = "no other provider is left"


@pytest.mark.parametrize(
    "event",
    [circuit("open"), circuit("open", key=1, outcome="auth")],
    ids=["circuit", "key"],
)
@pytest.mark.parametrize(
    ("before", "severity"),
    [
        ([], "critical"),
        ([health("local")], "warning"),
        ([tried("local", "timeout")], "warning"),
        ([reloaded(added=("local",))], "warning"),
        ([health("openai", key=2)], "as the circuit"),
        ([health("openai", key=2), circuit("open", key=2, outcome="quota")], "critical"),
        ([circuit("open", provider="local")], "critical"),
        ([circuit("open", provider="local", key=3, outcome=None)], "critical"),
        ([circuit("open", provider="local"), circuit("closed", provider="local")], "warning"),
        ([tried("local"), reloaded(removed=("local",))], "critical"),
        (
            [circuit("open", key=2, outcome="quota"), reloaded(rekeyed=("openai",)), health("b")],
            "warning",
        ),
        ([circuit("open", provider="local"), reloaded(changed=("local",))], "warning"),
        ([circuit("open", provider="local", key=1), key_of("local")], "warning"),
    ],
    ids=[
        "alone",
        "another is healthy",
        "another one was asked",
        "another one was added",
        "it has another key",
        "its other key is out",
        "the other is out",
        "the other's key is out",
        "the other is back",
        "the other was removed",
        "other keys",
        "the other is configured anew",
        "the other has a new key",
    ],
)
def test_nobody_else_is_left(
    desk: Desk, before: list[Event], severity: str, event: CircuitChanged
) -> None:
    """An open circuit or key is critical, and says so, if no known provider is left to ask."""
    if severity == "as the circuit":
        severity = "critical" if event.key is None else "warning"
    desk.sees(*before)
    desk.sees(event)
    assert desk.told[-1].severity == severity
    assert (LEFT in desk.told[-1].summary) is (severity == "critical")


@pytest.mark.parametrize(
    ("outcome", "kind"), [("auth", "key_rejected"), ("quota", "key_exhausted")]
)
@pytest.mark.parametrize(
    "end", [circuit("closed", key=2), key(number=2)], ids=["closed", "rotated"]
)
def test_a_key_set_aside(desk: Desk, outcome: str, kind: str, end: Event) -> None:
    """A refused or exhausted key is told, and its end: it works again, or was replaced."""
    subject = "openai key 2"
    assert desk.sees(circuit("open", key=2, outcome=outcome)) == [(kind, subject, True)]
    assert desk.sees(circuit("closed", key=1), key(number=1), circuit("half_open", key=2)) == []
    assert desk.sees(end) == [(kind, subject, False)]


def test_a_key_set_aside_for_another_reason(desk: Desk) -> None:
    """What another process tells of a key is that process's to alert of."""
    assert desk.sees(circuit("open", key=1, outcome=None, cause="shared")) == []


def test_a_new_key_that_is_not_taken(desk: Desk, fake_key: str) -> None:
    """A key that was not taken is told with the reason but without the key, until one is taken."""
    assert desk.sees(key(changed=False, reason=f"{fake_key} is refused.\n")) == [
        ("key_not_taken", "openai key 1", True)
    ]
    assert fake_key not in repr(desk.told)
    assert "(********** is refused)" in desk.told[0].summary
    assert desk.sees(key()) == [("key_not_taken", "openai key 1", False)]


def test_a_new_key_that_is_taken_back(desk: Desk) -> None:
    """A key that was not taken is over when the configuration is in force without it."""
    desk.sees(key(changed=False))
    assert "no reason was given" in desk.told[0].summary
    assert desk.sees(reloaded()) == [("key_not_taken", "openai key 1", False)]


FAILING = call("all_failed", attempt("openai", "unavailable"), attempt("local", "connection"))
NOBODY = call("no_provider")
OUTAGE = [("all_providers_failed", "all providers", True)]


def test_all_providers_fail(desk: Desk) -> None:
    """Several providers failing in three calls in a row is critical, and over with an answer."""
    assert desk.sees(FAILING, FAILING) == []
    assert desk.sees(call("ok"), FAILING, FAILING, call("cancelled")) == []
    desk.clock.now = 5.0
    assert desk.sees(FAILING, FAILING) == OUTAGE
    assert desk.told[0].severity == "critical"
    assert desk.told[0].since == NOON
    assert "(local, openai), and calls go unanswered (3 in a row) since" in desk.told[0].summary
    assert desk.told[0].details == {"outcome": "all_failed", "attempts": 2, "calls": 3}
    assert desk.sees(call("cancelled"), call("ok"), call("ok")) == [
        ("all_providers_failed", "all providers", False)
    ]


def test_nobody_can_be_asked(desk: Desk) -> None:
    """Calls for which there is nobody at all are critical too."""
    assert desk.sees(*[NOBODY] * 3) == OUTAGE
    assert "No provider can be asked" in desk.told[0].summary


@pytest.mark.parametrize(("seconds", "told"), [(29.0, []), (30.0, OUTAGE)])
def test_two_calls_far_apart(desk: Desk, seconds: float, told: list[tuple[str, str, bool]]) -> None:
    """Two calls are enough if nobody was answered for 30 seconds; one call never is."""
    assert desk.sees(FAILING) == []
    desk.clock.now = seconds
    assert desk.sees() == []
    assert desk.sees(FAILING) == told


def test_somebody_is_answered_in_between(desk: Desk) -> None:
    """Any request that is answered begins the count anew."""
    assert desk.sees(FAILING, FAILING, tried("third"), FAILING, FAILING) == []
    assert desk.sees(FAILING) == OUTAGE


def test_nobody_of_several_can_be_asked(desk: Desk) -> None:
    """With the circuits of all providers open, calls that ask nobody are told beside them."""
    desk.sees(tried("openai", "timeout"), tried("local", "timeout"))
    told = desk.sees(circuit("open"), circuit("open", provider="local"), *[NOBODY] * 3)
    assert [kind for kind, _, _ in told] == ["circuit_open", "circuit_open", "all_providers_failed"]
    assert [alert.severity for alert in desk.told] == ["warning", "critical", "critical"]


def test_the_last_one_left_fails(desk: Desk) -> None:
    """Where the others' circuits are open, it is enough that the last one fails."""
    limited = call("all_failed", attempt("local", "rate_limited"))
    desk.sees(tried("local"), circuit("open"))
    assert desk.sees(*[limited] * 3) == OUTAGE


def test_a_single_one_whose_alert_was_no_page(desk: Desk) -> None:
    """Calls that go unanswered are told where the open circuit was told as a warning."""
    desk.sees(tried("local"), circuit("open"), reloaded(removed=("local",)))
    probe = call("all_failed", attempt("openai", "unavailable"))
    told = desk.sees(circuit("half_open"), circuit("open", before="half_open"), NOBODY, probe)
    assert told == []
    assert desk.sees(NOBODY) == OUTAGE


def test_the_single_one_was_set_aside_by_hand(desk: Desk) -> None:
    """Whoever sets the only provider aside hears of it when calls go unanswered."""
    desk.sees(circuit("open", cause="operator", outcome=None))
    assert desk.sees(*[NOBODY] * 3) == OUTAGE


@pytest.mark.parametrize(
    "events",
    [
        [call("all_failed", attempt("openai", "unavailable"), attempt("openai", "unavailable"))],
        [call("all_failed", attempt("openai", "timeout"), attempt("local", "context_window"))],
        [call("all_failed", attempt("openai", "timeout"), attempt("local", "cancelled"))],
        [call("all_failed", attempt("openai", "config"), attempt("local", "unavailable"))],
        [call("all_failed", attempt("a", "model_not_found"), attempt("b", "model_not_found"))],
        [call("invalid_request", attempt("a", "timeout"), attempt("b", "invalid_request"))],
        [call("timeout", attempt("a", "timeout"), attempt("b", "timeout"))],
        [call("access_denied")],
        [call("no_provider", provider="openai")],
        [tried("local"), tried("openai", "timeout"), NOBODY],
        [tried("local"), tried("local", "content_policy"), NOBODY],
        [tried("local"), tried("local", "timeout"), NOBODY],
        [health("local"), circuit("open"), NOBODY],
    ],
    ids=[
        "one provider",
        "too long for the other",
        "given up",
        "the configuration of one is wrong",
        "nobody has the model",
        "the caller's mistake",
        "the caller's deadline",
        "denied",
        "the one asked for takes no part",
        "others are answered",
        "a refused text is no outage",
        "somebody was in a hurry",
        "another one is healthy",
    ],
)
def test_what_is_no_outage_of_all(desk: Desk, events: list[Event]) -> None:
    """Failed calls are not told as an outage of all where they say nothing of all."""
    desk.sees(*events[:-1])
    assert desk.sees(*events[-1:] * 50) == []


def test_a_short_deadline_of_a_caller(desk: Desk) -> None:
    """Timeouts are nobody's outage while the circuits are closed and the providers answer others."""
    hurried = call("all_failed", attempt("openai", "timeout"), attempt("local", "timeout"))
    desk.sees(tried("openai"), tried("local"))
    late = [tried("openai", "timeout"), tried("local", "timeout"), hurried]
    desk.clock.now = 299.0
    assert desk.sees(*late * 50) == []
    opened = desk.sees(circuit("open"), circuit("open", provider="local"), *late * 3)
    assert opened[2:] == OUTAGE


def test_timeouts_of_who_answers_nobody(desk: Desk) -> None:
    """Timeouts count where their providers have answered nobody for five minutes."""
    hanging = call("all_failed", attempt("openai", "timeout"), attempt("local", "timeout"))
    desk.sees(tried("openai"), tried("local"))
    desk.clock.now = 301.0
    assert desk.sees(*[hanging] * 3) == OUTAGE


@pytest.mark.parametrize(
    "then",
    [
        tried("local", "rate_limited"),
        health("local", healthy=False),
        reloaded(changed=("local",)),
        reloaded(removed=("local",)),
    ],
    ids=["it fails", "it is ill", "it is another one", "it is gone"],
)
def test_who_answered_may_answer_no_more(desk: Desk, then: Event) -> None:
    """That a provider answered counts only until something else is known of it."""
    desk.sees(tried("local"), then)
    assert desk.sees(*[NOBODY] * 3) == OUTAGE


def test_health_is_no_alert(desk: Desk) -> None:
    """What health checks and access rules find is no alert of its own."""
    denied = AccessDecision(at=NOON, request_id="r", caller="x", allowed=False)
    ill, well = health("openai", healthy=False), health("openai")
    assert desk.sees(ill, well, denied) == []


def test_one_provider_fails_a_thousand_times(desk: Desk) -> None:
    """A thousand failing calls of a single provider are one alert, and later one recovery."""
    failing = [tried("openai", "unavailable"), call("all_failed", attempt("openai", "unavailable"))]
    told = desk.sees(*failing * 4, circuit("open"), *failing)
    for number in range(995):
        desk.clock.now += 1
        told += desk.sees(call("no_provider"))
        if number % 30 == 0:
            told += desk.sees(circuit("half_open"), circuit("open", before="half_open"), *failing)
    assert told == [("circuit_open", "openai", True)]
    assert desk.told[0].severity == "critical"
    ended = desk.sees(circuit("half_open"), circuit("closed"), tried("openai"), call("ok"))
    assert ended == [("circuit_open", "openai", False)]


def test_one_key_is_refused_a_thousand_times(desk: Desk) -> None:
    """With a single provider, a refused key is one alert until it is replaced."""
    told = desk.sees(circuit("open", key=1, outcome="auth"), tried("openai", "auth"))
    told += desk.sees(*[NOBODY] * 999)
    assert told == [("key_rejected", "openai key 1", True)]
    assert desk.told[0].severity == "critical"
    assert desk.sees(key()) == [("key_rejected", "openai key 1", False)]
    # The new key has a closed circuit: nobody else explains such a call.
    assert desk.sees(*[NOBODY] * 3) == OUTAGE


def test_budgets(desk: Desk) -> None:
    """A budget is told once at 80% and once at 100%, for each caller, unit and day."""
    assert desk.sees(budget(7.9)) == []
    assert desk.sees(budget(8.0), budget(9.5), budget(8.1)) == [("budget_80", "osint", True)]
    assert desk.sees(budget(10.0), budget(11.0), budget(9.0)) == [("budget_100", "osint", True)]
    assert [alert.severity for alert in desk.told] == ["warning", "critical"]
    assert desk.told[0].summary == (
        "Caller osint has used or set aside at least 80 %: 8 of the 10 US dollars that"
        " security.access.osint.budget_usd_per_day allows for 2026-11-25, since 2026-11-25"
        " 12:00:00 UTC; look at what is called, or raise that limit."
    )
    assert desk.told[1].summary == (
        "Caller osint has used or set aside 10 of the 10 US dollars that"
        " security.access.osint.budget_usd_per_day allows for 2026-11-25, or too little is left"
        " of them for a call, since 2026-11-25 12:00:00 UTC; calls that need more are refused"
        " until midnight UTC, unless you raise that limit."
    )
    assert desk.told[1].details == {
        "unit": "usd",
        "used": 10.0,
        "limit": 10.0,
        "limit_name": "security.access.osint.budget_usd_per_day",
        "day": "2026-11-25",
    }
    others = desk.sees(
        budget(8.0, unit="tokens"), budget(8.0, day="2026-11-26"), budget(8.0, caller="*")
    )
    assert others == [("budget_80", "osint", True)] * 2 + [("budget_80", "*", True)]
    assert "All callers without a rule of their own have used" in desk.told[-1].summary
    assert len({alert.id for alert in desk.told}) == 5


def test_budget_used_up_at_once(desk: Desk) -> None:
    """A budget that is used up by one call is not told as nearly used, then or later."""
    assert desk.sees(budget(12.0, unit="tokens"), budget(9.0, unit="tokens")) == [
        ("budget_100", "osint", True)
    ]
    assert "10 of the 10 tokens that security.access.osint.budget_tokens_per_day" in (
        desk.told[0].summary
    ), "what was refused is not used"


def test_budget_of_nothing(desk: Desk) -> None:
    """A budget of nothing is a rule, and no news."""
    nothing = BudgetUsed(at=NOON, caller="x", unit="usd", used=0, limit=0, day="2026-11-25")
    assert desk.sees(nothing) == []


def test_budgets_are_forgotten(desk: Desk) -> None:
    """Only so many budgets are remembered; the oldest is told again if it comes again."""
    desk.sees(*(budget(8.0, caller=f"caller {number}") for number in range(1001)))
    assert desk.sees(budget(8.0, caller="caller 1000")) == []
    assert desk.sees(budget(8.0, caller="caller 0")) == [("budget_80", "caller 0", True)]


def test_records_in_trouble(desk: Desk) -> None:
    """Records that cannot be written are critical; the recovery tells how many were lost."""
    assert desk.sees(records(working=False, reason="No space left"), records(working=False)) == [
        ("records", "audit.jsonl", True)
    ]
    assert desk.sees(records(working=True, lost=7), records(working=True)) == [
        ("records", "audit.jsonl", False)
    ]
    begun, ended = desk.told
    assert begun.severity == "critical"
    assert "No space left" in begun.summary
    assert "; 7 were lost in between" in ended.summary
    assert ended.details == {"lost": 7}


def test_records_that_were_lost(desk: Desk) -> None:
    """Records lost by an observer that goes on are told, and that it goes on."""
    assert desk.sees(records(working=True, lost=3, reason="its queue was full")) == [
        ("records", "audit.jsonl", True),
        ("records", "audit.jsonl", False),
    ]
    assert "(its queue was full, 3 records were lost)" in desk.told[0].summary


def test_reload_fails(desk: Desk) -> None:
    """A configuration that is not taken over is told until one is taken over without problems."""
    assert desk.sees(reloaded(taken=False, problems=("a.yaml:3: x is wrong",))) == [
        ("reload_failed", "configuration", True)
    ]
    assert "not taken over at all (a.yaml:3: x is wrong)" in desk.told[0].summary
    assert desk.sees(reloaded(problems=("openai stays as it is",), rekeyed=("openai",))) == []
    assert desk.sees(reloaded()) == [("reload_failed", "configuration", False)]


def test_reload_fails_at_length(desk: Desk) -> None:
    """Very many problems are cut short."""
    desk.sees(reloaded(problems=("p" * 2000,)))
    assert "in part" in desk.told[0].summary
    assert str(desk.told[0].details["problems"]) == "p" * 500 + "…"


@pytest.mark.parametrize(
    "replaced",
    [reloaded(removed=("openai",)), reloaded(changed=("openai",))],
    ids=["removed", "changed"],
)
def test_a_provider_is_replaced(replaced: Event) -> None:
    """What was told of a provider is over when it is removed or configured anew."""
    desk = Desk(latency=1.0)
    slow = [tried("openai", seconds=2.0)] * 20
    desk.sees(
        *slow,
        circuit("open"),
        circuit("open", key=2, outcome="quota"),
        circuit("open", provider="openai key 2"),
    )
    assert sorted(desk.sees(replaced)) == [
        ("circuit_open", "openai", False),
        ("key_exhausted", "openai key 2", False),
        ("latency_high", "openai", False),
    ]
    desk.clock.now += INTERVAL
    assert desk.sees(*slow[1:]) == [], "answers from before count no more"
    assert desk.sees(slow[0]) == [("latency_high", "openai", True)]


def test_a_provider_is_replaced_without_watching_latency(desk: Desk) -> None:
    """A provider added or removed for which nothing was told is no news."""
    assert desk.sees(reloaded(added=("a",)), reloaded(removed=("a",))) == []


def test_keys_are_replaced(desk: Desk) -> None:
    """Where a reload has changed keys, what was told of the old ones is over."""
    desk.sees(circuit("open"), circuit("open", key=3, outcome="auth"))
    assert desk.sees(reloaded(rekeyed=("openai",))) == [("key_rejected", "openai key 3", False)]


def test_latency_over_the_bound() -> None:
    """Answers over the bound are told from 20 on, if they are more than 5 in 100, until they are not."""
    desk = Desk(latency=1.0)
    assert desk.sees(*[tried("openai", seconds=3.0)] * 19) == []
    assert desk.sees(tried("openai", seconds=3.0)) == [("latency_high", "openai", True)]
    assert "take up to 3 s" in desk.told[0].summary
    assert "(1 s)" in desk.told[0].summary
    assert desk.told[0].details == {"p95_seconds": 3.0, "bound_seconds": 1.0}
    assert desk.sees(*[tried("openai", "timeout", seconds=9.0)] * 50) == []
    assert desk.sees(*[tried("openai", seconds=0.5)] * 379) == []
    assert desk.sees(tried("openai", seconds=0.5)) == [("latency_high", "openai", False)]
    assert desk.told[1].details == {"p95_seconds": 0.5, "bound_seconds": 1.0}


def test_latency_without_traffic() -> None:
    """A provider that is asked no more has recovered when no answer was slow for a window."""
    desk = Desk(latency=1.0)
    desk.sees(*[tried("openai", seconds=3.0)] * 20)
    desk.clock.now = 100.0
    assert desk.alerts.handle([tried("openai", seconds=2.0)]) == WINDOW
    desk.clock.now = 399.0
    assert desk.alerts.handle([]) == 1.0
    assert len(desk.told) == 1
    desk.clock.now = 400.0
    assert desk.alerts.handle([]) is None
    assert [alert.firing for alert in desk.told] == [True, False]
    assert desk.told[1].details == {"bound_seconds": 1.0}
    assert "openai has given no answer for 300 s, and so no slow one" in desk.told[1].summary


def test_latency_with_little_traffic() -> None:
    """Few answers are enough for a recovery, once the slow ones are out of the window."""
    desk = Desk(latency=1.0)
    desk.sees(*[tried("openai", seconds=3.0)] * 20)
    desk.clock.now = 299.0
    assert desk.sees(*[tried("openai")] * 5) == []
    desk.clock.now = 300.0
    assert desk.sees(tried("openai")) == [("latency_high", "openai", False)]
    assert desk.told[1].details == {"p95_seconds": 0.1, "bound_seconds": 1.0}


def test_what_comes_first_is_waited_for() -> None:
    """With something to tell later, and a slow provider, it is called again for the earlier one."""
    desk = Desk(latency=1.0)
    desk.sees(circuit("open"), circuit("closed"))
    desk.clock.now = 200.0
    slow = [tried("openai", seconds=3.0)] * 20
    assert desk.alerts.handle([*slow, circuit("open")]) == 100.0


def test_latency_is_not_watched(desk: Desk) -> None:
    """Without a bound, slow answers are nobody's concern."""
    assert desk.sees(*[tried("openai", seconds=1e6)] * 100) == []


@given(
    st.lists(
        st.tuples(st.floats(0, 40), st.sampled_from([0.5, 1.0, 1.001, 9.0])),
        min_size=20,
        max_size=120,
    )
)
@settings(max_examples=60, deadline=None)
def test_latency_against_a_model(answers: list[tuple[float, float]]) -> None:
    """The watch agrees with the 95th percentile, taken anew from all answers of the window."""
    watch, now, slow = Latencies(1.0), 0.0, False
    taken: list[tuple[float, float]] = []
    for pause, seconds in answers:
        now += pause
        taken.append((now, seconds))
        changed = watch.add("p", seconds, now)
        window = sorted(each for at, each in taken if at > now - WINDOW)
        slow = slow if changed is None else changed
        if len(window) < 20:
            assert not slow or max(window) > 1.0
        else:
            rank = next(
                place for place in range(len(window) + 1) if 100 * place >= 95 * len(window)
            )
            assert watch.p95("p") == window[rank - 1]
            assert slow is (window[rank - 1] > 1.0)


@pytest.mark.usefixtures("uncovered")
def test_latency_in_bounded_memory() -> None:
    """However many answers come at once, only the last thousand of a provider are kept."""
    watch = Latencies(1.0)
    assert [watch.add("p", 2.0, 0.0) for _ in range(5000)].count(True) == 1
    assert len(watch._providers["p"].taken) == MOST
    assert [watch.add("p", 0.1, 0.0) for _ in range(MOST)].count(False) == 1


def test_what_flaps_is_told_seldom(desk: Desk) -> None:
    """A circuit that opens and closes all the time is told twice in the least interval."""
    told = []
    for _ in range(int(INTERVAL * 3) - 1):
        told += desk.sees(circuit("open"), circuit("closed"))
        desk.clock.now += 1
    assert told == [("circuit_open", "openai", True), ("circuit_open", "openai", False)] * 3


def test_what_waits_is_told_late(desk: Desk) -> None:
    """What fires again too soon is told when the least interval is over, since it began."""
    desk.sees(circuit("open"), circuit("closed"))
    desk.clock.now = 100.0
    again = CircuitChanged(
        at=NOON + 100, provider="openai", key=None, before="closed", after="open", outcome="timeout"
    )
    assert desk.alerts.handle([again]) == 200.0
    desk.clock.now = 299.0
    assert desk.alerts.handle([]) == 1.0
    desk.clock.now = 300.0
    assert desk.alerts.handle([]) is None
    assert desk.told[2].firing
    assert (desk.told[2].since, desk.told[2].at) == (NOON + 100, NOON + 300)
    assert desk.told[2].id != desk.told[0].id


def test_what_waits_and_recovers_is_not_told(desk: Desk) -> None:
    """What is over before it could be told is not told at all, and neither is its end."""
    desk.sees(circuit("open"), circuit("closed"))
    assert desk.sees(circuit("open"), circuit("closed")) == []
    desk.clock.now = 1000.0
    assert desk.alerts.handle([]) is None
    assert len(desk.told) == 2


def trouble(subject: str) -> Trouble:
    """Return a trouble."""
    return Trouble(kind="k", subject=subject, what="It is", advice="look")


def recovery(subject: str) -> Recovery:
    """Return its end."""
    return Recovery(kinds=("k",), subject=subject, what="It was")


@dataclass
class Told:
    """What a throttle has told, with the time of the clock."""

    throttle: Throttle
    interval: float
    now: float = 0.0
    alerts: list[tuple[float, Alert]] = field(default_factory=list)

    def note(self, alerts: Iterable[Alert]) -> None:
        self.alerts += [(self.now, alert) for alert in alerts]

    def until(self, time: float) -> None:
        """Let time pass, as a Worker does: it comes back when it was asked to."""
        while (pause := self.throttle.next_due(self.now)) is not None and self.now + pause <= time:
            self.now += pause
            self.note(self.throttle.due(at=self.now, now=self.now))
        self.now = time


@given(
    st.lists(
        st.tuples(st.integers(0, 40), st.sampled_from("abc"), st.booleans()),
        max_size=60,
    ),
    st.sampled_from([0.0, 1.0, 10.0, 100.0]),
)
@settings(max_examples=200, deadline=None)
def test_throttle_under_random_events(
    happenings: list[tuple[int, str, bool]], interval: float
) -> None:
    """No thing is told twice in the least interval, each recovery has its alert, and the last word is true."""
    told = Told(Throttle(interval), interval)
    real: dict[str, bool] = {}
    for pause, subject, firing in happenings:
        told.until(told.now + pause)
        real[subject] = firing
        signal = trouble(subject) if firing else recovery(subject)
        told.note(told.throttle.take(signal, at=told.now, now=told.now))
    told.until(told.now + interval)
    for subject, firing in real.items():
        mine = [(at, alert) for at, alert in told.alerts if alert.subject == subject]
        states = [alert.firing for _, alert in mine]
        assert states == [number % 2 == 0 for number in range(len(states))]
        begun = [at for at, alert in mine if alert.firing]
        gaps = [later - at for at, later in pairwise(begun)]
        assert all(gap >= interval for gap in gaps)
        pairs = zip(mine[::2], mine[1::2], strict=False)
        assert all(one.id == other.id for (_, one), (_, other) in pairs)
        assert (states[-1] if states else False) is firing


def test_throttle_forgets_what_is_well() -> None:
    """Of too many things those that are well longest are forgotten, and only then others."""
    throttle = Throttle(INTERVAL, most=3)

    def take(signal: Trouble | Recovery) -> list[bool]:
        return [alert.firing for alert in throttle.take(signal, at=NOON, now=0.0)]

    for subject in "abc":
        assert take(trouble(subject)) == [True]
    assert take(recovery("b")) == [False]
    assert take(trouble("d")) == [True], "b is forgotten: it is well"
    assert take(trouble("e")) == [True], "a is forgotten: nobody is well, and it is the oldest"
    assert take(recovery("a")) == []
    assert take(recovery("c")) == [False]
    assert len(throttle) == 3


def test_everything_is_logged(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    """The logger amas.alerts gets alerts as errors, and recoveries as information."""
    caplog.set_level(logging.INFO, logger="amas.alerts")
    desk.sees(circuit("open"), circuit("closed"))
    begun, ended = caplog.records
    assert (begun.name, begun.levelno, ended.levelno) == (
        "amas.alerts",
        logging.ERROR,
        logging.INFO,
    )
    assert "alert kind='circuit_open' subject='openai' severity='critical'" in begun.getMessage()
    assert ended.getMessage().startswith("alert_resolved kind='circuit_open'")


def test_a_callback_that_raises(caplog: pytest.LogCaptureFixture) -> None:
    """What a callback raises is logged; the next alert is told to it all the same."""
    told: list[str] = []

    def callback(alert: Alert) -> None:
        told.append(alert.subject)
        raise RuntimeError("no phone")

    Alerts(callback=callback).handle([circuit("open"), circuit("open", provider="local")])
    assert told == ["openai", "local"]
    failures = [item for item in caplog.messages if item.startswith("alert_callback_failed")]
    assert len(failures) == 2
    assert "no phone" in failures[0]


async def _later(alert: Alert) -> None:
    """Stand for a coroutine function."""


def test_an_async_callback_is_refused() -> None:
    """A coroutine function as a callback is refused where it is given."""
    with pytest.raises(ProviderConfigError, match=r"on_alert .* give a plain function"):
        Alerts(callback=_later)


def test_a_hidden_async_callback_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """A callback that turns out to return a coroutine is logged, and the coroutine closed."""
    callback: Callable[[Alert], object] = lambda alert: _later(alert)  # noqa: E731, PLW0108 -- as hosts do
    Alerts(callback=callback).handle([circuit("open")])
    assert "alert_callback_failed" in caplog.text
    assert "give a plain function" in caplog.text


def test_what_is_open_at_the_end(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    """When it is closed, what is the matter is logged, told or not, and nobody is told of it."""
    desk.sees(circuit("open"), circuit("open", provider="local"), circuit("open", provider="b"))
    desk.sees(circuit("closed"), circuit("open"), circuit("closed", provider="b"))
    before = len(desk.told)
    caplog.clear()
    desk.alerts.close()
    assert [message.partition(" severity")[0] for message in caplog.messages] == [
        "alert_still_open kind='circuit_open' subject='local'",
        "alert_still_open kind='circuit_open' subject='openai'",
    ]
    assert f"alert_id='{desk.told[1].id}'" in caplog.messages[0]
    assert len(desk.told) == before


def test_without_anybody_to_tell() -> None:
    """Without callback and webhook, alerts are logged, and there is nothing to close."""
    alerts = Alerts()
    assert alerts.handle([circuit("open"), circuit("closed"), circuit("open")]) is not None
    alerts.close()
