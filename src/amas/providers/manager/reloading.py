"""A configuration read again while calls run: new keys, new providers, changed and removed ones."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest

from ...config.provider_settings import ManagerSettings
from ..base import ProviderBase, ProviderConfig
from ..errors import ProviderConfigError
from .lifecycle import Lifecycle
from .member import Member
from .members import Members
from .retirement import Retirement, see_off
from .rotation import Rotation
from .rules import rules_for


@dataclass(slots=True)
class Changes:
    """What a reload has changed, by names of providers.

    Args:
        added: They take part from now on.
        removed: They take no new calls.
        changed: They are set up anew, as their configuration or a rule for them is another one.
        rekeyed: They use another key.
        problems: What was not taken over, and why.
        pending: Sections or fields that have changed and hold from the next start on.
        differences: Each field of the configuration that has changed, from what to what; of a
            credential only that it has.
    """

    added: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    rekeyed: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    pending: list[str] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)


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

    async def apply(
        self,
        providers: Sequence[ProviderBase],
        made: set[str],
        settings: ManagerSettings,
        hold: Callable[[Changes, frozenset[str]], None],
    ) -> Changes:
        """Take a configuration's providers over; running calls finish where they are.

        New ones are started first, while the old ones serve. Then all is exchanged at once: no
        call sees one half of the old configuration and one of the new.

        Args:
            providers: What it says, in fallback order; not started.
            made: Names of those that it made before, of which what it has no more is removed;
                brought up to date.
            settings: The section ``manager:`` that holds from then on.
            hold: Called when all else is to hold, with the changes and with the names of those
                that stay as they are though the configuration says otherwise.

        Raises:
            ProviderConfigError: A provider needs a package that is missing, or the like; or none
                would be left.
            NoProviderAvailableError: The manager was shut down meanwhile. In both cases nothing
                has changed but keys.
        """
        self._require_one(providers, made)
        self._rotation.untaken.clear()
        changes = Changes()
        prepared: list[Member] = []
        taken = False
        try:
            for provider in providers:
                prepared += await self._prepare(provider, made, settings, changes)
            await self._life.start_ahead(prepared)
            with self._life.work():  # refuses if it was shut down: nobody would close these
                taken = True
                self._exchange(prepared, providers, made, changes)
                hold(changes, self._kept(providers, changes))
        finally:
            if not taken:
                lanes = [lane for member in prepared for lane in member.lanes]
                await asyncio.gather(*map(see_off, lanes))
        return changes

    def _require_one(self, providers: Sequence[ProviderBase], made: set[str]) -> None:
        members = self._members.by_name
        enabled = {name for name, member in members.items() if member.config.enabled}
        # Who is still named is switched off on purpose, or stays since its key is lost.
        named = {item.name for item in providers}
        left = any(item.config.enabled for item in providers) or not enabled <= made
        if enabled and not left and enabled.isdisjoint(named):
            raise ProviderConfigError(
                "no provider would be left enabled, so nothing has changed; name one under"
                " providers.llm; to stop serving, shut the manager down"
            )

    def _kept(self, providers: Sequence[ProviderBase], changes: Changes) -> frozenset[str]:
        members = self._members.by_name
        others = {item.name for item in providers if members[item.name].config != item.config}
        return frozenset(others - set(changes.rekeyed))

    async def rekey(self, providers: Sequence[ProviderBase]) -> list[str]:
        """Try those keys again that were not taken, and say nothing if they still are not.

        Args:
            providers: What the configuration says; not started.

        Returns:
            Names of those that use other keys now.
        """
        rekeyed = []
        for provider in providers:
            member = self._members.by_name.get(provider.name)
            if member is None or provider.name not in self._rotation.untaken:
                continue
            if _without_keys(member.config) != _without_keys(provider.config):
                continue  # a variable has changed, too: that is for a reload
            if await self._rotation.adopt(member, provider, cause="reload", again=True):
                rekeyed.append(provider.name)
        return rekeyed

    @property
    def untaken(self) -> list[str]:
        """Why keys were not taken, a line for each."""
        return [line for lines in self._rotation.untaken.values() for line in lines]

    @property
    def untaken_of(self) -> list[str]:
        """Names of the providers whose keys were not taken."""
        return list(self._rotation.untaken)

    async def _prepare(
        self,
        provider: ProviderBase,
        made: set[str],
        settings: ManagerSettings,
        changes: Changes,
    ) -> list[Member]:
        """Return the member to be started for a provider, if it takes one."""
        name = provider.name
        member = self._members.by_name.get(name)
        if member is None:
            changes.added.append(name)
        elif name not in made:
            changes.problems.append(
                f"{name} was registered by the service itself, and stays as it is"
            )
            return []
        elif provider.config.disabled_reason and member.config.enabled:
            # Nobody wished for that: a key that is not to be had, for one.
            reason = provider.config.disabled_reason
            changes.problems.append(f"{name} stays as it is: {reason}")
            return []
        elif member.rules != rules_for(settings, provider.config):
            changes.changed.append(name)
        elif member.config == provider.config:
            return []
        elif _without_keys(member.config) == _without_keys(provider.config):
            if await self._rotation.adopt(member, provider, cause="reload"):
                changes.rekeyed.append(name)
            changes.problems += self._rotation.untaken.get(name, ())
            return []
        else:
            changes.changed.append(name)
        prepared = self._members.prepare(provider, settings)
        before = member.lanes if member is not None else ()
        for old, new in zip_longest(before, prepared.lanes):
            if new is not None:
                # That it is as well as the one before, or as one should be, is no news.
                new.presumed = True if old is None or old.well is None else old.well
        return [prepared]

    def _exchange(
        self,
        prepared: Sequence[Member],
        providers: Sequence[ProviderBase],
        made: set[str],
        changes: Changes,
    ) -> None:
        names = [provider.name for provider in providers]
        changes.removed += sorted(made - set(names))
        over = self._life.turn()
        gone = [self._members.by_name.get(member.name) for member in prepared]
        gone += [self._members.remove(name) for name in changes.removed]
        for member in prepared:
            self._members.put(member)
        others = [name for name in self._members.order if name not in names]
        self._members.order = [*names, *others]
        for old in gone:
            if old is not None:
                self._retire(old, over)
        made.clear()
        made.update(names)

    def _retire(self, member: Member, over: asyncio.Event) -> None:
        """See a member off, once no call is left that may turn to it."""
        member.retire()
        grace = max(member.longest_call, self._members.settings.deadline)
        for lane in member.lanes:
            self._retirement.retire(lane, grace, over)


def _without_keys(config: ProviderConfig) -> ProviderConfig:
    return replace(config, api_key=None, api_keys=())
