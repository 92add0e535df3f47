"""Streams through the manager: taken over before the first content, told honestly after it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, suppress
from typing import Any

import pytest
from typing_extensions import override

from amas.providers import ProviderManager
from amas.providers.errors import (
    AllProvidersFailedError,
    AuthenticationError,
    ContentPolicyError,
    ProviderError,
    ProviderUnavailableError,
    StreamInterruptedError,
)
from amas.providers.manager.member import Member
from amas.providers.testing import Cut, Delay, FakeProvider
from amas.providers.types import GenerationResult, Outcome, Prompt, StreamChunk, Usage

Script = Callable[[], AsyncIterator[StreamChunk]]


class Streaming(FakeProvider):
    """A provider whose stream is whatever a function gives."""

    def __init__(self, script: Callable[[], Any], name: str = "a") -> None:
        super().__init__(name)
        self.script_of_stream = script

    @override
    def stream(self, prompt: Prompt, **kwargs: Any) -> AsyncIterator[StreamChunk]:
        self.calls.append(None)  # type: ignore[arg-type]
        stream: AsyncIterator[StreamChunk] = self.script_of_stream()
        return stream


def piece(content: Any, **more: Any) -> StreamChunk:
    """Return a chunk of provider a."""
    return StreamChunk(content, "a", **more)


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect the outcome of every settlement."""
    outcomes: list[str] = []
    settle = Member.settle

    def counted(self: Member, permit: Any, outcome: Outcome, **more: Any) -> None:
        outcomes.append(str(outcome))
        settle(self, permit, outcome, **more)

    monkeypatch.setattr(Member, "settle", counted)
    return outcomes


async def manager_of(*providers: FakeProvider) -> ProviderManager:
    """Return a manager of these providers."""
    manager = ProviderManager()
    for provider in providers:
        assert await manager.register_provider(provider)
    return manager


async def collect(manager: ProviderManager, **asked: Any) -> list[StreamChunk]:
    """Read a stream to its end."""
    return [chunk async for chunk in manager.stream("hi", **asked)]


async def read(manager: ProviderManager, into: list[str]) -> None:
    """Read a stream, and keep what came even if it breaks off."""
    async for chunk in manager.stream("hi"):
        into += [chunk.content]


def in_flight(manager: ProviderManager) -> list[int]:
    """Return the slots taken at each provider."""
    return [status["in_flight"] for status in manager.status().values()]


async def test_a_stream_comes_piece_by_piece(settled: list[str]) -> None:
    """The pieces joined are the answer; only the last one is the end."""
    manager = await manager_of(FakeProvider("a", ["one two three"]))
    chunks = await collect(manager)
    assert [chunk.content for chunk in chunks] == ["one ", "two ", "three", ""]
    assert [chunk.finish_reason for chunk in chunks] == [None, None, None, "stop"]
    assert {chunk.provider for chunk in chunks} == {"a"}
    assert settled == ["ok"]
    assert in_flight(manager) == [0]
    await manager.shutdown()


