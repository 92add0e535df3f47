"""What the answers of ``llm_service`` say, in the old service's words."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING or __package__:
    from .legacy_core import (
        AllProvidersFailedError,
        ProviderConfigError,
        ProviderError,
        ProviderStatus,
    )
else:  # by its bare name: its folder is on the path, and there is no package
    from legacy_core import (
        AllProvidersFailedError,
        ProviderConfigError,
        ProviderError,
        ProviderStatus,
    )

__all__ = ["LOCAL", "explain", "stamp", "unfenced", "would_answer"]

LOCAL = "ollama"

_FENCED = re.compile(r"\s*```(?:json)?\s*\n(.*?)\n?\s*```\s*", re.DOTALL | re.IGNORECASE)


def stamp() -> dict[str, str]:
    """Return the time as the old service wrote it: UTC, without saying so."""
    return {"timestamp": datetime.now(UTC).replace(tzinfo=None).isoformat()}


def explain(error: Exception, provider: str) -> str:
    """Say what went wrong in the old service's words."""
    if isinstance(error, AllProvidersFailedError):
        mine = [each for each in error.errors if each.provider == provider]
        error = (mine or error.errors or [error])[-1]
    if not isinstance(error, ProviderError) or isinstance(error, ProviderConfigError):
        return str(error)
    stood_in = error.provider not in {None, provider}
    who = f"{error.provider}: " if stood_in else ""
    if error.status_code is None:
        return f"{who}{error.message}"
    # What Ollama wrote was never told, what the others wrote was.
    code = f"HTTP {error.status_code}"
    text = f"{code}: {error.message.removeprefix(f'{code}: ')}"
    return code if provider == LOCAL and not stood_in else f"{who}{text}"


def would_answer(status: ProviderStatus) -> bool:
    """Tell whether a provider is well, and is not set aside by its circuit or for its key."""
    return status["healthy"] and status["state"] not in {"circuit_open", "key_refused"}


def unfenced(text: str) -> str:
    """Return what is in the fence if a text is nothing but one fenced block of JSON."""
    found = _FENCED.fullmatch(text)
    if found is None:
        return text
    try:
        json.loads(found.group(1))
    except ValueError:
        return text
    return found.group(1)
