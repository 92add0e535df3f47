"""The clocks of calls and streams: by a hand-moved clock, and against a real server."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, aclosing
from typing import Any

import pytest
from blockbuster import BlockBuster

from amas.providers import (
    LiteLLMProvider,
    ProviderConfig,
    ProviderError,
    ProviderTimeoutError,
    StreamInterruptedError,
)
from amas.providers.llm.clocks import StreamClocks
from amas.providers.testing.upstream import Upstream

PATHS = {"openai": "/v1", "anthropic": "", "gemini": "/v1beta", "ollama": ""}
KEY = "test" + "-key" * 5
LONG = " ".join(["word"] * 60)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """Stand for time."""
    return Clock()


# --- pure ------------------------------------------------------------------------------------------


def test_first_content_runs_until_content(clock: Clock) -> None:
    """Pieces without content do not stop the first clock; content does, for good."""
    clocks = StreamClocks(first_content=5, idle=3, total=20, clock=clock)
    assert clocks.limit() == 3
    clock.now += 2
    clocks.tick(content=False)
    assert clocks.limit() == 3
    clock.now += 2
    clocks.tick(content=False)
    assert clocks.limit() == 1
    clock.now += 1
    assert clocks.limit() == 0
    assert clocks.verdict() == "no content within 5 s"
    clocks.tick(content=True)
    assert clocks.limit() == 3
    clocks.tick(content=False)
    assert clocks.limit() == 3


def test_idle_counts_from_the_last_piece(clock: Clock) -> None:
    """Silence is measured from one piece to the next."""
    clocks = StreamClocks(first_content=5, idle=3, total=20, clock=clock)
    clocks.tick(content=True)
    clock.now += 2.5
    assert clocks.limit() == 0.5
    clock.now += 0.5
    assert clocks.verdict() == "silent for 3 s"


def test_total_stops_for_nothing(clock: Clock) -> None:
    """The whole stream has one limit however fast its pieces come; past it the limit is negative."""
    clocks = StreamClocks(first_content=5, idle=3, total=4, clock=clock)
    for _ in range(5):
        clock.now += 0.9
        clocks.tick(content=True)
    assert clocks.limit() == pytest.approx(-0.5)
    assert clocks.verdict() == "not complete within 4 s"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, (7, 7, 7)),
        ({"first_content_timeout": 1}, (1, 7, 7)),
        ({"idle_timeout": 2}, (7, 2, 7)),
        ({"stream_timeout": 30}, (7, 7, 30)),
    ],
)
def test_clocks_come_from_the_configuration(
    clock: Clock, given: dict[str, float], expected: tuple[float, float, float]
) -> None:
    """What a configuration leaves open is its timeout."""
    clocks = StreamClocks.of(ProviderConfig("openai", timeout=7, **given), clock)  # type: ignore[arg-type]
    assert (clocks.first_content, clocks.idle, clocks.total) == expected


# --- against a real server ---------------------------------------------------------------------------


@pytest.fixture
async def up(no_blocking: BlockBuster) -> AsyncIterator[Upstream]:
    """Run an upstream in the test's own loop."""
    async with Upstream("up") as upstream:
        yield upstream


def provider_at(up: Upstream, name: str = "openai", **options: Any) -> LiteLLMProvider:
    """Configure a provider for the upstream."""
    given: dict[str, Any] = {"api_key": KEY, "base_url": up.url + PATHS[name]}
    return LiteLLMProvider(ProviderConfig(name, **(given | options)))


async def generate(provider: LiteLLMProvider) -> None:
    """Ask for an answer."""
    await provider.generate(LONG)


async def stream(provider: LiteLLMProvider) -> None:
    """Ask for a stream and read it."""
    _ = [chunk async for chunk in provider.stream(LONG)]


async def timed(work: Coroutine[Any, Any, None]) -> tuple[ProviderError, float]:
    """Return the error that something ends in, and after how many seconds."""
    started = time.monotonic()
    try:
        await work
    except ProviderError as error:
        return error, time.monotonic() - started
    raise AssertionError(f"no error within {time.monotonic() - started:.1f} s")


FAULTS: list[dict[str, Any]] = [{"trickle": 0.2}, {"hang": True}, {"stall_after": 1}]


