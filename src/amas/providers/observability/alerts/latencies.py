"""Which providers take too long: 95 of 100 answers of the last minutes against a bound. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

# Seconds of answers that count.
WINDOW = 300.0

# Answers below which no provider becomes too slow.
LEAST = 20

# Answers of one provider that are remembered.
MOST = 1000


@dataclass(slots=True)
class _Answers:
    """The answers of one provider, oldest first: when, and the seconds they took."""

    taken: deque[tuple[float, float]] = field(default_factory=deque)
    late: int = 0
    late_at: float = 0.0
    slow: bool = False


class Latencies:
    """Watches how long each provider takes to answer.

    A provider becomes too slow with at least 20 answers, of which 95 in 100 take longer than
    the bound. It no longer is once 95 in 100 of those that there are, however few, are within
    the bound: at the latest when none has been late for a whole window.

    Args:
        bound: Seconds that 95 of 100 answers may take.
    """

    def __init__(self, bound: float) -> None:
        self.bound = bound
        self._providers: dict[str, _Answers] = {}

    def add(self, provider: str, seconds: float, now: float) -> bool | None:
        """Count an answer.

        Args:
            provider: Who gave it.
            seconds: How long it took.
            now: The time in seconds; only differences matter.

        Returns:
            True if the provider has become too slow with it, False if it no longer is, None if
            nothing has changed.
        """
        answers = self._providers.setdefault(provider, _Answers())
        answers.taken.append((now, seconds))
        if seconds > self.bound:
            answers.late += 1
            answers.late_at = now
        return self._judge(answers, now)

    def recovered(self, now: float) -> Iterator[str]:
        """Yield who was too slow and no longer is, with no answer since.

        Args:
            now: The time in seconds of the clock that ``add`` is given.
        """
        for provider, answers in self._providers.items():
            if answers.slow and self._judge(answers, now) is False:
                yield provider

    def next_due(self, now: float) -> float | None:
        """Return the seconds until it is worth asking who has recovered; None for never."""
        waits = [item.late_at + WINDOW - now for item in self._providers.values() if item.slow]
        return max(0.0, min(waits)) if waits else None

    def p95(self, provider: str) -> float:
        """Return the seconds within which 95 of 100 answers of a provider have come; 0 if none has."""
        taken = sorted(seconds for _, seconds in self._providers[provider].taken)
        return taken[_rank(len(taken)) - 1] if taken else 0.0

    def forget(self, provider: str) -> None:
        """Forget the answers of a provider that is not the same any more."""
        self._providers.pop(provider, None)

    def _judge(self, answers: _Answers, now: float) -> bool | None:
        taken = answers.taken
        while taken and (taken[0][0] + WINDOW <= now or len(taken) > MOST):
            answers.late -= taken.popleft()[1] > self.bound
        slow = len(taken) - answers.late < _rank(len(taken))
        if slow is answers.slow or (slow and len(taken) < LEAST):
            return None
        answers.slow = slow
        return slow


def _rank(count: int) -> int:
    """Return the place of the 95th percentile among so many, counted from 1 (nearest rank)."""
    return -(-95 * count // 100)
