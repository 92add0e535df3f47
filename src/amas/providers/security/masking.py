"""Masking of whatever a service logs, in one line for the standard library and one for structlog.

::

    install_masking()                                # logging: after handlers have been set up
    structlog.configure(processors=[..., structlog.processors.format_exc_info, mask_event, renderer])

Both fail closed: what cannot be masked is not shown.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from itertools import chain
from typing import Any, Final

from typing_extensions import override

from ..secret import MASK, Secret, is_secret_name, scrub

FAILED: Final = "[REDACTED: masking failed]"
"""What stands in the place of something that could not be masked."""

LIBRARY_LOGGERS: Final = (
    "LiteLLM",
    "LiteLLM Router",
    "LiteLLM Proxy",
    "aiohttp",
    "amas",
    "asyncio",
    "httpcore",
    "httpx",
    "openai",
)
"""Loggers of what this package uses, whose records may have its requests in them."""

_DEEPEST: Final = 20
_KEPT_ON_FAILURE: Final = ("level", "timestamp", "logger")
# What every record has; whatever else stands in one was given as ``extra``.
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

_RecordFactory = Callable[..., logging.LogRecord]


def mask_event(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Mask the secrets of an event: a structlog processor, the last before the renderer.

    Values are masked by the names they stand under and by what they are, at any depth. An
    exception that has not been rendered yet is rendered here, without locals.

    Args:
        event: The event's key-values.

    Returns:
        New key-values without secrets; if they cannot be masked, a word that says so.
    """
    try:
        masked = _mask_mapping(event, _DEEPEST)
        if masked.get("exc_info"):
            masked["exception"] = scrub(_traceback(event["exc_info"]))
            del masked["exc_info"]
    except Exception:  # noqa: BLE001 -- whatever it was, nothing of the event may be shown
        kept = {name: event[name] for name in _KEPT_ON_FAILURE if type(event.get(name)) is str}
        return {"event": FAILED, **kept}
    return masked


class MaskingFilter(logging.Filter):
    """Masks the secrets of every record that passes: message, arguments, traceback and extras.

    It belongs on handlers: loggers do not ask their filters about the records of loggers
    below them. A traceback is rendered here, without locals, and replaced by its text, so
    that no formatter can show what its frames hold.
    """

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        """Mask a record in place.

        Args:
            record: The record.

        Returns:
            True: nothing is dropped.
        """
        try:
            _mask_record(record)
        except Exception:  # noqa: BLE001 -- whatever it was, nothing of the record may be shown
            for name in vars(record).keys() - _STANDARD:
                delattr(record, name)
            record.msg, record.args = FAILED, None
            record.exc_info = record.exc_text = record.stack_info = None
        return True


_filter: Final = MaskingFilter()


def install_masking(
    *,
    logger: logging.Logger | None = None,
    handlers: Iterable[logging.Handler] = (),
    every_record: bool = False,
) -> None:
    """Mask whatever goes through the handlers that there are now; idempotent.

    These are the handlers of the root logger and of the libraries used here (``openai``,
    ``httpx``, ``LiteLLM``, …) and the loggers below them, and those given. Call it when logging
    has been set up, and again after adding a handler; or ask for ``every_record``.

    Args:
        logger: A further logger whose handlers are meant.
        handlers: Further handlers, such as one that a queue listener writes to.
        every_record: Mask records as they are made, for handlers that come later and for
            whatever else sees records, by ``logging.setLogRecordFactory``. What ``extra`` has
            is put into a record later and is only masked by the handlers.
    """
    loggers = [logging.root, *library_loggers(), *([logger] if logger is not None else [])]
    last = [logging.lastResort] if logging.lastResort is not None else []
    for each in chain(last, handlers, *(item.handlers for item in loggers)):
        if _filter not in each.filters:
            each.addFilter(_filter)
    if every_record and not isinstance(logging.getLogRecordFactory(), _MaskingFactory):
        logging.setLogRecordFactory(_MaskingFactory(logging.getLogRecordFactory()))


