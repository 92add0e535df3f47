"""A trail of several files and writers, altered at random: it is always found, and named."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from amas.providers.observability.audit.files import trail_files
from amas.providers.observability.audit.keys import AuditKey
from amas.providers.observability.audit.trail import AuditTrail
from amas.providers.observability.audit.verification import Report, verify
from amas.providers.observability.events import CallEnded, RecordsTrouble

OLD = AuditKey("0a0a0a0a", b"o" * 32)
NEW = AuditKey("0b0b0b0b", b"n" * 32)
ROUNDS = int(os.environ.get("AMAS_TAMPER_ROUNDS", "220"))
Files = dict[str, bytes]


def call(number: int) -> CallEnded:
    """Make an event."""
    return CallEnded(
        at=1_795_550_400.0 + number,
        request_id=f"request-{number}",
        caller="osint_agent",
        provider="openai",
        model="gpt",
        outcome="ok",
        latency_ms=float(number),
    )


def refuse(trouble: RecordsTrouble) -> None:
    """Fail where there should be no trouble."""
    raise AssertionError(trouble)


@dataclass(frozen=True)
class Trail:
    """A trail that was written by two processes, restarted with a new master key, and closed."""

    path: Path
    files: Files
    earlier: Mapping[str, bytes]

    def write(self, files: Files) -> None:
        """Leave these files in its folder, and no others."""
        for found in self.path.parent.iterdir():
            if found.name not in files:
                found.unlink()
        for name, content in files.items():
            file = self.path.parent / name
            if not file.exists() or file.read_bytes() != content:
                file.write_bytes(content)

    def check(self) -> Report:
        """Verify what is in its folder now."""
        return verify(trail_files(self.path), [NEW, OLD], trail=self.path)


@pytest.fixture(scope="module")
def trail(tmp_path_factory: pytest.TempPathFactory) -> Trail:
    """Write one: 60 records or so, a few in each file."""
    path = tmp_path_factory.mktemp("trail") / "provider-audit.jsonl"
    first, second = (AuditTrail(path, [OLD], max_bytes=1_500, tell=refuse) for _ in range(2))
    earlier: Files = {}
    for number in range(14):
        first.handle([call(number), call(100 + number)])
        second.handle([call(200 + number)])
        if number == 6:
            earlier = {found.name: found.read_bytes() for found in path.parent.glob("*.checkpoint")}
    first.close()
    second.close()
    again = AuditTrail(path, [NEW, OLD], max_bytes=1_500, tell=refuse)
    again.handle([call(300), call(301)])
    again.close()
    return Trail(path, {f.name: f.read_bytes() for f in path.parent.iterdir()}, earlier)


@dataclass(frozen=True)
class Altered:
    """What was done to a trail.

    Args:
        files: What there is now.
        what: What was done, for the message of a test that fails.
        at: Where the first altered record is, if that can be said.
    """

    files: Files
    what: str
    at: tuple[str, int] | None = None


def records(files: Files) -> dict[str, list[bytes]]:
    """Return the lines of each file."""
    return {
        name: content.splitlines(keepends=True)
        for name, content in files.items()
        if name.endswith(".jsonl")
    }


def with_lines(files: Files, name: str, lines: list[bytes]) -> Files:
    """Return the files with other lines in one of them."""
    return {**files, name: b"".join(lines)}


def some_line(files: Files, chance: random.Random) -> tuple[str, int, list[bytes]]:
    """Choose a line of a file, counted from 0."""
    lines = records(files)
    name = chance.choice(sorted(lines))
    return name, chance.randrange(len(lines[name])), lines[name]


def change(trail: Trail, chance: random.Random) -> Altered:
    """Change a byte of a record."""
    name, place, lines = some_line(trail.files, chance)
    line = bytearray(lines[place])
    byte = chance.randrange(len(line))
    line[byte] ^= chance.randrange(1, 256)
    lines[place] = bytes(line)
    # Without its end, the very last line is as good as not written.
    at = None if byte == len(line) - 1 else (name, place + 1)
    return Altered(with_lines(trail.files, name, lines), f"{name}:{place + 1} byte {byte}", at)


def change_case(trail: Trail, chance: random.Random) -> Altered:
    """Write a letter of a record's seal large."""
    name, place, lines = some_line(trail.files, chance)
    head, seal = lines[place][:-35], lines[place][-35:-3]
    letters = [index for index in range(len(seal)) if seal[index : index + 1].isalpha()]
    if not letters:
        return change(trail, chance)
    index = chance.choice(letters)
    seal = seal[:index] + seal[index : index + 1].upper() + seal[index + 1 :]
    lines[place] = head + seal + b'"}\n'
    return Altered(
        with_lines(trail.files, name, lines), f"{name}:{place + 1} seal", (name, place + 1)
    )


