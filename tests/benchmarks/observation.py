"""What it costs to know what happens: audit, metrics and logs on, against off, in one run.

Rounds take turns, so that a busy machine is busy for all. The provider is a fake one that answers
at once: what is measured is the manager alone, with all that its threads do. CPU is that of the
best round. Then: whether a call costs more the longer the audit trail is, and what memory is left
of many calls.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from amas.config.provider_settings import (
    AuditSettings,
    MetricsSettings,
    ObservabilitySettings,
    SecuritySettings,
)
from amas.providers import ProviderManager, Secret, configure_logging
from amas.providers.manager.observation import audit_key
from amas.providers.observability.audit.trail import AuditTrail
from amas.providers.observability.events import CallEnded
from amas.providers.security.master_key import generate, read_master_keys
from amas.providers.testing import FakeProvider
from amas.providers.types import Attempt

ROUNDS = 40
CALLS_PER_ROUND = 250
OFF, AUDIT, METRICS, LOGS = "all off", "audit", "metrics", "logs"
ALL = "audit, metrics and logs"

# Records of a trail that has been written for a while, some 60 MB of them.
OLD_RECORDS = 200_000
EMPTY, LONG = "an empty trail", f"a trail of {OLD_RECORDS:,} records"
LONGER_MOST = 1.1

# Before memory is looked at, whatever has an end is full.
FIRST_CALLS = 20_000
MEMORY_MOST = 10.0


@dataclass(frozen=True, slots=True)
class Cost:
    """What a call takes, in microseconds.

    Args:
        median: Wall time of the call in the middle.
        p99: Wall time of all but the slowest hundredth.
        cpu: CPU of the process, threads included, in the best round.
    """

    median: float
    p99: float
    cpu: float


@asynccontextmanager
async def managers(
    rows: Mapping[str, ObservabilitySettings], key: Secret
) -> AsyncIterator[dict[str, ProviderManager]]:
    """Make one manager for each row, with the same master key."""
    security = SecuritySettings(master_key=(key,))
    made = {
        name: ProviderManager(security=security, observability=row, providers=[FakeProvider("a")])
        for name, row in rows.items()
    }
    try:
        yield made
    finally:
        for manager in made.values():
            await manager.shutdown()


async def take_turns(
    made: Mapping[str, ProviderManager], handler: logging.Handler, talking: frozenset[str]
) -> dict[str, Cost]:
    """Measure each manager, in rounds.

    Args:
        made: What is measured, by name.
        handler: The package's, so that what its thread does is counted as well.
        talking: Names of those that log each call.
    """
    wall: dict[str, list[float]] = {name: [] for name in made}
    cpu: dict[str, list[float]] = {name: [] for name in made}
    for _ in range(ROUNDS):
        for name, manager in made.items():
            level = logging.INFO if name in talking else logging.ERROR
            logging.getLogger("amas").setLevel(level)
            gc.collect()
            began = time.process_time()
            for _ in range(CALLS_PER_ROUND):
                sent = time.perf_counter()
                await manager.generate("hello", caller="bench")
                wall[name].append((time.perf_counter() - sent) * 1e6)
                await asyncio.sleep(0)
            # What threads do later is counted as well.
            await manager.flush()
            await asyncio.to_thread(handler.flush)
            cpu[name].append((time.process_time() - began) * 1e6 / CALLS_PER_ROUND)
    return {
        name: Cost(
            statistics.median(wall[name]), statistics.quantiles(wall[name], n=100)[98], min(found)
        )
        for name, found in cpu.items()
    }


@asynccontextmanager
async def logging_to(path: Path) -> AsyncIterator[logging.Handler]:
    """Write the package's logs into a file, and no longer afterwards."""
    with path.open("w", encoding="utf-8") as stream:
        handler = configure_logging(json=True, stream=stream)
        try:
            yield handler
        finally:
            logging.getLogger("amas").removeHandler(handler)
            handler.close()


async def measure(folder: Path) -> dict[str, Cost]:
    """Measure what each kind of observation costs."""
    audit = {name: AuditSettings(path=str(folder / f"{name}.jsonl")) for name in (AUDIT, ALL)}
    metrics = MetricsSettings(enabled=True)
    rows = {
        OFF: ObservabilitySettings(),
        AUDIT: ObservabilitySettings(audit=audit[AUDIT]),
        METRICS: ObservabilitySettings(metrics=metrics),
        LOGS: ObservabilitySettings(),
        ALL: ObservabilitySettings(audit=audit[ALL], metrics=metrics),
    }
    async with logging_to(folder / "log") as handler, managers(rows, generate()) as made:
        return await take_turns(made, handler, frozenset({LOGS, ALL}))


