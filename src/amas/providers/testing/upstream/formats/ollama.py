"""The wire format of Ollama's own API.

Source: https://github.com/ollama/ollama/blob/main/docs/api.md.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

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
    messages_of,
    model_of,
    ndjson,
    text_of,
)
from .vectors import texts_of, vector

_DETAILS = {
    "parent_model": "",
    "format": "gguf",
    "family": "test",
    "families": ["test"],
    "parameter_size": "1.0B",
    "quantization_level": "Q4_K_M",
}


def _has_prompt(call: Call) -> bool:
    return "prompt" in call.body


class OllamaFormat(Format):
    """Ollama's chat, generate, embeddings and model endpoints; errors have no codes."""

    vendor = "ollama"
    routes: ClassVar[Sequence[Route]] = (
        Route("POST", "/api/chat", "chat", "chat"),
        Route("POST", "/api/generate", "chat", "generate"),
        Route("POST", "/api/embed", "embeddings", "embed"),
        Route("POST", "/api/embeddings", "embeddings", "embeddings", _has_prompt),
        Route("GET", "/api/tags", "models", "models"),
        Route("POST", "/api/show", "other", "show"),
        Route("GET", "/api/version", "other", "version"),
    )
    errors: ClassVar[Mapping[str, KnownError]] = {
        "invalid_request": KnownError(400, "", "invalid request"),
        "invalid_api_key": KnownError(401, "", "unauthorized"),
        "missing_api_key": KnownError(401, "", "unauthorized"),
        "payment_required": KnownError(402, "", "payment required"),
        "permission_denied": KnownError(403, "", "forbidden"),
        "model_not_found": KnownError(404, "", "model '{model}' not found"),
        "unknown_url": KnownError(404, "", "404 page not found"),
        "request_timeout": KnownError(408, "", "request timeout"),
        "request_too_large": KnownError(413, "", "request body too large"),
        "rate_limit_exceeded": KnownError(429, "", "too many concurrent requests"),
        "insufficient_quota": KnownError(
            429, "", "you have reached your weekly usage limit, please upgrade to continue"
        ),
        "context_length_exceeded": KnownError(
            400, "", "the input length exceeds the context length"
        ),
        "content_filter": KnownError(400, "", "the prompt was refused"),
        "server_error": KnownError(500, "", "llama runner process has terminated: exit status 2"),
        "bad_gateway": KnownError(502, "", "upstream unavailable"),
        "unavailable": KnownError(
            503, "", "server busy, please try again.  maximum pending requests exceeded"
        ),
        "gateway_timeout": KnownError(504, "", "timed out waiting for llama runner to start"),
        "overloaded": KnownError(
            503, "", "server busy, please try again.  maximum pending requests exceeded"
        ),
    }

    @override
    def wants_stream(self, call: Call) -> bool:
        """Tell by the body; Ollama streams unless told otherwise."""
        return call.body.get("stream") is not False

    @override
    def chat_request(self, call: Call) -> ChatRequest:
        """Read a chat or generate request."""
        body = call.body
        if call.operation == "generate":
            texts = (("system", body.get("system")), ("user", body.get("prompt")))
            messages = [Message(role, text_of(text)) for role, text in texts if text]
        else:
            items = messages_of(body)
            messages = [Message(str(m.get("role")), text_of(m.get("content"))) for m in items]
        tools = tuple(
            Tool(item["function"]["name"], item["function"].get("parameters") or {})
            for item in body.get("tools") or ()
            if "function" in item
        )
        return ChatRequest(
            vendor=self.vendor,
            model=model_of(body),
            messages=tuple(messages),
            tools=tools,
            json_schema=_json_schema(body.get("format")),
            stream=self.wants_stream(call),
            include_usage=True,
            body=body,
        )

    @override
    def answer(self, turn: Turn) -> Json:
        """Write the one object of an unstreamed answer."""
        reply = turn.reply
        if turn.call.operation == "generate":
            said: Json = {"response": reply.content or ""}
            if reply.reasoning is not None:
                said["thinking"] = reply.reasoning
        else:
            said = {"message": _message(reply.content or "")}
            if reply.reasoning is not None:
                said["message"]["thinking"] = reply.reasoning
            if reply.tool_calls:
                said["message"]["tool_calls"] = _tool_calls(turn)
        return {**_head(turn), **said, **_final(turn)}

    @override
    def stream(self, turn: Turn) -> Stream:
        """Write lines of JSON; a tool call comes in one piece."""
        last = {"response": ""} if turn.call.operation == "generate" else {"message": _message("")}
        pieces = [ndjson({**_head(turn), **said, "done": False}) for said in _parts(turn)]
        closing = ndjson({**_head(turn), **last, **_final(turn)})
        return Stream("application/x-ndjson", (), pieces, [closing])

    @override
    def without_choice(self, answer: Json) -> Json:
        """Leave the message or response out."""
        return {key: value for key, value in answer.items() if key not in ("message", "response")}

    @override
    def error_body(self, error: KnownError) -> Json:
        """Write the ``error`` text."""
        return {"error": error.message}

    @override
    def stream_error(self, error: KnownError, call: Call) -> bytes:
        """Write an ``error`` line."""
        return ndjson(self.error_body(error))

    @override
    def models(self, listing: Listing) -> Json:
        """Write the local models."""
        return {
            "models": [
                {
                    "name": name,
                    "model": name,
                    "modified_at": "2024-01-01T00:00:00Z",
                    "size": 1_000_000_000,
                    "digest": hashlib.sha256(name.encode()).hexdigest(),
                    "details": _DETAILS,
                }
                for name in listing.models
            ]
        }

    @override
    def embeddings(self, call: Call) -> Json:
        """Write vectors: ``embed`` for many texts, ``embeddings`` (the older one) for one."""
        if call.operation == "embeddings":
            model_of(call.body)
            return {"embedding": vector(text_of(call.body.get("prompt")))}
        texts = texts_of(call.body.get("input"), "input")
        return {
            "model": model_of(call.body),
            "embeddings": [vector(text, call.body.get("dimensions")) for text in texts],
            "total_duration": 2_000_000,
            "load_duration": 1_000_000,
            "prompt_eval_count": sum(map(count_tokens, texts)),
        }

    @override
    def other(self, call: Call, listing: Listing) -> Json:
        """Write the version, or the details of any model."""
        if call.operation == "version":
            return {"version": "0.12.0"}
        if not (call.body.get("model") or call.body.get("name")):
            raise BadCall("model is required")
        return {
            "modelfile": "",
            "parameters": "",
            "template": "{{ .System }}{{ .Prompt }}{{ .Tools }}",
            "details": _DETAILS,
            "model_info": {
                "general.architecture": "test",
                "general.parameter_count": 1_000_000_000,
                "test.context_length": listing.window,
                "test.embedding_length": 8,
            },
            "capabilities": ["completion", "tools"],
            "modified_at": "2024-01-01T00:00:00Z",
        }


