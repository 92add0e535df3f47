"""One request and its answer in plain values, whoever makes them: httpx for LiteLLM, or ourselves."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import httpx
from typing_extensions import override

CONNECT_SECONDS = 10.0
"""How long a connection may take to come about."""

REFUSALS = 300
"""From this status on an answer is none."""


class EgressRefusedError(httpx.ConnectError):
    """A request may not go where it was to go; nothing of it has left."""


class Limits(NamedTuple):
    """How long the steps of a request may take, in seconds; None for any time.

    Args:
        connect: Until there is a connection.
        write: Until the request has been taken.
        read: Until the next piece of the answer.
    """

    connect: float = CONNECT_SECONDS
    write: float | None = None
    read: float | None = None

    @property
    def together(self) -> float | None:
        """Until the head of the answer has come."""
        return self.connect + self.write + self.read if self.write and self.read else None


NO_LIMITS = Limits()
"""A connection comes about in time; all else is up to who asks."""


@dataclass(slots=True, repr=False)
class Answer:
    """An answer, of which the head has come.

    Args:
        status: HTTP status.
        reason: The words beside it.
        version: Of HTTP.
        headers: By name, whatever its case; some may be there several times.
        stream: The body, piece by piece.
    """

    status: int
    reason: str
    version: str
    headers: Mapping[str, str]
    stream: httpx.AsyncByteStream

    @property
    def packed(self) -> bool:
        """Whether the body is compressed, although that was not asked for."""
        return "content-encoding" in self.headers

    async def read(self) -> bytes:
        """Read the whole body, and be done with it."""
        try:
            return b"".join([piece async for piece in self.stream])
        finally:
            await self.stream.aclose()

    def as_httpx(self, body: bytes | None = None) -> httpx.Response:
        """Return it as a response of httpx.

        Args:
            body: The body, if it has been read.
        """
        return httpx.Response(
            self.status,
            headers=[
                (name.encode(errors="surrogateescape"), value.encode(errors="surrogateescape"))
                for name, value in self.headers.items()
            ],
            content=body,
            stream=self.stream if body is None else None,
            extensions={
                "http_version": self.version.encode(),
                "reason_phrase": self.reason.encode("ascii", "ignore"),
            },
        )


class Transport(ABC):
    """Carries requests."""

    @abstractmethod
    async def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        limits: Limits = NO_LIMITS,
    ) -> Answer:
        """Send a request; return its answer, of which the head has come.

        Args:
            method: The method.
            url: The address, encoded.
            headers: The headers, but for those that follow from the address and the body.
            body: The body.
            limits: How long it may take.

        Raises:
            EgressRefusedError: It may not go there.
            httpx.TransportError: What else went wrong, in httpx's classes.
        """

    async def connect(self, url: str) -> None:  # noqa: B027 -- only who keeps connections can
        """Open a connection to an address and keep it for a request; none is made.

        Args:
            url: The address, encoded.

        Raises:
            EgressRefusedError: It may not go there.
            httpx.TransportError: What else went wrong, in httpx's classes.
        """

    @abstractmethod
    async def aclose(self) -> None:
        """End what is under way, and close all connections."""


class HttpxTransport(Transport):
    """One of httpx's transports, such as one whose answers are made up.

    Args:
        inner: Does the work.
    """

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self._inner = inner

    @override
    async def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        limits: Limits = NO_LIMITS,
    ) -> Answer:
        request = httpx.Request(method, url, headers=[*headers.items()], content=body)
        response = await self._inner.handle_async_request(request)
        assert isinstance(response.stream, httpx.AsyncByteStream)
        return Answer(
            response.status_code,
            response.reason_phrase,
            response.http_version,
            response.headers,
            response.stream,
        )

    @override
    async def aclose(self) -> None:
        await self._inner.aclose()
