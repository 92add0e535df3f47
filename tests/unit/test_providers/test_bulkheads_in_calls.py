"""Limits at a provider's door as calls meet them: slots, queues, requests and tokens per minute."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from limits.aio.storage import memory
from typing_extensions import override

from amas.config.provider_settings import CircuitBreakerSettings, ManagerSettings
from amas.providers import ProviderManager
from amas.providers.base import ProviderConfig
from amas.providers.errors import (
    AllProvidersFailedError,
    NoProviderAvailableError,
    ProviderConnectionError,
    ProviderError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    RateLimitError,
)
from amas.providers.testing import Delay, FakeProvider
from amas.providers.testing.fake_provider import FakeClock
from amas.providers.types import GenerationResult, Prompt, StreamChunk

HANGS = Delay(float("inf"))


class Gated(FakeProvider):
    """A provider that answers once it is let, and remembers in which order it was asked.

    Args:
        name: Name of the provider.
        limits: ``max_concurrency``, ``max_queue``, ``rpm`` and whatever else a row has.
        options: Whatever else a FakeProvider takes.
    """

    def __init__(self, name: str, limits: dict[str, Any] | None = None, **options: Any) -> None:
        super().__init__(name, **options)
        self.config = ProviderConfig(name, **{"max_retries": 0, **(limits or {})})
        self.gate = asyncio.Event()
        self.prompts: list[Prompt] = []
        self.most = self.now = 0

    @override
    async def generate(self, prompt: Prompt, **kwargs: Any) -> GenerationResult:
        self.prompts.append(prompt)
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await self.gate.wait()
            return await super().generate(prompt, **kwargs)
        finally:
            self.now -= 1


def limited(name: str, **limits: Any) -> FakeProvider:
    """Return a provider that answers at once, within these limits."""
    provider = Gated(name, limits)
    provider.gate.set()
    return provider


@asynccontextmanager
async def managing(*providers: FakeProvider, **settings: Any) -> AsyncIterator[ProviderManager]:
    """Run a manager of these, and see to it that no slot and no place is taken in the end."""
    manager = ProviderManager(ManagerSettings(**settings), random=lambda: 0.0)
    async with manager:
        for provider in providers:
            assert await manager.register_provider(provider)
        yield manager
        assert taken(manager) == [(0, 0)] * len(providers)


def taken(manager: ProviderManager) -> list[tuple[int, int]]:
    """Return how many requests are under way and how many calls wait, at each provider."""
    return [(item["in_flight"], item["waiting"]) for item in manager.status().values()]


async def turns(count: int) -> None:
    """Wait for so many turns of the event loop."""
    for _ in range(count):
        await asyncio.sleep(0)


def begin(manager: ProviderManager, count: int, **asked: Any) -> list[asyncio.Task[Any]]:
    """Begin so many calls, whose prompts are numbers."""
    return [asyncio.create_task(manager.generate(str(number), **asked)) for number in range(count)]


async def who(calls: list[asyncio.Task[Any]]) -> str:
    """Return who answered each call."""
    return "".join([(await call)["provider"] for call in calls])


# Slots and queues


async def test_a_full_provider_is_passed_over_for_a_free_one() -> None:
    """Nobody waits in its queue as long as another one could answer now."""
    a = Gated("a", {"max_concurrency": 2, "max_queue": 9})
    async with managing(a, FakeProvider("b")) as manager:
        calls = begin(manager, 5)
        await turns(10)
        assert taken(manager)[0] == (2, 0)
        assert await who(calls[2:]) == "bbb"
        a.gate.set()
        assert await who(calls[:2]) == "aa"


async def test_whoever_is_asked_for_and_full_is_stood_in_for() -> None:
    """A wish is for a provider, not for its queue."""
    a = Gated("a", {"max_concurrency": 1, "max_queue": 9})
    async with managing(FakeProvider("b"), a) as manager:
        calls = begin(manager, 2, provider="a")
        await turns(10)
        assert await who(calls[1:]) == "b"
        a.gate.set()
        assert await who(calls[:1]) == "a"


async def test_calls_wait_only_when_everybody_is_full() -> None:
    """In the first queue that has a place; whoever finds none at all is told."""
    a = Gated("a", {"max_concurrency": 1, "max_queue": 1})
    b = Gated("b", {"max_concurrency": 1, "max_queue": 2})
    async with managing(a, b) as manager:
        calls = begin(manager, 5)
        await turns(10)
        assert taken(manager) == [(1, 1), (1, 2)]
        with pytest.raises(NoProviderAvailableError) as raised:
            await manager.generate("one too many")
        a.gate.set()
        b.gate.set()
        assert await who(calls) == "ababb"
    assert raised.value.message == (
        "no provider can be asked: a is full (1 requests under way, 1 calls waiting);"
        " b is full (1 requests under way, 2 calls waiting)"
    )
    assert raised.value.attempts == ()
    assert raised.value.request_id


async def test_without_a_queue_nobody_waits() -> None:
    """The error comes at once, and counts as nobody's failure."""
    a = Gated("a", {"max_concurrency": 1})
    async with managing(a) as manager:
        calls = begin(manager, 1)
        await turns(5)
        began = time.monotonic()
        with pytest.raises(NoProviderAvailableError, match="a is full"):
            await manager.generate("hi")
        with pytest.raises(NoProviderAvailableError, match="a is full"):
            await anext(manager.stream("hi"))
        assert time.monotonic() - began < 1
        assert manager.status()["a"]["failures"] == 0
        a.gate.set()
        await who(calls)


