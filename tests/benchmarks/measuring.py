"""How things are measured: in rounds that take turns, so that a busy machine is busy for all of them."""

from __future__ import annotations

import asyncio
import gc
import statistics
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.benchmarks.asking import Ask, Stream

ROUNDS = 12
AT_ONCE_CALLS = 512


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


async def take_turns(
    asks: Mapping[str, Ask],
    calls: int,
    *,
    settle: Mapping[str, Ask],
    per_call: int = 1,
) -> dict[str, Cost]:
    """Measure each, in rounds.

    Args:
        asks: What is measured, by name.
        calls: How many calls a round has.
        settle: Waits for what somebody does beside its calls, which is part of their cost.
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
            if name in settle:
                await settle[name]()
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


async def compare(one: Ask, other: Ask, calls: int, *, settle: Ask) -> float:
    """Return how much CPU the one takes of what the other takes, in the middle of many rounds."""
    found = []
    for _ in range(3 * ROUNDS):
        costs = [await _cpu(ask, calls, settle) for ask in (one, other)]
        found.append(costs[0] / costs[1])
    return statistics.median(found)


async def _cpu(ask: Ask, calls: int, settle: Ask) -> float:
    gc.collect()
    began = time.process_time()
    for _ in range(calls):
        await ask()
    await settle()
    return time.process_time() - began


async def read(pieces: AsyncIterator[Any]) -> int:
    """Read a stream to its end; return how many pieces it has."""
    return len([None async for _ in pieces])


async def first_piece(stream: Stream) -> float:
    """Return the milliseconds to the first content of a stream, in the middle of some."""
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        pieces = stream()
        await anext(pieces)
        times.append((time.perf_counter() - began) * 1000)
        await read(pieces)
    return statistics.median(times)
