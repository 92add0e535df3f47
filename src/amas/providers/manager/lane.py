"""One key of a provider: its own circuit and cooldown, beside those of the provider."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

from ..base import ProviderBase
from ..errors import ProviderConfigError
from ..types import KeyStatus
from .breaker import Breaker
from .circuit_breaker import CircuitState


def _set() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


def _unheard(_healthy: bool) -> None:
    """Tell nobody."""


@dataclass(slots=True, eq=False)
class Lane:
    """A provider with one key.

    Args:
        provider: The provider that uses this key.
        number: Which of the keys, counted from 1.
        mark: What names the key to other processes; see ``fingerprint``.
        breaker: Set open by a refused key or an empty account.
        clock: The time in seconds; only differences matter.
        health_changed: Called with what a check has found, if that is new.
        presumed: What its first check is compared with; None if that is no news in any case.
    """

    provider: ProviderBase
    number: int
    mark: str
    breaker: Breaker
    clock: Callable[[], float]
    cooling_until: float = 0.0
    cooldown_version: str = ""
    in_flight: int = 0
    idle: asyncio.Event = field(default_factory=_set)
    last_used: int = 0
    check: asyncio.Task[bool] | None = None
    check_seconds: float | None = None
    found_ill_at: float = float("-inf")
    presumed: bool | None = False
    retired: bool = False
    health_changed: Callable[[bool], None] = _unheard

    def enter(self) -> None:
        """Count a request as under way."""
        self.in_flight += 1
        self.idle.clear()

    def leave(self) -> None:
        """Count a request as ended."""
        self.in_flight -= 1
        if not self.in_flight:
            self.idle.set()

    def retire(self) -> None:
        """Take part no more, and tell nobody: what ends late concerns nobody who is left."""
        self.retired = True
        self.breaker.hush()
        self.health_changed = _unheard

    @property
    def ready(self) -> bool:
        """Whether it takes part at all: switched on, and initialized."""
        return self.provider.config.enabled and self.provider.initialized

    @property
    def well(self) -> bool | None:
        """Whether it would answer; None if nobody knows: switched off, or not asked yet."""
        known = self.provider.initialized or self.check_seconds is not None
        if not self.provider.config.enabled or not known:
            return None
        return self.provider.initialized and self.provider.healthy

    @property
    def misconfigured(self) -> bool:
        """Whether only its owner can help: no key, switched off, wrong address."""
        return not self.ready and (
            not self.provider.config.enabled
            or isinstance(self.provider.last_error, ProviderConfigError)
        )

    def wait(self) -> float:
        """Return the seconds after which it is worth asking again; 0 or less if that is now."""
        return max(self.breaker.wait(), self.cooling_until - self.clock())

    def available(self, now: float) -> bool:
        """Tell whether it may be asked at a time, as far as is known by now."""
        return self.ready and self.cooling_until <= now and self.breaker.free_at() <= now

    def status(self) -> KeyStatus:
        """Describe how this key is doing."""
        wait = round(self.wait(), 3)
        return KeyStatus(
            key=self.number, state=self._state(), retry_after=wait if wait > 0 else None
        )

    def _state(self) -> str:
        if not self.ready:
            return "unavailable"
        if self.breaker.state is not CircuitState.CLOSED:
            return "set_aside"
        return "cooling_down" if self.cooling_until > self.clock() else "available"


def fingerprint(provider: ProviderBase) -> str:
    """Return what names a key to other processes that use it too, and tells nothing of it."""
    key = provider.config.key_value or ""
    return hashlib.blake2b(key.encode(), digest_size=12, person=b"amas-key").hexdigest()
