"""The shared state: one protocol, within a process and through a real redis-server."""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

import pytest
from redis.asyncio import Redis

from amas.providers.errors import ProviderConfigError
from amas.providers.manager import redis_store
from amas.providers.manager.redis_store import RedisStore
from amas.providers.manager.redis_wire import Trip
from amas.providers.manager.state_codec import decode, encode, lifetime
from amas.providers.manager.state_store import Entry, MemoryStore, StateStore
from amas.providers.testing.fake_provider import FakeClock

if TYPE_CHECKING:
    from tests.conftest import RedisServer

KEY = "circuit:a"
# Where time is not what is tested, a busy machine must not look like a server that is away.
PATIENT = 2.0


def entry(version: str = "v1", seconds: float = 30.0, ttl: float = 60.0, **data: Any) -> Entry:
    """Return a decision that holds for so many seconds from now."""
    return Entry(version, time.monotonic() + seconds, data, ttl)


def patient(server: RedisServer, **options: Any) -> RedisStore:
    """Return a store that waits as long as a test may take."""
    return RedisStore(server.url, **{"timeout": PATIENT, "retry_every": 0.05, **options})


@pytest.fixture(params=["memory", "redis"])
async def pair(request: pytest.FixtureRequest) -> AsyncIterator[tuple[StateStore, StateStore]]:
    """Return the stores of two managers that tell each other."""
    if request.param == "memory":
        store = MemoryStore()
        yield store, store
        return
    server = request.getfixturevalue("redis_server")
    stores = patient(server), patient(server)
    yield stores
    for item in stores:
        await item.close()


@pytest.fixture
async def store(redis_server: RedisServer) -> AsyncIterator[RedisStore]:
    """Return a patient store."""
    item = patient(redis_server)
    yield item
    await item.close()


@pytest.fixture
async def redis(redis_server: RedisServer) -> AsyncIterator[Redis]:
    """Return a plain client, to see and to change what is in Redis."""
    async with Redis.from_url(redis_server.url, decode_responses=True) as client:
        yield client


