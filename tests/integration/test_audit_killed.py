"""Processes that write a trail and are killed at random: what was promised is there, and proven."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from amas.providers.observability.audit.files import trail_files
from amas.providers.observability.audit.keys import AuditKey
from amas.providers.observability.audit.verification import verify

DRIVER = Path(__file__).with_name("audit_driver.py")
KEY = AuditKey("0c0c0c0c", b"k" * 32)


@dataclass
class Writer:
    """One that is started again each time it is killed, until all is written.

    Args:
        folder: Where the trail is.
        name: What its calls are named by.
        count: How many it writes.
        seconds: How long it lives at most, each time, once it has written something.
        kills: How often it is killed.
    """

    folder: Path
    name: str
    count: int
    seconds: float
    kills: int
    promised: int = 0
    killed: int = 0
    output: list[str] = field(default_factory=list)

    def run(self) -> None:
        """Write everything."""
        chance = random.Random(self.name)
        while self.promised < self.count:
            process = subprocess.Popen(
                [
                    sys.executable,
                    str(DRIVER),
                    str(self.folder / "trail" / "audit.jsonl"),
                    str(self.folder / "checkpoints"),
                    self.name,
                    str(self.promised),
                    str(self.count),
                ],
                stdout=subprocess.PIPE,
                text=True,
            )
            timer = threading.Timer(chance.uniform(0, self.seconds), process.kill)
            self._read(process, timer if self.killed < self.kills else None)
            self.killed += process.wait() < 0

    def _read(self, process: subprocess.Popen[str], timer: threading.Timer | None) -> None:
        assert process.stdout is not None
        with process.stdout as output:
            for line in output:
                if timer is not None and timer.ident is None:
                    timer.start()
                word, _, rest = line.partition(" ")
                if word == "written":
                    self.promised = int(rest)
                else:
                    self.output.append(line)
        if timer is not None and timer.ident is not None:
            timer.cancel()
            timer.join()


def run(folder: Path, *, writers: int, count: int, seconds: float, kills: int) -> list[Writer]:
    """Let some writers write at the same time."""
    running = [Writer(folder, f"w{number}", count, seconds, kills) for number in range(writers)]
    threads = [threading.Thread(target=writer.run) for writer in running]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return running


def check(folder: Path, running: list[Writer], capfd: pytest.CaptureFixture[str]) -> None:
    """See that each call is there, that none was lost, and that the trail is proven."""
    assert [writer.output for writer in running if writer.output] == []
    files = trail_files(folder / "trail" / "audit.jsonl")
    began = time.monotonic()
    report = verify(files, [KEY], checkpoints=folder / "checkpoints")
    took = time.monotonic() - began
    assert report.problems == []
    found: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    for file in files:
        with file.open() as lines:
            for line in lines:
                record = json.loads(line)
                kinds[record["kind"]] += 1
                if record["kind"] == "call":
                    found[record["request_id"]] += 1
    for writer in running:
        missing = [n for n in range(writer.count) if not found[f"{writer.name}-{n}"]]
        assert missing == []
    with capfd.disabled():
        sys.stdout.write(
            f"\n{sum(writer.killed for writer in running)} kills, {len(files)} files of"
            f" {len(report.chains)} chains, {dict(kinds)}, verified in {took:.1f} s\n"
        )


def test_what_a_killed_process_has_promised_is_there(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Two writers, killed a few times each; what was flushed before is in the files."""
    running = run(tmp_path, writers=2, count=3_000, seconds=0.1, kills=2)
    check(tmp_path, running, capfd)
    assert sum(writer.killed for writer in running) >= 2


@pytest.mark.slow
def test_eight_processes_and_a_hundred_thousand_calls(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Killed at random and started again, with files put aside on the way."""
    running = run(tmp_path, writers=8, count=12_500, seconds=0.3, kills=12)
    check(tmp_path, running, capfd)
    assert sum(writer.killed for writer in running) >= 40
