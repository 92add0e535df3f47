"""The end of a trail, and what is added to it, without reading the rest."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from ...errors import ProviderConfigError
from .files import chain_of
from .reading import Head, Record, head_of, open_file, read_record, time_of

_BLOCK: Final = 1 << 16


class Follower:
    """Reads the last records of a trail, then those that are added.

    A file that is put aside is read to its end, then those that were put aside since, then the one
    that is in its place now.

    Args:
        list_files: Returns the trail's files as they are now.
    """

    def __init__(self, list_files: Callable[[], Iterable[Path]]) -> None:
        self._list_files = list_files
        self._open: dict[Path, _File] = {}
        # What was removed under its writer is written again; that is not to be shown twice.
        self._seen: dict[str, int] = {}

    def last(self, many: int) -> list[Record]:
        """Return the last records of all files together, ordered by time.

        Args:
            many: How many at most.

        Raises:
            ProviderConfigError: A file cannot be read.
        """
        self.close()
        found: list[Record] = []
        for path in self._list_files():
            file = _File(path)
            # At least one, to know from where it goes on.
            records = _records(file.last(max(many, 1)))
            self._note(file, records)
            found = sorted([*found, *records], key=time_of)[-many:] if many else []
            if _is_live(path):
                self._open[path] = file
            else:
                file.close()
        return found

    def added(self) -> list[Record]:
        """Return the records that were added since the last time, ordered by time.

        Raises:
            ProviderConfigError: A file cannot be read.
        """
        found: list[Record] = []
        for path in {**self._open, **dict.fromkeys(filter(_is_live, self._list_files()))}:
            file = self._open.get(path)
            # First this, so that nothing is added any more to what was replaced.
            replaced = file is None or file.was_replaced()
            if file is not None:
                found += self._new(file, file.added())
            if replaced:
                found += self._begin(path, file)
        return sorted(found, key=time_of)

    def close(self) -> None:
        """Close the files."""
        for file in self._open.values():
            file.close()
        self._open.clear()

    def _begin(self, path: Path, before: _File | None) -> list[Record]:
        try:
            file = _File(path)
        except ProviderConfigError:
            if path.exists():
                raise
            return []  # it is being put aside this moment; the next one comes
        after = 0 if before is None else before.head.number
        if before is not None:
            before.close()
        self._open[path] = file
        found = self._between(path, after, file.head.number)
        return [*found, *self._new(file, file.added())]

    def _between(self, path: Path, after: int, before: int) -> list[Record]:
        """Return what is new in the files that were put aside, after one and before another."""
        found: list[Record] = []
        for number, aside in chain_of(path)[0].put_aside():
            if not after < number < before:
                continue
            try:
                file = _File(aside)
            except ProviderConfigError:
                if aside.exists():
                    raise
                continue  # it was too old to be kept, and has been removed meanwhile
            try:
                found += self._new(file, file.added())
            finally:
                file.close()
        return found

    def _new(self, file: _File, lines: Iterable[bytes]) -> list[Record]:
        seen = self._seen.get(file.head.chain, 0)
        # One without a number is none of ours, but it is there.
        new = [each for each in _records(lines) if _number(each) not in range(seen + 1)]
        self._note(file, new)
        return new

    def _note(self, file: _File, records: Iterable[Record]) -> None:
        numbers = [number for each in records if (number := _number(each)) is not None]
        self._seen[file.head.chain] = max([self._seen.get(file.head.chain, 0), *numbers])


class _File:
    """A file that is read from its end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = open_file(path)
        self.head = self._read_head()

    def _read_head(self) -> Head:
        self._file.seek(0)
        head = head_of(self._file, self._path)
        self._file.seek(0)
        return head

    def last(self, many: int) -> list[bytes]:
        """Return the last whole lines; what comes after them is for ``added``."""
        start = size = self._file.seek(0, os.SEEK_END)
        blocks: list[bytes] = []
        ends = 0
        while start and ends <= many:
            start, end = max(start - _BLOCK, 0), start
            self._file.seek(start)
            blocks.append(self._file.read(end - start))
            ends += blocks[-1].count(b"\n")
        content = b"".join(reversed(blocks))
        whole = content[: content.rfind(b"\n") + 1]
        self._file.seek(size - len(content) + len(whole))
        return whole.splitlines()[-many:]

    def added(self) -> list[bytes]:
        """Return the whole lines that were added since the last time."""
        start = self._file.tell()
        if not start:
            # It may have been opened before its writer had begun.
            self.head = self._read_head()
        content = self._file.read()
        whole = content[: content.rfind(b"\n") + 1]
        self._file.seek(start + len(whole))
        return whole.splitlines()

    def was_replaced(self) -> bool:
        """Whether another file stands in its place by now."""
        try:
            there = self._path.stat()
        except OSError:
            return False
        return not os.path.samestat(there, os.fstat(self._file.fileno()))

    def close(self) -> None:
        self._file.close()


def _records(lines: Iterable[bytes]) -> list[Record]:
    return [record for line in lines if (record := read_record(line)) is not None]


def _number(record: Record) -> int | None:
    number = record.get("seq")
    return number if isinstance(number, int) else None


def _is_live(path: Path) -> bool:
    return chain_of(path)[1] is None
