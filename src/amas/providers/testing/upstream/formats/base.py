"""What every wire format offers to the server."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any, ClassVar, Final

from ..chat import ChatRequest, Reply, Usage

Json = dict[str, Any]

DEFAULT_WINDOW: Final = 8192
"""Context window, in tokens, that is reported when the upstream has none of its own."""

_SHORTEST_SHOWN: Final = 12
_CODE_OF_STATUS: Final = {
    401: "invalid_api_key",
    402: "payment_required",
    403: "permission_denied",
    404: "model_not_found",
    408: "request_timeout",
    413: "request_too_large",
    429: "rate_limit_exceeded",
    502: "bad_gateway",
    503: "unavailable",
    504: "gateway_timeout",
    529: "overloaded",
}


@dataclass(frozen=True)
class Call:
    """A request on its way to a format: what the route told, and the parsed body."""

    operation: str
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Json
    model: str = ""


@dataclass(frozen=True)
class Turn:
    """A chat request with the reply it gets.

    Attributes:
        call: The request as it came.
        chat: What it asks for.
        reply: What the model says, made complete by ``compose``.
        serial: Number of the request at its upstream, from 1; makes ids unique.
        created: Unix time in seconds.
    """

    call: Call
    chat: ChatRequest
    reply: Reply
    serial: int
    created: int

    @property
    def usage(self) -> Usage:
        """Tokens of the turn."""
        return self.reply.usage or Usage(0, 0)

    def identifier(self, prefix: str) -> str:
        """Make up the id of an answer."""
        return f"{prefix}{self.serial:012d}"


@dataclass(frozen=True)
class Stream:
    """A streamed answer.

    Attributes:
        content_type: Its media type.
        opening: Frames before the content.
        pieces: Frames that carry content, each one chunk.
        closing: Frames with finish reason, usage and end marker.
    """

    content_type: str
    opening: Sequence[bytes] = ()
    pieces: Sequence[bytes] = ()
    closing: Sequence[bytes] = ()


@dataclass(frozen=True)
class KnownError:
    """An error as a vendor words it: status, kind (type), code and message template."""

    status: int
    kind: str
    message: str
    code: str | int | None = None


@dataclass(frozen=True)
class Problem:
    """An error to be reported: what went wrong, and what its message may mention."""

    code: str | None = None
    status: int | None = None
    message: str | None = None
    model: str = ""
    method: str = "POST"
    path: str = "/"
    credential: str | None = None
    echo_credential: bool = False
    tokens: int = 0
    window: int = DEFAULT_WINDOW


@dataclass(frozen=True)
class Listing:
    """What a model listing tells: names, and their context window in tokens."""

    models: Sequence[str]
    window: int = DEFAULT_WINDOW


def _any_call(_call: Call) -> bool:
    return True


@dataclass(frozen=True)
class Route:
    """Which requests an operation takes: method, end of the path, and a further condition.

    A group named ``model`` in the pattern is the model.
    """

    method: str
    pattern: str
    endpoint: str
    operation: str
    accepts: Callable[[Call], bool] = _any_call


class BadCall(Exception):  # noqa: N818 - an answer to a client, not a failure of this code
    """The request body does not fit the endpoint; the text is the vendor's message."""