async def test_the_last_piece_has_what_is_known_at_the_end() -> None:
    """Finish reason, usage, the records of all attempts, and the call's id, as all pieces have."""
    manager = await manager_of(
        FakeProvider("a", [ProviderUnavailableError("503", status_code=503)]),
        FakeProvider("b", ["one two"]),
    )
    chunks = await collect(manager)
    last = chunks[-1]
    assert last.finish_reason == "stop"
    assert last.usage == {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    assert [(item["provider"], item["outcome"]) for item in last.attempts] == [
        ("a", "unavailable"),
        ("b", "ok"),
    ]
    assert all(chunk.attempts == () for chunk in chunks[:-1])
    assert last.request_id
    assert {chunk.request_id for chunk in chunks} == {last.request_id}
    await manager.shutdown()


@pytest.mark.parametrize(
    "step", [ProviderUnavailableError("503"), Cut(""), AuthenticationError("x")]
)
async def test_before_the_first_content_another_provider_takes_over(
    step: Any, settled: list[str]
) -> None:
    """Also when the stream had begun, as long as nothing came out of it."""
    manager = await manager_of(FakeProvider("a", [step]), FakeProvider("b", ["fine"]))
    chunks = await collect(manager)
    assert "".join(chunk.content for chunk in chunks) == "fine"
    assert len(settled) == 2
    assert in_flight(manager) == [0, 0]
    await manager.shutdown()


async def test_a_stream_without_any_content_is_a_failure() -> None:
    """It ended cleanly, and yet there is no answer."""

    async def nothing() -> AsyncIterator[StreamChunk]:
        yield piece("")

    manager = await manager_of(Streaming(nothing), FakeProvider("b", ["fine"]))
    assert (await collect(manager))[-1].attempts[0]["error"] == "the stream ended without content"
    await manager.shutdown()


async def test_an_empty_answer_that_says_it_is_finished_is_one() -> None:
    """A finish reason is an answer, even without a word."""

    async def finished() -> AsyncIterator[StreamChunk]:
        yield piece("", finish_reason="stop")

    manager = await manager_of(Streaming(finished))
    assert [chunk.finish_reason for chunk in await collect(manager)] == ["stop"]
    await manager.shutdown()


@pytest.mark.parametrize(
    "opening", [{"tool_calls": ({"id": "1"},)}, {"reasoning_content": "hm"}], ids=str
)
async def test_tool_calls_and_reasoning_are_content(opening: dict[str, Any]) -> None:
    """After them nobody else takes over either."""

    async def broken() -> AsyncIterator[StreamChunk]:
        yield piece("", **opening)
        raise ProviderUnavailableError("gone")

    other = FakeProvider("b")
    manager = await manager_of(Streaming(broken), other)
    with pytest.raises(StreamInterruptedError):
        await collect(manager)
    assert other.calls == []
    await manager.shutdown()


async def test_after_the_first_content_the_error_has_the_partial_text(settled: list[str]) -> None:
    """The stream is not begun anew elsewhere; the circuit counts a failure."""
    other = FakeProvider("b")
    manager = await manager_of(FakeProvider("a", [Cut("one two")]), other)
    seen: list[str] = []
    with pytest.raises(StreamInterruptedError) as raised:
        await read(manager, seen)
    assert raised.value.partial_text == "".join(seen) == "one two"
    assert raised.value.provider == "a"
    assert raised.value.request_id
    assert other.calls == []
    assert settled == ["stream_interrupted"]
    assert in_flight(manager) == [0, 0]
    assert manager.status()["a"]["failures"] == 1
    await manager.shutdown()


@pytest.mark.parametrize(
    "error",
    [
        ProviderUnavailableError("gone", status_code=503),
        RuntimeError("gone"),
        TimeoutError("gone"),
        asyncio.CancelledError("from within"),
    ],
    ids=repr,
)
async def test_whatever_breaks_a_stream_is_told_as_an_interruption(error: BaseException) -> None:
    """The text so far, the model and the status are kept."""

    async def broken() -> AsyncIterator[StreamChunk]:
        yield piece("one ")
        yield piece("two")
        raise error

    manager = await manager_of(Streaming(broken))
    with pytest.raises(StreamInterruptedError, match="broke off after 7 characters") as raised:
        await collect(manager)
    assert raised.value.partial_text == "one two"
    assert raised.value.status_code == getattr(error, "status_code", None)
    assert raised.value.__cause__ is None
    assert raised.value.__context__ is None
    await manager.shutdown()


async def test_without_failover_a_stream_asks_one_provider() -> None:
    """A refusal by policy is told at once."""
    other = FakeProvider("b")
    manager = await manager_of(FakeProvider("a", [ContentPolicyError("no")]), other)
    with pytest.raises(ContentPolicyError):
        await collect(manager)
    assert other.calls == []
    await manager.shutdown()


async def test_when_all_fail_a_stream_raises_as_a_call_does() -> None:
    """Every attempt is in the error."""
    error = ProviderUnavailableError("503")
    manager = await manager_of(*(FakeProvider(name, default=error) for name in "ab"))
    with pytest.raises(AllProvidersFailedError) as raised:
        await collect(manager)
    assert [item["provider"] for item in raised.value.attempts] == ["a", "b"]
    await manager.shutdown()


async def test_a_consumer_who_leaves_early_leaves_nothing_behind(settled: list[str]) -> None:
    """The provider's stream is closed at once, and the attempt is settled as cancelled."""
    closed: list[bool] = []

    async def endless() -> AsyncIterator[StreamChunk]:
        try:
            while True:
                yield piece("word ")
        finally:
            closed.append(True)

    manager = await manager_of(Streaming(endless))
    async with aclosing(manager.stream("hi")) as stream:  # type: ignore[type-var]
        async for _ in stream:
            break
    assert closed == [True]
    assert settled == ["cancelled"]
    assert in_flight(manager) == [0]
    await manager.shutdown()


@pytest.mark.parametrize("words", ["", "one two "], ids=["before", "after"])
async def test_a_cancelled_consumer_leaves_nothing_behind(words: str, settled: list[str]) -> None:
    """Before and after the first content the attempt is settled once, and the stream closed."""
    closed: list[bool] = []

    async def stalls() -> AsyncIterator[StreamChunk]:
        try:
            for word in words.split():
                yield piece(word)
            await asyncio.sleep(60)
        finally:
            closed.append(True)

    manager = await manager_of(Streaming(stalls))
    task = asyncio.create_task(collect(manager))
    await asyncio.sleep(0.01)
    assert in_flight(manager) == [1]
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert task.cancelled()
    assert closed == [True]
    assert settled == ["cancelled"]
    assert in_flight(manager) == [0]
    await manager.shutdown()


async def test_the_deadline_holds_in_mid_stream(settled: list[str]) -> None:
    """A stream that stalls is cut when the call's time is up."""

    async def stalls() -> AsyncIterator[StreamChunk]:
        yield piece("one")
        await asyncio.sleep(60)

    manager = await manager_of(Streaming(stalls))
    began = asyncio.get_running_loop().time()
    with pytest.raises(StreamInterruptedError, match="the deadline passed in mid-stream") as raised:
        await collect(manager, deadline=0.05)
    assert asyncio.get_running_loop().time() - began < 1
    assert raised.value.partial_text == "one"
    assert settled == ["stream_interrupted"]
    assert in_flight(manager) == [0]
    await manager.shutdown()


async def test_a_stream_that_hangs_at_first_is_taken_over() -> None:
    """Its share of the deadline is for the first content."""
    manager = await manager_of(
        FakeProvider("a", [Delay(float("inf"))]), FakeProvider("b", ["fine"])
    )
    chunks = await collect(manager, deadline=0.1)
    assert [item["outcome"] for item in chunks[-1].attempts] == ["timeout", "ok"]
    await manager.shutdown()


async def test_what_comes_after_the_finish_reason_is_merged_into_the_last_piece() -> None:
    """Some providers send the usage afterwards."""
    usage = Usage(prompt_tokens=1, completion_tokens=1, total_tokens=2)

    async def tail() -> AsyncIterator[StreamChunk]:
        yield piece("one")
        yield piece(" two", finish_reason="length")
        yield piece("", usage=usage)
        yield piece("", cost_usd=0.5)

    manager = await manager_of(Streaming(tail))
    chunks = await collect(manager)
    assert len(chunks) == 2
    assert (chunks[1].content, chunks[1].finish_reason) == (" two", "length")
    assert (chunks[1].usage, chunks[1].cost_usd) == (usage, 0.5)
    await manager.shutdown()


@pytest.mark.parametrize("trouble", ["raises", "stalls"])
async def test_trouble_after_the_finish_reason_takes_no_answer_back(
    trouble: str, settled: list[str]
) -> None:
    """The answer is complete, whatever happens to the connection then."""

    async def finished() -> AsyncIterator[StreamChunk]:
        yield piece("one", finish_reason="stop")
        if trouble == "raises":
            raise ProviderUnavailableError("gone")
        await asyncio.sleep(60)

    manager = await manager_of(Streaming(finished))
    chunks = await collect(manager, deadline=0.05)
    assert [(chunk.content, chunk.finish_reason) for chunk in chunks] == [("one", "stop")]
    assert settled == ["ok"]
    await manager.shutdown()


async def test_a_stream_without_a_finish_reason_gets_one() -> None:
    """A provider of somebody else's may just end."""

    async def just_ends() -> AsyncIterator[StreamChunk]:
        yield piece("one")

    manager = await manager_of(Streaming(just_ends))
    chunks = await collect(manager)
    assert [(chunk.content, chunk.finish_reason) for chunk in chunks] == [
        ("one", None),
        ("", "stop"),
    ]
    await manager.shutdown()


@pytest.mark.parametrize("content", [None, 0, 5])
async def test_pieces_without_text_do_no_harm(content: Any, settled: list[str]) -> None:
    """Content that is no text breaks nothing, not even an interruption."""

    async def sloppy() -> AsyncIterator[StreamChunk]:
        yield piece("one")
        yield piece(content)
        raise ProviderUnavailableError("gone")

    manager = await manager_of(Streaming(sloppy))
    with pytest.raises(StreamInterruptedError) as raised:
        await collect(manager)
    assert raised.value.partial_text in {"one", "one5"}
    assert settled == ["stream_interrupted"]
    assert in_flight(manager) == [0]
    await manager.shutdown()


async def test_a_stream_that_is_given_up_before_its_content_is_closed() -> None:
    """At once, and not when it is collected."""
    events: list[str] = []

    async def unreadable() -> AsyncIterator[Any]:
        try:
            yield "not a chunk"
        finally:
            events.append("closed")

    async def fine() -> AsyncIterator[StreamChunk]:
        events.append("next asked")
        yield piece("fine")

    manager = await manager_of(Streaming(unreadable), Streaming(fine, "b"))
    await collect(manager)
    assert events == ["closed", "next asked"]
    await manager.shutdown()


async def test_whatever_is_no_stream_is_a_failure() -> None:
    """The next provider answers, and the record says what was wrong."""
    manager = await manager_of(Streaming(lambda: 5), FakeProvider("b", ["fine"]))
    attempts = (await collect(manager))[-1].attempts
    assert "TypeError" in str(attempts[0]["error"])
    await manager.shutdown()


class Pieces:
    """An asynchronous iterator that is no generator."""

    def __init__(self) -> None:
        self.left = ["one", "two"]

    def __aiter__(self) -> Pieces:
        return self

    async def __anext__(self) -> StreamChunk:
        if not self.left:
            raise StopAsyncIteration
        return piece(self.left.pop(0))


class Closable(Pieces):
    """One that can be closed, and remembers it."""

    closed = 0

    async def aclose(self) -> None:
        self.closed += 1
        raise RuntimeError("cannot be closed")


async def test_any_asynchronous_iterator_is_a_stream() -> None:
    """It need not be a generator, nor able to be closed."""
    manager = await manager_of(Streaming(Pieces))
    assert "".join(chunk.content for chunk in await collect(manager)) == "onetwo"
    await manager.shutdown()


async def test_a_stream_that_cannot_be_closed_breaks_nothing(
    settled: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged; the answer stands, and the attempt is settled."""
    source = Closable()
    manager = await manager_of(Streaming(lambda: source))
    assert "".join(chunk.content for chunk in await collect(manager)) == "onetwo"
    assert source.closed == 1
    assert settled == ["ok"]
    assert "closing_a_stream_failed" in caplog.text
    await manager.shutdown()


async def test_cancelling_while_a_stream_is_being_closed_still_settles(settled: list[str]) -> None:
    """A provider that is slow to let go leaks no slot."""
    closing = asyncio.Event()

    async def slow_to_close() -> AsyncIterator[StreamChunk]:
        try:
            yield piece("one")
            yield piece("two")
        finally:
            closing.set()
            await asyncio.sleep(60)

    manager = await manager_of(Streaming(slow_to_close))

    async def leave_early() -> None:
        async with aclosing(manager.stream("hi")) as stream:  # type: ignore[type-var]
            async for _ in stream:
                break

    task = asyncio.create_task(leave_early())
    await closing.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert settled == ["cancelled"]
    assert in_flight(manager) == [0]
    await manager.shutdown()


async def test_a_provider_without_streams_of_its_own_streams_its_answer() -> None:
    """The whole answer is one piece, with all that is known about it."""

    class Plain(FakeProvider):
        @override
        async def generate(self, prompt: Prompt, **kwargs: Any) -> GenerationResult | Any:
            return {"content": "all at once", "cost_usd": 0.1}

        stream = FakeProvider.__mro__[1].stream  # type: ignore[attr-defined]

    manager = await manager_of(Plain("a"))
    chunks = await collect(manager)
    assert [(chunk.content, chunk.finish_reason) for chunk in chunks] == [("all at once", "stop")]
    assert chunks[0].cost_usd == 0.1
    await manager.shutdown()


async def test_a_stream_is_asked_with_the_same_arguments_as_a_call() -> None:
    """Provider, model and parameters mean the same."""
    provider = FakeProvider("b")
    manager = await manager_of(FakeProvider("a"), provider)
    await collect(manager, model="b/gpt-x", temperature=0.5, system_prompt="be nice")
    assert provider.calls[0].stream
    assert provider.calls[0].kwargs == {
        "model": "gpt-x",
        "temperature": 0.5,
        "system_prompt": "be nice",
    }
    with pytest.raises(ProviderError, match="unknown provider"):
        await collect(manager, provider="c")
    await manager.shutdown()


def test_a_stream_does_nothing_until_it_is_read() -> None:
    """Making it is free, also without an event loop."""
    manager = ProviderManager()
    stream = manager.stream("hi")
    assert not manager.providers
    assert hasattr(stream, "__anext__")
