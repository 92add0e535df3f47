"""Sums that grow with each call, such as what a caller has spent today."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Protocol

from typing_extensions import override


class Counting(Protocol):
    """Adds to sums that others add to as well; never raises."""

    async def add(self, amounts: Mapping[str, float], seconds: float) -> Mapping[str, float]:
        """Add to some sums, each of which begins at 0.

        Args:
            amounts: What to add, by the name of the sum; may be 0, or below.
            seconds: How long the sums are remembered from now on.

        Returns:
            What each of them is now.
        """
        ...


class Counters(Counting):
    """Sums within one process.

    Args:
        clock: The time in seconds; only differences matter.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._sums: dict[str, tuple[float, float]] = {}
        self._sweep_at = 0

    @override
    async def add(self, amounts: Mapping[str, float], seconds: float) -> Mapping[str, float]:
        """Add to some sums; see ``Counting``."""
        return self.add_now(amounts, seconds)

    def add_now(self, amounts: Mapping[str, float], seconds: float) -> dict[str, float]:
        """Do the same without having to wait."""
        now = self._clock()
        if len(self._sums) > self._sweep_at:
            self._sums = {name: each for name, each in self._sums.items() if each[1] > now}
            self._sweep_at = 2 * len(self._sums) + 100
        totals = {}
        for name, amount in amounts.items():
            total, ends = self._sums.get(name, (0.0, now))
            totals[name] = amount + (total if ends > now else 0.0)
            self._sums[name] = totals[name], now + seconds
        return totals

    def learn(self, totals: Mapping[str, float], seconds: float) -> None:
        """Take over what the sums are elsewhere."""
        ends = self._clock() + seconds
        self._sums.update({name: (total, ends) for name, total in totals.items()})
