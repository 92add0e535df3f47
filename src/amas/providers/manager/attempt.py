"""One attempt: one request to one provider, from its ticket to its record."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from ..base.faults import unexpected
from ..errors import ProviderError, ProviderTimeoutError, ProviderUnavailableError
from ..types import Attempt, Outcome, Usage
from .lineup import Lineup
from .member import Member, Ticket
from .watch import UNWATCHED, Watch

T = TypeVar("T")

_TOO_LATE = "no answer within its timeout or its share of the deadline"

# Seconds that a provider gets to keep its own timeout before the manager does.
_GRACE = 0.1


class CutShortError(ProviderTimeoutError):
    """The caller left less time than the provider usually takes: no fault of its own."""


@dataclass(slots=True)
class Terms:
    """What the attempts of one visit have to keep to.

    Args:
        ends: When its share of the deadline ends, on the member's clock.
        attempts: The records of the call, of which theirs become the last.
        hedge: Whether they are sent beside another request that is slow.
        overtaken: Tells whether another provider has been faster.
        model: The model that is asked.
        watch: Is told of them.
    """

    ends: float
    attempts: list[Attempt]
    hedge: bool
    overtaken: Callable[[], bool]
    model: str | None = None
    watch: Watch = UNWATCHED


@dataclass(slots=True)
class Sent:
    """A request under way.

    Args:
        member: Who is asked.
        ticket: With which leave.
        started: When, on the member's clock.
        terms: What it has to keep to.
        token: What names it to the watch.
    """

    member: Member
    ticket: Ticket
    started: float
    terms: Terms
    token: Any


@dataclass(slots=True)
class OpenAttempt(Generic[T]):
    """An attempt that has brought something and is still to be settled, exactly once.

    Args:
        sent: The request.
        value: What it brought.
        opened_after: Seconds until it did.
        rest: Who could still be asked in this call.
        held: Seconds that the consumer of a stream has kept it waiting.
    """

    sent: Sent
    value: T
    opened_after: float
    rest: Lineup = field(default_factory=Lineup)
    held: float = 0.0

    @property
    def member(self) -> Member:
        """Who was asked."""
        return self.sent.member

    @property
    def ticket(self) -> Ticket:
        """With which leave."""
        return self.sent.ticket

    @property
    def attempts(self) -> list[Attempt]:
        """The records of the call."""
        return self.sent.terms.attempts

    def settle(
        self,
        outcome: Outcome,
        error: ProviderError | None = None,
        *,
        usage: Usage | None = None,
    ) -> list[Attempt]:
        """Report how it ended, and return the records of all attempts of the call.

        Args:
            outcome: How it ended.
            error: Its error, if it failed.
            usage: Tokens, as the upstream counted them.
        """
        record = _settle(self.sent, outcome=outcome, error=error, held=self.held)
        self.attempts.append(record)
        self.sent.terms.watch.attempted(
            self.sent.token,
            self.ticket.lane,
            record,
            opened_after=self.opened_after,
            held=self.held,
            usage=usage,
        )
        return self.attempts


async def attempt(
    member: Member, ticket: Ticket, ask: Callable[[Ticket], Awaitable[T]], terms: Terms
) -> OpenAttempt[T] | ProviderError:
    """Send one request.

    Args:
        member: Whom to ask.
        ticket: The leave to; it is settled here unless the attempt succeeds.
        ask: Sends the request.
        terms: What to keep to.

    Returns:
        The open attempt, or the error it ended with.
    """
    started = member.clock()
    sent = Sent(member, ticket, started, terms, terms.watch.begin(ticket.lane, terms.model))
    limit = min(terms.ends - started, _longest_attempt(member))
    timer = asyncio.timeout(limit)
    error: ProviderError | None = None
    opened = False
    try:
        async with timer:
            with terms.watch.active(sent.token):
                value = await ask(ticket)
        opened = True
        return OpenAttempt(sent, value, member.clock() - started)
    except TimeoutError:
        if not timer.expired():
            error = _stray_timeout(member)
        elif limit < (member.latencies.percentile(0.95) or 0):
            error = CutShortError(_TOO_LATE, provider=member.name)
        else:
            error = ProviderTimeoutError(_TOO_LATE, provider=member.name)
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
        if not opened:
            record = _settle(
                sent,
                outcome=Outcome.CANCELLED if error is None else error.outcome,
                error=error,
                overtaken=error is None and terms.overtaken(),
                blameless=isinstance(error, CutShortError),
            )
            terms.attempts.append(record)
            terms.watch.attempted(sent.token, ticket.lane, record)
    return error


def _settle(
    sent: Sent,
    *,
    outcome: Outcome,
    error: ProviderError | None,
    held: float = 0.0,
    overtaken: bool = False,
    blameless: bool = False,
) -> Attempt:
    member, ticket = sent.member, sent.ticket
    # A consumer who reads slowly does not make a slow provider.
    latency = member.clock() - sent.started - held
    member.bulkhead.leave()
    member.settle(
        ticket,
        outcome,
        latency=latency,
        error=error,
        overtaken=overtaken,
        blameless=blameless,
    )
    record = Attempt(
        provider=member.name,
        model=(error.model if error else None) or sent.terms.model,
        outcome=str(outcome),
        status_code=error.status_code if error else None,
        latency_ms=round(latency * 1000, 3),
        error=error.message if error else None,
    )
    if len(member.lanes) > 1:
        record["key"] = ticket.lane.number
    if sent.terms.hedge:
        record["hedge"] = True
    return record


def _longest_attempt(member: Member) -> float:
    """Return the limit of an attempt, a little beyond the provider's own clocks, which say more."""
    config = member.provider.config
    return max(config.timeout, config.first_content_timeout or 0) + _GRACE


def _stray_timeout(member: Member) -> ProviderError:
    return ProviderTimeoutError("timed out", provider=member.name)


def is_cancelled() -> bool:
    """Tell the caller's cancellation from one that a provider suffers inside, and lets out."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0
