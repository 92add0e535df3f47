"""The command `report`: what is slow, since when, and what did it cost."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..errors import ProviderConfigError
from ..observability.audit.reading import read_records, select
from ..observability.report.figures import Figures, Tally
from ..observability.report.findings import findings
from ..observability.report.html import page
from ..observability.report.summing import look_back, summarize
from ..observability.report.tables import tables
from . import output
from .audit.source import find_source, unreadable_notes
from .audit.times import read_range


def report_command(
    config: Path | None,
    files: Sequence[Path],
    times: tuple[str, str | None],
    *,
    html: Path | None,
    as_json: bool,
) -> int:
    """Add up the records of a time, and tell what they say.

    Args:
        config: The configuration.
        files: Files, instead of those of the configuration.
        times: Begin and end of the range, as they were typed.
        html: Where to write a page with charts.
        as_json: Whether to print JSON.

    Returns:
        The exit code.
    """
    now = datetime.now(UTC)
    since, until = read_range(times[0], times[1], now)
    assert since is not None
    until = min(until or now, now)
    if until <= since:
        raise ProviderConfigError("--since must be in the past")
    unreadable: Counter[Path] = Counter()
    listed = find_source(config, files).list_files()
    # What is usual is told by the time before.
    earlier = look_back(since)
    records = read_records(listed, since=earlier, unreadable=unreadable)
    figures = summarize(select(records, since=earlier, until=until), since, until)
    notes = unreadable_notes(unreadable)
    if html is not None:
        _write(html, page(figures, notes))
    if as_json:
        output.answer_json(_as_json(figures))
    else:
        _show(figures)
    for note in notes:
        output.say(f"note: {note}")
    if html is not None:
        output.say(f"written: {html}")
    return 0


def _show(figures: Figures) -> None:
    for text in findings(figures):
        output.answer(text)
    for table in tables(figures):
        output.answer("")
        output.table(table.title, table.columns, table.rows)
        if table.note:
            output.answer(table.note)


def _as_json(figures: Figures) -> dict[str, Any]:
    groups = {
        "providers": figures.providers,
        "callers": figures.callers,
        "models": figures.models,
        "days": figures.days,
    }
    return {
        "since": datetime.fromtimestamp(figures.since, UTC).isoformat(),
        "until": datetime.fromtimestamp(figures.until, UTC).isoformat(),
        "findings": findings(figures),
        "total": _tally(figures.total),
        **{
            name: {each: _tally(tally) for each, tally in group.items()}
            for name, group in groups.items()
        },
        "outcomes": dict(figures.outcomes),
        "refused": dict(figures.refused),
        "circuits_opened": dict(figures.openings),
        "records_missing": figures.dropped,
    }


def _tally(tally: Tally) -> dict[str, Any]:
    return {
        "calls": tally.calls,
        "failed": tally.failed,
        "failovers": tally.failovers,
        "p50_ms": tally.latency.percentile(0.5),
        "p95_ms": tally.latency.percentile(0.95),
        "first_content_p95_ms": tally.first_content.percentile(0.95),
        "tokens": tally.tokens,
        # Null, not 0, where no price is known.
        "cost_usd": tally.cost_usd if tally.priced or not tally.unpriced else None,
        "requests_of_unknown_cost": tally.unpriced,
    }


def _write(path: Path, text: str) -> None:
    """Write a file that only its owner may read; whoever reads it has all of it, or the old one."""
    temporary: Path | None = None
    try:
        real = path.resolve()
        if real.exists() and not real.is_file():
            raise ProviderConfigError(f"{path}: this is not a regular file; choose another name")
        descriptor, name = tempfile.mkstemp(dir=real.parent, prefix=f".{real.name}.")
        temporary = Path(name)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(real)
    except OSError as error:
        raise ProviderConfigError(f"{path}: cannot be written: {error.strerror}") from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
