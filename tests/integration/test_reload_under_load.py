"""A configuration that changes again and again while calls run: none is lost, nothing is left."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from amas.providers import LiteLLMProvider, ProviderManager
from amas.providers.errors import ProviderConfigError
from amas.providers.manager.lane import Lane
from amas.providers.manager.member import Member
from amas.providers.observability.events import ConfigurationChanged, Event
from amas.providers.testing.upstream import Upstream

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*`ReadOnly` qualifier.*:UserWarning"),
    pytest.mark.usefixtures("uncovered"),
]

# Calls at the same time.
_WORKERS = 16

# Objects that may be more at the end than in the middle; a single client alone has hundreds.
_SLACK = 2000

# Files that libraries open once and keep.
_FEW = 3


class Site:
    """A configuration in a file, and those who answer by it.

    Args:
        path: The file.
        upstream: The server of all providers; each key is a provider's own.
    """

    def __init__(self, path: Path, upstream: Upstream) -> None:
        self.path = path
        self.upstream = upstream
        self.serial = 0
        self.manager: dict[str, Any] = {"health_check_interval": 600, "fallback_order": ["a"]}
        self.models: dict[str, Any] = {"fast": ["a"]}
        # Calls wait for their turn, so that some have a plan and no request while it changes.
        self.llm = {"a": self.row(max_concurrency=4, max_queue=1000), "b": self.row()}

    def key(self) -> str:
        """Return a new key, which the server accepts."""
        self.serial += 1
        key = f"correct-horse-{self.serial}-staple"
        assert isinstance(self.upstream.keys, set)
        self.upstream.keys.add(key)
        return key

    def row(self, **more: Any) -> dict[str, Any]:
        """Return the row of a provider."""
        url = f"{self.upstream.url}/v1"
        return {"provider": "openai", "base_url": url, "model": "m", "api_key": self.key()} | more

    def write(self) -> None:
        """Write the file."""
        document = {
            "manager": self.manager,
            "security": {"plaintext_keys": "allow"},
            "models": self.models,
            "llm": self.llm,
        }
        self.path.write_text(yaml.safe_dump({"providers": document}, sort_keys=False))

    # Each of these is one change, as an operator might make it.

    def rekey(self) -> None:
        """Give the provider that everybody asks another key."""
        self.llm["a"]["api_key"] = self.key()

    def change(self) -> None:
        """Set up anew the provider that everybody asks."""
        self.llm["a"]["timeout"] = 20 + self.serial % 7
        self.serial += 1

    def add(self) -> None:
        """Add a provider, and ask it first."""
        name = f"new{self.serial}"
        self.llm[name] = self.row()
        self.manager["fallback_order"] = [name, "a"]
        self.models["fast"] = [name, "a"]

    def remove(self) -> None:
        """Remove whom ``add`` has added."""
        for name in [name for name in self.llm if name.startswith("new")]:
            del self.llm[name]
        self.manager["fallback_order"] = ["a"]
        self.models["fast"] = ["a"]

    def rearrange(self) -> None:
        """Change how providers are chosen, and their rules."""
        hedged = "hedge" in self.manager
        self.manager["strategy"] = "priority" if hedged else "round_robin"
        self.manager["circuit_breaker"] = {"failure_threshold": 4 + hedged}
        if hedged:
            del self.manager["hedge"]
        else:
            self.manager["hedge"] = {"after": 0.002, "max_share": 1}

    def spoil(self) -> None:
        """Break the file."""
        self.path.write_text(self.path.read_text().replace("timeout", "timout") + "  llm: {}\n")

    @property
    def changes(self) -> list[Callable[[], None]]:
        """All changes, in an order in which each has something to change."""
        return [
            *(self.rekey, self.add, self.change, self.spoil, self.rearrange, self.remove),
        ]


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    """Start a server, and write a configuration for it."""
    async with Upstream("site", keys=set()) as upstream:
        site = Site(tmp_path / "providers.yaml", upstream)
        await asyncio.to_thread(site.write)
        yield site


class Traffic:
    """Calls of every kind, one after the other in each of several tasks.

    Args:
        manager: Who is asked.
        calls: How many.
    """

    def __init__(self, manager: ProviderManager, calls: int) -> None:
        self._manager = manager
        self._numbers = iter(range(calls))
        self.done = 0

    async def run(self) -> None:
        """Make them all."""
        async with asyncio.TaskGroup() as group:
            for _ in range(_WORKERS):
                group.create_task(self._work())

    async def _work(self) -> None:
        for number in self._numbers:
            assert await self._ask(number) == f"site says: {number}"
            self.done += 1

    async def _ask(self, number: int) -> str:
        prompt = str(number)
        match number % 4:
            case 0:
                return (await self._manager.generate(prompt, provider="a"))["content"]
            case 1:
                return (await self._manager.generate(prompt, model="fast"))["content"]
            case 2:
                return "".join([part.content async for part in self._manager.stream(prompt)])
            case _:
                return (await self._manager.generate(prompt))["content"]

    async def wait_for(self, done: int) -> None:
        """Wait until so many have been answered."""
        while self.done < done:  # noqa: ASYNC110 -- nobody tells
            await asyncio.sleep(0.001)


class Seen:
    """Keeps what is told of reloads."""

    def __init__(self) -> None:
        self.told: list[ConfigurationChanged] = []

    def observe(self, events: Sequence[Event]) -> None:
        """Take some events."""
        self.told += [event for event in events if isinstance(event, ConfigurationChanged)]


def descriptors() -> int:
    """Return how many files and connections are open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def alive(*kinds: type) -> dict[str, int]:
    """Return how many objects of some kinds there are."""
    gc.collect()
    found = [type(item) for item in gc.get_objects()]
    return {kind.__name__: found.count(kind) for kind in kinds}


