"""Start, drain and stop: whether a manager takes calls, and when all have ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from ..errors import NoProviderAvailableError
from ..observability.logging import get_logger
from .file_watch import FileWatch
from .health_monitor import HealthMonitor, check_member, is_under_way
from .member import Member
from .members import Members
from .observation import Observation
from .retirement import Retirement, shut_down
from .running import Running
from .startup import PATIENCE, start_members, warm_up

# Calls whose connections were closed get this many seconds to notice.
_AFTERMATH = 1.0

_log = get_logger("amas.providers.manager")


class Lifecycle:
    """The life of a manager's providers.

    Args:
        members: The members; shared with the manager, which adds to them.
        monitor: Looks after them while the manager is up.
        retirement: Sees those off that were replaced.
        observation: Watches calls and providers.
        watch: Looks after the files of the configuration while the manager is up.
        enabled: Whether calls are taken at all.
        warms_up: Tells whether who has been started is warmed up.
    """

    def __init__(
        self,
        members: Members,
        monitor: HealthMonitor,
        retirement: Retirement,
        observation: Observation,
        watch: FileWatch,
        *,
        enabled: bool,
        warms_up: Callable[[], bool],
    ) -> None:
        self._members = members
        self._retirement = retirement
        self._observation = observation
        self._monitor = monitor
        self._watch = watch
        self._enabled = enabled
        self._warms_up = warms_up
        self._stopping = asyncio.Lock()
        self._started = False
        self._closed = False
        self._given_back = False
        self._running = Running()
        self._recent = Running()
        self._starting: set[Member] = set()

    @property
    def takes_calls(self) -> bool:
        """Whether calls are taken: switched on, and not shut down."""
        return self._enabled and not self._closed

    async def start(self) -> dict[str, bool]:
        """Start all providers and wait for each; opens a manager that was shut down."""
        async with self._stopping:
            self._closed = self._given_back = False
        ready = await self._start_all()
        await self._warm_up(list(self._members.by_name.values()))
        return ready

    async def ensure_started(self, limit: float | None = None) -> bool:
        """Start on first use: go on once somebody is ready and the others had a moment.

        Args:
            limit: Seconds after which to go on in any case; None for no such limit.

        Returns:
            Whether there was anything to start.
        """
        if self._started or self._closed:
            return False
        await self._start_all(patience=PATIENCE, limit=limit)
        return True

    async def start_some(
        self,
        members: Sequence[Member],
        *,
        patience: float | None = None,
        limit: float | None = None,
    ) -> dict[str, bool]:
        """Start some providers, unless the manager is shut down; see ``start_members``."""
        if self._closed:
            return {member.name: False for member in members}
        # Those of a reload are not in their places yet; a shutdown has to know of them, too.
        self._starting.update(members)
        try:
            return await start_members(members, patience=patience, limit=limit)
        finally:
            self._starting.difference_update(members)

    async def start_ahead(self, members: Sequence[Member]) -> None:
        """Start those of a reload before they get any calls, and warm them up if that is wanted."""
        await self.start_some(members)
        await self._warm_up(members)

    async def _warm_up(self, members: Sequence[Member]) -> None:
        if self._warms_up() and self.takes_calls:
            await warm_up(members)

    async def check(self, members: Sequence[Member]) -> dict[str, bool]:
        """Ask some providers for their health, unless the manager is shut down."""
        if self._closed:
            return {member.name: False for member in members}
        healthy = await asyncio.gather(*(check_member(member) for member in members))
        return {member.name: well for member, well in zip(members, healthy, strict=True)}

    async def _start_all(
        self, *, patience: float | None = None, limit: float | None = None
    ) -> dict[str, bool]:
        await self._observation.start()
        ready = await start_members(
            list(self._members.by_name.values()), patience=patience, limit=limit
        )
        # A shutdown may have come in between; then nothing is to run any more.
        if not self._closed:
            self._started = True
            self._watch.start()
            if self._enabled:
                self._monitor.start()
        return ready

    async def adjust(self, *, enabled: bool, interval: float) -> None:
        """Take over settings that have changed.

        Args:
            enabled: Whether calls are taken at all.
            interval: Seconds between two health checks.
        """
        if self._started and not self._closed:
            self._watch.start()  # if that is wanted from now on
        rhythm = enabled, interval
        if rhythm == (self._enabled, self._monitor.interval):
            return
        self._enabled, self._monitor.interval = rhythm
        if self._started and not self._closed:
            await self._monitor.stop()
            if enabled and self.takes_calls:  # not shut down meanwhile
                self._monitor.start()

    def turn(self) -> asyncio.Event:
        """Return what is set once all calls that run now have ended."""
        before, self._recent = self._recent, Running()
        return before.quiet

    @contextmanager
    def call(self) -> Iterator[None]:
        """Count a call as running.

        Raises:
            NoProviderAvailableError: No calls are taken.
        """
        if not self.takes_calls:
            raise self._taking_none()
        recent = self._recent
        self._running.enter()
        recent.enter()
        try:
            yield
        finally:
            recent.leave()
            self._running.leave()

    @contextmanager
    def work(self) -> Iterator[None]:
        """Count an operator's work as running; it goes on where calls are switched off.

        Raises:
            NoProviderAvailableError: The manager is shut down.
        """
        if self._closed:
            raise self._taking_none()
        self._running.enter()
        try:
            yield
        finally:
            self._running.leave()

    def _taking_none(self) -> NoProviderAvailableError:
        why = "shut down" if self._closed else "disabled (providers.manager.enabled: false)"
        return NoProviderAvailableError(f"the provider manager is {why}")

    async def stop(self, grace: float) -> None:
        """Take no more calls, let running ones finish, and give back everything.

        Who is cancelled while waiting for running calls gives back everything at once.

        Args:
            grace: Seconds that running calls get to finish; then their connections close.
        """
        self._closed = True
        async with self._stopping:
            if self._closed and self._given_back:
                return
            self._closed = True  # a start may have come in between
            try:
                await self._watch.stop()
                await self._monitor.stop()
                await self._end_checks()
                await self._drain(grace)
            finally:
                await self._give_back()

    async def _end_checks(self) -> None:
        checks = [
            lane.check
            for member in {*self._members.by_name.values(), *self._starting}
            for lane in member.lanes
            if is_under_way(lane.check)
        ]
        for check in checks:
            check.cancel()
        await asyncio.gather(*checks, return_exceptions=True)

    async def _drain(self, grace: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await self._running.quiet.wait()
        if self._running.count:
            _log.warning("shutdown_cut_calls_short", running=self._running.count)

    async def _give_back(self) -> None:
        lanes = [lane for member in self._members.by_name.values() for lane in member.lanes]
        await asyncio.gather(
            self._retirement.finish(), *(shut_down(lane.provider) for lane in lanes)
        )
        await self._members.close()
        await self._observation.close()
        self._given_back = True
        self._started = False
        with suppress(TimeoutError):
            async with asyncio.timeout(_AFTERMATH):
                await self._running.quiet.wait()
