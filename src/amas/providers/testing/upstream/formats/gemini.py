"""The wire format of Google's Gemini API.

Source: https://ai.google.dev/api/generate-content and
https://ai.google.dev/gemini-api/docs/troubleshooting.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Final

from typing_extensions import override

from ..chat import ChatRequest, Message, Tool, count_tokens, split_words
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
    dumps,
    first_of,
    messages_of,
    sse,
    text_of,
)
from .vectors import vector

_MODEL: Final = r"/(?:models|tunedModels)/(?P<model>[^/:]+):"
_FINISH_REASONS: Final = {
    "stop": "STOP",
    "tool_calls": "STOP",
    "length": "MAX_TOKENS",
    "content_filter": "SAFETY",
}


def _speaks_gemini(call: Call) -> bool:
    return "x-goog-api-key" in call.headers or "key" in call.query


class GeminiFormat(Format):
    """Content generation, embeddings and models in Gemini's format.

    A refused prompt is no error in Gemini: it gets status 200, a block reason and no candidate.
    """

    vendor = "gemini"
    refuses_in_reply = True
    routes: ClassVar[Sequence[Route]] = (
        Route("POST", _MODEL + "generateContent", "chat", "generateContent"),
        Route("POST", _MODEL + "streamGenerateContent", "chat", "streamGenerateContent"),
        Route("POST", _MODEL + "embedContent", "embeddings", "embedContent"),
        Route("POST", _MODEL + "batchEmbedContents", "embeddings", "batchEmbedContents"),
        Route("GET", "/models", "models", "models", _speaks_gemini),
    )
    errors: ClassVar[Mapping[str, KnownError]] = {
        "invalid_request": KnownError(400, "INVALID_ARGUMENT", "Invalid JSON payload received."),
        "invalid_api_key": KnownError(
            400,
            "INVALID_ARGUMENT",
            "API key not valid. Please pass a valid API key.",
            "API_KEY_INVALID",
        ),
        "missing_api_key": KnownError(
            403,
            "PERMISSION_DENIED",
            "Method doesn't allow unregistered callers (callers without established identity). "
            "Please use API Key or other form of API consumer identity to call this API.",
        ),
        "payment_required": KnownError(
            402, "FAILED_PRECONDITION", "Billing is not enabled for this project."
        ),
        "permission_denied": KnownError(
            403, "PERMISSION_DENIED", "The caller does not have permission"
        ),
        "model_not_found": KnownError(
            404,
            "NOT_FOUND",
            "models/{model} is not found for API version v1beta, or is not supported for "
            "generateContent. Call ListModels to see the list of available models and their "
            "supported methods.",
        ),
        "unknown_url": KnownError(404, "NOT_FOUND", "Requested entity was not found."),
        "request_timeout": KnownError(408, "DEADLINE_EXCEEDED", "Request timed out."),
        "request_too_large": KnownError(
            413, "INVALID_ARGUMENT", "Request payload size exceeds the limit."
        ),
        "rate_limit_exceeded": KnownError(
            429, "RESOURCE_EXHAUSTED", "Resource has been exhausted (e.g. check quota)."
        ),
        "insufficient_quota": KnownError(
            429,
            "RESOURCE_EXHAUSTED",
            "You exceeded your current quota, please check your plan and billing details. For "
            "more information on this error, head to: "
            "https://ai.google.dev/gemini-api/docs/rate-limits.",
        ),
        "context_length_exceeded": KnownError(
            400,
            "INVALID_ARGUMENT",
            "The input token count ({tokens}) exceeds the maximum number of tokens allowed "
            "({window}).",
        ),
        "content_filter": KnownError(400, "INVALID_ARGUMENT", "The prompt was blocked."),
        "server_error": KnownError(
            500,
            "INTERNAL",
            "An internal error has occurred. Please retry or report in "
            "https://developers.generativeai.google/guide/troubleshooting",
        ),
        "bad_gateway": KnownError(502, "UNAVAILABLE", "Bad gateway."),
        "unavailable": KnownError(503, "UNAVAILABLE", "The service is currently unavailable."),
        "gateway_timeout": KnownError(
            504, "DEADLINE_EXCEEDED", "Deadline expired before operation could complete."
        ),
        "overloaded": KnownError(
            503, "UNAVAILABLE", "The model is overloaded. Please try again later."
        ),
    }

    @override
    def wants_stream(self, call: Call) -> bool:
        """Tell by the method at the end of the path."""
        return call.operation == "streamGenerateContent"

    @override
    def chat_request(self, call: Call) -> ChatRequest:
        """Read a request for content; both spellings of every field are understood."""
        body = call.body
        messages = [
            Message("assistant" if item.get("role") == "model" else "user", _said(item))
            for item in messages_of(body, "contents")
        ]
        if system := first_of(body, "systemInstruction", "system_instruction"):
            messages.insert(0, Message("system", _said(system)))
        tools = tuple(
            Tool(item["name"], first_of(item, "parameters", "parametersJsonSchema") or {})
            for group in body.get("tools") or ()
            for item in first_of(group, "functionDeclarations", "function_declarations") or ()
        )
        return ChatRequest(
            vendor=self.vendor,
            model=call.model,
            messages=tuple(messages),
            tools=tools,
            forced_tool=_forced_tool(body, tools),
            json_schema=_json_schema(body),
            stream=self.wants_stream(call),
            include_usage=True,
            body=body,
        )

    @override
    def answer(self, turn: Turn) -> Json:
        """Write a ``GenerateContentResponse``."""
        if _is_blocked(turn):
            return _blocked(turn)
        return _response(turn, list(_parts(turn, whole=True)), _finish_reason(turn))

    @override
    def stream(self, turn: Turn) -> Stream:
        """Write responses as server-sent events, or as a JSON array without ``alt=sse``."""
        if _is_blocked(turn):
            return _stream(turn, [], _blocked(turn))
        chunks = [_response(turn, [part]) for part in _parts(turn, whole=False)]
        return _stream(turn, chunks, _response(turn, [{"text": ""}], _finish_reason(turn)))

    @override
    def stream_without_choice(self, turn: Turn) -> Stream:
        """Write one response without candidates."""
        return _stream(turn, [], self.without_choice(self.answer(turn)))

    @override
    def without_choice(self, answer: Json) -> Json:
        """Leave the candidates out, as Gemini does when it has none."""
        return {key: value for key, value in answer.items() if key != "candidates"}

    @override
    def error_body(self, error: KnownError) -> Json:
        """Write the ``error`` object of Google's APIs."""
        content: Json = {
            "code": error.status,
            "message": error.message,
            "status": error.kind,
        }
        if error.code is not None:
            content["details"] = [
                {
                    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                    "reason": error.code,
                    "domain": "googleapis.com",
                    "metadata": {"service": "generativelanguage.googleapis.com"},
                }
            ]
        return {"error": content}

    @override
    def stream_error(self, error: KnownError, call: Call) -> bytes:
        """Write the error as an event, or as the last element of the JSON array."""
        body = self.error_body(error)
        return sse(body) if call.query.get("alt") == "sse" else dumps(body) + b"\n]\n"

    @override
    def with_code(self, error: KnownError, code: str) -> KnownError:
        """Put the code where Gemini has one: into the error's status word."""
        return replace(error, kind=code)

    @override
    def models(self, listing: Listing) -> Json:
        """Write a page of ``Model`` objects."""
        return {
            "models": [
                {
                    "name": f"models/{name}",
                    "version": "001",
                    "displayName": name,
                    "inputTokenLimit": listing.window,
                    "outputTokenLimit": listing.window,
                    "supportedGenerationMethods": ["generateContent", "embedContent"],
                }
                for name in listing.models
            ]
        }

    @override
    def embeddings(self, call: Call) -> Json:
        """Write one embedding, or one for each request of a batch."""
        if call.operation == "embedContent":
            return {"embedding": _embedding(call.body)}
        requests = call.body.get("requests")
        if not isinstance(requests, list) or not requests:
            raise BadCall("requests: at least one request is required")
        return {"embeddings": [_embedding(request) for request in requests]}


