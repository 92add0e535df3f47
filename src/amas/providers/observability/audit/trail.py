"""The audit trail of one process: what happens to records when all is well, and when it is not."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from ..events import Event, RecordsTrouble
from ..logging import get_logger
from .chain import CHUNK, SEAL_BYTES
from .keys import AuditKey
from .records import Cleaned, ContentPolicy, content_policy, encode, made, time_text, to_record
from .settings import FileSettings, FsyncPolicy
from .writer import TrailFile

_RETRY: Final = 1.0
_SYNC_EVERY: Final = 1.0
# Seconds until something is tried again that does no harm meanwhile.
_LATER: Final = 60.0
_TIDY_EVERY: Final = 3600.0

_log = get_logger("amas.providers.observability")


class AuditTrail:
    """Writes events to a file that shows when something in it was altered.

    It is meant for one worker's thread. No file is opened before the first event, or ``open``.
    While the file cannot be written, records wait in memory; every second it is tried again.

    Args:
        path: The file. If another process writes it, one beside it is taken: ``…-2.jsonl``.
        keys: What seals and opens records; the first seals.
        content: What of prompts and answers is recorded.
        fsync: When records are forced to the disk: before ``handle`` returns, once a second, or
            never.
        checkpoint: Folder of the checkpoints; None for that of the file.
        max_bytes: Size after which a file is put aside.
        max_age: Seconds after which a file is put aside.
        keep: Seconds after which a file that was put aside is removed; None for never.
        wall: The time of day, in seconds since 1970.
        clock: The time in seconds; only differences matter.
        capacity: Most records that wait while the file cannot be written; what comes then is
            dropped, counted, and told in the trail.
        tell: Called when it cannot be written and when it can be again, in the thread of
            ``handle``, ``open`` or ``close``; it must not raise.
    """

    def __init__(
        self,
        path: Path,
        keys: Sequence[AuditKey],
        *,
        content: ContentPolicy = "none",
        fsync: FsyncPolicy = "interval",
        checkpoint: Path | None = None,
        max_bytes: int = 100_000_000,
        max_age: float = 30 * 86_400.0,
        keep: float | None = None,
        wall: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
        capacity: int = 10_000,
        tell: Callable[[RecordsTrouble], None] = lambda _: None,
    ) -> None:
        self._settings = FileSettings(
            # Whoever changes the working directory does not mean the trail.
            path=path.absolute(),
            keys={key.id: key for key in keys},
            key=keys[0],
            fsync=fsync,
            checkpoint=None if checkpoint is None else checkpoint.absolute(),
            max_bytes=max_bytes,
            max_age=max_age,
        )
        self._kept = content_policy(content, keys[0].secret)
        self._keep = keep
        self._wall = wall
        self._clock = clock
        self._capacity = capacity
        self._tell = tell
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._file: TrailFile | None = None
        self._trouble: str | None = None
        self._pending: deque[tuple[float, bytes]] = deque()
        self._dropped = 0
        self._dropped_from = self._dropped_to = 0.0
        self._lost = 0
        self._synced_at = self._tidied_at = self._rotation_failed_at = float("-inf")

    @property
    def trouble(self) -> str | None:
        """Why records cannot be written; None while they can. For any thread."""
        return self._trouble

    def open(self) -> None:
        """Open the file now, so that a wrong path is known; it tells, and never raises."""
        with self._own():
            self._work()

    def handle(self, events: Sequence[Event]) -> float | None:
        """Record events, and do what is due.

        Args:
            events: What has happened, in order; perhaps nothing.

        Returns:
            Seconds until it is to be called again in any case; None if that is not needed.
        """
        with self._own():
            self._take(events)
            if self._file is not None or self._pending or self._trouble is not None:
                self._work()
            return self._pause()

    def close(self) -> None:
        """Write what is left, and leave the file to others; a later event opens it again."""
        with self._own():
            if self._file is None and not self._pending:
                return
            self._work()
            file = self._file
            if self._pending or file is None:
                left = f"closed, and {len(self._pending)} records could not be written"
                self._say(working=False, reason=left, lost=self._lost + len(self._pending))
                _log.error("audit_records_not_written", records=len(self._pending))
            else:
                try:
                    file.end(self._wall())
                except OSError as error:
                    _log.warning("audit_trail_not_ended", error=self._described(error))
            self._release()

    def _own(self) -> threading.RLock:
        if self._pid != os.getpid():
            # After a fork. What waits here, and the lock on the file, are the parent's.
            file = self._file
            self._reset()
            if file is not None:
                file.release()
        return self._lock

    def _take(self, events: Sequence[Event]) -> None:
        clean = Cleaned().__getitem__
        for event in events:
            try:
                record = to_record(event, clean, self._kept)
                if record is not None:
                    self._pending.append((event.at, encode(record)))
            except Exception as error:  # noqa: BLE001 -- one event must not cost the others
                self._drop(self._wall())
                _log.warning("event_not_recorded", kind=event.kind, error=f"{error!r}")

    def _drop(self, at: float) -> None:
        if not self._dropped:
            self._dropped_from = self._dropped_to = at
        self._dropped_from = min(self._dropped_from, at)
        self._dropped_to = max(self._dropped_to, at)
        self._dropped += 1
        self._lost += 1

    def _work(self) -> None:
        """Write what waits; what goes wrong is told, and tried again a second later."""
        try:
            self._write()
        except OSError as error:
            if self._file is not None and self._file.broken:
                self._release()
            self._fail(self._described(error))
        else:
            self._recover()

    def _write(self) -> None:
        file = self._file or self._opened()
        now = self._wall()
        if self._pending or self._dropped:
            self._see_to(file)
            self._write_pending(file, now)
        self._tidy(file, now)
        # What is written stays written if this fails.
        file.settle(now)
        if self._sync_due() <= 0:
            file.sync()
            self._synced_at = self._clock()

    def _opened(self) -> TrailFile:
        self._file = file = TrailFile(self._settings, self._wall())
        self._tidied_at = float("-inf")
        if file.lost is not None:
            first, last = file.lost["first"], file.lost.get("last")
            what = (
                f"records {first} to {last} are no more in {file.path}"
                if last
                else f"there is no checkpoint for {file.path}: whether records behind"
                f" {first - 1} were cut off cannot be told"
            )
            self._say(working=False, reason=what)
            self._say(working=True, reason=what, lost=last - first + 1 if last else 0)
        self._settle_between(file, self._wall())
        return file

    def _see_to(self, file: TrailFile) -> None:
        """See that the file is where it was, and as it was left."""
        standing = file.look()
        if standing == "gone":
            what = f"{file.path} was removed or replaced"
            if self._trouble is None:
                self._say(working=False, reason=what)
            size = file.restore()
            self._note("restored", {"bytes": size})
            if self._trouble is None:
                self._say(working=True, reason=f"{what}, and was written again")
        elif standing == "altered":
            # Opening it again finds out what is there, and records what is not.
            file.broken = True
            raise OSError(None, "somebody else has cut it or written to it", str(file.path))

    def _note(self, kind: str, found: dict[str, object]) -> None:
        now = self._wall()
        self._pending.append((now, encode(made(kind, now, found))))

    def _write_pending(self, file: TrailFile, now: float) -> None:
        while self._pending or self._dropped:
            if not self._pending:
                self._note_dropped()
            records, size = self._chunk()
            if file.is_full(size, now):
                self._rotate(file, now)
            file.append(records)
            for _ in records:
                self._pending.popleft()
            if self._pending:
                self._settle_between(file, now)

    def _settle_between(self, file: TrailFile, now: float) -> None:
        try:
            file.settle(now)
        except OSError:
            # It is tried again behind the last chunk, and what is wrong then is told.
            return

    def _note_dropped(self) -> None:
        found = {
            "count": self._dropped,
            "first_time": time_text(self._dropped_from),
            "last_time": time_text(self._dropped_to),
        }
        self._dropped = 0
        self._note("dropped", found)

    def _chunk(self) -> tuple[list[bytes], int]:
        records: list[bytes] = []
        size = 0
        for _, record in self._pending:
            size += len(record) + SEAL_BYTES
            if records and size > CHUNK:
                return records, size - len(record) - SEAL_BYTES
            records.append(record)
        return records, size

    def _rotate(self, file: TrailFile, now: float) -> None:
        """Put the file aside; where that cannot be done, records go on in the same file."""
        if self._clock() - self._rotation_failed_at < _LATER:
            return
        try:
            file.rotate(now)
        except OSError as error:
            self._rotation_failed_at = self._clock()
            _log.warning("audit_file_not_put_aside", error=self._described(error))
        else:
            self._tidied_at = float("-inf")
            self._settle_between(file, now)

    def _tidy(self, file: TrailFile, now: float) -> None:
        if self._keep is None or self._clock() - self._tidied_at < _TIDY_EVERY:
            return
        self._tidied_at = self._clock()
        try:
            file.remove_before(now - self._keep, now)
        except OSError as error:
            _log.warning("old_audit_file_not_removed", error=self._described(error))

    def _sync_due(self) -> float:
        """Return the seconds until what was written is to be forced to the disk."""
        waits = (
            self._settings.fsync == "interval" and self._file is not None and self._file.unsynced
        )
        return self._synced_at + _SYNC_EVERY - self._clock() if waits else float("inf")

    def _pause(self) -> float | None:
        if self._trouble is not None:
            return _RETRY
        due = self._sync_due()
        return None if due == float("inf") else max(0.0, due)

    def _fail(self, reason: str) -> None:
        while len(self._pending) > self._capacity:
            self._drop(self._pending.pop()[0])
        begins = self._trouble is None
        self._trouble = reason
        if begins:
            self._say(working=False, reason=reason)

    def _recover(self) -> None:
        if self._trouble is not None:
            self._trouble = None
            self._say(working=True, reason="it can be written again", lost=self._lost)
            self._lost = 0

    def _say(self, *, working: bool, reason: str, lost: int = 0) -> None:
        trouble = RecordsTrouble(
            at=self._wall(),
            trail=str(self._settings.path),
            working=working,
            reason=reason,
            lost=lost,
        )
        self._tell(trouble)

    def _described(self, error: OSError) -> str:
        path = self._settings.path if self._file is None else self._file.path
        return f"{error.filename or path}: {error.strerror}"

    def _release(self) -> None:
        if self._file is not None:
            self._file.release()
            self._file = None
