"""How a provider is doing, in plain values: for operators, and for errors that say why."""

from __future__ import annotations

from collections.abc import Sequence

from ..types import ProviderStatus
from .lane import Lane
from .latency import milliseconds
from .member import Member


def describe(member: Member, next_check: float | None = None) -> ProviderStatus:
    """Describe how a provider is doing.

    Args:
        member: The provider.
        next_check: Seconds until it is checked next; None if it will not be.
    """
    state = _state(member)
    wait = member.wait()
    checks = [lane.check_seconds for lane in member.lanes if lane.check_seconds is not None]
    return ProviderStatus(
        name=member.name,
        model=member.provider.model,
        way=member.provider.way,
        state=state,
        reason=_reason(member, state),
        initialized=member.ready,
        healthy=member.healthy,
        circuit=str(member.breaker.state),
        in_flight=member.bulkhead.in_flight,
        waiting=member.bulkhead.waiting,
        successes=member.successes,
        failures=member.failures,
        success_rate=member.success_rate,
        latency_ms=milliseconds(member.latencies.average),
        latency_p50_ms=milliseconds(member.latencies.percentile(0.5)),
        latency_p95_ms=milliseconds(member.latencies.percentile(0.95)),
        check_ms=milliseconds(max(checks, default=None)),
        next_check=None if next_check is None else round(next_check, 3),
        last_error=member.last_error.message if member.last_error else None,
        retry_after=wait if wait > 0 else None,
        keys=[lane.status() for lane in member.lanes] if len(member.lanes) > 1 else [],
    )


def _state(member: Member) -> str:
    """Name why it would not be asked now; "available" if it would."""
    ready = [lane for lane in member.lanes if lane.ready]
    bulkhead = member.bulkhead
    reasons = (
        ("disabled", not member.provider.config.enabled),
        ("unavailable", not ready),
        ("circuit_open", member.breaker.free_at() > member.clock()),
        (_keys_state(ready), not any(lane.available(lane.clock()) for lane in ready)),
        ("limit_reached", member.limited_for() > 0),
        ("full", not bulkhead.has_room and not bulkhead.may_wait),
        ("busy", not bulkhead.has_room),
        ("unhealthy", not member.healthy),
    )
    return next((name for name, holds in reasons if holds), "available")


def _keys_state(lanes: Sequence[Lane]) -> str:
    cooling = any(lane.breaker.free_at() <= lane.clock() for lane in lanes)
    return "cooling_down" if cooling else "key_refused"


def _reason(member: Member, state: str) -> str | None:
    config, bulkhead = member.provider.config, member.bulkhead
    match state:
        case "available":
            reason = None
        case "disabled":
            reason = config.disabled_reason or "enabled: false"
        case "limit_reached":
            reason = "its requests or tokens per minute are used up"
        case "busy" | "full":
            reason = f"{bulkhead.in_flight} requests under way, {bulkhead.waiting} calls waiting"
        case _:
            reason = _trouble(member, state)
    return reason


def _trouble(member: Member, state: str) -> str | None:
    """Return the error that explains a state: of a check, or of a call."""
    checked, called = member.provider.last_error, member.last_error
    if state == "unavailable":
        return checked.message if checked else "not initialized yet"
    error = (checked or called) if state == "unhealthy" else (called or checked)
    if error is None:
        return "another process has seen it fail, or somebody has set it aside"
    return error.message
