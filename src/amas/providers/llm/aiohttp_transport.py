"""aiohttp's connections, which end when the call that uses them does.

httpcore, which httpx brings along, keeps connections of calls that were cancelled while
connecting (its issue 1093). Here whatever a call has opened is gone when the call is:
answered, failed, cancelled or left early.
"""

from __future__ import annotations

import asyncio
import io
import re
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Any
from weakref import WeakSet

import aiohttp
import httpx
from aiohttp.abc import ResolveResult
from aiohttp.connector import Connection
from typing_extensions import override
from yarl import URL

from ..security.egress import Egress
from .ahead import open_ahead
from .aiohttp_errors import Where, translated_error
from .answer import NO_LIMITS, Answer, EgressRefusedError, Limits, Transport

# Below the five seconds after which common servers (uvicorn, Node) hang up on who is silent:
# whoever sends into that moment cannot know whether the request was read.
_KEEP_ALIVE_SECONDS = 4.0
_CLOSE_SECONDS = 1.0
_LONGEST_HEADER = 64 * 1024
# From here on a body is written in pieces, between which the loop can do something else.
_LARGE_BODY = 64 * 1024
# aiohttp's own; whoever asks has put among the headers what belongs there.
_NO_HEADERS = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e]*")


class AiohttpTransport(Transport):
    """A pool of connections without redirects, cookies or headers of its own.

    It belongs to the loop of its first request. A request is sent once; only GET, which
    changes nothing, is sent again by aiohttp if the connection breaks before the answer.

    Args:
        ssl_context: Which certificates to trust.
        egress: Where requests may go. It is asked three times, each before a byte leaves:
            about the address of a request, about what a host resolves to, and about the
            very address that a socket is opened for.
    """

    def __init__(self, ssl_context: ssl.SSLContext, egress: Egress) -> None:
        self._ssl_context = ssl_context
        self._egress = egress
        self._session: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._closed = False
        self._timers: set[asyncio.Timeout] = set()
        self._bodies: WeakSet[_Body] = WeakSet()
        self._sockets: WeakSet[socket.socket] = WeakSet()

    @override
    async def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        limits: Limits = NO_LIMITS,
    ) -> Answer:
        where, seconds = Where(method, url), _seconds(limits)
        _check_headers(headers, where)
        address = _parsed(url)
        self._check_place(address, where)
        asked = self._through_proxy(address, headers)
        session = self._ensure_session()
        # aiohttp waits without limit for a body to be taken; all three can only end together.
        timer = asyncio.timeout(limits.together)
        try:
            async with timer:
                self._timers.add(timer)
                if self._sockets:
                    await _notice_closed_connections()
                answer = await session.request(
                    method,
                    address,
                    data=io.BytesIO(body) if len(body) > _LARGE_BODY else body or None,
                    allow_redirects=False,
                    timeout=seconds,
                    **asked,
                )
        except BaseException as error:
            translated = self._translate(error, timer, where)
            if translated is None:
                raise
            raise translated from error
        finally:
            self._timers.discard(timer)
        stream = _Body(answer, where)
        self._bodies.add(stream)
        return Answer(
            answer.status,
            answer.reason or "",
            "HTTP/1.0" if answer.version == (1, 0) else "HTTP/1.1",
            answer.headers,
            stream,
        )

    @override
    async def connect(self, url: str) -> None:
        where, address = Where("GET", url), _parsed(url)
        self._check_place(address, where)
        proxied = self._through_proxy(address, {})
        try:
            await open_ahead(
                self._ensure_session(), address, proxied.get("proxy"), proxied.get("proxy_headers")
            )
        except Exception as error:
            translated = translated_error(error, where)
            if translated is None:
                raise
            raise translated from error

    def _ensure_session(self) -> aiohttp.ClientSession:
        if self._closed:
            raise RuntimeError("the transport has been closed")
        if self._session is None:
            self._loop = asyncio.get_running_loop()
            connector = aiohttp.TCPConnector(
                ssl=self._ssl_context,
                limit=0,
                keepalive_timeout=_KEEP_ALIVE_SECONDS,
                resolver=_Resolver(self._egress),
                socket_factory=self._open_socket,
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers=_NO_HEADERS,
                auto_decompress=False,
                trust_env=False,
                response_class=_Answer,
                max_line_size=_LONGEST_HEADER,
                max_field_size=_LONGEST_HEADER,
            )
            self._keeper = self._loop.create_task(self._keep(self._loop), name="amas-http")
        return self._session

    async def _keep(self, loop: asyncio.AbstractEventLoop) -> None:
        """Close the connections when the loop ends: asyncio.run cancels what is left in it."""
        with suppress(asyncio.CancelledError):
            await loop.create_future()
        await self._end_session()

    def _check_place(self, url: URL, where: Where) -> None:
        """Refuse an address, as aiohttp reads it, that is not the provider's."""
        problem = self._egress.url_problem(url.scheme, url.raw_host or "", url.port or 0)
        if problem is not None:
            raise EgressRefusedError(problem, request=where.request())

    def _through_proxy(self, url: URL, headers: Mapping[str, str]) -> dict[str, Any]:
        """Return the headers, and the proxy if there is one.

        The credentials are for the proxy: within a tunnel the server would see them.
        """
        proxy = self._egress.proxy
        if proxy is None:
            return {"headers": headers}
        if proxy.authorization is None:
            return {"headers": headers, "proxy": proxy.url}
        shown = {"Proxy-Authorization": proxy.authorization.get_secret_value()}
        if url.scheme == "https":
            return {"headers": headers, "proxy": proxy.url, "proxy_headers": shown}
        return {"headers": [*headers.items(), *shown.items()], "proxy": proxy.url}

    def _open_socket(self, address: Any) -> socket.socket:
        """Open a socket for aiohttp, and remember it until it is closed."""
        family, kind, protocol, _, place = address
        problem = self._egress.socket_problem(str(place[0]))
        if problem is not None:
            raise EgressRefusedError(problem)
        opened = socket.socket(family, kind, protocol)
        self._sockets.add(opened)
        return opened

    def _translate(
        self, error: BaseException, timer: asyncio.Timeout, where: Where
    ) -> httpx.TransportError | None:
        if isinstance(error, asyncio.CancelledError):
            task = asyncio.current_task()
            if task is not None and not task.cancelling():
                # aiohttp's own: those who wait for a name are cancelled when it is closed.
                return httpx.ConnectError("the client has been closed", request=where.request())
        elif timer.expired() and isinstance(error, TimeoutError):
            if self._closed:
                return httpx.ConnectError("the client has been closed", request=where.request())
            return httpx.WriteTimeout("the request was not taken in time", request=where.request())
        return translated_error(error, where)

    @override
    async def aclose(self) -> None:
        """End what is under way, and wait until every socket is closed."""
        self._closed = True
        await self._end_session()
        keeper, self._keeper = self._keeper, None
        if keeper is not None and self._loop is asyncio.get_running_loop():
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)

    async def _end_session(self) -> None:
        session, self._session = self._session, None
        if session is None or self._loop is None:
            return
        if self._loop.is_closed():
            for orphan in list(self._sockets):
                orphan.close()
            with suppress(RuntimeError):  # what would have to be told to that loop
                await session.close()
            return
        for timer in self._timers:
            timer.reschedule(self._loop.time())
        for body in list(self._bodies):
            body.abort()
        for each in list(self._sockets):
            with suppress(OSError):  # closed already, or not connected yet
                # Its owner notices and closes it, also if it waits for a peer that is silent.
                each.shutdown(socket.SHUT_RDWR)
        await session.close()
        end = self._loop.time() + _CLOSE_SECONDS
        while self._busy() and self._loop.time() < end:  # noqa: ASYNC110 -- sockets tell nobody
            await asyncio.sleep(0.001)

    def _busy(self) -> bool:
        return bool(self._timers) or any(each.fileno() >= 0 for each in self._sockets)


