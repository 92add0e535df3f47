"""A thread of its own for work that calls must not wait for, behind a queue that has an end."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from .logging import get_logger

T = TypeVar("T")

# Seconds between two log lines about the same handler's failures.
_SAY_EVERY = 60.0

_log = get_logger("amas.providers.observability")


class Worker(Generic[T]):
    """Hands items to a handler, many at a time, in a thread that starts with the first of them.

    A handler that raises loses the items it was given, and nothing else. What is still queued
    when the process ends, or nobody holds the worker any more, is handled first.

    Args:
        name: What it does, for the thread's name and the log.
        handle: Called in the thread with what has come, perhaps nothing; returns the seconds
            after which to call it in any case, None for not before something comes.
        capacity: Most items that wait; further ones are dropped and counted.
        linger: Seconds that it waits for more once something has come.
        wanted: Tells whether an item is for the handler; what is not takes no room.
    """

    def __init__(
        self,
        name: str,
        handle: Callable[[Sequence[T]], float | None],
        *,
        capacity: int = 10_000,
        linger: float = 0.05,
        wanted: Callable[[T], bool] | None = None,
    ) -> None:
        self._wanted = wanted
        self._queue: _Queue[T] = _Queue(name, handle, capacity, linger)
        self._finalizer = weakref.finalize(self, self._queue.finish)

    @property
    def dropped(self) -> int:
        """How many items there was no room for."""
        return self._queue.dropped

    @property
    def failures(self) -> int:
        """How often the handler has raised."""
        return self._queue.failures

    @property
    def waiting(self) -> int:
        """How many items wait."""
        return len(self._queue.items)

    def put(self, item: T) -> bool:
        """Hand over an item, from any thread; returns at once.

        Returns:
            Whether there was room for it, if it is wanted.
        """
        if self._wanted is not None and not self._wanted(item):
            return True
        return self._queue.put(item)

    async def flush(self) -> None:
        """Wait until everything handed over so far has been handled."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()

        def tell() -> None:
            if not done.done():
                done.set_result(None)

        def handled() -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(tell)

        if self._queue.when_handled(handled):
            await done

    async def close(self, seconds: float = 5.0) -> None:
        """Handle what is left, and end the thread; a later item starts another.

        Args:
            seconds: How long to wait for it.
        """
        await asyncio.to_thread(self._queue.close, seconds)

    def finish(self) -> None:
        """Do the same for whoever can wait; unless it was tried already, then not again."""
        self._queue.finish()


# Seconds that the end of a process waits for what is left.
_LONGEST_END = 5.0


class _Queue(Generic[T]):
    """What the thread holds; it does not hold the worker, whose end is the thread's."""

    def __init__(
        self,
        name: str,
        handle: Callable[[Sequence[T]], float | None],
        capacity: int,
        linger: float,
    ) -> None:
        self.dropped = 0
        self.failures = 0
        self._name = name
        self._handle = handle
        self._capacity = capacity
        self._linger = linger
        self._said_at = float("-inf")
        self._begin()

    def _begin(self) -> None:
        """Begin with nothing, at first and after a fork: what waits here then is the parent's."""
        self._pid = os.getpid()
        self.items: deque[T] = deque()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()
        self._hurry = threading.Event()
        self._closing = False
        self._waiters: deque[Callable[[], None]] = deque()

    def put(self, item: T) -> bool:
        if self._pid != os.getpid():
            self._begin()
        if len(self.items) >= self._capacity:
            self.dropped += 1
            return False
        self.items.append(item)
        if not self._wake.is_set():
            self._rouse()
        return True

    def _rouse(self) -> None:
        if not self._is_running():
            self._start()
        self._wake.set()

    def _is_running(self) -> bool:
        thread = self._thread
        return thread is not None and thread.is_alive() and self._pid == os.getpid()

    def _start(self) -> None:
        with self._starting:
            if not self._is_running():
                self._closing = False
                self._thread = threading.Thread(
                    target=self._run, name=f"amas-{self._name}", daemon=True
                )
                self._thread.start()
                self._end_with_its_process()

    def _end_with_its_process(self) -> None:
        """Handle what is left also at the end of a child that multiprocessing has started.

        Such a child runs no functions of ``atexit``, but the finalizers of its own.
        """
        util = sys.modules.get("multiprocessing.util")
        if util is not None:
            util.Finalize(self, _finish, args=(weakref.ref(self),), exitpriority=10)

    def when_handled(self, tell: Callable[[], None]) -> bool:
        """Call something once what is queued now is handled; False if nothing is under way."""
        if not self._is_running():
            return False
        self._waiters.append(tell)
        self._hurry.set()
        self._wake.set()
        return True

    def close(self, seconds: float) -> None:
        with self._starting:
            thread = self._thread if self._pid == os.getpid() else None
            if thread is None:
                return
            self._closing = True
            self._hurry.set()
            self._wake.set()
            thread.join(seconds)
            if not thread.is_alive():
                self._thread = None
                self._hurry.clear()
                self._wake.clear()

    def finish(self) -> None:
        """Close, unless that was tried: whoever did has waited as long as they wanted to."""
        if not self._closing:
            self.close(_LONGEST_END)

    def _run(self) -> None:
        pause: float | None = None
        while True:
            if self._wake.wait(pause) and not self._closing:
                self._hurry.wait(self._linger)
            self._wake.clear()
            self._hurry.clear()
            closing = self._closing
            # Whoever asks to be told has put their items in before.
            waiters = [self._waiters.popleft() for _ in range(len(self._waiters))]
            batch = [self.items.popleft() for _ in range(len(self.items))]
            pause = self._hand_over(batch)
            for tell in waiters:
                tell()
            if closing and not self.items and not self._waiters:
                return

    def _hand_over(self, batch: Sequence[T]) -> float | None:
        try:
            return self._handle(batch)
        except Exception as error:  # noqa: BLE001 -- whatever one handler raises, the thread goes on
            self.failures += 1
            now = time.monotonic()
            if now - self._said_at >= _SAY_EVERY:
                self._said_at = now
                _log.warning("observer_failed", observer=self._name, error=f"{error!r}")
            return None


def _finish(there: weakref.ref[_Queue[Any]]) -> None:
    queue = there()
    if queue is not None:
        queue.finish()
