"""The failure table as the design has it."""

from __future__ import annotations

import pytest

from amas.providers import errors
from amas.providers.errors import ProviderError
from amas.providers.manager.policy import TABLE, Effect, Failover, Retry, Rule
from amas.providers.types import Outcome

DESIGN = {
    "ok": ("no", "no", "success"),
    "connection": ("once", "yes", "failure"),
    "timeout": ("no", "yes", "failure"),
    "unavailable": ("backoff", "yes", "failure"),
    "rate_limited": ("short_wait", "yes", "neutral"),
    "quota": ("no", "yes", "trip"),
    "auth": ("no", "yes", "trip"),
    "model_not_found": ("no", "yes", "neutral"),
    "invalid_request": ("no", "no", "success"),
    "context_window": ("no", "larger_window", "neutral"),
    "content_policy": ("no", "no", "neutral"),
    "cancelled": ("no", "no", "neutral"),
    "stream_interrupted": ("no", "no", "failure"),
    "config": ("no", "yes", "neutral"),
    "access_denied": ("no", "no", "neutral"),
    "no_provider": ("no", "yes", "neutral"),
    "all_failed": ("no", "yes", "failure"),
}


def every_error() -> list[type[ProviderError]]:
    """Return the whole tree of errors."""
    return [
        item
        for item in vars(errors).values()
        if isinstance(item, type) and issubclass(item, ProviderError)
    ]


@pytest.mark.parametrize("outcome", list(Outcome))
def test_each_row_is_the_one_of_the_design(outcome: Outcome) -> None:
    """Retry, failover and circuit are what the design's table says, for every outcome."""
    retry, failover, circuit = DESIGN[outcome.value]
    assert TABLE[outcome] == Rule(Retry(retry), Failover(failover), Effect(circuit))


@pytest.mark.parametrize("error", every_error())
def test_every_error_has_a_row(error: type[ProviderError]) -> None:
    """No error of the tree is without a rule, whoever adds one."""
    assert error.outcome in TABLE


def test_the_table_cannot_be_changed() -> None:
    """It is a value, not a setting."""
    with pytest.raises(TypeError):
        TABLE[Outcome.OK] = TABLE[Outcome.AUTH]  # type: ignore[index]
