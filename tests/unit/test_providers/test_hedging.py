"""Hedged requests: whom they ask, when, how often, and that nothing of the slower one is left."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Literal

import pytest
from typing_extensions import override

from amas.config.provider_settings import CircuitBreakerSettings, HedgeSettings, ManagerSettings
from amas.providers import ProviderManager
from amas.providers.base import ProviderConfig
from amas.providers.errors import (
    AllProvidersFailedError,
    ContentPolicyError,
    ContextWindowExceededError,
    InvalidRequestError,
    ProviderError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    RateLimitError,
)
from amas.providers.manager.circuit_breaker import CircuitState
from amas.providers.manager.member import Member
from amas.providers.testing import Delay, FakeProvider
from amas.providers.types import Attempt, GenerationResult, Prompt, StreamChunk

HANGS = Delay(float("inf"))
SOON = 0.01


class Watched(FakeProvider):
    """A provider that remembers when it was asked, and whether it was cancelled."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.asked_at: list[float] = []
        self.asked = asyncio.Event()
        self.left = asyncio.Event()
        self.cancelled = 0
        self.closed = 0

    def _note(self) -> None:
        self.asked_at.append(time.monotonic())
        self.asked.set()

    def _leave(self) -> None:
        self.cancelled += 1
        self.left.set()

    @override
    async def generate(self, prompt: Prompt, **kwargs: Any) -> GenerationResult:
        self._note()
        try:
            return await super().generate(prompt, **kwargs)
        except asyncio.CancelledError:
            self._leave()
            raise

    @override
    async def stream(self, prompt: Prompt, **kwargs: Any) -> AsyncIterator[StreamChunk]:
        self._note()
        try:
            async for chunk in super().stream(prompt, **kwargs):
                yield chunk
        except asyncio.CancelledError:
            self._leave()
            raise
        finally:
            self.closed += 1


@asynccontextmanager
async def managing(
    *providers: FakeProvider,
    after: float | Literal["p95"] = SOON,
    share: float = 1.0,
    hedged: bool = True,
    **more: Any,
) -> AsyncIterator[ProviderManager]:
    """Run a manager that hedges, and see to it that nothing is left in the end."""
    hedge = HedgeSettings(after=after, max_share=share) if hedged else None
    async with ProviderManager(ManagerSettings(hedge=hedge, **more)) as manager:
        for provider in providers:
            assert await manager.register_provider(provider)
        yield manager
        assert_idle(manager)


def members(manager: ProviderManager) -> list[Member]:
    """Return what the manager knows of each provider."""
    return list(manager._members.by_name.values())


def assert_idle(manager: ProviderManager) -> None:
    """See to it that no slot, no place in a queue, no key and no task is taken."""
    for member in members(manager):
        assert (member.bulkhead.in_flight, member.bulkhead.waiting) == (0, 0), member.name
        assert [lane.in_flight for lane in member.lanes] == [0] * len(member.lanes), member.name
    visits = [task for task in asyncio.all_tasks() if task.get_name().startswith("amas-visit")]
    assert visits == []


def told(attempts: Any) -> list[tuple[str, str, bool]]:
    """Return of each record who was asked, how it ended, and whether it was a hedge."""
    records: list[Attempt] = list(attempts)
    return [(item["provider"], item["outcome"], item.get("hedge", False)) for item in records]


async def turns(count: float) -> None:
    """Wait for so many turns of the event loop, which is a time that is exact."""
    for _ in range(int(count)):
        await asyncio.sleep(0)


def once_asked(other: Watched) -> Callable[[float], Awaitable[None]]:
    """Return a sleep that ends a moment after another provider was asked, however long that is."""

    async def sleep(_seconds: float) -> None:
        await other.asked.wait()
        await turns(20)

    return sleep


async def collect(manager: ProviderManager, **asked: Any) -> list[StreamChunk]:
    """Read a stream to its end."""
    return [chunk async for chunk in manager.stream("hi", **asked)]


