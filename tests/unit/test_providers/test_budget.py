"""The budget for retries and hedges."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amas.providers.manager.budget import Budget
from amas.providers.testing.fake_provider import FakeClock


def taken(budget: Budget, asked: int) -> int:
    """Return how many of so many extras are allowed."""
    return sum(budget.take() for _ in range(asked))


def requested(budget: Budget, number: int) -> None:
    """Send so many first requests."""
    for _ in range(number):
        budget.note_request()


@pytest.mark.parametrize(
    ("requests", "allowed"), [(0, 10), (1, 10), (50, 10), (55, 11), (59, 11), (1000, 200)]
)
def test_extras_are_a_share_of_the_requests_or_the_reserve(requests: int, allowed: int) -> None:
    """A quiet service has its ten retries a minute, a busy one a fifth of its requests."""
    budget = Budget(0.2, 10, FakeClock())
    requested(budget, requests)
    assert taken(budget, 1000) == allowed


def test_a_refused_extra_is_not_counted() -> None:
    """However often one asks in vain, the next requests bring new extras."""
    budget = Budget(0.5, 0, FakeClock())
    assert taken(budget, 100) == 0
    requested(budget, 2)
    assert taken(budget, 100) == 1


def test_extras_do_not_allow_extras() -> None:
    """Only first requests count for the share: retries of retries do not feed themselves."""
    budget = Budget(1.0, 0, FakeClock())
    requested(budget, 5)
    assert taken(budget, 5) == 5
    assert not budget.take()


def test_the_reserve_comes_back_after_the_window() -> None:
    """Extras of a minute ago are not held against anybody, extras of less are."""
    clock = FakeClock()
    budget = Budget(0.2, 3, clock)
    assert taken(budget, 5) == 3
    clock.now += 59.9
    assert taken(budget, 5) == 0
    clock.now += 0.1
    assert taken(budget, 5) == 3


def test_requests_of_yesterday_allow_nothing() -> None:
    """Traffic counts as long as the window is."""
    clock = FakeClock()
    budget = Budget(0.2, 1, clock, window=10.0)
    requested(budget, 1000)
    clock.now += 10
    assert taken(budget, 1000) == 1


def test_without_share_and_reserve_there_are_none() -> None:
    """A budget of nothing is a way to switch extras off."""
    budget = Budget(0.0, 0, FakeClock())
    requested(budget, 1000)
    assert not budget.take()


def test_nothing_is_kept_of_what_is_long_over() -> None:
    """A long-running service does not pile up the times of its extras."""
    clock = FakeClock()
    budget = Budget(0.2, 5, clock)
    for _ in range(1000):
        clock.now += 7
        budget.take()
    assert len(budget._extras) <= 5


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    share=st.sampled_from([0.0, 0.1, 0.2, 0.5, 1.0]),
    reserve=st.integers(0, 4),
    steps=st.lists(
        st.tuples(st.floats(0, 25), st.integers(0, 20), st.integers(0, 12)), max_size=30
    ),
)
def test_extras_never_exceed_the_budget(
    share: float, reserve: int, steps: list[tuple[float, int, int]]
) -> None:
    """In every window that ends with an extra they are within share and reserve; the reserve is sure."""
    clock = FakeClock()
    budget = Budget(share, reserve, clock)
    requests, extras = list[float](), list[float]()
    for pause, number, asked in steps:
        clock.now += pause
        requested(budget, number)
        requests += [clock.now] * number
        allowed = taken(budget, asked)
        extras += [clock.now] * allowed
        within = sum(clock.now - at < 60 for at in extras)
        limit = max(reserve, share * sum(clock.now - at < 60 for at in requests))
        if allowed:
            assert within <= limit
        if allowed < asked:
            sure = max(reserve, share * sum(clock.now - at < 53.9 for at in requests))
            assert within > sure - 1
