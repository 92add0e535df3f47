"""What was found, what is promised, and how both are shown."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from rich.table import Table
from tests.benchmarks.asking import ANY_LLM, LITELLM, OURS, ROUTER, SDK
from tests.benchmarks.chart import bars
from tests.benchmarks.cold_start import ColdStart
from tests.benchmarks.measuring import Cost
from tests.benchmarks.memory import MANY_ROWS, Memory

RESULTS = Path(__file__).parent / "results"
_PEERS = ("openai", "any-llm-sdk", "pydantic-ai-slim", "langchain-openai", "litellm", "aiohttp")
CONCURRENCY = (1, 32, 256)


@dataclass(frozen=True, slots=True)
class Promise:
    """A ratio that is to be kept.

    Args:
        what: What is compared.
        found: The ratio.
        most: The most it may be; the least, if ``at_least``.
        at_least: Whether more is better.
    """

    what: str
    found: float
    most: float
    at_least: bool = False

    @property
    def kept(self) -> bool:
        """Whether it is."""
        return self.found >= self.most if self.at_least else self.found <= self.most


@dataclass(frozen=True, slots=True)
class Findings:
    """All that was measured.

    Args:
        plain: What a call costs.
        pieces: What a piece of a stream costs.
        first_pieces: Milliseconds to the first content of a stream.
        failing: What a call costs that fails over.
        per_second: Calls per second, for each number of callers.
        opened: Cost of a call whose first provider has an open circuit, of a plain one.
        of_many: Cost of a call with many providers, of one with three.
        long_trail: Cost of a call with a long audit trail, of one with an empty one.
        starts: What a fresh process waits for.
        memory: What providers and calls leave there.
    """

    plain: Mapping[str, Cost]
    pieces: Mapping[str, Cost]
    first_pieces: Mapping[str, float]
    failing: Mapping[str, Cost]
    per_second: Mapping[str, Sequence[float]]
    opened: float
    of_many: float
    long_trail: float
    starts: Mapping[str, ColdStart]
    memory: Memory


def promises(found: Findings) -> list[Promise]:
    """Return what is promised, and what was found."""
    cpu = {name: cost.cpu for name, cost in found.plain.items()}
    failing = {name: cost.cpu for name, cost in found.failing.items()}
    at_32 = CONCURRENCY.index(32)
    return [
        Promise("a call, of openai's SDK", cpu[OURS] / cpu[SDK], 0.6),
        Promise("a call, of any-llm", cpu[OURS] / cpu[ANY_LLM], 0.55),
        Promise("a call, of litellm.acompletion", cpu[OURS] / cpu[LITELLM], 0.25),
        Promise("a call, of litellm.Router", cpu[OURS] / cpu[ROUTER], 0.2),
        Promise(
            "calls per second, 32 at once, of litellm.acompletion",
            found.per_second[OURS][at_32] / found.per_second[LITELLM][at_32],
            4,
            at_least=True,
        ),
        Promise(
            "a piece of a stream, of openai's SDK",
            found.pieces[OURS].cpu / found.pieces[SDK].cpu,
            1,
        ),
        Promise("a failover, of litellm.Router", failing[OURS] / failing[ROUTER], 0.25),
        Promise("a call behind an open circuit, of a plain one", found.opened, 1.05),
        Promise(f"a call with {MANY_ROWS} providers, of one with 3", found.of_many, 1.1),
        Promise(
            "a call with 200,000 records in the trail, of one with none", found.long_trail, 1.1
        ),
        Promise("memory of a provider, of 5 MB", found.memory.per_provider / 5, 1),
        Promise(
            f"memory after {found.memory.calls:,} calls more, of 10 MB", found.memory.grown / 10, 1
        ),
    ]


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Make a table for the terminal."""
    made = Table(title=title, title_justify="left")
    for index, column in enumerate(columns):
        made.add_column(column, justify="right" if index else "left")
    for row in rows:
        made.add_row(*row)
    return made


def tables(found: Findings) -> list[tuple[str, list[str], list[list[str]]]]:
    """Return title, columns and rows of each table."""
    base = found.plain[LITELLM].cpu
    calls = [
        [
            name,
            f"{cost.cpu:.2f}",
            f"{cost.median:.2f}",
            f"{cost.p99:.2f}",
            f"{cost.cpu / base:.2f}x",
            f"{found.pieces[name].cpu * 1000:.0f}" if name in found.pieces else "",
            f"{found.first_pieces[name]:.2f}" if name in found.first_pieces else "",
            *(f"{rate:,.0f}" for rate in found.per_second[name]),
            f"{found.failing[name].cpu:.2f}" if name in found.failing else "",
        ]
        for name, cost in found.plain.items()
    ]
    heads = [
        "",
        "CPU ms",
        "median ms",
        "p99 ms",
        f"CPU of {LITELLM}",
        "CPU µs a piece",
        "first content ms",
        *(f"calls/s at {callers}" for callers in CONCURRENCY),
        "failover CPU ms",
    ]
    kept = [
        [
            each.what,
            f"{each.found:.2f}x",
            f"{'at least' if each.at_least else 'at most'} {each.most:g}x",
            "yes" if each.kept else "NO",
        ]
        for each in promises(found)
    ]
    rest = [
        ["memory of one provider more", f"{found.memory.per_provider:.3f} MB"],
        [f"memory after {found.memory.calls:,} calls more", f"{found.memory.grown:+.1f} MB"],
    ]
    return [
        ("One call, one piece of a stream, many callers, a dead provider", heads, calls),
        ("What is promised", ["", "found", "promised", "kept"], kept),
        ("Memory", ["", ""], rest),
        (
            "A fresh process: seconds, and the first call once all is ready",
            ["", "import", "first answer", "first call ms"],
            [
                [name, f"{each.imported:.2f}", f"{each.answered:.2f}", f"{each.call * 1000:.1f}"]
                for name, each in found.starts.items()
            ],
        ),
    ]


def write(found: Findings) -> None:
    """Write the tables as Markdown, and the chart of README."""
    versions = ", ".join(f"{name} {version(name)}" for name in _PEERS)
    today = datetime.now(UTC).date()
    machine = f"{today}, {os.cpu_count()} processors, Python {platform.python_version()}"
    lines = ["# Ours and the peers", "", f"By `make bench`: {machine}, {versions}.", ""]
    for title, heads, rows in tables(found):
        lines += [f"## {title}", "", f"|{'|'.join(heads)}|", "|---" * len(heads) + "|"]
        lines += [f"|{'|'.join(row)}|" for row in rows]
        lines.append("")
    (RESULTS / "peers.md").write_text("\n".join(lines), encoding="utf-8")
    costs = {name: cost.cpu for name, cost in found.plain.items()}
    (RESULTS / "peers.svg").write_text(bars("CPU per call, ms", costs, OURS), encoding="utf-8")
