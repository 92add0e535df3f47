"""Many calls while everything goes wrong: ``make chaos``.

Three upstreams, each in its vendor's format, fail in every way of the failure table, but for one
that is sound at every moment. No call may be lost, a dead provider may not make others wait, and
nothing may be left at the end. The plan of what goes wrong comes from ``--seed``.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.chaos.driver import Driver, Segment
from tests.chaos.plan import KEYS, VENDORS, Phase, calls, make_plan
from tests.chaos.report import Outage, Report
from tests.chaos.servers import Servers

from amas.providers import ProviderManager
from amas.providers.types import ProviderStatus

_SEED = 20261124
_CALLS = 20_000
# Few enough that the machine's cores are not what is measured.
_MEASURED_CONCURRENCY = 8
_MEASURED_CALLS = 600
_RECOVERY_SECONDS = 15.0
_TRIES = 3
# In a short run nothing is measured, and nobody has to wait long until all are taken back.
_LONG_RUN = 5000
_LONG_COOLDOWN = 2.0
_SHORT_COOLDOWN = 0.5
_PROCESS = Path("/proc/self")


def main() -> int:
    """Run, print, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=_SEED)
    parser.add_argument("--calls", type=int, default=_CALLS)
    parser.add_argument("--concurrency", type=int, default=16)
    given = parser.parse_args()
    for name in ("amas", "LiteLLM"):
        logging.getLogger(name).addHandler(logging.NullHandler())
        logging.getLogger(name).propagate = False
    return asyncio.run(Run(given.seed, given.calls, given.concurrency).everything())


def configuration(urls: dict[str, str], longest_cooldown: float, **manager: Any) -> dict[str, Any]:
    """Configure as for the real vendors, but for addresses, keys and short times."""
    circuits = {
        "failure_threshold": 3,
        "window": 2,
        "cooldown": 0.3,
        "max_cooldown": longest_cooldown,
    }
    rows: dict[str, dict[str, Any]] = {
        vendor: {"base_url": url, "timeout": 1} for vendor, url in urls.items()
    }
    for vendor, keys in KEYS.items():
        rows[vendor]["api_keys"] = list(keys)
    rows["local"] |= {"max_concurrency": 32, "max_queue": 100}
    return {
        "providers": {
            "manager": {
                "deadline": 30,
                "max_retries": 2,
                "health_check_interval": 0.5,
                "response_checks": ["not_empty"],
                "circuit_breaker": circuits,
                **manager,
            },
            "security": {"plaintext_keys": "allow"},
            "llm": rows,
        }
    }


