"""Starting providers side by side, and at most once at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from typing_extensions import override

from amas.providers import ProviderConfig
from amas.providers.manager.member import Member
from amas.providers.manager.rules import Rules
from amas.providers.manager.startup import start_members
from amas.providers.testing import FakeProvider


class Starting(FakeProvider):
    """A provider whose start does whatever it is told."""

    def __init__(
        self, name: str, begin: Callable[[], Awaitable[object]], *, ready: bool = True
    ) -> None:
        super().__init__(name, ready=ready)
        self.begin = begin
        self.starts = 0

    @override
    async def initialize(self) -> bool:
        self.starts += 1
        await self.begin()
        return await super().initialize()


def members_of(*providers: FakeProvider) -> list[Member]:
    """Put providers into the care of members."""
    clock = asyncio.get_running_loop().time
    return [Member(item, Rules(), clock, lambda: 0.5) for item in providers]


async def end(*members: Member) -> None:
    """End what is still starting."""
    for member in members:
        for lane in member.lanes:
            if lane.check is not None:
                lane.check.cancel()
                await asyncio.gather(lane.check, return_exceptions=True)


async def test_all_start_at_the_same_time() -> None:
    """Each waits for the other here, which only works side by side."""
    barrier = asyncio.Barrier(3)
    members = members_of(*(Starting(name, barrier.wait) for name in "abc"))
    async with asyncio.timeout(1):
        assert await start_members(members) == {"a": True, "b": True, "c": True}


async def test_those_ready_and_those_switched_off_are_left_alone() -> None:
    """Nothing is started twice, or against its configuration."""
    ready, off = (Starting(name, asyncio.Event().wait) for name in "ab")
    ready.initialized = True
    off.config = ProviderConfig("b", enabled=False)
    assert await start_members(members_of(ready, off)) == {"a": True, "b": False}
    assert (ready.starts, off.starts) == (0, 0)


async def test_one_that_cannot_start_does_not_hinder_the_others() -> None:
    """Neither by raising nor by saying no."""

    async def raising() -> None:
        raise RuntimeError("oops")

    members = members_of(Starting("a", raising), FakeProvider("b", ready=False), FakeProvider("c"))
    assert await start_members(members) == {"a": False, "b": False, "c": True}
    assert "unexpected RuntimeError: oops" in str(members[0].provider.last_error)
    assert members[0].lanes[0].check_seconds is not None


async def test_once_one_is_ready_the_others_get_a_moment() -> None:
    """Who hangs is not waited for, but goes on starting."""
    gate = asyncio.Event()
    members = members_of(FakeProvider("a"), Starting("b", gate.wait))
    assert await start_members(members, patience=0.02) == {"a": True, "b": False}
    gate.set()
    assert await start_members(members) == {"a": True, "b": True}
    hung = members[1].provider
    assert isinstance(hung, Starting)
    assert hung.starts == 1


async def test_within_their_moment_all_are_waited_for() -> None:
    """Patience is not spent when everybody is ready earlier."""
    members = members_of(FakeProvider("a"), Starting("b", lambda: asyncio.sleep(0.02)))
    began = asyncio.get_running_loop().time()
    assert await start_members(members, patience=5) == {"a": True, "b": True}
    assert asyncio.get_running_loop().time() - began < 1


async def test_while_nobody_is_ready_patience_does_not_run_out() -> None:
    """The first one to be ready is waited for, however long that takes."""
    hangs = asyncio.Event()
    members = members_of(Starting("a", hangs.wait), Starting("b", lambda: asyncio.sleep(0.05)))
    assert await start_members(members, patience=0.01) == {"a": False, "b": True}
    await end(*members)


@pytest.mark.parametrize("limit", [0.02, 0.0, -1.0])
async def test_a_limit_holds_in_any_case(limit: float) -> None:
    """Even if nobody is ready then."""
    members = members_of(Starting("a", asyncio.Event().wait))
    async with asyncio.timeout(1):
        assert await start_members(members, patience=5, limit=limit) == {"a": False}
    await end(*members)


async def test_whoever_comes_meanwhile_joins_the_start_under_way() -> None:
    """A hundred calls do not start a provider a hundred times."""
    gate = asyncio.Event()
    members = members_of(Starting("a", gate.wait))
    waiting = [asyncio.create_task(start_members(members)) for _ in range(100)]
    await asyncio.sleep(0)
    gate.set()
    assert await asyncio.gather(*waiting) == [{"a": True}] * 100
    provider = members[0].provider
    assert isinstance(provider, Starting)
    assert provider.starts == 1


async def test_who_gives_up_waiting_ends_the_start_for_nobody_else() -> None:
    """A cancelled call leaves the provider to the others."""
    gate = asyncio.Event()
    members = members_of(Starting("a", gate.wait))
    first = asyncio.create_task(start_members(members))
    second = asyncio.create_task(start_members(members))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    gate.set()
    assert await second == {"a": True}


async def test_a_start_that_is_ended_is_not_ready_and_cancels_nobody() -> None:
    """Those who wait for it get an answer, not its cancellation."""
    members = members_of(Starting("a", asyncio.Event().wait))
    waiting = asyncio.create_task(start_members(members))
    await asyncio.sleep(0)
    await end(*members)
    assert await waiting == {"a": False}
