"""Where the command's words go: answers to stdout, everything else to stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from ..secret import scrub

if TYPE_CHECKING:
    from rich.console import Console, Group
    from rich.table import Table

# What is well, what is not for the moment, and what needs somebody, by the words of a status.
_STYLES = {
    **dict.fromkeys(("available", "closed", "yes"), "green"),
    **dict.fromkeys(("cooling down", "half open", "limit reached", "busy", "full"), "yellow"),
    **dict.fromkeys(
        ("circuit open", "open", "key refused", "set aside", "unavailable", "unhealthy", "no"),
        "red",
    ),
}


def say(text: str) -> None:
    """Tell the person at the terminal something that is not the answer."""
    # A name in a configuration may be a key that was pasted into the wrong place.
    print(scrub(text), file=sys.stderr, flush=True)  # noqa: T201 -- printing is a command's work


def answer(text: str, *, end: str = "\n") -> None:
    """Print an answer, or a piece of one."""
    print(text, end=end, flush=True)  # noqa: T201 -- printing is a command's work


def answer_json(value: Any) -> None:
    """Print a value as one line of JSON."""
    answer(json.dumps(value, ensure_ascii=False, default=str))


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print a table; on a terminal as wide as that, into a pipe as wide as it needs."""
    _console().print(_drawn(title, columns, rows))


@dataclass(frozen=True, slots=True)
class Page:
    """A look at something that changes.

    Args:
        title: What it is, and of when.
        columns: Heads of the table.
        rows: Its rows, as many lines each as their texts have.
        notes: What does not fit into the table; lines below it.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()


@contextmanager
def live_page(*, live: bool) -> Iterator[Callable[[Page], None]]:
    """Give out what shows a page in place of the one before; into a pipe one after the other.

    Args:
        live: Whether there will be more than one.
    """
    from rich.live import Live  # noqa: PLC0415 -- help must not wait for rich

    console = _console()
    if not live or not console.is_terminal:
        yield lambda page: console.print(_laid_out(page))
        return
    with Live(console=console, auto_refresh=False) as shown:
        yield lambda page: shown.update(_laid_out(page), refresh=True)


def _console() -> Console:
    from rich.console import Console  # noqa: PLC0415 -- help must not wait for rich

    class Plain(Console):
        @override
        def on_broken_pipe(self) -> None:
            raise  # noqa: PLE0704 -- called while it is handled; rich would end the process with 1

    return Plain(file=sys.stdout, width=None if sys.stdout.isatty() else 160)


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


def _laid_out(page: Page) -> Group:
    """Lay out a page without a frame, so that it fits into a terminal of 100 columns."""
    from rich.console import Group  # noqa: PLC0415 -- help must not wait for rich
    from rich.table import Table  # noqa: PLC0415 -- help must not wait for rich
    from rich.text import Text  # noqa: PLC0415 -- help must not wait for rich

    drawn = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in page.columns:
        drawn.add_column(column, overflow="fold")
    for row in page.rows:
        drawn.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in row))
    notes = [Text(note, overflow="fold") for note in page.notes]
    return Group(Text(page.title, style="bold"), Text(), drawn, Text(), *notes)
