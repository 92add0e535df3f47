"""The package's logs written down, for services that set up no logging: in a thread of its own."""

from __future__ import annotations

import copy
import json
import logging
import math
import os
import select
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final, TextIO

import structlog
from typing_extensions import override

from ..secret import scrub
from .logging import FIELDS, Line
from .worker import Worker

_ROOT: Final = "amas"
_NAME: Final = "amas-providers"

# Seconds that lines wait for more, to be written together; nobody at a terminal waits.
_LINGER: Final = 0.05
_LONGEST_FLUSH: Final = 5.0

# Seconds that a fork waits for what is being written.
_LONGEST_FORK: Final = 0.1

# Bytes that a pipe takes at once: what is written together is shorter, so that lines of several
# processes do not mix. POSIX promises 512; all systems of today give more.
_TOGETHER: Final = getattr(select, "PIPE_BUF", 512)


def configure_logging(
    level: int | str = logging.INFO,
    *,
    json: bool | None = None,
    stream: TextIO | None = None,
) -> logging.Handler:
    """Show the package's logs, for services that set up no logging themselves.

    It touches no logger but ``amas``, whose records then go nowhere else; called again, it
    replaces what it has set up before. Records are written in a thread of their own, in order:
    at once from warnings on, the others within 0.05 s. What waits at the end of the process is
    written then, and ``flush`` of the handler waits for it at any time. A process that is
    killed, or that a signal ends which nobody handles, such as SIGTERM, has no such end: lines of
    its last moments are lost, warnings too. A fork waits for what is being written for at most
    0.1 s.

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
    terminal = target.isatty()
    as_json = not terminal if json is None else json
    logger = logging.getLogger(_ROOT)
    logger.setLevel(level.upper() if isinstance(level, str) else level)
    for old in [item for item in logger.handlers if item.get_name() == _NAME]:
        logger.removeHandler(old)
        old.close()
    handler = ThreadedHandler(target, linger=0 if terminal else _LINGER)
    handler.setFormatter(_JsonFormatter() if as_json else _TerminalFormatter())
    handler.set_name(_NAME)
    logger.addHandler(handler)
    logger.propagate = False
    return handler


class ThreadedHandler(logging.Handler):
    """Hands records to a thread that formats and writes them, many at a time.

    Records for which there is no room are dropped, and counted in a line of their own.

    Args:
        stream: Where they are written.
        capacity: Most records that wait.
        linger: Seconds that a record below a warning waits for more.
    """

    def __init__(self, stream: TextIO, *, capacity: int = 10_000, linger: float = _LINGER) -> None:
        super().__init__()
        self._writer = _Writer(stream)
        self._worker = Worker("logs", self._writer.write_all, capacity=capacity, linger=linger)
        self._ended = False

    @override
    def setFormatter(self, fmt: logging.Formatter | None) -> None:
        super().setFormatter(fmt)
        self._writer.setFormatter(fmt)

    @override
    def emit(self, record: logging.LogRecord) -> None:
        try:
            if not hasattr(record, FIELDS):
                # Not ours: what it is made of may change until it is written.
                record = copy.copy(record)
                record.msg, record.args = record.getMessage(), None
            if self._ended:
                self._writer.write_all([record])
            elif not self._worker.put(record, at_once=record.levelno >= logging.WARNING):
                self._writer.lost += 1
        except Exception:  # noqa: BLE001 -- as every handler does: no record is worth a call
            self.handleError(record)

    @override
    def flush(self) -> None:
        """Wait until everything is written, for at most 5 s."""
        self._worker.wait(_LONGEST_FLUSH)

    @override
    def close(self) -> None:
        """Write what waits, and end the thread; what comes later is written at once."""
        self._ended = True
        self._worker.finish()
        super().close()


class _Writer(logging.StreamHandler[TextIO]):
    """What the thread holds: the stream, and how records look there."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self.lost = 0
        self._lost_told = 0
        self._waiting: deque[logging.LogRecord] = deque()
        self._busy: int | None = None
        # Held while something is written: a child that is forked off meanwhile would find the
        # stream in use for ever.
        self._lock = threading.RLock()
        _writers.add(self)
        _let_no_fork_cut_in()

    def write_all(self, records: Sequence[logging.LogRecord]) -> None:
        """Write records in order, together; or leave them to the thread that writes already.

        That may be this one, interrupted by a signal handler that logs.
        """
        self._waiting.extend(records)
        if lost := self.lost - self._lost_told:
            self._lost_told += lost
            self._waiting.append(_dropped(lost))
        # The second time for what was left to us meanwhile; not for ever, as the stream itself
        # may log whenever it is written to.
        for _ in range(2):
            if self._waiting and self._busy is None:
                self._busy = threading.get_ident()
                try:
                    self._write_waiting()
                finally:
                    self._busy = None

    def _write_waiting(self) -> None:
        records = [self._waiting.popleft() for _ in range(len(self._waiting))]
        try:
            for text in _together(map(self._line, records)):
                with self._lock:
                    self.stream.write(text)
                    self.stream.flush()
        except Exception:  # noqa: BLE001 -- as every handler does
            self.handleError(records[-1])

    def hold(self, seconds: float) -> bool:
        """Keep others from writing, if they stop in time."""
        return self._lock.acquire(timeout=seconds)

    def let_go(self) -> None:
        """Let others write again."""
        self._lock.release()

    def begin_anew(self, *, held: bool) -> None:
        """Begin in a child without what its parent writes.

        Args:
            held: Whether nobody was writing; else the stream is in use for ever.
        """
        if self._busy != threading.get_ident():
            self._busy = None
            self._waiting.clear()
        if held:
            self.let_go()
        else:
            self._lock = threading.RLock()
            self.stream = _again(self.stream)

    def _line(self, record: logging.LogRecord) -> str:
        try:
            line = self.format(record) + self.terminator
            if line.isascii():
                return line
            # What the stream cannot take must not cost the others either.
            encoding = getattr(self.stream, "encoding", None) or "utf-8"
            return line.encode(encoding, "backslashreplace").decode(encoding)
        except Exception:  # noqa: BLE001 -- one record must not cost the others
            self.handleError(record)
            return ""


