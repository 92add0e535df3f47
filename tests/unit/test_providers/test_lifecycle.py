"""Start, drain and stop, and what is left after it: nothing."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

import pytest
from typing_extensions import override

from amas.config.provider_settings import ManagerSettings
from amas.providers import ProviderConfig, ProviderManager
from amas.providers.errors import (
    AllProvidersFailedError,
    InvalidRequestError,
    NoProviderAvailableError,
    ProviderConfigError,
    ProviderUnavailableError,
)
from amas.providers.manager import lifecycle, retirement, startup
from amas.providers.testing import Delay, FakeProvider
from amas.providers.types import GenerationResult, Prompt

HANGS = Delay(float("inf"))


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the waits for what hangs short enough for tests."""
    monkeypatch.setattr("amas.providers.manager.dispatch.PATIENCE", 0.05)
    monkeypatch.setattr(lifecycle, "PATIENCE", 0.05)
    monkeypatch.setattr(retirement, "_LONGEST_SHUTDOWN", 0.05)
    monkeypatch.setattr(lifecycle, "_AFTERMATH", 0.05)


class Gated(FakeProvider):
    """A provider that starts when its gate is opened, and counts its starts."""

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__(name, **options)
        self.gate = asyncio.Event()
        self.starts = 0

    @override
    async def initialize(self) -> bool:
        self.starts += 1
        await self.gate.wait()
        return await super().initialize()


def manager_of(*providers: FakeProvider, **settings: Any) -> ProviderManager:
    """Return a manager of these providers, none of them started."""
    manager = ProviderManager(ManagerSettings(**settings))
    for provider in providers:
        manager._members.add(provider)
    return manager


def left() -> set[str]:
    """Return the names of all tasks but the test's own."""
    return {task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()}


def test_the_patience_is_about_a_second() -> None:
    """A hanging provider holds up the first call no longer than that."""
    assert startup.PATIENCE == 1.0


async def test_it_starts_lazily_on_the_first_call() -> None:
    """Nobody has to initialize anything first."""
    provider = FakeProvider("a")
    manager = manager_of(provider)
    assert not provider.initialized
    assert (await manager.generate("hi"))["content"] == "a says: hi"
    assert left() == {"amas-provider-health"}
    await manager.shutdown()
    assert left() == set()


async def test_initializing_tells_who_is_ready() -> None:
    """With the reason of those who are not in ``status()``."""
    manager = manager_of(FakeProvider("a"), FakeProvider("b", ready=False))
    assert await manager.initialize_all_providers() == {"a": True, "b": False}
    assert manager.active_providers == ["a"]
    assert manager.status()["b"]["reason"] == "told not to be ready"
    await manager.shutdown()


async def test_a_hanging_provider_does_not_hold_up_the_first_call() -> None:
    """It goes on starting, and takes part once it is ready."""
    slow = Gated("a")
    manager = manager_of(slow, FakeProvider("b"))
    began = asyncio.get_running_loop().time()
    assert (await manager.generate("hi"))["provider"] == "b"
    assert 0.04 < asyncio.get_running_loop().time() - began < 2
    slow.gate.set()
    await asyncio.sleep(0.01)
    assert (await manager.generate("hi"))["provider"] == "a"
    assert slow.starts == 1
    await manager.shutdown()


async def test_the_start_counts_toward_the_deadline() -> None:
    """A call with a deadline does not wait longer than that for providers that hang."""
    manager = manager_of(Gated("a"))
    began = asyncio.get_running_loop().time()
    for _ in range(2):
        with pytest.raises(NoProviderAvailableError, match="a is unavailable"):
            await manager.generate("hi", deadline=0.05)
    assert asyncio.get_running_loop().time() - began < 2
    await manager.shutdown()
    assert left() == set()


async def test_many_first_calls_start_everything_once() -> None:
    """Concurrent first calls share the start."""
    slow = Gated("a")
    manager = manager_of(slow)
    calls = [asyncio.create_task(manager.generate("hi")) for _ in range(50)]
    await asyncio.sleep(0.01)
    slow.gate.set()
    assert {(await call)["provider"] for call in calls} == {"a"}
    assert slow.starts == 1
    await manager.shutdown()


async def test_a_cancelled_first_call_does_not_end_the_start_for_others() -> None:
    """The second caller gets the provider that the first one began to start."""
    slow = Gated("a")
    manager = manager_of(slow)
    first, second = (asyncio.create_task(manager.generate("hi")) for _ in range(2))
    await asyncio.sleep(0.01)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    slow.gate.set()
    assert (await second)["provider"] == "a"
    assert slow.starts == 1
    await manager.shutdown()


