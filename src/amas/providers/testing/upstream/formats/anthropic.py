"""The wire format of Anthropic's messages.

Source: https://docs.claude.com/en/api/messages and https://docs.claude.com/en/api/errors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Final

from typing_extensions import override

from ..chat import ChatRequest, Message, Tool, ToolCall, split_words
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
    sse,
    text_of,
)

_INVALID: Final = "invalid_request_error"
_STOP_REASONS: Final = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
}
_SIGNATURE: Final = "c2lnbmF0dXJl"


def _speaks_anthropic(call: Call) -> bool:
    return "anthropic-version" in call.headers or "x-api-key" in call.headers


class AnthropicFormat(Format):
    """Messages and models in Anthropic's format."""

    vendor = "anthropic"
    request_id_header = "request-id"
    routes: ClassVar[Sequence[Route]] = (
        Route("POST", "/messages", "chat", "chat"),
        Route("GET", "/models", "models", "models", _speaks_anthropic),
    )
    errors: ClassVar[Mapping[str, KnownError]] = {
        "invalid_request": KnownError(400, _INVALID, "The request body is not valid."),
        "invalid_api_key": KnownError(401, "authentication_error", "invalid x-api-key"),
        "missing_api_key": KnownError(401, "authentication_error", "x-api-key header is required"),
        "payment_required": KnownError(
            402,
            "billing_error",
            "There is an issue with your billing or payment information.",
        ),
        "permission_denied": KnownError(
            403,
            "permission_error",
            "Your API key does not have permission to use the specified resource.",
        ),
        "model_not_found": KnownError(404, "not_found_error", "model: {model}"),
        "unknown_url": KnownError(404, "not_found_error", "Not Found"),
        "request_timeout": KnownError(408, "timeout_error", "Request timed out."),
        "request_too_large": KnownError(
            413, "request_too_large", "Request exceeds the maximum size"
        ),
        "rate_limit_exceeded": KnownError(
            429,
            "rate_limit_error",
            "This request would exceed your organization's rate limit of 50 requests per minute.",
        ),
        "insufficient_quota": KnownError(
            400,
            _INVALID,
            "Your credit balance is too low to access the Anthropic API. Please go to Plans & "
            "Billing to upgrade or purchase credits.",
        ),
        "context_length_exceeded": KnownError(
            400, _INVALID, "prompt is too long: {tokens} tokens > {window} maximum"
        ),
        "content_filter": KnownError(400, _INVALID, "Output blocked by content filtering policy"),
        "server_error": KnownError(500, "api_error", "Internal server error"),
        "bad_gateway": KnownError(502, "api_error", "Bad gateway"),
        "unavailable": KnownError(503, "api_error", "Service unavailable"),
        "gateway_timeout": KnownError(504, "timeout_error", "Request timed out."),
        "overloaded": KnownError(529, "overloaded_error", "Overloaded"),
    }

    @override
    def chat_request(self, call: Call) -> ChatRequest:
        """Read a messages request."""
        body = call.body
        if "anthropic-version" not in call.headers:
            raise BadCall("anthropic-version: header is required")
        if not isinstance(body.get("max_tokens"), int):
            raise BadCall("max_tokens: Field required")
        messages = [
            Message(str(m.get("role")), text_of(m.get("content"))) for m in messages_of(body)
        ]
        if body.get("system"):
            messages.insert(0, Message("system", text_of(body["system"])))
        tools = tuple(
            Tool(item["name"], item.get("input_schema") or {})
            for item in body.get("tools") or ()
            if "name" in item
        )
        return ChatRequest(
            vendor=self.vendor,
            model=model_of(body),
            messages=tuple(messages),
            tools=tools,
            forced_tool=_forced_tool(body.get("tool_choice") or {}, tools),
            json_schema=_json_schema(body),
            stream=self.wants_stream(call),
            include_usage=True,
            body=body,
        )

    @override
    def answer(self, turn: Turn) -> Json:
        """Write a ``message``."""
        reply = turn.reply
        blocks: list[Json] = []
        if reply.reasoning:
            signed = {"thinking": reply.reasoning, "signature": _SIGNATURE}
            blocks.append({"type": "thinking", **signed})
        if reply.content:
            blocks.append({"type": "text", "text": reply.content})
        blocks += [{**_tool_use(call), "input": call.arguments_object} for call in reply.tool_calls]
        return {
            **_message(turn),
            "content": blocks,
            "stop_reason": _stop_reason(turn),
            "usage": _usage(turn, turn.usage.completion_tokens),
        }

    @override
    def stream(self, turn: Turn) -> Stream:
        """Write events from ``message_start`` to ``message_stop``."""
        start = {"type": "message_start", "message": {**_message(turn), "usage": _usage(turn, 1)}}
        delta = {
            "type": "message_delta",
            "delta": {"stop_reason": _stop_reason(turn), "stop_sequence": None},
            "usage": {"output_tokens": turn.usage.completion_tokens},
        }
        pieces: list[bytes] = []
        end_of_block = b""
        for index, (block, fragments) in enumerate(_blocks(turn)):
            begin = {"type": "content_block_start", "index": index, "content_block": block}
            head = end_of_block + _event(begin)
            for fragment in fragments or [""]:
                pieces.append(head + _event(_delta(index, block, fragment)))
                head = b""
            end_of_block = _end_of_block(index, block)
        return Stream(
            "text/event-stream",
            [_event(start), _event({"type": "ping"})],
            pieces,
            [end_of_block + _event(delta), _event({"type": "message_stop"})],
        )

    @override
    def without_choice(self, answer: Json) -> Json:
        """Empty the list of content blocks."""
        return {**answer, "content": []}

    @override
    def error_body(self, error: KnownError) -> Json:
        """Write the ``error`` object."""
        return {"type": "error", "error": {"type": error.kind, "message": error.message}}

    @override
    def stream_error(self, error: KnownError, call: Call) -> bytes:
        """Write an ``error`` event."""
        return _event(self.error_body(error))

    @override
    def with_code(self, error: KnownError, code: str) -> KnownError:
        """Put the code where Anthropic has one: into the error's type."""
        return replace(error, kind=code)

    @override
    def models(self, listing: Listing) -> Json:
        """Write a page of ``model`` objects."""
        names = list(listing.models)
        return {
            "data": [
                {
                    "type": "model",
                    "id": name,
                    "display_name": name,
                    "created_at": "2024-01-01T00:00:00Z",
                }
                for name in names
            ],
            "has_more": False,
            "first_id": names[0] if names else None,
            "last_id": names[-1] if names else None,
        }


