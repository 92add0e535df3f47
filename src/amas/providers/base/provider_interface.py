"""What every provider can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

from ..errors import InvalidRequestError, ProviderError
from ..types import (
    Capability,
    EmbeddingResult,
    GenerationResult,
    Price,
    Prompt,
    StreamChunk,
)
from .faults import content_of
from .options import parse_options
from .provider_config import ProviderConfig

__all__ = ["ProviderBase", "ProviderConfig"]


class ProviderBase(ABC):
    """What a provider is: something that answers a prompt.

    Subclass this to bring a provider of your own; the manager treats it like
    its own. Set ``capabilities``, ``context_window`` and ``price`` where they are
    known; ``capabilities_complete`` says whether a capability that is not named there is
    surely missing. A class ``Options`` in it, a pydantic model or a dataclass, is what the
    ``options:`` of its rows are read as: checked when the configuration is, and found in
    ``self.options``.

    Args:
        config: Its configuration.
    """

    config: ProviderConfig
    initialized: bool = False
    healthy: bool = False
    last_error: ProviderError | None = None
    capabilities: frozenset[Capability] | None = None
    capabilities_complete: bool = True
    context_window: int | None = None
    price: Price | None = None

    def __init__(self, config: ProviderConfig) -> None:
        self.config = config
        model = getattr(type(self), "Options", None)
        if isinstance(model, type):
            self.options: Any = parse_options(model, config.options, provider=config.name)
        self.price = config.price if isinstance(config.price, Price) else None

    @abstractmethod
    async def initialize(self) -> bool:
        """Make ready; return False, with the reason in ``last_error``, rather than raise."""

    @abstractmethod
    async def generate(self, prompt: Prompt, **kwargs: Any) -> GenerationResult | dict[str, Any]:
        """Answer a prompt.

        Args:
            prompt: A text, or chat messages in OpenAI's form.
            **kwargs: ``system_prompt``, ``model`` and chat parameters such as ``temperature``.

        Returns:
            At least ``content``; see ``GenerationResult``.

        Raises:
            ProviderError: One of the tree in ``errors``; it decides what the manager does next.
        """

    @abstractmethod
    async def health_check(self) -> bool:
        """Ask, for free if at all possible, whether the provider would answer."""

    @abstractmethod
    async def shutdown(self) -> None:
        """Give back everything held; may be called twice, and after a failed initialize."""

    @property
    def name(self) -> str:
        """Name of the provider, from its configuration."""
        return self.config.name

    @property
    def model(self) -> str | None:
        """The model asked by default."""
        return self.config.model

    @property
    def way(self) -> str | None:
        """How its calls get to the wire, in words; None where there is but one way."""
        return None

    def for_each_key(self) -> Sequence[ProviderBase]:
        """Return one provider per key of ``config.api_keys``, this one first.

        The manager sets a refused or exhausted key aside, and asks with the others.
        By default a provider has one key, or deals with several by itself.
        """
        return (self,)

    def with_key(self, key: str) -> ProviderBase:
        """Return a provider like this one, not started yet, that uses another key and only that.

        By default it is made as this one was: of its class, with its configuration.

        Args:
            key: The key.

        Raises:
            ProviderConfigError: It is no key.
        """
        return type(self)(replace(self.config, api_key=key, api_keys=()))

    async def verify_key(self) -> None:  # noqa: B027 -- a start that went well is enough for most
        """Make sure that the upstream accepts the key, before it takes the place of another.

        By default a start that went well is enough.

        Raises:
            ProviderError: It does not, or that cannot be found out.
        """

    async def warm_up(self) -> None:  # noqa: B027 -- most have nothing to prepare
        """Prepare what a first call would wait for, such as a connection; it asks for nothing.

        By default there is nothing to prepare. Whatever it raises is only logged.
        """

    def price_of(self, model: str | None) -> Price | None:
        """Return what a model costs; None if that is not known.

        Args:
            model: Name of the model; the configured one if None.
        """
        return self.price if model in {None, self.model} else None

    def window_of(self, model: str | None) -> int | None:
        """Return how many tokens a model can take in; None if that is not known.

        Args:
            model: Name of the model; the configured one if None.
        """
        return self.context_window if model in {None, self.model} else None

    async def stream(self, prompt: Prompt, **kwargs: Any) -> AsyncIterator[StreamChunk]:
        """Answer a prompt piece by piece; by default the whole answer is one piece.

        Args:
            prompt: As for ``generate``.
            **kwargs: As for ``generate``.

        Yields:
            The pieces; the last one has the ``finish_reason``.
        """
        result = await self.generate(prompt, **kwargs)
        yield StreamChunk(
            content=content_of(result, provider=self.name),
            provider=self.name,
            model=result.get("model") or self.model,
            finish_reason=result.get("finish_reason") or "stop",
            usage=result.get("usage"),
            tool_calls=tuple(result.get("tool_calls") or ()),
            reasoning_content=result.get("reasoning_content"),
            cost_usd=result.get("cost_usd"),
        )

    async def list_models(self) -> list[str]:
        """Return the names of the models that can be asked; by default the configured one.

        Raises:
            ProviderError: The upstream does not say.
        """
        return [] if self.model is None else [self.model]

    async def embed(self, texts: Sequence[str], *, model: str | None = None) -> EmbeddingResult:
        """Turn texts into vectors, where the provider can.

        Args:
            texts: The texts.
            model: Embedding model; the configured one if None.

        Returns:
            One vector per text.

        Raises:
            InvalidRequestError: The provider has no embeddings.
        """
        raise InvalidRequestError(
            f"cannot embed {len(texts)} texts: this provider has no embeddings; ask another one",
            provider=self.name,
            model=model,
        )