async def test_the_second_is_asked_after_the_given_time() -> None:
    """Not earlier, and not much later."""
    a, b = Watched("a", default=HANGS), Watched("b")
    async with managing(a, b, after=0.05) as manager:
        result = await manager.generate("hi")
    assert result["content"] == "b says: hi"
    assert 0.03 <= b.asked_at[0] - a.asked_at[0] < 0.3  # a was late itself, on a busy machine


async def test_the_faster_wins_and_the_slower_is_cancelled() -> None:
    """The slower one hears of it, and both are on record, the answering one last."""
    a, b = Watched("a", default=HANGS), Watched("b")
    async with managing(a, b) as manager:
        result = await manager.generate("hi")
    assert told(result["attempts"]) == [("a", "cancelled", False), ("b", "ok", True)]
    assert "hedge" not in result["attempts"][0]
    assert a.cancelled == 1
    assert result["provider"] == "b"
    assert result["latency_ms"] == result["attempts"][-1]["latency_ms"]


async def test_the_first_may_still_win() -> None:
    """Then the second one is cancelled, and stays marked as the hedge."""
    b = Watched("b", default=HANGS)
    a = Watched("a", [Delay(1, "late")], sleep=once_asked(b))
    async with managing(a, b) as manager:
        result = await manager.generate("hi")
    assert result["content"] == "late"
    assert told(result["attempts"]) == [("b", "cancelled", True), ("a", "ok", False)]
    assert b.cancelled == 1


async def test_who_answers_in_time_has_no_company() -> None:
    """Nobody else is asked, and nothing is spent."""
    a, b = Watched("a"), Watched("b")
    async with managing(a, b, after=5.0) as manager:
        assert told((await manager.generate("hi"))["attempts"]) == [("a", "ok", False)]
    assert b.calls == []


async def test_without_the_setting_nobody_is_asked_beside_another() -> None:
    """Hedging costs money, and is off by default."""
    a, b = Watched("a", default=Delay(0.05, "late")), Watched("b")
    async with managing(a, b, hedged=False) as manager:
        for member in members(manager):
            for _ in range(30):
                member.latencies.add(0.001)
        assert (await manager.generate("hi"))["content"] == "late"
    assert b.calls == []


@pytest.mark.parametrize(("samples", "asked"), [(0, 0), (19, 0), (20, 1)])
async def test_the_usual_p95_counts_once_it_is_known(samples: int, asked: int) -> None:
    """Below twenty answers nobody can tell what is usual, and the first one gets its time."""
    a, b = Watched("a", default=HANGS if asked else Delay(0.08, "late")), Watched("b")
    async with managing(a, b, after="p95") as manager:
        for number in range(samples):
            # One of twenty was much slower; that is beyond what is usual.
            members(manager)[0].latencies.add(5.0 if asked and not number else 0.02)
        result = await manager.generate("hi")
    assert len(b.calls) == asked
    assert result["provider"] == ("b" if asked else "a")
    if asked:
        assert 0.019 <= b.asked_at[0] - a.asked_at[0] < 1


async def test_each_provider_has_its_own_p95() -> None:
    """One that is always slow is not hedged at the pace of another."""
    a, b = Watched("a", default=Delay(0.06, "late")), Watched("b")
    async with managing(a, b, after="p95") as manager:
        for member, usual in zip(members(manager), (0.5, 0.001), strict=True):
            for _ in range(25):
                member.latencies.add(usual)
        assert (await manager.generate("hi"))["content"] == "late"
    assert b.calls == []


