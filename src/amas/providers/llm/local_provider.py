"""Local, as a preset of the adapter."""

from __future__ import annotations

from typing import ClassVar

from .litellm_provider import LiteLLMProvider


class LocalProvider(LiteLLMProvider):
    """``LiteLLMProvider`` with the catalogue's row for ``local``, whatever its own name."""

    row: ClassVar[str | None] = "local"
