"""aiohttp's errors in httpx's classes, which LiteLLM and our own table of errors know."""

from __future__ import annotations

from dataclasses import dataclass

import aiohttp
import httpx
from aiohttp.http_exceptions import HttpProcessingError

from .answer import EgressRefusedError

# The first that fits; the classes of aiohttp are derived from each other.
_ERRORS: tuple[tuple[type[BaseException], type[httpx.TransportError]], ...] = (
    (EgressRefusedError, EgressRefusedError),
    (aiohttp.ConnectionTimeoutError, httpx.ConnectTimeout),
    (aiohttp.ServerTimeoutError, httpx.ReadTimeout),
    (aiohttp.ClientConnectorError, httpx.ConnectError),
    (aiohttp.ClientHttpProxyError, httpx.ProxyError),
    (aiohttp.ServerDisconnectedError, httpx.RemoteProtocolError),
    (aiohttp.ClientPayloadError, httpx.RemoteProtocolError),
    (aiohttp.ClientResponseError, httpx.RemoteProtocolError),
    (HttpProcessingError, httpx.RemoteProtocolError),
    (aiohttp.NonHttpUrlClientError, httpx.UnsupportedProtocol),
    (aiohttp.ClientConnectionError, httpx.ReadError),
    (OSError, httpx.ReadError),
    (ValueError, httpx.LocalProtocolError),  # a URL or a method that cannot be sent
    (aiohttp.ClientError, httpx.ReadError),
)


@dataclass(frozen=True, slots=True)
class Where:
    """Which request went wrong, for httpx's errors."""

    method: str
    url: str

    def request(self) -> httpx.Request:
        """Return it without its headers, which hold the key."""
        return httpx.Request(self.method, self.url)


def translated_error(error: BaseException, where: Where) -> httpx.TransportError | None:
    """Return an error of aiohttp, or of a socket, in httpx's words; None for any other."""
    for theirs, ours in _ERRORS:
        if isinstance(error, theirs):
            return ours(str(error) or type(error).__name__, request=where.request())
    return None
