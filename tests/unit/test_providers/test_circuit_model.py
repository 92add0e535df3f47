"""The circuit breaker under random events, against a naive model: a list of what happened."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from typing_extensions import override

from amas.providers.manager.circuit_breaker import (
    Circuit,
    CircuitSettings,
    Permit,
    admit,
    blocked_until,
    give_back,
    record,
    reset,
    trip,
)
from amas.providers.types import Effect

# What makes everything sent before it count no more.
TURNS = {"opened", "closed", "probe"}

# Of seconds: where a bucket ends is a matter of rounding.
ROUNDING = 1e-6


@dataclass
class Event:
    """Something that happened; ``until`` is the end of the cooldown or lease it began."""

    what: str
    at: float
    until: float = 0.0


@dataclass
class Sent:
    """A request under way, and how many events there were when it had been let through."""

    permit: Permit
    events: int


class History:
    """The model: all events in a plain list; every answer is read from it anew."""

    def __init__(self, settings: CircuitSettings) -> None:
        self.settings = settings
        self.events: list[Event] = []

    def add(self, what: str, at: float, until: float = 0.0) -> None:
        self.events.append(Event(what, at, until))

    def since(self, *what: str) -> list[Event]:
        """Return the last of these events, and those after it; everything if there is none."""
        starts = [index for index, event in enumerate(self.events) if event.what in what]
        return self.events[starts[-1] if starts else 0 :]

    def state(self) -> str:
        turns = [event.what for event in self.events if event.what in TURNS]
        return {"opened": "open", "probe": "half_open"}.get((turns or ["closed"])[-1], "closed")

    def lets_through(self, now: float) -> bool:
        recent = self.since(*TURNS)
        return (
            self.state() == "closed"
            or now >= recent[0].until
            or any(event.what == "freed" for event in recent)
        )

    def counts(self, sent: Sent) -> bool:
        """Tell whether nothing has made the outcome of this request meaningless."""
        return not any(event.what in TURNS for event in self.events[sent.events :])

    def openings(self) -> int:
        return sum(event.what == "opened" for event in self.since("closed"))

    def possible_counts(self, now: float) -> Iterator[tuple[int, int]]:
        """Return (good, bad) for each length that the window may have: 90% to 100%."""
        window = self.settings.window
        calls = [event for event in self.since(*TURNS) if event.what in {"good", "bad"}]
        for start in range(len(calls) + 1):
            left, kept = calls[:start], calls[start:]
            if all(now - event.at > 0.9 * window - ROUNDING for event in left) and all(
                now - event.at < window + ROUNDING for event in kept
            ):
                bad = sum(event.what == "bad" for event in kept)
                yield len(kept) - bad, bad

    def is_failing(self, good: int, bad: int) -> bool:
        settings = self.settings
        return (
            bad >= settings.failure_threshold
            and good + bad >= settings.minimum_calls
            and bad / (good + bad) >= settings.failure_rate
        )


SETTINGS = st.builds(
    CircuitSettings,
    failure_threshold=st.integers(1, 4),
    minimum_calls=st.integers(1, 6),
    failure_rate=st.sampled_from([0.1, 0.3, 0.5, 0.8, 1.0]),
    window=st.sampled_from([5.0, 60.0]),
    cooldown=st.sampled_from([1.0, 30.0]),
    max_cooldown=st.sampled_from([30.0, 100.0]),
    probe_lease=st.sampled_from([3.0, 120.0]),
)


class CircuitAgainstHistory(RuleBasedStateMachine):
    """Whatever happens in whatever order, the circuit says what the history says."""

    @initialize(settings=SETTINGS, now=st.sampled_from([0.0, 1234.5]))
    def begin(self, settings: CircuitSettings, now: float) -> None:
        self.settings = settings
        self.now = now
        self.drawn = 0.5
        self.circuit = Circuit()
        self.history = History(settings)
        self.sent: list[Sent] = []
        self.lost: list[Sent] = []

    @rule(seconds=st.floats(0, 200), drawn=st.floats(0, 0.999))
    def time_passes(self, seconds: float, drawn: float) -> None:
        self.now += seconds
        self.drawn = drawn

    @rule(tenths=st.one_of(st.floats(0, 3), st.floats(8, 10)))
    def part_of_the_window_passes(self, tenths: float) -> None:
        self.now += tenths * self.settings.window / 10

    @precondition(lambda self: self.history.state() != "closed")
    @rule(asking=st.integers(1, 2))
    def cooldown_or_lease_ends(self, asking: int) -> None:
        """Go on to the very moment from which the next one is let through, and ask."""
        self.now = max(self.now, self.history.since(*TURNS)[0].until)
        for _ in range(asking):
            self.ask()

    @rule()
    def ask(self) -> None:
        expected = self.history.lets_through(self.now)
        was_closed = self.history.state() == "closed"
        assert (blocked_until(self.circuit) <= self.now) == expected
        circuit, permit = admit(self.circuit, self.now, self.settings)
        assert (permit is not None) == expected
        if permit is None or was_closed:
            assert circuit == self.circuit
        self.circuit = circuit
        if permit is not None:
            assert permit.probe == (not was_closed)
            if permit.probe:
                self.history.add("probe", self.now, self.now + self.settings.probe_lease)
            self.sent.append(Sent(permit, len(self.history.events)))

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def succeed(self, data: st.DataObject) -> None:
        self._succeeded(self._pick(data))

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        self._failed(self._pick(data))

    @rule(answered=st.lists(st.booleans(), min_size=1, max_size=6))
    def calls_in_a_row(self, answered: list[bool]) -> None:
        """Calls end one after the other, as many as are let through."""
        for good in answered:
            under_way = len(self.sent)
            self.ask()
            if len(self.sent) > under_way:
                sent = self.sent.pop()
                self._succeeded(sent) if good else self._failed(sent)

    @precondition(lambda self: self.sent)
    @rule(data=st.data(), unused=st.booleans())
    def say_nothing(self, data: st.DataObject, unused: bool) -> None:
        """A neutral outcome and a permit given back are the same."""
        sent = self._pick(data)
        before, counts = self.circuit, self.history.counts(sent)
        neutral = self._recorded(sent, Effect.NEUTRAL)
        back = give_back(before, sent.permit)
        assert back == neutral
        self.circuit = back if unused else neutral
        if counts and self.history.state() == "half_open":
            self.history.add("freed", self.now)
        else:
            assert self.circuit == before

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def be_refused(self, data: st.DataObject) -> None:
        if self._report(self._pick(data), Effect.TRIP):
            assert self.circuit.retry_at == self.now + self.settings.max_cooldown
            self.history.add("opened", self.now, self.circuit.retry_at)

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def never_report(self, data: st.DataObject) -> None:
        self.lost.append(self._pick(data))

    @rule(seconds=st.floats(0, 100))
    def trip_by_hand(self, seconds: float) -> None:
        self.circuit = trip(self.circuit, self.now, seconds)
        self.history.add("opened", self.now, self.now + seconds)

    @rule()
    def reset_by_hand(self) -> None:
        self.circuit = reset(self.circuit)
        self.history.add("closed", self.now)

    def _pick(self, data: st.DataObject) -> Sent:
        return self.sent.pop(data.draw(st.integers(0, len(self.sent) - 1)))

    def _recorded(self, sent: Sent, effect: Effect) -> Circuit:
        return record(
            self.circuit,
            effect,
            sent.permit,
            now=self.now,
            settings=self.settings,
            random=lambda: self.drawn,
        )

    def _report(self, sent: Sent, effect: Effect) -> bool:
        """Let a request end; what is meaningless must change nothing."""
        before, self.circuit = self.circuit, self._recorded(sent, effect)
        counts = self.history.counts(sent)
        if not counts:
            assert self.circuit == before
        return counts

    def _succeeded(self, sent: Sent) -> None:
        before = self.history.state()
        if self._report(sent, Effect.SUCCESS):
            if before == "half_open":
                self.history.add("closed", self.now)
            else:
                self._counted("good")

    def _failed(self, sent: Sent) -> None:
        before = self.history.state()
        if self._report(sent, Effect.FAILURE):
            if before == "half_open":
                self._opened()
            else:
                self._counted("bad")

    def _counted(self, what: str) -> None:
        """Check that a closed circuit opens for cause, and whenever there is one."""
        self.history.add(what, self.now)
        possible = list(self.history.possible_counts(self.now))
        if self.circuit.state == "open":
            assert what == "bad"
            assert any(self.history.is_failing(*counts) for counts in possible)
            self._opened()
        else:
            counts = self.circuit.window.counts(self.now, self.settings.window)
            assert what == "good" or not self.history.is_failing(*counts)

    def _opened(self) -> None:
        """Check the length of the cooldown of a circuit that has just opened."""
        longest = self.settings.max_cooldown
        wanted = min(longest, self.settings.cooldown * 2 ** self.history.openings())
        length = self.circuit.retry_at - self.now
        assert 0.8 * wanted - ROUNDING <= length <= min(longest, 1.2 * wanted) + ROUNDING
        self.history.add("opened", self.now, self.circuit.retry_at)

    @invariant()
    def says_what_history_says(self) -> None:
        assert self.circuit.state == self.history.state()
        assert self.circuit.openings == self.history.openings()

    @invariant()
    def counts_what_the_window_has(self) -> None:
        counts = self.circuit.window.counts(self.now, self.settings.window)
        if self.history.state() == "closed":
            assert counts in list(self.history.possible_counts(self.now))
        else:
            assert counts == (0, 0)
        assert len(self.circuit.window.buckets) <= 10

    @invariant()
    def has_one_probe_out_at_most(self) -> None:
        lease = self.settings.probe_lease
        out = [
            sent
            for sent in self.sent + self.lost
            if sent.permit.probe
            and self.history.counts(sent)
            and self.now < self.history.events[sent.events - 1].at + lease
        ]
        assert len(out) <= 1
        if out and not self.history.lets_through(self.now):
            assert admit(self.circuit, self.now, self.settings) == (self.circuit, None)

    @override
    def teardown(self) -> None:
        """Lose every request under way: the circuit must never be stuck."""
        if hasattr(self, "settings"):
            longest = max(100.0, self.settings.max_cooldown, self.settings.probe_lease)
            assert admit(self.circuit, self.now + longest, self.settings)[1] is not None


TestCircuitAgainstHistory = pytest.mark.usefixtures("uncovered")(CircuitAgainstHistory.TestCase)
TestCircuitAgainstHistory.settings = hypothesis_settings(
    max_examples=100, stateful_step_count=50, deadline=None, derandomize=True
)
