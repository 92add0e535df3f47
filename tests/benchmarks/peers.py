"""What a call costs, ours and by every peer, in one run: the main part of ``make bench``.

All ask one compiled server with fixed answers, in rounds that take turns, so that a busy machine
is busy for all of them. Shown are CPU and wall time and their ratios; what is promised is checked
at the end, and a ratio that is missed ends the program with 1.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.benchmarks.asking import (
    ANY_LLM,
    LITELLM,
    OURS,
    ROUTER,
    SDK,
    Ask,
    Peer,
    Peers,
)
from tests.benchmarks.chart import bars
from tests.benchmarks.static_upstream import free_port, static_upstream

RESULTS = Path(__file__).parent / "results"
ROUNDS, CALLS, STREAMS = 12, 40, 4
CONCURRENCY = (1, 32, 256)
AT_ONCE_CALLS = 512
MANY_ROWS = 300
IMPORTS = {
    OURS: "import amas.providers",
    SDK: "import openai; openai.AsyncOpenAI(api_key='x')",
    LITELLM: "import litellm",
    ANY_LLM: "import any_llm",
}


@dataclass(frozen=True, slots=True)
class Cost:
    """What one of many calls has cost, in milliseconds.

    Args:
        median: Wall time of the call in the middle.
        p99: Wall time of all but the slowest hundredth.
        cpu: CPU time of this process.
    """

    median: float
    p99: float
    cpu: float


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


async def take_turns(asks: Mapping[str, Ask], calls: int, per_call: int = 1) -> dict[str, Cost]:
    """Measure each, in rounds.

    Args:
        asks: What is measured, by name.
        calls: How many calls a round has.
        per_call: Divides what is found, for the pieces of a stream.
    """
    wall: dict[str, list[float]] = {name: [] for name in asks}
    cpu: dict[str, list[float]] = {name: [] for name in asks}
    for ask in asks.values():
        for _ in range(3):
            await ask()
    for _ in range(ROUNDS):
        for name, ask in asks.items():
            gc.collect()
            began = time.process_time()
            for _ in range(calls):
                sent = time.perf_counter()
                await ask()
                wall[name].append((time.perf_counter() - sent) * 1000 / per_call)
            cpu[name].append((time.process_time() - began) * 1000 / calls / per_call)
    return {
        name: Cost(
            statistics.median(wall[name]),
            statistics.quantiles(wall[name], n=100)[98],
            statistics.median(cpu[name]),
        )
        for name in asks
    }


async def at_once(ask: Ask, callers: int) -> float:
    """Return the calls per second of so many callers, each asking again as it has its answer."""
    left = max(AT_ONCE_CALLS, callers * 2)

    async def caller() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await ask()

    began = time.perf_counter()
    asked = left
    await asyncio.gather(*(caller() for _ in range(callers)))
    return asked / (time.perf_counter() - began)


def importing() -> dict[str, float]:
    """Return the seconds that each takes to be imported, in a process of its own."""
    found = {}
    for name, code in IMPORTS.items():
        times = []
        for _ in range(3):
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
            times.append(time.perf_counter() - began)
        found[name] = min(times)
    return found


def memory() -> float:
    """Return the memory of this process that is in use, in MB."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096 / 1e6


@dataclass(frozen=True, slots=True)
class Findings:
    """All that was measured."""

    plain: Mapping[str, Cost]
    pieces: Mapping[str, Cost]
    failing: Mapping[str, Cost]
    per_second: Mapping[str, Sequence[float]]
    growth: Mapping[str, Cost]
    imports: Mapping[str, float]
    per_provider: float
    grown: float


async def measure(url: str, calls: int) -> Findings:
    """Measure everything."""
    async with AsyncExitStack() as stack:
        peers = Peers(url, f"http://127.0.0.1:{free_port()}/v1", stack)
        made = await peers.make()
        plain = await take_turns({name: peer.ask for name, peer in made.items()}, CALLS)
        pieces = await measure_pieces(made)
        failing = await measure_failing(made)
        per_second = {
            name: [await at_once(peer.ask, callers) for callers in CONCURRENCY]
            for name, peer in made.items()
        }
        before = memory()
        many = await peers.ours(rows=MANY_ROWS)
        per_provider = (memory() - before) / MANY_ROWS
        growth = await take_turns({"3": made[OURS].ask, str(MANY_ROWS): many.ask}, CALLS)
        before = memory()
        for _ in range(calls):
            await made[OURS].ask()
        grown = memory() - before
    return Findings(plain, pieces, failing, per_second, growth, importing(), per_provider, grown)


async def measure_pieces(made: Mapping[str, Peer]) -> dict[str, Cost]:
    """Measure what one piece of a stream costs."""
    streams = {name: peer.stream for name, peer in made.items() if peer.stream is not None}
    lengths = {await stream() for stream in streams.values()}
    return await take_turns(streams, STREAMS, per_call=min(lengths))


async def measure_failing(made: Mapping[str, Peer]) -> dict[str, Cost]:
    """Measure a failover, circuits closed; and a call whose dead provider has an open circuit."""
    asks = {name: peer.fail_over for name, peer in made.items() if peer.fail_over is not None}
    return await take_turns(asks, CALLS // 2)


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
        Promise(
            f"{MANY_ROWS} providers, of 3",
            found.growth[str(MANY_ROWS)].cpu / found.growth["3"].cpu,
            1.1,
        ),
        Promise("memory of a provider, of 5 MB", found.per_provider / 5, 1),
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
        *([f"import of {name}", f"{seconds:.2f} s"] for name, seconds in found.imports.items()),
        ["memory of one provider more", f"{found.per_provider:.2f} MB"],
        ["memory after the many calls", f"{found.grown:+.1f} MB"],
    ]
    return [
        ("One call, one piece of a stream, many callers, a dead provider", heads, calls),
        ("What is promised", ["", "found", "promised", "kept"], kept),
        ("Beside that", ["", ""], rest),
    ]


def write(found: Findings) -> None:
    """Write the tables as Markdown, and the chart of README."""
    lines = ["# Ours and the peers", "", __doc__.partition("\n")[0] if __doc__ else "", ""]
    for title, heads, rows in tables(found):
        lines += [f"## {title}", "", f"|{'|'.join(heads)}|", "|---" * len(heads) + "|"]
        lines += [f"|{'|'.join(row)}|" for row in rows]
        lines.append("")
    (RESULTS / "peers.md").write_text("\n".join(lines), encoding="utf-8")
    costs = {name: cost.cpu for name, cost in found.plain.items()}
    (RESULTS / "peers.svg").write_text(bars("CPU per call, ms", costs, OURS), encoding="utf-8")


def main() -> None:
    """Measure, print, write, and tell what was missed."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--calls", type=int, default=100_000, help="calls for the memory")
    warnings.simplefilter("ignore")
    with static_upstream() as url:
        found = asyncio.run(measure(url, arguments.parse_args().calls))
    console = Console(width=160)
    for title, heads, rows in tables(found):
        console.print(table(title, heads, rows))
    write(found)
    missed = [each.what for each in promises(found) if not each.kept]
    sys.exit(f"missed: {', '.join(missed)}" if missed else 0)


if __name__ == "__main__":
    main()
