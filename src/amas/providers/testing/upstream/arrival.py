"""A request as it arrives: which vendor's it is, and what its answer depends on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from .formats import find_route
from .formats.base import Call, Format, Route
from .recording import RecordedRequest, find_credential


@dataclass(frozen=True)
class Arrival:
    """A request with everything that its answer depends on.

    Attributes:
        call: The request.
        credential: Key it carries.
        serial: Its number at this upstream, from 1.
        created: Unix time in seconds.
        wire: Its format, or None when no vendor has such an endpoint.
        route: Its route, None along with the format.
    """

    call: Call
    credential: str | None = None
    serial: int = 1
    created: int = 0
    wire: Format | None = None
    route: Route | None = None

    @property
    def is_chat(self) -> bool:
        """Whether text is to be generated."""
        return self.route is not None and self.route.endpoint == "chat"

    @property
    def is_streamed(self) -> bool:
        """Whether a stream is asked for."""
        return self.wire is not None and self.is_chat and self.wire.wants_stream(self.call)


def receive(
    method: str,
    path: str,
    query: Mapping[str, str],
    headers: Mapping[str, str],
    body: bytes,
    *,
    arrived_at: float = 0.0,
    created: int = 0,
) -> tuple[Arrival, RecordedRequest]:
    """Find out what a request is.

    Args:
        method: HTTP method.
        path: Decoded path.
        query: Query parameters.
        headers: Case-insensitive mapping of the headers.
        body: Raw body.
        arrived_at: Loop time in seconds.
        created: Unix time in seconds.

    Returns:
        What its answer depends on (without a serial number), and its record.
    """
    content = _parsed(body)
    call = Call("", method, path, query, headers, content if isinstance(content, dict) else {})
    wire, route = None, None
    if found := find_route(call):
        wire, route, model = found
        model = model or str(call.body.get("model") or call.body.get("name") or "")
        call = replace(call, operation=route.operation, model=model)
    arrival = Arrival(call, find_credential(headers, query), 0, created, wire, route)
    record = RecordedRequest(
        method=method,
        path=path,
        query=query,
        headers=headers,
        body=body,
        json=content,
        vendor=wire.vendor if wire else "unknown",
        endpoint=route.endpoint if route else "other",
        model=call.model or None,
        stream=arrival.is_streamed,
        credential=arrival.credential,
        arrived_at=arrived_at,
    )
    return arrival, record


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body) if body else None
    except ValueError:
        return None
