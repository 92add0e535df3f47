"""The page: everything in it, nothing from elsewhere, and nothing that a caller put there."""

from __future__ import annotations

import json
import re
import shutil
import struct
import subprocess
import zlib
from collections import Counter
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from typing_extensions import override

from amas.providers.observability.report.axes import linear, logarithmic, time_ticks
from amas.providers.observability.report.figures import Figures
from amas.providers.observability.report.html import page
from amas.providers.observability.report.markup import Markup, join, tag
from amas.providers.observability.report.summing import summarize
from amas.providers.observability.report.sums import cost_chart, outcome_chart
from amas.providers.observability.report.svg import calls_chart, latency_chart

END = datetime(2026, 11, 24, 6, tzinfo=UTC)
HOSTILE = "\"><script>alert(1)</script><img src='http://x.invalid/'>\x1b[31m"


def call(hours: float, provider: str = "a", ms: float = 100.0, **fields: Any) -> dict[str, Any]:
    """Make the record of a call some hours before six."""
    outcome = fields.get("outcome", "ok")
    return {
        "time": (END - timedelta(hours=hours)).isoformat(),
        "kind": "call",
        "provider": provider,
        "outcome": outcome,
        "latency_ms": ms,
        "attempts": [{"provider": provider, "outcome": outcome, "ms": ms}],
        **fields,
    }


def summed(records: list[dict[str, Any]], hours: float = 24) -> Figures:
    """Add up the records of some hours before six."""
    return summarize(records, END - timedelta(hours=hours), END)


def drawn(chart: Markup) -> ET.Element:
    """Parse a chart, which fails if anything in it is not closed or not escaped."""
    return ET.fromstring(chart)


def rects(chart: Markup, kind: str) -> list[dict[str, float]]:
    """Return the bars of one class."""
    return [
        {name: float(each.attrib[name]) for name in ("x", "y", "width", "height")}
        for each in drawn(chart).iter("rect")
        if each.attrib["class"] == kind
    ]


def texts(chart: Markup, element: str) -> list[str]:
    """Return the texts of one kind of element."""
    return ["".join(each.itertext()) for each in drawn(chart).iter(element)]


# --- markup and scales ----------------------------------------------------------------------------


def test_every_text_is_escaped_once() -> None:
    """Texts and attributes are escaped, and what is markup already is not escaped again."""
    inner = tag("b", "<i>&", title='"', class_="x", data_y=1.0, hidden=None)
    assert inner == '<b title="&quot;" class="x" data-y="1">&lt;i&gt;&amp;</b>'
    assert join(inner, "<") == f"{inner}&lt;"
    assert tag("rect", x=0.25) == '<rect x="0.2"/>'


@pytest.mark.parametrize(
    ("highest", "last", "many"),
    [(0, 0.2, 2), (1, 1, 6), (7, 8, 5), (94, 100, 6), (0.003, 0.003, 4), (12_345, 12_500, 6)],
)
def test_a_linear_scale_ends_at_a_round_number(highest: float, last: float, many: int) -> None:
    """The axis begins at 0 and ends no lower than the highest value."""
    scale = linear(highest)
    assert scale.ticks[0] == 0
    assert scale.ticks[-1] == pytest.approx(last)
    assert len(scale.ticks) == many
    assert [scale.place(tick) for tick in (scale.ticks[0], scale.ticks[-1])] == pytest.approx(
        [0, 1]
    )


def test_a_logarithmic_scale_goes_by_powers_of_ten() -> None:
    """Each power of ten takes as much room, and what is below the axis lies on it."""
    scale = logarithmic(150, 9_000)
    assert list(scale.ticks) == [100, 1_000, 10_000]
    assert [scale.place(value) for value in (1, 100, 1_000, 10_000)] == [0, 0, 0.5, 1]
    assert list(logarithmic(10, 10).ticks) == [10, 100]


@pytest.mark.parametrize(
    ("hours", "first", "many"),
    [(1, "05:00", 7), (24, "06:00", 9), (24 * 7, "18 Nov", 7), (24 * 3_650, "2017-12", 5)],
)
def test_times_are_round(hours: float, first: str, many: int) -> None:
    """The axis of times has a few round times, with days where it is midnight."""
    last = END.timestamp()
    ticks = time_ticks(last - hours * 3_600, last, 9)
    assert len(ticks) == many
    assert ticks[0][1] == first


