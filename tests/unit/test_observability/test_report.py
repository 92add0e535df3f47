"""What the records add up to, and what the report says of it."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from amas.providers.observability.report import summing
from amas.providers.observability.report.calls import read_call
from amas.providers.observability.report.figures import Figures
from amas.providers.observability.report.findings import findings
from amas.providers.observability.report.samples import (
    Moment,
    Moments,
    Sample,
    percentile,
)
from amas.providers.observability.report.summing import OTHERS, look_back, summarize
from amas.providers.observability.report.tables import tables
from amas.providers.observability.report.wording import (
    cost,
    count,
    duration,
    moment,
    money,
    plain,
    share,
    short,
    span,
)

pytestmark = pytest.mark.usefixtures("uncovered")

END = datetime(2026, 11, 24, 6, tzinfo=UTC)
DAY = timedelta(days=1)


def attempt(provider: str, ms: float = 100.0, outcome: str = "ok", **more: Any) -> dict[str, Any]:
    """Make the record of an attempt."""
    return {"provider": provider, "outcome": outcome, "ms": ms, **more}


def call(at: datetime, *attempts: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Make the record of a call, with what its last attempt says where nothing else is said."""
    last = attempts[-1] if attempts else {}
    return {
        "time": at.isoformat(),
        "kind": "call",
        "provider": last.get("provider"),
        "outcome": last.get("outcome", "ok"),
        "latency_ms": sum(each["ms"] for each in attempts),
        "attempts": list(attempts),
        **fields,
    }


def summed(records: Iterable[dict[str, Any]], length: timedelta = DAY) -> Figures:
    """Add up the records of a time that ends at six."""
    return summarize(records, END - length, END)


def every(seconds: float, length: timedelta = DAY) -> list[datetime]:
    """Return times at a steady pace up to six."""
    many = int(length.total_seconds() / seconds)
    return [END - length + timedelta(seconds=seconds * each) for each in range(many)]


# --- percentiles ----------------------------------------------------------------------------------


def test_percentiles_are_exact_values() -> None:
    """A percentile is the smallest value that the share of all values does not exceed."""
    sample = Sample(random.Random(1))
    for value in random.Random(2).sample(range(1, 101), 100):
        sample.add(float(value))
    assert [sample.percentile(each) for each in (0.01, 0.5, 0.95, 1.0)] == [1, 50, 95, 100]
    assert Sample(random.Random(1)).percentile(0.5) is None


def test_beyond_the_limit_a_fair_choice_is_kept() -> None:
    """With more values than are kept, percentiles are near, and the same each time."""

    def drawn() -> Sample:
        sample = Sample(random.Random(1), limit=1_000)
        for value in range(20_000):
            sample.add(float(value))
        return sample

    middle = drawn().percentile(0.5)
    assert middle == pytest.approx(10_000, rel=0.1)
    assert middle == drawn().percentile(0.5)
    assert drawn().seen == 20_000


def test_samples_weigh_as_much_as_they_have_seen() -> None:
    """Values of a sample that keeps few count for all that it has seen."""
    few, many = Sample(random.Random(1), limit=10), Sample(random.Random(1), limit=1_000)
    for _ in range(3_000):
        few.add(1.0)
    for _ in range(1_000):
        many.add(2.0)
    assert percentile([few, many], 0.74) == 1.0
    assert percentile([few, many], 0.76) == 2.0


# --- words ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (duration(None), "-"),
        (duration(12.4), "12 ms"),
        (duration(8_100), "8.1 s"),
        (duration(600_000), "10.0 min"),
        (money(0), "$0.00"),
        (money(1234.5), "$1,234.50"),
        (money(0.0123), "$0.0123"),
        (money(0.0000012), "< $0.0001"),
        (cost(1.5, 3, 2), "$1.50"),
        (cost(0, 0, 2), "unknown"),
        (cost(0, 0, 0), "-"),
        (share(0, 0), "-"),
        (share(0, 7), "0 %"),
        (share(7, 7), "100 %"),
        (share(1, 3), "33.3 %"),
        (share(1, 100_000), "<0.1 %"),
        (count(1, "call"), "1 call"),
        (count(1234, "call"), "1,234 calls"),
        (span(86_400), "24 hours"),
        (span(2 * 86_400), "2 days"),
        (span(5_400), "90 minutes"),
        (span(0.5), "0.5 seconds"),
        (span(2.617 * 86_400), "2.6 days"),
        (short(14_271_565), "14.3 M"),
        (short(9_000_000_000), "9.0 G"),
        (short(999_999), "999,999"),
        (moment(END.timestamp() - 60, END.timestamp()), "05:59"),
        (moment(END.timestamp() - 86_400, END.timestamp()), "23 Nov 06:00"),
        (moment(END.timestamp() - 400 * 86_400, END.timestamp()), "2025-10-20 06:00"),
    ],
)
def test_figures_are_written_for_people(written: str, text: str) -> None:
    """Every figure has a form that is read at a glance."""
    assert written == text


