"""A provider in the manager's care: tickets, keys, cooldowns, doubts and counters."""

from __future__ import annotations

from typing import Any

import pytest

from amas.providers import ProviderConfig
from amas.providers.errors import (
    AuthenticationError,
    InvalidRequestError,
    ProviderConfigError,
    ProviderError,
    ProviderUnavailableError,
    QuotaExceededError,
    RateLimitError,
)
from amas.providers.manager.circuit_breaker import CircuitSettings, CircuitState
from amas.providers.manager.hearing import adopt, shared_keys
from amas.providers.manager.member import Member, Ticket, require_provider
from amas.providers.manager.policy import TABLE, change
from amas.providers.manager.rules import Rules
from amas.providers.manager.state_store import MemoryStore
from amas.providers.manager.status import describe
from amas.providers.testing import FakeProvider
from amas.providers.testing.fake_provider import FakeClock
from amas.providers.types import Outcome

RULES = Rules(CircuitSettings(failure_threshold=2, cooldown=30, max_cooldown=600))


@pytest.fixture
def clock() -> FakeClock:
    """Return a clock that is moved by hand."""
    return FakeClock()


def member_of(clock: FakeClock, *, keys: int = 1, **more: Any) -> Member:
    """Return a member of a provider with so many keys, all of them ready."""
    provider = FakeProvider("a", keys=keys)
    member = Member(provider, more.pop("rules", RULES), clock, lambda: 0.5, **more)
    for lane in member.lanes:
        lane.provider.initialized = lane.provider.healthy = True
    return member


@pytest.fixture
def member(clock: FakeClock) -> Member:
    """Return a provider with one key that is ready."""
    return member_of(clock)


def begin(member: Member) -> Ticket:
    """Send a request."""
    ticket = member.admit()
    assert ticket is not None
    return ticket


def end(
    member: Member, outcome: Outcome, error: ProviderError | None = None, *, latency: float = 0.25
) -> int:
    """Send a request that ends like this, and return the number of its key."""
    ticket = begin(member)
    member.settle(ticket, outcome, latency=latency, error=error)
    return ticket.lane.number


def state_of(member: Member) -> CircuitState:
    """Return the state of its circuit."""
    return member.breaker.state


def fail(member: Member, times: int = 1) -> None:
    """Let requests fail with 503."""
    for _ in range(times):
        end(member, Outcome.UNAVAILABLE, ProviderUnavailableError("503", status_code=503))


def test_nobody_is_admitted_to_a_provider_that_is_not_ready(member: Member) -> None:
    """A provider that is shut down gets no requests, and nothing is counted."""
    member.provider.initialized = False
    assert member.admit() is None
    assert member.lanes[0].in_flight == 0


def test_a_success_vouches_for_the_provider(member: Member, clock: FakeClock) -> None:
    """It makes it healthy, notes when, and moves the average latency."""
    member.provider.healthy = False
    end(member, Outcome.OK)
    assert member.healthy
    assert member.succeeded_at == clock.now
    end(member, Outcome.OK, latency=1.25)
    assert member.latencies.average == pytest.approx(0.45)
    assert (member.successes, member.failures, member.success_rate) == (2, 0, 1.0)


def test_a_caller_who_leaves_counts_for_nothing(member: Member) -> None:
    """Neither as a success nor as a failure."""
    end(member, Outcome.CANCELLED)
    assert (member.successes, member.failures, member.success_rate) == (0, 0, None)
    assert member.lanes[0].in_flight == 0


def test_the_success_rate_is_of_the_last_minute(member: Member, clock: FakeClock) -> None:
    """What lies longer back is forgotten."""
    fail(member)
    for _ in range(3):
        end(member, Outcome.OK)
    assert member.success_rate == 0.75
    clock.now += 61
    assert member.success_rate is None


