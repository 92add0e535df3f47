"""What a dead provider costs, ours against ``litellm.Router``, in one run: part of ``make bench``.

Both ask the same two local servers: "a", which answers one call and then dies, and "b", which is
well. Measured are calls 1, 2 and 100 after its death, and how many requests a dead provider still
gets. The result is printed, and written to ``results/failover.md``.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.benchmarks.dying import KINDS, SHORT_COOLDOWN, Kind, dead

from amas.providers import ProviderManager
from amas.providers.testing.upstream import ThreadedUpstream

RESULTS = Path(__file__).parent / "results" / "failover.md"
KEY = "bench-" + "key" * 6
MODEL = "gpt-4o"
MESSAGES: list[Any] = [{"role": "user", "content": "hello"}]
TIMEOUT = 1.0
CALLS = 100
THEN_SECONDS = 3.0
PER_SECOND = 20
NEEDED = 10.0

Ask = Callable[[], Awaitable[str]]

CONFIGURED = (
    f"ours: two rows, `a` and `b`, timeout {TIMEOUT:g} s, everything else by default",
    (
        'Router: `model_list` with the groups "a" and "b", one deployment each,'
        f' `fallbacks=[{{"a": ["b"]}}]`, `timeout={TIMEOUT:g}`, everything else by default'
    ),
    (
        f"both: one call is answered by a, then a dies; calls 1, 2 and {CALLS} are alone, those"
        f" between come {PER_SECOND} a second, answered or not (with `--sequential` one after the"
        " other, which takes the Router half an hour)"
    ),
    f"then {THEN_SECONDS:g} s more with {PER_SECOND} calls a second",
    (
        f"probes: ours with `cooldown` and `max_cooldown` of {SHORT_COOLDOWN:g} s; once the circuit"
        f" is open (of a 429: at once), {THEN_SECONDS:g} s with {PER_SECOND} calls a second"
    ),
    "429: without Retry-After; hangs: for ever",
    "refused: a takes the connection and resets it (RST) at once, so that tries can be counted",
)


@dataclass(slots=True)
class Figures:
    """What was measured of one peer, of one kind.

    Args:
        seconds: How long each call took that was alone, by its number.
        sent: Requests that the dead provider got in the first hundred calls.
        sent_then: Requests that it got afterwards, at a fixed rate.
        probes: Requests that it got at that rate while set aside for short times.
        lasted: Seconds from the death to the end.
    """

    seconds: dict[int, float] = field(default_factory=dict)
    sent: int = 0
    sent_then: int = 0
    probes: int = 0
    lasted: float = 0.0


async def measure(ask: Ask, server: ThreadedUpstream, kind: Kind, *, sequential: bool) -> Figures:
    """Make the calls of one peer.

    Args:
        ask: Makes a call, and returns who answered.
        server: The provider that dies.
        kind: How it is dead.
        sequential: Whether all of the hundred calls are made one after the other.
    """
    assert await ask() == "a"
    figures = Figures()
    with dead(server, kind) as count:
        began = time.perf_counter()
        for number in range(1, CALLS + 1):
            if sequential or number in {1, 2, CALLS}:
                figures.seconds[number] = await timed(ask)
            elif number == CALLS - 1:
                await paced(ask, CALLS - 3)
        figures.sent = count()
        await paced(ask, int(THEN_SECONDS * PER_SECOND))
        figures.sent_then = count() - figures.sent
        figures.lasted = time.perf_counter() - began
    return figures


async def paced(ask: Ask, calls: int) -> None:
    """Make calls at a fixed rate; the sound provider must answer each."""
    pending = []
    for _ in range(calls):
        pending.append(asyncio.ensure_future(ask()))
        await asyncio.sleep(1 / PER_SECOND)
    assert set(await asyncio.gather(*pending)) == {"b"}


async def timed(ask: Ask) -> float:
    """Return the seconds that a call takes; the sound provider must answer it."""
    began = time.perf_counter()
    assert await ask() == "b"
    return time.perf_counter() - began


def configuration(server: ThreadedUpstream, other: ThreadedUpstream, **manager: Any) -> Any:
    """Configure ours."""
    common = {"provider": "openai", "model": MODEL, "api_key": KEY, "timeout": TIMEOUT}
    rows = {
        name: {**common, "base_url": f"{url}/v1"}
        for name, url in (("a", server.url), ("b", other.url))
    }
    security = {"plaintext_keys": "allow"}
    return {"providers": {"manager": manager, "security": security, "llm": rows}}


async def ours(
    server: ThreadedUpstream, other: ThreadedUpstream, kind: Kind, **how: bool
) -> Figures:
    """Measure our manager."""
    async with ProviderManager.from_config(configuration(server, other)) as manager:
        figures = await measure(_asking(manager), server, kind, **how)
    short = {"cooldown": SHORT_COOLDOWN, "max_cooldown": SHORT_COOLDOWN}
    config = configuration(server, other, circuit_breaker=short)
    async with ProviderManager.from_config(config) as manager:
        ask = _asking(manager)
        assert await ask() == "a"
        with dead(server, kind) as count:
            async with asyncio.timeout(60):
                while manager.status()["a"]["state"] not in {"circuit_open", "cooling_down"}:
                    assert await ask() == "b"
            before = count()
            await paced(ask, int(THEN_SECONDS * PER_SECOND))
            figures.probes = count() - before
    return figures


def _asking(manager: ProviderManager) -> Ask:
    async def ask() -> str:
        return str((await manager.generate(MESSAGES))["provider"])

    return ask


async def routers(
    server: ThreadedUpstream, other: ThreadedUpstream, kind: Kind, **how: bool
) -> Figures:
    """Measure LiteLLM's Router."""
    import litellm

    models = [
        {
            "model_name": name,
            "litellm_params": {"model": f"openai/{MODEL}", "api_base": f"{url}/v1", "api_key": KEY},
        }
        for name, url in (("a", server.url), ("b", other.url))
    ]
    router = litellm.Router(model_list=models, fallbacks=[{"a": ["b"]}], timeout=TIMEOUT)

    async def ask() -> str:
        answer = await router.acompletion(model="a", messages=MESSAGES)
        return str(answer.choices[0].message.content).partition(" ")[0]

    try:
        return await measure(ask, server, kind, **how)
    finally:
        await litellm.close_litellm_async_clients()
        litellm.in_memory_llm_clients_cache.flush_cache()


