"""Alerts that wait for being posted: which is next, and when one is given up."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from ..logging import get_logger
from .alert import Alert
from .posting import Reply

_TRIES = 5

# Seconds between two tries: at least, at most, and at most where the receiver asks for it.
_SHORTEST = 0.5
_LONGEST = 30.0
_LONGEST_ASKED = 60.0

_TOO_LATE = "there was no time left when it was closed"

_log = get_logger("amas.alerts")


class Poster(Protocol):
    """Posts alerts to one address."""

    def connected(self) -> AbstractContextManager[Callable[[Alert, float], Reply]]:
        """Give out what posts one alert, within so many seconds for each step of it."""
        ...


@dataclass(slots=True, eq=False)
class _Waiting:
    """An alert that is neither delivered nor given up."""

    number: int
    alert: Alert
    due: float
    tries: int = 0
    reason: str = _TOO_LATE

    @property
    def rank(self) -> tuple[bool, float, int]:
        """What goes first: critical alerts, then those that are due longest."""
        return self.alert.severity != "critical", self.due, self.number


class Outbox:
    """What a thread works on that posts alerts; it does not hold the ``Worker``.

    One alert is posted at a time, critical ones first, and each at most five times. One that
    fails waits for a while of its own, in which others have their turn. An alert and its
    recovery are both posted, in that order: the recovery waits until the alert was delivered
    or given up.

    Args:
        post: Posts one alert.
        timeout: Seconds for each step of a try.
        grace: Seconds for what is left at the end.
        random: Source of numbers in [0, 1), for the pauses.
        clock: The time in seconds; only differences matter.
    """

    def __init__(
        self,
        post: Poster,
        *,
        timeout: float,
        grace: float,
        random: Callable[[], float],
        clock: Callable[[], float],
    ) -> None:
        self._post = post
        self._timeout = timeout
        self._grace = grace
        self._random = random
        self._clock = clock
        self._closing = threading.Event()
        self._ends = float("inf")
        self._numbers = itertools.count()
        self._left: dict[int, _Waiting] = {}

    def __len__(self) -> int:
        return len(self._left)

    def put(self, alert: Alert) -> None:
        """Take an alert, from any thread."""
        number = next(self._numbers)
        self._left[number] = _Waiting(number, alert, self._clock())

    def hurry(self) -> None:
        """Give each alert that is left one more try, and all of them together a few seconds."""
        self._ends = self._clock() + self._grace
        self._closing.set()

    def give_up(self) -> None:
        """Log what is left as undelivered, and forget it."""
        for waiting in list(self._left.values()):
            self._give_up(waiting, waiting.reason)

    def work(self) -> float | None:
        """Post what is due, one after the other.

        Returns:
            Seconds until something is; None if nothing is left.
        """
        if self._next() is not None:
            with self._post.connected() as post:
                while (waiting := self._next()) is not None:
                    self._try(waiting, post)
        dues = [waiting.due for waiting in self._eligible()]
        return max(0.0, min(dues) - self._clock()) if dues else None

    def _next(self) -> _Waiting | None:
        """Return what is to be posted now; at the end that is whatever is left."""
        hurry, now = self._closing.is_set(), self._clock()
        due = [waiting for waiting in self._eligible() if hurry or waiting.due <= now]
        return min(due, key=lambda waiting: waiting.rank, default=None)

    def _eligible(self) -> Iterator[_Waiting]:
        """Yield what does not have to wait for another of the same trouble."""
        before: set[str] = set()
        for waiting in list(self._left.values()):
            if waiting.alert.id not in before:
                before.add(waiting.alert.id)
                yield waiting

    def _try(self, waiting: _Waiting, post: Callable[[Alert, float], Reply]) -> None:
        waiting.tries += 1
        last = self._closing.is_set() or waiting.tries == _TRIES
        seconds = min(self._timeout, self._ends - self._clock())
        if seconds <= 0:
            self._give_up(waiting, waiting.reason)
            return
        reply = post(waiting.alert, seconds)
        if reply.delivered:
            self._left.pop(waiting.number, None)
            return
        waiting.reason = f"{reply.reason} (try {waiting.tries})"
        if last or not reply.again:
            self._give_up(waiting, waiting.reason)
        else:
            waiting.due = self._clock() + self._pause(waiting.tries, reply)

    def _pause(self, tried: int, reply: Reply) -> float:
        """Return the seconds until the next try: what is asked for, or full jitter."""
        if reply.retry_after is not None:
            return min(_LONGEST_ASKED, max(_SHORTEST, reply.retry_after))
        return max(_SHORTEST, self._random() * min(_LONGEST, _SHORTEST * 4.0**tried))

    def _give_up(self, waiting: _Waiting, reason: str) -> None:
        # Whoever closes and the thread may both want to: it is logged once.
        if self._left.pop(waiting.number, None) is not None:
            log_undelivered(waiting.alert, reason)


def log_undelivered(alert: Alert, reason: str) -> None:
    """Log that an alert reaches nobody by this way.

    Args:
        alert: The alert.
        reason: Why.
    """
    _log.error(
        "alert_undelivered",
        kind=alert.kind,
        subject=alert.subject,
        status="firing" if alert.firing else "resolved",
        alert_id=alert.id,
        reason=reason,
    )
