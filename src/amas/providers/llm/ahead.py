"""A connection that is open before there is a request for it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from .answer import CONNECT_SECONDS


async def open_ahead(
    session: aiohttp.ClientSession,
    url: URL,
    proxy: str | None,
    proxy_headers: Mapping[str, str] | None,
) -> None:
    """Open a connection as a request to an address would, and leave it in the pool; send nothing.

    aiohttp's session opens one only to send on it, so its connector is asked, for what a session
    asks it for. Name, socket and TLS go through the same checks; a pooled connection is enough.

    Args:
        session: Whose pool.
        url: The address.
        proxy: Address of the proxy; None for none.
        proxy_headers: What a tunnel through the proxy is asked for with.

    Raises:
        aiohttp.ClientError: It did not come about.
    """
    connector = session.connector
    assert connector is not None
    # The pool goes by host, TLS and proxy; the method makes no difference.
    wanted = aiohttp.ClientRequest(
        "GET",
        url,
        loop=asyncio.get_running_loop(),
        proxy=None if proxy is None else URL(proxy),
        proxy_headers=CIMultiDict(proxy_headers or {}),
    )
    seconds = aiohttp.ClientTimeout(total=None, connect=CONNECT_SECONDS)
    (await connector.connect(wanted, [], seconds)).release()
