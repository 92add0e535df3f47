"""Streams that break off after content: raised, begun again, or gone on with elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any, TypeAlias

import pytest
from typing_extensions import override

from amas.config.provider_settings import CircuitBreakerSettings, ManagerSettings
from amas.providers import ProviderManager
from amas.providers.errors import (
    AllProvidersFailedError,
    AuthenticationError,
    InvalidRequestError,
    ProviderError,
    ProviderUnavailableError,
    StreamInterruptedError,
)
from amas.providers.testing import Cut, Delay, FakeProvider
from amas.providers.types import Capability, Message, Prompt, StreamChunk

Piece: TypeAlias = "str | StreamChunk | Exception | float"

PREFILL = frozenset({Capability.STREAM, Capability.PREFILL})
GONE = ProviderUnavailableError("gone", status_code=503)


class Scripted(FakeProvider):
    """A provider whose streams are lists of pieces, errors to raise and turns to wait for.

    Args:
        name: Its name.
        streams: What each of its streams brings; the last one again and again.
        options: Whatever else a FakeProvider takes.
    """

    def __init__(self, name: str, *streams: Sequence[Piece], **options: Any) -> None:
        super().__init__(name, **options)
        self.streams = list(streams) or [["fine ", "answer"]]
        self.prompts: list[Prompt] = []
        self.asked: list[dict[str, Any]] = []
        self.closed = 0

    @override
    async def stream(self, prompt: Prompt, **kwargs: Any) -> AsyncIterator[StreamChunk]:
        self.prompts.append(prompt)
        self.asked.append(kwargs)
        pieces = self.streams.pop(0) if len(self.streams) > 1 else self.streams[0]
        try:
            for piece in pieces:
                if isinstance(piece, Exception):
                    raise piece.with_traceback(None)
                if isinstance(piece, float):
                    await turns(piece)
                    continue
                yield piece if isinstance(piece, StreamChunk) else StreamChunk(piece, self.name)
        finally:
            self.closed += 1


def breaks(name: str, text: str = "one two ", **options: Any) -> Scripted:
    """Return a provider whose stream breaks off after these words."""
    return Scripted(name, [*(word + " " for word in text.split()), GONE], **options)


@asynccontextmanager
async def managing(
    *providers: FakeProvider, mode: str = "restart", **more: Any
) -> AsyncIterator[ProviderManager]:
    """Run a manager that recovers streams, and see to it that nothing is left in the end."""
    settings = ManagerSettings(stream_recovery=mode, **more)  # type: ignore[arg-type]
    async with ProviderManager(settings) as manager:
        for provider in providers:
            assert await manager.register_provider(provider)
        yield manager
        assert in_flight(manager) == [0] * len(providers)


def in_flight(manager: ProviderManager) -> list[int]:
    """Return the slots taken at each provider."""
    return [status["in_flight"] for status in manager.status().values()]


async def turns(count: float) -> None:
    """Wait for so many turns of the event loop."""
    for _ in range(int(count)):
        await asyncio.sleep(0)


async def collect(manager: ProviderManager, prompt: Prompt = "hi", **asked: Any) -> Any:
    """Read a stream to its end, or to its error, which is returned then."""
    chunks: list[StreamChunk] = []
    try:
        async for chunk in manager.stream(prompt, **asked):
            chunks.append(chunk)  # noqa: PERF401 -- what came before an error is kept
    except ProviderError as error:
        return chunks, error
    return chunks, None


def answer_of(chunks: Sequence[StreamChunk]) -> str:
    """Put an answer together as a consumer does who knows what the events mean."""
    text = ""
    for chunk in chunks:
        text = ("" if chunk.event == "restart" else text) + chunk.content
    return text


def told(attempts: Any) -> list[tuple[str, str]]:
    """Return of each record who was asked and how it ended."""
    return [(item["provider"], item["outcome"]) for item in attempts]


async def test_by_default_the_break_is_raised() -> None:
    """Nobody else is asked, and the consumer sees no event."""
    b = Scripted("b")
    async with ProviderManager() as manager:
        for provider in (breaks("a"), b):
            await manager.register_provider(provider)
        chunks, error = await collect(manager)
    assert isinstance(error, StreamInterruptedError)
    assert error.partial_text == answer_of(chunks) == "one two "
    assert told(error.attempts) == [("a", "stream_interrupted")]
    assert {chunk.event for chunk in chunks} == {None}
    assert b.prompts == []


async def test_restart_tells_and_begins_anew() -> None:
    """A marker without content, then the whole answer of the next one; the end tells all."""
    b = Scripted("b")
    async with managing(breaks("a"), b) as manager:
        chunks, error = await collect(manager, temperature=0.5, system_prompt="be nice")
        assert manager.status()["a"]["failures"] == 1
    assert error is None
    assert [(chunk.provider, chunk.content, chunk.event) for chunk in chunks] == [
        ("a", "one ", None),
        ("a", "two ", None),
        ("b", "", "restart"),
        ("b", "fine ", None),
        ("b", "answer", None),
        ("b", "", None),
    ]
    assert answer_of(chunks) == "fine answer"
    assert [chunk.finish_reason for chunk in chunks] == [None] * 5 + ["stop"]
    assert told(chunks[-1].attempts) == [("a", "stream_interrupted"), ("b", "ok")]
    assert all(chunk.attempts == () for chunk in chunks[:-1])
    assert len({chunk.request_id for chunk in chunks}) == 1
    assert chunks[0].request_id
    assert b.prompts == ["hi"]
    assert b.asked == [{"temperature": 0.5, "system_prompt": "be nice"}]


@pytest.mark.parametrize(
    ("prompt", "before"),
    [
        ("hi", [{"role": "user", "content": "hi"}]),
        ([{"role": "user", "content": "hi"}], [{"role": "user", "content": "hi"}]),
        (
            (
                {"role": "system", "content": "be nice"},
                {"role": "user", "content": [{"text": "x"}]},
            ),
            [
                {"role": "system", "content": "be nice"},
                {"role": "user", "content": [{"text": "x"}]},
            ],
        ),
    ],
    ids=["text", "messages", "tuple"],
)
async def test_continue_hands_over_what_there_is(prompt: Prompt, before: list[Message]) -> None:
    """The next one gets the messages and the text so far, and goes on with the same answer."""
    b = Scripted("b", ["three ", "four"], capabilities=PREFILL)
    async with managing(breaks("a"), b, mode="continue") as manager:
        chunks, error = await collect(manager, prompt, temperature=0.5)
    assert error is None
    assert [chunk.event for chunk in chunks if chunk.event] == ["continue"]
    assert chunks[2] == StreamChunk("", "b", event="continue", request_id=chunks[0].request_id)
    assert answer_of(chunks) == "one two three four"
    assert told(chunks[-1].attempts) == [("a", "stream_interrupted"), ("b", "ok")]
    assert b.prompts == [[*before, {"role": "assistant", "content": "one two "}]]
    assert b.asked == [{"temperature": 0.5}]


async def test_continue_leaves_the_callers_messages_alone() -> None:
    """What the caller passed is still what it was."""
    messages = [{"role": "user", "content": "hi"}]
    b = Scripted("b", capabilities=PREFILL)
    async with managing(breaks("a"), b, mode="continue") as manager:
        await collect(manager, messages)
    assert messages == [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize("capabilities", [None, frozenset(), frozenset({Capability.STREAM})])
async def test_continue_needs_somebody_who_goes_on(
    capabilities: frozenset[Capability] | None,
) -> None:
    """Who is not known to go on with a begun answer is not asked, and the break is raised."""
    b = Scripted("b", capabilities=capabilities)
    async with managing(breaks("a"), b, mode="continue") as manager:
        chunks, error = await collect(manager)
    assert isinstance(error, StreamInterruptedError)
    assert error.partial_text == answer_of(chunks) == "one two "
    assert told(error.attempts) == [("a", "stream_interrupted")]
    assert b.prompts == []


async def test_continue_passes_over_those_who_cannot() -> None:
    """The first one who can is asked, wherever it stands."""
    b, c, d = (
        Scripted("b"),
        Scripted("c", capabilities=PREFILL),
        Scripted("d", capabilities=PREFILL),
    )
    async with managing(breaks("a"), b, c, d, mode="continue") as manager:
        chunks, _ = await collect(manager)
    assert told(chunks[-1].attempts) == [("a", "stream_interrupted"), ("c", "ok")]
    assert (b.prompts, d.prompts) == ([], [])


CALL = StreamChunk("", "a", tool_calls=({"index": 0, "id": "1"},))
THOUGHT = StreamChunk("", "a", reasoning_content="hm")


@pytest.mark.parametrize("broken", [[CALL, "one "], ["one ", CALL], ["one ", CALL, "two "]])
async def test_continue_cannot_hand_over_tool_calls(broken: list[Piece]) -> None:
    """Half a tool call is nothing to go on with, so the break is raised."""
    b = Scripted("b", capabilities=PREFILL)
    async with managing(Scripted("a", [*broken, GONE]), b, mode="continue") as manager:
        chunks, error = await collect(manager)
    assert isinstance(error, StreamInterruptedError)
    assert error.partial_text == answer_of(chunks)
    assert b.prompts == []


@pytest.mark.parametrize("mode", ["restart", "continue"])
@pytest.mark.parametrize("broken", [THOUGHT, CALL], ids=["reasoning", "tool call"])
async def test_without_any_text_the_answer_is_begun_anew(mode: str, broken: StreamChunk) -> None:
    """There is nothing to go on with; whoever has seen the rest is told to forget it."""
    b = Scripted("b")
    async with managing(Scripted("a", [broken, GONE]), b, mode=mode) as manager:
        chunks, error = await collect(manager)
    assert error is None
    assert [chunk.event for chunk in chunks if chunk.event] == ["restart"]
    assert answer_of(chunks) == "fine answer"
    assert b.prompts == ["hi"]


async def test_after_a_restart_the_answer_may_be_gone_on_with() -> None:
    """The tool call that was forgotten stands in nobody's way."""
    b, c = breaks("b", "one"), Scripted("c", ["two"], capabilities=PREFILL)
    async with managing(Scripted("a", [CALL, GONE]), b, c, mode="continue") as manager:
        chunks, error = await collect(manager)
    assert error is None
    assert [chunk.event for chunk in chunks if chunk.event] == ["restart", "continue"]
    assert answer_of(chunks) == "one two"


