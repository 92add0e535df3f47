"""Decisions shared between processes and machines, through Redis.

One task per event loop talks to Redis, over one connection and in one round trip at a
time; whatever is asked meanwhile goes into the next one, together. A caller only waits
for the round trip it is in, and can give up or be cancelled without harm to the others.

What fails, or takes too long, sets the whole store "away": nobody waits any more, and
the task tries to come back. Entries carry times of the Redis server's clock, which is
the only one that all processes can see.
"""

from __future__ import annotations

import asyncio
import random as chance
import time
import uuid
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from ..observability.logging import get_logger
from ..secret import scrub
from .counters import Counters, Counting
from .redis_wire import RedisWire, Trip
from .state_store import Entry, StateStore

if TYPE_CHECKING:
    from redis.asyncio import Redis

_log = get_logger("amas.providers.state")

# Seconds without anything to do after which the connection is given up.
_IDLE = 300.0


class RedisStore(StateStore, Counting):
    """The store of managers in several processes, or on several machines.

    Args:
        url: Address of the server, such as ``redis://host:6379/0``.
        prefix: What the name of every key begins with.
        clock: The time in seconds, the same as the manager's; only differences matter.
        timeout: Seconds that any operation may take, connecting included.
        retry_every: Seconds between attempts to reach a server that is away, roughly.
        random: Source of numbers in [0, 1), for the jitter of these attempts.

    Raises:
        ProviderConfigError: The package ``redis`` is missing, or the address is none.
    """

    def __init__(
        self,
        url: str,
        *,
        prefix: str = "amas-providers",
        clock: Callable[[], float] = time.monotonic,
        timeout: float = 0.05,
        retry_every: float = 1.0,
        random: Callable[[], float] = chance.random,
    ) -> None:
        # Nobody waits for a return; and what is slow to connect may be fast afterwards.
        self._patience = max(timeout, retry_every)
        self._wire = RedisWire(url, prefix, clock, self._patience)
        self._clock = clock
        self._timeout = timeout
        self._retry_every = retry_every
        self._random = random
        self._away = False
        self._why = ""
        self._resting = False
        self._pending: dict[str, Entry] = {}
        self._leases: dict[str, tuple[str, float]] = {}  # name: token, local end
        self._releases: dict[str, str] = {}  # token: name
        self._sums = Counters(clock)  # as last told, and what was added since
        self._owed: dict[str, tuple[float, float]] = {}  # name: amount, seconds
        self._next: Trip | None = None
        self._present: Trip | None = None
        self._worker: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake = asyncio.Event()

    @override
    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._wire.where!r}, prefix={self._wire.prefix!r})"

    @property
    @override
    def away(self) -> str | None:
        return self._why if self._away else None

    @override
    async def pull(self, keys: Sequence[str]) -> Mapping[str, Entry]:
        trip = self._join() if keys else None
        if trip is None:
            return {}
        trip.keys.update(dict.fromkeys(keys))
        await self._ended(trip)
        return {key: trip.entries[key] for key in keys if key in trip.entries}

    @override
    def push(self, key: str, entry: Entry) -> None:
        self._pending[key] = entry
        self._begin()

    @override
    async def flush(self) -> None:
        if not self._has_work() and self._present is None:
            return
        trip = self._join()
        if trip is not None:
            await self._ended(trip)

    @override
    async def lease(self, key: str, version: str, seconds: float) -> bool:
        trip = self._join()
        if trip is None:
            return True
        token, name = uuid.uuid4().hex, self._wire.lease_name(key, version)
        trip.leases[token] = name, max(1, round(seconds * 1000))
        try:
            await self._ended(trip)
        except asyncio.CancelledError:
            self._give_back(token, name)
            raise
        if trip.answered and token not in trip.granted:
            return False
        # Also without an answer: the question may have got there, only late.
        now = self._clock()
        self._leases = {n: held for n, held in self._leases.items() if held[1] > now}
        self._leases[name] = token, now + seconds
        return True

    @override
    def release(self, key: str, version: str) -> None:
        name = self._wire.lease_name(key, version)
        token, _ = self._leases.pop(name, (None, 0.0))
        if token is not None:
            self._give_back(token, name)

    def _give_back(self, token: str, name: str) -> None:
        self._releases[token] = name
        self._begin()

    @override
    async def add(self, amounts: Mapping[str, float], seconds: float) -> Mapping[str, float]:
        """Add to some sums; while the store is away, to what is known of them here."""
        local = self._sums.add_now(amounts, seconds)
        for name, amount in amounts.items():
            self._owe(name, amount, seconds)
        trip = self._join()
        if trip is None:
            return local
        await self._ended(trip)
        return {name: trip.totals.get(name, local[name]) for name in amounts}

    @override
    async def close(self) -> None:
        worker, loop = self._worker, self._loop
        if worker is not None and not worker.done() and loop is asyncio.get_running_loop():
            await self.flush()
            self._resting = True
            worker.cancel()
            await asyncio.gather(worker, return_exceptions=True)
        self._resting = True

    # The callers' side

    def _begin(self) -> None:
        """See that somebody works on what there is to do; without a loop it has to wait."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        if loop is not self._loop:
            self._move(loop)
        if (self._worker is None or self._worker.done()) and not self._resting:
            self._worker = loop.create_task(self._work(), name="amas-state-store")
        self._wake.set()

    def _move(self, loop: asyncio.AbstractEventLoop) -> None:
        """Leave the loop of before; its connection ends with its task."""
        worker, old = self._worker, self._loop
        if worker is not None and old is not None and not worker.done() and not old.is_closed():
            old.call_soon_threadsafe(worker.cancel)
        self._loop, self._worker, self._resting = loop, None, False
        self._next = self._present = None
        self._wake = asyncio.Event()

    def _join(self) -> Trip | None:
        """Return the next round trip; None if the store is away."""
        self._resting = False
        self._begin()
        if self._away:
            return None
        if self._next is None:
            self._next = Trip(asyncio.get_running_loop().create_future())
        return self._next

    async def _ended(self, trip: Trip) -> None:
        if not await _in_time(trip.over, self._timeout):
            self._lose(TimeoutError(f"no answer within {self._timeout * 1000:g} ms"))

    def _lose(self, error: BaseException) -> None:
        """Set the store away, and let go whoever waits."""
        if not self._away:
            self._away = True
            self._why = scrub(f"{type(error).__name__}: {error}")
            _log.warning("shared_state_away", server=self._wire.where, error=self._why)
        self._let_go()

    def _let_go(self) -> None:
        for trip in (self._present, self._next):
            if trip is not None:
                trip.end()
        self._next = None

    # The task's side

    async def _work(self) -> None:
        """Serve the callers of one loop, with one connection after the other."""
        try:
            while True:
                client = self._wire.new_client()
                try:
                    await self._serve(client)
                finally:
                    with suppress(Exception):
                        await client.aclose()
                if self._away:
                    await asyncio.sleep(self._retry_every * (0.75 + 0.5 * self._random()))
                elif not self._has_work():
                    return
        except asyncio.CancelledError:
            if self._loop is asyncio.get_running_loop():
                # It may be about to end: what is only pushed begins nothing new in it.
                self._resting = True
                self._let_go()
            raise

    async def _serve(self, client: Redis) -> None:
        """Make round trips with one connection, until it fails or nobody wants any."""
        away = self._away
        limit = self._patience if away else self._timeout
        if not await self._attempt(self._wire.greet(client), limit):
            return
        if away:
            self._away = False
            _log.info("shared_state_back", server=self._wire.where)
        while not self._away:
            self._wake.clear()
            if self._has_work():
                await self._make_trip(client)
            elif not await self._woken():
                return

    async def _woken(self) -> bool:
        try:
            async with asyncio.timeout(_IDLE):
                await self._wake.wait()
        except TimeoutError:
            return False
        return True

    def _has_work(self) -> bool:
        return bool(
            self._next or self._pending or self._releases or self._owed or self._wire.has_to_repeat
        )

    async def _make_trip(self, client: Redis) -> None:
        trip = self._next or Trip(asyncio.get_running_loop().create_future())
        self._next, self._present = None, trip
        trip.pushes, self._pending = self._pending, {}
        trip.releases, self._releases = self._releases, {}
        trip.sums, self._owed = self._owed, {}
        try:
            await self._attempt(self._wire.exchange(client, trip), self._timeout)
        finally:
            if not trip.answered:
                self._pending = {**trip.pushes, **self._pending}
                self._releases = {**trip.releases, **self._releases}
                # What may not have been added is added later: twice rather than never.
                for name, (amount, seconds) in trip.sums.items():
                    self._owe(name, amount, seconds)
            for name, total in trip.totals.items():
                self._sums.learn({name: total}, trip.sums[name][1])
            trip.end()
            if self._present is trip:
                self._present = None

    def _owe(self, name: str, amount: float, seconds: float) -> None:
        """Add to a sum with the next round trip."""
        self._owed[name] = self._owed.get(name, (0.0, 0.0))[0] + amount, seconds

    async def _attempt(self, work: Coroutine[Any, Any, None], limit: float) -> bool:
        """Do something with Redis; if it fails or takes too long, the store is away."""
        task = asyncio.create_task(work)
        try:
            if not await _in_time(task, limit):
                self._lose(TimeoutError(f"no answer within {limit * 1000:g} ms"))
                return False
        finally:
            if not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        error = task.exception()
        if error is not None:
            self._lose(error)
        return error is None


async def _in_time(waited: asyncio.Future[None], limit: float) -> bool:
    """Wait until something is done, so many seconds at most, and tell whether it is."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    await asyncio.wait({waited}, timeout=limit)
    if not waited.done() and loop.time() - began > 1.5 * limit:
        # The loop itself was held up: what came meanwhile is still to be read.
        await asyncio.wait({waited}, timeout=limit / 2)
    return waited.done()
