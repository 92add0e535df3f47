"""A bound on the requests under way at one provider, and the queue in front of it.

Michael Nygard's "bulkhead" ("Release It!", 2nd edition 2018): a provider that is slow must
not fill the whole ship.
"""

from __future__ import annotations

import asyncio
from collections import deque


class Bulkhead:
    """Slots for requests, first come, first served.

    A slot that comes free is handed to the first waiter before anybody else can ask for it:
    as long as somebody waits, all slots are taken.

    Args:
        limit: Most requests under way at once, from 1; no limit if None.
        max_queue: Most callers that wait for a slot; nobody waits if 0.
    """

    def __init__(self, limit: int | None, max_queue: int) -> None:
        self._limit = limit
        self._max_queue = max_queue
        self._queue: deque[asyncio.Future[None]] = deque()
        self.in_flight = 0

    @property
    def waiting(self) -> int:
        """How many callers wait for a slot."""
        self._forget_the_dead()
        return len(self._queue)

    @property
    def has_room(self) -> bool:
        """Whether a request could start now."""
        return self._limit is None or self.in_flight < self._limit

    @property
    def may_wait(self) -> bool:
        """Whether the queue has a place."""
        return self.waiting < self._max_queue

    def try_enter(self) -> bool:
        """Take a slot if there is one, without waiting.

        Returns:
            Whether it was taken; then it must be given back with :meth:`leave`.
        """
        if not self.has_room:
            return False
        self.in_flight += 1
        return True

    async def enter(self, seconds: float) -> bool:
        """Take a slot, and wait for it behind all who came before.

        Args:
            seconds: Longest wait; does not wait at all if 0 or less.

        Returns:
            Whether it was taken; then it must be given back with :meth:`leave`. Not so if
            the queue is full, or time runs out.
        """
        if self.try_enter():
            return True
        if seconds <= 0 or not self.may_wait:
            return False
        waiter = asyncio.get_running_loop().create_future()
        self._queue.append(waiter)
        entered = False
        try:
            # Awaited directly: who is given a slot first goes on first, also beside one whose
            # time runs out.
            async with asyncio.timeout(seconds):
                await waiter
            entered = True
        except TimeoutError:
            # It may run out in the very moment in which the slot comes: that is in time.
            entered = _has_slot(waiter)
        finally:
            if not entered:
                self._withdraw(waiter)
        return entered

    def leave(self) -> None:
        """Give a slot back, once for each that was taken; the first waiter gets it."""
        self._forget_the_dead()
        while self._queue:
            waiter = self._queue.popleft()
            if not waiter.done():
                # The slot changes hands without being free in between: nobody can slip in.
                waiter.set_result(None)
                return
        self.in_flight -= 1

    def _withdraw(self, waiter: asyncio.Future[None]) -> None:
        """Let go a waiter that was cancelled, or ran out of time."""
        if _has_slot(waiter):
            self.leave()
        elif waiter in self._queue:
            self._queue.remove(waiter)

    def _forget_the_dead(self) -> None:
        """Drop waiters whose loop was closed: they can take no slot any more."""
        if any(waiter.get_loop().is_closed() for waiter in self._queue):
            alive = (waiter for waiter in self._queue if not waiter.get_loop().is_closed())
            self._queue = deque(alive)


def _has_slot(waiter: asyncio.Future[None]) -> bool:
    return waiter.done() and not waiter.cancelled()
