"""A manager for callers of several threads and event loops, or of none.

``ProviderManager`` belongs to one event loop. Here it gets a loop of its own, in a thread
of its own, and whoever calls only waits for the answer: a service that runs
``asyncio.run`` for each request, a thread pool, or code that is not asynchronous at all.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
import weakref
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from ..errors import NoProviderAvailableError
from .loop_thread import LoopThread
from .provider_manager import ProviderManager

T = TypeVar("T")

# Seconds that the thread gets to end, beyond what running calls get.
_LONGEST_END = 10.0


class _Home(LoopThread):
    """Where the manager lives: a thread with its event loop, in one process.

    Args:
        make: Makes the manager, in that thread.
    """

    def __init__(self, make: Callable[[], ProviderManager]) -> None:
        super().__init__("amas-providers")
        self._make = make
        self._manager: ProviderManager | None = None
        self.start()
        # Whoever does not close it leaves that to the end of the process.
        atexit.register(self.stop, 0.0)

    async def use(self, work: Callable[[ProviderManager], Coroutine[Any, Any, T]]) -> T:
        if self._manager is None:
            # It reads files and imports plugins; nobody else waits on this loop yet.
            self._manager = self._make()
        return await work(self._manager)

    async def _end(self, grace: float) -> None:
        try:
            if self._manager is not None:
                await self._manager.shutdown(grace)
        finally:
            self.loop.stop()

    def begin_to_stop(self, grace: float = 0.0) -> None:
        """Have the manager shut down and the thread end, without waiting for it.

        It may be called by the garbage collector, which may run in any thread, this one too.
        """
        atexit.unregister(self.stop)
        if self.is_ours:
            asyncio.run_coroutine_threadsafe(self._end(grace), self.loop)

    def stop(self, grace: float) -> None:
        """Do so, and wait; in a process that was forked off there is nothing to stop."""
        self.begin_to_stop(grace)
        if self.process == os.getpid():
            self._thread.join(grace + _LONGEST_END)


class ThreadedManager:
    """A ``ProviderManager`` that any thread and any event loop may use.

    The thread starts with the first use, and ends with ``close``, or with the process.

    Args:
        make: Makes the manager, in that thread; called once.
    """

    def __init__(self, make: Callable[[], ProviderManager]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._home: _Home | None = None
        self._closed = False
        self._finalizer: weakref.finalize[Any, Any] | None = None

    async def run(self, work: Callable[[ProviderManager], Coroutine[Any, Any, T]]) -> T:
        """Do something with the manager, and wait for it without blocking the caller's loop.

        Args:
            work: Called with the manager, on the manager's loop; cancelled if the caller is.

        Raises:
            NoProviderAvailableError: It has been closed.
        """
        return await asyncio.wrap_future(self._submit(work))

    def run_sync(
        self,
        work: Callable[[ProviderManager], Coroutine[Any, Any, T]],
        timeout: float | None = None,
    ) -> T:
        """Do something with the manager, and block the caller until it is done.

        It may be called while an event loop runs in the caller's thread: that loop stands
        still meanwhile, and the manager's does not.

        Args:
            work: As for ``run``.
            timeout: Seconds to wait at most; None for as long as it takes.

        Raises:
            NoProviderAvailableError: It has been closed.
            TimeoutError: It took longer.
        """
        future = self._submit(work)
        try:
            return future.result(timeout)
        except BaseException:
            future.cancel()
            raise

    def _submit(self, work: Callable[[ProviderManager], Coroutine[Any, Any, T]]) -> Future[T]:
        with self._lock:
            if self._closed:
                raise NoProviderAvailableError("the provider manager is shut down")
            if self._home is None or self._home.process != os.getpid():
                self._home = _Home(self._make)
                self._finalizer = weakref.finalize(self, self._home.begin_to_stop)
                self._finalizer.atexit = False
            home = self._home
            return asyncio.run_coroutine_threadsafe(home.use(work), home.loop)

    def close(self, grace: float = 10.0) -> None:
        """Take no more work, let running work finish, and give back everything; blocks.

        Args:
            grace: Seconds that running calls get to finish.
        """
        with self._lock:
            self._closed = True
            home, self._home = self._home, None
        if self._finalizer is not None:
            self._finalizer.detach()
        if home is not None:
            home.stop(grace)

    async def aclose(self, grace: float = 10.0) -> None:
        """Do what ``close`` does without blocking the caller's loop."""
        await asyncio.to_thread(self.close, grace)
