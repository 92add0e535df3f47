"""Runs the new implementation beside the old one, and records where the two differ.

What runs beside has a thread and an event loop of its own: it neither holds up the caller's
loop nor ends with it, and a caller without a loop is served as well.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from ..providers.manager.loop_thread import LoopThread
    from ..providers.observability.logging import get_logger
    from .sketches import Answer, append_line, differing, sketch
else:
    if __package__:
        from .location import take
        from .sketches import Answer, append_line, differing, sketch
    else:
        from location import take
        from sketches import Answer, append_line, differing, sketch

    take(globals(), "providers.manager.loop_thread", "LoopThread")
    take(globals(), "providers.observability.logging", "get_logger")

__all__ = ["Mirror", "Shadow", "measured"]

_logger = get_logger("amas.services.shadow")

_AT_ONCE: Final = 8
_MOST_PENDING: Final = 1_000
_LONGEST_END: Final = 5.0  # seconds that the thread gets to end
_ALMOST: Final = 1 - 1e-9  # sums of a share such as 0.05 fall short of 1 by some bits


class _Home(LoopThread):
    """Where the calls beside the callers' run."""

    def __init__(self) -> None:
        super().__init__("amas-shadow")
        self.slots = asyncio.Semaphore(_AT_ONCE)

    def stop(self, grace: float) -> None:
        """End what runs after a while, and the thread; in a forked process there is none."""
        if not self.is_ours:
            return
        if self._thread is threading.current_thread():  # the last call took the shadow with it
            self.loop.stop()
            return
        with suppress(TimeoutError):
            ended = asyncio.run_coroutine_threadsafe(self._end(grace), self.loop)
            ended.result(grace + _LONGEST_END)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(_LONGEST_END)

    async def _end(self, grace: float) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=grace)
            for task in late:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


class Mirror:
    """A call of the new implementation beside one of the old.

    Attributes:
        method: Name of the method.
        path: File its difference is appended to, if one is configured.
        old: What the old implementation gives.
    """

    def __init__(self, method: str, path: str | None) -> None:
        self.method = method
        self.path = path
        self.old: Future[Answer] = Future()
        self.old.set_running_or_notify_cancel()  # from now on nobody can cancel it
        self.running: Future[None] | None = None

    def settle(self, answer: Answer) -> None:
        """Say what the old implementation gave; a mapping may be changed afterwards."""
        value = dict(answer.value) if isinstance(answer.value, dict) else answer.value
        self.old.set_result(Answer(value, answer.error, answer.seconds))

    def cancel(self) -> None:
        """End it: there is nothing to compare with."""
        if self.running is not None:
            self.running.cancel()


class Shadow:
    """The calls beside those of one service; may be used from any thread.

    Args:
        service: Name of the service.

    Attributes:
        calls: Calls that were to be mirrored in a share.
        mirrored: Those of them that were.
        dropped: Those that were not, for too many were under way.
        differences: Mirrored calls whose answers differed, those that cost nothing included.
        differing: In what they differed.
    """

    def __init__(self, service: str) -> None:
        self._service = service
        self.calls = self.mirrored = self.dropped = self.differences = 0
        self.differing: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._credit = 0.0
        self._pending = 0
        self._home: _Home | None = None
        self._finalizer: weakref.finalize[Any, Any] | None = None
        self._closed = False
        self._complained = False

    def admit(self, share: float) -> bool:
        """Tell whether one more call may be mirrored; never more than the share are.

        Args:
            share: The share of the calls, 0 to 1.
        """
        with self._lock:
            self.calls += 1
            self._credit += share
            if self._credit < _ALMOST:
                return False
            self._credit = max(0.0, self._credit - 1)
            return True

    def begin(
        self, mirror: Mirror, call: Callable[[], Coroutine[Any, Any, Answer]], *, counted: bool
    ) -> None:
        """Run a call beside; it begins at once if not too many run.

        Args:
            mirror: Where the old answer will be.
            call: Makes it, on the shadow's loop; it raises nothing but CancelledError.
            counted: Whether it was admitted as one of a share.
        """
        with self._lock:
            if self._closed or self._pending >= _MOST_PENDING:
                self.dropped += counted
                return
            if self._home is None or self._home.process != os.getpid():
                self._home = _Home()
                self._home.start()
                self._finalizer = weakref.finalize(self, self._home.stop, 0.0)
            self.mirrored += counted
            self._pending += 1
            work = self._run(mirror, call, self._home.slots)
            mirror.running = asyncio.run_coroutine_threadsafe(work, self._home.loop)
        mirror.running.add_done_callback(self._ended)

    def _ended(self, running: Future[None]) -> None:
        with self._lock:
            self._pending -= 1
        if not running.cancelled() and (error := running.exception()) is not None:
            _logger.error("a comparison failed", error=repr(error))

    async def _run(
        self,
        mirror: Mirror,
        call: Callable[[], Coroutine[Any, Any, Answer]],
        slots: asyncio.Semaphore,
    ) -> None:
        async with slots:
            new = await call()
        old = await asyncio.wrap_future(mirror.old)
        was, now = sketch(old), sketch(new)
        differs = differing(was, now)
        if not differs:
            return
        with self._lock:
            self.differences += 1
            self.differing.update(differs)
        record = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "service": self._service,
            "method": mirror.method,
            "differs": differs,
            "old": was,
            "new": now,
        }
        _logger.info(json.dumps(record))
        if mirror.path is not None:
            await self._append(mirror.path, record)

    async def _append(self, path: str, record: dict[str, Any]) -> None:
        try:
            await asyncio.to_thread(append_line, path, record)
        except OSError as error:
            wrong = str(error)
        else:
            return
        if not self._complained:
            self._complained = True
            _logger.error("differences cannot be written to their file", path=path, error=wrong)

    async def aclose(self, grace: float = 1.0) -> None:
        """Mirror no more calls, let running ones finish for a while, then end them.

        Args:
            grace: Seconds that they get.
        """
        with self._lock:
            self._closed = True
            home, self._home = self._home, None
        if self._finalizer is not None:
            self._finalizer.detach()
        if home is not None:
            await asyncio.to_thread(home.stop, grace)


async def measured(call: Callable[[], Any]) -> Answer:
    """Make a call, and return what it gave and how long it took.

    Args:
        call: Returns a value or an awaitable.
    """
    began = time.perf_counter()
    try:
        value = call()
        if inspect.isawaitable(value):
            value = await value
    except Exception as error:  # noqa: BLE001 -- an exception is an answer, too
        return Answer(error=error, seconds=time.perf_counter() - began)
    return Answer(value, None, time.perf_counter() - began)
