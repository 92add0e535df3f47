"""The manager: one call, answered by whichever provider can."""

from __future__ import annotations

import asyncio
import os
import random as chance
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import aclosing
from typing import Any, Self

from ...config.provider_settings import ManagerSettings
from ..base import ProviderBase
from ..observability.logging import get_logger
from ..types import GenerationResult, Prompt, ProviderStatus, Request, StreamChunk
from .course import Tools
from .discovery import build_plugins, read_configuration
from .dispatch import Dispatcher
from .health_monitor import HealthMonitor
from .lifecycle import Lifecycle
from .members import Members
from .routing import check_seconds, make_request
from .status import describe

_log = get_logger("amas.providers.manager")


class ProviderManager:
    """Asks providers in turn until one answers, and keeps track of how they do.

    Use it with ``async with``, or call ``shutdown`` at the end. It starts its
    providers on the first call at the latest.

    Args:
        settings: How it behaves; the defaults of the ``manager:`` section if None.
        providers: Its first providers, in fallback order; they start on the first call.
        clock: The time in seconds; only differences matter.
        random: Source of numbers in [0, 1), for jitter.
    """

    def __init__(
        self,
        settings: ManagerSettings | None = None,
        *,
        providers: Iterable[ProviderBase] = (),
        clock: Callable[[], float] = time.monotonic,
        random: Callable[[], float] = chance.random,
    ) -> None:
        self.settings = settings or ManagerSettings()
        self.warnings: tuple[str, ...] = ()
        self._clock = clock
        self._members = Members(self.settings, clock, random)
        self._monitor = HealthMonitor(
            lambda: list(self._members.by_name.values()),
            interval=self.settings.health_check_interval,
            clock=clock,
            random=random,
        )
        self._life = Lifecycle(self._members, self._monitor, enabled=self.settings.enabled)
        self._dispatcher = Dispatcher(
            self.settings, self._members, self._life, Tools(clock, random)
        )
        for provider in providers:
            self._members.add(provider)

    @classmethod
    def from_config(cls, source: str | os.PathLike[str] | Mapping[str, Any]) -> Self:
        """Make a manager with its providers from a configuration; it reads files.

        Args:
            source: Path of a YAML file, or its content as a mapping; the whole
                document, with ``providers:`` at its top.

        Returns:
            A manager whose providers are registered, and not yet started.

        Raises:
            ProviderConfigError: Something in it is wrong; all problems at once.
        """
        settings, providers = read_configuration(source)
        manager = cls(settings.manager, providers=providers)
        manager.warnings = settings.warnings
        for warning in settings.warnings:
            _log.warning("configuration", warning=warning)
        return manager

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

        Plugins are entry points of the group ``amas.providers``; see ``find_plugins``.

        Returns:
            For each one registered, whether it is ready.

        Raises:
            ProviderConfigError: One of them is unusable; then none is registered.
        """
        # In a thread: it imports the plugins.
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

    async def get_available_provider(self) -> ProviderBase | None:
        """Return the provider that a call would ask first now; None if nobody can be asked."""
        if not self._life.takes_calls:
            return None
        first = await self._dispatcher.first(self._request("", {}))
        return None if first is None else first.provider

    async def generate(
        self,
        prompt: Prompt,
        *,
        system_prompt: str | None = None,
        provider: str | None = None,
        strategy: str | None = None,
        caller: str | None = None,
        deadline: float | None = None,
        max_providers: int | None = None,
        **params: Any,
    ) -> GenerationResult:
        """Answer a prompt, by whichever provider can.

        Args:
            prompt: A text, or chat messages in OpenAI's form.
            system_prompt: What the model is to be, put in front of the messages.
            provider: Name of the provider to ask first; the others stand in for its outages.
            strategy: Order in which providers are asked; the configured one if None.
            caller: Who asks, for the records.
            deadline: Seconds for the whole call, all attempts together.
            max_providers: How many providers may be asked, in that order; all if None.
            **params: ``model`` and chat parameters such as ``temperature`` or ``tools``.
                ``model`` holds for the provider asked first; ``"openai/gpt-4o"`` asks the
                provider of that name first. Those standing in answer with their own model.

        Returns:
            The answer, who gave it, and a record of each attempt.

        Raises:
            InvalidRequestError: The request is wrong; nobody else is asked.
            AllProvidersFailedError: Everybody asked has failed.
            NoProviderAvailableError: Nobody could be asked; ``retry_after`` says when to retry.
            ProviderTimeoutError: The deadline passed before anybody could be asked.
            ProviderError: Any other error that no other provider would help against.
        """
        with self._life.call():
            request = self._request(
                prompt,
                params,
                deadline=deadline,
                system_prompt=system_prompt,
                provider=provider,
                caller=caller,
                max_providers=max_providers,
            )

            return await self._dispatcher.answer(request, strategy)

    async def stream(
        self,
        prompt: Prompt,
        *,
        system_prompt: str | None = None,
        provider: str | None = None,
        strategy: str | None = None,
        caller: str | None = None,
        deadline: float | None = None,
        max_providers: int | None = None,
        **params: Any,
    ) -> AsyncIterator[StreamChunk]:
        """Answer a prompt piece by piece; the arguments are those of ``generate``.

        Another provider takes over until the first content has come; after that only where
        ``stream_recovery`` says so.

        Yields:
            The pieces. The last one has ``finish_reason``, ``usage`` and ``attempts``; one
            with an ``event`` tells that another provider has taken over.

        Raises:
            StreamInterruptedError: The stream broke off; ``partial_text`` has what came.
            ProviderError: As for ``generate``.
        """
        with self._life.call():
            request = self._request(
                prompt,
                params,
                deadline=deadline,
                system_prompt=system_prompt,
                provider=provider,
                caller=caller,
                max_providers=max_providers,
            )

            async with aclosing(self._dispatcher.stream(request, strategy)) as chunks:
                async for chunk in chunks:
                    yield chunk

    def _request(
        self,
        prompt: Prompt,
        params: Mapping[str, Any],
        *,
        deadline: float | None = None,
        max_providers: int | None = None,
        **named: str | None,
    ) -> Request:
        return make_request(
            prompt,
            params,
            known=self._members.by_name,
            now=self._clock(),
            seconds=self.settings.deadline if deadline is None else deadline,
            max_providers=max_providers,
            **named,
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


def __getattr__(name: str) -> Any:
    # The host's ``from amas.providers.manager import provider_manager`` means an instance.
    if name.startswith("__"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .host_names import attribute_of_instance  # noqa: PLC0415 -- it imports this module

    return attribute_of_instance(name, __name__)
