"""The record of who was allowed what, and whose key was changed: one line of JSON each."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime

from ..secret import scrub
from .events import Event

_logger = logging.getLogger("amas.audit")


class AuditLog:
    """Writes events to the logger ``amas.audit``.

    What was denied and what concerns keys is written as a warning, the rest as information.

    Args:
        wall: The time of day, in seconds since 1970.
    """

    def __init__(self, wall: Callable[[], float] = time.time) -> None:
        self._wall = wall

    def record(self, event: Event) -> None:
        """Write one event down; it never raises."""
        level = logging.WARNING if event.serious else logging.INFO
        if not _logger.isEnabledFor(level):
            return
        when = datetime.fromtimestamp(self._wall(), UTC).isoformat(timespec="milliseconds")
        fields = {name: value for name, value in asdict(event).items() if value not in (None, ())}
        text = json.dumps({"time": when, "event": event.kind, **fields}, ensure_ascii=False)
        _logger.log(level, "%s", scrub(text))
