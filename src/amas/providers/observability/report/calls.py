"""Takes from the record of a call what a report needs, whatever else stands in it. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from ..audit.reading import is_failure
from ..outcomes import PERHAPS_BILLED

OK: Final = "ok"
NOBODY: Final = "(none)"
"""Stands where a record names no caller, provider or model."""

# How long an attempt took counts if it was waited for, with or without success.
_WAITED: Final = frozenset({OK, "timeout"})


@dataclass(frozen=True, slots=True)
class Asked:
    """What a call had of one provider.

    Args:
        provider: Its name.
        outcome: How its last attempt there ended.
        left: Whether the call went on with another provider after a failure here.
        waits: Milliseconds of each attempt that was answered or timed out.
    """

    provider: str
    outcome: str
    left: bool
    waits: tuple[float, ...]

    @property
    def failed(self) -> bool:
        """Whether it failed there; what we have cancelled did not."""
        return is_failure(self.outcome)


@dataclass(frozen=True, slots=True)
class Call:
    """A call, as far as a report tells of it.

    Args:
        caller: Who called.
        provider: Who answered, or failed last.
        model: The model that answered, or failed last.
        outcome: How it ended.
        latency_ms: Milliseconds of the whole call.
        first_content_ms: Milliseconds to the first content of a stream.
        tokens: Prompt and answer together.
        cost_usd: Its price; None if that is not known or nothing is to be paid.
        unpriced: Provider and model of each of its requests that has to be paid, or may have to,
            and nobody knows how much.
        asked: What it had of each provider.
    """

    caller: str
    provider: str
    model: str
    outcome: str
    latency_ms: float | None
    first_content_ms: float | None
    tokens: int
    cost_usd: float | None
    unpriced: tuple[tuple[str, str], ...]
    asked: tuple[Asked, ...]

    @property
    def failed(self) -> bool:
        """Whether it failed; a call that its caller has cancelled did not."""
        return is_failure(self.outcome)

    @property
    def moved(self) -> bool:
        """Whether it went on with another provider after a failure."""
        return any(asked.left for asked in self.asked)


def read_call(record: Mapping[str, Any]) -> Call:
    """Take a record of the kind ``call`` apart; what does not fit in it counts as absent.

    Args:
        record: The record.
    """
    outcome = name_of(record.get("outcome"))
    provider = name_of(record.get("provider"))
    latency = number(record.get("latency_ms"))
    cost = number(record.get("cost_usd"))
    attempts = [item for item in _list(record.get("attempts")) if isinstance(item, Mapping)]
    if not attempts and provider != NOBODY:
        attempts = [{**record, "ms": latency}]
    return Call(
        caller=name_of(record.get("caller")),
        provider=provider,
        model=name_of(record.get("model")),
        outcome=outcome,
        latency_ms=latency,
        first_content_ms=number(record.get("first_content_ms")),
        tokens=_tokens(record.get("tokens")),
        cost_usd=cost,
        unpriced=tuple(_unpriced(record, attempts, cost)),
        asked=tuple(_asked(attempts)),
    )


def number(value: object) -> float | None:
    """Return a value if it is a finite number and not below 0, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) and found >= 0 else None


def _asked(attempts: list[Mapping[str, Any]]) -> Iterator[Asked]:
    left = {
        name_of(one.get("provider"))
        for one, following in pairwise(attempts)
        if is_failure(name_of(one.get("outcome")))
        and not following.get("hedge")
        and name_of(one.get("provider")) != name_of(following.get("provider"))
    }
    for provider in dict.fromkeys(name_of(item.get("provider")) for item in attempts):
        own = [item for item in attempts if name_of(item.get("provider")) == provider]
        waits = (number(item.get("ms")) for item in own if name_of(item.get("outcome")) in _WAITED)
        yield Asked(
            provider=provider,
            outcome=name_of(own[-1].get("outcome")),
            left=provider in left,
            waits=tuple(ms for ms in waits if ms is not None),
        )


def _unpriced(
    record: Mapping[str, Any], attempts: list[Mapping[str, Any]], cost: float | None
) -> Iterator[tuple[str, str]]:
    outcome = name_of(record.get("outcome"))
    early = [item for item in attempts if name_of(item.get("outcome")) in PERHAPS_BILLED]
    if cost is not None and outcome in PERHAPS_BILLED:
        early = early[:-1]  # the price is that of the request that the call ended with
    yield from ((name_of(item.get("provider")), name_of(item.get("model"))) for item in early)
    if cost is None and (outcome == OK or ("cost_usd" in record and not early)):
        yield name_of(record.get("provider")), name_of(record.get("model"))


def _tokens(value: object) -> int:
    if not isinstance(value, Mapping):
        return 0
    total = number(value.get("total"))
    if total is None:
        total = (number(value.get("prompt")) or 0) + (number(value.get("completion")) or 0)
    return int(total)


def name_of(value: object) -> str:
    """Return a name as text, or what stands for none."""
    return str(value) if value else NOBODY


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
