"""Makes the calls, and judges each answer."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace

from amas.providers import ProviderManager, StreamInterruptedError
from amas.providers.errors import ProviderError
from amas.providers.types import Attempt

from .plan import Call

_LONGEST_CALL = 40.0
_TOLD_LOSSES = 5


@dataclass(slots=True)
class Segment:
    """Calls that are looked at together.

    Args:
        cuts: Whether a stream may break off after content.
    """

    cuts: bool = False
    latencies: list[float] = field(default_factory=list)
    beyond_first: list[bool] = field(default_factory=list)
    starts: list[float] = field(default_factory=list)
    began: float = field(default_factory=time.perf_counter)

    def note(self, started: float, seconds: float, attempts: Sequence[Attempt]) -> None:
        """Keep how long a call took, and whether more than one request was sent for it."""
        self.starts.append(started - self.began)
        self.latencies.append(seconds)
        self.beyond_first.append(len(attempts) > 1)

    def after(self, seconds: float) -> list[float]:
        """Return the latencies of the calls that began so late."""
        pairs = zip(self.starts, self.latencies, strict=True)
        return [latency for start, latency in pairs if start >= seconds]

    def beyond_after(self, seconds: float) -> int:
        """Return how many of those calls took more than one request."""
        pairs = zip(self.starts, self.beyond_first, strict=True)
        return sum(beyond for start, beyond in pairs if start >= seconds)


@dataclass(slots=True)
class Tally:
    """What came of all calls."""

    calls: int = 0
    answers: int = 0
    streams: int = 0
    interrupted: int = 0
    left: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    losses: list[str] = field(default_factory=list)
    failovers: int = 0
    restarts: int = 0
    retries: int = 0
    hedges: int = 0
    attempts: int = 0
    outcomes: Counter[tuple[str, int | None]] = field(default_factory=Counter)

    def note_attempts(self, attempts: Sequence[Attempt]) -> None:
        """Count what a call has sent."""
        self.attempts += len(attempts)
        for item in attempts:
            self.outcomes[item["outcome"], item["status_code"]] += 1
        # The order of the records is that of the ends; who is a hedge says so.
        own = [item["provider"] for item in attempts if not item.get("hedge")]
        self.hedges += len(attempts) - len(own)
        self.retries += len(own) - len(set(own))
        if attempts and attempts[-1]["provider"] != attempts[0]["provider"]:
            self.failovers += 1

    def lose(self, call: Call, what: str, why: str) -> None:
        """Note a call that was lost."""
        self.lost[what] += 1
        if len(self.losses) < _TOLD_LOSSES:
            self.losses.append(f"call {call.number}{' (stream)' if call.stream else ''}: {why}")


class Driver:
    """Makes calls with one manager.

    Args:
        manager: Answers them.
        calls: Which they are.
        tally: Where they are counted.
        restarts: Whether streams that break off are begun again, so that none may.
    """

    def __init__(
        self,
        manager: ProviderManager,
        calls: Iterator[Call],
        tally: Tally,
        *,
        restarts: bool = False,
    ) -> None:
        self.manager = manager
        self.tally = tally
        self.circuits = Circuits(manager)
        self._calls = calls
        self._restarts = restarts

    async def next_in_turn(self, segment: Segment) -> None:
        """Make the next call, with a strategy under which everybody is asked."""
        await self.make(replace(next(self._calls), strategy="round_robin"), segment)

    async def run(
        self, count: int, concurrency: int, segment: Segment, *, at_least: float = 0.0
    ) -> None:
        """Make so many calls, so many at a time, and go on for so many seconds at least."""
        left = count

        async def worker() -> None:
            nonlocal left
            while left > 0 or time.perf_counter() - segment.began < at_least:
                left -= 1
                await self.make(next(self._calls), segment)

        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(worker())

    async def make(self, call: Call, segment: Segment) -> None:
        """Make one call, and judge what comes of it."""
        self.tally.calls += 1
        self.tally.streams += call.stream
        started = time.perf_counter()
        task = asyncio.create_task(self._one(call, segment), name=f"chaos-{call.number}")
        done, _ = await asyncio.wait({task}, timeout=call.leaves_after or _LONGEST_CALL)
        if not done:
            task.cancel()
            await asyncio.wait({task})
            if task.cancelled():
                if call.leaves_after is None:
                    self.tally.lose(call, "took for ever", f"no end within {_LONGEST_CALL} s")
                else:
                    self.tally.left += 1
                return
        attempts = task.result()
        self.tally.note_attempts(attempts)
        self.circuits.look()
        segment.note(started, time.perf_counter() - started, attempts)

    async def _one(self, call: Call, segment: Segment) -> Sequence[Attempt]:
        try:
            return await (self._stream(call, segment) if call.stream else self._generate(call))
        except ProviderError as error:
            self.tally.lose(call, type(error).__name__, str(error))
            return error.attempts

    async def _generate(self, call: Call) -> Sequence[Attempt]:
        result = await self.manager.generate(call.prompt, strategy=call.strategy)
        self._judge(call, result["provider"], result["content"])
        return result["attempts"]

    async def _stream(self, call: Call, segment: Segment) -> Sequence[Attempt]:
        text, vendor = "", ""
        attempts: Sequence[Attempt] | None = None
        chunks = self.manager.stream(call.prompt, strategy=call.strategy)
        try:
            async with aclosing(chunks):  # type: ignore[type-var]  # it is a generator
                async for chunk in chunks:
                    if chunk.event is not None:
                        self.tally.restarts += 1
                        text = ""
                    text, vendor = text + chunk.content, chunk.provider
                    if chunk.finish_reason is not None:
                        attempts = chunk.attempts
        except StreamInterruptedError as error:
            self._judge_part(call, error, text, allowed=segment.cuts and not self._restarts)
            return error.attempts
        if attempts is None:
            self.tally.lose(call, "stream without an end", f"after {text!r}")
            return ()
        self._judge(call, vendor, text)
        return attempts

    def _judge(self, call: Call, vendor: str, text: str) -> None:
        if text == call.answer_of(vendor):
            self.tally.answers += 1
        else:
            self.tally.lose(call, "wrong answer", f"{vendor} said {text!r}")

    def _judge_part(
        self, call: Call, error: StreamInterruptedError, text: str, *, allowed: bool
    ) -> None:
        part, whole = error.partial_text, call.answer_of(error.provider or "")
        if not allowed:
            self.tally.lose(call, "interrupted where it may not be", str(error))
        elif not part or not whole.startswith(part) or part != text:
            self.tally.lose(call, "wrong part", f"{part!r} of {whole!r}, received {text!r}")
        else:
            self.tally.interrupted += 1


class Circuits:
    """Counts how often circuits have opened and closed, of providers and of keys.

    Args:
        manager: Whose they are.
    """

    def __init__(self, manager: ProviderManager) -> None:
        members = manager._members.by_name.values()
        self._breakers = [member.breaker for member in members]
        self._breakers += [lane.breaker for member in members for lane in member.lanes]
        self._known = [item.circuit.openings for item in self._breakers]
        self.opened = 0
        self.closed = 0

    def look(self) -> None:
        """Compare with what was last seen; no state is shorter than the time between two looks."""
        for index, item in enumerate(self._breakers):
            before, now = self._known[index], item.circuit.openings
            if now != before:
                self._known[index] = now
                self.opened += max(0, now - before)
                self.closed += now == 0