@pytest.mark.parametrize("ask", [generate, stream])
async def test_timeout_is_a_limit_not_a_pause(ask: Any, no_blocking: BlockBuster) -> None:
    """However slowly an answer drips or a stream trickles, timeout: 1 ends it after one second."""
    async with AsyncExitStack() as stack:
        waiting = []
        for name in PATHS:
            for fault in FAULTS:
                up = await stack.enter_async_context(Upstream("up", reply=LONG))
                up.fault(**fault)
                provider = provider_at(up, name, timeout=1)
                stack.push_async_callback(provider.shutdown)
                assert await provider.initialize()
                waiting.append((fault, ask(provider)))
        done = await asyncio.gather(*(timed(work) for _, work in waiting))
    for (fault, _), (error, seconds) in zip(waiting, done, strict=True):
        assert 0.9 < seconds < 1.3, fault
        late = ask is stream and "hang" not in fault
        assert type(error) is (StreamInterruptedError if late else ProviderTimeoutError), fault
        assert "within 1 s" in error.message or "silent for 1 s" in error.message
        assert error.status_code is None


async def test_a_stream_that_drips_byte_by_byte_ends_in_time() -> None:
    """No clock is wound up by single bytes, which make no piece of a stream."""
    left = asyncio.Event()

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        frames = b'data: {"choices":[{"index":0,"delta":{"content":"slow"}}]}\n\n' * 9
        for byte in frames:
            if writer.is_closing():
                break
            writer.write(bytes([byte]))
            await asyncio.sleep(0.02)
        writer.close()
        left.set()

    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    config = ProviderConfig("custom", model="m", base_url=address, timeout=1, idle_timeout=0.3)
    provider = LiteLLMProvider(config)
    provider._probe = _no_probe  # type: ignore[method-assign]
    assert await provider.initialize()
    error, seconds = await timed(stream(provider))
    assert 0.25 < seconds < 0.6
    assert error.message == "silent for 0.3 s"
    await provider.shutdown()
    async with asyncio.timeout(1):
        await left.wait()
    server.close()
    await server.wait_closed()


async def _no_probe() -> None: ...


@pytest.mark.parametrize(
    ("fault", "clock", "says"),
    [
        ({"stall_after": 0}, "first_content_timeout", "no content within 0.2 s"),
        ({"hang": True}, "first_content_timeout", "no (answer|content) within 0.2 s"),
        ({"stall_after": 2}, "idle_timeout", "silent for 0.2 s"),
        ({"trickle": 0.05}, "stream_timeout", "not complete within 0.2 s"),
    ],
)
async def test_each_clock_by_itself(
    no_blocking: BlockBuster, fault: dict[str, Any], clock: str, says: str
) -> None:
    """Each of the three clocks ends a stream alone, and the error says which it was."""
    async with AsyncExitStack() as stack:
        ups = [await stack.enter_async_context(Upstream("up", reply=LONG)) for _ in PATHS]
        providers = [
            provider_at(up, name, timeout=30, **{clock: 0.2})
            for up, name in zip(ups, PATHS, strict=True)
        ]
        for up, provider in zip(ups, providers, strict=True):
            stack.push_async_callback(provider.shutdown)
            assert await provider.initialize()
            up.fault(**fault)
        for error, seconds in await asyncio.gather(*(timed(stream(each)) for each in providers)):
            assert 0.18 < seconds < 0.6
            assert re.search(says, error.message)
        for up in ups:
            await up.wait_for(lambda request: request.aborted, within=0.2)


@pytest.mark.parametrize("name", PATHS)
async def test_leaving_is_seen_by_the_upstream_at_once(up: Upstream, name: str) -> None:
    """A cancelled call and a stream left early end the upstream's work within 0.2 seconds."""
    up.reply = LONG
    up.chunk_delay = 0.01
    provider = provider_at(up, name)
    assert await provider.initialize()

    up.clear()
    up.fault(hang=True)
    call = asyncio.create_task(provider.generate("hello"))
    await up.wait_for(lambda request: request.endpoint == "chat")
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await up.wait_for(lambda request: request.aborted, within=0.2)

    up.clear()
    left: Any = provider.stream("hello")
    async with aclosing(left):
        assert (await anext(left)).content
    await up.wait_for(lambda request: request.aborted, within=0.2)

    up.clear()
    reading = asyncio.create_task(stream(provider))
    await up.wait_for(lambda request: request.stream)
    await asyncio.sleep(0.03)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await up.wait_for(lambda request: request.aborted, within=0.2)
    await provider.shutdown()
