"""Who can serve a call, and in which order they are asked. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from typing_extensions import override

from ..errors import InvalidRequestError, NoProviderAvailableError, ProviderError
from ..types import Capability, Request
from .aliases import model_for
from .lineup import Lineup, Others
from .member import Member
from .needs import lacks
from .routing import own_arguments
from .selection import Standing, Strategy, priority
from .status import describe

# Tokens of an answer whose length nobody has bounded, for comparing prices.
_TYPICAL_ANSWER = 500

_WANTED, _FINE, _DOUBTFUL, _SHUNNED = range(4)


@dataclass(frozen=True, slots=True)
class Search:
    """A look for those who can serve a call.

    Args:
        request: The call.
        chain: All members that it may go to, in fallback order.
        order: The strategy.
        random: Source of numbers in [0, 1), for strategies that draw.
        failover: Whether others stand in; without, nobody goes before one that failed of late.
    """

    request: Request
    chain: Sequence[Member]
    order: Strategy
    random: Callable[[], float]
    failover: bool = True

    def candidates(self) -> list[Member]:
        """Return the members that are ready and can serve it.

        The asked-for one comes first, then those configured with the model asked for, then the
        strategy's order. Those that failed of late or are not healthy come last rather than
        never, so that a wrong probe locks nobody out.

        Raises:
            InvalidRequestError: Nobody can do what the call needs.
            NoProviderAvailableError: Those who can are away.
        """
        able = [member for member in self.chain if self._serves(member)]
        return self.ordered(able or _nearest(self.request, self.chain))

    def line_up(self) -> tuple[Lineup, dict[str, dict[str, Any]]]:
        """Return the same, the others than the first left open where that can be.

        Returns:
            The members, and what each of them is called with, by name, once it is known.

        Raises:
            InvalidRequestError: Nobody can do what the call needs.
            NoProviderAvailableError: Those who can are away.
        """
        first = self._first_free()
        if first is None:
            candidates = self.candidates()
            return Lineup(candidates), own_arguments(self.request, candidates)
        arguments = own_arguments(self.request, [first])
        return Lineup([first], _Rest(self, first, arguments)), arguments

    def _first_free(self) -> Member | None:
        """Return who is asked first, where that can be told without looking at all of them."""
        request = self.request
        if request.alias is not None or not self.failover:
            return None
        if self.order is not priority and request.provider is None:
            return None
        named = request.provider is not None or request.model is not None
        comes_first = self._is_wanted if named else _is_fine
        return next(
            (
                member
                for member in self.chain
                if comes_first(member) and self._serves(member) and member.available()
            ),
            None,
        )

    def others(self, first: Member) -> Iterator[Member]:
        """Yield who else can serve it, in fallback order."""
        return (item for item in self.chain if item is not first and self._serves(item))

    def _serves(self, member: Member) -> bool:
        """Tell whether one is ready, lacks nothing, and takes in the prompt."""
        request = self.request
        return (
            member.ready
            and not _lacking(member, request)
            and _window(member, request) >= request.needs.prompt_tokens
        )

    def ordered(self, members: Sequence[Member]) -> list[Member]:
        """Return some who can serve it in the order in which they are asked."""
        ranks: dict[int, list[Member]] = {}
        for member in members:
            ranks.setdefault(self._rank(member), []).append(member)
        return [member for rank in sorted(ranks) for member in self._by_strategy(ranks[rank])]

    def _by_strategy(self, members: list[Member]) -> list[Member]:
        if len(members) == 1 or self.order is priority:
            return members
        by_name = {member.name: member for member in members}
        standings = [_standing(member, self.request) for member in members]
        return [by_name[name] for name in self.order(standings, self.random)]

    def _rank(self, member: Member) -> int:
        if self._is_wanted(member):
            return _WANTED
        if not self.failover or _is_fine(member):
            return _FINE
        return _SHUNNED if member.shunned else _DOUBTFUL

    def _is_wanted(self, member: Member) -> bool:
        """Tell whether it is the one asked for by name, or configured with the model asked for."""
        request = self.request
        if request.provider is not None:
            return member.name == request.provider
        return request.model is not None and member.provider.model == request.model


@dataclass(frozen=True, slots=True)
class _Rest(Others):
    """Who can stand in for the first, worked out when it is needed.

    Args:
        search: The look for them.
        first: Who is asked first.
        arguments: What each is called with; theirs are put in.
    """

    search: Search
    first: Member
    arguments: dict[str, dict[str, Any]]

    @override
    def is_any_free(self) -> bool:
        return any(member.available() for member in self.search.others(self.first))

    @override
    def work_out(self) -> list[Member]:
        found = self.search.ordered(list(self.search.others(self.first)))
        self.arguments.update(own_arguments(self.search.request, [self.first, *found]))
        return found


def _is_fine(member: Member) -> bool:
    """Tell whether nothing of late speaks against asking it."""
    return member.available() and not (member.doubtful or member.shunned)


def _standing(member: Member, request: Request) -> Standing:
    provider, needs = member.provider, request.needs
    model = model_for(member, request)
    price = provider.price if model is None else provider.price_of(model)
    answer = _TYPICAL_ANSWER if needs.answer_tokens is None else needs.answer_tokens
    return Standing(
        name=member.name,
        weight=provider.config.weight,
        in_flight=member.bulkhead.in_flight,
        last_picked=member.last_picked,
        latency=member.latencies.average,
        success_rate=member.expected_success,
        price=None if price is None else price.of(needs.prompt_tokens, answer),
    )


def _nearest(request: Request, chain: Sequence[Member]) -> list[Member]:
    """Return who comes nearest to what nobody surely can."""
    ready = [member for member in chain if member.ready]
    able = [member for member in ready if not _lacking(member, request)]
    if not able:
        able = [member for member in ready if not member.provider.capabilities_complete]
    if ready and not able:
        raise _nobody_able(request, ready, chain)
    return fitting(able, request)


def _lacking(member: Member, request: Request) -> frozenset[Capability]:
    """Return what it lacks for a call; who was asked for by name decides that itself.

    So does who is asked for another model than its own, of which nobody has said what it can.
    """
    if not request.needs.capabilities:
        return frozenset()
    asked_for = member.name == request.provider or model_for(member, request) is not None
    return frozenset() if asked_for else lacks(member.provider, request.needs)


def _nobody_able(
    request: Request, ready: Sequence[Member], chain: Sequence[Member]
) -> ProviderError:
    reasons = ", ".join(
        f"{member.name} lacks {' and '.join(sorted(_lacking(member, request)))}" for member in ready
    )
    away = [
        f"{member.name} is away ({describe(member)['reason']})"
        for member in chain
        if not (member.ready or member.misconfigured or _lacking(member, request))
    ]
    by_name = "" if request.alias is None else f" for {request.alias}"
    if not away:
        return InvalidRequestError(
            f"no provider can serve this request{by_name}: {reasons}", request_id=request.id
        )
    return NoProviderAvailableError(
        f"nobody who can serve this request{by_name} can be asked: {', '.join(away)}; {reasons}",
        request_id=request.id,
    )


def fitting(members: list[Member], request: Request) -> list[Member]:
    """Return those whose context window fits the prompt, else those with the largest.

    The length is an estimate, so whoever comes nearest may still answer.
    """
    windows = {member.name: _window(member, request) for member in members}
    fits = [item for item in members if windows[item.name] >= request.needs.prompt_tokens]
    largest = max(windows.values(), default=0)
    return fits or [item for item in members if windows[item.name] == largest]


def _window(member: Member, request: Request) -> float:
    window = member.provider.window_of(model_for(member, request))
    return math.inf if window is None or member.name == request.provider else window
