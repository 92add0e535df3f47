"""Records are read back in their order, whatever else stands in the files."""

from __future__ import annotations

import json
import os
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import pytest

from amas.providers.errors import ProviderConfigError
from amas.providers.observability.audit import reading
from amas.providers.observability.audit.following import Follower
from amas.providers.observability.audit.reading import Record, read_head, read_records, select

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def at(minute: float) -> str:
    """Write a time some minutes after noon as records have it."""
    return (NOON + timedelta(minutes=minute)).isoformat(timespec="microseconds")[:-6] + "Z"


def start(chain: str, number: int, minute: float, seq: int = 1) -> Record:
    """Make the first record of a file."""
    return {"seq": seq, "time": at(minute), "kind": "start", "chain": chain, "file": number}


def call(minute: float, seq: int = 0, **fields: Any) -> Record:
    """Make the record of a call."""
    return {"seq": seq, "time": at(minute), "kind": "call", "outcome": "ok", **fields}


def write(path: Path, *records: Record | bytes) -> Path:
    """Write a file of records, and of lines that are none."""
    lines = (each if isinstance(each, bytes) else json.dumps(each).encode() for each in records)
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


def append(path: Path, *records: Record) -> None:
    """Add records to a file."""
    with path.open("ab") as file:
        file.writelines(json.dumps(record).encode() + b"\n" for record in records)


def minutes(records: Any) -> list[float]:
    """Return when records were written, without those that begin a file."""
    return [
        (reading.time_of(each) - NOON).total_seconds() / 60
        for each in records
        if each["kind"] != "start"
    ]


# --- reading --------------------------------------------------------------------------------------


def test_chains_are_merged_by_time_and_files_follow_one_another(tmp_path: Path) -> None:
    """Records of several writers come in the order of time, whatever order the files are named in."""
    old = write(tmp_path / "a.000001.jsonl", start("a", 1, 0), call(1), call(4))
    live = write(tmp_path / "a.jsonl", start("a", 2, 5), call(6))
    other = write(tmp_path / "a-2.jsonl", start("b", 1, 0), call(2), call(5.5), call(9))
    assert minutes(read_records([live, other, old, live])) == [1, 2, 4, 5.5, 6, 9]