def remove(trail: Trail, chance: random.Random) -> Altered:
    """Remove some records that follow each other."""
    name, place, lines = some_line(trail.files, chance)
    count = chance.randint(1, 4)
    return Altered(
        with_lines(trail.files, name, lines[:place] + lines[place + count :]),
        f"{name}:{place + 1} and {count - 1} more removed",
    )


def copy(trail: Trail, chance: random.Random) -> Altered:
    """Insert the copy of a record, from anywhere."""
    _, place, lines = some_line(trail.files, chance)
    return inserted(trail, chance, lines[place])


def make_up(trail: Trail, chance: random.Random) -> Altered:
    """Insert a record that was never written, or a line that is none."""
    _, place, lines = some_line(trail.files, chance)
    line = chance.choice(
        [
            lines[place].replace(b"osint", b"other"),
            lines[place][:-35] + b"0" * 32 + b'"}\n',
            b"\n",
            b"{}\n",
            b"[" * 100_000 + b"\n",
            b'{"seq":1,"mac":"' + b"0" * 32 + b'"}\n',
            b'{"seq":' + b"9" * 5_000 + b',"kind":"call","mac":"' + b"0" * 32 + b'"}\n',
            bytes(chance.randrange(256) for _ in range(40)).replace(b"\n", b"") + b"\n",
        ]
    )
    return inserted(trail, chance, line)


def inserted(trail: Trail, chance: random.Random, line: bytes) -> Altered:
    """Insert a line somewhere."""
    name, place, lines = some_line(trail.files, chance)
    place = chance.randint(0, len(lines))
    # Behind its like, a copy is the one that is too much.
    twice = place < len(lines) and lines[place] == line
    return Altered(
        with_lines(trail.files, name, [*lines[:place], line, *lines[place:]]),
        f"{line[:60]!r} inserted at {name}:{place + 1}",
        # At the end of a file it may be the like of the next one's first.
        None if place == len(lines) else (name, place + 1 + twice),
    )


def swap(trail: Trail, chance: random.Random) -> Altered:
    """Let two records change places, also between files."""
    name, place, lines = some_line(trail.files, chance)
    other_name, other, others = some_line(trail.files, chance)
    if name == other_name:
        others = lines
    if lines[place] == others[other]:
        return swap(trail, chance)
    lines[place], others[other] = others[other], lines[place]
    files = with_lines(with_lines(trail.files, name, lines), other_name, others)
    return Altered(files, f"{name}:{place + 1} and {other_name}:{other + 1} swapped")


def move(trail: Trail, chance: random.Random) -> Altered:
    """Move a record to another place, perhaps in another file."""
    name, place, lines = some_line(trail.files, chance)
    line = lines.pop(place)
    files = with_lines(trail.files, name, lines)
    target, _, others = some_line(trail.files, chance)
    if target == name:
        others = lines
    there = chance.randint(0, len(others))
    if target == name and there == place:
        return move(trail, chance)
    others.insert(there, line)
    return Altered(with_lines(files, target, others), f"{name}:{place + 1} to {target}:{there + 1}")


