"""The shapes that the host's own ``providers/manager.py`` gave its providers.

Names, signatures and values are the host's; ``host_names`` has what uses them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import Enum
from typing import Any

from typing_extensions import override

from ..secret import Secret, scrub

# As much of a prompt as a mock's answer repeats.
_ECHO_LENGTH = 50


@dataclass
class ProviderConfig:
    """What the host says of one provider; not ``amas.providers.ProviderConfig``.

    Args:
        name: Its name.
        env_key: The variable that has its key.
        required: Whether the environment is valid only with it.
        priority: Its place; 1 is asked first.
        max_retries: How often it is asked again after a passing failure, and the number of
            errors told to ``handle_error`` after which it is set aside.
        timeout: Seconds for one attempt.
    """

    name: str
    env_key: str
    required: bool = False
    priority: int = 0
    max_retries: int = 3
    timeout: int = 30


class ProviderStatus(Enum):
    """Whether a provider is to be asked; not ``amas.providers.ProviderStatus``."""

    ENABLED = "enabled"
    DISABLED = "disabled"
    ERROR = "error"
    QUOTA_EXCEEDED = "quota_exceeded"


class AIProvider(ABC):
    """A provider as the host's callers use it: synchronous, a text for a text.

    Args:
        api_key: Its key.
        config: What the host says of it.
    """

    def __init__(self, api_key: str, config: ProviderConfig) -> None:
        self.api_key = api_key
        # While it exists the key is masked in every text of an error.
        self._hidden = Secret(api_key)
        self.config = config
        self.status = ProviderStatus.ENABLED
        self.error_count = 0
        self.last_error: str | None = None

    @abstractmethod
    def is_available(self) -> bool:
        """Tell whether it is to be asked now."""

    @abstractmethod
    def infer(self, prompt: str, **kwargs: Any) -> str:
        """Answer a prompt."""

    @abstractmethod
    def get_provider_info(self) -> dict[str, Any]:
        """Describe it in plain values."""

    def handle_error(self, error: Exception) -> None:
        """Take note of an error, and set the provider aside if there were too many.

        Args:
            error: What calling it raised.
        """
        self.error_count += 1
        self.last_error = scrub(str(error))
        if self.error_count >= self.config.max_retries:
            self.status = ProviderStatus.ERROR
        elif "quota" in str(error).lower():
            self.status = ProviderStatus.QUOTA_EXCEEDED


class MockProvider(AIProvider):
    """A provider that answers with a canned text and asks nobody, for tests and for trying out."""

    @override
    def is_available(self) -> bool:
        """Say yes."""
        return True

    @override
    def infer(self, prompt: str, **kwargs: Any) -> str:
        """Return a text that shows how the prompt begins."""
        return f"Mock response to: {prompt[:_ECHO_LENGTH]}..."

    @override
    def get_provider_info(self) -> dict[str, Any]:
        """Describe it: ``name``, ``type``, ``status`` and ``priority``."""
        return {
            "name": self.config.name,
            "type": "mock",
            "status": self.status.value,
            "priority": self.config.priority,
        }
