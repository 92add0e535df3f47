"""The providers of a manager together: their order, what they hear, and what is done by hand."""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from typing_extensions import override

from amas.config.provider_settings import ManagerSettings
from amas.providers import ProviderConfig, ProviderManager
from amas.providers.errors import (
    AuthenticationError,
    InvalidRequestError,
    NoProviderAvailableError,
    ProviderConfigError,
    ProviderUnavailableError,
    RateLimitError,
)
from amas.providers.manager.lineup import Lineup
from amas.providers.manager.members import Members
from amas.providers.manager.state_store import Entry, MemoryStore
from amas.providers.testing import FakeProvider
from amas.providers.testing.fake_provider import Delay, FakeClock, Step


class Wire(MemoryStore):
    """A store between managers that notes what it is asked, and can be away."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(clock)
        self.asked: list[list[str]] = []
        self.closed = 0
        self.why: str | None = None
        self.before_answer: Callable[[], None] = lambda: None

    @property
    @override
    def away(self) -> str | None:
        return self.why

    @override
    async def pull(self, keys: Sequence[str]) -> Mapping[str, Entry]:
        self.asked.append(list(keys))
        known = {} if self.why else await super().pull(keys)
        self.before_answer()
        return known

    @override
    async def close(self) -> None:
        self.closed += 1


def outage() -> ProviderUnavailableError:
    """Return what a provider that is down answers."""
    return ProviderUnavailableError("503", status_code=503)


def settings(**more: Any) -> ManagerSettings:
    """Return settings with which one failure opens a circuit for a minute."""
    breaker = {"failure_threshold": 1, "cooldown": 60, "max_cooldown": 600}
    return ManagerSettings.model_validate({"circuit_breaker": breaker, "max_retries": 0} | more)


@pytest.fixture
def clock() -> FakeClock:
    """Return a clock that is moved by hand."""
    return FakeClock()


@pytest.fixture
def wire(clock: FakeClock) -> Wire:
    """Return a store for several managers."""
    return Wire(clock)


def members_of(clock: FakeClock, *names: str, wire: Wire | None = None) -> Members:
    """Return members of these names, all of them ready."""
    members = Members(settings(), clock, lambda: 0.5)
    members._store = wire
    for name in names:
        members.add(ready(name))
    return members


def ready(name: str) -> FakeProvider:
    """Return a provider that has started."""
    provider = FakeProvider(name)
    provider.initialized = provider.healthy = True
    return provider


async def manager_of(
    clock: FakeClock, *scripts: Sequence[Step], wire: Wire | None = None, **more: Any
) -> ProviderManager:
    """Return a manager whose providers a, b, … follow these scripts, and then answer."""
    manager = ProviderManager(settings(**more), clock=clock, random=lambda: 0.5)
    manager._members._store = wire
    for name, script in zip("abcdef", scripts, strict=False):
        assert await manager.register_provider(FakeProvider(name, script))
    return manager


async def answered_by(manager: ProviderManager, **asked: Any) -> str:
    """Make a call, and return who answered."""
    return (await manager.generate("hi", **asked))["provider"]


def states(manager: ProviderManager) -> list[str]:
    """Return the state of each provider, in fallback order."""
    return [item["state"] for item in manager.status().values()]


# Members


def test_they_come_in_the_order_in_which_they_were_added(clock: FakeClock) -> None:
    """By name and in the chain."""
    members = members_of(clock, "b", "a", "c")
    assert list(members.by_name) == members.order == ["b", "a", "c"]
    assert [member.name for member in members.chain()] == ["b", "a", "c"]


def test_a_name_is_taken_once(clock: FakeClock) -> None:
    """The second provider of a name is refused, and changes nothing."""
    members = members_of(clock, "a")
    first = members.named("a")
    with pytest.raises(ProviderConfigError, match="registered already") as raised:
        members.add(FakeProvider("a"))
    assert raised.value.provider == "a"
    assert (members.order, members.named("a")) == (["a"], first)


@pytest.mark.parametrize("given", [None, "openai", FakeProvider, object()])
def test_only_a_provider_is_one(clock: FakeClock, given: Any) -> None:
    """Anything else is refused by its type, before anything is added."""
    members = members_of(clock)
    with pytest.raises(ProviderConfigError, match="a provider is a ProviderBase"):
        members.add(given)
    assert members.chain() == ()


def test_the_chain_has_everybody_once(clock: FakeClock) -> None:
    """Who is not in the order comes last; who is not there, or a second time, is passed over."""
    members = members_of(clock, "a", "b", "c")
    members.order = ["c", "nobody", "a", "c"]
    assert [member.name for member in members.chain()] == ["c", "a", "b"]
    members.order = []
    assert [member.name for member in members.chain()] == ["a", "b", "c"]


def test_a_name_that_is_unknown_is_told_with_those_that_are_known(clock: FakeClock) -> None:
    """With the nearest one, if there is any."""
    with pytest.raises(InvalidRequestError, match=r"did you mean 'openai'\?\); there are openai$"):
        members_of(clock, "openai").named("opnai")
    with pytest.raises(InvalidRequestError, match=r"unknown provider 'x'; there are none$"):
        members_of(clock).named("x")


def test_who_is_asked_first_is_noted(clock: FakeClock) -> None:
    """The first of the candidates that can be asked; nobody, if none can."""
    members = members_of(clock, "a", "b")
    one, two = members.chain()
    members.picked(Lineup([one, two]))
    one.trip(60)
    members.picked(Lineup([one, two]))
    two.trip(60)
    members.picked(Lineup([one, two]))
    clock.now += 60
    members.picked(Lineup([two]))
    assert (one.last_picked, two.last_picked) == (1, 4)


async def test_without_a_store_there_is_nobody_to_hear(clock: FakeClock) -> None:
    """That is no trouble, and closing does nothing."""
    members = members_of(clock, "a")
    assert await members.hear() is None
    await members.close()
    assert members.named("a").available()


async def test_all_is_asked_in_one_question(clock: FakeClock, wire: Wire) -> None:
    """Circuits, latencies, keys and cooldowns of all providers, none of them by its key."""
    members = members_of(clock, wire=wire)
    members.add(FakeProvider("a", keys=2))
    members.add(FakeProvider("b"))
    assert await members.hear() is None
    (asked,) = wire.asked
    assert len(asked) == len(set(asked)) == 2 + 2 * 2 + 2 + 2
    assert [key for key in asked if "a-key" in key] == []


async def test_what_others_tell_is_taken_over(clock: FakeClock, wire: Wire) -> None:
    """Of each provider what concerns it."""
    one, two = (members_of(clock, "a", "b", wire=wire) for _ in range(2))
    clock.now += 1
    one.named("b").trip(60)
    assert two.named("b").available()
    await two.hear()
    assert (two.named("a").available(), two.named("b").wait()) == (True, 60)


async def test_a_decision_made_while_others_were_asked_is_newer(
    clock: FakeClock, wire: Wire
) -> None:
    """What comes then is an older one, and does not undo it."""
    one, two = (members_of(clock, "a", wire=wire) for _ in range(2))
    one.named("a").trip(60)
    clock.now += 1

    def decide() -> None:
        clock.now += 0.01
        two.named("a").reset()

    wire.before_answer = decide
    await two.hear()
    assert two.named("a").available()


async def test_why_others_are_not_heard_is_told(clock: FakeClock, wire: Wire) -> None:
    """What is known stays as it is."""
    members = members_of(clock, "a", wire=wire)
    members.named("a").trip(60)
    wire.why = "ConnectionError: gone"
    assert await members.hear() == "ConnectionError: gone"
    assert members.named("a").wait() == 60


async def test_what_is_shared_is_closed(clock: FakeClock, wire: Wire) -> None:
    """The store, and the limits if there are any."""
    members = members_of(clock, "a", wire=wire)
    await members.close()
    provider = FakeProvider("b")
    provider.config = ProviderConfig("b", rpm=10)
    assert members.add(provider).gate is not None
    await members.close()
    assert wire.closed == 2


def test_one_counter_of_limits_serves_all(clock: FakeClock) -> None:
    """Whoever has a limit is counted there by its name; who has none has no gate."""
    members = members_of(clock, "free")
    for config in (ProviderConfig("a", rpm=1), ProviderConfig("b", tpm=1)):
        provider = FakeProvider(config.name)
        provider.config = config
        members.add(provider)
    free, one, two = (member.gate for member in members.chain())
    assert free is None
    assert one is not None
    assert two is not None
    assert (one.rpm, one.tpm, two.rpm, two.tpm) == (1, None, None, 1)
    assert one.limits is two.limits


def test_redis_is_an_extra(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who shares state without the package is told what to install, at once."""
    monkeypatch.setitem(sys.modules, "redis.asyncio", None)
    with pytest.raises(ProviderConfigError, match=r"pip install 'amas-providers\[redis\]'"):
        Members(settings(state="redis://127.0.0.1:6379/0"), clock, lambda: 0.5)


