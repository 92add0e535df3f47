"""The service that the host's agents ask language models through; see MIGRATION.md.

Names, arguments, keys and defaults are those of the old module. Behind them the provider
layer answers: Ollama first, and DeepSeek, GLM and Grok stand in for its outages where their
keys are set, as do the providers of the file that ``AMAS_PROVIDERS_CONFIG`` names.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING or __package__:
    from .legacy_core import (
        GenerationResult,
        LegacyCore,
        Secret,
        Target,
        find_key,
        get_api_key,
        load_table,
    )
    from .llm_answers import LOCAL, explain, stamp, unfenced, would_answer
    from .switching import flagged
else:  # by its bare name: its folder is on the path, and there is no package
    from legacy_core import (
        GenerationResult,
        LegacyCore,
        Secret,
        Target,
        find_key,
        get_api_key,
        load_table,
    )
    from llm_answers import LOCAL, explain, stamp, unfenced, would_answer
    from switching import flagged

__all__ = ["LLMService", "get_api_key", "logger"]

logger = logging.getLogger(__name__)

_TABLE = "llm_service"
_HOSTED = {"deepseek": "DeepSeek", "glm": "GLM", "grok": "Grok"}
_DEFAULT_URL = "http://localhost:11434"
_DEFAULT_TIMEOUT = 300.0  # a large model on one's own machine takes its time

# Models that make vectors and cannot chat; Ollama lists them with the others.
_EMBEDDING = re.compile(r"embed|minilm|\bbge\b|bge-|\be5\b|gte-|rerank", re.IGNORECASE)


@flagged(
    "llm_service",
    paid=("generate", "generate_response", "generate_embedding"),
    free=("health_check",),
    start="initialize",
    close="close",
    attributes=("models", "current_model"),
)
class LLMService:
    """Answers prompts and embeds texts.

    Every method but ``generate`` reports failures in what it returns, and never raises. It
    may be used from any thread and any event loop.

    Args:
        config: ``llm_service_url``, ``deepseek_api_key``, ``glm_api_key`` and
            ``grok_api_key``; what is missing or None comes from the environment.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config = config
        self.base_url: str = _base_url(config.get("llm_service_url"))
        self.models: list[str] = []
        self.current_model: str | None = None
        self.deepseek_api_key = _key(config, "deepseek")
        self.glm_api_key = _key(config, "glm")
        self.grok_api_key = _key(config, "grok")
        table = load_table(_TABLE)
        self.api_endpoints = {pid: f"{table[pid].base_url}/chat/completions" for pid in _HOSTED}
        self._client: httpx.AsyncClient | None = None
        self._core = LegacyCore(self._targets, "llm_service")

    @property
    def client(self) -> httpx.AsyncClient:
        """An HTTP client, as the old service had one; the service itself does not use it."""
        if self._client is None:
            self._client = httpx.AsyncClient(timeout=30.0)
        return self._client

    def _targets(self) -> list[Target]:
        """Say how each provider is to be asked now: Ollama, and those that have a key."""
        timeout = _timeout()
        targets = []
        for pid, row in load_table(_TABLE).items():
            local = pid == LOCAL
            key = Secret("none") if local else getattr(self, f"{pid}_api_key")
            if key:
                targets.append(
                    Target(
                        pid=pid,
                        provider=row.provider,
                        base_url=self.base_url
                        if local
                        else self.api_endpoints.get(pid, row.base_url),
                        model=row.model,
                        api_key=key,
                        timeout=timeout if local else row.timeout,
                    )
                )
        return targets

    async def initialize(self) -> None:
        """Look for models; a service that is down is logged, and is no error."""
        await self.health_check()
        await self._load_models()
        if self.current_model:
            logger.info("LLM service initialized with model: %s", self.current_model)
        else:
            logger.warning("No models available in LLM service")

    async def health_check(self) -> dict[str, Any]:
        """Tell whether anybody would answer: Ollama, or one of those that stand in for it.

        Returns:
            ``status`` ("healthy" or "unhealthy"), ``timestamp``, ``service``, and ``error``
            if it is unhealthy.
        """
        try:
            providers = await self._core.health()
        except Exception as error:  # noqa: BLE001 -- the contract: it never raises
            return self._unhealthy(str(error))
        if any(would_answer(status) for status in providers.values()):
            return {"status": "healthy", **stamp(), "service": "llm"}
        reasons = [f"{name}: {status['reason']}" for name, status in providers.items()]
        return self._unhealthy("; ".join(reasons))

    def _unhealthy(self, error: str) -> dict[str, Any]:
        return {"status": "unhealthy", "error": error, **stamp(), "service": "llm"}

    async def _load_models(self) -> None:
        """Ask Ollama for its models; what is known stays if it does not answer."""
        try:
            models = await self._core.use(lambda manager: manager.providers[LOCAL].list_models())
        except Exception as error:  # noqa: BLE001 -- the contract: it never raises
            logger.error("Error loading models: %s", error)  # noqa: TRY400 -- its trace says nothing more
        else:
            self.models = models
            logger.info("Loaded %d models: %s", len(models), models)
        chosen = os.getenv("AMAS_LLM_MODEL", "").strip()
        chats = [name for name in self.models if not _EMBEDDING.search(name)]
        self.current_model = chosen or next(iter(chats or self.models), None)

    async def generate(
        self,
        prompt: str,
        model: str | None = None,
        temperature: float = 0.7,
        max_tokens: int = 1000,
        provider: str = LOCAL,
        system_prompt: str | None = None,
    ) -> str:
        """Answer a prompt with a text.

        Args:
            prompt: The prompt.
            model: Model of the provider asked first; its own if None.
            temperature: Sampling temperature.
            max_tokens: Longest answer, in tokens.
            provider: Who is asked first: ollama, deepseek, glm or grok.
            system_prompt: What the model is to be.

        Returns:
            The text. If the whole of it is one fenced block of JSON, what is in the fence.

        Raises:
            ValueError: There is no such provider, its key is not configured, or there is no
                model.
            ProviderError: Nobody could answer.
        """
        result = await self._ask(prompt, model, temperature, max_tokens, provider, system_prompt)
        return unfenced(result["content"])

    async def generate_response(
        self,
        prompt: str,
        model: str | None = None,
        temperature: float = 0.7,
        max_tokens: int = 1000,
        provider: str = LOCAL,
    ) -> dict[str, Any]:
        """Answer a prompt; the arguments are those of ``generate``.

        Returns:
            ``success`` True, ``response`` and ``content`` (the text), ``model``, ``provider``,
            ``tokens_used``, ``usage`` and ``timestamp``; or ``success`` False, ``error``,
            ``provider`` and ``timestamp``.
        """
        try:
            result = await self._ask(prompt, model, temperature, max_tokens, provider)
        except Exception as error:  # noqa: BLE001 -- the contract: it never raises
            text = explain(error, provider)
            logger.error("Error generating response with %s: %s", provider, text)  # noqa: TRY400
            return {"success": False, "error": text, "provider": provider, **stamp()}
        return {
            "success": True,
            "response": result["content"],
            "content": result["content"],
            "model": result["model"],
            "provider": result["provider"],
            "tokens_used": result["tokens_used"],
            "usage": dict(result["usage"] or {}),
            **stamp(),
        }

    async def _ask(
        self,
        prompt: str,
        model: str | None,
        temperature: float,
        max_tokens: int,
        provider: str,
        system_prompt: str | None = None,
    ) -> GenerationResult:
        timeout = 30.0
        if provider == LOCAL:
            timeout, model = _timeout(), model or await self._local_model()
        elif provider not in _HOSTED:
            raise ValueError(f"Unsupported provider: {provider}")
        elif not getattr(self, f"{provider}_api_key"):
            raise ValueError(f"{_HOSTED[provider]} API key not configured")
        return await self._core.ask(
            prompt,
            provider=provider,
            model=model,
            system_prompt=system_prompt,
            temperature=temperature,
            max_tokens=max_tokens,
            # Half of it is kept for those who stand in.
            deadline=max(120.0, 2 * timeout),
        )

    async def _local_model(self) -> str | None:
        """Return Ollama's model; None leaves it to whoever stands in, if anybody can.

        Raises:
            ValueError: There is no model, and nobody else.
        """
        if self.current_model is None:
            await self._load_models()
        if self.current_model is None and not await self._core.use(_others_stand_in):
            raise ValueError("No model available")
        return self.current_model

    async def generate_embedding(self, text: str, model: str | None = None) -> dict[str, Any]:
        """Turn a text into a vector, by Ollama.

        Args:
            text: The text.
            model: Its model; if None, the first that is for embeddings, else the current one.

        Returns:
            ``success`` True, ``embedding``, ``model`` and ``timestamp``; or ``success``
            False, ``error`` and ``timestamp``.
        """
        try:
            chosen = model or await self._embedding_model()
            result = await self._core.use(
                lambda manager: manager.providers[LOCAL].embed([text], model=chosen)
            )
        except Exception as error:  # noqa: BLE001 -- the contract: it never raises
            return {"success": False, "error": explain(error, LOCAL), **stamp()}
        return {
            "success": True,
            "embedding": result["embeddings"][0],
            "model": chosen,
            **stamp(),
        }

    async def _embedding_model(self) -> str:
        if not self.models:
            await self._load_models()
        made_for_it = (name for name in self.models if _EMBEDDING.search(name))
        chosen = next(made_for_it, self.current_model)
        if chosen is None:
            raise ValueError("No model available")
        return chosen

    async def close(self) -> None:
        """Give back everything; harmless when repeated."""
        await self._core.close()
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()


async def _others_stand_in(manager: Any) -> bool:
    """Tell whether somebody else may answer for Ollama."""
    await manager.initialize_all_providers()
    return manager.settings.failover_enabled and any(
        name != LOCAL for name in manager.active_providers
    )


def _base_url(given: str | None) -> str:
    """Return Ollama's address; where the caller left the default, that of the environment."""
    host, port = os.getenv("AMAS_LLM_HOST", "").strip(), os.getenv("AMAS_LLM_PORT", "").strip()
    if given not in {None, _DEFAULT_URL} or not (host or port):
        return given or _DEFAULT_URL
    return f"http://{host or 'localhost'}:{port or '11434'}"


def _timeout() -> float:
    try:
        seconds = float(os.getenv("AMAS_LLM_TIMEOUT", ""))
    except ValueError:
        return _DEFAULT_TIMEOUT
    return seconds if 0 < seconds < float("inf") else _DEFAULT_TIMEOUT


def _key(config: Mapping[str, Any], pid: str) -> Secret | None:
    """Return a key from the configuration, else from the environment; None where neither has it."""
    given = config.get(f"{pid}_api_key")
    if given is not None and (key := Secret(given)).get_secret_value():
        return key
    return find_key(load_table(_TABLE)[pid].env or "")
