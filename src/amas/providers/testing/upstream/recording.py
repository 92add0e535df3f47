"""What the upstream remembers about each request it received."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from typing_extensions import override

_SCHEMES: Final = ("bearer ", "token ", "key ")
_AWS_KEY_ID: Final = re.compile(r"AWS4-HMAC-SHA256 Credential=([^/,\s]+)/")
_KEY_HEADERS: Final = ("x-api-key", "api-key", "x-goog-api-key")


@dataclass(repr=False, eq=False)
class RecordedRequest:
    """One request as it arrived, and how it ended.

    Attributes:
        method: HTTP method in capitals.
        path: URL path with every prefix, without the query.
        query: Query parameters.
        headers: Request headers; look-up ignores case.
        body: Raw body, after any Content-Encoding was undone.
        json: Parsed body, or None when it is not JSON.
        vendor: Wire format: "openai", "azure", "anthropic", "ollama", "gemini", "vertex",
            "google-token", "cohere", "bedrock" or "unknown".
        endpoint: "chat", "models", "embeddings", "token" or "other".
        model: Model named in the body or the path, or None.
        stream: Whether the client asked for a stream.
        credential: Key found in ``Authorization`` (of AWS's signatures the access key's id),
            ``x-api-key``, ``api-key``, ``x-goog-api-key`` or ``?key=`` (in that order), or None.
        arrived_at: Loop time in seconds when the headers were complete.
        aborted: The client left before its answer was complete.
        aborted_at: Loop time in seconds when that was noticed, or None.
        completed_at: Loop time in seconds when the answer had been sent as far as the fault in
            force allowed, or None while it is under way and when it never came to that.
    """

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    json: Any = None
    vendor: str = "unknown"
    endpoint: str = "other"
    model: str | None = None
    stream: bool = False
    credential: str | None = None
    arrived_at: float = 0.0
    aborted: bool = False
    aborted_at: float | None = None
    completed_at: float | None = None

    @override
    def __repr__(self) -> str:
        """Describe the request without its credential, headers, query or body."""
        outcome = "aborted" if self.aborted else "open" if self.completed_at is None else "done"
        key = "none" if self.credential is None else "hidden"
        return (
            f"RecordedRequest({self.method} {self.path}, vendor={self.vendor!r}, "
            f"endpoint={self.endpoint!r}, model={self.model!r}, stream={self.stream}, "
            f"credential={key}, {outcome})"
        )


def find_credential(headers: Mapping[str, str], query: Mapping[str, str]) -> str | None:
    """Find the API key of a request.

    Args:
        headers: Case-insensitive mapping of the request's headers.
        query: Query parameters.

    Returns:
        The key without its scheme word, or None when the request carries none.
    """
    authorization = headers.get("authorization", "").strip()
    for scheme in _SCHEMES:
        if authorization.lower().startswith(scheme):
            return authorization[len(scheme) :].strip() or None
    if signed := _AWS_KEY_ID.match(authorization):
        return signed[1]
    for name in _KEY_HEADERS:
        if value := headers.get(name, "").strip():
            return value
    return query.get("key") or None
