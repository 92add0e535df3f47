"""The circuit breaker: each transition by itself, and all of them against a simple model."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from typing_extensions import override

from amas.providers.manager.circuit_breaker import (
    Circuit,
    CircuitSettings,
    CircuitState,
    Permit,
    admit,
    blocked_until,
    record,
    trip,
)
from amas.providers.manager.policy import Effect

SETTINGS = CircuitSettings(failure_threshold=3, window=60, cooldown=30, max_cooldown=600)


def middle() -> float:
    """Draw the number whose jitter is none."""
    return 0.5


def after(*effects: Effect, now: float = 0.0, circuit: Circuit | None = None) -> Circuit:
    """Let one request after the other end with these effects."""
    circuit = circuit or Circuit()
    for effect in effects:
        circuit, permit = admit(circuit, now, SETTINGS)
        assert permit is not None
        circuit = record(circuit, effect, permit, now=now, settings=SETTINGS, random=middle)
    return circuit


def opened(now: float = 0.0) -> Circuit:
    """Return a circuit that has just opened."""
    return after(*[Effect.FAILURE] * 3, now=now)


def probed(circuit: Circuit, effect: Effect, now: float) -> Circuit:
    """Let the probe of a circuit whose cooldown is over end."""
    assert circuit.state is CircuitState.OPEN
    return after(effect, now=now, circuit=circuit)


def test_a_new_circuit_lets_every_request_through() -> None:
    """A closed circuit gives a permit each time, and is not changed by that."""
    circuit, permit = admit(Circuit(), 0.0, SETTINGS)
    assert permit is not None
    assert circuit == Circuit()
    assert blocked_until(circuit) == 0.0


def test_it_opens_at_the_threshold_and_not_before() -> None:
    """Two of three failures leave it closed, the third opens it."""
    assert after(Effect.FAILURE, Effect.FAILURE).state is CircuitState.CLOSED
    assert opened().state is CircuitState.OPEN


@pytest.mark.parametrize(("successes", "state"), [(3, CircuitState.OPEN), (4, CircuitState.CLOSED)])
def test_failures_must_also_be_half_of_the_calls(successes: int, state: CircuitState) -> None:
    """Three failures open it among three successes, but not among four."""
    circuit = after(*[Effect.SUCCESS] * successes, *[Effect.FAILURE] * 3)
    assert circuit.state is state


def test_neutral_outcomes_count_for_nothing() -> None:
    """Any number of neutral outcomes changes nothing."""
    assert after(*[Effect.NEUTRAL] * 10) == Circuit()


def test_failures_older_than_the_window_are_forgotten() -> None:
    """Two failures and a third one a window later do not open it."""
    circuit = after(Effect.FAILURE, Effect.FAILURE, now=100.0)
    assert after(Effect.FAILURE, now=161.0, circuit=circuit).state is CircuitState.CLOSED


def test_failures_within_the_window_count_together() -> None:
    """Three failures 25 seconds apart open it: the window slides, it does not jump."""
    circuit = after(Effect.FAILURE, now=59.0)
    circuit = after(Effect.FAILURE, now=84.0, circuit=circuit)
    assert after(Effect.FAILURE, now=109.0, circuit=circuit).state is CircuitState.OPEN


def test_the_window_keeps_a_bounded_number_of_counts() -> None:
    """However many calls there are, ten buckets hold them."""
    circuit = Circuit()
    for second in range(0, 1000, 3):
        circuit = after(Effect.SUCCESS, Effect.SUCCESS, now=float(second), circuit=circuit)
    assert len(circuit.buckets) <= 10


def test_an_open_circuit_lets_nothing_through_until_its_cooldown_is_over() -> None:
    """No permit before ``retry_at``; the state is not changed by asking."""
    circuit = opened()
    assert admit(circuit, 29.9, SETTINGS) == (circuit, None)
    assert blocked_until(circuit) == 30.0


def test_exactly_one_probe_is_let_through() -> None:
    """Of fifty callers after the cooldown one gets a permit."""
    circuit = opened()
    permits = []
    for _ in range(50):
        circuit, permit = admit(circuit, 31.0, SETTINGS)
        permits.append(permit)
    assert [permit is not None for permit in permits] == [True] + [False] * 49
    assert circuit.state is CircuitState.HALF_OPEN


def test_a_probe_that_succeeds_closes_it_with_a_clean_slate() -> None:
    """After a good probe the earlier failures and openings are forgotten."""
    circuit = probed(opened(), Effect.SUCCESS, now=31.0)
    assert (circuit.state, circuit.buckets, circuit.openings) == (CircuitState.CLOSED, (), 0)


def test_a_probe_that_fails_opens_it_for_twice_as_long() -> None:
    """The cooldown doubles with each probe that fails, up to its bound."""
    circuit, now, lengths = opened(), 0.0, []
    for _ in range(7):
        lengths.append(circuit.retry_at - now)
        now = circuit.retry_at
        circuit = probed(circuit, Effect.FAILURE, now=now)
    assert lengths == [30, 60, 120, 240, 480, 600, 600]


def test_a_neutral_probe_gives_its_slot_back() -> None:
    """A cancelled probe says nothing; the next caller is the probe at once."""
    circuit = probed(opened(), Effect.NEUTRAL, now=31.0)
    assert circuit.state is CircuitState.HALF_OPEN
    circuit, permit = admit(circuit, 31.0, SETTINGS)
    assert permit is not None
    assert admit(circuit, 31.0, SETTINGS)[1] is None


def test_a_probe_that_never_reports_is_given_up() -> None:
    """After the lease another probe is let through."""
    circuit, _ = admit(opened(), 31.0, SETTINGS)
    assert admit(circuit, 31.0 + 119, SETTINGS)[1] is None
    assert admit(circuit, 31.0 + 120, SETTINGS)[1] is not None


@pytest.mark.parametrize("effect", list(Effect))
def test_a_probe_given_up_counts_no_more(effect: Effect) -> None:
    """What a probe reports after its lease does not disturb the one that took its place."""
    circuit, late = admit(opened(), 31.0, SETTINGS)
    circuit, _ = admit(circuit, 200.0, SETTINGS)
    assert late is not None
    assert record(circuit, effect, late, now=201, settings=SETTINGS, random=middle) == circuit


@pytest.mark.parametrize("effect", list(Effect))
def test_a_result_from_before_the_opening_says_nothing_new(effect: Effect) -> None:
    """A request sent while it was closed counts neither when it is open nor half-open."""
    circuit, early = admit(Circuit(), 0.0, SETTINGS)
    assert early is not None
    circuit = after(*[Effect.FAILURE] * 3, circuit=circuit)
    assert record(circuit, effect, early, now=1, settings=SETTINGS, random=middle) == circuit
    circuit, _ = admit(circuit, 31.0, SETTINGS)
    assert record(circuit, effect, early, now=32, settings=SETTINGS, random=middle) == circuit


@pytest.mark.parametrize("effect", list(Effect))
def test_a_result_from_before_the_opening_does_not_count_after_the_closing(effect: Effect) -> None:
    """A failure that took longer than the whole outage is no failure of the recovered upstream."""
    circuit, early = admit(Circuit(), 0.0, SETTINGS)
    assert early is not None
    circuit = probed(after(*[Effect.FAILURE] * 3, circuit=circuit), Effect.SUCCESS, now=31.0)
    assert record(circuit, effect, early, now=32, settings=SETTINGS, random=middle) == circuit


def test_many_late_refusals_do_not_lengthen_the_cooldown() -> None:
    """Of many calls that a bad key refuses at once only the first one trips the circuit."""
    permits = [admit(Circuit(), 0.0, SETTINGS)[1] for _ in range(100)]
    circuit = Circuit()
    for permit in permits:
        assert permit is not None
        circuit = record(circuit, Effect.TRIP, permit, now=1.0, settings=SETTINGS, random=middle)
    assert (circuit.openings, circuit.retry_at) == (1, 601.0)


def test_a_trip_opens_it_at_once_and_for_long() -> None:
    """One refused key opens it for the longest cooldown."""
    circuit = after(Effect.TRIP, now=10.0)
    assert circuit.state is CircuitState.OPEN
    assert circuit.retry_at == 610.0


def test_tripping_by_hand_works_in_any_state() -> None:
    """``trip`` opens a closed, an open and a half-open circuit for the time given."""
    half_open, _ = admit(opened(), 31.0, SETTINGS)
    for circuit in (Circuit(), opened(), half_open):
        assert admit(trip(circuit, 40.0, 5.0), 44.9, SETTINGS)[1] is None
        assert admit(trip(circuit, 40.0, 5.0), 45.0, SETTINGS)[1] is not None


@pytest.mark.parametrize(("drawn", "length"), [(0.0, 24.0), (0.5, 30.0), (0.999, 35.988)])
def test_the_cooldown_is_jittered(drawn: float, length: float) -> None:
    """It lies between 80% and 120% of what is configured."""
    circuit = Circuit()
    for _ in range(3):
        circuit, permit = admit(circuit, 0.0, SETTINGS)
        assert permit is not None
        circuit = record(
            circuit, Effect.FAILURE, permit, now=0.0, settings=SETTINGS, random=lambda: drawn
        )
    assert circuit.retry_at == pytest.approx(length)


def test_the_jitter_never_exceeds_the_longest_cooldown() -> None:
    """The bound holds after the jitter, too."""
    settings = CircuitSettings(failure_threshold=1, cooldown=600, max_cooldown=600)
    circuit = record(
        Circuit(), Effect.FAILURE, Permit(), now=0, settings=settings, random=lambda: 0.99
    )
    assert circuit.retry_at == 600


@dataclass
class Sent:
    """A request of the model that is under way."""

    permit: Permit
    era: int


class CircuitAgainstModel(RuleBasedStateMachine):
    """The model: a list of outcomes, a flag, and one slot for the probe."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.circuit = Circuit()
        self.state = "closed"
        self.era = 0
        self.counted: list[tuple[int, Effect]] = []
        self.openings = 0
        self.open_until = 0.0
        self.lease_until = 0.0
        self.sent: list[Sent] = []
        self.drawn = 0.5

    @rule(seconds=st.floats(0.1, 200))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(drawn=st.floats(0, 0.999))
    def draw(self, drawn: float) -> None:
        self.drawn = drawn

    @rule()
    def ask(self) -> None:
        expected = (
            self.state == "closed"
            or (self.state == "open" and self.now >= self.open_until)
            or (self.state == "half-open" and self.now >= self.lease_until)
        )
        self.circuit, permit = admit(self.circuit, self.now, SETTINGS)
        assert (permit is not None) == expected
        if permit is None:
            return
        if self.state != "closed":
            self.state = "half-open"
            self.lease_until = self.now + SETTINGS.probe_lease
            self.era += 1
        self.sent.append(Sent(permit, self.era))

    @precondition(lambda self: self.sent)
    @rule(data=st.data(), effect=st.sampled_from(list(Effect)))
    def finish(self, data: st.DataObject, effect: Effect) -> None:
        sent = self.sent.pop(data.draw(st.integers(0, len(self.sent) - 1)))
        self.circuit = record(
            self.circuit,
            effect,
            sent.permit,
            now=self.now,
            settings=SETTINGS,
            random=lambda: self.drawn,
        )
        if sent.era == self.era:
            self._expect(effect)

    def _expect(self, effect: Effect) -> None:
        if effect is Effect.TRIP:
            self._open(SETTINGS.max_cooldown, SETTINGS.max_cooldown)
        elif self.state == "half-open":
            if effect is Effect.FAILURE:
                self._open_again()
            elif effect is Effect.SUCCESS:
                self.state, self.counted, self.openings = "closed", [], 0
                self.era += 1
            else:
                self.lease_until = 0.0
        elif effect is not Effect.NEUTRAL:
            tenth = int(self.now / SETTINGS.window * 10)
            self.counted.append((tenth, effect))
            recent = [what for when, what in self.counted if when > tenth - 10]
            failures = recent.count(Effect.FAILURE)
            if failures >= SETTINGS.failure_threshold and failures * 2 >= len(recent):
                self._open_again()

    def _open_again(self) -> None:
        wanted = min(SETTINGS.max_cooldown, SETTINGS.cooldown * 2**self.openings)
        self._open(0.8 * wanted, min(SETTINGS.max_cooldown, 1.2 * wanted))

    def _open(self, least: float, most: float) -> None:
        self.state, self.counted = "open", []
        self.openings += 1
        self.era += 1
        self.open_until = self.circuit.retry_at
        assert least - 1e-6 <= self.open_until - self.now <= most + 1e-6

    @invariant()
    def same_state(self) -> None:
        assert self.circuit.state.value.replace("_", "-") == self.state
        assert self.circuit.openings == self.openings

    @invariant()
    def one_probe_at_most(self) -> None:
        if self.state == "half-open":
            assert sum(sent.era == self.era for sent in self.sent) <= 1

    @override
    def teardown(self) -> None:
        """Let every request still under way end: the circuit must never be stuck."""
        self.sent.clear()
        self.now += SETTINGS.max_cooldown + SETTINGS.probe_lease
        assert admit(self.circuit, self.now, SETTINGS)[1] is not None


TestCircuitAgainstModel = CircuitAgainstModel.TestCase
TestCircuitAgainstModel.settings = hypothesis_settings(
    max_examples=60, stateful_step_count=40, deadline=None
)
