"""The package's logs: structlog's way of speaking, the host's logging to decide where it goes.

Nothing is set up at import. A host that has set up the standard library's logging gets every
event as a record, its fields in ``record.amas``; one that has not calls ``configure_logging``.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import MutableMapping
from datetime import UTC, datetime
from typing import Any, TextIO

import structlog
from typing_extensions import override

from ..secret import scrub

_ROOT = "amas"

FIELDS = "amas"
"""Where a record has its fields, which hold no secret any more."""


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return a logger that takes an event and key-values and hands on a stdlib record.

    What ``structlog.contextvars`` has bound is part of each event; within a call that is its
    ``request_id`` and ``caller``. It does not depend on ``structlog.configure``, which is the
    host's to call.

    Args:
        name: Name of the stdlib logger, such as ``amas.providers.manager``.
    """
    logger: structlog.stdlib.BoundLogger = structlog.wrap_logger(
        logging.getLogger(name),
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.contextvars.merge_contextvars,
            _render,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    return logger


def configure_logging(
    level: int | str = logging.INFO,
    *,
    json: bool | None = None,
    stream: TextIO | None = None,
) -> logging.Handler:
    """Show the package's logs, for services that set up no logging themselves.

    It touches no logger but ``amas``, whose records then go nowhere else; called again, it
    replaces what it has set up before.

    Args:
        level: The least level that is shown.
        json: Whether each record is a line of JSON; by default unless ``stream`` is a terminal.
        stream: Where they go; standard error if None.

    Returns:
        The handler, which belongs to the logger ``amas``.

    Raises:
        ValueError: There is no such level.
    """
    target = sys.stderr if stream is None else stream
    as_json = not target.isatty() if json is None else json
    handler = logging.StreamHandler(target)
    handler.setFormatter(_JsonFormatter() if as_json else _TerminalFormatter())
    handler.set_name("amas-providers")
    logger = logging.getLogger(_ROOT)
    logger.setLevel(level.upper() if isinstance(level, str) else level)
    for old in [item for item in logger.handlers if item.get_name() == handler.get_name()]:
        logger.removeHandler(old)
    logger.addHandler(handler)
    logger.propagate = False
    return handler


class _JsonFormatter(logging.Formatter):
    """One line of JSON for each record."""

    @override
    def format(self, record: logging.LogRecord) -> str:
        return _encode(_fields_of(self, record))


class _TerminalFormatter(logging.Formatter):
    """What structlog shows to people."""

    def __init__(self) -> None:
        super().__init__()
        self._renderer = structlog.dev.ConsoleRenderer(
            exception_formatter=structlog.dev.plain_traceback
        )

    @override
    def format(self, record: logging.LogRecord) -> str:
        return str(self._renderer(None, "", _fields_of(self, record)))


_encode = json.JSONEncoder(ensure_ascii=False).encode


def _fields_of(formatter: logging.Formatter, record: logging.LogRecord) -> dict[str, Any]:
    when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
    fields = {
        "timestamp": when,
        "level": record.levelname.lower(),
        "logger": record.name,
        # What ``_render`` has made is clean already.
        **(getattr(record, FIELDS, None) or {"event": scrub(record.getMessage())}),
    }
    if record.exc_info:
        fields["exception"] = scrub(formatter.formatException(record.exc_info))
    return fields


def _render(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> tuple[tuple[str], dict[str, Any]]:
    """Render ``event key=value …`` on one line, for handlers that know only messages."""
    passed = {name: event.pop(name) for name in ("exc_info", "stack_info") if name in event}
    told = scrub(str(event.pop("event")))
    shown = {key: _shown(value) for key, value in event.items() if value is not None}
    pairs = [
        f"{key}={value!r}" if isinstance(event[key], str) else f"{key}={value}"
        for key, value in shown.items()
    ]
    fields = {"event": told, **shown}
    return (" ".join([told, *pairs]),), {"extra": {FIELDS: fields}, **passed}


def _shown(value: object) -> object:
    """Return a value as it may be seen: numbers as they are, texts and all else without secrets."""
    if isinstance(value, bool | int | float):
        return value
    return scrub(value if isinstance(value, str) else repr(value))
