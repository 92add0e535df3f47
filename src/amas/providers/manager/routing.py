"""Who is asked in a call, in which order, and with which arguments. Pure."""

from __future__ import annotations

import uuid
from collections.abc import Container, Mapping, Sequence
from typing import Any

from ..errors import InvalidRequestError, NoProviderAvailableError, suggestion
from ..types import Prompt, Request
from .member import Member
from .selection import Strategy

# What would send a request elsewhere or as somebody else, whoever the provider is.
_ROUTING = frozenset(
    {
        "api_base",
        "api_key",
        "api_version",
        "base_url",
        "client",
        "custom_llm_provider",
        "extra_body",
        "extra_headers",
        "extra_query",
        "fallbacks",
        "headers",
        "mock_response",
        "model_list",
        "organization",
    }
)


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
) -> Request:
    """Make the request of a call.

    Args:
        prompt: What is asked.
        params: ``model`` and the chat parameters; a model ``"openai/gpt-4o"`` asks for the
            provider of that name, if there is one.
        known: Names of the providers.
        now: The time.
        seconds: How long the call may take.
        system_prompt: What the model is to be.
        provider: Name of the provider asked for.
        caller: Who asks.

    Raises:
        InvalidRequestError: The deadline is not one, the prompt is not one, or a
            parameter would route the request elsewhere.
    """
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds > 0:
        raise InvalidRequestError("deadline must be a number of seconds above 0")
    _check_prompt(prompt)
    routing = sorted(_ROUTING & params.keys())
    if routing:
        raise InvalidRequestError(
            f"a caller may not set {', '.join(routing)}: where a request goes, and with which"
            " key, is for the configuration to say"
        )
    own = dict(params)
    model = own.pop("model", None)
    if system_prompt is not None:
        own["system_prompt"] = system_prompt
    if provider is None and isinstance(model, str):
        named, _, rest = model.partition("/")
        if rest and named in known:
            provider, model = named, rest
    return Request(
        id=uuid.uuid4().hex,
        prompt=prompt,
        deadline=now + seconds,
        params=own,
        model=model,
        provider=provider,
        caller=caller,
    )


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
    request: Request, chain: Sequence[Member], order: Strategy, *, call: int
) -> list[Member]:
    """Order the providers for a call.

    Args:
        request: The call.
        chain: All members, in fallback order.
        order: The strategy.
        call: Number of the call, for strategies that take turns.

    Returns:
        The members that are ready: the asked-for one first, then those configured
        with the model asked for, then the strategy's order. Unhealthy ones come
        last rather than never, so that a wrong probe locks nobody out.
    """
    ready = {member.name: member for member in chain if member.ready}
    ordered = [ready[name] for name in order(list(ready), call)]
    return sorted(ordered, key=lambda member: _rank(member, request))


def _rank(member: Member, request: Request) -> int:
    if request.provider is not None:
        if member.name == request.provider:
            return 0
    elif request.model is not None and member.provider.model == request.model:
        return 0
    return 1 if member.provider.healthy else 2


def concerned(request: Request, chain: Sequence[Member], *, failover: bool) -> list[Member]:
    """Return whom a call may be answered by: everybody, or without failover the asked-for one.

    Raises:
        InvalidRequestError: The asked-for provider does not exist.
        NoProviderAvailableError: The asked-for provider needs its owner first.
    """
    if request.provider is None:
        return list(chain)
    asked = _asked(request, chain)
    return list(chain) if failover else [asked]


def _asked(request: Request, chain: Sequence[Member]) -> Member:
    names = [member.name for member in chain]
    if request.provider not in names:
        hint = suggestion(request.provider, names)
        raise InvalidRequestError(
            f"unknown provider {request.provider!r}{hint}; there are {', '.join(names) or 'none'}",
            request_id=request.id,
        )
    asked = chain[names.index(request.provider)]
    if asked.misconfigured:
        reason = asked.status()["reason"]
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
        arguments[member.name] = dict(request.params)
        if request.model is not None and (
            member.name == owner or member.provider.model == request.model
        ):
            arguments[member.name]["model"] = request.model
    return arguments
