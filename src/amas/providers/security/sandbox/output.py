"""What a child prints goes to the log: line by line, scrubbed, and never as a flood."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from ...observability.logging import get_logger

_LINES_PER_SECOND: Final = 20
_MAX_LINE: Final = 1000
_PART: Final = 65536
# After each part that is thrown away; a flood is slowed down, by its full pipe, to 6 MB/s.
_PAUSE: Final = 0.01

_log = get_logger("amas.providers.sandbox")


class Output:
    """Logs lines, so many per second; says how many it left out.

    Args:
        provider: Name of the provider.
        clock: The time in seconds; only differences matter.
    """

    def __init__(self, provider: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._provider = provider
        self._clock = clock
        self._second = clock()
        self._lines = 0
        self._dropped = 0
        self._rest = b""

    async def read(self, reader: asyncio.StreamReader) -> None:
        """Log what is printed, until the child is gone."""
        while part := await reader.read(_PART):
            if not self.take(part):
                await asyncio.sleep(_PAUSE)
        self.take(b"\n")
        self._tell_dropped()

    def take(self, part: bytes) -> bool:
        """Log the lines of a part of the output; tell whether there was room for all of them."""
        *lines, self._rest = (self._rest + part).split(b"\n")
        if len(self._rest) > _MAX_LINE:
            lines.append(self._rest)
            self._rest = b""
        kept = [self._log_line(line) for line in lines if line.strip()]
        return all(kept)

    def _log_line(self, line: bytes) -> bool:
        now = self._clock()
        if now - self._second >= 1:
            self._tell_dropped()
            self._second, self._lines = now, 0
        if self._lines >= _LINES_PER_SECOND:
            self._dropped += 1
            return False
        self._lines += 1
        text = line[:_MAX_LINE].decode(errors="replace").rstrip()
        _log.info("output", provider=self._provider, line=text)
        return True

    def _tell_dropped(self) -> None:
        if self._dropped:
            _log.warning("output_dropped", provider=self._provider, lines=self._dropped)
        self._dropped = 0
