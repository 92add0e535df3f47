"""The values that travel: requests, results, chunks, usage, status."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any, NotRequired, TypeAlias, TypedDict

from typing_extensions import override

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
    UNSUPPORTED = "unsupported"
    CONTEXT_WINDOW = "context_window"
    CONTENT_POLICY = "content_policy"
    CANCELLED = "cancelled"
    STREAM_INTERRUPTED = "stream_interrupted"
    CONFIG = "config"
    ACCESS_DENIED = "access_denied"
    AUDIT_UNAVAILABLE = "audit_unavailable"
    NO_PROVIDER = "no_provider"
    ALL_FAILED = "all_failed"
    BAD_RESPONSE = "bad_response"


class Retry(StrEnum):
    """Whether the same provider is asked again after an outcome."""

    NO = "no"
    ONCE = "once"
    BACKOFF = "backoff"
    SHORT_WAIT = "short_wait"


class Failover(StrEnum):
    """Whether the next provider is asked after an outcome."""

    NO = "no"
    YES = "yes"
    LARGER_WINDOW = "larger_window"


class Effect(StrEnum):
    """What an outcome tells the circuit."""

    SUCCESS = "success"
    FAILURE = "failure"
    NEUTRAL = "neutral"
    TRIP = "trip"


class ResponseCheck(StrEnum):
    """What an answer may be checked for, beyond being readable."""

    NOT_EMPTY = "not_empty"
    JSON = "json"


class HealthProbe(StrEnum):
    """How a provider is asked for its health: by listing models, by one paid token, or not."""

    FREE = "free"
    PAID = "paid"
    OFF = "off"


class DispatchMode(StrEnum):
    """How calls get to the wire: straight, through all of LiteLLM, or straight where that is proven."""

    AUTO = "auto"
    DIRECT = "direct"
    LITELLM = "litellm"


class Isolation(StrEnum):
    """Where a provider's code runs: in the service itself, or in a child process of its own."""

    NONE = "none"
    PROCESS = "process"


@dataclass(frozen=True, slots=True)
class SandboxLimits:
    """What the child process of an isolated provider may use.

    Args:
        memory_mb: Most memory, in MiB.
        cpu_seconds: Most seconds of CPU for one call.
        open_files: Most files and connections open at a time.
    """

    memory_mb: int = 2048
    cpu_seconds: int = 60
    open_files: int = 256


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
    PREFILL = "prefill"


class Usage(TypedDict):
    """Tokens of one call, as counted by the upstream."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cached_tokens: NotRequired[int]
    reasoning_tokens: NotRequired[int]


@dataclass(frozen=True, slots=True)
class Price:
    """What tokens cost, in US dollars per million.

    Args:
        input: Of the prompt.
        output: Of the answer.
    """

    input: float
    output: float

    def of(self, input_tokens: int, output_tokens: int) -> float:
        """Return the price of so many tokens, in US dollars."""
        return (self.input * input_tokens + self.output * output_tokens) / 1_000_000


class Attempt(TypedDict):
    """The record of one request to one upstream.

    ``key`` says which of several keys was used, counted from 1; ``hedge`` marks a
    request sent beside another one that was slow.
    """

    provider: str
    model: str | None
    outcome: str
    status_code: int | None
    latency_ms: float
    error: str | None
    key: NotRequired[int]
    hedge: NotRequired[bool]


class GenerationResult(TypedDict):
    """An answer, and where it comes from.

    ``tokens_used`` is ``usage["total_tokens"]``, or 0 when the upstream counted
    nothing (then ``usage`` is None). ``cost_usd`` is None when the price is not
    known, never 0 for unknown. ``attempts`` has one record per upstream request,
    the answering one last. ``alias`` is there if a call named one instead of a model.
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
    alias: NotRequired[str]


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

    ``event`` is set on chunks without content that tell of a stream broken off and
    taken over: ``"restart"`` (another answer begins; forget what came) or
    ``"continue"`` (another provider goes on with the same answer).
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
    event: str | None = None


class KeyStatus(TypedDict):
    """How one of a provider's several keys is doing; ``key`` counts from 1."""

    key: int
    state: str
    retry_after: float | None


class ProviderStatus(TypedDict):
    """How one provider is doing; see ``ProviderManager.status``.

    Times in ``…_ms`` are milliseconds, ``retry_after`` and ``next_check`` seconds from
    now, ``success_rate`` the share of the last minute's requests from 0 to 1; each is
    None while nothing is known. ``way`` is how its calls get to the wire: ``direct``, or
    ``litellm: `` and why; None for providers of another kind.
    """

    name: str
    model: str | None
    way: str | None
    state: str
    reason: str | None
    initialized: bool
    healthy: bool
    circuit: str
    in_flight: int
    waiting: int
    successes: int
    failures: int
    success_rate: float | None
    latency_ms: float | None
    latency_p50_ms: float | None
    latency_p95_ms: float | None
    check_ms: float | None
    next_check: float | None
    last_error: str | None
    retry_after: float | None
    keys: list[KeyStatus]


@dataclass(frozen=True, slots=True)
class Needs:
    """What a call asks of whoever answers it.

    Args:
        capabilities: What the model must be able to do.
        prompt_tokens: Estimate of the prompt's length in tokens.
        answer_tokens: Longest answer that is wanted, in tokens; None if that was not said.
    """

    capabilities: frozenset[Capability] = frozenset()
    prompt_tokens: int = 0
    answer_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Alias:
    """A name for models: whom a call by it asks, and nobody else.

    Args:
        name: The name.
        models: Names of the providers, in the order they are asked, and the model each is
            asked for; None for its own.
        params: Defaults for the parameters of such a call; they go before the provider's.
        strategy: Another order in which they are asked; None for that of ``models``.
    """

    name: str
    models: Mapping[str, str | None]
    params: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    strategy: str | None = None

    @override
    def __str__(self) -> str:
        return f"model {self.name!r} (alias: {', '.join(self.models)})"


@dataclass(frozen=True, slots=True)
class Request:
    """One call on its way through the manager.

    ``deadline`` is the clock's time by which the caller wants an answer or an
    error, all attempts together; ``max_providers`` how many may be asked, None for all.
    ``alias`` is what the caller named instead of a model; ``model`` is then None.
    """

    id: str
    prompt: Prompt
    deadline: float
    params: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    model: str | None = None
    provider: str | None = None
    caller: str | None = None
    needs: Needs = Needs()
    max_providers: int | None = None
    alias: Alias | None = None

    @property
    def alias_name(self) -> str | None:
        """Name of the alias; None if there is none."""
        return None if self.alias is None else self.alias.name