async def test_restart_forgets_tool_calls_too() -> None:
    """A restarted answer may begin with anything."""
    async with managing(Scripted("a", ["one ", CALL, GONE]), Scripted("b")) as manager:
        chunks, error = await collect(manager)
    assert error is None
    assert answer_of(chunks) == "fine answer"


async def test_several_restarts_in_a_row() -> None:
    """Each is told, each one's text is forgotten, and every attempt is on record."""
    async with managing(breaks("a"), breaks("b", "three"), Scripted("c")) as manager:
        chunks, error = await collect(manager)
    assert error is None
    assert [(chunk.provider, chunk.event) for chunk in chunks if chunk.event] == [
        ("b", "restart"),
        ("c", "restart"),
    ]
    assert answer_of(chunks) == "fine answer"
    assert told(chunks[-1].attempts) == [
        ("a", "stream_interrupted"),
        ("b", "stream_interrupted"),
        ("c", "ok"),
    ]


async def test_several_continuations_in_a_row() -> None:
    """Each one gets everything that there is so far."""
    b = breaks("b", "three", capabilities=PREFILL)
    c = Scripted("c", ["four"], capabilities=PREFILL)
    async with managing(breaks("a"), b, c, mode="continue") as manager:
        chunks, error = await collect(manager)
    assert error is None
    assert [(chunk.provider, chunk.event) for chunk in chunks if chunk.event] == [
        ("b", "continue"),
        ("c", "continue"),
    ]
    assert answer_of(chunks) == "one two three four"
    assert c.prompts == [
        [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "one two three "}]
    ]
    assert [record["outcome"] for record in chunks[-1].attempts] == [
        "stream_interrupted",
        "stream_interrupted",
        "ok",
    ]


