"""What is said of a trail that was altered, and of one that only looks like it."""

from __future__ import annotations

import os
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from amas.providers.observability.audit import verification
from amas.providers.observability.audit.checking import Check
from amas.providers.observability.audit.checkpoint import read_checkpoint
from amas.providers.observability.audit.descriptors import opened_to_read
from amas.providers.observability.audit.files import ChainName, trail_files
from amas.providers.observability.audit.keys import AuditKey
from amas.providers.observability.audit.trail import AuditTrail
from amas.providers.observability.audit.verification import Report, verify
from amas.providers.observability.events import CallEnded

KEY = AuditKey("0a0a0a0a", b"o" * 32)
NOW = 1_795_550_400.0


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


class Trail:
    """A trail of three files, with twelve records: start and three calls in each."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "audit.jsonl"
        trail = AuditTrail(self.path, [KEY], wall=lambda: NOW, max_bytes=1)
        for number in range(0, 9, 3):
            trail.handle([call(number), call(number + 1), call(number + 2)])
        del trail
        self.checkpoint = folder / "audit.checkpoint"

    def file(self, number: int) -> Path:
        """Return a file by its number."""
        return trail_files(self.path)[number - 1]

    def edit(self, number: int, change: Callable[[list[bytes]], object]) -> None:
        """Change the lines of a file."""
        lines = self.file(number).read_bytes().splitlines(keepends=True)
        change(lines)
        self.file(number).write_bytes(b"".join(lines))

    def check(self, **options: Any) -> Report:
        """Verify it."""
        return verify(trail_files(self.path), [KEY], **options)

    def found(self, **options: Any) -> list[tuple[str, int | None, int | None, str]]:
        """Return the problems."""
        return [
            (problem.file.name, problem.line, problem.seq, problem.what)
            for problem in self.check(**options).problems
        ]


@pytest.fixture
def trail(tmp_path: Path) -> Trail:
    """Write one."""
    return Trail(tmp_path)


def test_a_sound_trail_is_described(trail: Trail) -> None:
    """Its chains, with their files, records and times."""
    report = trail.check()
    assert (report.ok, report.records, report.notes) == (True, 12, [])
    [chain] = report.chains
    assert (chain.name, len(chain.chain), len(chain.files)) == ("audit", 16, 3)
    assert (chain.records, chain.first_seq, chain.last_seq) == (12, 1, 12)
    assert (chain.first_time, chain.last_time) == (
        "2026-11-24T20:00:00.000000Z",
        "2026-11-24T20:00:08.000000Z",
    )


def swap(lines: list[bytes]) -> None:
    """Let the second and third line change places."""
    lines[1], lines[2] = lines[2], lines[1]


def replace(old: bytes, new: bytes, line: int = 1) -> Callable[[list[bytes]], None]:
    """Change a text in a line, counted from 0."""

    def change(lines: list[bytes]) -> None:
        assert old in lines[line]
        lines[line] = lines[line].replace(old, new)

    return change


START = "the file does not begin with a start record: its first line was altered, or it is no file of a trail"


@pytest.mark.parametrize(
    ("number", "change", "expected"),
    [
        (2, replace(b"agent", b"other"), ("audit.000002.jsonl", 2, 6, "changed")),
        (2, replace(b'"seq":6', b'"seq":60'), ("audit.000002.jsonl", 2, 60, "changed")),
        (2, replace(b"}", b"]"), ("audit.000002.jsonl", 2, 6, "changed")),
        (
            3,
            replace(b'"}\n', b'"}', line=2),
            ("audit.jsonl", 3, 11, "changed"),
        ),
        (2, lambda lines: lines.pop(1), ("audit.000002.jsonl", 2, 7, "record 6 is missing")),
        (
            2,
            lambda lines: lines.__delitem__(slice(1, 3)),
            ("audit.000002.jsonl", 2, 8, "records 6 to 7 are missing"),
        ),
        (2, swap, ("audit.000002.jsonl", 2, 7, "out of order")),
        (
            2,
            lambda lines: lines.insert(3, lines[1]),
            ("audit.000002.jsonl", 4, 6, "inserted or repeated"),
        ),
        (
            3,
            lambda lines: lines.append(lines[1]),
            ("audit.jsonl", 5, 10, "inserted or repeated"),
        ),
        (
            2,
            lambda lines: lines.insert(2, b"made up\n"),
            ("audit.000002.jsonl", 3, 7, "inserted or repeated"),
        ),
        (2, lambda lines: lines.pop(0), ("audit.000002.jsonl", 1, 6, START)),
        (2, lambda lines: lines.insert(0, b"\n"), ("audit.000002.jsonl", 1, 5, START)),
        (
            2,
            replace(b'"}\n', b"", line=3),
            ("audit.000002.jsonl", 4, 8, "the line is not complete"),
        ),
        (2, lambda lines: lines.clear(), ("audit.jsonl", 1, 9, "records 5 to 8 are missing")),
        (
            3,
            lambda lines: lines.pop(),
            ("audit.jsonl", 3, 11, "cut off: the checkpoint knows record 12"),
        ),
        (
            3,
            lambda lines: lines.clear(),
            ("audit.000002.jsonl", 4, 8, "cut off: the checkpoint knows record 12"),
        ),
        (
            1,
            replace(b'"previous":"0', b'"previous":"1', line=0),
            ("audit.000001.jsonl", 1, 1, "changed"),
        ),
        (1, replace(b'"file":1', b'"file":"1"', line=0), ("audit.000001.jsonl", 1, 1, "changed")),
        (
            1,
            replace(b'"previous"', b'"previous_"', line=0),
            ("audit.000001.jsonl", 1, 1, "changed"),
        ),
        (
            1,
            replace(b"0a0a0a0a", b"0b0b0b0b", line=0),
            (
                "audit.000001.jsonl",
                1,
                1,
                "sealed with master key '0b0b0b0b', which is not given",
            ),
        ),
    ],
    ids=range(20),
)
def test_it_is_said_where_and_what_was_altered(
    trail: Trail,
    number: int,
    change: Callable[[list[bytes]], object],
    expected: tuple[str, int, int, str],
) -> None:
    """By file, line and number of the record; what follows in that chain is not looked at."""
    trail.edit(number, change)
    assert trail.found() == [expected]


def test_a_file_that_is_missing_is_named(trail: Trail) -> None:
    """By the records that are gone, or if it is the first, by its number."""
    second, first = trail.file(2), trail.file(1)
    content = second.read_bytes()
    second.unlink()
    assert trail.found() == [("audit.jsonl", 1, 9, "records 5 to 8 are missing")]
    second.write_bytes(content)
    first.unlink()
    assert trail.found() == [
        ("audit.000002.jsonl", None, 5, "file 1 of the chain is missing before it")
    ]
    assert trail.check().records == 8
    trail.file(1).unlink()
    assert trail.found() == [
        ("audit.jsonl", None, 9, "files 1 to 2 of the chain are missing before it")
    ]


def test_a_file_of_another_name_is_found(trail: Trail) -> None:
    """Sound as it is, it belongs elsewhere."""
    trail.file(1).unlink()
    trail.file(1).rename(trail.path.with_name("audit.000007.jsonl"))
    assert trail.found() == [("audit.000007.jsonl", 1, 5, "inserted or repeated")]


def test_the_last_file_is_missed(trail: Trail) -> None:
    """Whether it is gone or never was asked for."""
    trail.path.unlink()
    assert trail.found() == [
        ("audit.000002.jsonl", 4, 8, "cut off: the checkpoint knows record 12")
    ]
    [problem] = verify([trail.path], [KEY]).problems
    assert (problem.file, problem.what) == (
        trail.path,
        "cannot be read: No such file or directory",
    )
    gone = trail.path.with_name("audit.000009.jsonl")
    [problem] = verify([gone], [KEY], require_checkpoint=False).problems
    assert (problem.file, problem.what) == (gone, "cannot be read: there is no such file")


@pytest.mark.parametrize("what", ["folder", "pipe"])
@pytest.mark.parametrize("number", [2, 3])
def test_what_is_no_file_is_a_problem_of_its_own(trail: Trail, number: int, what: str) -> None:
    """It is named, nothing waits for it, and the rest is checked without it."""
    file = trail.file(number)
    file.unlink()
    file.mkdir() if what == "folder" else os.mkfifo(file)
    other = trail.path.with_name("audit-7.jsonl")
    other.mkdir()
    rest = {
        2: ("audit.jsonl", 1, 9, "records 5 to 8 are missing"),
        3: ("audit.000002.jsonl", 4, 8, "cut off: the checkpoint knows record 12"),
    }
    no_file = "cannot be read: it is not a file"
    assert trail.found() == [
        (file.name, None, None, no_file),
        rest[number],
        (other.name, None, None, no_file),
    ]


def test_a_file_that_cannot_be_read_ends_the_check_of_its_chain(
    trail: Trail, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is in it cannot be told."""

    def opened(path: Path) -> int:
        if path == trail.file(2):
            raise PermissionError(13, "Permission denied", str(path))
        return opened_to_read(path)

    monkeypatch.setattr("amas.providers.observability.audit.checking.opened_to_read", opened)
    assert trail.found() == [
        ("audit.000002.jsonl", None, None, "cannot be read: Permission denied")
    ]


