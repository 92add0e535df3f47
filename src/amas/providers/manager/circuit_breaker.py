"""The circuit breaker: a pure state machine over frozen states.

::

    closed ──failures in the window reach the threshold──> open
    open ──cooldown over, first caller──> half-open, that caller is the probe
    half-open ──probe succeeds──> closed        ──probe fails──> open, cooldown doubled

Time and chance are passed in. The pattern is Michael Nygard's ("Release It!",
chapter 5); that only one probe is let through, and that neutral outcomes give
its slot back, is what libraries get wrong (model-codebases.md, 3.1).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from .policy import Effect

_BUCKETS: Final = 10


class CircuitState(StrEnum):
    """Whether calls go through."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class CircuitSettings:
    """When a circuit opens, and for how long.

    Args:
        failure_threshold: Failures within the window that open it, if they are
            also at least half of the calls in it.
        window: Length of the sliding window, in seconds.
        cooldown: Seconds it stays open the first time; doubled each time a probe fails.
        max_cooldown: Upper bound of the cooldown, in seconds; also how long it
            stays open when tripped by a refused key or an empty account.
        probe_lease: Seconds after which a probe that never reported is given up.
    """

    failure_threshold: int = 5
    window: float = 60.0
    cooldown: float = 30.0
    max_cooldown: float = 600.0
    probe_lease: float = 120.0


@dataclass(frozen=True, slots=True)
class Circuit:
    """The state of one circuit.

    ``buckets`` are (bucket number, successes, failures), oldest first. ``era``
    grows whenever the circuit opens, closes or lets a probe through.
    """

    state: CircuitState = CircuitState.CLOSED
    buckets: tuple[tuple[int, int, int], ...] = ()
    openings: int = 0
    retry_at: float = 0.0
    probe_until: float = 0.0
    era: int = 0


@dataclass(frozen=True, slots=True)
class Permit:
    """Leave to send one request; its outcome counts in the ``era`` it was given in."""

    era: int = 0


def admit(circuit: Circuit, now: float, settings: CircuitSettings) -> tuple[Circuit, Permit | None]:
    """Ask to send a request.

    Args:
        circuit: The present state.
        now: The time, in seconds of any clock that only goes forward.
        settings: The circuit's settings.

    Returns:
        The next state, and the permit; None while the circuit is open or its
        only probe is under way.
    """
    if circuit.state is CircuitState.CLOSED:
        return circuit, Permit(circuit.era)
    if now < blocked_until(circuit):
        return circuit, None
    probing = replace(
        circuit,
        state=CircuitState.HALF_OPEN,
        probe_until=now + settings.probe_lease,
        era=circuit.era + 1,
    )
    return probing, Permit(probing.era)


def blocked_until(circuit: Circuit) -> float:
    """Return the time from which ``admit`` would give a permit; 0.0 if it would at once."""
    match circuit.state:
        case CircuitState.OPEN:
            return circuit.retry_at
        case CircuitState.HALF_OPEN:
            return circuit.probe_until
        case _:
            return 0.0


def record(
    circuit: Circuit,
    effect: Effect,
    permit: Permit,
    *,
    now: float,
    settings: CircuitSettings,
    random: Callable[[], float],
) -> Circuit:
    """Take in the outcome of a permitted request.

    Args:
        circuit: The present state.
        effect: What the outcome means; see the failure table.
        permit: The permit it was sent with. What was sent before the circuit last
            opened, closed or let a probe through says nothing new, and does not count.
        now: The time.
        settings: The circuit's settings.
        random: Source of numbers in [0, 1), for the jitter.

    Returns:
        The next state.
    """
    if permit.era != circuit.era:
        return circuit
    if effect is Effect.TRIP:
        return trip(circuit, now, settings.max_cooldown)
    if circuit.state is CircuitState.CLOSED:
        return _record_closed(circuit, effect, now, settings, random)
    match effect:
        case Effect.SUCCESS:
            return Circuit(era=circuit.era + 1)
        case Effect.FAILURE:
            return _open(circuit, now, settings, random)
        case _:
            return replace(circuit, probe_until=0.0)


def trip(circuit: Circuit, now: float, duration: float) -> Circuit:
    """Open the circuit for a given time, whatever its state.

    Args:
        circuit: The present state.
        now: The time.
        duration: Seconds until a probe is let through.
    """
    return replace(
        circuit,
        state=CircuitState.OPEN,
        buckets=(),
        openings=circuit.openings + 1,
        retry_at=now + duration,
        probe_until=0.0,
        era=circuit.era + 1,
    )


def _record_closed(
    circuit: Circuit,
    effect: Effect,
    now: float,
    settings: CircuitSettings,
    random: Callable[[], float],
) -> Circuit:
    if effect is Effect.NEUTRAL:
        return circuit
    buckets = _count(circuit.buckets, effect, now, settings.window)
    successes = sum(bucket[1] for bucket in buckets)
    failures = sum(bucket[2] for bucket in buckets)
    counted = replace(circuit, buckets=buckets)
    if failures >= settings.failure_threshold and failures >= successes:
        return _open(counted, now, settings, random)
    return counted


def _count(
    buckets: tuple[tuple[int, int, int], ...], effect: Effect, now: float, window: float
) -> tuple[tuple[int, int, int], ...]:
    number = int(now / window * _BUCKETS)
    kept = tuple(bucket for bucket in buckets if bucket[0] > number - _BUCKETS)
    success, failure = (1, 0) if effect is Effect.SUCCESS else (0, 1)
    if kept and kept[-1][0] == number:
        _, successes, failures = kept[-1]
        return (*kept[:-1], (number, successes + success, failures + failure))
    return (*kept, (number, success, failure))


def _open(
    circuit: Circuit, now: float, settings: CircuitSettings, random: Callable[[], float]
) -> Circuit:
    grown = settings.cooldown * 2 ** min(circuit.openings, 30)
    # Between 80% and 120%, so that many processes do not probe at the same moment.
    jittered = min(settings.max_cooldown, grown) * (0.8 + 0.4 * random())
    return trip(circuit, now, min(settings.max_cooldown, jittered))
