"""What a service logs has no secrets in it, with one line for logging and one for structlog."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, NoReturn

import pytest
import structlog
from typing_extensions import override

from amas.providers import MaskingFilter, Secret, install_masking, mask_event
from amas.providers.secret import MASK
from amas.providers.security import masking
from amas.providers.security.masking import FAILED

# Looks like no vendor's key: only exact match can find it.
KEY = "zq9" + "Lm4vXe7" * 3


class Shows:
    """An object that shows a text when it is printed, and perhaps another as its repr."""

    def __init__(self, text: str, shown: str | None = None) -> None:
        self.text = text
        self.shown = shown or text

    @override
    def __str__(self) -> str:
        return self.text

    @override
    def __repr__(self) -> str:
        return self.shown


class Breaks:
    """An object that cannot be shown."""

    @override
    def __repr__(self) -> str:
        raise RuntimeError(KEY)


@pytest.fixture(autouse=True)
def held() -> Secret:
    """Hold the key, as a configuration does."""
    return Secret(KEY)


@pytest.fixture
def written() -> io.StringIO:
    """Return what the handler of the test writes to."""
    return io.StringIO()


@pytest.fixture
def logger(written: io.StringIO) -> Iterator[logging.Logger]:
    """Return a logger with a handler, on which masking is installed."""
    logger = logging.getLogger("masking-test")
    logger.propagate = False
    handler = logging.StreamHandler(written)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    logger.addHandler(handler)
    install_masking(logger=logger)
    yield logger
    logger.handlers.clear()


class Keeper(logging.Handler):
    """Keeps the records that come."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    @override
    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


def keep_records(logger: logging.Logger) -> list[logging.LogRecord]:
    """Keep what comes through a handler of a logger, masking installed."""
    keeper = Keeper()
    logger.addHandler(keeper)
    install_masking(logger=logger)
    return keeper.records


def fail() -> NoReturn:
    """Fail with a key in the error, its cause, and the locals."""
    secret = KEY
    try:
        int(f"inner {secret}")
    except ValueError as error:
        raise RuntimeError(f"outer {secret}") from error
    raise AssertionError("not reached")


# --- logging -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "args", "shown"),
    [
        (f"key {KEY}!", (), f"key {MASK}!"),
        ("key %s and %d", (KEY, 7), f"key {MASK} and 7"),
        ("key %r", ([KEY, {"a": (KEY,)}],), f"key ['{MASK}', {{'a': ('{MASK}',)}}]"),
        ("key %(api_key)s of %(name)s", ({"api_key": "unknown", "name": "n"},), f"key {MASK} of n"),
        ("key %s", (Shows(f"<{KEY}>"),), f"key <{MASK}>"),
        ("key %s", (Shows(f"<{KEY}>", "fine"),), f"key <{MASK}>"),
        ("api-key: %s", ("0af3" * 8,), f"api-key: {MASK}"),
        (Shows(KEY), (), MASK),
        ("bytes %s", (KEY.encode(),), f"bytes b'{MASK}'"),
        ("nothing %s %s %.1f", (b"b", None, Decimal("1.25")), "nothing b'b' None 1.2"),
    ],
    ids=str,
)
def test_messages_are_masked(
    logger: logging.Logger, written: io.StringIO, message: Any, args: tuple[Any, ...], shown: str
) -> None:
    """A secret in a message goes, whether it stands there itself or comes with an argument."""
    logger.error(message, *args)
    assert written.getvalue() == f"ERROR {shown}\n"


def test_arguments_stay_arguments(logger: logging.Logger) -> None:
    """Formatters that look at the arguments themselves find them, as they were given."""
    seen = keep_records(logger)
    logger.error("%s %d %s", "GET", 200, KEY)
    assert seen[0].args == ("GET", 200, MASK)


def test_tracebacks_are_masked(logger: logging.Logger, written: io.StringIO) -> None:
    """A traceback comes without keys, causes included, and its frames go no further."""
    seen = keep_records(logger)
    try:
        fail()
    except RuntimeError:
        logger.exception("failed", stack_info=True)
    text = written.getvalue()
    assert KEY not in text
    assert f"ValueError: invalid literal for int() with base 10: 'inner {MASK}'" in text
    assert f"RuntimeError: outer {MASK}" in text
    assert "Stack (most recent call last)" in text
    assert seen[0].exc_info is None


