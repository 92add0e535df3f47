"""Work out what is sent for a request, faults included; nothing here touches a socket."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any, Final, Literal
from urllib.parse import quote, urlencode

from .arrival import Arrival
from .chat import ChatRequest, Reply, ReplySource, compose
from .faults import Fault
from .formats import FALLBACK
from .formats.base import (
    DEFAULT_WINDOW,
    BadCall,
    Call,
    Format,
    Listing,
    Problem,
    Stream,
    Turn,
    dumps,
)

_ECHO_HEADER: Final = "x-received-credential"
_BROKEN_BYTES: Final = 8


@dataclass(frozen=True)
class Settings:
    """How an upstream answers when no fault is in force.

    Attributes:
        name: Name that the default reply gives.
        reply: Where replies come from.
        keys: Keys that are accepted; None accepts all.
        models: Models in the listing; others are answered all the same.
        context_window: Longest prompt in tokens, or None for no limit.
    """

    name: str = "upstream"
    reply: ReplySource = None
    keys: Collection[str] | None = None
    models: Sequence[str] = ()
    context_window: int | None = None


@dataclass(frozen=True)
class Answer:
    """What is to be sent, and how it ends.

    Attributes:
        status: HTTP status.
        content_type: Media type, or None when there is no body.
        headers: Further headers.
        opening: First frames, sent without a pause.
        pieces: Chunks, with pauses between them.
        closing: Last frames, sent without a pause.
        streamed: Whether the pieces are chunks of a stream (else of one body).
        length: Value of Content-Length; None sends chunked.
        ending: "clean", "cut" (the connection is broken) or "stall" (it is held open).
    """

    status: int = 200
    content_type: str | None = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    opening: Sequence[bytes] = ()
    pieces: Sequence[bytes] = ()
    closing: Sequence[bytes] = ()
    streamed: bool = False
    length: int | None = None
    ending: Literal["clean", "cut", "stall"] = "clean"


def authorise(arrival: Arrival, settings: Settings) -> Answer | None:
    """Check the key of a request.

    Returns:
        The vendor's refusal, or None when the key is accepted.
    """
    keys = {settings.keys} if isinstance(settings.keys, str) else settings.keys
    if arrival.wire is None or keys is None or arrival.credential in keys:
        return None
    if arrival.route is not None and arrival.route.endpoint == "token":
        return None  # who asks for a token has none yet
    code = "invalid_api_key" if arrival.credential else "missing_api_key"
    return _refuse(arrival, _problem(arrival, settings, code=code))


def answer(arrival: Arrival, settings: Settings, fault: Fault | None) -> Answer:
    """Work out the answer to a request.

    Args:
        arrival: The request.
        settings: The upstream's settings.
        fault: Fault in force; its delays, ``hang`` and ``reset`` are not dealt with here.

    Returns:
        What to send.
    """
    if fault is None:
        return _usual(arrival, settings, None)
    if fault.redirect is not None:
        return _redirect(arrival, fault)
    if fault.is_error and _is_plain_error(arrival, fault):
        sent = _refuse(arrival, _problem_of(arrival, settings, fault))
        sent = _as_html(sent) if fault.malformed else sent
    else:
        sent = _usual(arrival, settings, fault)
        sent = _broken(sent) if fault.malformed else sent
    headers = dict(sent.headers)
    if fault.retry_after is not None:
        headers["Retry-After"] = _seconds(fault.retry_after)
    if fault.echo_key:
        headers[_ECHO_HEADER] = arrival.credential or ""
    return _interrupted(replace(sent, headers=headers), arrival, settings, fault)


def _is_plain_error(arrival: Arrival, fault: Fault) -> bool:
    """Tell an error answer from an event within a stream, or a refusal within a reply."""
    if fault.stream_error_after is not None:
        return not arrival.is_streamed
    refusal = fault.code == "content_filter" and fault.status is None
    return not (refusal and arrival.wire is not None and arrival.wire.refuses_in_reply)


def _chat_of(call: Call, wire: Format) -> ChatRequest:
    try:
        return wire.chat_request(call)
    except (AttributeError, KeyError, TypeError) as error:
        raise BadCall(f"the request body is not valid: {error!r}") from None


def _usual(arrival: Arrival, settings: Settings, fault: Fault | None) -> Answer:
    """Answer without any error, but with the fault's way of leaving things out."""
    wire, route = arrival.wire, arrival.route
    if wire is None or route is None:
        return _refuse(arrival, _problem(arrival, settings, code="unknown_url"))
    empty = fault.empty if fault else False
    listing = Listing(() if empty else settings.models, settings.context_window or DEFAULT_WINDOW)
    try:
        if route.endpoint == "chat":
            return _chat_answer(arrival, wire, settings, fault)
        if route.endpoint == "models":
            return _body(wire.models(listing))
        if route.endpoint == "embeddings":
            return _body({} if empty else wire.embeddings(arrival.call))
        return _body(wire.other(arrival.call, listing))
    except BadCall as error:
        problem = _problem(arrival, settings, code="invalid_request", message=str(error))
        return _refuse(arrival, problem)