def test_times_of_a_very_long_range_are_few() -> None:
    """A range longer than any round step has few times as well."""
    assert len(time_ticks(0, 100 * 365 * 86_400, 9)) <= 10


# --- charts ---------------------------------------------------------------------------------------


def test_bars_of_calls_have_the_heights_of_their_counts() -> None:
    """A bar's layers stand on one another, in the proportion of their calls."""
    moved = call(
        2,
        attempts=[
            {"provider": "b", "outcome": "timeout", "ms": 1},
            {"provider": "a", "outcome": "ok", "ms": 1},
        ],
    )
    chart = calls_chart(summed([call(2), call(2), moved, call(2, outcome="timeout"), call(1)]))
    (first, second), (middle,), (failed,) = (
        rects(chart, kind) for kind in ("fine", "moved", "failed")
    )
    assert first["height"] == pytest.approx(2 * failed["height"], abs=0.2)
    assert second["height"] == pytest.approx(failed["height"], abs=0.2)
    assert middle["y"] + middle["height"] == pytest.approx(first["y"], abs=0.2)
    assert failed["y"] + failed["height"] == pytest.approx(middle["y"], abs=0.2)
    assert second["x"] > first["x"]
    told = texts(chart, "title")
    assert "04:00 to 04:10 UTC: 4 calls, 1 answered after a failover, 1 failed" in told
    assert "calls per 10 minutes" in texts(chart, "text")


def test_cancelled_calls_are_no_answers() -> None:
    """They have a colour and a legend of their own, which is not there without them."""
    chart = calls_chart(summed([call(2), call(2, outcome="cancelled")]))
    assert (len(rects(chart, "fine")), len(rects(chart, "rest"))) == (1, 1)
    assert "cancelled" in texts(chart, "li")
    assert any(text.endswith("0 failed, 1 cancelled") for text in texts(chart, "title"))
    assert "cancelled" not in texts(calls_chart(summed([call(2)])), "li")


def ticks(chart: Markup) -> list[str]:
    """Return what stands beside the vertical axis."""
    return [
        str(each.text) for each in drawn(chart).iter("text") if each.attrib["class"] == "tick end"
    ]


@pytest.mark.parametrize(
    ("chart", "expected"),
    [
        (latency_chart(summed([call(1, ms=0.4)])), ["0 ms", "1 ms"]),
        (latency_chart(summed([call(1, ms=1_100)])), ["0 ms", "250 ms", "500 ms", "750 ms", "1 s"]),
        (calls_chart(summed([call(1)])), ["0", "1"]),
        (calls_chart(summed([call(1)] * 12)), ["0", "5", "10", "15"]),
        (cost_chart(summed([call(1, cost_usd=4e-5)])), ["0", "0.00002", "0.00004", "0.00006"]),
    ],
    ids=["fast", "second", "one-call", "calls", "cheap"],
)
def test_the_labels_of_an_axis_differ(chart: Markup, expected: list[str]) -> None:
    """They are whole where there are no parts, and written out where they are small."""
    found = ticks(chart)
    assert found[: len(expected)] == expected
    assert len(set(found)) == len(found)