@pytest.mark.parametrize(
    ("asked", "wait"), [(None, 1.0), (0.0, 0.0), (7.0, 7.0), (86_400.0, 600.0)]
)
def test_a_rate_limit_cools_down(
    member: Member, clock: FakeClock, asked: float | None, wait: float
) -> None:
    """For as long as asked, but no longer than a circuit may stay open; else for a second."""
    end(member, Outcome.RATE_LIMITED, RateLimitError("429", retry_after=asked))
    assert member.wait() == wait
    assert member.available() == (wait == 0)
    assert state_of(member) is CircuitState.CLOSED
    clock.now += wait
    assert member.available()


def test_a_shorter_wish_does_not_end_a_longer_cooldown(member: Member) -> None:
    """Of two rate limits under way the longer one holds."""
    first, second = begin(member), begin(member)
    for ticket, asked in ((first, 60.0), (second, 1.0)):
        error = RateLimitError("429", retry_after=asked)
        member.settle(ticket, Outcome.RATE_LIMITED, latency=0.1, error=error)
    assert member.wait() == 60.0


def test_an_open_circuit_says_when_to_come_back(member: Member, clock: FakeClock) -> None:
    """The wait counts down with the clock."""
    fail(member, 2)
    assert member.wait() == 30.0
    clock.now += 10
    assert member.wait() == 20.0


def test_while_a_probe_is_under_way_others_need_not_wait_for_its_lease(
    member: Member, clock: FakeClock
) -> None:
    """They are told to come back soon, since the outcome is known soon."""
    fail(member, 2)
    clock.now += 31
    assert begin(member).probe
    assert member.admit() is None
    assert member.wait() == 1.0


def test_a_request_refused_before_it_was_sent_says_nothing(
    member: Member, clock: FakeClock
) -> None:
    """A caller's mistake found here does not close a circuit; found by the upstream it does."""
    fail(member, 2)
    clock.now += 31
    end(member, Outcome.INVALID_REQUEST, InvalidRequestError("no such parameter"))
    assert state_of(member) is CircuitState.HALF_OPEN
    end(member, Outcome.INVALID_REQUEST, InvalidRequestError("too many", status_code=400))
    assert state_of(member) is CircuitState.CLOSED


def test_keys_take_turns(clock: FakeClock) -> None:
    """The one with the fewest requests under way is next, then the least recently used."""
    member = member_of(clock, keys=3)
    assert [end(member, Outcome.OK) for _ in range(4)] == [1, 2, 3, 1]
    begin(member)
    assert [end(member, Outcome.OK) for _ in range(4)] == [3, 1, 3, 1]


def test_a_rate_limit_is_one_of_the_key(clock: FakeClock) -> None:
    """The next key serves until the first has cooled down."""
    member = member_of(clock, keys=2)
    end(member, Outcome.RATE_LIMITED, RateLimitError("429", retry_after=20))
    assert member.available()
    assert [end(member, Outcome.OK) for _ in range(3)] == [2, 2, 2]
    clock.now += 20
    assert {end(member, Outcome.OK) for _ in range(2)} == {1, 2}


@pytest.mark.parametrize(
    ("outcome", "error"),
    [
        (Outcome.AUTH, AuthenticationError("401", status_code=401)),
        (Outcome.QUOTA, QuotaExceededError("402", status_code=402)),
    ],
)
def test_a_refused_key_is_set_aside_and_comes_back(
    clock: FakeClock, outcome: Outcome, error: ProviderError
) -> None:
    """The provider goes on with its other key; after the longest cooldown the first is probed."""
    member = member_of(clock, keys=2)
    end(member, outcome, error)
    assert state_of(member) is CircuitState.CLOSED
    assert [end(member, Outcome.OK) for _ in range(3)] == [2, 2, 2]
    assert [key["state"] for key in describe(member)["keys"]] == ["set_aside", "available"]
    clock.now += 600
    member.lanes[0].provider.healthy = True
    assert end(member, Outcome.OK) == 1
    assert [key["state"] for key in describe(member)["keys"]] == ["available", "available"]


