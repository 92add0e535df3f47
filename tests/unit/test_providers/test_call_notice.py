"""What is told of a call: nothing is made that nobody wants to know of."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from amas.providers import ProviderManager
from amas.providers.errors import AllProvidersFailedError, ProviderUnavailableError
from amas.providers.manager import call_notice
from amas.providers.observability.events import CallEnded, Event
from amas.providers.testing import FakeProvider


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect the outcomes of the records of calls that are made."""
    outcomes: list[str] = []

    def make(**found: object) -> CallEnded:
        outcomes.append(str(found["outcome"]))
        return CallEnded(**found)  # type: ignore[arg-type]

    monkeypatch.setattr(call_notice, "CallEnded", make)
    return outcomes


async def test_without_anybody_who_listens_no_record_is_made(
    made: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """But of calls that nobody could answer: those are told in any case."""
    caplog.set_level("WARNING", "amas")
    down = FakeProvider("a", default=ProviderUnavailableError("down"), max_retries=0)
    async with ProviderManager(providers=[FakeProvider("b"), down]) as manager:
        await manager.generate("hi", provider="b")
        assert made == []
        manager.trip("b", 60)
        with pytest.raises(AllProvidersFailedError):
            await manager.generate("hi")
    assert made == ["all_failed"]
    assert any(record.name == "amas.audit" for record in caplog.records)


async def test_with_one_who_listens_each_call_is_told(made: list[str]) -> None:
    """To its end, once."""

    class Seen:
        def __init__(self) -> None:
            self.events: list[Event] = []

        def observe(self, events: Sequence[Event]) -> None:
            self.events += events

    seen = Seen()
    async with ProviderManager(providers=[FakeProvider("a")], observers=[seen]) as manager:
        await manager.generate("hi")
        async for _ in manager.stream("hi"):
            pass
        await manager.flush()
    assert made == ["ok", "ok"]
    told = [event.kind for event in seen.events if event.kind in {"attempt", "call"}]
    assert told == ["attempt", "call"] * 2