def state_messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what the shared state has logged, without the details."""
    return [
        record.getMessage().split()[0]
        for record in caplog.records
        if record.name == "amas.providers.state"
    ]


async def until_true(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    """Wait until something holds; fail if it never does."""
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, "it never came"
        await asyncio.sleep(0.005)


async def back(store: RedisStore) -> None:
    """Wait until a store has its server back."""
    await until_true(lambda: not store._away)


async def connections(redis: Redis, expected: int) -> None:
    """Wait until the server counts so many connections, of which ``redis`` has one."""
    ends = time.monotonic() + 5
    while (count := len(await redis.client_list())) != expected:
        assert time.monotonic() < ends, f"the server has {count} connections, not {expected}"
        await asyncio.sleep(0.002)


async def until_known(store: RedisStore, key: str) -> None:
    """Wait until a store with little patience has found its server, on a busy machine, too."""
    for _ in range(50):
        if key in await store.pull([key]):
            return
        await back(store)
    pytest.fail("it never came")


# Both implementations


async def test_one_tells_and_the_other_knows(pair: tuple[StateStore, StateStore]) -> None:
    """What one manager pushes, the next pull of another one brings, whole."""
    one, other = pair
    told = entry(open=True, openings=2, average=0.25, note="x", nothing=None)
    one.push(KEY, told)
    await one.flush()
    known = await other.pull([KEY, "circuit:b"])
    assert list(known) == [KEY]
    got = known[KEY]
    assert (got.version, got.data, got.ttl) == (told.version, told.data, told.ttl)
    assert got.until == pytest.approx(told.until, abs=0.2)


async def test_the_latest_push_is_believed(pair: tuple[StateStore, StateStore]) -> None:
    """Of several decisions on one key the last one holds, whoever made it."""
    one, other = pair
    for version in ("v1", "v2", "v3"):
        one.push(KEY, entry(version))
    await one.flush()
    assert (await other.pull([KEY]))[KEY].version == "v3"
    other.push(KEY, entry("v4"))
    await other.flush()
    assert (await one.pull([KEY]))[KEY].version == "v4"


async def test_a_pull_brings_what_was_just_pushed(pair: tuple[StateStore, StateStore]) -> None:
    """A manager's own decision is never hidden by an older one of somebody else's."""
    one, other = pair
    other.push(KEY, entry("old"))
    await other.flush()
    one.push(KEY, entry("new"))
    assert (await one.pull([KEY]))[KEY].version == "new"


async def test_asking_for_nothing_brings_nothing(pair: tuple[StateStore, StateStore]) -> None:
    """A pull without keys, and a flush without pushes, are allowed."""
    one, _ = pair
    assert await one.pull([]) == {}
    await one.flush()


async def test_an_old_decision_is_forgotten(pair: tuple[StateStore, StateStore]) -> None:
    """An entry is known for its ttl after it held, and one that comes too late is not told."""
    one, other = pair
    one.push(KEY, entry(seconds=-0.05, ttl=0.15))
    one.push("circuit:b", entry(seconds=-61, ttl=60))
    await one.flush()
    assert list(await other.pull([KEY, "circuit:b"])) == [KEY]
    await asyncio.sleep(0.12)
    assert await other.pull([KEY, "circuit:b"]) == {}


async def test_until_further_notice_can_be_told(pair: tuple[StateStore, StateStore]) -> None:
    """A decision without an end is told like any other, and the store goes on."""
    one, other = pair
    one.push(KEY, Entry("v1", math.inf, {"open": True}, ttl=math.inf))
    await one.flush()
    assert (await other.pull([KEY]))[KEY].until > time.monotonic() + 24 * 3600


async def test_exactly_one_gets_the_lease(pair: tuple[StateStore, StateStore]) -> None:
    """Of fifty who ask at once over two stores one gets it, and nobody afterwards."""
    asked = [pair[n % 2].lease(KEY, "v1", 30) for n in range(50)]
    assert sum(await asyncio.gather(*asked)) == 1
    assert not await pair[0].lease(KEY, "v1", 30)
    assert not await pair[1].lease(KEY, "v1", 30)


async def test_each_decision_has_a_lease_of_its_own(pair: tuple[StateStore, StateStore]) -> None:
    """The lease of one decision says nothing of the next one, nor of another key."""
    one, other = pair
    assert await one.lease(KEY, "v1", 30)
    assert await other.lease(KEY, "v2", 30)
    assert await other.lease("circuit:b", "v1", 30)


async def test_a_released_lease_is_free(pair: tuple[StateStore, StateStore]) -> None:
    """What was given back can be got again, once."""
    one, other = pair
    assert await one.lease(KEY, "v1", 30)
    one.release(KEY, "v1")
    await one.flush()
    assert await other.lease(KEY, "v1", 30)
    assert not await one.lease(KEY, "v1", 30)


async def test_a_lease_ends_by_itself(pair: tuple[StateStore, StateStore]) -> None:
    """Whoever got a lease and vanished keeps it for its time only."""
    one, other = pair
    assert await one.lease(KEY, "v1", 0.05)
    await asyncio.sleep(0.08)
    assert await other.lease(KEY, "v1", 30)


async def test_a_lease_nobody_has_can_be_released(pair: tuple[StateStore, StateStore]) -> None:
    """Giving back what one does not have changes nothing."""
    one, other = pair
    one.release(KEY, "v1")
    await one.flush()
    assert await other.lease(KEY, "v1", 30)


async def test_close_tells_what_is_left_and_is_no_end(pair: tuple[StateStore, StateStore]) -> None:
    """A closed store has told everything, and begins anew when it is used again."""
    one, other = pair
    one.push(KEY, entry())
    await one.close()
    assert list(await other.pull([KEY])) == [KEY]
    assert list(await one.pull([KEY])) == [KEY]
    await one.close()
    await one.close()


# Within one process


async def test_a_memory_store_keeps_to_its_clock() -> None:
    """Entries and leases end by the clock that was given, and are then gone from memory."""
    clock = FakeClock()
    store = MemoryStore(clock)
    store.push(KEY, Entry("v1", clock.now + 10, {}, ttl=5))
    assert await store.lease(KEY, "v1", 10)
    clock.now += 14.9
    assert list(await store.pull([KEY])) == [KEY]
    clock.now += 0.1
    assert await store.pull([KEY]) == {}
    store.push("circuit:b", Entry("v2", clock.now + 1, {}))
    assert await store.lease("circuit:b", "v2", 10)
    assert list(store._entries) == ["circuit:b"]
    assert list(store._leases) == [("circuit:b", "v2")]


# What is in Redis


async def test_clocks_with_other_zeros_agree(redis_server: RedisServer) -> None:
    """Two processes whose clocks began at other times mean the same moment."""
    early, late = (
        patient(redis_server, clock=lambda zero=zero: time.monotonic() + zero)
        for zero in (-1e6, 5e7)
    )
    early.push(KEY, Entry("v1", time.monotonic() - 1e6 + 30, {}))
    await early.flush()
    got = (await late.pull([KEY]))[KEY]
    assert got.until - 5e7 - time.monotonic() == pytest.approx(30, abs=0.2)
    await early.close()
    await late.close()


async def test_every_key_has_prefix_and_end(redis_server: RedisServer, redis: Redis) -> None:
    """Nothing of ours stays in Redis for ever, and everything can be told from others' keys."""
    store = patient(redis_server, prefix="mine")
    store.push(KEY, entry(seconds=30, ttl=60))
    await store.lease(KEY, "v1", 20)
    await store.close()
    ends = {name: await redis.pttl(name) for name in await redis.keys("*")}
    assert set(ends) <= {f"mine:state:{KEY}", f"mine:lease:{KEY}:v1", "mine:writable"}
    assert 85_000 < ends[f"mine:state:{KEY}"] <= 90_000
    assert 15_000 < ends[f"mine:lease:{KEY}:v1"] <= 20_000


