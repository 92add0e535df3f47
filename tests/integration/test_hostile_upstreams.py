"""What upstreams do that no fault of ``Upstream`` does: found by attacking, kept from coming back."""

from __future__ import annotations

import asyncio
import gc
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from amas.providers import (
    InvalidRequestError,
    LiteLLMProvider,
    OpenAIProvider,
    ProviderConfig,
    ProviderError,
    ProviderManager,
    ProviderUnavailableError,
    StreamInterruptedError,
)
from amas.providers.testing.upstream import ThreadedUpstream, Upstream

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("uncovered")]

Handler = Callable[[web.Request], Any]
VENDORS = ["openai", "groq", "mistral", "gemini", "anthropic", "local", "cohere", "deepseek"]


@asynccontextmanager
async def server(handler: Handler) -> AsyncIterator[str]:
    """Run a server whose every answer is the handler's; yield its address."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def asking(
    handler: Handler, vendor: str = "openai", **given: Any
) -> AsyncIterator[LiteLLMProvider]:
    """Yield a provider of a vendor whose server answers like that."""
    async with server(handler) as url:
        config = ProviderConfig(vendor, api_key="k" * 24, base_url=url, model="m", **given)
        provider = LiteLLMProvider(config)
        try:
            yield provider
        finally:
            await provider.shutdown()


def answer(finish: str | None, usage: Any = None) -> Handler:
    """Answer a plain request in OpenAI's form, with this finish reason."""

    async def handler(request: web.Request) -> web.Response:
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": "half an ans"},
            "finish_reason": finish,
        }
        body = {"id": "1", "object": "chat.completion", "created": 1, "model": "m"}
        return web.json_response(body | {"choices": [choice], "usage": usage})

    return handler


def streamed(*events: Any, then: float = 0.0) -> Handler:
    """Answer a stream of these deltas and finish reasons, in OpenAI's form."""

    async def handler(request: web.Request) -> web.StreamResponse:
        if request.method == "GET":
            return web.json_response({"data": []})
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for event in events:
            delta, finish = ({"content": event}, None) if isinstance(event, str) else event
            choice = {"index": 0, "delta": delta, "finish_reason": finish}
            piece = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
            line = json.dumps(piece | {"choices": [choice]})
            await response.write(f"data: {line}\n\n".encode())
        await asyncio.sleep(then)
        await response.write(b"data: [DONE]\n\n")
        return response

    return handler


async def text_of(provider: LiteLLMProvider) -> str:
    """Return a stream's whole text."""
    return "".join([chunk.content async for chunk in provider.stream("hi")])


@pytest.mark.parametrize("vendor", VENDORS)
async def test_line_separators_in_a_stream_lose_nothing(vendor: str) -> None:
    """U+2028, U+2029 and U+0085 are text like any other."""
    said = "one two\u2028three\u2029four\x85five"
    async with Upstream(reply=said) as up:
        config = ProviderConfig(vendor, api_key="k" * 24, base_url=up.url, model="m")
        provider = LiteLLMProvider(config)
        assert await text_of(provider) == said
        assert (await provider.generate("hi"))["content"] == said
        await provider.shutdown()


@pytest.mark.parametrize("vendor", ["openai", "mistral", "deepseek"])
@pytest.mark.parametrize(
    "finish", ["error", "abort", "insufficient_system_resource", "network_error"]
)
async def test_answer_that_broke_off_is_not_complete(vendor: str, finish: str) -> None:
    """A finish reason that means failure is one, though LiteLLM calls it "stop"."""
    async with asking(answer(finish), vendor) as provider:
        with pytest.raises(ProviderUnavailableError, match=finish):
            await provider.generate("hi")
    async with asking(streamed("half an ans", ({}, finish)), vendor) as provider:
        with pytest.raises(StreamInterruptedError) as caught:
            await text_of(provider)
        assert caught.value.partial_text == "half an ans"


async def test_full_window_is_told_as_length() -> None:
    """The vendors' words for a full context window mean that the answer is cut."""
    async with asking(answer("model_length"), "mistral") as provider:
        assert (await provider.generate("hi"))["finish_reason"] == "length"
    async with asking(streamed("text", ({}, "model_length")), "mistral") as provider:
        chunks = [chunk async for chunk in provider.stream("hi")]
        assert chunks[-1].finish_reason == "length"


