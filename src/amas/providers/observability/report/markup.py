"""Pieces of HTML and SVG in which every text is escaped. Pure."""

from __future__ import annotations

from html import escape
from typing import Final

from .wording import plain

# HTML elements without content; SVG's are closed like these as well.
_EMPTY: Final = frozenset({"meta", "rect", "line", "path", "circle"})


class Markup(str):
    """A text that is HTML already."""

    __slots__ = ()


def tag(name: str, /, *children: str, **attributes: object) -> Markup:
    """Make an element.

    Args:
        name: Its name.
        children: What stands in it: ``Markup`` as it is, any other text escaped.
        attributes: Its attributes, escaped; ``_`` stands for ``-``, and one at the end is dropped.
            Those that are None are left out.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_value(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _EMPTY:
        return Markup(f"<{name}{written}/>")
    return Markup(f"<{name}{written}>{join(*children)}</{name}>")


def join(*children: str) -> Markup:
    """Put pieces and texts one after the other."""
    return Markup("".join(each if isinstance(each, Markup) else _text(each) for each in children))


def _text(text: str) -> str:
    return escape(plain(text, longest=2_000))


def _value(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.1f}".removesuffix(".0")
    return _text(str(value))