async def test_a_slot_that_comes_free_goes_to_whoever_waited_longest() -> None:
    """Also past those who come in this very moment; there are never more than the limit."""
    a = Gated("a", {"max_concurrency": 2, "max_queue": 50})
    async with managing(a) as manager:
        calls = begin(manager, 20)
        await turns(10)
        assert taken(manager) == [(2, 18)]
        a.gate.set()
        calls += begin(manager, 5)
        await who(calls)
    assert a.prompts == [str(number) for number in (*range(20), *range(5))]
    assert a.most == 2


async def test_a_slow_provider_does_not_starve_the_others() -> None:
    """Beyond its slots it holds up nobody, however many calls there are."""
    a = Gated("a", {"max_concurrency": 3})
    async with managing(a, FakeProvider("b")) as manager:
        stuck = begin(manager, 3)
        await turns(10)
        began = time.monotonic()
        assert await who(begin(manager, 200)) == "b" * 200
        assert time.monotonic() - began < 2
        assert taken(manager) == [(3, 0), (0, 0)]
        a.gate.set()
        await who(stuck)


async def test_waiting_is_bounded_by_the_deadline() -> None:
    """Then the error says so, and nobody is blamed."""
    a = Gated("a", {"max_concurrency": 1, "max_queue": 5})
    async with managing(a) as manager:
        stuck = begin(manager, 1)
        await turns(5)
        began = time.monotonic()
        with pytest.raises(ProviderTimeoutError, match="before anybody was asked") as raised:
            await manager.generate("hi", deadline=0.05)
        assert 0.045 <= time.monotonic() - began < 1
        assert raised.value.attempts == ()
        status = manager.status()["a"]
        assert (status["waiting"], status["failures"], status["circuit"]) == (0, 0, "closed")
        a.gate.set()
        await who(stuck)


async def test_waiting_leaves_the_others_their_share() -> None:
    """Where all are full, half of the time is for the first queue."""
    a = Gated("a", {"max_concurrency": 1, "max_queue": 5})
    b = Gated("b", {"max_concurrency": 1, "max_queue": 5})
    async with managing(a, b) as manager:
        stuck = begin(manager, 2)
        await turns(5)
        call = asyncio.create_task(manager.generate("hi", deadline=0.4))
        await asyncio.sleep(0.05)
        assert taken(manager) == [(1, 1), (1, 0)]
        await asyncio.sleep(0.2)
        assert taken(manager) == [(1, 0), (1, 1)]
        b.gate.set()
        assert await who([call]) == "b"
        a.gate.set()
        await who(stuck)


async def test_who_stops_waiting_leaves_the_queue() -> None:
    """Its place is free at once, and the order of the others stays."""
    a = Gated("a", {"max_concurrency": 1, "max_queue": 3})
    async with managing(a) as manager:
        calls = begin(manager, 4)
        await turns(5)
        calls[2].cancel()
        await asyncio.gather(calls[2], return_exceptions=True)
        assert taken(manager) == [(1, 2)]
        calls += begin(manager, 1)
        a.gate.set()
        await who([call for call in calls if not call.cancelled()])
    assert a.prompts == ["0", "1", "3", "0"]


async def test_a_stream_keeps_its_slot_until_it_ends() -> None:
    """Or until its consumer leaves."""
    a = FakeProvider("a", default="one two three")
    a.config = ProviderConfig("a", max_concurrency=1)
    async with managing(a) as manager:
        for leave_early in (True, False):
            stream = manager.stream("hi")
            assert (await anext(stream)).content == "one "
            with pytest.raises(NoProviderAvailableError, match="a is full"):
                await manager.generate("hi")
            if leave_early:
                await stream.aclose()  # type: ignore[attr-defined]
            else:
                assert [chunk async for chunk in stream][-1].finish_reason == "stop"
            assert (await manager.generate("hi"))["content"] == "one two three"


