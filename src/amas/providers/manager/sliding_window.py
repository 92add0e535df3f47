"""Counts of good and bad in a sliding window of time, in ten buckets. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

_BUCKETS: Final = 10


@dataclass(frozen=True, slots=True)
class Window:
    """What was counted of late.

    A window of so many seconds is ten buckets, of which the last is still filling: what
    is younger than nine tenths of the window counts, what is as old as the window does not.

    Args:
        buckets: (number of the bucket since the clock's zero, good, bad), oldest first.
    """

    buckets: tuple[tuple[int, int, int], ...] = ()

    def add(self, now: float, seconds: float, *, good: int = 0, bad: int = 0) -> Window:
        """Count something, and forget what is too old.

        Args:
            now: The time, in seconds of any clock that only goes forward.
            seconds: Length of the window; what was counted with another length is lost.
            good: How many good ones to count.
            bad: How many bad ones to count.

        Returns:
            The window with them in it.
        """
        number = _number(now, seconds)
        if self.buckets and self.buckets[-1][0] == number:
            # The rest was looked at when this bucket began.
            _, goods, bads = self.buckets[-1]
            return Window((*self.buckets[:-1], (number, goods + good, bads + bad)))
        return Window((*self._kept(number), (number, good, bad)))

    def counts(self, now: float, seconds: float) -> tuple[int, int]:
        """Return how many good and how many bad ones are in the window.

        Args:
            now: The time, on the same clock.
            seconds: Length of the window, as given to ``add``.
        """
        good = bad = 0
        for _, goods, bads in self._kept(_number(now, seconds)):
            good += goods
            bad += bads
        return good, bad

    def _kept(self, number: int) -> tuple[tuple[int, int, int], ...]:
        # A bucket of the future is one of another length; it would stay for ever.
        return tuple(bucket for bucket in self.buckets if number - _BUCKETS < bucket[0] <= number)


def _number(now: float, seconds: float) -> int:
    return math.floor(now / seconds * _BUCKETS)
