"""Streams read without LiteLLM's wrapper, and equal to what comes out of it."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
from typing_extensions import override

from ...types import StreamChunk
from ..dispatch import OpenStream
from ..litellm_codec import read_chunk
from ..target import Target
from .translation import Outgoing, Translation

_DATA = b"data:"
_DONE = b"[DONE]"
_TEXT = {"content", "role"}
# Nobody spreads an event over more lines.
_MOST_LINES = 100


class DirectStream(OpenStream):
    """The pieces of one answer.

    Args:
        response: The answer, of which the head has come.
        translation: Reads its pieces.
        asked: What was asked.
        target: Whose answer it is.
        provider: Name of the provider.
    """

    def __init__(
        self,
        response: httpx.Response,
        translation: Translation,
        asked: Outgoing,
        target: Target,
        *,
        provider: str,
    ) -> None:
        self._response = response
        self._translation = translation
        self._model = asked.model
        self._target = target
        self._provider = provider
        self._parser = translation.parser(asked)
        self._reads_text = translation.reads_plain_text(self._parser)
        self._events = _events(response)
        self._ready: deque[StreamChunk] = deque()
        self._usage: Any = None
        self._finished = self._has_calls = False

    @override
    async def next(self) -> StreamChunk | None:
        if not self._ready:
            event = await anext(self._events)
            try:
                self._read(event)
            except Exception as error:  # noqa: BLE001 -- LiteLLM raises what its vendors' code raises
                raise self._translation.mapped_error(error, self._model) from None
        return self._ready.popleft() if self._ready else None

    def _read(self, event: dict[str, Any]) -> None:
        """Read one piece; one with the finish reason as two: what it says, and that it is all."""
        if self._reads_text and (text := _only_text(event)) is not None:
            if text and not self._finished:
                self._ready.append(StreamChunk(text, provider=self._provider, model=self._model))
            return
        self._translation.check(event)
        piece = self._parser.chunk_parser(event)
        if piece is None:
            return
        self._usage = getattr(piece, "usage", None) or self._usage
        if self._finished:
            return
        chunk = read_chunk(piece, self._target, provider=self._provider, model=self._model)
        if chunk is None:
            return
        finish = chunk.finish_reason if self._translation.has_finished(event) else None
        chunk = replace(chunk, model=self._model, finish_reason=None)
        self._has_calls |= bool(chunk.tool_calls)
        if chunk.content or chunk.tool_calls or chunk.reasoning_content:
            self._ready.append(chunk)
        if finish is not None:
            self._finished = True
            if finish == "stop" and self._has_calls:
                finish = "tool_calls"
            self._ready.append(
                StreamChunk("", provider=self._provider, model=self._model, finish_reason=finish)
            )

    @property
    @override
    def truncated(self) -> bool:
        return not self._finished

    @override
    async def drain(self) -> None:
        async for event in self._events:
            self._read(event)

    @override
    def usage(self) -> Any:
        return self._usage

    @override
    async def aclose(self) -> None:
        await self._events.aclose()
        await self._response.aclose()


def _only_text(event: dict[str, Any]) -> str | None:
    """Return the text of a piece in OpenAI's form that has nothing else; None for any other."""
    match event:
        case {"choices": [{"delta": {"content": str(text)} as delta} as choice]}:
            plain = delta.keys() <= _TEXT and choice.get("finish_reason") is None
            return text if plain and not (event.get("usage") or event.get("error")) else None
    return None


async def _lines(response: httpx.Response) -> AsyncIterator[bytes]:
    """Yield the lines of a body, without their ends."""
    held: list[bytes] = []
    async for piece in response.aiter_raw():
        *lines, rest = piece.split(b"\n")
        for line in lines:
            yield b"".join((*held, line)).strip()
            held.clear()
        if rest:
            held.append(rest)
    if held:
        yield b"".join(held).strip()


async def _events(response: httpx.Response) -> Any:
    """Yield the JSON objects of a stream: of server-sent events, or one on each line.

    What is no JSON is passed over here: ``StreamLines`` sees it, and the stream is at an end.
    """
    parts: list[bytes] = []
    async for line in _lines(response):
        data = line[len(_DATA) :].lstrip() if line.startswith(_DATA) else line
        if data == _DONE:
            return
        if parts and line:
            data = b"\n".join((*parts, data))
        elif not data.startswith(b"{"):
            parts.clear()
            continue
        try:
            event = json.loads(data)
        except (ValueError, RecursionError):
            parts = [data] if len(parts) < _MOST_LINES else []
        else:
            parts.clear()
            if isinstance(event, dict):
                yield event
