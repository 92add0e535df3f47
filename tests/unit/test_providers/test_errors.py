"""The error tree: what each error carries, and that its messages are clean."""

from __future__ import annotations

import inspect

import pytest

from amas.providers import errors
from amas.providers.errors import (
    AllProvidersFailedError,
    ProviderConfigError,
    ProviderError,
    RateLimitError,
    StreamInterruptedError,
)
from amas.providers.manager.policy import TABLE
from amas.providers.secret import MASK, Secret
from amas.providers.types import Attempt

KEY = "zq9" + "Lm4vXe7" * 3
CLASSES = [
    item
    for item in vars(errors).values()
    if inspect.isclass(item) and issubclass(item, ProviderError)
]


@pytest.mark.parametrize("kind", CLASSES)
def test_messages_are_scrubbed_when_built(kind: type[ProviderError]) -> None:
    """No error shows a secret, by text, repr, arguments or attributes."""
    held = Secret(KEY)
    error = kind(f"refused {KEY} and sk-{'a' * 20}")
    assert error.message == f"refused {MASK} and {MASK}"
    assert held.get_secret_value() not in f"{error} {error!r} {error.args} {vars(error)}"


@pytest.mark.parametrize("kind", CLASSES)
def test_every_outcome_is_in_the_failure_table(kind: type[ProviderError]) -> None:
    """The manager knows for each error what comes next."""
    assert kind.outcome in TABLE


def test_outcomes_differ() -> None:
    """Each class has an outcome of its own; the base counts as an upstream in trouble."""
    own = [kind.outcome for kind in CLASSES if kind is not ProviderError]
    assert len(own) == len(set(own))
    assert ProviderError.outcome == "unavailable"


def test_attributes() -> None:
    """An error says where it happened and when a new try makes sense."""
    error = RateLimitError(
        "slow down", provider="p", model="m", status_code=429, request_id="r", retry_after=2.5
    )
    assert str(error) == "p: slow down"
    assert (error.model, error.status_code, error.request_id) == ("m", 429, "r")
    assert error.retry_after == 2.5
    assert str(ProviderError("alone")) == "alone"


def test_config_error_has_its_problems() -> None:
    """Problems make the message, or stand beside it; without any the message is the problem."""
    held = Secret(KEY)
    error = ProviderConfigError(problems=[f"a: {KEY}", "b: wrong"], field="a", provider="p")
    assert error.problems == (f"a: {MASK}", "b: wrong")
    assert error.message == f"a: {MASK}\nb: wrong"
    assert (error.field, error.provider) == ("a", "p")
    assert ProviderConfigError("just this").problems == ("just this",)
    assert held


def test_interrupted_stream_has_its_text() -> None:
    """What came before the break is kept."""
    error = StreamInterruptedError("cut", partial_text="half an ans", provider="p", status_code=500)
    assert (error.partial_text, error.status_code, error.provider) == ("half an ans", 500, "p")
    assert StreamInterruptedError("cut").partial_text == ""


def test_all_failed_has_every_error() -> None:
    """The last error has each attempt and its error."""
    attempt = Attempt(
        provider="p", model="m", outcome="auth", status_code=401, latency_ms=1.0, error="no"
    )
    inner = ProviderError("no", provider="p")
    error = AllProvidersFailedError("none left", errors=[inner], attempts=[attempt], retry_after=9)
    assert (error.errors, error.attempts, error.retry_after) == ((inner,), (attempt,), 9)
