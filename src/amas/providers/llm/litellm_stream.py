"""Reading LiteLLM's streams: clocks kept, truncation noticed, errors of ours."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from typing import Any

from ..errors import (
    ProviderError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    StreamInterruptedError,
)
from ..types import StreamChunk
from .clocks import StreamClocks
from .dispatch import OpenStream
from .http_client import Wire, on_wire
from .litellm_errors import translate, without_traces

_END = StreamChunk("", provider="")

# How long a finished stream may take to say what it has cost, and to end.
_SECONDS_TO_END = 1.0

# Pieces read in one go, some two milliseconds.
_BURST = 16

# What upstreams say when they have not finished; LiteLLM calls all of it "stop".
_BROKEN = re.compile(
    r"error|abort|insufficient_system_resource|network_error|malformed|unexpected_tool_call",
    re.IGNORECASE,
)
_TOO_LONG = frozenset({"length", "model_length", "model_context_window_exceeded"})


async def read_stream(
    stream: OpenStream,
    clocks: StreamClocks,
    wire: Wire,
    *,
    provider: str,
    model: str,
) -> AsyncIterator[StreamChunk]:
    """Yield the pieces of an open stream; the one with the finish reason is the last.

    After the finish reason there is a moment for usage and the end, and what goes wrong with
    these takes no answer back. An upstream that says more instead has not been finished: its
    text goes on like any other, and the last finish reason counts.

    Args:
        stream: The stream.
        clocks: How long each piece may take.
        wire: What is seen of the request; some vendors' is sent only when the first
            piece is asked for.
        provider: Name of the provider.
        model: The model asked.

    Raises:
        StreamInterruptedError: It broke off after content had come.
        ProviderError: It broke off before that.
    """
    said = _Said(clocks)
    count = 0
    while True:
        chunk, error = await _next(stream, clocks, wire, provider=provider, model=model)
        if said.is_over and (chunk is _END or error is not None):
            break
        if error is None and (chunk is not None or not said.is_over):
            error = _fault(stream, wire, chunk, provider, model)
        if error is not None:
            raise _interrupted(error, "".join(said.text)) if said.begun else error
        if chunk is _END:
            break
        piece = chunk and said.add(chunk)
        if piece is not None:
            yield piece
        clocks.tick(content=said.begun)
        count += 1
        if count % _BURST == 0:
            # Pieces that are there already come without a pause: let the others have one.
            await asyncio.sleep(0)
    if said.last is not None:
        yield replace(said.last, finish_reason=finish_reason(wire, said.last.finish_reason))


class _Said:
    """What a stream has said so far, and whether that is all.

    Args:
        clocks: Told when the end is near.
    """

    def __init__(self, clocks: StreamClocks) -> None:
        self._clocks = clocks
        self._calls = _ToolCalls()
        self.text: list[str] = []
        self.begun = self.is_over = False
        self.last: StreamChunk | None = None

    def add(self, chunk: StreamChunk) -> StreamChunk | None:
        """Take the next chunk in; return what the consumer gets of it now, if anything."""
        self.begun = True
        self.text.append(chunk.content)
        if chunk.tool_calls:
            self._calls.number(chunk.tool_calls)
        if chunk.finish_reason is None and not self.is_over:
            return chunk
        says = chunk.content or chunk.tool_calls or chunk.reasoning_content
        if says and self.is_over:
            # The upstream says that it is finished, and goes on: that is not to be believed.
            self.is_over = False
            self._clocks.finish(None)
        if chunk.finish_reason is not None:
            if self.last is None:
                self.is_over = True
                self._clocks.finish(_SECONDS_TO_END)
            self.last = replace(chunk, content="", tool_calls=(), reasoning_content=None)
        return replace(chunk, finish_reason=None) if says else None


def broken_off(wire: Wire, *, provider: str, model: str) -> ProviderError | None:
    """Return an error if the upstream's own finish reason says that the answer is not whole."""
    if wire.finish is None or not _BROKEN.match(wire.finish):
        return None
    return ProviderUnavailableError(
        f"the upstream broke off: finish reason {wire.finish!r}", provider=provider, model=model
    )


def finish_reason(wire: Wire, told: str | None) -> str | None:
    """Return "length" where LiteLLM says "stop" and the upstream that the window was full."""
    return "length" if told == "stop" and wire.finish in _TOO_LONG else told


class _ToolCalls:
    """Gives each call of a stream an index of its own; LiteLLM numbers all of Ollama's 0."""

    def __init__(self) -> None:
        self._owners: dict[int, str] = {}
        self._moved: dict[int, int] = {}

    def number(self, pieces: Iterable[dict[str, Any]]) -> None:
        """Correct the index of each piece; those without an id belong to the last that had one."""
        for piece in pieces:
            index, name = piece.get("index", 0), piece.get("id")
            if name and self._owners.get(index, name) != name:
                self._moved[index] = max(self._owners) + 1
            piece["index"] = self._moved.get(index, index)
            if name:
                self._owners[piece["index"]] = name


async def _next(
    stream: OpenStream, clocks: StreamClocks, wire: Wire, *, provider: str, model: str
) -> tuple[StreamChunk | None, ProviderError | None]:
    """Return the next chunk, ``_END`` at the end; or the error, told apart from it.

    The error is returned, not raised: raised here it would keep a reference to
    LiteLLM's, whose frames hold the key.
    """
    timer = None
    try:
        chunk = stream.take()
        if chunk is not None:
            return chunk, None
        timer = asyncio.timeout(clocks.limit())
        with on_wire(wire):
            async with timer:
                return await stream.next(), None
    except StopAsyncIteration:
        return _END, None
    except TimeoutError as raised:
        if timer is not None and timer.expired():
            late = ProviderTimeoutError(clocks.verdict(), provider=provider, model=model)
            return None, late
        return None, translate(raised, wire, provider=provider, model=model)
    except asyncio.CancelledError as raised:
        cancelled = raised
    except Exception as raised:  # noqa: BLE001 -- LiteLLM raises what its vendors' code raises
        return None, translate(raised, wire, provider=provider, model=model)
    raise without_traces(cancelled)


def _fault(
    stream: OpenStream, wire: Wire, chunk: StreamChunk | None, provider: str, model: str
) -> ProviderError | None:
    """Return what a chunk, or the end, shows to be wrong with the whole."""
    if wire.unreadable:
        return ProviderUnavailableError(
            "an event of the stream cannot be read", provider=provider, model=model
        )
    if chunk is not None and (chunk is _END or chunk.finish_reason is not None):
        error = _truncation(stream, wire, chunk, provider, model)
        return error or broken_off(wire, provider=provider, model=model)
    return None


def _truncation(
    stream: OpenStream, wire: Wire, last: StreamChunk, provider: str, model: str
) -> ProviderError | None:
    if wire.end_marker is None:
        truncated = stream.truncated
    else:
        # LiteLLM makes up no other word than "stop".
        truncated = not wire.ended and (last is _END or last.finish_reason == "stop")
    if not truncated:
        return None
    return ProviderUnavailableError(
        "the stream ended without saying that it is finished", provider=provider, model=model
    )


def _interrupted(error: ProviderError, text: str) -> StreamInterruptedError:
    return StreamInterruptedError(
        f"the stream broke off after {len(text)} characters: {error.message}",
        partial_text=text,
        provider=error.provider,
        model=error.model,
        status_code=error.status_code,
    )
