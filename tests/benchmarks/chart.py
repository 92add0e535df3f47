"""A chart of bars as SVG, readable on light and dark pages."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

_LEFT, _WIDTH, _ROW = 220, 480, 26


def bars(title: str, values: Mapping[str, float], own: str) -> str:
    """Draw bars, one for each value.

    Args:
        title: What they show.
        values: The values by name.
        own: The name of the bar that stands out.
    """
    most = max(values.values())
    rows = []
    for index, (name, value) in enumerate(sorted(values.items(), key=lambda item: item[1])):
        y = _ROW * (index + 1) + 16
        length = max(_WIDTH * value / most, 1)
        colour = "#2da44e" if name == own else "#8c959f"
        rows.append(
            f'<text x="{_LEFT - 8}" y="{y + 12}" text-anchor="end">{escape(name)}</text>'
            f'<rect x="{_LEFT}" y="{y}" width="{length:.0f}" height="16" fill="{colour}"/>'
            f'<text x="{_LEFT + length + 6:.0f}" y="{y + 12}">{value:.2f}</text>'
        )
    height = _ROW * (len(values) + 1) + 20
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_LEFT + _WIDTH + 70}" height="{height}"'
        f' role="img" aria-label="{escape(title)}" font-family="sans-serif" font-size="13"'
        f' fill="#6e7781"><text x="{_LEFT}" y="20" font-weight="bold">{escape(title)}</text>'
        f"{''.join(rows)}</svg>\n"
    )