def test_only_one_file_of_a_chain_is_open_besides_its_newest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many files were put aside, two of a chain are open at a time."""
    files = [
        write(tmp_path / f"a.{number:06d}.jsonl", start("a", number, number), call(number))
        for number in range(1, 9)
    ]
    opened: list[Any] = []
    real = reading.open_file

    def noted(path: Path) -> Any:
        opened.append(real(path))
        return opened[-1]

    monkeypatch.setattr(reading, "open_file", noted)
    most = 0
    for _ in read_records(files):
        most = max(most, sum(not file.closed for file in opened))
    assert most == 2
    assert all(file.closed for file in opened)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"[1]",
        b'"text"',
        b"\xff\xfe",
        b'{"kind":"call"}',
        b'{"time":1,"kind":"call"}',
        b'{"time":"yesterday"}',
        b'{"time":"2026-11-24T12:00:00"}',
        b'{"time":"2026-11-24T12:00:00Z","cost_usd":NaN}',
        b"[" * 100_000,
    ],
    ids=[
        *("empty", "cut", "list", "text", "no-utf8", "no-time", "number"),
        *("word", "no-zone", "nan", "deep"),
    ],
)
def test_a_line_that_is_no_record_is_counted(tmp_path: Path, line: bytes) -> None:
    """What is no record is left out and counted, and the records around it are read."""
    path = write(tmp_path / "a.jsonl", start("a", 1, 0), call(1), line, call(2))
    unreadable: Counter[Path] = Counter()
    assert minutes(read_records([path], unreadable=unreadable)) == [1, 2]
    assert unreadable == {path: 1}


def test_a_torn_last_line_is_not_counted(tmp_path: Path) -> None:
    """A line that is being written is no trouble."""
    path = write(tmp_path / "a.jsonl", start("a", 1, 0), call(1))
    with path.open("ab") as file:
        file.write(b'{"seq":3,"time":"2026')
    unreadable: Counter[Path] = Counter()
    assert minutes(read_records([path], unreadable=unreadable)) == [1]
    assert not unreadable


def test_files_that_end_before_the_range_are_not_read(tmp_path: Path) -> None:
    """A file whose successor begins before the range is left out; the last one never is."""
    first = write(tmp_path / "a.000001.jsonl", start("a", 1, 0), b"no record")
    second = write(tmp_path / "a.000002.jsonl", start("a", 2, 10), call(11), call(19))
    third = write(tmp_path / "a.jsonl", start("a", 3, 20), call(21))
    unreadable: Counter[Path] = Counter()
    since = NOON + timedelta(minutes=15)
    found = read_records([first, second, third], since=since, unreadable=unreadable)
    assert minutes(found) == [11, 19, 21]
    assert not unreadable
    late = NOON + timedelta(days=1)
    assert minutes(read_records([first, second, third], since=late)) == [21]


def test_a_file_without_a_start_is_read_by_itself(tmp_path: Path) -> None:
    """A file whose first line was altered is still read."""
    path = write(tmp_path / "a.jsonl", call(3), call(4))
    other = write(tmp_path / "b.jsonl", {"time": at(0), "kind": "start", "chain": 7}, call(1))
    assert (read_head(path).chain, read_head(path).number) == (str(path), 0)
    assert minutes(read_records([path, other])) == [1, 3, 4]


def test_what_retention_removes_meanwhile_is_passed_over(tmp_path: Path) -> None:
    """A file that vanishes while others are read is left out."""
    files = [
        write(tmp_path / f"a.{number:06d}.jsonl", start("a", number, number), call(number))
        for number in (1, 2, 3)
    ]
    found = read_records(files)
    next(found)
    files[1].unlink()
    assert minutes(found) == [1, 3]


def test_a_file_put_aside_meanwhile_is_read_to_its_end(tmp_path: Path) -> None:
    """The newest file is the one that it was when reading began."""
    live = write(tmp_path / "a.jsonl", start("a", 1, 0), call(1), call(2))
    found = read_records([live])
    next(found)
    live.rename(tmp_path / "a.000001.jsonl")
    write(live, start("a", 2, 5), call(6))
    assert minutes(found) == [1, 2]


@pytest.mark.parametrize("what", ["missing", "folder", "pipe", "nul"])
def test_what_cannot_be_read_is_named(tmp_path: Path, what: str) -> None:
    """A file that is not there, or is none, is an error that names it; nothing hangs."""
    path = tmp_path / ("a\0b" if what == "nul" else what)
    if what == "folder":
        path.mkdir()
    if what == "pipe":
        os.mkfifo(path)
    with pytest.raises(ProviderConfigError, match=r"cannot be read|not a regular file"):
        list(read_records([path]))


def test_a_file_that_breaks_while_it_is_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of the disk is told with the file, not with a traceback."""
    path = write(tmp_path / "a.jsonl", start("a", 1, 0))

    class Broken:
        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None: ...

        def readline(self) -> bytes:
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(reading, "open_file", lambda _: Broken())
    with pytest.raises(ProviderConfigError, match=r"a\.jsonl: cannot be read: Input/output error"):
        read_head(path)


