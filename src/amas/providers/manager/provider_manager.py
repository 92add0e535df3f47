"""The manager: one call, answered by whichever provider can."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any

from ..base import ProviderBase
from ..errors import ProviderError
from ..security.caller import current_caller
from ..types import GenerationResult, Prompt, Request, StreamChunk
from .aliases import chains_of
from .operations import Operations
from .routing import make_request


class ProviderManager(Operations):
    """Asks providers in turn until one answers, and keeps track of how they do.

    Use it with ``async with``, or call ``shutdown`` at the end. It starts its
    providers on the first call at the latest.

    Args:
        settings: How it behaves; the defaults of the ``manager:`` section if None.
        security: The ``security:`` section, with the access rules; no rules if None.
        observability: The sections ``audit:``, ``metrics:``, ``tracing:`` and ``alerts:``.
        models: The section ``models:``, aliases by name; no aliases if None.
        providers: Its first providers, in fallback order; they start on the first call.
        observers: Told of every event, each in a thread of its own.
        on_alert: Called with each alert, in a thread.
        clock: The time in seconds; only differences matter.
        wall: The time of day, in seconds since 1970.
        random: Source of numbers in [0, 1), for jitter.
    """

    @property
    def models(self) -> dict[str, list[str]]:
        """The chain of each alias, by its name, as the section ``models:`` has it."""
        return chains_of(self._aliases)

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
            strategy: Order in which providers are asked; the configured one if None, and
                the order of its chain for an alias.
            caller: Who asks, for the access rules and the records; as said by ``set_caller``
                or ``as_caller`` if None.
            deadline: Seconds for the whole call, all attempts together.
            max_providers: How many providers may be asked, in that order; all if None.
            **params: ``model`` and chat parameters such as ``temperature`` or ``tools``.
                ``model`` holds for the provider asked first; ``"openai/gpt-4o"`` asks the
                provider of that name first, and ``"openai"`` alone for its own model. Those
                standing in answer with their own model.
                An alias of the section ``models:`` asks nobody but those of its chain; a name
                that is near one, and nobody's model, is an error.

        Returns:
            The answer, who gave it, and a record of each attempt.

        Raises:
            InvalidRequestError: The request is wrong; nobody else is asked.
            AccessDeniedError: The rules do not allow it; the message names the one.
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
                caller=current_caller() if caller is None else caller,
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
                caller=current_caller() if caller is None else caller,
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
        try:
            return make_request(
                prompt,
                params,
                known=self._members.by_name,
                now=self._clock(),
                seconds=self.settings.deadline if deadline is None else deadline,
                max_providers=max_providers,
                rules=self._rules,
                aliases=self._aliases,
                doubt=self._missed.problem,
                **named,
            )
        except ProviderError as error:
            self._observation.notices.refused(error, named.get("caller"))
            raise


def __getattr__(name: str) -> Any:
    # The host's ``from amas.providers.manager import provider_manager`` means an instance.
    if name.startswith("__"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .host_names import attribute_of_instance  # noqa: PLC0415 -- it imports this module

    return attribute_of_instance(name, __name__)
