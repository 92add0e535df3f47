"""A budget for requests beside the first ones: retries and hedges.

In an outage every caller's retries multiply the load on an upstream that is already
failing. A budget bounds them as a share of the traffic, with a reserve that lets a quiet
service retry at all: Finagle's ``RetryBudget`` (Twitter), and the retry budgets of
"Addressing Cascading Failures" in Google's "Site Reliability Engineering" (2016).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from .sliding_window import Window


class Budget:
    """How many extra requests there may be within a window of time.

    Whenever an extra is allowed, the extras of the window that ends then, itself included,
    are at most ``max(reserve, share * first requests)``.

    Args:
        share: Extras per first request, from 0.
        reserve: Extras that are always allowed within a window.
        clock: The time in seconds; only differences matter.
        window: Length of the window, in seconds.
    """

    def __init__(
        self, share: float, reserve: int, clock: Callable[[], float], window: float = 60.0
    ) -> None:
        self._share = share
        self._reserve = reserve
        self._clock = clock
        self._window = window
        self._requests = Window()
        self._extras: deque[float] = deque()

    def note_request(self) -> None:
        """Count a first request."""
        self._requests = self._requests.add(self._clock(), self._window, good=1)

    def take(self) -> bool:
        """Ask for an extra request, and count it if it is allowed.

        Returns:
            Whether it may be sent.
        """
        now = self._clock()
        while self._extras and self._extras[0] <= now - self._window:
            self._extras.popleft()
        requests, _ = self._requests.counts(now, self._window)
        if len(self._extras) + 1 > max(self._reserve, self._share * requests):
            return False
        self._extras.append(now)
        return True
