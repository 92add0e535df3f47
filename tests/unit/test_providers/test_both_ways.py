"""Whatever an upstream answers, the direct way makes of it what LiteLLM's own way does."""

from __future__ import annotations

import copy
import json
import os
import random
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import takewhile
from typing import Any

import httpx
import pytest

from amas.providers import LiteLLMProvider, ProviderConfig, ProviderError
from amas.providers.testing.upstream import ChatRequest, Reply, ToolCall, Usage
from amas.providers.testing.upstream.formats.anthropic import AnthropicFormat
from amas.providers.testing.upstream.formats.base import Call, Format, Turn
from amas.providers.testing.upstream.formats.gemini import GeminiFormat
from amas.providers.testing.upstream.formats.ollama import OllamaFormat
from amas.providers.testing.upstream.formats.openai import OpenAIFormat

pytestmark = [
    pytest.mark.usefixtures("uncovered"),
    # What LiteLLM does and pydantic says where an answer is not as it should be.
    pytest.mark.filterwarnings("ignore:Accessing the 'model_:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning"),
]

SEED = 20_261_128
# `make chaos` asks for more.
ROUNDS = int(os.environ.get("AMAS_WAYS_ROUNDS", "30"))

FORMATS: Mapping[str, Format] = {
    "openai": OpenAIFormat(),
    "groq": OpenAIFormat(),
    "anthropic": AnthropicFormat(),
    "gemini": GeminiFormat(),
    "ollama": OllamaFormat(),
}
CALLS = (ToolCall("look_up", {"q": "a"}, "call_a"), ToolCall("count", {}, "call_b"))
REPLIES = (
    Reply("Hello there.", usage=Usage(5, 7)),
    Reply("Hello", CALLS[:1], usage=Usage(5, 7), finish_reason="tool_calls"),
    Reply(None, CALLS, usage=Usage(5, 7), finish_reason="tool_calls"),
    Reply("Hello", reasoning="Because.", usage=Usage(5, 7)),
    Reply("Hel", usage=Usage(5, 7), finish_reason="length"),
)
VALUES: Sequence[Any] = (
    *(
        None,
        "",
        "x",
        "12",
        "stop",
        "STOP",
        "error",
        "tool_calls",
        "<think>a</think>b",
        "\u2028\x85",
    ),
    *(0, -1, 1, 2, 1.5, -0.0, 10**30, 1e308, float("nan"), float("inf"), True, False),
    *([], {}, [None], [1], [{}], ["a", {"type": "text", "text": "b"}], {"a": 1}, {"text": "c"}),
)
MORE = {
    "annotations": [{"type": "url_citation"}],
    "audio": {"id": "a"},
    "delta": {"content": "d"},
    "done": True,
    "error": {"message": "overloaded", "code": 500},
    "finish_reason": "stop",
    "function_call": {"name": "f", "arguments": "{}"},
    "images": [{"image_url": {"url": "x"}}],
    "reasoning": "r",
    "reasoning_content": "r",
    "refusal": "no",
    "text": "t",
    "thinking": "t",
    "tool_calls": [{"id": "call_c", "type": "function", "function": {"name": "f"}}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
    "zzz": 1,
}
_FINISH = re.compile(r'"(finish_reason|finishReason|stop_reason|done_reason)": ?"[^"]')
Rng = random.Random


class Upstream:
    """Answers whatever is asked with the same bytes."""

    def __init__(self) -> None:
        self.pieces: Sequence[bytes] = ()
        self.content_type = "application/json"
        self.sent: list[bytes] = []

    def answer(self, request: httpx.Request) -> httpx.Response:
        """Answer a request."""
        self.sent.append(request.content)
        headers = {"content-type": self.content_type}
        return httpx.Response(200, headers=headers, content=self._body())

    async def _body(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            yield piece


@pytest.fixture
def up(in_place_of_vendors: Callable[[Any], None]) -> Upstream:
    """Answer in the vendors' place, below everything that is ours, whichever way a call takes."""
    upstream = Upstream()
    in_place_of_vendors(upstream.answer)
    return upstream


@asynccontextmanager
async def both(vendor: str) -> AsyncIterator[Sequence[LiteLLMProvider]]:
    """Start a provider that goes LiteLLM's way, and a direct one."""
    providers = [
        LiteLLMProvider(
            ProviderConfig(vendor, api_key="k" * 20, dispatch=way, health_probe="off", timeout=5)
        )
        for way in ("litellm", "direct")
    ]
    for provider in providers:
        assert await provider.initialize(), provider.last_error
    yield providers
    for provider in providers:
        await provider.shutdown()


async def outcome(provider: LiteLLMProvider, up: Upstream, *, stream: bool, **params: Any) -> Any:
    """Ask; return text, reasoning, calls, reason, usage and price, or the class of the error."""
    said = ["", "", "", "", "", ""]
    calls: list[Any] = []
    try:
        if stream:
            async for piece in provider.stream("hello"):
                said[0] += piece.content
                said[1] += piece.reasoning_content or ""
                calls += piece.tool_calls
                said[3:] = [piece.finish_reason, piece.usage, piece.cost_usd]  # type: ignore[list-item]
        else:
            result: Any = await provider.generate("hello", **params)
            said = [result[name] for name in ("content", "reasoning_content", "tool_calls")]
            said += [result[name] for name in ("finish_reason", "usage", "cost_usd", "model")]
            calls = result["tool_calls"]
    except ProviderError as error:
        return type(error).__name__, error.status_code, getattr(error, "partial_text", None)
    said[2] = [without_chance(call, b"".join(up.pieces)) for call in calls]  # type: ignore[call-overload]
    return repr(said)  # where nan is nan, and 1 is not True


def without_chance(call: Mapping[str, Any], body: bytes) -> Any:
    """Leave out an id that LiteLLM has made up."""
    known = str(call.get("id")).encode() in body
    return call if known else {**call, "id": "made up"}


def turn(vendor: str, reply: Reply, *, stream: bool) -> Turn:
    """Make what a vendor is to answer."""
    chat = ChatRequest(vendor, "some-model", stream=stream, include_usage=True)
    call = Call("chat", "POST", "/", {"alt": "sse"}, {}, {})
    return Turn(call, chat, reply, 1, 1_700_000_000)


def paths(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Name every place of a document: the way to the container, and the key or index in it."""
    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        yield above, key
        if isinstance(item, dict | list):
            yield from paths(item, (*above, key))


Change = Callable[[Any], None]


def change_of(rng: Rng, document: Any) -> Change:
    """Choose something to do to a document, which can be done to others like it."""
    path, key = rng.choice([*paths(document)])
    kind, value = rng.randrange(5), rng.choice(VALUES)
    name = rng.choice([*MORE])

    def change(other: Any) -> None:
        for step in path:
            other = other[step]
        if kind == 0:
            del other[key]
        elif kind == 1 and isinstance(other, list):
            other.append(copy.deepcopy(other[key]))
        elif kind == 2 and isinstance(other, dict):
            other[name] = copy.deepcopy(MORE[name])
        else:
            other[key] = copy.deepcopy(value)

    return change


def answers(rng: Rng, vendor: str) -> Iterator[tuple[list[bytes], list[bytes]]]:
    """Make answers with one or two things changed, and with none."""
    for _ in range(ROUNDS):
        meant = FORMATS[vendor].answer(turn(vendor, rng.choice(REPLIES), stream=False))
        document = copy.deepcopy(meant)
        for _ in range(rng.choice([1, 1, 2])):
            if document:
                change_of(rng, document)(document)
        yield [json.dumps(document).encode()], [json.dumps(meant).encode()]


def streams(rng: Rng, vendor: str) -> Iterator[tuple[list[bytes], list[bytes]]]:
    """Make streams with one or all events changed, or out of order, and with nothing changed."""
    for _ in range(ROUNDS):
        made = FORMATS[vendor].stream(turn(vendor, rng.choice(REPLIES), stream=True))
        meant = [*made.opening, *made.pieces, *made.closing]
        frames = [*meant]
        index = rng.randrange(len(frames))
        match rng.randrange(8):
            case 0:
                del frames[index:]
            case 1:
                del frames[index]
            case 2:
                frames.insert(index, rng.choice(frames))
            case 3:
                change_events(rng, frames, [*range(len(frames))], index)
            case _:
                change_events(rng, frames, [index], index)
        yield frames, meant


def change_events(rng: Rng, frames: list[bytes], which: Sequence[int], like: int) -> None:
    """Change these events in place, as far as they are like one of them."""
    _, document, _ = read_frame(frames[like])
    if not document:
        return
    change = change_of(rng, document)
    for index in which:
        head, document, tail = read_frame(frames[index])
        with suppress(KeyError, IndexError, TypeError):
            change(document)
            frames[index] = (head + json.dumps(document) + tail).encode()


def read_frame(frame: bytes) -> tuple[str, Any, str]:
    """Read an event: what comes before its JSON, that, None if there is none, and what follows."""
    text = frame.decode()
    start = text.find("{")
    if start < 0:
        return text, None, ""
    document, end = json.JSONDecoder().raw_decode(text, start)
    return text[:start], document, text[end:]


def is_meant(theirs: Any, ours: Any, frames: Sequence[bytes]) -> bool:
    """Tell what may differ: an upstream has sent what no stream has, and the direct way is no laxer.

    It fails where a stream has no finish reason or "error", goes on after its end mark, or has a
    piece of a call that is none: LiteLLM leaves that out, and calls the rest an answer. Where both
    fail, one may see it before it has content. What is in the place of a text is left out by both;
    by LiteLLM together with the reason beside it. And where a model has finished twice, and called
    tools, the direct way says so.
    """
    events = [read_frame(frame)[1] for frame in takewhile(lambda it: b"[DONE]" not in it, frames)]
    if len(frames) - len(events) > 1 or not all(map(has_texts, events)):
        return True
    if isinstance(ours, tuple):
        told = json.dumps(events)
        whole = _FINISH.search(told) and '"error"' not in told and all(map(has_whole_calls, events))
        return isinstance(theirs, tuple) or not whole
    return not isinstance(theirs, tuple) and ours == theirs.replace("'stop'", "'tool_calls'")


def has_texts(event: Any) -> bool:
    """Whether nothing else is in the place of a text, in OpenAI's form and in Ollama's."""
    try:
        said = event["choices"][0]["delta"] if "choices" in event else event["message"]
        return isinstance(said["content"] or "", str)
    except (KeyError, IndexError, TypeError):
        return True


def has_whole_calls(event: Any) -> bool:
    """Whether what an event in OpenAI's form has of calls can be put together."""
    try:
        pieces = event["choices"][0]["delta"]["tool_calls"] or ()
    except (KeyError, IndexError, TypeError):
        return True
    return isinstance(pieces, list | tuple) and all(map(is_piece_of_a_call, pieces))


def is_piece_of_a_call(piece: Any) -> bool:
    """Whether it is a piece of a call, in OpenAI's form."""
    function = piece.get("function") if isinstance(piece, dict) else None
    if not isinstance(function, dict):
        return False
    texts = piece.get("id"), piece.get("type"), function.get("name"), function.get("arguments")
    index = piece.get("index")
    return isinstance(index, int | None) and all(isinstance(text, str | None) for text in texts)


async def differing(
    up: Upstream, vendor: str, bodies: Iterator[tuple[list[bytes], list[bytes]]], *, stream: bool
) -> list[str]:
    """Return the answers of which the two ways make different things, and what they make.

    Where LiteLLM's fails, the direct way may have read what was meant.
    """
    found = []
    async with both(vendor) as ways:
        for altered, meant in bodies:
            up.pieces = altered
            theirs, ours = [await outcome(way, up, stream=stream) for way in ways]
            if theirs == ours or (stream and is_meant(theirs, ours, altered)):
                continue
            up.pieces = meant
            if not stream or ours != await outcome(ways[0], up, stream=stream):
                found.append(f"{altered}\n  litellm {theirs}\n  direct  {ours}")
    return found


NO_MESSAGES: Mapping[str, Any] = {
    "no message": {"finish_reason": "stop"},
    "nothing": {},
    "null": {"message": None},
    "an empty text": {"message": ""},
    "zero": {"message": 0},
    "an empty list": {"message": []},
    "an empty message": {"message": {}},
    "a piece of a stream": {"delta": {"role": "assistant", "content": "Hello"}},
    "half a citation": {
        "message": {"role": "assistant", "content": "a", "annotations": [{"type": "url_citation"}]}
    },
}


@pytest.mark.parametrize("vendor", ["openai", "together"])
async def test_an_answer_without_a_message_is_none(up: Upstream, vendor: str) -> None:
    """Neither way takes a choice that says nothing for a model that has nothing to say."""
    async with both(vendor) as ways:
        for case, choice in NO_MESSAGES.items():
            up.pieces = [json.dumps({"model": "m", "choices": [choice]}).encode()]
            theirs, ours = [await outcome(way, up, stream=False) for way in ways]
            assert ours == theirs, case
            assert "Error" in ours[0] or isinstance(choice.get("message"), dict), case


SPELLINGS: Sequence[Mapping[str, Any]] = (
    *({"max_tokens": 100.0}, {"max_tokens": 100}, {"max_tokens": 1}, {"max_tokens": True}),
    *({"temperature": False}, {"temperature": 0}, {"temperature": -0.0}, {"temperature": 0.0}),
    *({"seed": 1, "top_p": 1.0}, {"top_p": 1, "seed": 1}, {"seed": "1"}, {"seed": 10**5000}),
)


@pytest.mark.parametrize("vendor", ["openai", "groq", "anthropic", "ollama"])
async def test_every_call_is_sent_as_it_is_written(up: Upstream, vendor: str) -> None:
    """Equal values of another type are not what an earlier call has sent, whichever way they go."""
    async with both(vendor) as ways:
        seen: list[Any] = []
        for way in ways:
            up.sent.clear()
            said = [await outcome(way, up, stream=False, **params) for params in SPELLINGS]
            seen.append((said, [json.loads(body) for body in up.sent]))
    assert repr(seen[0]) == repr(seen[1])
    assert len(seen[0][1]) >= len(SPELLINGS) - 1  # the last one cannot be written


@pytest.mark.parametrize("vendor", FORMATS)
async def test_answers_are_the_same(up: Upstream, vendor: str) -> None:
    """Whatever is missing from an answer, or odd in it: the same result, or the same error."""
    found = await differing(up, vendor, answers(Rng(SEED), vendor), stream=False)
    assert not found, f"{len(found)} differ\n" + "\n".join(found)


@pytest.mark.parametrize("vendor", FORMATS)
async def test_streams_are_the_same(up: Upstream, vendor: str) -> None:
    """Whatever is missing from a stream, or odd in it: the same text and end, or the same error."""
    up.content_type = "application/x-ndjson" if vendor == "ollama" else "text/event-stream"
    found = await differing(up, vendor, streams(Rng(SEED), vendor), stream=True)
    assert not found, f"{len(found)} differ\n" + "\n".join(found)


@pytest.mark.parametrize("vendor", ["openai", "groq"])
@pytest.mark.parametrize("head", ["", "data: "])
async def test_a_whole_answer_is_no_stream(up: Upstream, vendor: str, head: str) -> None:
    """A server that does not stream is not taken for a model with nothing to say; others are asked."""
    body = json.dumps(FORMATS[vendor].answer(turn(vendor, REPLIES[0], stream=False)))
    up.pieces = [f"{head}{body}\n\n".encode()]
    async with both(vendor) as (_, direct):
        assert await outcome(direct, up, stream=True) == ("ProviderUnavailableError", None, None)
        made = FORMATS[vendor].stream(turn(vendor, REPLIES[0], stream=True))
        up.pieces = [*made.opening, *made.pieces, *up.pieces]
        assert "Hello there." in await outcome(direct, up, stream=True)  # some end with the whole
