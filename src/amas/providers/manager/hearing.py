"""What one manager takes over from those in other processes."""

from __future__ import annotations

from collections.abc import Mapping

from .circuit_breaker import CircuitState
from .lane import Lane
from .member import Member
from .state_store import Entry


def shared_keys(member: Member) -> list[str]:
    """Return the names of what other processes may tell about a provider."""
    sharing = member.sharing
    keys = [sharing.circuit_key, sharing.latency_key]
    for lane in member.lanes:
        keys.append(sharing.key_circuit(lane.mark))
        keys.append(sharing.key_cooldown(lane.mark))
    return keys


def adopt(member: Member, told: Mapping[str, Entry], asked_at: float) -> None:
    """Take over what other processes have told about a provider.

    Args:
        member: The provider.
        told: The entries by name.
        asked_at: When the question for them was sent.
    """
    sharing = member.sharing
    closed = False
    if entry := told.get(sharing.circuit_key):
        closed = member.breaker.adopt(entry, asked_at)
    if entry := told.get(sharing.latency_key):
        average = entry.data.get("average")
        if isinstance(average, int | float):
            member.latencies.adopt(float(average))
    for lane in member.lanes:
        key_closed = False
        if entry := told.get(sharing.key_circuit(lane.mark)):
            key_closed = lane.breaker.adopt(entry, asked_at)
        if closed or key_closed:
            _trust(member, lane)
        entry = told.get(sharing.key_cooldown(lane.mark))
        if entry is not None and entry.version != lane.cooldown_version:
            lane.cooldown_version, lane.cooling_until = entry.version, entry.until


def _trust(member: Member, lane: Lane) -> None:
    """Take a key for healthy, since another process has seen that the provider is back."""
    states = {member.breaker.state, lane.breaker.state}
    if lane.ready and states == {CircuitState.CLOSED}:
        lane.provider.healthy = True
        member.doubts, member.doubted_until = 0, 0.0
