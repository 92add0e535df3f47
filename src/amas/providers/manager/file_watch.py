"""Whether the files of a configuration have changed, and what happens then."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final, Protocol, TypeAlias

from ..errors import ProviderError
from ..observability.logging import get_logger
from .health_monitor import is_under_way

Stamp: TypeAlias = tuple[int, ...]
"""What tells a file's contents from others without reading it; empty for one that is not there."""

Stamps: TypeAlias = Mapping[str, Stamp]

# Seconds between two looks. Looking works where notifications do not: on network disks, and for
# the mounted secrets of a container, which are links that come to point elsewhere.
INTERVAL: Final = 1.0

# Seconds without a change after which a file is taken for written to its end.
SETTLED: Final = 10.0

# Seconds until keys that were not taken are tried again for the first time, and at most.
FIRST_RETRY: Final = 2.0
LONGEST_RETRY: Final = 60.0

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
        self._since = 0.0

    def look(self, found: Stamps, now: float) -> bool:
        """Take in what a look has found; tell whether it is time to read the files."""
        still = found == self._seen
        if not still:
            self._since = now
        self._seen = found
        return still and found != self.known

    def still_for(self, now: float) -> float:
        """Return the seconds for which all looks have found the same."""
        return now - self._since


class Backoff:
    """Tells when to try again: after 2 seconds, then 4, 8 … and at last every minute. Pure."""

    def __init__(self) -> None:
        self._pause = FIRST_RETRY
        self._at: float | None = None

    def reset(self) -> None:
        """Begin anew."""
        self._pause, self._at = FIRST_RETRY, None

    def due(self, now: float) -> bool:
        """Tell whether it is time; the first question begins the first pause."""
        if self._at is not None and now < self._at:
            return False
        due = self._at is not None
        if due:
            self._pause = min(2 * self._pause, LONGEST_RETRY)
        self._at = now + self._pause
        return due


class Follower(Protocol):
    """Who reads the files."""

    @property
    def unfinished(self) -> bool:
        """Whether there are keys that were not taken."""

    async def follow(self, *, settled: bool) -> bool:
        """Read them again, as they have changed, and call ``FileWatch.note``.

        Args:
            settled: Whether they have been the same for so long that nobody writes them now.

        Returns:
            Whether that was all; otherwise it is asked again once they are settled.
        """

    async def retry(self) -> None:
        """Try the keys again that were not taken."""


class FileWatch:
    """Has a configuration read again when one of its files has changed.

    Args:
        follower: Gives who reads it.
        wanted: Whether files are watched at all; asked before each look.
        sleep: Waits a number of seconds.
        clock: The time in seconds; only differences matter.
    """

    def __init__(
        self,
        follower: Callable[[], Follower],
        wanted: Callable[[], bool],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._follower = follower
        self._wanted = wanted
        self._sleep = sleep
        self._clock = clock
        self._changed = Changed()
        self._waiting = False
        self._backoff = Backoff()
        self._task: asyncio.Task[None] | None = None

    @property
    def files(self) -> tuple[str, ...]:
        """The files that are watched."""
        return tuple(self._changed.known)

    @property
    def known(self) -> Stamps:
        """How they were when they were last read."""
        return self._changed.known

    def note(self, stamps: Stamps) -> None:
        """Take these files, as they were, for read."""
        self._changed.known = stamps
        self._waiting = False
        self._backoff.reset()

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
            await self._try(found, self._clock())

    async def _try(self, found: Stamps, now: float) -> None:
        try:
            if self._changed.look(found, now):
                # Whatever comes of it: not again until they change once more.
                self.note(found)
                self._waiting = not await self._follower().follow(settled=False)
            elif found != self.known:
                pass  # they are being written
            elif self._waiting:
                if self._changed.still_for(now) >= SETTLED:
                    self._waiting = False  # whatever it raises
                    self._waiting = not await self._follower().follow(settled=True)
            elif self._follower().unfinished and self._backoff.due(now):
                await self._follower().retry()
        except ProviderError as error:
            # A configuration that is not right has been told of by whoever read it.
            _log.debug("not_reloaded", why=error.message)
        except Exception as error:  # noqa: BLE001 -- whatever it is, the next change is to be seen
            _log.error("reload_failed", problems=[f"unexpected {type(error).__name__}: {error}"])


def now() -> float:
    """Return the time that files are stamped with, in seconds since 1970."""
    return time.time()