@pytest.mark.parametrize("vendor", ["openai", "mistral"])
async def test_equal_chunks_are_no_failure(vendor: str) -> None:
    """A table's rule or an array of zeros is a good answer."""
    async with asking(streamed(*["----"] * 150, ({}, "stop")), vendor) as provider:
        assert await text_of(provider) == "----" * 150


async def test_finished_stream_does_not_wait_for_the_connection() -> None:
    """An upstream that says it is finished and does not hang up costs a second at most."""
    async with asking(streamed("whole", ({}, "stop"), then=2.0)) as provider:
        await provider.initialize()
        began = time.monotonic()
        assert await text_of(provider) == "whole"
        assert time.monotonic() - began < 1.8


async def test_key_at_the_cut_of_a_message_is_masked() -> None:
    """A message is scrubbed before it is shortened: half a key is not shown either."""
    key = "abcd" * 6

    async def refuse(request: web.Request) -> web.Response:
        return web.json_response({"error": {"message": "x" * 480 + " " + key}}, status=400)

    async with server(refuse) as url:
        config = ProviderConfig("mistral", api_key=key, base_url=url, model="m")
        provider = LiteLLMProvider(config)
        with pytest.raises(ProviderError) as caught:
            await provider.generate("hi")
        assert key[:8] not in str(caught.value)
        await provider.shutdown()


async def test_error_that_quotes_a_long_prompt_costs_no_time() -> None:
    """Classifying an error takes linear time, whatever its words."""

    async def refuse(request: web.Request) -> web.Response:
        if request.method == "GET":
            return web.json_response({"data": []})
        return web.json_response(
            {"error": {"message": "invalid: " + "violat" * 20_000}}, status=400
        )

    async with asking(refuse) as provider:
        await provider.initialize()
        began = time.monotonic()
        with pytest.raises(InvalidRequestError):
            await provider.generate("hi")
        assert time.monotonic() - began < 1


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": -5, "completion_tokens": -5, "total_tokens": -10}, None),
        ({"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 10**30}, None),
        ({"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 0}, 7),
    ],
)
async def test_counts_that_cannot_be_are_unknown(
    usage: dict[str, int], expected: int | None
) -> None:
    """Negative and absurd counts are dropped, and a missing total is the sum."""
    async with asking(answer("stop", usage)) as provider:
        result = await provider.generate("hi")
        counted = result["usage"]
        assert (counted["total_tokens"] if counted else None) == expected
        assert result["cost_usd"] is None


async def test_burst_of_chunks_lets_others_run() -> None:
    """A thousand pieces that come at once do not stop the loop for long."""
    async with asking(streamed(*["x"] * 1000, ({}, "stop"))) as provider:
        await provider.initialize()
        turns = 0

        async def beat() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        heart = asyncio.create_task(beat())
        assert len(await text_of(provider)) == 1000
        heart.cancel()
        assert turns > 50


def test_manager_survives_several_event_loops(fake_key: str) -> None:
    """A service that calls asyncio.run for each request is answered, and leaves nothing open."""
    with ThreadedUpstream() as up:
        llm = {"openai": {"api_key": fake_key, "base_url": up.url, "max_retries": 0}}
        manager = ProviderManager.from_config({"providers": {"llm": llm}})

        async def ask() -> str:
            return (await manager.generate("hi"))["provider"]

        assert [asyncio.run(ask()) for _ in range(3)] == ["openai"] * 3
        asyncio.run(manager.shutdown())
        gc.collect()


def test_preset_survives_several_event_loops(fake_key: str) -> None:
    """A provider alone does so too."""
    with ThreadedUpstream() as up:
        provider = OpenAIProvider(ProviderConfig("openai", api_key=fake_key, base_url=up.url))

        async def ask(*, last: bool) -> str:
            content = (await provider.generate("hi"))["content"]
            if last:
                await provider.shutdown()
            return content

        assert asyncio.run(ask(last=False)) == asyncio.run(ask(last=True))
        gc.collect()