@dataclass(frozen=True, slots=True)
class Row:
    """What came of one kind."""

    kind: Kind
    ours: Figures
    router: Figures

    def faster(self, number: int) -> float:
        """Return how many times as fast ours was at a call."""
        return self.router.seconds[number] / self.ours.seconds[number]

    @property
    def fast_enough(self) -> bool:
        """Whether ours is as much faster from the second call on as it must be."""
        return min(self.faster(2), self.faster(CALLS)) >= NEEDED

    @property
    def verdict(self) -> str:
        """The verdict in words."""
        sent, allowed = self.ours.sent + self.ours.sent_then, self.kind.allowed(self.ours.lasted)
        problems = [
            "" if self.fast_enough else f"less than {NEEDED:g}x",
            "" if sent <= allowed else f"{sent} requests, {allowed} allowed",
            "" if self.ours.probes <= self.kind.probes_allowed(THEN_SECONDS) else "too many probes",
        ]
        return ", ".join(filter(None, problems)) or "good"

    def cells(self) -> list[list[str]]:
        """Return its lines in the table."""
        probes = f"{self.ours.probes} of {self.kind.probes_allowed(THEN_SECONDS)}"
        lines = []
        for name, figures, last in (("ours", self.ours, probes), ("Router", self.router, "")):
            times = [f"{figures.seconds[number] * 1000:,.0f}" for number in SHOWN]
            lines.append([name, *times, str(figures.sent), str(figures.sent_then), last])
        ratios = [f"{self.faster(number):,.0f}x" for number in SHOWN]
        lines.append([f"ratio, {self.verdict}", *ratios, "", "", ""])
        return [[self.kind.name if index == 0 else "", *line] for index, line in enumerate(lines)]


SHOWN = (1, 2, CALLS)
TITLE = "Milliseconds for a call while a is dead and b is well, and requests that a still gets"
HEADS = (
    "a",
    "",
    *(f"call {number}" for number in SHOWN),
    f"in {CALLS} calls",
    f"{THEN_SECONDS:g} s more",
    "probes",
)


async def compare(*, sequential: bool) -> list[Row]:
    """Measure both peers in each kind."""
    rows = []
    with ThreadedUpstream("a") as server, ThreadedUpstream("b") as other:
        for kind in KINDS:
            first = await ours(server, other, kind, sequential=sequential)
            second = await routers(server, other, kind, sequential=sequential)
            rows.append(Row(kind, first, second))
    return rows


def show(rows: list[Row]) -> None:
    """Print the table, and write it down."""
    console = Console()
    table = Table(title=TITLE, title_justify="left")
    for head in HEADS:
        table.add_column(head, justify="left" if head in {"a", ""} else "right")
    for row in rows:
        for cells in row.cells():
            table.add_row(*cells)
        table.add_section()
    console.print(table)
    for line in CONFIGURED:
        console.print(f"- {line}", markup=False, highlight=False, soft_wrap=True)
    lines = [
        "# Failover against litellm.Router",
        "",
        f"{TITLE}. Written by `tests/benchmarks/failover.py` (`make bench`).",
        "",
        "|".join(("", *HEADS, "")),
        "|".join(("", *("---" for _ in HEADS), "")),
        *("|".join(("", *cells, "")) for row in rows for cells in row.cells()),
        "",
        *(f"- {line}" for line in CONFIGURED),
    ]
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sequential", action="store_true")
    given = parser.parse_args()
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    for name in ("amas", "LiteLLM", "LiteLLM Router"):
        logging.getLogger(name).addHandler(logging.NullHandler())
        logging.getLogger(name).propagate = False
    show(asyncio.run(compare(sequential=given.sequential)))


if __name__ == "__main__":
    main()
