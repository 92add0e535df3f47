"""Finding out where a trail's file stands, before anything is added to it."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from .chain import Line, Link, is_next, take_apart
from .checkpoint import Found
from .descriptors import NotAFileError, locked, make_folders, opened_to_read, require_writable
from .files import ChainName, chains
from .keys import AuditKey

# The first line of a file is a start record, which is short.
_BEGIN: Final = b'{"seq":'
_FIRST: Final = 64 * 1024
# Read from the end, in steps that double until a record is found.
_TAIL: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Start:
    """A record with which a file begins.

    Args:
        chain: Which chain it belongs to.
        file: Number of the file within that chain.
        seq: Number of the record.
        at: When it was written, in seconds since 1970.
    """

    chain: str
    file: int
    seq: int
    at: float


@dataclass(frozen=True, slots=True)
class Edges:
    """What a file begins and ends with, as it says; verifying it is for somebody else.

    Args:
        start: The record it begins with; None if that is none.
        last: Its last whole record; None if it has none.
        torn: What follows its last whole line.
        size: Its bytes without that.
    """

    start: Start | None
    last: Link | None
    torn: bytes
    size: int


@dataclass(frozen=True, slots=True)
class Position:
    """Where a chain goes on.

    Args:
        chain: Which chain.
        file: Number of the file.
        last: Its last record.
        began: When the file was begun, in seconds since 1970; None if it is empty.
    """

    chain: str
    file: int
    last: Link
    began: float | None


def claim(path: Path) -> tuple[ChainName, int]:
    """Open the first file of a trail that no other process writes.

    Args:
        path: The file that is configured.

    Returns:
        Its chain's names, and its descriptor, locked.

    Raises:
        OSError: It cannot be opened, or is no file.
    """
    make_folders(path.parent)
    for name in chains(path):
        descriptor = locked(name.live)
        if descriptor is not None:
            return name, descriptor
    raise OSError(errno.EBUSY, "all files of the trail are in use by other processes", str(path))


def read_edges(descriptor: int) -> Edges:
    """Read the first record of a file, and of its end as much as it takes to find the last."""
    size = os.fstat(descriptor).st_size
    start = start_of(take_apart(_first_line(descriptor)))
    span = _TAIL
    while True:
        tail = os.pread(descriptor, span, max(0, size - span))
        whole, end, torn = tail.rpartition(b"\n")
        lines = (whole + end).splitlines(keepends=True)
        if span < size:
            # It may begin in the middle of a line.
            lines = lines[1:]
        last = next(filter(None, map(take_apart, reversed(lines))), None)
        if last is not None or span >= size:
            link = None if last is None else last.link
            return Edges(start, link, torn, size - len(torn))
        span *= 2


def require_trail(path: Path, edges: Edges, known: Found) -> None:
    """Refuse to write to a file of somebody else's.

    A trail whose beginning or end was altered is one all the same.

    Args:
        path: The file.
        edges: What it has.
        known: What its checkpoint says.

    Raises:
        OSError: Nothing shows that it is an audit trail.
    """
    found = edges.start is not None or edges.last is not None or known.newest is not None
    torn = edges.size == 0 and _BEGIN.startswith(edges.torn[: len(_BEGIN)])
    if not found and not torn:
        raise OSError(errno.EINVAL, "it is not an audit trail; choose another path", str(path))


def problem_with(path: Path, checkpoint: Path | None = None) -> str | None:
    """Find out whether a trail could be written, without writing anything.

    Args:
        path: The file that is configured.
        checkpoint: Folder of the checkpoints; None for that of the file.

    Returns:
        What is wrong, with the path; None if nothing is.
    """
    path = path.absolute()
    name = next(chains(path))
    try:
        for folder in (path.parent, name.checkpoint(checkpoint).absolute().parent):
            _require_folder(folder)
        if os.path.lexists(path):
            _require_own(path, name.checkpoint(checkpoint))
    except OSError as error:
        return f"{error.filename or path}: {error.strerror}"
    return None


def _require_folder(folder: Path) -> None:
    while not os.path.lexists(folder):
        folder = folder.parent
    if not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))


def _require_own(path: Path, checkpoint: Path) -> None:
    descriptor = opened_to_read(path, os.O_NOFOLLOW)
    try:
        require_writable(os.fstat(descriptor), path)
        if not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        # Without the keys, a checkpoint that is there speaks for the file.
        if not checkpoint.exists():
            require_trail(path, read_edges(descriptor), Found())
    finally:
        os.close(descriptor)


def _first_line(descriptor: int) -> bytes:
    line, end, _ = os.pread(descriptor, _FIRST, 0).partition(b"\n")
    return line + end


def start_of(line: Line | None) -> Start | None:
    """Return what a start record says; None for other lines."""
    if line is None or line.kind != "start":
        return None
    chain, file, time = (line.data.get(name) for name in ("chain", "file", "time"))
    if not isinstance(chain, str) or type(file) is not int or not isinstance(time, str):
        return None
    try:
        at = datetime.fromisoformat(time).timestamp()
    except ValueError:
        return None
    return Start(chain, file, line.seq, at)


def trusted_start(path: Path, keys: Mapping[str, AuditKey]) -> Start | None:
    """Return the start record of a file, if it is as it was written.

    Args:
        path: The file.
        keys: Those that may have sealed it, by id.
    """
    with contextlib.suppress(OSError):
        descriptor = opened_to_read(path, os.O_NOFOLLOW)
        try:
            line = take_apart(_first_line(descriptor))
        finally:
            os.close(descriptor)
        if line is not None and is_sound_start(line, keys):
            return start_of(line)
    return None


def is_sound_start(line: Line, keys: Mapping[str, AuditKey]) -> bool:
    """Whether a start record is as it was written, by the seal before it that it names."""
    key, previous = keys.get(str(line.data.get("key_id"))), line.data.get("previous")
    if key is None or not isinstance(previous, str):
        return False
    after = Link(line.seq - 1, previous.encode(errors="backslashreplace"))
    return is_next(line, after, key.secret)


def position(name: ChainName, live: Edges, known: Found) -> Position:
    """Return where a chain goes on: in its live file, or behind the last that was put aside.

    Args:
        name: Its names.
        live: What its live file has.
        known: What its checkpoint says.
    """
    if live.last is not None:
        if live.start is not None:
            return Position(live.start.chain, live.start.file, live.last, live.start.at)
        # Its beginning was altered, which is found when it is verified; it goes on as it can.
        if known.newest is not None:
            return Position(known.newest.chain, known.newest.file, live.last, None)
        return Position(_new_chain(), 1, live.last, None)
    for number, path in reversed(name.put_aside()):
        try:
            edges = _edges_of(path)
        except NotAFileError:
            continue
        if edges.last is not None and edges.start is not None:
            return Position(edges.start.chain, number + 1, edges.last, None)
    return Position(_new_chain(), 1, Link(), None)


def _new_chain() -> str:
    return secrets.token_hex(8)


def _edges_of(path: Path) -> Edges:
    descriptor = opened_to_read(path)
    try:
        return read_edges(descriptor)
    finally:
        os.close(descriptor)


def lost_records(known: Found, chain: str, last: Link) -> dict[str, int] | None:
    """Return which records were there and are no more, for the record of kind ``lost``.

    Args:
        known: What the checkpoint says.
        chain: The chain that goes on.
        last: Its last record.

    Returns:
        The first and the last; without the last if there is no checkpoint to know it from;
        None if nothing is missing.
    """
    newest = known.newest
    if newest is None:
        return {"first": last.seq + 1} if last.seq else None
    if newest.chain != chain:
        return {"first": 1, "last": newest.link.seq} if newest.link.seq else None
    if newest.link.seq > last.seq:
        return {"first": last.seq + 1, "last": newest.link.seq}
    return None
