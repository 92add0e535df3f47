"""Whether a provider would work: asked of the provider itself."""

from __future__ import annotations

from dataclasses import replace

from ..base import ProviderConfig
from ..base.looking import looking_only
from ..errors import ProviderError
from ..manager.discovery import build_provider, find_plugins
from ..types import HealthProbe


async def refusal(row: ProviderConfig) -> str | None:
    """Ask a provider whether it accepts its key; for free, or for a token where nothing is free.

    Args:
        row: Its configuration; one that is switched off is asked all the same.

    Returns:
        Why it does not accept the key, or cannot be asked; None if all is well.

    Raises:
        ProviderConfigError: The row is wrong.
    """
    row = replace(row, enabled=True, disabled_reason=None, health_probe=HealthProbe.FREE)
    provider = build_provider(row, find_plugins())
    try:
        with looking_only():
            if not await provider.initialize():
                error = provider.last_error
                return error.message if error else "it does not answer"
        if row.api_key is not None and row.key_value != "none":
            await provider.verify_key()
    except ProviderError as refused:
        return refused.message
    else:
        return None
    finally:
        await provider.shutdown()


async def models_of(row: ProviderConfig) -> list[str]:
    """Ask a provider which models it has; for free.

    Args:
        row: Its configuration.

    Raises:
        ProviderError: It does not say, or cannot be reached.
    """
    provider = build_provider(row, find_plugins())
    try:
        with looking_only():
            return await provider.list_models()
    finally:
        await provider.shutdown()
