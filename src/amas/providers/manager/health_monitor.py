"""Looks after providers that traffic does not tell about: idle, unhealthy, or never started."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeGuard

from ..base import ProviderBase
from ..base.faults import unexpected
from ..errors import ProviderTimeoutError
from ..observability.logging import get_logger
from ..types import HealthProbe
from .lane import Lane
from .member import Member

_CONCURRENT_CHECKS = 8

# Enough for an import of LiteLLM on a slow machine; the adapter's own probes are shorter.
_LONGEST_CHECK = 30.0

_log = get_logger("amas.providers.health")


class HealthMonitor:
    """Checks every provider that real traffic has not vouched for lately.

    Args:
        members: Gives the providers to look after.
        interval: Seconds between two rounds; each pause is between 80% and 120% of it.
        clock: The time in seconds; only differences matter.
        random: Source of numbers in [0, 1).
        sleep: Waits a number of seconds.
    """

    def __init__(
        self,
        members: Callable[[], Sequence[Member]],
        *,
        interval: float,
        clock: Callable[[], float],
        random: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._members = members
        self.interval = interval
        self._clock = clock
        self._random = random
        self._sleep = sleep
        self._task: asyncio.Task[None] | None = None
        self._next_at: float | None = None

    @property
    def next_round(self) -> float | None:
        """Seconds until the next round; None while there is none to come."""
        return None if self._next_at is None else max(0.0, self._next_at - self._clock())

    def start(self) -> None:
        """Begin checking in a task of its own; harmless when it runs already."""
        if not is_under_way(self._task):
            self._task = asyncio.create_task(self._run(), name="amas-provider-health")

    async def stop(self) -> None:
        """End the task and wait for it."""
        task, self._task = self._task, None
        self._next_at = None
        if is_under_way(task):
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            pause = self.interval * (0.8 + 0.4 * self._random())
            self._next_at = self._clock() + pause
            await self._sleep(pause)
            await self.check()

    async def check(self) -> None:
        """Check once every provider that needs it, a few at a time."""
        gate = asyncio.Semaphore(_CONCURRENT_CHECKS)

        async def one(lane: Lane) -> None:
            async with gate:
                await check_lane(lane)

        lanes = [lane for member in self._members() for lane in self._in_need(member)]
        await asyncio.gather(*(one(lane) for lane in lanes))

    def _in_need(self, member: Member) -> list[Lane]:
        """Return the keys of a provider about which traffic tells nothing."""
        answered = member.succeeded_at
        vouched = answered is not None and self._clock() - answered < self.interval
        return [
            lane
            for lane in member.lanes
            if not lane.misconfigured and not (vouched and lane.ready and lane.provider.healthy)
        ]


async def check_member(member: Member) -> bool:
    """Ask one provider for its health with each of its keys, or start it.

    Returns:
        Whether it is healthy now, with one key at least.
    """
    lanes = [lane for lane in member.lanes if not lane.misconfigured]
    return any(await asyncio.gather(*(check_lane(lane) for lane in lanes)))


async def check_lane(lane: Lane) -> bool:
    """Ask one provider with one key for its health, or start it if it has not been started.

    Returns:
        Whether it is healthy now. Whatever goes wrong is kept in ``last_error``.
    """
    check = begin_check(lane)
    await asyncio.wait({check})
    return not check.cancelled() and check.result()


def is_under_way(task: asyncio.Task[Any] | None) -> TypeGuard[asyncio.Task[Any]]:
    """Tell whether a task goes on; one whose loop was closed under it never will."""
    return task is not None and not task.done() and not task.get_loop().is_closed()


def begin_check(lane: Lane) -> asyncio.Task[bool]:
    """Begin what ``check_lane`` waits for; whoever comes meanwhile gets the same task.

    It is a task of its own, so that nobody who gives up waiting ends it for the others;
    the lifecycle ends it at shutdown.
    """
    if not is_under_way(lane.check):
        name = f"amas-check-{lane.provider.name}"
        lane.check = asyncio.create_task(_check(lane), name=name)
    return lane.check


async def _check(lane: Lane) -> bool:
    if lane.retired:
        return False  # whatever it would open, nobody would close
    provider = lane.provider
    started = provider.initialized
    before = lane.presumed if lane.well is None else lane.well
    began = lane.clock()
    timer = asyncio.timeout(_LONGEST_CHECK)
    try:
        async with timer:
            healthy = bool(await _ask(provider))
    except Exception as error:  # noqa: BLE001 -- a provider's check may raise anything; it is then not healthy
        healthy = False
        provider.last_error = (
            ProviderTimeoutError(
                f"no sign of health within {_LONGEST_CHECK:g} s", provider=provider.name
            )
            if timer.expired()
            else unexpected(error, provider=provider.name)
        )
    lane.check_seconds = lane.clock() - began
    if not healthy:
        lane.found_ill_at = lane.clock()
    # A provider of somebody else's may only return what ours also note down.
    provider.healthy = healthy
    if not started:
        provider.initialized = healthy
    if before is not None and healthy != before:
        say = _log.info if healthy else _log.warning
        say("health_changed", provider=provider.name, healthy=healthy, why=provider.last_error)
        lane.health_changed(healthy)
    return healthy


async def _ask(provider: ProviderBase) -> bool:
    if not provider.initialized:
        return await provider.initialize()
    # Nobody asks it; then nothing speaks against it but what calls tell.
    return provider.config.health_probe is HealthProbe.OFF or await provider.health_check()
