"""Whether the files of a configuration have changed, and what happens then."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final, TypeAlias

from ..errors import ProviderError
from ..observability.logging import get_logger
from .health_monitor import is_under_way

Stamp: TypeAlias = tuple[int, ...]
"""What tells a file's contents from others without reading it; empty for one that is not there."""

Stamps: TypeAlias = Mapping[str, Stamp]

# Seconds between two looks. Looking works where notifications do not: on network disks, and for
# the mounted secrets of a container, which are links that come to point elsewhere.
INTERVAL: Final = 1.0

# Of a file that was written while it was read nobody knows which of the two was read.
_UNSURE: Final[Stamp] = (-1,)
# The clock of a file system is behind by up to so many seconds.
_COARSE: Final = 0.02

_log = get_logger("amas.providers.manager")


def take_stamps(files: Iterable[str]) -> dict[str, Stamp]:
    """Look at files, without reading them; it asks the disk, so call it in a thread."""
    return {file: _stamp(file) for file in files}


def _stamp(file: str) -> Stamp:
    try:
        found = os.stat(file)  # noqa: PTH116 -- paths are plain texts here
    except (OSError, ValueError):
        return ()
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino, found.st_dev


def settled_stamps(before: Stamps, after: Stamps, began: float) -> dict[str, Stamp]:
    """Return what is known of files that were read just now.

    Args:
        before: Their stamps before; not of each, as some are only known once others are read.
        after: Their stamps after.
        began: When reading began, in seconds since 1970.

    Returns:
        Their stamps; of one that may have been written meanwhile something that no file has.
    """
    latest = (began - _COARSE) * 1e9
    return {
        file: before[file] if file in before else _UNSURE if stamp[1:2] > (latest,) else stamp
        for file, stamp in after.items()
    }


class Changed:
    """Tells when files are others than those known, and have been the same for two looks. Pure."""

    def __init__(self) -> None:
        self.known: Stamps = {}
        self._seen: Stamps | None = None

    def look(self, found: Stamps) -> bool:
        """Take in what a look has found; tell whether it is time to read the files."""
        still = found == self._seen
        self._seen = found
        return still and found != self.known


class FileWatch:
    """Has a configuration read again when one of its files has changed.

    Args:
        reload: Reads it, and calls ``note``.
        wanted: Whether files are watched at all; asked before each look.
        sleep: Waits a number of seconds.
    """

    def __init__(
        self,
        reload: Callable[[], Awaitable[object]],
        wanted: Callable[[], bool],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._reload = reload
        self._wanted = wanted
        self._sleep = sleep
        self._changed = Changed()
        self._task: asyncio.Task[None] | None = None

    @property
    def files(self) -> tuple[str, ...]:
        """The files that are watched."""
        return tuple(self._changed.known)

    def note(self, stamps: Stamps) -> None:
        """Take these files, as they were, for read."""
        self._changed.known = stamps

    def start(self) -> None:
        """Begin to look, in a task of its own, if that is wanted; harmless when it runs already."""
        if self._wanted() and self.files and not is_under_way(self._task):
            self._task = asyncio.create_task(self._run(), name="amas-config-watch")

    async def stop(self) -> None:
        """End the task, and wait until what it was about has ended; not to be called by it."""
        task, self._task = self._task, None
        if is_under_way(task):
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await self._sleep(INTERVAL)
            if not self._wanted():
                return
            found = await asyncio.to_thread(take_stamps, self.files)
            if self._changed.look(found):
                # Whatever comes of it: not again until they change once more.
                self.note(found)
                await self._try_reload()

    async def _try_reload(self) -> None:
        try:
            await self._reload()
        except ProviderError as error:
            # A configuration that is not right has been told of by whoever read it.
            _log.debug("not_reloaded", why=error.message)
        except Exception as error:  # noqa: BLE001 -- whatever it is, the next change is to be seen
            _log.error("reload_failed", problems=[f"unexpected {type(error).__name__}: {error}"])


def now() -> float:
    """Return the time that files are stamped with, in seconds since 1970."""
    return time.time()