def test_one_file_stands_for_its_whole_chain(trail: Trail) -> None:
    """The others are looked for beside it."""
    for number in (1, 3):
        assert verify([trail.file(number)], [KEY]).records == 12


def test_a_whole_chain_is_missed_by_its_checkpoint(trail: Trail) -> None:
    """Of another writer, of which nothing else is there; not that of another trail."""
    name = trail.path.with_name("audit-2.jsonl")
    first, second = (AuditTrail(trail.path, [KEY]) for _ in range(2))
    first.open()
    second.open()
    assert name.exists()
    trail.path.with_name("audit-3.checkpoint").write_bytes(b"damaged")
    trail.path.with_name("other.checkpoint").write_bytes(b"damaged")
    assert [problem[0] for problem in trail.found()] == ["audit-3.jsonl"]
    name.unlink()
    found = trail.found()
    checkpoint = trail.path.with_name("audit-2.checkpoint")
    assert found[0] == ("audit-2.jsonl", None, 1, f"the file is missing, {checkpoint} knows it")
    assert trail.found(require_checkpoint=False) == []


@pytest.fixture
def two(tmp_path: Path) -> Trail:
    """Write a trail of two writers."""
    made = Trail(tmp_path)
    writers = [AuditTrail(made.path, [KEY], wall=lambda: NOW) for _ in range(2)]
    for number, writer in enumerate(writers):
        writer.handle([call(30 + number)])
    for writer in writers:
        writer.close()
    return made


