"""The loop of one call: attempt, retry, next provider, give up.

It serves answers and streams alike; the two differ only in what an attempt
opens (an answer, or a stream up to its first content) and when it is settled.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from ..base.provider_base import unexpected
from ..errors import (
    AllProvidersFailedError,
    NoProviderAvailableError,
    ProviderError,
    ProviderTimeoutError,
    ProviderUnavailableError,
)
from ..observability.logging import get_logger
from ..types import Attempt, Outcome, Request
from .circuit_breaker import Permit
from .member import Member, is_trip
from .policy import TABLE, Failover
from .retry import RetryPolicy

T = TypeVar("T")

# Seconds that a provider gets to keep its own timeout before the manager does.
_GRACE = 0.1

_log = get_logger("amas.providers.failover")


@dataclass(slots=True)
class OpenAttempt(Generic[T]):
    """An attempt that has brought something and is still to be settled, exactly once."""

    member: Member
    permit: Permit
    started: float
    value: T
    attempts: list[Attempt] = field(default_factory=list)

    def settle(self, outcome: Outcome, error: ProviderError | None = None) -> list[Attempt]:
        """Report how it ended, and return the records of all attempts of the call."""
        self.attempts.append(
            _settle(self.member, self.permit, self.started, outcome=outcome, error=error)
        )
        return self.attempts


@dataclass(frozen=True, slots=True)
class FailoverLoop:
    """How a call goes from provider to provider.

    Args:
        clock: The time in seconds; only differences matter.
        random: Source of numbers in [0, 1), for the backoff.
        sleep: Waits a number of seconds.
        retry: When the same provider is asked again.
        failover: Whether another provider is asked at all.
    """

    clock: Callable[[], float]
    random: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    failover: bool = True

    async def run(
        self,
        request: Request,
        candidates: Sequence[Member],
        ask: Callable[[Member], Awaitable[T]],
        *,
        everybody: Sequence[Member] = (),
    ) -> OpenAttempt[T]:
        """Ask the candidates in turn until one brings something.

        Args:
            request: The call; its deadline holds for all attempts together.
            candidates: Whom to ask, in order; none of them is asked twice but for retries.
            ask: Sends one request to one of them.
            everybody: Whom to account for if nobody can be asked; the candidates if empty.

        Returns:
            What the first successful attempt brought, to be settled by the caller.

        Raises:
            AllProvidersFailedError: Everybody asked has failed.
            NoProviderAvailableError: Nobody could be asked.
            ProviderTimeoutError: The deadline passed before anybody was asked.
            ProviderError: An error that no other provider would help against.
        """
        call = _Call(self, request, ask)
        remaining = list(candidates)
        while remaining and self.clock() < request.deadline:
            member = remaining.pop(0)
            followed = self.failover and any(item.available() for item in remaining)
            opened = await call.try_member(member, followed=followed)
            if opened is not None:
                return opened
            remaining = self._next(call, remaining)
        raise call.failure(candidates, everybody)

    def _next(self, call: _Call[T], remaining: list[Member]) -> list[Member]:
        """Apply the failure table to the last error: who may still be asked."""
        if not call.errors or call.last_asked is None:
            return remaining
        error = call.errors[-1]
        rule = TABLE[error.outcome].failover
        error.attempts = tuple(call.attempts)
        if rule is Failover.NO or not self.failover:
            raise error
        if rule is Failover.LARGER_WINDOW:
            larger = [item for item in remaining if _larger_window(item, call.last_asked)]
            if not larger:
                raise error
            return larger
        return remaining


class _Call(Generic[T]):
    """The course of one call: what was tried, and what came of it."""

    def __init__(
        self, loop: FailoverLoop, request: Request, ask: Callable[[Member], Awaitable[T]]
    ) -> None:
        self._loop = loop
        self._request = request
        self._ask = ask
        self.attempts: list[Attempt] = []
        self.errors: list[ProviderError] = []
        self.last_asked: Member | None = None

    async def try_member(self, member: Member, *, followed: bool) -> OpenAttempt[T] | None:
        """Ask one provider, again where the table says so, within its share of the deadline."""
        share_ends = self._share(followed=followed)
        retries = 0
        while True:
            permit = member.admit()
            if permit is None:
                return None
            self.last_asked = member
            opened = await self._attempt(member, permit, share_ends)
            if opened is not None:
                return opened
            pause = self._loop.retry.pause(
                TABLE[self.errors[-1].outcome],
                self.errors[-1],
                retries_done=retries,
                max_retries=member.provider.config.max_retries,
                time_left=share_ends - self._loop.clock(),
                random=self._loop.random,
            )
            if pause is None:
                return None
            retries += 1
            await self._loop.sleep(pause)

    def _share(self, *, followed: bool) -> float:
        """Return when this provider's share ends: with half the time left if others can follow."""
        now = self._loop.clock()
        left = self._request.deadline - now
        return now + (left / 2 if followed else left)

    async def _attempt(
        self, member: Member, permit: Permit, share_ends: float
    ) -> OpenAttempt[T] | None:
        started = self._loop.clock()
        timer = asyncio.timeout(min(share_ends - started, _longest_attempt(member)))
        error: ProviderError | None = None
        settled = False
        try:
            async with timer:
                value = await self._ask(member)
            settled = True
            return OpenAttempt(member, permit, started, value, self.attempts)
        except TimeoutError:
            error = _out_of_share(member) if timer.expired() else _stray_timeout(member)
        except ProviderError as raised:
            error = raised
        except asyncio.CancelledError:
            if is_cancelled():
                raise
            error = ProviderUnavailableError("cancelled from within", provider=member.name)
        except Exception as raised:  # noqa: BLE001 -- any provider may raise anything; the next one may answer
            error = unexpected(raised, provider=member.name)
        finally:
            # A caller who cancels leaves no slot behind.
            if not settled:
                outcome = Outcome.CANCELLED if error is None else error.outcome
                self.attempts.append(_settle(member, permit, started, outcome=outcome, error=error))
        self._note(error, member)
        return None

    def _note(self, error: ProviderError, member: Member) -> None:
        error.request_id = self._request.id
        error.provider = error.provider or member.name
        self.errors.append(error)
        say = _log.warning if is_trip(error.outcome) else _log.info
        say(
            "attempt_failed",
            provider=member.name,
            outcome=str(error.outcome),
            status=error.status_code,
            error=error.message,
            request_id=self._request.id,
            caller=self._request.caller,
        )

    def failure(self, candidates: Sequence[Member], everybody: Sequence[Member]) -> ProviderError:
        """Make the error of a call that brought nothing."""
        late = self._loop.clock() >= self._request.deadline
        if not self.errors:
            if late and any(member.available() for member in candidates):
                return ProviderTimeoutError(
                    "the deadline passed before anybody was asked", request_id=self._request.id
                )
            return nobody(everybody or candidates, request_id=self._request.id)
        counted = Counter(f"{error.provider}: {error.message}" for error in self.errors)
        told = "; ".join(
            f"{text} ({count} times)" if count > 1 else text for text, count in counted.items()
        )
        return AllProvidersFailedError(
            f"{'the deadline passed' if late else 'all providers failed'} after"
            f" {len(self.attempts)} attempts: {told}",
            errors=self.errors,
            attempts=self.attempts,
            request_id=self._request.id,
            retry_after=soonest(candidates),
        )


