"""When the same provider is asked again, and after which pause."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amas.providers.errors import (
    AuthenticationError,
    ProviderConnectionError,
    ProviderError,
    ProviderUnavailableError,
    RateLimitError,
)
from amas.providers.manager.policy import TABLE
from amas.providers.manager.retry import RetryPolicy

POLICY = RetryPolicy(base=0.2, ceiling=5.0, short_wait=2.0)


def pause(
    error: ProviderError,
    *,
    done: int = 0,
    most: int = 3,
    left: float = 100.0,
    drawn: float = 0.5,
) -> float | None:
    """Decide about the next retry after an error."""
    return POLICY.pause(
        TABLE[error.outcome],
        error,
        retries_done=done,
        max_retries=most,
        time_left=left,
        random=lambda: drawn,
    )


def test_no_retries_means_none() -> None:
    """With ``max_retries: 0`` nobody is asked again, whatever happened."""
    for error in (
        ProviderUnavailableError("x"),
        ProviderConnectionError("x"),
        RateLimitError("x", retry_after=0.1),
    ):
        assert pause(error, most=0) is None


def test_the_last_retry_is_the_last() -> None:
    """After as many retries as are allowed there is no further one."""
    assert pause(ProviderUnavailableError("x"), done=2, most=3) is not None
    assert pause(ProviderUnavailableError("x"), done=3, most=3) is None


@given(done=st.integers(0, 40), seed=st.integers(0, 1000))
def test_backoff_is_full_jitter(done: int, seed: int) -> None:
    """A pause lies between zero and a bound that doubles up to the ceiling."""
    wait = pause(
        ProviderUnavailableError("x"), done=done, most=100, drawn=random.Random(seed).random()
    )
    assert wait is not None
    assert 0 <= wait < min(5.0, 0.2 * 2**done)


@pytest.mark.parametrize(("done", "bound"), [(0, 0.2), (1, 0.4), (2, 0.8), (5, 5.0), (9, 5.0)])
def test_the_bound_of_the_pause_doubles(done: int, bound: float) -> None:
    """It doubles with each retry, and the jitter reaches both of its ends."""
    error = ProviderUnavailableError("x")
    assert pause(error, done=done, most=10, drawn=0.0) == 0.0
    assert pause(error, done=done, most=10, drawn=0.999999) == pytest.approx(bound, rel=1e-3)


def test_any_number_of_retries_can_be_computed() -> None:
    """The ten-thousandth retry is as good as the tenth."""
    assert pause(ProviderUnavailableError("x"), done=10_000, most=20_000) == 2.5


@given(left=st.floats(-10, 10), drawn=st.floats(0, 0.999), done=st.integers(0, 5))
def test_a_pause_never_reaches_the_end_of_the_time(left: float, drawn: float, done: int) -> None:
    """Who would have no time left after the pause is not asked again."""
    wait = pause(ProviderUnavailableError("x"), done=done, most=9, left=left, drawn=drawn)
    assert wait is None or wait < left


def test_a_refused_connection_is_tried_once_more() -> None:
    """One retry after a short pause, whatever ``max_retries`` would allow."""
    error = ProviderConnectionError("x")
    assert pause(error, most=9) == pytest.approx(0.1)
    assert pause(error, done=1, most=9) is None


@pytest.mark.parametrize("error", [RateLimitError, ProviderUnavailableError])
def test_a_short_retry_after_is_kept_to(error: type[ProviderError]) -> None:
    """It is waited for, and a little longer so that not everybody comes back at once."""
    assert pause(error("x", retry_after=1.5), drawn=0.0) == 1.5
    assert pause(error("x", retry_after=1.5), drawn=0.5) == pytest.approx(1.6)
    assert pause(error("x", retry_after=0.0), drawn=0.5) == pytest.approx(0.1)


@pytest.mark.parametrize("error", [RateLimitError, ProviderUnavailableError])
def test_a_long_retry_after_is_not_waited_for(error: type[ProviderError]) -> None:
    """Somebody else can answer sooner."""
    assert pause(error("x", retry_after=2.1)) is None


def test_a_rate_limit_without_a_wish_is_not_retried() -> None:
    """Nobody knows how long to wait, so the next provider is asked."""
    assert pause(RateLimitError("x")) is None


def test_what_does_not_pass_is_not_retried() -> None:
    """A refused key is refused again."""
    assert pause(AuthenticationError("x")) is None