async def test_between_two_attempts_no_slot_is_held() -> None:
    """A call in its pause lets others through, and queues again behind them."""
    late = ProviderUnavailableError("503", retry_after=0.05)
    a = FakeProvider("a", [late, "first", "second"])
    a.config = ProviderConfig("a", max_concurrency=1, max_retries=1)
    async with managing(a) as manager:
        call = asyncio.create_task(manager.generate("hi"))
        await turns(10)
        assert taken(manager) == [(0, 0)]
        assert (await manager.generate("hi"))["content"] == "first"
        assert (await call)["content"] == "second"


async def test_without_failover_a_full_provider_is_waited_for() -> None:
    """There is nobody else."""
    a = Gated("a", {"max_concurrency": 1, "max_queue": 1})
    async with managing(a, FakeProvider("b"), failover_enabled=False) as manager:
        calls = begin(manager, 2)
        await turns(10)
        assert taken(manager) == [(1, 1), (0, 0)]
        a.gate.set()
        assert await who(calls) == "aa"


async def test_several_keys_share_the_slots() -> None:
    """The limit is the provider's."""
    a = FakeProvider("a", default=Delay(0.01, "late"), keys=3)
    a.config = ProviderConfig(
        "a", max_concurrency=2, max_queue=9, api_keys=["key-one", "key-two", "key-three"]
    )
    async with managing(a) as manager:
        calls = begin(manager, 6)
        await turns(5)
        assert taken(manager) == [(2, 4)]
        await who(calls)


# Requests and tokens per minute


