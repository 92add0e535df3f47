"""What the records add up to, and what the report says of it."""

from __future__ import annotations

import random
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from amas.providers.observability.report import summing
from amas.providers.observability.report.calls import read_call
from amas.providers.observability.report.figures import Figures
from amas.providers.observability.report.findings import findings
from amas.providers.observability.report.samples import Sample, percentile
from amas.providers.observability.report.summing import OTHERS, summarize
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
        (money(0.0000012), "$1e-06"),
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
        ({"cost_usd": 0.5}, 0.5, False),
        ({"cost_usd": 0}, 0.0, False),
        ({"cost_usd": None}, None, True),
        ({}, None, True),
        ({"outcome": "timeout"}, None, False),
        ({"outcome": "stream_interrupted", "cost_usd": 0.1}, 0.1, False),
        ({"cost_usd": -1}, None, True),
        ({"cost_usd": True}, None, True),
        ({"cost_usd": 10**400}, None, True),
        ({"cost_usd": 1e999}, None, True),
    ],
    ids=[
        *("known", "free", "unknown", "absent", "failed"),
        *("cut", "negative", "no-number", "huge", "infinite"),
    ],
)
def test_a_cost_is_known_or_unknown_and_never_0_instead(
    fields: dict[str, Any], usd: float | None, unpriced: bool
) -> None:
    """An answer without a usable price is of unknown cost."""
    found = read_call(call(END, attempt("a"), **fields))
    assert (found.cost_usd, found.unpriced) == (usd, unpriced)


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
    assert (total.cost_usd, total.priced, total.unpriced) == (0.5, 1, 1)
    a, b = figures.providers["a"], figures.providers["b"]
    assert (a.calls, a.failed, a.failovers, a.tokens, a.priced) == (2, 2, 1, 0, 0)
    assert (b.calls, b.failed, b.failovers, b.tokens, b.priced) == (3, 0, 0, 10, 1)
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
    assert sum(each.moved for each in figures.calls.values()) == 1


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


# --- findings -------------------------------------------------------------------------------------


def test_what_gets_slow_is_told_with_its_begin() -> None:
    """The sentence has the last hour, what is usual, and since when."""
    since = END - timedelta(hours=3, minutes=20)
    figures = summed(
        call(at, attempt("openai", 8_100 if at >= since else 900), cost_usd=0.01)
        for at in every(30)
    )
    assert findings(figures) == [
        "openai is slow since 02:40 UTC: p95 8.1 s in the last hour, usually 900 ms.",
        "It cost $28.80 in 24 hours, $1.20 of that in the last hour.",
    ]


def test_what_got_slow_a_moment_ago_is_told_by_what_came_since() -> None:
    """What began within the last hour is not watered down by the rest of that hour."""
    since = END - timedelta(minutes=20)
    figures = summed(call(at, attempt("a", 5_000 if at >= since else 900)) for at in every(30))
    assert findings(figures)[0] == "a is slow since 05:40 UTC: p95 5.0 s, usually 900 ms."


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
        "openai failed from 01:40 to 03:10 UTC: 100 % of its calls (unavailable) then, usually 0 %.",
        "It is not known what it cost: 2,700 calls of unknown cost.",
    ]


def test_who_was_not_asked_of_late_is_not_said_to_be_slow_still() -> None:
    """Slowness that lasted until the last call is told with the end of that."""
    slow, last = END - timedelta(hours=5), END - timedelta(hours=3)
    figures = summed(
        call(at, attempt("a", 5_000 if at >= slow else 900)) for at in every(30) if at < last
    )
    assert findings(figures)[0] == (
        "a was slow from 01:00 to 03:00 UTC: p95 5.0 s then, usually 900 ms."
    )


def test_where_calls_are_few_the_begin_is_still_the_right_one() -> None:
    """Pieces with too few calls are taken together, and still begin where it got bad."""
    since = END - timedelta(hours=4)
    figures = summed(call(at, attempt("a", 9_000 if at >= since else 900)) for at in every(240))
    assert findings(figures)[0].startswith("a is slow since 02:00 UTC")


def test_two_days_have_an_outage_and_a_slow_provider(two_days: list[dict[str, Any]]) -> None:
    """Out of noisy records come the outage and the slowness, and nothing else."""
    since = END - DAY
    figures = summed(each for each in two_days if datetime.fromisoformat(each["time"]) >= since)
    told = findings(figures)
    assert [text.split(":")[0] for text in told[:2]] == [
        "openai failed from 01",
        "openai was slow from 01",
    ]
    assert told[2].startswith("anthropic is slow since 04:")
    assert "calls of unknown cost not included" in told[3]
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
    assert len(made["Callers"].rows) == 20
    assert made["Callers"].note == "The 20 with the most calls of 40 callers."
    assert (len(made["Days (UTC)"].rows), made["Days (UTC)"].rows[0][0]) == (31, "2026-11-23")
    assert made["Days (UTC)"].note == "9 earlier days are not shown."
    assert made["Circuits opened"].note == "10 earlier ones are not shown."


def test_nothing_has_no_tables() -> None:
    """Tables without rows are left out."""
    assert tables(summed([])) == []
