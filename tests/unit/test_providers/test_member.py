"""A provider in the manager's care: permits, cooldowns, counters and status."""

from __future__ import annotations

import pytest

from amas.providers import ProviderConfig
from amas.providers.errors import (
    AuthenticationError,
    InvalidRequestError,
    ProviderConfigError,
    ProviderError,
    ProviderUnavailableError,
    RateLimitError,
)
from amas.providers.manager.circuit_breaker import CircuitSettings, CircuitState
from amas.providers.manager.member import Member, is_trip, require_provider
from amas.providers.testing import FakeProvider
from amas.providers.testing.fake_provider import FakeClock
from amas.providers.types import Outcome

SETTINGS = CircuitSettings(failure_threshold=2, cooldown=30, max_cooldown=600)


@pytest.fixture
def clock() -> FakeClock:
    """Return a clock that is moved by hand."""
    return FakeClock()


@pytest.fixture
async def member(clock: FakeClock) -> Member:
    """Return a provider that is ready."""
    member = Member(FakeProvider("a"), SETTINGS, clock, lambda: 0.5)
    await member.provider.initialize()
    return member


def end(member: Member, outcome: Outcome, error: ProviderError | None = None) -> None:
    """Send a request that ends like this."""
    permit = member.admit()
    assert permit is not None
    member.settle(permit, outcome, latency=0.25, error=error)


def fail(member: Member, times: int = 1) -> None:
    """Let requests fail with 503."""
    for _ in range(times):
        end(member, Outcome.UNAVAILABLE, ProviderUnavailableError("503", status_code=503))


def test_in_flight_counts_what_is_under_way(member: Member) -> None:
    """It grows with each permit and shrinks with each settlement."""
    permits = [member.admit() for _ in range(3)]
    assert member.in_flight == 3
    for permit in permits:
        assert permit is not None
        member.settle(permit, Outcome.CANCELLED, latency=0.1, error=None)
    assert member.in_flight == 0
    assert (member.successes, member.failures) == (0, 0)


def test_nobody_is_admitted_to_a_provider_that_is_not_ready(member: Member) -> None:
    """A provider that is shut down gets no requests, and no slot is counted."""
    member.provider.initialized = False
    assert member.admit() is None
    assert member.in_flight == 0


def test_a_success_vouches_for_the_provider(member: Member, clock: FakeClock) -> None:
    """It makes it healthy, notes when, and moves the average latency."""
    member.provider.healthy = False
    end(member, Outcome.OK)
    assert member.provider.healthy
    assert member.succeeded_at == clock.now
    permit = member.admit()
    assert permit is not None
    member.settle(permit, Outcome.OK, latency=1.25, error=None)
    assert member.status()["latency_ms"] == 450.0


@pytest.mark.parametrize(
    ("asked", "wait"), [(None, 1.0), (0.0, 0.0), (7.0, 7.0), (86_400.0, 600.0)]
)
def test_a_rate_limit_cools_down(
    member: Member, clock: FakeClock, asked: float | None, wait: float
) -> None:
    """For as long as asked, but no longer than a circuit may stay open; else for a second."""
    end(member, Outcome.RATE_LIMITED, RateLimitError("429", retry_after=asked))
    assert member.cooling_until - clock.now == wait
    assert member.available() == (wait == 0)
    assert member.circuit.state is CircuitState.CLOSED
    clock.now += wait
    assert member.available()


def test_a_shorter_wish_does_not_end_a_longer_cooldown(member: Member, clock: FakeClock) -> None:
    """Of two rate limits under way the longer one holds."""
    first, second = member.admit(), member.admit()
    assert first is not None
    assert second is not None
    for permit, asked in ((first, 60.0), (second, 1.0)):
        error = RateLimitError("429", retry_after=asked)
        member.settle(permit, Outcome.RATE_LIMITED, latency=0.1, error=error)
    assert member.wait() == 60.0


def test_an_open_circuit_says_when_to_come_back(member: Member, clock: FakeClock) -> None:
    """``retry_after`` counts down with the clock."""
    fail(member, 2)
    assert member.status()["state"] == "circuit_open"
    assert member.status()["retry_after"] == 30.0
    clock.now += 10
    assert member.status()["retry_after"] == 20.0


