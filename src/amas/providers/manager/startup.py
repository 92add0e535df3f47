"""Starting providers side by side, none of them able to hold up or break the others."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from .health_monitor import begin_check
from .member import Member

# How long a call waits for the others once one provider is ready, in seconds.
PATIENCE = 1.0


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
