"""What happens in a manager, told as events to whoever wants to know."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ..errors import ProviderConfigError, ProviderError
from ..observability.bus import EventBus
from ..observability.events import (
    AccessDecision,
    BudgetUsed,
    CallEnded,
    CircuitChanged,
    ConfigurationChanged,
    HealthChanged,
    KeyChange,
)
from ..observability.logging import Own, get_logger
from ..secret import Secret
from ..types import Request
from .breaker import CircuitMove
from .circuit_breaker import CircuitState

if TYPE_CHECKING:
    from .lane import Lane
    from .reloading import Changes

# Characters of a name that are recorded of a call that was refused.
_LONGEST_NAME = 200

# Keys whose names in records are remembered.
_MOST_KEYS = 1000

_log = get_logger("amas.providers.manager")


class Notices:
    """Makes the events of a manager and its providers; those of a call are ``CallNotice``'s.

    Args:
        bus: Takes them to the observers.
        wall: The time of day, in seconds since 1970.
        fingerprint: Names a key so that it can be told from others, not guessed; None without
            a master key.
        log_calls: Whether the log has each call.
    """

    def __init__(
        self,
        bus: EventBus | None = None,
        wall: Callable[[], float] = time.time,
        fingerprint: Callable[[Secret], str] | None = None,
        *,
        log_calls: bool = False,
    ) -> None:
        self._log_calls = log_calls
        self.bus = bus or EventBus()
        self.wall = wall
        self._fingerprint = fingerprint
        self._fingerprints: dict[str, str | None] = {}

    def fingerprint(self, lane: Lane) -> str | None:
        """Return what names the key of a lane in records; None without a key or master key."""
        if self._fingerprint is None:
            return None
        if lane.mark not in self._fingerprints:
            if len(self._fingerprints) >= _MOST_KEYS:
                self._fingerprints.clear()  # keys that are exchanged every day add up
            key = lane.provider.config.key_value
            self._fingerprints[lane.mark] = self._fingerprint(Secret(key)) if key else None
        return self._fingerprints[lane.mark]

    def call(self, call: CallEnded) -> None:
        """Tell that a call has ended; the log has it as well, unless it has its record anyway."""
        if self._log_calls:
            say = _log.warning if call.serious else _log.info
            say(
                "call_ended",
                request_id=Own(call.request_id),
                caller=call.caller,
                outcome=call.outcome,
                provider=call.provider,
                model=call.model,
                latency_ms=call.latency_ms,
                attempts=len(call.attempts),
                cost_usd=call.cost_usd,
            )
        self.bus.emit(call)

    def refused(self, error: ProviderError, caller: object) -> None:
        """Tell that a call was refused for what it asks, before it was one.

        Args:
            error: Why; it gets the id that the record has.
            caller: Who called, if that is a name.
        """
        error.request_id = uuid.uuid4().hex
        self.call(
            CallEnded(
                at=self.wall(),
                request_id=error.request_id,
                caller=caller[:_LONGEST_NAME] if isinstance(caller, str) else None,
                provider=None,
                model=None,
                outcome=str(error.outcome),
            )
        )

    def circuit(self, provider: str, move: CircuitMove, key: int | None = None) -> None:
        """Tell that a circuit has changed.

        Args:
            provider: Whose it is.
            move: From which state to which, and why.
            key: Which of its keys, counted from 1; None for the provider's own.
        """
        outcome = None if move.outcome is None else str(move.outcome)
        # A probe that fails opens it again, which is no news.
        opened = move.after is CircuitState.OPEN and move.before is CircuitState.CLOSED
        say = _log.warning if opened else _log.info
        say(
            f"circuit_{move.after}",
            provider=provider,
            key=key,
            cause=move.cause,
            outcome=outcome,
            retry_after=move.retry_after,
        )
        self.bus.emit(
            CircuitChanged(
                at=self.wall(),
                provider=provider,
                key=key,
                before=str(move.before),
                after=str(move.after),
                outcome=outcome,
                cause=move.cause,
                retry_after=move.retry_after,
            )
        )

    def health(self, lane: Lane, *, healthy: bool, error: ProviderError | None) -> None:
        """Tell that a check has found a provider well, or no longer."""
        reason = None if healthy or error is None else error.message
        self.bus.emit(
            HealthChanged(
                at=self.wall(),
                provider=lane.provider.name,
                key=lane.number,
                healthy=healthy,
                reason=reason,
            )
        )

    def access(self, request: Request, *, allowed: bool, **found: Any) -> None:
        """Tell that a call was allowed, or denied."""
        self.bus.emit(
            AccessDecision(
                at=self.wall(),
                request_id=request.id,
                caller=request.caller,
                allowed=allowed,
                provider=request.provider,
                model=request.model,
                alias=request.alias_name,
                **found,
            )
        )

    def budget(self, caller: str, unit: str, *, used: float, limit: float, day: str) -> None:
        """Tell what of a budget is used."""
        self.bus.emit(
            BudgetUsed(at=self.wall(), caller=caller, unit=unit, used=used, limit=limit, day=day)
        )

    def key(
        self,
        provider: str,
        number: int,
        *,
        cause: str,
        lane: Lane | None = None,
        error: ProviderError | None = None,
    ) -> None:
        """Tell that a provider uses another key, or that a new one was not taken.

        Args:
            provider: Whose key it is.
            number: Which of its keys, counted from 1.
            cause: What has changed it.
            lane: The new key; None if it was not taken.
            error: Why it was not taken.
        """
        self.bus.emit(
            KeyChange(
                at=self.wall(),
                provider=provider,
                key=number,
                changed=error is None,
                cause=cause,
                reason=error.message if error else None,
                fingerprint=self.fingerprint(lane) if lane else None,
            )
        )

    def reloaded(self, changes: Changes) -> None:
        """Tell what a configuration that was read again has changed."""
        found = {name: tuple(items) for name, items in asdict(changes).items()}
        say = _log.warning if changes.problems else _log.info
        say("reloaded", **{name: list(items) for name, items in found.items() if items})
        self.bus.emit(ConfigurationChanged(at=self.wall(), taken=True, **found))

    def reload_waits(self, gone: Sequence[str], seconds: float) -> None:
        """Tell that a file may be half written, as something is gone from it."""
        _log.warning(
            "reload_waits",
            gone=list(gone),
            why=f"taken over once no file has changed for {seconds:g} s; at once by a reload",
        )

    def keys_tried_again(self, providers: Sequence[str]) -> None:
        """Tell that keys which were not taken are tried until they are."""
        _log.warning(
            "keys_tried_again", providers=list(providers), why="until they are taken or replaced"
        )

    def reload_failed(self, error: ProviderConfigError) -> None:
        """Tell that a configuration was read again, and is not right."""
        _log.error("reload_failed", problems=list(error.problems))
        self.bus.emit(
            ConfigurationChanged(at=self.wall(), taken=False, problems=tuple(error.problems))
        )
