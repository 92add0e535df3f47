"""Who is asked in a call, in which order, and with which arguments. Pure."""

from __future__ import annotations

import math
from collections.abc import Container, Mapping, Sequence
from secrets import token_hex
from typing import Any

from ..errors import InvalidRequestError, NoProviderAvailableError
from ..security.requests import DEFAULT_RULES, RequestRules, inspect_call
from ..types import Alias, Prompt, Request
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
from .needs import needs_of
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
        id=token_hex(16),
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


def concerned(request: Request, chain: Sequence[Member], *, failover: bool) -> Sequence[Member]:
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
        return chain
    asked = _asked(request, chain)
    return chain if failover else [asked]


def _asked(request: Request, chain: Sequence[Member]) -> Member:
    asked = next((member for member in chain if member.name == request.provider), None)
    if asked is None:
        names = [member.name for member in chain]
        raise unknown_provider(request.provider, names, request_id=request.id)
    if asked.misconfigured:
        reason = describe(asked)["reason"]
        raise NoProviderAvailableError(
            f"provider {asked.name!r} cannot be asked: {reason}",
            provider=asked.name,
            request_id=request.id,
        )
    return asked


def own_arguments(request: Request, candidates: Sequence[Member]) -> dict[str, dict[str, Any]]:
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
