"""Logs for services that set up none: readable at a terminal, JSON otherwise, never the root logger's."""

from __future__ import annotations

import io
import json
import logging
import math
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import pytest
import structlog
from typing_extensions import override

from amas.providers import ProviderManager, configure_logging
from amas.providers.errors import ProviderUnavailableError
from amas.providers.observability.logging import get_logger
from amas.providers.testing.fake_provider import FakeProvider

log = get_logger("amas.providers.test")


class Terminal(io.StringIO):
    """A stream that says that it is one."""

    @override
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Put the logger ``amas`` back as it was."""
    logger = logging.getLogger("amas")
    before = logger.handlers[:], logger.level, logger.propagate
    yield
    for handler in set(logger.handlers) - set(before[0]):
        handler.close()
    logger.handlers[:], logger.level, logger.propagate = before


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    """Read what was logged as JSON."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_into_a_file_each_record_is_a_line_of_json() -> None:
    """With time, level and logger, and the event's own fields as they are."""
    stream = io.StringIO()
    handler = configure_logging(stream=stream)
    log.warning("attempt_failed", provider="a", status=503, tries=[1], nothing=None, ok=True)
    handler.flush()
    (line,) = lines(stream)
    assert line.pop("timestamp").endswith("+00:00")
    assert line == {
        "level": "warning",
        "logger": "amas.providers.test",
        "event": "attempt_failed",
        "provider": "a",
        "status": 503,
        "tries": "[1]",
        "ok": True,
    }


def test_a_line_is_json_whatever_is_in_it() -> None:
    """What cannot be shown raises nothing, and is told as such; NaN and infinity are texts."""

    class Silent(str):
        __slots__ = ()

        @override
        def __repr__(self) -> str:
            raise ValueError

        __str__ = __repr__

    stream = io.StringIO()
    handler = configure_logging(stream=stream)
    log.warning("a", silent=Silent(), inside=[Silent()], nan=math.nan, low=-math.inf, much=2.5)
    log.warning("b", status=HTTPStatus.OK)
    handler.flush()
    first, second = lines(stream)
    assert {name: first[name] for name in ("silent", "inside", "nan", "low", "much")} == {
        "silent": "<Silent that cannot be shown: ValueError>",
        "inside": "<list that cannot be shown: ValueError>",
        "nan": "nan",
        "low": "-inf",
        "much": 2.5,
    }
    assert "NaN" not in stream.getvalue()
    assert second["status"] == 200


def test_at_a_terminal_it_is_readable() -> None:
    """One line with the event and its fields."""
    stream = Terminal()
    handler = configure_logging(stream=stream)
    log.info("started", provider="a")
    handler.flush()
    assert "started" in stream.getvalue()
    assert "provider" in stream.getvalue()
    assert not stream.getvalue().startswith("{")


def test_the_form_can_be_chosen() -> None:
    """JSON at a terminal, for one."""
    stream = Terminal()
    handler = configure_logging("DEBUG", json=True, stream=stream)
    log.debug("detail")
    handler.flush()
    assert lines(stream)[0]["event"] == "detail"


def test_setting_it_up_twice_shows_nothing_twice() -> None:
    """The second time replaces the first; other handlers stay."""
    first, second, own = io.StringIO(), io.StringIO(), io.StringIO()
    logging.getLogger("amas").addHandler(logging.StreamHandler(own))
    configure_logging(stream=first)
    handler = configure_logging(stream=second)
    log.info("once")
    handler.flush()
    assert first.getvalue() == ""
    assert len(lines(second)) == 1
    assert own.getvalue() == "once\n"


def test_the_root_logger_is_left_alone() -> None:
    """Neither its handlers nor its level change, and it hears nothing twice."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    configure_logging(stream=io.StringIO())
    assert (root.handlers[:], root.level) == before
    assert logging.getLogger("amas").propagate is False


def test_a_traceback_is_part_of_the_record(fake_key: str) -> None:
    """Without its secrets, in both forms."""
    plain, shown = io.StringIO(), Terminal()
    for stream in (plain, shown):
        handler = configure_logging(stream=stream)
        try:
            int(f"bad {fake_key}")
        except ValueError:
            log.exception("broken")
        handler.flush()
        assert "ValueError" in stream.getvalue()
        assert fake_key not in stream.getvalue()
    assert "Traceback" in lines(plain)[0]["exception"]


def test_what_others_log_below_amas_is_shown_as_well(fake_key: str) -> None:
    """A plugin may use the standard library's logging."""
    stream = io.StringIO()
    handler = configure_logging(stream=stream)
    logging.getLogger("amas.plugin").info("used %s", fake_key)
    handler.flush()
    assert lines(stream)[0]["event"] == "used **********"


def test_the_standard_library_gets_the_fields_as_well(caplog: pytest.LogCaptureFixture) -> None:
    """A host's own JSON formatter finds them in the record."""
    caplog.set_level("INFO", "amas")
    log.info("started", provider="a")
    assert vars(caplog.records[0])["amas"] == {"event": "started", "provider": "a"}


def test_what_the_host_has_bound_is_part_of_each_event(caplog: pytest.LogCaptureFixture) -> None:
    """By structlog's context variables: the host's own request id, for one."""
    caplog.set_level("INFO", "amas")
    with structlog.contextvars.bound_contextvars(web_request="w7"):
        log.info("started")
    assert caplog.messages == ["started web_request='w7'"]


async def test_everything_within_a_call_names_it(caplog: pytest.LogCaptureFixture) -> None:
    """What a provider logs itself, too; and nothing is left behind, for streams as well."""
    caplog.set_level("INFO", "amas")

    class Talking(FakeProvider):
        @override
        async def generate(self, prompt: Any, **kwargs: Any) -> Any:
            log.info("asked")
            return await super().generate(prompt, **kwargs)

    talking = Talking("a", default=ProviderUnavailableError("down"), max_retries=0)
    async with ProviderManager(providers=[talking, FakeProvider("b")]) as manager:
        result = await manager.generate("hi", caller="tester")
        assert structlog.contextvars.get_contextvars() == {}
        async for _ in manager.stream("hi", caller="tester"):
            assert structlog.contextvars.get_contextvars() == {}
    told = [vars(record)["amas"] for record in caplog.records if record.name.startswith("amas.")]
    within = [item for item in told if item["event"] in {"asked", "attempt_failed", "call"}]
    assert {item["event"] for item in within} == {"asked", "attempt_failed", "call"}
    assert {item["caller"] for item in within} == {"tester"}
    assert within[0]["request_id"] == result["request_id"]
    assert len({item["request_id"] for item in within}) == 2
