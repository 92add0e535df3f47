"""Checks of answers, where the configuration asks for them: not empty, and JSON where it was asked."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pydantic import BaseModel
from typing_extensions import override

from amas.config.provider_settings import CircuitBreakerSettings, ManagerSettings
from amas.providers import ProviderManager
from amas.providers.base import ProviderConfig
from amas.providers.errors import AllProvidersFailedError, BadResponseError
from amas.providers.testing import FakeProvider
from amas.providers.types import GenerationResult, Prompt, ResponseCheck, StreamChunk

NOT_EMPTY, JSON = ResponseCheck.NOT_EMPTY, ResponseCheck.JSON
BOTH = frozenset({NOT_EMPTY, JSON})
A_CALL = {"index": 0, "id": "1", "function": {"name": "f", "arguments": "{}"}}
AS_JSON = {"response_format": {"type": "json_object"}}


class Answer(BaseModel):
    """What an answer is to look like."""

    text: str


class Answering(FakeProvider):
    """A provider that gives one answer, plain and piece by piece.

    Args:
        name: Its name.
        content: The text.
        checks: Its own checks; the manager's if None.
        pieces: The pieces of its stream; the text and the end if None.
        rest: Whatever else is in its plain answer.
    """

    def __init__(
        self,
        name: str,
        content: str | None = "",
        *,
        checks: frozenset[ResponseCheck] | None = None,
        pieces: Sequence[StreamChunk] | None = None,
        **rest: Any,
    ) -> None:
        super().__init__(name)
        self.config = ProviderConfig(name, max_retries=3, response_checks=checks)
        self.answer = {"content": content, **rest}
        end = StreamChunk("", name, finish_reason="stop")
        self.pieces = [StreamChunk(content or "", name), end] if pieces is None else pieces
        self.closed = 0

    @override
    async def generate(self, prompt: Prompt, **kwargs: Any) -> GenerationResult | Any:
        self.calls.append(None)  # type: ignore[arg-type]
        return dict(self.answer)

    @override
    async def stream(self, prompt: Prompt, **kwargs: Any) -> AsyncIterator[StreamChunk]:
        self.calls.append(None)  # type: ignore[arg-type]
        try:
            for chunk in self.pieces:
                yield chunk
        finally:
            self.closed += 1


@asynccontextmanager
async def managing(
    *providers: FakeProvider, checks: frozenset[ResponseCheck] = frozenset(), **settings: Any
) -> AsyncIterator[ProviderManager]:
    """Run a manager with these checks for everybody."""
    manager_settings = ManagerSettings(response_checks=checks, **settings)
    async with ProviderManager(manager_settings, random=lambda: 0.0) as manager:
        for provider in providers:
            await manager.register_provider(provider)
        yield manager
        assert {status["in_flight"] for status in manager.status().values()} == {0}


async def asked(manager: ProviderManager, *, streamed: bool, **params: Any) -> tuple[str, str]:
    """Return who answered, and how each attempt ended."""
    if streamed:
        chunks = [chunk async for chunk in manager.stream("hi", **params)]
        name, attempts = chunks[-1].provider, list(chunks[-1].attempts)
    else:
        result = await manager.generate("hi", **params)
        name, attempts = result["provider"], result["attempts"]
    return name, " ".join(f"{item['provider']}:{item['outcome']}" for item in attempts)


FAILED_OVER = ("b", "a:bad_response b:ok")
TAKEN = ("a", "a:ok")


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("content", ["", " ", "\n\t "])
async def test_an_empty_answer_may_be_a_failure(content: str, streamed: bool) -> None:
    """The same provider is not asked again, the next one is; blanks are no answer either."""
    a, b = Answering("a", content), Answering("b", "fine")
    async with managing(a, b, checks=frozenset({NOT_EMPTY})) as manager:
        assert await asked(manager, streamed=streamed) == FAILED_OVER
        status = manager.status()["a"]
    assert (len(a.calls), a.closed) == (1, int(streamed))
    assert status["last_error"] == "the answer is empty"
    assert (status["failures"], status["success_rate"]) == (1, 0.0)


@pytest.mark.parametrize("streamed", [False, True])
async def test_without_the_setting_nothing_is_checked(streamed: bool) -> None:
    """An empty answer is an answer, and so is no JSON."""
    async with managing(Answering("a", "", finish_reason="stop"), Answering("b", "x")) as manager:
        # Of a stream, what ends without having begun is taken only with its finish reason.
        assert await asked(manager, streamed=streamed) == TAKEN
        assert await asked(manager, streamed=streamed, **AS_JSON) == TAKEN


@pytest.mark.parametrize("streamed", [False, True])
async def test_each_provider_may_have_its_own_checks(streamed: bool) -> None:
    """They replace the manager's; an empty list switches them off."""
    only_a = Answering("a", "", checks=frozenset({NOT_EMPTY}))
    async with managing(only_a, Answering("b", "")) as manager:
        assert await asked(manager, streamed=streamed) == FAILED_OVER
    none_of_a = Answering("a", "", checks=frozenset())
    async with managing(none_of_a, Answering("b", "x"), checks=BOTH) as manager:
        assert await asked(manager, streamed=streamed) == TAKEN


