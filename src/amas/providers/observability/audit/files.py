"""The names of a trail's files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

# Most processes that write the same trail at a time, each to a file of its own.
SLOTS: Final = 999

_NUMBER: Final = re.compile(r"(?P<stem>.+)\.(?P<number>\d{6,})")
_SLOT: Final = re.compile(r"(?P<base>.+)-(?P<slot>[1-9]\d{0,2})")


@dataclass(frozen=True, slots=True)
class ChainName:
    """The names that belong to one chain.

    Args:
        folder: Where its files are.
        stem: What all their names begin with.
        suffix: What they end with, such as ``.jsonl``.
    """

    folder: Path
    stem: str
    suffix: str

    @property
    def live(self) -> Path:
        """The file that is written."""
        return self.folder / f"{self.stem}{self.suffix}"

    @property
    def unfinished(self) -> Path:
        """A file on its way to become the live one."""
        return self.folder / f".{self.stem}{self.suffix}.new"

    @property
    def replaced(self) -> Path:
        """What was found in the live file's place and was not it."""
        return self.folder / f"{self.stem}{self.suffix}.replaced"

    def aside(self, number: int) -> Path:
        """The file of that number, put aside."""
        return self.folder / f"{self.stem}.{number:06d}{self.suffix}"

    def checkpoint(self, folder: Path | None) -> Path:
        """Its checkpoint, in that folder, or else beside it."""
        return (folder or self.folder) / f"{self.stem}.checkpoint"

    @property
    def base(self) -> str:
        """What the names of all chains of its trail begin with."""
        found = _SLOT.fullmatch(self.stem)
        return found["base"] if found else self.stem

    @property
    def slot(self) -> int:
        """Which chain of its trail it is, counted from 1, as far as its name tells."""
        found = _SLOT.fullmatch(self.stem)
        return int(found["slot"]) if found else 1

    def put_aside(self) -> list[tuple[int, Path]]:
        """Return the files that were put aside, with their numbers, oldest first.

        One that is the live file as well, because it was being put aside when its writer was
        killed, is not among them.
        """
        live = _identity(self.live)
        found = []
        for path in _siblings(self.folder):
            name, number = chain_of(path)
            if name == self and number is not None and _identity(path) != live:
                found.append((number, path))
        return sorted(found)


def chain_of(path: Path) -> tuple[ChainName, int | None]:
    """Return to which chain a file belongs, and its number if it was put aside."""
    whole = path.name if _NUMBER.fullmatch(path.name) else path.stem
    suffix = path.name[len(whole) :]
    found = _NUMBER.fullmatch(whole)
    if found is None:
        return ChainName(path.parent, whole, suffix), None
    return ChainName(path.parent, found["stem"], suffix), int(found["number"])


def chains(path: Path) -> Iterator[ChainName]:
    """Yield the chains of a trail, one for each process that may write it at a time.

    Args:
        path: The file that is configured.
    """
    first = ChainName(path.parent, path.stem, path.suffix)
    yield first
    for slot in range(2, SLOTS + 1):
        yield ChainName(first.folder, f"{first.stem}-{slot}", first.suffix)


def slot_of(name: ChainName, path: Path) -> int:
    """Return which chain of a trail one is, counted from 1.

    Args:
        name: The chain's names.
        path: The file that is configured.
    """
    return 1 if name.stem == path.stem else name.slot


def checkpoint_files(path: Path, folder: Path | None) -> list[Path]:
    """Return every checkpoint of a trail.

    Args:
        path: The file that is configured.
        folder: The folder of its checkpoints; None for that of the file.
    """
    names = {name.checkpoint(folder).name for name in chains(path)}
    return sorted(found for found in _siblings(folder or path.parent) if found.name in names)


def trail_files(path: Path) -> list[Path]:
    """Return every file of a trail: of all its writers, oldest first for each.

    Args:
        path: The file that is configured.
    """
    known = {name.stem: place for place, name in enumerate(chains(path))}
    found = {
        name.stem: name
        for name, _ in map(chain_of, _siblings(path.parent))
        if name.stem in known and name.suffix == path.suffix
    }
    files: list[Path] = []
    for stem in sorted(found, key=known.__getitem__):
        name = found[stem]
        files += [aside for _, aside in name.put_aside()]
        if name.live.exists():
            files.append(name.live)
    return files


def _siblings(folder: Path) -> list[Path]:
    try:
        return [folder / entry for entry in os.listdir(folder)]  # noqa: PTH208 -- names alone
    except OSError:
        return []


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
