"""Percentiles and courses of many values in bounded memory."""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterable
from typing import Final, NamedTuple

EXACT: Final = 100_000
"""Values up to which percentiles are exact."""

_MOMENTS: Final = 500  # within ten minutes that is one a second


class Sample:
    """Values of which percentiles are asked; beyond ``limit`` a fair choice of them is kept.

    Args:
        chance: What chooses then; seeded, the same records give the same figures.
        limit: How many are kept.

    Attributes:
        seen: How many values there were.
    """

    def __init__(self, chance: random.Random, limit: int = EXACT) -> None:
        self.seen = 0
        self._chance = chance
        self._limit = limit
        self._values = array("d")

    def add(self, value: float) -> None:
        """Take in one value."""
        self.seen += 1
        if len(self._values) < self._limit:
            self._values.append(value)
        elif (place := int(self._chance.random() * self.seen)) < self._limit:
            self._values[place] = value

    def percentile(self, share: float) -> float | None:
        """Return the smallest value that so large a share of the values does not exceed.

        Args:
            share: Of the values, above 0 and up to 1.

        Returns:
            The value; None if there were none.
        """
        return percentile([self], share)

    def weighted(self) -> Iterable[tuple[float, float]]:
        """Return the values that were kept, and how many each one stands for."""
        weight = self.seen / max(len(self._values), 1)
        return ((value, weight) for value in self._values)


def percentile(samples: Iterable[Sample], share: float) -> float | None:
    """Return the percentile of all values of several samples together.

    Args:
        samples: The samples.
        share: As for ``Sample.percentile``.
    """
    pairs = sorted(pair for sample in samples for pair in sample.weighted())
    # The tolerance is for weights that are no whole numbers.
    wanted = share * sum(weight for _, weight in pairs) * (1 - 1e-9)
    reached = 0.0
    for value, weight in pairs:
        reached += weight
        if reached >= wanted:
            return value
    return None


class Moment(NamedTuple):
    """How a provider did in one call.

    Args:
        at: When, in seconds since 1970.
        ms: Milliseconds that it was waited for; below 0 if it was not.
        failed: Whether it failed.
    """

    at: float
    ms: float
    failed: bool


class Moments:
    """Remembers when what happened; of too much, a fair choice.

    Args:
        chance: What chooses, as for ``Sample``.
    """

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._seen = 0
        self._values = array("d")  # three numbers for each; a tuple takes seven times the room

    def add(self, moment: Moment) -> None:
        """Take in one more."""
        self._seen += 1
        if self._seen <= _MOMENTS:
            self._values.extend(moment)
        elif (place := 3 * int(self._chance.random() * self._seen)) < len(self._values):
            self._values[place : place + 3] = array("d", moment)

    def all(self) -> Iterable[Moment]:
        """Return those that were kept, in no order."""
        values = self._values
        return (
            Moment(values[place], values[place + 1], bool(values[place + 2]))
            for place in range(0, len(values), 3)
        )