async def test_being_overtaken_harms_nobody() -> None:
    """Circuit, key, success rate, health and order stay as they were, after many times as well."""
    a = Watched("a", default=HANGS)
    breaker = CircuitBreakerSettings(failure_threshold=1)
    async with managing(a, Watched("b"), circuit_breaker=breaker) as manager:
        for _ in range(5):
            await manager.generate("hi")
        member, status = members(manager)[0], manager.status()["a"]
        assert member.breaker.circuit.window.counts(member.clock(), 60) == (0, 0)
        assert member.lanes[0].breaker.state is CircuitState.CLOSED
        assert member.doubts == 0
    assert len(a.calls) == a.cancelled == 5
    assert (status["circuit"], status["state"], status["healthy"]) == ("closed", "available", True)
    assert (status["failures"], status["success_rate"], status["last_error"]) == (0, None, None)


async def test_a_probe_that_is_overtaken_has_failed() -> None:
    """A circuit that was open for a cause does not stay half open by being slow again and again."""
    a = Watched("a", default=HANGS)
    async with managing(a, Watched("b")) as manager:
        manager.trip("a", 0.001)
        await asyncio.sleep(0.002)
        member = members(manager)[0]
        assert member.available()
        await manager.generate("hi")
        assert a.cancelled == 1
        assert member.breaker.state is CircuitState.OPEN
        assert member.breaker.circuit.openings == 2
        assert member.breaker.wait() > 1


async def test_a_key_on_probe_that_is_overtaken_does_not_count_for_its_provider() -> None:
    """How slow an answer is says nothing about a key; its place goes to the next call."""
    a = Watched("a", default=HANGS)
    breaker = CircuitBreakerSettings(failure_threshold=1)
    async with managing(a, Watched("b"), circuit_breaker=breaker) as manager:
        member = members(manager)[0]
        key = member.lanes[0].breaker
        key.trip(0.001)
        await asyncio.sleep(0.002)
        await manager.generate("hi")
        assert a.cancelled == 1
        assert member.breaker.state is CircuitState.CLOSED
        assert key.state is CircuitState.HALF_OPEN
        assert member.available()


async def test_the_share_of_hedged_calls_is_bounded() -> None:
    """One always, and a tenth of the calls from then on."""
    a, b = Watched("a", default=Delay(0.01, "late")), Watched("b")
    async with managing(a, b, after=0.001, share=0.1) as manager:
        for _ in range(40):
            await manager.generate("hi")
    assert len(a.calls) == 40
    assert len(b.calls) == 4


async def test_there_is_no_hedge_when_nobody_else_is_there() -> None:
    """The only provider gets all of its time."""
    async with managing(Watched("a", [Delay(0.03, "late")])) as manager:
        assert told((await manager.generate("hi"))["attempts"]) == [("a", "ok", False)]


@pytest.mark.parametrize("why", ["circuit", "cooling", "away", "full", "limit"])
async def test_there_is_no_hedge_when_nobody_else_can_be_asked(why: str) -> None:
    """Whoever is set aside, has no room or no requests left this minute is left alone."""
    a, b = Watched("a", default=Delay(0.04, "late")), Watched("b")
    options: dict[str, Any] = {"full": {"max_concurrency": 1, "max_queue": 9}, "limit": {"rpm": 1}}
    b.config = ProviderConfig("b", max_retries=0, **options.get(why, {}))
    async with managing(a, b) as manager:
        member = members(manager)[1]
        match why:
            case "circuit":
                member.trip(60)
            case "cooling":
                member.lanes[0].cooling_until = member.clock() + 60
            case "away":
                b.initialized = False
            case "full":
                assert member.bulkhead.try_enter()
            case _:
                await manager.generate("hi", provider="b")
        asked = len(b.calls)
        result = await manager.generate("hi", provider="a")
        if why == "full":
            member.bulkhead.leave()
    assert told(result["attempts"]) == [("a", "ok", False)]
    assert len(b.calls) == asked


async def test_there_is_no_hedge_without_failover() -> None:
    """Whoever wants one provider only has only one asked."""
    a, b = Watched("a", [Delay(0.03, "late")]), Watched("b")
    async with managing(a, b, failover_enabled=False) as manager:
        assert (await manager.generate("hi"))["content"] == "late"
    assert b.calls == []


