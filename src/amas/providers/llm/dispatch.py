"""How a call gets to the wire and back: what every way there offers the adapter."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from ..types import GenerationResult, StreamChunk
from .params import Call


class OpenStream(ABC):
    """A stream that has begun."""

    def take(self) -> StreamChunk | None:
        """Return a piece that has come already, without waiting; None if there is none.

        Raises:
            Exception: What LiteLLM raises.
        """
        return None

    @abstractmethod
    async def next(self) -> StreamChunk | None:
        """Return the next piece; None for one that says nothing to the consumer.

        After the finish reason come the usage and the end; of some upstreams, also more text.

        Raises:
            StopAsyncIteration: There are no more.
            Exception: What LiteLLM raises.
        """

    @property
    @abstractmethod
    def truncated(self) -> bool:
        """Whether the upstream has not said that it is finished."""

    @abstractmethod
    def usage(self) -> Any:
        """Return the usage that the upstream itself has sent, or None."""

    @abstractmethod
    async def aclose(self) -> None:
        """End it, and the upstream's work with it."""


class Dispatch(ABC):
    """A way to the wire; it raises what LiteLLM raises."""

    @abstractmethod
    async def complete(self, call: Call, *, request_id: str) -> tuple[GenerationResult, Any]:
        """Send one request; return what has come of it, and the usage in LiteLLM's form."""

    @abstractmethod
    async def open_stream(self, call: Call, *, request_id: str) -> OpenStream:
        """Send one request; return its stream once that has begun."""
