"""Names of models that were meant for aliases and are none: else they would ask anybody."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from ..errors import nearest
from ..types import Alias
from .member import Member

# What one wrong, missing or additional letter, or two in each other's place, makes of "fast".
_NEAR: Final = 0.75
_MOST_REMEMBERED: Final = 1000


class MissedAliases:
    """Finds out whether the name of a model was probably meant for an alias.

    An alias asks nobody outside its chain, so a name that misses it is not to be taken for a
    model of whoever comes first.

    Args:
        members: The providers by name, whose models are never in doubt.
    """

    def __init__(self, members: Mapping[str, Member]) -> None:
        self._members = members
        self._aliases: Mapping[str, Alias] = {}
        self._former: frozenset[str] = frozenset()
        self._meant: dict[str, str | None] = {}

    def hold(self, aliases: Mapping[str, Alias]) -> None:
        """Take over the aliases that hold from now on."""
        self._former = (self._former | self._aliases.keys()) - aliases.keys()
        self._aliases = aliases
        self._meant = {}

    def problem(self, model: str, provider: str | None) -> str | None:
        """Say what is wrong with the name of a model that is no alias.

        Args:
            model: The name.
            provider: Name of the provider asked for; one that is named may well have a model
                of a name that is only near.

        Returns:
            What is wrong and what to do; None if nothing is.
        """
        if "/" in model or not (self._aliases or self._former):
            return None
        meant = self._nearest(model)
        former = model in self._former
        if not former and (
            meant is None or (provider is not None and meant.casefold() != model.casefold())
        ):
            return None
        if model in self._models():
            return None
        text = (
            f"{model!r} is no alias any more"
            if former
            else f"there is no alias or configured model {model!r}"
        )
        hint = f"; did you mean {meant!r}?" if meant else "; take another one."
        return f"{text}{hint} A model of that very name is asked for as PROVIDER/{model}"

    def _nearest(self, model: str) -> str | None:
        """Return the alias that a name is nearest to, if it is near; remembered, as it is slow."""
        if model not in self._meant:
            if len(self._meant) >= _MOST_REMEMBERED:
                self._meant.clear()
            self._meant[model] = nearest(model, self._aliases, _NEAR)
        return self._meant[model]

    def _models(self) -> set[str]:
        """Return the models that the providers and the chains name, also without a prefix."""
        names = [name for name in self._named() if name]
        return {*names, *(name.partition("/")[2] for name in names)}

    def _named(self) -> Iterator[str | None]:
        for member in self._members.values():
            config = member.config
            yield from (member.provider.model, config.model, config.embedding_model)
        for alias in self._aliases.values():
            yield from alias.models.values()