def test_with_all_keys_refused_nobody_is_admitted(clock: FakeClock) -> None:
    """The circuit of the provider stays closed: it is well, only its keys are not."""
    member = member_of(clock, keys=2)
    for _ in range(2):
        end(member, Outcome.AUTH, AuthenticationError("401", status_code=401))
    assert member.admit() is None
    assert not member.available()
    assert describe(member)["state"] == "key_refused"
    assert (describe(member)["circuit"], member.wait()) == ("closed", 600.0)


def test_a_key_that_is_probed_is_probed_once(clock: FakeClock) -> None:
    """A second request does not go out with it while the first is under way."""
    member = member_of(clock)
    end(member, Outcome.AUTH, AuthenticationError("401", status_code=401))
    clock.now += 600
    assert begin(member).key.probe
    assert member.admit() is None


def test_a_policy_may_say_what_an_outcome_means(clock: FakeClock) -> None:
    """Configured as a failure of the provider, a 404 opens its circuit."""
    policy = change(TABLE, {"model_not_found": {"circuit": "trip"}})
    member = member_of(clock, rules=Rules(policy=policy))
    end(member, Outcome.MODEL_NOT_FOUND, ProviderError("404", status_code=404))
    assert state_of(member) is CircuitState.OPEN


def test_who_was_overtaken_as_a_probe_is_not_back_yet(member: Member, clock: FakeClock) -> None:
    """It had its time; a request that is no probe tells nothing when it is overtaken."""
    ticket = begin(member)
    member.settle(ticket, Outcome.CANCELLED, latency=1, error=None, overtaken=True)
    assert state_of(member) is CircuitState.CLOSED
    fail(member, 2)
    clock.now += 31
    ticket = begin(member)
    member.settle(ticket, Outcome.CANCELLED, latency=1, error=None, overtaken=True)
    assert state_of(member) is CircuitState.OPEN
    assert member.wait() == 60.0


def test_doubts_grow_with_each_failed_visit_and_end_with_an_answer(
    member: Member, clock: FakeClock
) -> None:
    """Others are asked first for one second, two, four, and never longer than a cooldown."""
    waits = []
    for _ in range(7):
        member.doubt()
        waits.append(member.doubted_until - clock.now)
        assert member.doubtful
    assert waits == [1, 2, 4, 8, 16, 30, 30]
    end(member, Outcome.OK)
    assert not member.doubtful


def test_while_one_call_finds_out_the_others_keep_away(member: Member, clock: FakeClock) -> None:
    """Doubts last until its outcome is known."""
    member.doubt()
    clock.now += 1
    doubts = [member.doubtful]
    ticket = begin(member)
    doubts.append(member.doubtful)
    member.settle(ticket, Outcome.OK, latency=0.1, error=None)
    doubts.append(member.doubtful)
    assert doubts == [False, True, False]


def test_an_open_circuit_is_shunned_until_its_probe_is_due(
    member: Member, clock: FakeClock
) -> None:
    """Then it is asked in its turn; but not if a health check has failed since it opened."""
    fail(member, 2)
    # Its circuit keeps calls away anyhow, and the probe is to come.
    assert [member.healthy, member.shunned] == [False, False]
    member.lanes[0].found_ill_at = clock.now + 1
    assert member.shunned


def test_a_provider_found_ill_by_a_check_is_shunned(member: Member) -> None:
    """Its circuit is closed, and others are asked first."""
    member.provider.healthy = False
    assert member.shunned


def test_reset_takes_it_back_at_once(clock: FakeClock) -> None:
    """Circuits, keys, cooldowns and doubts are all forgotten."""
    member = member_of(clock, keys=2)
    fail(member, 2)
    member.doubt()
    end_all = (Outcome.RATE_LIMITED, RateLimitError("429", retry_after=500))
    member.reset()
    end(member, *end_all)
    member.reset()
    assert (member.wait(), member.available(), member.doubtful) == (0.0, True, False)


