"""The values that travel: requests, results, chunks, usage, status."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any, NotRequired, TypeAlias, TypedDict

Message: TypeAlias = Mapping[str, Any]
"""A chat message in OpenAI's form: ``role``, ``content`` and what belongs to the role."""

Prompt: TypeAlias = str | Sequence[Message]
"""What a model is asked: a text, or the messages of a chat."""


class Outcome(StrEnum):
    """How an attempt ended: the rows of the failure table, and success."""

    OK = "ok"
    CONNECTION = "connection"
    TIMEOUT = "timeout"
    UNAVAILABLE = "unavailable"
    RATE_LIMITED = "rate_limited"
    QUOTA = "quota"
    AUTH = "auth"
    MODEL_NOT_FOUND = "model_not_found"
    INVALID_REQUEST = "invalid_request"
    CONTEXT_WINDOW = "context_window"
    CONTENT_POLICY = "content_policy"
    CANCELLED = "cancelled"
    STREAM_INTERRUPTED = "stream_interrupted"
    CONFIG = "config"
    ACCESS_DENIED = "access_denied"
    NO_PROVIDER = "no_provider"
    ALL_FAILED = "all_failed"


class Capability(StrEnum):
    """What a provider's model can do beyond answering a text."""

    STREAM = "stream"
    TOOLS = "tools"
    JSON_OBJECT = "json_object"
    JSON_SCHEMA = "json_schema"
    VISION = "vision"
    REASONING = "reasoning"
    EMBEDDINGS = "embeddings"
    STOP = "stop"
    SEED = "seed"


class Usage(TypedDict):
    """Tokens of one call, as counted by the upstream."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cached_tokens: NotRequired[int]
    reasoning_tokens: NotRequired[int]


class Attempt(TypedDict):
    """The record of one request to one upstream."""

    provider: str
    model: str | None
    outcome: str
    status_code: int | None
    latency_ms: float
    error: str | None


class GenerationResult(TypedDict):
    """An answer, and where it comes from.

    ``tokens_used`` is ``usage["total_tokens"]``, or 0 when the upstream counted
    nothing (then ``usage`` is None). ``cost_usd`` is None when the price is not
    known, never 0 for unknown. ``attempts`` has one record per upstream request,
    the answering one last.
    """

    content: str
    tokens_used: int
    provider: str
    model: str | None
    usage: Usage | None
    finish_reason: str | None
    tool_calls: list[dict[str, Any]]
    reasoning_content: str | None
    latency_ms: float
    cost_usd: float | None
    request_id: str | None
    attempts: list[Attempt]
    dropped_params: list[str]


class EmbeddingResult(TypedDict):
    """One vector per text, in the order of the texts."""

    embeddings: list[list[float]]
    provider: str
    model: str | None
    usage: Usage | None
    latency_ms: float
    cost_usd: float | None


@dataclass(frozen=True, slots=True)
class StreamChunk:
    """One piece of a streamed answer.

    The last chunk has ``finish_reason`` and, where the upstream counts, ``usage``
    and ``cost_usd``. Tool calls come in pieces, as OpenAI sends them.
    """

    content: str
    provider: str
    model: str | None = None
    finish_reason: str | None = None
    usage: Usage | None = None
    tool_calls: tuple[dict[str, Any], ...] = ()
    reasoning_content: str | None = None
    cost_usd: float | None = None
    request_id: str | None = None
    attempts: tuple[Attempt, ...] = ()


class ProviderStatus(TypedDict):
    """How one provider is doing; see ``ProviderManager.status``."""

    name: str
    model: str | None
    state: str
    reason: str | None
    initialized: bool
    healthy: bool
    circuit: str
    in_flight: int
    successes: int
    failures: int
    latency_ms: float | None
    check_ms: float | None
    last_error: str | None
    retry_after: float | None


@dataclass(frozen=True, slots=True)
class Request:
    """One call on its way through the manager.

    ``deadline`` is the clock's time by which the caller wants an answer or an
    error, all attempts together.
    """

    id: str
    prompt: Prompt
    deadline: float
    params: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    model: str | None = None
    provider: str | None = None
    caller: str | None = None
