"""Looks after providers that traffic does not tell about: idle, unhealthy, or never started."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from ..base.provider_base import unexpected
from ..errors import ProviderTimeoutError
from ..observability.logging import get_logger
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
        self._interval = interval
        self._clock = clock
        self._random = random
        self._sleep = sleep
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin checking in a task of its own; harmless when it runs already."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="amas-provider-health")

    async def stop(self) -> None:
        """End the task and wait for it."""
        task, self._task = self._task, None
        # A task that has ended may belong to a loop that is gone.
        if task is not None and not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await self._sleep(self._interval * (0.8 + 0.4 * self._random()))
            await self.check()

    async def check(self) -> None:
        """Check once every provider that needs it, a few at a time."""
        gate = asyncio.Semaphore(_CONCURRENT_CHECKS)

        async def one(member: Member) -> None:
            async with gate:
                await check_member(member)

        await asyncio.gather(*(one(member) for member in self._members() if self._needs(member)))

    def _needs(self, member: Member) -> bool:
        if member.misconfigured:
            return False
        if not member.ready or not member.provider.healthy or member.succeeded_at is None:
            return True
        return self._clock() - member.succeeded_at >= self._interval


async def check_member(member: Member) -> bool:
    """Ask one provider for its health, or start it if it has not been started.

    Returns:
        Whether it is healthy now. Whatever goes wrong is kept in ``last_error``.
    """
    check = begin_check(member)
    await asyncio.wait({check})
    return not check.cancelled() and check.result()


def begin_check(member: Member) -> asyncio.Task[bool]:
    """Begin what ``check_member`` waits for; whoever comes meanwhile gets the same task.

    It is a task of its own, so that nobody who gives up waiting ends it for the others;
    the lifecycle ends it at shutdown.
    """
    if member.check is None or member.check.done():
        member.check = asyncio.create_task(_check(member), name=f"amas-check-{member.name}")
    return member.check


async def _check(member: Member) -> bool:
    provider = member.provider
    started = provider.initialized
    before = started and provider.healthy
    began = member.clock()
    timer = asyncio.timeout(_LONGEST_CHECK)
    try:
        async with timer:
            healthy = bool(await (provider.health_check() if started else provider.initialize()))
    except Exception as error:  # noqa: BLE001 -- a provider's check may raise anything; it is then not healthy
        healthy = False
        provider.last_error = (
            ProviderTimeoutError(
                f"no sign of health within {_LONGEST_CHECK:g} s", provider=provider.name
            )
            if timer.expired()
            else unexpected(error, provider=provider.name)
        )
    member.check_seconds = member.clock() - began
    # A provider of somebody else's may only return what ours also note down.
    provider.healthy = healthy
    if not started:
        provider.initialized = healthy
    if healthy != before:
        say = _log.info if healthy else _log.warning
        say("health_changed", provider=provider.name, healthy=healthy, why=provider.last_error)
    return healthy
