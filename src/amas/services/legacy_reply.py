"""Calls of the services that tell of failures rather than raise them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING or __package__:
    from .legacy_core import (
        Attempt,
        GenerationResult,
        HealthProbe,
        LegacyCore,
        Outcome,
        ProviderError,
        ProviderManager,
    )
else:  # by its bare name: its folder is on the path, and there is no package
    from legacy_core import (
        Attempt,
        GenerationResult,
        HealthProbe,
        LegacyCore,
        Outcome,
        ProviderError,
        ProviderManager,
    )

__all__ = ["Reply", "try_ask", "try_ask_sync"]


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of a call.

    Args:
        outcome: The answer, or the error that says why there is none.
        attempts: The last record of each provider that was asked, in that order.
        waits: Seconds for which those who were asked too often are left alone, by provider.
    """

    outcome: GenerationResult | Exception
    attempts: Sequence[Attempt] = ()
    waits: Mapping[str, float] = field(default_factory=dict)


async def try_ask(core: LegacyCore, prompt: str, **asked: Any) -> Reply:
    """Ask whoever can answer.

    Args:
        core: Whom to ask.
        prompt: The prompt.
        **asked: The arguments of ``ProviderManager.generate``.
    """
    try:
        return await core.use(lambda manager: _reply(manager, prompt, asked))
    except Exception as error:  # noqa: BLE001 -- a service that never raises tells of everything
        return Reply(error)


def try_ask_sync(core: LegacyCore, prompt: str, **asked: Any) -> Reply:
    """Do what ``try_ask`` does, and block until it is done."""
    try:
        return core.use_sync(lambda manager: _reply(manager, prompt, asked))
    except Exception as error:  # noqa: BLE001 -- as above
        return Reply(error)


async def _reply(manager: ProviderManager, prompt: str, asked: Mapping[str, Any]) -> Reply:
    # Who is not asked for its health is ready soon, and the first call keeps to the order.
    quiet = [
        provider
        for provider in manager.providers.values()
        if provider.config.health_probe is HealthProbe.OFF and not provider.initialized
    ]
    await asyncio.gather(*(provider.initialize() for provider in quiet))
    outcome: GenerationResult | ProviderError
    try:
        outcome = await manager.generate(prompt, **asked)
        attempts: Sequence[Attempt] = outcome["attempts"]
    except ProviderError as error:
        outcome, attempts = error, error.attempts
    ended = _last_of_each(attempts)
    return Reply(outcome, ended, _waits(manager, ended))


def _last_of_each(attempts: Sequence[Attempt]) -> list[Attempt]:
    """Return how each provider's part in a call ended, retries included.

    Left out is what says nothing of a provider: a request that was given up as another
    provider was faster, and a wrong one that was refused before it was sent.
    """
    last = {
        attempt["provider"]: attempt
        for attempt in attempts
        if attempt["outcome"] != Outcome.CANCELLED
        and (attempt["outcome"] != Outcome.INVALID_REQUEST or attempt["status_code"] is not None)
    }
    return list(last.values())


def _waits(manager: ProviderManager, attempts: Sequence[Attempt]) -> dict[str, float]:
    if all(attempt["outcome"] != Outcome.RATE_LIMITED for attempt in attempts):
        return {}
    return {
        name: status["retry_after"] or 0.0
        for name, status in manager.status().items()
        if status["state"] == "cooling_down"
    }
