"""Whom a call asks, worked out only as far as it is needed: the same as if all had been at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from typing_extensions import override

from amas.providers.errors import ProviderError
from amas.providers.manager.bulkhead import Bulkhead
from amas.providers.manager.candidates import Search
from amas.providers.manager.lineup import Lineup
from amas.providers.manager.member import Member
from amas.providers.manager.routing import make_request, own_arguments
from amas.providers.manager.rules import Rules
from amas.providers.manager.selection import STRATEGIES, priority
from amas.providers.testing import FakeProvider
from amas.providers.testing.fake_provider import FakeClock
from amas.providers.types import Capability

NAMES = "abcde"
STATES: dict[str, Callable[[Member], object]] = {
    "well": lambda member: None,
    "not ready": lambda member: setattr(member.provider, "initialized", False),
    "unhealthy": lambda member: setattr(member.provider, "healthy", False),
    "open": lambda member: member.trip(60.0),
    "doubtful": lambda member: member.doubt(),
    "full": lambda member: member.bulkhead.try_enter(),
    "no tools": lambda member: setattr(member.provider, "capabilities", frozenset()),
    "perhaps tools": lambda member: setattr(member.provider, "capabilities_complete", False),
    "small": lambda member: setattr(member.provider, "context_window", 2),
    "smaller": lambda member: setattr(member.provider, "context_window", 1),
}
ASKED = st.fixed_dictionaries(
    {},
    optional={
        "model": st.sampled_from(["m-a", "m-c", "m-x", "b", "c/m-x"]),
        "tools": st.just([{"type": "function", "function": {"name": "f"}}]),
        "temperature": st.just(0.5),
    },
)


def member(name: str, states: set[str], clock: FakeClock) -> Member:
    """Return a member in some states at once."""
    provider = FakeProvider(name, model=f"m-{name}", capabilities=frozenset({Capability.TOOLS}))
    provider.initialized = provider.healthy = True
    made = Member(provider, Rules(), clock, lambda: 0.5)
    made.bulkhead = Bulkhead(1, 0)
    for state in sorted(states):
        STATES[state](made)
    return made


def asked(
    look: Callable[[], tuple[Lineup, dict[str, dict[str, Any]]]],
) -> tuple[Any, ...]:
    """Return whom a call asks in turn if all fail, and with what; or its error."""
    try:
        lineup, arguments = look()
    except ProviderError as error:
        return type(error), error.message
    first = lineup.first_free()
    order = []
    while lineup:
        followed = lineup.is_followed()
        order.append((lineup.take_next().name, followed))
        followed = lineup.is_followed()
    return first and first.name, order, arguments, {item.name for item in lineup.everyone()}


@given(
    st.lists(st.sets(st.sampled_from(sorted(STATES)), max_size=2), min_size=1, max_size=5),
    ASKED,
    st.sampled_from(sorted(STRATEGIES)),
    st.booleans(),
)
@example([{"doubtful"}, set()], {}, "priority", False)
def test_the_same_are_asked_with_the_same(
    states: list[set[str]], params: dict[str, Any], strategy: str, failover: bool
) -> None:
    """In the same order, told in the same way whether somebody follows, whatever state they are in."""
    clock = FakeClock()
    chain = [member(name, mine, clock) for name, mine in zip(NAMES, states, strict=False)]
    names = [item.name for item in chain]
    request = make_request("x" * 12, params, known=names, now=clock(), seconds=10)
    search = Search(request, chain, STRATEGIES[strategy], lambda: 0.5, failover)

    def at_once() -> tuple[Lineup, dict[str, dict[str, Any]]]:
        candidates = search.candidates()
        return Lineup(candidates), own_arguments(request, candidates)

    assert asked(search.line_up) == asked(at_once)


class Counted(Member):
    """Counts how often somebody looks whether it takes part."""

    looks = 0

    @property
    @override
    def ready(self) -> bool:
        """Whether it takes part."""
        Counted.looks += 1
        return super().ready


@pytest.mark.parametrize("params", [{}, {"model": "m-p0"}, {"model": "p1/other"}])
def test_of_many_providers_only_some_are_looked_at(params: dict[str, Any]) -> None:
    """A call that is answered at once looks at no more of 300 providers than of three."""

    def looks(count: int) -> int:
        clock = FakeClock()
        chain = []
        for number in range(count):
            provider = FakeProvider(f"p{number}", model=f"m-p{number}")
            provider.initialized = provider.healthy = True
            chain.append(Counted(provider, Rules(), clock, lambda: 0.5))
        known = [item.name for item in chain]
        request = make_request("x", params, known=known, now=clock(), seconds=10)
        Counted.looks = 0
        lineup, _ = Search(request, chain, priority, lambda: 0.5).line_up()
        lineup.first_free()
        lineup.take_next()
        assert lineup.is_followed()
        return Counted.looks

    assert looks(300) == looks(3) > 0
