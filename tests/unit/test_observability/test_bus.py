"""Events reach everybody who wants to know, and nobody can hold up or break what happens."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from amas.providers.observability.audit.log import AuditLog
from amas.providers.observability.bus import EventBus
from amas.providers.observability.events import (
    AccessDecision,
    CircuitChanged,
    Event,
    HealthChanged,
    KeyChange,
    RecordsTrouble,
)
from amas.providers.observability.worker import Worker


def health(*, healthy: bool = True) -> HealthChanged:
    """Make an event."""
    return HealthChanged(at=1.0, provider="a", key=1, healthy=healthy)


class Seen:
    """An observer that keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.open = threading.Event()
        self.open.set()

    def observe(self, events: Sequence[Event]) -> None:
        self.open.wait(10)
        self.events += events


class Broken:
    """An observer that can do nothing but raise."""

    listening = True

    def observe(self, events: Sequence[Event]) -> None:
        raise RuntimeError("broken")

    def record(self, event: Event) -> None:
        raise RuntimeError("broken")


async def test_every_observer_is_told_in_order() -> None:
    """Of all events, in a thread of its own."""
    one, other = Seen(), Seen()
    bus = EventBus(observers=[one, other])
    events = [health(healthy=bool(number % 2)) for number in range(10)]
    for event in events:
        bus.emit(event)
    await bus.flush()
    assert one.events == other.events == events
    await bus.close()


async def test_a_broken_observer_keeps_nobody_from_anything() -> None:
    """Neither the one who tells nor the other observers notice."""
    seen = Seen()
    bus = EventBus(inline=[Broken()], observers=[Broken(), seen])
    bus.emit(health())
    await bus.close()
    assert seen.events == [health()]


async def test_a_slow_observer_holds_nobody_up() -> None:
    """The others go on, and what it has no room for is counted."""
    slow, seen = Seen(), Seen()
    slow.open.clear()
    bus = EventBus(
        observers=[seen],
        workers=[("slow", Worker("slow", slow.observe, capacity=5))],
    )
    for _ in range(100):
        bus.emit(health())
    await bus._workers["Seen-1"].flush()
    assert len(seen.events) == 100
    assert bus.dropped()["slow"] >= 90
    assert bus.dropped()["Seen-1"] == 0
    slow.open.set()
    await bus.close()


@pytest.mark.parametrize("level", ["INFO", "WARNING"])
def test_a_bus_knows_whether_anybody_listens(level: str, caplog: pytest.LogCaptureFixture) -> None:
    """Events that nobody wants need not be made."""
    assert not EventBus().listening
    assert EventBus(observers=[Seen()]).listening
    caplog.set_level(level, "amas.audit")
    assert EventBus(inline=[AuditLog()]).listening is (level == "INFO")


def test_what_somebody_should_look_at_is_serious() -> None:
    """Denials, keys that were not taken, and trouble with records."""
    trouble = RecordsTrouble(at=0, trail="f", working=False)
    denied = AccessDecision(at=0, request_id="r", caller="c", allowed=False)
    taken = KeyChange(at=0, provider="a", key=1, changed=True, cause="reload")
    opened = CircuitChanged(at=0, provider="a", key=None, before="closed", after="open")
    assert [event.serious for event in (trouble, denied, taken, opened)] == [
        True,
        True,
        False,
        False,
    ]
    assert RecordsTrouble(at=0, trail="f", working=True, lost=1).serious