def test_foreign_texts_do_nothing_to_a_terminal() -> None:
    """Control characters, lines, changes of direction and half characters come out as escapes."""
    assert plain("a\x1b[31m\n\u202e\x9b\ud800é") == r"a\x1b[31m\n\u202e\x9b\ud800é"
    assert plain("x" * 500) == "x" * 120 + "…"


# --- calls ----------------------------------------------------------------------------------------


def test_a_call_is_told_by_the_providers_that_it_asked() -> None:
    """Each provider has its own attempts; what was cancelled and hedged is no failure."""
    found = read_call(
        call(
            END,
            attempt("a", 10_000, "timeout"),
            attempt("a", 5, "unavailable"),
            attempt("b", 300, "cancelled"),
            attempt("c", 200, hedge=True),
        )
    )
    told = {each.provider: (each.failed, each.left, each.waits) for each in found.asked}
    assert told == {
        "a": (True, True, (10_000.0,)),
        "b": (False, False, ()),
        "c": (False, False, (200.0,)),
    }
    assert (found.failed, found.moved) == (False, True)


def test_a_hedge_after_a_failure_is_no_failover() -> None:
    """A request that was sent beside a slow one did not come from its failure."""
    hedged = call(END, attempt("a", 5, "unavailable"), attempt("b", 9, hedge=True))
    assert not read_call(hedged).moved


@pytest.mark.parametrize(
    ("fields", "usd", "unpriced"),
    [
        ({"cost_usd": 0.5}, 0.5, 0),
        ({"cost_usd": 0}, 0.0, 0),
        ({"cost_usd": None}, None, 1),
        ({}, None, 1),
        ({"outcome": "unavailable"}, None, 0),
        ({"outcome": "unavailable", "cost_usd": None}, None, 1),
        ({"cost_usd": -1}, None, 1),
        ({"cost_usd": True}, None, 1),
        ({"cost_usd": 10**400}, None, 1),
        ({"cost_usd": 1e999}, None, 1),
    ],
    ids=[
        *("known", "free", "unknown", "absent", "failed", "failed-unknown"),
        *("negative", "no-number", "huge", "infinite"),
    ],
)
def test_a_cost_is_known_or_unknown_and_never_0_instead(
    fields: dict[str, Any], usd: float | None, unpriced: int
) -> None:
    """An answer without a usable price is of unknown cost."""
    found = read_call(call(END, attempt("a"), **fields))
    assert found.cost_usd == usd
    assert found.unpriced == (("a", "(none)"),) * unpriced


@pytest.mark.parametrize(
    ("outcomes", "fields", "unpriced"),
    [
        (["timeout", "ok"], {"cost_usd": 0.5}, ["p0"]),
        (["cancelled", "ok"], {"cost_usd": None}, ["p0", "p1"]),
        (["unavailable", "ok"], {"cost_usd": 0.5}, []),
        (["timeout", "stream_interrupted", "cancelled"], {}, ["p0", "p1", "p2"]),
        (["stream_interrupted"], {"cost_usd": 0.1}, []),
        (["stream_interrupted"], {"cost_usd": None}, ["p0"]),
        ([], {"provider": "p", "outcome": "timeout"}, ["p"]),
        ([], {"outcome": "timeout"}, []),
    ],
    ids=[
        *("timed-out-first", "hedge", "failed-first", "all-early", "price-of-a-part"),
        *("part", "no-attempts", "nobody-asked"),
    ],
)
def test_a_request_that_ended_early_is_of_unknown_cost(
    outcomes: list[str], fields: dict[str, Any], unpriced: list[str]
) -> None:
    """What was timed out, cancelled, overtaken or broken off may be billed, and is counted once."""
    sent = [attempt(f"p{place}", outcome=each) for place, each in enumerate(outcomes)]
    assert [name for name, _ in read_call(call(END, *sent, **fields)).unpriced] == unpriced


