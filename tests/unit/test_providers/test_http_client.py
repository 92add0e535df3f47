"""The HTTP client that providers own, and what it notes of each request."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator

import httpx
import pytest
from typing_extensions import override

from amas.providers.llm import bodies
from amas.providers.llm.answer import HttpxTransport
from amas.providers.llm.http_client import (
    NotingTransport,
    Wire,
    is_under_way,
    on_wire,
    open_http,
)
from amas.providers.security.egress import Egress
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
        ([b'{"', b"finishReason", b'" :"', b'STOP"'], True),
        ([b'{"finishReason": null}'], False),
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
    transport = NotingTransport(HttpxTransport(inner))
    wire = Wire()
    await transport.handle_async_request(REQUEST)
    assert not is_under_way()
    with on_wire(wire):
        assert is_under_way()
        await transport.handle_async_request(REQUEST)
        await transport.handle_async_request(REQUEST)
    assert not is_under_way()
    assert (wire.requests, wire.status, wire.retry_after) == (2, 429, "7")
    assert inner.requests[-1].headers["accept-encoding"] == "identity"
    await transport.aclose()
    assert inner.closed


async def test_watched_answers_pass_through_unchanged() -> None:
    """A body that is looked into is asked for uncompressed, arrives whole and is closed."""
    body = Pieces(b'{"finishRea', b'son": "STOP"}')
    inner = Fixed(httpx.Response(200, stream=body))
    wire = Wire(end_marker="finishReason")
    with on_wire(wire):
        response = await NotingTransport(HttpxTransport(inner)).handle_async_request(REQUEST)
    assert inner.requests[0].headers["accept-encoding"] == "identity"
    assert isinstance(response.stream, httpx.AsyncByteStream)
    assert [piece async for piece in response.stream] == list(body.pieces)
    await response.aclose()
    assert wire.ended
    assert body.closed


@pytest.mark.parametrize("cut", range(12))
async def test_line_ends_that_json_does_not_know_are_escaped(cut: int) -> None:
    """What Python takes for the end of a line reaches LiteLLM as a JSON escape, wherever it is cut."""
    text = '"a\u2028b\u2029c\x85d"'.encode()
    inner = Fixed(httpx.Response(200, stream=Pieces(text[:cut], text[cut:])))
    with on_wire(Wire()):
        response = await NotingTransport(HttpxTransport(inner)).handle_async_request(REQUEST)
    assert isinstance(response.stream, httpx.AsyncByteStream)
    body = b"".join([piece async for piece in response.stream])
    assert body == rb'"a\u2028b\u2029c\u0085d"'


async def test_answer_that_ends_within_a_character_is_passed_on() -> None:
    """Nothing of a truncated body is held back for good."""
    inner = Fixed(httpx.Response(200, stream=Pieces(b"a\xe2\x80")))
    with on_wire(Wire()):
        response = await NotingTransport(HttpxTransport(inner)).handle_async_request(REQUEST)
    assert isinstance(response.stream, httpx.AsyncByteStream)
    assert b"".join([piece async for piece in response.stream]) == b"a\xe2\x80"


@pytest.mark.parametrize(
    ("headers", "length"), [({}, 64 * 1024), ({"content-encoding": "gzip"}, 0)]
)
async def test_error_bodies_are_bounded(headers: dict[str, str], length: int) -> None:
    """An error's body ends after 64 KB, and a compressed one is not unpacked at all."""
    pieces = Pieces(*[b"x" * 50_000] * 10)
    inner = Fixed(httpx.Response(400, headers=headers, stream=pieces))
    with on_wire(Wire()):
        response = await NotingTransport(HttpxTransport(inner)).handle_async_request(REQUEST)
    assert len(await response.aread()) == length
    await response.aclose()
    assert pieces.closed


async def test_endless_answer_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer larger than any model gives is a broken one."""
    monkeypatch.setattr(bodies, "_LONGEST_ANSWER", 10)
    inner = Fixed(httpx.Response(200, stream=Pieces(b"123456", b"123456")))
    with on_wire(Wire()):
        response = await NotingTransport(HttpxTransport(inner)).handle_async_request(REQUEST)
    with pytest.raises(httpx.RemoteProtocolError, match="over 10 bytes"):
        await response.aread()


async def test_compressed_answer_is_left_to_httpx() -> None:
    """A server that compresses although asked not to is understood all the same."""
    packed = gzip.compress(b'{"finish_reason": "stop"}')
    head = {"content-encoding": "gzip"}
    inner = Fixed(httpx.Response(200, headers=head, stream=Pieces(packed)))
    wire = Wire()
    with on_wire(wire):
        response = await NotingTransport(HttpxTransport(inner)).handle_async_request(REQUEST)
    assert await response.aread() == b'{"finish_reason": "stop"}'
    assert wire.finish is None


async def test_client_follows_nothing_and_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither redirects nor the environment's proxies and .netrc change where requests go."""
    async with Upstream("up") as up, Upstream("elsewhere") as elsewhere:
        for name in ("HTTP_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
            monkeypatch.setenv(name, elsewhere.url)
        up.fault(redirect=elsewhere.url, on="any")
        async with open_http(Egress.of(up.url)) as http:
            assert (await http.get(f"{up.url}/v1/models")).status_code == 307
            assert (await http.get(f"{up.url}/v1/models")).status_code == 200
            assert http.timeout == httpx.Timeout(None, connect=10.0)
        assert elsewhere.requests == []
        assert "authorization" not in up.requests[0].headers
