"""What happens, as frozen records: one class for each kind of thing.

Nothing in an event is a secret. Only ``CallEnded.content`` may hold what was asked and answered,
and only where the audit section asks for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from typing_extensions import override

from ..types import Attempt, Outcome, Usage

NOBODY_ANSWERS: Final = frozenset(
    {Outcome.ALL_FAILED, Outcome.NO_PROVIDER, Outcome.AUDIT_UNAVAILABLE}
)
"""Ends of a call that somebody should look at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened.

    Args:
        at: When, in seconds since 1970.
    """

    kind: ClassVar[str]

    at: float

    @property
    def serious(self) -> bool:
        """Whether somebody should look at it."""
        return False


@dataclass(frozen=True, slots=True)
class Content:
    """What was asked and answered in one call, as texts.

    Args:
        prompt: The prompt; the messages of a chat as JSON.
        answer: The answer, as far as it came; None if none did.
    """

    prompt: str
    answer: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CallEnded(Event):
    """A call has ended, with an answer or with an error.

    Args:
        request_id: Our id of the call.
        caller: Who called; None if that was not said.
        provider: Who answered, or failed last; None if nobody was asked.
        model: The model that answered, or failed last.
        outcome: How it ended, in a word of ``Outcome``.
        status_code: HTTP status of the upstream, where it said one.
        streamed: Whether the answer was asked for piece by piece.
        attempts: One record for each request sent, in order.
        usage: Tokens, as the upstream counted them; None if it did not.
        cost_usd: Price in US dollars; None if it is not known.
        latency_ms: Milliseconds of the whole call, less what a stream's consumer kept it waiting.
        first_content_ms: Milliseconds to the first content of a stream; None if none came.
        asked_provider: The provider that was asked for by name.
        asked_model: The model that was asked for by name.
        alias: The alias that was asked for in place of a model.
        fingerprint: Keyed fingerprint of the key that was used last; None without a master key.
        content: What was asked and answered; None unless the audit section asks for it.
    """

    kind: ClassVar[str] = "call"

    request_id: str
    caller: str | None
    provider: str | None
    model: str | None
    outcome: str
    status_code: int | None = None
    streamed: bool = False
    attempts: tuple[Attempt, ...] = ()
    usage: Usage | None = None
    cost_usd: float | None = None
    latency_ms: float = 0.0
    first_content_ms: float | None = None
    asked_provider: str | None = None
    asked_model: str | None = None
    alias: str | None = None
    fingerprint: str | None = None
    content: Content | None = None

    @property
    def ok(self) -> bool:
        """Whether it was answered."""
        return self.outcome == Outcome.OK

    @property
    @override
    def serious(self) -> bool:
        return self.outcome in NOBODY_ANSWERS


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptEnded(Event):
    """One request to one upstream has ended.

    Args:
        request_id: Our id of the call.
        caller: Who called.
        attempt: Its record.
        key: Which of the provider's keys was used, counted from 1.
        first_content_ms: Milliseconds to the first content of a stream; None if none came.
    """

    kind: ClassVar[str] = "attempt"

    request_id: str
    caller: str | None
    attempt: Attempt
    key: int
    first_content_ms: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedOver(Event):
    """A call goes on with another provider.

    Args:
        request_id: Our id of the call.
        caller: Who called.
        provider: Who has failed.
        outcome: How.
        following: Who is asked next.
    """

    kind: ClassVar[str] = "failover"

    request_id: str
    caller: str | None
    provider: str
    outcome: str
    following: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitChanged(Event):
    """The circuit of a provider, or of one of its keys, has opened, closed, or is probed.

    Args:
        provider: Name of the provider.
        key: Which of its keys, counted from 1; None for the provider's own circuit.
        before: ``closed``, ``open`` or ``half_open``.
        after: Likewise.
        outcome: How the request ended that made it change; None if none did.
        cause: ``calls``, ``operator`` (by hand) or ``shared`` (another process has told).
        retry_after: Seconds until it is probed; None unless it is open.
    """

    kind: ClassVar[str] = "circuit"

    provider: str
    key: int | None
    before: str
    after: str
    outcome: str | None = None
    cause: str = "calls"
    retry_after: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessDecision(Event):
    """A caller was allowed to make a call, or not.

    Args:
        request_id: Our id of the call.
        caller: Who called; None if that was not said.
        allowed: Whether the call went on.
        rule: The rule that decided.
        reason: Why it was denied.
        provider: The provider asked for by name.
        model: The model asked for by name.
        providers: Names of the providers that it may go to.
        alias: The alias asked for in place of a model.
    """

    kind: ClassVar[str] = "access"

    request_id: str
    caller: str | None
    allowed: bool
    rule: str | None = None
    reason: str | None = None
    provider: str | None = None
    model: str | None = None
    providers: tuple[str, ...] = ()
    alias: str | None = None

    @property
    @override
    def serious(self) -> bool:
        return not self.allowed


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetUsed(Event):
    """A call was charged to the budget of its caller.

    Args:
        caller: Whose rule it is; ``*`` for the rule of all others.
        unit: ``usd`` or ``tokens``.
        used: What is used or set aside today.
        limit: What may be used in a day.
        day: The day in UTC, such as ``2026-11-24``.
    """

    kind: ClassVar[str] = "budget"

    caller: str
    unit: str
    used: float
    limit: float
    day: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyChange(Event):
    """A provider was given another key, or a new one was not taken.

    Args:
        provider: Name of the provider.
        key: Which of its keys, counted from 1.
        changed: Whether the new one is used now.
        cause: Who or what changed it: ``rotate_key`` or ``reload``.
        reason: Why it was not taken.
        fingerprint: Keyed fingerprint of the new key; None without a master key.
    """

    kind: ClassVar[str] = "key"

    provider: str
    key: int
    changed: bool
    cause: str
    reason: str | None = None
    fingerprint: str | None = None

    @property
    @override
    def serious(self) -> bool:
        return not self.changed


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigurationChanged(Event):
    """A configuration was read again.

    Args:
        taken: Whether it was taken over; False if something in it is wrong.
        added: Names of providers that take part from now on.
        removed: Names of those that take no new calls.
        changed: Names of those that are configured otherwise.
        rekeyed: Names of those that use another key.
        problems: What was not taken over, and why.
        pending: Sections that have changed and hold from the next start on.
        differences: Each field that has changed, from what to what; of credentials only that.
    """

    kind: ClassVar[str] = "configuration"

    taken: bool
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    rekeyed: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    pending: tuple[str, ...] = ()
    differences: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthChanged(Event):
    """A check has found a provider healthy, or no longer.

    Args:
        provider: Name of the provider.
        key: With which of its keys, counted from 1.
        healthy: What was found.
        reason: What is wrong.
    """

    kind: ClassVar[str] = "health"

    provider: str
    key: int
    healthy: bool
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordsTrouble(Event):
    """The audit trail cannot be written, or can be again; or events were dropped.

    Args:
        trail: What is meant: a file, or the observer whose queue was full.
        working: Whether it works (again).
        reason: What is wrong, or what was done about it.
        lost: How many records were dropped since it last worked.
    """

    kind: ClassVar[str] = "records"

    trail: str
    working: bool
    reason: str | None = None
    lost: int = 0

    @property
    @override
    def serious(self) -> bool:
        return not self.working or bool(self.lost)
