"""Limits per minute: within a process, and through a real redis-server shared by several."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from blockbuster import BlockBuster
from hypothesis import given, settings
from hypothesis import strategies as st
from limits.aio.storage import memory
from redis.asyncio import Redis

from amas.providers.errors import ProviderConfigError
from amas.providers.manager import rate_limits
from amas.providers.manager.rate_limits import RateLimits
from amas.providers.testing.fake_provider import FakeClock

if TYPE_CHECKING:
    from tests.conftest import RedisServer

# Where time is not what is tested, a busy machine must not look like a server that is away.
PATIENT = 2.0


def patient(server: RedisServer, **options: Any) -> RateLimits:
    """Return limits that wait for Redis as long as a test may take."""
    return RateLimits(**{"url": server.url, "timeout": PATIENT, "retry_every": 0.05, **options})


@pytest.fixture(params=["memory", "redis"])
async def pair(request: pytest.FixtureRequest) -> AsyncIterator[tuple[RateLimits, RateLimits]]:
    """Return the limits of two managers that share them."""
    if request.param == "memory":
        shared = RateLimits()
        yield shared, shared
        return
    server = request.getfixturevalue("redis_server")
    both = patient(server), patient(server)
    yield both
    for item in both:
        assert not away(item)
        await item.close()


@pytest.fixture
async def shared(redis_server: RedisServer) -> AsyncIterator[RateLimits]:
    """Return patient limits in Redis."""
    item = patient(redis_server)
    yield item
    await item.close()


@pytest.fixture
async def redis(redis_server: RedisServer) -> AsyncIterator[Redis]:
    """Return a plain client, to see what is in Redis."""
    async with Redis.from_url(redis_server.url, decode_responses=True) as client:
        yield client


async def take(
    limits: RateLimits, rpm: int | None = None, tpm: int | None = None, tokens: int = 0
) -> float:
    """Take a request to the provider that most tests speak of."""
    return await limits.take("a", rpm=rpm, tpm=tpm, tokens=tokens)


async def taken(limits: RateLimits, asked: int, **claim: int) -> int:
    """Return how many of so many requests are let through, one after the other."""
    return sum([await take(limits, **claim) == 0 for _ in range(asked)])


def away(limits: RateLimits) -> bool:
    """Tell whether Redis is thought to be away."""
    return limits._away


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what was logged of the shared limits, without the details."""
    return [
        record.getMessage().split()[0]
        for record in caplog.records
        if record.name == "amas.providers.state"
    ]


async def timed(work: Awaitable[Any]) -> tuple[Any, float]:
    """Return a result, and the seconds it took."""
    began = time.perf_counter()
    return await work, time.perf_counter() - began


async def no_connections(redis: Redis) -> None:
    """Wait until the server has no connection but the one that asks."""
    ends = time.monotonic() + 5
    while len(await redis.client_list()) > 1:
        assert time.monotonic() < ends, "a connection was left open"
        await asyncio.sleep(0.002)


# Both kinds


async def test_so_many_requests_per_minute(pair: tuple[RateLimits, RateLimits]) -> None:
    """The limit is let through, together over both managers, and the rest is told to wait."""
    one, other = pair
    assert await taken(one, 3, rpm=5) == 3
    assert await taken(other, 4, rpm=5) == 2
    assert 0 < await take(one, rpm=5) <= 121


async def test_so_many_tokens_per_minute(pair: tuple[RateLimits, RateLimits]) -> None:
    """Tokens are added up, and a request that still fits is let through after one that did not."""
    one, other = pair
    assert await take(one, tpm=1000, tokens=600) == 0
    assert await take(other, tpm=1000, tokens=500) > 0
    assert await take(other, tpm=1000, tokens=400) == 0
    assert await take(one, tpm=1000, tokens=1) > 0


async def test_without_limits_everything_is_let_through(
    pair: tuple[RateLimits, RateLimits],
) -> None:
    """A provider without limits is not held up, and nothing is counted."""
    one, _ = pair
    assert await taken(one, 100, tokens=10**9) == 100
    await one.settle("a", tpm=None, estimated=0, used=10**9)
    assert await take(one, tpm=10, tokens=10) == 0


