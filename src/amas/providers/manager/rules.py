"""What holds for one provider, from its own configuration or else the manager's. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from ...config.provider_settings import ManagerSettings
from ..base import ProviderConfig
from ..types import ResponseCheck
from .circuit_breaker import CircuitSettings
from .policy import TABLE, Policy, change

# Seconds beyond a provider's own clocks after which a probe that never reported is given up.
_LEASE_MARGIN = 5.0


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of one provider.

    Args:
        circuit: When its circuit opens, and for how long.
        policy: What each outcome means.
        retry_share: Retries are at most this share of its requests.
        response_checks: What its answers are checked for.
    """

    circuit: CircuitSettings = field(default_factory=CircuitSettings)
    policy: Policy = field(default_factory=lambda: TABLE)
    retry_share: float = 0.2
    response_checks: Collection[ResponseCheck] = ()


def rules_for(settings: ManagerSettings, config: ProviderConfig) -> Rules:
    """Put together what holds for a provider.

    Args:
        settings: The section ``manager:``.
        config: The provider's row.

    Raises:
        ProviderConfigError: A policy names what there is not.
    """
    longest = max(config.timeout, config.stream_timeout or 0, config.first_content_timeout or 0)
    return Rules(
        circuit=CircuitSettings(
            **settings.circuit_breaker.model_dump(), probe_lease=longest + _LEASE_MARGIN
        ),
        policy=change(change(TABLE, settings.policy), config.policy),
        retry_share=settings.retry_budget,
        response_checks=(
            settings.response_checks if config.response_checks is None else config.response_checks
        ),
    )
