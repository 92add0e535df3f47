"""When the same provider is asked again, and after which pause. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..errors import ProviderError
from ..types import Retry
from .policy import Rule


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How the same provider is asked again.

    Args:
        base: Upper bound of the first pause, in seconds; it doubles with each retry.
        ceiling: Upper bound of every pause, in seconds.
        short_wait: Longest ``Retry-After`` that is worth waiting for, in seconds.
    """

    base: float = 0.2
    ceiling: float = 5.0
    short_wait: float = 2.0

    def pause(
        self,
        rule: Rule,
        error: ProviderError,
        *,
        retries_done: int,
        max_retries: int,
        time_left: float,
        random: Callable[[], float],
    ) -> float | None:
        """Decide whether to ask the same provider again.

        Full jitter: a pause is drawn evenly from zero to a bound that doubles
        (Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog).

        Args:
            rule: The failure table's row for what happened.
            error: What happened.
            retries_done: Retries so far at this provider in this call.
            max_retries: The provider's limit.
            time_left: Seconds of this provider's share of the deadline.
            random: Source of numbers in [0, 1).

        Returns:
            Seconds to wait before asking again; None for not asking again.
        """
        if retries_done >= max_retries:
            return None
        wait = self._wait(rule, error, retries_done, random)
        return wait if wait is not None and wait < time_left else None

    def _wait(
        self, rule: Rule, error: ProviderError, retries_done: int, random: Callable[[], float]
    ) -> float | None:
        if rule.retry is Retry.NO or (rule.retry is Retry.ONCE and retries_done > 0):
            return None
        asked = error.retry_after
        if asked is not None:
            # A little later than asked, or everybody would come back at once.
            return asked + random() * self.base if asked <= self.short_wait else None
        match rule.retry:
            case Retry.ONCE:
                return random() * self.base
            case Retry.BACKOFF:
                return float(random() * min(self.ceiling, self.base * 2 ** min(retries_done, 30)))
            case _:
                return None