def _settle(
    member: Member,
    permit: Permit,
    started: float,
    *,
    outcome: Outcome,
    error: ProviderError | None,
) -> Attempt:
    latency = member.clock() - started
    member.settle(permit, outcome, latency=latency, error=error)
    return Attempt(
        provider=member.name,
        model=(error.model if error else None) or member.provider.model,
        outcome=str(outcome),
        status_code=error.status_code if error else None,
        latency_ms=round(latency * 1000, 3),
        error=error.message if error else None,
    )


def _out_of_share(member: Member) -> ProviderError:
    return ProviderTimeoutError(
        "no answer within its timeout or its share of the deadline", provider=member.name
    )


def _longest_attempt(member: Member) -> float:
    """Return the limit of an attempt, a little beyond the provider's own clocks, which say more."""
    config = member.provider.config
    return max(config.timeout, config.first_content_timeout or 0) + _GRACE


def _stray_timeout(member: Member) -> ProviderError:
    return ProviderTimeoutError("timed out", provider=member.name)


def _larger_window(member: Member, than: Member) -> bool:
    mine, theirs = member.provider.context_window, than.provider.context_window
    return mine is not None and theirs is not None and mine > theirs


def is_cancelled() -> bool:
    """Tell the caller's cancellation from one that a provider suffers inside, and lets out."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


def soonest(members: Sequence[Member]) -> float | None:
    """Return the seconds until the first of them may be asked; None if none ever may."""
    return min((member.wait() for member in members if member.ready), default=None)


def nobody(members: Sequence[Member], *, request_id: str | None = None) -> NoProviderAvailableError:
    """Make the error that says why nobody can be asked, and when that may change."""
    wait = soonest(members)
    reasons = "; ".join(
        f"{status['name']} is {status['state'].replace('_', ' ')}"
        + (f" ({status['reason']})" if status["reason"] else "")
        for status in (member.status() for member in members)
    )
    when = f"; try again in {wait:.1f} s" if wait else ""
    return NoProviderAvailableError(
        f"no provider can be asked: {reasons or 'none is registered'}{when}",
        request_id=request_id,
        retry_after=wait,
    )
