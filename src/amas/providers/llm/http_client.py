"""The HTTP client that a provider owns, and what is seen of each request on the wire.

LiteLLM's exceptions say "status 500" for an answer it cannot read and for a
server that was never reached; what really happened is known here.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import httpx
from typing_extensions import override

from ..errors import ProviderError
from ..observability.trace_context import trace_headers
from ..secret import scrub
from ..security.egress import Egress
from .stream_lines import StreamLines

# The finish reason in an answer's JSON, in the words of OpenAI, Anthropic, Gemini, Ollama and
# Bedrock. A text that contains the same has its quotes escaped.
_FINISH = re.compile(
    rb'"(?:finish_reason|stop_reason|finishReason|done_reason|stopReason)"\s*:\s*"([^"\\]{1,60})"'
)
_LONGEST_FINISH = 128
# Line ends to Python, but not to JSON: LiteLLM would cut an event in two there, and lose it.
_LINE_ENDS = {
    b"\xe2\x80\xa8": b"\\u2028",
    b"\xe2\x80\xa9": b"\\u2029",
    b"\xc2\x85": b"\\u0085",
}
_BEGINNINGS = (b"\xe2\x80", b"\xe2", b"\xc2")
_REFUSALS = 300
_LONGEST_REFUSAL = 64 * 1024
_LONGEST_ANSWER = 64 * 1024 * 1024

CONNECT_SECONDS = 10.0
"""How long a connection may take to come about."""


class EgressRefusedError(httpx.ConnectError):
    """A request may not go where it was to go; nothing of it has left."""


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

    def answered(self, response: httpx.Response) -> None:
        """Note the head of an answer."""
        self.status = response.status_code
        self.retry_after = response.headers.get("retry-after")
        self.lines = StreamLines(response.headers.get("content-type", ""))

    def feed(self, piece: bytes) -> None:
        """Look at the next piece of the body: for a finish reason, also across two of them."""
        if self.lines is not None:
            self.lines.feed(piece)
        text = self._tail + piece
        for found in _FINISH.finditer(text):
            self.finish = found[1].decode(errors="replace")
        self._tail = text[-_LONGEST_FINISH:]


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


def note_failure(error: ProviderError) -> None:
    """Leave word, for the call under way, of an error that LiteLLM may hide."""
    wire = _current.get()
    if wire is not None:
        wire.failure = error


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
        # A compressed answer could not be looked into, and may unpack to any size.
        request.headers["accept-encoding"] = "identity"
        request.headers.update(trace_headers.get())
        try:
            response = await self._inner.handle_async_request(request)
        except EgressRefusedError as error:
            wire.refused = str(error)
            raise
        if response.status_code >= _REFUSALS:
            _scrub_head(response)
        wire.answered(response)
        if isinstance(response.stream, httpx.AsyncByteStream):
            if response.status_code >= _REFUSALS:
                packed = "content-encoding" in response.headers
                response.stream = _Refusal(response.stream, 0 if packed else _LONGEST_REFUSAL)
                response.headers.pop("content-encoding", None)
            elif "content-encoding" not in response.headers:
                binary = "eventstream" in response.headers.get("content-type", "")
                response.stream = _Watched(response.stream, wire, binary=binary)
        return response

    @override
    async def aclose(self) -> None:
        """Close the inner transport."""
        await self._inner.aclose()


class _Body(httpx.AsyncByteStream):
    def __init__(self, inner: httpx.AsyncByteStream) -> None:
        self._inner = inner

    @override
    async def aclose(self) -> None:
        await self._inner.aclose()


class _Refusal(_Body):
    """The beginning of an error's body: nobody needs more, and reading it all takes long.

    It is scrubbed here, so that no library sees, logs or keeps a key that is repeated in it.
    """

    def __init__(self, inner: httpx.AsyncByteStream, longest: int) -> None:
        super().__init__(inner)
        self._longest = longest

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._longest == 0:
            return
        body = bytearray()
        async for piece in self._inner:
            body += piece
            if len(body) >= self._longest:
                break
        # Cut after it has been scrubbed: half a key is not found any more.
        yield _scrubbed(bytes(body))[: self._longest]


def _scrub_head(response: httpx.Response) -> None:
    """Take secrets that a refusal repeats out of its headers and its reason."""
    response.headers = httpx.Headers(
        [(name, _scrubbed(value)) for name, value in response.headers.raw]
    )
    reason = response.extensions.get("reason_phrase", b"")
    response.extensions["reason_phrase"] = _scrubbed(reason)


def _scrubbed(data: bytes) -> bytes:
    text = data.decode(errors="surrogateescape")
    masked = scrub(text)
    return data if masked == text else masked.encode(errors="surrogateescape")


class _Watched(_Body):
    """The body of an answer, looked into, bounded, and without what LiteLLM trips over.

    Frames of bytes (Bedrock's streams) are left as they are: they carry their own checksums.
    """

    def __init__(self, inner: httpx.AsyncByteStream, wire: Wire, *, binary: bool) -> None:
        super().__init__(inner)
        self._wire = wire
        self._replaced = {} if binary else _LINE_ENDS
        self._held_back = () if binary else _BEGINNINGS

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        held, size = b"", 0
        async for piece in self._inner:
            size += len(piece)
            if size > _LONGEST_ANSWER:
                raise httpx.RemoteProtocolError(f"the answer is over {_LONGEST_ANSWER} bytes long")
            text = held + piece
            held = next((end for end in self._held_back if text.endswith(end)), b"")
            text = text[: len(text) - len(held)]
            for line_end, escaped in self._replaced.items():
                text = text.replace(line_end, escaped)
            self._wire.feed(text)
            if text:
                yield text
        if held:
            yield held


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

    ssl_context = httpx.create_ssl_context(trust_env=False)
    ssl_context.set_alpn_protocols(["http/1.1"])
    return HttpClient(NotingTransport(AiohttpTransport(ssl_context, egress)))