def test_a_file_that_cannot_be_opened_any_more_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what is gone is passed over; what is there and closed to us is not."""
    files = [
        write(tmp_path / f"a.{number:06d}.jsonl", start("a", number, number), call(number))
        for number in (1, 2, 3)
    ]
    found = read_records(files)
    next(found)
    files[1].unlink()
    files[1].mkdir()
    with pytest.raises(ProviderConfigError, match="regular"):
        list(found)


# --- choosing -------------------------------------------------------------------------------------

CALLS = [
    call(0, caller="a", provider="openai", request_id="r0"),
    call(1, provider="local", request_id="r1"),
    call(
        2,
        caller="a",
        provider="local",
        outcome="timeout",
        request_id="r2",
        attempts=[{"provider": "openai"}, {"provider": "local"}, "no attempt"],
    ),
    call(3, caller="b", provider="openai", outcome="cancelled", attempts="none"),
    {"time": at(4), "kind": "circuit", "provider": "openai", "outcome": "timeout"},
]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, [0, 1, 2, 3, 4]),
        ({"since": NOON + timedelta(minutes=1), "until": NOON + timedelta(minutes=3)}, [1, 2]),
        ({"caller": "a"}, [0, 2]),
        ({"caller": ""}, [1, 4]),
        ({"provider": "openai"}, [0, 2, 3, 4]),
        ({"outcome": "timeout"}, [2, 4]),
        ({"outcome": "failed"}, [2]),
        ({"request_id": "r1"}, [1]),
        ({"kind": "circuit"}, [4]),
        ({"kind": "call", "outcome": "timeout", "provider": "openai"}, [2]),
    ],
    ids=[
        *("all", "range", "caller", "no-caller", "provider"),
        *("outcome", "failed", "request", "kind", "several"),
    ],
)
def test_records_are_chosen(wanted: dict[str, Any], found: list[float]) -> None:
    """Each condition leaves in what has it, and several leave in what has all of them."""
    assert minutes(select(CALLS, **wanted)) == found


# --- following ------------------------------------------------------------------------------------


class Trail:
    """A trail of one writer, and who follows it."""

    def __init__(self, folder: Path) -> None:
        self.live = write(folder / "a.jsonl", start("a", 1, 0), call(1, 2), call(2, 3))
        self.folder = folder
        self.follower = Follower(lambda: sorted(folder.glob("*.jsonl")))

    def put_aside(self, number: int) -> None:
        """Put the live file aside."""
        self.live.rename(self.folder / f"a.{number:06d}.jsonl")


@pytest.fixture
def trail(tmp_path: Path) -> Any:
    """Give out a trail, and close what follows it."""
    made = Trail(tmp_path)
    yield made
    made.follower.close()


def test_the_last_records_of_all_files_are_shown(trail: Trail) -> None:
    """The last records come from as many files as it takes, in the order of time."""
    trail.put_aside(1)
    write(trail.live, start("a", 2, 3, 4), call(5, 5))
    write(trail.folder / "a-2.jsonl", start("b", 1, 0), call(1.5, 2), call(4, 3))
    assert minutes(trail.follower.last(4)) == [2, 4, 5]
    assert minutes(trail.follower.last(100)) == [1, 1.5, 2, 4, 5]
    assert trail.follower.last(0) == []


def test_the_end_of_a_long_file_is_found_from_behind(
    trail: Trail, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lines are whole also where they are longer than what is read at once."""
    monkeypatch.setattr("amas.providers.observability.audit.following._BLOCK", 7)
    append(trail.live, call(3, 4, text="x" * 50))
    assert minutes(trail.follower.last(2)) == [2, 3]
    append(trail.live, call(4, 5))
    assert minutes(trail.follower.added()) == [4]


def test_what_is_added_is_shown_once(trail: Trail) -> None:
    """Each record is shown once, and a line only when it is whole."""
    trail.follower.last(1)
    assert trail.follower.added() == []
    append(trail.live, call(3, 4))
    line = json.dumps(call(4, 5)).encode()
    with trail.live.open("ab") as file:
        file.write(line[:20])
    assert minutes(trail.follower.added()) == [3]
    with trail.live.open("ab") as file:
        file.write(line[20:] + b"\n")
    assert minutes(trail.follower.added()) == [4]


def test_nothing_is_missed_when_a_file_is_put_aside(trail: Trail) -> None:
    """The file that was put aside is read to its end, then the one in its place."""
    trail.follower.last(1)
    append(trail.live, call(3, 4))
    trail.put_aside(1)
    assert minutes(trail.follower.added()) == [3]
    write(trail.live, start("a", 2, 4, 5), call(5, 6))
    assert minutes(trail.follower.added()) == [5]
    append(trail.live, call(6, 7))
    assert minutes(trail.follower.added()) == [6]


