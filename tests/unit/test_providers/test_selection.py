"""The orders in which providers are asked."""

from __future__ import annotations

import itertools
import math
import random
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amas.config import manager_schema
from amas.providers.errors import InvalidRequestError
from amas.providers.manager.selection import (
    STRATEGIES,
    Standing,
    Strategy,
    cheapest,
    fastest,
    find_strategy,
    intelligent,
    least_busy,
    priority,
    round_robin,
    weighted,
)

PICKS = 10_000
AMOUNTS = st.floats(0, allow_nan=False, allow_infinity=False)
STANDINGS = st.lists(
    st.builds(
        Standing,
        name=st.text(min_size=1),
        weight=st.floats(0, exclude_min=True, allow_nan=False, allow_infinity=False),
        in_flight=st.integers(0, 2**63),
        last_picked=st.integers(0, 2**63),
        latency=st.none() | AMOUNTS,
        success_rate=st.none() | st.floats(0, 1),
        price=st.none() | AMOUNTS,
    ),
    unique_by=lambda standing: standing.name,
    max_size=6,
)
DRAWS = st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=8)
ANY_STRATEGY = pytest.mark.parametrize("strategy", STRATEGIES.values(), ids=STRATEGIES)


def refuse() -> float:
    """Stand in for the random source where nothing is to be left to chance."""
    raise AssertionError("a number was drawn")


def repeating(draws: Sequence[float]) -> Callable[[], float]:
    """Return a random source that gives these numbers again and again."""
    return itertools.cycle(draws).__next__


@dataclass
class Manager:
    """Does to the standings what the manager does from call to call."""

    strategy: Strategy
    standings: dict[str, Standing]
    draw: Callable[[], float] = refuse
    calls: int = 0
    picks: list[str] = field(default_factory=list)

    @classmethod
    def of(
        cls, strategy: Strategy, *standings: Standing, draw: Callable[[], float] = refuse
    ) -> Manager:
        """Begin with these standings, in fallback order."""
        return cls(strategy, {standing.name: standing for standing in standings}, draw)

    def call(self, without: str = "") -> str:
        """Begin a call of those not named, and return the first of them."""
        eligible = [item for item in self.standings.values() if item.name not in without]
        first = self.strategy(eligible, self.draw)[0]
        self.calls += 1
        self.change(first, last_picked=self.calls, in_flight=self.standings[first].in_flight + 1)
        self.picks.append(first)
        return first

    def change(self, name: str, **changes: Any) -> None:
        """Let something become known of one of them."""
        self.standings[name] = replace(self.standings[name], **changes)

    def end(self, name: str) -> None:
        """Let a request of one of them end."""
        self.change(name, in_flight=self.standings[name].in_flight - 1)

    def shares(self, picks: int = PICKS) -> dict[str, float]:
        """Return the share of each one of so many calls, each ended before the next."""
        for _ in range(picks):
            self.end(self.call())
        counts = Counter(self.picks)
        return {name: counts[name] / len(self.picks) for name in self.standings}


def spread(counts: Sequence[int]) -> int:
    """Return by how much the counts differ at most."""
    return max(counts) - min(counts)


@pytest.mark.usefixtures("uncovered")
@given(standings=STANDINGS, draws=DRAWS)
def test_every_strategy_returns_every_name_once(
    standings: list[Standing], draws: list[float]
) -> None:
    """An order leaves nobody out, has nobody twice and nobody who was not given."""
    names = sorted(standing.name for standing in standings)
    for name, strategy in STRATEGIES.items():
        assert sorted(strategy(standings, repeating(draws))) == names, name


@pytest.mark.usefixtures("uncovered")
@given(standings=STANDINGS, draws=DRAWS)
def test_every_strategy_is_pure(standings: list[Standing], draws: list[float]) -> None:
    """The same standings and draws give the same order, and stay as they are."""
    before = list(standings)
    for name, strategy in STRATEGIES.items():
        first = strategy(standings, repeating(draws))
        assert standings == before, name
        assert strategy(tuple(standings), repeating(draws)) == first, name


@pytest.mark.usefixtures("uncovered")
@given(standings=STANDINGS)
def test_only_two_strategies_leave_anything_to_chance(standings: list[Standing]) -> None:
    """The others draw no number, so their orders can be foretold."""
    for name in STRATEGIES.keys() - {"weighted", "intelligent"}:
        assert len(STRATEGIES[name](standings, refuse)) == len(standings), name