async def test_when_nobody_is_ready_the_next_call_tries_again() -> None:
    """A local model that is switched on later is found without waiting for the monitor."""
    local, wrong = FakeProvider("a", ready=False), FakeProvider("b", ready=False)
    manager = manager_of(local, wrong)
    with pytest.raises(NoProviderAvailableError, match=r"a is unavailable \(told not to be ready"):
        await manager.generate("hi")
    local.ready = True
    assert (await manager.generate("hi"))["provider"] == "a"
    await manager.shutdown()


async def test_the_first_call_does_not_try_twice() -> None:
    """What has failed a moment ago is not asked again at once."""

    class Failing(Gated):
        @override
        async def initialize(self) -> bool:
            self.starts += 1
            return False

    provider = Failing("a")
    manager = manager_of(provider)
    for starts in (1, 2):
        with pytest.raises(NoProviderAvailableError):
            await manager.generate("hi")
        assert provider.starts == starts
    await manager.shutdown()


async def test_a_misconfigured_provider_is_not_tried_again() -> None:
    """The error tells what its owner has to do."""
    provider = Gated("a")
    provider.gate.set()
    provider.last_error = ProviderConfigError("no API key: set it")
    manager = manager_of(provider)
    manager._life._started = True
    with pytest.raises(NoProviderAvailableError, match=r"a is unavailable \(no API key: set it\)"):
        await manager.generate("hi")
    assert provider.starts == 0
    await manager.shutdown()


async def test_a_shutdown_lets_running_calls_finish() -> None:
    """They get their answers, new ones are refused meanwhile."""
    manager = manager_of(FakeProvider("a", default=Delay(0.05, "done")))
    call = asyncio.create_task(manager.generate("hi"))
    await asyncio.sleep(0.01)
    ending = asyncio.create_task(manager.shutdown())
    await asyncio.sleep(0.01)
    with pytest.raises(NoProviderAvailableError, match="is shut down"):
        await manager.generate("hi")
    assert (await call)["content"] == "done"
    await ending
    assert left() == set()


async def test_a_shutdown_waits_for_streams_too() -> None:
    """A stream that is being read is a running call."""
    manager = manager_of(FakeProvider("a", default="one two three"))
    async with aclosing(manager.stream("hi")) as stream:  # type: ignore[type-var]
        first = await anext(stream)
        ending = asyncio.create_task(manager.shutdown())
        await asyncio.sleep(0)
        words = [first.content] + [chunk.content async for chunk in stream]
    await ending
    assert "".join(words) == "one two three"


