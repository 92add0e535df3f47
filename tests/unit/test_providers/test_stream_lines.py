"""Events of a stream that nobody can read are noticed."""

from __future__ import annotations

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