@pytest.mark.parametrize("why", ["full", "set aside"])
async def test_the_third_is_the_hedge_where_the_second_cannot_be(why: str) -> None:
    """Who is next and could answer now is asked."""
    a, b, c = Watched("a", default=HANGS), Watched("b"), Watched("c")
    b.config = ProviderConfig("b", max_concurrency=1, max_queue=9)
    async with managing(a, b, c) as manager:
        bulkhead = members(manager)[1].bulkhead
        if why == "full":
            assert bulkhead.try_enter()
        else:
            manager.trip("b")
            # Its turn would come before that of the other.
            members(manager)[2].doubted_until = time.monotonic() + 60
        result = await manager.generate("hi")
        if why == "full":
            bulkhead.leave()
    assert told(result["attempts"]) == [("a", "cancelled", False), ("c", "ok", True)]


async def test_a_call_that_waits_for_a_slot_is_hedged_too() -> None:
    """It takes as long for the caller, whether the provider is slow or full."""
    a, b = Watched("a"), Watched("b")
    for provider in (a, b):
        provider.config = ProviderConfig(provider.name, max_concurrency=1, max_queue=5)
    async with managing(a, b, after=0.05) as manager:
        for member in members(manager):
            assert member.bulkhead.try_enter()
        call = asyncio.create_task(manager.generate("hi"))
        await turns(5)
        assert members(manager)[0].bulkhead.waiting == 1
        members(manager)[1].bulkhead.leave()
        assert told((await call)["attempts"]) == [("b", "ok", True)]
        members(manager)[0].bulkhead.leave()
    assert a.calls == []


async def test_a_fast_failure_goes_on_without_waiting() -> None:
    """The fallback is asked at once, and is no hedge."""
    a, b = Watched("a", default=ProviderTimeoutError("late")), Watched("b")
    async with managing(a, b, after=30.0) as manager:
        began = time.monotonic()
        result = await manager.generate("hi")
    assert time.monotonic() - began < 1
    assert told(result["attempts"]) == [("a", "timeout", False), ("b", "ok", False)]


async def test_a_final_error_of_the_first_ends_the_call() -> None:
    """A mistake of the caller's is told at once, and the hedge is cancelled and on record."""
    wrong = InvalidRequestError("bad", status_code=400)
    b, c = Watched("b", default=HANGS), Watched("c")
    a = Watched("a", [Delay(1, wrong)], sleep=once_asked(b))
    async with managing(a, b, c) as manager:
        with pytest.raises(InvalidRequestError, match="bad") as raised:
            await manager.generate("hi")
    assert told(raised.value.attempts) == [
        ("a", "invalid_request", False),
        ("b", "cancelled", True),
    ]
    assert (b.cancelled, c.calls) == (1, [])


@pytest.mark.parametrize("error", [InvalidRequestError, ContentPolicyError])
async def test_a_final_error_of_the_hedge_takes_no_answer_away(error: type[ProviderError]) -> None:
    """A call that would be answered without hedging is answered with it."""
    b = Watched("b", default=error("no", status_code=400))
    a = Watched("a", [Delay(1, "slow but sure")], sleep=once_asked(b))
    async with managing(a, b) as manager:
        result = await manager.generate("hi")
    assert result["content"] == "slow but sure"
    assert told(result["attempts"]) == [("b", str(error.outcome), True), ("a", "ok", False)]
    assert a.cancelled == 0


async def test_a_final_error_of_the_hedge_is_told_if_the_first_fails_as_well() -> None:
    """Then nobody else is asked: it says that this would not help."""
    b, c = Watched("b", default=InvalidRequestError("bad", status_code=400)), Watched("c")
    a = Watched("a", [Delay(1, ProviderUnavailableError("503"))], sleep=once_asked(b))
    async with managing(a, b, c) as manager:
        with pytest.raises(InvalidRequestError) as raised:
            await manager.generate("hi")
    assert told(raised.value.attempts) == [
        ("b", "invalid_request", True),
        ("a", "unavailable", False),
    ]
    assert c.calls == []