class Format(ABC):
    """A vendor's wire format."""

    vendor: ClassVar[str]
    routes: ClassVar[Sequence[Route]]
    errors: ClassVar[Mapping[str, KnownError]]
    request_id_header: ClassVar[str] = "x-request-id"
    refuses_in_reply: ClassVar[bool] = False
    """Whether a refused prompt gets status 200 and a reply that says so."""

    def wants_stream(self, call: Call) -> bool:
        """Tell whether a chat request asks for a stream."""
        return bool(call.body.get("stream"))

    @abstractmethod
    def chat_request(self, call: Call) -> ChatRequest:
        """Read a chat request; raises BadCall when it is not one."""

    @abstractmethod
    def answer(self, turn: Turn) -> Json:
        """Write an unstreamed answer."""

    @abstractmethod
    def stream(self, turn: Turn) -> Stream:
        """Write a streamed answer."""

    @abstractmethod
    def without_choice(self, answer: Json) -> Json:
        """Take every choice out of an unstreamed answer."""

    def stream_without_choice(self, turn: Turn) -> Stream:
        """Write a streamed answer that has no choice; what remains is the frame around it."""
        return replace(self.stream(turn), pieces=())

    @abstractmethod
    def error_body(self, error: KnownError) -> Json:
        """Write an error."""

    def error_headers(self, error: KnownError) -> Mapping[str, str]:
        """Return headers that say more about an error; most vendors have none."""
        del error
        return {}

    @abstractmethod
    def models(self, listing: Listing) -> Json:
        """Write a model listing."""

    def embeddings(self, call: Call) -> Json:
        """Write embeddings, if there is a route; raises BadCall when there is nothing to embed."""
        raise NotImplementedError

    def other(self, call: Call, listing: Listing) -> Json:
        """Write the answer of an endpoint of the vendor's own, if its routes have such."""
        raise NotImplementedError

    @abstractmethod
    def stream_error(self, error: KnownError, call: Call) -> bytes:
        """Write an error that arrives within a stream."""

    def with_code(self, error: KnownError, code: str) -> KnownError:
        """Put a code of the user's own into an error."""
        return replace(error, code=code)

    def resolve(self, problem: Problem) -> KnownError:
        """Find the vendor's words for a problem.

        Args:
            problem: What went wrong. A code no vendor knows is taken over as it is.

        Returns:
            The error with its final status and message.
        """
        code = problem.code or _code_of(problem.status)
        known = self.errors.get(code) or self.with_code(self.errors[_code_of(problem.status)], code)
        message = problem.message or known.message.format(
            model=problem.model,
            method=problem.method,
            path=problem.path,
            tokens=problem.tokens,
            window=problem.window,
            key=masked(problem.credential),
        )
        if problem.echo_credential:
            message += f" (received credential: {problem.credential})"
        return replace(known, status=problem.status or known.status, message=message)


def _code_of(status: int | None) -> str:
    status = status or HTTPStatus.BAD_REQUEST
    server_side = status >= HTTPStatus.INTERNAL_SERVER_ERROR
    return _CODE_OF_STATUS.get(status, "server_error" if server_side else "invalid_request")


def masked(credential: str | None) -> str:
    """Mask a key as OpenAI does in its error messages: first three and last four characters."""
    if not credential or len(credential) < _SHORTEST_SHOWN:
        return "*" * len(credential or "")
    return f"{credential[:3]}{'*' * (len(credential) - 7)}{credential[-4:]}"


def dumps(value: Any) -> bytes:
    """Encode JSON compactly, as the vendors do."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def sse(data: Any, event: str | None = None) -> bytes:
    """Encode one server-sent event."""
    head = f"event: {event}\n".encode() if event else b""
    return head + b"data: " + (data if isinstance(data, bytes) else dumps(data)) + b"\n\n"


def ndjson(value: Any) -> bytes:
    """Encode one line of newline-delimited JSON."""
    return dumps(value) + b"\n"


def text_of(content: Any) -> str:
    """Join the text parts of a message's content, whatever its nesting."""
    if isinstance(content, str):
        return content
    if isinstance(content, Mapping):
        return text_of(content.get("text") or content.get("content") or content.get("parts"))
    if isinstance(content, Sequence):
        return " ".join(filter(None, map(text_of, content)))
    return ""


def first_of(mapping: Mapping[str, Any], *names: str) -> Any:
    """Return the first value present under one of several spellings of a name, else None."""
    return next((mapping[name] for name in names if mapping.get(name) is not None), None)


def messages_of(body: Json, name: str = "messages") -> list[Json]:
    """Return the non-empty list of messages of a body; raises BadCall when there is none."""
    value = body.get(name)
    if not isinstance(value, list) or not value:
        raise BadCall(f"{name}: a list with at least one message is required")
    if not all(isinstance(item, dict) for item in value):
        raise BadCall(f"{name}: every message must be an object")
    return value


def model_of(body: Json) -> str:
    """Return the model named in a body; raises BadCall when there is none."""
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise BadCall("you must provide a model parameter")
    return model


def ends_with(pattern: str, path: str) -> re.Match[str] | None:
    """Match a route's pattern against the end of a path."""
    return re.search(f"(?:{pattern})/*$", path)
