"""The check of one chain: from its first file that is there to what its checkpoint knows."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain as joined
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, Final

from .chain import CHUNK, Line, Link, is_next, take_apart
from .checkpoint import Checkpoint, Found, read_checkpoint
from .descriptors import NotAFileError, opened_to_read
from .files import ChainName, chain_of
from .findings import ChainReport, Problem, Report
from .keys import AuditKey
from .notes import lost, missing_files, note_of
from .opening import is_sound_start, start_of
from .place import Place

# Longest line that is read; the contents of a call may be long.
_LONGEST: Final = 256 * 1024 * 1024
# Characters of a text that nothing vouches for.
_SHOWN: Final = 40


@dataclass(frozen=True, slots=True)
class _Read:
    """A line that was read.

    Args:
        file: From which file.
        number: Which line, counted from 1.
        line: Its parts; None if it is no record.
        size: Its bytes.
        whole: Whether it has its end.
    """

    file: Path
    number: int
    line: Line | None
    size: int
    whole: bool


class _Broken(Exception):  # noqa: N818 -- no error of the program
    """The check of a chain ends here."""

    def __init__(self, file: Path, line: int | None, seq: int | None, what: str) -> None:
        super().__init__(what)
        self.problem = Problem(file, line, seq, what)


def _unreadable(path: Path, error: OSError) -> _Broken:
    return _Broken(path, None, None, f"cannot be read: {error.strerror}")


def _read(path: Path, file: BinaryIO) -> Iterator[_Read]:
    number = 0
    while line := file.readline(_LONGEST):
        number += 1
        whole = line.endswith(b"\n")
        yield _Read(path, number, take_apart(line) if whole else None, len(line), whole)


class Check:
    """The check of one chain.

    Args:
        name: Its names.
        place: Where in its trail it stands.
        given: Those of its files that were asked for; the others are found beside them.
        keys: What may have sealed them, by id of the master key.
        report: Is told what is found.
    """

    def __init__(
        self,
        name: ChainName,
        place: Place,
        given: Iterable[Path],
        keys: Mapping[str, AuditKey],
        report: Report,
    ) -> None:
        self._name = name
        self._where = place
        self._keys = keys
        self._report = report
        self._given = tuple(given)
        self._live: BinaryIO | None = None
        self._chain = ChainReport(name.stem, [])
        report.chains.append(self._chain)
        self._known: Checkpoint | None = None
        self._last = Link()
        self._place = _Read(name.live, 0, None, 0, whole=True)
        self._key: AuditKey | None = None
        self._started: tuple[_Read, Line] | None = None
        # Number of the first file, and of the last that retention has removed.
        self._first_file = 1
        self._removed = 0
        # The last records, as many as may be written at a time: numbers, bytes, kinds.
        self._latest: deque[tuple[int, int, str]] = deque()
        self._latest_bytes = 0

    def run(self, checkpoints: Path | None, *, required: bool) -> None:
        """Check everything, and report it.

        Args:
            checkpoints: Folder of the checkpoints; None for that of the files.
            required: Whether there must be one; if not, none is read.
        """
        path = self._name.checkpoint(checkpoints)
        # Before the files: what it knows must then be there, also if more is written meanwhile.
        found = read_checkpoint(path, self._keys) if required else Found()
        self._known = found.newest
        try:
            self._open()
            self._check_records()
            self._check_beginning()
            self._check_place()
            if self._known is not None:
                now = read_checkpoint(path, self._keys).newest
                self._check_end(self._known, now or self._known)
        except _Broken as broken:
            self._report.problems.append(broken.problem)
        finally:
            if self._live is not None:
                self._live.close()
        if found.problem is not None and (self._chain.files or not found.missing):
            self._report.problems.append(Problem(path, None, None, found.problem))

    def _open(self) -> None:
        """Find the files, so that it does no harm if the live one is put aside meanwhile."""
        live = self._name.live
        try:
            self._live = os.fdopen(opened_to_read(live), "rb")
        except NotAFileError as error:
            # What else there is of the chain is checked all the same.
            self._report.problems.append(_unreadable(live, error).problem)
        except OSError as error:
            if live in self._given or not isinstance(error, FileNotFoundError):
                raise _unreadable(live, error) from None
        for _, path in self._name.put_aside():
            if self._is_live(path):
                # It was, when it was opened. What was begun since is for another time.
                break
            if path.exists() and not path.is_file():
                self._report.problems.append(_unreadable(path, NotAFileError(path)).problem)
                continue
            self._chain.files.append(path)
        if self._live is not None:
            self._chain.files.append(live)
        for path in self._given:
            if path not in self._chain.files and not path.exists():
                raise _Broken(path, None, None, "cannot be read: there is no such file")

    def _is_live(self, path: Path) -> bool:
        with suppress(OSError):
            if self._live is not None:
                return os.path.samestat(path.stat(), os.fstat(self._live.fileno()))
        return False

    def _check_records(self) -> None:
        end = _Read(self._name.live, 0, None, 0, whole=True)
        for here, following in pairwise(joined(self._lines(), [end])):
            if not here.whole and here.file == self._name.live and following is end:
                self._report.notes.append(
                    f"{here.file}:{here.number}: the last line is not complete: it is being"
                    " written, or will be cut off when the file is opened to be written"
                )
                return
            line = self._required(here, following)
            self._count(here, line)
            self._note(here, line)

    def _lines(self) -> Iterator[_Read]:
        for path in self._chain.files:
            try:
                if path == self._name.live and self._live is not None:
                    yield from _read(path, self._live)
                    continue
                with os.fdopen(opened_to_read(path), "rb") as file:
                    yield from _read(path, file)
            except OSError as error:
                raise _unreadable(path, error) from None

    def _required(self, here: _Read, following: _Read) -> Line:
        """Return a line that is the next of the chain."""
        line = here.line
        if here.number == 1 and (line is None or line.kind != "start"):
            what = "the file does not begin with a start record: its first line was altered"
            raise self._broken(here, f"{what}, or it is no file of a trail")
        if line is None:
            raise self._broken(here, self._wrong(here, following))
        if line.kind == "start":
            self._key = self._key_of(here, line)
            self._started = here, line
            if self._chain.first_seq is None:
                self._begin(here, line)
        if self._key is None or not is_next(line, self._last, self._key.secret):
            raise self._broken(here, self._wrong(here, following))
        return line

    def _key_of(self, here: _Read, line: Line) -> AuditKey:
        name = str(line.data.get("key_id"))
        key = self._keys.get(name)
        if key is None:
            what = f"sealed with master key {name[:_SHOWN]!r}, which is not given"
            raise self._broken(here, what)
        return key

    def _begin(self, here: _Read, line: Line) -> None:
        """Begin with the first file that is there; its first record names the seal before it."""
        start = start_of(line)
        if start is None or not is_sound_start(line, self._keys):
            raise self._broken(here, "changed")
        _, number = chain_of(here.file)
        if number not in {None, start.file} or (start.file == 1) != (start.seq == 1):
            # It is sound, and belongs elsewhere.
            raise self._broken(here, "inserted or repeated")
        if self._known is not None and self._known.chain != start.chain:
            raise self._broken(
                here, f"of chain {start.chain}, and the checkpoint is of {self._known.chain}"
            )
        self._last = Link(line.seq - 1, str(line.data["previous"]).encode())
        self._first_file = start.file
        self._chain.chain = start.chain

    def _broken(self, here: _Read, what: str) -> _Broken:
        seq = self._last.seq + 1 if here.line is None else here.line.seq
        return _Broken(here.file, here.number, seq, what)

    def _wrong(self, here: _Read, following: _Read) -> str:
        """Say what was most likely done, from the numbers of two lines."""
        if not here.whole:
            return "the line is not complete"
        expected = self._last.seq + 1
        seq = None if here.line is None else here.line.seq
        then = None if following.line is None else following.line.seq
        if then == expected:
            moved = seq is not None and seq > expected
            return "out of order" if moved else "inserted or repeated"
        if seq is None or seq == expected or then == expected + 1:
            return "changed"
        if seq < expected:
            return "inserted or repeated"
        if seq == expected + 1:
            return f"record {expected} is missing"
        return f"records {expected} to {seq - 1} are missing"

    def _count(self, here: _Read, line: Line) -> None:
        self._last, self._place = line.link, here
        self._latest.append((line.seq, here.size, line.kind))
        self._latest_bytes += here.size
        while self._latest_bytes > CHUNK and len(self._latest) > 1:
            self._latest_bytes -= self._latest.popleft()[1]
        time = line.data.get("time")
        self._chain.records += 1
        self._chain.last_seq, self._chain.last_time = line.seq, time
        if self._chain.first_seq is None:
            self._chain.first_seq, self._chain.first_time = line.seq, time
        known = self._known
        if known is not None and known.link.seq == line.seq and known.link.mac != line.mac:
            raise self._broken(here, "not the record that the checkpoint knows")

    def _note(self, here: _Read, line: Line) -> None:
        if line.kind == "lost":
            self._report.problems.append(Problem(here.file, here.number, line.seq, lost(line)))
        elif note := note_of(line):
            self._report.notes.append(f"{here.file}:{here.number}: {note}")
        elif line.kind == "removed":
            _, number = chain_of(self._name.folder / str(line.data.get("file")))
            self._removed = max(self._removed, number or 0)

    def _check_beginning(self) -> None:
        first = self._first_file
        if first > self._removed + 1:
            what = missing_files(self._removed + 1, first - 1)
            raise _Broken(self._chain.files[0], None, self._chain.first_seq, what)

    def _check_place(self) -> None:
        """See that the chain stands where it was written; the last start record knows."""
        if self._started is not None:
            here, line = self._started
            what = self._where.mistake(self._name, line.data.get("slot"))
            if what is not None:
                self._report.problems.append(Problem(here.file, here.number, line.seq, what))

    def _check_end(self, known: Checkpoint, now: Checkpoint) -> None:
        """Compare the end of the chain with the checkpoint, as it was before and is now."""
        last = self._last.seq
        if known.link.seq > last:
            raise self._ends(f"cut off: the checkpoint knows record {known.link.seq}")
        if now.chain == known.chain and self._is_old(now):
            raise self._ends(
                f"the checkpoint is older than the records: it knows record {now.link.seq}"
            )

    def _is_old(self, checkpoint: Checkpoint) -> bool:
        """Whether a checkpoint is not the last that was written.

        It is written behind each write of records, so it may lack those of one write: if the
        writer was killed then, or is at it.
        """
        seq = checkpoint.link.seq
        lacking = [(size, kind) for number, size, kind in self._latest if number > seq]
        if not lacking:
            return False
        if self._last.seq - seq > len(lacking):
            return True
        kinds = [kind for _, kind in lacking]
        too_many = len(lacking) > 1 and sum(size for size, _ in lacking) > CHUNK
        return too_many or "start" in kinds[1:] or kinds[-1] == "end"

    def _ends(self, what: str) -> _Broken:
        return _Broken(self._place.file, self._place.number or None, self._last.seq or None, what)
