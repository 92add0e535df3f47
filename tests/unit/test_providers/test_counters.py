"""Sums of calls and spending: within a process, and through a real redis-server."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from amas.providers.manager.counters import Counters
from amas.providers.manager.redis_store import RedisStore
from amas.providers.testing.fake_provider import FakeClock

if TYPE_CHECKING:
    from tests.conftest import RedisServer


async def test_sums_grow_and_are_forgotten_in_time() -> None:
    """What was not added to for so many seconds begins anew."""
    clock = FakeClock()
    counters = Counters(clock)
    assert await counters.add({"a": 1, "b": 0}, 60) == {"a": 1, "b": 0}
    clock.now += 59
    assert await counters.add({"a": 2}, 60) == {"a": 3}
    clock.now += 61
    assert await counters.add({"a": -1}, 60) == {"a": -1}


async def test_forgotten_sums_take_no_memory() -> None:
    """A sum per caller and day must not pile up over the years."""
    clock = FakeClock()
    counters = Counters(clock)
    for number in range(1000):
        clock.now += 1
        await counters.add({f"day {number}": 1}, 10)
    assert len(counters._sums) < 150


async def test_two_stores_add_to_the_same_sum(redis_server: RedisServer) -> None:
    """Whatever each adds, both know the whole."""
    one, two = (RedisStore(redis_server.url, timeout=2) for _ in range(2))
    try:
        await asyncio.gather(
            *(store.add({"x": 1.5}, 60) for store in (one, two) for _ in range(10))
        )
        assert await one.add({"x": 0, "y": -2}, 60) == {"x": 30, "y": -2}
    finally:
        await one.close()
        await two.close()


async def test_what_is_added_while_redis_is_away_is_told_when_it_is_back(
    redis_server: RedisServer,
) -> None:
    """Meanwhile the sum goes on from what is known here; nothing is lost but what Redis forgot."""
    redis_server.kill()
    store = RedisStore(redis_server.url, timeout=0.5, retry_every=0.02)
    other = RedisStore(redis_server.url, timeout=2)
    try:
        assert await store.add({"x": 2}, 60) == {"x": 2}
        assert store.away is not None
        assert await store.add({"x": 3}, 60) == {"x": 5}
        redis_server.start()
        async with asyncio.timeout(20):
            while store.away or (await other.add({"x": 0}, 60))["x"] < 5:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert await store.add({"x": 1}, 60) == {"x": 6}
    finally:
        await store.close()
        await other.close()


async def test_what_may_not_have_been_added_is_added_again(redis_server: RedisServer) -> None:
    """A sum of money is rather counted twice than not at all."""
    store = RedisStore(redis_server.url, timeout=0.1, retry_every=0.02)
    try:
        await store.add({"x": 1}, 60)
        redis_server.pause()
        assert await store.add({"x": 1}, 60) == {"x": 2}
        redis_server.resume()
        async with asyncio.timeout(20):
            while store.away:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert (await store.add({"x": 0}, 60))["x"] >= 2
    finally:
        await store.close()