def test_what_does_not_fit_in_a_record_counts_as_absent() -> None:
    """Whatever stands in a record, it can be added up."""
    found = read_call(
        {
            "time": END.isoformat(),
            "kind": "call",
            "provider": ["x"],
            "attempts": "many",
            "tokens": 7,
            "latency_ms": "long",
            "outcome": 5,
        }
    )
    assert (found.tokens, found.latency_ms, found.caller) == (0, None, "(none)")
    assert [each.provider for each in found.asked] == ["['x']"]
    assert read_call(call(END, tokens={"prompt": 3, "completion": 4})).tokens == 7


# --- sums -----------------------------------------------------------------------------------------


def test_totals_and_groups_add_up() -> None:
    """Calls count for all, for their caller, model and day, and at each provider they asked."""
    before = END - timedelta(hours=7)
    figures = summed(
        [
            call(
                END - timedelta(minutes=1),
                attempt("a", 50, "unavailable"),
                attempt("b", 150),
                caller="x",
                model="m",
                cost_usd=0.5,
                tokens={"total": 10},
            ),
            call(before, attempt("a", 100, "timeout"), caller="x"),
            call(before, attempt("b", 300), caller="y", cost_usd=None, first_content_ms=40.0),
            call(before, attempt("b", 300, "cancelled"), caller="y"),
        ]
    )
    total = figures.total
    assert (total.calls, total.failed, total.failovers, total.tokens) == (4, 1, 1, 10)
    assert (total.cost_usd, total.priced, total.unpriced) == (0.5, 1, 3)
    a, b = figures.providers["a"], figures.providers["b"]
    assert (a.calls, a.failed, a.failovers, a.tokens, a.priced) == (2, 2, 1, 0, 0)
    assert (b.calls, b.failed, b.failovers, b.tokens, b.priced) == (3, 0, 0, 10, 1)
    assert (a.unpriced, b.unpriced) == (1, 2)
    assert sum(tally.unpriced for tally in figures.models.values()) == 3
    assert {name: tally.unpriced for name, tally in figures.callers.items()} == {"x": 1, "y": 2}
    assert (a.latency.percentile(1), b.latency.percentile(0.5)) == (100, 150)
    assert b.first_content.percentile(0.5) == 40
    assert {name: tally.calls for name, tally in figures.callers.items()} == {"x": 2, "y": 2}
    assert set(figures.models) == {"m", "(none)"}
    assert {day: tally.calls for day, tally in figures.days.items()} == {
        "2026-11-24": 1,
        "2026-11-23": 3,
    }
    assert figures.day_costs == {"2026-11-24": {"b": 0.5}}
    assert figures.recent_usd == 0.5
    ended = figures.calls.values()
    assert sum(each.moved for each in ended) == 1
    assert sum(each.cancelled for each in ended) == 1
    assert sum(each.all for each in ended) == 4


def test_other_records_are_counted_as_what_they_are() -> None:
    """Refusals, circuits that open and records that are missing are told beside the calls."""
    when = END.isoformat()
    opened = {"time": when, "kind": "circuit", "provider": "a", "after": "open", "key": 2}
    figures = summed(
        [
            {"time": when, "kind": "access", "caller": "x", "allowed": False},
            {"time": when, "kind": "access", "caller": "x", "allowed": True},
            {**opened, "cause": "calls", "outcome": "timeout"},
            {**opened, "cause": "shared"},
            {**opened, "after": "closed"},
            {**opened, "key": "?"},
            {"time": when, "kind": "dropped", "count": 5},
            {"time": when, "kind": "dropped"},
            {"time": when, "kind": "lost", "first": 3, "last": 4},
            {"time": when, "kind": "lost", "first": 3},
            {"time": when, "kind": "end"},
        ]
    )
    assert figures.refused == {"x": 1}
    assert figures.openings == {"a": 2}
    assert [(each.key, each.outcome) for each in figures.last_openings] == [
        (2, "timeout"),
        (None, None),
    ]
    assert figures.dropped == 7
    assert figures.total.calls == 0


