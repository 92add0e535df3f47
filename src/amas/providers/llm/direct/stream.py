"""Streams read without LiteLLM's wrapper, and equal to what comes out of it."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

from typing_extensions import override

from ...types import StreamChunk
from ..answer import Answer
from ..dispatch import OpenStream
from ..http_client import on_wire, wire_under_way
from ..litellm_codec import named, read_chunk
from ..stream_lines import StreamLines
from ..target import Target
from .translation import Outgoing, Translation

_TEXT = {"content", "role"}


class DirectStream(OpenStream):
    """The pieces of one answer.

    Args:
        answer: The answer, of which the head has come.
        translation: Reads its pieces.
        asked: What was asked.
        target: Whose answer it is.
        provider: Name of the provider.
        request_id: Of the call.
    """

    def __init__(
        self,
        answer: Answer,
        translation: Translation,
        asked: Outgoing,
        target: Target,
        *,
        provider: str,
        request_id: str,
    ) -> None:
        self._answer = answer
        self._translation = translation
        self._model = asked.model
        self._named = named(None, target, asked.model)
        self._provider = provider
        self._request_id = request_id
        self._whose: Any = {
            "target": target,
            "provider": provider,
            "model": asked.model,
            "request_id": request_id,
        }
        self._parser = translation.parser(asked)
        self._reads_text = translation.reads_plain_text(self._parser)
        self._wire = wire_under_way()
        self._lines = self._wire.lines or StreamLines("")
        self._body: AsyncIterator[bytes] = aiter(answer.stream)
        self._events: deque[tuple[bytes, dict[str, Any]]] = deque()
        self._ready: deque[StreamChunk] = deque()
        self._usage: Any = None
        self._begun = self._finished = False

    @override
    def take(self) -> StreamChunk | None:
        while self._events and not self._ready:
            text, event = self._events.popleft()
            plain = _only_text(event) if self._reads_text else None
            if plain is None:
                self._read(text, event)
            elif plain:
                self._begun = True
                self._ready.append(self._chunk(plain))
        return self._ready.popleft() if self._ready else None

    @override
    async def next(self) -> StreamChunk | None:
        if not self._ready and not self._events:
            await self._receive()
        return self.take()

    async def _receive(self) -> None:
        """Wait for the next event, of which single bytes may come.

        Raises:
            StopAsyncIteration: There is none, or the mark of the end has come.
        """
        while not self._events:
            if self._lines.done:
                raise StopAsyncIteration
            try:
                self._events.extend(self._lines.feed(await anext(self._body)))
            except StopAsyncIteration:
                self._events.extend(self._lines.end())
                if not self._events:
                    raise

    def _read(self, text: bytes, event: dict[str, Any]) -> None:
        """Let LiteLLM read an event; what it logs and warns of meanwhile is known to be of a call."""
        with on_wire(self._wire):
            try:
                self._take_in(text, event)
            except Exception as error:  # noqa: BLE001 -- LiteLLM raises what its vendors' code raises
                raise self._translation.mapped_error(error, self._model) from None

    def _take_in(self, text: bytes, event: dict[str, Any]) -> None:
        """Take in an event that has more than text, or may have."""
        self._wire.look(text)
        # Some vendors end a stream with the whole once more; on its own, it would say nothing.
        if not self._begun and _is_whole(event):
            raise ValueError("a whole answer has come, not a stream")
        piece = self._parser.chunk_parser(self._translation.tidied(event))
        if piece is None:
            return
        usage = getattr(piece, "usage", None)
        if hasattr(usage, "prompt_tokens"):
            self._usage = usage
        chunk = read_chunk(piece, **self._whose)
        if chunk is None:
            return
        if not self._translation.has_finished(event):
            chunk = replace(chunk, finish_reason=None)
        self._begun = True
        self._finished |= chunk.finish_reason is not None
        self._ready.append(replace(chunk, model=self._named))

    def _chunk(self, text: str) -> StreamChunk:
        return StreamChunk(text, self._provider, self._named, request_id=self._request_id)

    @property
    @override
    def truncated(self) -> bool:
        return not self._finished

    @override
    def usage(self) -> Any:
        return self._usage

    @override
    async def aclose(self) -> None:
        await self._answer.stream.aclose()


def _only_text(event: dict[str, Any]) -> str | None:
    """Return the text of a piece in OpenAI's form that has nothing else; None for any other."""
    try:
        (choice,) = event["choices"]
        delta = choice["delta"]
        text = delta["content"]
        plain = delta.keys() <= _TEXT and choice.get("finish_reason") is None
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
    has_more = event.get("usage") or event.get("error")
    return text if plain and isinstance(text, str) and not has_more else None


def _is_whole(event: dict[str, Any]) -> bool:
    """Whether it is a whole answer in OpenAI's form, and no piece of one."""
    choices = event.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    return isinstance(first, dict) and "message" in first and "delta" not in first
