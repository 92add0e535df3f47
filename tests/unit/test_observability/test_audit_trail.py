"""How a trail is written: whose file it is, how it goes on, and what happens when it cannot be."""

from __future__ import annotations

import errno
import fcntl
import gc
import json
import os
import shutil
import socket
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from amas.providers.observability.audit import writer as writer_module
from amas.providers.observability.audit.backlog import CLOSED, MISSED, NO_ROOM
from amas.providers.observability.audit.files import ChainName, chain_of, trail_files
from amas.providers.observability.audit.keys import AuditKey
from amas.providers.observability.audit.opening import problem_with
from amas.providers.observability.audit.trail import AuditTrail
from amas.providers.observability.audit.verification import Report, verify
from amas.providers.observability.events import CallEnded, Event, FailedOver, RecordsTrouble

KEY = AuditKey("0a0a0a0a", b"o" * 32)
NEW = AuditKey("0b0b0b0b", b"n" * 32)
NOW = 1_795_550_400.0
FAILED_OVER: dict[str, Any] = {
    "at": NOW,
    "request_id": "x",
    "caller": None,
    "provider": "a",
    "outcome": "timeout",
    "following": "b",
}


def call(number: int, caller: str = "agent") -> CallEnded:
    """Make an event."""
    return CallEnded(
        at=NOW + number,
        request_id=f"r{number}",
        caller=caller,
        provider="openai",
        model=None,
        outcome="ok",
    )


class House:
    """A trail in a folder of its own, with clocks that stand still, and what it told."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "logs" / "audit.jsonl"
        self.now = NOW
        self.time = 1000.0
        self.told: list[RecordsTrouble] = []
        self._open: list[AuditTrail] = []

    def trail(self, *keys: AuditKey, **options: Any) -> AuditTrail:
        """Make a trail that writes to the path."""
        made = AuditTrail(
            self.path,
            keys or (KEY,),
            wall=lambda: self.now,
            clock=lambda: self.time,
            tell=self.told.append,
            **options,
        )
        self._open.append(made)
        return made

    def records(self, path: Path | None = None) -> list[dict[str, Any]]:
        """Return what is in a file."""
        return [json.loads(line) for line in (path or self.path).read_text().splitlines()]

    def kinds(self, path: Path | None = None) -> list[str]:
        """Return the kinds of the records in a file."""
        return [record["kind"] for record in self.records(path)]

    def requests(self) -> list[str]:
        """Return which calls are recorded, in all files."""
        return [
            record["request_id"]
            for file in trail_files(self.path)
            for record in self.records(file)
            if record["kind"] == "call"
        ]

    def troubles(self) -> list[tuple[bool, int]]:
        """Return what was told: whether it works, and how many were lost."""
        return [(trouble.working, trouble.lost) for trouble in self.told]

    def check(self, **options: Any) -> Report:
        """Verify the trail."""
        return verify(trail_files(self.path), [NEW, KEY], **options)

    def sound(self) -> None:
        """See that the trail is verified."""
        assert self.check().problems == []

    def close(self) -> None:
        """Leave nothing open."""
        for trail in self._open:
            trail.close()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """Make one, and close what it has open."""
    made = House(tmp_path)
    yield made
    made.close()


def works(trail: AuditTrail) -> bool:
    """Tell whether records can be written."""
    return trail.trouble is None


class FullDisk:
    """A disk with room for so many bytes, as the writer meets it."""

    def __init__(self) -> None:
        self.room = 1_000_000_000
        self.broken = False

    def write(self, descriptor: int, data: memoryview) -> int:
        """Write as much as there is room for."""
        if self.room <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = _write(descriptor, data[: self.room])
        self.room -= written
        return written

    def ftruncate(self, descriptor: int, size: int) -> None:
        """Cut a file, unless the disk is broken."""
        if self.broken:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self.room += os.fstat(descriptor).st_size - size
        _ftruncate(descriptor, size)


_write, _ftruncate = os.write, os.ftruncate


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> FullDisk:
    """Put the writer on such a disk."""
    made = FullDisk()
    monkeypatch.setattr(os, "write", made.write)
    monkeypatch.setattr(os, "ftruncate", made.ftruncate)
    return made


def test_nothing_is_opened_before_something_is_to_be_written(house: House) -> None:
    """Then the folder and the file are made, for the owner alone."""
    trail = house.trail()
    assert trail.handle([]) is None
    assert not house.path.parent.exists()
    assert trail.handle([call(1)]) is None
    assert [stat.S_IMODE(p.stat().st_mode) for p in (house.path.parent, house.path)] == [
        0o700,
        0o600,
    ]
    assert stat.S_IMODE((house.path.parent / "audit.checkpoint").stat().st_mode) == 0o600
    start, recorded = house.records()
    assert (start["kind"], start["seq"], start["format"], start["file"]) == ("start", 1, 1, 1)
    assert (start["key_id"], start["pid"], start["host"]) == (
        KEY.id,
        os.getpid(),
        socket.gethostname(),
    )
    assert (recorded["seq"], recorded["request_id"]) == (2, "r1")
    house.sound()
    assert house.told == []


def test_opening_in_advance_shows_a_wrong_path(house: House) -> None:
    """It is told, nothing is raised, and it is tried again until the path is right."""
    house.path.parent.mkdir()
    house.path.mkdir()
    trail = house.trail()
    trail.open()
    assert trail.trouble == f"{house.path}: Is a directory"
    assert trail.handle([]) == 1.0
    house.path.rmdir()
    assert trail.handle([]) is None
    assert works(trail)
    assert house.troubles() == [(False, 0), (True, 0)]
    assert house.kinds() == ["start"]


@pytest.mark.parametrize("what", ["link", "pipe"])
def test_what_is_no_file_is_not_written(house: House, tmp_path: Path, what: str) -> None:
    """Neither through a link nor into a pipe."""
    house.path.parent.mkdir()
    if what == "link":
        house.path.symlink_to(tmp_path / "elsewhere")
    else:
        os.mkfifo(house.path)
    trail = house.trail()
    trail.open()
    assert not works(trail)
    assert not (tmp_path / "elsewhere").exists()


def test_each_writer_has_a_file_of_its_own(house: House) -> None:
    """A free one is gone on with; its chain goes on too."""
    first, second = house.trail(), house.trail()
    first.handle([call(1)])
    second.handle([call(2)])
    other = house.path.with_name("audit-2.jsonl")
    assert (house.kinds(), house.kinds(other)) == (["start", "call"], ["start", "call"])
    first.close()
    third = house.trail()
    third.handle([call(3)])
    assert house.kinds() == ["start", "call", "end", "start", "call"]
    starts = [record for record in house.records() if record["kind"] == "start"]
    assert starts[0]["chain"] == starts[1]["chain"]
    assert [record["seq"] for record in house.records()] == [1, 2, 3, 4, 5]
    assert trail_files(house.path) == [house.path, other]
    house.sound()


def test_there_is_an_end_of_files(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """With all in use it is told."""
    monkeypatch.setattr("amas.providers.observability.audit.files.SLOTS", 2)
    for _ in range(2):
        house.trail().open()
    last = house.trail()
    last.open()
    assert "in use by other processes" in str(last.trouble)


def test_a_file_that_is_put_aside_while_it_is_opened_is_not_taken(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock is on a file that by then has another name; the right one is opened."""
    house.trail().handle([call(1)])
    house.close()
    real = fcntl.flock
    moved: list[bool] = []

    def flock(descriptor: int, how: int) -> None:
        real(descriptor, how)
        if not moved:
            moved.append(True)
            house.path.rename(house.path.with_name("audit.000001.jsonl"))

    monkeypatch.setattr(fcntl, "flock", flock)
    trail = house.trail()
    trail.handle([call(2)])
    assert house.kinds() == ["start", "call"]
    assert house.kinds(house.path.with_name("audit.000001.jsonl")) == ["start", "call", "end"]
    house.sound()


