"""One call, from the request to its answer: whom to ask, in which order, and with what."""

from __future__ import annotations

from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Mapping,
    Sequence,
)
from contextlib import (
    AbstractAsyncContextManager,
    aclosing,
    asynccontextmanager,
    nullcontext,
)
from dataclasses import dataclass
from typing import Any, TypeVar

from ...config.provider_settings import HedgeSettings, ManagerSettings
from ..errors import AccessDeniedError, ProviderError
from ..observability.logging import Naming
from ..types import Attempt, GenerationResult, Outcome, Prompt, Request, StreamChunk
from .access_control import AccessControl, Grant
from .attempt import OpenAttempt
from .budget import Budget
from .call_notice import CallNotice
from .candidates import Search
from .course import Course, Tools
from .failover import FailoverLoop
from .hedging import Hedging
from .lifecycle import Lifecycle
from .lineup import Lineup
from .member import Member, Ticket
from .members import Members
from .observation import Observation
from .recovery import Recovery
from .results import ask_for_answer, with_records
from .routing import concerned, own_arguments
from .selection import Strategy, find_strategy
from .startup import PATIENCE
from .streaming import OpenStream, close, open_stream

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Plan:
    """Whom a call asks, and with what.

    Args:
        lineup: Whom to ask, in order.
        arguments: What each of them is called with, by name, once it is known who that is.
        everybody: Whom to account for if nobody can be asked.
        grant: What the access rules leave of the call; None if there are none.
    """

    lineup: Lineup
    arguments: Mapping[str, dict[str, Any]]
    everybody: Sequence[Member]
    grant: Grant | None = None

    def accounted(self) -> AbstractAsyncContextManager[None]:
        """Give back, if the call fails, what was set aside of its caller's budget."""
        return nullcontext() if self.grant is None else self._accounted(self.grant)

    @asynccontextmanager
    async def _accounted(self, grant: Grant) -> AsyncIterator[None]:
        try:
            yield
        except ProviderError as error:
            await grant.settle_failure(error.attempts)
            raise

    async def settle(self, attempts: Sequence[Attempt], tokens: object, usd: object) -> None:
        """Count what the answer has cost for its caller."""
        if self.grant is not None:
            await self.grant.settle(attempts, tokens=tokens, usd=usd)


