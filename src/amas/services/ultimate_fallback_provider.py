"""One provider of the Ultimate Fallback System: what is known of it, and how it has done."""

from __future__ import annotations

import time
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING or __package__:
    from .legacy_core import Attempt, HealthProbe, Secret, Target, find_key, load_table
    from .legacy_core import ProviderStatus as LiveStatus
    from .legacy_words import local_time, word_of_attempt, word_of_state
else:  # by its bare name: its folder is on the path, and there is no package
    from legacy_core import Attempt, HealthProbe, Secret, Target, find_key, load_table
    from legacy_core import ProviderStatus as LiveStatus
    from legacy_words import local_time, word_of_attempt, word_of_state

__all__ = ["Config", "ProviderStatus", "fresh_providers", "health", "note", "status_now", "target"]

Config = dict[str, Any]
"""A provider as the old system kept it: its settings and its counters, by name."""

_TABLE = "ultimate_fallback_system"


class ProviderStatus(Enum):
    """How a provider is doing."""

    ACTIVE = "active"
    FAILED = "failed"
    TESTING = "testing"
    UNKNOWN = "unknown"
    RATE_LIMITED = "rate_limited"


def fresh_providers() -> dict[str, Config]:
    """Return all providers of the old table, those without a key among them."""
    keys = {pid: find_key(row.env or "") for pid, row in load_table(_TABLE).items()}
    return {
        pid: {
            "name": row.name,
            "api_key": keys[pid],
            "base_url": row.base_url,
            "model": row.model,
            "priority": row.priority,
            "timeout": row.timeout,
            "max_retries": 3,
            "status": ProviderStatus.ACTIVE if keys[pid] else ProviderStatus.FAILED,
            "last_used": None,
            "success_count": 0,
            "failure_count": 0,
            "response_time": 0,
            "rate_limit_until": None,
        }
        for pid, row in load_table(_TABLE).items()
    }


def target(pid: str, config: Config) -> Target:
    """Say how a provider is to be asked.

    Args:
        pid: Its name; one that is not in the old table is asked as OpenAI is.
        config: What is known of it.
    """
    row = load_table(_TABLE).get(pid)
    return Target(
        pid=pid,
        provider=row.provider if row else "openai",
        base_url=config["base_url"],
        model=config["model"],
        api_key=Secret(config["api_key"]),
        timeout=config["timeout"],
        max_retries=config["max_retries"],
        # One request of a caller's is one request to one provider.
        health_probe=HealthProbe.OFF,
    )


def note(config: Config, attempt: Attempt, wait: float | None) -> None:
    """Count that a provider was asked.

    Args:
        config: The provider.
        attempt: How it ended.
        wait: Seconds for which it is left alone, if it was asked too often.
    """
    config["status"] = _status(word_of_attempt(attempt))
    answered = config["status"] is ProviderStatus.ACTIVE
    config["success_count" if answered else "failure_count"] += 1
    config["response_time"] = attempt["latency_ms"] / 1000
    config["last_used"] = local_time().isoformat()
    config["rate_limit_until"] = None if wait is None else time.time() + wait


def status_now(config: Config, live: LiveStatus | None) -> ProviderStatus:
    """Return how a provider is doing.

    Args:
        config: What the requests to it have told.
        live: What the manager says of it; None before anybody was asked.
    """
    word = word_of_state(live)
    if word is not None:
        return _status(word)
    noted: ProviderStatus = config["status"]
    # Whoever was told to wait, and has waited, is asked again.
    return ProviderStatus.ACTIVE if noted is ProviderStatus.RATE_LIMITED else noted


def health(config: Config, live: LiveStatus | None) -> dict[str, Any]:
    """Describe how a provider is doing; the arguments are those of ``status_now``."""
    status = status_now(config, live)
    total = config["success_count"] + config["failure_count"]
    rate = config["success_count"] / total * 100 if total else 0.0
    limited = status is ProviderStatus.RATE_LIMITED
    return {
        "name": config["name"],
        "status": status.value,
        "success_count": config["success_count"],
        "failure_count": config["failure_count"],
        "success_rate": f"{rate:.1f}%",
        "average_response_time": f"{config['response_time']:.2f}s",
        "last_used": config["last_used"],
        "priority": config["priority"],
        "rate_limited_until": config["rate_limit_until"] if limited else None,
    }


def _status(word: str) -> ProviderStatus:
    # The old system had no word of its own for an upstream that has too much to do.
    return ProviderStatus.FAILED if word == "throttled" else ProviderStatus(word)
