"""The report as one page that needs nothing else: no script, no address, no file. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.resources import files
from typing import Final

from .figures import Figures
from .findings import findings
from .markup import Markup, join, tag
from .sums import cost_chart, outcome_chart
from .svg import calls_chart, latency_chart
from .tables import Table, tables
from .wording import cost, count, duration, share, short

_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'"
_TITLE: Final = "Provider report"


def page(figures: Figures, notes: Sequence[str] = ()) -> str:
    """Make the page.

    Args:
        figures: What the records of the range add up to.
        notes: What else should be known, such as lines that could not be read.

    Returns:
        The text of an HTML file.
    """
    style = files(__package__).joinpath("style.css").read_text("utf-8")
    charts = [each(figures) for each in (calls_chart, latency_chart, cost_chart, outcome_chart)]
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"{_TITLE}, {_range(figures)}"),
        tag("style", Markup(style)),
    )
    body = tag(
        "body",
        tag(
            "header",
            tag("h1", _TITLE),
            tag("p", f"{_range(figures)} UTC", class_="range"),
            tag("ul", *(tag("li", text) for text in (*findings(figures), *notes)), class_="first"),
        ),
        tag(
            "main",
            _tiles(figures),
            tag("div", *charts, class_="charts"),
            *map(_table, tables(figures)),
        ),
    )
    return join(Markup("<!doctype html>\n"), tag("html", head, body, lang="en"), Markup("\n"))


def _range(figures: Figures) -> str:
    since, until = (datetime.fromtimestamp(at, UTC) for at in (figures.since, figures.until))
    return f"{since:%Y-%m-%d %H:%M} to {until:%Y-%m-%d %H:%M}"


def _tiles(figures: Figures) -> Markup:
    total = figures.total
    unknown = f"{count(total.unpriced, 'request')} of unknown cost" if total.unpriced else ""
    refused = f"{count(figures.refused.total(), 'call')} refused"
    told = (
        ("Calls", f"{total.calls:,}", count(total.failovers, "failover")),
        ("Failed", share(total.failed, total.calls), count(total.failed, "call")),
        (
            "Latency p95",
            duration(total.latency.percentile(0.95)),
            f"median {duration(total.latency.percentile(0.5))}",
        ),
        ("Cost", cost(total.cost_usd, total.priced, total.unpriced), unknown),
        ("Tokens", short(total.tokens), "prompts and answers"),
        ("Circuits opened", f"{figures.openings.total():,}", refused),
    )
    tiles = (
        tag("div", tag("dt", name), tag("dd", value), tag("dd", more, class_="more"))
        for name, value, more in told
    )
    return tag("dl", *tiles, class_="tiles")


def _table(table: Table) -> Markup:
    heads = (tag("th", column, scope="col") for column in table.columns)
    rows = (
        tag("tr", tag("th", row[0], scope="row"), *(tag("td", cell) for cell in row[1:]))
        for row in table.rows
    )
    drawn = tag("table", tag("thead", tag("tr", *heads)), tag("tbody", *rows))
    return tag(
        "section",
        tag("h2", table.title),
        *([tag("p", table.note)] if table.note else []),
        tag("div", drawn, class_="wide"),
    )