class Run:
    """One run.

    Args:
        seed: Decides the plan.
        total: How many calls the plan has, about.
        concurrency: How many calls are under way at a time.
    """

    def __init__(self, seed: int, total: int, concurrency: int) -> None:
        self._seed = seed
        self._total = total
        self._concurrency = concurrency
        self._servers = Servers()
        self._report = Report(seed)
        self._began = time.perf_counter()
        self._cooldown = _LONG_COOLDOWN if total >= _LONG_RUN else _SHORT_COOLDOWN

    async def everything(self) -> int:
        """Play every phase, then look what is left."""
        plan = make_plan(self._seed, self._total)
        async with self._servers:
            sockets = open_sockets()
            config = configuration(self._servers.urls, self._cooldown)
            async with ProviderManager.from_config(config) as manager:
                driver = Driver(manager, calls(self._seed), self._report.tally)
                for phase in plan:
                    if phase.kind != "restart":
                        await self._play(driver, phase)
                missing = self._total - self._report.tally.calls
                await self._play(driver, Phase("everybody is well", "calm", max(0, missing)))
            self._look(driver)
            restarts = {
                "stream_recovery": "restart",
                "hedge": {"after": 0.15, "max_share": 0.2},
            }
            await self._again([phase for phase in plan if phase.kind == "restart"], restarts)
            await self._servers.be({}, "")
            self._report.requests = self._servers.requests
            self._report.leftovers.sockets = open_sockets() - sockets
        return self._report.show()

    async def _again(self, phases: list[Phase], settings: dict[str, Any]) -> None:
        """Play phases with another manager."""
        config = configuration(self._servers.urls, self._cooldown, **settings)
        async with ProviderManager.from_config(config) as manager:
            driver = Driver(manager, calls(self._seed + 1), self._report.restarted, restarts=True)
            for phase in phases:
                await self._play(driver, phase)
        self._look(driver)

    async def _play(self, driver: Driver, phase: Phase) -> None:
        driver.manager.fallback_chain = phase.chain
        before, at = driver.tally.calls, time.perf_counter()
        if phase.kind == "outage":
            told = await self._measure(driver, phase)
        else:
            await self._servers.be(phase.troubles, f"{self._seed} {phase.title}")
            await driver.run(phase.calls, self._concurrency, Segment(cuts=phase.cuts))
            told = ""
        took = time.perf_counter() - at
        recovered = await self._recover(driver) if phase.troubles else 0.0
        count = driver.tally.calls - before
        rest = f", well again after {recovered:.1f} s" if recovered else ""
        self._report.line(
            time.perf_counter() - self._began,
            f"[{phase.kind}] {phase.title}: {count} calls, {took:.1f} s{told}{rest}",
        )
        gc.collect()
        if driver.tally is self._report.tally:
            self._report.memory.append((driver.tally.calls, resident()))

    async def _measure(self, driver: Driver, phase: Phase) -> str:
        """Measure an outage against what was before; noise of the machine does not come twice."""
        way = str(phase.troubles[phase.chain[0]].way)
        outage = Outage(way, Segment(), Segment())
        # A short run measures nothing, and need not wait for what comes after the first second.
        at_least = 2.0 if phase.calls > _MEASURED_CALLS else 0.0
        for number in range(_TRIES):
            if number:
                await self._recover(driver)
            before = Segment()
            await driver.run(phase.calls // 3, _MEASURED_CONCURRENCY, before)
            await self._servers.be(phase.troubles, "")
            during = Segment(cuts=phase.cuts)
            await driver.run(phase.calls * 2 // 3, _MEASURED_CONCURRENCY, during, at_least=at_least)
            outage = Outage(way, before, during, tries=number + 1)
            if outage.fits:
                break
        self._report.outages.append(outage)
        return f", {outage.told}"

    async def _recover(self, driver: Driver) -> float:
        """Make everybody well, and wait until the manager has found out by itself."""
        await self._servers.be({}, "")
        began = time.perf_counter()
        while time.perf_counter() - began < _RECOVERY_SECONDS:
            segment = Segment()
            for _ in range(len(VENDORS)):
                await driver.next_in_turn(segment)
            if all(map(_is_well, driver.manager.status().values())):
                return time.perf_counter() - began
            await asyncio.sleep(0.05)
        states = driver.manager.status().values()
        self._report.stuck.append(
            ", ".join(f"{one['name']} is {one['state']} {one['keys']}" for one in states)
        )
        return time.perf_counter() - began

    def _look(self, driver: Driver) -> None:
        """Look what a manager that was shut down has left."""
        left = self._report.leftovers
        driver.circuits.look()
        self._report.opened += driver.circuits.opened
        self._report.closed += driver.circuits.closed
        for status in driver.manager.status().values():
            left.in_flight += status["in_flight"]
            left.waiting += status["waiting"]
        for member in driver.manager._members.by_name.values():
            left.in_flight += sum(lane.in_flight for lane in member.lanes)
        names = [task.get_name() for task in asyncio.all_tasks()]
        left.tasks += [name for name in names if name.startswith("amas-")]


def _is_well(status: ProviderStatus) -> bool:
    states = [status["state"], *(key["state"] for key in status["keys"])]
    return status["circuit"] == "closed" and set(states) == {"available"}


def open_sockets() -> int:
    """Count this process's open sockets; 0 where the system does not tell."""
    return sum(_is_socket(each) for each in _PROCESS.glob("fd/*"))


def _is_socket(descriptor: Path) -> bool:
    try:
        return str(descriptor.readlink()).startswith("socket:")
    except OSError:  # that of the listing itself
        return False


def resident() -> float:
    """Return this process's resident memory in MB; 0 where the system does not tell."""
    try:
        pages = (_PROCESS / "statm").read_text(encoding="ascii").split()[1]
    except OSError:
        return 0.0
    return int(pages) * os.sysconf("SC_PAGE_SIZE") / 2**20


if __name__ == "__main__":
    sys.exit(main())
