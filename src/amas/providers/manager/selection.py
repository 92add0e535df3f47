"""In which order providers are asked. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

from ..errors import InvalidRequestError, suggestion

# Taken for a drawn 0, whose logarithm is not finite; half the step of ``random.random``.
_LEAST_DRAW = 2.0**-54

# Seconds below which no answer comes; keeps load and failures in the score of a latency of 0.
_LEAST_LATENCY = 1e-6

# Taken for a success rate of 0: so small that no load or latency of the others outweighs it.
_LEAST_SUCCESS = 1e-12


@dataclass(frozen=True, slots=True)
class Standing:
    """What a strategy knows of one provider.

    Args:
        name: Its name.
        weight: Its share under ``weighted``, relative to the others; above 0.
        in_flight: Requests that are under way now.
        last_picked: Number of the call that it was last the first of; 0 for never.
        latency: Decaying average in seconds; None if unknown.
        success_rate: Share of the last minute's requests, from 0 to 1; None if unknown.
        price: US dollars for this call; None if unknown.
    """

    name: str
    weight: float = 1.0
    in_flight: int = 0
    last_picked: int = 0
    latency: float | None = None
    success_rate: float | None = None
    price: float | None = None


Strategy: TypeAlias = Callable[[Sequence[Standing], Callable[[], float]], list[str]]
"""Takes the standings in fallback order and a source of numbers in [0, 1); returns all names."""


def _names(standings: Sequence[Standing]) -> list[str]:
    return [standing.name for standing in standings]


def priority(standings: Sequence[Standing], _random: Callable[[], float]) -> list[str]:
    """Keep the fallback order."""
    return _names(standings)


def round_robin(standings: Sequence[Standing], _random: Callable[[], float]) -> list[str]:
    """Begin with the least recently picked one.

    Turns are not counted by the number of the call, so they stay exact when the
    providers that may be asked change from call to call.
    """
    return _names(sorted(standings, key=lambda one: one.last_picked))


def weighted(standings: Sequence[Standing], random: Callable[[], float]) -> list[str]:
    """Draw one after the other, each time in proportion to the weights of those left.

    Each one gets an exponential random time with its weight as the rate, and the
    earliest wins: Efraimidis and Spirakis, "Weighted random sampling with a
    reservoir" (2006).
    """

    def log_time(one: Standing) -> float:
        # Of -log(1 - draw) / weight the logarithm, which no weight can make overflow.
        return math.log(-math.log1p(-max(random(), _LEAST_DRAW))) - math.log(one.weight)

    return _names(sorted(standings, key=log_time))


def least_busy(standings: Sequence[Standing], _random: Callable[[], float]) -> list[str]:
    """Begin with the one that has the fewest requests under way, then least recently picked."""
    return _names(sorted(standings, key=lambda one: (one.in_flight, one.last_picked)))


def fastest(standings: Sequence[Standing], _random: Callable[[], float]) -> list[str]:
    """Begin with the one of the shortest latency, then least recently picked.

    One whose latency is unknown comes first to find it out, but only while nothing
    of it is under way: a burst of calls is not to hang on a stranger. Else it is last.
    """

    def place(one: Standing) -> tuple[int, float, int]:
        if one.latency is not None:
            return 1, one.latency, one.last_picked
        return 2 if one.in_flight else 0, 0.0, one.last_picked

    return _names(sorted(standings, key=place))


def intelligent(standings: Sequence[Standing], random: Callable[[], float]) -> list[str]:
    """Draw two and begin with the better one; the rest follows from best to worst.

    Good is a short latency, little load and few failures. Always to begin with the
    best of all would send every call of a burst to the same one, since what is known
    lags behind; the better of two is nearly as good and spreads them: Mitzenmacher,
    "The Power of Two Choices in Randomized Load Balancing" (2001).
    """
    if len(standings) < 2:  # noqa: PLR2004 - nothing to choose from
        return _names(standings)
    known = [one.latency for one in standings if one.latency is not None]
    hoped = min(known, default=1.0)  # if none is known any number will do, as it is everybody's

    def cost(one: Standing) -> float:
        # What is unknown is taken to be good, so that it is found out.
        latency = hoped if one.latency is None else one.latency
        success = 1.0 if one.success_rate is None else one.success_rate
        return max(latency, _LEAST_LATENCY) * (one.in_flight + 1) / max(success, _LEAST_SUCCESS)

    first = int(random() * len(standings))
    second = int(random() * (len(standings) - 1))
    second += second >= first  # of the others, each equally likely
    # Of equals ``min`` takes the first drawn, which is any of them.
    chosen = min(first, second, key=lambda index: cost(standings[index]))
    rest = [one for index, one in enumerate(standings) if index != chosen]
    rest.sort(key=lambda one: (cost(one), one.last_picked))
    return _names([standings[chosen], *rest])


def cheapest(standings: Sequence[Standing], _random: Callable[[], float]) -> list[str]:
    """Begin with the lowest price for this call; an unknown price is not a low one, but last."""
    return _names(sorted(standings, key=lambda one: math.inf if one.price is None else one.price))


STRATEGIES: Mapping[str, Strategy] = MappingProxyType(
    {
        "priority": priority,
        "round_robin": round_robin,
        "weighted": weighted,
        "intelligent": intelligent,
        "fastest": fastest,
        "least_busy": least_busy,
        "cheapest": cheapest,
    }
)


def find_strategy(name: str) -> Strategy:
    """Return a strategy by its name.

    Raises:
        InvalidRequestError: There is none of this name.
    """
    try:
        return STRATEGIES[name]
    except (KeyError, TypeError):
        hint = suggestion(name, STRATEGIES)
        raise InvalidRequestError(
            f"unknown strategy {name!r}{hint}; there are {', '.join(STRATEGIES)}"
        ) from None