def _together(lines: Iterable[str]) -> Iterator[str]:
    """Join lines, as many as a pipe takes at once."""
    batch: list[str] = []
    room = _TOGETHER
    for line in lines:
        length = len(line) if line.isascii() else len(line.encode())
        if length > room and batch:
            yield "".join(batch)
            batch, room = [], _TOGETHER
        batch.append(line)
        room -= length
    if batch:
        yield "".join(batch)


def _again(stream: TextIO) -> TextIO:
    """Open what a stream writes to once more, for whoever else writes there, too."""
    try:
        there: int | str = stream.fileno()
    except (OSError, ValueError, AttributeError):
        there = os.devnull
    again = open(  # noqa: SIM115 -- a descriptor, and for the rest of the process
        there,
        "w",
        encoding=getattr(stream, "encoding", None),
        errors=getattr(stream, "errors", None),
        closefd=isinstance(there, str),
    )
    for name in ("stdout", "stderr", "__stdout__", "__stderr__"):
        if getattr(sys, name) is stream:
            # The end of the process flushes these, and would wait for ever.
            setattr(sys, name, again)
    return again


# Those of the process, which a fork waits for.
_writers: Final[weakref.WeakSet[_Writer]] = weakref.WeakSet()


class _Forking(threading.local):
    """Whether the thread that forks could hold each of them."""

    def __init__(self) -> None:
        self.held: dict[_Writer, bool] = {}


_forking: Final = _Forking()


@cache
def _let_no_fork_cut_in() -> None:
    os.register_at_fork(
        before=_hold_all, after_in_parent=_let_all_go, after_in_child=_begin_all_anew
    )


def _hold_all() -> None:
    until = time.monotonic() + _LONGEST_FORK
    for writer in list(_writers):
        _forking.held[writer] = writer.hold(max(until - time.monotonic(), 0))


def _let_all_go() -> None:
    for writer, held in _forking.held.items():
        if held:
            writer.let_go()
    _forking.held.clear()


def _begin_all_anew() -> None:
    for writer, held in _forking.held.items():
        writer.begin_anew(held=held)
    _forking.held.clear()


def _dropped(count: int) -> logging.LogRecord:
    fields = {"event": "log_records_dropped", "count": count}
    name, said = "amas.providers.observability", Line(fields, unquoted=())
    record = logging.LogRecord(name, logging.WARNING, __file__, 0, said, None, None)
    setattr(record, FIELDS, fields)
    return record


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


_encoder: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False)


def _encode(fields: dict[str, Any]) -> str:
    try:
        return _encoder.encode(fields)
    except ValueError:  # NaN and infinity, for which JSON has no word
        return _encoder.encode(
            {name: value if _is_json(value) else str(value) for name, value in fields.items()}
        )


def _is_json(value: object) -> bool:
    return not isinstance(value, float) or math.isfinite(value)


def _fields_of(formatter: logging.Formatter, record: logging.LogRecord) -> dict[str, Any]:
    when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
    fields = {
        "timestamp": when,
        "level": record.levelname.lower(),
        "logger": record.name,
        # What a ``Log`` has made is clean already.
        **(getattr(record, FIELDS, None) or {"event": scrub(record.getMessage())}),
    }
    if record.exc_info:
        fields["exception"] = scrub(formatter.formatException(record.exc_info))
    return fields
