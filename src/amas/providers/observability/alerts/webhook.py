"""Alerts posted to an address, tried again for a while, in a thread of their own."""

from __future__ import annotations

import asyncio
import os
import random
import time
import weakref
from collections.abc import Callable, Sequence
from functools import partial

from ...secret import Secret
from ..worker import Worker
from .alert import Alert
from .outbox import Outbox, log_undelivered
from .posting import Form, Post

# Alerts that wait for being posted, beside the one that is.
_CAPACITY = 1000

# Seconds that ``close`` waits beyond the grace, for a try to come back that has just timed out.
_MARGIN = 0.5


class Webhook:
    """Posts alerts to an address; it may be on a private network, and without TLS.

    Critical alerts go first, and one that the receiver does not take does not hold up others:
    it is tried again later, up to five times. An alert and its recovery are both posted, in
    that order, also if the recovery has come before the alert could be delivered. What cannot
    be delivered is logged to ``amas.alerts``, and not kept.

    Args:
        url: The address; a credential, which appears in no log.
        form: ``json``, or ``slack`` for Slack and what understands its form.
        service: Name of the service, which alerts show; that of the program if None.
        timeout: Seconds for each step of a try.
        grace: Seconds that ``close`` gives to what is left.
        random: Source of numbers in [0, 1), for the pauses.
        wall: The time of day, in seconds since 1970.
        clock: The time in seconds; only differences matter.
    """

    def __init__(
        self,
        url: Secret,
        form: Form = "json",
        *,
        service: str | None = None,
        timeout: float = 10.0,
        grace: float = 3.0,
        random: Callable[[], float] = random.random,
        wall: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._grace = grace
        self._make_outbox = partial(
            Outbox,
            Post(url, form, wall, service),
            timeout=timeout,
            grace=grace,
            random=random,
            clock=clock,
        )
        self._open()

    def _open(self) -> None:
        self._pid = os.getpid()
        self._outbox = self._make_outbox()
        # The alerts are in the outbox; what is queued only wakes the thread.
        self._worker: Worker[None] = Worker(
            "alerts-webhook", _worker_of(self._outbox), capacity=_CAPACITY
        )
        # At the end of the process it goes before the worker's own, which waits for the thread.
        self._hurry = weakref.finalize(self, self._outbox.hurry)

    def put(self, alert: Alert) -> None:
        """Post an alert as soon as it is its turn; returns at once."""
        self._leave_to_parent()
        if len(self._outbox) > _CAPACITY:
            log_undelivered(alert, f"{_CAPACITY} alerts wait already")
            return
        self._outbox.put(alert)
        self._worker.put(None)

    def close(self) -> None:
        """Try once more to post what is left, for a few seconds, and log what was not delivered.

        For a thread without an event loop. Alerts that come later are posted as before.
        """
        self._leave_to_parent()
        outbox, worker = self._outbox, self._worker
        self._hurry.detach()
        self._open()
        outbox.hurry()
        asyncio.run(worker.close(self._grace + _MARGIN))
        outbox.give_up()

    def _leave_to_parent(self) -> None:
        """Begin with nothing after a fork: what waits here then is the parent's to post."""
        if self._pid != os.getpid():
            self._hurry.detach()
            self._open()


def _worker_of(outbox: Outbox) -> Callable[[Sequence[None]], float | None]:
    return lambda _woken: outbox.work()