class _MaskingFactory:
    """Makes records without secrets."""

    def __init__(self, inner: _RecordFactory) -> None:
        self._inner = inner

    def __call__(self, *args: Any, **kwargs: Any) -> logging.LogRecord:
        record = self._inner(*args, **kwargs)
        _filter.filter(record)
        return record


def library_loggers() -> list[logging.Logger]:
    """Return the loggers of the libraries used here, and those below them, that exist now."""
    existing = list(logging.root.manager.loggerDict)
    below = tuple(f"{name}." for name in LIBRARY_LOGGERS)
    names = {name for name in existing if name.startswith(below)} | set(LIBRARY_LOGGERS)
    return [logging.getLogger(name) for name in sorted(names)]


def _mask_record(record: logging.LogRecord) -> None:
    _mask_message(record)
    if record.exc_info:
        record.exc_text = record.exc_text or _traceback(record.exc_info)
        record.exc_info = None
    if record.exc_text:
        record.exc_text = scrub(record.exc_text)
    if record.stack_info:
        record.stack_info = scrub(record.stack_info)
    extras = {name: value for name, value in vars(record).items() if name not in _STANDARD}
    vars(record).update(_mask_mapping(extras, _DEEPEST))


def _mask_message(record: logging.LogRecord) -> None:
    """Mask message and arguments, keeping the arguments where nothing shows only with the message."""
    if isinstance(record.msg, MutableMapping):  # an event that structlog's formatter renders
        record.msg = mask_event(None, "", record.msg)
        return
    if record.args:
        # A single mapping stands for itself (``%(name)s``), everything else in a tuple.
        args: Any = record.args
        record.args = (
            _mask_mapping(args, _DEEPEST) if isinstance(args, Mapping) else _masked(args, _DEEPEST)
        )
    else:
        record.msg = _masked(record.msg, _DEEPEST)
    told = record.getMessage()
    masked = scrub(told)
    if masked != told:
        record.msg, record.args = masked, None


def _mask_mapping(values: Mapping[Any, Any], depth: int) -> dict[Any, Any]:
    return {
        _masked(name, depth - 1): _hidden(value)
        if is_secret_name(str(name))
        else _masked(value, depth - 1)
        for name, value in values.items()
    }


def _hidden(value: Any) -> Any:
    """Mask a value for the name it stands under; numbers are counts, such as of tokens."""
    return value if value is None or isinstance(value, bool | int | float) else MASK


def _masked(value: Any, depth: int) -> Any:  # noqa: PLR0911 -- one line per kind of value
    if isinstance(value, Secret):
        return MASK
    if isinstance(value, str):
        return scrub(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if depth > 0 and isinstance(value, Mapping):
        return _mask_mapping(value, depth)
    if depth > 0 and type(value) in {list, tuple, set, frozenset}:
        return type(value)(_masked(item, depth - 1) for item in value)
    if isinstance(value, bytes | bytearray):
        return _mask_bytes(value)
    return _mask_object(value)


def _mask_bytes(value: bytes | bytearray) -> bytes | bytearray:
    text = value.decode("latin-1")
    masked = scrub(text)
    return value if masked == text else masked.encode("latin-1")


def _mask_object(value: Any) -> Any:
    """Keep an object that shows no secret; else return what it shows, masked."""
    for shown in (repr(value), str(value)):
        masked = scrub(shown)
        if masked != shown:
            return masked
    return value


def _traceback(exc_info: Any) -> str:
    """Render what logging and structlog take for an exception, with its causes, without locals."""
    if exc_info is True:
        exc_info = sys.exc_info()
    error = exc_info[1] if isinstance(exc_info, tuple) else exc_info
    if not isinstance(error, BaseException):
        return ""
    return "".join(traceback.format_exception(error)).rstrip("\n")
