"""What the records of a time add up to: the figures themselves."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from .samples import Moments, Sample

LAST_OPENINGS: Final = 20


@dataclass(slots=True)
class Tally:
    """Sums of some calls: of all, or of those of one caller, model, provider or day.

    Args:
        latency: Milliseconds of whole calls; of a provider, of its attempts that were waited for.
        first_content: Milliseconds to the first content of streams.
        calls: How many there were.
        failed: How many of them failed.
        failovers: How many went on with another provider.
        tokens: Of prompts and answers.
        cost_usd: What those cost whose price is known.
        priced: How many those are.
        unpriced: How many requests cost something unknown.
    """

    latency: Sample
    first_content: Sample
    calls: int = 0
    failed: int = 0
    failovers: int = 0
    tokens: int = 0
    cost_usd: float = 0.0
    priced: int = 0
    unpriced: int = 0


@dataclass(slots=True)
class Slot:
    """What one provider did in a piece of time.

    Args:
        start: Its begin, in seconds since 1970.
        end: Its end.
        latency: Milliseconds of its attempts that were waited for.
        moments: When it did what.
        calls: Calls in which it was asked.
        failed: How many of them failed there.
        outcomes: How those failed.
    """

    start: float
    end: float
    latency: Sample
    moments: Moments
    calls: int = 0
    failed: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class Endings:
    """Calls of a piece of the range, by how they ended.

    Args:
        fine: Answered by who was asked first.
        moved: Answered after a failover.
        cancelled: Given up by their callers.
        failed: Failed.
    """

    fine: int = 0
    moved: int = 0
    cancelled: int = 0
    failed: int = 0

    @property
    def all(self) -> int:
        """How many there were."""
        return self.fine + self.moved + self.cancelled + self.failed


@dataclass(frozen=True, slots=True)
class Opening:
    """A circuit that opened.

    Args:
        at: When, in seconds since 1970.
        provider: Whose it is.
        key: Of which of its keys; None for the provider's own.
        outcome: How the request ended that opened it.
    """

    at: float
    provider: str
    key: int | None
    outcome: str | None


@dataclass(slots=True)
class Figures:
    """What the records of a time add up to.

    Args:
        since: Begin of the range, in seconds since 1970.
        until: Its end.
        width: Seconds of one slot; slots begin at multiples of it.
        recent: Seconds before the end that are set against the rest.
        total: All calls.
        providers: By provider that was asked; one call may count at several.
        callers: By caller.
        models: By model that answered, or failed last.
        days: By day in UTC.
        outcomes: Calls by how they ended.
        refused: Calls that the access rules refused, by caller.
        slots: By provider and begin of the slot.
        before: As ``slots``, in the time before the range: what is usual.
        calls: Calls by begin of the slot.
        day_costs: Cost by day and provider.
        latest: By provider, what it did in the recent time.
        recent_usd: What the calls of the recent time cost.
        openings: Circuits opened, by provider.
        last_openings: The last of them.
        open_circuits: Providers whose circuit opened, before the range or in it, and who have not
            answered since.
        dropped: Records that could not be written, or were lost.
    """

    since: float
    until: float
    width: int
    recent: float
    total: Tally
    providers: dict[str, Tally] = field(default_factory=dict)
    callers: dict[str, Tally] = field(default_factory=dict)
    models: dict[str, Tally] = field(default_factory=dict)
    days: dict[str, Tally] = field(default_factory=dict)
    outcomes: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    slots: dict[str, dict[int, Slot]] = field(default_factory=dict)
    before: dict[str, dict[int, Slot]] = field(default_factory=dict)
    calls: dict[int, Endings] = field(default_factory=dict)
    day_costs: dict[str, dict[str, float]] = field(default_factory=dict)
    latest: dict[str, Slot] = field(default_factory=dict)
    recent_usd: float = 0.0
    openings: Counter[str] = field(default_factory=Counter)
    last_openings: deque[Opening] = field(default_factory=lambda: deque(maxlen=LAST_OPENINGS))
    open_circuits: set[str] = field(default_factory=set)
    dropped: int = 0

    def starts(self) -> Sequence[int]:
        """Return the begin of every slot of the range, in seconds since 1970."""
        first = int(self.since // self.width) * self.width
        return range(first, max(int(self.until), first + 1), self.width)

    def busiest(self) -> list[str]:
        """Return the providers that were asked, the most asked first."""
        return sorted(self.providers, key=lambda name: (-self.providers[name].calls, name))
