"""The sections below ``providers:`` as models: frozen, strict, unknown keys rejected.

Titles, descriptions and examples are data: the JSON schema and the messages
about mistakes are made from them. Times are in seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError

from .field_types import (
    Capabilities,
    Count,
    Dollars,
    Flag,
    Interval,
    MasterKey,
    Options,
    Parameters,
    Retries,
    Seconds,
    SecretText,
    State,
    Text,
    Texts,
    Webhook,
    as_text,
)

Strategy: TypeAlias = Literal[
    "priority", "round_robin", "weighted", "intelligent", "fastest", "least_busy", "cheapest"
]
PlaintextPolicy: TypeAlias = Literal["allow", "warn", "forbid"]
AuditContent: TypeAlias = Literal["none", "hash", "full"]


class Section(BaseModel):
    """What all sections have in common."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)


class CircuitBreakerSettings(Section):
    """The rule by which a failing provider is left alone for a while."""

    failure_threshold: Count = Field(
        default=5,
        title="Failure threshold",
        description="Failures within the window after which a provider is set aside.",
        examples=[5],
    )
    window: Seconds = Field(
        default=60.0,
        title="Window",
        description="Seconds in which failures are counted together.",
        examples=[60],
    )
    cooldown: Seconds = Field(
        default=30.0,
        title="Cooldown",
        description="Seconds until a provider that was set aside is probed for the first time.",
        examples=[30],
    )
    max_cooldown: Seconds = Field(
        default=600.0,
        title="Longest cooldown",
        description="Seconds up to which the cooldown grows while probes fail.",
        examples=[600],
    )


class ManagerSettings(Section):
    """How the manager chooses, fails over and watches."""

    enabled: Flag = Field(
        default=True,
        title="Enabled",
        description="Whether calls are served at all.",
        examples=[True],
    )
    failover_enabled: Flag = Field(
        default=True,
        title="Failover",
        description="Whether the next provider is asked when one fails.",
        examples=[True],
    )
    health_check_interval: Seconds = Field(
        default=30.0,
        title="Health check interval",
        description="Seconds between two health checks of a provider.",
        examples=[30],
    )
    max_retries: Retries = Field(
        default=3,
        title="Retries",
        description="Retries at the same provider, for providers that do not set their own.",
        examples=[3],
    )
    strategy: Annotated[Strategy, BeforeValidator(as_text)] = Field(
        default="priority",
        title="Strategy",
        description="How the provider for a call is chosen.",
        examples=["priority"],
    )
    fallback_order: Texts = Field(
        default=(),
        title="Fallback order",
        description="Providers in the order they are asked; the others follow as in the file.",
        examples=[["openai", "anthropic", "local"]],
    )
    deadline: Seconds = Field(
        default=120.0,
        title="Deadline",
        description="Seconds for one call, all attempts together.",
        examples=[120],
    )
    state: State = Field(
        default="memory",
        repr=False,  # the address may have a password
        title="State",
        description="Where circuits, budgets and latencies are kept: memory, or a Redis.",
        examples=["memory", "redis://localhost:6379/0"],
    )
    circuit_breaker: CircuitBreakerSettings = Field(
        default_factory=CircuitBreakerSettings,
        title="Circuit breaker",
        description="When a failing provider is set aside, and for how long.",
        examples=[{"failure_threshold": 5}],
    )


class AccessRule(Section):
    """What one caller may do; what is left out is not restricted."""

    @field_validator("*", mode="before")
    @classmethod
    def _not_empty(cls, value: object) -> object:
        # Elsewhere an empty value is the default; here that would lift the restriction.
        if value is None:
            raise PydanticCustomError("empty", "is empty, which restricts nothing")
        return value

    providers: Texts | None = Field(
        default=None,
        title="Providers",
        description="Names of the providers the caller may use.",
        examples=[["openai", "local"]],
    )
    models: Texts | None = Field(
        default=None,
        title="Models",
        description="Patterns of the models the caller may use, as in a shell.",
        examples=[["openai/*"]],
    )
    max_tokens: Count | None = Field(
        default=None,
        title="Most tokens",
        description="The most tokens the caller may ask for in one answer.",
        examples=[2000],
    )
    budget_usd_per_day: Dollars | None = Field(
        default=None,
        title="Budget",
        description="US dollars the caller may spend in a day.",
        examples=[5],
    )


