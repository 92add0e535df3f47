"""The wire format of Amazon Bedrock's Converse API, whose streams are frames of bytes.

Source: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html and
https://smithy.io/2.0/aws/amazon-eventstream.html.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Final
from zlib import crc32

from typing_extensions import override

from ..chat import ChatRequest, Message, Tool, split_words
from .base import (
    Call,
    Format,
    Json,
    KnownError,
    Listing,
    Route,
    Stream,
    Turn,
    dumps,
    messages_of,
    text_of,
)

_MODEL: Final = "/model/(?P<model>.+)/"
_STOP_REASONS: Final = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "guardrail_intervened",
}
_STRING: Final = 7  # how a header's value is coded
_PRELUDE_AND_SUMS: Final = 16


class BedrockFormat(Format):
    """Conversations in Bedrock's format."""

    vendor = "bedrock"
    request_id_header = "x-amzn-requestid"
    routes: ClassVar[Sequence[Route]] = (
        Route("POST", _MODEL + "converse", "chat", "converse"),
        Route("POST", _MODEL + "converse-stream", "chat", "converse-stream"),
    )
    # The kind is what the header x-amzn-errortype says, and the name of a stream's exception.
    errors: ClassVar[Mapping[str, KnownError]] = {
        "invalid_request": KnownError(
            400, "ValidationException", "The model returned the following errors: invalid request"
        ),
        "invalid_api_key": KnownError(
            403,
            "UnrecognizedClientException",
            "The security token included in the request is invalid.",
        ),
        "missing_api_key": KnownError(
            403, "MissingAuthenticationTokenException", "Missing Authentication Token"
        ),
        "expired_token": KnownError(
            403,
            "ExpiredTokenException",
            "The security token included in the request is expired",
        ),
        "payment_required": KnownError(
            402, "ServiceQuotaExceededException", "Your account is not authorized for billing."
        ),
        "permission_denied": KnownError(
            403,
            "AccessDeniedException",
            "You don't have access to the model with the specified model ID.",
        ),
        "model_not_found": KnownError(
            404,
            "ResourceNotFoundException",
            "The provided model identifier is invalid: {model}",
        ),
        "unknown_url": KnownError(404, "UnknownOperationException", "Unknown operation."),
        "request_timeout": KnownError(408, "ModelTimeoutException", "Model has timed out."),
        "request_too_large": KnownError(413, "ValidationException", "The request is too large."),
        "rate_limit_exceeded": KnownError(
            429,
            "ThrottlingException",
            "Too many requests, please wait before trying again.",
        ),
        "insufficient_quota": KnownError(
            429,
            "ThrottlingException",
            "Too many tokens per day, please wait before trying again.",
        ),
        "context_length_exceeded": KnownError(
            400, "ValidationException", "Input is too long for requested model."
        ),
        "content_filter": KnownError(
            400,
            "ValidationException",
            "The request was blocked by content filtering policy.",
        ),
        "server_error": KnownError(
            500,
            "InternalServerException",
            "The system encountered an unexpected error during processing. Try your request again.",
        ),
        "bad_gateway": KnownError(502, "InternalServerException", "Bad gateway."),
        "unavailable": KnownError(
            503,
            "ServiceUnavailableException",
            "Bedrock is unable to process your request.",
        ),
        "gateway_timeout": KnownError(504, "ModelTimeoutException", "Model has timed out."),
        "overloaded": KnownError(
            503, "ServiceUnavailableException", "Too many connections, please wait."
        ),
    }

    @override
    def wants_stream(self, call: Call) -> bool:
        """Tell by the end of the path."""
        return call.operation == "converse-stream"

    @override
    def chat_request(self, call: Call) -> ChatRequest:
        """Read a request of ``Converse`` or ``ConverseStream``."""
        body = call.body
        messages = [
            Message(str(item.get("role")), text_of(item.get("content")))
            for item in messages_of(body)
        ]
        if system := text_of(body.get("system") or ()):
            messages.insert(0, Message("system", system))
        config = body.get("toolConfig") or {}
        specs = [item["toolSpec"] for item in config.get("tools") or () if "toolSpec" in item]
        tools = tuple(
            Tool(spec["name"], (spec.get("inputSchema") or {}).get("json") or {}) for spec in specs
        )
        return ChatRequest(
            vendor=self.vendor,
            model=call.model,
            messages=tuple(messages),
            tools=tools,
            forced_tool=_forced_tool(config.get("toolChoice") or {}, tools),
            stream=self.wants_stream(call),
            include_usage=True,
            body=body,
        )

    @override
    def answer(self, turn: Turn) -> Json:
        """Write a ``ConverseResponse``."""
        content: list[Json] = []
        if turn.reply.reasoning is not None:
            content.append({"reasoningContent": {"reasoningText": {"text": turn.reply.reasoning}}})
        if turn.reply.content is not None:
            content.append({"text": turn.reply.content})
        content += [
            {"toolUse": {"toolUseId": call.id, "name": call.name, "input": call.arguments_object}}
            for call in turn.reply.tool_calls
        ]
        return {
            "output": {"message": {"role": "assistant", "content": content}},
            "stopReason": _stop_reason(turn),
            "usage": _usage(turn),
            "metrics": {"latencyMs": 1},
        }

    @override
    def stream(self, turn: Turn) -> Stream:
        """Write the events of ``ConverseStream``."""
        return Stream(
            "application/vnd.amazon.eventstream",
            [event("messageStart", {"role": "assistant"})],
            [event(_kind_of(block), block) for block in _blocks(turn)],
            [
                event("messageStop", {"stopReason": _stop_reason(turn)}),
                event("metadata", {"usage": _usage(turn), "metrics": {"latencyMs": 1}}),
            ],
        )

    @override
    def without_choice(self, answer: Json) -> Json:
        """Leave the message out."""
        return {**answer, "output": {}}

    @override
    def error_body(self, error: KnownError) -> Json:
        """Write a message, which is all there is in the body."""
        return {"message": error.message}

    @override
    def error_headers(self, error: KnownError) -> Mapping[str, str]:
        """Name the exception."""
        return {"x-amzn-errortype": f"{error.kind}:http://internal.amazon.com/coral/"}

    @override
    def stream_error(self, error: KnownError, call: Call) -> bytes:
        """Write the exception as an event."""
        name = error.kind[:1].lower() + error.kind[1:]
        heads = {":exception-type": name, ":content-type": "application/json"}
        return frame({**heads, ":message-type": "exception"}, dumps(self.error_body(error)))

    @override
    def models(self, listing: Listing) -> Json:
        """Write nothing: models are listed at another host."""
        return {}

    @override
    def with_code(self, error: KnownError, code: str) -> KnownError:
        """Put the code where Bedrock has one: into the exception's name."""
        return KnownError(error.status, code, error.message)


