"""The circuit breaker: a pure state machine over frozen states.

::

    closed ──enough failures in the window, in number and in share──> open
    open ──cooldown over, first caller──> half-open, that caller is the probe
    half-open ──probe succeeds──> closed        ──probe fails──> open, cooldown doubled

Time and chance are passed in. The pattern is Michael Nygard's ("Release It!",
chapter 5); that only one probe is let through, and that neutral outcomes give
its slot back, is what libraries get wrong (model-codebases.md, 3.1).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum

from ..types import Effect
from .sliding_window import Window


class CircuitState(StrEnum):
    """Whether calls go through."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class CircuitSettings:
    """When a circuit opens, and for how long.

    Args:
        failure_threshold: Failures within the window from which a further failure
            opens it, if there are ``minimum_calls`` and the share of failures is
            ``failure_rate``, too.
        window: Length of the sliding window, in seconds.
        cooldown: Seconds it stays open the first time; doubled each time a probe fails.
        max_cooldown: Upper bound of the cooldown, in seconds; also how long it
            stays open when tripped by a refused key or an empty account.
        probe_lease: Seconds after which a probe that never reported is given up.
        minimum_calls: Calls within the window below which counting never opens it.
        failure_rate: Share of failed calls within the window from which it opens,
            above 0 up to 1.
    """

    failure_threshold: int = 5
    window: float = 60.0
    cooldown: float = 30.0
    max_cooldown: float = 600.0
    probe_lease: float = 120.0
    minimum_calls: int = 1
    failure_rate: float = 0.5


@dataclass(frozen=True, slots=True)
class Circuit:
    """The state of one circuit.

    ``openings`` are those since it was last closed: the cooldown's memory. ``era``
    grows whenever the circuit opens, closes or lets a probe through.
    """

    state: CircuitState = CircuitState.CLOSED
    window: Window = field(default_factory=Window)
    openings: int = 0
    retry_at: float = 0.0
    probe_until: float = 0.0
    era: int = 0


@dataclass(frozen=True, slots=True)
class Permit:
    """Leave to send one request; its outcome counts in the ``era`` it was given in.

    ``probe`` tells that it is the one request that a half-open circuit lets through.
    """

    era: int = 0
    probe: bool = False


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
    return probing, Permit(probing.era, probe=True)


def blocked_until(circuit: Circuit) -> float:
    """Return the time from which ``admit`` would give a permit; 0.0 if it would at once."""
    if circuit.state is CircuitState.CLOSED:
        return 0.0
    return circuit.retry_at if circuit.state is CircuitState.OPEN else circuit.probe_until


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
    if effect is Effect.NEUTRAL:
        return give_back(circuit, permit)
    if effect is Effect.TRIP:
        return trip(circuit, now, settings.max_cooldown)
    if circuit.state is CircuitState.CLOSED:
        return _record_closed(circuit, effect, now, settings, random)
    if effect is Effect.SUCCESS:
        return reset(circuit)
    return _open(circuit, now, settings, random)


def give_back(circuit: Circuit, permit: Permit) -> Circuit:
    """Take back a permit that was not used, or whose outcome says nothing.

    Args:
        circuit: The present state.
        permit: The permit; that of the present probe leaves its place to the next caller.

    Returns:
        The next state.
    """
    if permit.era == circuit.era and circuit.state is CircuitState.HALF_OPEN:
        return replace(circuit, probe_until=0.0)
    return circuit


def defer(circuit: Circuit, permit: Permit, until: float) -> Circuit:
    """Take back the permit of a probe that somebody else is making already.

    Args:
        circuit: The present state.
        permit: The permit; that of the present probe keeps its place taken.
        until: Time from which the next caller may ask for it.

    Returns:
        The next state, in which the permit is worth nothing any more.
    """
    if permit.era == circuit.era and circuit.state is CircuitState.HALF_OPEN:
        return replace(circuit, probe_until=until, era=circuit.era + 1)
    return circuit


def reset(circuit: Circuit) -> Circuit:
    """Close the circuit, whatever its state, and forget counts and openings.

    Args:
        circuit: The present state.

    Returns:
        The next state; requests under way count no more.
    """
    return Circuit(era=circuit.era + 1)


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
        window=Window(),
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
    failed = effect is Effect.FAILURE
    window = circuit.window.add(now, settings.window, good=int(not failed), bad=int(failed))
    counted = Circuit(window=window, openings=circuit.openings, era=circuit.era)
    # A success never opens it, even if it is the call that makes up the minimum.
    if failed and _is_failing(*window.counts(now, settings.window), settings):
        return _open(counted, now, settings, random)
    return counted


def _is_failing(successes: int, failures: int, settings: CircuitSettings) -> bool:
    calls = successes + failures
    return (
        failures >= settings.failure_threshold
        and calls >= settings.minimum_calls
        and failures / calls >= settings.failure_rate
    )


def _open(
    circuit: Circuit, now: float, settings: CircuitSettings, random: Callable[[], float]
) -> Circuit:
    grown = settings.cooldown * 2 ** min(circuit.openings, 30)
    # Between 80% and 120%, so that many processes do not probe at the same moment.
    jittered = min(settings.max_cooldown, grown) * (0.8 + 0.4 * random())
    return trip(circuit, now, min(settings.max_cooldown, jittered))