def _message(content: str) -> Json:
    return {"role": "assistant", "content": content}


def _head(turn: Turn) -> Json:
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(turn.created))
    return {"model": turn.chat.model, "created_at": created}


def _final(turn: Turn) -> Json:
    finish = turn.reply.finish_reason
    return {
        "done": True,
        "done_reason": "stop" if finish == "tool_calls" else finish,
        "total_duration": 5_000_000,
        "load_duration": 1_000_000,
        "prompt_eval_count": turn.usage.prompt_tokens,
        "prompt_eval_duration": 1_000_000,
        "eval_count": turn.usage.completion_tokens,
        "eval_duration": 3_000_000,
    }


def _tool_calls(turn: Turn) -> list[Json]:
    return [
        {"function": {"name": call.name, "arguments": call.arguments_object}}
        for call in turn.reply.tool_calls
    ]


def _parts(turn: Turn) -> Iterator[Json]:
    thoughts = split_words(turn.reply.reasoning or "")
    words = split_words(turn.reply.content or "")
    if turn.call.operation == "generate":
        yield from ({"response": "", "thinking": word} for word in thoughts)
        yield from ({"response": word} for word in words)
        return
    yield from ({"message": {**_message(""), "thinking": word}} for word in thoughts)
    yield from ({"message": _message(word)} for word in words)
    for call in _tool_calls(turn):
        yield {"message": {**_message(""), "tool_calls": [call]}}


def _json_schema(wanted: Any) -> Json | None:
    if isinstance(wanted, dict):
        return wanted
    return {} if wanted == "json" else None
