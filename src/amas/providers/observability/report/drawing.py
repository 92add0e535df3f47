"""What the charts have in common: bars, a frame with title and legend, and the axis of times. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from .axes import Frame, Scale, horizontal, time_ticks
from .figures import Figures
from .markup import Markup, tag
from .wording import moment, plain

SERIES: Final = 6
"""Colours there are for providers; ``s1`` and so on are their classes."""

_TIMES: Final = 9
_LONGEST_NAME: Final = 30
_GAP: Final = 0.2  # of a bar's place


def figure(
    key: str,
    title: str,
    description: str,
    frame: Frame,
    drawn: Iterable[Markup],
    *,
    legend: Sequence[tuple[str, str]] = (),
) -> Markup:
    """Put a chart together.

    Args:
        key: Tells its ids from those of the others.
        title: What it shows.
        description: What there is to see, for those who do not see it too.
        frame: Its place.
        drawn: What is drawn.
        legend: The classes of what is drawn, and what each stands for.
    """
    svg = tag(
        "svg",
        tag("title", title, id=f"{key}-title"),
        tag("desc", description, id=f"{key}-text"),
        *drawn,
        viewBox=f"0 0 {frame.width} {frame.height}",
        role="img",
        aria_labelledby=f"{key}-title {key}-text",
    )
    keys = [tag("li", tag("span", class_=f"key {kind}"), name(word)) for kind, word in legend]
    return tag(
        "figure",
        tag("figcaption", tag("h2", title), tag("p", description)),
        *([tag("ul", *keys, class_="legend")] if keys else []),
        tag("div", svg, class_="wide"),
        id=key,
    )


def nothing(key: str, title: str, text: str) -> Markup:
    """Say in the place of a chart why there is none."""
    return tag("figure", tag("figcaption", tag("h2", title), tag("p", text)), id=key)


def stack(
    frame: Frame, scale: Scale, left: float, across: float, layers: Iterable[tuple[float, str]]
) -> list[Markup]:
    """Draw a bar of several layers, and what makes the whole height of its place tell its title.

    Args:
        frame: The place of the chart.
        scale: Of its heights.
        left: Where the place of the bar begins.
        across: How wide that is.
        layers: Value and class of each layer, the lowest first.
    """
    width = min(across * (1 - _GAP), 64.0)
    x = left + (across - width) / 2
    drawn = [
        tag("rect", x=left, y=frame.top, width=across, height=frame.up, class_="hit"),
    ]
    below = 0.0
    for value, kind in layers:
        top = frame.y(scale.place(below + value))
        height = frame.y(scale.place(below)) - top
        if value:
            drawn.append(tag("rect", x=x, y=top, width=width, height=height, class_=kind))
        below += value
    return drawn


def time_axis(frame: Frame, figures: Figures) -> list[Markup]:
    """Draw the axis of the range's times."""
    starts = figures.starts()
    first, last = float(starts[0]), float(starts[-1] + figures.width)
    ticks = time_ticks(first, last, _TIMES)
    places = [((at - first) / (last - first), text) for at, text in ticks]
    return horizontal(frame, places, "time (UTC)")


def slot_name(figures: Figures, start: int) -> str:
    """Write a slot by its begin and end."""
    ends = moment(start + figures.width, start)
    return f"{moment(start, figures.until)} to {ends} UTC"


def name(text: str) -> str:
    """Write a name so that it has room in a legend."""
    return plain(text, _LONGEST_NAME)
