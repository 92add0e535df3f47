"""A process that records calls, for test_audit_killed: it tells which records are promised.

``audit_driver.py PATH CHECKPOINTS NAME FIRST COUNT``: records calls NAME-FIRST to NAME-(COUNT - 1).
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

from amas.providers.observability.audit.keys import AuditKey
from amas.providers.observability.audit.trail import AuditTrail
from amas.providers.observability.events import CallEnded, Event, RecordsTrouble
from amas.providers.observability.worker import Worker

KEY = AuditKey("0c0c0c0c", b"k" * 32)
# Calls under way at a time: so many records wait for the disk together.
AT_ONCE = 20


def say(text: str) -> None:
    """Say something that has left the process when this returns."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def complain(trouble: RecordsTrouble) -> None:
    """Say what went wrong, where the test sees it."""
    say(f"trouble {trouble.reason}")


async def main(path: str, checkpoints: str, name: str, first: str, count: str) -> None:
    """Record the calls; after each few, print up to which they are on the disk."""
    trail = AuditTrail(
        Path(path),
        [KEY],
        fsync="always",
        checkpoint=Path(checkpoints),
        max_bytes=1_000_000,
        tell=complain,
    )
    worker: Worker[Event] = Worker("audit", trail.handle)
    for begin in range(int(first), int(count), AT_ONCE):
        end = min(begin + AT_ONCE, int(count))
        for number in range(begin, end):
            call = CallEnded(
                at=time.time(),
                request_id=f"{name}-{number}",
                caller="osint_agent",
                provider="openai",
                model="gpt",
                outcome="ok",
                latency_ms=1.0,
            )
            worker.put(call)
        await worker.flush()
        assert trail.trouble is None
        say(f"written {end}")
    await worker.close()
    trail.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
