"""Names of one's own for models: whom a call by such a name asks, and with what. Pure."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeAlias

from ...config.models_schema import ModelAlias, chain_problems, split_entry
from ..base.model_names import model_problem
from ..errors import InvalidRequestError, NoProviderAvailableError, ProviderConfigError
from ..security.access import LENGTHS
from ..types import Alias, Request
from .member import Member

NO_ALIASES: Final[Mapping[str, Alias]] = MappingProxyType({})


def chains_of(aliases: Mapping[str, Alias]) -> dict[str, list[str]]:
    """Return whom each alias asks, as ``provider/model``, or ``provider`` for its own model."""
    return {
        name: [
            provider if model is None else f"{provider}/{model}"
            for provider, model in alias.models.items()
        ]
        for name, alias in aliases.items()
    }


class Wish(NamedTuple):
    """What a call asks for by name."""

    provider: str | None
    model: Any
    alias: Alias | None


def make_aliases(models: Mapping[str, ModelAlias]) -> dict[str, Alias]:
    """Bring the section ``models:`` into the form that calls use.

    Args:
        models: The aliases, by name.

    Raises:
        ProviderConfigError: An entry of a chain is none, or its provider is named twice.
    """
    return {name: _make(name, alias) for name, alias in models.items()}


def _make(name: str, alias: ModelAlias) -> Alias:
    for index, text in chain_problems(alias.chain):
        raise ProviderConfigError(text, field=f"models.{name}.chain[{index}]")
    return Alias(name, dict(map(split_entry, alias.chain)), alias.params, alias.strategy)


Doubt: TypeAlias = Callable[[str, str | None], str | None]
"""Says what is wrong with a model that is no alias, and the provider asked for."""


def no_doubt(_model: str, _provider: str | None) -> str | None:
    """Find nothing wrong."""
    return None


def read_wish(
    model: Any,
    provider: str | None,
    known: Container[str],
    aliases: Mapping[str, Alias],
    doubt: Doubt = no_doubt,
) -> Wish:
    """Find out what a call's ``model`` and ``provider`` mean together.

    Args:
        model: An alias, a model, ``provider/model``, or a provider alone for its own model.
        provider: Name of the provider asked for; ``model`` then names none.
        known: Names of the providers.
        aliases: The aliases, by name.
        doubt: Says what is wrong with any other name of a model.

    Raises:
        InvalidRequestError: It is no name of a model, or the provider is not one of the alias.
    """
    if not isinstance(model, str):
        return Wish(provider, model, None)
    alias = aliases.get(model)
    if alias is not None:
        if provider is not None and provider not in alias.models:
            raise InvalidRequestError(
                f"provider {provider!r} is not one of {alias}; leave provider out, name one of"
                " these, or name a model of its own"
            )
        return Wish(provider, None, alias)
    if problem := model_problem(model):
        raise InvalidRequestError(problem)
    if provider is None:
        named, own = split_entry(model)
        if named in known and own != "":
            return Wish(named, own, None)
    if problem := doubt(model, provider):
        raise InvalidRequestError(problem)
    return Wish(provider, model, None)


def with_defaults(alias: Alias | None, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a call, and those that its alias adds where it gives none."""
    if alias is None or not alias.params:
        return dict(params)
    given = {name: value for name, value in params.items() if value is not None}
    # Of two bounds of the answer's length the caller's is meant, whichever name it has.
    dropped = LENGTHS if any(name in given for name in LENGTHS) else ()
    defaults = {name: value for name, value in alias.params.items() if name not in dropped}
    return {**defaults, **given}


def model_for(member: Member, request: Request) -> str | None:
    """Return the model that an alias has a provider asked for; None if that is its own."""
    if request.alias is None:
        return None
    model = request.alias.models.get(member.name)
    return None if model == member.provider.model else model


def members_of(alias: Alias, chain: Sequence[Member], request_id: str) -> list[Member]:
    """Return the members that an alias asks, in its order.

    Args:
        alias: The alias.
        chain: All members.
        request_id: Our id of the call, for the error.

    Raises:
        NoProviderAvailableError: None of them is there.
    """
    members = {member.name: member for member in chain}
    found = [members[name] for name in alias.models if name in members]
    if not found:
        raise NoProviderAvailableError(
            f"no provider can be asked for {alias}: none of them is registered",
            request_id=request_id,
        )
    return found