def _chat_answer(arrival: Arrival, wire: Format, settings: Settings, fault: Fault | None) -> Answer:
    chat = _chat_of(arrival.call, wire)
    if settings.context_window is not None and chat.prompt_tokens > settings.context_window:
        problem = _problem(arrival, settings, code="context_length_exceeded")
        return _refuse(arrival, replace(problem, tokens=chat.prompt_tokens))
    try:
        reply = compose(chat, _source(settings, fault), settings.name)
    except Exception as error:  # noqa: BLE001 - whatever the user's callable raises fails the model
        message = f"the reply callable raised {error!r}"
        problem = _problem(arrival, settings, code="server_error", message=message)
        return _refuse(arrival, problem)
    turn = Turn(arrival.call, chat, reply, arrival.serial, arrival.created)
    without_choice = fault is not None and fault.empty is True
    headers = {wire.request_id_header: turn.identifier("req_")}
    if chat.stream:
        stream = wire.stream_without_choice(turn) if without_choice else wire.stream(turn)
        return _streamed(stream, headers)
    content = wire.answer(turn)
    return replace(
        _body(wire.without_choice(content) if without_choice else content), headers=headers
    )


def _source(settings: Settings, fault: Fault | None) -> ReplySource:
    if fault is not None and fault.empty:
        return lambda _: Reply(None)
    if fault is not None and fault.code == "content_filter" and fault.stream_error_after is None:
        return lambda _: Reply(None, finish_reason="content_filter")
    return settings.reply


def _body(content: Any, status: int = 200) -> Answer:
    body = dumps(content)
    return Answer(status, pieces=[body], length=len(body))


def _streamed(stream: Stream, headers: Mapping[str, str]) -> Answer:
    return Answer(
        content_type=stream.content_type,
        headers=headers,
        opening=stream.opening,
        pieces=stream.pieces,
        closing=stream.closing,
        streamed=True,
    )


def _problem(
    arrival: Arrival, settings: Settings, *, code: str | None, message: str | None = None
) -> Problem:
    window = settings.context_window or DEFAULT_WINDOW
    return Problem(
        code=code,
        message=message,
        model=arrival.call.model,
        method=arrival.call.method,
        path=arrival.call.path,
        credential=arrival.credential,
        tokens=window + 1,
        window=window,
    )


def _problem_of(arrival: Arrival, settings: Settings, fault: Fault) -> Problem:
    code, status = fault.code, fault.status
    if code is None and status is None:
        code = "invalid_api_key" if fault.echo_key else "server_error"
    problem = _problem(arrival, settings, code=code, message=fault.message)
    return replace(problem, status=status, echo_credential=fault.echo_key)


def _refuse(arrival: Arrival, problem: Problem) -> Answer:
    wire = arrival.wire or FALLBACK
    known = wire.resolve(problem)
    headers = {
        wire.request_id_header: f"req_{arrival.serial:012d}",
        **wire.error_headers(known),
    }
    return replace(_body(wire.error_body(known), known.status), headers=headers)


def _redirect(arrival: Arrival, fault: Fault) -> Answer:
    target = fault.redirect or ""
    if not target.partition("://")[2].partition("/")[2]:
        query = urlencode(list(arrival.call.query.items()))
        target = target.rstrip("/") + quote(arrival.call.path, safe="/:")
        target += f"?{query}" if query else ""
    headers = {"Location": target}
    return Answer(fault.redirect_status, content_type=None, headers=headers, length=0)


def _interrupted(sent: Answer, arrival: Arrival, settings: Settings, fault: Fault) -> Answer:
    """Apply the faults that end an answer before its time."""
    after = (fault.cut_after, fault.truncate_after, fault.stall_after, fault.stream_error_after)
    limit = next((count for count in after if count is not None), None)
    if limit is None:
        return sent
    ending: Literal["clean", "cut", "stall"] = "clean"
    if fault.cut_after is not None:
        ending = "cut"
    elif fault.stall_after is not None:
        ending = "stall"
    if sent.streamed:
        closing: list[bytes] = []
        if fault.stream_error_after is not None:
            wire = arrival.wire or FALLBACK
            known = wire.resolve(_problem_of(arrival, settings, fault))
            closing = [wire.stream_error(known, arrival.call)]
        return replace(sent, pieces=sent.pieces[:limit], closing=closing, ending=ending)
    if fault.stream_error_after is not None:
        return sent
    halves = [piece[: len(piece) // 2] for piece in sent.pieces]
    length = None if ending == "clean" else sent.length
    return replace(sent, pieces=halves, length=length, ending=ending)


def _broken(sent: Answer) -> Answer:
    """Make the JSON of an answer invalid: of a stream, that of its first chunk."""
    if not sent.streamed:
        pieces = [_without_end(piece) for piece in sent.pieces]
        return replace(sent, pieces=pieces, length=sum(map(len, pieces)))
    if sent.pieces:
        return replace(sent, pieces=[_without_end(sent.pieces[0]), *sent.pieces[1:]])
    return replace(sent, closing=[_without_end(frame) for frame in sent.closing])


def _without_end(frame: bytes) -> bytes:
    text = frame.rstrip()
    return text[:-_BROKEN_BYTES] + frame[len(text) :]


def _as_html(sent: Answer) -> Answer:
    try:
        title = f"{sent.status} {HTTPStatus(sent.status).phrase}"
    except ValueError:
        title = str(sent.status)
    head = f"<head><title>{title}</title></head>"
    page = f"<html>{head}<body><center><h1>{title}</h1></center></body></html>".encode()
    return replace(sent, content_type="text/html", pieces=[page], length=len(page))


def _seconds(value: float | str) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