async def test_each_provider_has_limits_of_its_own(pair: tuple[RateLimits, RateLimits]) -> None:
    """What one provider has used up is not held against another."""
    one, other = pair
    assert await taken(one, 2, rpm=1, tpm=10, tokens=10) == 1
    assert await other.take("b", rpm=1, tpm=10, tokens=10) == 0


async def test_who_is_refused_by_requests_takes_no_tokens(
    pair: tuple[RateLimits, RateLimits],
) -> None:
    """A request over rpm leaves tpm as it was."""
    one, other = pair
    assert await take(one, rpm=1, tpm=100, tokens=10) == 0
    assert await take(other, rpm=1, tpm=100, tokens=90) > 0
    assert await take(other, tpm=100, tokens=90) == 0


async def test_who_is_refused_by_tokens_takes_no_request(
    pair: tuple[RateLimits, RateLimits],
) -> None:
    """A request over tpm leaves rpm as it was, however often it is tried."""
    one, other = pair
    assert await take(one, rpm=2, tpm=100, tokens=60) == 0
    assert await taken(other, 20, rpm=2, tpm=100, tokens=60) == 0
    assert await take(one, rpm=2, tpm=100, tokens=40) == 0


@pytest.mark.parametrize("seconds_left", [True, False])
async def test_both_limits_tell_when_to_come_back(
    pair: tuple[RateLimits, RateLimits], seconds_left: bool
) -> None:
    """The wait is that of the limit which is free last, whichever refused."""
    one, _ = pair
    rpm, tpm = (1, 1000) if seconds_left else (1000, 1)
    assert await take(one, rpm=rpm, tpm=tpm, tokens=1) == 0
    alone = await take(one, rpm=1) if seconds_left else await take(one, tpm=1, tokens=1)
    assert await take(one, rpm=rpm, tpm=tpm, tokens=1) == pytest.approx(alone, abs=0.5)


async def test_more_tokens_than_the_limit(pair: tuple[RateLimits, RateLimits]) -> None:
    """A request over the whole tpm is let through when nothing else was, and fills it."""
    one, other = pair
    assert await take(one, tpm=100, tokens=5000) == 0
    assert await take(other, tpm=100, tokens=1) > 0
    assert await one.take("b", rpm=None, tpm=100, tokens=1) == 0
    assert await other.take("b", rpm=None, tpm=100, tokens=5000) > 0


async def test_a_negative_estimate_is_none(pair: tuple[RateLimits, RateLimits]) -> None:
    """An estimate that makes no sense gives nothing back."""
    one, _ = pair
    assert await take(one, tpm=10, tokens=10) == 0
    await take(one, tpm=10, tokens=-10)
    assert await take(one, tpm=10, tokens=1) > 0


async def test_what_was_used_beyond_the_estimate_counts(
    pair: tuple[RateLimits, RateLimits],
) -> None:
    """Tokens beyond the estimate are counted, even over the limit; unused ones are not given back."""
    one, other = pair
    assert await take(one, tpm=100, tokens=10) == 0
    await one.settle("a", tpm=100, estimated=10, used=30)
    assert await take(other, tpm=100, tokens=71) > 0
    assert await take(other, tpm=100, tokens=60) == 0
    await other.settle("a", tpm=100, estimated=60, used=1)
    assert await take(one, tpm=100, tokens=11) > 0
    within = await take(one, tpm=100, tokens=100)
    await one.settle("a", tpm=100, estimated=0, used=10_000)
    assert await take(other, tpm=100, tokens=0) > 0
    assert await take(other, tpm=100, tokens=100) > within


async def test_a_changed_limit_forgets_nothing(pair: tuple[RateLimits, RateLimits]) -> None:
    """What was used counts against a limit that was changed, too."""
    one, other = pair
    assert await taken(one, 5, rpm=5) == 5
    assert await taken(other, 10, rpm=8) == 3
    assert await take(one, rpm=4) > 0


async def test_a_crowd_at_once(pair: tuple[RateLimits, RateLimits]) -> None:
    """Of a hundred at once exactly as many as both limits allow get through."""
    asked = [take(pair[n % 2], rpm=30, tpm=1000, tokens=10) for n in range(100)]
    assert (await asyncio.gather(*asked)).count(0) == 30
    asked = [pair[n % 2].take("b", rpm=1000, tpm=100, tokens=10) for n in range(100)]
    assert (await asyncio.gather(*asked)).count(0) == 10
    assert await pair[0].take("b", rpm=11, tpm=None, tokens=0) == 0