class SecuritySettings(Section):
    """How keys are kept, and the rules for callers."""

    master_key: MasterKey | None = Field(
        default=None,
        title="Master key",
        description="Opens the enc: values; best a ${VAR}, file: or keyring: reference.",
        examples=["${AMAS_MASTER_KEY}"],
    )
    plaintext_keys: Annotated[PlaintextPolicy, BeforeValidator(as_text)] = Field(
        default="warn",
        title="Plaintext keys",
        description="What happens when a key stands in the file as plain text.",
        examples=["warn"],
    )
    access: Mapping[str, AccessRule] = Field(
        default_factory=dict,
        title="Access",
        description="Rules by caller.",
        examples=[{"osint_agent": {"providers": ["openai", "local"], "max_tokens": 2000}}],
    )


class AuditSettings(Section):
    """The record of every call."""

    path: Text | None = Field(
        default=None,
        title="Path",
        description="File the records are appended to; without it they go to a logger.",
        examples=["logs/provider-audit.jsonl"],
    )
    content: Annotated[AuditContent, BeforeValidator(as_text)] = Field(
        default="none",
        title="Content",
        description="What of prompts and answers is recorded: none, hash or full.",
        examples=["none"],
    )


class AlertSettings(Section):
    """Who is told when a provider needs somebody."""

    webhook: Webhook | None = Field(
        default=None,
        title="Webhook",
        description="Address alerts are posted to; a credential, so best a reference.",
        examples=["${ALERT_WEBHOOK}"],
    )
    min_interval: Interval = Field(
        default=300.0,
        title="Least interval",
        description="Seconds between two alerts about the same thing.",
        examples=[300],
    )


class ProviderSettings(Section):
    """One provider."""

    enabled: Flag = Field(
        default=True, title="Enabled", description="Whether it takes part.", examples=[True]
    )
    api_key: SecretText | None = Field(
        default=None,
        title="API key",
        description="Its key as a reference (${VAR}, file:, enc:), or none where it wants none.",
        examples=["${OPENAI_API_KEY}"],
    )
    base_url: Text | None = Field(
        default=None,
        title="Base URL",
        description="Address of its API; the catalogue knows those of the well-known.",
        examples=["https://api.openai.com/v1"],
    )
    timeout: Seconds = Field(
        default=30.0,
        title="Timeout",
        description="Seconds for one attempt, from the request to the complete answer.",
        examples=[30],
    )
    max_retries: Retries | None = Field(
        default=None,
        title="Retries",
        description="Retries after a passing failure; the manager's max_retries by default.",
        examples=[3],
    )
    model: Text | None = Field(
        default=None,
        title="Model",
        description="Model to ask, with LiteLLM's prefix where the name does not say the vendor.",
        examples=["groq/llama-3.3-70b-versatile"],
    )
    provider: Text | None = Field(
        default=None,
        title="Provider",
        description="Name in the catalogue, where neither the name nor the model says it.",
        examples=["openai"],
    )
    first_content_timeout: Seconds | None = Field(
        default=None,
        title="First content timeout",
        description="Seconds until the first content of a stream; timeout by default.",
        examples=[10],
    )
    idle_timeout: Seconds | None = Field(
        default=None,
        title="Idle timeout",
        description="Seconds between two pieces of a stream; timeout by default.",
        examples=[15],
    )
    stream_timeout: Seconds | None = Field(
        default=None,
        title="Stream timeout",
        description="Seconds for a whole stream; timeout by default.",
        examples=[120],
    )
    params: Parameters = Field(
        default_factory=dict,
        repr=False,  # what is pasted there by mistake stays out of logs
        title="Parameters",
        description="Defaults for the parameters of a call.",
        examples=[{"temperature": 0.2}],
    )
    options: Options = Field(
        default_factory=dict,
        repr=False,  # credentials may stand at any depth
        title="Options",
        description="LiteLLM's own parameters for this vendor; a caller cannot set them.",
        examples=[{"api_version": "2024-10-21"}],
    )
    capabilities: Capabilities | None = Field(
        default=None,
        title="Capabilities",
        description="What the model can do; the catalogue's answer by default.",
        examples=[["stream", "tools"]],
    )
    context_window: Count | None = Field(
        default=None,
        title="Context window",
        description="Tokens the model can take in; the catalogue's answer by default.",
        examples=[128000],
    )
    embedding_model: Text | None = Field(
        default=None,
        title="Embedding model",
        description="Model for embeddings; the catalogue's answer by default.",
        examples=["text-embedding-3-small"],
    )