def test_rendered_tracebacks_are_masked(logger: logging.Logger, written: io.StringIO) -> None:
    """What another handler has rendered before is masked too, and the empty ones stay empty."""
    record = logging.makeLogRecord({"msg": "m", "exc_text": f"was {KEY}", "levelname": "ERROR"})
    logger.handlers[0].handle(record)
    logger.error("none", exc_info=(None, None, None))
    assert written.getvalue() == f"ERROR m\nwas {MASK}\nERROR none\n"


def test_extras_are_masked(logger: logging.Logger) -> None:
    """What extra brings is masked by its name and by its value; counts stay."""
    seen = keep_records(logger)
    extra = {
        "token": "short",
        "tokens_used": 5,
        "url": f"x={KEY}",
        "deep": {KEY: {"password": "p"}},
    }
    logger.error("m", extra=extra)
    shown = {name: vars(seen[0])[name] for name in extra}
    assert shown == {
        "token": MASK, "tokens_used": 5, "url": f"x={MASK}", "deep": {MASK: {"password": MASK}},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("message", "args"), [("%s", (Breaks(),)), (f"%d {KEY}", (KEY,)), (Breaks(), ())]
)
def test_logging_fails_closed(
    logger: logging.Logger, written: io.StringIO, message: Any, args: tuple[Any, ...]
) -> None:
    """If masking fails, a word that says so is logged, and nothing of what was to be."""
    try:
        fail()
    except RuntimeError:
        logger.exception(message, *args, extra={"mine": KEY}, stack_info=True)
    assert written.getvalue() == f"ERROR {FAILED}\n"


def test_failed_records_keep_no_extras() -> None:
    """Extras that could not be masked are gone from the record."""
    record = logging.makeLogRecord({"msg": "m", "mine": Breaks()})
    assert MaskingFilter().filter(record)
    assert (record.getMessage(), hasattr(record, "mine")) == (FAILED, False)


def test_events_of_structlog_formatters_are_masked(written: io.StringIO) -> None:
    """An event that structlog's formatter renders in the handler is masked before."""
    handler = logging.StreamHandler(written)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(processor=structlog.processors.JSONRenderer())
    )
    install_masking(handlers=[handler])
    record = logging.makeLogRecord(
        {"msg": {"event": f"is {KEY}", "api_key": "x"}, "_from_structlog": True, "_logger": None,
         "_name": "info"}
    )  # fmt: skip
    handler.handle(record)
    assert json.loads(written.getvalue()) == {"event": f"is {MASK}", "api_key": MASK}


def test_install_finds_the_handlers() -> None:
    """Handlers of the root logger, the libraries, loggers below them, and those given are found."""
    places = [logging.getLogger(name) for name in ("", "openai", "openai._base_client", "httpx")]
    handlers = [logging.NullHandler() for _ in places]
    given = logging.NullHandler()
    for place, handler in zip(places, handlers, strict=True):
        place.addHandler(handler)
    try:
        install_masking(handlers=[given])
        install_masking(handlers=[given])
        for handler in (*handlers, given):
            assert [type(each) for each in handler.filters] == [MaskingFilter]
    finally:
        for place, handler in zip(places, handlers, strict=True):
            place.removeHandler(handler)


