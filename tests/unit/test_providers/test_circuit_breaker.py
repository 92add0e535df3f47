"""The circuit breaker: each transition by itself (all of them together: test_circuit_model)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from amas.providers.manager.circuit_breaker import (
    Circuit,
    CircuitSettings,
    CircuitState,
    Permit,
    admit,
    blocked_until,
    defer,
    give_back,
    record,
    reset,
    trip,
)
from amas.providers.manager.sliding_window import Window
from amas.providers.types import Effect

SETTINGS = CircuitSettings(
    failure_threshold=3, minimum_calls=1, window=60, cooldown=30, max_cooldown=600
)


def middle() -> float:
    """Draw the number whose jitter is none."""
    return 0.5


def after(
    *effects: Effect,
    now: float = 0.0,
    circuit: Circuit | None = None,
    settings: CircuitSettings = SETTINGS,
) -> Circuit:
    """Let one request after the other end with these effects."""
    circuit = circuit or Circuit()
    for effect in effects:
        circuit, permit = admit(circuit, now, settings)
        assert permit is not None
        circuit = record(circuit, effect, permit, now=now, settings=settings, random=middle)
    return circuit


def opened(now: float = 0.0) -> Circuit:
    """Return a circuit that has just opened."""
    return after(*[Effect.FAILURE] * 3, now=now)


def probed(circuit: Circuit, effect: Effect, now: float) -> Circuit:
    """Let the probe of a circuit whose cooldown is over end."""
    assert circuit.state is CircuitState.OPEN
    return after(effect, now=now, circuit=circuit)


def test_a_new_circuit_lets_every_request_through() -> None:
    """A closed circuit gives a permit each time, no probe, and is not changed by that."""
    circuit, permit = admit(Circuit(), 0.0, SETTINGS)
    assert permit == Permit(era=0, probe=False)
    assert circuit == Circuit()
    assert blocked_until(circuit) == 0.0


def test_it_opens_at_the_threshold_and_not_before() -> None:
    """Two of three failures leave it closed, the third opens it."""
    assert after(Effect.FAILURE, Effect.FAILURE).state is CircuitState.CLOSED
    assert opened().state is CircuitState.OPEN


@pytest.mark.parametrize(
    ("rate", "successes", "state"),
    [
        (0.5, 3, CircuitState.OPEN),
        (0.5, 4, CircuitState.CLOSED),
        (0.3, 7, CircuitState.OPEN),
        (0.3, 8, CircuitState.CLOSED),
        (1.0, 0, CircuitState.OPEN),
        (1.0, 1, CircuitState.CLOSED),
    ],
)
def test_failures_must_also_be_a_share_of_the_calls(
    rate: float, successes: int, state: CircuitState
) -> None:
    """Three failures open it if they are the failure rate of all calls, and not below."""
    settings = replace(SETTINGS, failure_rate=rate)
    effects = [Effect.SUCCESS] * successes + [Effect.FAILURE] * 3
    assert after(*effects, settings=settings).state is state


def test_fewer_calls_than_the_minimum_never_open_it() -> None:
    """With a minimum of five calls the fifth failure opens it, though three are the threshold."""
    settings = replace(SETTINGS, minimum_calls=5)
    circuit = after(*[Effect.FAILURE] * 4, settings=settings)
    assert circuit.state is CircuitState.CLOSED
    circuit = after(Effect.FAILURE, circuit=circuit, settings=settings)
    assert circuit.state is CircuitState.OPEN


def test_calls_older_than_the_window_do_not_make_up_the_minimum() -> None:
    """Three failures after an hour's silence are three calls, whatever was before."""
    settings = replace(SETTINGS, minimum_calls=5)
    circuit = after(*[Effect.SUCCESS] * 4, settings=settings)
    circuit = after(*[Effect.FAILURE] * 4, now=3600.0, circuit=circuit, settings=settings)
    assert circuit.state is CircuitState.CLOSED


def test_a_success_never_opens_it() -> None:
    """A success that completes the minimum leaves it closed; the next failure opens it."""
    settings = replace(SETTINGS, minimum_calls=5)
    effects = [Effect.FAILURE] * 4 + [Effect.SUCCESS]
    circuit = after(*effects, settings=settings)
    assert circuit.state is CircuitState.CLOSED
    circuit = after(Effect.FAILURE, circuit=circuit, settings=settings)
    assert circuit.state is CircuitState.OPEN


def test_by_default_five_failures_among_ten_calls_open_it() -> None:
    """The defaults: five failures at least, and half of the calls."""
    effects = [Effect.SUCCESS] * 5 + [Effect.FAILURE] * 4
    circuit = after(*effects, settings=CircuitSettings())
    assert circuit.state is CircuitState.CLOSED
    circuit = after(Effect.FAILURE, circuit=circuit, settings=CircuitSettings())
    assert circuit.state is CircuitState.OPEN


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


