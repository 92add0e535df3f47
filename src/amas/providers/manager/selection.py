"""In which order providers are asked. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TypeAlias

from ..errors import InvalidRequestError, suggestion

Strategy: TypeAlias = Callable[[Sequence[str], int], list[str]]
"""Takes the names in fallback order and the number of the call; returns all of them, ordered."""


def priority(names: Sequence[str], _call: int) -> list[str]:
    """Keep the fallback order."""
    return list(names)


def round_robin(names: Sequence[str], call: int) -> list[str]:
    """Begin one further with every call."""
    start = call % len(names) if names else 0
    return [*names[start:], *names[:start]]


STRATEGIES: Mapping[str, Strategy] = MappingProxyType(
    {"priority": priority, "round_robin": round_robin}
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