def test_while_a_probe_is_under_way_others_need_not_wait_for_its_lease(
    member: Member, clock: FakeClock
) -> None:
    """They are told to come back soon, since the outcome is known soon."""
    fail(member, 2)
    clock.now += 31
    assert member.admit() is not None
    assert member.admit() is None
    assert member.status()["retry_after"] == 1.0


def test_a_request_refused_before_it_was_sent_says_nothing(
    member: Member, clock: FakeClock
) -> None:
    """A caller's mistake found here does not close a circuit; found by the upstream it does."""
    fail(member, 2)
    clock.now += 31
    end(member, Outcome.INVALID_REQUEST, InvalidRequestError("no such parameter"))
    assert member.status()["circuit"] == "half_open"
    end(member, Outcome.INVALID_REQUEST, InvalidRequestError("too many", status_code=400))
    assert member.circuit.state is CircuitState.CLOSED


def test_misconfigured_is_who_needs_the_owner() -> None:
    """Switched off or not configured, unlike one that is merely away."""
    away, wrong, ready = FakeProvider("a"), FakeProvider("b"), FakeProvider("c")
    away.last_error = ProviderUnavailableError("down")
    wrong.last_error = ProviderConfigError("no key")
    ready.initialized, ready.last_error = True, ProviderConfigError("once")
    off = FakeProvider("d")
    off.config = ProviderConfig("d", enabled=False)
    members = [
        Member(item, SETTINGS, FakeClock(), lambda: 0.5) for item in (away, wrong, ready, off)
    ]
    assert [member.misconfigured for member in members] == [False, True, False, True]


def test_status_tells_every_state(member: Member, clock: FakeClock) -> None:
    """Each way of not being asked has its name and its reason."""
    assert (member.status()["state"], member.status()["reason"]) == ("available", None)
    member.provider.healthy = False
    member.provider.last_error = ProviderUnavailableError("no models")
    assert (member.status()["state"], member.status()["reason"]) == ("unhealthy", "no models")
    end(member, Outcome.RATE_LIMITED, RateLimitError("slow down", retry_after=5))
    assert (member.status()["state"], member.status()["reason"]) == ("cooling_down", "slow down")
    clock.now += 5
    end(member, Outcome.AUTH, AuthenticationError("bad key"))
    assert (member.status()["state"], member.status()["reason"]) == ("circuit_open", "bad key")
    member.provider.initialized = False
    assert (member.status()["state"], member.status()["reason"]) == ("unavailable", "no models")
    member.provider.last_error = None
    assert member.status()["reason"] == "not initialized yet"
    member.provider.config = ProviderConfig("a", enabled=False)
    assert (member.status()["state"], member.status()["reason"]) == ("disabled", "enabled: false")
    member.provider.config = ProviderConfig("a", enabled=False, disabled_reason="no variable")
    assert member.status()["reason"] == "no variable"


def test_status_has_plain_values(member: Member) -> None:
    """What has not been measured is None, and errors are texts."""
    status = member.status()
    assert (status["latency_ms"], status["check_ms"], status["last_error"]) == (None, None, None)
    assert (status["name"], status["model"], status["circuit"]) == ("a", "fake-model", "closed")
    fail(member)
    assert member.status()["last_error"] == "503"
    assert member.status()["failures"] == 1


def test_only_keys_and_accounts_need_a_person() -> None:
    """These outcomes are logged loudly."""
    assert {outcome for outcome in Outcome if is_trip(outcome)} == {Outcome.AUTH, Outcome.QUOTA}


def test_a_provider_without_its_configuration_is_none() -> None:
    """Who forgets ``super().__init__(config)`` is told so."""

    class Forgetful(FakeProvider):
        def __init__(self) -> None:
            pass

    require_provider(FakeProvider())
    for given in (Forgetful(), object(), None, FakeProvider):
        with pytest.raises(ProviderConfigError, match=r"super\(\).__init__\(config\)"):
            require_provider(given)