def test_large_numbers_of_calls_have_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside an axis thousands and millions are short."""
    for many, last in ((9_000, "10 k"), (90_000, "100 k"), (20_000_000, "20 M")):
        figures = summed([call(1)])
        next(iter(figures.calls.values())).fine = many
        assert ticks(calls_chart(figures))[-1] == last


def test_lines_of_latency_are_broken_where_there_is_nothing() -> None:
    """Neighbours are joined, a gap is left open, and a point alone is a dot."""
    chart = latency_chart(summed([call(3.0), call(2.8), call(2.0)]))
    paths = [each.attrib for each in drawn(chart).iter("path")]
    assert [each["class"] for each in paths] == ["line median s1", "line high s1"]
    assert re.fullmatch(r"M[^ML]+L[^ML]+M[^ML]+", paths[1]["d"])
    spots = [each.attrib["class"] for each in drawn(chart).iter("circle")]
    assert spots == ["hit", "hit", "dot s1"]
    assert "a, 04:00 to 04:10 UTC: median 100 ms, p95 100 ms" in texts(chart, "title")
    assert "latency" in texts(chart, "text")


def test_latencies_far_apart_get_a_logarithmic_scale() -> None:
    """What takes milliseconds is still seen beside what takes seconds."""
    chart = latency_chart(summed([call(2, "a", 20), call(1, "b", 30_000)]))
    shown = texts(chart, "text")
    assert "latency (logarithmic)" in shown
    assert [each for each in shown if each.endswith((" s", "ms"))] == [
        *("10 ms", "100 ms", "1 s", "10 s", "100 s"),
    ]


def test_more_providers_than_colours_are_in_the_table_alone() -> None:
    """The most asked providers have a line each, and the chart says how many have none."""
    chart = latency_chart(summed([call(1, f"p{number}") for number in range(8)]))
    assert sum("high" in each.attrib["class"] for each in drawn(chart).iter("path")) == 6
    assert "2 providers asked less often: in the table alone." in texts(chart, "desc")[0]


def test_costs_are_stacked_by_provider_and_day() -> None:
    """Each day has its bar, also a day that cost nothing, and what is unknown is counted."""
    chart = cost_chart(
        summed(
            [
                call(50, "a", cost_usd=1.0),
                call(50, "b", cost_usd=2.0),
                call(1, "a", cost_usd=1.0),
                call(1, "a", cost_usd=None),
            ],
            60,
        )
    )
    first, second = rects(chart, "s1")
    (other,) = rects(chart, "s2")
    assert (first["height"], first["x"] < second["x"]) == (second["height"], True)
    assert other["height"] == pytest.approx(2 * first["height"], abs=0.2)
    assert texts(chart, "title")[1:] == [
        "2026-11-21: nothing",
        "2026-11-22: a $1.00, b $2.00",
        "2026-11-23: nothing",
        "2026-11-24: a $1.00",
    ]
    assert texts(chart, "desc") == ["$4.00 in all; 1 request of unknown cost not included."]


def test_costs_of_many_days_and_providers_are_cut() -> None:
    """The last 31 days are drawn, and providers without a colour share one."""
    records = [call(24 * day, f"p{day % 8}", cost_usd=1.0) for day in range(40, 0, -1)]
    chart = cost_chart(summed(records, 24 * 50))
    assert len(texts(chart, "title")) == 1 + 31
    assert rects(chart, "rest")
    assert "The last 31 days are drawn." in texts(chart, "desc")[0]
    assert "are drawn" not in texts(cost_chart(summed(records, 24 * 30)), "desc")[0]
    assert len([each for each in texts(chart, "text") if each.endswith(" Nov")]) <= 7


@pytest.mark.parametrize(
    ("records", "said"),
    [
        ([], "There was no cost."),
        ([call(1, outcome="unavailable")], "There was no cost."),
        ([call(1)], "No cost is known: 1 request of unknown cost not included."),
    ],
    ids=["none", "failed", "unknown"],
)
def test_a_cost_that_is_not_known_is_no_bar(records: list[dict[str, Any]], said: str) -> None:
    """Without any known cost there is a sentence, not a chart of zeros."""
    chart = cost_chart(summed(records))
    assert said in texts(chart, "p")
    assert not list(drawn(chart).iter("svg"))


def test_outcomes_have_room_for_their_words() -> None:
    """No word begins or ends outside of the drawing, however long it is."""
    figures = summed([call(1), call(1, outcome="stream_interrupted" * 2)])
    figures.outcomes["ok"] = 211_422_000
    chart = drawn(outcome_chart(figures))
    width = float(next(chart.iter("svg")).attrib["viewBox"].split()[2])
    for each in chart.iter("text"):
        at, room = float(each.attrib["x"]), 6.5 * len(str(each.text))
        if each.attrib["class"] == "word end":
            assert at - room >= 0
        if each.attrib["class"] == "word":
            assert at + room <= width


def test_outcomes_have_bars_of_their_share() -> None:
    """The bars are as long as the shares, and further outcomes are taken together."""
    records = [call(1)] * 75 + [call(1, outcome="timeout")] * 25
    chart = outcome_chart(summed(records))
    (ok,), (failed,) = rects(chart, "fine"), rects(chart, "failed")
    assert ok["width"] == pytest.approx(3 * failed["width"], abs=0.3)
    assert "25 (25.0 %)" in texts(chart, "text")
    many = [call(1, outcome=f"o{number}") for number in range(10)] + [call(1, outcome="cancelled")]
    chart = outcome_chart(summed(many))
    assert "others" in texts(chart, "text")
    assert len(rects(chart, "failed")) == 7
    assert len(rects(chart, "rest")) == 2


@pytest.mark.parametrize("chart", [calls_chart, latency_chart, cost_chart, outcome_chart])
def test_without_calls_every_chart_says_so(chart: Any) -> None:
    """There is a sentence in the place of each chart."""
    assert len(texts(chart(summed([])), "p")[0]) > 10


@pytest.mark.parametrize("chart", [calls_chart, latency_chart, cost_chart, outcome_chart])
def test_charts_can_be_read_without_being_seen(chart: Any) -> None:
    """Every chart has a title, a description, axis labels and a legend, and its ids are its own."""
    made = drawn(chart(summed([call(1, cost_usd=1.0), call(1, outcome="timeout")])))
    svg = next(made.iter("svg"))
    ids = {each.attrib["id"] for each in made.iter() if "id" in each.attrib}
    assert svg.attrib["role"] == "img"
    assert set(svg.attrib["aria-labelledby"].split()) <= ids
    assert [each.attrib["class"] for each in made.iter("text")].count("axis") >= 1
    assert len(list(made.iter("li"))) >= 1


# --- the page -------------------------------------------------------------------------------------


class Reader(HTMLParser):
    """Notes what is in a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(text)

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += attrs

    handle_startendtag = handle_starttag


