"""The command `tail`: the last records, and those that are added."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from ...observability.audit.following import Follower
from ...observability.audit.reading import Record
from .. import output
from .source import find_source
from .wording import line

_POLL = 0.5


def tail_command(config: Path | None, files: Sequence[Path], lines: int, *, follow: bool) -> int:
    """Show the last records, a line each.

    Args:
        config: The configuration.
        files: Files, instead of those of the configuration.
        lines: How many records.
        follow: Whether to go on with what is added, until interrupted.

    Returns:
        The exit code.
    """
    source = find_source(config, files, empty=follow)
    if not source.list_files():
        output.say(f"{source.trail}: there are no records yet; waiting for the first")
    follower = Follower(source.list_files)
    try:
        _show(follower.last(lines))
        while follow:
            time.sleep(_POLL)
            _show(follower.added())
    finally:
        follower.close()
    return 0


def _show(records: Iterable[Record]) -> None:
    for record in records:
        output.answer(line(record))
