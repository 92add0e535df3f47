"""Where the command's words go: answers to stdout, everything else to stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def say(text: str) -> None:
    """Tell the person at the terminal something that is not the answer."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201 -- printing is a command's work


def answer(text: str, *, end: str = "\n") -> None:
    """Print an answer, or a piece of one."""
    print(text, end=end, flush=True)  # noqa: T201 -- printing is a command's work


def answer_json(value: Any) -> None:
    """Print a value as one line of JSON."""
    answer(json.dumps(value, ensure_ascii=False, default=str))


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print a table; on a terminal as wide as that, into a pipe as wide as it needs."""
    _console().print(_drawn(title, columns, rows))


@contextmanager
def live_table() -> Iterator[Callable[[str, Sequence[str], Iterable[Sequence[Any]]], None]]:
    """Give out what shows a table in place of the one before; into a pipe one after the other."""
    from rich.live import Live  # noqa: PLC0415 -- help must not wait for rich

    console = _console()
    if not console.is_terminal:
        yield table
        return
    with Live(console=console, auto_refresh=False) as live:
        yield lambda title, columns, rows: live.update(_drawn(title, columns, rows), refresh=True)


def _console() -> Console:
    from rich.console import Console  # noqa: PLC0415 -- help must not wait for rich

    return Console(file=sys.stdout, width=None if sys.stdout.isatty() else 160)


def _drawn(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Table:
    from rich.table import Table  # noqa: PLC0415 -- help must not wait for rich
    from rich.text import Text  # noqa: PLC0415 -- help must not wait for rich

    drawn = Table(title=title, title_justify="left", header_style="bold")
    for column in columns:
        drawn.add_column(column, overflow="fold")
    for row in rows:
        # Text, not str: what an upstream says must not be read as rich's markup.
        drawn.add_row(*(Text("" if cell is None else str(cell)) for cell in row))
    return drawn