def test_what_is_relative_stays_where_it_was_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever changes the working directory does not move the trail."""
    monkeypatch.chdir(tmp_path)
    trail = AuditTrail(Path("audit.jsonl"), [KEY], checkpoint=Path("checkpoints"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    trail.handle([call(1)])
    trail.close()
    assert (tmp_path / "audit.jsonl").exists()
    assert (tmp_path / "checkpoints" / "audit.checkpoint").exists()
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("fsync", ["always", "interval", "never"])
def test_a_full_file_is_put_aside(house: House, fsync: str) -> None:
    """Number and chain go on in a new one; the old one has its number in its name."""
    trail = house.trail(max_bytes=1_000, fsync=fsync)
    for number in range(9):
        trail.handle([call(number)])
    trail.close()
    files = trail_files(house.path)
    assert [file.name for file in files] == [
        "audit.000001.jsonl",
        "audit.000002.jsonl",
        "audit.jsonl",
    ]
    records = [record for file in files for record in house.records(file)]
    assert [record["seq"] for record in records] == list(range(1, len(records) + 1))
    assert [house.records(file)[0]["file"] for file in files] == [1, 2, 3]
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in files)
    assert house.requests() == [f"r{number}" for number in range(9)]
    house.sound()


def test_an_old_file_is_put_aside(house: House) -> None:
    """By its own age, also if it was opened again meanwhile; one without records is kept."""
    trail = house.trail(max_age=100)
    trail.handle([call(1)])
    house.now += 60
    trail.close()
    again = house.trail(max_age=100)
    again.handle([call(2)])
    house.now += 60
    again.handle([call(3)])
    house.now += 200
    again.handle([call(4)])
    house.now += 200
    again.close()
    last = house.trail(max_age=100)
    last.open()
    assert [file.name for file in trail_files(house.path)] == [
        "audit.000001.jsonl",
        "audit.000002.jsonl",
        "audit.jsonl",
    ]
    house.sound()


def test_while_a_file_cannot_be_put_aside_records_go_on(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, and tried again a minute later."""
    trail = house.trail(max_bytes=600)
    trail.handle([call(1)])
    blocker = house.path.with_name("audit.000001.jsonl")
    blocker.write_text("mine")
    for number in range(2, 5):
        trail.handle([call(number)])
    assert works(trail)
    assert caplog.text.count("audit_file_not_put_aside") == 1
    assert blocker.read_text() == "mine"
    assert house.kinds() == ["start", "call", "call", "call", "call"]
    blocker.unlink()
    house.time += 61
    trail.handle([call(5)])
    assert house.kinds(blocker) == ["start", "call", "call", "call", "call"]
    assert house.kinds() == ["start", "call"]
    house.sound()


