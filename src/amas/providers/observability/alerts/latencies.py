"""Which providers take too long: 95 of 100 answers of the last minutes against a bound. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

# Seconds of answers that count.
WINDOW = 300.0

# Answers below which nothing can be said.
LEAST = 20

# Answers of one provider that are remembered.
MOST = 1000


@dataclass(slots=True)
class _Answers:
    """The answers of one provider, oldest first: when, and the seconds they took."""

    taken: deque[tuple[float, float]] = field(default_factory=deque)
    late: int = 0
    slow: bool = False


class Latencies:
    """Watches how long each provider takes to answer.

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
        answers.late += seconds > self.bound
        while answers.taken[0][0] <= now - WINDOW or len(answers.taken) > MOST:
            answers.late -= answers.taken.popleft()[1] > self.bound
        count = len(answers.taken)
        if count < LEAST:
            return None
        slow = count - answers.late < _rank(count)
        if slow is answers.slow:
            return None
        answers.slow = slow
        return slow

    def p95(self, provider: str) -> float:
        """Return the seconds within which 95 of 100 answers of a provider have come."""
        taken = sorted(seconds for _, seconds in self._providers[provider].taken)
        return taken[_rank(len(taken)) - 1]

    def forget(self, provider: str) -> None:
        """Forget the answers of a provider that is not the same any more."""
        self._providers.pop(provider, None)


def _rank(count: int) -> int:
    """Return the place of the 95th percentile among so many, counted from 1 (nearest rank)."""
    return -(-95 * count // 100)
