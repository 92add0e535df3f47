"""Alerts posted to an address, tried again for a while, in a thread of their own."""

from __future__ import annotations

import asyncio
import itertools
import random
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias

from ...secret import Secret
from ..logging import get_logger
from ..worker import Worker
from .alert import Alert
from .posting import Form, Post, Reply

_Numbered: TypeAlias = tuple[int, Alert]

_TRIES = 5

# Seconds between two tries: at least, at most, and at most where the receiver asks for it.
_SHORTEST = 0.5
_LONGEST = 30.0
_LONGEST_ASKED = 60.0

# Alerts that wait for being posted.
_CAPACITY = 1000

# Seconds that ``close`` waits beyond the grace, for a try to come back that has just timed out.
_MARGIN = 0.5

_log = get_logger("amas.alerts")


class Webhook:
    """Posts alerts to an address; it may be on a private network, and without TLS.

    What cannot be delivered is logged to ``amas.alerts``, and not kept.

    Args:
        url: The address; a credential, which appears in no log.
        form: ``json``, or ``slack`` for Slack and what understands its form.
        timeout: Seconds for each step of a try.
        grace: Seconds that ``close`` gives to what is left.
        sleep: Waits a number of seconds; by default less if it is closed meanwhile.
        random: Source of numbers in [0, 1), for the pauses.
        wall: The time of day, in seconds since 1970.
        clock: The time in seconds; only differences matter.
    """

    def __init__(
        self,
        url: Secret,
        form: Form = "json",
        *,
        timeout: float = 10.0,
        grace: float = 3.0,
        sleep: Callable[[float], object] | None = None,
        random: Callable[[], float] = random.random,
        wall: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._grace = grace
        self._make_outbox = partial(
            _Outbox,
            Post(url, form, wall),
            timeout=timeout,
            grace=grace,
            sleep=sleep,
            random=random,
            clock=clock,
        )
        self._numbers = itertools.count()
        self._open()

    def _open(self) -> None:
        self._outbox = self._make_outbox()
        self._worker = Worker("alerts-webhook", self._outbox.handle, capacity=_CAPACITY)
        # At the end of the process it goes before the worker's own, which waits for the thread.
        self._hurry = weakref.finalize(self, self._outbox.hurry)

    def put(self, alert: Alert) -> None:
        """Post an alert as soon as those before it are posted; returns at once."""
        number = next(self._numbers)
        self._outbox.left[number] = alert
        if not self._worker.put((number, alert)):
            self._outbox.give_up(number, f"{_CAPACITY} alerts wait already")

    def close(self) -> None:
        """Try once more to post what is left, for a few seconds, and log what was not delivered.

        For a thread without an event loop. Alerts that come later are posted as before.
        """
        outbox, worker = self._outbox, self._worker
        self._hurry.detach()
        self._open()
        outbox.hurry()
        asyncio.run(worker.close(self._grace + _MARGIN))
        for number in list(outbox.left):
            outbox.give_up(number, "there was no time left when it was closed")


class _Outbox:
    """What the thread works on; it does not hold the worker, whose end is the thread's.

    Attributes:
        left: What has been neither delivered nor given up, by number.
    """

    def __init__(
        self,
        post: Post,
        *,
        timeout: float,
        grace: float,
        sleep: Callable[[float], object] | None,
        random: Callable[[], float],
        clock: Callable[[], float],
    ) -> None:
        self.left: dict[int, Alert] = {}
        self._post = post
        self._timeout = timeout
        self._grace = grace
        self._closing = threading.Event()
        self._sleep = sleep or self._closing.wait
        self._random = random
        self._clock = clock
        self._ends = float("inf")

    def hurry(self) -> None:
        """Give each alert that is left one more try, and all of them together a few seconds."""
        self._ends = self._clock() + self._grace
        self._closing.set()

    def handle(self, batch: Sequence[_Numbered]) -> None:
        """Post alerts, one after the other."""
        if not batch:
            return
        with self._post.connected() as post:
            for number, alert in batch:
                self._deliver(number, alert, post)

    def give_up(self, number: int, reason: str) -> None:
        """Log that an alert was not delivered, once."""
        alert = self.left.pop(number, None)
        if alert is not None:
            _log.error(
                "alert_undelivered",
                kind=alert.kind,
                subject=alert.subject,
                status="firing" if alert.firing else "resolved",
                alert_id=alert.id,
                reason=reason,
            )

    def _deliver(self, number: int, alert: Alert, post: Callable[[Alert, float], Reply]) -> None:
        reason = "there was no time left when it was closed"
        tried = 0
        while True:
            tried += 1
            last = self._closing.is_set() or tried == _TRIES
            seconds = min(self._timeout, self._ends - self._clock())
            if seconds <= 0 or number not in self.left:
                break
            reply = post(alert, seconds)
            if reply.delivered:
                self.left.pop(number, None)
                return
            reason = f"{reply.reason} (try {tried})"
            if last or not reply.again:
                break
            self._sleep(self._pause(tried, reply))
        self.give_up(number, reason)

    def _pause(self, tried: int, reply: Reply) -> float:
        """Return the seconds until the next try: what is asked for, or full jitter."""
        if reply.retry_after is not None:
            return min(_LONGEST_ASKED, max(_SHORTEST, reply.retry_after))
        return max(_SHORTEST, self._random() * min(_LONGEST, _SHORTEST * 4.0**tried))