# By hand


async def test_a_tripped_provider_is_left_alone_until_its_time(clock: FakeClock) -> None:
    """Others answer meanwhile; then one call finds out."""
    manager = await manager_of(clock, [], [])
    manager.trip("a", 100)
    assert await answered_by(manager) == "b"
    status = manager.status()["a"]
    assert (status["state"], status["circuit"], status["retry_after"]) == (
        "circuit_open", "open", 100,
    )  # fmt: skip
    assert "set it aside" in str(status["reason"])
    clock.now += 99.9
    assert await answered_by(manager) == "b"
    clock.now += 0.1
    assert await answered_by(manager) == "a"
    assert states(manager) == ["available"] * 2
    await manager.shutdown()


async def test_a_trip_lasts_as_long_as_the_longest_cooldown(clock: FakeClock) -> None:
    """Unless it says for how long; without an end it is over when it is undone."""
    manager = await manager_of(clock, [], [])
    manager.trip("a")
    assert manager.status()["a"]["retry_after"] == 600
    manager.trip("a", math.inf)
    clock.now += 1e9
    assert await answered_by(manager) == "b"
    manager.reset("a")
    assert await answered_by(manager) == "a"
    await manager.shutdown()


@pytest.mark.parametrize("seconds", [0, -1, math.nan, "60", True])
async def test_a_time_that_is_none_is_refused(clock: FakeClock, seconds: Any) -> None:
    """And the provider goes on."""
    manager = await manager_of(clock, [])
    with pytest.raises(InvalidRequestError, match="seconds must be a number of seconds above 0"):
        manager.trip("a", seconds)
    assert states(manager) == ["available"]
    await manager.shutdown()


