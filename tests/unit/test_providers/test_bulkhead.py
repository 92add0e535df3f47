"""The bulkhead: slots, the queue in front of them, and what must never be lost."""

from __future__ import annotations

import asyncio
import gc
import random
import time
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amas.providers.manager.bulkhead import Bulkhead

LONG = 30.0


async def settle() -> None:
    """Let everything run that can."""
    for _ in range(10):
        await asyncio.sleep(0)


async def queued(
    bulkhead: Bulkhead, number: int, seconds: float = LONG
) -> list[asyncio.Task[bool]]:
    """Return tasks that wait for a slot, in this order."""
    tasks = [asyncio.create_task(bulkhead.enter(seconds)) for _ in range(number)]
    await settle()
    return tasks


def full(limit: int = 1, max_queue: int = 10) -> Bulkhead:
    """Return a bulkhead whose slots are all taken."""
    bulkhead = Bulkhead(limit, max_queue)
    for _ in range(limit):
        assert bulkhead.try_enter()
    return bulkhead


def test_there_are_as_many_slots_as_the_limit_says() -> None:
    """So many can enter, no more; and one more for each that leaves."""
    bulkhead = Bulkhead(2, 0)
    assert [bulkhead.try_enter() for _ in range(3)] == [True, True, False]
    assert (bulkhead.in_flight, bulkhead.has_room) == (2, False)
    bulkhead.leave()
    assert (bulkhead.in_flight, bulkhead.has_room) == (1, True)
    assert [bulkhead.try_enter() for _ in range(2)] == [True, False]


async def test_without_a_limit_nobody_waits() -> None:
    """Without a limit everybody enters at once, and is still counted."""
    bulkhead = Bulkhead(None, 0)
    assert all(bulkhead.try_enter() for _ in range(100))
    assert all([await bulkhead.enter(0) for _ in range(100)])
    assert (bulkhead.in_flight, bulkhead.waiting, bulkhead.has_room) == (200, 0, True)
    bulkhead.leave()
    assert bulkhead.in_flight == 199


async def test_a_free_slot_is_taken_without_waiting() -> None:
    """Whoever finds a free slot needs neither time nor a queue."""
    bulkhead = Bulkhead(1, 0)
    assert await bulkhead.enter(0)
    assert bulkhead.in_flight == 1


@pytest.mark.parametrize("seconds", [0.0, -1.0])
async def test_without_time_nobody_waits(seconds: float) -> None:
    """Whoever has no time left is told so at once."""
    bulkhead = full()
    assert not await bulkhead.enter(seconds)
    assert (bulkhead.in_flight, bulkhead.waiting) == (1, 0)


async def test_waiters_get_slots_in_their_order() -> None:
    """Who came first is let in first, one for each that leaves."""
    bulkhead = full(2)
    waiters = await queued(bulkhead, 4)
    for number in range(1, 5):
        bulkhead.leave()
        await settle()
        assert [task.done() for task in waiters] == [n < number for n in range(4)]
        assert bulkhead.in_flight == 2
    assert await asyncio.gather(*waiters) == [True] * 4
    assert bulkhead.waiting == 0


async def test_a_full_queue_turns_away_at_once() -> None:
    """The queue has so many places, and whoever finds none does not wait."""
    bulkhead = full(1, max_queue=2)
    waiters = await queued(bulkhead, 1)
    assert bulkhead.may_wait
    waiters += await queued(bulkhead, 1)
    assert (bulkhead.waiting, bulkhead.may_wait) == (2, False)
    assert not await bulkhead.enter(LONG)
    bulkhead.leave()
    assert bulkhead.may_wait
    bulkhead.leave()
    assert await asyncio.gather(*waiters) == [True, True]


def test_without_a_queue_nobody_may_wait() -> None:
    """A queue of no places has none."""
    assert not Bulkhead(1, 0).may_wait


async def test_time_runs_out() -> None:
    """Whoever has waited long enough is told so, and leaves its place to others."""
    bulkhead = full(1, max_queue=1)
    began = time.perf_counter()
    assert not await bulkhead.enter(0.02)
    assert 0.015 < time.perf_counter() - began < 1
    assert (bulkhead.in_flight, bulkhead.waiting, bulkhead.may_wait) == (1, 0, True)
    bulkhead.leave()
    assert bulkhead.in_flight == 0


async def test_nobody_slips_in_before_a_waiter() -> None:
    """A slot that comes free belongs to the first waiter, though it has not woken up yet."""
    bulkhead = full()
    (waiter,) = await queued(bulkhead, 1)
    bulkhead.leave()
    assert not bulkhead.has_room
    assert not bulkhead.try_enter()
    assert not await bulkhead.enter(0)
    assert await waiter
    assert bulkhead.in_flight == 1


async def test_a_cancelled_waiter_leaves_the_queue() -> None:
    """Whoever is cancelled while it waits is passed over, and takes nothing along."""
    bulkhead = full()
    first, second, third = await queued(bulkhead, 3)
    second.cancel()
    await settle()
    assert bulkhead.waiting == 2
    bulkhead.leave()
    bulkhead.leave()
    assert all(await asyncio.gather(first, third))
    assert second.cancelled()
    assert bulkhead.in_flight == 1


