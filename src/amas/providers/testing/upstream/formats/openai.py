"""The wire format of OpenAI's chat completions, spoken by most vendors.

Source: https://platform.openai.com/docs/api-reference/chat; ``reasoning_content`` as in
https://api-docs.deepseek.com/guides/reasoning_model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Final

from typing_extensions import override

from ..chat import ChatRequest, Message, Tool, ToolCall, count_tokens, split_words
from .base import (
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
from .vectors import base64_of, texts_of, vector

_INVALID: Final = "invalid_request_error"
_DONE: Final = b"data: [DONE]\n\n"


class OpenAIFormat(Format):
    """Chat completions, embeddings and models in OpenAI's format."""

    vendor = "openai"
    routes: ClassVar[Sequence[Route]] = (
        Route("POST", "/chat/completions", "chat", "chat"),
        Route("POST", "/embeddings", "embeddings", "embeddings"),
        Route("GET", "/models(/user)?", "models", "models"),  # the longer one is OpenRouter's
    )
    errors: ClassVar[Mapping[str, KnownError]] = {
        "invalid_request": KnownError(400, _INVALID, "The request body is not valid."),
        "invalid_api_key": KnownError(
            401,
            _INVALID,
            "Incorrect API key provided: {key}. You can find your API key at "
            "https://platform.openai.com/account/api-keys.",
            "invalid_api_key",
        ),
        "missing_api_key": KnownError(
            401,
            _INVALID,
            "You didn't provide an API key. You need to provide your API key in an Authorization "
            "header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY).",
        ),
        # OpenAI has no 402; this is DeepSeek's.
        "payment_required": KnownError(402, "unknown_error", "Insufficient Balance", _INVALID),
        "permission_denied": KnownError(
            403,
            "request_forbidden",
            "Country, region, or territory not supported",
            "unsupported_country_region_territory",
        ),
        "model_not_found": KnownError(
            404,
            _INVALID,
            "The model `{model}` does not exist or you do not have access to it.",
            "model_not_found",
        ),
        "unknown_url": KnownError(404, _INVALID, "Invalid URL ({method} {path})"),
        "request_timeout": KnownError(408, "timeout", "Request timed out."),
        "request_too_large": KnownError(413, _INVALID, "The request body is too large."),
        "rate_limit_exceeded": KnownError(
            429,
            "requests",
            "Rate limit reached for {model} in organization org-test on requests per min (RPM): "
            "Limit 3, Used 3, Requested 1. Please try again in 20s. "
            "Visit https://platform.openai.com/account/rate-limits to learn more.",
            "rate_limit_exceeded",
        ),
        "insufficient_quota": KnownError(
            429,
            "insufficient_quota",
            "You exceeded your current quota, please check your plan and billing details. For "
            "more information on this error, read the docs: "
            "https://platform.openai.com/docs/guides/error-codes/api-errors.",
            "insufficient_quota",
        ),
        "context_length_exceeded": KnownError(
            400,
            _INVALID,
            "This model's maximum context length is {window} tokens. However, your messages "
            "resulted in {tokens} tokens. Please reduce the length of the messages.",
            "context_length_exceeded",
        ),
        "content_filter": KnownError(
            400,
            _INVALID,
            "Invalid prompt: your prompt was flagged as potentially violating our usage policy. "
            "Please try again with a different prompt: "
            "https://platform.openai.com/docs/guides/reasoning#advice-on-prompting",
            "invalid_prompt",
        ),
        "server_error": KnownError(
            500,
            "server_error",
            "The server had an error while processing your request. Sorry about that!",
        ),
        "bad_gateway": KnownError(502, "server_error", "Bad gateway."),
        "unavailable": KnownError(503, "server_error", "Service unavailable."),
        "gateway_timeout": KnownError(504, "server_error", "Gateway timeout."),
        "overloaded": KnownError(
            503, "server_error", "The engine is currently overloaded, please try again later."
        ),
    }

    @override
    def chat_request(self, call: Call) -> ChatRequest:
        """Read a chat completion request."""
        body = call.body
        tools = tuple(
            Tool(item["function"]["name"], item["function"].get("parameters") or {})
            for item in body.get("tools") or ()
            if "function" in item
        )
        return ChatRequest(
            vendor=self.vendor,
            model=model_of(body),
            messages=tuple(
                Message(str(item.get("role")), text_of(item.get("content")))
                for item in messages_of(body)
            ),
            tools=tools,
            forced_tool=_forced_tool(body.get("tool_choice"), tools),
            json_schema=_json_schema(body.get("response_format")),
            stream=self.wants_stream(call),
            include_usage=bool((body.get("stream_options") or {}).get("include_usage")),
            body=body,
        )

    @override
    def answer(self, turn: Turn) -> Json:
        """Write a ``chat.completion``."""
        reply = turn.reply
        message: Json = {"role": "assistant", "content": reply.content, "refusal": None}
        if reply.reasoning is not None:
            message["reasoning_content"] = reply.reasoning
        if reply.tool_calls:
            message["tool_calls"] = [_tool_call(call) for call in reply.tool_calls]
        choice = {
            "index": 0,
            "message": message,
            "logprobs": None,
            "finish_reason": reply.finish_reason,
        }
        head = _head(turn, "chat.completion")
        return {**head, "choices": [choice], "usage": _usage(turn), "service_tier": "default"}

    @override
    def stream(self, turn: Turn) -> Stream:
        """Write ``chat.completion.chunk`` events."""
        head = _head(turn, "chat.completion.chunk")
        if turn.chat.include_usage:
            head["usage"] = None

        def chunk(delta: Json, finish: str | None = None) -> bytes:
            choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
            return sse({**head, "choices": [choice]})

        closing = [chunk({}, turn.reply.finish_reason)]
        if turn.chat.include_usage:
            closing.append(sse({**head, "choices": [], "usage": _usage(turn)}))
        return Stream(
            "text/event-stream",
            [chunk({"role": "assistant", "content": "", "refusal": None})],
            [chunk(delta) for delta in _deltas(turn)],
            [*closing, _DONE],
        )

    @override
    def stream_without_choice(self, turn: Turn) -> Stream:
        """Write one chunk whose list of choices is empty."""
        chunk = self.without_choice(_head(turn, "chat.completion.chunk"))
        return Stream("text/event-stream", (), (), [sse(chunk), _DONE])

    @override
    def without_choice(self, answer: Json) -> Json:
        """Empty the list of choices."""
        return {**answer, "choices": []}

    @override
    def error_body(self, error: KnownError) -> Json:
        """Write the ``error`` object."""
        return {
            "error": {
                "message": error.message,
                "type": error.kind,
                "param": None,
                "code": error.code,
            }
        }

    @override
    def stream_error(self, error: KnownError, call: Call) -> bytes:
        """Write an event with an ``error`` object."""
        return sse(self.error_body(error))

    @override
    def models(self, listing: Listing) -> Json:
        """Write a list of ``model`` objects."""
        return {
            "object": "list",
            "data": [
                {"id": name, "object": "model", "created": 1700000000, "owned_by": "upstream"}
                for name in listing.models
            ],
        }

    @override
    def embeddings(self, call: Call) -> Json:
        """Write a list of ``embedding`` objects, as floats or base64."""
        texts = texts_of(call.body.get("input"), "input")
        vectors = [vector(text, call.body.get("dimensions")) for text in texts]
        coded = call.body.get("encoding_format") == "base64"
        tokens = sum(map(count_tokens, texts))
        return {
            "object": "list",
            "data": [
                {
                    "object": "embedding",
                    "index": index,
                    "embedding": base64_of(values) if coded else values,
                }
                for index, values in enumerate(vectors)
            ],
            "model": model_of(call.body),
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }


