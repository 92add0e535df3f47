"""The loop of one call: visit a provider, apply the failure table, next provider, give up.

It serves answers and streams alike; the two differ only in what an attempt
opens (an answer, or a stream up to its first content) and when it is settled.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ..types import Failover, Outcome
from .attempt import OpenAttempt
from .course import Course, Tools
from .hedging import Hedging, race
from .lineup import Lineup
from .member import Member

T = TypeVar("T")


async def _nothing_to_give_back(_value: object) -> None:
    """Discard a plain answer."""


@dataclass(frozen=True, slots=True)
class FailoverLoop:
    """How a call goes from provider to provider.

    Args:
        tools: What every call works with.
        failover: Whether another provider is asked at all.
        hedging: When a second provider is asked beside a slow one; None for never.
    """

    tools: Tools
    failover: bool = True
    hedging: Hedging | None = None

    async def run(
        self,
        course: Course[T],
        lineup: Lineup,
        *,
        everybody: Sequence[Member] = (),
        discard: Callable[[T], Awaitable[None]] = _nothing_to_give_back,
    ) -> OpenAttempt[T]:
        """Ask the candidates in turn until one brings something.

        Args:
            course: The call; its deadline holds for all attempts together.
            lineup: Whom to ask, in order; none of them is visited twice.
            everybody: Whom to account for if nobody can be asked; those of the lineup if empty.
            discard: Gives back what a slower provider brought, where two were asked.

        Returns:
            What the first successful attempt brought, to be settled by the caller.

        Raises:
            AllProvidersFailedError: Everybody asked has failed.
            NoProviderAvailableError: Nobody could be asked.
            ProviderTimeoutError: The deadline passed before anybody was asked.
            ProviderError: An error that no other provider would help against.
        """
        told = 0
        if self.hedging is not None:
            self.hedging.budget.note_request()
        while lineup and course.time_left() > 0:
            member = lineup.take_next()
            opened = await self._ask(course, member, lineup, discard)
            if opened is not None:
                opened.rest = lineup
                return opened
            self._apply_table(course, lineup, told)
            told = len(course.failures)
        raise course.verdict(lineup.everyone(), everybody)

    async def _ask(
        self,
        course: Course[T],
        member: Member,
        lineup: Lineup,
        discard: Callable[[T], Awaitable[None]],
    ) -> OpenAttempt[T] | None:
        followed = self.failover and lineup.is_followed()
        hedging = self.hedging if followed else None
        delay = hedging.delay(member) if hedging is not None else None
        if hedging is None or delay is None:
            return await course.visit(member, followed=followed)
        return await race(
            course, member, lineup.left(), delay=delay, budget=hedging.budget, discard=discard
        )

    def _apply_table(self, course: Course[T], lineup: Lineup, told: int) -> None:
        """Leave out whoever is not to be asked after the failures since ``told``."""
        for member, error in course.failures[told:]:
            rule = member.rules.policy[error.outcome].failover
            error.attempts = tuple(course.attempts)
            if rule is Failover.NO or not self.failover:
                raise error
            if rule is Failover.LARGER_WINDOW:
                window = course.window(member)
                left = lineup.left()
                lineup.keep([item for item in left if _is_larger(course.window(item), window)])
                if not lineup:
                    raise error
        outcomes = {error.outcome for _, error in course.failures}
        if outcomes == {Outcome.UNSUPPORTED} and not lineup:
            # Nobody has failed: the request asks more than anybody can do.
            raise course.failures[-1][1]


def _is_larger(window: int | None, than: int | None) -> bool:
    return window is not None and than is not None and window > than
