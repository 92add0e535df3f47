"""Streams that are odd and whole are answers, and no text of theirs is lost; on both ways to the wire."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import httpx
import pytest

from amas.providers import LiteLLMProvider, ProviderConfig, ProviderError, ProviderManager
from amas.providers.llm.clocks import StreamClocks

# What LiteLLM and pydantic say of pieces that are not as they should be.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Accessing the 'model_:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning"),
]

SSE = "text/event-stream"
USAGE = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
DONE = b"data: [DONE]\n\n"
CALL = {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def event(data: Mapping[str, Any]) -> bytes:
    """Write a server-sent event."""
    return b"data: %b\n\n" % json.dumps(data).encode()


def piece(text: Any = None, finish: Any = None, *, delta: Any = None, **more: Any) -> bytes:
    """Write a piece of a stream in OpenAI's form."""
    given = {} if text is None else {"content": text}
    choice = {"index": 0, "delta": delta or given, "finish_reason": finish}
    head = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return event(head | {"choices": [choice]} | more)


def claude(kind: str, **more: Any) -> bytes:
    """Write an event of Anthropic's."""
    return event({"type": kind, **more})


def said(text: str) -> bytes:
    """Write a piece of text of Anthropic's."""
    return claude("content_block_delta", index=0, delta={"type": "text_delta", "text": text})


def local(text: str, **more: Any) -> bytes:
    """Write a line of Ollama's."""
    return (
        json.dumps({"model": "m", "message": {"content": text}, "done": False, **more}).encode()
        + b"\n"
    )


