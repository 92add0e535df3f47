"""What it costs to know what happens: audit, metrics and logs on, against off, in one run.

Rounds take turns, so that a busy machine is busy for both. The provider is a fake one that
answers at once: what is measured is the manager alone. Shown are medians, and the difference.
"""

from __future__ import annotations

import asyncio
import logging
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table

from amas.config.provider_settings import (
    AuditSettings,
    MetricsSettings,
    ObservabilitySettings,
    SecuritySettings,
)
from amas.providers import ProviderManager, configure_logging
from amas.providers.security.master_key import generate
from amas.providers.testing import FakeProvider

ROUNDS = 40
CALLS_PER_ROUND = 250
OFF, ALL = "all off", "audit, metrics and logs"


@asynccontextmanager
async def managers(folder: Path) -> AsyncIterator[dict[str, ProviderManager]]:
    """Make one manager for each row."""
    security = SecuritySettings(master_key=(generate(),))
    audit = AuditSettings(path=str(folder / "audit.jsonl"))
    rows = {
        OFF: ObservabilitySettings(),
        "audit": ObservabilitySettings(audit=audit),
        "metrics": ObservabilitySettings(metrics=MetricsSettings(enabled=True)),
        "logs": ObservabilitySettings(),
        ALL: ObservabilitySettings(audit=audit, metrics=MetricsSettings(enabled=True)),
    }
    made = {
        name: ProviderManager(security=security, observability=row, providers=[FakeProvider("a")])
        for name, row in rows.items()
    }
    try:
        yield made
    finally:
        for manager in made.values():
            await manager.shutdown()


async def measure(folder: Path) -> dict[str, tuple[float, float, float]]:
    """Return median and 99th percentile of a call, and its CPU, in microseconds, by row."""
    wall: dict[str, list[float]] = {}
    cpu: dict[str, float] = {}
    with (folder / "log").open("w") as stream:
        configure_logging(json=True, stream=stream)
        async with managers(folder) as made:
            for _ in range(ROUNDS):
                for name, manager in made.items():
                    logs = name in {"logs", ALL}
                    logging.getLogger("amas").setLevel(logging.INFO if logs else logging.ERROR)
                    began = time.process_time()
                    for _ in range(CALLS_PER_ROUND):
                        sent = time.perf_counter()
                        await manager.generate("hello", caller="bench")
                        wall.setdefault(name, []).append((time.perf_counter() - sent) * 1e6)
                        await asyncio.sleep(0)
                    # What threads do later is counted as well.
                    await manager.flush()
                    cpu[name] = cpu.get(name, 0.0) + (time.process_time() - began) * 1e6
    calls = ROUNDS * CALLS_PER_ROUND
    return {
        name: (
            statistics.median(times),
            statistics.quantiles(times, n=100)[98],
            cpu[name] / calls,
        )
        for name, times in wall.items()
    }


def show(figures: dict[str, tuple[float, float, float]]) -> None:
    """Print the table."""
    table = Table(title=f"Observation, {ROUNDS * CALLS_PER_ROUND} calls each", title_justify="left")
    for column in ("", "median µs", "added µs", "p99 µs", "CPU µs", "added CPU µs"):
        table.add_column(column, justify="left" if not column else "right")
    median, _, used = figures[OFF]
    for name, (middle, late, cpu) in figures.items():
        added = ("", "") if name == OFF else (f"{middle - median:.0f}", f"{cpu - used:.0f}")
        table.add_row(name, f"{middle:.0f}", added[0], f"{late:.0f}", f"{cpu:.0f}", added[1])
    Console().print(table)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        show(asyncio.run(measure(Path(name))))
