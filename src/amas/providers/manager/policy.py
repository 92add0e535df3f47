"""The failure table as a value: what each outcome means for what comes next. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from ..errors import ProviderConfigError, suggestion
from ..types import Effect, Failover, Outcome, Retry

__all__ = ["KEY_OUTCOMES", "TABLE", "Effect", "Failover", "Policy", "Retry", "Rule", "change"]


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of the table."""

    retry: Retry
    failover: Failover
    circuit: Effect


Policy: TypeAlias = Mapping[Outcome, Rule]
"""What holds for one provider: a row for every outcome."""

KEY_OUTCOMES: Final = frozenset({Outcome.RATE_LIMITED, Outcome.QUOTA, Outcome.AUTH})
"""What concerns the key that was used rather than the provider."""

TABLE: Final[Policy] = MappingProxyType(
    {
        Outcome.OK: Rule(Retry.NO, Failover.NO, Effect.SUCCESS),
        Outcome.CONNECTION: Rule(Retry.ONCE, Failover.YES, Effect.FAILURE),
        Outcome.TIMEOUT: Rule(Retry.NO, Failover.YES, Effect.FAILURE),
        Outcome.UNAVAILABLE: Rule(Retry.BACKOFF, Failover.YES, Effect.FAILURE),
        Outcome.BAD_RESPONSE: Rule(Retry.NO, Failover.YES, Effect.FAILURE),
        Outcome.RATE_LIMITED: Rule(Retry.SHORT_WAIT, Failover.YES, Effect.NEUTRAL),
        Outcome.QUOTA: Rule(Retry.NO, Failover.YES, Effect.TRIP),
        Outcome.AUTH: Rule(Retry.NO, Failover.YES, Effect.TRIP),
        Outcome.MODEL_NOT_FOUND: Rule(Retry.NO, Failover.YES, Effect.NEUTRAL),
        Outcome.INVALID_REQUEST: Rule(Retry.NO, Failover.NO, Effect.SUCCESS),
        Outcome.UNSUPPORTED: Rule(Retry.NO, Failover.YES, Effect.NEUTRAL),
        Outcome.CONTEXT_WINDOW: Rule(Retry.NO, Failover.LARGER_WINDOW, Effect.NEUTRAL),
        Outcome.CONTENT_POLICY: Rule(Retry.NO, Failover.NO, Effect.NEUTRAL),
        Outcome.CANCELLED: Rule(Retry.NO, Failover.NO, Effect.NEUTRAL),
        Outcome.STREAM_INTERRUPTED: Rule(Retry.NO, Failover.NO, Effect.FAILURE),
        # A provider that turns out to be misconfigured cannot answer, others can.
        Outcome.CONFIG: Rule(Retry.NO, Failover.YES, Effect.NEUTRAL),
        # These come from a provider that is itself a manager or a guard.
        Outcome.ACCESS_DENIED: Rule(Retry.NO, Failover.NO, Effect.NEUTRAL),
        Outcome.AUDIT_UNAVAILABLE: Rule(Retry.NO, Failover.NO, Effect.NEUTRAL),
        Outcome.NO_PROVIDER: Rule(Retry.NO, Failover.YES, Effect.NEUTRAL),
        Outcome.ALL_FAILED: Rule(Retry.NO, Failover.YES, Effect.FAILURE),
    }
)

_PARTS: Final[Mapping[str, type[StrEnum]]] = MappingProxyType(
    {"retry": Retry, "failover": Failover, "circuit": Effect}
)

_FIXED: Final[Mapping[Outcome, str]] = MappingProxyType(
    {
        Outcome.OK: "an answer is passed on, and nothing else is to be done",
        Outcome.CANCELLED: "its caller has left, and says nothing about the provider",
    }
)


def change(policy: Policy, changes: Mapping[str, Mapping[str, str | bool]]) -> Policy:
    """Apply changes to a policy.

    Args:
        policy: The policy to start from; it stays as it is.
        changes: By name of the outcome, the parts that change:
            ``{"content_policy": {"failover": "yes"}}``. YAML reads a bare ``yes`` or
            ``no`` as a truth value, which is therefore understood as well.

    Returns:
        The changed policy.

    Raises:
        ProviderConfigError: An outcome, part or value is unknown, or the outcome is
            one that nobody can change.
    """
    rules = dict(policy)
    for name, parts in changes.items():
        outcome = _outcome(name)
        if not isinstance(parts, Mapping):
            raise _wrong(f"{name} must have, as a mapping, {_either(_PARTS)}")
        values: dict[str, Any] = {part: _value(name, part, to) for part, to in parts.items()}
        rules[outcome] = replace(rules[outcome], **values)
    return MappingProxyType(rules)


def _outcome(name: str) -> Outcome:
    names = [str(item) for item in Outcome if item not in _FIXED]
    if name in names:
        return Outcome(name)
    if name in _FIXED:
        raise _wrong(f"{name} cannot be changed: {_FIXED[Outcome(name)]}")
    raise _wrong(f"unknown outcome {name!r}{suggestion(name, names)}; it may be {_either(names)}")


def _value(name: str, part: str, value: str | bool) -> StrEnum:
    if part not in _PARTS:
        raise _wrong(
            f"{name} has no {part!r}{suggestion(part, _PARTS)}; it may have {_either(_PARTS)}"
        )
    word = ("no", "yes")[value] if isinstance(value, bool) else value
    names = [str(item) for item in _PARTS[part]]
    if word not in names:
        raise _wrong(
            f"{name}.{part} must be {_either(names)}, not {value!r}{suggestion(value, names)}"
        )
    return _PARTS[part](word)


def _either(names: Iterable[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} or {last}"


def _wrong(text: str) -> ProviderConfigError:
    return ProviderConfigError(f"policy: {text}", field="policy")
