"""Hedged requests: a second provider beside one that is slower than usual.

The idea is Jeffrey Dean's and Luiz André Barroso's ("The Tail at Scale", 2013):
wait for the time in which nearly all answers come, then ask somebody else as
well, take whichever answers first, and cancel the other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from ..types import Outcome
from .attempt import OpenAttempt
from .budget import Budget
from .course import Course
from .member import Member

T = TypeVar("T")

# From fewer answers than these nobody can tell what is usual.
_ENOUGH_SAMPLES = 20


@dataclass(frozen=True, slots=True)
class Hedging:
    """When a second provider is asked, and how often at most.

    Args:
        after: Seconds without an answer; None for the provider's usual 95th percentile.
        budget: The share of the calls that may be hedged.
    """

    after: float | None
    budget: Budget

    def delay(self, member: Member) -> float | None:
        """Return the seconds to wait for a provider; None for as long as it takes."""
        if self.after is not None:
            return self.after
        if member.latencies.samples < _ENOUGH_SAMPLES:
            return None
        return member.latencies.percentile(0.95)


async def race(
    course: Course[T],
    member: Member,
    remaining: list[Member],
    *,
    delay: float,
    budget: Budget,
    discard: Callable[[T], Awaitable[None]],
) -> OpenAttempt[T] | None:
    """Ask a provider, and a second one beside it if it takes longer than usual.

    Args:
        course: The call.
        member: Whom to ask first.
        remaining: Who else could be asked; the second one is taken out of it.
        delay: Seconds after which the second one is asked.
        budget: Allows the second request, or not.
        discard: Gives back what the slower one brought at the same moment.

    Returns:
        What the faster one brought; None if both have failed, or the first one with an error
        that nobody else would help against. Whoever was only slower is put back into
        ``remaining``, as it may still take over a stream that breaks off.
    """
    contest = _Contest(course, discard, first=member)
    try:
        contest.enter(member, followed=True)
        await contest.wait(delay)
        second = None if contest.decided else _second(remaining, budget)
        if second is not None:
            remaining.remove(second)
            followed = any(item.available() for item in remaining)
            contest.enter(second, followed=followed, hedge=True)
        while not contest.decided:
            await contest.wait(None)
        await contest.end()
    except BaseException:
        await contest.abandon()
        raise
    remaining[:0] = contest.overtaken()
    return contest.winner


def _second(remaining: list[Member], budget: Budget) -> Member | None:
    free = (item for item in remaining if item.available() and item.bulkhead.has_room)
    second = next(free, None)
    return second if second is not None and budget.take() else None


class _Contest(Generic[T]):
    """Visits side by side, of which the first to bring something wins."""

    def __init__(
        self, course: Course[T], discard: Callable[[T], Awaitable[None]], *, first: Member
    ) -> None:
        self._course = course
        self._discard = discard
        self._first = first
        self._entered: list[Member] = []
        self._running: set[asyncio.Task[None]] = set()
        self._over = False
        self.winner: OpenAttempt[T] | None = None

    def enter(self, member: Member, *, followed: bool, hedge: bool = False) -> None:
        """Begin a visit."""
        self._entered.append(member)
        visit = self._visit(member, followed=followed, hedge=hedge)
        self._running.add(asyncio.create_task(visit, name=f"amas-visit-{member.name}"))

    async def _visit(self, member: Member, *, followed: bool, hedge: bool) -> None:
        found = await self._course.visit(member, followed=followed, hedge=hedge)
        if found is None:
            return
        if not self._over:
            # No pause lies between the two: nobody can come first as well.
            self._over, self.winner = True, found
            self._course.overtaken = True
            return
        await self._give_back(found)

    async def _give_back(self, found: OpenAttempt[T]) -> None:
        found.settle(Outcome.CANCELLED)
        await self._discard(found.value)

    @property
    def decided(self) -> bool:
        """Whether there is nothing to wait for: somebody has won, nobody can, or nobody should.

        Only the first one decides that nobody should: it may still answer what the second
        one refuses.
        """
        return self._over or not self._running or self._course.is_final(self._first)

    def overtaken(self) -> list[Member]:
        """Return who was slower than the winner, and has not failed."""
        if self.winner is None:
            return []
        out = {self.winner.member, *(member for member, _ in self._course.failures)}
        return [member for member in self._entered if member not in out]

    async def wait(self, seconds: float | None) -> None:
        """Wait until one more visit has ended."""
        done, self._running = await asyncio.wait(
            self._running, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
        )
        for task in done:
            task.result()

    async def end(self) -> None:
        """Cancel whoever is still under way, and wait until they have ended."""
        self._over = True
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def abandon(self) -> None:
        """End it without using what was won; the caller is gone, and nothing is to be kept."""
        winner, self.winner = self.winner, None
        try:
            await self.end()
        finally:
            if winner is not None:
                await self._give_back(winner)