@ANY_STRATEGY
def test_every_strategy_copes_with_nobody_and_with_one(strategy: Strategy) -> None:
    """Nobody is no order, and one is its own."""
    assert strategy([], random.Random(1).random) == []
    assert strategy([Standing("a")], random.Random(1).random) == ["a"]


@ANY_STRATEGY
def test_every_strategy_is_fast(strategy: Strategy) -> None:
    """Ordering five providers takes far less than the tenth of a millisecond."""
    standings = [Standing(name, latency=1.0, success_rate=0.9, price=1.0) for name in "abcde"]
    draw = random.Random(1).random
    took = []
    for _ in range(200):
        begun = time.perf_counter()
        strategy(standings, draw)
        took.append(time.perf_counter() - begun)
    assert min(took) < 100e-6


@pytest.mark.usefixtures("uncovered")
@given(standings=STANDINGS)
def test_priority_keeps_the_fallback_order(standings: list[Standing]) -> None:
    """Whatever is known of them, it is the same for every call."""
    assert priority(standings, refuse) == [standing.name for standing in standings]


def test_round_robin_begins_with_the_least_recently_picked() -> None:
    """The others follow by the same rule, and those never picked in fallback order."""
    standings = [
        Standing("a", last_picked=7),
        Standing("b"),
        Standing("c", last_picked=5),
        Standing("d"),
    ]
    assert round_robin(standings, refuse) == ["b", "d", "c", "a"]


def test_round_robin_is_exact_over_many_calls() -> None:
    """After every single call the counts of all differ by one at most."""
    manager = Manager.of(round_robin, *map(Standing, "abc"))
    counts = dict.fromkeys("abc", 0)
    for _ in range(PICKS):
        counts[manager.call()] += 1
        assert spread(list(counts.values())) <= 1


