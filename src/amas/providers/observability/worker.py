"""A thread of its own for work that calls must not wait for, behind a queue that has an end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Final, Generic, TypeVar

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
        capacity: Most items that wait; further ones are dropped and counted. For those that are
            not to wait there is as much room again.
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

    def put(self, item: T, *, at_once: bool = False) -> bool:
        """Hand over an item, from any thread; returns at once.

        Args:
            item: The item.
            at_once: Whether it is not to wait for more.

        Returns:
            Whether there was room for it, if it is wanted.
        """
        if self._wanted is not None and not self._wanted(item):
            return True
        return self._queue.put(item, at_once=at_once)

    def wait(self, seconds: float) -> bool:
        """Wait, where nothing else can be done meanwhile, until everything has been handled.

        Args:
            seconds: The longest to wait.

        Returns:
            Whether it has.
        """
        handled = threading.Event()
        return not self._queue.when_handled(handled.set) or handled.wait(seconds)

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
        self.begin()
        _queues.add(self)
        _watch_forks()

    def begin(self) -> None:
        """Begin with nothing, at first and after a fork: what waits here then is the parent's."""
        self.items: deque[T] = deque()
        # Tried where items come in, never waited for: a signal handler, or what the garbage
        # collector runs, may hand over an item in the midst of this.
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._wake = _Bell()
        self._hurry = _Bell()
        self._closing = False
        self._waiters: deque[Callable[[], None]] = deque()

    def put(self, item: T, *, at_once: bool) -> bool:
        if len(self.items) >= self._capacity * (2 if at_once else 1):
            self.dropped += 1
            return False
        self.items.append(item)
        if at_once:
            self._hurry.ring()
        if not self._wake.has_rung():
            self._rouse()
        return True

    def _rouse(self) -> None:
        """See to it that what is queued gets handled; if somebody does already, they will."""
        while not self._is_running():
            if not self._starting.acquire(blocking=False):
                return
            try:
                self._start()
            finally:
                self._starting.release()
            if not self.items and not self._waiters:
                return
        self._wake.ring()

    def _is_running(self) -> bool:
        thread = self._thread
        return thread is not None and thread.is_alive()

    def _start(self) -> None:
        if self._is_running():
            return
        self._closing = False
        self._thread = threading.Thread(target=self._run, name=f"amas-{self._name}", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:
            # The interpreter is about to end, and lets no thread begin.
            self._thread = None
            self._handle_all()
        else:
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
        if not self.items and not self._is_running():
            return False
        self._waiters.append(tell)
        self._hurry.ring()
        self._rouse()
        return True

    def close(self, seconds: float) -> None:
        # Not for ever: a signal handler may want to end what it has interrupted.
        if not self._starting.acquire(timeout=seconds):
            return
        try:
            self._end(seconds)
        finally:
            self._starting.release()
        if self.items:
            self._rouse()

    def _end(self, seconds: float) -> None:
        thread = self._thread
        if thread is None:
            return
        self._closing = True
        self._hurry.ring()
        self._wake.ring()
        # The garbage collector may find in the thread itself that nobody holds its worker.
        if thread is not threading.current_thread():
            thread.join(seconds)
        if not thread.is_alive():
            self._thread = None
            self._hurry.still()
            self._wake.still()

    def finish(self) -> None:
        """Close, unless that was tried: whoever did has waited as long as they wanted to."""
        if not self._closing:
            self.close(_LONGEST_END)

    def _run(self) -> None:
        pause: float | None = None
        while True:
            if self._wake.wait(pause) and not self._closing:
                self._hurry.wait(self._linger)
            self._wake.still()
            self._hurry.still()
            closing = self._closing
            pause = self._handle_all()
            if closing and not self.items and not self._waiters:
                return

    def _handle_all(self) -> float | None:
        # Whoever asks to be told has put their items in before.
        waiters = [self._waiters.popleft() for _ in range(len(self._waiters))]
        pause = self._hand_over(self._taken())
        for tell in waiters:
            tell()
        return pause

    def _taken(self) -> list[T]:
        return [self.items.popleft() for _ in range(len(self.items))]

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


class _Bell:
    """Like ``threading.Event``, but it can be rung in the midst of its own ringing.

    An event's lock is waited for, for ever if a signal handler interrupts who holds it.
    """

    def __init__(self) -> None:
        self._silence = threading.Lock()
        self._silence.acquire()

    def ring(self) -> None:
        with contextlib.suppress(RuntimeError):  # it has rung already
            self._silence.release()

    def has_rung(self) -> bool:
        return not self._silence.locked()

    def wait(self, seconds: float | None) -> bool:
        """Wait until it rings, and still it; False if it has not."""
        return self._silence.acquire(timeout=-1 if seconds is None else max(seconds, 0))

    def still(self) -> None:
        self._silence.acquire(blocking=False)


# Those of the process, to begin anew in a child of it: threads do not come along.
_queues: Final[weakref.WeakSet[_Queue[Any]]] = weakref.WeakSet()


@cache
def _watch_forks() -> None:
    os.register_at_fork(after_in_child=_begin_all)


def _begin_all() -> None:
    for queue in _queues:
        queue.begin()


def _finish(there: weakref.ref[_Queue[Any]]) -> None:
    queue = there()
    if queue is not None:
        queue.finish()
