"""Another key while calls run: checked first, no call lost, the old one gone in the end."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from typing_extensions import override

from amas.config.provider_settings import ManagerSettings
from amas.providers import ProviderConfig, ProviderManager
from amas.providers.errors import (
    AuthenticationError,
    InvalidRequestError,
    ProviderConfigError,
    ProviderConnectionError,
    ProviderError,
)
from amas.providers.manager import retirement
from amas.providers.testing import Delay, FakeProvider
from amas.providers.testing.upstream import Upstream

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*`ReadOnly` qualifier.*:UserWarning"),
    pytest.mark.usefixtures("uncovered"),
]

# Nothing in them looks like a key: only by knowing them can they be kept out of texts.
OLD, NEW, THIRD = (f"correct-horse-{word}-staple" for word in ("battery", "saddle", "fodder"))


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    """Start a server that accepts the old key."""
    async with Upstream(keys={OLD}) as server:
        yield server


class File:
    """A configuration file whose keys lie in files of their own, as a container's secrets do.

    Args:
        folder: Where the files are.
        upstream: Who answers.
    """

    def __init__(self, folder: Path, upstream: Upstream) -> None:
        self.folder = folder
        self.path = folder / "providers.yaml"
        self.rows: dict[str, Any] = {}
        self.more: dict[str, Any] = {}
        self._upstream = upstream
        self.row("one", api_key="file:key")
        self.key(OLD)

    def key(self, value: str, name: str = "key") -> None:
        """Put a key into its file."""
        (self.folder / name).write_text(value)

    def row(self, name: str, **more: Any) -> None:
        """Write a provider's row."""
        self.rows[name] = {
            "provider": "openai",
            "base_url": f"{self._upstream.url}/v1",
            "model": "m",
            "max_retries": 0,
        } | more
        self.write()

    def write(self) -> None:
        """Write the file."""
        document = {"manager": {"health_check_interval": 600}, "llm": self.rows} | self.more
        self.path.write_text(yaml.safe_dump({"providers": document}, sort_keys=False))


@pytest.fixture
def file(tmp_path: Path, upstream: Upstream) -> File:
    """Return a configuration of one provider."""
    return File(tmp_path, upstream)


def used(upstream: Upstream) -> list[str | None]:
    """Return the keys of the chat requests."""
    return [item.credential for item in upstream.requests if item.endpoint == "chat"]


async def test_a_new_key_is_used_for_new_calls_once_it_is_checked(
    file: File, upstream: Upstream
) -> None:
    """The check is free: a listing that comes with the new key, and not without one."""
    async with ProviderManager.from_config(file.path) as manager:
        await manager.generate("a")
        upstream.keys = {OLD, NEW}
        await manager.rotate_key("one", NEW)
        await manager.generate("b")
        assert used(upstream) == [OLD, NEW]
        assert [item.endpoint for item in upstream.requests[-4:-1]] == ["models"] * 3
        assert [item.credential for item in upstream.requests[-4:-1]] == [NEW, NEW, None]


