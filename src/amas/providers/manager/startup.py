"""Starting providers side by side, none of them able to hold up or break the others."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ..base.faults import described
from ..observability.logging import get_logger
from ..secret import scrub
from .health_monitor import begin_check
from .lane import Lane
from .member import Member

# How long a call waits for the others once one provider is ready, in seconds.
PATIENCE = 1.0

# How long a start waits for connections that no call has asked for, all together, in seconds.
_WARMTH_SECONDS = 5.0

_log = get_logger("amas.providers.manager")


async def start_members(
    members: Sequence[Member], *, patience: float | None = None, limit: float | None = None
) -> dict[str, bool]:
    """Start those that are not started yet; starts under way are joined, not repeated.

    Args:
        members: Whom to start.
        patience: Seconds after which it is enough if one is ready; None waits for all.
        limit: Seconds after which it is enough in any case; None for no such limit.

    Returns:
        For each one whether it is ready now. Those still under way go on.
    """
    pending = {
        begin_check(lane)
        for member in members
        for lane in member.lanes
        if lane.provider.config.enabled and not lane.provider.initialized
    }
    loop = asyncio.get_running_loop()
    began = loop.time()
    while pending:
        ready = any(member.ready for member in members)
        limits = [limit, patience if ready else None]
        ends = min((began + item for item in limits if item is not None), default=None)
        left = None if ends is None else ends - loop.time()
        if left is not None and left <= 0:
            break
        _, pending = await asyncio.wait(pending, timeout=left, return_when=asyncio.FIRST_COMPLETED)
    return {member.name: member.ready for member in members}


async def warm_up(members: Sequence[Member]) -> None:
    """Let whoever is ready prepare what a first call would wait for; nobody has to.

    Args:
        members: Whom to warm up.
    """
    tasks = [
        asyncio.create_task(_warm_up(lane), name=f"amas-warm-up-{lane.provider.name}")
        for member in members
        for lane in member.lanes
        if lane.ready
    ]
    try:
        if tasks:
            await asyncio.wait(tasks, timeout=_WARMTH_SECONDS)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _warm_up(lane: Lane) -> None:
    try:
        await lane.provider.warm_up()
    except Exception as error:  # noqa: BLE001 -- a first call will meet it, and say what it means
        _log.info("not_warmed_up", provider=lane.provider.name, why=scrub(described(error)))