def objects(site: Site) -> int:
    """Return how many objects there are, without what the server remembers of its requests."""
    site.upstream.clear()
    gc.collect()
    return len(gc.get_objects())


def open_sessions() -> int:
    """Return how many HTTP clients are open."""
    # By type: asked whether they are instances, the lazy modules of others import themselves.
    clients = [item for item in gc.get_objects() if issubclass(type(item), aiohttp.ClientSession)]
    return sum(not client.closed for client in clients)


async def settled(manager: ProviderManager) -> None:
    """Wait until those that were replaced and removed are gone."""
    async with asyncio.timeout(30):
        while manager._retirement._tasks:  # noqa: ASYNC110 -- nobody tells
            await asyncio.sleep(0.01)
    await manager.flush()


async def play(site: Site, calls: int, reloads: int) -> list[ConfigurationChanged]:
    """Make calls, and reload at equal distances while they run; check that nothing is left.

    Returns:
        What was told of the reloads.
    """
    seen = Seen()
    made = partial(ProviderManager.from_config, site.path, observers=[seen])
    kinds = Member, Lane, LiteLLMProvider
    others, sessions = alive(*kinds), open_sessions()  # of tests that ran before
    opened = await asyncio.to_thread(descriptors)
    async with await asyncio.to_thread(made) as manager:
        await manager.generate("warm up")
        traffic = Traffic(manager, calls)
        threads = threading.active_count()
        tasks = {task.get_name() for task in asyncio.all_tasks()}
        running = asyncio.create_task(traffic.run())
        half = 0
        for number in range(reloads):
            await asyncio.wait(
                [running, asyncio.create_task(traffic.wait_for(number * calls // reloads))],
                return_when=asyncio.FIRST_COMPLETED,
            )
            change = site.changes[number % len(site.changes)]
            await asyncio.to_thread(change)
            if change == site.spoil:
                with pytest.raises(ProviderConfigError):
                    await manager.reload()
            else:
                await asyncio.to_thread(site.write)
                changes = await manager.reload()
                assert changes.problems == []
            assert manager.status().keys() == site.llm.keys()
            if number == reloads // 2:
                half = objects(site)
        await running
        assert traffic.done == calls
        await settled(manager)
        lanes = sum(len(item.lanes) for item in manager._members.by_name.values())
        now = alive(*kinds)
        left = {name: now[name] - others[name] for name in now}
        assert left["Member"] <= len(site.llm)
        assert max(left["Lane"], left["LiteLLMProvider"]) <= lanes
        assert open_sessions() - sessions <= lanes
        assert objects(site) < half + _SLACK
        after = {task.get_name() for task in asyncio.all_tasks()}
        assert {name for name in after - tasks if name.startswith("amas-")} == set()
        assert threading.active_count() <= threads + 4  # of the pool that files are read in
    async with asyncio.timeout(10):  # until the server has noticed, too
        while await asyncio.to_thread(descriptors) > opened + _FEW:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return seen.told


@pytest.mark.usefixtures("no_blocking")
async def test_no_call_is_lost_while_the_configuration_changes(site: Site) -> None:
    """Keys, rows, rules, aliases and the file's mistakes come and go under calls of every kind."""
    told = await play(site, 200, 6)
    assert [event.taken for event in told] == [True, True, True, False, True, True]


@pytest.mark.slow
@pytest.mark.usefixtures("uncovered")
async def test_ten_thousand_calls_during_fifty_reloads(site: Site) -> None:
    """None is lost, no client is left open, and memory is flat."""
    told = await play(site, 10_000, 50)
    assert len(told) == 50
    assert sum(not event.taken for event in told) == 8
