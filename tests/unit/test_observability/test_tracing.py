"""Spans: one for a call, one below it for each request, and nothing of a prompt in them."""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from typing_extensions import override

from amas.config.provider_settings import HedgeSettings, ManagerSettings
from amas.providers import ProviderConfig, ProviderConfigError, ProviderManager
from amas.providers.errors import (
    AllProvidersFailedError,
    ProviderUnavailableError,
    RateLimitError,
)
from amas.providers.llm.openai_provider import OpenAIProvider
from amas.providers.observability.trace_context import trace_headers
from amas.providers.observability.tracing import Tracing
from amas.providers.testing.fake_provider import FakeProvider
from amas.providers.testing.upstream import Upstream

PROMPT = "the prompt that must not be seen"


class Traced:
    """Managers whose spans are kept."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.source = TracerProvider()
        self.source.add_span_processor(SimpleSpanProcessor(self._exporter))

    @asynccontextmanager
    async def manager(
        self, *providers: Any, propagate: bool = False, **settings: Any
    ) -> AsyncIterator[ProviderManager]:
        """Run a manager."""
        manager = ProviderManager(ManagerSettings(**settings), providers=providers)
        manager._observation._tracing = Tracing(propagate=propagate, provider=self.source)
        async with manager:
            yield manager

    @property
    def spans(self) -> list[ReadableSpan]:
        """The spans that have ended, in the order they began."""
        return sorted(self._exporter.get_finished_spans(), key=lambda item: item.start_time or 0)


class Answering(FakeProvider):
    """Answers with a mapping of its own."""

    def __init__(self, name: str, answer: dict[str, Any]) -> None:
        super().__init__(name)
        self._answer = answer

    @override
    async def generate(self, prompt: Any, **kwargs: Any) -> Any:
        return self._answer


@pytest.fixture
def traced() -> Traced:
    """Keep spans in memory."""
    return Traced()


def attributes(span: ReadableSpan) -> dict[str, Any]:
    """Return a span's attributes, but for ids that change."""
    found = dict(span.attributes or {})
    found.pop("amas.request_id", None)
    return found


async def test_a_call_is_a_span_with_one_below_it_for_each_request(traced: Traced) -> None:
    """With the names of the semantic conventions."""
    usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    answer = {"content": "yes", "usage": usage, "cost_usd": 0.5, "model": "m-2"}
    failing = FakeProvider("a", default=ProviderUnavailableError("down", status_code=503))
    async with traced.manager(failing, Answering("b", answer)) as manager:
        result = await manager.generate(PROMPT, caller="tester", temperature=0.5, max_tokens=9)
    call, first, second = traced.spans
    assert [span.name for span in traced.spans] == [
        "amas.generate",
        "chat fake-model",
        "chat fake-model",
    ]
    assert call.parent is None
    for span in (first, second):
        assert span.parent is not None
        assert span.parent.span_id == call.context.span_id
        assert span.kind is SpanKind.CLIENT
    assert (call.attributes or {})["amas.request_id"] == result["request_id"]
    assert attributes(call) == {
        "gen_ai.request.stream": False,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.max_tokens": 9,
        "amas.caller": "tester",
        "amas.provider": "b",
        "gen_ai.response.model": "m-2",
        "amas.cost_usd": 0.5,
        "amas.attempts": 2,
    }
    assert attributes(first) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "a",
        "amas.provider": "a",
        "gen_ai.request.model": "fake-model",
        "gen_ai.response.model": "fake-model",
        "http.response.status_code": 503,
        "error.type": "unavailable",
    }
    assert attributes(second)["gen_ai.usage.input_tokens"] == 3
    codes = [span.status.status_code for span in traced.spans]
    assert codes == [StatusCode.OK, StatusCode.ERROR, StatusCode.OK]


async def test_a_call_lies_below_the_span_of_the_service(traced: Traced) -> None:
    """And what a provider does lies below its request."""
    seen: list[int] = []

    class Looking(FakeProvider):
        @override
        async def generate(self, prompt: Any, **kwargs: Any) -> Any:
            seen.append(trace.get_current_span().get_span_context().span_id)
            return await super().generate(prompt, **kwargs)

    async with traced.manager(Looking("a")) as manager:
        with traced.source.get_tracer("host").start_as_current_span("web request") as outer:
            await manager.generate("hi")
    _, call, request = traced.spans
    assert call.parent is not None
    assert call.parent.span_id == outer.get_span_context().span_id
    assert seen == [request.context.span_id]


