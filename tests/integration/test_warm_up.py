"""``manager.warm_up``: connections that are there before the first call, and cost nothing."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, Self

import pytest
from blockbuster import BlockBuster
from typing_extensions import override

from amas.providers import ProviderManager
from amas.providers.manager import startup
from amas.providers.testing import FakeProvider
from amas.providers.testing.upstream import Upstream

KEY = "test" + "-key" * 5


class Door:
    """A relay in front of a server, which counts who comes in and what they say.

    Args:
        port: The server's.
    """

    def __init__(self, port: int) -> None:
        self._behind = port
        self._server: asyncio.Server | None = None
        self.url = ""
        self.opened = 0
        self.heard = b""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened += 1
        inner, outer = await asyncio.open_connection("127.0.0.1", self._behind)

        async def carry(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            with suppress(ConnectionError):
                while piece := await source.read(65536):
                    self.heard += piece if sink is outer else b""
                    sink.write(piece)
            sink.close()

        await asyncio.gather(carry(reader, outer), carry(inner, writer))


@pytest.fixture
async def door(no_blocking: BlockBuster) -> AsyncIterator[Door]:
    """Run an upstream behind a door, in the test's own loop."""
    async with Upstream() as up, Door(int(up.url.rpartition(":")[2])) as relay:
        yield relay


async def manager_of(*, warm_up: bool, probe: str = "off", **addresses: str) -> ProviderManager:
    """Make a manager of servers of one's own at some addresses."""
    row = {"provider": "openai", "model": "m", "api_key": KEY, "local": True, "timeout": 5}
    llm = {name: row | {"base_url": url, "health_probe": probe} for name, url in addresses.items()}
    section = {"manager": {"warm_up": warm_up}, "llm": llm}
    return await asyncio.to_thread(ProviderManager.from_config, {"providers": section})


async def test_the_first_call_opens_no_connection(door: Door) -> None:
    """After a start with warm_up the first call goes over the connection that is there."""
    async with await manager_of(warm_up=True, one=f"{door.url}/v1") as manager:
        assert (door.opened, door.heard) == (1, b"")
        await manager.generate("hello")
        _ = [chunk async for chunk in manager.stream("hello")]
    assert door.opened == 1
    assert door.heard.count(b"POST ") == 2


async def test_by_default_nothing_is_opened_in_advance(door: Door) -> None:
    """Without warm_up the first call opens the connection."""
    async with await manager_of(warm_up=False, one=f"{door.url}/v1") as manager:
        assert door.opened == 0
        await manager.generate("hello")
    assert door.opened == 1


async def test_the_connection_of_a_health_check_is_enough(door: Door) -> None:
    """Where a start has asked for the provider's health, its connection is not doubled."""
    async with await manager_of(warm_up=True, probe="free", one=f"{door.url}/v1") as manager:
        await manager.generate("hello")
    assert door.opened == 1


async def test_a_reload_warms_up_whoever_is_new(door: Door) -> None:
    """A provider that a reload brings has its connection before it gets calls."""
    row = {"provider": "openai", "model": "m", "api_key": KEY, "local": True, "health_probe": "off"}
    llm: dict[str, Any] = {"one": row | {"base_url": "http://127.0.0.1:1/v1"}}
    document = {"providers": {"manager": {"warm_up": True}, "llm": llm}}
    async with await asyncio.to_thread(ProviderManager.from_config, document) as manager:
        llm["two"] = row | {"base_url": f"{door.url}/v1"}
        await manager.reload()
        assert door.opened == 1
        await manager.generate("hello", provider="two")
    assert door.opened == 1


async def test_a_dead_address_is_only_noted(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    """A provider that cannot be reached starts all the same, and the others are warm."""
    with caplog.at_level(logging.INFO, "amas.providers.manager"):
        async with await manager_of(
            warm_up=True, dead="http://127.0.0.1:1/v1", one=f"{door.url}/v1"
        ) as manager:
            assert {name: item["healthy"] for name, item in manager.status().items()} == {
                "dead": True,
                "one": True,
            }
            assert (await manager.generate("hello"))["provider"] == "one"
    [noted] = [record for record in caplog.records if "not_warmed_up" in record.getMessage()]
    assert noted.levelno == logging.INFO
    assert "dead" in noted.getMessage()
    assert door.opened == 1


async def test_a_silent_address_holds_a_start_up_for_its_time_only(
    monkeypatch: pytest.MonkeyPatch, no_blocking: BlockBuster
) -> None:
    """Who accepts a connection and never greets is given up, and nothing of it goes on."""
    monkeypatch.setattr(startup, "_WARMTH_SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}/v1"
        async with await manager_of(warm_up=True, one=url) as manager:
            assert manager.status()["one"]["healthy"]
            names = {task.get_name() for task in asyncio.all_tasks()}
            assert not any(name.startswith("amas-warm-up") for name in names)


async def test_a_provider_of_ones_own_may_warm_up_or_fail_to() -> None:
    """Whatever a provider's own warm_up raises, the start goes on."""
    warmed: list[str] = []

    class Own(FakeProvider):
        @override
        async def warm_up(self) -> None:
            warmed.append(self.name)
            raise OSError("cold")

    document = {"providers": {"manager": {"warm_up": True}, "llm": {}}}
    manager = ProviderManager.from_config(document)
    await manager.register_provider(Own("own"))
    async with manager:
        assert warmed == ["own"]
        assert (await manager.generate("hello"))["provider"] == "own"