def test_files_that_come_and_go_between_two_looks_are_read(trail: Trail) -> None:
    """However many were put aside meanwhile, in their order; one that is removed is not missed."""
    trail.follower.last(1)
    append(trail.live, call(3, 4))
    trail.put_aside(1)
    for number in (2, 3, 4):
        write(
            trail.live,
            start("a", number, number + 2, 2 * number + 1),
            call(number + 2, 2 * number + 2),
        )
        trail.put_aside(number)
    write(trail.live, start("a", 5, 7, 11), call(7, 12))
    assert minutes(trail.follower.added()) == [3, 4, 5, 6, 7]
    assert trail.follower.added() == []


def test_a_chain_that_appears_is_read_from_its_first_file(trail: Trail) -> None:
    """Also if it was put aside before it was seen, or had no record yet when it was opened."""
    (trail.folder / "a-2.jsonl").write_bytes(b"")
    trail.follower.last(1)
    write(trail.folder / "b.000001.jsonl", start("b", 1, 3), call(3, 2))
    write(trail.folder / "b.jsonl", start("b", 2, 4, 3), call(4, 4))
    append(trail.folder / "a-2.jsonl", start("c", 1, 4), call(5, 2))
    (trail.folder / "a-2.jsonl").rename(trail.folder / "a-2.000001.jsonl")
    write(trail.folder / "a-2.jsonl", start("c", 2, 4, 3), call(6, 4))
    assert minutes(trail.follower.added()) == [3, 4, 5, 6]


@pytest.mark.parametrize("removed", [True, False], ids=["removed", "unreadable"])
def test_a_file_put_aside_that_cannot_be_opened(
    trail: Trail, monkeypatch: pytest.MonkeyPatch, removed: bool
) -> None:
    """Removed by its age, it is skipped; whatever else is wrong is told."""
    trail.follower.last(1)
    trail.put_aside(1)
    gap = trail.folder / "a.000002.jsonl"
    gap.mkdir()
    write(trail.live, start("a", 3, 4, 5), call(5, 6))
    if removed:
        monkeypatch.setattr(Path, "exists", lambda path: path != gap)
        assert minutes(trail.follower.added()) == [5]
    else:
        with pytest.raises(ProviderConfigError, match="regular"):
            trail.follower.added()


def test_another_writer_is_followed_as_well(trail: Trail) -> None:
    """A file that appears is followed from its beginning."""
    trail.follower.last(1)
    other = write(trail.folder / "a-2.jsonl", start("b", 1, 3), call(4, 2))
    assert minutes(trail.follower.added()) == [4]
    append(other, call(5, 3))
    append(trail.live, call(4.5, 4))
    assert minutes(trail.follower.added()) == [4.5, 5]


def test_what_was_written_again_is_not_shown_again(trail: Trail) -> None:
    """A file removed under its writer, and restored, does not repeat its records."""
    trail.follower.last(5)
    content = trail.live.read_bytes()
    (trail.folder / "new").write_bytes(content)
    (trail.folder / "new").rename(trail.live)
    append(trail.live, call(3, 4))
    assert minutes(trail.follower.added()) == [3]


def test_a_record_without_a_number_is_shown(trail: Trail) -> None:
    """What was put in by hand is shown, too: nothing here proves anything."""
    trail.follower.last(1)
    forged = {"time": at(3), "kind": "call"}
    append(trail.live, forged)
    assert trail.follower.added() == [forged]


def test_a_file_in_its_place_that_cannot_be_read_is_an_error(trail: Trail) -> None:
    """A folder in the place of the file is told, not waited for."""
    trail.follower.last(1)
    trail.live.unlink()
    trail.live.mkdir()
    with pytest.raises(ProviderConfigError, match="regular"):
        trail.follower.added()


def test_a_file_that_vanishes_before_it_is_opened_comes_later(trail: Trail, tmp_path: Path) -> None:
    """A file that was listed, and put aside before it could be opened, is no error."""
    late = tmp_path / "late.jsonl"
    follower = Follower(lambda: [late])
    assert follower.added() == []
    write(late, start("c", 1, 0), call(1, 2))
    assert minutes(follower.added()) == [1]
    follower.close()
