"""The system that the host's scripts ask language models through; see MIGRATION.md.

Names, arguments, keys and defaults are those of the old module. Behind them the provider
layer chooses, retries, fails over and sets aside; what is counted here follows from its
records of each call. ``ultimate_fallback_system``, the instance that everybody shares, is
made when first asked for.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Collection, Mapping
from copy import deepcopy
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING or __package__:
    from .legacy_core import Attempt, LegacyCore, Outcome, Target, get_api_key
    from .legacy_reply import Reply, try_ask, try_ask_sync
    from .legacy_words import local_time, openai_form
    from .switching import flagged
    from .ultimate_fallback_provider import (
        Config,
        ProviderStatus,
        fresh_providers,
        health,
        note,
        status_now,
        target,
    )
else:  # by its bare name: its folder is on the path, and there is no package
    from legacy_core import Attempt, LegacyCore, Outcome, Target, get_api_key
    from legacy_reply import Reply, try_ask, try_ask_sync
    from legacy_words import local_time, openai_form
    from switching import flagged
    from ultimate_fallback_provider import (
        Config,
        ProviderStatus,
        fresh_providers,
        health,
        note,
        status_now,
        target,
    )

if TYPE_CHECKING:
    ultimate_fallback_system: UltimateFallbackSystem

# Without ``ultimate_fallback_system``: whoever takes all names does not want it made.
__all__ = [
    "ProviderStatus",
    "UltimateFallbackSystem",
    "generate_ai_response",
    "get_api_key",
    "get_fallback_stats",
    "get_provider_health",
    "logger",
    "reset_fallback_order",
    "test_ultimate_fallback",
]

logger = logging.getLogger(__name__)

_SHARED = "ultimate_fallback_system"


@flagged(
    "ultimate_fallback_system",
    paid=("generate_response", "query_with_fallback"),
    plain=("get_fallback_stats", "get_provider_health", "reset_fallback_order"),
    close="close",
    attributes=(
        "providers",
        "active_providers",
        "fallback_stats",
        "current_provider_index",
        "random_mode",
    ),
)
class UltimateFallbackSystem:
    """Asks up to nine providers in turn until one answers.

    It may be used from any thread and any event loop. Who is asked, and how, is read from
    ``active_providers`` and ``providers`` with each call.

    Raises:
        Exception: No provider has a key.
    """

    def __init__(self) -> None:
        self.providers: dict[str, Config] = fresh_providers()
        self.fallback_stats: dict[str, Any] = {
            "total_requests": 0,
            "successful_requests": 0,
            "failed_requests": 0,
            "fallback_usage": {},
            "provider_performance": {},
            "average_response_time": 0,
            "last_reset": local_time().isoformat(),
            "random_selection_count": 0,
            "priority_selection_count": 0,
        }
        self.active_providers = self._get_active_providers()
        self.current_provider_index = 0
        self.random_mode = True
        self._lock = threading.Lock()
        self._core = LegacyCore(self._targets, "ultimate_fallback_system")

    def _get_active_providers(self) -> list[str]:
        """Return who has a key, in the order of priority."""
        active = [pid for pid, config in self.providers.items() if config["api_key"]]
        if not active:
            raise Exception(  # noqa: TRY002 -- as it always was
                "No active AI providers found! Please set at least one API key."
            )
        logger.info("Ultimate Fallback System asks %s", ", ".join(active))
        return active

    def _targets(self) -> list[Target]:
        known = self.providers
        return [target(pid, known[pid]) for pid in self.active_providers if known[pid]["api_key"]]

    async def generate_response(self, prompt: str, **kwargs: Any) -> dict[str, Any]:
        """Answer a prompt, by whichever provider can; failures are told, and never raised.

        Args:
            prompt: The prompt.
            **kwargs: ``max_tokens`` (2000) and ``temperature`` (0.7); others are ignored.

        Returns:
            ``success`` True, ``provider``, ``provider_name``, ``response`` (in the form in
            which OpenAI sends it), ``content``, ``response_time`` (seconds) and
            ``tokens_used``; or ``success`` False, ``provider``, ``provider_name``, ``error``
            and ``fallback_stats``.
        """
        random_mode = self._begin()
        reply = await try_ask(self._core, prompt, **_asked(random_mode, kwargs))
        return self._end(reply, random_mode)

    def query_with_fallback(self, prompt: str) -> str:
        """Answer a prompt with a text; it blocks, also where an event loop runs.

        Args:
            prompt: The prompt.

        Raises:
            ProviderError: Nobody could answer.
        """
        random_mode = self._begin()
        reply = try_ask_sync(self._core, prompt, **_asked(random_mode, {}))
        result = self._end(reply, random_mode)
        if isinstance(reply.outcome, Exception):
            raise reply.outcome
        return str(result["content"])

    def _begin(self) -> bool:
        with self._lock:
            self.fallback_stats["total_requests"] += 1
            return self.random_mode

    def _end(self, reply: Reply, random_mode: bool) -> dict[str, Any]:
        """Count what came of a call, and put it in the old words."""
        with self._lock:
            self._count(reply, random_mode)
        result = reply.outcome
        if isinstance(result, Exception):
            logger.error("All AI providers failed: %s", result)
            return {
                "success": False,
                "provider": "none",
                "provider_name": "All Providers Failed",
                "error": "All AI providers failed",
                "fallback_stats": self._copy_stats(),
            }
        pid = result["provider"]
        config = self.providers.get(pid)  # None for one of the configuration file
        return {
            "success": True,
            "provider": pid,
            "provider_name": config["name"] if config else pid,
            "response": openai_form(result),
            "content": result["content"],
            "response_time": result["latency_ms"] / 1000,
            "tokens_used": result["tokens_used"],
        }

    def _count(self, reply: Reply, random_mode: bool) -> None:
        """Count a call, and how it went with each provider; the lock is held."""
        stats = self.fallback_stats
        for attempt in reply.attempts:
            self._count_attempt(attempt, reply.waits.get(attempt["provider"]))
        selections = "random_selection_count" if random_mode else "priority_selection_count"
        stats[selections] += len(reply.attempts)
        if isinstance(reply.outcome, Exception):
            stats["failed_requests"] += 1
            return
        pid = reply.outcome["provider"]
        stats["successful_requests"] += 1
        stats["fallback_usage"][pid] = stats["fallback_usage"].get(pid, 0) + 1
        stats["average_response_time"] = _average(stats["provider_performance"].values())
        if not random_mode and pid in self.active_providers:
            self.current_provider_index = self.active_providers.index(pid)

    def _count_attempt(self, attempt: Attempt, wait: float | None) -> None:
        pid = attempt["provider"]
        told = self.fallback_stats["provider_performance"].setdefault(
            pid,
            {
                "success_count": 0,
                "failure_count": 0,
                "total_response_time": 0,
                "average_response_time": 0,
            },
        )
        if attempt["outcome"] == Outcome.OK:
            told["success_count"] += 1
            told["total_response_time"] += attempt["latency_ms"] / 1000
            told["average_response_time"] = _average([told])
        else:
            told["failure_count"] += 1
        if pid in self.providers:
            note(self.providers[pid], attempt, wait)

    def _copy_stats(self) -> dict[str, Any]:
        with self._lock:
            return deepcopy(self.fallback_stats)

    def get_fallback_stats(self) -> dict[str, Any]:
        """Return the statistics; a copy, which does not change afterwards."""
        stats = self._copy_stats()
        total = stats["total_requests"]
        rate = stats["successful_requests"] / total * 100 if total else 0.0
        live = self._core.status()
        return {
            "total_requests": total,
            "successful_requests": stats["successful_requests"],
            "failed_requests": stats["failed_requests"],
            "success_rate": f"{rate:.1f}%",
            "average_response_time": f"{stats['average_response_time']:.2f}s",
            "fallback_usage": stats["fallback_usage"],
            "provider_performance": stats["provider_performance"],
            "active_providers": len(self.active_providers),
            "provider_names": [self.providers[pid]["name"] for pid in self.active_providers],
            "provider_status": {
                pid: status_now(config, live.get(pid)).value
                for pid, config in self.providers.items()
            },
            "random_selection_count": stats["random_selection_count"],
            "priority_selection_count": stats["priority_selection_count"],
            "last_reset": stats["last_reset"],
        }

    def get_provider_health(self) -> dict[str, dict[str, Any]]:
        """Return how each provider is doing, as far as calls have told; nobody is asked."""
        live = self._core.status()
        return {pid: health(config, live.get(pid)) for pid, config in self.providers.items()}

    def reset_fallback_order(self) -> None:
        """Begin with the first provider again, and change between random and priority mode."""
        with self._lock:
            self.current_provider_index = 0
            self.random_mode = not self.random_mode
            self.fallback_stats["last_reset"] = local_time().isoformat()

    async def close(self) -> None:
        """Take no more calls, and give back everything; harmless when repeated."""
        await self._core.close()


def _asked(random_mode: bool, given: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "strategy": "intelligent" if random_mode else "priority",
        "max_tokens": given.get("max_tokens", 2000),
        "temperature": given.get("temperature", 0.7),
    }


def _average(performances: Collection[Mapping[str, Any]]) -> float:
    """Return the mean time of answers, in seconds; there is at least one."""
    answers = sum(one["success_count"] for one in performances)
    seconds = sum(one["total_response_time"] for one in performances)
    return float(seconds / answers)


_making = threading.Lock()


def _shared() -> UltimateFallbackSystem:
    with _making:
        if _SHARED not in globals():
            globals()[_SHARED] = UltimateFallbackSystem()
        shared: UltimateFallbackSystem = globals()[_SHARED]
        return shared


def __getattr__(name: str) -> UltimateFallbackSystem:
    if name == _SHARED:
        return _shared()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


async def generate_ai_response(prompt: str, **kwargs: Any) -> dict[str, Any]:
    """Answer a prompt with the shared system; see ``generate_response``."""
    return await _shared().generate_response(prompt, **kwargs)


def get_fallback_stats() -> dict[str, Any]:
    """Return the statistics of the shared system."""
    return _shared().get_fallback_stats()


def get_provider_health() -> dict[str, dict[str, Any]]:
    """Return how each provider of the shared system is doing."""
    return _shared().get_provider_health()


def reset_fallback_order() -> None:
    """Change the mode of the shared system, and begin with its first provider again."""
    _shared().reset_fallback_order()


async def test_ultimate_fallback() -> None:
    """Show the shared system at work; it asks a real provider."""
    result = await generate_ai_response("Say 'Ultimate Fallback Test Successful'.")
    if result["success"]:
        _show(f"✅ {result['provider_name']}, {result['response_time']:.2f}s")
        _show(f"   {result['content'][:100]}")
    else:
        _show(f"❌ {result['error']}")
    for name, value in get_fallback_stats().items():
        _show(f"  {name}: {value}")
    for info in get_provider_health().values():
        _show(f"  {info['name']}: {info['status']} ({info['success_rate']})")


def _show(line: str) -> None:
    print(line)  # noqa: T201 -- a demonstration for people


if __name__ == "__main__":
    asyncio.run(test_ultimate_fallback())
