"""The command `query`: finds records, and prints them as a table, JSON Lines or CSV."""

from __future__ import annotations

import csv
import json
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from ...errors import ProviderConfigError, suggestion
from ...observability.audit.reading import FAILED, Record, read_records, select
from ...observability.report.calls import number
from ...observability.report.wording import duration, plain
from ...types import Outcome
from .. import output
from .source import find_source, unreadable_notes
from .times import read_range
from .wording import attempts_of, cost_of, tokens_of, told, when

KINDS: Final = (
    *("call", "access", "circuit", "key", "configuration", "health", "records"),
    *("start", "repaired", "lost", "dropped", "restored", "removed", "end"),
)

_TABLE_LIMIT: Final = 1_000
_COLUMNS: Final = (
    *("time (UTC)", "kind", "caller", "provider", "model", "outcome"),
    *("latency", "tokens", "cost", "request id, or more"),
)
_FIELDS: Final = (
    *("time", "seq", "kind", "request_id", "caller", "provider", "model", "outcome", "status"),
    *("attempts", "prompt_tokens", "completion_tokens", "total_tokens", "cost_usd"),
    *("latency_ms", "first_content_ms", "key", "more"),
)
# A spreadsheet takes a cell that begins so for a formula, and callers choose their names.
_FORMULA: Final = ("=", "+", "-", "@")
_LONGEST_CELL: Final = 10_000
# What stands in columns of its own; contents have no place in a table, and seals say nothing there.
_TOLD: Final = frozenset({*_FIELDS, "tokens", "mac", "prompt", "answer"})


def query_command(
    config: Path | None,
    files: Sequence[Path],
    times: tuple[str | None, str | None],
    wanted: Mapping[str, str | None],
    *,
    form: str,
    limit: int | None,
) -> int:
    """Find records, and print them.

    Args:
        config: The configuration.
        files: Files, instead of those of the configuration.
        times: Begin and end of the range, as they were typed.
        wanted: What they must have, as ``select`` takes it.
        form: ``table``, ``json`` or ``csv``.
        limit: The most that are printed, the last ones; None for all, in a table for 1,000.

    Returns:
        The exit code.
    """
    since, until = read_range(*times, datetime.now(UTC))
    _require_known("--outcome", wanted.get("outcome"), [FAILED, *map(str, Outcome)])
    _require_known("--kind", wanted.get("kind"), KINDS)
    listed = find_source(config, files).list_files()
    unreadable: Counter[Path] = Counter()
    records = read_records(listed, since=since, unreadable=unreadable)
    found: Iterable[Record] = select(records, since=since, until=until, **wanted)
    if form == "table":
        _print_table(found, limit or _TABLE_LIMIT, cut=limit is None)
    else:
        found = found if limit is None else deque(found, limit)
        _PRINTERS[form](found)
    for note in unreadable_notes(unreadable):
        output.say(f"note: {note}")
    return 0


def _require_known(option: str, word: str | None, words: Iterable[str]) -> None:
    known = list(words)
    if word is not None and word not in known:
        raise ProviderConfigError(
            f"{option} takes one of {', '.join(known)}{suggestion(word, known)}"
        )


def _print_table(records: Iterable[Record], limit: int, *, cut: bool) -> None:
    last: deque[Record] = deque(maxlen=limit)
    many = 0
    for record in records:
        last.append(record)
        many += 1
    output.table("Records", _COLUMNS, map(_row, last))
    if cut and many > len(last):
        output.say(
            f"note: the last {len(last):,} of {many:,}; --limit N or --format json shows more"
        )


def _row(record: Record) -> tuple[str, ...]:
    called = record.get("kind") == "call"
    tokens = tokens_of(record)
    names = ("kind", "caller", "provider", "model", "outcome")
    return (
        when(record).removesuffix("Z"),
        *(plain(record.get(name, "")) for name in names),
        duration(number(record.get("latency_ms"))) if called else "",
        "" if tokens is None else f"{tokens:,}",
        cost_of(record),
        plain(record.get("request_id", "")) if called else told(_without(record, names)),
    )


def _without(record: Record, names: Iterable[str]) -> Record:
    return {
        "time": record["time"],
        **{k: v for k, v in record.items() if k not in {*names, "chain"}},
    }


def _print_json(records: Iterable[Record]) -> None:
    for record in records:
        text = json.dumps(record, ensure_ascii=False)
        # A name may hold what moves the cursor, or is no character at all.
        output.answer(text if text.isprintable() else json.dumps(record))


class _Output:
    """What a writer of CSV writes to."""

    def write(self, text: str) -> None:
        output.answer(text, end="")


def _print_csv(records: Iterable[Record]) -> None:
    writer = csv.writer(_Output())
    writer.writerow(_FIELDS)
    for record in records:
        writer.writerow(_cells(record))


_PRINTERS: Final = {"json": _print_json, "csv": _print_csv}


def _cells(record: Record) -> Iterator[object]:
    tokens = record.get("tokens")
    counts = tokens if isinstance(tokens, dict) else {}
    rest = {name: value for name, value in record.items() if name not in _TOLD}
    cells = {
        **record,
        **{f"{name}_tokens": counts.get(name) for name in ("prompt", "completion", "total")},
        "attempts": " ".join(attempts_of(record)),
        "more": json.dumps(rest) if rest else None,
    }
    return (_safe(cells.get(name)) for name in _FIELDS)


def _safe(value: object) -> object:
    """Make a cell harmless to a terminal, and to a spreadsheet."""
    if value is None or isinstance(value, int | float):
        return value
    text = plain(value, _LONGEST_CELL)
    return f"'{text}" if text.startswith(_FORMULA) else text