def test_an_open_circuit_lets_nothing_through_until_its_cooldown_is_over() -> None:
    """No permit before ``retry_at``; the state is not changed by asking."""
    circuit = opened()
    assert admit(circuit, 29.9, SETTINGS) == (circuit, None)
    assert blocked_until(circuit) == 30.0


def test_exactly_one_probe_is_let_through() -> None:
    """Of fifty callers after the cooldown one gets a permit, which says that it is the probe."""
    circuit = opened()
    permits = []
    for _ in range(50):
        circuit, permit = admit(circuit, 31.0, SETTINGS)
        permits.append(permit)
    assert [permit is not None for permit in permits] == [True] + [False] * 49
    assert permits[0] == Permit(circuit.era, probe=True)
    assert circuit.state is CircuitState.HALF_OPEN


def test_a_probe_that_succeeds_closes_it_with_a_clean_slate() -> None:
    """After a good probe the earlier failures and openings are forgotten."""
    circuit = probed(opened(), Effect.SUCCESS, now=31.0)
    assert circuit == Circuit(era=circuit.era)


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


def test_the_cooldown_starts_anew_after_a_closing() -> None:
    """What was doubled in one outage is not doubled in the next one."""
    circuit = probed(opened(), Effect.FAILURE, now=30.0)
    circuit = probed(circuit, Effect.SUCCESS, now=90.0)
    assert after(*[Effect.FAILURE] * 3, now=100.0, circuit=circuit).retry_at == 130.0


def test_an_unused_probe_can_be_given_back() -> None:
    """The next caller is the probe at once, and only one."""
    circuit, permit = admit(opened(), 31.0, SETTINGS)
    assert permit is not None
    circuit = give_back(circuit, permit)
    assert blocked_until(circuit) == 0.0
    circuit, permit = admit(circuit, 31.0, SETTINGS)
    assert permit is not None
    assert permit.probe
    assert admit(circuit, 31.0, SETTINGS)[1] is None


def test_giving_back_an_ordinary_permit_changes_nothing() -> None:
    """A closed circuit has permits for everybody."""
    circuit = after(Effect.FAILURE)
    assert give_back(circuit, Permit(circuit.era)) == circuit


def test_giving_back_a_permit_of_the_past_changes_nothing() -> None:
    """Neither an open circuit nor the probe that took the place of a lost one is disturbed."""
    circuit, lost = admit(opened(), 31.0, SETTINGS)
    assert lost is not None
    assert give_back(opened(), Permit(era=0)) == opened()
    circuit, _ = admit(circuit, 200.0, SETTINGS)
    assert give_back(circuit, lost) == circuit


def test_a_probe_that_somebody_else_makes_keeps_its_place_taken_for_a_while() -> None:
    """The next caller may ask for it then, and what the permit still tells does not count."""
    circuit, permit = admit(opened(), 31.0, SETTINGS)
    assert permit is not None
    deferred = defer(circuit, permit, 31.25)
    assert blocked_until(deferred) == 31.25
    assert admit(deferred, 31.24, SETTINGS)[1] is None
    assert admit(deferred, 31.25, SETTINGS)[1] is not None
    assert give_back(deferred, permit) == deferred
    assert defer(deferred, permit, 99.0) == deferred
    closed = reset(circuit)
    assert defer(closed, permit, 99.0) == closed


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


def test_resetting_works_in_any_state() -> None:
    """``reset`` closes it, and failures and openings are forgotten."""
    half_open, _ = admit(opened(), 31.0, SETTINGS)
    for circuit in (after(Effect.FAILURE), opened(), half_open):
        closed = reset(circuit)
        assert closed == Circuit(era=circuit.era + 1)
        assert after(Effect.FAILURE, Effect.FAILURE, circuit=closed).state is CircuitState.CLOSED


def test_what_was_sent_before_a_reset_does_not_count_after_it() -> None:
    """The failures of the time before do not open what an operator has closed."""
    before = after(Effect.FAILURE, Effect.FAILURE)
    closed = reset(before)
    late = record(closed, Effect.TRIP, Permit(before.era), now=1, settings=SETTINGS, random=middle)
    assert late == closed
    assert late.window == Window()


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
    settings = CircuitSettings(failure_threshold=1, minimum_calls=1, cooldown=600, max_cooldown=600)
    circuit = record(
        Circuit(), Effect.FAILURE, Permit(), now=0, settings=settings, random=lambda: 0.99
    )
    assert circuit.retry_at == 600


def test_any_number_of_failed_probes_can_be_computed() -> None:
    """The thousandth failed probe is as good as the tenth."""
    settings = replace(SETTINGS, cooldown=30.0, max_cooldown=600.0)
    circuit, now = opened(), 0.0
    for _ in range(1100):
        now = circuit.retry_at
        circuit = after(Effect.FAILURE, now=now, circuit=circuit, settings=settings)
    assert circuit.retry_at - now == 600.0
