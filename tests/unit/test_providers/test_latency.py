"""The decaying average and the percentiles of latencies."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amas.providers.manager.latency import Latencies
from amas.providers.testing.fake_provider import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    """Return a clock that is moved by hand."""
    return FakeClock()


@pytest.fixture
def latencies(clock: FakeClock) -> Latencies:
    """Return latencies of which nothing is known."""
    return Latencies(clock)


def test_nothing_is_known_at_first(latencies: Latencies) -> None:
    """No average, no percentile, no samples."""
    assert latencies.average is None
    assert latencies.percentile(0.95) is None
    assert latencies.samples == 0


def test_nothing_is_known_at_the_clocks_zero() -> None:
    """A clock that has just started is no reason to believe in a latency of zero."""
    assert Latencies(FakeClock(0.0)).average is None


def test_the_average_decays(latencies: Latencies) -> None:
    """The first sample is the average, each further one moves it by a fifth of the way."""
    latencies.add(1.0)
    assert latencies.average == 1.0
    latencies.add(2.0)
    assert latencies.average == pytest.approx(1.2)
    latencies.add(0.2)
    assert latencies.average == pytest.approx(1.0)


def test_the_average_is_forgotten_after_a_while(latencies: Latencies, clock: FakeClock) -> None:
    """Five minutes without a sample, and it is unknown."""
    latencies.add(1.0)
    clock.now += 300
    assert latencies.average == 1.0
    clock.now += 0.1
    assert latencies.average is None


def test_what_is_forgotten_does_not_weigh_on_the_next_sample(
    latencies: Latencies, clock: FakeClock
) -> None:
    """After five minutes the average starts anew."""
    latencies.add(1.0)
    clock.now += 300.1
    latencies.add(9.0)
    assert latencies.average == 9.0


@pytest.mark.parametrize(
    ("share", "expected"),
    [(0.0, 1), (0.01, 1), (0.07, 7), (0.5, 50), (0.95, 95), (0.951, 96), (1.0, 100)],
)
def test_percentiles_are_of_the_nearest_rank(
    latencies: Latencies, share: float, expected: float
) -> None:
    """Of the latencies 1 to 100 the 95th percentile is 95, whatever their order."""
    for number in range(100):
        latencies.add(float(1 + number * 37 % 100))
    assert latencies.percentile(share) == expected


def test_a_percentile_of_one_sample_is_that_sample(latencies: Latencies) -> None:
    """Of whichever share."""
    latencies.add(0.5)
    assert [latencies.percentile(share) for share in (0.001, 0.5, 1.0)] == [0.5] * 3


def test_a_new_sample_counts_at_once(latencies: Latencies) -> None:
    """What is remembered between two questions does not outlive a sample."""
    latencies.add(1.0)
    assert latencies.percentile(1.0) == 1.0
    latencies.add(2.0)
    assert latencies.percentile(1.0) == 2.0


def test_percentiles_are_sorted_once_between_samples(latencies: Latencies) -> None:
    """Asking again, also for another share, sorts nothing."""
    latencies.add(2.0)
    latencies.add(1.0)
    latencies.percentile(0.5)
    first = latencies._sorted
    assert latencies.percentile(0.95) == 2.0
    assert latencies._sorted is first


def test_only_the_latest_samples_are_kept(clock: FakeClock) -> None:
    """The oldest one makes room for the newest one."""
    latencies = Latencies(clock, keep=3)
    for seconds in (9.0, 1.0, 2.0, 3.0):
        latencies.add(seconds)
    assert latencies.samples == 3
    assert latencies.percentile(1.0) == 3.0


def test_samples_that_are_too_old_do_not_count(latencies: Latencies, clock: FakeClock) -> None:
    """They leave the percentiles without a new sample coming, one after the other."""
    latencies.add(1.0)
    clock.now += 200
    latencies.add(9.0)
    assert latencies.percentile(0.5) == 1.0
    clock.now += 100
    assert (latencies.samples, latencies.percentile(0.5)) == (2, 1.0)
    clock.now += 0.1
    assert (latencies.samples, latencies.percentile(0.5)) == (1, 9.0)
    clock.now += 200
    assert (latencies.samples, latencies.percentile(0.5)) == (0, None)


def test_what_others_measured_is_taken_over(latencies: Latencies, clock: FakeClock) -> None:
    """It is the average, ages as one of our own, and is no sample."""
    latencies.adopt(2.0)
    assert latencies.average == 2.0
    assert latencies.samples == 0
    latencies.adopt(3.0)
    assert latencies.average == 3.0
    clock.now += 300.1
    assert latencies.average is None


def test_the_first_sample_goes_on_from_what_others_measured(latencies: Latencies) -> None:
    """One sample does not outweigh the many of the other process."""
    latencies.adopt(2.0)
    latencies.add(1.0)
    assert latencies.average == pytest.approx(1.8)


def test_what_others_measured_does_not_replace_our_own(
    latencies: Latencies, clock: FakeClock
) -> None:
    """Unless our own samples are too old."""
    latencies.add(1.0)
    latencies.adopt(2.0)
    assert latencies.average == 1.0
    clock.now += 300.1
    latencies.adopt(2.0)
    assert latencies.average == 2.0


@pytest.mark.parametrize("average", [-1.0, math.nan, math.inf])
def test_what_cannot_be_a_latency_is_not_taken_over(latencies: Latencies, average: float) -> None:
    """Another process may say anything."""
    latencies.adopt(average)
    assert latencies.average is None


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    samples=st.lists(st.tuples(st.floats(0, 90), st.floats(0, 60)), min_size=1, max_size=40),
    percent=st.integers(1, 100),
)
def test_it_agrees_with_the_definitions(samples: list[tuple[float, float]], percent: int) -> None:
    """At least the share of the fresh samples is within the percentile, and with no lesser one."""
    clock = FakeClock(0.0)
    latencies = Latencies(clock, keep=16)
    kept = list[tuple[float, float]]()
    for pause, seconds in samples:
        clock.now += pause
        latencies.add(seconds)
        kept.append((clock.now, seconds))
    fresh = [seconds for at, seconds in kept[-16:] if clock.now - at <= 300]
    found = latencies.percentile(percent / 100)
    enough = [
        value
        for value in fresh
        if Fraction(sum(other <= value for other in fresh), len(fresh)) >= Fraction(percent, 100)
    ]
    assert latencies.samples == len(fresh)
    assert found == min(enough)
    average = latencies.average
    assert average is not None
    assert min(seconds for _, seconds in kept) - 1e-9 <= average
    assert average <= max(seconds for _, seconds in kept) + 1e-9