async def test_nobody_of_that_name_can_be_tripped_or_reset(clock: FakeClock) -> None:
    """The error names who is there."""
    manager = await manager_of(clock, [])
    for work in (manager.trip, manager.reset):
        with pytest.raises(InvalidRequestError, match=r"unknown provider 'b'.*there are a"):
            work("b")
    await manager.shutdown()


async def test_a_reset_takes_a_provider_back_whatever_it_did(clock: FakeClock) -> None:
    """An outage, a refused key, a cooldown: the very next call is its again."""
    manager = await manager_of(
        clock,
        [outage(), AuthenticationError("401", status_code=401), RateLimitError("429")],
        [],
    )
    for state in ("circuit_open", "key_refused", "cooling_down"):
        assert await answered_by(manager) == "b"
        assert states(manager)[0] == state
        manager.reset("a")
        assert states(manager)[0] == "available"
        assert manager.active_providers == ["a", "b"]
    assert await answered_by(manager) == "a"
    await manager.shutdown()


async def test_a_reset_makes_nobody_ready(clock: FakeClock) -> None:
    """What has not started is no more healthy than before."""
    manager = ProviderManager(settings(), clock=clock)
    await manager.register_provider(FakeProvider("a", ready=False))
    manager.reset("a")
    assert states(manager) == ["unavailable"]
    assert manager.active_providers == []
    await manager.shutdown()


async def test_what_is_done_by_hand_holds_for_all(clock: FakeClock, wire: Wire) -> None:
    """Other managers hear of it with their next call, or when they are asked to."""
    one, two = [await manager_of(clock, [], [], wire=wire) for _ in range(2)]
    clock.now += 1
    one.trip("a", 100)
    assert states(two) == ["available"] * 2
    assert await two.refresh() is None
    assert states(two) == ["circuit_open", "available"]
    assert await answered_by(two) == "b"
    clock.now += 1
    two.reset("a")
    clock.now += 1
    assert await answered_by(one) == "a"
    for manager in (one, two):
        await manager.shutdown()


async def test_refresh_says_why_nobody_was_heard(clock: FakeClock, wire: Wire) -> None:
    """Calls go on alone; without a store there is no why."""
    manager = await manager_of(clock, [], wire=wire)
    wire.why = "TimeoutError: no answer within 50 ms"
    assert await manager.refresh() == wire.why
    assert await answered_by(manager) == "a"
    await manager.shutdown()
    assert wire.closed == 1
    alone = await manager_of(clock, [])
    assert await alone.refresh() is None
    await alone.shutdown()


# What one process finds out for another


async def fail_at_once(*managers: ProviderManager) -> None:
    """Let the first provider of each fail before any of them has heard of the others."""
    calls = [asyncio.create_task(answered_by(manager)) for manager in managers]
    assert await asyncio.gather(*calls) == ["b"] * len(calls)
    assert [states(manager)[0] for manager in managers] == ["circuit_open"] * len(calls)


def failing_soon() -> list[Step]:
    """Return the script of a provider that fails once, a moment after it was asked."""
    return [Delay(0.01, outage())]


async def test_who_failed_too_takes_back_what_another_finds_well(
    clock: FakeClock, wire: Wire
) -> None:
    """The provider is healthy there as well, and asked first again."""
    one, two = [await manager_of(clock, failing_soon(), [], wire=wire) for _ in range(2)]
    clock.now += 1
    await fail_at_once(one, two)
    clock.now += 61
    assert await answered_by(one) == "a"
    clock.now += 1
    assert await answered_by(two) == "a"
    assert states(two) == ["available"] * 2
    for manager in (one, two):
        await manager.shutdown()


