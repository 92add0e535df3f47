"""Providers that take no new calls: running ones finish, then everything is given back."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from ..base import ProviderBase
from ..observability.logging import get_logger
from .health_monitor import is_under_way
from .lane import Lane

# A provider that does not give back in this many seconds is left to itself.
_LONGEST_SHUTDOWN = 5.0

_log = get_logger("amas.providers.manager")


class Retirement:
    """Sees lanes off that were replaced or removed."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def retire(self, lane: Lane, grace: float, after: asyncio.Event | None = None) -> None:
        """Let the calls on a lane finish, then shut its provider down; returns at once.

        Args:
            lane: The lane; no new call is to be sent to it any more.
            grace: Seconds after which calls that still run are cut short.
            after: Set once all calls have ended that may still turn to it; None if none may.
        """
        lane.retire()  # at once; the task has its turn later
        name = f"amas-retire-{lane.provider.name}"
        task = asyncio.create_task(see_off(lane, grace, after), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def finish(self) -> None:
        """Wait no longer for running calls, and give back what is left."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def see_off(lane: Lane, grace: float = 0, after: asyncio.Event | None = None) -> None:
    """Shut the provider of a lane down once its calls have ended; see ``Retirement.retire``."""
    lane.retire()
    try:
        if is_under_way(lane.check):
            lane.check.cancel()
            await asyncio.wait([lane.check])
        with suppress(TimeoutError):
            async with asyncio.timeout(grace):
                if after is not None:
                    await after.wait()
                await lane.idle.wait()
    finally:
        await shut_down(lane.provider)


async def shut_down(provider: ProviderBase) -> None:
    """Shut a provider down, whatever it raises and however long it takes."""
    try:
        async with asyncio.timeout(_LONGEST_SHUTDOWN):
            await provider.shutdown()
    except Exception as error:  # noqa: BLE001 -- whatever one provider raises, the others are given back
        _log.warning("shutdown_failed", provider=provider.name, error=f"{error!r}")
    # A provider of somebody else's may not note it down; it has to be started again.
    provider.initialized = provider.healthy = False
