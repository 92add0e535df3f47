"""An upstream on an event loop of its own, for blocking clients and synchronous tests."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Self

from .faults import Fault
from .recording import RecordedRequest
from .server import Upstream


class ThreadedUpstream:
    """An Upstream that runs in a thread; everything here may be used from any other thread.

    Args:
        name: Name given in the default reply.
        **options: Further arguments of Upstream.

    Attributes:
        upstream: The server, for its settings (``keys``, ``reply``, ...). Its ``async`` methods
            belong to the thread.
    """

    def __init__(self, name: str = "upstream", **options: Any) -> None:
        """Prepare a server; nothing is bound yet."""
        self.upstream = Upstream(name, **options)
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None

    def __enter__(self) -> Self:
        """Start the server."""
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Stop the server."""
        self.stop()

    def start(self) -> None:
        """Start the thread and wait until the server answers.

        Raises:
            RuntimeError: If it runs already.
            OSError: If the port cannot be bound.
        """
        if self._thread is not None:
            raise RuntimeError(f"upstream {self.upstream.name!r} is already running")
        ready: Future[None] = Future()
        name = f"upstream-{self.upstream.name}"
        thread = threading.Thread(target=self._run, args=(ready,), name=name, daemon=True)
        thread.start()
        try:
            ready.result()
        except BaseException:
            thread.join()
            raise
        self._thread = thread

    def stop(self) -> None:
        """Close every connection at once and wait for the thread to end; idempotent."""
        thread, self._thread = self._thread, None
        if thread is None or self._loop is None or self._stopping is None:
            return
        self._loop.call_soon_threadsafe(self._stopping.set)
        thread.join()

    def _run(self, ready: Future[None]) -> None:
        asyncio.run(self._serve(ready))

    async def _serve(self, ready: Future[None]) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        try:
            await self.upstream.start()
        except Exception as error:  # noqa: BLE001 - start() raises it in its own thread
            ready.set_exception(error)
            return
        ready.set_result(None)
        await self._stopping.wait()
        await self.upstream.stop()

    @property
    def url(self) -> str:
        """Base URL without a trailing slash."""
        return self.upstream.url

    @property
    def requests(self) -> list[RecordedRequest]:
        """The requests so far in order of arrival."""
        return self.upstream.requests

    def fault(self, fault: Fault | None = None, /, **options: Any) -> Fault:
        """Queue a fault; see ``Upstream.fault``."""
        return self.upstream.fault(fault, **options)

    def clear(self) -> None:
        """Forget all faults and recorded requests."""
        self.upstream.clear()

    def wait_for(
        self, condition: Callable[[RecordedRequest], bool], *, within: float = 5.0
    ) -> RecordedRequest:
        """Block until a recorded request meets a condition; see ``Upstream.wait_for``.

        Raises:
            RuntimeError: If the server does not run.
            TimeoutError: If none does in time.
        """
        if self._thread is None or self._loop is None:
            raise RuntimeError(f"upstream {self.upstream.name!r} is not running")
        waiting = self.upstream.wait_for(condition, within=within)
        return asyncio.run_coroutine_threadsafe(waiting, self._loop).result()
