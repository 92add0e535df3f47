"""What the managers of several processes tell each other of one provider."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

from .state_store import Entry, StateStore

# A latency is news for others at most once in so many seconds, and for so many.
_LATENCY_EVERY = 1.0
_LATENCY_HOLDS = 300.0


@dataclass(slots=True)
class Sharing:
    """The entries of one provider in the shared state; without a store nothing is shared.

    Args:
        name: Name of the provider.
        clock: The time in seconds; only differences matter.
        store: Where entries go.
        hushed: Whether nobody is told of cooldowns and latencies any more.
    """

    name: str
    clock: Callable[[], float]
    store: StateStore | None = None
    hushed: bool = False
    _latency_told_at: float = field(default=float("-inf"))

    @property
    def circuit_key(self) -> str:
        """Where the provider's circuit stands."""
        return f"circuit:{self.name}"

    @property
    def latency_key(self) -> str:
        """Where the provider's latency stands."""
        return f"latency:{self.name}"

    def key_circuit(self, mark: str) -> str:
        """Where the circuit of one key stands; see ``Lane.mark``."""
        return f"key:{self.name}:{mark}"

    def key_cooldown(self, mark: str) -> str:
        """Where the cooldown of one key stands; see ``Lane.mark``."""
        return f"cooldown:{self.name}:{mark}"

    def teller(self, key: str) -> Callable[[Entry], None] | None:
        """Return what tells others of the decisions of one circuit; None if nobody is told."""
        store = self.store
        if store is None:
            return None
        return lambda entry: store.push(key, entry)

    def tell_cooldown(self, mark: str, until: float) -> str:
        """Tell others that a key is not to be used until a time; return the entry's version."""
        if self.store is None or self.hushed:
            return ""
        entry = Entry(version=uuid.uuid4().hex, until=until, data={})
        self.store.push(self.key_cooldown(mark), entry)
        return entry.version

    def tell_latency(self, average: float) -> None:
        """Tell others how fast the provider is, now and then."""
        now = self.clock()
        if self.store is None or self.hushed or now - self._latency_told_at < _LATENCY_EVERY:
            return
        self._latency_told_at = now
        entry = Entry(
            version=uuid.uuid4().hex, until=now + _LATENCY_HOLDS, data={"average": average}
        )
        self.store.push(self.latency_key, entry)

    async def lease(self, key: str, version: str, seconds: float) -> bool:
        """Ask for the only probe of a circuit that several processes hold open."""
        return self.store is None or await self.store.lease(key, version, seconds)

    def release(self, key: str, version: str) -> None:
        """Give back the probe of a circuit that has told nothing."""
        if self.store is not None:
            self.store.release(key, version)