async def test_when_both_fail_both_are_told() -> None:
    """The error has each one's own, and when to try again."""
    b = Watched("b", default=RateLimitError("slow", retry_after=7))
    a = Watched("a", [Delay(1, ProviderUnavailableError("down"))], sleep=once_asked(b))
    async with managing(a, b) as manager:
        with pytest.raises(AllProvidersFailedError, match="after 2 attempts") as raised:
            await manager.generate("hi")
    assert told(raised.value.attempts) == [
        ("b", "rate_limited", True),
        ("a", "unavailable", False),
    ]
    assert {error.provider: error.message for error in raised.value.errors} == {
        "a": "down",
        "b": "slow",
    }
    assert {error.request_id for error in raised.value.errors} == {raised.value.request_id}


async def test_when_both_fail_the_third_is_asked() -> None:
    """A lost race is two failures more, and not the end of the call."""
    b, c = Watched("b", default=ProviderTimeoutError("late")), Watched("c")
    a = Watched("a", [Delay(1, ProviderUnavailableError("down"))], sleep=once_asked(b))
    async with managing(a, b, c) as manager:
        result = await manager.generate("hi")
    assert told(result["attempts"]) == [
        ("b", "timeout", True),
        ("a", "unavailable", False),
        ("c", "ok", False),
    ]


async def test_a_failing_hedge_leaves_the_first_alone() -> None:
    """It may still answer."""
    b = Watched("b", default=ProviderTimeoutError("late"))
    a = Watched("a", [Delay(1, "late")], sleep=once_asked(b))
    async with managing(a, b) as manager:
        result = await manager.generate("hi")
    assert told(result["attempts"]) == [("b", "timeout", True), ("a", "ok", False)]


async def test_a_hedge_whose_window_is_too_small_narrows_the_rest() -> None:
    """After both have failed only a larger window is asked."""
    b = Watched("b", default=ContextWindowExceededError("long"), context_window=50)
    down = Delay(1, ProviderUnavailableError("down"))
    a = Watched("a", [down], context_window=100, sleep=once_asked(b))
    c, d = Watched("c", context_window=20), Watched("d", context_window=200)
    async with managing(a, b, c, d) as manager:
        result = await manager.generate("hi")
    assert result["provider"] == "d"
    assert c.calls == []


async def test_a_pause_before_a_retry_is_overtaken_as_well() -> None:
    """Nothing was under way at the first one then, so nothing of it is cancelled."""
    a = Watched("a", default=ProviderUnavailableError("503", retry_after=1), max_retries=3)
    async with managing(a, Watched("b")) as manager:
        result = await manager.generate("hi")
    assert told(result["attempts"]) == [("a", "unavailable", False), ("b", "ok", True)]
    assert (len(a.calls), a.cancelled) == (1, 0)


async def test_each_is_judged_by_its_own_failures() -> None:
    """A provider is not put behind the others for what happened meanwhile at its hedge."""
    a = Watched("a", default=RateLimitError("slow", retry_after=0.2), max_retries=1)
    b = Watched("b", default=ProviderUnavailableError("503"))
    async with managing(a, b) as manager:
        call = asyncio.create_task(manager.generate("hi"))
        await once_asked(b)(1)
        manager.trip("a")
        with pytest.raises(AllProvidersFailedError):
            await call
        assert [member.doubts for member in members(manager)] == [0, 1]


async def test_the_deadline_holds_for_both() -> None:
    """Two that hang do not take longer than one."""
    a, b = Watched("a", default=HANGS), Watched("b", default=HANGS)
    async with managing(a, b) as manager:
        began = time.monotonic()
        with pytest.raises(AllProvidersFailedError, match="the deadline passed") as raised:
            await manager.generate("hi", deadline=0.1)
    assert 0.09 < time.monotonic() - began < 0.5
    assert sorted(told(raised.value.attempts)) == [("a", "timeout", False), ("b", "timeout", True)]