def _head(turn: Turn, kind: str) -> Json:
    return {
        "id": turn.identifier("chatcmpl-"),
        "object": kind,
        "created": turn.created,
        "model": turn.chat.model,
        "system_fingerprint": "fp_upstream",
    }


def _usage(turn: Turn) -> Json:
    usage = turn.usage
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": count_tokens(turn.reply.reasoning)},
    }


def _tool_call(call: ToolCall) -> Json:
    function = {"name": call.name, "arguments": call.arguments_json}
    return {"id": call.id, "type": "function", "function": function}


def _deltas(turn: Turn) -> Iterator[Json]:
    for word in split_words(turn.reply.reasoning or ""):
        yield {"reasoning_content": word}
    for word in split_words(turn.reply.content or ""):
        yield {"content": word}
    for index, call in enumerate(turn.reply.tool_calls):
        opening = _tool_call(call)
        opening["function"]["arguments"] = ""
        yield {"tool_calls": [{"index": index, **opening}]}
        for word in split_words(call.arguments_json):
            yield {"tool_calls": [{"index": index, "function": {"arguments": word}}]}


def _forced_tool(choice: Any, tools: tuple[Tool, ...]) -> str | None:
    if isinstance(choice, dict):
        name = (choice.get("function") or {}).get("name")
        return name if isinstance(name, str) else None
    # "any" is Mistral's word for "required".
    return tools[0].name if choice in ("required", "any") and tools else None


def _json_schema(wanted: Any) -> Json | None:
    if not isinstance(wanted, dict) or wanted.get("type") not in ("json_object", "json_schema"):
        return None
    return (wanted.get("json_schema") or {}).get("schema") or {}