async def test_who_has_not_started_is_not_taken_for_healthy(clock: FakeClock, wire: Wire) -> None:
    """What cannot be used here is not, whatever others can do with it."""
    one, two = [await manager_of(clock, failing_soon(), [], wire=wire) for _ in range(2)]
    clock.now += 1
    await fail_at_once(one, two)
    clock.now += 61
    assert await answered_by(one) == "a"
    clock.now += 1
    two.providers["a"].initialized = False
    await two.refresh()
    assert states(two)[0] == "unavailable"
    assert not two.providers["a"].healthy
    for manager in (one, two):
        await manager.shutdown()


async def test_while_another_probes_calls_go_elsewhere(clock: FakeClock, wire: Wire) -> None:
    """The provider counts as open there, is asked for again now and then, and is not doubted."""
    one, two = [await manager_of(clock, failing_soon(), [], wire=wire) for _ in range(2)]
    clock.now += 1
    await fail_at_once(one, two)
    clock.now += 61
    await two.refresh()
    version = two._members.named("a").breaker.version
    assert await wire.lease("circuit:a", version, 100)
    assert await answered_by(two) == "b"
    assert (states(two)[0], two.status()["a"]["retry_after"]) == ("circuit_open", 0.25)
    wire.release("circuit:a", version)
    assert await answered_by(two) == "b"
    clock.now += 0.25
    assert await answered_by(two) == "a"
    for manager in (one, two):
        await manager.shutdown()


async def test_while_another_probes_the_only_provider_the_error_says_when(
    clock: FakeClock, wire: Wire
) -> None:
    """It is neither "available" nor to be asked again at once."""
    manager = await manager_of(clock, [], wire=wire)
    manager.trip("a", 10)
    clock.now += 10
    version = manager._members.named("a").breaker.version
    assert await wire.lease("circuit:a", version, 100)
    for _ in range(2):
        with pytest.raises(NoProviderAvailableError, match="a is circuit open") as raised:
            await manager.generate("hi")
        assert raised.value.retry_after == 0.25
    await manager.shutdown()


# Order and status


async def test_the_chain_can_be_changed(clock: FakeClock) -> None:
    """Any names in any order; the next call follows it, and so does the status."""
    manager = await manager_of(clock, [], [], [])
    assert manager.fallback_chain == ["a", "b", "c"]
    manager.fallback_chain = (name for name in ("c", "unheard-of", "b"))
    assert manager.fallback_chain == ["c", "unheard-of", "b"]
    assert await answered_by(manager) == "c"
    assert list(manager.status()) == ["c", "b", "a"]
    assert manager.active_providers == ["c", "b", "a"]
    manager.fallback_chain.insert(0, "a")
    assert await answered_by(manager) == "a"
    await manager.register_provider(FakeProvider("d"))
    assert list(manager.status())[-1] == "d"
    await manager.shutdown()


async def test_status_tells_what_calls_have_shown(clock: FakeClock) -> None:
    """Of each provider, in plain values; only who can be checked has a next check."""
    manager = await manager_of(clock, [outage()], [])
    off = FakeProvider("c")
    off.config = ProviderConfig("c", enabled=False)
    await manager.register_provider(off)
    assert manager.status()["a"]["next_check"] is None
    await manager.initialize_all_providers()
    await asyncio.sleep(0)
    assert await answered_by(manager) == "b"
    failed, well, disabled = manager.status().values()
    assert (failed["last_error"], failed["failures"], failed["success_rate"]) == ("503", 1, 0.0)
    assert (well["last_error"], well["successes"], well["success_rate"]) == (None, 1, 1.0)
    assert failed["next_check"] == well["next_check"] == 30.0
    assert (disabled["state"], disabled["next_check"]) == ("disabled", None)
    await manager.shutdown()
    assert manager.status()["a"]["next_check"] is None


# Loops


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_loop_that_was_closed_over_its_tasks_is_survived() -> None:
    """What was left in it neither keeps a manager from going on nor from being shut down."""
    slow = FakeProvider("slow", [Delay(60, "late")])
    manager = ProviderManager(settings())
    loop = asyncio.new_event_loop()
    assert loop.run_until_complete(manager.register_provider(slow))
    assert loop.run_until_complete(manager.initialize_all_providers()) == {"slow": True}
    slow.initialized = False
    slow.health_check = slow.initialize = _never  # type: ignore[method-assign]
    check = asyncio.wait_for(manager.check_health(), 0.01)
    with pytest.raises(TimeoutError):
        loop.run_until_complete(check)
    loop.close()
    del slow.initialize, slow.health_check
    assert asyncio.run(manager.initialize_all_providers()) == {"slow": True}
    asyncio.run(manager.shutdown())
    assert slow.shutdowns == 1


async def _never() -> bool:
    await asyncio.get_running_loop().create_future()
    return False
