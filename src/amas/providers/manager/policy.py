"""The failure table as a value: what each outcome means for what comes next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from ..types import Outcome


class Retry(StrEnum):
    """Whether the same provider is asked again."""

    NO = "no"
    ONCE = "once"
    BACKOFF = "backoff"
    SHORT_WAIT = "short_wait"


class Failover(StrEnum):
    """Whether the next provider is asked."""

    NO = "no"
    YES = "yes"
    LARGER_WINDOW = "larger_window"


class Effect(StrEnum):
    """What an outcome tells the circuit."""

    SUCCESS = "success"
    FAILURE = "failure"
    NEUTRAL = "neutral"
    TRIP = "trip"


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of the table."""

    retry: Retry
    failover: Failover
    circuit: Effect


TABLE: Mapping[Outcome, Rule] = MappingProxyType(
    {
        Outcome.OK: Rule(Retry.NO, Failover.NO, Effect.SUCCESS),
        Outcome.CONNECTION: Rule(Retry.ONCE, Failover.YES, Effect.FAILURE),
        Outcome.TIMEOUT: Rule(Retry.NO, Failover.YES, Effect.FAILURE),
        Outcome.UNAVAILABLE: Rule(Retry.BACKOFF, Failover.YES, Effect.FAILURE),
        Outcome.RATE_LIMITED: Rule(Retry.SHORT_WAIT, Failover.YES, Effect.NEUTRAL),
        Outcome.QUOTA: Rule(Retry.NO, Failover.YES, Effect.TRIP),
        Outcome.AUTH: Rule(Retry.NO, Failover.YES, Effect.TRIP),
        Outcome.MODEL_NOT_FOUND: Rule(Retry.NO, Failover.YES, Effect.NEUTRAL),
        Outcome.INVALID_REQUEST: Rule(Retry.NO, Failover.NO, Effect.SUCCESS),
        Outcome.CONTEXT_WINDOW: Rule(Retry.NO, Failover.LARGER_WINDOW, Effect.NEUTRAL),
        Outcome.CONTENT_POLICY: Rule(Retry.NO, Failover.NO, Effect.NEUTRAL),
        Outcome.CANCELLED: Rule(Retry.NO, Failover.NO, Effect.NEUTRAL),
        Outcome.STREAM_INTERRUPTED: Rule(Retry.NO, Failover.NO, Effect.FAILURE),
        # A provider that turns out to be misconfigured cannot answer, others can.
        Outcome.CONFIG: Rule(Retry.NO, Failover.YES, Effect.NEUTRAL),
        # These come from a provider that is itself a manager or a guard.
        Outcome.ACCESS_DENIED: Rule(Retry.NO, Failover.NO, Effect.NEUTRAL),
        Outcome.NO_PROVIDER: Rule(Retry.NO, Failover.YES, Effect.NEUTRAL),
        Outcome.ALL_FAILED: Rule(Retry.NO, Failover.YES, Effect.FAILURE),
    }
)
