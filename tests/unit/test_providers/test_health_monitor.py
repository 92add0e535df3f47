"""Looking after providers that traffic does not tell about."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from typing_extensions import override

from amas.providers import ProviderConfig
from amas.providers.errors import ProviderConfigError
from amas.providers.manager import health_monitor
from amas.providers.manager.health_monitor import HealthMonitor, check_member
from amas.providers.manager.member import Member
from amas.providers.manager.rules import Rules
from amas.providers.manager.status import describe
from amas.providers.testing import FakeProvider
from amas.providers.testing.fake_provider import FakeClock
from amas.providers.types import Outcome


@pytest.fixture
def clock() -> FakeClock:
    """Return a clock that is moved by hand."""
    return FakeClock()


def member_of(
    provider: FakeProvider, clock: Callable[[], float], *, started: bool = True
) -> Member:
    """Put a provider into the care of a member."""
    provider.initialized = provider.healthy = started
    return Member(provider, Rules(), clock, lambda: 0.5)


def monitor_of(clock: FakeClock, *members: Member) -> HealthMonitor:
    """Return a monitor of these members, with 30 seconds between rounds."""
    return HealthMonitor(
        lambda: members, interval=30, clock=clock, random=lambda: 0.5, sleep=clock.sleep
    )


def succeed(member: Member) -> None:
    """Let a call succeed."""
    ticket = member.admit()
    assert ticket is not None
    member.settle(ticket, Outcome.OK, latency=0.1, error=None)


async def test_who_answers_calls_is_not_asked_for_its_health(clock: FakeClock) -> None:
    """Real traffic vouches for a provider, for as long as one interval."""
    provider = FakeProvider("a")
    member = member_of(provider, clock)
    monitor = monitor_of(clock, member)
    succeed(member)
    await monitor.check()
    clock.now += 29
    await monitor.check()
    assert provider.health_checks == 0
    clock.now += 1
    await monitor.check()
    assert provider.health_checks == 1


async def test_who_has_never_answered_is_asked(clock: FakeClock) -> None:
    """Nothing is known about it otherwise."""
    provider = FakeProvider("a")
    await monitor_of(clock, member_of(provider, clock)).check()
    assert provider.health_checks == 1


async def test_an_unhealthy_one_is_asked_until_it_is_back(clock: FakeClock) -> None:
    """A recent success does not excuse it."""
    provider = FakeProvider("a", healthy=False)
    member = member_of(provider, clock)
    monitor = monitor_of(clock, member)
    await monitor.check()
    assert describe(member)["state"] == "unhealthy"
    member.succeeded_at = clock.now
    provider.answers_health = True
    await monitor.check()
    assert describe(member)["state"] == "available"
    await monitor.check()
    assert provider.health_checks == 2


async def test_one_that_is_not_started_is_started(clock: FakeClock) -> None:
    """A provider that was away at first takes part when it is back."""
    provider = FakeProvider("a", ready=False)
    member = member_of(provider, clock, started=False)
    monitor = monitor_of(clock, member)
    await monitor.check()
    assert describe(member)["state"] == "unavailable"
    provider.ready = True
    await monitor.check()
    assert describe(member)["state"] == "available"
    assert provider.health_checks == 0


async def test_a_misconfigured_one_is_left_alone(clock: FakeClock) -> None:
    """Only its owner can help, and no check makes that better."""
    off, wrong = FakeProvider("a"), FakeProvider("b")
    members = [member_of(item, clock, started=False) for item in (off, wrong)]
    off.config = ProviderConfig("a", enabled=False)
    wrong.last_error = ProviderConfigError("no key")
    await monitor_of(clock, *members).check()
    assert [member.ready for member in members] == [False, False]
    assert [member.lanes[0].check for member in members] == [None, None]


class Checked(FakeProvider):
    """A provider whose health check does whatever it is told."""

    def __init__(self, name: str, answer: Callable[[], object]) -> None:
        super().__init__(name)
        self.answer = answer

    @override
    async def health_check(self) -> bool:
        found = self.answer()
        if isinstance(found, BaseException):
            raise found
        if found == "hang":
            await asyncio.sleep(60)
        return found  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("answer", "healthy", "why"),
    [
        (True, True, "None"),
        (False, False, "None"),
        (None, False, "None"),
        (1, True, "None"),
        (RuntimeError("oops"), False, "unexpected RuntimeError: oops"),
        (TimeoutError("oops"), False, "unexpected TimeoutError"),
        ("hang", False, "no sign of health within 0.02 s"),
    ],
    ids=repr,
)
async def test_whatever_a_check_does_it_has_an_outcome(
    answer: object,
    healthy: bool,
    why: str,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Raising and hanging are "not healthy"; the provider stays started, and is told why."""
    monkeypatch.setattr(health_monitor, "_LONGEST_CHECK", 0.02)
    member = member_of(Checked("a", lambda: answer), clock)
    assert await check_member(member) is healthy
    assert member.provider.healthy is healthy
    assert member.provider.initialized
    assert why in str(member.provider.last_error)


