"""The wire format of Cohere, version 2.

Source: https://docs.cohere.com/reference/chat and https://docs.cohere.com/reference/errors.
A stream consists of server-sent events, or of lines of JSON for a client that accepts
``application/json`` and no event stream, as LiteLLM does (it cannot read the events).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Final

from typing_extensions import override

from ..chat import ChatRequest, Message, Tool, ToolCall, count_tokens, split_words
from .base import (
    BadCall,
    Call,
    Format,
    Json,
    KnownError,
    Listing,
    Route,
    Stream,
    Turn,
    messages_of,
    model_of,
    ndjson,
    sse,
    text_of,
)
from .vectors import base64_of, texts_of, vector

_FINISH_REASONS: Final = {
    "stop": "COMPLETE",
    "length": "MAX_TOKENS",
    "tool_calls": "TOOL_CALL",
    "content_filter": "ERROR_TOXIC",
}


def _speaks_cohere(call: Call) -> bool:
    hints = ("x-client-name", "request-source")
    return (
        "/cohere/" in call.path
        or any(name in call.headers for name in hints)
        or any(name in call.query for name in ("endpoint", "page_size"))
    )


class CohereFormat(Format):
    """Chat, embeddings and models in version 2 of Cohere's format.

    Cohere's listing has the path of OpenAI's. It is told apart by what Cohere's clients send
    (``X-Client-Name`` or ``Request-Source``, ``?endpoint=`` or ``?page_size=``), or by "/cohere/"
    in the prefix of the base URL.
    """

    vendor = "cohere"
    routes: ClassVar[Sequence[Route]] = (
        Route("POST", "/v2/chat", "chat", "chat"),
        Route("POST", "/v2/embed", "embeddings", "embed"),
        Route("GET", "/models", "models", "models", _speaks_cohere),
    )
    errors: ClassVar[Mapping[str, KnownError]] = {
        "invalid_request": KnownError(400, "", "invalid request"),
        "invalid_api_key": KnownError(401, "", "invalid api token"),
        "missing_api_key": KnownError(401, "", "no api key supplied"),
        "payment_required": KnownError(
            402,
            "",
            "Please add or update your payment method at "
            "https://dashboard.cohere.com/billing?tab=payment to continue",
        ),
        "permission_denied": KnownError(403, "", "access to this resource is forbidden"),
        "model_not_found": KnownError(
            404,
            "",
            "model '{model}' not found, make sure the correct model ID was used and that you have "
            "access to the model.",
        ),
        "unknown_url": KnownError(404, "", "endpoint not found"),
        "request_timeout": KnownError(408, "", "request timeout"),
        "request_too_large": KnownError(413, "", "request body too large"),
        "rate_limit_exceeded": KnownError(
            429,
            "",
            "You are using a Trial key, which is limited to 20 API calls / minute. You can "
            "continue to use the Trial key for free or upgrade to a Production key with higher "
            "rate limits at 'https://dashboard.cohere.com/api-keys'.",
        ),
        "insufficient_quota": KnownError(
            402,
            "",
            "Please add or update your payment method at "
            "https://dashboard.cohere.com/billing?tab=payment to continue",
        ),
        "context_length_exceeded": KnownError(
            400,
            "",
            "too many tokens: total number of tokens in the prompt cannot exceed {window} - "
            "received {tokens}. Try using a shorter prompt, or enable prompt truncating.",
        ),
        "content_filter": KnownError(400, "", "blocked input: please see our usage guidelines"),
        "server_error": KnownError(
            500, "", "internal server error, this has been reported to our developers"
        ),
        "bad_gateway": KnownError(502, "", "bad gateway"),
        "unavailable": KnownError(503, "", "service unavailable"),
        "gateway_timeout": KnownError(504, "", "gateway timeout"),
        "overloaded": KnownError(503, "", "the model is overloaded, please try again later"),
    }

    @override
    def chat_request(self, call: Call) -> ChatRequest:
        """Read a chat request."""
        body = call.body
        tools = tuple(
            Tool(item["function"]["name"], item["function"].get("parameters") or {})
            for item in body.get("tools") or ()
            if "function" in item
        )
        forced = str(body.get("tool_choice", "")).upper() == "REQUIRED" and bool(tools)
        return ChatRequest(
            vendor=self.vendor,
            model=model_of(body),
            messages=tuple(
                Message(str(m.get("role")), text_of(m.get("content"))) for m in messages_of(body)
            ),
            tools=tools,
            forced_tool=tools[0].name if forced else None,
            json_schema=json_schema(body.get("response_format")),
            stream=self.wants_stream(call),
            include_usage=True,
            body=body,
        )

    @override
    def answer(self, turn: Turn) -> Json:
        """Write an unstreamed answer; text next to tool calls is the tool plan."""
        reply = turn.reply
        content: list[Json] = []
        message: Json = {"role": "assistant"}
        if reply.reasoning:
            content.append({"type": "thinking", "thinking": reply.reasoning})
        if reply.tool_calls:
            message["tool_plan"] = reply.content or ""
            message["tool_calls"] = [_tool_call(call) for call in reply.tool_calls]
        elif reply.content is not None:
            content.append({"type": "text", "text": reply.content})
        if content:
            message["content"] = content
        return {
            "id": turn.identifier("cohere-"),
            "finish_reason": finish_reason(turn),
            "message": message,
            "usage": token_counts(turn),
        }

    @override
    def stream(self, turn: Turn) -> Stream:
        """Write the events from ``message-start`` to ``message-end``."""
        lines = _wants_lines(turn.call.headers)
        encode = ndjson if lines else _event
        blank = {"content": [], "tool_plan": "", "tool_calls": [], "citations": []}
        start = {
            "id": turn.identifier("cohere-"),
            **_delta("message-start", None, {"role": "assistant", **blank}),
        }
        end = {"finish_reason": finish_reason(turn), "usage": token_counts(turn)}
        pieces: list[bytes] = []
        tail = b""
        for events, last in _blocks(turn):
            for index, event in enumerate(events):
                pieces.append((b"" if index else tail) + b"".join(map(encode, event)))
            tail = encode(last) if last else b""
        closing = tail + encode({"type": "message-end", "delta": end})
        return Stream(
            "application/stream+json" if lines else "text/event-stream",
            [encode(start)],
            pieces,
            [closing] if lines else [closing, sse(b"[DONE]")],
        )

    @override
    def without_choice(self, answer: Json) -> Json:
        """Empty the message."""
        return {**answer, "message": {"role": "assistant", "content": []}}

    @override
    def error_body(self, error: KnownError) -> Json:
        """Write the error's ``message``, which is all there is."""
        return {"id": "00000000-0000-4000-8000-000000000000", "message": error.message}

    @override
    def stream_error(self, error: KnownError, call: Call) -> bytes:
        """Write a ``message-end`` with finish reason ERROR."""
        delta = {"finish_reason": "ERROR", "error": error.message}
        encode = ndjson if _wants_lines(call.headers) else _event
        return encode({"type": "message-end", "delta": delta})

    @override
    def models(self, listing: Listing) -> Json:
        """Write a page of models."""
        return {
            "models": [
                {
                    "name": name,
                    "endpoints": ["chat", "embed"],
                    "finetuned": False,
                    "context_length": listing.window,
                    "default_endpoints": [],
                }
                for name in listing.models
            ]
        }

    @override
    def embeddings(self, call: Call) -> Json:
        """Write embeddings: by type in version 2 or when types are asked for, else as floats."""
        texts = texts_of(call.body.get("texts"), "texts")
        vectors = [vector(text, call.body.get("output_dimension")) for text in texts]
        types = call.body.get("embedding_types") or []
        by_type = "/v2/" in call.path or bool(types)
        return {
            "id": "00000000-0000-4000-8000-000000000001",
            "embeddings": _by_type(vectors, types or ["float"]) if by_type else vectors,
            "texts": texts,
            "meta": {
                "api_version": {"version": "2" if "/v2/" in call.path else "1"},
                "billed_units": {"input_tokens": sum(map(count_tokens, texts))},
            },
            "response_type": "embeddings_by_type" if by_type else "embeddings_floats",
        }


