"""What is found when a trail is verified."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is not as it was written.

    Args:
        file: Where.
        line: In which line, counted from 1; None if it is about the whole file.
        seq: Number of the record, as it says or as it should be; None if there is none.
        what: What is wrong.
    """

    file: Path
    line: int | None
    seq: int | None
    what: str


@dataclass(slots=True)
class ChainReport:
    """What was found of one chain, as far as it could be trusted.

    Args:
        name: What the names of its files begin with.
        chain: Its id; empty if none of its records could be trusted.
        files: Its files, oldest first.
        records: How many records were found to be as they were written.
        first_seq: Number of the first of them.
        last_seq: Number of the last.
        first_time: When the first was written, as it says.
        last_time: When the last was.
    """

    name: str
    files: list[Path]
    chain: str = ""
    records: int = 0
    first_seq: int | None = None
    last_seq: int | None = None
    first_time: str | None = None
    last_time: str | None = None


@dataclass(slots=True)
class Report:
    """What was found.

    Args:
        chains: Each chain.
        problems: What is not as it was written.
        notes: What is worth knowing, and no sign of anything altered.
    """

    chains: list[ChainReport] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether all is as it was written."""
        return not self.problems

    @property
    def records(self) -> int:
        """How many records are as they were written."""
        return sum(chain.records for chain in self.chains)
