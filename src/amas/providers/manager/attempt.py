"""One attempt: one request to one provider, from its ticket to its record."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from ..base.provider_base import unexpected
from ..errors import ProviderError, ProviderTimeoutError, ProviderUnavailableError
from ..types import Attempt, Outcome
from .member import Member, Ticket

T = TypeVar("T")

_TOO_LATE = "no answer within its timeout or its share of the deadline"

# Seconds that a provider gets to keep its own timeout before the manager does.
_GRACE = 0.1


class CutShortError(ProviderTimeoutError):
    """The caller left less time than the provider usually takes: no fault of its own."""


@dataclass(slots=True)
class OpenAttempt(Generic[T]):
    """An attempt that has brought something and is still to be settled, exactly once.

    Args:
        member: Who was asked.
        ticket: With which leave.
        started: When, on the member's clock.
        value: What it brought.
        attempts: The records of the call, of which its own becomes the last.
        hedge: Whether it was sent beside another request that was slow.
        rest: Who could still be asked in this call.
        held: Seconds that the consumer of a stream has kept it waiting.
    """

    member: Member
    ticket: Ticket
    started: float
    value: T
    attempts: list[Attempt]
    hedge: bool = False
    rest: list[Member] = field(default_factory=list)
    held: float = 0.0

    def settle(self, outcome: Outcome, error: ProviderError | None = None) -> list[Attempt]:
        """Report how it ended, and return the records of all attempts of the call."""
        # A consumer who reads slowly does not make a slow provider.
        started = self.started + self.held
        record = _settle(
            self.member, self.ticket, started, outcome=outcome, error=error, hedge=self.hedge
        )
        self.attempts.append(record)
        return self.attempts


@dataclass(slots=True)
class Terms:
    """What an attempt has to keep to.

    Args:
        ends: When its share of the deadline ends, on the member's clock.
        attempts: Where its record goes.
        hedge: Whether it is sent beside another request that is slow.
        overtaken: Tells whether another provider has been faster.
    """

    ends: float
    attempts: list[Attempt]
    hedge: bool
    overtaken: Callable[[], bool]


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
    limit = min(terms.ends - started, _longest_attempt(member))
    timer = asyncio.timeout(limit)
    error: ProviderError | None = None
    opened = False
    try:
        async with timer:
            value = await ask(ticket)
        opened = True
        return OpenAttempt(member, ticket, started, value, terms.attempts, terms.hedge)
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
                member,
                ticket,
                started,
                outcome=Outcome.CANCELLED if error is None else error.outcome,
                error=error,
                hedge=terms.hedge,
                overtaken=error is None and terms.overtaken(),
                blameless=isinstance(error, CutShortError),
            )
            terms.attempts.append(record)
    return error


def _settle(
    member: Member,
    ticket: Ticket,
    started: float,
    *,
    outcome: Outcome,
    error: ProviderError | None,
    hedge: bool,
    overtaken: bool = False,
    blameless: bool = False,
) -> Attempt:
    latency = member.clock() - started
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
        model=(error.model if error else None) or ticket.lane.provider.model,
        outcome=str(outcome),
        status_code=error.status_code if error else None,
        latency_ms=round(latency * 1000, 3),
        error=error.message if error else None,
    )
    if len(member.lanes) > 1:
        record["key"] = ticket.lane.number
    if hedge:
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