async def test_only_our_own_lease_is_given_back(redis_server: RedisServer) -> None:
    """A release does not touch a lease that somebody else has."""
    one, other = patient(redis_server), patient(redis_server)
    assert await one.lease(KEY, "v1", 30)
    assert not await other.lease(KEY, "v1", 30)
    other.release(KEY, "v1")
    await other.flush()
    assert not await other.lease(KEY, "v1", 30)
    await one.close()
    await other.close()


async def test_a_lease_that_ended_is_not_taken_from_the_next(
    redis_server: RedisServer, redis: Redis
) -> None:
    """Who gives back a lease that is over leaves alone whoever has it now."""
    one, other = patient(redis_server), patient(redis_server)
    assert await one.lease(KEY, "v1", 30)
    await redis.delete(f"amas-providers:lease:{KEY}:v1")
    assert await other.lease(KEY, "v1", 30)
    one.release(KEY, "v1")
    await one.flush()
    assert not await one.lease(KEY, "v1", 30)
    await one.close()
    await other.close()


@pytest.mark.parametrize(
    "junk",
    [
        b"",
        b"not JSON",
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b"[]",
        b"null",
        b'{"f":1}',
        b'{"f":2,"v":"v1","until":1.0,"ttl":1.0,"data":{}}',
        b'{"f":1,"v":7,"until":1.0,"ttl":1.0,"data":{}}',
        b'{"f":1,"v":"v1","until":"soon","ttl":1.0,"data":{}}',
        b'{"f":1,"v":"v1","until":NaN,"ttl":1.0,"data":{}}',
        b'{"f":1,"v":"v1","until":1.0,"ttl":Infinity,"data":{}}',
        b'{"f":1,"v":"v1","until":1' + b"0" * 400 + b',"ttl":1.0,"data":{}}',
        b'{"f":1,"v":"v1","until":1.0,"ttl":1.0,"data":{"a":[]}}',
        b'{"f":1,"v":"v1","until":1.0,"ttl":1.0,"data":[]}',
    ],
)
def test_what_is_no_entry_is_none(junk: bytes) -> None:
    """A text that is not of our making, or of another version's, is no entry, and no error."""
    assert decode(junk.decode(errors="replace"), 0.0) is None


def test_an_entry_comes_back_on_the_other_clock() -> None:
    """Encoding adds one clock's offset, decoding takes away the other's; the bounds hold."""
    told = Entry("v1", 130.0, {"open": True, "openings": 3}, ttl=7)
    assert decode(encode(told, now=100.0, offset=900.0), offset=-20.0) == Entry(
        "v1", 1050.0, told.data, 7.0
    )
    assert lifetime(told, 100.0) == 37
    for endless in (math.inf, math.nan):
        got = decode(encode(Entry("v1", endless, {}, ttl=endless), 100.0, 0.0), 0.0)
        assert got is not None
        assert math.isfinite(got.until + got.ttl)
    assert lifetime(Entry("v1", -math.inf, {}), 100.0) < 0


