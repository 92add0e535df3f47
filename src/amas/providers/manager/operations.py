"""What is done to a manager rather than with it: start and stop, add, watch, re-key, reload."""

from __future__ import annotations

import asyncio
import os
import random as chance
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Self

from ...config.provider_settings import (
    ManagerSettings,
    ModelAlias,
    ObservabilitySettings,
    ProvidersSettings,
    SecuritySettings,
)
from ..base import ProviderBase
from ..observability.bus import Observer
from ..observability.logging import get_logger
from ..secret import hide
from ..types import ProviderStatus
from .access_control import AccessControl, access_rules, at_once, request_rules
from .aliases import make_aliases
from .configured import Configured, read
from .course import Tools
from .discovery import build_plugins
from .dispatch import Dispatcher
from .file_watch import FileWatch
from .health_monitor import HealthMonitor
from .lifecycle import Lifecycle
from .members import Members
from .missed_aliases import MissedAliases
from .observation import Observation
from .reloading import Changes, Reloading
from .retirement import Retirement
from .rotation import Rotation
from .routing import check_seconds
from .status import describe

if TYPE_CHECKING:
    from ..observability.alerts import Alert

_log = get_logger("amas.providers.manager")


class Operations:
    """The operator's side of ``ProviderManager``, which describes its arguments."""

    def __init__(
        self,
        settings: ManagerSettings | None = None,
        *,
        security: SecuritySettings | None = None,
        observability: ObservabilitySettings | None = None,
        models: Mapping[str, ModelAlias] | None = None,
        providers: Iterable[ProviderBase] = (),
        observers: Iterable[Observer] = (),
        on_alert: Callable[[Alert], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        random: Callable[[], float] = chance.random,
    ) -> None:
        self.settings = settings or ManagerSettings()
        self.warnings: tuple[str, ...] = ()
        self._clock = clock
        security = security or SecuritySettings()
        self._observation = Observation(
            observability or ObservabilitySettings(),
            security.master_key,
            observers=observers,
            on_alert=on_alert,
            status=self.status,
            clock=clock,
            wall=wall,
        )
        notices = self._observation.notices
        self._members = Members(self.settings, clock, random, notices)
        self._monitor = HealthMonitor(
            lambda: list(self._members.by_name.values()),
            interval=self.settings.health_check_interval,
            clock=clock,
            random=random,
        )
        self._retirement = Retirement()
        self._watch = FileWatch(lambda: self._configured, lambda: self.settings.reload_on_change)
        self._life = Lifecycle(
            self._members,
            self._monitor,
            self._retirement,
            self._observation,
            self._watch,
            enabled=self.settings.enabled,
            warms_up=lambda: self.settings.warm_up,
        )
        self._rules = request_rules(security)
        self._missed = MissedAliases(self._members.by_name)
        self._take_aliases(models or {})
        self._access = AccessControl(
            access_rules(security),
            self._members.counters,
            notices,
            wall,
            at_once=at_once(self.settings),
        )
        self._dispatcher = Dispatcher(
            self.settings,
            self._members,
            self._access,
            self._life,
            Tools(clock, random),
            observation=self._observation,
        )
        self._rotation = Rotation(self._retirement, notices)
        self._configured = Configured(
            Reloading(self._members, self._life, self._retirement, self._rotation),
            self._life,
            self._watch,
            notices=notices,
            observability=self._observation.settings,
            hold=self._hold,
        )
        for provider in providers:
            self._members.add(provider)

    @classmethod
    def from_config(
        cls,
        source: str | os.PathLike[str] | Mapping[str, Any],
        *,
        observers: Iterable[Observer] = (),
        on_alert: Callable[[Alert], None] | None = None,
    ) -> Self:
        """Make a manager with its providers from a configuration; it reads files.

        Args:
            source: Path of a YAML file, or its content as a mapping; the whole
                document, with ``providers:`` at its top.
            observers: Told of every event, each in a thread of its own.
            on_alert: Called with each alert, in a thread.

        Returns:
            A manager whose providers are registered, and not yet started.

        Raises:
            ProviderConfigError: Something in it is wrong; all problems at once.
        """
        reading = read(source)
        settings = reading.settings
        manager = cls(
            settings.manager,
            security=settings.security,
            observability=settings.observability,
            models=settings.models,
            providers=reading.providers,
            observers=observers,
            on_alert=on_alert,
        )
        manager._configured.made.update(manager._members.by_name)
        manager._configured.begin(source, reading)
        manager._warn(settings.warnings)
        return manager

    def _warn(self, warnings: tuple[str, ...]) -> None:
        self.warnings = warnings
        for warning in warnings:
            _log.warning("configuration", warning=warning)

    @property
    def providers(self) -> dict[str, ProviderBase]:
        """Every registered provider, by name."""
        return {name: item.lanes[0].provider for name, item in self._members.by_name.items()}

    @property
    def fallback_chain(self) -> list[str]:
        """Names of the providers in the order they stand in for each other; may be changed."""
        return self._members.order

    @fallback_chain.setter
    def fallback_chain(self, names: Iterable[str]) -> None:
        self._members.order = list(names)

    @property
    def active_providers(self) -> list[str]:
        """Names of the providers that take part, in fallback order."""
        return [member.name for member in self._members.chain() if member.healthy]

    async def register_provider(self, provider: ProviderBase) -> bool:
        """Add a provider at the end of the fallback chain, and start it.

        Args:
            provider: The provider; any ``ProviderBase``.

        Returns:
            Whether it is ready. If not, it stays registered and is tried again later;
            ``status()`` says why. After a shutdown nothing is started until the manager is.

        Raises:
            ProviderConfigError: It is no provider, or its name is taken.
        """
        member = self._members.add(provider)
        return (await self._life.start_some([member]))[member.name]

    async def discover(self) -> dict[str, bool]:
        """Register every installed plugin that is not registered yet.

        Plugins are entry points of the group ``amas.providers``; see ``find_plugins``. Each
        runs in a process of its own.

        Returns:
            For each one registered, whether it is ready; why one is not is in ``status()``.
        """
        # In a thread: it reads what is installed.
        built = await asyncio.to_thread(build_plugins, frozenset(self._members.by_name))
        return await self._life.start_some([self._members.add(provider) for provider in built])

    async def initialize_all_providers(self) -> dict[str, bool]:
        """Start all providers at the same time.

        Returns:
            For each provider whether it is ready; why one is not is in ``status()``.
        """
        return await self._life.start()

    async def check_health(self) -> dict[str, bool]:
        """Ask every provider that takes part for its health, now and side by side.

        Returns:
            For each of them whether it is healthy.
        """
        await self._life.ensure_started()
        return await self._life.check(
            [member for member in self._members.chain() if not member.misconfigured]
        )

    def status(self) -> dict[str, ProviderStatus]:
        """Describe how each provider is doing, in plain values, in fallback order.

        What other processes have told is in it as of the last call; see ``refresh``.
        """
        next_check = self._monitor.next_round
        return {
            member.name: describe(member, None if member.misconfigured else next_check)
            for member in self._members.chain()
        }

    async def refresh(self) -> str | None:
        """Hear what other processes have told of the providers, where the state is shared.

        Returns:
            Why they could not be heard, so that ``status()`` is this process's own view;
            None if they were, and if nothing is shared.
        """
        return await self._members.hear()

    async def flush(self, seconds: float = 10.0) -> bool:
        """Wait until audit trail, metrics, alerts and observers know all that has happened.

        Args:
            seconds: How long to wait for the slowest of them.

        Returns:
            Whether they do.
        """
        try:
            async with asyncio.timeout(seconds):
                await self._observation.bus.flush()
        except TimeoutError:
            return False
        return True

    def trip(self, name: str, seconds: float | None = None) -> None:
        """Set a provider aside by hand, such as for its maintenance.

        Args:
            name: Name of the provider.
            seconds: For how long; then a probe is let through. The longest cooldown if None.

        Raises:
            InvalidRequestError: There is no such provider, or no such time.
        """
        member = self._members.named(name)
        length = self.settings.circuit_breaker.max_cooldown if seconds is None else seconds
        member.trip(check_seconds("seconds", length))

    def reset(self, name: str) -> None:
        """Take a provider back by hand: close its circuits, and end its cooldowns.

        Args:
            name: Name of the provider.

        Raises:
            InvalidRequestError: There is no such provider.
        """
        self._members.named(name).reset()

    async def rotate_key(self, name: str, new_key: str, *, key: int = 1) -> None:
        """Give a provider another key: it is checked first, then used for every new call.

        Calls that run finish with the old one. It does not change the configuration file.

        Args:
            name: Name of the provider.
            new_key: The new key.
            key: Which of its keys is replaced, counted from 1 as in ``status()``.

        Raises:
            InvalidRequestError: There is no such provider, or it has no such key.
            ProviderError: The provider does not accept the new key, or cannot be asked for
                it now; nothing has changed.
        """
        new_key = hide(new_key, secret=True)  # what fails here on has it in its frames
        member = self._members.named(name)
        with self._life.call():
            async with self._configured.changing:
                await self._rotation.rotate(member, new_key, key, cause="rotate_key")

    async def reload(self) -> Changes:
        """Read the configuration again, with what its references lead to now.

        New keys are checked before they are used, new providers are started before they are
        asked, and running calls finish as they began. Providers that the service registered
        itself stay, with the rules they have. All sections hold at once but ``audit:``,
        ``metrics:``, ``tracing:``, ``alerts:`` and where the state is kept, which hold from the
        next start on: the result names those that have changed.

        With ``manager.reload_on_change`` it happens by itself when a file changes; where something
        is gone from it, once it has been the same for 10 seconds, as it may be half written. Keys
        that could not be checked are then tried again until they are taken.

        Returns:
            What has changed, and what was not taken over.

        Raises:
            ProviderConfigError: The manager was not made from a configuration, or something in
                it is wrong, or no provider would be left enabled; nothing has changed.
        """
        return await self._configured.reload()

    def _hold(self, settings: ProvidersSettings, manager: ManagerSettings) -> None:
        """Let a configuration hold that was read again; the providers are exchanged already."""
        self.settings = self._members.settings = manager
        self._dispatcher.use(manager)
        self._access.rules = access_rules(settings.security)
        self._access.at_once = at_once(manager)
        self._rules = request_rules(settings.security)
        self._take_aliases(settings.models)
        self._warn(settings.warnings)

    def _take_aliases(self, models: Mapping[str, ModelAlias]) -> None:
        self._aliases = make_aliases(models)
        self._missed.hold(self._aliases)

    async def shutdown(self, grace: float = 10.0) -> None:
        """Take no more calls, let running ones finish, and give back everything.

        Args:
            grace: Seconds that running calls get to finish; then their connections close.
        """
        await self._life.stop(grace)

    async def __aenter__(self) -> Self:
        """Start all providers."""
        try:
            await self.initialize_all_providers()
        except BaseException:
            # Cancelled: nobody will call __aexit__.
            await self.shutdown(grace=0)
            raise
        return self

    async def __aexit__(self, *_raised: object) -> None:
        await self.shutdown()