async def test_the_wait_is_long_enough(
    pair: tuple[RateLimits, RateLimits], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever comes back after the time that was told is let through."""
    monkeypatch.setattr(rate_limits, "_WINDOW", 0.1)
    one, other = pair
    assert await take(one, rpm=2, tpm=100, tokens=60) == 0
    for tokens in (100, 70):
        wait = await take(other, rpm=2, tpm=100, tokens=tokens)
        assert 0 < wait < 0.22
        await asyncio.sleep(wait)
        assert await take(other, rpm=2, tpm=100, tokens=tokens) == 0


async def test_close_is_no_end(pair: tuple[RateLimits, RateLimits]) -> None:
    """Limits that were closed begin anew when they are used again, and know what was used."""
    one, _ = pair
    assert await taken(one, 5, rpm=7) == 5
    await one.close()
    await one.close()
    assert await taken(one, 5, rpm=7) == 2


# When it is worth coming back, with a clock that stands still


@settings(max_examples=100, deadline=None)
@given(
    start=st.floats(0, 120),
    steps=st.lists(
        st.tuples(st.floats(0, 70), st.integers(0, 120), st.integers(0, 50)), max_size=6
    ),
    tokens=st.integers(0, 150),
)
def test_the_wait_is_as_short_as_can_be(
    start: float, steps: list[tuple[float, int, int]], tokens: int
) -> None:
    """After the wait a request is let through, and not more than a blink before."""
    now = 1_800_000_000.0 + start

    async def main() -> None:
        nonlocal now
        limits = RateLimits()
        for pause, some, extra in steps:
            await take(limits, rpm=4, tpm=100, tokens=some)
            await limits.settle("a", tpm=100, estimated=0, used=extra)
            now += pause
        wait = await take(limits, rpm=4, tpm=100, tokens=tokens)
        if not wait:
            return
        assert 0 < wait <= 121
        refused = now
        now = refused + wait - 0.02
        if wait > 0.02:
            assert await take(limits, rpm=4, tpm=100, tokens=tokens) > 0
        now = refused + wait
        assert await take(limits, rpm=4, tpm=100, tokens=tokens) == 0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "time", SimpleNamespace(time=lambda: now))
        asyncio.run(main())


# What is in Redis


async def test_every_key_has_prefix_and_end(redis_server: RedisServer, redis: Redis) -> None:
    """Nothing of ours stays in Redis for ever, and everything can be told from others' keys."""
    limits = patient(redis_server, prefix="mine")
    await take(limits, rpm=1, tpm=1, tokens=1)
    await limits.close()
    assert set(await redis.keys("*")) == {"mine:{rate:a:rpm}", "mine:{rate:a:tpm}"}
    for name in await redis.keys("*"):
        assert 0 < await redis.pttl(name) <= 120_000


async def test_a_crowd_shares_few_connections(shared: RateLimits, redis: Redis) -> None:
    """However many ask at once, Redis sees some connections only, and none after close."""
    assert (await asyncio.gather(*[take(shared, rpm=1000) for _ in range(200)])).count(0) == 200
    assert 2 <= len(await redis.client_list()) <= 17
    await shared.close()
    await no_connections(redis)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_it_never_blocks_the_loop(
    redis_server: RedisServer, no_blocking: BlockBuster
) -> None:
    """Neither kind does anything that would hold up others."""
    for function in no_blocking.functions.values():
        # redis-py looks up its own version for each connection.
        function.can_block_in("redis/utils.py", "get_lib_version")
    for limits in (RateLimits(), patient(redis_server)):
        assert await taken(limits, 3, rpm=2, tpm=100, tokens=1) == 2
        await limits.settle("a", tpm=100, estimated=0, used=1)
        await limits.close()


# Away and back

Break = Callable[["RedisServer"], None]


def killed(server: RedisServer) -> None:
    """End the server."""
    server.kill()


def held_up(server: RedisServer) -> None:
    """Stop the server."""
    server.pause()


def mended(server: RedisServer, how: Break) -> None:
    """Undo what broke it."""
    if how is killed:
        server.start()
    else:
        server.resume()


@pytest.mark.parametrize("how", [killed, held_up])
async def test_a_server_that_vanishes_holds_nobody_up(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture, how: Break
) -> None:
    """Amid a crowd: none raises or is slow, one warning, the count goes on; and then it is back."""
    caplog.set_level(logging.INFO)
    clock = FakeClock()
    limits = RateLimits(url=redis_server.url, clock=clock)
    while await take(limits, rpm=1000) > 0 or away(limits):
        clock.now += 1  # on a busy machine the first connection may take too long
    caplog.clear()
    assert await taken(limits, 4, rpm=5) == 4

    async def operation(number: int) -> float:
        await asyncio.sleep(number % 50 / 2000)
        if number % 2:
            return (await timed(limits.settle("b", tpm=5, estimated=0, used=1)))[1]
        return (await timed(limits.take("b", rpm=1000, tpm=10**6, tokens=1)))[1]

    operations = [asyncio.create_task(operation(number)) for number in range(100)]
    await asyncio.sleep(0.01)
    how(redis_server)
    assert max(await asyncio.gather(*operations)) < 1
    await take(limits, rpm=1000)
    assert away(limits)
    assert messages(caplog) == ["shared_limits_away"]
    # Known are also those that Redis had counted.
    assert await taken(limits, 2, rpm=6) == 0

    mended(redis_server, how)
    clock.now += 1
    while away(limits):
        await take(limits, rpm=1000)
        clock.now += 1
    assert messages(caplog) == ["shared_limits_away", "shared_limits_back"]
    await limits.close()


async def test_only_one_caller_a_second_finds_out(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a server hangs, one call in a second waits for it, for its time, and no other does.

    When it begins to, only those wait who have a connection.
    """
    redis_server.pause()
    clock = FakeClock()
    limits = RateLimits(url=redis_server.url, clock=clock, retry_every=1.0)
    waited: list[float] = []
    within = rate_limits._within

    async def measured(limit: float, work: Coroutine[Any, Any, Any]) -> Any:
        began = time.perf_counter()
        try:
            return await within(limit, work)
        finally:
            waited.append(time.perf_counter() - began)

    monkeypatch.setattr(rate_limits, "_within", measured)
    await asyncio.gather(*[take(limits, rpm=10) for _ in range(100)])
    assert len(waited) == 16
    assert 0.045 < max(waited) < 1
    for more in range(1, 4):
        clock.now += 1
        await asyncio.gather(*[take(limits, rpm=10) for _ in range(3)])
        clock.now += 0.99
        await limits.settle("a", tpm=10, estimated=0, used=1)
        await take(limits, rpm=10)
        assert len(waited) == 16 + more
    assert messages(caplog) == ["shared_limits_away"]
    await limits.close()


async def test_a_server_that_was_never_there(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Limits that cannot connect say so once, count alone, and share once it is there."""
    redis_server.kill()
    limits = patient(redis_server, retry_every=0.01)
    assert await taken(limits, 5, rpm=3) == 3
    await asyncio.sleep(0.02)
    assert await take(limits, rpm=3) > 0
    assert messages(caplog) == ["shared_limits_away"]
    redis_server.start()
    await asyncio.sleep(0.02)
    other = patient(redis_server)
    assert await take(limits, rpm=1) == 0
    assert await take(other, rpm=1) > 0
    await limits.close()
    await other.close()


async def test_a_restart_that_nobody_noticed(
    shared: RateLimits, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """A server that was restarted between two calls is asked again without a word."""
    assert await take(shared, rpm=10) == 0
    redis_server.kill()
    redis_server.start()
    await asyncio.sleep(0.01)
    assert await take(shared, rpm=10) == 0
    assert messages(caplog) == []


async def test_a_refused_command_sets_it_away(
    shared: RateLimits, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """A server that answers but takes nothing is away, and nobody's call fails by it."""
    await redis.config_set("maxmemory", "1")
    assert await taken(shared, 3, rpm=2) == 2
    assert messages(caplog) == ["shared_limits_away"]
    assert "OutOfMemory" in caplog.text


async def test_a_loop_that_was_held_up_is_not_the_servers_fault(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """An answer that came while something blocked the loop is taken."""
    limits = RateLimits(url=redis_server.url, timeout=0.2)
    assert await take(limits, rpm=10) == 0
    asked = asyncio.create_task(take(limits, rpm=10))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    time.sleep(0.35)  # noqa: ASYNC251 -- this is what is tested
    assert await asked == 0
    assert messages(caplog) == []
    await limits.close()


# Tasks, loops and cancellation


async def test_cancelled_callers_do_no_harm(shared: RateLimits) -> None:
    """Whoever is cancelled, at whatever moment, leaves the connections and the others well."""
    await take(shared, rpm=10**6)
    for turns in range(30):
        task = asyncio.create_task(take(shared, rpm=10**6, tpm=10**6, tokens=1))
        bystander = asyncio.create_task(take(shared, rpm=10**6))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert await bystander == 0
    assert not away(shared)


async def test_closing_while_the_server_hangs(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Closing is quick, and whoever was waiting for an answer counts alone, without a warning."""
    limits = patient(redis_server)
    assert await take(limits, rpm=10) == 0
    redis_server.pause()
    waiting = asyncio.create_task(take(limits, rpm=10))
    await asyncio.sleep(0.01)
    _, seconds = await timed(limits.close())
    assert seconds < 1
    assert await waiting == 0
    assert messages(caplog) == []
    assert asyncio.all_tasks() <= {asyncio.current_task(), limits._memory.timer}


def test_it_serves_one_loop_after_the_other(
    redis_server: RedisServer, recwarn: pytest.WarningsRecorder
) -> None:
    """Each asyncio.run gets connections of its own, and leaves nothing open, closed or not."""
    limits, alone = patient(redis_server), RateLimits()
    for _ in range(3):
        assert asyncio.run(take(limits, rpm=3)) == 0
        assert asyncio.run(take(alone, rpm=3)) == 0
    assert asyncio.run(take(limits, rpm=3)) > 0
    assert asyncio.run(take(alone, rpm=3)) > 0
    asyncio.run(limits.close())
    del limits
    gc.collect()
    assert not recwarn.list


def test_two_loops_in_turns(redis_server: RedisServer, recwarn: pytest.WarningsRecorder) -> None:
    """A loop that was left while it still lives keeps no connection."""
    limits = patient(redis_server)
    loops = [asyncio.new_event_loop() for _ in range(2)]
    for turn in range(4):
        assert loops[turn % 2].run_until_complete(take(limits, rpm=4)) == 0
        other = loops[(turn + 1) % 2]
        other.run_until_complete(asyncio.sleep(0.01))
        assert not asyncio.all_tasks(other)
    loops[1].run_until_complete(limits.close())
    for loop in loops:
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
    gc.collect()
    assert not recwarn.list


async def test_limits_that_nobody_closed(redis_server: RedisServer, redis: Redis) -> None:
    """Limits that are dropped without close leave no connection open either."""
    limits = patient(redis_server)
    assert await take(limits, rpm=1) == 0
    del limits
    gc.collect()
    await no_connections(redis)


# Configuration and secrets


def test_the_package_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the package limits the error says what to install."""
    monkeypatch.setitem(sys.modules, "limits.aio.storage", None)
    with pytest.raises(ProviderConfigError, match=r"pip install 'amas-providers\[limits\]'"):
        RateLimits()


def test_a_wrong_address_is_told_without_its_password() -> None:
    """What cannot be an address is a mistake in the configuration; no part of it is shown."""
    password = "pass" + "word"
    with pytest.raises(ProviderConfigError, match=r"redis://host:6379/0") as raised:
        RateLimits(url=f"redis://:{password}@h:port/0")
    assert password not in str(raised.value)


async def test_the_password_is_never_shown(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither repr nor log has the password, also when the server refuses it."""
    caplog.set_level(logging.DEBUG)
    password = "open" + "sesame"
    limits = patient(redis_server, url=redis_server.url.replace("//", f"//somebody:{password}@"))
    assert await take(limits, rpm=1) == 0
    await limits.close()
    assert messages(caplog) == ["shared_limits_away"]
    assert password not in repr(limits) + repr(vars(limits)) + caplog.text