class Dispatcher:
    """Takes calls to whoever can answer them.

    Args:
        settings: The section ``manager:``.
        members: The providers.
        access: What callers may do.
        life: Starts them on first use.
        tools: What every call works with.
        observation: Watches the calls.
    """

    def __init__(
        self,
        settings: ManagerSettings,
        members: Members,
        access: AccessControl,
        life: Lifecycle,
        tools: Tools,
        *,
        observation: Observation,
    ) -> None:
        self._observation = observation
        self._members = members
        self._access = access
        self._life = life
        self._tools = tools
        self.use(settings)

    def use(self, settings: ManagerSettings) -> None:
        """Work by these settings from now on; calls that run finish by those they began with."""
        self._settings = settings
        hedging = _hedging(settings.hedge, self._tools.clock)
        self._loop = FailoverLoop(self._tools, settings.failover_enabled, hedging)

    async def answer(self, request: Request, strategy: str | None) -> GenerationResult:
        """Get a complete answer; see ``ProviderManager.generate``."""
        async with self._observation.told(request) as call:
            with Naming(request.id, request.caller):
                result = await self._answer(request, strategy, call)
            call.answered(result)
        return result

    async def _answer(
        self, request: Request, strategy: str | None, call: CallNotice
    ) -> GenerationResult:
        plan = await self._allowed_plan(request, strategy)

        async def ask(member: Member, ticket: Ticket) -> GenerationResult:
            return await ask_for_answer(
                member, ticket.lane.provider, request, plan.arguments[member.name]
            )

        course = self._course(request, ask, call, plan)
        async with plan.accounted():
            opened = await self._loop.run(course, plan.lineup, everybody=plan.everybody)
        records = opened.settle(Outcome.OK, usage=opened.value["usage"])
        result = with_records(opened.value, records)
        if request.alias is not None:
            result["alias"] = request.alias.name
        await _count_tokens(opened.member, request, result["tokens_used"])
        await plan.settle(result["attempts"], result["tokens_used"], result["cost_usd"])
        return result

    async def stream(
        self, request: Request, strategy: str | None
    ) -> AsyncGenerator[StreamChunk, None]:
        """Get an answer piece by piece; see ``ProviderManager.stream``."""
        async with (
            self._observation.told(request, streamed=True) as call,
            aclosing(self._stream(request, strategy, call)) as chunks,
        ):
            async for chunk in chunks:
                call.heard(chunk)
                if chunk.finish_reason is not None:
                    call.finished(chunk)
                    # Its consumer may leave with it, and is owed nothing after it.
                    await self._observation.recorded(request)
                yield chunk

    async def _stream(
        self, request: Request, strategy: str | None, call: CallNotice
    ) -> AsyncGenerator[StreamChunk, None]:
        # Names are bound where nothing is given out: the consumer's context is its own.
        with Naming(request.id, request.caller):
            plan = await self._allowed_plan(request, strategy)

        async def open_with(
            lineup: Lineup, prompt: Prompt, attempts: tuple[Attempt, ...]
        ) -> OpenAttempt[OpenStream]:
            async def ask(member: Member, ticket: Ticket) -> OpenStream:
                source = ticket.lane.provider.stream(prompt, **plan.arguments[member.name])
                return await open_stream(member, source)

            course = self._course(request, ask, call, plan, attempts)
            with Naming(request.id, request.caller):
                opened = await self._loop.run(
                    course, lineup, everybody=plan.everybody, discard=_close
                )
            call.has_begun()
            return opened

        async with plan.accounted():
            opened = await open_with(plan.lineup, request.prompt, ())
            recovery = Recovery(
                self._settings.stream_recovery, request, open_with, self._tools.clock
            )
            async with aclosing(recovery.chunks(opened)) as chunks:
                async for chunk in chunks:
                    if chunk.finish_reason is not None:
                        used = _total(chunk.usage)
                        member = self._members.by_name.get(chunk.provider)
                        if member is not None:  # not removed meanwhile
                            await _count_tokens(member, request, used)
                        await plan.settle(chunk.attempts, used, chunk.cost_usd)
                    yield chunk

    async def first(self, request: Request) -> Member | None:
        """Return whom a call would ask first now; None if nobody can be asked."""
        plan = await self._plan(request, None)
        return plan.lineup.first_free()

    async def _allowed_plan(self, request: Request, strategy: str | None) -> Plan:
        """Find out whom to ask, as far as the caller may.

        Raises:
            AccessDeniedError: The caller may not; it has been recorded.
        """
        try:
            grant = self._access.grant(request)
            plan = await self._plan(request, strategy, grant)
            if grant is not None:
                candidates = plan.lineup.everyone()
                await grant.reserve(candidates, plan.arguments)
                self._access.allowed(grant, candidates)
        except AccessDeniedError as error:
            self._access.refused(request, error)
            raise
        return plan

    async def _plan(
        self, request: Request, strategy: str | None, grant: Grant | None = None
    ) -> Plan:
        """Find out whom to ask; providers that are not started yet are, on first use."""
        order = self._order(request, strategy)
        failover = self._settings.failover_enabled
        clock = self._tools.clock
        first_call = await self._life.ensure_started(request.deadline - clock())
        chain = concerned(request, self._members.chain(), failover=failover)
        if grant is not None:
            chain = grant.providers(chain)
        # A first start has waited for one of all providers, who need not be one of these.
        has_waited = first_call and len(chain) == len(self._members.by_name)
        if not has_waited and not any(member.ready for member in chain):
            # Nobody has started well so far: perhaps by now somebody would, such as a
            # local model that was switched on after this service.
            await self._life.start_some(
                [member for member in chain if not member.misconfigured],
                patience=PATIENCE,
                limit=request.deadline - clock(),
            )
        await self._members.hear()
        search = Search(request, chain, order, self._tools.random, failover)
        most = request.max_providers if failover else 1
        if grant is None and most is None:
            lineup, arguments = search.line_up()
        else:
            candidates = search.candidates()
            arguments = own_arguments(request, candidates)
            if grant is not None:
                candidates = grant.models(candidates, arguments)
            # Who is not to be asked is not accounted for either.
            candidates = candidates[:most]
            chain = candidates if most is not None and candidates else chain
            lineup = Lineup(candidates)
        self._members.picked(lineup)
        return Plan(lineup, arguments, chain, grant)

    def _order(self, request: Request, strategy: str | None) -> Strategy:
        """Return the call's own strategy, else its alias's, else the manager's."""
        if strategy is None and request.alias is not None:
            strategy = request.alias.strategy or "priority"
        return find_strategy(strategy or self._settings.strategy)

    def _course(
        self,
        request: Request,
        ask: Callable[[Member, Ticket], Awaitable[T]],
        call: CallNotice,
        plan: Plan,
        attempts: Sequence[Attempt] = (),
    ) -> Course[T]:
        course = Course(
            self._tools,
            request,
            ask,
            tokens=_estimated_tokens(request),
            arguments=plan.arguments,
            attempts=attempts,
            watch=call,
        )
        call.attempts = course.attempts
        return course


def _hedging(settings: HedgeSettings | None, clock: Callable[[], float]) -> Hedging | None:
    if settings is None:
        return None
    after = settings.after if isinstance(settings.after, float) else None
    return Hedging(after, Budget(settings.max_share, 1, clock))


def _estimated_tokens(request: Request) -> int:
    return request.needs.prompt_tokens + (request.needs.answer_tokens or 0)


def _total(usage: object) -> object:
    return usage.get("total_tokens") if isinstance(usage, Mapping) else None


async def _count_tokens(member: Member, request: Request, used: object) -> None:
    # What a provider of somebody else's counts may be anything.
    if member.gate is not None and isinstance(used, int):
        await member.gate.settle(estimated=_estimated_tokens(request), used=used)


async def _close(stream: OpenStream) -> None:
    await close(stream.source)