def test_install_without_a_last_resort(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service may have switched off what logging does when there is no handler."""
    monkeypatch.setattr(logging, "lastResort", None)
    handler = logging.NullHandler()
    install_masking(handlers=[handler])
    assert len(handler.filters) == 1


def test_every_record_is_masked_on_request(written: io.StringIO) -> None:
    """With every_record, handlers that come later see no secret either."""
    before = logging.getLogRecordFactory()
    logger = logging.getLogger("masking-test-later")
    logger.propagate = False
    try:
        install_masking(every_record=True)
        masking_once = logging.getLogRecordFactory()
        install_masking(every_record=True)
        assert logging.getLogRecordFactory() is masking_once
        logger.addHandler(logging.StreamHandler(written))
        logger.error("key %s", KEY)
    finally:
        logging.setLogRecordFactory(before)
        logger.handlers.clear()
    assert written.getvalue() == f"key {MASK}\n"


# --- structlog ---------------------------------------------------------------------------------------


def test_events_are_masked() -> None:
    """Values are masked by name and by what they are, at any depth; the event is a new one."""
    event = {
        "event": f"is {KEY}", "api_key": "unknown", "max_tokens": 5, "Authorization": ["x"],
        "token": None, "deep": [{"url": f"http://u:{KEY}@h"}, (KEY,), {KEY}], "secret": Secret(KEY),
        "s": Secret(KEY), "error": ValueError(KEY), "plain": Decimal(1), "raw": bytearray(b"x"),
    }  # fmt: skip
    masked = mask_event(None, "info", dict(event))
    assert masked == {
        "event": f"is {MASK}", "api_key": MASK, "max_tokens": 5, "Authorization": MASK,
        "token": None, "deep": [{"url": f"http://{MASK}@h"}, (MASK,), {MASK}], "secret": MASK,
        "s": MASK, "error": f"ValueError('{MASK}')", "plain": Decimal(1), "raw": bytearray(b"x"),
    }  # fmt: skip
    assert type(masked["s"]) is str
    assert event["api_key"] == "unknown"


def test_what_is_too_deep_is_masked_as_a_text() -> None:
    """A structure without end is shown as text."""
    endless: list[Any] = [KEY]
    endless.append(endless)
    shown = mask_event(None, "info", {"event": "e", "endless": endless})
    assert KEY not in repr(shown)
    assert MASK in repr(shown)


@pytest.mark.parametrize("way", [True, "error", "tuple", (None, None, None)], ids=str)
def test_exceptions_that_nobody_has_rendered_are_rendered(way: Any) -> None:
    """A renderer would show the locals of an exception; it gets its text instead."""
    try:
        fail()
    except RuntimeError as error:
        given = {"error": error, "tuple": sys.exc_info()}.get(way, way)
        masked = mask_event(None, "error", {"event": "e", "exc_info": given})
    assert "exc_info" not in masked
    assert KEY not in masked["exception"]
    assert (f"RuntimeError: outer {MASK}" in masked["exception"]) == (way != (None, None, None))


def test_rendered_exceptions_with_locals_are_masked() -> None:
    """The dictionaries that structlog makes of tracebacks are masked, locals included."""
    try:
        fail()
    except RuntimeError as error:
        trace = structlog.tracebacks.ExceptionDictTransformer(show_locals=True)
        info = (type(error), error, error.__traceback__)
        masked = mask_event(None, "error", {"event": "e", "exception": trace(info)})
    assert KEY not in json.dumps(masked)
    assert "fail" in json.dumps(masked)


def test_structlog_renders_masked_events() -> None:
    """In a chain of processors, what the renderer gets has no secret."""
    lines: list[str] = []

    class Printer:
        def info(self, line: str) -> None:
            lines.append(line)

    logger = structlog.wrap_logger(
        Printer(),
        processors=[
            structlog.processors.format_exc_info, mask_event, structlog.processors.JSONRenderer(),
        ],
    )  # fmt: skip
    try:
        fail()
    except RuntimeError:
        logger.info("failed", exc_info=True, key=KEY)
    assert KEY not in lines[0]
    assert json.loads(lines[0])["key"] == MASK


def test_structlog_fails_closed() -> None:
    """If masking fails, level and time are left, and a word that says so."""
    event = {"event": KEY, "x": Breaks(), "level": "info", "timestamp": Shows(KEY)}
    assert mask_event(None, "info", event) == {"event": FAILED, "level": "info"}


# --- libraries ---------------------------------------------------------------------------------------


def test_loggers_of_libraries() -> None:
    """The loggers below those of the libraries belong to them."""
    logging.getLogger("httpx.some.part")
    logging.getLogger("httpxx")
    names = {each.name for each in masking.library_loggers()}
    assert {"httpx", "httpx.some.part", "openai", "LiteLLM"} <= names
    assert "httpxx" not in names
