"""The manager that the host's orchestrators ask language models through; see MIGRATION.md.

Names, arguments, keys and defaults are those of the old module. Behind them the provider
layer chooses, retries, fails over and sets aside; what is counted here follows from its
records of each call.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING or __package__:
    from .legacy_core import (
        GenerationResult,
        LegacyCore,
        ProviderError,
        Target,
        get_api_key,
    )
    from .legacy_reply import Reply, try_ask
    from .legacy_words import can_be_asked, local_time, openai_form
    from .switching import flagged
    from .universal_ai_provider import (
        ProviderConfig,
        ProviderStatus,
        ProviderType,
        configured,
        health,
        note,
        target,
    )
else:  # by its bare name: its folder is on the path, and there is no package
    from legacy_core import (
        GenerationResult,
        LegacyCore,
        ProviderError,
        Target,
        get_api_key,
    )
    from legacy_reply import Reply, try_ask
    from legacy_words import can_be_asked, local_time, openai_form
    from switching import flagged
    from universal_ai_provider import (
        ProviderConfig,
        ProviderStatus,
        ProviderType,
        configured,
        health,
        note,
        target,
    )

__all__ = [
    "ProviderConfig",
    "ProviderStatus",
    "ProviderType",
    "UniversalAIManager",
    "generate_ai_response",
    "get_api_key",
    "get_universal_ai_manager",
    "logger",
    "test_universal_ai_manager",
]

logger = logging.getLogger(__name__)

# The manager's strategies that had a name here; any other name means the first of them.
_STRATEGIES = ("priority", "round_robin", "intelligent", "fastest")

_RULE = "=" * 80


@flagged(
    "universal_ai_manager",
    paid=("generate",),
    plain=("get_stats", "get_provider_health", "reset_stats", "get_config_summary"),
    close="close",
    attributes=("providers", "active_providers", "current_index", "global_stats"),
)
class UniversalAIManager:
    """Asks up to 15 providers in turn until one answers.

    It may be used from any thread and any event loop. Who is asked, and how, is read from
    ``active_providers`` and ``providers`` with each call.

    Raises:
        Exception: No provider has a key.
    """

    def __init__(self) -> None:
        self.providers: dict[str, ProviderConfig] = {}
        self.active_providers: list[str] = []
        self.current_index = 0
        self.global_stats = _fresh_stats(local_time())
        self._lock = threading.Lock()
        self._core = LegacyCore(self._targets, "universal_ai_manager")
        self._initialize_providers()

    def _initialize_providers(self) -> None:
        """Take in every provider that has a key, in the order of priority."""
        self.providers = configured()
        self.active_providers = list(self.providers)
        if not self.active_providers:
            raise Exception("No active AI providers configured")  # noqa: TRY002 -- as it always was
        logger.info("Universal AI Manager asks %s", ", ".join(self.active_providers))

    def _targets(self) -> list[Target]:
        known = self.providers
        return [target(pid, known[pid]) for pid in self.active_providers if known[pid].api_key]

    async def generate(
        self,
        prompt: str,
        system_prompt: str | None = None,
        strategy: str = "intelligent",
        max_attempts: int | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Answer a prompt, by whichever provider can; failures are told, and never raised.

        Args:
            prompt: The prompt.
            system_prompt: What the model is to be.
            strategy: Who is asked first: priority, round_robin, intelligent or fastest.
            max_attempts: How many providers may be asked; all if None or 0.
            **kwargs: ``max_tokens`` and ``temperature``; others are ignored.

        Returns:
            ``success`` True, ``content``, ``response_time`` (seconds), ``provider``,
            ``provider_name``, ``tokens_used`` and ``raw_response``; or ``success`` False,
            ``error``, ``provider``, ``provider_name``, ``attempts`` (how many providers were
            asked) and ``stats``.
        """
        with self._lock:
            self.global_stats["total_requests"] += 1
            self.current_index += strategy == "round_robin"
        reply = await try_ask(
            self._core,
            prompt,
            system_prompt=system_prompt or None,
            strategy=strategy if strategy in _STRATEGIES else _STRATEGIES[0],
            max_providers=max_attempts or None,
            max_tokens=kwargs.get("max_tokens"),
            temperature=kwargs.get("temperature"),
        )
        with self._lock:
            self._count(reply)
        if not isinstance(reply.outcome, Exception):
            return self._success(reply.outcome)
        logger.error("All AI providers failed: %s", reply.outcome)
        return {
            "success": False,
            "error": "All AI providers failed",
            "provider": "none",
            "provider_name": "All Providers Failed",
            "attempts": len(reply.attempts),
            "stats": self.get_stats(),
        }

    def _success(self, result: GenerationResult) -> dict[str, Any]:
        pid = result["provider"]
        config = self.providers.get(pid)  # None for one of the configuration file
        return {
            "success": True,
            "content": result["content"],
            "response_time": result["latency_ms"] / 1000,
            "provider": pid,
            "provider_name": config.name if config else pid,
            "tokens_used": result["tokens_used"],
            "raw_response": openai_form(result),
        }

    def _count(self, reply: Reply) -> None:
        """Count a call, and how it went with each provider; the lock is held."""
        for attempt in reply.attempts:
            config = self.providers.get(attempt["provider"])
            if config is not None:
                note(config, attempt, reply.waits.get(attempt["provider"]))
        stats = self.global_stats
        if isinstance(reply.outcome, Exception):
            stats["failed_requests"] += 1
            return
        pid = reply.outcome["provider"]
        stats["successful_requests"] += 1
        stats["total_response_time"] += reply.outcome["latency_ms"] / 1000
        stats["average_response_time"] = stats["total_response_time"] / stats["successful_requests"]
        stats["providers_usage"][pid] = stats["providers_usage"].get(pid, 0) + 1
        stats["total_fallbacks"] += reply.attempts[0]["provider"] != pid

    async def _make_request(
        self, provider_id: str, messages: Sequence[dict[str, str]], **kwargs: Any
    ) -> dict[str, Any]:
        """Send one request to one provider; nobody stands in for it, and nothing is counted."""
        asked = {name: kwargs.get(name) for name in ("max_tokens", "temperature")}
        began = time.monotonic()
        try:
            result: Any = await self._core.use(
                lambda manager: manager.providers[provider_id].generate(messages, **asked)
            )
        except ProviderError as error:
            return {
                "success": False,
                "error": str(error),
                "response_time": time.monotonic() - began,
                "provider": provider_id,
            }
        return self._success(result)

    def _is_provider_available(self, provider_id: str) -> bool:
        """Tell whether a provider would be asked now, if its turn came."""
        active = provider_id in self.active_providers
        return active and can_be_asked(self._core.status().get(provider_id))

    def get_stats(self) -> dict[str, Any]:
        """Return the statistics; a copy, which does not change afterwards."""
        with self._lock:
            stats = {**self.global_stats}
            usage = dict(stats["providers_usage"])
        total = stats["total_requests"]
        rate = stats["successful_requests"] / total * 100 if total else 0.0
        return {
            "total_providers": len(self.providers),
            "active_providers": len(self.active_providers),
            "total_requests": total,
            "successful_requests": stats["successful_requests"],
            "failed_requests": stats["failed_requests"],
            "success_rate": f"{rate:.1f}%",
            "total_fallbacks": stats["total_fallbacks"],
            "average_response_time": f"{stats['average_response_time']:.2f}s",
            "providers_usage": usage,
            "uptime_seconds": (local_time() - stats["uptime"]).total_seconds(),
            "last_reset": stats["last_reset"].isoformat(),
        }

    def get_provider_health(self) -> dict[str, dict[str, Any]]:
        """Return how each provider is doing, as far as calls have told; nobody is asked."""
        live = self._core.status()
        return {
            pid: health(config, live.get(pid), active=pid in self.active_providers)
            for pid, config in self.providers.items()
        }

    def reset_stats(self) -> None:
        """Set all counters to zero, and take back whoever is set aside for failures."""
        with self._lock:
            self.global_stats = _fresh_stats(self.global_stats["uptime"])
            for config in self.providers.values():
                config.success_count = config.failure_count = config.consecutive_failures = 0
                config.avg_response_time = 0
                config.last_error = None
        self._core.take_back()

    def get_config_summary(self) -> str:
        """Describe the providers in a text for people."""
        active = [self.providers[pid] for pid in self.active_providers]
        idle = [self.providers[pid].name for pid in self.providers.keys() - self.active_providers]
        return "\n".join(
            [
                _RULE,
                "🤖 UNIVERSAL AI MANAGER - CONFIGURATION SUMMARY",
                _RULE,
                f"Total Providers: {len(self.providers)}",
                f"Active Providers: {len(active)}",
                "\nACTIVE PROVIDERS (in priority order):\n",
                *(
                    f"  [{one.priority:2d}] {one.name:25s} | {one.model:35s}"
                    f" | {one.provider_type.value}"
                    for one in active
                ),
                "\nINACTIVE PROVIDERS:\n",
                *(f"  ❌ {name} (API key not configured)" for name in sorted(idle)),
                *([] if idle else ["  ✅ All providers configured!"]),
                _RULE,
            ]
        )

    async def close(self) -> None:
        """Take no more calls, and give back everything; harmless when repeated."""
        await self._core.close()


