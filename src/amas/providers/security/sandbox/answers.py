"""What a child answers, checked: the rest of the service counts on the types."""

from __future__ import annotations

from typing import Any

from ...base.faults import content_of
from ...errors import ProviderUnavailableError
from ...types import Attempt, EmbeddingResult, GenerationResult, Outcome, StreamChunk
from . import values


def result_from_data(data: object, *, provider: str) -> GenerationResult:
    """Check an answer.

    Args:
        data: What a child sent.
        provider: Name of the provider; whatever the child says.

    Raises:
        BadResponseError: It is no answer.
    """
    content = content_of(data, provider=provider)
    read = values.mapping(data)
    usage, model = values.usage(read.get("usage")), values.name(read.get("model"))
    tokens = values.count(read.get("tokens_used"))
    if tokens is None:
        tokens = 0 if usage is None else usage["total_tokens"]
    latency = values.amount(read.get("latency_ms")) or 0.0
    attempt = Attempt(
        provider=provider,
        model=model,
        outcome=str(Outcome.OK),
        status_code=None,
        latency_ms=latency,
        error=None,
    )
    return GenerationResult(
        content=values.text(content) or "",
        tokens_used=tokens,
        provider=provider,
        model=model,
        usage=usage,
        finish_reason=values.name(read.get("finish_reason")),
        tool_calls=_mappings(read.get("tool_calls")),
        reasoning_content=values.text(read.get("reasoning_content")),
        latency_ms=latency,
        cost_usd=values.amount(read.get("cost_usd")),
        request_id=values.name(read.get("request_id")),
        attempts=[attempt],
        dropped_params=names_from_data(read.get("dropped_params")),
    )


def chunk_from_data(data: object, *, provider: str) -> StreamChunk:
    """Check a piece of a stream; as ``result_from_data``."""
    read = values.mapping(data)
    if not isinstance(data, dict) or not isinstance(data.get("content") or "", str):
        raise _unreadable("a piece without a text", provider)
    return StreamChunk(
        content=values.text(read.get("content")) or "",
        provider=provider,
        model=values.name(read.get("model")),
        finish_reason=values.name(read.get("finish_reason")),
        usage=values.usage(read.get("usage")),
        tool_calls=tuple(_mappings(read.get("tool_calls"))),
        reasoning_content=values.text(read.get("reasoning_content")),
        cost_usd=values.amount(read.get("cost_usd")),
        request_id=values.name(read.get("request_id")),
    )


def embedding_from_data(data: object, *, provider: str) -> EmbeddingResult:
    """Check vectors; as ``result_from_data``."""
    read = values.mapping(data)
    vectors = read.get("embeddings")
    if not isinstance(vectors, list) or not all(map(_is_vector, vectors)):
        raise _unreadable("no vectors", provider)
    return EmbeddingResult(
        embeddings=vectors,
        provider=provider,
        model=values.name(read.get("model")),
        usage=values.usage(read.get("usage")),
        latency_ms=values.amount(read.get("latency_ms")) or 0.0,
        cost_usd=values.amount(read.get("cost_usd")),
    )


def names_from_data(data: object) -> list[str]:
    """Check names; what is none is left out."""
    return [item for item in values.items(data) if values.name(item) is not None]


def _mappings(value: object) -> list[dict[str, Any]]:
    return [values.whole(item) for item in values.items(value) if isinstance(item, dict)]


def _is_vector(value: object) -> bool:
    return isinstance(value, list) and all(type(number) in {int, float} for number in value)


def _unreadable(what: str, provider: str) -> ProviderUnavailableError:
    return ProviderUnavailableError(f"its process sent {what}", provider=provider)