def event(kind: str, content: Json) -> bytes:
    """Encode one event of a stream."""
    heads = {":event-type": kind, ":content-type": "application/json", ":message-type": "event"}
    return frame(heads, dumps(content))


def frame(headers: Mapping[str, str], payload: bytes) -> bytes:
    """Encode one message: lengths, headers, payload, and a checksum over each part."""
    coded = b"".join(
        struct.pack("!B", len(name)) + name.encode() + struct.pack("!BH", _STRING, len(value.encode()))
        + value.encode()
        for name, value in headers.items()
    )  # fmt: skip
    lengths = struct.pack("!II", len(coded) + len(payload) + _PRELUDE_AND_SUMS, len(coded))
    head = lengths + struct.pack("!I", crc32(lengths))
    message = head + coded + payload
    return message + struct.pack("!I", crc32(message))


def _kind_of(block: Json) -> str:
    if "start" in block:
        return "contentBlockStart"
    return "contentBlockDelta" if "delta" in block else "contentBlockStop"


def _blocks(turn: Turn) -> Iterator[Json]:
    """Return the events of the content blocks, without their names."""
    index = 0
    reply = turn.reply
    texts = (
        (reply.reasoning, lambda word: {"reasoningContent": {"text": word}}),
        (reply.content, lambda word: {"text": word}),
    )
    for text, delta in texts:
        if text:
            for word in split_words(text):
                yield {"delta": delta(word), "contentBlockIndex": index}
            index += 1
    for call in reply.tool_calls:
        start = {"toolUse": {"toolUseId": call.id, "name": call.name}}
        yield {"start": start, "contentBlockIndex": index}
        for word in split_words(call.arguments_json):
            yield {"delta": {"toolUse": {"input": word}}, "contentBlockIndex": index}
        yield {"contentBlockIndex": index}
        index += 1


def _stop_reason(turn: Turn) -> str:
    return _STOP_REASONS.get(turn.reply.finish_reason, turn.reply.finish_reason)


def _usage(turn: Turn) -> Json:
    usage = turn.usage
    return {
        "inputTokens": usage.prompt_tokens,
        "outputTokens": usage.completion_tokens,
        "totalTokens": usage.total_tokens,
    }


def _forced_tool(choice: Mapping[str, Any], tools: tuple[Tool, ...]) -> str | None:
    if "tool" in choice:
        return str(choice["tool"].get("name"))
    return tools[0].name if "any" in choice and tools else None