def cut(trail: Trail, chance: random.Random) -> Altered:
    """Cut off the end of a file, between or within records."""
    name, place, lines = some_line(trail.files, chance)
    content = trail.files[name]
    length = chance.choice([len(b"".join(lines[:place])), chance.randrange(len(content))])
    return Altered({**trail.files, name: content[:length]}, f"{name} cut to {length} bytes")


def lose_file(trail: Trail, chance: random.Random) -> Altered:
    """Remove a whole file, or give it the place of another."""
    names = sorted(records(trail.files))
    name, other = chance.sample(names, 2)
    files = {**trail.files}
    content = files.pop(name)
    if chance.random() < 0.5:
        files[other] = content
    return Altered(files, f"{name} removed, or moved to {other}")


def add_file(trail: Trail, chance: random.Random) -> Altered:
    """Add the copy of a file under a name that is free."""
    name = chance.choice(sorted(records(trail.files)))
    free = chance.choice(["provider-audit.000099.jsonl", "provider-audit-3.jsonl"])
    return Altered({**trail.files, free: trail.files[name]}, f"{name} copied to {free}")


def checkpoint(trail: Trail, chance: random.Random) -> Altered:
    """Remove a checkpoint, roll it back, change a byte, cut it, or give it to another chain."""
    name, other = chance.sample(sorted(trail.earlier), 2)
    content = bytearray(trail.files[name])
    byte = chance.randrange(len(content))
    how = chance.choice(["removed", "rolled back", "changed", "cut", "longer", "exchanged"])
    if how == "removed":
        return Altered({k: v for k, v in trail.files.items() if k != name}, f"{name} removed")
    if how == "rolled back":
        content = bytearray(trail.earlier[name])
    elif how == "changed":
        content[byte] ^= chance.randrange(1, 256)
    elif how == "cut":
        del content[byte:]
    elif how == "longer":
        content += bytes(byte + 1)
    else:
        content = bytearray(trail.files[other])
    return Altered({**trail.files, name: bytes(content)}, f"{name} {how} at {byte}")


def rename_chain(trail: Trail, chance: random.Random) -> Altered:
    """Let the chains change places, or give or copy one to a free name, with all its files."""
    first, second, free = "provider-audit", "provider-audit-2", "provider-audit-3"
    source = chance.choice([first, second])
    how = chance.choice(["exchanged", "moved", "copied"])
    names = {"exchanged": {first: second, second: first}}.get(how, {source: free})
    files: Files = dict(trail.files) if how == "copied" else {}
    for name, content in trail.files.items():
        stem, dot, rest = name.partition(".")
        files[f"{names.get(stem, stem)}{dot}{rest}"] = content
    return Altered(files, f"{source} {how}")


WAYS = (
    change,
    change_case,
    remove,
    copy,
    make_up,
    swap,
    move,
    cut,
    lose_file,
    add_file,
    checkpoint,
    rename_chain,
)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_whatever_is_altered_is_found(
    trail: Trail, way: Callable[[Trail, random.Random], Altered], uncovered: None
) -> None:
    """One change at random, many times over: verified before, and a problem named after."""
    chance = random.Random(f"{way.__name__} 6")
    for _ in range(ROUNDS // len(WAYS)):
        altered = way(trail, chance)
        assert altered.files != trail.files, altered.what
        trail.write(altered.files)
        report = trail.check()
        assert not report.ok, altered.what
        assert all(problem.what for problem in report.problems)
        if altered.at is not None:
            named = [(problem.file.name, problem.line) for problem in report.problems]
            assert altered.at in named, (altered.what, report.problems)
        trail.write(trail.files)
    report = trail.check()
    assert report.ok, report.problems
    assert report.records == sum(map(len, records(trail.files).values()))


def test_the_time_it_takes_is_that_of_reading(trail: Trail) -> None:
    """A line that never ends, or is nested without end, holds nothing up."""
    began = time.monotonic()
    trail.write({**trail.files, "provider-audit.jsonl": b"[" * 5_000_000})
    assert not trail.check().ok
    trail.write(trail.files)
    assert time.monotonic() - began < 5
