"""A circuit with its clock: what a provider, or one of its keys, has for itself."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace

from ..types import Effect, Outcome
from .circuit_breaker import (
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
from .sliding_window import Window
from .state_store import Entry

# While a probe is under way nobody knows when calls go through again; soon, as a rule.
_PROBE_WAIT = 1.0

# Seconds after which a process asks again for a probe that another one has.
_ASK_AGAIN = 0.25


@dataclass(frozen=True, slots=True)
class CircuitMove:
    """A change of a circuit's state.

    Args:
        before: The state it was in.
        after: The state it is in now.
        cause: ``calls``, ``operator`` (by hand) or ``shared`` (another process has told).
        outcome: How the request ended that has moved it; None if none did.
        retry_after: Seconds until it is probed; None unless it is open.
    """

    before: CircuitState
    after: CircuitState
    cause: str
    outcome: Outcome | None = None
    retry_after: float | None = None


class Breaker:
    """The circuit of one provider or key, and what it tells other processes.

    Args:
        settings: When it opens, and for how long.
        clock: The time in seconds; only differences matter.
        random: Source of numbers in [0, 1), for the jitter of cooldowns.
        tell: Called with each decision: that it opened, or closed.

    Attributes:
        moved: Called with each change of its state.
    """

    def __init__(
        self,
        settings: CircuitSettings,
        clock: Callable[[], float],
        random: Callable[[], float],
        tell: Callable[[Entry], None] | None = None,
    ) -> None:
        self.settings = settings
        self.circuit = Circuit()
        self.version = ""
        self.decided_at = clock()
        self.moved: Callable[[CircuitMove], None] = _unseen
        self._clock = clock
        self._random = random
        self._tell = tell

    def hush(self) -> None:
        """Tell nobody any more, neither here nor in other processes."""
        self.moved, self._tell = _unseen, None

    @property
    def state(self) -> CircuitState:
        """Whether calls go through."""
        return self.circuit.state

    def free_at(self) -> float:
        """Return the time from which it would let a call through; in the past if it does."""
        return blocked_until(self.circuit)

    def wait(self) -> float:
        """Return the seconds after which it is worth asking again; 0 or less if that is now."""
        blocked = blocked_until(self.circuit) - self._clock()
        return min(blocked, _PROBE_WAIT) if self.state is CircuitState.HALF_OPEN else blocked

    def admit(self) -> Permit | None:
        """Ask to send a request."""
        before = self.circuit
        self.circuit, permit = admit(before, self._clock(), self.settings)
        if before is not self.circuit:
            self._told(before, "calls")
        return permit

    def give_back(self, permit: Permit) -> None:
        """Return a permit that was not used."""
        self.circuit = give_back(self.circuit, permit)

    def defer(self, permit: Permit) -> None:
        """Return the permit of a probe that another process is making; nobody asks for a while."""
        self.circuit = defer(self.circuit, permit, self._clock() + _ASK_AGAIN)

    def record(self, effect: Effect, permit: Permit, outcome: Outcome | None = None) -> None:
        """Take in what a permitted request told, by ending as it did."""
        before = self.circuit
        self.circuit = record(
            before,
            effect,
            permit,
            now=self._clock(),
            settings=self.settings,
            random=self._random,
        )
        self._told(before, "calls", outcome)
        closed = before.state is not self.circuit.state and self.state is CircuitState.CLOSED
        if closed or self.circuit.openings > before.openings:
            self._decide()

    def trip(self, seconds: float) -> None:
        """Open it for so many seconds, whatever its state."""
        before, self.circuit = self.circuit, trip(self.circuit, self._clock(), seconds)
        self._told(before, "operator")
        self._decide()

    def reset(self) -> None:
        """Close it, and forget what was counted."""
        before, self.circuit = self.circuit, reset(self.circuit)
        self._told(before, "operator")
        self._decide()

    def _told(self, before: Circuit, cause: str, outcome: Outcome | None = None) -> None:
        """Tell of a change of state, if it is one."""
        after = self.circuit.state
        if after is not before.state:
            wait = round(self.wait(), 3) if after is CircuitState.OPEN else None
            self.moved(CircuitMove(before.state, after, cause, outcome, wait))

    def _decide(self) -> None:
        self.version = uuid.uuid4().hex
        self.decided_at = self._clock()
        if self._tell is not None:
            self._tell(self._entry())

    def _entry(self) -> Entry:
        is_open = self.state is not CircuitState.CLOSED
        # A closing need only be known as long as others may still hold it open.
        until = self.circuit.retry_at if is_open else self._clock()
        return Entry(
            version=self.version,
            until=until,
            data={"open": is_open, "openings": self.circuit.openings},
            ttl=2 * self.settings.max_cooldown,
        )

    def adopt(self, entry: Entry, asked_at: float) -> bool:
        """Take over what another process decided.

        Args:
            entry: Its decision.
            asked_at: When the question was sent; a decision of our own since then is newer.

        Returns:
            Whether it was not closed before, and is now.
        """
        if entry.version == self.version or self.decided_at >= asked_at:
            return False
        self.version = entry.version
        before = self.circuit
        if not entry.data.get("open"):
            self.circuit = reset(before)
            self._told(before, "shared")
            return before.state is not CircuitState.CLOSED
        openings = entry.data.get("openings")
        self.circuit = replace(
            self.circuit,
            state=CircuitState.OPEN,
            window=Window(),
            openings=openings if isinstance(openings, int) else 1,
            retry_at=entry.until,
            probe_until=0.0,
            era=self.circuit.era + 1,
        )
        self._told(before, "shared")
        return False


def _unseen(_move: CircuitMove) -> None:
    """Tell nobody."""