async def test_a_key_that_is_not_accepted_changes_nothing(
    file: File, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    """The error is the upstream's, the old key stays in use, and it is recorded."""
    async with ProviderManager.from_config(file.path) as manager:
        with pytest.raises(AuthenticationError), caplog.at_level(logging.INFO, "amas.audit"):
            await manager.rotate_key("one", NEW)
        assert (await manager.generate("a"))["provider"] == "one"
        assert used(upstream) == [OLD]
    record = json.loads(caplog.records[-1].getMessage())
    assert (record["kind"], record["changed"], record["provider"]) == ("key", False, "one")
    assert NEW not in caplog.text


@pytest.mark.parametrize("status", [400, 402, 403, 404, 429])
async def test_a_listing_that_proves_nothing_is_no_check(
    file: File, upstream: Upstream, status: int
) -> None:
    """Then one token is asked for, and a key that is refused there is not taken."""
    async with ProviderManager.from_config(file.path) as manager:
        upstream.fault(status=status, on="models", times=None)
        with pytest.raises(AuthenticationError):
            await manager.rotate_key("one", NEW)
        upstream.keys = {OLD, NEW}
        await manager.rotate_key("one", NEW)
        assert (await manager.generate("a"))["provider"] == "one"


async def test_a_listing_for_everybody_is_no_check(file: File, upstream: Upstream) -> None:
    """A vendor that shows its models without a key is asked for one token."""
    async with ProviderManager.from_config(file.path) as manager:
        upstream.keys = None
        upstream.fault(status=401)
        with pytest.raises(AuthenticationError):
            await manager.rotate_key("one", NEW)
        upstream.fault(status=422)
        await manager.rotate_key("one", NEW)
        assert manager.providers["one"].config.key_value == NEW


async def test_a_provider_that_cannot_be_reached_keeps_its_key(upstream: Upstream) -> None:
    """A key that could not be checked is not used."""
    provider = {"provider": "openai", "model": "m", "api_key": OLD}
    rows = {"one": provider | {"base_url": f"{upstream.url}/v1"}}
    async with ProviderManager.from_config({"providers": {"llm": rows}}) as manager:
        await upstream.stop()
        with pytest.raises(ProviderConnectionError):
            await manager.rotate_key("one", NEW)
        assert manager.providers["one"].config.key_value == OLD


@pytest.mark.slow
async def test_a_hundred_callers_do_not_notice_a_rotation(
    file: File, upstream: Upstream, uncovered: None
) -> None:
    """The upstream takes the old key, then both, then only the new one; no call fails."""
    done = asyncio.Event()
    answers = 0

    async def call(manager: ProviderManager) -> None:
        nonlocal answers
        while not done.is_set():
            assert (await manager.generate("hello"))["provider"] == "one"
            answers += 1

    async def until(more: int) -> None:
        goal = answers + more
        while answers < goal:  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    async with ProviderManager.from_config(file.path) as manager:
        await manager.generate("first")
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            for _ in range(100):
                group.create_task(call(manager))
            await until(100)
            upstream.keys = {OLD, NEW}
            await manager.rotate_key("one", NEW)
            # As early as can be: calls with the old key are still on their way.
            upstream.keys = {NEW}
            await until(150)
            done.set()
        assert used(upstream)[-100:] == [NEW] * 100
    assert answers >= 250


async def test_running_calls_finish_on_the_old_key_and_then_it_is_shut_down() -> None:
    """New calls do not wait for them."""
    old = FakeProvider("p", [Delay(0.05, "slow")], keys=1)
    async with ProviderManager(providers=[old]) as manager:
        running = asyncio.create_task(manager.generate("a"))
        while not old.calls:  # noqa: ASYNC110
            await asyncio.sleep(0)
        await manager.rotate_key("p", NEW)
        assert (await manager.generate("b"))["content"] == "p says: b"
        assert old.shutdowns == 0
        assert (await running)["content"] == "slow"
        while not old.shutdowns:  # noqa: ASYNC110
            await asyncio.sleep(0)
        assert manager.providers["p"].config.key_value == NEW


async def test_a_call_that_never_ends_is_cut_short_by_the_shutdown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What was replaced is given back with everything else, and leaves no task."""
    monkeypatch.setattr(retirement, "_LONGEST_SHUTDOWN", 0.05)
    old = FakeProvider("p", [Delay(float("inf"))])
    manager = ProviderManager(ManagerSettings(max_retries=0), providers=[old])
    await manager.initialize_all_providers()
    running = asyncio.create_task(manager.generate("a"))
    while not old.calls:  # noqa: ASYNC110
        await asyncio.sleep(0)
    await manager.rotate_key("p", NEW)
    await manager.shutdown(grace=0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert old.shutdowns == 1
    assert not [task for task in asyncio.all_tasks() if "retire" in task.get_name()]


async def test_one_of_several_keys_is_rotated_by_its_number(file: File, upstream: Upstream) -> None:
    """The others, and what is known of them, stay."""
    file.row("one", api_keys=["file:key", "file:second"])
    file.key(THIRD, "second")
    upstream.keys = {OLD, NEW, THIRD}
    async with ProviderManager.from_config(file.path) as manager:
        await manager.rotate_key("one", NEW, key=2)
        for _ in range(4):
            await manager.generate("a")
        assert set(used(upstream)) == {OLD, NEW}
        with pytest.raises(ProviderConfigError, match="one of its other keys already"):
            await manager.rotate_key("one", OLD, key=2)
        for wrong in (0, 3, True):
            with pytest.raises(InvalidRequestError, match="counted from 1 to 2"):
                await manager.rotate_key("one", NEW, key=wrong)
        with pytest.raises(ProviderConfigError):
            await manager.rotate_key("one", "no key")
        with pytest.raises(InvalidRequestError, match="did you mean 'one'"):
            await manager.rotate_key("on", NEW)


async def test_a_provider_that_only_says_no_gives_no_reason() -> None:
    """A provider of somebody else's may return False without an error."""

    class Silent(FakeProvider):
        @override
        def with_key(self, key: str) -> FakeProvider:
            other = super().with_key(key)
            other.ready = False
            return other

        @override
        async def initialize(self) -> bool:
            await super().initialize()
            self.last_error = None
            return self.ready

    async with ProviderManager(providers=[Silent("p")]) as manager:
        with pytest.raises(ProviderError, match="could not be checked"):
            await manager.rotate_key("p", NEW)


async def test_a_provider_of_ones_own_is_made_anew_with_the_key() -> None:
    """By default: of its class, with its configuration."""

    class Own(FakeProvider):
        def __init__(self, config: ProviderConfig) -> None:
            super().__init__(config.name)
            self.config = config

    own = Own(ProviderConfig("own", api_key=OLD, timeout=7))
    made = super(FakeProvider, own).with_key(NEW)
    assert isinstance(made, Own)
    assert (made.config.key_value, made.config.timeout) == (NEW, 7)


async def test_a_secret_that_changes_is_picked_up_by_a_reload(
    file: File, upstream: Upstream
) -> None:
    """The file of the key has another content; the configuration is the same."""
    upstream.keys = {OLD, NEW}
    async with ProviderManager.from_config(file.path) as manager:
        await manager.generate("a")
        file.key(NEW)
        changes = await manager.reload()
        assert (changes.rekeyed, changes.problems) == (["one"], [])
        await manager.generate("b")
        assert used(upstream) == [OLD, NEW]
        assert (await manager.reload()).rekeyed == []


async def test_a_variable_that_changes_is_picked_up_by_a_reload(
    file: File, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the configuration is a mapping."""
    monkeypatch.setenv("ONE_KEY", OLD)
    upstream.keys = {OLD, NEW}
    file.row("one", api_key="${ONE_KEY}")
    document = yaml.safe_load(file.path.read_text())
    async with ProviderManager.from_config(document) as manager:
        monkeypatch.setenv("ONE_KEY", NEW)
        assert (await manager.reload()).rekeyed == ["one"]
        await manager.generate("b")
        assert used(upstream) == [NEW]


async def test_a_reloaded_key_that_is_not_accepted_is_not_taken(
    file: File, upstream: Upstream
) -> None:
    """The old one stays, the reload says so, and a later one tries again."""
    async with ProviderManager.from_config(file.path) as manager:
        file.key(NEW)
        changes = await manager.reload()
        assert (changes.rekeyed, changes.differences, len(changes.problems)) == ([], [], 1)
        assert "key 1 of one was not taken" in changes.problems[0]
        await manager.generate("a")
        upstream.keys = {NEW}
        assert (await manager.reload()).problems == []
        await manager.generate("b")
        assert used(upstream) == [OLD, NEW]


async def test_keys_that_were_taken_in_part_can_be_taken_back(
    file: File, upstream: Upstream
) -> None:
    """The file says again what it said before: its keys are in use, and none that it has not."""
    upstream.keys = {OLD, NEW}
    file.key(THIRD, "second")
    file.row("one", api_keys=["file:key"])
    async with ProviderManager.from_config(file.path) as manager:
        file.key(NEW)
        file.row("one", api_keys=["file:key", "file:second"])
        changes = await manager.reload()
        assert (changes.rekeyed, len(changes.problems)) == (["one"], 1)
        file.key(OLD)
        file.row("one", api_keys=["file:key"])
        assert (await manager.reload()).rekeyed == ["one"]
        await manager.generate("a")
        assert used(upstream) == [OLD]


async def test_a_reload_takes_no_provider_away_whose_key_is_lost(
    file: File, upstream: Upstream
) -> None:
    """The reload says what is wrong, and the provider goes on as it was."""
    async with ProviderManager.from_config(file.path) as manager:
        (file.folder / "key").unlink()
        changes = await manager.reload()
        assert (changes.changed, changes.removed) == ([], [])
        assert "one stays as it is: the file cannot be read" in changes.problems[0]
        assert (await manager.generate("a"))["provider"] == "one"
        file.row("one", api_key="file:key", enabled=False)
        assert (await manager.reload()).changed == ["one"]
        with pytest.raises(ProviderError, match="disabled"):
            await manager.generate("a")


async def test_a_reload_keeps_what_is_known_of_keys_that_stay(
    file: File, upstream: Upstream
) -> None:
    """Keys may come, go and change places; those that stay keep their circuits and clients."""
    upstream.keys = {OLD, NEW, THIRD}
    file.key(NEW, "second")
    file.row("one", api_keys=["file:key", "file:second"])
    async with ProviderManager.from_config(file.path) as manager:
        first, second = manager._members.by_name["one"].lanes
        file.key(THIRD, "third")
        file.row("one", api_keys=["file:second", "file:third"])
        assert (await manager.reload()).problems == []
        lanes = manager._members.by_name["one"].lanes
        assert lanes[0] is second
        assert [lane.number for lane in lanes] == [1, 2]
        assert lanes[1].provider.config.key_value == THIRD
        async with asyncio.timeout(5):
            while first.provider.initialized:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


async def test_a_reload_that_is_cancelled_leaves_nothing_open(
    file: File, upstream: Upstream
) -> None:
    """Two keys have changed, the check of the second hangs: the first is given back as well."""
    upstream.keys = None
    file.key(OLD, "second")
    file.key(NEW)
    file.row("one", api_keys=["file:key", "file:second"])
    async with ProviderManager.from_config(file.path) as manager:
        file.key(THIRD)
        file.key(f"{THIRD}-2", "second")
        upstream.fault(
            hang=True, on="models", match=lambda request: request.credential == f"{THIRD}-2"
        )
        before = {lane.provider for lane in manager._members.by_name["one"].lanes}
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(manager.reload(), 0.3)
        assert {lane.provider for lane in manager._members.by_name["one"].lanes} == before
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "amas-http"]


async def test_a_reload_adds_changes_and_removes_providers(file: File, upstream: Upstream) -> None:
    """In the order of the file; what the service registered itself stays at the end."""
    async with ProviderManager.from_config(file.path) as manager:
        own = FakeProvider("own")
        await manager.register_provider(own)
        file.row("two", api_key="file:key")
        file.row("one", api_key="file:key", model="another")
        changes = await manager.reload()
        assert (changes.added, changes.changed, changes.removed) == (["two"], ["one"], [])
        assert manager.fallback_chain == ["one", "two", "own"]
        assert (await manager.generate("a"))["model"] == "another"
        del file.rows["one"]
        file.row("own", api_key="file:key")
        changes = await manager.reload()
        assert changes.removed == ["one"]
        assert changes.problems == ["own was registered by the service itself, and stays as it is"]
        assert manager.providers["own"] is own
        assert (await manager.generate("a"))["provider"] == "two"


async def test_a_reload_of_a_broken_file_changes_nothing(file: File, upstream: Upstream) -> None:
    """The error says where; calls go on."""
    async with ProviderManager.from_config(file.path) as manager:
        file.row("one", api_key="file:key", timeout="long")
        with pytest.raises(ProviderConfigError, match="timeout"):
            await manager.reload()
        assert (await manager.generate("a"))["provider"] == "one"


async def test_access_rules_hold_from_the_reload_on(file: File, upstream: Upstream) -> None:
    """A caller that is locked out is locked out at once."""
    async with ProviderManager.from_config(file.path) as manager:
        await manager.generate("a")
        file.more = {"security": {"access": {"agent": {}}, "max_prompt_bytes": 10}}
        file.write()
        await manager.reload()
        with pytest.raises(ProviderError, match=r"no rule in security\.access"):
            await manager.generate("a")
        with pytest.raises(InvalidRequestError):
            await manager.generate("a" * 11, caller="agent")
        assert (await manager.generate("a", caller="agent"))["provider"] == "one"


async def test_there_is_nothing_to_reload_without_a_configuration() -> None:
    """The error says what to do."""
    with pytest.raises(ProviderConfigError, match="from_config"):
        await ProviderManager(providers=[FakeProvider("p")]).reload()


@pytest.mark.parametrize("act", ["rotate", "reload"])
async def test_old_clients_are_closed(
    file: File, upstream: Upstream, act: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten rotations later there is one client, as before."""
    upstream.keys = None
    closed: list[Any] = []
    monkeypatch.setattr(retirement, "shut_down", _noting(retirement.shut_down, closed))
    async with ProviderManager.from_config(file.path) as manager:
        for number in range(10):
            if act == "rotate":
                await manager.rotate_key("one", f"{NEW}-{number}")
            else:
                file.key(f"{NEW}-{number}")
                await manager.reload()
        async with asyncio.timeout(5):
            while manager._retirement._tasks:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert len(closed) == 10
        assert all(provider._connections.http is None for provider in closed)


def _noting(shut_down: Callable[[Any], Any], closed: list[Any]) -> Callable[[Any], Any]:
    async def note(provider: Any) -> None:
        await shut_down(provider)
        closed.append(provider)

    return note


@pytest.mark.parametrize("act", ["rotate", "reload"])
async def test_after_a_shutdown_nothing_is_started(file: File, act: str) -> None:
    """A rotation would leave an open client behind."""
    manager = ProviderManager.from_config(file.path)
    await manager.shutdown()
    with pytest.raises(ProviderError, match="shut down"):
        await (manager.rotate_key("one", NEW) if act == "rotate" else manager.reload())


async def test_a_stream_ends_well_although_its_provider_is_removed_meanwhile(
    file: File, upstream: Upstream
) -> None:
    """It finishes where it began."""
    file.row("two", api_key="file:key")
    async with ProviderManager.from_config(file.path) as manager:
        chunks = manager.stream("hello there")
        first = await anext(aiter(chunks))
        del file.rows["one"]
        file.write()
        assert (await manager.reload()).removed == ["one"]
        rest = [chunk async for chunk in chunks]
        assert first.provider == rest[-1].provider == "one"
        assert rest[-1].finish_reason == "stop"
