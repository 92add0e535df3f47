"""One open file of a trail, which one process writes."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final, Literal, TypeAlias

from .chain import seal
from .checkpoint import Checkpoint, CheckpointFile, read_checkpoint
from .descriptors import (
    FLAGS,
    locked,
    make_folders,
    make_private,
    require_writable,
    sync_folder,
    write_all,
)
from .files import ChainName, chains, slot_of
from .opening import (
    Edges,
    claim,
    lost_records,
    position,
    read_edges,
    require_trail,
    trusted_start,
)
from .records import encode, made
from .settings import FileSettings

FORMAT: Final = 1
Standing: TypeAlias = Literal["sound", "gone", "altered"]

_COPY: Final = 1024 * 1024


class TrailFile:
    """A file of a trail, opened to be written by this process alone.

    Whatever raises ``OSError`` leaves the file as it was, and may be tried again.

    Args:
        settings: How it is written.
        now: The time, in seconds since 1970.

    Attributes:
        path: The file.
        behind: Whether the checkpoint does not know the last record yet.
        unsynced: Whether something was written and not forced to the disk.
        broken: Whether it must be closed and opened again, to be repaired.
        lost: Which records were missing when it was opened.

    Raises:
        OSError: It cannot be opened or written.
    """

    def __init__(self, settings: FileSettings, now: float) -> None:
        self._settings = settings
        self._descriptor = -1
        # Whether it has another name than its last start record tells.
        self._moved = False
        self._name, descriptor = claim(settings.path)
        self.path = self._name.live
        self._hold(descriptor)
        try:
            self._begin(read_edges(descriptor), now)
        except BaseException:
            self.release()
            raise

    def __del__(self) -> None:
        self.release()

    def _hold(self, descriptor: int) -> None:
        self._descriptor, before = descriptor, self._descriptor
        found = os.fstat(descriptor)
        self._identity, self._size = (found.st_dev, found.st_ino), found.st_size
        self.broken = False
        if before >= 0:
            with contextlib.suppress(OSError):
                os.close(before)

    def _begin(self, edges: Edges, now: float) -> None:
        known = read_checkpoint(self._checkpoint_path(), self._settings.keys)
        require_trail(self.path, edges, known)
        make_private(self._descriptor)
        with contextlib.suppress(FileNotFoundError):
            self._name.unfinished.unlink()
        where = position(self._name, edges, known)
        self._chain, self._number, self._last = where.chain, where.file, where.last
        self._began = now if where.began is None else where.began
        # A file that has no more than its start record is not put aside.
        self._fresh = edges.last is None
        self._checkpoints = self._checkpoint_file()
        self.lost = lost_records(known, self._chain, self._last)
        if known.missing and self._last.seq == 0:
            # So that there is one from the first record on, also if the next step is the last.
            with contextlib.suppress(OSError):
                self._checkpoints.renew(self._where(), now)
        records = [self._start(now)]
        if edges.torn:
            records.append(encode(made("repaired", now, {"torn_bytes": len(edges.torn)})))
        if self.lost is not None:
            records.append(encode(made("lost", now, self.lost)))
        self._repair(edges, records)
        self.unsynced = self.behind = self._renew = True

    def _repair(self, edges: Edges, records: Sequence[bytes]) -> None:
        os.ftruncate(self._descriptor, edges.size)
        self._size = edges.size
        try:
            self._add(records)
        except OSError:
            # Back with it, so that the next try finds it and can tell of it.
            with contextlib.suppress(OSError):
                os.write(self._descriptor, edges.torn)
            raise

    def _start(self, now: float) -> bytes:
        found = {
            "format": FORMAT,
            "chain": self._chain,
            "file": self._number,
            "slot": self._slot(),
            "key_id": self._settings.key.id,
            # With it, a file can be checked also when those before it are gone.
            "previous": self._last.mac.decode(),
            "pid": os.getpid(),
            "host": socket.gethostname(),
        }
        return encode(made("start", now, found))

    def _slot(self) -> int:
        return slot_of(self._name, self._settings.path)

    def _checkpoint_path(self) -> Path:
        return self._name.checkpoint(self._settings.checkpoint)

    def _checkpoint_file(self) -> CheckpointFile:
        durable = self._settings.fsync == "always"
        return CheckpointFile(self._checkpoint_path(), self._settings.key, durable=durable)

    def _where(self) -> Checkpoint:
        return Checkpoint(self._chain, self._number, self._last, self._slot())

    def look(self) -> Standing:
        """Tell whether the file is where it was, and as it was left.

        Returns:
            ``sound``; ``gone`` if it was removed or something else is in its place; ``altered``
            if somebody else has cut or added something.

        Raises:
            OSError: It cannot be reached, or is read-only.
        """
        try:
            found = os.stat(self.path)  # noqa: PTH116 -- before each batch: pathlib takes longer
        except (FileNotFoundError, NotADirectoryError):
            return "gone"
        if (found.st_dev, found.st_ino) != self._identity:
            return "gone"
        require_writable(found, self.path)
        return "sound" if found.st_size == self._size else "altered"

    def append(self, records: Sequence[bytes]) -> None:
        """Add records: all of them, or none if it raises.

        Args:
            records: JSON mappings without number and seal.

        Raises:
            OSError: They cannot be written.
        """
        self._add(records)
        self._fresh = False

    def _add(self, records: Sequence[bytes]) -> None:
        data, last = seal(records, self._last, self._settings.key.secret)
        try:
            write_all(self._descriptor, data)
        except OSError:
            try:
                os.ftruncate(self._descriptor, self._size)
            except OSError:
                self.broken = True
            raise
        self._last = last
        self._size += len(data)
        self.unsynced = self.behind = True

    def settle(self, now: float) -> None:
        """Have the checkpoint know the last record, and both on the disk if each has to be.

        Args:
            now: The time, in seconds since 1970.

        Raises:
            OSError: One of them cannot be written.
        """
        durable = self._settings.fsync == "always"
        if durable and self.unsynced:
            os.fsync(self._descriptor)
            self.unsynced = False
        if self.behind:
            write = self._checkpoints.renew if self._renew else self._checkpoints.write
            write(self._where(), now)
            self.behind = self._renew = False

    def sync(self) -> None:
        """Force what was written to the disk.

        Raises:
            OSError: That failed.
        """
        os.fsync(self._descriptor)
        self._checkpoints.sync()
        self.unsynced = False

    def is_full(self, more: int, now: float) -> bool:
        """Whether the file is to be put aside before so many more bytes are added.

        Args:
            more: Bytes.
            now: The time, in seconds since 1970.
        """
        settings = self._settings
        aged = now - self._began >= settings.max_age
        return not self._fresh and (aged or self._size + more > settings.max_bytes)

    def rotate(self, now: float) -> None:
        """Put the file aside, and go on in a new one.

        Args:
            now: The time, in seconds since 1970.

        Raises:
            OSError: That failed; the file is written as before.
        """
        before = self._number
        self._number += 1
        data, last = seal([self._start(now)], self._last, self._settings.key.secret)
        try:
            self._force(self._descriptor)
            with self._unfinished() as descriptor:
                write_all(descriptor, data)
                self._force(descriptor)
                self._link(self._name.aside(before))
                self._take_place(descriptor)
        except OSError:
            self._number = before
            raise
        self._last, self._began, self._fresh = last, now, True
        self.unsynced = self.behind = True

    def _link(self, aside: Path) -> None:
        # A second name first: at no moment may another process find the first one free.
        try:
            os.link(self.path, aside)
        except FileExistsError:
            if not aside.samefile(self.path):
                raise

    @contextlib.contextmanager
    def _unfinished(self) -> Iterator[int]:
        """Make a file that takes the place of the live one when it is complete."""
        path = self._name.unfinished
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        descriptor = locked(path, FLAGS | os.O_EXCL)
        if descriptor is None:  # pragma: no cover -- nobody else opens a file of this name
            raise BlockingIOError
        try:
            yield descriptor
        except OSError:
            os.close(descriptor)
            with contextlib.suppress(OSError):
                path.unlink()
            raise

    def _take_place(self, descriptor: int) -> None:
        self._name.unfinished.replace(self.path)
        self._hold(descriptor)
        if self._settings.fsync != "never":
            # Not all file systems can; by now the file is in its place.
            with contextlib.suppress(OSError):
                sync_folder(self.path.parent)

    def _force(self, descriptor: int) -> None:
        if self._settings.fsync != "never":
            os.fsync(descriptor)

    def restore(self, now: float) -> int:
        """Write the file again where it was removed or replaced, from what is still open.

        What is found in its place is kept beside it, under a name that ends in ``.replaced``.
        Where that is in use by another process, the file gets a free name, and a start record that
        tells so.

        Args:
            now: The time, in seconds since 1970.

        Returns:
            How many bytes were written.

        Raises:
            OSError: That failed; it may be tried again.
        """
        make_folders(self.path.parent)
        if not self._has_place():
            self._name = next(name for name in chains(self._settings.path) if not _exists(name))
            self.path = self._name.live
            self._checkpoints = self._checkpoint_file()
            self._moved = True
        size = self._size
        data, last = b"", self._last
        if self._moved:
            data, last = seal([self._start(now)], last, self._settings.key.secret)
        with self._unfinished() as descriptor:
            for start in range(0, size, _COPY):
                write_all(descriptor, os.pread(self._descriptor, min(_COPY, size - start), start))
            write_all(descriptor, data)
            self._force(descriptor)
            with contextlib.suppress(FileNotFoundError):
                if self.path.stat().st_size:
                    self.path.replace(self._name.replaced)
            self._take_place(descriptor)
        self._last, self._moved = last, False
        self._renew = self.behind = self.unsynced = True
        return size

    def _has_place(self) -> bool:
        """Whether nobody else writes what is in the file's place."""
        if not self.path.exists():
            return True
        descriptor = locked(self.path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        if descriptor is None:
            return False
        os.close(descriptor)
        return True

    def remove_before(self, when: float, now: float) -> None:
        """Remove files that were put aside before a time, and record that.

        Only a file whose age is proven by the seals is removed: nobody can make it look older.

        Args:
            when: The time, in seconds since 1970.
            now: The time now.

        Raises:
            OSError: That failed.
        """
        files = [path for _, path in self._name.put_aside()]
        starts = (trusted_start(path, self._settings.keys) for path in [*files, self.path])
        for path, (start, following) in zip(files, pairwise(starts), strict=True):
            if start is None or following is None or following.at >= when:
                return
            if not start.chain == following.chain == self._chain:
                return
            removed = {"file": path.name, "first": start.seq, "last": following.seq - 1}
            self.append([encode(made("removed", now, removed))])
            self.settle(now)
            path.unlink()

    def end(self, now: float) -> None:
        """Record that the file is closed, as the last thing.

        Args:
            now: The time, in seconds since 1970.

        Raises:
            OSError: That failed.
        """
        self.append([encode(made("end", now, {}))])
        self.settle(now)
        if self._settings.fsync != "never":
            self.sync()

    def release(self) -> None:
        """Close the file, and let others have it; a second time it does nothing."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def _exists(name: ChainName) -> bool:
    return os.path.lexists(name.live)
