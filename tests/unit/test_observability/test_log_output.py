"""Logs are written in a thread of their own: in order, together, and nothing is lost at an end."""

from __future__ import annotations

import io
import json
import logging
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import structlog
from typing_extensions import override

from amas.providers.observability.log_output import ThreadedHandler, configure_logging
from amas.providers.observability.logging import Naming, get_logger
from amas.providers.secret import Secret

NAME = "amas.providers.test"
log = get_logger(NAME)


class Stream(io.StringIO):
    """Tells when something was written, and can be held up or broken."""

    def __init__(self) -> None:
        super().__init__()
        self.written = threading.Event()
        self.open = threading.Event()
        self.open.set()
        self.writes = 0
        self.broken = False

    @override
    def write(self, text: str) -> int:
        self.open.wait(10)
        self.writes += 1
        if self.broken:
            raise OSError("no space left")
        length = super().write(text)
        self.written.set()
        return length

    @property
    def lines(self) -> list[str]:
        return self.getvalue().splitlines()


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    """Give a logger that hands on to nobody else, and is as before afterwards."""
    logger = logging.getLogger(NAME)
    before = logger.handlers[:], logger.level, logger.propagate
    logger.setLevel("INFO")
    logger.propagate = False
    yield logger
    for handler in logger.handlers:
        handler.close()
    logger.handlers[:], logger.level, logger.propagate = before


def handle(logger: logging.Logger, stream: Stream, **options: Any) -> ThreadedHandler:
    """Give a logger a handler."""
    handler = ThreadedHandler(stream, **options)
    logger.addHandler(handler)
    return handler


def test_what_comes_soon_after_another_is_written_together(logger: logging.Logger) -> None:
    """In order, with one write."""
    stream = Stream()
    handler = handle(logger, stream, linger=60)
    for number in range(100):
        log.info("n", number=number)
    assert stream.lines == []
    handler.flush()
    assert stream.lines == [f"n number={number}" for number in range(100)]
    assert stream.writes <= 2


def test_a_warning_does_not_wait(logger: logging.Logger) -> None:
    """Nor does what was said before it."""
    stream = Stream()
    handle(logger, stream, linger=60)
    log.info("before")
    log.warning("now")
    assert stream.written.wait(5)
    assert stream.lines[-1:] in (["now"], ["before"])


def test_what_there_is_no_room_for_is_counted(logger: logging.Logger) -> None:
    """Whoever logs never waits for a stream that hangs; a line tells how many are missing."""
    stream = Stream()
    handler = handle(logger, stream, capacity=3, linger=0)
    stream.open.clear()
    for number in range(50):
        log.info("n", number=number)
    stream.open.set()
    handler.flush()
    log.info("last")
    handler.flush()
    told = [line for line in stream.lines if line.startswith("log_records_dropped")]
    missing = 51 - (len(stream.lines) - len(told))
    assert missing >= 40
    assert sum(int(line.rpartition("=")[2]) for line in told) == missing


