"""Who is asked in a call, in which order, and with which arguments. Pure."""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any

from ..errors import InvalidRequestError, NoProviderAvailableError, ProviderError
from ..security.requests import DEFAULT_RULES, RequestRules, inspect_call
from ..types import Alias, Capability, Prompt, Request
from .aliases import (
    NO_ALIASES,
    Doubt,
    members_of,
    model_for,
    no_doubt,
    read_wish,
    with_defaults,
)
from .member import Member
from .members import unknown_provider
from .needs import lacks, needs_of
from .selection import Standing, Strategy, priority
from .status import describe

# Tokens of an answer whose length nobody has bounded, for comparing prices.
_TYPICAL_ANSWER = 500

_LONGEST_CALLER = 200


def make_request(
    prompt: Prompt,
    params: Mapping[str, Any],
    *,
    known: Container[str],
    now: float,
    seconds: object,
    system_prompt: str | None = None,
    provider: str | None = None,
    caller: str | None = None,
    max_providers: int | None = None,
    rules: RequestRules = DEFAULT_RULES,
    aliases: Mapping[str, Alias] = NO_ALIASES,
    doubt: Doubt = no_doubt,
) -> Request:
    """Make the request of a call.

    Args:
        prompt: What is asked.
        params: ``model`` and the chat parameters; a model ``"openai/gpt-4o"`` or ``"openai"``
            asks for the provider of that name, if there is one, and an alias for those that it
            names.
        known: Names of the providers.
        now: The time.
        seconds: How long the call may take.
        system_prompt: What the model is to be.
        provider: Name of the provider asked for.
        caller: Who asks.
        max_providers: How many providers may be asked; None for all.
        rules: What calls may have in them.
        aliases: Names of one's own for models.
        doubt: Says what is wrong with a model that is none of these.

    Raises:
        InvalidRequestError: The deadline is not one, the prompt is not one, or the call
            breaks a rule, such as by routing itself elsewhere.
    """
    allowed = check_seconds("deadline", seconds)
    _check_prompt(prompt)
    _check_caller(caller)
    own = dict(params)
    model = own.pop("model", None)
    if system_prompt is not None:
        own["system_prompt"] = system_prompt
    inspect_call(prompt, own, rules)
    provider, model, alias = read_wish(model, provider, known, aliases, doubt)
    return Request(
        id=uuid.uuid4().hex,
        prompt=prompt,
        deadline=now + allowed,
        params=own,
        model=model,
        provider=provider,
        caller=caller,
        needs=needs_of(prompt, own if alias is None else with_defaults(alias, own)),
        max_providers=_check_most(max_providers),
        alias=alias,
    )


def check_seconds(name: str, seconds: object) -> float:
    """Return a length of time.

    Raises:
        InvalidRequestError: It is none.
    """
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds > 0:
        raise InvalidRequestError(f"{name} must be a number of seconds above 0")
    try:
        return float(seconds)
    except OverflowError:  # more than a float holds is for ever
        return math.inf


def _check_caller(caller: object) -> None:
    named = isinstance(caller, str) and 0 < len(caller) <= _LONGEST_CALLER
    if caller is not None and not named:
        raise InvalidRequestError(
            f"caller must be a text of 1 to {_LONGEST_CALLER} characters, or None"
        )


def _check_most(most: object) -> int | None:
    if most is None or (isinstance(most, int) and not isinstance(most, bool) and most > 0):
        return most
    raise InvalidRequestError("max_providers must be a whole number, 1 or more")


def _check_prompt(prompt: object) -> None:
    """Refuse what no provider can answer, before it counts as anybody's failure."""
    if isinstance(prompt, str):
        return
    if (
        not isinstance(prompt, Sequence)
        or not prompt
        or not all(isinstance(message, Mapping) and "role" in message for message in prompt)
    ):
        raise InvalidRequestError(
            "a prompt is a text or a list of at least one message, such as"
            ' {"role": "user", "content": "hello"}'
        )