def move(folder: Path, base: str, to: str, *, copied: bool = False) -> None:
    """Give a chain another name, with its checkpoint; or copy it."""
    for path in sorted(folder.iterdir()):
        name, dot, rest = path.name.partition(".")
        if name == base:
            content = path.read_bytes()
            if not copied:
                path.unlink()
            (folder / f"{to}{dot}{rest}").write_bytes(content)


def test_a_chain_is_bound_to_its_name(two: Trail) -> None:
    """Renamed or changed places with another, with all its files, it is found where it is."""
    folder = two.path.parent
    assert two.found(trail=two.path) == []
    move(folder, "audit-2", "audit-9")
    assert two.found() == two.found(trail=two.path)
    assert two.found() == [("audit-9.jsonl", 1, 1, "was written as audit-2.jsonl")]
    move(folder, "audit", "audit-2")
    move(folder, "audit-9", "audit")
    assert two.found(trail=two.path) == [
        ("audit.jsonl", 1, 1, "was written as audit-2.jsonl"),
        ("audit-2.jsonl", 5, 13, "was written as audit.jsonl"),
    ]


def test_an_archive_may_have_a_base_of_its_own(two: Trail, tmp_path: Path) -> None:
    """Its numbers must be the same; what is named like a second writer may be a trail itself."""
    folder = two.path.parent
    move(folder, "audit", "2026-11")
    move(folder, "audit-2", "2026-11-2")
    archived = sorted(folder.glob("*.jsonl"))
    assert verify(archived, [KEY]).problems == []
    assert verify(archived, [KEY], trail=folder / "2026-11.jsonl").problems == []
    [first, *_] = verify(archived, [KEY], trail=folder / "2026.jsonl").problems
    assert first.what == "was written as 2026.jsonl"


def test_a_copy_of_a_chain_is_found(two: Trail, tmp_path: Path) -> None:
    """Under another name, or in another folder: both are named."""
    folder = two.path.parent
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for path in folder.glob("audit-2.*"):
        (elsewhere / path.name).write_bytes(path.read_bytes())
    original = folder / "audit-2.jsonl"
    report = verify([original, elsewhere / "audit-2.jsonl"], [KEY])
    [problem] = report.problems
    chain = report.chains[0].chain
    assert problem.file == elsewhere / "audit-2.jsonl"
    assert problem.what == f"of the same chain {chain} as {original}: one is a copy"
    move(folder, "audit-2", "audit-9", copied=True)
    assert [what for *_, what in two.found(trail=two.path)] == [
        "was written as audit-2.jsonl",
        f"of the same chain {chain} as {original}: one is a copy",
    ]


def test_of_a_trail_that_is_gone_its_checkpoints_tell(two: Trail) -> None:
    """Where it is known what the trail is, no file needs to be there."""
    for path in trail_files(two.path):
        path.unlink()
    two.path.with_name("other.checkpoint").write_bytes(b"damaged")
    assert two.found() == []
    assert [(name, what.partition(",")[0]) for name, _, _, what in two.found(trail=two.path)] == [
        ("audit-2.jsonl", "the file is missing"),
        ("audit.jsonl", "the file is missing"),
    ]