class Stubborn(FakeProvider):
    """A provider that answers although it is cancelled."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.closed = 0

    @override
    async def generate(self, prompt: Prompt, **kwargs: Any) -> GenerationResult:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        return await super().generate(prompt, **kwargs)

    @override
    async def stream(self, prompt: Prompt, **kwargs: Any) -> AsyncIterator[StreamChunk]:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        try:
            yield StreamChunk("too late", self.name)
            await asyncio.sleep(60)
        finally:
            self.closed += 1


async def test_an_answer_that_comes_too_late_is_given_back() -> None:
    """It is settled as cancelled, and its stream is closed."""
    a = Stubborn("a")
    async with managing(a, Watched("b")) as manager:
        result = await manager.generate("hi")
        assert told(result["attempts"]) == [("a", "cancelled", False), ("b", "ok", True)]
        chunks = await collect(manager)
    assert told(chunks[-1].attempts) == [("a", "cancelled", False), ("b", "ok", True)]
    assert "".join(chunk.content for chunk in chunks) == "b says: hi"
    assert a.closed == 1


async def test_a_stream_is_hedged_up_to_its_first_content() -> None:
    """The faster one's pieces come, and only those; the slower one's stream is closed."""
    a, b = Watched("a", default=HANGS), Watched("b", ["one two"])
    async with managing(a, b) as manager:
        chunks = await collect(manager)
    assert [chunk.content for chunk in chunks] == ["one ", "two", ""]
    assert {chunk.provider for chunk in chunks} == {"b"}
    assert told(chunks[-1].attempts) == [("a", "cancelled", False), ("b", "ok", True)]
    assert (a.cancelled, a.closed, b.closed) == (1, 1, 1)


class Slow(Watched):
    """A provider whose stream is slow after its first piece."""

    @override
    async def stream(self, prompt: Prompt, **kwargs: Any) -> AsyncIterator[StreamChunk]:
        async for chunk in super().stream(prompt, **kwargs):
            yield chunk
            await asyncio.sleep(0.02)


async def test_a_stream_that_has_begun_is_not_hedged() -> None:
    """It may take its time from then on."""
    a, b = Slow("a", ["one two three"]), Watched("b")
    async with managing(a, b) as manager:
        chunks = await collect(manager)
    assert told(chunks[-1].attempts) == [("a", "ok", False)]
    assert b.calls == []


async def test_a_stream_that_came_second_is_closed_at_once() -> None:
    """Also the hedge's, while the first one's goes on."""
    b = Watched("b", default=HANGS)
    a = Watched("a", [Delay(1, "one two")], sleep=once_asked(b))
    async with managing(a, b) as manager:
        stream = manager.stream("hi")
        first = await anext(stream)
        assert (first.provider, b.cancelled, b.closed) == ("a", 1, 1)
        assert [member.bulkhead.in_flight for member in members(manager)] == [1, 0]
        last = [chunk async for chunk in stream][-1]
    assert told(last.attempts) == [("b", "cancelled", True), ("a", "ok", False)]


class BreaksOff(Watched):
    """A provider that is slow, and whose stream breaks off."""

    @override
    async def stream(self, prompt: Prompt, **kwargs: Any) -> AsyncIterator[StreamChunk]:
        await self._sleep(1)
        yield StreamChunk("one ", self.name)
        raise ProviderUnavailableError("gone")


async def test_whoever_was_only_slower_may_take_over_a_broken_stream() -> None:
    """It has not failed, and nobody else is left."""
    b = Watched("b", [HANGS])
    async with managing(
        BreaksOff("a", sleep=once_asked(b)), b, stream_recovery="restart"
    ) as manager:
        chunks = await collect(manager)
    assert [chunk.event for chunk in chunks if chunk.event] == ["restart"]
    assert told(chunks[-1].attempts) == [
        ("b", "cancelled", True),
        ("a", "stream_interrupted", False),
        ("b", "ok", False),
    ]


async def test_whoever_failed_does_not_take_over_a_broken_stream() -> None:
    """Nobody is tried twice in one call after a failure."""
    b = Watched("b", [ProviderTimeoutError("late")])
    async with managing(
        BreaksOff("a", sleep=once_asked(b)), b, stream_recovery="restart"
    ) as manager:
        with pytest.raises(ProviderError, match="broke off"):
            await collect(manager)
    assert len(b.calls) == 1


async def ask(manager: ProviderManager) -> None:
    """Ask for a plain answer."""
    await manager.generate("hi")


async def read(manager: ProviderManager) -> None:
    """Read a stream to its end."""
    await collect(manager)


@pytest.mark.parametrize("call", [ask, read])
@pytest.mark.parametrize("plan", ["second wins", "first wins", "both fail", "a tie", "final"])
async def test_a_caller_who_leaves_at_any_moment_leaves_nothing(call: Any, plan: str) -> None:
    """Turn by turn of the event loop: no slot, no key in use, no probe, no task, no open stream."""
    scripts: dict[str, tuple[Any, Any]] = {
        "second wins": (Delay(40, "late"), Delay(4, "soon")),
        "first wins": (Delay(12, "late"), Delay(40, "later")),
        "both fail": (
            Delay(12, ProviderTimeoutError("late")),
            Delay(4, ProviderUnavailableError("503")),
        ),
        "a tie": (Delay(12, "one two"), Delay(8, "three four")),
        "final": (Delay(12, InvalidRequestError("bad", status_code=400)), Delay(40, "later")),
    }
    names = "ab"
    breaker = CircuitBreakerSettings(failure_threshold=1000)
    providers = [
        Watched(name, default=script, sleep=turns)
        for name, script in zip(names, scripts[plan], strict=True)
    ]
    ended = 0
    async with managing(*providers, after=1e-6, circuit_breaker=breaker) as manager:
        for moment in range(70):
            for member in members(manager):
                # Each of them is on probe: a place that leaked would stay taken.
                member.reset()
                member.trip(-1.0)
            task = asyncio.create_task(call(manager))
            await turns(moment)
            ended += task.done()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert_idle(manager)
            assert all(
                member.breaker.state is not CircuitState.HALF_OPEN or member.available()
                for member in members(manager)
            ), moment
            asked = [len(provider.asked_at) for provider in providers]
            if call is read:
                assert [provider.closed for provider in providers] == asked
    assert 0 < ended < 70


async def test_a_caller_who_leaves_while_the_slower_one_ends_gets_no_answer() -> None:
    """What was won is given back: its stream is closed, and its slot is free."""

    class SlowToEnd(Watched):
        @override
        async def stream(self, prompt: Prompt, **kwargs: Any) -> AsyncIterator[StreamChunk]:
            try:
                async for chunk in super().stream(prompt, **kwargs):
                    yield chunk
            finally:
                await asyncio.sleep(0.05)

    a, b = SlowToEnd("a", default=HANGS), Watched("b", ["one two"])
    async with managing(a, b) as manager:
        task = asyncio.create_task(collect(manager))
        await a.left.wait()
        assert [member.bulkhead.in_flight for member in members(manager)] == [1, 1]
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert_idle(manager)
        assert (a.closed, b.closed) == (1, 1)
        assert manager.status()["b"]["successes"] == 0


async def test_an_exception_that_is_no_exception_of_ours_leaves_nothing() -> None:
    """What stops the whole program is not swallowed, and the other one is cancelled."""

    class Stop(BaseException):
        pass

    class Stopping(FakeProvider):
        @override
        async def generate(self, prompt: Prompt, **kwargs: Any) -> GenerationResult:
            await asyncio.sleep(0.005)
            raise Stop

    a = Watched("a", default=HANGS)
    async with managing(a, Stopping("b")) as manager:
        with pytest.raises(Stop):
            await manager.generate("hi")
        assert_idle(manager)
    assert a.cancelled == 1