def finish_reason(turn: Turn) -> str:
    """Return Cohere's word for the reply's finish reason."""
    return _FINISH_REASONS.get(turn.reply.finish_reason, turn.reply.finish_reason)


def token_counts(turn: Turn) -> Json:
    """Write the token counts of a turn, billed and actual."""
    usage = turn.usage
    counts = {"input_tokens": usage.prompt_tokens, "output_tokens": usage.completion_tokens}
    return {"billed_units": counts, "tokens": counts}


def json_schema(wanted: Any) -> Any:
    """Return the schema of a ``response_format``, {} for any object, or None for text."""
    if not isinstance(wanted, dict) or wanted.get("type") != "json_object":
        return None
    return wanted.get("json_schema") or wanted.get("schema") or {}


def _event(data: Json) -> bytes:
    return sse(data, data["type"])


def _wants_lines(headers: Mapping[str, str]) -> bool:
    accepted = headers.get("accept", "")
    return "application/json" in accepted and "text/event-stream" not in accepted


def _delta(kind: str, index: int | None, message: Json) -> Json:
    place = {} if index is None else {"index": index}
    return {"type": kind, **place, "delta": {"message": message}}


def _tool_call(call: ToolCall) -> Json:
    function = {"name": call.name, "arguments": call.arguments_json}
    return {"id": call.id, "type": "function", "function": function}


def _blocks(turn: Turn) -> Iterator[tuple[list[list[Json]], Json | None]]:
    """Yield for each block the events of every chunk, and the event that ends the block."""
    reply = turn.reply
    texts = [("thinking", reply.reasoning), ("text", None if reply.tool_calls else reply.content)]
    index = 0
    for kind, text in texts:
        if text:
            chunks = [
                [_delta("content-delta", index, {"content": {kind: word}})]
                for word in split_words(text)
            ]
            begin = {"content": {"type": kind, kind: ""}}
            chunks[0].insert(0, _delta("content-start", index, begin))
            yield chunks, {"type": "content-end", "index": index}
            index += 1
    if reply.tool_calls and reply.content:
        words = split_words(reply.content)
        yield [[_delta("tool-plan-delta", None, {"tool_plan": word})] for word in words], None
    for index, call in enumerate(reply.tool_calls):
        begin = _tool_call(call)
        begin["function"]["arguments"] = ""
        chunks = [[_delta("tool-call-start", index, {"tool_calls": begin})]]
        for word in split_words(call.arguments_json):
            fragment = {"tool_calls": {"function": {"arguments": word}}}
            chunks.append([_delta("tool-call-delta", index, fragment)])
        yield chunks, {"type": "tool-call-end", "index": index}


def _by_type(vectors: list[list[float]], types: list[str]) -> Json:
    writers = {"float": lambda values: values, "base64": base64_of}
    unknown = [name for name in types if name not in writers]
    if unknown:
        raise BadCall(f"embedding_types: this upstream has float and base64, not {unknown[0]}")
    return {name: [writers[name](values) for values in vectors] for name in types}