def test_round_robin_stays_exact_when_one_goes_and_comes_back() -> None:
    """The two that are left share evenly, and so do all three once it is back."""
    manager = Manager.of(round_robin, *map(Standing, "abc"))
    for without in ["", "b", ""]:
        counts = {name: 0 for name in "abc" if name not in without}
        for _ in range(PICKS // 3):
            counts[manager.call(without)] += 1
            assert spread(list(counts.values())) <= 1


def test_who_comes_back_has_one_turn_and_no_more() -> None:
    """One that was away is first once, and then waits for its turn like the others."""
    manager = Manager.of(round_robin, *map(Standing, "abc"))
    for _ in range(101):
        manager.call(without="b")
    assert "".join(manager.call() for _ in range(7)) == "bcabcab"


@pytest.mark.usefixtures("uncovered")
@given(away=st.lists(st.sampled_from(["", "a", "b", "c", "ab", "bc", "ac", "bcd"]), max_size=60))
def test_round_robin_passes_nobody_over(away: list[str]) -> None:
    """However they come and go, nobody has two turns while another waits for its one."""
    manager = Manager.of(round_robin, *map(Standing, "abcd"))
    for without in away:
        manager.call(without)
    for call, name in enumerate(manager.picks):
        if name not in manager.picks[:call]:
            continue
        since = call - manager.picks[:call][::-1].index(name)
        present = set("abcd").difference(*away[since : call + 1])
        assert present <= {name, *manager.picks[since:call]}


@pytest.mark.parametrize(
    "weights",
    [(1, 1), (1, 3), (0.7, 0.3), (1, 1, 1), (5, 3, 2), (1e-9, 3e-9), (90, 9, 1), (1, 2, 3, 4)],
    ids=str,
)
def test_weighted_shares_are_in_proportion(weights: tuple[float, ...]) -> None:
    """Over many calls each is first as often as its weight says, within 3 percent."""
    standings = [Standing(str(place), weight=weight) for place, weight in enumerate(weights)]
    shares = Manager.of(weighted, *standings, draw=random.Random(1).random).shares()
    for standing in standings:
        expected = standing.weight / sum(weights)
        assert abs(shares[standing.name] - expected) <= 0.03
        if expected > 0.2:
            assert abs(shares[standing.name] / expected - 1) <= 0.03


def test_weighted_draws_the_second_in_proportion_too() -> None:
    """What the first one leaves, when it fails, goes to the others by their weights."""
    standings = [Standing("a", weight=6), Standing("b", weight=3), Standing("c", weight=1)]
    draw = random.Random(1).random
    orders = Counter("".join(weighted(standings, draw)) for _ in range(PICKS))
    assert len(orders) == 6
    assert orders["abc"] / (orders["abc"] + orders["acb"]) == pytest.approx(3 / 4, abs=0.03)
    assert orders["bac"] / (orders["bac"] + orders["bca"]) == pytest.approx(6 / 7, abs=0.03)


@pytest.mark.parametrize("weight", [math.ulp(0.0), 1e-300, 1e300, 1.7e308])
def test_equal_weights_are_equal_at_any_size(weight: float) -> None:
    """Weights at the end of what a number can be still share evenly."""
    standings = [Standing(name, weight=weight) for name in "ab"]
    shares = Manager.of(weighted, *standings, draw=random.Random(1).random).shares()
    assert shares == pytest.approx({"a": 0.5, "b": 0.5}, abs=0.03)


@pytest.mark.parametrize("draw", [0.0, math.ulp(0.0), 0.5, math.nextafter(1.0, 0.0)])
def test_the_heavier_one_wins_at_equal_draws(draw: float) -> None:
    """Also at the ends of the random source, where a logarithm would not be finite."""
    standings = [Standing("a", weight=1.0), Standing("b", weight=2.0), Standing("c", weight=1e-320)]
    assert weighted(standings, lambda: draw) == ["b", "a", "c"]


def test_least_busy_begins_with_the_fewest_in_flight() -> None:
    """Among equally busy ones the least recently picked is first, then the fallback order."""
    standings = [
        Standing("a", in_flight=2),
        Standing("b", in_flight=1, last_picked=9),
        Standing("c", in_flight=1, last_picked=3),
        Standing("d", in_flight=1, last_picked=3),
        Standing("e"),
    ]
    assert least_busy(standings, refuse) == ["e", "c", "d", "b", "a"]


@given(begins=st.lists(st.booleans(), max_size=200))
def test_least_busy_keeps_the_loads_together(begins: list[bool]) -> None:
    """While requests end in the order they began in, the loads differ by one at most."""
    manager = Manager.of(least_busy, *map(Standing, "abc"))
    running: deque[str] = deque()
    for begin in begins:
        if begin:
            running.append(manager.call())
        elif running:
            manager.end(running.popleft())
        assert spread([item.in_flight for item in manager.standings.values()]) <= 1


@given(loads=st.lists(st.integers(0, 20), min_size=1, max_size=5))
def test_least_busy_evens_out_any_loads(loads: list[int]) -> None:
    """New calls fill up whoever has less, until there is no more than one between them."""
    standings = [Standing(str(place), in_flight=load) for place, load in enumerate(loads)]
    manager = Manager.of(least_busy, *standings)
    for _ in range(sum(max(loads) - load for load in loads)):
        manager.call()
    assert spread([item.in_flight for item in manager.standings.values()]) == 0


def test_least_busy_takes_turns_when_all_are_idle() -> None:
    """Calls one after the other do not all go to the first of the fallback order."""
    assert Manager.of(least_busy, *map(Standing, "abcd")).shares() == dict.fromkeys("abcd", 0.25)


def test_fastest_begins_with_the_shortest_latency() -> None:
    """Among equally fast ones the least recently picked is first."""
    standings = [
        Standing("a", latency=0.9),
        Standing("b", latency=0.2, last_picked=8),
        Standing("c", latency=0.2, last_picked=4),
        Standing("d", latency=0.0),
    ]
    assert fastest(standings, refuse) == ["d", "c", "b", "a"]


def test_fastest_stays_with_the_shorter_one() -> None:
    """While nothing changes, every call goes to it."""
    manager = Manager.of(fastest, Standing("a", latency=0.3), Standing("b", latency=0.2))
    assert manager.shares(100) == {"a": 0.0, "b": 1.0}


def test_an_unknown_latency_is_first_when_idle_and_else_last() -> None:
    """It is found out with one request, and never with a second one beside it."""
    standings = [
        Standing("a", in_flight=1),
        Standing("b", latency=5.0, in_flight=9),
        Standing("c", last_picked=2),
        Standing("d", last_picked=1),
    ]
    assert fastest(standings, refuse) == ["d", "c", "b", "a"]


def test_a_burst_explores_each_unknown_once() -> None:
    """The rest of the burst goes to the one that is known, until the others have answered."""
    manager = Manager.of(fastest, *map(Standing, "abc"), Standing("d", latency=1.0))
    assert [manager.call() for _ in range(50)] == ["a", "b", "c", *"d" * 47]
    for name, latency in [("a", 2.0), ("b", 0.5)]:
        manager.end(name)
        manager.change(name, latency=latency)
    manager.end("c")  # it has failed, and is as unknown as before
    assert [manager.call() for _ in range(10)] == ["c", *"b" * 9]


def test_a_burst_among_nothing_but_unknown_ones_takes_turns() -> None:
    """With all of them busy, none is known to be faster."""
    manager = Manager.of(fastest, *map(Standing, "abc"))
    assert [manager.call() for _ in range(7)] == list("abcabca")


@pytest.mark.usefixtures("uncovered")
@pytest.mark.parametrize(
    "bad",
    [
        {"latency": 2.0},
        {"success_rate": 0.5},
        {"success_rate": 0.0},
        {"in_flight": 1},
        {"latency": 1.01, "in_flight": 1, "success_rate": 0.9},
    ],
    ids=str,
)
def test_intelligent_keeps_away_from_the_bad_one(bad: dict[str, float]) -> None:
    """One that is slow, failing or busy among sound ones is never first, and is last."""
    sound = [Standing(name, latency=1.0, success_rate=1.0) for name in "abc"]
    worse = replace(Standing("x", latency=1.0, success_rate=1.0), **bad)  # type: ignore[arg-type]
    standings = [worse, *sound]
    shares = Manager.of(intelligent, *standings, draw=random.Random(1).random).shares()
    assert shares.pop("x") == 0
    assert shares == pytest.approx(dict.fromkeys("abc", 1 / 3), abs=0.03)
    assert intelligent(standings, random.Random(1).random)[-1] == "x"


@pytest.mark.usefixtures("uncovered")
def test_intelligent_spreads_over_equals() -> None:
    """Five of which the same is known have a fifth of the calls each, within 3 percent."""
    standings = [Standing(name, latency=0.5, success_rate=0.9) for name in "abcde"]
    shares = Manager.of(intelligent, *standings, draw=random.Random(1).random).shares()
    assert shares == pytest.approx(dict.fromkeys("abcde", 0.2), abs=0.03)


@pytest.mark.usefixtures("uncovered")
def test_no_more_than_two_draws_decide() -> None:
    """Each is first as often as it is the better of two, so that not all run to the best."""
    standings = [Standing(name, latency=latency) for latency, name in enumerate("abcd", 1)]
    shares = Manager.of(intelligent, *standings, draw=random.Random(1).random).shares()
    assert shares == pytest.approx({"a": 3 / 6, "b": 2 / 6, "c": 1 / 6, "d": 0}, abs=0.03)


@pytest.mark.usefixtures("uncovered")
@given(standings=STANDINGS)
def test_intelligent_draws_two_numbers(standings: list[Standing]) -> None:
    """However many there are; none where there is nothing to choose."""
    drawn: list[float] = []

    def draw() -> float:
        drawn.append(0.5)
        return 0.5

    intelligent(standings, draw)
    assert len(drawn) == (2 if len(standings) > 1 else 0)


@pytest.mark.parametrize(
    ("draws", "first"),
    [
        ((0.0, 0.0), "a"),  # a and b
        ((0.0, 0.99), "a"),  # a and c
        ((0.4, 0.0), "a"),  # b and a
        ((0.4, 0.99), "b"),  # b and c
        ((0.99, 0.0), "a"),  # c and a
        ((0.99, 0.99), "b"),  # c and b
    ],
)
def test_the_two_that_are_drawn_differ(draws: tuple[float, float], first: str) -> None:
    """Every pair can be drawn, in either order, and the better of it is first."""
    standings = [
        Standing("a", latency=0.001),
        Standing("b", latency=0.002),
        Standing("c", latency=3),
    ]
    assert intelligent(standings, repeating(draws))[0] == first


def test_the_rest_follows_from_best_to_worst() -> None:
    """Behind the first come all others by what they cost, then least recently picked."""
    standings = [
        Standing("failing", latency=0.1, success_rate=0.0),
        Standing("slow", latency=9.0),
        Standing("picked", latency=2.0, last_picked=4),
        Standing("busy", latency=0.5, in_flight=9),
        Standing("waiting", latency=2.0, last_picked=3),
        Standing("shaky", latency=1.0, success_rate=0.25),
    ]
    drawn = repeating([0.2, 0.0])  # slow and failing
    order = ["slow", "waiting", "picked", "shaky", "busy", "failing"]
    assert intelligent(standings, drawn) == order


def test_the_unknown_is_taken_to_be_good() -> None:
    """An unknown latency counts as the shortest known one, an unknown success rate as whole."""
    standings = [
        Standing("known", latency=1.0, success_rate=0.9),
        Standing("unknown"),
        Standing("slow", latency=2.0),
    ]
    for draws in [(0.0, 0.0), (0.4, 0.0)]:  # known and unknown, in either order
        assert intelligent(standings, repeating(draws)) == ["unknown", "known", "slow"]


def test_load_decides_where_nothing_else_is_known() -> None:
    """Of two strangers the less busy one is first."""
    standings = [Standing("a", in_flight=2), Standing("b", in_flight=1)]
    assert intelligent(standings, repeating([0.0])) == ["b", "a"]


def test_a_latency_of_zero_hides_neither_load_nor_failures() -> None:
    """Someone who fails at once, or is overrun, is not the best for it."""
    failing = Standing("failing", latency=0.0, success_rate=0.0)
    busy = Standing("busy", latency=0.0, in_flight=10)
    sound = Standing("sound", latency=0.0, success_rate=1.0)
    assert intelligent([failing, busy, sound], repeating([0.4, 0.99])) == [
        *("sound", "busy", "failing"),
    ]


def test_whoever_fails_always_is_last_at_any_load() -> None:
    """Neither two minutes of latency nor a thousand requests under way are worse."""
    failing = Standing("failing", latency=0.01, success_rate=0.0)
    overrun = Standing("overrun", latency=120.0, success_rate=0.01, in_flight=1000)
    assert intelligent([failing, overrun], repeating([0.0])) == ["overrun", "failing"]


def test_intelligent_spreads_a_burst() -> None:
    """What is under way counts, so that a faster one gets more calls but not all of them."""
    standings = [Standing("a", latency=1.0), Standing("b", latency=1.0), Standing("c", latency=3.0)]
    manager = Manager.of(intelligent, *standings, draw=random.Random(1).random)
    for _ in range(700):
        manager.call()
    counts = Counter(manager.picks)
    assert counts["a"] == pytest.approx(300, abs=10)
    assert counts["b"] == pytest.approx(300, abs=10)
    assert counts["c"] == pytest.approx(100, abs=10)


def test_cheapest_begins_with_the_lowest_price() -> None:
    """What costs nothing is first, an unknown price last, equals in fallback order."""
    standings = [
        Standing("unknown"),
        Standing("dear", price=0.5, last_picked=1),
        Standing("cheap", price=0.001, last_picked=9),
        Standing("also cheap", price=0.001, last_picked=2),
        Standing("unknown too"),
        Standing("free", price=0.0),
    ]
    order = ["free", "cheap", "also cheap", "dear", "unknown", "unknown too"]
    assert cheapest(standings, refuse) == order


@pytest.mark.usefixtures("uncovered")
@given(standings=STANDINGS)
def test_an_unknown_price_is_never_before_a_known_one(standings: list[Standing]) -> None:
    """Whatever the prices are, those known come first, from low to high."""
    prices = {standing.name: standing.price for standing in standings}
    ordered = [prices[name] for name in cheapest(standings, refuse)]
    known = [price for price in ordered if price is not None]
    assert ordered[: len(known)] == sorted(known)


def test_the_strategies_are_those_of_the_configuration() -> None:
    """No name that a file may give is missing here, and none is here that it may not give."""
    assert set(STRATEGIES) == set(get_args(manager_schema.Strategy))


@pytest.mark.parametrize("name", list(STRATEGIES))
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