async def test_a_continuation_that_brings_nothing_is_passed_over() -> None:
    """Its failure comes before content: the one after it gets the same text."""
    b = Scripted("b", [GONE], capabilities=PREFILL)
    c = Scripted("c", ["three"], capabilities=PREFILL)
    async with managing(breaks("a"), b, c, mode="continue") as manager:
        chunks, error = await collect(manager)
    assert error is None
    assert [(chunk.provider, chunk.event) for chunk in chunks if chunk.event] == [("c", "continue")]
    assert answer_of(chunks) == "one two three"
    assert b.prompts == c.prompts
    assert told(chunks[-1].attempts) == [
        ("a", "stream_interrupted"),
        ("b", "unavailable"),
        ("c", "ok"),
    ]


@pytest.mark.parametrize(("mode", "text"), [("restart", "three "), ("continue", "one two three ")])
async def test_when_nobody_is_left_the_text_is_that_of_the_answer(mode: str, text: str) -> None:
    """A restart's text stands for itself, a continued one for everything; all attempts are told."""
    b = breaks("b", "three", capabilities=PREFILL)
    async with managing(breaks("a"), b, mode=mode) as manager:
        chunks, error = await collect(manager)
    assert isinstance(error, StreamInterruptedError)
    assert error.partial_text == answer_of(chunks) == text
    assert error.provider == "b"
    assert error.request_id == chunks[0].request_id
    assert told(error.attempts) == [("a", "stream_interrupted"), ("b", "stream_interrupted")]


