"""A provider in the manager's care: its circuit, its cooldown, and how it has done."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from ..base import ProviderBase
from ..errors import ProviderConfigError, ProviderError
from ..types import Outcome, ProviderStatus
from .circuit_breaker import (
    Circuit,
    CircuitSettings,
    CircuitState,
    Permit,
    admit,
    blocked_until,
    record,
)
from .policy import TABLE, Effect

# How much the newest latency counts in the running average.
_LATENCY_WEIGHT = 0.2

# While a probe is under way nobody knows when calls go through again; soon, as a rule.
_PROBE_WAIT = 1.0


@dataclass(slots=True, eq=False)
class Member:
    """One provider and its running record.

    Args:
        provider: The provider.
        settings: Its circuit's settings.
        clock: The time in seconds; only differences matter.
        random: Source of numbers in [0, 1), for the circuit's jitter.
    """

    provider: ProviderBase
    settings: CircuitSettings
    clock: Callable[[], float]
    random: Callable[[], float]
    circuit: Circuit = field(default_factory=Circuit)
    cooling_until: float = 0.0
    in_flight: int = 0
    successes: int = 0
    failures: int = 0
    latency: float | None = None
    succeeded_at: float | None = None
    check_seconds: float | None = None
    check: asyncio.Task[bool] | None = None
    last_error: ProviderError | None = None

    @property
    def name(self) -> str:
        """Name of the provider."""
        return self.provider.name

    @property
    def ready(self) -> bool:
        """Whether it takes part at all: switched on, and initialized."""
        return self.provider.config.enabled and self.provider.initialized

    @property
    def misconfigured(self) -> bool:
        """Whether only its owner can help: no key, switched off, wrong address."""
        return not self.ready and (
            not self.provider.config.enabled
            or isinstance(self.provider.last_error, ProviderConfigError)
        )

    def free_at(self) -> float:
        """Return the time from which it may be asked; in the past if that is now."""
        return max(self.cooling_until, blocked_until(self.circuit))

    def wait(self) -> float:
        """Return the seconds after which it is worth asking again; 0 if that is now."""
        now = self.clock()
        blocked = blocked_until(self.circuit) - now
        if self.circuit.state is CircuitState.HALF_OPEN:
            blocked = min(blocked, _PROBE_WAIT)
        return round(max(0.0, blocked, self.cooling_until - now), 3)

    def available(self) -> bool:
        """Tell whether it may be asked now."""
        return self.ready and self.free_at() <= self.clock()

    def admit(self) -> Permit | None:
        """Ask to send a request; a permit given must be settled."""
        if not self.available():
            return None
        self.circuit, permit = admit(self.circuit, self.clock(), self.settings)
        if permit is not None:
            self.in_flight += 1
        return permit

    def settle(
        self, permit: Permit, outcome: Outcome, *, latency: float, error: ProviderError | None
    ) -> None:
        """Take in how a permitted request ended.

        Args:
            permit: Its permit.
            outcome: How it ended.
            latency: Seconds it took.
            error: Its error, if it failed.
        """
        self.in_flight -= 1
        now = self.clock()
        self.circuit = record(
            self.circuit,
            _effect(outcome, error),
            permit,
            now=now,
            settings=self.settings,
            random=self.random,
        )
        if outcome is Outcome.RATE_LIMITED:
            self._cool_down(now, error)
        if outcome is Outcome.OK:
            self._count_success(latency)
        elif error is not None:
            self.failures += 1
            self.last_error = error

    def _count_success(self, latency: float) -> None:
        self.successes += 1
        self.succeeded_at = self.clock()
        self.provider.healthy = True
        known = latency if self.latency is None else self.latency
        self.latency = known + _LATENCY_WEIGHT * (latency - known)

    def _cool_down(self, now: float, error: ProviderError | None) -> None:
        asked = error.retry_after if error else None
        # Without a wish of the upstream's a second is a guess that does little harm.
        wait = min(self.settings.max_cooldown, 1.0 if asked is None else asked)
        self.cooling_until = max(self.cooling_until, now + wait)

    def status(self) -> ProviderStatus:
        """Describe how it is doing, in plain values."""
        state, reason = self._state()
        error = self.last_error or self.provider.last_error
        return ProviderStatus(
            name=self.name,
            model=self.provider.model,
            state=state,
            reason=reason,
            initialized=self.provider.initialized,
            healthy=self.provider.healthy,
            circuit=str(self.circuit.state),
            in_flight=self.in_flight,
            successes=self.successes,
            failures=self.failures,
            latency_ms=_milliseconds(self.latency),
            check_ms=_milliseconds(self.check_seconds),
            last_error=str(error) if error else None,
            retry_after=(self.wait() or None) if self.ready else None,
        )

    def _state(self) -> tuple[str, str | None]:
        config = self.provider.config
        reason = self.provider.last_error.message if self.provider.last_error else None
        trouble = self.last_error.message if self.last_error else None
        if not config.enabled:
            return "disabled", config.disabled_reason or "enabled: false"
        if not self.provider.initialized:
            return "unavailable", reason or "not initialized yet"
        if self.circuit.state is not CircuitState.CLOSED:
            return "circuit_open", trouble
        if self.cooling_until > self.clock():
            return "cooling_down", trouble
        if not self.provider.healthy:
            return "unhealthy", reason
        return "available", None


def require_provider(given: object) -> None:
    """Raise ``ProviderConfigError`` unless it is a provider with its configuration."""
    if not isinstance(given, ProviderBase) or not hasattr(given, "config"):
        raise ProviderConfigError(
            "a provider is a ProviderBase that was given its ProviderConfig,"
            f" not a {type(given).__name__}; call super().__init__(config)"
        )


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 2)


def _effect(outcome: Outcome, error: ProviderError | None) -> Effect:
    # What was refused before it was sent says nothing about the upstream.
    if outcome is Outcome.INVALID_REQUEST and error is not None and error.status_code is None:
        return Effect.NEUTRAL
    return TABLE[outcome].circuit


def is_trip(outcome: Outcome) -> bool:
    """Tell whether an outcome needs a person: a refused key or an empty account."""
    return TABLE[outcome].circuit is Effect.TRIP
