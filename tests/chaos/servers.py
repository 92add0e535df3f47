"""The three upstreams, in a process of their own, and the handle on them."""

from __future__ import annotations

import asyncio
import multiprocessing
import random
import re
from collections import Counter
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Self

from amas.providers.llm.litellm_runtime import load_runtime
from amas.providers.testing.upstream import ChatRequest, Fault, RecordedRequest, Upstream

from .plan import DRAWN, KEYS, VENDORS, WAYS, Trouble, answer

_NUMBER = re.compile(rb"call (\d+):")


@dataclass(frozen=True, slots=True)
class Situation:
    """What is wrong with whom, from now on.

    Args:
        troubles: By upstream; who is not named is sound.
        seed: Decides which requests fail, where not all do.
    """

    troubles: Mapping[str, Trouble]
    seed: str


class Servers:
    """The handle on the upstreams' process. Use it with ``async with``."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._link, theirs = context.Pipe()
        self._process = context.Process(target=_run, args=(theirs,), daemon=True)
        self._theirs = theirs
        self.urls: dict[str, str] = {}
        self.requests: Counter[str] = Counter()

    async def __aenter__(self) -> Self:
        """Start them."""
        self._process.start()
        self._theirs.close()
        # Meanwhile here comes what takes as long to import.
        starting = asyncio.to_thread(self._link.recv), asyncio.to_thread(load_runtime)
        self.urls, _ = await asyncio.gather(*starting)
        return self

    async def __aexit__(self, *_raised: object) -> None:
        """Stop them."""
        self._link.close()
        await asyncio.to_thread(self._process.join, 10)

    async def be(self, troubles: Mapping[str, Trouble], seed: str) -> None:
        """Let it be so; requests that are under way go on as they were meant to."""
        self._link.send(Situation(troubles, seed))
        self.requests += Counter(await asyncio.to_thread(self._link.recv))


def _run(link: Connection) -> None:
    asyncio.run(_serve(link))


async def _serve(link: Connection) -> None:
    async with AsyncExitStack() as stack:
        stands = [_Stand(vendor) for vendor in VENDORS]
        for stand in stands:
            await stand.upstream.start()
            stack.push_async_callback(stand.upstream.stop)
        link.send({stand.name: stand.upstream.url for stand in stands})
        while True:
            try:
                wanted: Situation = await asyncio.to_thread(link.recv)
            except EOFError:
                return
            for stand in stands:
                await stand.become(wanted.troubles.get(stand.name), wanted.seed)
            link.send({stand.name: stand.tally() for stand in stands})


class _Stand:
    """One upstream."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.upstream = Upstream(
            name, reply=lambda chat: answer(name, _asked(chat)), keys=KEYS.get(name)
        )
        self._up = True
        self._count = 0

    def tally(self) -> int:
        """Return the requests for an answer since last asked."""
        count, self._count = self._count, 0
        return count

    async def become(self, trouble: Trouble | None, seed: str) -> None:
        """Have a trouble, or none."""
        self._count += sum(record.endpoint == "chat" for record in self.upstream.requests)
        self.upstream.clear()
        way = WAYS[trouble.way] if trouble is not None and trouble.way else None
        refused = max(trouble.revoked if trouble else 0, way.revoked if way else 0)
        if self.name in KEYS:
            self.upstream.keys = KEYS[self.name][refused:]
        elif refused:
            self.upstream.fault(Fault.unauthorized(times=None))
        if way is not None and way.fault is not None:
            self.upstream.fault(**way.fault, times=None)
        elif trouble is not None and trouble.way is None and trouble.share:
            self._draw(trouble.share, seed)
        await self._go(up=way is None or not way.stopped)

    def _draw(self, share: float, seed: str) -> None:
        """Let a fault be drawn for each request: by the seed, its call and its number in it."""
        draw = _Draw(f"{seed} {self.name}", share)
        for name in DRAWN:
            given = {**(WAYS[name].fault or {}), "on": "generate"}
            self.upstream.fault(
                **given, times=None, match=lambda record, name=name: draw.of(record) == name
            )

    async def _go(self, *, up: bool) -> None:
        if up == self._up:
            return
        self._up = up
        await (self.upstream.start() if up else self.upstream.stop())


class _Draw:
    """Draws a fault, or none, for each request, once."""

    def __init__(self, seed: str, share: float) -> None:
        self._seed = seed
        self._share = share
        self._seen: Counter[int] = Counter()
        self._last: RecordedRequest | None = None
        self._drawn: str | None = None

    def of(self, record: RecordedRequest) -> str | None:
        """Return the way in which a request fails; None if it does not."""
        if record is not self._last:
            self._last = record
            found = _NUMBER.search(record.body)
            number = int(found[1]) if found else 0
            self._seen[number] += 1
            chance = random.Random(f"{self._seed} {number} {self._seen[number]}")
            self._drawn = chance.choice(DRAWN) if chance.random() < self._share else None
        return self._drawn


def _asked(chat: ChatRequest) -> str:
    return chat.last_user_text