def _event(data: Json) -> bytes:
    return sse(data, data["type"])


def _message(turn: Turn) -> Json:
    return {
        "id": turn.identifier("msg_"),
        "type": "message",
        "role": "assistant",
        "model": turn.chat.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }


def _usage(turn: Turn, output_tokens: int) -> Json:
    return {
        "input_tokens": turn.usage.prompt_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": output_tokens,
    }


def _stop_reason(turn: Turn) -> str:
    return _STOP_REASONS.get(turn.reply.finish_reason, turn.reply.finish_reason)


def _blocks(turn: Turn) -> Iterator[tuple[Json, list[str]]]:
    """Yield each content block as it starts, with the fragments that fill it."""
    reply = turn.reply
    if reply.reasoning:
        yield {"type": "thinking", "thinking": "", "signature": ""}, split_words(reply.reasoning)
    if reply.content:
        yield {"type": "text", "text": ""}, split_words(reply.content)
    for call in reply.tool_calls:
        yield _tool_use(call), split_words(call.arguments_json)


def _tool_use(call: ToolCall) -> Json:
    return {"type": "tool_use", "id": call.id, "name": call.name, "input": {}}


def _delta(index: int, block: Json, fragment: str) -> Json:
    kind, field = {
        "thinking": ("thinking_delta", "thinking"),
        "text": ("text_delta", "text"),
        "tool_use": ("input_json_delta", "partial_json"),
    }[block["type"]]
    delta = {"type": kind, field: fragment}
    return {"type": "content_block_delta", "index": index, "delta": delta}


def _end_of_block(index: int, block: Json) -> bytes:
    stop = _event({"type": "content_block_stop", "index": index})
    if block["type"] != "thinking":
        return stop
    delta = {"type": "signature_delta", "signature": _SIGNATURE}
    return _event({"type": "content_block_delta", "index": index, "delta": delta}) + stop


def _forced_tool(choice: Json, tools: tuple[Tool, ...]) -> str | None:
    if choice.get("type") == "tool":
        return str(choice.get("name"))
    return tools[0].name if choice.get("type") == "any" and tools else None


def _json_schema(body: Json) -> Any:
    config = body.get("output_config") or {}
    wanted = config.get("format") or body.get("output_format") or {}
    return wanted.get("schema") if wanted.get("type") == "json_schema" else None
