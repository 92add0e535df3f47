"""The course of one call: visits to providers, and what came of them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from ..errors import (
    AllProvidersFailedError,
    NoProviderAvailableError,
    ProviderError,
    ProviderTimeoutError,
)
from ..observability.logging import get_logger
from ..observability.quoting import without_quotes
from ..types import Attempt, Effect, Failover, Request
from .attempt import CutShortError, OpenAttempt, Terms, attempt
from .lane import Lane
from .member import Member, Ticket
from .policy import KEY_OUTCOMES
from .retry import RetryPolicy
from .status import describe
from .watch import UNWATCHED, Watch

T = TypeVar("T")

_log = get_logger("amas.providers.failover")

_NO_ARGUMENTS: Mapping[str, Mapping[str, Any]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Tools:
    """What every call of a manager works with.

    Args:
        clock: The time in seconds; only differences matter.
        random: Source of numbers in [0, 1), for the backoff.
        sleep: Waits a number of seconds.
        retry: When the same provider is asked again.
    """

    clock: Callable[[], float]
    random: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    retry: RetryPolicy = field(default_factory=RetryPolicy)


class Course(Generic[T]):
    """One call on its way: what was tried, and what came of it.

    Args:
        tools: What every call works with.
        request: The call.
        ask: Sends one request to one provider, with one of its keys.
        tokens: Estimate of the tokens that the call takes, for limits per minute.
        arguments: What each provider is called with, by name.
        attempts: Records of what was tried before, of a stream that is taken over.
        watch: Is told of each request.
    """

    def __init__(
        self,
        tools: Tools,
        request: Request,
        ask: Callable[[Member, Ticket], Awaitable[T]],
        *,
        tokens: int = 0,
        arguments: Mapping[str, Mapping[str, Any]] = _NO_ARGUMENTS,
        attempts: Sequence[Attempt] = (),
        watch: Watch = UNWATCHED,
    ) -> None:
        self._watch = watch
        self._tools = tools
        self._request = request
        self._ask = ask
        self._tokens = tokens
        self._arguments = arguments
        self.attempts: list[Attempt] = list(attempts)
        self.failures: list[tuple[Member, ProviderError]] = []
        self.overtaken = False
        self._refused: dict[Member, float] = {}

    def is_final(self, member: Member) -> bool:
        """Tell whether an error has come from a provider that nobody else would help against."""
        return any(
            failed is member and member.rules.policy[error.outcome].failover is Failover.NO
            for failed, error in self.failures
        )

    def time_left(self) -> float:
        """Return the seconds that are left of the deadline."""
        return self._request.deadline - self._tools.clock()

    def _model_asked(self, member: Member) -> str | None:
        """Return the model that a provider is asked for in this call; None if it has no name."""
        named = self._arguments.get(member.name, {}).get("model")
        return named if isinstance(named, str) else member.provider.model

    def window(self, member: Member) -> int | None:
        """Return how many tokens that model takes in; None if that is not known."""
        return member.provider.window_of(self._model_asked(member))

    async def visit(
        self, member: Member, *, followed: bool, hedge: bool = False
    ) -> OpenAttempt[T] | None:
        """Ask one provider: with its other keys and again where the failure table says so.

        Args:
            member: Whom to ask.
            followed: Whether others can follow, for whom half of the time is kept.
            hedge: Whether it is asked beside another one that is slow.

        Returns:
            What it brought; None if nothing, with the reason in ``failures``.
        """
        ends = self._tools.clock() + self.time_left() / (2 if followed else 1)
        terms = Terms(
            ends,
            self.attempts,
            hedge,
            lambda: self.overtaken,
            self._model_asked(member),
            self._watch,
        )
        used: set[Lane] = set()
        retries = 0
        failure: ProviderError | None = None
        # Who failed of late as well is asked once, to see whether it is back, if others can follow.
        patience = 0 if member.doubts and followed else member.provider.config.max_retries
        while (ticket := await self._enter(member, ends, used)) is not None:
            if failure is None:
                member.retries.note_request()
                if self.failures and not hedge:
                    failed, why = self.failures[-1]
                    self._watch.failed_over(failed.name, why.outcome, member.name)
            found = await attempt(member, ticket, lambda leave: self._ask(member, leave), terms)
            if isinstance(found, OpenAttempt):
                return found
            failure = found
            self._note(found, member)
            used.add(ticket.lane)
            if found.outcome in KEY_OUTCOMES and member.available(used):
                continue
            pause = self._pause(member, found, retries, patience, ends)
            if pause is None or not member.retries.take():
                break
            retries += 1
            used.clear()
            await self._tools.sleep(pause)
        if failure is not None and _is_its_fault(failure, member):
            member.doubt()
        return None

    def _pause(
        self, member: Member, error: ProviderError, retries: int, most: int, ends: float
    ) -> float | None:
        return self._tools.retry.pause(
            member.rules.policy[error.outcome],
            error,
            retries_done=retries,
            max_retries=most,
            time_left=ends - self._tools.clock(),
            random=self._tools.random,
        )

    async def _enter(self, member: Member, ends: float, used: Collection[Lane]) -> Ticket | None:
        """Get through bulkhead, limits and circuit; whoever is cancelled there leaves nothing."""
        if not member.available(used):
            return None
        bulkhead = member.bulkhead
        if not bulkhead.try_enter() and not await bulkhead.enter(ends - self._tools.clock()):
            return None
        ticket: Ticket | None = None
        try:
            if await self._within_limits(member):
                ticket = member.admit(used)
                if ticket is not None and ticket.probe and member.sharing.store is not None:
                    leave, ticket = ticket, None
                    if await member.lease(leave):
                        ticket = leave
        finally:
            if ticket is None:
                bulkhead.leave()
        return ticket

    async def _within_limits(self, member: Member) -> bool:
        gate = member.gate
        if gate is None or await gate.take(self._tokens):
            return True
        self._refused[member] = gate.refused_for
        return False

    def _note(self, error: ProviderError, member: Member) -> None:
        error.request_id = self._request.id
        error.provider = error.provider or member.name
        self.failures.append((member, error))
        rule = member.rules.policy[error.outcome]
        say = _log.warning if rule.circuit is Effect.TRIP else _log.info
        say(
            "attempt_failed",
            provider=member.name,
            outcome=str(error.outcome),
            status=error.status_code,
            error=without_quotes(error.message, self._request.prompt),
            request_id=self._request.id,
            caller=self._request.caller,
        )

    def verdict(self, candidates: Sequence[Member], everybody: Sequence[Member]) -> ProviderError:
        """Make the error of a call that brought nothing.

        Args:
            candidates: Who could have been asked.
            everybody: Whom to account for if nobody was; the candidates if empty.
        """
        late = self.time_left() <= 0
        if not self.failures:
            if late and any(member.available() for member in candidates):
                return ProviderTimeoutError(
                    "the deadline passed before anybody was asked", request_id=self._request.id
                )
            return self._nobody(everybody or candidates, candidates)
        errors = [error for _, error in self.failures]
        counted = Counter(f"{error.provider}: {error.message}" for error in errors)
        told = "; ".join(
            f"{text} ({count} times)" if count > 1 else text for text, count in counted.items()
        )
        return AllProvidersFailedError(
            f"{'the deadline passed' if late else 'all providers failed'}{self._by_name} after"
            f" {len(self.attempts)} attempts: {told}",
            errors=errors,
            attempts=self.attempts,
            request_id=self._request.id,
            retry_after=soonest(candidates),
        )

    def _nobody(
        self, members: Sequence[Member], able: Sequence[Member]
    ) -> NoProviderAvailableError:
        """Make the error that says why nobody can be asked, and when that may change."""
        waits = [max(member.wait(), self._refused.get(member, 0.0)) for member in able]
        wait = min(waits, default=None)
        reasons = "; ".join(self._why(member, able) for member in members)
        when = f"; try again in {wait:.1f} s" if wait else ""
        return NoProviderAvailableError(
            f"no provider can be asked{self._by_name}: {reasons or 'none is registered'}{when}",
            request_id=self._request.id,
            retry_after=wait,
        )

    @property
    def _by_name(self) -> str:
        alias = self._request.alias
        return "" if alias is None else f" for {alias}"

    def _why(self, member: Member, able: Sequence[Member]) -> str:
        if member.ready and member not in able:
            return f"{member.name} cannot serve this request"
        status = describe(member)
        if status["state"] == "available" and member in self._refused:
            return f"{member.name} has too few tokens left this minute for so long a request"
        why = f" ({status['reason']})" if status["reason"] else ""
        return f"{member.name} is {status['state'].replace('_', ' ')}{why}"


def _is_its_fault(error: ProviderError, member: Member) -> bool:
    failed = member.rules.policy[error.outcome].circuit is Effect.FAILURE
    return failed and not isinstance(error, CutShortError)


def soonest(members: Sequence[Member]) -> float | None:
    """Return the seconds until the first of them may be asked; None if none ever may."""
    return min((member.wait() for member in members if member.ready), default=None)
