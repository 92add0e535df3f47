"""The package's loggers: the host's logging decides, and no secret gets into it."""

from __future__ import annotations

import json
import logging
import subprocess
import sys

import pytest
import structlog

from amas.providers import Secret
from amas.providers.errors import ProviderUnavailableError
from amas.providers.observability.logging import get_logger

NAME = "amas.providers.test"


@pytest.fixture
def messages(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Collect what our loggers say, from INFO on."""
    caplog.set_level(logging.INFO, logger=NAME)
    return caplog


def test_an_event_becomes_a_record_of_the_standard_library(
    messages: pytest.LogCaptureFixture,
) -> None:
    """Event and key-values are its message; name and level are those of the call."""
    get_logger(NAME).warning("attempt_failed", provider="a", status=503, tries=[1, 2])
    assert messages.record_tuples == [
        (NAME, logging.WARNING, "attempt_failed provider='a' status=503 tries=[1, 2]")
    ]


def test_what_is_not_known_is_not_said(messages: pytest.LogCaptureFixture) -> None:
    """Values that are None are left out, and an event alone is fine."""
    get_logger(NAME).info("started", caller=None)
    assert messages.messages == ["started"]


def test_the_level_of_the_host_holds(messages: pytest.LogCaptureFixture) -> None:
    """What is below it costs nothing and is not seen."""
    get_logger(NAME).debug("detail")
    assert messages.messages == []


def test_a_percent_sign_is_only_that(messages: pytest.LogCaptureFixture) -> None:
    """Messages are not formatted a second time."""
    get_logger(NAME).info("100%s sure", text="%d")
    assert messages.messages == ["100%s sure text='%d'"]


def test_every_value_is_scrubbed(messages: pytest.LogCaptureFixture, fake_key: str) -> None:
    """Texts, what lies inside of lists, errors, and the event itself."""
    own = "pass'word\\of the house"
    secret = Secret(own)
    get_logger(NAME).warning(
        f"event {fake_key}",
        text=f"a {own} b",
        nested={"keys": [fake_key]},
        error=ValueError(f"bad {fake_key}"),
        ours=ProviderUnavailableError(f"bad {fake_key}"),
        secret=secret,
    )
    text = messages.text
    assert fake_key not in text
    assert own not in text
    assert repr(own)[1:-1] not in text
    assert text.count("**********") == 6


def test_the_hosts_structlog_configuration_changes_nothing(
    messages: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """``structlog.configure`` is the host's, for the host's loggers."""
    logger = get_logger(NAME)
    structlog.configure(processors=[structlog.processors.JSONRenderer()])
    try:
        logger.info("one", a=1)
        get_logger(NAME).info("two", b=2)
    finally:
        structlog.reset_defaults()
    assert messages.messages == ["one a=1", "two b=2"]
    assert capsys.readouterr().out == ""


def test_importing_configures_and_prints_nothing() -> None:
    """No handler, no level, no structlog configuration, no output, and nothing heavy."""
    program = """
import json, logging, sys
import amas.providers
from amas.providers import ProviderManager
import amas.providers.manager.provider_manager
import structlog
names = [name for name in logging.root.manager.loggerDict if name.startswith("amas")]
print(json.dumps({
    "handlers": [str(item) for name in names for item in logging.getLogger(name).handlers],
    "root": [str(item) for item in logging.root.handlers],
    "levels": [logging.getLogger(name).level for name in names],
    "structlog": structlog.is_configured(),
    "heavy": [name for name in ("litellm", "openai", "aiohttp") if name in sys.modules],
}))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stderr == ""
    found = json.loads(done.stdout)
    assert found["handlers"] == found["root"] == found["heavy"] == []
    assert set(found["levels"]) <= {logging.NOTSET}
    assert found["structlog"] is False