class _Resolver(aiohttp.ThreadedResolver):
    """Looks names up, and refuses a host of whose addresses one is refused.

    aiohttp connects to the addresses that are returned here, and looks up nothing more: so a
    name cannot mean one address when it is checked and another when it is used.
    """

    def __init__(self, egress: Egress) -> None:
        super().__init__()
        self._egress = egress

    @override
    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await super().resolve(host, port, family)
        for each in found:
            problem = self._egress.address_problem(host, each["host"])
            if problem is not None:
                raise EgressRefusedError(problem)
        return found


class _Answer(aiohttp.ClientResponse):
    """An answer that takes its connection along if it does not come."""

    @override
    async def start(self, connection: Connection) -> aiohttp.ClientResponse:
        try:
            return await super().start(connection)
        except BaseException:
            _abort(connection)
            raise


class _Body(httpx.AsyncByteStream):
    """The body of an answer, piece by piece as it comes."""

    def __init__(self, answer: aiohttp.ClientResponse, where: Where) -> None:
        self._answer = answer
        self._where = where

    @override
    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            piece = await self._answer.content.readany()
        except BaseException as error:
            self.abort()
            translated = translated_error(error, self._where)
            if translated is None:
                raise
            raise translated from error
        if not piece:
            raise StopAsyncIteration
        return piece

    @override
    async def aclose(self) -> None:
        self.abort()

    def abort(self) -> None:
        """Give the rest up, if there is any, and the connection with it."""
        _abort(self._answer.connection)
        self._answer.close()


def _check_headers(headers: Mapping[str, str], where: Where) -> None:
    """Refuse a header that would not be one header."""
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
            raise httpx.LocalProtocolError(
                "a header has forbidden characters", request=where.request()
            )


@lru_cache(maxsize=256)
def _parsed(url: str) -> URL:
    """Read an address; a provider has one, or one for each of its models."""
    return URL(url, encoded=True)


@lru_cache(maxsize=256)
def _seconds(limits: Limits) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=None, connect=limits.connect, sock_read=limits.read)


async def _notice_closed_connections() -> None:
    """Let the loop hear of connections that their servers have closed, before one is used.

    What the kernel knows is read in the first of these turns and handled in the second.
    """
    for _ in range(2):
        await asyncio.sleep(0)


def _abort(connection: Connection | None) -> None:
    """Close a connection at once; closing it in order would wait until the peer reads."""
    if connection is not None and connection.transport is not None:
        connection.transport.abort()
