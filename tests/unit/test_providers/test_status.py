"""How a provider is doing, in plain values."""

from __future__ import annotations

import pytest

from amas.providers import ProviderConfig
from amas.providers.errors import (
    AuthenticationError,
    ProviderError,
    ProviderUnavailableError,
    RateLimitError,
)
from amas.providers.manager.circuit_breaker import CircuitSettings
from amas.providers.manager.member import Member
from amas.providers.manager.rate_gate import RateGate
from amas.providers.manager.rate_limits import RateLimits
from amas.providers.manager.rules import Rules
from amas.providers.manager.status import describe
from amas.providers.testing import FakeProvider
from amas.providers.testing.fake_provider import FakeClock
from amas.providers.types import Outcome


@pytest.fixture
def clock() -> FakeClock:
    """Return a clock that is moved by hand."""
    return FakeClock()


def member_of(clock: FakeClock, config: ProviderConfig | None = None) -> Member:
    """Return a member that is ready, and opens its circuit at the first failure."""
    provider = FakeProvider("a")
    if config is not None:
        provider.config = config
    provider.initialized = provider.healthy = True
    return Member(provider, Rules(CircuitSettings(failure_threshold=1)), clock, lambda: 0.5)


def end(member: Member, outcome: Outcome, error: ProviderError | None = None) -> None:
    """Send a request that ends like this."""
    ticket = member.admit()
    assert ticket is not None
    member.settle(ticket, outcome, latency=0.25, error=error)


def told(member: Member) -> tuple[str, str | None]:
    """Return state and reason."""
    status = describe(member)
    return status["state"], status["reason"]


def test_every_state_has_its_name_and_its_reason(clock: FakeClock) -> None:
    """Each way of not being asked is told apart."""
    member = member_of(clock)
    provider = member.provider
    assert told(member) == ("available", None)
    provider.healthy = False
    provider.last_error = ProviderUnavailableError("no models")
    assert told(member) == ("unhealthy", "no models")
    end(member, Outcome.RATE_LIMITED, RateLimitError("slow down", retry_after=5))
    assert told(member) == ("cooling_down", "slow down")
    clock.now += 5
    end(member, Outcome.AUTH, AuthenticationError("bad key"))
    assert told(member) == ("key_refused", "bad key")
    member.reset()
    end(member, Outcome.UNAVAILABLE, ProviderUnavailableError("503"))
    assert told(member) == ("circuit_open", "503")
    provider.initialized = False
    assert told(member) == ("unavailable", "no models")
    provider.last_error = None
    assert told(member) == ("unavailable", "not initialized yet")
    provider.config = ProviderConfig("a", enabled=False)
    assert told(member) == ("disabled", "enabled: false")
    provider.config = ProviderConfig("a", enabled=False, disabled_reason="no variable")
    assert told(member) == ("disabled", "no variable")


def test_a_full_bulkhead_is_told(clock: FakeClock) -> None:
    """Busy while there is a place in the queue, full when there is none."""
    busy = member_of(clock, ProviderConfig("a", max_concurrency=1, max_queue=5))
    full = member_of(clock, ProviderConfig("a", max_concurrency=1))
    for member in (busy, full):
        assert member.bulkhead.try_enter()
    assert told(busy) == ("busy", "1 requests under way, 0 calls waiting")
    assert told(full)[0] == "full"


async def test_a_used_up_limit_is_told(clock: FakeClock) -> None:
    """With the time at which it is worth trying again."""
    member = member_of(clock)
    member.gate = RateGate(RateLimits(), "a", 1, None, clock)
    assert await member.gate.take(1)
    assert not await member.gate.take(1)
    assert told(member)[0] == "limit_reached"
    assert (describe(member)["retry_after"] or 0) > 0


def test_what_was_set_aside_without_a_failure_is_told_as_such(clock: FakeClock) -> None:
    """By hand, or because of what another process has seen."""
    member = member_of(clock)
    member.trip(60)
    assert "another process" in str(told(member)[1])


def test_values_are_plain(clock: FakeClock) -> None:
    """What has not been measured is None, errors are texts, times are rounded milliseconds."""
    member = member_of(clock)
    status = describe(member)
    unknown = ("latency_ms", "latency_p50_ms", "latency_p95_ms", "check_ms", "success_rate")
    assert [status[name] for name in unknown] == [None] * 5  # type: ignore[literal-required]
    assert (status["name"], status["model"], status["circuit"]) == ("a", "fake-model", "closed")
    assert (status["last_error"], status["next_check"], status["keys"]) == (None, None, [])
    assert status["way"] is None
    end(member, Outcome.OK)
    end(member, Outcome.UNAVAILABLE, ProviderUnavailableError("503"))
    member.lanes[0].check_seconds = 0.0123456
    status = describe(member, next_check=12.34567)
    assert (status["last_error"], status["failures"], status["successes"]) == ("503", 1, 1)
    assert (status["latency_p50_ms"], status["latency_p95_ms"]) == (250.0, 250.0)
    assert (status["check_ms"], status["next_check"]) == (12.346, 12.346)
    assert status["success_rate"] == 0.5
