"""The orders in which providers are asked."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amas.providers.errors import InvalidRequestError
from amas.providers.manager.selection import STRATEGIES, find_strategy, priority, round_robin

NAMES = st.lists(st.text(min_size=1), unique=True, max_size=6)


@given(names=NAMES, call=st.integers(0, 1000))
def test_every_strategy_returns_every_name_once(names: list[str], call: int) -> None:
    """An order leaves nobody out and nobody twice."""
    for strategy in STRATEGIES.values():
        assert Counter(strategy(names, call)) == Counter(names)


@given(names=NAMES, call=st.integers(0, 1000))
def test_priority_keeps_the_fallback_order(names: list[str], call: int) -> None:
    """It is the same for every call."""
    assert priority(names, call) == names


def test_round_robin_begins_one_further_each_time() -> None:
    """Each provider is the first one equally often, and the others follow in order."""
    orders = ["".join(round_robin(["a", "b", "c"], call)) for call in range(6)]
    assert orders == ["abc", "bca", "cab", "abc", "bca", "cab"]


@pytest.mark.parametrize("name", ["priority", "round_robin"])
def test_strategies_are_found_by_name(name: str) -> None:
    """The names of the configuration are the names here."""
    assert find_strategy(name) is STRATEGIES[name]


def test_an_unknown_strategy_is_refused_with_a_suggestion() -> None:
    """The error names what there is, and what was perhaps meant."""
    with pytest.raises(InvalidRequestError, match=r"did you mean 'priority'.*round_robin"):
        find_strategy("prioritty")


@pytest.mark.parametrize("name", ["zzz", None, [], {}])
def test_whatever_is_no_strategy_is_refused(name: Any) -> None:
    """Also what could not even be looked up."""
    with pytest.raises(InvalidRequestError, match="unknown strategy"):
        find_strategy(name)
