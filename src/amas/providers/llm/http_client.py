"""The HTTP client that a provider owns, and what is seen of each request on the wire.

LiteLLM's exceptions say "status 500" for an answer it cannot read and for a
server that was never reached; what really happened is known here.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache

import httpx
from multidict import CIMultiDict
from typing_extensions import override

from ..errors import ProviderError
from ..observability.trace_context import trace_headers
from ..security.egress import Egress
from .answer import (
    CONNECT_SECONDS,
    NO_LIMITS,
    REFUSALS,
    Answer,
    EgressRefusedError,
    Limits,
    Transport,
)
from .bodies import bound, shorten, watch
from .stream_lines import StreamLines

# The finish reason in an answer's JSON, in the words of OpenAI, Anthropic, Gemini, Ollama and
# Bedrock. A text that contains the same has its quotes escaped.
_FINISH = re.compile(
    rb'"(?:finish_reason|stop_reason|finishReason|done_reason|stopReason)"\s*:\s*"([^"\\]{1,60})"'
)
_LONGEST_FINISH = 128


@dataclass(slots=True, repr=False)
class Wire:
    """What was seen of one call's request.

    Args:
        end_marker: Where LiteLLM cannot tell a truncated stream: the key of the finish reason.
        requests: How many requests have been sent.
        status: HTTP status of the answer; None while there is none.
        retry_after: The answer's ``Retry-After`` header.
        finish: The last finish reason in the answer, in the upstream's own word.
        lines: The answer's events, if it is a stream; None while there is no answer.
        refused: Why a request was not let out, if one was not.
        failure: What went wrong before the request itself could be sent, if something did.
    """

    end_marker: str | None = None
    requests: int = 0
    status: int | None = None
    retry_after: str | None = None
    finish: str | None = None
    lines: StreamLines | None = None
    refused: str | None = None
    failure: ProviderError | None = None
    _tail: bytes = b""

    @property
    def ended(self) -> bool:
        """Whether the upstream has said that it is finished."""
        return self.finish is not None

    @property
    def unreadable(self) -> bool:
        """Whether an event of the stream could not be read, which LiteLLM may pass over."""
        return self.lines is not None and self.lines.unreadable

    def answered(self, answer: Answer) -> None:
        """Note the head of an answer."""
        self.status = answer.status
        self.retry_after = answer.headers.get("retry-after")
        self.lines = StreamLines(answer.headers.get("content-type", ""))

    def feed(self, piece: bytes) -> None:
        """Look at the next piece of the body: for a finish reason, also across two of them."""
        if self.lines is not None:
            self.lines.feed(piece)
        text = self._tail + piece
        self.look(text)
        self._tail = text[-_LONGEST_FINISH:]

    def look(self, text: bytes) -> None:
        """Look for a finish reason in a whole body, or a whole event."""
        for found in _FINISH.finditer(text):
            self.finish = found[1].decode(errors="replace")


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


def wire_under_way() -> Wire:
    """Return what notes the requests made now."""
    return _current.get() or Wire()


def note_failure(error: ProviderError) -> None:
    """Leave word, for the call under way, of an error that LiteLLM may hide."""
    wire = _current.get()
    if wire is not None:
        wire.failure = error


class NotingTransport(httpx.AsyncBaseTransport):
    """A transport for httpx, and for ourselves, that notes what it sends and receives.

    Args:
        inner: Does the work.
    """

    def __init__(self, inner: Transport) -> None:
        self._inner = inner

    @override
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; what it is answered is looked into on the way to who asks."""
        answer = await self.send(
            request.method,
            address_of(request.url),
            _headers(request),
            await request.aread(),
            _limits(request),
            looks=True,
        )
        return answer.as_httpx()

    async def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        limits: Limits = NO_LIMITS,
        *,
        looks: bool = False,
    ) -> Answer:
        """Send a request, as ``Transport`` does.

        Args:
            method: The method.
            url: The address, encoded.
            headers: The headers, but for those that follow from the address and the body.
            body: The body.
            limits: How long it may take.
            looks: Whether the body is looked into as it comes; else who reads it does so.
        """
        wire = _current.get()
        if wire is None:
            return await self._inner.send(method, url, headers, body, limits)
        wire.requests += 1
        sent = CIMultiDict(headers)
        # A compressed answer could not be looked into, and may unpack to any size.
        sent["Accept-Encoding"] = "identity"
        sent.update(trace_headers.get())
        try:
            answer = await self._inner.send(method, url, sent, body, limits)
        except EgressRefusedError as error:
            wire.refused = str(error)
            raise
        if answer.status >= REFUSALS:
            shorten(answer)
        elif not answer.packed:
            bound(answer)
            if looks:
                watch(answer, wire.feed)
        wire.answered(answer)
        return answer

    async def connect(self, url: str) -> None:
        """Open a connection, as ``Transport`` does."""
        await self._inner.connect(url)

    @override
    async def aclose(self) -> None:
        """Close the inner transport."""
        await self._inner.aclose()


def address_of(url: httpx.URL) -> str:
    """Return an address as it is sent, encoded."""
    return (b"%b://%b%b" % (url.raw_scheme, url.netloc, url.raw_path)).decode("ascii")


def _headers(request: httpx.Request) -> CIMultiDict[str]:
    try:
        return CIMultiDict(
            (name.decode("ascii"), value.decode("ascii"))
            for name, value in request.headers.raw
            if name.lower() != b"transfer-encoding"  # the body is sent as a whole
        )
    except UnicodeDecodeError:
        raise httpx.LocalProtocolError("a header is not ASCII", request=request) from None


def _limits(request: httpx.Request) -> Limits:
    seconds = request.extensions.get("timeout", {})
    connect = min(seconds.get("connect") or CONNECT_SECONDS, CONNECT_SECONDS)
    return Limits(connect, seconds.get("write"), seconds.get("read"))


class HttpClient(httpx.AsyncClient):
    """A client that follows no redirect and takes nothing from the environment.

    Args:
        transport: What it sends through; requests may also be sent through that alone.
    """

    def __init__(self, transport: NotingTransport) -> None:
        super().__init__(
            transport=transport,
            follow_redirects=False,
            trust_env=False,
            timeout=httpx.Timeout(None, connect=CONNECT_SECONDS),
        )
        self.transport = transport


def open_http(egress: Egress) -> HttpClient:
    """Open a client.

    Blocking, for a thread: it imports aiohttp and reads the certificates from disk. Time
    limits are the caller's, but for a connection that does not come about.

    Args:
        egress: Where its requests may go.
    """
    from .aiohttp_transport import AiohttpTransport  # noqa: PLC0415 -- slow

    return HttpClient(NotingTransport(AiohttpTransport(_ssl_context(), egress)))


@cache
def _ssl_context() -> ssl.SSLContext:
    """Read the certificates that are trusted: once, they are the same for all providers."""
    context = httpx.create_ssl_context(trust_env=False)
    context.set_alpn_protocols(["http/1.1"])
    return context
