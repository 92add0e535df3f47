"""What every provider is configured with, and what every provider can do."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

from typing_extensions import override

from ..errors import InvalidRequestError, ProviderConfigError, ProviderError
from ..secret import Secret, hide
from ..types import Capability, EmbeddingResult, GenerationResult, Prompt, StreamChunk


@dataclass(frozen=True)
class ProviderConfig:
    """The configuration of one provider, validated when it is built.

    Args:
        name: Name of the provider; how results, logs and rules speak of it.
        api_key: Its key; kept as a ``Secret``. ``"none"`` says that the server wants none.
        base_url: Address of its API; the catalogue knows those of the well-known.
        timeout: Seconds for one attempt from request to complete answer, streams included.
        max_retries: How often the same provider is asked again after a passing failure.
        enabled: Whether it takes part.
        model: Model to ask, with or without LiteLLM's prefix (``groq/llama-3.3-70b``).
        provider: LiteLLM's name of the vendor or a name in the catalogue, where neither
            ``name`` nor the model's prefix says it.
        first_content_timeout: Seconds until the first content of a stream; ``timeout`` if None.
        idle_timeout: Seconds between two chunks of a stream; ``timeout`` if None.
        stream_timeout: Seconds for a whole stream; ``timeout`` if None.
        params: Defaults for the parameters of a call, such as ``temperature``.
        options: LiteLLM's own parameters for this vendor (``api_version``, …).
        capabilities: What the model can do; the catalogue's answer if None.
        context_window: Tokens the model can take in; the catalogue's answer if None.
        embedding_model: Model for ``embed``; the catalogue's answer if None.
        disabled_reason: Why ``enabled`` is False, where that was not a wish, such as a
            variable that is not set.

    Raises:
        ProviderConfigError: A field is wrong; ``field`` says which.
    """

    name: str
    api_key: Secret | str | None = None
    base_url: str | None = None
    timeout: float = 30
    max_retries: int = 3
    enabled: bool = True
    model: str | None = None
    provider: str | None = None
    first_content_timeout: float | None = None
    idle_timeout: float | None = None
    stream_timeout: float | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    capabilities: frozenset[Capability] | None = None
    context_window: int | None = None
    embedding_model: str | None = None
    disabled_reason: str | None = None

    def __post_init__(self) -> None:
        self._check_text("name")
        self._check_key()
        for name in ("timeout", "first_content_timeout", "idle_timeout", "stream_timeout"):
            self._check_seconds(name)
        self._check_count("max_retries", minimum=0)
        self._check_count("context_window", minimum=1)
        if not isinstance(self.enabled, bool):
            raise self._wrong("enabled", "must be true or false")
        for name in ("base_url", "model", "provider", "embedding_model"):
            if getattr(self, name) is not None:
                self._check_text(name)
        for name in ("params", "options"):
            self._copy_mapping(name)
        if self.capabilities is not None:
            self._freeze_capabilities()

    def _wrong(self, name: str, what: str) -> ProviderConfigError:
        return ProviderConfigError(f"{name} {what}", field=name, provider=self.name)

    def _check_key(self) -> None:
        if self.api_key is None:
            return
        if not isinstance(self.api_key, str):
            raise self._wrong("api_key", "must be a text")
        secret = Secret(self.api_key)
        object.__setattr__(self, "api_key", secret)
        value = secret.get_secret_value()
        if not value:
            raise self._wrong(
                "api_key", "is empty; give the key, or 'none' for a server that wants none"
            )
        # Anything else would be a header injection, or a key pasted with its line break.
        if not value.isascii() or not value.isprintable() or " " in value:
            raise self._wrong(
                "api_key", "has characters that no key has (space, control, non-ASCII)"
            )

    def _check_text(self, name: str) -> None:
        value: object = getattr(self, name)
        if not isinstance(value, str) or not value.strip():
            raise self._wrong(name, "must be a text that is not empty")

    def _copy_mapping(self, name: str) -> None:
        value: object = getattr(self, name)
        if not isinstance(value, Mapping):
            raise self._wrong(name, "must be a mapping")
        # Options of LiteLLM may be credentials, or headers that carry one.
        copy = hide(value) if name == "options" else dict(value)
        object.__setattr__(self, name, copy)

    def _check_seconds(self, name: str) -> None:
        value = getattr(self, name)
        if value is None and name != "timeout":
            return
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not math.isfinite(value)
            or value <= 0
        ):
            raise self._wrong(name, "must be a number of seconds above 0")

    def _check_count(self, name: str, *, minimum: int) -> None:
        value = getattr(self, name)
        if value is None and name != "max_retries":
            return
        if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
            raise self._wrong(name, f"must be a whole number, {minimum} or more")

    def _freeze_capabilities(self) -> None:
        try:
            known = frozenset(Capability(item) for item in self.capabilities or ())
        except (TypeError, ValueError):
            names = ", ".join(Capability)
            raise self._wrong("capabilities", f"must be a list drawn from {names}") from None
        object.__setattr__(self, "capabilities", known)

    @property
    def key_value(self) -> str | None:
        """The key itself, for the one place that sends it."""
        return self.api_key.get_secret_value() if isinstance(self.api_key, Secret) else None

    def __copy__(self) -> Self:
        return replace(self)

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        return replace(
            self, params=deepcopy(self.params, memo), options=deepcopy(self.options, memo)
        )

    @override
    def __reduce__(self) -> tuple[Any, ...]:
        # Keys do not travel in pickles: the copy has none and has to be given one.
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return (_unpickle_config, (values | {"api_key": None},))


def _unpickle_config(values: dict[str, Any]) -> ProviderConfig:
    return ProviderConfig(**values)


class ProviderBase(ABC):
    """What a provider is: something that answers a prompt.

    Subclass this to bring a provider of your own; the manager treats it like
    its own. Set ``capabilities`` and ``context_window`` where they are known.

    Args:
        config: Its configuration.
    """

    config: ProviderConfig
    initialized: bool = False
    healthy: bool = False
    last_error: ProviderError | None = None
    capabilities: frozenset[Capability] | None = None
    context_window: int | None = None

    def __init__(self, config: ProviderConfig) -> None:
        self.config = config

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
            content=result.get("content") or "",
            provider=self.name,
            model=result.get("model") or self.model,
            finish_reason=result.get("finish_reason") or "stop",
            usage=result.get("usage"),
            tool_calls=tuple(result.get("tool_calls") or ()),
            reasoning_content=result.get("reasoning_content"),
            cost_usd=result.get("cost_usd"),
        )

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
