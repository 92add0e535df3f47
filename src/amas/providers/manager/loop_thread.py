"""An event loop in a thread of its own, for callers of any other thread or loop."""

from __future__ import annotations

import asyncio
import os
import threading


class LoopThread:
    """A daemon thread with its event loop, in one process; a forked one does not have it.

    Args:
        name: Name of the thread.
    """

    def __init__(self, name: str) -> None:
        self.loop = asyncio.new_event_loop()
        self.process = os.getpid()
        self._thread = threading.Thread(target=self._live, name=name, daemon=True)

    def start(self) -> None:
        """Begin to run what is submitted to ``loop``, until that is stopped."""
        self._thread.start()

    @property
    def is_ours(self) -> bool:
        """Whether the thread lives in this process, and was not left behind by a fork."""
        return self.process == os.getpid() and self._thread.is_alive()

    def _live(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
            self.loop.run_until_complete(self.loop.shutdown_default_executor())
        finally:
            asyncio.set_event_loop(None)
            self.loop.close()
