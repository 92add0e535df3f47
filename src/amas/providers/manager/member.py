"""A provider in the manager's care: its circuit, its keys, and how it has done."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from ..base import ProviderBase
from ..errors import ProviderConfigError, ProviderError
from ..types import Effect, Outcome
from .breaker import Breaker
from .budget import Budget
from .bulkhead import Bulkhead
from .circuit_breaker import CircuitState, Permit
from .lane import Lane, fingerprint
from .latency import Latencies
from .notices import Notices
from .policy import KEY_OUTCOMES
from .rate_gate import RateGate
from .rules import Rules
from .sharing import Sharing
from .sliding_window import Window
from .state_store import StateStore

# Retries that a quiet provider may always have within a minute.
_RETRY_RESERVE = 10

# Seconds of traffic that the success rate is made of.
_RATE_WINDOW = 60.0

# Seconds that others are asked first after a failed visit; doubled with each further one.
_FIRST_DOUBT = 1.0


@dataclass(frozen=True, slots=True)
class Ticket:
    """Leave to send one request with one key; to be settled, or given back, exactly once."""

    lane: Lane
    circuit: Permit
    key: Permit

    @property
    def probe(self) -> bool:
        """Whether the request is the one that shows if calls go through again."""
        return self.circuit.probe or self.key.probe


class Member:
    """One provider and its running record.

    Args:
        provider: The provider; with several keys, the one that uses the first of them.
        rules: What holds for it.
        clock: The time in seconds; only differences matter.
        random: Source of numbers in [0, 1), for the jitter of cooldowns.
        store: What other processes are told through; None if there are no others.
        gate: Its limits of requests and tokens per minute; None if it has none.
        notices: Tells of what changes; nobody if None.

    Raises:
        ProviderConfigError: It is no provider, or cannot serve each of its keys.
    """

    def __init__(
        self,
        provider: ProviderBase,
        rules: Rules,
        clock: Callable[[], float],
        random: Callable[[], float],
        *,
        store: StateStore | None = None,
        gate: RateGate | None = None,
        notices: Notices | None = None,
    ) -> None:
        require_provider(provider)
        self._notices = notices or Notices()
        config = provider.config
        self.name = provider.name
        self.config = config
        self.rules = rules
        self.clock = clock
        self.random = random
        self.gate = gate
        self.sharing = Sharing(provider.name, clock, store)
        self.breaker = self._breaker(self.sharing.circuit_key)
        self.breaker.moved = lambda move: self._notices.circuit(self.name, move)
        self.lanes = [
            self.new_lane(item, number) for number, item in enumerate(provider.for_each_key(), 1)
        ]
        self.bulkhead = Bulkhead(config.max_concurrency, config.max_queue)
        self.retries = Budget(rules.retry_share, _RETRY_RESERVE, clock)
        self.latencies = Latencies(clock)
        self.window = Window()
        self.successes = 0
        self.failures = 0
        self.succeeded_at: float | None = None
        self.last_error: ProviderError | None = None
        self.last_picked = 0
        self.doubts = 0
        self.doubted_until = 0.0
        self._tickets = 0

    def _breaker(self, key: str) -> Breaker:
        return Breaker(self.rules.circuit, self.clock, self.random, self.sharing.teller(key))

    def new_lane(self, provider: ProviderBase, number: int) -> Lane:
        """Return a lane for a provider like this one with a key; it is not in use yet."""
        mark = fingerprint(provider)
        breaker = self._breaker(self.sharing.key_circuit(mark))
        lane = Lane(provider, number, mark, breaker, self.clock)
        breaker.moved = lambda move: self._notices.circuit(provider.name, move, lane.number)
        lane.health_changed = lambda healthy: self._notices.health(
            lane, healthy=healthy, error=provider.last_error
        )
        return lane

    def retire(self) -> None:
        """Tell nobody any more: what its calls under way end as concerns nobody who is left."""
        self.breaker.hush()
        self.sharing.hushed = True

    @property
    def longest_call(self) -> float:
        """Seconds after which no request to it is under way any more."""
        return self.rules.circuit.probe_lease

    @property
    def provider(self) -> ProviderBase:
        """The provider; with several keys, one that could be asked."""
        for lane in self.lanes:
            if lane.ready:
                return lane.provider
        return self.lanes[0].provider

    @property
    def ready(self) -> bool:
        """Whether it takes part at all: switched on, and initialized, with one key at least."""
        for lane in self.lanes:  # noqa: SIM110 -- asked many times a call, and ``any`` takes thrice as long
            if lane.ready:
                return True
        return False

    @property
    def healthy(self) -> bool:
        """Whether it would answer, as far as is known."""
        return any(lane.ready and lane.provider.healthy for lane in self.lanes)

    @property
    def misconfigured(self) -> bool:
        """Whether only its owner can help: no key, switched off, wrong address."""
        return all(lane.misconfigured for lane in self.lanes)

    @property
    def doubtful(self) -> bool:
        """Whether others are asked first, since it failed of late and has not answered since."""
        return self.doubted_until > self.clock()

    @property
    def shunned(self) -> bool:
        """Whether others are asked first, since it is not healthy.

        A circuit that is due for its probe is asked in its turn nevertheless, unless a
        health check has failed since it opened.
        """
        if self.healthy:
            return False
        opened = self.breaker.state is not CircuitState.CLOSED
        return not opened or any(
            lane.found_ill_at >= self.breaker.decided_at for lane in self.lanes if lane.ready
        )

    @property
    def success_rate(self) -> float | None:
        """Share of the last minute's requests that were answered; None if there were none."""
        good, bad = self.window.counts(self.clock(), _RATE_WINDOW)
        return good / (good + bad) if good + bad else None

    @property
    def expected_success(self) -> float:
        """Chance that the next request is answered: the success rate, and one success more.

        One failure alone must not look like no chance at all.
        """
        good, bad = self.window.counts(self.clock(), _RATE_WINDOW)
        return (good + 1) / (good + bad + 1)

    def limited_for(self) -> float:
        """Return the seconds until its limits per minute allow a request; 0 or less if they do."""
        return self.gate.wait() if self.gate is not None else 0.0

    def wait(self) -> float:
        """Return the seconds after which it is worth asking again; 0 if that is now."""
        lanes = min((lane.wait() for lane in self.lanes if lane.ready), default=0.0)
        return round(max(0.0, self.breaker.wait(), lanes, self.limited_for()), 3)

    def available(self, without: Collection[Lane] = ()) -> bool:
        """Tell whether it may be asked now, with a key other than those of ``without``."""
        now = self.clock()
        if self.breaker.free_at() > now or self.limited_for() > 0:
            return False
        for lane in self.lanes:  # noqa: SIM110 -- as above
            if lane not in without and lane.available(now):
                return True
        return False

    def admit(self, without: Collection[Lane] = ()) -> Ticket | None:
        """Ask to send a request; a ticket given must be settled or given back.

        The key is the one with the fewest requests under way, then the least recently used.
        """
        now = self.clock()
        lanes = [lane for lane in self.lanes if lane not in without and lane.available(now)]
        if not lanes:
            return None
        circuit = self.breaker.admit()
        if circuit is None:
            return None
        lane = lanes[0] if len(lanes) == 1 else min(lanes, key=_least_used)
        key = lane.breaker.admit()
        if key is None:
            self.breaker.give_back(circuit)
            return None
        self._tickets += 1
        lane.last_used = self._tickets
        lane.enter()
        if self.doubts:
            # One call finds out; until it has, the others keep away.
            self.doubted_until = now + lane.provider.config.timeout
        return Ticket(lane, circuit, key)

    async def lease(self, ticket: Ticket) -> bool:
        """Make sure that no other process probes at the same time.

        Returns:
            Whether the request may be sent; otherwise the ticket has been given back.
        """
        lane = ticket.lane
        wanted: list[tuple[str, str, Breaker, Permit]] = []
        if ticket.circuit.probe:
            key = self.sharing.circuit_key
            wanted.append((key, self.breaker.version, self.breaker, ticket.circuit))
        if ticket.key.probe:
            key = self.sharing.key_circuit(lane.mark)
            wanted.append((key, lane.breaker.version, lane.breaker, ticket.key))
        held: list[tuple[str, str]] = []
        try:
            for key, version, breaker, permit in wanted:
                if not await self.sharing.lease(key, version, self.rules.circuit.probe_lease):
                    breaker.defer(permit)
                    break
                held.append((key, version))
        finally:
            if len(held) < len(wanted):
                for key, version in held:
                    self.sharing.release(key, version)
                self._take_back(ticket)
        return len(held) == len(wanted)

    def _take_back(self, ticket: Ticket) -> None:
        """Take back a ticket that was not used."""
        self.breaker.give_back(ticket.circuit)
        ticket.lane.breaker.give_back(ticket.key)
        ticket.lane.leave()
        if self.doubts:
            # It is not this call that finds out.
            self.doubted_until = self.clock()

    def _release_leases(self, ticket: Ticket, circuit: bool, key: bool) -> None:
        """Let other processes probe what has told nothing here."""
        lane = ticket.lane
        if circuit:
            self.sharing.release(self.sharing.circuit_key, self.breaker.version)
        if key:
            self.sharing.release(self.sharing.key_circuit(lane.mark), lane.breaker.version)

    def settle(
        self,
        ticket: Ticket,
        outcome: Outcome,
        *,
        latency: float,
        error: ProviderError | None,
        overtaken: bool = False,
        blameless: bool = False,
    ) -> None:
        """Take in how a request ended.

        Args:
            ticket: Its ticket.
            outcome: How it ended.
            latency: Seconds it took.
            error: Its error, if it failed.
            overtaken: Whether it was cancelled because another provider was faster.
            blameless: Whether the failure says nothing about the provider.
        """
        ticket.lane.leave()
        effect = Effect.NEUTRAL if blameless else self._effect(outcome, error)
        if overtaken and ticket.circuit.probe:
            # It had its time, and the circuit is open for a cause: not yet back.
            effect = Effect.FAILURE
        elif effect is Effect.SUCCESS:
            # Who refuses a request as wrong is back as well.
            self.doubts, self.doubted_until = 0, 0.0
        self._record(ticket, effect, outcome)
        if outcome is Outcome.RATE_LIMITED:
            self._cool_down(ticket.lane, error)
        if outcome is Outcome.OK:
            self._count_success(ticket.lane, latency)
        elif error is not None:
            self.failures += 1
            self.last_error = error
            if effect in {Effect.FAILURE, Effect.TRIP}:
                self.window = self.window.add(self.clock(), _RATE_WINDOW, bad=1)

    def _effect(self, outcome: Outcome, error: ProviderError | None) -> Effect:
        # What was refused before it was sent says nothing about the upstream.
        if outcome is Outcome.INVALID_REQUEST and error is not None and error.status_code is None:
            return Effect.NEUTRAL
        return self.rules.policy[outcome].circuit

    def _record(self, ticket: Ticket, effect: Effect, outcome: Outcome) -> None:
        """Tell the circuits of provider and key, each what concerns it."""
        if outcome in KEY_OUTCOMES:
            circuit, key = Effect.NEUTRAL, effect
        else:
            circuit, key = effect, effect if effect is Effect.SUCCESS else Effect.NEUTRAL
        lane = ticket.lane
        self._release_leases(
            ticket,
            ticket.circuit.probe and circuit is Effect.NEUTRAL,
            ticket.key.probe and key is Effect.NEUTRAL,
        )
        self.breaker.record(circuit, ticket.circuit, outcome)
        lane.breaker.record(key, ticket.key, outcome)
        if CircuitState.OPEN in {self.breaker.state, lane.breaker.state}:
            lane.provider.healthy = False

    def _count_success(self, lane: Lane, latency: float) -> None:
        now = self.clock()
        self.successes += 1
        self.succeeded_at = now
        lane.provider.healthy = True
        self.window = self.window.add(now, _RATE_WINDOW, good=1)
        self.latencies.add(latency)
        self.sharing.tell_latency(self.latencies.average or latency)

    def _cool_down(self, lane: Lane, error: ProviderError | None) -> None:
        asked = error.retry_after if error else None
        # Without a wish of the upstream's a second is a guess that does little harm.
        wait = min(self.rules.circuit.max_cooldown, 1.0 if asked is None else asked)
        lane.cooling_until = max(lane.cooling_until, self.clock() + wait)
        lane.cooldown_version = self.sharing.tell_cooldown(lane.mark, lane.cooling_until)

    def doubt(self) -> None:
        """Let others be asked first for a while: a whole visit, retries included, has failed."""
        doubted = _FIRST_DOUBT * 2 ** min(self.doubts, 30)
        self.doubts += 1
        self.doubted_until = self.clock() + min(self.rules.circuit.cooldown, doubted)

    def trip(self, seconds: float) -> None:
        """Set it aside for so many seconds."""
        self.breaker.trip(seconds)

    def reset(self) -> None:
        """Forget every failure: close its circuits, end its cooldowns, and take it for healthy."""
        self.breaker.reset()
        for lane in self.lanes:
            lane.breaker.reset()
            if lane.ready:
                lane.provider.healthy = True
            lane.cooling_until = self.clock()
            lane.cooldown_version = self.sharing.tell_cooldown(lane.mark, lane.cooling_until)
        self.doubts, self.doubted_until = 0, 0.0


def require_provider(given: object) -> None:
    """Raise ``ProviderConfigError`` unless it is a provider with its configuration."""
    if not isinstance(given, ProviderBase) or not hasattr(given, "config"):
        raise ProviderConfigError(
            "a provider is a ProviderBase that was given its ProviderConfig,"
            f" not a {type(given).__name__}; call super().__init__(config)"
        )


def _least_used(lane: Lane) -> tuple[bool, int, int]:
    return not lane.provider.healthy, lane.in_flight, lane.last_used
