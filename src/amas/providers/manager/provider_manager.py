"""The manager: one call, answered by whichever provider can."""

from __future__ import annotations

import asyncio
import os
import random as chance
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Self, TypeVar

from ...config.provider_settings import ManagerSettings
from ..base import ProviderBase
from ..errors import ProviderConfigError
from ..observability.logging import get_logger
from ..types import GenerationResult, Outcome, Prompt, ProviderStatus, Request, StreamChunk
from .circuit_breaker import CircuitSettings
from .discovery import build_plugins, read_configuration
from .failover import FailoverLoop, OpenAttempt
from .health_monitor import HealthMonitor
from .lifecycle import Lifecycle
from .member import Member, require_provider
from .results import ask_for_answer, with_records
from .routing import candidates_for, concerned, make_request, own_arguments
from .selection import find_strategy
from .startup import PATIENCE
from .streaming import OpenStream, close, follow, open_stream

T = TypeVar("T")

_log = get_logger("amas.providers.manager")


class ProviderManager:
    """Asks providers in turn until one answers, and keeps track of how they do.

    Use it with ``async with``, or call ``shutdown`` at the end. It starts its
    providers on the first call at the latest.

    Args:
        settings: How it behaves; the defaults of the ``manager:`` section if None.
        clock: The time in seconds; only differences matter.
        random: Source of numbers in [0, 1), for jitter.
    """

    def __init__(
        self,
        settings: ManagerSettings | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        random: Callable[[], float] = chance.random,
    ) -> None:
        self.settings = settings or ManagerSettings()
        self.fallback_chain: list[str] = []
        self.warnings: tuple[str, ...] = ()
        self._clock = clock
        self._random = random
        self._members: dict[str, Member] = {}
        self._loop = FailoverLoop(
            clock=clock, random=random, failover=self.settings.failover_enabled
        )
        monitor = HealthMonitor(
            lambda: list(self._members.values()),
            interval=self.settings.health_check_interval,
            clock=clock,
            random=random,
        )
        self._life = Lifecycle(self._members, monitor, enabled=self.settings.enabled)
        self._calls = 0

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
        manager = cls(settings.manager)
        for provider in providers:
            manager._add(provider)
        manager.warnings = settings.warnings
        for warning in settings.warnings:
            _log.warning("configuration", warning=warning)
        return manager

    @property
    def providers(self) -> dict[str, ProviderBase]:
        """Every registered provider, by name."""
        return {name: member.provider for name, member in self._members.items()}

    @property
    def active_providers(self) -> list[str]:
        """Names of the providers that take part, in fallback order."""
        return [member.name for member in self._chain() if member.ready and member.provider.healthy]

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
        member = self._add(provider)
        return (await self._life.start_some([member]))[member.name]

    def _add(self, provider: ProviderBase) -> Member:
        require_provider(provider)
        if provider.name in self._members:
            raise ProviderConfigError(
                "a provider of this name is registered already; give it another name",
                field="name",
                provider=provider.name,
            )
        settings = CircuitSettings(**self.settings.circuit_breaker.model_dump())
        member = Member(provider, settings, self._clock, self._random)
        self._members[provider.name] = member
        self.fallback_chain.append(provider.name)
        return member

    async def discover(self) -> dict[str, bool]:
        """Register every installed plugin that is not registered yet.

        Plugins are entry points of the group ``amas.providers``; see ``find_plugins``.

        Returns:
            For each one registered, whether it is ready.

        Raises:
            ProviderConfigError: One of them is unusable; then none is registered.
        """
        # In a thread: it imports the plugins.
        built = await asyncio.to_thread(build_plugins, frozenset(self._members))
        return await self._life.start_some([self._add(provider) for provider in built])

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
            [member for member in self._chain() if not member.misconfigured]
        )

    async def get_available_provider(self) -> ProviderBase | None:
        """Return the provider that a call would ask first now; None if nobody can be asked."""
        if not self._life.takes_calls:
            return None
        await self._life.ensure_started()
        order = find_strategy(self.settings.strategy)
        request = self._request("", {})
        candidates = candidates_for(request, self._chain(), order, call=self._calls)
        return next((member.provider for member in candidates if member.available()), None)

    async def generate(
        self,
        prompt: Prompt,
        *,
        system_prompt: str | None = None,
        provider: str | None = None,
        strategy: str | None = None,
        caller: str | None = None,
        deadline: float | None = None,
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
            )

            async def ask(member: Member, arguments: Mapping[str, Any]) -> GenerationResult:
                return await ask_for_answer(member, request, arguments)

            opened = await self._ask(request, strategy, ask)
            return with_records(opened.value, opened.settle(Outcome.OK))

    async def stream(
        self,
        prompt: Prompt,
        *,
        system_prompt: str | None = None,
        provider: str | None = None,
        strategy: str | None = None,
        caller: str | None = None,
        deadline: float | None = None,
        **params: Any,
    ) -> AsyncIterator[StreamChunk]:
        """Answer a prompt piece by piece; the arguments are those of ``generate``.

        Another provider takes over only until the first content has come.

        Yields:
            The pieces. The last one has ``finish_reason``, ``usage`` and ``attempts``.

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
            )

            async def ask(member: Member, arguments: Mapping[str, Any]) -> OpenStream:
                return await open_stream(
                    member, member.provider.stream(request.prompt, **arguments)
                )

            opened = await self._ask(request, strategy, ask)
            chunks = follow(opened, request, self._clock)
            try:
                async for chunk in chunks:
                    yield chunk
            finally:
                await close(chunks)

    def _request(
        self,
        prompt: Prompt,
        params: Mapping[str, Any],
        *,
        deadline: float | None = None,
        **named: str | None,
    ) -> Request:
        return make_request(
            prompt,
            params,
            known=self._members,
            now=self._clock(),
            seconds=self.settings.deadline if deadline is None else deadline,
            **named,
        )

    async def _ask(
        self,
        request: Request,
        strategy: str | None,
        ask: Callable[[Member, Mapping[str, Any]], Awaitable[T]],
    ) -> OpenAttempt[T]:
        """Find out whom to ask, and ask them in turn."""
        order = find_strategy(strategy or self.settings.strategy)
        failover = self.settings.failover_enabled
        first_call = await self._life.ensure_started(request.deadline - self._clock())
        chain = concerned(request, self._chain(), failover=failover)
        if not first_call and not any(member.ready for member in chain):
            # Nobody has started well so far: perhaps by now somebody would, such as a
            # local model that was switched on after this service.
            await self._life.start_some(
                [member for member in chain if not member.misconfigured],
                patience=PATIENCE,
                limit=request.deadline - self._clock(),
            )
        self._calls += 1
        candidates = candidates_for(request, chain, order, call=self._calls - 1)
        if not failover:
            candidates = candidates[:1]
            chain = candidates or chain
        arguments = own_arguments(request, candidates)
        return await self._loop.run(
            request,
            candidates,
            lambda member: ask(member, arguments[member.name]),
            everybody=chain,
        )

    def _chain(self) -> list[Member]:
        """Return the members in fallback order; who is not named in it comes last."""
        names = dict.fromkeys((*self.fallback_chain, *self._members))
        return [self._members[name] for name in names if name in self._members]

    def status(self) -> dict[str, ProviderStatus]:
        """Describe how each provider is doing, in plain values, in fallback order."""
        return {member.name: member.status() for member in self._chain()}

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
