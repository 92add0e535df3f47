"""The wire format of Cohere, version 1.

Source: https://docs.cohere.com/v1/reference/chat. A stream consists of lines of JSON, or of
server-sent events for a client that accepts ``text/event-stream``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar, Final

from typing_extensions import override

from ..chat import ChatRequest, Message, Tool, split_words
from .base import BadCall, Call, Json, KnownError, Route, Stream, Turn, ndjson, sse, text_of
from .cohere import CohereFormat, finish_reason, json_schema, token_counts

_ROLES: Final = {"USER": "user", "CHATBOT": "assistant", "SYSTEM": "system", "TOOL": "tool"}
_TYPES: Final = {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}


class CohereV1Format(CohereFormat):
    """Chat and embeddings in version 1 of Cohere's format."""

    routes: ClassVar[Sequence[Route]] = (
        Route("POST", "/v1/chat", "chat", "chat"),
        Route("POST", "/v1/embed", "embeddings", "embed"),
    )

    @override
    def chat_request(self, call: Call) -> ChatRequest:
        """Read a chat request: a message and the history before it; the model is optional."""
        body = call.body
        if not body.get("message") and not body.get("tool_results"):
            raise BadCall("message must be at least 1 token long")
        return ChatRequest(
            vendor=self.vendor,
            model=str(body.get("model") or "command"),
            messages=tuple(_messages(body)),
            tools=tuple(
                Tool(item["name"], _schema(item.get("parameter_definitions") or {}))
                for item in body.get("tools") or ()
            ),
            json_schema=json_schema(body.get("response_format")),
            stream=self.wants_stream(call),
            include_usage=True,
            body=body,
        )

    @override
    def answer(self, turn: Turn) -> Json:
        """Write an unstreamed answer."""
        reply = turn.reply
        answer: Json = {
            "response_id": turn.identifier("response-"),
            "generation_id": turn.identifier("generation-"),
            "text": reply.content,
            "chat_history": [],
            "finish_reason": "COMPLETE" if reply.tool_calls else finish_reason(turn),
            "meta": {"api_version": {"version": "1"}, **token_counts(turn)},
        }
        if reply.tool_calls:
            answer["text"] = reply.content or ""
            answer["tool_calls"] = _tool_calls(turn)
        return answer

    @override
    def stream(self, turn: Turn) -> Stream:
        """Write the events from ``stream-start`` to ``stream-end``."""
        encode = _encoder(turn.call)
        end = self.answer(turn)
        return Stream(
            "text/event-stream" if _wants_events(turn.call) else "application/stream+json",
            [encode(_event("stream-start", generation_id=turn.identifier("generation-")))],
            [encode(event) for event in _content(turn)],
            [encode(_last(finish_reason=end["finish_reason"], response=end))],
        )

    @override
    def without_choice(self, answer: Json) -> Json:
        """Leave the text out."""
        return {key: value for key, value in answer.items() if key not in ("text", "tool_calls")}

    @override
    def stream_error(self, error: KnownError, call: Call) -> bytes:
        """Write a ``stream-end`` with finish reason ERROR."""
        return _encoder(call)(_last(finish_reason="ERROR", error=error.message))


def _event(kind: str, **content: object) -> Json:
    return {"is_finished": False, "event_type": kind, **content}


def _last(**content: object) -> Json:
    return {**_event("stream-end", **content), "is_finished": True}


def _wants_events(call: Call) -> bool:
    return "text/event-stream" in call.headers.get("accept", "")


def _encoder(call: Call) -> Callable[[Json], bytes]:
    if not _wants_events(call):
        return ndjson
    return lambda event: sse(event, event["event_type"])


def _content(turn: Turn) -> Iterator[Json]:
    for word in split_words(turn.reply.content or ""):
        yield _event("text-generation", text=word)
    if turn.reply.tool_calls:
        yield _event("tool-calls-generation", tool_calls=_tool_calls(turn))


def _tool_calls(turn: Turn) -> list[Json]:
    return [
        {"name": call.name, "parameters": call.arguments_object} for call in turn.reply.tool_calls
    ]


def _messages(body: Json) -> Iterator[Message]:
    if body.get("preamble"):
        yield Message("system", text_of(body["preamble"]))
    for item in body.get("chat_history") or ():
        role = str(item.get("role", ""))
        yield Message(_ROLES.get(role.upper(), role), text_of(item.get("message")))
    if body.get("message"):
        yield Message("user", text_of(body["message"]))


def _schema(definitions: Json) -> Json:
    return {
        "type": "object",
        "properties": {
            name: {"type": _TYPES.get(item.get("type", "str"), item.get("type", "string"))}
            for name, item in definitions.items()
        },
        "required": [name for name, item in definitions.items() if item.get("required")],
    }