@pytest.fixture
def minute(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    """Let the minutes of the limits pass by hand; this one is a third over."""
    clock = FakeClock(1_000_000_020.0)
    monkeypatch.setattr(memory, "time", SimpleNamespace(time=clock))
    return clock


@pytest.mark.parametrize("streamed", [False, True])
async def test_over_its_limit_the_next_provider_is_asked(minute: FakeClock, streamed: bool) -> None:
    """Nothing is sent that would be refused, and nothing is told of it: nobody failed."""
    a, b = limited("a", rpm=2), limited("b")
    async with managing(a, b) as manager:
        answered = []
        for _ in range(4):
            if streamed:
                last = [chunk async for chunk in manager.stream("hi")][-1]
                answered.append((last.provider, len(last.attempts)))
            else:
                result = await manager.generate("hi")
                answered.append((result["provider"], len(result["attempts"])))
        status = manager.status()["a"]
    assert answered == [("a", 1), ("a", 1), ("b", 1), ("b", 1)]
    assert len(a.calls) == 2
    assert (status["state"], status["failures"]) == ("limit_reached", 0)


async def test_when_all_limits_are_used_up_the_error_says_until_when(minute: FakeClock) -> None:
    """The shortest of the waits is told, and then there is an answer again."""
    a, b = limited("a", rpm=1), limited("b", rpm=2)
    async with managing(a, b) as manager:
        assert [(await manager.generate("hi"))["provider"] for _ in range(3)] == ["a", "b", "b"]
        with pytest.raises(NoProviderAvailableError) as raised:
            await manager.generate("hi")
        wait = raised.value.retry_after or 0
        assert 0 < wait <= 120
        assert f"try again in {wait:.1f} s" in raised.value.message
        assert "a is limit reached (its requests or tokens per minute are used up)" in str(
            raised.value
        )
        wait += 0.001  # it is told in whole milliseconds
        minute.now += wait
        for member in manager._members.by_name.values():
            assert member.gate is not None
            member.gate.free_at -= wait
        assert (await manager.generate("hi"))["provider"] in {"a", "b"}
    assert len(a.calls) + len(b.calls) == 4


async def test_tokens_are_estimated_and_then_counted(minute: FakeClock) -> None:
    """Prompt and longest answer before, and what was really used beyond that afterwards."""
    a, b = limited("a", tpm=100, model="m"), limited("b")
    a._default = "word " * 60
    async with managing(a, b) as manager:
        # Ten of the prompt and ten of the answer are taken, and 61 are used.
        assert (await manager.generate("x" * 40, max_tokens=10))["provider"] == "a"
        assert (await manager.generate("x" * 40, max_tokens=40))["provider"] == "b"
        assert (await manager.generate("x" * 40, max_tokens=10))["provider"] == "a"
        assert (await manager.generate("hi"))["provider"] == "b"


async def test_the_tokens_of_streams_are_counted(minute: FakeClock) -> None:
    """By the usage that the last piece has."""
    a, b = limited("a", tpm=100), limited("b")
    a._default = "word " * 120
    async with managing(a, b) as manager:
        for name in ("a", "b"):
            assert [chunk async for chunk in manager.stream("hi")][-1].provider == name


@pytest.mark.parametrize("counted", ["12", None, -5, 1e300, [], {"total_tokens": "many"}])
async def test_whatever_a_provider_counts_takes_no_answer_away(
    minute: FakeClock, counted: Any
) -> None:
    """The answer stands; what is no count is not counted."""

    class Counting(FakeProvider):
        @override
        async def generate(self, prompt: Prompt, **kwargs: Any) -> GenerationResult | Any:
            return {"content": "fine", "tokens_used": counted}

        @override
        async def stream(self, prompt: Prompt, **kwargs: Any) -> AsyncIterator[StreamChunk]:
            yield StreamChunk("fine", "a", finish_reason="stop", usage=counted)

    a = Counting("a")
    a.config = ProviderConfig("a", tpm=1000)
    async with managing(a) as manager:
        for _ in range(2):
            assert (await manager.generate("hi"))["content"] == "fine"
            assert [chunk.content async for chunk in manager.stream("hi")] == ["fine"]


async def test_a_request_too_long_for_this_minute_keeps_nobody_else_away(
    minute: FakeClock,
) -> None:
    """One caller with a huge request does not shut a provider for all the others."""
    a = limited("a", tpm=1000)
    async with managing(a) as manager:
        await manager.generate("hi")
        with pytest.raises(NoProviderAvailableError) as raised:
            await manager.generate("hi", max_tokens=10**9)
        assert 0 < (raised.value.retry_after or 0) <= 120
        assert "a has too few tokens left this minute for so long a request" in str(raised.value)
        assert manager.status()["a"]["state"] == "available"
        assert (await manager.generate("hi"))["provider"] == "a"
    assert len(a.calls) == 2


async def test_a_request_refused_at_the_door_takes_no_slot(minute: FakeClock) -> None:
    """The limit per minute does not fill the bulkhead."""
    a = limited("a", rpm=1, max_concurrency=1)
    async with managing(a) as manager:
        await manager.generate("hi")
        for _ in range(3):
            with pytest.raises(NoProviderAvailableError, match="limit reached"):
                await manager.generate("hi")
            assert taken(manager) == [(0, 0)]


async def test_limits_hold_for_calls_at_the_same_time(minute: FakeClock) -> None:
    """No race lets more through."""
    a, b = limited("a", rpm=7), limited("b")
    async with managing(a, b) as manager:
        answered = await who(begin(manager, 50))
    assert (answered.count("a"), answered.count("b")) == (7, 43)
    assert len(a.calls) == 7


async def test_retries_count_as_requests(minute: FakeClock) -> None:
    """What is asked again takes a place of its own."""
    a, b = limited("a", rpm=2, max_retries=5), limited("b")
    a._default = ProviderUnavailableError("503")
    async with managing(a, b) as manager:
        assert (await manager.generate("hi"))["provider"] == "b"
    assert len(a.calls) == 2


# The retry budget


@pytest.mark.parametrize(
    ("error", "share", "least", "most"),
    [
        (ProviderUnavailableError("503", status_code=503), 0.2, 30, 40),
        (ProviderConnectionError("refused"), 0.2, 30, 40),
        (RateLimitError("slow", retry_after=0.0), 0.2, 30, 40),
        (ProviderUnavailableError("503"), 0.0, 10, 10),
        (ProviderUnavailableError("503"), 1.0, 150, 200),
        (ProviderTimeoutError("late"), 0.2, 0, 0),
    ],
    ids=["503", "refused", "429", "none", "as many", "timeout"],
)
async def test_retries_stay_within_their_share(
    error: ProviderError, share: float, least: int, most: int
) -> None:
    """An outage is not made worse by a fifth, however many calls with however many retries."""
    a = FakeProvider("a", default=error, max_retries=3)
    breaker = CircuitBreakerSettings(failure_threshold=10_000)
    async with managing(a, retry_budget=share, circuit_breaker=breaker) as manager:
        for _ in range(200):
            with pytest.raises((AllProvidersFailedError, NoProviderAvailableError)):
                await manager.generate("hi")
            # A rate limit's second is over for the next call.
            manager._members.by_name["a"].lanes[0].cooling_until = 0.0
    retries = len(a.calls) - 200
    assert least <= retries <= max(most, 10)