@pytest.mark.parametrize("mode", ["restart", "continue"])
@pytest.mark.parametrize(
    ("failure", "outcome"),
    [
        (ProviderUnavailableError("503", status_code=503), "unavailable"),
        (AuthenticationError("bad key", status_code=401), "auth"),
        (InvalidRequestError("no prefill", status_code=400), "invalid_request"),
        (RuntimeError("oops"), "unavailable"),
    ],
    ids=repr,
)
async def test_when_the_next_one_fails_the_break_is_what_is_raised(
    mode: str, failure: Exception, outcome: str
) -> None:
    """The caller hears what became of the answer, with the text, and of every attempt."""
    b = Scripted("b", [failure], capabilities=PREFILL)
    async with managing(breaks("a"), b, mode=mode) as manager:
        chunks, error = await collect(manager)
    assert isinstance(error, StreamInterruptedError)
    assert error.provider == "a"
    assert error.partial_text == answer_of(chunks) == "one two "
    assert told(error.attempts) == [("a", "stream_interrupted"), ("b", outcome)]
    assert error.__cause__ is None
    assert {chunk.event for chunk in chunks} == {None}


async def test_whoever_is_set_aside_does_not_take_over() -> None:
    """An open circuit is no help, and no attempt."""
    b = Scripted("b")
    async with managing(breaks("a"), b) as manager:
        manager.trip("b")
        _, error = await collect(manager)
    assert isinstance(error, StreamInterruptedError)
    assert told(error.attempts) == [("a", "stream_interrupted")]
    assert b.prompts == []


async def test_without_failover_nobody_takes_over() -> None:
    """Who wants one provider only gets that one's break."""
    b = Scripted("b")
    async with managing(breaks("a"), b, failover_enabled=False) as manager:
        _, error = await collect(manager)
    assert isinstance(error, StreamInterruptedError)
    assert b.prompts == []


@pytest.mark.parametrize("mode", ["raise", "restart", "continue"])
async def test_a_stream_that_breaks_before_content_is_plain_failover(mode: str) -> None:
    """Nobody has seen anything, so there is nothing to be told."""
    b = Scripted("b")
    async with managing(FakeProvider("a", [Cut("")]), b, mode=mode) as manager:
        chunks, error = await collect(manager)
    assert error is None
    assert {chunk.event for chunk in chunks} == {None}
    assert told(chunks[-1].attempts) == [("a", "unavailable"), ("b", "ok")]
    assert b.prompts == ["hi"]


async def test_whoever_failed_before_is_not_asked_to_take_over() -> None:
    """Nobody is tried twice in one call."""
    a = Scripted("a", [GONE])
    async with managing(a, breaks("b"), Scripted("c")) as manager:
        chunks, error = await collect(manager)
    assert error is None
    assert told(chunks[-1].attempts) == [
        ("a", "unavailable"),
        ("b", "stream_interrupted"),
        ("c", "ok"),
    ]
    assert len(a.prompts) == 1


async def test_when_all_fail_before_content_there_is_no_break_to_raise() -> None:
    """Then the error is that of any call."""
    async with managing(Scripted("a", [GONE]), Scripted("b", [GONE])) as manager:
        _, error = await collect(manager)
    assert isinstance(error, AllProvidersFailedError)


async def test_once_the_deadline_has_passed_nobody_takes_over() -> None:
    """The time is that of the whole call."""
    b = Scripted("b")
    async with managing(Scripted("a", ["one ", 1e9]), b) as manager:
        began = asyncio.get_running_loop().time()
        chunks, error = await collect(manager, deadline=0.05)
        assert asyncio.get_running_loop().time() - began < 1
    assert isinstance(error, StreamInterruptedError)
    assert "the deadline passed in mid-stream" in error.message
    assert error.partial_text == answer_of(chunks) == "one "
    assert b.prompts == []


