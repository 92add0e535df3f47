"""Scales and axes of charts: where a value is drawn, and what stands beside it. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from .markup import Markup, tag

_STEPS: Final = (1, 2, 2.5, 5, 10)
_TIME_STEPS: Final = (
    *(60 * minutes for minutes in (1, 2, 5, 10, 15, 30)),
    *(3_600 * hours for hours in (1, 2, 3, 4, 6, 12)),
    *(86_400 * days for days in (1, 2, 7, 14, 30, 91, 182, 365, 730, 1_825, 3_650)),
)
_TICKS: Final = 5
_DAY: Final = 86_400


@dataclass(frozen=True, slots=True)
class Frame:
    """The place of a chart within its drawing.

    Args:
        width: Of the drawing.
        height: Likewise.
        left: Room left of the chart; the others likewise.
    """

    width: int
    height: int
    left: int = 64
    right: int = 22
    top: int = 14
    bottom: int = 44

    @property
    def across(self) -> float:
        """Width of the chart."""
        return self.width - self.left - self.right

    @property
    def floor(self) -> float:
        """Where the chart ends below."""
        return self.height - self.bottom

    @property
    def up(self) -> float:
        """Height of the chart."""
        return self.floor - self.top

    def x(self, share: float) -> float:
        """Return where a share of the width ends."""
        return self.left + share * self.across

    def y(self, share: float) -> float:
        """Return where a share of the height ends, from below."""
        return self.floor - share * self.up


@dataclass(frozen=True, slots=True)
class Scale:
    """Values on an axis.

    Args:
        place: Returns which share of the axis a value takes.
        ticks: The values that are written beside it.
    """

    place: Callable[[float], float]
    ticks: Sequence[float]


def linear(highest: float, *, whole: bool = False) -> Scale:
    """Make a scale from 0 to a round number that is no lower than the highest value.

    Args:
        highest: The highest value.
        whole: Whether only whole numbers are written beside it, as of things that are counted.
    """
    rough = max((highest or 1.0) / _TICKS, 1.0 if whole else 0.0)
    power = 10.0 ** math.floor(math.log10(rough))
    steps = (factor * power for factor in _STEPS)
    step = next(
        step for step in steps if step >= rough * (1 - 1e-9) and not (whole and step != round(step))
    )
    many = max(math.ceil(highest / step - 1e-9), 1)
    return Scale(lambda value: value / (step * many), [step * each for each in range(many + 1)])


def logarithmic(lowest: float, highest: float) -> Scale:
    """Make a scale by powers of ten.

    Args:
        lowest: The lowest value, above 0.
        highest: The highest.
    """
    start, end = math.floor(math.log10(lowest)), math.ceil(math.log10(highest))
    length = max(end - start, 1)
    return Scale(
        lambda value: (math.log10(max(value, 10.0**start)) - start) / length,
        [10.0**power for power in range(start, start + length + 1)],
    )


def time_ticks(first: float, last: float, most: int) -> list[tuple[float, str]]:
    """Return the round times of a range, and how they are written.

    Args:
        first: Begin of the range, in seconds since 1970.
        last: Its end.
        most: About how many there may be.
    """
    length = last - first
    step = next((each for each in _TIME_STEPS if length / each <= most), math.ceil(length / most))
    times = range(math.ceil(first / step) * step, math.floor(last) + 1, step)
    return [(float(at), _written(at, step)) for at in times]


def _written(at: int, step: int) -> str:
    then = datetime.fromtimestamp(at, UTC)
    if step >= 365 * _DAY:
        return f"{then:%Y-%m}"
    return f"{then:%d %b}" if at % _DAY == 0 else f"{then:%H:%M}"


def vertical(frame: Frame, scale: Scale, write: Callable[[float], str], name: str) -> list[Markup]:
    """Draw the axis at the left, with lines across the chart."""
    drawn = []
    for value in scale.ticks:
        y = frame.y(scale.place(value))
        kind = "base" if y == frame.floor else "grid"
        drawn += [
            tag("line", x1=frame.left, x2=frame.width - frame.right, y1=y, y2=y, class_=kind),
            tag("text", write(value), x=frame.left - 8, y=y + 4, class_="tick end"),
        ]
    middle = frame.y(0.5)
    turned = f"rotate(-90 12 {middle:.1f})"
    return [*drawn, tag("text", name, x=12, y=middle, class_="axis", transform=turned)]


def horizontal(frame: Frame, ticks: Sequence[tuple[float, str]], name: str) -> list[Markup]:
    """Draw the axis below.

    Args:
        frame: The place of the chart.
        ticks: Which share of the width each one takes, and its text.
        name: What the axis shows.
    """
    texts = [
        tag("text", text, x=frame.x(share), y=frame.floor + 18, class_="tick middle")
        for share, text in ticks
    ]
    return [*texts, tag("text", name, x=frame.x(0.5), y=frame.height - 6, class_="axis")]
