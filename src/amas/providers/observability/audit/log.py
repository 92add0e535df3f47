"""Records for the logger ``amas.audit``, where no file is asked for: one line of JSON each."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from typing_extensions import override

from ...secret import scrub
from ..events import Event
from ..logging import FIELDS
from .records import encode, keep_nothing, to_record

_logger = logging.getLogger("amas.audit")


class AuditLog:
    """Writes events to the logger ``amas.audit``, with the fields that they have in a trail.

    What somebody should look at is written as a warning, the rest as information. Of prompts and
    answers nothing is written, whatever the configuration says.
    """

    @property
    def listening(self) -> bool:
        """Whether it wants to know of what is not serious."""
        return _logger.isEnabledFor(logging.INFO)

    def record(self, event: Event) -> None:
        """Write one event down; it never raises."""
        level = logging.WARNING if event.serious else logging.INFO
        if not _logger.isEnabledFor(level):
            return
        record = to_record(event, scrub, keep_nothing)
        if record is not None:
            fields = {"event": record["kind"], **record}
            _logger.log(level, _Json(record), extra={FIELDS: fields})


class _Json:
    """A record as JSON on one line, for whoever asks for the message."""

    __slots__ = ("_record",)

    def __init__(self, record: Mapping[str, Any]) -> None:
        self._record = record

    @override
    def __str__(self) -> str:
        return encode(self._record).decode()