async def test_whoever_takes_over_has_what_is_left_of_the_deadline() -> None:
    """It hangs, and the call ends in time with the break and the time-out."""
    b = FakeProvider("b", default=Delay(float("inf")))
    async with managing(breaks("a"), b) as manager:
        began = asyncio.get_running_loop().time()
        _, error = await collect(manager, deadline=0.08)
        assert 0.07 < asyncio.get_running_loop().time() - began < 1
    assert isinstance(error, StreamInterruptedError)
    assert told(error.attempts) == [("a", "stream_interrupted"), ("b", "timeout")]


@pytest.mark.parametrize("leave_at", ["a piece before", "the marker", "a piece after", "the end"])
@pytest.mark.parametrize("mode", ["restart", "continue"])
async def test_a_consumer_who_leaves_leaves_nothing(mode: str, leave_at: str) -> None:
    """Wherever that is, no slot is taken and each stream is closed at once."""
    a, b = breaks("a"), Scripted("b", capabilities=PREFILL)
    count = {"a piece before": 1, "the marker": 3, "a piece after": 4, "the end": 6}[leave_at]
    async with managing(a, b, mode=mode) as manager:
        async with aclosing(manager.stream("hi")) as stream:  # type: ignore[type-var]
            seen = [await anext(stream) for _ in range(count)]
        assert (seen[-1].event is not None) == (leave_at == "the marker")
        assert in_flight(manager) == [0, 0]
        assert (a.closed, b.closed) == (1, int(leave_at != "a piece before"))
        assert manager.status()["b"]["failures"] == 0
        assert manager.status()["b"]["circuit"] == "closed"


@pytest.mark.parametrize("mode", ["restart", "continue"])
async def test_a_consumer_cancelled_at_any_moment_leaves_nothing(mode: str) -> None:
    """Turn by turn of the event loop, through a break and what takes over."""
    a = Scripted("a", [2.0, "one ", 2.0, "two ", 2.0, GONE])
    b = Scripted("b", [4.0, GONE], capabilities=PREFILL)
    c = Scripted("c", [2.0, "three ", 2.0, "four"], capabilities=PREFILL)
    ended = 0
    breaker = CircuitBreakerSettings(failure_threshold=1000)
    async with managing(a, b, c, mode=mode, circuit_breaker=breaker) as manager:
        for moment in range(45):
            for name in "abc":
                manager.reset(name)
            task = asyncio.create_task(collect(manager))
            await turns(moment)
            ended += task.done()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert in_flight(manager) == [0, 0, 0]
            assert [item.closed for item in (a, b, c)] == [len(item.prompts) for item in (a, b, c)]
    assert 0 < ended < 45
    assert c.prompts


async def test_the_partial_text_is_what_the_consumer_has_seen() -> None:
    """Whatever a provider of somebody else's says of it, and however often it raises the same."""
    theirs = StreamInterruptedError("cut", partial_text="something else")
    a = Scripted("a", ["one ", theirs])
    async with managing(a, Scripted("b", ["two ", theirs], capabilities=PREFILL)) as manager:
        for _ in range(2):
            _, error = await collect(manager)
            assert isinstance(error, StreamInterruptedError)
            assert error.partial_text == "two "
    async with managing(
        Scripted("a", ["one ", StreamInterruptedError("cut")]), mode="raise"
    ) as manager:
        _, error = await collect(manager)
    assert (error.partial_text, error.provider) == ("one ", "a")


@pytest.mark.parametrize("usage", [{}, {"prompt_tokens": 1}, {"total_tokens": None}, 5])
async def test_usage_that_is_incomplete_ends_no_stream(usage: Any) -> None:
    """The answer is complete, and the last piece comes."""
    a = Scripted("a", ["one", StreamChunk("", "a", finish_reason="stop", usage=usage)])
    async with managing(a) as manager:
        chunks, error = await collect(manager)
    assert error is None
    assert chunks[-1].finish_reason == "stop"


async def test_a_consumer_who_reads_slowly_makes_no_slow_provider() -> None:
    """The time it holds a piece for is not the provider's."""
    async with managing(Scripted("a", ["one ", "two"])) as manager:
        attempts: list[Any] = []
        async for chunk in manager.stream("hi"):
            await asyncio.sleep(0.03)
            attempts += chunk.attempts
        assert (manager.status()["a"]["latency_ms"] or 0) < 25
    assert attempts[-1]["latency_ms"] < 25
