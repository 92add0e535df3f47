"""What waits to be written, and what there is nothing more of than its number."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

from .chain import CHUNK, SEAL_BYTES
from .records import encode, made, time_text

NO_ROOM: Final = "the file could not be written, and no more could wait"
MISSED: Final = "more events came than could be written"
UNFIT: Final = "they could not be put into writing"
CLOSED: Final = "the trail was closed before they were written"


@dataclass(slots=True)
class _Gap:
    """How many are missing, and between which times, in seconds since 1970."""

    count: int
    first: float
    last: float


class Backlog:
    """Records that wait in memory, as many as there is room for; the others are counted.

    Args:
        most: Most records that may wait.
        most_bytes: Most bytes of them.
    """

    def __init__(self, most: int, most_bytes: int) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._records: deque[tuple[float, bytes]] = deque()
        self._bytes = 0
        self._gaps: dict[str, _Gap] = {}

    def __bool__(self) -> bool:
        return bool(self._records or self._gaps)

    def __len__(self) -> int:
        return len(self._records)

    def add(self, at: float, record: bytes) -> None:
        """Let a record wait.

        Args:
            at: When it happened, in seconds since 1970.
            record: It, encoded.
        """
        self._records.append((at, record))
        self._bytes += _size(record)

    def has_room(self, record: bytes) -> bool:
        """Whether a record would be written together with those that wait."""
        return not self._records or self._bytes + _size(record) <= CHUNK

    def chunk(self) -> list[bytes]:
        """Return the oldest ones, as many as are written together; at least one, if any waits."""
        found: list[bytes] = []
        size = 0
        for _, record in self._records:
            size += _size(record)
            if found and size > CHUNK:
                break
            found.append(record)
        return found

    def written(self, many: int) -> None:
        """Let go of the oldest ones."""
        for _ in range(many):
            self._bytes -= _size(self._records.popleft()[1])

    def cut(self) -> int:
        """Drop the newest that there is no room for.

        Returns:
            How many.
        """
        many = 0
        while len(self._records) > self._most or self._bytes > self._most_bytes:
            self._drop_newest(NO_ROOM)
            many += 1
        return many

    def drop_all(self, why: str) -> int:
        """Drop all that wait.

        Args:
            why: The reason, one of this module's.

        Returns:
            How many.
        """
        many = len(self._records)
        for _ in range(many):
            self._drop_newest(why)
        return many

    def _drop_newest(self, why: str) -> None:
        at, record = self._records.pop()
        self._bytes -= _size(record)
        self.miss(why, 1, at, at)

    def miss(self, why: str, count: int, first: float, last: float) -> None:
        """Count what there will be no record of.

        Args:
            why: The reason, one of this module's.
            count: How many.
            first: Not before this time, in seconds since 1970.
            last: Not after this time.
        """
        gap = self._gaps.setdefault(why, _Gap(0, first, last))
        gap.count += count
        gap.first, gap.last = min(gap.first, first), max(gap.last, last)

    def told(self, now: float) -> list[bytes]:
        """Return the records that tell what was dropped, one for each reason.

        Args:
            now: The time, in seconds since 1970.
        """
        return [
            encode(
                made(
                    "dropped",
                    now,
                    {
                        "count": gap.count,
                        "first_time": time_text(gap.first),
                        "last_time": time_text(gap.last),
                        "reason": why,
                    },
                )
            )
            for why, gap in self._gaps.items()
        ]

    def forget_dropped(self) -> None:
        """Begin to count anew: it has been told."""
        self._gaps.clear()


def _size(record: bytes) -> int:
    return len(record) + SEAL_BYTES
