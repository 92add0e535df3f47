"""A configuration read again while calls run: new keys, new providers, changed and removed ones."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ...config.provider_settings import ProvidersSettings
from ..base import ProviderBase, ProviderConfig
from .discovery import Source, read_configuration
from .lifecycle import Lifecycle
from .member import Member
from .members import Members
from .retirement import Retirement
from .rotation import Rotation


@dataclass(slots=True)
class Changes:
    """What a reload has changed, by names of providers.

    Args:
        added: They take part from now on.
        removed: They take no new calls.
        changed: Their configuration is another one.
        rekeyed: They use another key.
        problems: What was not taken over, and why.
        pending: Sections that have changed and hold from the next start on.
    """

    added: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    rekeyed: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    pending: list[str] = field(default_factory=list)


class Reloading:
    """Brings the members in line with a configuration.

    Args:
        members: The members in use.
        life: Starts new ones.
        retirement: Sees off what was replaced or removed.
        rotation: Exchanges keys.
    """

    def __init__(
        self, members: Members, life: Lifecycle, retirement: Retirement, rotation: Rotation
    ) -> None:
        self._members = members
        self._life = life
        self._retirement = retirement
        self._rotation = rotation

    async def read(self, source: Source) -> tuple[ProvidersSettings, list[ProviderBase]]:
        """Read a configuration; see ``read_configuration``."""
        return await asyncio.to_thread(read_configuration, source)

    async def apply(self, providers: Sequence[ProviderBase], made: set[str]) -> Changes:
        """Take a configuration's providers over; running calls finish where they are.

        Args:
            providers: What it says, in fallback order; not started.
            made: Names of those that it made before; what is not among them stays.
        """
        changes = Changes()
        names = [provider.name for provider in providers]
        for provider in providers:
            member = self._members.by_name.get(provider.name)
            if member is None or provider.name not in made:
                await self._add(provider, changes)
            elif member.config == provider.config:
                continue
            elif provider.config.disabled_reason and member.config.enabled:
                # Nobody wished for that: a key that is not to be had, for one.
                reason = provider.config.disabled_reason
                changes.problems.append(f"{provider.name} stays as it is: {reason}")
            elif _without_keys(member.config) == _without_keys(provider.config):
                changes.problems += await self._rotation.adopt(member, provider, cause="reload")
                changes.rekeyed.append(provider.name)
            else:
                await self._replace(member, provider)
                changes.changed.append(provider.name)
        for name in sorted(made - set(names)):
            self._retire(self._members.remove(name))
            changes.removed.append(name)
        others = [name for name in self._members.order if name not in names]
        self._members.order = [*names, *others]
        return changes

    async def _add(self, provider: ProviderBase, changes: Changes) -> None:
        if provider.name in self._members.by_name:
            changes.problems.append(
                f"{provider.name} was registered by the service itself, and stays as it is"
            )
            return
        await self._life.start_some([self._members.add(provider)])
        changes.added.append(provider.name)

    async def _replace(self, old: Member, provider: ProviderBase) -> None:
        """Put a provider in the place of one of its name, once it is started."""
        new = self._members.prepare(provider)
        await self._life.start_some([new])
        self._members.exchange(new)
        self._retire(old)

    def _retire(self, member: Member) -> None:
        for lane in member.lanes:
            self._retirement.retire(lane, member.longest_call)


def _without_keys(config: ProviderConfig) -> ProviderConfig:
    return replace(config, api_key=None, api_keys=())
