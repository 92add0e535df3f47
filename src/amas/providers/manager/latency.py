"""How long a provider's answers take: a decaying average, and percentiles."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

# 0.07 * 100 is a little more than 7 in binary, and its rank is 7 nevertheless.
_ROUNDING = 1e-9


def milliseconds(seconds: float | None) -> float | None:
    """Return a time as results and records have it; None while it is not known."""
    return None if seconds is None else round(seconds * 1000, 3)


class Latencies:
    """The latest latencies of one provider.

    Args:
        clock: The time in seconds; only differences matter.
        weight: Weight of a new sample in the average, above 0 up to 1.
        keep: How many samples the percentiles are made of, at most.
        forget_after: Seconds after which a sample says nothing any more.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        weight: float = 0.2,
        keep: int = 128,
        forget_after: float = 300.0,
    ) -> None:
        self._clock = clock
        self._weight = weight
        self._forget_after = forget_after
        self._samples: deque[tuple[float, float]] = deque(maxlen=keep)
        self._sorted: list[float] = []
        self._average = 0.0
        self._known_at = -math.inf

    def add(self, seconds: float) -> None:
        """Take in how long an answer took.

        Args:
            seconds: From sending the request.
        """
        known = self.average
        self._average = seconds if known is None else known + self._weight * (seconds - known)
        self._known_at = self._clock()
        self._samples.append((self._known_at, seconds))
        self._sorted.clear()

    def adopt(self, average: float) -> None:
        """Take over what another process measured, unless there are samples of our own.

        Args:
            average: Its average in seconds; ignored unless it can be one.
        """
        if not self.samples and 0 <= average < math.inf:
            self._average = average
            self._known_at = self._clock()

    @property
    def average(self) -> float | None:
        """Exponentially weighted moving average in seconds; None if unknown or too old."""
        return None if self._is_old(self._known_at) else self._average

    @property
    def samples(self) -> int:
        """How many samples there are that are not too old."""
        while self._samples and self._is_old(self._samples[0][0]):
            self._samples.popleft()
            self._sorted.clear()
        return len(self._samples)

    def percentile(self, share: float) -> float | None:
        """Return the time within which this share of the answers came, by nearest rank.

        Args:
            share: From 0 to 1, for example 0.95.

        Returns:
            Seconds; None without samples.
        """
        count = self.samples
        if not count:
            return None
        if not self._sorted:
            self._sorted = sorted(seconds for _, seconds in self._samples)
        return self._sorted[max(1, math.ceil(share * count - _ROUNDING)) - 1]

    def _is_old(self, at: float) -> bool:
        return self._clock() - at > self._forget_after
