"""When a child that ended may be started again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

_FIRST_SECONDS: Final = 0.1
_MOST_SECONDS: Final = 30.0


class Restarts:
    """Jittered exponential backoff, from 0.1 s to 30 s.

    Args:
        clock: The time in seconds; only differences matter.
        random: A number from 0 to 1.
    """

    def __init__(self, clock: Callable[[], float], random: Callable[[], float]) -> None:
        self._clock = clock
        self._random = random
        self._failures = 0
        self._not_before = clock()

    def failed(self) -> None:
        """Note that a child ended by itself, or could not be started."""
        longest = min(_MOST_SECONDS, _FIRST_SECONDS * 2.0 ** min(self._failures, 16))
        self._failures += 1
        # Half of it at least, so that it is never started again in a tight loop.
        self._not_before = self._clock() + longest * (0.5 + 0.5 * self._random())

    def answered(self) -> None:
        """Note that a child answered a call: what was wrong has passed."""
        self._failures = 0

    def wait(self) -> float:
        """Return the seconds until the next start; 0 if that is now."""
        return max(0.0, self._not_before - self._clock())