def candidates_for(
    request: Request,
    chain: Sequence[Member],
    order: Strategy,
    random: Callable[[], float],
    *,
    failover: bool = True,
) -> list[Member]:
    """Order the providers for a call.

    Args:
        request: The call.
        chain: All members, in fallback order.
        order: The strategy.
        random: Source of numbers in [0, 1), for strategies that draw.
        failover: Whether others stand in; without, nobody goes before one that failed of late.

    Returns:
        The members that are ready and can serve it: the asked-for one first, then those
        configured with the model asked for, then the strategy's order. Those that failed
        of late or are not healthy come last rather than never, so that a wrong probe locks
        nobody out.

    Raises:
        InvalidRequestError: Nobody can do what the call needs.
        NoProviderAvailableError: Those who can are away.
    """
    able = _able(request, chain)
    ranks: dict[int, list[Member]] = {}
    for member in able:
        ranks.setdefault(_rank(member, request, failover), []).append(member)
    return [
        member for rank in sorted(ranks) for member in _ordered(ranks[rank], request, order, random)
    ]


def _ordered(
    members: list[Member], request: Request, order: Strategy, random: Callable[[], float]
) -> list[Member]:
    if len(members) == 1 or order is priority:
        return members
    by_name = {member.name: member for member in members}
    standings = [_standing(member, request) for member in members]
    return [by_name[name] for name in order(standings, random)]


def _standing(member: Member, request: Request) -> Standing:
    price, needs = member.provider.price, request.needs
    if (model := model_for(member, request)) is not None:
        price = member.provider.price_of(model)
    answer = _TYPICAL_ANSWER if needs.answer_tokens is None else needs.answer_tokens
    return Standing(
        name=member.name,
        weight=member.provider.config.weight,
        in_flight=member.bulkhead.in_flight,
        last_picked=member.last_picked,
        latency=member.latencies.average,
        success_rate=member.expected_success,
        price=None if price is None else price.of(needs.prompt_tokens, answer),
    )


def _able(request: Request, chain: Sequence[Member]) -> list[Member]:
    """Return who is ready, and can serve a call."""
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


def _rank(member: Member, request: Request, failover: bool) -> int:
    if request.provider is not None:
        if member.name == request.provider:
            return 0
    elif request.model is not None and member.provider.model == request.model:
        return 0
    if not failover:
        return 1
    if member.shunned:
        return 3
    return 2 if member.doubtful or not member.available() else 1


def concerned(request: Request, chain: Sequence[Member], *, failover: bool) -> list[Member]:
    """Return whom a call may be answered by: everybody, those that its alias names, or one.

    Args:
        request: The call.
        chain: All members, in fallback order.
        failover: Whether others than the asked-for one stand in.

    Raises:
        InvalidRequestError: The asked-for provider does not exist.
        NoProviderAvailableError: The asked-for provider needs its owner first, or none is there.
    """
    if request.alias is not None:
        chain = members_of(request.alias, chain, request.id)
    if request.provider is None:
        return list(chain)
    asked = _asked(request, chain)
    return list(chain) if failover else [asked]


def _asked(request: Request, chain: Sequence[Member]) -> Member:
    names = [member.name for member in chain]
    if request.provider not in names:
        raise unknown_provider(request.provider, names, request_id=request.id)
    asked = chain[names.index(request.provider)]
    if asked.misconfigured:
        reason = describe(asked)["reason"]
        raise NoProviderAvailableError(
            f"provider {asked.name!r} cannot be asked: {reason}",
            provider=asked.name,
            request_id=request.id,
        )
    return asked


def own_arguments(request: Request, candidates: Sequence[Member]) -> Mapping[str, dict[str, Any]]:
    """Return what each candidate is called with.

    A model named by the caller is one of the provider asked for, else of the first,
    and of those configured with it; the others answer with their own.
    """
    arguments: dict[str, dict[str, Any]] = {}
    owner = request.provider or next((member.name for member in candidates), None)
    for member in candidates:
        own = arguments[member.name] = with_defaults(request.alias, request.params)
        if (model := model_for(member, request)) is not None:
            own["model"] = model
        elif request.model is not None and (
            member.name == owner or member.provider.model == request.model
        ):
            own["model"] = request.model
    return arguments
