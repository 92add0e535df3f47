"""The package's loggers: structlog's way of speaking, the host's logging to decide where it goes."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import Any

import structlog

from ..secret import scrub


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return a logger that takes an event and key-values and hands on a stdlib record.

    It does not depend on ``structlog.configure``, which is the host's to call.

    Args:
        name: Name of the stdlib logger, such as ``amas.providers.manager``.
    """
    logger: structlog.stdlib.BoundLogger = structlog.wrap_logger(
        logging.getLogger(name),
        processors=[structlog.stdlib.filter_by_level, _render],
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    return logger


def _render(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> str:
    """Render ``event key=value …`` on one line, for handlers that know only messages."""
    message = scrub(str(event.pop("event")))
    pairs = [f"{key}={_shown(value)}" for key, value in event.items() if value is not None]
    return " ".join([message, *pairs])


def _shown(value: object) -> str:
    # A text before it is quoted, which may change it; of anything else, what can be seen of it.
    return repr(scrub(value)) if isinstance(value, str) else scrub(repr(value))