def test_a_checkpoint_of_nothing_misses_nothing(
    trail: Trail, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is made before the first record, which may not have come."""
    holder = AuditTrail(trail.path, [KEY])
    holder.open()
    second = AuditTrail(trail.path, [KEY])
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            second.open()
    empty = trail.path.with_name("audit-2.jsonl")
    assert empty.stat().st_size == 0
    assert read_checkpoint(empty.with_suffix(".checkpoint"), {KEY.id: KEY}).newest is not None
    assert trail.found() == []
    empty.unlink()
    assert trail.found() == []


def test_a_torn_last_line_is_no_problem(trail: Trail) -> None:
    """It may be being written; what the checkpoint knows has to be there all the same."""
    with trail.path.open("a") as file:
        file.write('{"seq":13,"ti')
    report = trail.check()
    assert report.ok
    assert len(report.notes) == 1
    assert report.notes[0].startswith(f"{trail.path}:5: the last line is not complete")
    trail.edit(3, lambda lines: lines.__setitem__(slice(3, None), [lines[3][:-1]]))
    assert trail.found() == [("audit.jsonl", 3, 11, "cut off: the checkpoint knows record 12")]


DAMAGED = "the checkpoint is damaged or was changed"


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda path: path.unlink(), "the checkpoint is missing"),
        (lambda path: path.write_bytes(b""), DAMAGED),
        (lambda path: path.write_bytes(path.read_bytes() + b" "), DAMAGED),
        (lambda path: path.write_bytes(path.read_bytes().replace(b"chain", b"CHAIN")), DAMAGED),
        (
            lambda path: path.write_bytes(path.read_bytes().replace(b'"file":3', b'"file":4')),
            DAMAGED,
        ),
        (lambda path: path.write_bytes(b"[" * 1024), DAMAGED),
        (lambda path: path.write_bytes(b"[]".ljust(512) * 2), DAMAGED),
        (
            lambda path: path.write_bytes(path.read_bytes().replace(b"0a0a0a0a", b"0b0b0b0b")),
            "the checkpoint is sealed with master key '0b0b0b0b', which is not given",
        ),
        (
            lambda path: (path.unlink(), path.mkdir()),
            "the checkpoint cannot be read: Is a directory",
        ),
    ],
    ids=range(9),
)
def test_a_checkpoint_that_says_nothing_is_a_problem(
    trail: Trail, change: Callable[[Path], object], what: str
) -> None:
    """Unless none is asked for."""
    change(trail.checkpoint)
    assert trail.found() == [("audit.checkpoint", None, None, what)]
    assert trail.found(require_checkpoint=False) == []


def test_a_checkpoint_of_another_chain_is_a_problem(trail: Trail, tmp_path: Path) -> None:
    """Both chains are named."""
    other = Trail(tmp_path / "other")
    trail.checkpoint.write_bytes(other.checkpoint.read_bytes())
    [(file, line, seq, what)] = trail.found()
    assert (file, line, seq) == ("audit.000001.jsonl", 1, 1)
    chains = [found.check(require_checkpoint=False).chains[0].chain for found in (trail, other)]
    assert what == f"of chain {chains[0]}, and the checkpoint is of {chains[1]}"


def test_another_history_than_the_checkpoints_is_a_problem(trail: Trail) -> None:
    """Records of the same chain and numbers, written from an older copy of it."""
    lines = trail.path.read_bytes().splitlines(keepends=True)
    known = trail.checkpoint.read_bytes()
    trail.path.write_bytes(b"".join(lines[:3]))
    again = AuditTrail(trail.path, [KEY], wall=lambda: NOW)
    again.handle([call(20)])
    again.close()
    trail.checkpoint.write_bytes(known)
    assert trail.found()[-1] == (
        "audit.jsonl",
        4,
        12,
        "not the record that the checkpoint knows",
    )


@pytest.mark.parametrize("how", ["closed", "much", "opened"])
def test_an_older_checkpoint_is_a_problem(trail: Trail, how: str) -> None:
    """It may lack the records of one write: the writer may have been killed then."""
    older = trail.checkpoint.read_bytes()
    again = AuditTrail(trail.path, [KEY], wall=lambda: NOW)
    again.open()
    opened = trail.checkpoint.read_bytes()
    again.handle([call(20), call(21)])
    if how == "closed":
        again.close()
        trail.checkpoint.write_bytes(opened)
    elif how == "much":
        again.handle([call(22, "ab, " * 50_000)])
        again.handle([call(23, "ab, " * 50_000)])
        trail.checkpoint.write_bytes(opened)
    else:
        again.handle([call(22)])
        trail.checkpoint.write_bytes(older)
        assert trail.check().ok
        del again
        last = AuditTrail(trail.path, [KEY], wall=lambda: NOW)
        last.open()
        trail.checkpoint.write_bytes(opened)
    report = trail.check()
    known = {"closed": 13, "much": 13, "opened": 13}[how]
    assert [problem.what for problem in report.problems] == [
        f"the checkpoint is older than the records: it knows record {known}"
    ]


def test_two_long_records_are_more_than_one_write(trail: Trail) -> None:
    """And one, however long, is not."""
    opened = trail.checkpoint.read_bytes()
    again = AuditTrail(trail.path, [KEY], wall=lambda: NOW)
    again.open()
    opened = trail.checkpoint.read_bytes()
    again.handle([call(20, "ab, " * 75_000)])
    trail.checkpoint.write_bytes(opened)
    assert trail.check().ok
    again.handle([call(21, "ab, " * 2)])
    trail.checkpoint.write_bytes(opened)
    assert len(trail.found()) == 1


def test_a_trail_that_is_being_written_is_verified(trail: Trail) -> None:
    """With files put aside on the way; several times, without one false alarm."""
    writer = AuditTrail(trail.path, [KEY], max_bytes=20_000)
    stop = threading.Event()

    def write() -> None:
        number = 100
        while not stop.is_set():
            writer.handle([call(number), call(number + 1)])
            number += 2

    thread = threading.Thread(target=write)
    thread.start()
    reports: list[Report] = []
    try:
        while len(trail_files(trail.path)) < 20:
            reports.append(verify([trail.path], [KEY]))
    finally:
        stop.set()
        thread.join()
        writer.close()
    assert [problem for report in reports for problem in report.problems] == []
    assert trail.check().ok
    assert len(reports) > 1


@pytest.mark.parametrize("when", ["while it is opened", "before it is read"])
def test_a_file_that_is_put_aside_meanwhile_is_read_where_it_is(
    trail: Trail, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """The one that was live when reading began is the last."""
    writer = AuditTrail(trail.path, [KEY], wall=lambda: NOW, max_bytes=1)
    listed = ChainName.put_aside
    opened = Check._open

    def put_aside(name: ChainName) -> list[tuple[int, Path]]:
        monkeypatch.setattr(ChainName, "put_aside", listed)
        before = listed(name)
        writer.handle([call(20)])
        writer.handle([call(21)])
        return before if when == "before it is read" else listed(name)

    def open_files(check: Check) -> None:
        monkeypatch.setattr(ChainName, "put_aside", put_aside)
        opened(check)

    monkeypatch.setattr(Check, "_open", open_files)
    report = trail.check()
    assert report.problems == []
    # Those of before, and the start of the writer that put the file aside.
    assert report.records == 13
    assert len(trail_files(trail.path)) == 5


def test_files_that_change_are_read_again(trail: Trail, monkeypatch: pytest.MonkeyPatch) -> None:
    """A problem counts if nothing has changed meanwhile, or if it stays."""
    content = trail.path.read_bytes()
    real = Check
    rounds: list[int] = []

    def changing(*given: Any) -> Any:
        rounds.append(1)
        trail.path.write_bytes(b"x" if len(rounds) == 1 else content)
        return real(*given)

    monkeypatch.setattr(verification, "Check", changing)
    assert trail.check().ok
    assert len(rounds) == 2

    def failing(*given: Any) -> Any:
        rounds.append(1)
        trail.path.write_bytes(b"x" * len(rounds))
        return real(*given)

    monkeypatch.setattr(verification, "Check", failing)
    assert not trail.check().ok
    assert len(rounds) == 7


def test_no_files_are_no_problem() -> None:
    """It is for the caller to say that there is nothing."""
    report = verify([], [KEY])
    assert (report.ok, report.records, report.chains) == (True, 0, [])


def test_memory_does_not_grow_with_the_trail(tmp_path: Path, uncovered: None) -> None:
    """Two and a half megabytes are verified within one half."""
    path = tmp_path / "audit.jsonl"
    writer = AuditTrail(path, [KEY])
    for _ in range(10):
        writer.handle([call(number) for number in range(1000)])
    writer.close()
    assert path.stat().st_size > 2_000_000
    tracemalloc.start()
    try:
        assert verify([path], [KEY]).records == 10_002
        assert tracemalloc.get_traced_memory()[1] < 500_000
    finally:
        tracemalloc.stop()