async def test_a_failed_call_says_how(traced: Traced) -> None:
    """In a word, without the upstream's message, which may quote the prompt."""
    failing = FakeProvider("a", default=RateLimitError(f"no: {PROMPT}", status_code=429))
    async with traced.manager(failing) as manager:
        with pytest.raises(AllProvidersFailedError):
            await manager.generate(PROMPT)
    call, request = traced.spans
    assert attributes(call)["error.type"] == "all_failed"
    assert attributes(request)["error.type"] == "rate_limited"
    assert PROMPT not in "".join(span.to_json() for span in traced.spans)


async def test_a_stream_is_traced_to_its_end(traced: Traced) -> None:
    """With the time to its first content; nothing is left current in the consumer's context."""
    async with traced.manager(FakeProvider("a")) as manager:
        async for _ in manager.stream("hi"):
            assert not trace.get_current_span().get_span_context().is_valid
    call, request = traced.spans
    assert request.parent is not None
    assert request.parent.span_id == call.context.span_id
    for span in (call, request):
        assert attributes(span)["amas.first_content_ms"] >= 0
    assert attributes(call)["gen_ai.request.stream"] is True


async def test_a_stream_that_is_left_ends_its_spans(traced: Traced) -> None:
    """As cancelled, which is no error."""
    async with traced.manager(FakeProvider("a")) as manager:
        chunks = manager.stream("hi")
        await anext(aiter(chunks))
        await chunks.aclose()  # type: ignore[attr-defined]
    assert [attributes(span)["amas.cancelled"] for span in traced.spans] == [True] * 2
    assert {span.status.status_code for span in traced.spans} == {StatusCode.UNSET}


async def test_a_hedge_lies_below_its_call_as_well(traced: Traced) -> None:
    """Marked as one; who was slower ends as cancelled."""

    class Slow(FakeProvider):
        @override
        async def generate(self, prompt: Any, **kwargs: Any) -> Any:
            await asyncio.sleep(30)

    settings = HedgeSettings(after=0.01, max_share=1.0)
    async with traced.manager(Slow("a"), FakeProvider("b"), hedge=settings) as manager:
        await manager.generate("hi")
    call, slow, hedge = traced.spans
    assert {span.parent.span_id for span in (slow, hedge) if span.parent} == {call.context.span_id}
    assert attributes(hedge)["amas.hedge"] is True
    assert attributes(slow)["amas.cancelled"] is True


@pytest.mark.parametrize("propagate", [True, False])
async def test_upstreams_are_sent_the_trace_context_where_asked_for(
    traced: Traced, fake_key: str, *, propagate: bool
) -> None:
    """By the header of the W3C, over real HTTP, for answers and streams."""
    async with Upstream() as upstream:
        config = ProviderConfig("openai", api_key=fake_key, base_url=f"{upstream.url}/v1")
        async with traced.manager(OpenAIProvider(config), propagate=propagate) as manager:
            await manager.generate("hi")
            async for _ in manager.stream("hi"):
                pass
        sent = [
            item.headers.get("traceparent")
            for item in upstream.requests
            if item.endpoint != "models"
        ]
    if not propagate:
        assert sent == [None, None]
        return
    requests = [span for span in traced.spans if span.kind is SpanKind.CLIENT]
    ids = [f"00-{s.context.trace_id:032x}-{s.context.span_id:016x}" for s in requests]
    assert [str(header).rpartition("-")[0] for header in sent] == ids
    assert attributes(requests[0])["gen_ai.provider.name"] == "openai"
    assert not trace_headers.get()


async def test_a_secret_in_the_place_of_a_name_is_masked(traced: Traced, fake_key: str) -> None:
    """A model or a caller may be a key that was pasted into the wrong place."""
    async with traced.manager(FakeProvider("a")) as manager:
        await manager.generate("hi", model=fake_key, caller=fake_key)
    assert fake_key not in "".join(span.to_json() for span in traced.spans)


async def test_counts_of_somebody_elses_provider_may_lack_anything(traced: Traced) -> None:
    """Then they are left out."""
    answer = {"content": "yes", "usage": {"total_tokens": 7}}
    async with traced.manager(Answering("a", answer)) as manager:
        await manager.generate("hi")
    assert "gen_ai.usage.input_tokens" not in attributes(traced.spans[0])


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command that brings it."""
    found = builtins.__import__

    def refuse(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("opentelemetry"):
            raise ImportError(name)
        return found(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ProviderConfigError, match=r"pip install 'amas-providers\[tracing\]'"):
        Tracing()