HE, LLO, STOP, LATE = piece("He"), piece("llo"), piece(finish="stop"), piece("b", "length")
BAD = piece("BAD").replace(b"BAD", b"BAD\x01")
NOT_UTF8 = piece("BAD").replace(b"BAD", b"BAD\xff")
COST = piece(usage=USAGE, choices=[])
END = claude("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 7})
CR = (said("He") + said("llo") + END).replace(b"\n", b"\r")

# What comes, and the text, finish reason and whether there is usage; or the class of the error.
WHOLE: Sequence[tuple[str, str, Sequence[bytes], Any]] = (
    *(
        (
            "openai",
            f"{name} is {value!r}",
            (
                piece("He", **{name: value}),
                piece(finish="stop", **{name: value}),
                piece(usage=USAGE, choices=[], **{name: value}),
                DONE,
            ),
            ("He", "stop", True),
        )
        for name, value in (("created", 1.5), ("id", 5), ("model", [1]), ("object", None))
    ),
    ("openai", "no choices", (piece(choices=None), HE, STOP, DONE), ("He", "stop", False)),
    (
        "openai",
        "no delta",
        (piece(choices=[{"delta": None}]), HE, STOP, DONE),
        ("He", "stop", False),
    ),
    *(
        (
            vendor,
            f"usage is {usage!r}",
            (HE, STOP, piece(usage=usage, choices=[]), DONE),
            ("He", "stop", False),
        )
        for vendor in ("openai", "groq")
        for usage in ("x", 5, [1], {"prompt_tokens": "x"})
    ),
    *(
        (
            vendor,
            f"content is {content!r}",
            (HE, piece(content), LLO, STOP, DONE),
            ("Hello", "stop", False),
        )
        for vendor in ("openai", "groq")
        for content in (5, [{"type": "text", "text": "a"}])
    ),
    *(
        (vendor, case, (*events, DONE), expected)
        for vendor in ("openai", "groq")
        for case, events, expected in (
            (
                "finished each time",
                (piece("He", "stop"), piece("llo", "stop"), COST),
                ("Hello", "stop", True),
            ),
            ("finished twice", (piece("a", "stop"), LATE, COST), ("ab", "length", True)),
            ("text after the finish", (piece("a"), STOP, piece("b"), COST), ("ab", "stop", True)),
            ("finish and text after it", (piece("a"), STOP, LATE, COST), ("ab", "length", True)),
            (
                "junk for a finish",
                (piece("He", 1.5), piece("llo", True), STOP, COST),
                ("Hello", "stop", True),
            ),
            ("a call, and stop", (piece(delta={"tool_calls": [CALL]}), STOP), ("", "stop", False)),
            ("after the end", (HE, STOP, BAD), ("He", "stop", False)),
        )
    ),
    ("anthropic", "line ends", (CR,), ("Hello", "stop", True)),
    ("groq", "line ends", ((HE + STOP + DONE).replace(b"\n", b"\r"),), ("He", "stop", False)),
    (
        "ollama",
        "done too early",
        (
            local("He", done=True),
            local("llo", done=True, done_reason="length", prompt_eval_count=5, eval_count=7),
        ),
        ("Hello", "length", True),
    ),
)
BROKEN: Sequence[tuple[str, str, Sequence[bytes]]] = (
    ("openai", "not JSON", (HE, BAD, piece("end"), STOP, DONE)),
    ("groq", "not JSON", (HE, BAD, piece("end"), STOP, DONE)),
    (
        "openai",
        "not JSON, finished each time",
        (piece("He", "stop"), BAD, piece("end", "stop"), DONE),
    ),
    ("anthropic", "not JSON", (said("He"), said("BAD").replace(b"BAD", b"\x01"), said("end"), END)),
    ("openai", "no text, and cut", (HE, piece(5))),
    ("openai", "not UTF-8", (HE, NOT_UTF8, STOP, DONE)),
    ("groq", "not UTF-8", (HE, NOT_UTF8, STOP, DONE)),
    ("groq", "broken off in the end", (piece("He", "stop"), piece("b", "error"), DONE)),
)


class Upstream:
    """Answers everything with the same events."""

    def __init__(self) -> None:
        self.events: Sequence[bytes] = ()
        self.content_type = SSE

    def answer(self, _request: httpx.Request) -> httpx.Response:
        """Answer a request."""
        return httpx.Response(
            200, headers={"content-type": self.content_type}, content=self._body()
        )

    async def _body(self) -> AsyncIterator[bytes]:
        for event in self.events:
            yield event


@pytest.fixture
def up(in_place_of_vendors: Callable[[Any], None]) -> Upstream:
    """Answer in the vendors' place, below everything that is ours."""
    upstream = Upstream()
    in_place_of_vendors(upstream.answer)
    return upstream


async def outcome(provider: LiteLLMProvider) -> Any:
    """Return a stream's text, finish reason and whether it has usage; or the class of its error."""
    text, last = "", None
    try:
        async for last in provider.stream("hello"):
            text += last.content
    except ProviderError as error:
        return type(error).__name__
    assert last is not None
    return text, last.finish_reason, last.usage is not None


@pytest.mark.parametrize("way", ["direct", "litellm"])
@pytest.mark.parametrize("vendor", ["openai", "groq", "anthropic", "ollama"])
async def test_odd_streams(up: Upstream, vendor: str, way: str) -> None:
    """What is no part of the answer spoils none; text counts whenever it comes; what is lost is told."""
    config = ProviderConfig(vendor, api_key="k" * 20, dispatch=way, health_probe="off")
    provider = LiteLLMProvider(config)
    assert await provider.initialize(), provider.last_error
    found = {}
    expected = {}
    for whose, case, up.events, whole in WHOLE:
        if whose == vendor:
            expected[case], found[case] = whole, await outcome(provider)
    for up.content_type in (SSE, "text/plain", "application/json"):
        for whose, case, up.events in BROKEN:
            if whose == vendor:
                key = f"{case} ({up.content_type})"
                expected[key], found[key] = "StreamInterruptedError", await outcome(provider)
    await provider.shutdown()
    assert found == expected


async def test_a_consumer_gets_the_text_after_the_finish_as_it_comes(up: Upstream) -> None:
    """Through a manager too: pieces as ever, tool calls among them, and one last one with it all."""
    up.events = (
        *(piece("He", "stop"), piece("llo", "stop")),
        *(piece(delta={"tool_calls": [CALL]}), piece(finish="tool_calls"), COST, DONE),
    )
    config = {"openai": {"api_key": "k" * 20, "health_probe": "off"}}
    async with ProviderManager.from_config({"providers": {"llm": config}}) as manager:
        *pieces, last = [piece async for piece in manager.stream("hello")]
    assert [piece.content for piece in pieces] == ["He", "llo", ""]
    assert [call["id"] for piece in pieces for call in piece.tool_calls] == ["a"]
    assert all(piece.finish_reason is None for piece in pieces)
    assert (last.content, last.finish_reason, last.usage) == ("", "tool_calls", USAGE)


def test_the_end_has_a_moment_of_its_own() -> None:
    """A finished stream has so long to end, but no longer than it has anyway; unless it goes on."""
    now = 0.0
    clocks = StreamClocks(first_content=9, idle=5, total=20, clock=lambda: now)
    clocks.tick(content=True)
    clocks.finish(1)
    assert clocks.limit() == 1
    clocks.finish(None)
    assert clocks.limit() == 5
    clocks.finish(8)
    assert clocks.limit() == 5
