"""Reads records back, in the order of their times. It proves nothing: ``verification`` does."""

from __future__ import annotations

import heapq
import json
import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, Final, NoReturn, TypeAlias

from ...errors import ProviderConfigError

Record: TypeAlias = dict[str, Any]

FAILED: Final = "failed"
"""Stands for every outcome that speaks against who was asked."""

_NEUTRAL: Final = frozenset({"ok", "cancelled"})


@dataclass(frozen=True, slots=True)
class Head:
    """How a file of a trail begins.

    Args:
        path: The file.
        chain: Name of its chain; the path if it does not say.
        number: Number of the file within its chain; 0 if it does not say.
        start: When it was begun, if it says so.
    """

    path: Path
    chain: str
    number: int
    start: datetime | None


def read_records(
    files: Iterable[Path],
    *,
    since: datetime | None = None,
    unreadable: Counter[Path] | None = None,
) -> Iterator[Record]:
    """Read the records of several files, ordered by time.

    Of each chain one file is open at a time, and its newest one from the beginning, so that it is
    read to its end also if it is put aside meanwhile.

    Args:
        files: The files, in any order.
        since: Files that end before are left out; of the others all records are read.
        unreadable: Counts the lines that are no records. A last line without an end is not
            counted: it is being written, or its writer was killed.

    Yields:
        The records.

    Raises:
        ProviderConfigError: A file cannot be read.
    """
    counter = Counter[Path]() if unreadable is None else unreadable
    chains: dict[str, list[Head]] = {}
    for path in dict.fromkeys(files):
        head = read_head(path)
        chains.setdefault(head.chain, []).append(head)
    streams = [_Chain(_since(heads, since), counter) for heads in chains.values()]
    try:
        yield from heapq.merge(*streams, key=time_of)
    finally:
        for stream in streams:
            stream.close()


def select(
    records: Iterable[Record],
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    caller: str | None = None,
    provider: str | None = None,
    outcome: str | None = None,
    request_id: str | None = None,
    kind: str | None = None,
) -> Iterator[Record]:
    """Choose records; None leaves everything in.

    Args:
        records: The records.
        since: The first time that is in.
        until: The first time that is out.
        caller: Who called; an empty text for calls whose caller is not known.
        provider: Who was asked, also if another one answered in the end.
        outcome: How it ended; ``failed`` for calls that failed in whatever way.
        request_id: Our id of the call.
        kind: The kind of the record.
    """
    wanted = {"request_id": request_id, "kind": kind}
    exact = {name: value for name, value in wanted.items() if value is not None}
    for record in records:
        at = time_of(record)
        if (
            (since is None or at >= since)
            and (until is None or at < until)
            and all(record.get(name) == value for name, value in exact.items())
            and (caller is None or (record.get("caller") or "") == caller)
            and (provider is None or provider in _providers(record))
            and (outcome is None or _ended(record, outcome))
        ):
            yield record


def is_failure(outcome: object) -> bool:
    """Whether an outcome speaks against who was asked; what we have cancelled does not."""
    return not isinstance(outcome, str) or outcome not in _NEUTRAL


def time_of(record: Mapping[str, Any]) -> datetime:
    """Return the time of a record."""
    return datetime.fromisoformat(record["time"])


def read_record(line: bytes) -> Record | None:
    """Return the record of a line; None if it is none."""
    try:
        record = json.loads(line, parse_constant=_refuse)
        at = datetime.fromisoformat(record["time"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return record if isinstance(record, dict) and at.tzinfo is not None else None


def read_head(path: Path) -> Head:
    """Read how a file begins.

    Args:
        path: The file.

    Raises:
        ProviderConfigError: It cannot be read.
    """
    with open_file(path) as file:
        return head_of(file, path)


def head_of(file: BinaryIO, path: Path) -> Head:
    """Read how a file begins that is open; what is read next is its second line.

    Args:
        file: The file, at its beginning.
        path: Its name.

    Raises:
        ProviderConfigError: It cannot be read.
    """
    record = read_record(_line(file, path)) or {}
    chain, number = record.get("chain"), record.get("file")
    if record.get("kind") != "start" or not isinstance(chain, str) or not isinstance(number, int):
        return Head(path, str(path), 0, None)
    return Head(path, chain, number, time_of(record))


def open_file(path: Path) -> BinaryIO:
    """Open a file of a trail.

    Args:
        path: The file.

    Raises:
        ProviderConfigError: It cannot be read, or is a pipe or a device.
    """
    try:
        # Opening a pipe that nobody writes to would wait for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        refuse_file(path, error)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ProviderConfigError(f"{path}: this is not a regular file; name the files themselves")
    return os.fdopen(descriptor, "rb")


def refuse_file(path: Path, error: Exception) -> NoReturn:
    """Say that a file cannot be read.

    Raises:
        ProviderConfigError: Always.
    """
    why = (error.strerror if isinstance(error, OSError) else None) or "this is no possible path"
    raise ProviderConfigError(f"{path}: cannot be read: {why}") from None


class _Chain:
    """The records of one chain, file after file."""

    def __init__(self, heads: Sequence[Head], unreadable: Counter[Path]) -> None:
        self._paths = [head.path for head in heads]
        self._unreadable = unreadable
        self._last = open_file(self._paths[-1])

    def __iter__(self) -> Iterator[Record]:
        for path in self._paths[:-1]:
            try:
                file = open_file(path)
            except ProviderConfigError:
                if path.exists():
                    raise
                continue  # it was too old to be kept, and has been removed meanwhile
            with file:
                yield from self._read(file, path)
        yield from self._read(self._last, self._paths[-1])

    def close(self) -> None:
        self._last.close()

    def _read(self, file: BinaryIO, path: Path) -> Iterator[Record]:
        while line := _line(file, path):
            record = read_record(line)
            if record is not None:
                yield record
            elif line.endswith(b"\n"):
                self._unreadable[path] += 1


def _line(file: BinaryIO, path: Path) -> bytes:
    try:
        return file.readline()
    except OSError as error:
        refuse_file(path, error)


def _since(heads: Iterable[Head], since: datetime | None) -> list[Head]:
    """Put a chain's files into their order, without those that end before a time."""
    ordered = sorted(heads, key=lambda head: head.number)
    if since is None:
        return ordered
    following = ordered[1:]
    kept = [
        head
        for head, after in zip(ordered, following, strict=False)
        if after.start is None or after.start >= since
    ]
    return [*kept, ordered[-1]]


def _providers(record: Record) -> list[object]:
    attempts = record.get("attempts")
    asked = attempts if isinstance(attempts, list) else []
    return [record.get("provider"), *(each.get("provider") for each in asked if _is_record(each))]


def _is_record(value: object) -> bool:
    return isinstance(value, dict)


def _ended(record: Record, outcome: str) -> bool:
    found = record.get("outcome")
    if outcome == FAILED:
        return record.get("kind") == "call" and is_failure(found)
    return bool(found == outcome)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number")
