"""The audit trail of one process: what happens to records when all is well, and when it is not."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from ..events import Event, RecordsTrouble
from ..logging import get_logger
from .backlog import CLOSED, MISSED, UNFIT, Backlog
from .chain import SEAL_BYTES
from .keys import AuditKey
from .records import (
    Clean,
    Cleaned,
    ContentPolicy,
    content_policy,
    encode,
    is_written,
    made,
    to_record,
)
from .settings import FileSettings, FsyncPolicy
from .trouble import Trouble
from .writer import TrailFile

_RETRY: Final = 1.0
_SYNC_EVERY: Final = 1.0
# Seconds until something is tried again that does no harm meanwhile.
_LATER: Final = 60.0
_TIDY_EVERY: Final = 3600.0
_MOST_BYTES: Final = 64_000_000

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
        most_bytes: Most bytes of them, likewise.
        missed: Tells how many events there was no room for before they came here, of all that
            ever were; what is new of them is told in the trail. Called in the same threads as
            ``tell``.
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
        most_bytes: int = _MOST_BYTES,
        missed: Callable[[], int] = lambda: 0,
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
        self._bounds = (capacity, most_bytes)
        self._tell = tell
        self._missed = missed
        self._missed_known = 0
        self._missed_since = wall()
        # Read without the lock: who closes does not wait for a long batch.
        self._closed = False
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._file: TrailFile | None = None
        self._trouble = Trouble(self._settings.path, self._wall, self._tell)
        self._waiting = Backlog(*self._bounds)
        self._synced_at = self._tidied_at = self._rotation_failed_at = float("-inf")

    @property
    def trouble(self) -> str | None:
        """Why records cannot be written; None while they can. For any thread."""
        return self._trouble.reason

    def open(self) -> None:
        """Open the file now, so that a wrong path is known; it tells, and never raises.

        A trail that was closed is written again from then on.
        """
        self._closed = False
        with self._own():
            self._look_for_missed()
            self._work()

    def handle(self, events: Sequence[Event]) -> float | None:
        """Record events, and do what is due; once the trail is closed, they are only counted.

        Args:
            events: What has happened, in order; perhaps nothing.

        Returns:
            Seconds until it is to be called again in any case; None if that is not needed.
        """
        with self._own():
            if self._closed:
                self._leave(events)
                return None
            self._look_for_missed()
            if not self._take(events):
                return None
            if self._file is not None or self._waiting or self._trouble.reason is not None:
                self._work()
            return self._pause()

    def close(self) -> None:
        """Write what waits, and leave the file to others.

        When it has returned, nothing is written until ``open`` is called again. A batch that is
        being handled by another thread meanwhile is ended; what is left of it is counted and told.
        """
        already, self._closed = self._closed, True
        with self._own():
            if already:
                return
            self._look_for_missed()
            if self._file is None and not self._waiting:
                return
            self._work()
            if left := self._waiting.drop_all(CLOSED):
                self._trouble.not_written(left)
            elif self._file is not None:
                try:
                    self._file.end(self._wall())
                except OSError as error:
                    _log.warning("audit_trail_not_ended", error=self._described(error))
            self._release()

    def _leave(self, events: Sequence[Event]) -> None:
        """Count what will not be written any more."""
        times = [event.at for event in events if is_written(event)]
        if times:
            self._waiting.miss(CLOSED, len(times), min(times), max(times))
            self._trouble.not_written(len(times))

    def _look_for_missed(self) -> None:
        """Count the events that never came here."""
        now, missed = self._wall(), self._missed()
        since, self._missed_since = self._missed_since, now
        new, self._missed_known = missed - self._missed_known, missed
        if new > 0:
            self._waiting.miss(MISSED, new, min(since, now), now)
            self._trouble.missed(new)

    def _own(self) -> threading.RLock:
        if self._pid != os.getpid():
            # After a fork. What waits here, and the lock on the file, are the parent's.
            file = self._file
            self._reset()
            if file is not None:
                file.release()
        return self._lock

    def _take(self, events: Sequence[Event]) -> bool:
        """Take in events, and write whenever there are enough; False if it was closed meanwhile.

        Once they cannot be written, they only wait: the next try is for the next time.
        """
        clean = Cleaned().__getitem__
        stuck = False
        for place, event in enumerate(events):
            if self._closed:
                self._leave(events[place:])
                return False
            record = self._record_of(event, clean)
            if record is None:
                continue
            if not stuck and not self._waiting.has_room(record):
                self._work()
                stuck = bool(len(self._waiting))
            self._waiting.add(event.at, record)
            if stuck:
                self._trouble.lost += self._waiting.cut()
        return True

    def _record_of(self, event: Event, clean: Clean) -> bytes | None:
        try:
            record = to_record(event, clean, self._kept)
            return None if record is None else encode(record)
        except Exception as error:  # noqa: BLE001 -- one event must not cost the others
            now = self._wall()
            self._waiting.miss(UNFIT, 1, now, now)
            self._trouble.lost += 1
            _log.warning("event_not_recorded", kind=event.kind, error=f"{error!r}")
            return None

    def _work(self) -> None:
        """Write what waits; what goes wrong is told, and tried again a second later."""
        try:
            self._write()
        except OSError as error:
            if self._file is not None and self._file.broken:
                self._release()
            self._trouble.lost += self._waiting.cut()
            self._trouble.goes_on(self._described(error))
        else:
            self._trouble.is_over()

    def _write(self) -> None:
        file = self._file or self._opened()
        now = self._wall()
        if self._waiting:
            self._see_to(file)
            self._write_waiting(file, now)
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
            self._trouble.say(working=False, reason=what)
            self._trouble.say(working=True, reason=what, lost=last - first + 1 if last else 0)
        self._settle_between(file, self._wall())
        return file

    def _see_to(self, file: TrailFile) -> None:
        """See that the file is where it was, and as it was left."""
        standing = file.look()
        if standing == "gone":
            what = f"{file.path} was removed or replaced"
            if self._trouble.reason is None:
                self._trouble.say(working=False, reason=what)
            now = self._wall()
            size = file.restore(now)
            self._waiting.add(now, encode(made("restored", now, {"bytes": size})))
            if self._trouble.reason is None:
                self._trouble.say(working=True, reason=f"{what}, and was written again")
        elif standing == "altered":
            # Opening it again finds out what is there, and records what is not.
            file.broken = True
            raise OSError(None, "somebody else has cut it or written to it", str(file.path))

    def _write_waiting(self, file: TrailFile, now: float) -> None:
        while records := self._waiting.chunk():
            self._append(file, records, now)
            self._waiting.written(len(records))
            if self._waiting:
                self._settle_between(file, now)
        if dropped := self._waiting.told(now):
            self._append(file, dropped, now)
            self._waiting.forget_dropped()

    def _append(self, file: TrailFile, records: list[bytes], now: float) -> None:
        if file.is_full(sum(map(len, records)) + SEAL_BYTES * len(records), now):
            self._rotate(file, now)
        file.append(records)

    def _settle_between(self, file: TrailFile, now: float) -> None:
        try:
            file.settle(now)
        except OSError:
            # It is tried again behind the last chunk, and what is wrong then is told.
            return

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
        # So that the checkpoint never lacks more than one write.
        self._settle_between(file, now)
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
        if self._trouble.reason is not None:
            return _RETRY
        due = self._sync_due()
        return None if due == float("inf") else max(0.0, due)

    def _described(self, error: OSError) -> str:
        path = self._settings.path if self._file is None else self._file.path
        return f"{error.filename or path}: {error.strerror}"

    def _release(self) -> None:
        if self._file is not None:
            self._file.release()
            self._file = None
