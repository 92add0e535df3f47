"""The HTTP client that providers own, and what it notes of each request."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from typing_extensions import override

from amas.providers.llm.http_client import (
    NotingTransport,
    Wire,
    is_under_way,
    on_wire,
    open_http,
)
from amas.providers.testing.upstream import Upstream


class Pieces(httpx.AsyncByteStream):
    def __init__(self, *pieces: bytes) -> None:
        self.pieces = pieces
        self.closed = False

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            yield piece

    @override
    async def aclose(self) -> None:
        self.closed = True


class Fixed(httpx.AsyncBaseTransport):
    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self.requests: list[httpx.Request] = []
        self.closed = False

    @override
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return self.response

    @override
    async def aclose(self) -> None:
        self.closed = True


REQUEST = httpx.Request("GET", "http://host.invalid/", headers={"accept-encoding": "gzip"})


@pytest.mark.parametrize(
    ("pieces", "ended"),
    [
        ([b'{"finishReason": "STOP"}'], True),
        ([b'{"finish', b'Reason": "STOP"}'], True),
        ([b'..."', b"finishReason", b'"...'], True),
        ([b'{"text": "say \\"finishReason\\" "}'], False),
        ([b"finishReason"], False),
        ([], False),
    ],
)
def test_end_marker(pieces: list[bytes], *, ended: bool) -> None:
    """The marker is found as a JSON key, also across pieces, and never within a text."""
    wire = Wire(end_marker="finishReason")
    for piece in pieces:
        wire.feed(piece)
    assert wire.ended is ended


async def test_requests_are_noted_while_under_way() -> None:
    """Number, status and Retry-After of requests made within are seen, of others nothing."""
    inner = Fixed(httpx.Response(429, headers={"Retry-After": "7"}))
    transport = NotingTransport(inner)
    wire = Wire()
    await transport.handle_async_request(REQUEST)
    assert not is_under_way()
    with on_wire(wire):
        assert is_under_way()
        await transport.handle_async_request(REQUEST)
        await transport.handle_async_request(REQUEST)
    assert not is_under_way()
    assert (wire.requests, wire.status, wire.retry_after) == (2, 429, "7")
    assert inner.requests[-1].headers["accept-encoding"] == "gzip"
    await transport.aclose()
    assert inner.closed


async def test_watched_answers_pass_through_unchanged() -> None:
    """A body that is looked into is asked for uncompressed, arrives whole and is closed."""
    body = Pieces(b'{"finishRea', b'son": 1}')
    inner = Fixed(httpx.Response(200, stream=body))
    wire = Wire(end_marker="finishReason")
    with on_wire(wire):
        response = await NotingTransport(inner).handle_async_request(REQUEST)
    assert inner.requests[0].headers["accept-encoding"] == "identity"
    assert isinstance(response.stream, httpx.AsyncByteStream)
    assert [piece async for piece in response.stream] == list(body.pieces)
    await response.aclose()
    assert wire.ended
    assert body.closed


async def test_client_follows_nothing_and_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither redirects nor the environment's proxies and .netrc change where requests go."""
    async with Upstream("up") as up, Upstream("elsewhere") as elsewhere:
        for name in ("HTTP_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
            monkeypatch.setenv(name, elsewhere.url)
        up.fault(redirect=elsewhere.url, on="any")
        async with open_http() as http:
            assert (await http.get(f"{up.url}/v1/models")).status_code == 307
            assert (await http.get(f"{up.url}/v1/models")).status_code == 200
            assert http.timeout == httpx.Timeout(None, connect=10.0)
        assert elsewhere.requests == []
        assert "authorization" not in up.requests[0].headers