def _stream(turn: Turn, chunks: list[Json], last: Json) -> Stream:
    if turn.call.query.get("alt") == "sse":
        return Stream("text/event-stream", (), [sse(chunk) for chunk in chunks], [sse(last)])
    pieces = [dumps(chunk) + b"\n,\r\n" for chunk in chunks]
    return Stream("application/json", [b"["], pieces, [dumps(last) + b"\n]\n"])


def _said(content: Any) -> str:
    return text_of(content.get("parts")) if isinstance(content, dict) else text_of(content)


def _forced_tool(body: Json, tools: tuple[Tool, ...]) -> str | None:
    config = first_of(body, "toolConfig", "tool_config") or {}
    calling = first_of(config, "functionCallingConfig", "function_calling_config") or {}
    if str(calling.get("mode", "")).upper() != "ANY" or not tools:
        return None
    allowed = first_of(calling, "allowedFunctionNames", "allowed_function_names")
    return str(allowed[0]) if allowed else tools[0].name


def _json_schema(body: Json) -> Any:
    config = first_of(body, "generationConfig", "generation_config") or {}
    if first_of(config, "responseMimeType", "response_mime_type") != "application/json":
        return None
    names = ("responseSchema", "response_schema", "responseJsonSchema", "response_json_schema")
    return first_of(config, *names) or {}


def _is_blocked(turn: Turn) -> bool:
    return turn.reply.finish_reason == "content_filter" and turn.reply.content is None


def _blocked(turn: Turn) -> Json:
    count = turn.usage.prompt_tokens
    return {
        "promptFeedback": {"blockReason": "PROHIBITED_CONTENT"},
        "usageMetadata": {"promptTokenCount": count, "totalTokenCount": count},
        "modelVersion": turn.chat.model,
    }


def _finish_reason(turn: Turn) -> str:
    return _FINISH_REASONS.get(turn.reply.finish_reason, turn.reply.finish_reason)


def _parts(turn: Turn, *, whole: bool) -> Iterator[Json]:
    reply = turn.reply
    for text, marks in ((reply.reasoning, {"thought": True}), (reply.content, {})):
        if text:
            yield from (
                {"text": piece, **marks} for piece in ([text] if whole else split_words(text))
            )
    for call in reply.tool_calls:
        yield {"functionCall": {"name": call.name, "args": call.arguments_object}}


def _response(turn: Turn, parts: list[Json], finish: str | None = None) -> Json:
    candidate: Json = {"content": {"parts": parts, "role": "model"}, "index": 0}
    if finish is not None:
        candidate["finishReason"] = finish
    thoughts = count_tokens(turn.reply.reasoning)
    usage = turn.usage
    return {
        "candidates": [candidate],
        "usageMetadata": {
            "promptTokenCount": usage.prompt_tokens,
            "candidatesTokenCount": usage.completion_tokens - thoughts,
            "totalTokenCount": usage.total_tokens,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": usage.prompt_tokens}],
            **({"thoughtsTokenCount": thoughts} if thoughts else {}),
        },
        "modelVersion": turn.chat.model,
        "responseId": turn.identifier("resp-"),
    }


def _embedding(request: Json) -> Json:
    text = _said(request.get("content"))
    if not text:
        raise BadCall("content: a part with a text is required")
    size = first_of(request, "outputDimensionality", "output_dimensionality")
    return {"values": vector(text, size)}
