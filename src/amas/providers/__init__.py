"""One safe way for Python services to call any language model.

What needs heavy libraries loads on first use: importing this package imports
neither LiteLLM nor openai nor an HTTP client.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .base import BaseProvider, ProviderBase, ProviderConfig
from .errors import (
    AccessDeniedError,
    AllProvidersFailedError,
    AuditUnavailableError,
    AuthenticationError,
    BadResponseError,
    ContentPolicyError,
    ContextWindowExceededError,
    InvalidRequestError,
    ModelNotFoundError,
    NoProviderAvailableError,
    ProviderConfigError,
    ProviderConnectionError,
    ProviderError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    QuotaExceededError,
    RateLimitError,
    StreamInterruptedError,
    UnsupportedError,
)
from .secret import Secret
from .security.caller import calling_as, set_caller
from .types import (
    Attempt,
    Capability,
    EmbeddingResult,
    GenerationResult,
    Outcome,
    ProviderStatus,
    StreamChunk,
    Usage,
)

if TYPE_CHECKING:
    from .llm.anthropic_provider import AnthropicProvider
    from .llm.litellm_provider import LiteLLMProvider
    from .llm.local_provider import LocalProvider
    from .llm.openai_provider import OpenAIProvider
    from .manager.provider_manager import ProviderManager
    from .observability.log_output import configure_logging
    from .security.masking import MaskingFilter, install_masking, mask_event

__all__ = [
    "AccessDeniedError",
    "AllProvidersFailedError",
    "AnthropicProvider",
    "Attempt",
    "AuditUnavailableError",
    "AuthenticationError",
    "BadResponseError",
    "BaseProvider",
    "Capability",
    "ContentPolicyError",
    "ContextWindowExceededError",
    "EmbeddingResult",
    "GenerationResult",
    "InvalidRequestError",
    "LiteLLMProvider",
    "LocalProvider",
    "MaskingFilter",
    "ModelNotFoundError",
    "NoProviderAvailableError",
    "OpenAIProvider",
    "Outcome",
    "ProviderBase",
    "ProviderConfig",
    "ProviderConfigError",
    "ProviderConnectionError",
    "ProviderError",
    "ProviderManager",
    "ProviderStatus",
    "ProviderTimeoutError",
    "ProviderUnavailableError",
    "QuotaExceededError",
    "RateLimitError",
    "Secret",
    "StreamChunk",
    "StreamInterruptedError",
    "UnsupportedError",
    "Usage",
    "calling_as",
    "configure_logging",
    "install_masking",
    "mask_event",
    "set_caller",
]

_LAZY = {
    "AnthropicProvider": ".llm.anthropic_provider",
    "LiteLLMProvider": ".llm.litellm_provider",
    "LocalProvider": ".llm.local_provider",
    "MaskingFilter": ".security.masking",
    "OpenAIProvider": ".llm.openai_provider",
    "ProviderManager": ".manager.provider_manager",
    "configure_logging": ".observability.log_output",
    "install_masking": ".security.masking",
    "mask_event": ".security.masking",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LAZY[name], __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