def test_a_call_that_asked_nobody_counts_for_no_provider() -> None:
    """Without any attempt it is a failure of the call, and of nobody else."""
    nobody = {"time": END.isoformat(), "kind": "call", "outcome": "no_provider"}
    figures = summed([nobody])
    assert (figures.total.calls, figures.total.failed, figures.providers) == (1, 1, {})
    assert figures.total.latency.percentile(0.5) is None
    assert findings(figures)[0].startswith("There were too few calls")
    figures = summed([{**nobody, "outcome": "ok"}])
    assert (figures.total.unpriced, figures.models["(none)"].unpriced, figures.providers) == (
        1,
        1,
        {},
    )


def test_names_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A caller who calls itself something else each time does not fill the memory."""
    monkeypatch.setattr(summing, "_MOST_NAMES", 3)
    figures = summed(call(END, attempt("a"), caller=f"c{number}") for number in range(10))
    assert set(figures.callers) == {"c0", "c1", "c2", OTHERS}
    assert figures.callers[OTHERS].calls == 7


@pytest.mark.parametrize(
    ("length", "width"),
    [
        (timedelta(seconds=1), 60),
        (timedelta(hours=1), 60),
        (DAY, 600),
        (timedelta(days=7), 10_800),
        (timedelta(days=3_650), 2_102_401),
    ],
    ids=["second", "hour", "day", "week", "decade"],
)
def test_a_range_has_a_bounded_number_of_slots(length: timedelta, width: int) -> None:
    """Slots are as wide as it takes."""
    figures = summed([], length)
    assert figures.width == width
    assert 1 <= len(figures.starts()) <= 152


@pytest.mark.parametrize(
    ("after", "shown"),
    [
        ([], {"a"}),
        ([{"kind": "circuit", "after": "half_open"}], {"a"}),
        ([{"kind": "circuit", "after": "closed"}], set()),
        ([call(END - DAY / 2, attempt("a"))], set()),
        ([call(END - DAY / 2, attempt("a", outcome="timeout"))], {"a"}),
    ],
    ids=["open", "half-open", "closed", "answered", "failed"],
)
def test_a_circuit_that_opened_before_is_open_still(
    after: list[dict[str, Any]], shown: set[str]
) -> None:
    """It is open until it closes or its provider answers, and is no opening of the range."""
    opened = {"time": (END - 2 * DAY).isoformat(), "kind": "circuit", "provider": "a"}
    key = {**opened, "provider": "b", "key": 1, "after": "open"}
    figures = summed([{**opened, "after": "open"}, key, *({**opened, **each} for each in after)])
    assert figures.open_circuits == shown
    assert not figures.openings
    assert set(figures.providers) >= shown


def test_the_time_before_is_in_no_sum() -> None:
    """Charts and tables stay within the range; what comes before tells only what is usual."""
    before = END - 2 * DAY
    figures = summed(
        [
            call(before, attempt("a"), cost_usd=1.0),
            {"time": before.isoformat(), "kind": "dropped", "count": 5},
            call(END - DAY, attempt("a"), cost_usd=0.5),
        ]
    )
    assert (figures.total.calls, figures.total.cost_usd, figures.dropped) == (1, 0.5, 0)
    assert list(figures.days) == ["2026-11-23"]
    assert [slot.calls for slot in figures.before["a"].values()] == [1]
    assert len(figures.calls) == len(figures.slots["a"]) == 1


def test_one_looks_back_a_week() -> None:
    """Or not at all, where the calendar begins."""
    assert look_back(END) == END - 7 * DAY
    begin = datetime(1, 1, 2, tzinfo=UTC)
    assert look_back(begin) == begin


def test_moments_are_few_and_from_all_the_time() -> None:
    """Of many moments a fair choice is kept, each of them whole."""
    moments = Moments(random.Random(1))
    for at in range(5_000):
        moments.add(Moment(float(at), at * 2.0, at % 2 == 0))
    kept = list(moments.all())
    assert len(kept) == 500
    assert all(each.ms == each.at * 2 and each.failed == (each.at % 2 == 0) for each in kept)
    assert sum(each.at for each in kept) / 500 == pytest.approx(2_500, rel=0.1)


# --- findings -------------------------------------------------------------------------------------

ALONE = (
    "There is nothing to compare with before 23 Nov 06:00 UTC: what was bad all the time would not"
    " be noticed."
)


def test_what_gets_slow_is_told_with_its_begin() -> None:
    """The sentence has the last hour, what is usual, and since when."""
    since = END - timedelta(hours=3, minutes=20)
    figures = summed(
        call(at, attempt("openai", 8_100 if at >= since else 900), cost_usd=0.01)
        for at in every(30)
    )
    assert findings(figures) == [
        "openai is slow since about 02:40 UTC: p95 8.1 s in the last hour, usually 900 ms.",
        ALONE,
        "It cost $28.80 in 24 hours, $1.20 of that in the last hour.",
    ]


def test_what_got_slow_a_moment_ago_is_told_by_what_came_since() -> None:
    """What began within the last hour is not watered down by the rest of that hour."""
    since = END - timedelta(minutes=20)
    figures = summed(call(at, attempt("a", 5_000 if at >= since else 900)) for at in every(30))
    assert findings(figures)[0] == "a is slow since about 05:40 UTC: p95 5.0 s, usually 900 ms."


def test_what_failed_and_is_over_is_told_with_its_end() -> None:
    """An outage that is over is told with its begin, its end, and how most calls failed."""
    down = END - timedelta(hours=4, minutes=20), END - timedelta(hours=2, minutes=50)
    figures = summed(
        call(
            at,
            attempt("openai", 40, "unavailable" if down[0] <= at < down[1] else "ok"),
        )
        for at in every(30)
    )
    assert findings(figures) == [
        (
            "openai failed from about 01:40 to about 03:10 UTC: 100 % of its calls (unavailable)"
            " then, usually 0 %."
        ),
        ALONE,
        "It is not known what it cost: 2,700 requests of unknown cost.",
    ]


def test_who_was_not_asked_of_late_is_not_said_to_be_slow_still() -> None:
    """Slowness that lasted until the last call is told with the end of that."""
    slow, last = END - timedelta(hours=5), END - timedelta(hours=3)
    figures = summed(
        call(at, attempt("a", 5_000 if at >= slow else 900)) for at in every(30) if at < last
    )
    assert findings(figures)[0] == (
        "a was slow from about 01:00 to about 03:00 UTC: p95 5.0 s then, usually 900 ms."
    )


def test_where_calls_are_few_the_begin_is_still_the_right_one() -> None:
    """Pieces with too few calls are taken together, and still begin where it got bad."""
    since = END - timedelta(hours=4)
    figures = summed(call(at, attempt("a", 9_000 if at >= since else 900)) for at in every(240))
    assert findings(figures)[0].startswith("a is slow since about 02:00 UTC")


def test_what_began_before_the_range_is_told_with_its_begin() -> None:
    """A report of a day tells of a slowness that is older than a day, and since when it is."""
    since = datetime(2026, 11, 20, 14, 7, tzinfo=UTC)
    figures = summed(
        call(at, attempt("openai", 8_100 if at >= since else 900), cost_usd=0)
        for at in every(60, 7 * DAY)
    )
    assert findings(figures) == [
        "openai is slow since about 20 Nov 14:07 UTC: p95 8.1 s in the last hour, usually 900 ms.",
        "It cost $0.00 in 24 hours, $0.00 of that in the last hour.",
    ]


def test_what_has_been_slow_for_most_of_the_time_before_is_not_usual() -> None:
    """A slowness of five days is seen, as there was a better time before it."""
    since = END - 5 * DAY
    figures = summed(
        call(at, attempt("a", 8_100 if at >= since else 900)) for at in every(300, 8 * DAY)
    )
    assert findings(figures)[0].startswith("a is slow since about 19 Nov 06:00 UTC")


def test_what_failed_only_before_the_range_is_not_told() -> None:
    """An outage of yesterday is no finding of today."""
    down = END - 3 * DAY, END - 2 * DAY
    figures = summed(
        call(at, attempt("a", outcome="auth" if down[0] <= at < down[1] else "ok"))
        for at in every(120, 7 * DAY)
    )
    assert findings(figures)[0] == "No provider got slower, or failed more, than usual."
    assert ALONE not in findings(figures)


def test_what_ended_within_the_range_is_told_with_both_times() -> None:
    """An outage that reaches into the range is told from its begin on, though that is outside."""
    down = END - DAY - timedelta(hours=3, minutes=12), END - DAY + timedelta(hours=2, minutes=5)
    figures = summed(
        call(at, attempt("a", outcome="auth" if down[0] <= at < down[1] else "ok"))
        for at in every(60, 4 * DAY)
    )
    assert findings(figures)[0].startswith("a failed from about 23 Nov 02:48 to about 23 Nov 08:04")


def test_who_has_no_time_before_is_named() -> None:
    """A provider that is new is set against the range alone, and that is said of it."""
    old = [call(at, attempt("old"), cost_usd=0) for at in every(120, 3 * DAY)]
    new = [call(at, attempt("new"), cost_usd=0) for at in every(120)]
    assert findings(summed([*old, *new]))[1] == ALONE.replace("UTC:", "UTC for new:")
    many = [call(at, attempt(f"n{number}")) for at in every(600) for number in range(7)]
    assert "UTC for n0, n1, n2, n3, n4, 2 more:" in findings(summed([*old, *many]))[1]


def test_a_short_range_is_judged_by_the_time_before() -> None:
    """An hour in which a provider is slow all the time is slow."""
    figures = summarize(
        [
            call(at, attempt("a", 5_000 if at >= END - timedelta(hours=2) else 900))
            for at in every(120, 2 * DAY)
        ],
        END - timedelta(hours=1),
        END,
    )
    assert findings(figures)[0] == (
        "a is slow since about 04:00 UTC: p95 5.0 s in the last 10 minutes, usually 900 ms."
    )


def test_where_calls_are_rare_it_is_said_how_well_a_time_is_known() -> None:
    """Between two calls nobody knows when it began."""
    since = END - timedelta(hours=10)
    figures = summed(
        call(at, attempt("a", outcome="auth" if at >= since else "ok"))
        for at in every(900, 4 * DAY)
    )
    assert findings(figures)[0].startswith("a fails since about 23 Nov 20:00 (± 15 minutes) UTC: ")


def test_a_begin_is_found_within_its_first_piece() -> None:
    """In noisy latencies, of which some are slow by chance, the begin is right to some minutes."""
    chance = random.Random(4)
    since = END - timedelta(hours=5, minutes=23)
    figures = summed(
        call(at, attempt("a", chance.lognormvariate(6.8, 0.35) * (5 if at >= since else 1)))
        for at in every(20, 3 * DAY)
    )
    found = re.fullmatch(r"a is slow since about 00:(\d\d) UTC: .*", findings(figures)[0])
    assert found
    assert 36 <= int(found[1]) <= 39


def test_two_days_have_an_outage_and_a_slow_provider(two_days: list[dict[str, Any]]) -> None:
    """Out of noisy records come the outage and the slowness, and nothing else."""
    told = findings(summed(two_days))
    assert [text.split(" UTC")[0] for text in told[:3]] == [
        # There was no call of openai between 01:28:38 and 01:42:49.
        "openai failed from about 01:43 (± 14 minutes) to about 03:08",
        "openai was slow from about 01:44 (± 15 minutes) to about 03:08",
        "anthropic is slow since about 04:20",
    ]
    assert "requests of unknown cost not included" in told[3]
    assert len(told) == 4


@pytest.mark.parametrize("seed", range(5))
def test_usual_noise_is_no_finding(seed: int) -> None:
    """Latencies that vary as those of models do, and a failure now and then, are nothing to tell."""
    chance = random.Random(seed)
    figures = summed(
        call(
            at,
            attempt(
                "a",
                chance.lognormvariate(6.8, 0.35),
                "unavailable" if chance.random() < 0.01 else "ok",
            ),
        )
        for at in every(40)
    )
    assert findings(figures)[0] == "No provider got slower, or failed more, than usual."


def test_milliseconds_more_are_no_finding() -> None:
    """What takes 4 ms instead of 2 is not slow."""
    since = END - timedelta(hours=3)
    figures = summed(call(at, attempt("a", 4 if at >= since else 2)) for at in every(60))
    assert findings(figures)[0] == "No provider got slower, or failed more, than usual."


def test_what_fails_all_the_time_is_told_as_well() -> None:
    """A provider that never worked has nothing usual to be set against, and is told."""
    figures = summed(call(at, attempt("a", 5, "auth")) for at in every(7_200))
    assert findings(figures) == [
        "a fails: 100 % of its calls (auth) in 24 hours.",
        "It cost nothing.",
    ]


def test_few_calls_say_nothing_about_what_is_usual() -> None:
    """Where there is too little to judge by, it is not said that all is well."""
    figures = summed([call(END - timedelta(hours=2), attempt("a"), cost_usd=0.5)])
    assert findings(figures) == [
        "There were too few calls to say whether a provider is slower than usual.",
        "It cost $0.5000 in 24 hours, $0.00 of that in the last hour.",
    ]


def test_no_call_and_missing_records_are_told() -> None:
    """Nothing is said of calls there were not, and missing records are no secret."""
    dropped = {"time": END.isoformat(), "kind": "dropped", "count": 1}
    assert findings(summed([dropped])) == [
        "There was no call in 24 hours.",
        "1 record could not be written or were lost, so the figures are too low.",
    ]


def test_a_provider_cannot_forge_a_sentence() -> None:
    """Names are harmless where they stand in a sentence."""
    figures = summed(call(at, attempt("a\n\x1b[2J", 5, "auth")) for at in every(7_200))
    assert findings(figures)[0].startswith(r"a\n\x1b[2J fails")


# --- tables ---------------------------------------------------------------------------------------


def test_tables_have_a_row_for_each_group(two_days: list[dict[str, Any]]) -> None:
    """Every group has its table, the most called first, and costs that are not known say so."""
    made = {table.title: table for table in tables(summed(two_days, 2 * DAY))}
    assert list(made) == [
        "Total",
        "Providers",
        "Callers",
        "Models",
        "Days (UTC)",
        "Outcomes",
        "Refused by access rules",
        "Circuits opened",
    ]
    providers = made["Providers"]
    assert [row[0] for row in providers.rows] == ["openai", "anthropic", "local"]
    local = dict(zip(providers.columns, providers.rows[2], strict=True))
    assert local["cost"] == "unknown"
    assert int(local["unknown cost"].replace(",", "")) > 100
    assert [row[0] for row in made["Days (UTC)"].rows] == ["2026-11-24", "2026-11-23", "2026-11-22"]
    assert made["Circuits opened"].rows[0][1:] == ("openai", "-", "timeout")
    assert all(len(row) == len(table.columns) for table in made.values() for row in table.rows)


def test_long_tables_say_what_they_leave_out() -> None:
    """Of many callers, days and circuits those that matter most are shown."""
    start = END - timedelta(days=40)
    records = [
        call(start + timedelta(days=number), attempt("a"), caller=f"c{number:02}")
        for number in range(40)
    ]
    opened = {"time": END.isoformat(), "kind": "circuit", "provider": "a", "after": "open"}
    made = {table.title: table for table in tables(summed([*records, *[opened] * 30], 40 * DAY))}
    callers = made["Callers"].rows
    assert (len(callers), callers[-1][:2]) == (21, ("others (20)", "20"))
    assert (len(made["Days (UTC)"].rows), made["Days (UTC)"].rows[0][0]) == (32, "2026-11-23")
    assert made["Days (UTC)"].rows[-1][:2] == ("earlier (9)", "9")
    assert made["Circuits opened"].note == "10 earlier ones are not shown."


def test_a_provider_in_trouble_is_never_left_out() -> None:
    """Whoever fails or has an open circuit is in the table, however rarely it is asked."""
    busy = [call(END, attempt(f"p{number:02}")) for number in range(25) for _ in range(3)]
    opened = {"time": END.isoformat(), "kind": "circuit", "provider": "idle", "after": "open"}
    failed = call(END, attempt("broken", 5, "auth"))
    providers = tables(summed([*busy, failed, opened]))[1]
    assert [row[0] for row in providers.rows[19:]] == ["p19", "broken", "idle", "others (5)"]
    assert sum(int(row[1]) for row in providers.rows) == 76
    rest = dict(zip(providers.columns, providers.rows[-1], strict=True))
    assert (rest["calls"], rest["failed"], rest["p95"]) == ("15", "0 %", "100 ms")
    assert rest["unknown cost"] == "15"
    assert providers.note.endswith("The circuit is open of idle.")


def test_columns_of_counts_add_up() -> None:
    """What is not shown of many outcomes or refusals is one row."""
    refused = [
        {"time": END.isoformat(), "kind": "access", "caller": f"c{number}", "allowed": False}
        for number in range(23)
    ]
    assert tables(summed(refused))[0].rows[-1] == ("others (3)", "3", "13.0 %")


def test_nothing_has_no_tables() -> None:
    """Tables without rows are left out."""
    assert tables(summed([])) == []
