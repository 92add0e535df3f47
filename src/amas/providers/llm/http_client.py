"""The HTTP client that a provider owns, and what is seen of each request on the wire.

LiteLLM's exceptions say "status 500" for an answer it cannot read and for a
server that was never reached; what really happened is known here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import httpx
from typing_extensions import override

_CONNECT_SECONDS = 10.0


@dataclass(slots=True)
class Wire:
    """What was seen of one call's request.

    Args:
        end_marker: JSON key to look for in the answer, where LiteLLM cannot tell a
            truncated stream. A text that contains it has its quotes escaped.
        requests: How many requests have been sent.
        status: HTTP status of the answer; None while there is none.
        retry_after: The answer's ``Retry-After`` header.
        ended: Whether the end marker has come.
    """

    end_marker: str | None = None
    requests: int = 0
    status: int | None = None
    retry_after: str | None = None
    ended: bool = False
    _tail: bytes = b""

    def answered(self, response: httpx.Response) -> None:
        """Note the head of an answer."""
        self.status = response.status_code
        self.retry_after = response.headers.get("retry-after")

    def feed(self, piece: bytes) -> None:
        """Look for the end marker in the next piece of the body, also across two of them."""
        wanted = f'"{self.end_marker}"'.encode()
        text = self._tail + piece
        self.ended = self.ended or wanted in text
        self._tail = text[-len(wanted) :]


_current: ContextVar[Wire | None] = ContextVar("amas_wire", default=None)


@contextmanager
def on_wire(wire: Wire) -> Iterator[None]:
    """Let the requests made within be noted."""
    token = _current.set(wire)
    try:
        yield
    finally:
        _current.reset(token)


def is_under_way() -> bool:
    """Tell whether the requests made now are noted: whether a call of ours makes them."""
    return _current.get() is not None


class NotingTransport(httpx.AsyncBaseTransport):
    """A transport that notes what it sends and receives.

    Args:
        inner: Does the work.
    """

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self._inner = inner

    @override
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request."""
        wire = _current.get()
        if wire is None:
            return await self._inner.handle_async_request(request)
        wire.requests += 1
        if wire.end_marker is not None:
            # A compressed answer would have to be unpacked to be looked into.
            request.headers["accept-encoding"] = "identity"
        response = await self._inner.handle_async_request(request)
        wire.answered(response)
        if wire.end_marker is not None and isinstance(response.stream, httpx.AsyncByteStream):
            response.stream = _Watched(response.stream, wire)
        return response

    @override
    async def aclose(self) -> None:
        """Close the inner transport."""
        await self._inner.aclose()


class _Watched(httpx.AsyncByteStream):
    def __init__(self, inner: httpx.AsyncByteStream, wire: Wire) -> None:
        self._inner = inner
        self._wire = wire

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._inner:
            self._wire.feed(piece)
            yield piece

    @override
    async def aclose(self) -> None:
        await self._inner.aclose()


def open_http() -> httpx.AsyncClient:
    """Open a client that follows no redirect and takes nothing from the environment.

    Blocking, for a thread: it reads the certificates from disk. Time limits are
    the caller's, but for a connection that does not come about.
    """
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=32)
    inner = httpx.AsyncHTTPTransport(limits=limits, trust_env=False)
    return httpx.AsyncClient(
        transport=NotingTransport(inner),
        follow_redirects=False,
        trust_env=False,
        timeout=httpx.Timeout(None, connect=_CONNECT_SECONDS),
    )