@pytest.mark.parametrize("streamed", [False, True])
async def test_tool_calls_are_an_answer(streamed: bool) -> None:
    """They come without content, and are no JSON."""
    pieces = [
        StreamChunk("", "a", tool_calls=(A_CALL,)),
        StreamChunk("", "a", finish_reason="tool_calls"),
    ]
    a = Answering("a", None, pieces=pieces, tool_calls=[A_CALL], finish_reason="tool_calls")
    async with managing(a, Answering("b", "x"), checks=BOTH) as manager:
        assert await asked(manager, streamed=streamed) == TAKEN
        assert await asked(manager, streamed=streamed, **AS_JSON) == TAKEN


@pytest.mark.parametrize("streamed", [False, True])
async def test_what_the_content_policy_empties_does_not_go_shopping(streamed: bool) -> None:
    """A refusal within the answer is one, and nothing that the provider fails at."""
    pieces = [StreamChunk("", "a", finish_reason="content_filter")]
    a = Answering("a", "", pieces=pieces, finish_reason="content_filter")
    b = Answering("b", "fine")
    breaker = CircuitBreakerSettings(failure_threshold=1)
    async with managing(a, b, checks=BOTH, circuit_breaker=breaker) as manager:
        assert await asked(manager, streamed=streamed, **AS_JSON) == TAKEN
        assert manager.status()["a"]["failures"] == 0
        assert manager.status()["a"]["circuit"] == "closed"
    assert b.calls == []


@pytest.mark.parametrize(
    "pieces",
    [
        [StreamChunk(" ", "a"), StreamChunk("x", "a")],
        [StreamChunk("", "a", finish_reason="stop"), StreamChunk("", "a")],
        [StreamChunk("x", "a", finish_reason="stop")],
    ],
    ids=["blank first", "nothing", "all at once"],
)
async def test_nothing_of_a_stream_is_lost_by_the_check(pieces: list[StreamChunk]) -> None:
    """What came before the first word is given out with it."""
    async with managing(Answering("a", pieces=pieces), checks=frozenset({NOT_EMPTY})) as manager:
        if not any(chunk.content for chunk in pieces):
            with pytest.raises(AllProvidersFailedError, match="the answer is empty"):
                await asked(manager, streamed=True)
            return
        text = "".join([chunk.content async for chunk in manager.stream("hi")])
    assert text == "".join(chunk.content for chunk in pieces)


async def test_reasoning_alone_begins_a_stream() -> None:
    """It has been seen by then, and cannot be taken back."""
    pieces = [
        StreamChunk("", "a", reasoning_content="hm"),
        StreamChunk("", "a", finish_reason="stop"),
    ]
    async with managing(Answering("a", pieces=pieces), Answering("b", "x"), checks=BOTH) as manager:
        assert await asked(manager, streamed=True) == TAKEN


