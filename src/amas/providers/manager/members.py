"""Every provider of a manager, by name and in fallback order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from ...config.provider_settings import ManagerSettings
from ..base import ProviderBase, ProviderConfig
from ..errors import InvalidRequestError, ProviderConfigError, suggestion
from .counters import Counters, Counting
from .hearing import adopt, shared_keys
from .lineup import Lineup
from .member import Member, require_provider
from .notices import Notices
from .rate_gate import RateGate
from .rules import rules_for
from .state_store import StateStore

if TYPE_CHECKING:
    from .rate_limits import RateLimits
    from .redis_store import RedisStore

_MEMORY = "memory"


class Members:
    """The providers that a manager takes care of, and what they share.

    Args:
        settings: The section ``manager:``.
        clock: The time in seconds; only differences matter.
        random: Source of numbers in [0, 1), for jitter.
        notices: Tells of what changes; nobody if None.

    Raises:
        ProviderConfigError: ``state:`` needs a package that is missing.
    """

    def __init__(
        self,
        settings: ManagerSettings,
        clock: Callable[[], float],
        random: Callable[[], float],
        notices: Notices | None = None,
    ) -> None:
        self._notices = notices or Notices()
        self._by_name: dict[str, Member] = {}
        self.by_name: Mapping[str, Member] = MappingProxyType(self._by_name)
        self.order: list[str] = []
        self._chained: list[str] = []
        self._chain: tuple[Member, ...] | None = None
        self.settings = settings
        self._clock = clock
        self._random = random
        store = self._open_store()
        self._store: StateStore | None = store
        self.counters: Counting = store or Counters(clock)
        self._limits: RateLimits | None = None
        self._calls = 0

    def _open_store(self) -> RedisStore | None:
        if self.settings.state == _MEMORY:
            return None
        from .redis_store import RedisStore  # noqa: PLC0415 -- an extra: needed only here

        return RedisStore(self.settings.state, prefix=self.settings.state_prefix, clock=self._clock)

    def add(self, provider: ProviderBase) -> Member:
        """Take a provider in, at the end of the order.

        Raises:
            ProviderConfigError: It is no provider, its name is taken, or its limits need
                a package that is missing.
        """
        require_provider(provider)
        if provider.name in self.by_name:
            raise ProviderConfigError(
                "a provider of this name is registered already; give it another name",
                field="name",
                provider=provider.name,
            )
        member = self.prepare(provider)
        self.put(member)
        self.order.append(provider.name)
        return member

    def prepare(self, provider: ProviderBase, settings: ManagerSettings | None = None) -> Member:
        """Return a member that is not taken in yet.

        Args:
            provider: Its provider.
            settings: The section ``manager:`` that its rules are made of; the one in use if None.

        Raises:
            ProviderConfigError: Its limits need a package that is missing.
        """
        return Member(
            provider,
            rules_for(settings or self.settings, provider.config),
            self._clock,
            self._random,
            store=self._store,
            gate=self._gate(provider.config),
            notices=self._notices,
        )

    def put(self, member: Member) -> None:
        """Take a member in, in the place of the one of its name if there is one."""
        self._by_name[member.name] = member
        self._chain = None

    def remove(self, name: str) -> Member:
        """Take a member out, and return it."""
        self.order = [item for item in self.order if item != name]
        self._chain = None
        return self._by_name.pop(name)

    def _gate(self, config: ProviderConfig) -> RateGate | None:
        if config.rpm is None and config.tpm is None:
            return None
        if self._limits is None:
            from .rate_limits import RateLimits  # noqa: PLC0415 -- an extra: needed only here

            shared = self.settings.state != _MEMORY
            self._limits = RateLimits(
                url=self.settings.state if shared else None, prefix=self.settings.state_prefix
            )
        return RateGate(self._limits, config.name, config.rpm, config.tpm, self._clock)

    def chain(self) -> tuple[Member, ...]:
        """Return the members in fallback order; who is not named in it comes last."""
        # The order belongs to the host, who may change the list itself.
        if self._chain is None or self._chained != self.order:
            self._chained = list(self.order)
            names = dict.fromkeys((*self._chained, *self.by_name))
            self._chain = tuple(self.by_name[name] for name in names if name in self.by_name)
        return self._chain

    def named(self, name: str) -> Member:
        """Return one by its name.

        Raises:
            InvalidRequestError: There is none of this name.
        """
        member = self.by_name.get(name)
        if member is None:
            raise unknown_provider(name, list(self.by_name))
        return member

    def picked(self, lineup: Lineup) -> None:
        """Note who is the first to be asked in a call, for strategies that take turns."""
        self._calls += 1
        first = lineup.first_free()
        if first is not None:
            first.last_picked = self._calls

    async def hear(self) -> str | None:
        """Take over what other processes have told, if there are any.

        Returns:
            Why they could not be heard; None if they were.
        """
        if self._store is None:
            return None
        asked_at = self._clock()
        members = list(self.by_name.values())
        told = await self._store.pull([key for member in members for key in shared_keys(member)])
        for member in members:
            adopt(member, told, asked_at)
        return self._store.away

    async def close(self) -> None:
        """Give back the connections of what is shared; a later call begins anew."""
        if self._store is not None:
            await self._store.close()
        if self._limits is not None:
            await self._limits.close()


def unknown_provider(
    name: object, names: Sequence[str], *, request_id: str | None = None
) -> InvalidRequestError:
    """Make the error of a name that no provider has, with those that there are."""
    return InvalidRequestError(
        f"unknown provider {name!r}{suggestion(name, names)};"
        f" there are {', '.join(names) or 'none'}",
        request_id=request_id,
    )
