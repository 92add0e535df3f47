"""How a call gets to the wire and back: what every way there offers the adapter."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from ..types import StreamChunk
from .params import Call


class OpenStream(ABC):
    """A stream that has begun."""

    @abstractmethod
    async def next(self) -> StreamChunk | None:
        """Return the next piece; None for one that says nothing to the consumer.

        Raises:
            StopAsyncIteration: There are no more.
            Exception: What LiteLLM raises.
        """

    @property
    @abstractmethod
    def truncated(self) -> bool:
        """Whether the upstream has not said that it is finished."""

    @abstractmethod
    async def drain(self) -> None:
        """Read what an upstream sends after its finish reason: usage, and the end."""

    @abstractmethod
    def usage(self) -> Any:
        """Return the usage that the upstream itself has sent, or None."""

    @abstractmethod
    async def aclose(self) -> None:
        """End it, and the upstream's work with it."""


class Dispatch(ABC):
    """A way to the wire; it raises what LiteLLM raises."""

    @abstractmethod
    async def complete(self, call: Call, *, request_id: str) -> Any:
        """Send one request; return LiteLLM's response."""

    @abstractmethod
    async def open_stream(self, call: Call, *, request_id: str) -> OpenStream:
        """Send one request; return its stream once that has begun."""
