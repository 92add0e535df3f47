"""Anthropic, as a preset of the adapter."""

from __future__ import annotations

from typing import ClassVar

from .litellm_provider import LiteLLMProvider


class AnthropicProvider(LiteLLMProvider):
    """``LiteLLMProvider`` with the catalogue's row for ``anthropic``, whatever its own name."""

    row: ClassVar[str | None] = "anthropic"