def hostile_page() -> str:
    """Make the page of records in which every name is an attack."""
    fields: dict[str, Any] = {"caller": HOSTILE, "model": HOSTILE, "cost_usd": 1.0}
    opened = {"kind": "circuit", "provider": HOSTILE, "after": "open", "outcome": HOSTILE}
    return page(
        summed(
            [
                *(call(hours, HOSTILE, **fields) for hours in (3, 2, 1)),
                *(call(1, HOSTILE, **fields, outcome=HOSTILE) for _ in range(9)),
                {"time": END.isoformat(), **opened},
                {
                    "time": END.isoformat(),
                    "kind": "access",
                    "caller": HOSTILE,
                    "allowed": False,
                },
            ]
        ),
        [f"{HOSTILE}: 1 line could not be read"],
    )


def test_nothing_that_a_caller_names_becomes_part_of_the_page() -> None:
    """Names that are attacks are shown as the text that they are."""
    found = Reader(hostile_page())
    assert not {"script", "img", "a", "link", "iframe", "object", "base", "form"} & set(found.tags)
    assert not [name for name, _ in found.attributes if name.startswith("on") or name == "style"]
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in hostile_page()
    assert "\x1b" not in hostile_page()


def test_the_page_asks_for_nothing(two_days: list[dict[str, Any]]) -> None:
    """There is no address in it, and its policy would forbid to follow one."""
    text = page(summed(two_days, 48))
    found = Reader(text)
    assert not {name for name, _ in found.attributes} & {"src", "href", "srcset", "action", "data"}
    assert not re.search(r"https?:|//|url\(|@import", text.replace("<!doctype", ""))
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    assert ("content", policy) in found.attributes
    assert "prefers-color-scheme: dark" in text
    assert found.tags["svg"] == 4
    assert found.tags["table"] == 8
    ids = [value for name, value in found.attributes if name == "id"]
    assert len(ids) == len(set(ids))


def test_the_page_of_no_call_says_so() -> None:
    """A page without calls is a page, too."""
    text = page(summed([]))
    assert "There was no call in 24 hours." in text
    assert Reader(text).tags["svg"] == 0


# --- in a browser ---------------------------------------------------------------------------------


