"""The package's logs: an event and its fields, as a record of the standard library.

Nothing is set up at import. A host that has set up the standard library's logging gets every
event as a record, its fields in ``record.amas``; one that has not calls ``configure_logging``.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Collection, Mapping
from contextvars import ContextVar, Token
from typing import Any, Final

from structlog.contextvars import bind_contextvars, merge_contextvars, reset_contextvars
from typing_extensions import override

from ..secret import scrub

FIELDS: Final = "amas"
"""Where a record has its fields, which hold no secret any more."""

# What is derived from them may show itself as it likes.
_NUMBERS: Final = frozenset({bool, int, float})


class Log:
    """Takes events with key-values, and hands them on as records that hold no secret.

    What ``structlog.contextvars`` has bound is part of each event; within a call that is its
    ``request_id`` and ``caller``. Fields that are None are left out. The field ``exc_info``
    is an exception to be shown, or True for the one that is being handled.

    Args:
        logger: Where the records go.
    """

    __slots__ = ("_logger",)

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    def debug(self, event: str, **fields: object) -> None:
        """Tell what is of use to whoever looks for a fault."""
        if self._logger.isEnabledFor(logging.DEBUG):
            self._tell(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: object) -> None:
        """Tell what is as it should be."""
        if self._logger.isEnabledFor(logging.INFO):
            self._tell(logging.INFO, event, fields)

    def warning(self, event: str, **fields: object) -> None:
        """Tell what somebody may want to look at."""
        if self._logger.isEnabledFor(logging.WARNING):
            self._tell(logging.WARNING, event, fields)

    def error(self, event: str, **fields: object) -> None:
        """Tell what does not work."""
        if self._logger.isEnabledFor(logging.ERROR):
            self._tell(logging.ERROR, event, fields)

    def exception(self, event: str, **fields: object) -> None:
        """Tell what does not work, with the exception that is being handled."""
        if self._logger.isEnabledFor(logging.ERROR):
            self._tell(logging.ERROR, event, {"exc_info": True, **fields})

    def _tell(self, level: int, event: str, fields: dict[str, object]) -> None:
        raised = fields.pop("exc_info", None)
        shown: dict[str, object] = {"event": scrub(event)}
        unquoted: tuple[str, ...] = ()
        # The default of the processor that structlog's own loggers would run.
        for name, value in merge_contextvars(None, "", fields).items():
            if value is None:
                continue
            if type(value) in _NUMBERS:
                shown[name] = value
            elif isinstance(value, Own):
                shown[name] = value.text
            elif isinstance(value, str):
                # Without its class: a ``Secret`` would bring its value along.
                shown[name] = scrub(value if type(value) is str else _text(value, str))
            elif isinstance(value, int):
                shown[name] = int.__pos__(value)
            elif isinstance(value, float):
                shown[name] = float.__pos__(value)
            else:
                shown[name] = scrub(_text(value, repr))
                unquoted += (name,)
        # Not by the standard library's search for it, which takes longer than all the rest.
        method = sys._getframe(1)  # noqa: SLF001 -- there is no public name for it
        caller = method.f_back or method
        record = self._logger.makeRecord(
            self._logger.name,
            level,
            caller.f_code.co_filename,
            caller.f_lineno,
            Line(shown, unquoted),
            (),
            _exc_info(raised) if raised else None,
            caller.f_code.co_name,
            {FIELDS: shown},
        )
        self._logger.handle(record)


def _text(value: object, form: Callable[[object], str]) -> str:
    """Return what a value shows of itself, or that it does not: no field is worth a call."""
    try:
        return form(value)
    except Exception as error:  # noqa: BLE001 -- whatever it raises
        return f"<{type(value).__name__} that cannot be shown: {type(error).__name__}>"


def _exc_info(raised: object) -> Any:
    """Return what a record has of an exception that was given, or is being handled."""
    if isinstance(raised, BaseException):
        return type(raised), raised, raised.__traceback__
    return sys.exc_info()


class Own:
    """A text that we have made of nothing, such as an id: there is no secret to look for in it.

    Args:
        text: The text.
    """

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


class Line:
    """``event key=value …`` on one line, for whoever asks a record for its message.

    Args:
        fields: The event and its fields, clean.
        unquoted: Names of those that were no texts.
    """

    __slots__ = ("_fields", "_unquoted")

    def __init__(self, fields: Mapping[str, object], unquoted: Collection[str]) -> None:
        self._fields = fields
        self._unquoted = unquoted

    @override
    def __str__(self) -> str:
        pairs = [
            f"{name}={value!r}"
            if isinstance(value, str) and name not in self._unquoted
            else f"{name}={value}"
            for name, value in self._fields.items()
            if name != "event"
        ]
        return " ".join([str(self._fields["event"]), *pairs])

    __repr__ = __str__


def get_logger(name: str) -> Log:
    """Return a logger that takes an event and key-values and hands on a stdlib record.

    It does not depend on ``structlog.configure``, which is the host's to call.

    Args:
        name: Name of the stdlib logger, such as ``amas.providers.manager``.
    """
    return Log(logging.getLogger(name))


class Naming:
    """Has the id of a call and its caller in every log line within, of the host's too.

    Equal to ``structlog.contextvars.bound_contextvars``, for what every call does.

    Args:
        request_id: Our id of the call.
        caller: Who called.
    """

    __slots__ = ("_caller", "_request_id", "_tokens")
    _tokens: tuple[Token[Any], Token[Any]]

    def __init__(self, request_id: str, caller: str | None) -> None:
        self._request_id = request_id
        self._caller = caller

    def __enter__(self) -> None:
        """Begin."""
        self._tokens = _REQUEST_ID.set(self._request_id), _CALLER.set(self._caller)

    def __exit__(self, *_: object) -> None:
        """Put back what was bound before."""
        request_id, caller = self._tokens
        _CALLER.reset(caller)
        _REQUEST_ID.reset(request_id)


def _variable(name: str) -> ContextVar[Any]:
    """Return where structlog keeps what is bound by a name."""
    tokens = bind_contextvars(**{name: None})
    variable: ContextVar[Any] = tokens[name].var
    reset_contextvars(**tokens)
    return variable


_REQUEST_ID: Final = _variable("request_id")
_CALLER: Final = _variable("caller")
