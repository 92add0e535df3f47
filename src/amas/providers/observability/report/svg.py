"""The charts over time: calls and latency, as SVG that needs no script. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Final, NamedTuple

from .axes import Frame, Scale, linear, logarithmic, vertical
from .drawing import SERIES, figure, name, nothing, slot_name, stack, time_axis
from .figures import Figures, Slot
from .markup import Markup, tag
from .wording import count, duration, share, span

_FRAME: Final = Frame(1040, 280)
_LOG_FROM: Final = 20.0  # so many times the lowest value
_SECOND_MS: Final = 1_000
_LOWEST_MS: Final = 1.0
_LONGEST_GAP: Final = 3  # slots without a call over which a line goes on


def calls_chart(figures: Figures) -> Markup:
    """Draw answered and failed calls over time, as stacked bars.

    Args:
        figures: What the records of the range add up to.
    """
    title = "Calls and failures over time"
    if not figures.calls:
        return nothing("calls", title, "There was no call.")
    scale = linear(max(endings.all for endings in figures.calls.values()), whole=True)
    per = span(figures.width).removeprefix("1 ")
    drawn = vertical(_FRAME, scale, _number, f"calls per {per}")
    drawn += time_axis(_FRAME, figures)
    starts = figures.starts()
    across = _FRAME.across / len(starts)
    for index, start in enumerate(starts):
        ended = figures.calls.get(start)
        if ended is not None:
            told = (
                f"{slot_name(figures, start)}: {count(ended.all, 'call')},"
                f" {ended.moved:,} answered after a failover, {ended.failed:,} failed"
                f"{f', {ended.cancelled:,} cancelled' if ended.cancelled else ''}"
            )
            layers = [
                (ended.fine, "fine"),
                (ended.moved, "moved"),
                (ended.cancelled, "rest"),
                (ended.failed, "failed"),
            ]
            bars = stack(_FRAME, scale, _FRAME.left + index * across, across, layers)
            drawn.append(tag("g", tag("title", told), *bars))
    total = figures.total
    text = (
        f"{count(total.calls, 'call')}: {share(total.failed, total.calls)} failed,"
        f" {share(total.failovers, total.calls)} went on with another provider; a bar for every {per}."
    )
    cancelled = any(ended.cancelled for ended in figures.calls.values())
    legend = [
        ("fine", "answered"),
        ("moved", "answered after a failover"),
        *([("rest", "cancelled")] if cancelled else []),
        ("failed", "failed"),
    ]
    return figure("calls", title, text, _FRAME, drawn, legend=legend)


def latency_chart(figures: Figures) -> Markup:
    """Draw the median and the 95th percentile of each provider over time, as lines.

    Args:
        figures: What the records of the range add up to.
    """
    title = "Latency over time by provider"
    lines = {each: list(_points(figures, each)) for each in figures.busiest()}
    timed = [each for each, points in lines.items() if points]
    shown = timed[:SERIES]
    values = [value for each in shown for point in lines[each] for value in point.values]
    if not values:
        return nothing("latency", title, "No attempt was answered or timed out.")
    lowest, highest = max(min(values), _LOWEST_MS), max(*values, _LOWEST_MS)
    logs = highest > lowest * _LOG_FROM
    scale = logarithmic(lowest, highest) if logs else linear(highest, whole=True)
    axis = "latency (logarithmic)" if logs else "latency"
    drawn = [*vertical(_FRAME, scale, _tick, axis), *time_axis(_FRAME, figures)]
    for number, each in enumerate(shown, 1):
        drawn += _line(scale, lines[each], f"s{number}")
    text = "p95 is solid, the median dashed; of attempts that were answered or timed out."
    if len(timed) > SERIES:
        text += f" {count(len(timed) - SERIES, 'provider')} asked less often: in the table alone."
    legend = [(f"s{number}", each) for number, each in enumerate(shown, 1)]
    return figure("latency", title, text, _FRAME, drawn, legend=legend)


def _number(value: float) -> str:
    for size, unit in ((1_000_000, "M"), (1_000, "k")):
        if value >= 10 * size:
            return f"{value / size:,g} {unit}"
    return f"{value:,.0f}"


def _tick(ms: float) -> str:
    return f"{ms:.0f} ms" if ms < _SECOND_MS else f"{ms / _SECOND_MS:,g} s"


class _Point(NamedTuple):
    place: int
    x: float
    values: tuple[float, float]
    told: str


def _points(figures: Figures, provider: str) -> Iterator[_Point]:
    starts = figures.starts()
    slots = figures.slots.get(provider, {})
    for index, start in enumerate(starts):
        slot = slots.get(start)
        values = slot and _ends(slot)
        if values:
            told = (
                f"{name(provider)}, {slot_name(figures, start)}: median {duration(values[0])},"
                f" p95 {duration(values[1])}"
            )
            yield _Point(index, _FRAME.x((index + 0.5) / len(starts)), values, told)


def _ends(slot: Slot) -> tuple[float, float] | None:
    middle, high = slot.latency.percentile(0.5), slot.latency.percentile(0.95)
    return None if middle is None or high is None else (middle, high)


def _line(scale: Scale, points: list[_Point], kind: str) -> Iterator[Markup]:
    joined = [later.place - point.place <= _LONGEST_GAP for point, later in pairwise(points)]
    for which, style in ((0, "median"), (1, "high")):
        steps = "".join(
            f"{'L' if to_before else 'M'}{point.x:.1f} {_y(scale, point.values[which]):.1f}"
            for point, to_before in zip(points, [False, *joined], strict=True)
        )
        yield tag("path", d=steps, class_=f"line {style} {kind}")
    # What stands alone is a dot; the other points only tell their values.
    for point, before, after in zip(points, [False, *joined], [*joined, False], strict=True):
        look = {"r": 5, "class_": "hit"} if before or after else {"r": 2.5, "class_": f"dot {kind}"}
        spot = tag("circle", cx=point.x, cy=_y(scale, point.values[1]), **look)
        yield tag("g", tag("title", point.told), spot)


def _y(scale: Scale, ms: float) -> float:
    return _FRAME.y(scale.place(ms))