async def test_after_the_grace_period_the_providers_are_shut_down_anyway(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is logged how many calls were cut short."""

    class Cutting(FakeProvider):
        """A provider whose shutdown ends what it is doing."""

        cut: asyncio.Event

        @override
        async def generate(self, prompt: Prompt, **kwargs: Any) -> GenerationResult:
            await self.cut.wait()
            raise ProviderUnavailableError("closed")

        @override
        async def shutdown(self) -> None:
            self.cut.set()
            await super().shutdown()

    provider = Cutting("a")
    provider.cut = asyncio.Event()
    manager = manager_of(provider)
    call = asyncio.create_task(manager.generate("hi"))
    await asyncio.sleep(0.01)
    await manager.shutdown(grace=0.02)
    assert call.done()
    with pytest.raises(AllProvidersFailedError, match="closed"):
        await call
    assert "shutdown_cut_calls_short running=1" in caplog.text
    assert left() == set()


async def test_a_call_that_ignores_the_shutdown_does_not_hold_it_up() -> None:
    """It is the caller's own task, and ends with the caller."""
    manager = manager_of(FakeProvider("a", default=HANGS))
    call = asyncio.create_task(manager.generate("hi"))
    await asyncio.sleep(0.01)
    async with asyncio.timeout(1):
        await manager.shutdown(grace=0.02)
    assert manager.status()["a"]["in_flight"] == 1
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    assert manager.status()["a"]["in_flight"] == 0


async def test_shutting_down_twice_is_harmless() -> None:
    """One after the other, at the same time, and before anything was started."""
    provider = FakeProvider("a")
    manager = manager_of(provider)
    await manager.shutdown()
    await manager.initialize_all_providers()
    await asyncio.gather(manager.shutdown(), manager.shutdown())
    await manager.shutdown()
    assert not provider.initialized
    assert left() == set()


async def test_it_can_be_started_again_after_a_shutdown() -> None:
    """Initializing opens it, a call alone does not."""
    manager = manager_of(FakeProvider("a"))
    async with manager:
        await manager.generate("hi")
    with pytest.raises(NoProviderAvailableError, match="is shut down"):
        await manager.generate("hi")
    async with manager:
        assert (await manager.generate("hi"))["provider"] == "a"
        assert left() == {"amas-provider-health"}
    assert left() == set()


async def test_a_start_during_a_shutdown_waits_for_its_end() -> None:
    """The providers are not shut down under the feet of the new start."""
    manager = manager_of(FakeProvider("a", default=Delay(0.03, "done")))
    call = asyncio.create_task(manager.generate("hi"))
    await asyncio.sleep(0.01)
    ending = asyncio.create_task(manager.shutdown())
    await asyncio.sleep(0)
    assert await manager.initialize_all_providers() == {"a": True}
    assert call.done()
    assert ending.done()
    assert (await manager.generate("hi"))["content"] == "done"
    await manager.shutdown()


async def test_a_shutdown_after_a_start_that_waited_still_shuts_down() -> None:
    """Of stop, start and stop at the same time the last one holds."""
    provider = FakeProvider("a", default=Delay(0.03, "done"))
    manager = manager_of(provider)
    call = asyncio.create_task(manager.generate("hi"))
    await asyncio.sleep(0.01)
    await asyncio.gather(manager.shutdown(), manager.initialize_all_providers(), manager.shutdown())
    assert (await call)["content"] == "done"
    assert not provider.initialized
    with pytest.raises(NoProviderAvailableError, match="is shut down"):
        await manager.generate("hi")
    assert left() == set()


async def test_a_shutdown_ends_a_start_that_hangs() -> None:
    """At once, and nothing of it comes back later."""
    slow = Gated("a")
    manager = manager_of(slow)
    starting = asyncio.create_task(manager.initialize_all_providers())
    await asyncio.sleep(0.01)
    async with asyncio.timeout(2):
        await manager.shutdown()
    assert await starting == {"a": False}
    slow.gate.set()
    await asyncio.sleep(0)
    assert not slow.initialized
    assert left() == set()


async def test_a_start_that_is_cancelled_can_be_shut_down() -> None:
    """Waiting is what is cancelled; shutting down gives back what had begun."""
    slow, ready = Gated("a"), FakeProvider("b")
    manager = manager_of(slow, ready)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(manager.initialize_all_providers(), 0.02)
    await manager.shutdown()
    assert not ready.initialized
    assert left() == set()


async def test_a_context_that_is_cancelled_while_it_opens_leaves_nothing() -> None:
    """Nobody could shut it down later."""
    slow, ready = Gated("a"), FakeProvider("b")

    async def enter() -> None:
        async with manager_of(slow, ready):
            raise AssertionError("the context was never entered")

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(enter(), 0.02)
    assert (slow.shutdowns, ready.shutdowns) == (1, 1)
    assert not ready.initialized
    assert left() == set()


async def test_a_shutdown_that_is_cancelled_gives_back_everything_all_the_same() -> None:
    """Who does not want to wait for running calls any longer gets rid of them."""
    provider = FakeProvider("a", default=HANGS)
    manager = manager_of(provider)
    call = asyncio.create_task(manager.generate("hi"))
    await asyncio.sleep(0.01)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(manager.shutdown(grace=60), 0.02)
    assert provider.shutdowns == 1
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    assert left() == set()


class BadAtEnding(FakeProvider):
    """A provider whose shutdown goes wrong."""

    how = "raise"

    @override
    async def shutdown(self) -> None:
        if self.how == "raise":
            raise RuntimeError("cannot end")
        await asyncio.sleep(60)


@pytest.mark.parametrize("how", ["raise", "hang"])
async def test_a_shutdown_that_goes_wrong_does_not_stop_the_others(
    how: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, the others are shut down, and the manager can be started again."""
    bad, good = BadAtEnding("a"), FakeProvider("b")
    bad.how = how
    manager = manager_of(bad, good)
    await manager.initialize_all_providers()
    async with asyncio.timeout(1):
        await manager.shutdown()
    assert good.shutdowns == 1
    assert not bad.initialized
    assert "shutdown_failed provider='a'" in caplog.text
    assert left() == set()


async def test_a_shutdown_that_is_no_coroutine_does_not_stop_the_others() -> None:
    """Even a provider that breaks the interface is only one of many."""

    class Synchronous(FakeProvider):
        @override
        def shutdown(self) -> Any:
            """Give back everything at once."""

    good = FakeProvider("b")
    manager = manager_of(Synchronous("a"), good)
    await manager.initialize_all_providers()
    await manager.shutdown()
    assert good.shutdowns == 1


async def test_a_provider_that_keeps_no_books_is_started_again_after_a_shutdown() -> None:
    """Third-party providers need not know about ``initialized``."""

    class Minimal(Gated):
        @override
        async def initialize(self) -> bool:
            self.starts += 1
            return True

        @override
        async def shutdown(self) -> None:
            pass

    provider = Minimal("a")
    manager = manager_of(provider)
    for starts in (1, 2):
        async with manager:
            assert (await manager.generate("hi"))["provider"] == "a"
        assert provider.starts == starts
        assert manager.active_providers == []


async def test_after_a_shutdown_nothing_is_started() -> None:
    """Not by registering, not by asking for health or for a provider."""
    late, early = FakeProvider("b"), FakeProvider("a")
    manager = manager_of(early)
    await manager.initialize_all_providers()
    await manager.shutdown()
    assert await manager.register_provider(late) is False
    assert await manager.check_health() == {"a": False, "b": False}
    assert await manager.get_available_provider() is None
    assert not early.initialized
    assert not late.initialized
    assert await manager.initialize_all_providers() == {"a": True, "b": True}
    await manager.shutdown()


async def test_a_call_that_is_overtaken_by_the_shutdown_starts_nothing() -> None:
    """It was let in, but by then there is nobody left to start."""
    slow = Gated("a")
    manager = manager_of(slow)
    call = asyncio.create_task(manager.generate("hi"))
    await asyncio.sleep(0.01)
    await manager.shutdown(grace=0.05)
    with pytest.raises(NoProviderAvailableError):
        await call
    assert slow.starts == 1
    assert left() == set()


async def test_a_disabled_manager_takes_no_calls() -> None:
    """``enabled: false`` is told as the reason."""
    provider = FakeProvider("a")
    manager = manager_of(provider, enabled=False)
    for _ in range(2):
        with pytest.raises(NoProviderAvailableError, match=r"manager\.enabled: false"):
            await manager.generate("hi")
        await manager.initialize_all_providers()
    with pytest.raises(NoProviderAvailableError, match="disabled"):
        await anext(manager.stream("hi"))
    assert await manager.get_available_provider() is None
    assert provider.calls == []
    assert left() == set()
    await manager.shutdown()


async def test_a_mistake_is_told_before_anything_is_started() -> None:
    """A wrong deadline or strategy costs nothing."""
    slow = Gated("a")
    manager = manager_of(slow)
    with pytest.raises(InvalidRequestError, match="deadline"):
        await manager.generate("hi", deadline=0)
    with pytest.raises(InvalidRequestError, match="unknown strategy"):
        await manager.generate("hi", strategy="zz")
    assert slow.starts == 0
    await manager.shutdown()


async def test_without_failover_an_absent_provider_is_not_replaced() -> None:
    """Who asks for one provider gets that one or its reason."""
    away = FakeProvider("a", ready=False)
    other = FakeProvider("b")
    manager = manager_of(away, other, failover_enabled=False)
    with pytest.raises(NoProviderAvailableError) as raised:
        await manager.generate("hi", provider="a")
    assert str(raised.value) == (
        "no provider can be asked: a is unavailable (told not to be ready)"
    )
    assert other.calls == []
    away.ready = True
    assert (await manager.generate("hi", provider="a"))["provider"] == "a"
    await manager.shutdown()


async def test_without_failover_the_first_one_fails_with_its_own_error() -> None:
    """Nobody else is asked; an open circuit is told as such."""
    error = ProviderUnavailableError("503", status_code=503)
    first, other = FakeProvider("a", default=error), FakeProvider("b")
    manager = manager_of(
        first, other, failover_enabled=False, circuit_breaker={"failure_threshold": 1}
    )
    with pytest.raises(ProviderUnavailableError):
        await manager.generate("hi")
    with pytest.raises(NoProviderAvailableError, match="a is circuit open") as raised:
        await manager.generate("hi")
    assert raised.value.retry_after is not None
    assert "b is" not in str(raised.value)
    assert other.calls == []
    await manager.shutdown()


async def test_a_switched_off_provider_is_told_but_not_started() -> None:
    """It is in ``status()`` with its reason."""
    off = Gated("a")
    off.config = ProviderConfig("a", enabled=False)
    manager = manager_of(off)
    assert await manager.initialize_all_providers() == {"a": False}
    with pytest.raises(NoProviderAvailableError, match="a is disabled"):
        await manager.generate("hi")
    assert off.starts == 0
    await manager.shutdown()