def test_killed_while_a_file_is_put_aside(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """With two names for one file, and another not in place yet, nothing is there twice."""
    trail = house.trail(max_bytes=500)
    trail.handle([call(1)])
    house.close()
    aside = house.path.with_name("audit.000001.jsonl")
    os.link(house.path, aside)
    house.path.with_name(".audit.jsonl.new").write_text("half a li")
    assert trail_files(house.path) == [house.path]
    house.sound()
    again = house.trail(max_bytes=500)
    again.handle([call(2)])
    again.handle([call(3)])
    assert house.requests() == ["r1", "r2", "r3"]
    assert trail_files(house.path)[0] == aside
    assert list(house.path.parent.glob(".*")) == []
    house.sound()


def test_old_files_are_removed_and_that_is_recorded(house: House) -> None:
    """Those whose age the seals prove, oldest first; what was removed is not missed."""
    trail = house.trail(max_bytes=500, keep=700)
    for number in range(4):
        trail.handle([call(number)])
        house.now += 400
    removed = [
        record
        for file in trail_files(house.path)
        for record in house.records(file)
        if record["kind"] == "removed"
    ]
    assert trail_files(house.path)[0].name == "audit.000002.jsonl"
    assert [(item["file"], item["first"], item["last"]) for item in removed] == [
        ("audit.000001.jsonl", 1, 2)
    ]
    house.sound()
    # Without its record, a removed file is missed.
    trail_files(house.path)[0].unlink()
    [problem] = house.check().problems
    assert problem.what == "file 2 of the chain is missing before it"


@pytest.mark.parametrize("damage", ["older", "foreign", "none"])
def test_nobody_can_have_a_file_removed(house: House, damage: str) -> None:
    """A beginning that is not as it was written proves no age."""
    trail = house.trail(max_bytes=500)
    for number in range(3):
        trail.handle([call(number)])
    trail.close()
    second = house.path.with_name("audit.000002.jsonl")
    text = second.read_text()
    if damage == "older":
        second.write_text(text.replace("2026-11-24", "2020-11-24", 1))
    elif damage == "foreign":
        second.write_text(text.replace(KEY.id, "0f0f0f0f", 1))
    else:
        second.write_text("")
    again = house.trail(max_bytes=500, keep=1)
    house.now += 0.5
    again.handle([call(9)])
    house.time += 3601
    house.now += 10_000
    again.handle([call(10)])
    assert house.path.with_name("audit.000001.jsonl").exists()


def test_a_chain_removes_only_its_own(house: House) -> None:
    """What lies under its names and belongs to another chain is left alone."""
    trail = house.trail(max_bytes=500)
    for number in range(3):
        trail.handle([call(number)])
    trail.close()
    house.path.unlink()
    house.path.with_name("audit.000002.jsonl").rename(house.path.with_name("audit.000003.jsonl"))
    house.path.with_name("audit.000001.jsonl").rename(house.path.with_name("audit.000002.jsonl"))
    stranger = AuditTrail(house.path.with_name("audit-2.jsonl"), [KEY], max_bytes=500)
    for number in range(2):
        stranger.handle([call(number)])
    stranger.close()
    house.path.with_name("audit-2.000001.jsonl").rename(house.path.with_name("audit.000001.jsonl"))
    again = house.trail(keep=1)
    house.now += 10_000
    again.handle([call(4)])
    assert house.path.with_name("audit.000001.jsonl").exists()


def test_a_file_that_cannot_be_removed_is_logged(
    house: House, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records go on; it is tried again an hour later."""
    trail = house.trail(max_bytes=500, keep=1)

    def unlink(path: Path) -> None:
        raise PermissionError(errno.EACCES, "no", str(path))

    for number in range(2):
        trail.handle([call(number)])
        house.now += 10
    monkeypatch.setattr(Path, "unlink", unlink)
    house.time += 3601
    trail.handle([call(3)])
    trail.handle([call(4)])
    assert caplog.text.count("old_audit_file_not_removed") == 1
    assert works(trail)
    monkeypatch.undo()
    house.time += 3601
    trail.handle([call(5)])
    assert not house.path.with_name("audit.000001.jsonl").exists()
    house.sound()


def test_a_torn_line_is_cut_off_and_recorded(house: House) -> None:
    """It was never promised; what is before it goes on."""
    house.trail().handle([call(1)])
    house.close()
    with house.path.open("a") as file:
        file.write('{"seq":4,"time":"2026')
    assert house.check().ok
    assert len(house.check().notes) == 1
    house.trail().handle([call(2)])
    assert house.kinds() == ["start", "call", "end", "start", "repaired", "call"]
    assert house.records()[4]["torn_bytes"] == 21
    report = house.check()
    assert report.ok
    assert [note.partition(": ")[2] for note in report.notes] == [
        "a last line of 21 bytes that was not complete was cut off"
    ]
    assert house.told == []


def test_a_torn_line_is_told_also_if_the_disk_is_full_then(house: House, disk: FullDisk) -> None:
    """Until there is room, it stays."""
    house.trail().handle([call(1)])
    house.close()
    with house.path.open("a") as file:
        file.write("torn")
    content = house.path.read_bytes()
    trail = house.trail()
    for room, events in ((10, [call(2)]), (300, [])):
        disk.room = room
        trail.handle(events)
        assert not works(trail)
        assert house.path.read_bytes() == content[: len(house.path.read_bytes())]
    disk.room = 100_000
    trail.handle([])
    assert house.kinds() == ["start", "call", "end", "start", "repaired", "call"]
    house.sound()


def test_a_long_last_record_is_found(house: House) -> None:
    """Longer than what is read of a file's end at first."""
    trail = house.trail()
    trail.handle([call(1), call(2, "ab, " * 625_000)])
    trail.close()
    with house.path.open("a") as file:
        file.write("y" * 2_000_000)
    house.trail().handle([call(3)])
    assert house.kinds() == ["start", "call", "call", "end", "start", "repaired", "call"]
    house.sound()


@pytest.mark.parametrize("cut", ["lines", "all", "removed", "bytes"])
def test_records_that_the_checkpoint_knows_are_missed_when_it_is_opened(
    house: House, cut: str
) -> None:
    """It is told at once, and stays a problem of the trail for ever."""
    trail = house.trail()
    trail.handle([call(number) for number in range(5)])
    trail.close()
    lines = house.path.read_bytes().splitlines(keepends=True)
    content = {"lines": b"".join(lines[:4]), "all": b"", "removed": b"", "bytes": b""}[cut]
    if cut == "bytes":
        content = b"".join(lines)[:-1]
    house.path.write_bytes(content)
    if cut == "removed":
        house.path.unlink()
    house.trail().handle([call(9)])
    house.close()
    [lost] = [record for record in house.records() if record["kind"] == "lost"]
    first = {"lines": 5, "bytes": 7}.get(cut, 1)
    assert (lost["first"], lost["last"]) == (first, 7)
    assert house.troubles() == [(False, 0), (True, 8 - first)]
    [problem] = house.check().problems
    assert problem.what == f"records {first} to 7 were lost or cut off before the file was opened"
    assert problem.line is not None
    house.trail().handle([call(10)])
    assert house.kinds().count("lost") == 1


def test_a_file_that_is_gone_is_gone_on_with_behind_the_last_put_aside(house: House) -> None:
    """Its chain and numbers go on, and what is missing is told."""
    trail = house.trail(max_bytes=500)
    for number in range(3):
        trail.handle([call(number)])
    trail.close()
    house.path.unlink()
    house.path.with_name("audit.000002.jsonl").write_text("empty of records\n")
    house.trail(max_bytes=500).handle([call(4)])
    start, lost, _ = house.records()
    assert (start["seq"], start["file"]) == (3, 2)
    assert (lost["kind"], lost["first"], lost["last"]) == ("lost", 3, 7)


def test_without_its_checkpoint_nobody_knows_what_is_missing(house: House) -> None:
    """Which is told too: else whoever cuts records off would only have to remove it as well."""
    trail = house.trail()
    trail.handle([call(1)])
    trail.close()
    house.path.with_name("audit.checkpoint").unlink()
    house.trail().handle([call(2)])
    [problem] = house.check().problems
    assert "from 4 on" in problem.what
    assert house.troubles() == [(False, 0), (True, 0)]


@pytest.mark.parametrize("known", [True, False], ids=["checkpoint", "no checkpoint"])
def test_a_file_with_another_beginning_is_gone_on_with(house: House, known: bool) -> None:
    """Records are written; that it was altered is found when it is verified."""
    trail = house.trail()
    trail.handle([call(1)])
    trail.close()
    lines = house.path.read_bytes().splitlines(keepends=True)
    house.path.write_bytes(b"".join([b"x\n", *lines[1:], b"no record\n"]))
    if not known:
        house.path.with_name("audit.checkpoint").write_bytes(b"\xff" * 1024)
    house.trail().handle([call(2)])
    recorded = json.loads(house.path.read_text().splitlines()[-1])
    assert (recorded["kind"], recorded["request_id"]) == ("call", "r2")
    assert house.path.read_text().count('"seq":4') == 1
    problems = house.check().problems
    assert [(problem.line, problem.seq) for problem in problems] == [(1, 1)]


@pytest.mark.parametrize(
    "start",
    [
        '{"seq":1,"kind":"start"}',
        '{"seq":1,"kind":"start","chain":"a","file":1,"time":"then"}',
        '{"seq":1,"kind":"start","chain":"a","file":1,"time":"2026-11-24T20:00:00Z"}',
    ],
    ids=["empty", "no time", "made up"],
)
def test_a_beginning_that_was_made_up_does_no_harm(house: House, start: str) -> None:
    """The file is written, and found to be altered."""
    house.path.parent.mkdir()
    house.path.write_text(f'{start[:-1]},"mac":"{"0" * 32}"}}\n')
    trail = house.trail(keep=1)
    trail.handle([call(1)])
    assert works(trail)
    assert house.check().problems[0].line == 1


def test_a_new_master_key_seals_from_the_next_opening_on(house: House) -> None:
    """Both keys verify the whole; without the old one it is said which is missing."""
    house.trail().handle([call(1)])
    house.close()
    house.trail(NEW, KEY).handle([call(2)])
    house.close()
    house.sound()
    [problem] = verify([house.path], [NEW]).problems
    assert problem.what == "sealed with master key '0a0a0a0a', which is not given"
    assert (problem.line, problem.seq) == (1, 1)


def test_what_a_full_disk_holds_back_is_written_when_there_is_room(
    house: House, disk: FullDisk
) -> None:
    """Nothing is lost, no half record stays, and it is told when it begins and when it ends."""
    trail = house.trail()
    trail.handle([call(1)])
    for room in (0, 1, 100):
        disk.room = room
        before = house.path.read_bytes()
        assert trail.handle([call(2 + room)]) == 1.0
        assert house.path.read_bytes() == before
    assert trail.trouble == f"{house.path}: No space left on device"
    assert house.troubles() == [(False, 0)]
    disk.room = 100_000
    trail.handle([])
    assert works(trail)
    assert house.requests() == ["r1", "r2", "r3", "r102"]
    assert house.troubles() == [(False, 0), (True, 0)]
    house.sound()


def test_what_there_is_no_room_for_in_memory_is_counted(house: House, disk: FullDisk) -> None:
    """The newest are dropped, and the trail tells how many, and when."""
    trail = house.trail(capacity=3)
    trail.open()
    disk.room = 0
    trail.handle([call(number) for number in range(5)])
    trail.handle([call(7), call(6)])
    disk.room = 100_000
    trail.handle([])
    assert house.requests() == ["r0", "r1", "r2"]
    dropped = house.records()[-1]
    assert (dropped["kind"], dropped["count"]) == ("dropped", 4)
    assert (dropped["first_time"], dropped["last_time"]) == (
        "2026-11-24T20:00:03.000000Z",
        "2026-11-24T20:00:07.000000Z",
    )
    assert house.troubles() == [(False, 0), (True, 4)]
    report = house.check()
    assert report.ok
    assert "4 records were dropped" in report.notes[0]


def test_a_disk_that_cannot_even_cut_is_opened_again(house: House, disk: FullDisk) -> None:
    """The half record is cut off when that is possible, and recorded as torn."""
    trail = house.trail()
    trail.handle([call(1)])
    disk.room, disk.broken = 40, True
    assert trail.handle([call(2)]) == 1.0
    assert trail.handle([]) == 1.0
    disk.room, disk.broken = 100_000, False
    trail.handle([])
    assert house.kinds() == ["start", "call", "start", "repaired", "call"]
    assert house.requests() == ["r1", "r2"]
    house.sound()


def test_much_is_written_in_several_steps(house: House) -> None:
    """Each with its checkpoint, so that it never lacks more than one."""
    trail = house.trail()
    trail.handle([call(number, "ab, " * 250) for number in range(1000)])
    trail.close()
    assert len(house.requests()) == 1000
    house.sound()


def test_a_checkpoint_that_cannot_be_written_holds_no_record_up(
    house: House, tmp_path: Path
) -> None:
    """It is told; when it can be written again, it knows everything."""
    folder = tmp_path / "checkpoints"
    trail = house.trail(checkpoint=folder)
    trail.handle([call(1)])
    shutil.rmtree(folder)
    folder.write_text("in the way")
    for number in range(2, 5):
        assert trail.handle([call(number, "ab, " * 50_000) for _ in range(3)]) == 1.0
    assert str(folder) in str(trail.trouble)
    assert house.kinds() == ["start", *["call"] * 10]
    folder.unlink()
    trail.handle([])
    assert works(trail)
    assert house.check(checkpoints=folder).problems == []
    assert house.troubles() == [(False, 0), (True, 0)]


def test_a_checkpoint_that_is_full_is_told(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part of one is none."""
    trail = house.trail()
    monkeypatch.setattr(os, "pwrite", lambda *_: 5)
    trail.handle([call(1)])
    assert trail.trouble == f"{house.path.with_name('audit.checkpoint')}: No space left on device"
    monkeypatch.undo()
    trail.handle([])
    house.sound()


@pytest.mark.parametrize("how", ["file", "folder", "replaced", "emptied and replaced"])
def test_a_file_that_is_removed_under_the_writer_is_written_again(house: House, how: str) -> None:
    """From what is still open; it is told, and what lay in its place is kept."""
    trail = house.trail()
    trail.handle([call(1)])
    trail.handle([call(2)])
    if how == "folder":
        shutil.rmtree(house.path.parent)
    else:
        house.path.unlink()
    if "replaced" in how:
        house.path.write_text("" if "emptied" in how else "something else\n")
    trail.handle([call(3)])
    assert works(trail)
    assert house.troubles() == [(False, 0), (True, 0)]
    assert house.kinds() == ["start", "call", "call", "call", "restored"]
    assert house.records()[-1]["bytes"] > 500
    replaced = house.path.with_name("audit.jsonl.replaced")
    assert replaced.exists() == (how == "replaced")
    assert stat.S_IMODE(house.path.stat().st_mode) == 0o600
    report = house.check()
    assert report.ok
    assert len(report.notes) == 1
    # The lock went along.
    other = house.trail()
    other.open()
    assert trail_files(house.path)[1].name == "audit-2.jsonl"


def test_a_place_that_another_process_has_taken_is_left_to_it(house: House) -> None:
    """The file is written again under a name that is free."""
    trail = house.trail()
    trail.handle([call(1)])
    house.path.unlink()
    other = house.trail()
    other.handle([call(2)])
    trail.handle([call(3)])
    assert house.kinds(house.path.with_name("audit-2.jsonl")) == [
        "start",
        "call",
        "start",
        "call",
        "restored",
    ]
    assert [each.get("slot") for each in house.records(house.path.with_name("audit-2.jsonl"))] == [
        1,
        None,
        2,
        None,
        None,
    ]
    assert [trouble.working for trouble in house.told][-1]
    other.handle([call(4)])
    assert house.requests() == ["r2", "r4", "r1", "r3"]


def test_what_cannot_be_written_again_waits(
    house: House, disk: FullDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stays open, and is tried again."""
    trail = house.trail()
    trail.handle([call(1)])
    house.path.unlink()
    disk.room = 50
    assert trail.handle([call(2)]) == 1.0
    assert list(house.path.parent.glob(".*")) == []
    disk.room = 100_000
    trail.handle([])
    assert house.requests() == ["r1", "r2"]
    assert house.troubles()[-1] == (True, 0)
    house.sound()


def test_a_read_only_file_is_not_written(house: House) -> None:
    """Also by the superuser: whoever took the right away meant it."""
    trail = house.trail()
    trail.handle([call(1)])
    house.path.chmod(0o400)
    assert trail.handle([call(2)]) == 1.0
    assert trail.trouble == f"{house.path}: it is read-only"
    house.path.chmod(0o600)
    trail.close()
    house.path.chmod(0o400)
    blocked = house.trail()
    blocked.open()
    assert blocked.trouble == f"{house.path}: it is read-only"
    house.path.chmod(0o600)
    blocked.handle([])
    assert works(blocked)
    assert house.requests() == ["r1", "r2"]
    house.sound()


@pytest.mark.parametrize("how", ["cut", "cut within", "added"])
def test_a_file_that_somebody_else_writes_is_opened_again(house: House, how: str) -> None:
    """What is missing is recorded; what was added is found when it is verified."""
    trail = house.trail()
    trail.handle([call(1)])
    trail.handle([call(2)])
    size = house.path.stat().st_size
    lines = house.path.read_bytes().splitlines(keepends=True)
    if how == "added":
        with house.path.open("a") as file:
            file.write("added\n")
    else:
        os.truncate(house.path, size - (len(lines[2]) if how == "cut" else 5))
    assert trail.handle([call(3)]) == 1.0
    assert trail.trouble == f"{house.path}: somebody else has cut it or written to it"
    trail.handle([])
    assert works(trail)
    [problem, *_] = house.check().problems
    assert problem.what == (
        "inserted or repeated"
        if how == "added"
        else "records 3 to 3 were lost or cut off before the file was opened"
    )
    assert house.path.read_text().endswith("}\n")
    assert '"r3"' in house.path.read_text()


def test_a_folder_that_may_not_be_entered_is_told(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the file is there cannot be told then, so it waits."""
    trail = house.trail()
    trail.handle([call(1)])
    real = os.stat

    def refuse(path: Any, **options: Any) -> os.stat_result:
        if str(path) == str(house.path):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path, **options)

    monkeypatch.setattr(os, "stat", refuse)
    assert trail.handle([call(2)]) == 1.0
    monkeypatch.undo()
    trail.handle([])
    assert house.requests() == ["r1", "r2"]


@pytest.mark.parametrize("policy", ["always", "interval", "never"])
def test_records_are_forced_to_the_disk_by_policy(
    house: House, monkeypatch: pytest.MonkeyPatch, policy: str
) -> None:
    """Before handle returns, or once a second, or never; the checkpoint behind them."""
    trail = house.trail(fsync=policy)
    trail.open()
    forced: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        forced.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    both = ["audit.jsonl", "audit.checkpoint"]
    house.time += 5
    first = trail.handle([call(1)])
    house.time += 0.25
    second = trail.handle([call(2)])
    house.time += 0.75
    third = trail.handle([])
    pauses = (first, second, third)
    if policy == "always":
        assert (forced, pauses) == (both * 2, (None, None, None))
    elif policy == "interval":
        assert (forced, pauses) == (both * 2, (None, 0.75, None))
    else:
        assert (forced, pauses) == ([], (None, None, None))


@pytest.mark.parametrize("policy", ["always", "interval"])
def test_a_disk_that_takes_nothing_is_told(
    house: House, monkeypatch: pytest.MonkeyPatch, policy: str
) -> None:
    """What was written is not written twice, and is forced to the disk when that works."""
    trail = house.trail(fsync=policy)
    trail.open()
    house.time += 5

    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fail)
    assert trail.handle([call(1)]) == 1.0
    house.time += 1
    assert trail.handle([]) == 1.0
    assert trail.trouble == f"{house.path}: Input/output error"
    monkeypatch.undo()
    trail.handle([])
    assert works(trail)
    assert house.requests() == ["r1"]


def test_a_file_system_that_cannot_force_folders_will_do(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is in its place by then."""

    def refuse(folder: Path) -> None:
        raise OSError(errno.EINVAL, "no")

    monkeypatch.setattr(writer_module, "sync_folder", refuse)
    trail = house.trail(max_bytes=500)
    for number in range(3):
        trail.handle([call(number)])
    assert len(trail_files(house.path)) == 3
    house.sound()


def test_a_closed_trail_says_so_and_may_be_opened_again(house: House) -> None:
    """An end of its own, with which the checkpoint agrees."""
    trail = house.trail()
    trail.handle([call(1)])
    trail.close()
    trail.close()
    assert house.kinds() == ["start", "call", "end"]
    trail.open()
    trail.handle([call(2)])
    assert house.kinds() == ["start", "call", "end", "start", "call"]
    house.sound()


def test_what_cannot_be_written_at_the_end_is_told(
    house: House, disk: FullDisk, caplog: pytest.LogCaptureFixture
) -> None:
    """It is not written later; the trail tells of it when it is opened again."""
    trail = house.trail()
    trail.handle([call(1)])
    disk.room = 0
    trail.handle([call(2)])
    trail.close()
    said = f"path='{house.path}' records=1 reason='{house.path}: No space left on device'"
    assert f"audit_records_not_written {said}" in caplog.text
    assert house.troubles() == [(False, 0), (False, 1)]
    disk.room = 100_000
    trail.open()
    assert house.requests() == ["r1"]
    dropped = house.records()[-1]
    assert (dropped["count"], dropped["reason"]) == (1, CLOSED)
    assert dropped["first_time"] == dropped["last_time"] == "2026-11-24T20:00:02.000000Z"
    disk.room = 0
    trail.close()
    assert "audit_trail_not_ended" in caplog.text
    disk.room = 100_000
    house.sound()


def test_what_was_never_written_is_told_at_the_end(house: House) -> None:
    """Where the path was wrong all the time."""
    house.path.mkdir(parents=True)
    trail = house.trail()
    trail.handle([call(1)])
    trail.close()
    assert house.troubles() == [(False, 0), (False, 1)]
    house.path.rmdir()
    trail.open()
    assert house.kinds() == ["start", "dropped"]
    assert house.troubles()[2:] == [(True, 0)]


def test_nothing_is_written_once_it_is_closed(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    """Not by a thread that comes late either; it is counted, said, and told in the next life."""
    trail = house.trail()
    trail.handle([call(1)])
    trail.close()
    before = house.path.read_bytes()
    assert trail.handle([call(2), FailedOver(**FAILED_OVER), call(3)]) is None
    assert trail.handle([]) is None
    trail.close()
    assert house.path.read_bytes() == before
    said = f"path='{house.path}' records=2 reason='{CLOSED}'"
    assert caplog.text.count(f"audit_records_not_written {said}") == 1
    assert house.troubles() == [(False, 2)]
    trail.open()
    assert house.kinds() == ["start", "call", "end", "start", "dropped"]
    assert (house.records()[-1]["count"], house.records()[-1]["reason"]) == (2, CLOSED)
    house.sound()


def test_a_long_batch_ends_when_the_trail_is_closed(house: House) -> None:
    """What is written stays; of what is left the trail tells, before its end."""
    trail = house.trail()
    closing: list[threading.Thread] = []

    def events() -> Iterator[Event]:
        yield call(1)
        closing.append(threading.Thread(target=trail.close))
        closing[0].start()
        while not trail._closed:
            pass
        yield from map(call, range(2, 10))

    class Batch(list[Event]):
        @override
        def __iter__(self) -> Iterator[Event]:
            return events()

    assert trail.handle(Batch(map(call, range(1, 10)))) is None
    closing[0].join()
    assert house.kinds() == ["start", "call", "dropped", "end"]
    assert house.records()[2]["count"] == 8
    assert house.troubles() == [(False, 8)]
    house.sound()


def test_events_that_never_came_are_told(house: House, caplog: pytest.LogCaptureFixture) -> None:
    """How many, and between which looks; once, and in the log as well."""
    missed = [0]
    trail = house.trail(missed=lambda: missed[0])
    trail.open()
    house.now += 10
    trail.handle([call(1)])
    missed[0] = 7
    house.now += 5
    trail.handle([call(2)])
    trail.handle([call(3)])
    dropped = house.records()[3]
    assert (dropped["kind"], dropped["count"], dropped["reason"]) == ("dropped", 7, MISSED)
    assert (dropped["first_time"], dropped["last_time"]) == (
        "2026-11-24T20:00:10.000000Z",
        "2026-11-24T20:00:15.000000Z",
    )
    assert house.kinds() == ["start", "call", "call", "dropped", "call"]
    [trouble] = house.told
    assert (trouble.working, trouble.lost, trouble.reason) == (True, 7, MISSED)
    assert trouble.serious
    assert f"audit_events_missed path='{house.path}' events=7" in caplog.text
    missed[0] = 9
    trail.close()
    assert house.kinds()[-2:] == ["dropped", "end"]
    report = house.check()
    assert report.ok
    assert "7 events were dropped between" in report.notes[0]


def test_events_that_never_came_in_times_of_trouble_are_told_when_it_is_over(
    house: House, disk: FullDisk
) -> None:
    """With the other losses, in a record of their own."""
    missed = [0]
    trail = house.trail(missed=lambda: missed[0], capacity=1)
    trail.open()
    disk.room = 0
    trail.handle([call(1), call(2)])
    missed[0] = 5
    trail.handle([])
    disk.room = 100_000
    trail.handle([])
    assert house.troubles() == [(False, 0), (True, 6)]
    assert [(each["count"], each["reason"]) for each in house.records()[2:]] == [
        (1, NO_ROOM),
        (5, MISSED),
    ]


def test_events_that_never_came_may_be_all_there_is_to_tell(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    """Where not even that can be written, the next life tells it."""
    house.path.mkdir(parents=True)
    trail = house.trail(missed=lambda: 4)
    trail.close()
    assert "audit_events_missed" in caplog.text
    assert "audit_records_not_written" not in caplog.text
    house.path.rmdir()
    trail.open()
    assert house.kinds() == ["start", "dropped"]


def test_what_waits_is_bounded_by_its_bytes_as_well(house: House, disk: FullDisk) -> None:
    """Long records must not fill the memory, in one batch or in many."""
    trail = house.trail(most_bytes=500_000)
    trail.open()
    disk.room = 0
    for number in range(3):
        trail.handle([call(10 * number + each, "ab, " * 25_000) for each in range(3)])
    disk.room = 10_000_000
    trail.handle([])
    assert house.requests() == ["r0", "r1", "r2", "r10"]
    assert house.records()[-1]["count"] == 5
    assert house.troubles() == [(False, 0), (True, 5)]
    house.sound()


def test_trouble_is_in_the_log(house: House, caplog: pytest.LogCaptureFixture) -> None:
    """With path and reason when it begins, and with what was lost when it is over."""
    caplog.set_level("INFO", "amas.providers.observability")
    house.path.mkdir(parents=True)
    trail = house.trail(capacity=1)
    trail.handle([call(1), call(2)])
    trail.handle([])
    [begun] = caplog.records
    assert begun.levelname == "WARNING"
    assert begun.getMessage() == (
        f"audit_trail_in_trouble path='{house.path}' reason='{house.path}: Is a directory'"
    )
    house.path.rmdir()
    trail.handle([])
    over = caplog.records[-1]
    assert over.levelname == "INFO"
    assert over.getMessage() == (
        f"audit_trail_works_again path='{house.path}' reason='it can be written again' lost=1"
    )


NO_TRAIL = "it is not an audit trail; choose another path"


@pytest.mark.parametrize(
    "content",
    ["name,value\n1,2\n", "no line at all", '{"a":1}', '{"event":"call"}\n{"seq":1'],
    ids=["lines", "no line", "json", "log"],
)
def test_what_is_no_trail_is_not_written(house: House, content: str) -> None:
    """A file of somebody else's stays as it is, and it is said what to do."""
    house.path.parent.mkdir()
    house.path.write_text(content)
    house.path.chmod(0o644)
    trail = house.trail()
    trail.handle([call(1)])
    assert trail.trouble == f"{house.path}: {NO_TRAIL}"
    assert house.path.read_text() == content
    assert stat.S_IMODE(house.path.stat().st_mode) == 0o644
    assert problem_with(house.path) == trail.trouble
    house.path.unlink()
    trail.handle([])
    assert house.requests() == ["r1"]


@pytest.mark.parametrize("torn", ["", '{"se', '{"seq":1,"time":"2026-'])
def test_a_file_that_was_just_begun_is_gone_on_with(house: House, torn: str) -> None:
    """Its writer was killed before its first record was whole."""
    house.path.parent.mkdir()
    house.path.write_text(torn)
    assert problem_with(house.path) is None
    trail = house.trail()
    trail.handle([call(1)])
    assert works(trail)
    assert house.kinds() == ["start", *(["repaired"] if torn else []), "call"]


def test_files_that_others_may_read_are_taken_away_from_them(house: House) -> None:
    """The file and its checkpoint, when it is opened; of other owners they stay as they are."""
    checkpoint = house.path.with_name("audit.checkpoint")
    house.trail().handle([call(1)])
    house.close()
    for file in (house.path, checkpoint):
        file.chmod(0o644)
    house.trail().open()
    assert [stat.S_IMODE(f.stat().st_mode) for f in (house.path, checkpoint)] == [0o600] * 2
    with pytest.MonkeyPatch.context() as patch:
        house.path.chmod(0o640)
        patch.setattr(os, "geteuid", lambda: -1)
        house.close()
        house.trail().open()
    assert stat.S_IMODE(house.path.stat().st_mode) == 0o640


@pytest.mark.parametrize("what", ["folder", "pipe"])
def test_what_is_no_file_among_those_put_aside_holds_nothing_up(house: House, what: str) -> None:
    """Neither where the chain goes on behind it, nor where old files are removed."""
    trail = house.trail(max_bytes=500)
    for number in range(3):
        trail.handle([call(number)])
    trail.close()
    house.path.unlink()
    odd = house.path.with_name("audit.000009.jsonl")
    odd.mkdir() if what == "folder" else os.mkfifo(odd)
    again = house.trail(keep=1)
    house.now += 10_000
    again.handle([call(4)])
    assert works(again)
    assert house.records()[0]["file"] == 3


def test_a_path_is_tried_without_writing(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders may be missing; what stands in the way is named."""
    assert problem_with(house.path) is None
    assert not house.path.parent.exists()
    house.trail().handle([call(1)])
    before = house.path.read_bytes()
    assert problem_with(house.path) is None
    house.path.write_text("somebody has damaged it\n")
    assert problem_with(house.path) is None  # the checkpoint knows that it is one
    house.path.write_bytes(before)
    assert problem_with(house.path / "x" / "y.jsonl") == f"{house.path}: Not a directory"
    assert problem_with(house.path, house.path) == f"{house.path}: Not a directory"
    house.path.chmod(0o400)
    assert problem_with(house.path) == f"{house.path}: it is read-only"
    house.path.chmod(0o600)
    folder = house.path.parent
    assert problem_with(folder) == f"{folder}: it is not a file"
    link = folder / "link.jsonl"
    link.symlink_to(house.path)
    assert problem_with(link) == f"{link}: Too many levels of symbolic links"
    monkeypatch.setattr(os, "access", lambda path, _: path == folder)
    assert problem_with(house.path) == f"{house.path}: Permission denied"
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert problem_with(house.path) == f"{folder}: Permission denied"


def test_a_trail_that_nobody_holds_leaves_its_file(house: House) -> None:
    """Also if it was not closed."""
    trail = AuditTrail(house.path, [KEY])
    trail.handle([call(1)])
    del trail
    gc.collect()
    house.trail().handle([call(2)])
    assert house.requests() == ["r1", "r2"]
    assert trail_files(house.path) == [house.path]


def test_an_event_that_cannot_be_recorded_costs_no_other(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    """It is counted as dropped, and logged."""
    odd: Any = ["no usage"]
    broken = CallEnded(
        at=NOW, request_id="x", caller=None, provider=None, model=None, outcome="ok", usage=odd
    )
    told_elsewhere = FailedOver(**FAILED_OVER)
    events: list[Event] = [call(1), broken, told_elsewhere, call(2)]
    house.trail().handle(events)
    assert house.kinds() == ["start", "call", "call", "dropped"]
    assert "event_not_recorded kind='call'" in caplog.text
    house.sound()


def in_child(work: Callable[[], None]) -> int:
    """Do something in a forked process, and return how it ended."""
    pid = os.fork()
    if pid == 0:  # pragma: no cover -- not measured there
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_opens_a_file_of_its_own(house: House, disk: FullDisk) -> None:
    """What the parent has not written yet stays the parent's, and so does its lock."""
    trail = house.trail()
    trail.handle([call(1)])
    disk.room = 0
    trail.handle([call(2)])

    def work() -> None:
        disk.room = 100_000
        assert trail.handle([call(3)]) is None
        trail.close()

    assert in_child(work) == 0
    assert in_child(trail.close) == 0
    disk.room = 100_000
    trail.handle([])
    other = house.path.with_name("audit-2.jsonl")
    assert house.kinds() == ["start", "call", "call"]
    assert house.kinds(other) == ["start", "call", "end"]
    trail.close()
    house.sound()


def test_what_was_the_parents_is_left_to_it(house: House, disk: FullDisk) -> None:
    """The same, in one process that looks like two."""
    trail = house.trail()
    trail.handle([call(1)])
    disk.room = 0
    trail.handle([call(2)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "getpid", lambda: -1)
        trail.close()
    trail.close()
    disk.room = 100_000
    assert house.kinds() == ["start", "call"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 64 KB, where that may be done."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    found = shutil.which("mount")
    if found is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a small file system may not be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_file_system_loses_nothing(small_disk: Path) -> None:
    """A real one: every record of before, during and after is there, once, and proven."""
    house = House(small_disk)
    trail = house.trail()
    filler = small_disk / "filler"
    filler.write_bytes(b"ab, " * 5_000)
    number = 0
    while works(trail):
        trail.handle([call(number), call(number + 1)])
        number += 2
        assert number < 1_000
    for _ in range(10):
        trail.handle([call(number)])
        number += 1
    assert house.check().ok
    filler.unlink()
    trail.handle([])
    assert works(trail)
    assert house.requests() == [f"r{place}" for place in range(number)]
    trail.close()
    house.sound()
    assert house.troubles() == [(False, 0), (True, 0)]


@pytest.mark.parametrize(
    ("name", "stem", "suffix", "number"),
    [
        ("audit.jsonl", "audit", ".jsonl", None),
        ("audit.000012.jsonl", "audit", ".jsonl", 12),
        ("audit-2.1234567.jsonl", "audit-2", ".jsonl", 1234567),
        ("audit", "audit", "", None),
        ("audit.000012", "audit", "", 12),
        ("a.b.000012.c", "a.b", ".c", 12),
        (".audit", ".audit", "", None),
    ],
    ids=range(7),
)
def test_names_tell_where_a_file_belongs(
    name: str, stem: str, suffix: str, number: int | None
) -> None:
    """Its chain, and its number there."""
    folder = Path("/logs")
    expected = ChainName(folder, stem, suffix)
    assert chain_of(folder / name) == (expected, number)
    again = expected.live if number is None else expected.aside(number)
    assert again == folder / name


def test_the_files_of_a_trail_are_its_own(tmp_path: Path) -> None:
    """In the order of writers and numbers; what is named otherwise is not among them."""
    ours = [
        "audit.000002.jsonl",
        "audit.000010.jsonl",
        "audit.jsonl",
        "audit-2.jsonl",
        "audit-10.000001.jsonl",
    ]
    others = ["audit-x.jsonl", "audit.log", "other.jsonl", "audit.12.jsonl", "audit-02.jsonl"]
    for name in [*ours, *others]:
        (tmp_path / name).write_text(name)
    assert [file.name for file in trail_files(tmp_path / "audit.jsonl")] == ours
    assert trail_files(tmp_path / "nowhere" / "audit.jsonl") == []
