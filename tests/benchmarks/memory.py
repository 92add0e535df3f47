"""What providers and calls leave in memory: ours alone, in a process of its own."""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.benchmarks.asking import MESSAGES, Peers
from tests.benchmarks.static_upstream import free_port

MANY_ROWS = 300
# Calls before the first look: what fills once, such as pools and windows, has filled.
_FIRST_CALLS = 5_000


@dataclass(frozen=True, slots=True)
class Memory:
    """What was found, in MB.

    Args:
        per_provider: What one provider more takes, with a connection open.
        calls: How many calls were made.
        grown: What the process has grown by over them.
    """

    per_provider: float
    calls: int
    grown: float


def memory_of(url: str, calls: int) -> Memory:
    """Measure against the static server at ``url``, over so many calls."""
    command = [sys.executable, "-W", "ignore", __file__, url, str(calls)]
    found = subprocess.run(command, check=True, capture_output=True, text=True)
    return Memory(**json.loads(found.stdout))


def _in_use() -> float:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096 / 1e6


async def _measure(url: str, calls: int) -> Memory:
    async with AsyncExitStack() as stack:
        peers = Peers(url, f"http://127.0.0.1:{free_port()}/v1", stack)
        manager = await peers.manager()
        for _ in range(_FIRST_CALLS):
            await manager.generate(MESSAGES)
        before = _in_use()
        for _ in range(calls):
            await manager.generate(MESSAGES)
        grown = _in_use() - before
        before = _in_use()
        many = await peers.manager(rows=MANY_ROWS)
        for name in many.providers:
            if name.startswith("other"):
                await many.generate(MESSAGES, provider=name)
        return Memory((_in_use() - before) / MANY_ROWS, calls, grown)


def main() -> None:
    """Measure, and print what was found as JSON."""
    url, calls = sys.argv[1:]
    print(json.dumps(asdict(asyncio.run(_measure(url, int(calls))))))  # noqa: T201 -- to its parent


if __name__ == "__main__":
    main()
