"""Events of a stream that nobody can read are noticed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from amas.providers import LiteLLMProvider, ProviderConfig, ProviderUnavailableError
from amas.providers.llm.stream_lines import StreamLines
from amas.providers.testing.upstream import Upstream

SSE = "text/event-stream; charset=utf-8"
LINES = "application/x-ndjson"


@pytest.mark.parametrize(
    ("content_type", "body", "unreadable"),
    [
        (SSE, 'data: {"a": 1}\n\ndata: [DONE]\n\n', False),
        (SSE, 'data:{"a": 1}\r\n\r\n', False),
        (SSE, 'event: x\nid: {\n: {\ndata: {"a": 1}\n\n', False),
        (SSE, 'data: {"a": 1}\ndata: {"a": 2}\n\n', False),
        (SSE, 'data: {"a":\ndata: 1}\n\ndata: {}\n\n', False),
        (SSE, "data: no JSON at all\n\n", False),
        (SSE, 'data: {"a": \xff\n\n', True),
        (SSE, 'data: {"a"\n\n', True),
        (SSE, 'data: {"a"\ndata: {"a": 1}\n\n', True),
        (SSE, "data: {" + "\ndata: x" * 200, True),
        (SSE, "data: " + '{"a":' * 100_000 + "\n\n", True),
        (SSE, 'data: {"a"', False),
        (LINES, '{"a": 1}\n{"a": 2}\n', False),
        (LINES, '{"a": 1}\n\n{"a"\n', True),
        ("text/html", 'data: {"a": 1}\n\ndata: {"a"\n\n', True),
        ("", 'event: x\rdata: {"a": \x01}\r\r', True),
        ("application/json", '{\n"a": 1}\n', False),
        ("", '{\n"a": 1}\n', False),
    ],
)
@pytest.mark.parametrize("size", [1, 7, 10_000_000])
def test_unreadable_events(content_type: str, body: str, size: int, *, unreadable: bool) -> None:
    """An event that begins as JSON and is none is noticed, however the body is cut."""
    lines = StreamLines(content_type)
    data = body.encode("latin-1")
    for start in range(0, len(data), size):
        lines.feed(data[start : start + size])
    assert lines.unreadable is unreadable


@pytest.mark.parametrize(
    ("content_type", "body", "events"),
    [
        (
            SSE,
            b'data: {"a": 1}\n\nevent: x\ndata:{"b": 2}\r\n\r\ndata: [DONE]\n\n',
            [{"a": 1}, {"b": 2}],
        ),
        (SSE, b'data: {"a":\nid: 7\ndata: 1}\n\n', [{"a": 1}]),
        (SSE, b'data: {"a": 1}\n\ndata: [DONE]\n\ndata: {"b": 2}\n\n', [{"a": 1}]),
        (SSE, b': note\n{"a": 1}\n', [{"a": 1}]),
        (SSE, b'data: {"a": "\xe2\x80\xa8\xff"}\n\ndata: {"b": 2}\n\n', [{"b": 2}]),
        (SSE, b'data: {"a": "\xe2\x80\xa8"}\n\n', [{"a": "\u2028"}]),
        (SSE, b'\xef\xbb\xbfdata: {"a": 1}\n\n', [{"a": 1}]),
        (SSE, b'data: {"a": 1}\r\rdata: {"b":\rdata: 2}\r\rdata: [DONE]\r\r', [{"a": 1}, {"b": 2}]),
        (SSE, b'data: {"a":\r\ndata: 1}\r\n\r\ndata: {"b": 2}\r', [{"a": 1}, {"b": 2}]),
        ("text/plain", b': note\ndata: {"a": 1}\n\n{"b": 2}\n', [{"a": 1}, {"b": 2}]),
        (LINES, b'{"a": 1}\n\n{"b": 2}', [{"a": 1}, {"b": 2}]),
        ("application/json", b'data: {"a": 1}', [{"a": 1}]),
        ("application/json", b'{"a": [\n"x"\n]}\n', [{"a": ["x"]}]),
        (SSE, b'data: {"a": 1} x\n\ndata: {"b": 2}\n\n', [{"b": 2}]),
        (SSE, b'data: {"a":\ndata:\ndata: 1}\n\n', [{"a": 1}]),
        (SSE, b"", []),
    ],
)
@pytest.mark.parametrize("size", [1, 7, 10_000_000])
def test_events_are_read_however_the_body_is_cut(
    content_type: str, body: bytes, size: int, events: list[Any]
) -> None:
    """Each event comes once, as text and as data, in any kind of stream, until the mark of the end."""
    lines = StreamLines(content_type)
    found = []
    for start in range(0, len(body), size):
        found += lines.feed(body[start : start + size])
    found += lines.end()
    assert [data for _, data in found] == events
    assert [json.loads(text.decode(errors="replace")) for text, _ in found] == events
    assert lines.end() == []


@pytest.mark.parametrize("content_type", [SSE, LINES])
def test_a_last_line_that_is_cut_short_is_no_unreadable_event(content_type: str) -> None:
    """A body that ends within a line is truncated, which is told apart from an event that is no JSON."""
    lines = StreamLines(content_type)
    assert [*lines.feed(b'{"a": 1}\n{"b":'), *lines.end()] == [(b'{"a": 1}', {"a": 1})]
    assert not lines.unreadable


@pytest.mark.parametrize("row", ["openai", "anthropic", "gemini", "deepseek", "local"])
async def test_stream_with_an_unreadable_event_is_no_answer(row: str, fake_key: str) -> None:
    """LiteLLM passes over such an event in silence, and a word would be missing."""
    async with Upstream(reply="one two three") as upstream:
        config = ProviderConfig(row, api_key=fake_key, base_url=upstream.url)
        provider = LiteLLMProvider(config)
        assert await provider.initialize(), provider.last_error
        upstream.fault(malformed=True)
        with pytest.raises(ProviderUnavailableError, match="cannot be read"):
            [chunk async for chunk in provider.stream("hello")]
        text = [chunk.content async for chunk in provider.stream("hello")]
        await provider.shutdown()
    assert "".join(text) == "one two three"