def test_trip_sets_it_aside(member: Member, clock: FakeClock) -> None:
    """For exactly as long as was said; then a probe is let through."""
    member.trip(90)
    assert (member.wait(), member.admit()) == (90.0, None)
    clock.now += 90
    assert begin(member).probe


async def test_only_one_of_two_processes_gets_the_probe(clock: FakeClock) -> None:
    """The other asks now and then, and gets it when the first has told nothing."""
    store = MemoryStore(clock)
    one, two = (member_of(clock, store=store) for _ in range(2))
    fail(one, 2)
    adopt(two, await store.pull(shared_keys(two)), clock.now + 1)
    assert two.breaker.state is CircuitState.OPEN
    clock.now += 31
    tickets = begin(one), begin(two)
    assert [await one.lease(tickets[0]), await two.lease(tickets[1])] == [True, False]
    assert two.lanes[0].in_flight == 0
    assert (two.admit(), two.wait(), describe(two)["state"]) == (None, 0.25, "circuit_open")
    clock.now += 0.25
    assert not await two.lease(begin(two))
    one.settle(tickets[0], Outcome.CANCELLED, latency=0.1, error=None)
    clock.now += 0.25
    again = begin(two)
    assert await two.lease(again)
    two.settle(again, Outcome.OK, latency=0.1, error=None)
    adopt(one, await store.pull(shared_keys(one)), clock.now + 1)
    assert one.breaker.state is CircuitState.CLOSED


async def test_a_key_that_nobody_may_probe_gives_the_circuits_lease_back(
    clock: FakeClock,
) -> None:
    """Both are needed for one request; the half that was got is not kept."""
    store = MemoryStore(clock)
    one = member_of(clock, store=store)
    end(one, Outcome.AUTH, AuthenticationError("401", status_code=401))
    one.breaker.trip(600)
    clock.now += 600
    key = one.sharing.key_circuit(one.lanes[0].mark)
    assert await store.lease(key, one.lanes[0].breaker.version, 60)
    assert not await one.lease(begin(one))
    assert await store.lease(one.sharing.circuit_key, one.breaker.version, 60)


async def test_cooldowns_latencies_and_key_marks_are_shared(clock: FakeClock) -> None:
    """What one process finds out, the other knows."""
    store = MemoryStore(clock)
    one, two = (member_of(clock, store=store, keys=2) for _ in range(2))
    end(one, Outcome.OK, latency=0.5)
    end(one, Outcome.RATE_LIMITED, RateLimitError("429", retry_after=40))
    end(one, Outcome.AUTH, AuthenticationError("401", status_code=401))
    adopt(two, await store.pull(shared_keys(two)), clock.now + 1)
    assert two.latencies.average == 0.5
    assert [lane.wait() for lane in two.lanes] == [600.0, 40.0]
    one.reset()
    adopt(two, await store.pull(shared_keys(two)), clock.now + 1)
    assert two.available()


def test_misconfigured_is_who_needs_the_owner() -> None:
    """Switched off or not configured, unlike one that is merely away."""
    away, wrong, ready = FakeProvider("a"), FakeProvider("b"), FakeProvider("c")
    away.last_error = ProviderUnavailableError("down")
    wrong.last_error = ProviderConfigError("no key")
    ready.initialized, ready.last_error = True, ProviderConfigError("once")
    off = FakeProvider("d")
    off.config = ProviderConfig("d", enabled=False)
    members = [Member(item, RULES, FakeClock(), lambda: 0.5) for item in (away, wrong, ready, off)]
    assert [member.misconfigured for member in members] == [False, True, False, True]


def test_a_provider_without_its_configuration_is_none() -> None:
    """Who forgets ``super().__init__(config)`` is told so."""

    class Forgetful(FakeProvider):
        def __init__(self) -> None:
            pass

    require_provider(FakeProvider())
    for given in (Forgetful(), object(), None, FakeProvider):
        with pytest.raises(ProviderConfigError, match=r"super\(\).__init__\(config\)"):
            require_provider(given)