@pytest.mark.parametrize(
    "content", ["", "sorry, I cannot", "{'text': 1}", '{"text": "x"', "```\n{}\n```"]
)
@pytest.mark.parametrize("format_", [{"type": "json_object"}, {"type": "json_schema"}, Answer])
async def test_no_json_where_it_was_asked_may_be_a_failure(content: str, format_: Any) -> None:
    """Whichever way it was asked for."""
    b = Answering("b", '{"text": "fine"}')
    async with managing(Answering("a", content), b, checks=frozenset({JSON})) as manager:
        assert await asked(manager, streamed=False, response_format=format_) == FAILED_OVER
        last_error = manager.status()["a"]["last_error"]
    assert last_error == "the answer is not the JSON that was asked"


@pytest.mark.parametrize(
    "content", ['{"text": "x"}', "[]", " 5 \n", '"text"', "null", "[" * 50 + "]" * 50]
)
async def test_json_is_whatever_can_be_read(content: str) -> None:
    """Whether it fits a schema is for the caller to say."""
    async with managing(Answering("a", content), Answering("b"), checks=BOTH) as manager:
        assert await asked(manager, streamed=False, **AS_JSON) == TAKEN


@pytest.mark.parametrize("content", ["[" * 100_000, "1" * 5000], ids=["deep", "long"])
async def test_json_that_breaks_the_reader_is_none(content: str) -> None:
    """An answer made to harm its reader is told as a bad answer."""
    b = Answering("b", "{}")
    async with managing(Answering("a", content), b, checks=frozenset({JSON})) as manager:
        assert await asked(manager, streamed=False, **AS_JSON) == FAILED_OVER


@pytest.mark.parametrize("params", [{}, {"response_format": {"type": "text"}}], ids=repr)
async def test_json_is_checked_only_where_it_was_asked(params: dict[str, Any]) -> None:
    """Any other text is an answer."""
    a = Answering("a", "sorry")
    async with managing(a, Answering("b", "x"), checks=frozenset({JSON})) as manager:
        assert await asked(manager, streamed=False, **params) == TAKEN


async def test_a_stream_is_not_checked_for_json() -> None:
    """It is given out long before that could be told."""
    a = Answering("a", "sorry")
    async with managing(a, Answering("b", "{}"), checks=frozenset({JSON})) as manager:
        assert await asked(manager, streamed=True, **AS_JSON) == TAKEN


async def test_empty_is_an_empty_answer_even_where_only_json_is_checked() -> None:
    """Nothing is no JSON."""
    b = Answering("b", "{}")
    async with managing(Answering("a", ""), b, checks=frozenset({JSON})) as manager:
        assert await asked(manager, streamed=False, **AS_JSON) == FAILED_OVER


@pytest.mark.parametrize("streamed", [False, True])
async def test_bad_answers_open_the_circuit(streamed: bool) -> None:
    """A provider that gives nothing but empty answers is down."""
    a, b = Answering("a", ""), Answering("b", "fine")
    breaker = CircuitBreakerSettings(failure_threshold=2)
    async with managing(a, b, checks=BOTH, circuit_breaker=breaker) as manager:
        for _ in range(2):
            # Who failed of late comes last; asked for by name, it comes first.
            assert await asked(manager, streamed=streamed, provider="a") == FAILED_OVER
        assert manager.status()["a"]["circuit"] == "open"
        assert await asked(manager, streamed=streamed) == ("b", "b:ok")
    assert len(a.calls) == 2


async def test_what_a_bad_answer_means_can_be_configured() -> None:
    """As for any other outcome of the table."""
    policy = {"bad_response": {"retry": "backoff", "failover": "no", "circuit": "neutral"}}
    a, b = Answering("a", ""), Answering("b", "fine")
    async with managing(a, b, checks=BOTH, policy=policy) as manager:
        with pytest.raises(BadResponseError) as raised:
            await manager.generate("hi")
        assert manager.status()["a"]["success_rate"] is None
    assert [item["outcome"] for item in raised.value.attempts] == ["bad_response"] * 4
    assert (len(a.calls), b.calls) == (4, [])


async def test_when_all_answer_badly_all_are_told() -> None:
    """The error is that of any call that nobody could answer."""
    async with managing(Answering("a", ""), Answering("b", " "), checks=BOTH) as manager:
        with pytest.raises(AllProvidersFailedError) as raised:
            await manager.generate("hi")
    assert [type(error) for error in raised.value.errors] == [BadResponseError] * 2
    assert [error.provider for error in raised.value.errors] == ["a", "b"]