def _fresh_stats(uptime: datetime) -> dict[str, Any]:
    return {
        "total_requests": 0,
        "successful_requests": 0,
        "failed_requests": 0,
        "total_fallbacks": 0,
        "providers_usage": {},
        "average_response_time": 0,
        "total_response_time": 0,
        "last_reset": local_time(),
        "uptime": uptime,
    }


_universal_ai_manager: UniversalAIManager | None = None
_making = threading.Lock()


def get_universal_ai_manager() -> UniversalAIManager:
    """Return the manager that everybody shares; it is made when first asked for.

    Raises:
        Exception: No provider has a key.
    """
    global _universal_ai_manager  # noqa: PLW0603 -- the old module had it by this name
    with _making:
        if _universal_ai_manager is None:
            _universal_ai_manager = UniversalAIManager()
        return _universal_ai_manager


async def generate_ai_response(
    prompt: str, system_prompt: str | None = None, strategy: str = "intelligent", **kwargs: Any
) -> dict[str, Any]:
    """Answer a prompt with the shared manager; see ``UniversalAIManager.generate``."""
    return await get_universal_ai_manager().generate(prompt, system_prompt, strategy, **kwargs)


async def test_universal_ai_manager() -> None:
    """Show the shared manager at work; it asks real providers."""
    manager = get_universal_ai_manager()
    _show(manager.get_config_summary())
    for strategy in ("intelligent", "priority", "fastest"):
        result = await manager.generate(f"Say '{strategy}', and nothing else.", strategy=strategy)
        if result["success"]:
            _show(f"✅ {strategy}: {result['content'][:100]}")
            _show(f"   {result['provider_name']}, {result['response_time']:.2f}s")
        else:
            _show(f"❌ {strategy}: {result['error']}")
    for name, value in manager.get_stats().items():
        _show(f"  {name}: {value}")
    for info in manager.get_provider_health().values():
        mark = "✅" if info["available"] else "❌"
        _show(f"{mark} {info['name']:25s} | {info['status']} | {info['success_rate']}")


def _show(line: str) -> None:
    print(line)  # noqa: T201 -- a demonstration for people


if __name__ == "__main__":
    asyncio.run(test_universal_ai_manager())
