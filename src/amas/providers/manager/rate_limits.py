"""Limits of requests and tokens per minute, shared by all processes if there is a Redis.

The counting is done by the package ``limits``, with its sliding window counter: two numbers
for each limit, of the present minute and of the one before, which fades out evenly. Its
moving window would be exact, but keeps an entry for every single token, which is a million
for a limit of a million tokens per minute; its fixed window lets twice the limit through
around the turn of a minute.

We speak to the storages of ``limits`` and not to its strategies, which make the size of a
limit part of its name, so that everything is forgotten when the configuration changes it,
and which tell when *something* can be taken, but not when so many tokens can.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from ..errors import ProviderConfigError
from ..observability.logging import get_logger
from .redis_store import _in_time
from .redis_wire import RedisWire

if TYPE_CHECKING:
    from limits.aio.storage import MemoryStorage, RedisStorage

    Storage: TypeAlias = MemoryStorage | RedisStorage

T = TypeVar("T")

_log = get_logger("amas.providers.state")

# Seconds that limits are for.
_WINDOW = 60

# Redis counts milliseconds: whoever comes back in the very moment may come too early.
_MARGIN = 0.01

# More than anybody can count to, and exact in Lua.
_NO_LIMIT = 2**53

# Most connections to Redis, of one process: enough for 10,000 requests per second.
_CONNECTIONS = 16


@dataclass(frozen=True, slots=True)
class _Claim:
    """What is to be counted: a cost, against a limit, under a name."""

    key: str
    limit: int
    cost: int


class RateLimits:
    """Counts requests and tokens per minute, by names of providers.

    Without Redis, or while it is away, each process counts for itself. What Redis counted for
    this process is known then, too.

    Args:
        url: Address of the Redis server, such as ``redis://host:6379/0``; None for this
            process alone.
        prefix: What the name of every key in Redis begins with.
        timeout: Seconds that Redis has for an answer, connecting included.
        retry_every: Seconds between attempts to reach a Redis that is away.
        clock: The time in seconds, for these attempts; only differences matter.

    Raises:
        ProviderConfigError: A package is missing, or the address is none.
    """

    def __init__(
        self,
        *,
        url: str | None = None,
        prefix: str = "amas-providers",
        timeout: float = 0.05,
        retry_every: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        try:
            from limits.aio.storage import MemoryStorage  # noqa: PLC0415 -- an extra
        except ImportError:
            raise ProviderConfigError(
                "rpm and tpm need the package limits: pip install 'amas-providers[limits]'"
            ) from None
        self._memory = MemoryStorage()
        self._wire = RedisWire(url, prefix, clock, timeout) if url is not None else None
        self._timeout = timeout
        self._retry_every = retry_every
        self._clock = clock
        self._away = False
        self._retry_at = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._opened: AsyncGenerator[tuple[RedisStorage, asyncio.Semaphore], None] | None = None

    async def take(self, name: str, *, rpm: int | None, tpm: int | None, tokens: int) -> float:
        """Take one request of so many tokens, if both limits allow it.

        No race lets anybody through in excess, not even one between processes. A caller that
        is refused by its tokens holds a request of ``rpm`` for the moment that Redis takes to
        say so, and another one may be refused meanwhile. Whoever is cancelled may have been
        counted.

        Args:
            name: Name of the provider.
            rpm: Most requests per minute, from 1; no limit if None.
            tpm: Most tokens per minute, from 1; no limit if None.
            tokens: Estimate of what the request takes. More than ``tpm`` counts as ``tpm``,
                so that it can be sent at all: when nothing else was, for a minute.

        Returns:
            0 if it was taken. Otherwise nothing was, and these are the seconds after which it
            is worth trying again, if nobody else takes anything.
        """
        claims = _claims(name, rpm, tpm, tokens)
        if not claims:
            return 0.0
        wait = await self._shared(lambda storage: _take(storage, claims))
        if wait is None:
            return await _take(self._memory, claims)
        if wait <= 0:
            await _count(self._memory, claims)
        return wait

    async def wait(self, name: str, *, rpm: int | None, tpm: int | None, tokens: int) -> float:
        """Return the seconds after which ``take`` is worth trying, 0 if that is now; take nothing."""
        claims = _claims(name, rpm, tpm, tokens)
        wait = await self._shared(lambda storage: _wait_for_all(storage, claims))
        return await _wait_for_all(self._memory, claims) if wait is None else wait

    async def settle(self, name: str, *, tpm: int | None, estimated: int, used: int) -> None:
        """Count what a request has used beyond the estimate, even if that is over the limit.

        What was estimated and not used is not given back: it may have been counted in the
        minute before, and have half faded already.

        Args:
            name: Name of the provider.
            tpm: Most tokens per minute; nothing is counted if None.
            estimated: The tokens that were taken.
            used: The tokens that the request has really used.
        """
        if tpm is None or used <= estimated:
            return
        claims = [_Claim(_key(name, "tpm"), tpm, used - estimated)]
        await self._shared(lambda storage: _count(storage, claims))
        await _count(self._memory, claims)

    async def close(self) -> None:
        """Leave no connection open; a later call begins anew."""
        opened, self._opened = self._opened, None
        if opened is not None and self._loop is asyncio.get_running_loop():
            await opened.aclose()

    async def _shared(self, work: Callable[[RedisStorage], Coroutine[Any, Any, T]]) -> T | None:
        """Do something with Redis, and return what comes of it; None if there is none, or away."""
        if self._wire is None or not self._may_try():
            return None
        probing = self._away
        try:
            storage, room = await self._connections(self._wire)
            async with room:
                if self._away and not probing:
                    return None
                result = await _within(self._timeout, work(storage))
        except Exception as error:  # noqa: BLE001 -- whatever it is, no call may fail by it
            self._lose(error, self._wire.where)
            return None
        if probing and self._away:  # an answer that was on its way when it was lost is no return
            self._away = False
            _log.info("shared_limits_back", server=self._wire.where)
        return result

    def _may_try(self) -> bool:
        """Tell whether to ask Redis; while it is away, one caller in a second finds out."""
        if self._away:
            now = self._clock()
            if now < self._retry_at:
                return False
            self._retry_at = now + self._retry_every
        return True

    def _lose(self, error: Exception, server: str) -> None:
        """Set Redis away, so that nobody waits for it."""
        if self._away or self._opened is None:  # what close() breaks off is no fault of Redis
            return
        self._away = True
        self._retry_at = self._clock() + self._retry_every
        _log.warning("shared_limits_away", server=server, error=f"{type(error).__name__}: {error}")

    async def _connections(self, wire: RedisWire) -> tuple[RedisStorage, asyncio.Semaphore]:
        """Return the connections of this loop; those of another one are closed by that loop."""
        loop = asyncio.get_running_loop()
        if self._opened is None or self._loop is not loop:
            self._loop, self._opened = loop, _open(wire)
            self._open_in_loop = await anext(self._opened)
        return self._open_in_loop


async def _open(wire: RedisWire) -> AsyncGenerator[tuple[RedisStorage, asyncio.Semaphore], None]:
    """Yield what one loop needs to speak to Redis, and close its connections afterwards.

    A loop that ends closes its asynchronous generators, also if nobody has called ``close``,
    and closes at once those that nobody holds any more.
    """
    from limits.aio.storage import RedisStorage  # noqa: PLC0415 -- an extra

    client = wire.new_client()
    pool: Any = client.connection_pool
    pool.max_connections = _CONNECTIONS
    # The address, with its password, stays in the pool.
    storage = RedisStorage(
        "redis://", implementation="redispy", key_prefix=wire.prefix, connection_pool=pool
    )
    try:
        yield storage, asyncio.Semaphore(_CONNECTIONS)
    finally:
        with suppress(Exception):
            await client.aclose()


async def _within(limit: float, work: Coroutine[Any, Any, T]) -> T:
    """Return what comes of something, or raise ``TimeoutError`` after so many seconds."""
    task: asyncio.Task[Any] = asyncio.create_task(work)
    try:
        if not await _in_time(task, limit):
            raise TimeoutError(f"no answer within {limit * 1000:g} ms")
    finally:
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    result: T = task.result()
    return result


def _key(name: str, kind: str) -> str:
    return f"rate:{name}:{kind}"


def _claims(name: str, rpm: int | None, tpm: int | None, tokens: int) -> list[_Claim]:
    claims = []
    if rpm is not None:
        claims.append(_Claim(_key(name, "rpm"), rpm, min(1, rpm)))
    if tpm is not None:
        claims.append(_Claim(_key(name, "tpm"), tpm, max(0, min(tokens, tpm))))
    return claims


async def _take(storage: Storage, claims: Sequence[_Claim]) -> float:
    """Count all claims or none, and return the seconds after which to try again, or 0."""
    for number, claim in enumerate(claims):
        if not await _fits(storage, claim):
            await _count(storage, [replace(taken, cost=-taken.cost) for taken in claims[:number]])
            return max(_MARGIN, await _wait_for_all(storage, claims))
    return 0.0


async def _wait_for_all(storage: Storage, claims: Sequence[_Claim]) -> float:
    """Return the seconds until all claims fit if nobody takes anything meanwhile; 0 if they do."""
    waits = [_wait(await storage.get_sliding_window(each.key, _WINDOW), each) for each in claims]
    longest = max(waits, default=0.0)
    return longest + _MARGIN if longest > 0 else 0.0


async def _fits(storage: Storage, claim: _Claim) -> bool:
    return await storage.acquire_sliding_window_entry(claim.key, claim.limit, _WINDOW, claim.cost)


async def _count(storage: Storage, claims: Sequence[_Claim]) -> None:
    """Count claims whatever the limit; with a negative cost, take them back."""
    for claim in claims:
        await _fits(storage, replace(claim, limit=_NO_LIMIT))


def _wait(window: tuple[int, float, int, float], claim: _Claim) -> float:
    """Return the seconds until a claim fits if nobody takes anything meanwhile; or 0 or less.

    Args:
        window: Count of the minute before and seconds until it has faded out; count of the
            present one and seconds until it will have.
        claim: What is to be counted.
    """
    before, before_ends, present, present_ends = window
    room = claim.limit - claim.cost + 1  # what is counted must be less: fractions are dropped
    if present >= room:
        # It has to fade, too, which begins when the next minute does.
        return present_ends - room * _WINDOW / present
    return before_ends - (room - present) * _WINDOW / before if before > 0 else 0.0