async def test_a_slot_given_to_a_cancelled_waiter_goes_to_the_next() -> None:
    """Whoever is cancelled in the moment in which it is let in passes the slot on."""
    bulkhead = full()
    first, second = await queued(bulkhead, 2)
    bulkhead.leave()
    first.cancel()
    assert await second
    assert first.cancelled()
    assert bulkhead.in_flight == 1
    bulkhead.leave()
    assert (bulkhead.in_flight, bulkhead.waiting) == (0, 0)


async def test_a_slot_given_to_the_last_waiter_and_cancelled_is_free() -> None:
    """With nobody to pass it on to, the slot of a cancelled waiter is free again."""
    bulkhead = full()
    (waiter,) = await queued(bulkhead, 1)
    bulkhead.leave()
    waiter.cancel()
    await settle()
    assert waiter.cancelled()
    assert (bulkhead.in_flight, bulkhead.has_room) == (0, True)


async def test_a_slot_that_comes_as_time_runs_out_is_not_lost() -> None:
    """Whoever is let in after its time, but before it was told so, is in."""
    bulkhead = full()
    (waiter,) = await queued(bulkhead, 1, seconds=0.01)
    time.sleep(0.02)  # noqa: ASYNC251 -- the time is over, and the loop has not seen it
    bulkhead.leave()
    assert await waiter
    assert bulkhead.in_flight == 1


def test_it_serves_one_loop_after_the_other() -> None:
    """What asyncio.run ends leaves no slot and no place taken for the next one."""
    bulkhead = Bulkhead(1, 1)

    async def hold() -> None:
        assert await bulkhead.enter(LONG)
        try:
            await asyncio.sleep(LONG)
        finally:
            bulkhead.leave()

    async def main() -> None:
        tasks.extend(asyncio.create_task(hold()) for _ in range(2))
        await settle()
        assert (bulkhead.in_flight, bulkhead.waiting) == (1, 1)

    tasks: list[asyncio.Task[None]] = []
    for _ in range(3):
        asyncio.run(main())
        assert (bulkhead.in_flight, bulkhead.waiting) == (0, 0)


def test_waiters_of_a_closed_loop_are_no_waiters() -> None:
    """Who waited in a loop that was closed over its head gets no slot and blocks no place."""
    bulkhead = full(1, max_queue=2)
    dead, alive = asyncio.new_event_loop(), asyncio.new_event_loop()
    dead.set_exception_handler(lambda *_: None)  # it complains of what is left undone in it
    lost = dead.create_task(bulkhead.enter(LONG))
    dead.run_until_complete(settle())
    waiter = alive.create_task(bulkhead.enter(LONG))
    alive.run_until_complete(settle())
    assert (bulkhead.waiting, bulkhead.may_wait) == (2, False)
    dead.close()
    assert (bulkhead.waiting, bulkhead.may_wait) == (1, True)
    bulkhead.leave()
    assert alive.run_until_complete(waiter)
    alive.close()
    assert (bulkhead.in_flight, bulkhead.waiting) == (1, 0)
    del lost
    gc.collect()
    assert (bulkhead.in_flight, bulkhead.waiting) == (1, 0)
    bulkhead.leave()
    assert asyncio.run(bulkhead.enter(0))


@dataclass
class Crowd:
    """Tasks that come and go at random, and what they saw."""

    bulkhead: Bulkhead
    limit: int
    max_queue: int
    chance: random.Random
    inside: int = 0
    arrived: list[int] = field(default_factory=list)
    admitted: list[int] = field(default_factory=list)

    async def visit(self, number: int) -> None:
        """Come, stay and go, with pauses of some steps of the loop."""
        for _ in range(self.chance.randrange(12)):
            await asyncio.sleep(0)
        waits = not self.bulkhead.has_room and self.bulkhead.may_wait
        if waits:
            self.arrived.append(number)
        seconds = self.chance.choice([0.0, 0.0005, LONG, LONG, LONG])
        if not await self.bulkhead.enter(seconds):
            return
        try:
            self.inside += 1
            if waits:
                self.admitted.append(number)
            self.check()
            for _ in range(self.chance.randrange(6)):
                await asyncio.sleep(self.chance.choice([0, 0, 0, 0.0005]))
        finally:
            self.inside -= 1
            self.bulkhead.leave()

    def check(self) -> None:
        """See that all bounds hold."""
        assert self.inside <= self.bulkhead.in_flight <= self.limit
        assert self.bulkhead.waiting <= self.max_queue

    async def gather(self, size: int) -> None:
        """Let them all come, and cancel some of them somewhere."""
        tasks = [asyncio.create_task(self.visit(number)) for number in range(size)]
        while not all(task.done() for task in tasks):
            if self.chance.random() < 0.1:
                self.chance.choice(tasks).cancel()
            await asyncio.sleep(0)
            self.check()
        for task in tasks:
            assert task.cancelled() or task.exception() is None


@settings(max_examples=60, deadline=None)
@given(
    limit=st.integers(1, 4),
    max_queue=st.integers(0, 8),
    size=st.integers(1, 30),
    seed=st.integers(0, 2**32),
)
def test_whatever_happens_the_bounds_hold(limit: int, max_queue: int, size: int, seed: int) -> None:
    """Amid timeouts and cancellations: never too many, in order, and at the end all is free."""
    bulkhead = Bulkhead(limit, max_queue)
    crowd = Crowd(bulkhead, limit, max_queue, random.Random(seed))
    asyncio.run(crowd.gather(size))
    assert (bulkhead.in_flight, bulkhead.waiting) == (0, 0)
    assert crowd.admitted == [number for number in crowd.arrived if number in crowd.admitted]