def test_what_cannot_be_formatted_costs_nothing_else(
    logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is told as the standard library tells it."""
    stream = Stream()
    handler = handle(logger, stream, linger=60)
    handler.setFormatter(logging.Formatter("%(message)s %(amas)s"))
    for text, values in (("%d", ("no number",)), ("without fields", ())):
        handler.handle(logging.LogRecord(NAME, logging.INFO, "", 0, text, values, None))
    log.info("with")
    handler.flush()
    assert stream.lines == ["with {'event': 'with'}"]
    assert capsys.readouterr().err.count("--- Logging error ---") == 2


def test_a_broken_stream_harms_nobody(
    logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    """What comes when it works again is written."""
    stream = Stream()
    handler = handle(logger, stream)
    stream.broken = True
    log.info("one")
    handler.flush()
    assert "no space left" in capsys.readouterr().err
    stream.broken = False
    log.info("two")
    handler.flush()
    assert stream.lines == ["two"]


def test_once_closed_it_writes_at_once(logger: logging.Logger) -> None:
    """So that what is said at the very end of a process comes out."""
    stream = Stream()
    handler = handle(logger, stream)
    log.info("one")
    handler.close()
    assert stream.lines == ["one"]
    log.info("two")
    assert stream.lines == ["one", "two"]


def in_time(work: Callable[[], object]) -> None:
    """Do something in a thread, so that a test whose locks are never free fails."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(5)
    assert not thread.is_alive()


def test_what_is_logged_within_a_write_comes_after_it(logger: logging.Logger) -> None:
    """By a signal handler or the stream itself, with whole lines; a stream may do so each time."""

    class Talking(Stream):
        @override
        def write(self, text: str) -> int:
            log.info("within")
            return super().write(text)

    stream = Talking()
    handler = handle(logger, stream)
    handler.close()
    in_time(lambda: log.info("first"))
    in_time(lambda: log.info("second"))
    assert stream.lines == ["first", "within", "within", "second", "within"]


def test_lines_of_several_processes_do_not_mix(logger: logging.Logger) -> None:
    """Each write is of whole lines, and no longer than what a pipe takes at once."""

    class Pipe(Stream):
        sizes: ClassVar[list[int]] = []

        @override
        def write(self, text: str) -> int:
            assert text.endswith("\n")
            self.sizes.append(len(text.encode()))
            return super().write(text)

    stream = Pipe()
    handler = handle(logger, stream, linger=60)
    for number in range(200):
        log.info("ä" * 40, number=number)
    handler.flush()
    assert len(stream.lines) == 200
    assert max(stream.sizes) <= select.PIPE_BUF
    assert len(stream.sizes) < 20


def test_what_a_stream_cannot_take_costs_nothing_else(
    logger: logging.Logger, tmp_path: Path
) -> None:
    """It is escaped."""
    with (tmp_path / "log").open("w", encoding="latin-1") as stream:
        handler = ThreadedHandler(stream, linger=60)
        logger.addHandler(handler)
        log.info("café")
        log.info("日")
        handler.flush()
    assert (tmp_path / "log").read_text(encoding="latin-1") == "café\n\\u65e5\n"


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_fork_does_not_wait_for_a_stream_that_is_stuck(
    logger: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The child writes whole lines of its own, and can end; the parent goes on, too."""
    reading, writing = os.pipe()
    stream = os.fdopen(writing, "w")
    monkeypatch.setattr(sys, "stderr", stream)
    handler = ThreadedHandler(stream, linger=0)
    logger.addHandler(handler)
    for number in range(1000):
        log.info("parent" * 30, number=number)
    while select.select([], [writing], [], 0)[1]:
        pass  # until the pipe is full
    found: list[bytes] = []
    reader = threading.Thread(
        target=lambda: found.extend(iter(lambda: os.read(reading, 9999), b""))
    )
    rescue = threading.Timer(5, reader.start)
    rescue.start()
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        log.info("child")
        handler.flush()
        sys.stderr.flush()
        os._exit(0)
    took = time.monotonic() - began
    rescue.cancel()
    rescue.join()
    if not reader.ident:
        reader.start()
    assert os.waitpid(child, 0)[1] == 0
    handler.flush()
    stream.close()
    reader.join()
    os.close(reading)
    lines = b"".join(found).decode().splitlines()
    assert took < 3
    assert sorted(lines) == sorted(
        ["child", *(f"{'parent' * 30} number={number}" for number in range(1000))]
    )


def test_others_records_are_written_as_they_were(logger: logging.Logger) -> None:
    """Though what they are made of has changed meanwhile; other handlers find them untouched."""
    stream, seen = Stream(), []
    handler = handle(logger, stream, linger=60)

    class Keeping(logging.Handler):
        @override
        def emit(self, record: logging.LogRecord) -> None:
            seen.append((record.msg, record.args))

    logger.addHandler(Keeping())
    tries = [1]
    logger.info("tried %s", tries)
    tries.append(2)
    handler.flush()
    assert stream.lines == ["tried [1]"]
    assert seen == [("tried %s", ([1, 2],))]


def test_nothing_that_a_handler_can_reach_is_secret(logger: logging.Logger, fake_key: str) -> None:
    """Neither the message, nor what it is made of, nor a field's class."""
    seen: list[logging.LogRecord] = []

    class Keeping(logging.Handler):
        @override
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(record)

    logger.addHandler(Keeping())
    secret = Secret(fake_key)
    event = f"bad {fake_key}"
    log.warning(event, key=secret, text=f"a {fake_key}", error=ValueError(fake_key))
    (record,) = seen
    fields = vars(record)["amas"]
    assert {type(value) for value in fields.values()} == {str}
    assert fake_key not in f"{vars(record)!r} {record.getMessage()} {fields}"
    assert record.args == ()


def test_a_record_names_the_line_that_told(logger: logging.Logger) -> None:
    """Not one of ours, for all ways to tell."""
    seen: list[logging.LogRecord] = []

    class Keeping(logging.Handler):
        @override
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(record)

    logger.addHandler(Keeping())
    for tell in (log.info, log.warning, log.error, log.exception):
        tell("here")
    assert {(record.pathname, record.funcName) for record in seen} == {
        (__file__, "test_a_record_names_the_line_that_told")
    }
    assert len({record.lineno for record in seen}) == 1


def test_an_exception_can_be_given(logger: logging.Logger) -> None:
    """As with the standard library: itself, or as the one that is being handled."""
    stream = Stream()
    handler = handle(logger, stream)
    log.error("given", exc_info=ValueError("first"))
    try:
        int("second")
    except ValueError:
        log.warning("handled", exc_info=True)
    handler.flush()
    assert "ValueError: first" in stream.getvalue()
    assert "base 10: 'second'" in stream.getvalue()


def test_the_names_of_a_call_are_bound_as_structlog_binds_them() -> None:
    """A host's own structlog sees them, and what it has bound comes back."""
    with structlog.contextvars.bound_contextvars(caller="host", web="w7"):
        with Naming("r1", "me"):
            assert structlog.contextvars.get_contextvars() == {
                "request_id": "r1",
                "caller": "me",
                "web": "w7",
            }
        assert structlog.contextvars.get_contextvars() == {"caller": "host", "web": "w7"}


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_process_that_was_forked_off_writes_its_own_lines(logger: logging.Logger) -> None:
    """What waits in the parent stays there, and is written once."""
    reading, writing = os.pipe()
    stream = os.fdopen(writing, "w")
    handler = ThreadedHandler(stream, linger=60)
    logger.addHandler(handler)
    log.info("parent")
    child = os.fork()
    if child == 0:
        log.info("child")
        handler.flush()
        os._exit(0)
    os.waitpid(child, 0)
    handler.flush()
    stream.close()
    with os.fdopen(reading) as found:
        assert found.read().split() == ["child", "parent"]


def test_no_end_of_a_process_loses_a_line() -> None:
    """Neither what was said before an error that nobody caught, nor what is said after it."""
    program = """
import atexit
from amas.providers.observability.log_output import configure_logging
from amas.providers.observability.logging import get_logger
log = get_logger("amas.end")
atexit.register(log.info, "very last")
configure_logging(json=True)
for number in range(300):
    log.info("n", number=number)
raise SystemError("nobody catches it")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=30
    )
    told = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    assert [line.get("number") for line in told] == [*range(300), None]
    assert told[-1]["event"] == "very last"
    assert "SystemError: nobody catches it" in done.stderr


def test_a_handler_that_is_replaced_has_written_everything() -> None:
    """And its thread is gone."""
    logger = logging.getLogger("amas")
    before = logger.handlers[:], logger.level, logger.propagate
    first, second = Stream(), Stream()
    try:
        configure_logging(stream=first)
        log.info("one")
        handler = configure_logging(stream=second)
        assert len(first.lines) == 1
        assert not any(thread.name == "amas-logs" for thread in threading.enumerate())
        handler.close()
    finally:
        logger.handlers[:], logger.level, logger.propagate = before