async def test_a_check_that_is_cancelled_from_within_does_not_end_the_monitor(
    clock: FakeClock,
) -> None:
    """It is "not healthy", and the round goes on."""
    other = FakeProvider("b")
    members = [
        member_of(Checked("a", asyncio.CancelledError), clock),
        member_of(other, clock),
    ]
    await monitor_of(clock, *members).check()
    assert other.health_checks == 1
    assert await check_member(members[0]) is False


async def test_a_check_that_comes_back_after_a_shutdown_revives_nothing(clock: FakeClock) -> None:
    """Health is no reason to call a provider started that was shut down meanwhile."""

    def shut_down_meanwhile() -> bool:
        provider.initialized = False
        return True

    provider = Checked("a", shut_down_meanwhile)
    member = member_of(provider, clock)
    assert await check_member(member)
    assert not member.ready


async def test_a_change_of_health_is_logged_once(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """As a warning when it goes, as information when it comes back."""
    caplog.set_level("INFO", logger="amas.providers.health")
    provider = FakeProvider("a", healthy=False)
    member = member_of(provider, clock)
    await check_member(member)
    await check_member(member)
    provider.answers_health = True
    await check_member(member)
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


async def test_a_few_are_checked_at_a_time(clock: FakeClock) -> None:
    """Twenty providers are not asked all at once, nor one after the other."""
    running, most = 0, 0

    class Counting(FakeProvider):
        @override
        async def health_check(self) -> bool:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0)
            running -= 1
            return await super().health_check()

    members = [member_of(Counting(f"p{number}"), clock) for number in range(20)]
    await monitor_of(clock, *members).check()
    assert most == 8
    assert all(member.provider.healthy for member in members)


@pytest.mark.parametrize(("drawn", "pause"), [(0.0, 24.0), (0.5, 30.0), (1.0, 36.0)])
async def test_the_interval_is_jittered(drawn: float, pause: float) -> None:
    """Between 80% and 120%, so that many processes do not ask at the same moment."""
    pauses: list[float] = []
    three = asyncio.Event()

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            three.set()
            await asyncio.Event().wait()

    monitor = HealthMonitor(list, interval=30, clock=FakeClock(), random=lambda: drawn, sleep=sleep)
    monitor.start()
    await three.wait()
    await monitor.stop()
    assert pauses == pytest.approx([pause] * 3)


async def test_there_is_one_task_and_it_ends_with_the_monitor(clock: FakeClock) -> None:
    """Starting and stopping twice is harmless, and it can be started again."""
    before = asyncio.all_tasks()
    monitor = HealthMonitor(list, interval=30, clock=clock, random=lambda: 0.5)
    await monitor.stop()
    for _ in range(2):
        monitor.start()
        monitor.start()
        assert [task.get_name() for task in asyncio.all_tasks() - before] == [
            "amas-provider-health"
        ]
        await monitor.stop()
        await monitor.stop()
        assert asyncio.all_tasks() == before