async def test_junk_is_ignored_and_named_once(
    store: RedisStore, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """Somebody else's value, or a list, under our key is no news; our next push replaces it."""
    await redis.set(f"amas-providers:state:{KEY}", b"\xff\xfejunk")
    await redis.register_script("redis.call('RPUSH', KEYS[1], 'x')")(
        ["amas-providers:state:circuit:b"]
    )
    for _ in range(3):
        assert await store.pull([KEY, "circuit:b"]) == {}
    assert state_messages(caplog) == ["shared_state_unreadable"]
    store.push(KEY, entry())
    store.push("circuit:b", entry())
    await store.flush()
    assert list(await store.pull([KEY, "circuit:b"])) == [KEY, "circuit:b"]


async def test_concurrent_pulls_share_a_round_trip(store: RedisStore, redis: Redis) -> None:
    """A hundred pulls at once are asked together, and each gets what it asked for."""
    for n in range(100):
        store.push(f"circuit:{n}", entry(f"v{n}"))
    await store.flush()
    await redis.config_resetstat()
    answers = await asyncio.gather(*[store.pull([f"circuit:{n}"]) for n in range(100)])
    assert [answer[f"circuit:{n}"].version for n, answer in enumerate(answers)] == [
        f"v{n}" for n in range(100)
    ]
    assert (await redis.info("commandstats"))["cmdstat_mget"]["calls"] == 1


async def test_a_pull_never_joins_what_is_already_asked(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was told before a pull began is in its answer, though an older question is out."""
    one, other = patient(redis_server), patient(redis_server)
    await one.pull([KEY])
    answered, go_on = asyncio.Event(), asyncio.Event()
    exchange = one._wire.exchange

    async def held_up(client: Redis, trip: Trip) -> None:
        await exchange(client, trip)
        answered.set()
        await go_on.wait()

    monkeypatch.setattr(one._wire, "exchange", held_up)
    first = asyncio.create_task(one.pull([KEY]))
    await answered.wait()
    other.push(KEY, entry())
    await other.flush()
    second = asyncio.create_task(one.pull([KEY]))
    await asyncio.sleep(0)
    go_on.set()
    assert await first == {}
    assert list(await second) == [KEY]
    await one.close()
    await other.close()


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


async def timed(work: Awaitable[Any]) -> tuple[Any, float]:
    """Return a result, and the seconds it took."""
    began = time.perf_counter()
    return await work, time.perf_counter() - began


@pytest.mark.parametrize("how", [killed, held_up])
async def test_a_server_that_vanishes_holds_nobody_up(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture, how: Break
) -> None:
    """Amid 200 operations: none raises or is slow, one warning; then back, with what was told."""
    caplog.set_level(logging.INFO)
    store = RedisStore(redis_server.url, retry_every=0.1)
    store.push(KEY, entry("told"))
    await until_known(store, KEY)
    caplog.clear()

    async def operation(n: int) -> tuple[Any, float]:
        await asyncio.sleep(n % 50 / 2000)
        if n % 4 == 0:
            return await timed(store.lease(f"circuit:{n}", "v1", 30))
        if n % 4 == 1:
            store.push(f"circuit:{n}", entry())
            return await timed(store.flush())
        return await timed(store.pull([KEY]))

    operations = [asyncio.create_task(operation(n)) for n in range(200)]
    await asyncio.sleep(0.01)
    how(redis_server)
    results = await asyncio.gather(*operations)
    await until_true(lambda: store._away)
    assert max(seconds for _, seconds in results) < 0.15
    assert all(granted for granted, _ in results[::4])

    store.push("circuit:late", entry("untold"))
    for work in (store.pull([KEY]), store.lease(KEY, "v1", 30), store.flush(), store.pull([KEY])):
        _, seconds = await timed(work)
        assert seconds < 0.02
    assert state_messages(caplog) == ["shared_state_away"]

    mended(redis_server, how)
    await back(store)
    other = patient(redis_server)
    await store.flush()
    known = await other.pull([KEY, "circuit:late", *[f"circuit:{n}" for n in range(1, 200, 4)]])
    assert known[KEY].version == "told"
    assert known["circuit:late"].version == "untold"
    assert len(known) == 52
    assert state_messages(caplog) == ["shared_state_away", "shared_state_back"]
    await store.close()
    await other.close()


async def test_a_server_that_was_never_there(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """A store that cannot connect says so once, lets everybody act alone, and connects later."""
    redis_server.kill()
    store = RedisStore(redis_server.url, retry_every=0.05)
    assert await store.pull([KEY]) == {}
    assert all(await asyncio.gather(*[store.lease(KEY, "v1", 30) for _ in range(10)]))
    store.push(KEY, entry())
    await store.flush()
    await asyncio.sleep(0.15)
    assert state_messages(caplog) == ["shared_state_away"]
    redis_server.start()
    await back(store)
    await store.flush()
    assert list(await store.pull([KEY])) == [KEY]
    await store.close()


async def test_others_are_not_overruled_on_return(redis_server: RedisServer) -> None:
    """What we told before is repeated where nobody has told since, and only there."""
    one, other = patient(redis_server, retry_every=0.2), patient(redis_server)
    one.push(KEY, entry("ours"))
    one.push("circuit:b", entry("ours"))
    await one.flush()
    redis_server.kill()
    await one.pull([KEY])
    redis_server.start()
    other.push(KEY, entry("theirs"))
    await other.flush()
    await back(one)
    await one.flush()
    known = await other.pull([KEY, "circuit:b"])
    assert {key: item.version for key, item in known.items()} == {
        KEY: "theirs",
        "circuit:b": "ours",
    }
    await one.close()
    await other.close()


async def test_a_restart_that_nobody_noticed(store: RedisStore, redis_server: RedisServer) -> None:
    """A server that was restarted between two calls is told again what it has forgotten."""
    store.push(KEY, entry())
    await store.flush()
    redis_server.kill()
    redis_server.start()
    await store.pull(["circuit:b"])
    await back(store)
    await store.flush()
    await store.flush()
    assert list(await store.pull([KEY])) == [KEY]


async def test_a_read_only_server_is_away(
    redis_server: RedisServer, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """A server that answers but takes nothing stays away, with one warning, until it does."""
    caplog.set_level(logging.INFO)
    await redis.config_set("replica-serve-stale-data", "yes")
    await redis.replicaof("127.0.0.1", "1")
    store = patient(redis_server, retry_every=0.02)
    assert await store.pull([KEY]) == {}
    await asyncio.sleep(0.1)
    assert state_messages(caplog) == ["shared_state_away"]
    await redis.replicaof("NO", "ONE")
    await back(store)
    store.push(KEY, entry())
    assert list(await store.pull([KEY])) == [KEY]
    await store.close()


async def test_a_refused_command_sets_it_away(
    store: RedisStore, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """A server that is out of memory is away, and what could not be told is told later."""
    await store.pull([KEY])
    await redis.config_set("maxmemory", "1")
    store.push(KEY, entry())
    assert await store.pull([KEY]) == {}
    assert "OutOfMemory" in caplog.text
    await redis.config_set("maxmemory", "0")
    await back(store)
    assert list(await store.pull([KEY])) == [KEY]


async def test_an_answer_that_comes_too_late(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A caller waits for its own time only, though each round trip keeps to it."""
    store = RedisStore(redis_server.url, timeout=0.2, retry_every=0.05)
    await store.pull([KEY])
    exchange = store._wire.exchange

    async def slow(client: Redis, trip: Trip) -> None:
        await asyncio.sleep(0.15)
        await exchange(client, trip)

    monkeypatch.setattr(store._wire, "exchange", slow)
    first = asyncio.create_task(store.pull([KEY]))
    await asyncio.sleep(0.01)
    granted, seconds = await timed(store.lease(KEY, "v1", 30))
    assert granted
    assert 0.15 < seconds < 0.28
    assert store._away
    assert await first == {}
    monkeypatch.undo()
    await back(store)
    await store.close()


async def test_a_loop_that_was_held_up_is_not_the_servers_fault(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """An answer that came while something blocked the loop is taken."""
    store = RedisStore(redis_server.url, timeout=0.1)
    store.push(KEY, entry())
    await store.flush()
    asked = asyncio.create_task(store.pull([KEY]))
    while store._present is None:  # noqa: ASYNC110 -- the very next step counts
        await asyncio.sleep(0)
    time.sleep(0.2)  # noqa: ASYNC251 -- this is what is tested
    assert list(await asked) == [KEY]
    assert state_messages(caplog) == []
    await store.close()


# Tasks, loops and cancellation


async def test_cancelled_callers_do_no_harm(store: RedisStore) -> None:
    """Whoever is cancelled, at whatever moment, leaves the store and the others as they were."""
    store.push(KEY, entry())
    await store.flush()
    for turns in range(12):
        works = [store.pull([KEY]), store.lease(KEY, f"v{turns}", 30), store.flush()]
        tasks = [asyncio.ensure_future(work) for work in works]
        bystander = asyncio.create_task(store.pull([KEY]))
        for _ in range(turns):
            await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        _, leased, _ = await asyncio.gather(*tasks, return_exceptions=True)
        assert list(await bystander) == [KEY]
        await store.flush()
        # A lease that nobody took home is free again.
        assert await store.lease(KEY, f"v{turns}", 30) is (leased is not True)


async def test_a_lease_is_given_back_even_if_the_server_was_away(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lease that reached a server which then hung is not lost until it runs out."""
    one, other = RedisStore(redis_server.url, retry_every=0.05), patient(redis_server)
    one.push(KEY, entry())
    await until_known(one, KEY)
    redis_server.pause()
    assert await one.lease(KEY, "v1", 30)
    one.release(KEY, "v1")
    redis_server.resume()
    await back(one)
    await one.flush()
    assert await other.lease(KEY, "v1", 30)
    await one.close()
    await other.close()


async def test_a_release_that_failed_is_sent_again(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lease given back while the connection breaks is free once the server is back."""
    one, other = patient(redis_server), patient(redis_server)
    assert await one.lease(KEY, "v1", 30)

    async def broken(client: Redis, trip: Trip) -> None:
        raise ConnectionResetError

    monkeypatch.setattr(one._wire, "exchange", broken)
    one.release(KEY, "v1")
    await one.flush()
    assert one._away
    assert not await other.lease(KEY, "v1", 30)
    monkeypatch.undo()
    await back(one)
    await one.flush()
    assert await other.lease(KEY, "v1", 30)
    await one.close()
    await other.close()


async def test_nothing_is_left_behind(store: RedisStore, redis: Redis) -> None:
    """After close there is neither task nor connection, and a late push starts none."""
    await asyncio.gather(*[store.pull([KEY]) for _ in range(20)])
    await connections(redis, 2)
    await store.close()
    store.push(KEY, entry())
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    await connections(redis, 1)
    assert list(await store.pull([KEY])) == [KEY]


async def test_closing_while_the_server_hangs(redis_server: RedisServer) -> None:
    """Closing is quick, and lets go who is waiting, also when no answer comes."""
    store = RedisStore(redis_server.url)
    await store.pull([KEY])
    redis_server.pause()
    store.push(KEY, entry())
    waiting = asyncio.create_task(store.pull([KEY]))
    await asyncio.sleep(0)
    _, seconds = await timed(store.close())
    assert seconds < 0.2
    assert await waiting == {}
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_it_rests_when_there_is_nothing_to_do(
    store: RedisStore, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a time without work the connection is given up; the next call makes a new one."""
    monkeypatch.setattr(redis_store, "_IDLE", 0.02)
    store.push(KEY, entry())
    await store.flush()
    worker = store._worker
    assert worker is not None
    await until_true(worker.done)
    await connections(redis, 1)
    assert list(await store.pull([KEY])) == [KEY]


def test_one_store_serves_one_loop_after_the_other(
    redis_server: RedisServer, recwarn: pytest.WarningsRecorder
) -> None:
    """Each asyncio.run gets a connection of its own, and leaves nothing open."""
    store = patient(redis_server)
    store.push(KEY, entry("without a loop"))

    async def use(version: str, expected: str) -> None:
        assert (await store.pull([KEY]))[KEY].version == expected
        assert await store.lease(KEY, version, 30)
        store.push(KEY, entry(version))

    expected = "without a loop"
    for version in ("v1", "v2", "v3"):
        asyncio.run(use(version, expected))
        expected = version
    redis_server.kill()
    asyncio.run(store.close())
    gc.collect()
    assert not recwarn.list


def test_a_call_cancelled_by_the_end_of_a_loop_starts_nothing(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """What ends with its loop can still tell; it is told in the next loop."""
    store = patient(redis_server)

    async def call() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(0.02)
            store.push(KEY, entry("last"))
            raise

    async def main() -> None:
        await store.pull([KEY])
        calls.append(asyncio.create_task(call()))
        await asyncio.sleep(0)

    calls: list[asyncio.Task[None]] = []
    asyncio.run(main())
    assert asyncio.run(store.pull([KEY]))[KEY].version == "last"
    gc.collect()
    assert "destroyed" not in caplog.text


def test_two_loops_in_turns(redis_server: RedisServer) -> None:
    """A loop that was left while it still lives loses its task, and keeps no connection."""
    store = patient(redis_server)
    loops = [asyncio.new_event_loop() for _ in range(2)]
    for turn in range(4):
        loop = loops[turn % 2]
        store.push(KEY, entry(f"v{turn}"))
        known = loop.run_until_complete(store.pull([KEY]))
        assert known[KEY].version == f"v{turn}"
        other = loops[(turn + 1) % 2]
        other.run_until_complete(asyncio.sleep(0.02))
        assert not asyncio.all_tasks(other)
    loops[1].run_until_complete(store.close())
    for loop in loops:
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()


# Configuration and secrets


def test_the_package_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without redis-py the error says what to install."""
    monkeypatch.setitem(sys.modules, "redis.asyncio", None)
    with pytest.raises(ProviderConfigError, match=r"pip install 'amas-providers\[redis\]'"):
        RedisStore("redis://127.0.0.1:6379/0")


@pytest.mark.parametrize("address", ["http://:{}@h:1/0", "redis://:{}@h:port/0", "redis://:a/{}@h"])
def test_a_wrong_address_is_told_without_its_password(address: str) -> None:
    """What cannot be an address is a mistake in the configuration; no part of it is shown."""
    password = "pass" + "word"
    with pytest.raises(ProviderConfigError, match=r"redis://host:6379/0") as raised:
        RedisStore(address.format(password))
    assert password not in str(raised.value)
    assert raised.value.__cause__ is None


@pytest.mark.parametrize("password", ["open" + "sesame", "pw" + "1"])
async def test_the_password_is_never_shown(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture, password: str
) -> None:
    """Neither repr nor log has the password, also when the server refuses it."""
    url = redis_server.url.replace("//", f"//somebody:{password}@")
    store = RedisStore(url, timeout=PATIENT, retry_every=5)
    assert await store.pull([KEY]) == {}
    await store.close()
    assert state_messages(caplog) == ["shared_state_away"]
    place = f"127.0.0.1:{redis_server.port}/0"
    assert repr(store) == f"RedisStore({place!r}, prefix='amas-providers')"
    assert f"server={place!r}" in caplog.text
    assert password not in repr(store) + repr(vars(store)) + repr(vars(store._wire)) + caplog.text


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rediss://u:p@[::1]:6380/3?ssl_cert_reqs=none", "[::1]:6380/3"),
        ("redis://h", "h:6379/0"),
        ("redis://u:p@h?db=4", "h:6379/4"),
        ("unix://:p@/tmp/r.sock", "/tmp/r.sock/0"),
    ],
)
def test_an_address_is_shown_without_credentials(url: str, shown: str) -> None:
    """Host, port and database are shown, nothing else."""
    assert repr(RedisStore(url)).startswith(f"RedisStore({shown!r},")


async def test_the_server_that_is_away_is_named(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """An address without credentials is no secret, so that the warning says which server it is."""
    redis_server.kill()
    store = RedisStore(redis_server.url)
    assert await store.pull([KEY]) == {}
    await store.close()
    assert f"shared_state_away server='127.0.0.1:{redis_server.port}/0'" in caplog.text
    assert "*" not in caplog.text
