"""What a call costs, ours and by every peer, in one run: the main part of ``make bench``.

All ask one compiled server with fixed answers. Shown are CPU and wall time and their ratios; what
is promised is checked at the end, and a ratio that is missed ends the program with 1.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import sys
import warnings
from contextlib import AsyncExitStack
from pathlib import Path

from rich.console import Console

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.benchmarks.asking import OURS, THROUGH, Ask, Peers, Stream
from tests.benchmarks.cold_start import cold_starts
from tests.benchmarks.findings import (
    CONCURRENCY,
    Findings,
    promises,
    table,
    tables,
    write,
)
from tests.benchmarks.measuring import (
    at_once,
    compare,
    first_piece,
    read,
    take_turns,
)
from tests.benchmarks.memory import MANY_ROWS, memory_of
from tests.benchmarks.observation import EMPTY, LONG, audit_growth
from tests.benchmarks.static_upstream import PIECES, free_port, static_upstream

CALLS, STREAMS = 40, 4


async def measure(url: str, calls: int) -> Findings:
    """Measure everything.

    Args:
        url: The static server.
        calls: How many calls memory is watched for.
    """
    async with AsyncExitStack() as stack:
        peers = Peers(url, f"http://127.0.0.1:{free_port()}/v1", stack)
        made = await peers.make()
        gc.collect()
        gc.freeze()  # what the peers have imported is large; to look through it is nobody's call
        ask = made[OURS].ask
        streams = {name: peer.stream for name, peer in made.items() if peer.stream is not None}
        settle = dict.fromkeys((OURS, THROUGH), peers.settle)
        asks = {name: peer.ask for name, peer in made.items()}
        plain = await take_turns(asks, CALLS, settle=settle)
        readers = {name: reader(stream) for name, stream in streams.items()}
        pieces = await take_turns(readers, STREAMS, settle=settle, per_call=PIECES)
        first_pieces = {name: await first_piece(stream) for name, stream in streams.items()}
        ill = {name: peer.fail_over for name, peer in made.items() if peer.fail_over is not None}
        failing = await take_turns(ill, CALLS // 2, settle=settle)
        opened = await compare(
            await peers.behind_an_open_circuit(), ask, CALLS, settle=peers.settle
        )
        per_second = {
            name: [await at_once(peer.ask, callers) for callers in CONCURRENCY]
            for name, peer in made.items()
        }
        many = await peers.ours(rows=MANY_ROWS)
        of_many = await compare(many.ask, ask, CALLS, settle=peers.settle)
        grown_trail = await audit_growth(peers.folder)
    return Findings(
        plain=plain,
        pieces=pieces,
        first_pieces=first_pieces,
        failing=failing,
        per_second=per_second,
        opened=opened,
        of_many=of_many,
        long_trail=grown_trail[LONG].cpu / grown_trail[EMPTY].cpu,
        starts=cold_starts(url),
        memory=memory_of(url, calls),
    )


def reader(stream: Stream) -> Ask:
    """Return what asks for a stream, and reads it to its end."""
    return lambda: read(stream())


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
