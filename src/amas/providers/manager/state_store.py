"""What managers tell each other of their decisions: the protocol, and the one within a process.

Each manager decides by its own state alone; a store only spreads decisions: a circuit
opened or closed, a key set aside, a latency. No call depends on a store being there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from typing_extensions import override

Value: TypeAlias = "str | int | float | bool | None"


@dataclass(frozen=True, slots=True)
class Entry:
    """One decision.

    Args:
        version: Unique id of the decision.
        until: Time up to which it holds, in seconds of the local clock; a store
            converts between the clocks of processes.
        data: What was decided.
        ttl: Seconds after ``until`` for which it is still worth knowing.
    """

    version: str
    until: float
    data: Mapping[str, Value]
    ttl: float = 60.0


class StateStore(Protocol):
    """Tells others of decisions, and knows theirs; never raises, never takes longer than 50 ms."""

    @property
    def away(self) -> str | None:
        """Why others cannot be heard at present; None if they can."""
        ...

    async def pull(self, keys: Sequence[str]) -> Mapping[str, Entry]:
        """Ask what was told last, by others or by us.

        Args:
            keys: Names of what is asked for.

        Returns:
            The entries by key, of those keys for which there is one; none if the
            store is away.
        """
        ...

    def push(self, key: str, entry: Entry) -> None:
        """Tell others, soon and without waiting; whoever tells last is believed.

        Args:
            key: Name of what was decided on.
            entry: The decision.
        """
        ...

    async def flush(self) -> None:
        """Wait until what was pushed has been told."""
        ...

    async def lease(self, key: str, version: str, seconds: float) -> bool:
        """Ask to be the only one who acts on a decision.

        Args:
            key: Name of what was decided on.
            version: Which decision; each has a lease of its own, which is not given
                a second time before it ends or is released.
            seconds: How long the lease lasts if it is not released.

        Returns:
            True for exactly one; for everybody if the store is away, since then
            each process has to find out for itself.
        """
        ...

    def release(self, key: str, version: str) -> None:
        """Give back a lease that was got through this very store, soon and without waiting.

        Args:
            key: Name of what was decided on.
            version: Which decision.
        """
        ...

    async def close(self) -> None:
        """Tell what is still to be told, and leave nothing open; a later call begins anew."""
        ...


class MemoryStore(StateStore):
    """The store of managers within one process, which are all given the same one.

    Args:
        clock: The time in seconds, the same as the managers'; only differences matter.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._entries: dict[str, Entry] = {}
        self._leases: dict[tuple[str, str], float] = {}

    @property
    @override
    def away(self) -> str | None:
        return None

    @override
    async def pull(self, keys: Sequence[str]) -> Mapping[str, Entry]:
        now = self._clock()
        asked = ((key, self._entries.get(key)) for key in keys)
        return {key: entry for key, entry in asked if entry and entry.until + entry.ttl > now}

    @override
    def push(self, key: str, entry: Entry) -> None:
        now = self._clock()
        self._entries[key] = entry
        self._entries = {k: v for k, v in self._entries.items() if v.until + v.ttl > now}

    @override
    async def flush(self) -> None:
        """Return at once: whatever was pushed is known."""

    @override
    async def lease(self, key: str, version: str, seconds: float) -> bool:
        now = self._clock()
        self._leases = {name: ends for name, ends in self._leases.items() if ends > now}
        if (key, version) in self._leases:
            return False
        self._leases[key, version] = now + seconds
        return True

    @override
    def release(self, key: str, version: str) -> None:
        self._leases.pop((key, version), None)

    @override
    async def close(self) -> None:
        """Leave everything as it is: other managers may use it."""