class Browser:
    """Opens a page in headless Chromium, and tells what happened.

    Args:
        binary: Path of the program.
        folder: Where it may write.
    """

    def __init__(self, binary: str, folder: Path) -> None:
        self._binary = binary
        self._folder = folder

    def open(self, text: str) -> tuple[list[str], list[str], Path]:
        """Return what the console said, which addresses were asked for, and the screenshot."""
        shown, log = self._folder / "page.html", self._folder / "net.json"
        picture = self._folder / "page.png"
        shown.write_text(text, "utf-8")
        done = subprocess.run(
            [
                self._binary,
                *("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
                *(
                    "--disable-background-networking",
                    "--disable-component-update",
                    "--no-first-run",
                ),
                f"--user-data-dir={self._folder / 'profile'}",
                "--host-resolver-rules=MAP * ~NOTFOUND",
                *("--enable-logging=stderr", "--v=0"),
                f"--log-net-log={log}",
                f"--screenshot={picture}",
                "--window-size=1000,1200",
                shown.as_uri(),
            ],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        said = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
        events = json.loads(log.read_text("utf-8"))["events"]
        requests = [each["params"] for each in events if "initiator" in each.get("params", ())]
        # The browser asks its maker for updates and the time, in vain here; that is not the page.
        asked = [each["url"] for each in requests if each["initiator"] != "not an origin"]
        return said, asked, picture


def colours(picture: Path) -> Counter[bytes]:
    """Count the colours of the pixels of a PNG file."""
    content, at, packed, width = picture.read_bytes(), 8, b"", 0
    size = 3
    while at < len(content):
        length, kind = struct.unpack(">I4s", content[at : at + 8])
        data = content[at + 8 : at + 8 + length]
        if kind == b"IHDR":
            width, size = struct.unpack(">I", data[:4])[0], {2: 3, 6: 4}[data[9]]
        packed += data if kind == b"IDAT" else b""
        at += length + 12
    raw, stride = zlib.decompress(packed), width * size
    found: Counter[bytes] = Counter()
    above = bytearray(stride)
    for start in range(0, len(raw), stride + 1):
        above = _unfiltered(raw[start], bytearray(raw[start + 1 : start + 1 + stride]), above, size)
        found.update(bytes(above[x : x + 3]) for x in range(0, stride, size))
    return found


def _unfiltered(kind: int, line: bytearray, above: bytearray, size: int) -> bytearray:
    for x in range(len(line)):
        left = line[x - size] if x >= size else 0
        corner = above[x - size] if x >= size else 0
        line[x] = (line[x] + _predicted(kind, left, above[x], corner)) & 255
    return line


def _predicted(kind: int, left: int, up: int, corner: int) -> int:
    if kind == 4:
        guess = left + up - corner
        return min((left, up, corner), key=lambda each: abs(guess - each))
    return (0, left, up, (left + up) // 2)[kind]


@pytest.fixture
def browser(tmp_path: Path) -> Browser:
    """Give out a browser; without the program, the test is skipped."""
    binary = shutil.which("chromium")
    if binary is None:
        pytest.skip("there is no chromium on this machine")
    return Browser(binary, tmp_path)


@pytest.mark.slow
def test_a_browser_draws_the_charts_and_asks_for_nothing(
    browser: Browser, two_days: list[dict[str, Any]], uncovered: None
) -> None:
    """In Chromium the bars and lines are there, no request leaves, and the console is silent."""
    said, asked, picture = browser.open(page(summed(two_days, 24)))
    assert (said, asked) == ([], [])
    found = colours(picture)
    for name, colour in {"fine": "5d8fd6", "s1": "2a6fd0", "s2": "139268", "s3": "c98a00"}.items():
        assert found[bytes.fromhex(colour)] > 50, name
    # What only tells its title under the mouse is not seen: most of the page is background.
    background = found[bytes.fromhex("ffffff")] + found[bytes.fromhex("f6f7f9")]
    assert background > 0.8 * found.total()


@pytest.mark.slow
def test_a_browser_runs_nothing_that_a_caller_names(browser: Browser) -> None:
    """In Chromium names that are attacks do nothing."""
    said, asked, _ = browser.open(hostile_page())
    assert (said, asked) == ([], [])


@pytest.mark.slow
def test_a_browser_would_tell_what_the_page_may_not_do(browser: Browser) -> None:
    """The two tests above can fail: the console tells of a script, and the log of a request."""
    forbidden = page(summed([])).replace("</body>", "<script>1</script></body>")
    said, _, _ = browser.open(forbidden)
    assert any("Content Security Policy" in line for line in said)
    _, asked, _ = browser.open("<!doctype html><img src='http://x.invalid/a.png'>")
    assert "http://x.invalid/a.png" in asked