def write_records(path: Path, key: Secret, count: int) -> None:
    """Write an audit trail of so many calls, by the writer itself.

    Args:
        path: The file.
        key: Master key of whoever goes on with it.
        count: How many.
    """
    trail = AuditTrail(path, [audit_key(each) for each in read_master_keys((key,))])
    attempt = Attempt(
        provider="a", model="m", outcome="ok", status_code=None, latency_ms=1.0, error=None
    )
    for first in range(0, count, 1000):
        trail.handle(
            [
                CallEnded(
                    at=time.time(),
                    request_id=f"{number:032x}",
                    caller="bench",
                    provider="a",
                    model="m",
                    outcome="ok",
                    attempts=(attempt,),
                    latency_ms=1.0,
                )
                for number in range(first, min(first + 1000, count))
            ]
        )
    trail.close()


async def audit_growth(folder: Path, records: int = OLD_RECORDS) -> dict[str, Cost]:
    """Measure a call with an empty audit trail, and with one that has many records already.

    Args:
        folder: Where the trails are written.
        records: How many.

    Returns:
        The costs, by ``EMPTY`` and ``LONG``.
    """
    key = generate()
    paths = {EMPTY: folder / "empty.jsonl", LONG: folder / "long.jsonl"}
    await asyncio.to_thread(write_records, paths[LONG], key, records)
    rows = {
        name: ObservabilitySettings(audit=AuditSettings(path=str(path)))
        for name, path in paths.items()
    }
    async with logging_to(folder / "log") as handler, managers(rows, key) as made:
        return await take_turns(made, handler, frozenset())


async def memory_growth(folder: Path, calls: int) -> float:
    """Return the MB that the process has grown by over so many calls, with everything on."""
    settings = ObservabilitySettings(
        audit=AuditSettings(path=str(folder / "memory.jsonl")),
        metrics=MetricsSettings(enabled=True),
    )
    async with (
        logging_to(folder / "log") as handler,
        managers({ALL: settings}, generate()) as made,
    ):
        logging.getLogger("amas").setLevel(logging.INFO)
        manager = made[ALL]
        (fake,) = manager.providers.values()
        assert isinstance(fake, FakeProvider)
        found: list[float] = []
        for many in (FIRST_CALLS, calls):
            for number in range(many):
                # Callers that come once, as those of a service for the public may be called.
                await manager.generate("hello", caller=f"caller-{number}")
                if number % 1000 == 0:
                    fake.calls.clear()  # it remembers them all
                    await manager.flush()
            await asyncio.to_thread(handler.flush)
            found.append(memory())
    before, after = found
    return after - before


def memory() -> float:
    """Return the memory of this process that is in use, in MB."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096 / 1e6


def show(title: str, figures: Mapping[str, Cost]) -> None:
    """Print a table, the others compared with the first."""
    table = Table(title=title, title_justify="left")
    for column in ("", "median µs", "added µs", "p99 µs", "CPU µs", "added CPU µs", "ratio"):
        table.add_column(column, justify="left" if not column else "right")
    first, *_ = figures.values()
    for name, cost in figures.items():
        table.add_row(
            name,
            f"{cost.median:.0f}",
            f"{cost.median - first.median:+.0f}",
            f"{cost.p99:.0f}",
            f"{cost.cpu:.0f}",
            f"{cost.cpu - first.cpu:+.0f}",
            f"{cost.cpu / first.cpu:.2f}x",
        )
    Console().print(table)


def main() -> None:
    """Measure, print, and end with 1 where calls cost more and more."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--calls", type=int, default=100_000, help="calls for the memory")
    calls = arguments.parse_args().calls
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        show(f"Observation, {ROUNDS * CALLS_PER_ROUND} calls each", asyncio.run(measure(folder)))
        trails = asyncio.run(audit_growth(folder))
        show("The audit trail grows", trails)
        grown = asyncio.run(memory_growth(folder, calls))
        Console().print(f"memory after {calls:,} calls more: {grown:+.1f} MB")
    missed = []
    if trails[LONG].cpu > trails[EMPTY].cpu * LONGER_MOST:
        missed.append("a long trail makes calls dearer")
    if grown > MEMORY_MOST:
        missed.append("memory grows")
    sys.exit("; ".join(missed) or 0)


if __name__ == "__main__":
    main()
