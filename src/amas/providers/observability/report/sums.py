"""The charts of sums: cost by day, and how calls ended, as SVG that needs no script. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from ..audit.reading import is_failure
from .axes import Frame, horizontal, linear, vertical
from .drawing import SERIES, figure, name, nothing, stack
from .figures import Figures
from .markup import Markup, tag
from .wording import count, money, share

_FRAME: Final = Frame(510, 280, left=88)  # cheap calls have long prices
_DAYS: Final = 31
_DAY_TICKS: Final = 7
_OUTCOMES: Final = 8
_REST: Final = "others"
_LEAST_USD: Final = 0.0001  # at the end of the axis
_LETTER: Final = 7.6  # width of one, at most, in the size of words


def cost_chart(figures: Figures) -> Markup:
    """Draw what was paid each day and to whom, as stacked bars.

    Args:
        figures: What the records of the range add up to.
    """
    title = "Cost per day by provider"
    total = figures.total
    unknown = f"{count(total.unpriced, 'request')} of unknown cost not included."
    if not total.priced:
        text = f"No cost is known: {unknown}" if total.unpriced else "There was no cost."
        return nothing("cost", title, text)
    days = _days(figures)
    kinds = _kinds(figures, days)
    stacks = [_layers(figures.day_costs.get(day, {}), kinds) for day in days]
    scale = linear(max(_LEAST_USD, *(sum(layers.values()) for layers in stacks)))
    drawn = vertical(_FRAME, scale, _dollars, "US dollars")
    drawn += horizontal(_FRAME, _day_ticks(days), "day (UTC)")
    across = _FRAME.across / len(days)
    for index, (day, layers) in enumerate(zip(days, stacks, strict=True)):
        told = ", ".join(f"{name(each)} {money(usd)}" for each, usd in layers.items() if usd)
        parts = [(usd, kinds[each]) for each, usd in layers.items()]
        bars = stack(_FRAME, scale, _FRAME.left + index * across, across, parts)
        drawn.append(tag("g", tag("title", f"{day}: {told or 'nothing'}"), *bars))
    text = f"{money(total.cost_usd)} in all"
    text += f"; {unknown}" if total.unpriced else "."
    if days[0] > datetime.fromtimestamp(figures.since, UTC).date().isoformat():
        text += f" The last {_DAYS} days are drawn."
    return figure(
        "cost", title, text, _FRAME, drawn, legend=[(kinds[each], each) for each in kinds]
    )


def _dollars(usd: float) -> str:
    return f"{usd:,.6f}".rstrip("0").rstrip(".")


def _days(figures: Figures) -> list[str]:
    """Return the last days of the range, those without calls too."""
    last = datetime.fromtimestamp(max(figures.until - 1, figures.since), UTC).date()
    first = max(datetime.fromtimestamp(figures.since, UTC).date(), last - timedelta(_DAYS - 1))
    return [(first + timedelta(day)).isoformat() for day in range((last - first).days + 1)]


def _kinds(figures: Figures, days: Sequence[str]) -> dict[str, str]:
    """Return the class of each provider that was paid, the most paid first."""
    sums: dict[str, float] = {}
    for day in days:
        for each, usd in figures.day_costs.get(day, {}).items():
            sums[each] = sums.get(each, 0.0) + usd
    # The same colours as in the chart of latencies.
    colours = {each: f"s{number}" for number, each in enumerate(figures.busiest()[:SERIES], 1)}
    kinds = {each: colours[each] for each in colours if each in sums}
    return kinds if len(kinds) == len(sums) else {**kinds, _REST: "rest"}


def _layers(costs: Mapping[str, float], kinds: Mapping[str, str]) -> dict[str, float]:
    layers = dict.fromkeys(kinds, 0.0)
    for each, usd in costs.items():
        layers[each if each in kinds else _REST] += usd
    return layers


def _day_ticks(days: Sequence[str]) -> list[tuple[float, str]]:
    every = -(-len(days) // _DAY_TICKS)
    return [
        ((index + 0.5) / len(days), f"{datetime.fromisoformat(day):%d %b}")
        for index, day in enumerate(days)
        if index % every == 0
    ]


def outcome_chart(figures: Figures) -> Markup:
    """Draw how calls ended, as a bar for each outcome.

    Args:
        figures: What the records of the range add up to.
    """
    title = "Share of outcomes"
    whole = figures.outcomes.total()
    if not whole:
        return nothing("outcomes", title, "There was no call.")
    ordered = sorted(figures.outcomes.items(), key=lambda item: (-item[1], item[0]))
    rows = [(each, many, _kind(each)) for each, many in ordered[:_OUTCOMES]]
    if rest := sum(many for _, many in ordered[_OUTCOMES:]):
        rows.append((_REST, rest, "rest"))
    tells = [f"{many:,} ({share(many, whole)})" for _, many, _ in rows]
    frame = Frame(
        _FRAME.width,
        34 * len(rows) + 48,
        left=20 + math.ceil(_LETTER * max(len(name(each)) for each, _, _ in rows)),
        right=16 + math.ceil(_LETTER * max(map(len, tells))),
    )
    drawn = [tag("line", x1=frame.left, x2=frame.left, y1=8, y2=frame.floor, class_="base")]
    for index, ((each, many, kind), told) in enumerate(zip(rows, tells, strict=True)):
        y = 12 + 34 * index
        length = max(frame.across * many / whole, 1.0)
        drawn += [
            tag("text", name(each), x=frame.left - 10, y=y + 15, class_="word end"),
            tag(
                "g",
                tag("title", f"{name(each)}: {told}"),
                tag("rect", x=frame.left, y=y, width=length, height=20, class_=kind),
            ),
            tag("text", told, x=frame.left + length + 8, y=y + 15, class_="word"),
        ]
    drawn.append(
        tag("text", "share of all calls", x=frame.x(0.5), y=frame.height - 10, class_="axis")
    )
    text = (
        f"Of {count(whole, 'call')}, {share(figures.outcomes['ok'], whole)} ended with an answer."
    )
    legend = [("fine", "answered"), ("failed", "failed")]
    if any(kind == "rest" for _, _, kind in rows):
        legend.append(("rest", "cancelled, or further outcomes"))
    return figure("outcomes", title, text, frame, drawn, legend=legend)


def _kind(outcome: str) -> str:
    if outcome == "ok":
        return "fine"
    return "failed" if is_failure(outcome) else "rest"
