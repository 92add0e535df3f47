"""Starts the sides of a service that are used, each once, and late if need be."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..providers.observability.logging import get_logger
else:
    if __package__:
        from .location import take
    else:
        from location import take

    take(globals(), "providers.observability.logging", "get_logger")

__all__ = ["Starts", "awaited"]

_logger = get_logger("amas.services.flags")


async def awaited(value: Any) -> Any:
    """Return a value, or what it gives when it is awaited, if it can be."""
    return await value if inspect.isawaitable(value) else value


class Starts:
    """Which sides of a service have been started, if it was started at all.

    A caller starts the service while one of its sides is in use; another flag, or another
    caller of a share, brings in the other side later.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._arguments: tuple[tuple[Any, ...], Mapping[str, Any]] | None = None
        self._sides: dict[str, Future[None]] = {}

    def note(self, side: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Remember that somebody starts a side, and how.

        Args:
            side: Name of the side.
            args: Arguments that it is started with.
            kwargs: The same, by name.
        """
        done: Future[None] = Future()
        done.set_result(None)
        with self._lock:
            self._arguments = args, kwargs
            self._sides[side] = done

    def is_due(self, side: str) -> bool:
        """Tell whether a side is still to be started, or is just starting."""
        if self._arguments is None:
            return False
        running = self._sides.get(side)
        return running is None or not running.done()

    async def ensure(self, side: str, start: Callable[..., Any]) -> None:
        """Return when a side is started; if that fails, its calls will show it.

        Args:
            side: Name of the side.
            start: Starts it.
        """
        while self._arguments is not None and self.is_due(side):
            with self._lock:
                running = self._sides.get(side)
                if running is None:
                    mine = self._sides[side] = Future()
                    mine.set_running_or_notify_cancel()  # who waits for it cannot cancel it
            if running is None:
                await self._run(side, start, *self._arguments)
            else:
                await asyncio.wrap_future(running)

    async def _run(
        self,
        side: str,
        start: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> None:
        mine = self._sides[side]
        try:
            await awaited(start(*args, **kwargs))
        except Exception:
            _logger.exception("a side of the service could not be started")
        except BaseException:
            self._sides.pop(side)  # the next one tries again
            raise
        finally:
            mine.set_result(None)
