"""The section ``manager:`` as a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field, GetPydanticSchema, PlainSerializer

from .field_types import (
    Count,
    EffectWord,
    FailoverWord,
    Flag,
    HedgeDelay,
    OutcomeName,
    Prefix,
    ResponseChecks,
    Retries,
    RetryWord,
    Seconds,
    Share,
    ShareAboveZero,
    State,
    Texts,
    as_text,
)
from .section import Section

Strategy: TypeAlias = Literal[
    "priority", "round_robin", "weighted", "intelligent", "fastest", "least_busy", "cheapest"
]
StreamRecovery: TypeAlias = Literal["raise", "restart", "continue"]


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
    minimum_calls: Count = Field(
        default=1,
        title="Least calls",
        description="Calls within the window below which a provider is never set aside;"
        " as many as failure_threshold it takes in any case.",
        examples=[20],
    )
    failure_rate: ShareAboveZero = Field(
        default=0.5,
        title="Failure rate",
        description="Share of failed calls, above 0 up to 1, from which a provider is set aside.",
        examples=[0.5],
    )


class PolicyRule(Section):
    """What changes in one row of the failure table; what is left out stays as it is."""

    retry: RetryWord | None = Field(
        default=None,
        title="Retry",
        description="Whether the same provider is asked again.",
        examples=["backoff"],
    )
    failover: FailoverWord | None = Field(
        default=None,
        title="Failover",
        description="Whether the next provider is asked.",
        examples=["yes"],
    )
    circuit: EffectWord | None = Field(
        default=None,
        title="Circuit",
        description="What the outcome tells the circuit.",
        examples=["failure"],
    )


def _plain(rules: Mapping[str, PolicyRule]) -> dict[str, dict[str, str]]:
    return {
        name: {part: str(value) for part, value in rule if value is not None}
        for name, rule in rules.items()
    }


_Rules = Annotated[Mapping[OutcomeName, PolicyRule], AfterValidator(_plain), PlainSerializer(dict)]

# Checked as rules, and then plain texts, in the shape of ``ProviderConfig.policy``.
Policy = Annotated[
    Mapping[str, Mapping[str, str]],
    GetPydanticSchema(lambda _source, handler: handler(_Rules)),
]


class HedgeSettings(Section):
    """When a second provider is asked beside a slow one."""

    after: HedgeDelay = Field(
        default="p95",
        title="After",
        description="How long the first provider may take: its usual p95, or so many seconds.",
        examples=["p95", 2.5],
    )
    max_share: ShareAboveZero = Field(
        default=0.1,
        title="Largest share",
        description="Share of the calls, above 0 up to 1, that may ask a second provider.",
        examples=[0.1],
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
        json_schema_extra={"uniqueItems": True},
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
    retry_budget: Share = Field(
        default=0.2,
        title="Retry budget",
        description="Share of a provider's requests, 0 to 1, that may be retries.",
        examples=[0.2],
    )
    policy: Policy = Field(
        default_factory=dict,
        title="Policy",
        description="Changes of the failure table, by outcome: retry, failover, circuit.",
        examples=[{"content_policy": {"failover": "yes"}}],
    )
    response_checks: ResponseChecks = Field(
        default=frozenset(),
        title="Response checks",
        description="What answers are checked for; one that fails counts as the provider's failure.",
        examples=[["not_empty"]],
    )
    stream_recovery: Annotated[StreamRecovery, BeforeValidator(as_text)] = Field(
        default="raise",
        title="Stream recovery",
        description="What happens to a stream that breaks off after content.",
        examples=["raise"],
    )
    hedge: HedgeSettings | None = Field(
        default=None,
        title="Hedging",
        description="When the next provider is asked beside one that is slow; never by default.",
        examples=[{"after": "p95"}],
    )
    reload_on_change: Flag = Field(
        default=False,
        title="Reload on change",
        description="Whether the configuration's files are read again when they change.",
        examples=[True],
    )
    warm_up: Flag = Field(
        default=False,
        title="Warm-up",
        description="Whether a start opens a connection to each provider, for the first call to find.",
        examples=[True],
    )
    state_prefix: Prefix = Field(
        default="amas-providers",
        title="State prefix",
        description="How every key in the Redis begins.",
        examples=["amas-providers"],
    )
