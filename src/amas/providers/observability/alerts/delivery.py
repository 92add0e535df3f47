"""From events to whoever is to be told: the log, a callback of the host's, a webhook."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from ...errors import ProviderConfigError
from ..events import Event
from ..logging import get_logger
from .alert import Alert
from .incidents import Incidents
from .throttle import Throttle

_log = get_logger("amas.alerts")


class Sender(Protocol):
    """Takes alerts somewhere, in a thread of its own."""

    def put(self, alert: Alert) -> None:
        """Take an alert; returns at once."""
        ...

    def close(self) -> None:
        """Send what is left, within a few seconds."""
        ...


class Alerts:
    """Reads events, and tells of what needs somebody: once, not too often, and when it is over.

    Everything is told to the logger ``amas.alerts``: alerts as errors, recoveries as
    information.

    Args:
        min_interval: Seconds between two alerts about the same thing.
        latency: Seconds that 95 of 100 answers of a provider may take; None for not watched.
        callback: Called with each alert, in the thread of ``handle``; alerts wait for it. What
            it raises is logged. It cannot be a coroutine function.
        webhook: Takes alerts away.
        wall: The time of day, in seconds since 1970.
        clock: The time in seconds; only differences matter.

    Raises:
        ProviderConfigError: The callback is a coroutine function.
    """

    def __init__(
        self,
        *,
        min_interval: float = 300.0,
        latency: float | None = None,
        callback: Callable[[Alert], object] | None = None,
        webhook: Sender | None = None,
        wall: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if inspect.iscoroutinefunction(callback):
            raise ProviderConfigError(
                "on_alert is called in a thread and cannot be async; give a plain function, which"
                " may hand on to an event loop with loop.call_soon_threadsafe"
            )
        self._incidents = Incidents(latency)
        self._throttle = Throttle(min_interval)
        self._callback = callback
        self._webhook = webhook
        self._wall = wall
        self._clock = clock

    def handle(self, events: Sequence[Event]) -> float | None:
        """Take in what has happened, and tell what is to be told; for a ``Worker``.

        Args:
            events: In order; perhaps none.

        Returns:
            Seconds after which to call it in any case; None if nothing waits to be told.
        """
        now = self._clock()
        for event in events:
            for signal in self._incidents.read(event, now):
                self._tell(self._throttle.take(signal, at=event.at, now=now))
        at = self._wall()
        for signal in self._incidents.passed(now):
            self._tell(self._throttle.take(signal, at=at, now=now))
        self._tell(self._throttle.due(at=at, now=now))
        waits = self._throttle.next_due(now), self._incidents.next_due(now)
        return min((wait for wait in waits if wait is not None), default=None)

    def close(self) -> None:
        """Send what is left, within a few seconds; for a thread without an event loop.

        What is still the matter is logged as ``alert_still_open``, and nobody is told that it
        is over: it is not. Alerts that come later are sent as before.
        """
        for alert in self._throttle.open(self._wall()):
            _log.warning("alert_still_open", **_fields(alert))
        if self._webhook is not None:
            self._webhook.close()

    def _tell(self, alerts: Sequence[Alert]) -> None:
        for alert in alerts:
            _write_down(alert)
            if self._webhook is not None:
                self._webhook.put(alert)
            if self._callback is not None:
                _call(self._callback, alert)


def _write_down(alert: Alert) -> None:
    say = _log.error if alert.firing else _log.info
    say("alert" if alert.firing else "alert_resolved", **_fields(alert))


def _fields(alert: Alert) -> dict[str, str]:
    return {
        "kind": alert.kind,
        "subject": alert.subject,
        "severity": alert.severity,
        "summary": alert.summary,
        "alert_id": alert.id,
    }


def _call(callback: Callable[[Alert], object], alert: Alert) -> None:
    try:
        result = callback(alert)
    except Exception as error:  # noqa: BLE001 -- whatever the host's callback raises, the next is told
        failure = f"{error!r}"
    else:
        if not inspect.iscoroutine(result):
            return
        result.close()
        failure = "it has returned a coroutine, which nobody awaits; give a plain function"
    _log.warning("alert_callback_failed", kind=alert.kind, subject=alert.subject, error=failure)
