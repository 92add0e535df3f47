"""OpenAI, as a preset of the adapter."""

from __future__ import annotations

from typing import ClassVar

from .litellm_provider import LiteLLMProvider


class OpenAIProvider(LiteLLMProvider):
    """``LiteLLMProvider`` with the catalogue's row for ``openai``, whatever its own name."""

    row: ClassVar[str | None] = "openai"
