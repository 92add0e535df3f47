"""Counting in a sliding window of ten buckets."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amas.providers.manager.sliding_window import Window


def test_a_new_window_is_empty() -> None:
    """Nothing has been counted, at any time."""
    assert Window().counts(0.0, 60.0) == (0, 0)
    assert Window().counts(1e9, 60.0) == (0, 0)


def test_good_and_bad_are_counted_apart() -> None:
    """Each by as many as given, in one bucket and over several."""
    window = Window().add(1.0, 60.0, good=2).add(1.5, 60.0, bad=3).add(20.0, 60.0, good=1, bad=1)
    assert window.counts(20.0, 60.0) == (3, 4)


def test_adding_leaves_the_old_window_as_it_is() -> None:
    """A window is a value."""
    window = Window().add(1.0, 60.0, good=1)
    window.add(2.0, 60.0, good=5)
    assert window.counts(2.0, 60.0) == (1, 0)
    assert window == Window(((0, 1, 0),))


@pytest.mark.parametrize(
    ("age", "counts"), [(0.0, (1, 0)), (53.9, (1, 0)), (60.0, (0, 0)), (1e6, (0, 0))]
)
def test_what_is_too_old_does_not_count(age: float, counts: tuple[int, int]) -> None:
    """Nine tenths of the window's length count for certain, its whole length does not."""
    assert Window().add(100.0, 60.0, good=1).counts(100.0 + age, 60.0) == counts


def test_the_window_slides_by_a_tenth() -> None:
    """One of a call each second goes out with every bucket, not all of them at once."""
    window = Window()
    for second in range(60):
        window = window.add(float(second), 60.0, good=1)
    assert [window.counts(60.0 + 6 * step, 60.0)[0] for step in range(11)] == [
        *(54, 48, 42, 36, 30, 24, 18, 12, 6, 0, 0),
    ]


def test_too_old_buckets_are_dropped() -> None:
    """However much is counted, ten buckets hold it."""
    window = Window()
    for tenth in range(10_000):
        window = window.add(tenth / 10, 60.0, good=1)
    assert len(window.buckets) == 10


def test_the_buckets_of_another_length_are_lost_and_do_no_harm() -> None:
    """After a change of the length counting begins anew, and nothing stays for ever."""
    window = Window().add(6000.0, 60.0, bad=7)
    longer = window.add(6000.0, 600.0, good=1)
    assert longer.counts(6000.0, 600.0) == (1, 0)
    shorter = window.add(6000.0, 6.0, good=1)
    assert shorter.counts(6000.0, 6.0) == (1, 0)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    start=st.floats(0, 1e6),
    seconds=st.floats(0.5, 3600),
    events=st.lists(
        st.tuples(st.floats(0, 0.6), st.integers(0, 3), st.integers(0, 3)), max_size=40
    ),
    rest=st.floats(0, 1.2),
)
def test_it_agrees_with_a_list_but_for_the_oldest_bucket(
    start: float, seconds: float, events: list[tuple[float, int, int]], rest: float
) -> None:
    """Counts lie between those of the last 90% and of the last 100% of the window's length."""
    window, now, kept = Window(), start, list[tuple[float, int, int]]()
    for pause, good, bad in events:
        now += pause * seconds
        window = window.add(now, seconds, good=good, bad=bad)
        kept.append((now, good, bad))
    now += rest * seconds
    counts = window.counts(now, seconds)
    for place in (1, 2):
        sure = sum(event[place] for event in kept if now - event[0] < seconds * (0.9 - 1e-6))
        most = sum(event[place] for event in kept if now - event[0] < seconds * (1 + 1e-6))
        assert sure <= counts[place - 1] <= most
