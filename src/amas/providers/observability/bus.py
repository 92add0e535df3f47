"""Takes each event to whoever wants to know of it, beside the calls and not in their way."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from ..errors import ProviderConfigError
from .events import Event
from .logging import get_logger
from .worker import Worker

_log = get_logger("amas.providers.observability")


class Observer(Protocol):
    """Is told of what happens, in a thread of its own.

    It may take its time: calls do not wait for it. What it raises is logged, and what it was
    told then is lost to it.
    """

    def observe(self, events: Sequence[Event]) -> None:
        """Take in what has happened since the last time, in order.

        Args:
            events: At least one event.
        """
        ...


class Inline(Protocol):
    """Is told of events where they happen; quick, since calls wait for it."""

    @property
    def listening(self) -> bool:
        """Whether it wants to know of what is not serious."""
        ...

    def record(self, event: Event) -> None:
        """Take in one event."""
        ...


class EventBus:
    """Hands events on: to some at once, to the others through a queue of their own.

    Args:
        inline: Told of each event where it happens.
        workers: Given each event for their own thread, by the name of what they do.
        observers: Observers of the host's.

    Raises:
        ProviderConfigError: One of them is none.
    """

    def __init__(
        self,
        *,
        inline: Iterable[Inline] = (),
        workers: Iterable[tuple[str, Worker[Event]]] = (),
        observers: Iterable[Observer] = (),
    ) -> None:
        self._inline = tuple(inline)
        self._workers = dict(workers)
        for number, observer in enumerate(observers, 1):
            _require_observer(observer)
            name = f"{type(observer).__name__}-{number}"
            self._workers[name] = Worker(name, _teller(observer))
        self._puts = tuple(worker.put for worker in self._workers.values())

    @property
    def listening(self) -> bool:
        """Whether anybody wants to know of what is not serious."""
        if self._puts:
            return True
        for item in self._inline:  # noqa: SIM110 -- with every call: a generator takes longer
            if item.listening:
                return True
        return False

    def emit(self, event: Event) -> None:
        """Tell everybody of an event, from any thread; it never waits and never raises."""
        for item in self._inline:
            try:
                item.record(event)
            except Exception as error:  # noqa: BLE001 -- no record is worth a call
                _log.warning("observer_failed", observer=type(item).__name__, error=f"{error!r}")
        for put in self._puts:
            put(event)

    def dropped(self) -> dict[str, int]:
        """Return how many events each observer had no room for, by its name."""
        return {name: worker.dropped for name, worker in self._workers.items()}

    async def flush(self) -> None:
        """Wait until everybody has taken in what has happened so far."""
        await asyncio.gather(*(worker.flush() for worker in self._workers.values()))

    async def close(self) -> None:
        """Let everybody take in what is left, and end their threads."""
        await asyncio.gather(*(worker.close() for worker in self._workers.values()))


def _require_observer(given: object) -> None:
    observe = getattr(given, "observe", None)
    if isinstance(given, type) or not callable(observe):
        raise ProviderConfigError(
            "an observer is an object with a method observe(events),"
            f" not {given if isinstance(given, type) else type(given).__name__!r}"
        )
    if inspect.iscoroutinefunction(observe):
        raise ProviderConfigError(
            f"{type(given).__name__}.observe is called in a thread and cannot be async; make it a"
            " plain method, which may hand on to an event loop with loop.call_soon_threadsafe"
        )


def _teller(observer: Observer) -> Callable[[Sequence[Event]], None]:
    def handle(events: Sequence[Event]) -> None:
        if events:
            observer.observe(events)

    return handle
