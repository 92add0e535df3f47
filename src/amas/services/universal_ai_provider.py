"""One provider of the Universal AI Manager: what is known of it, and how it has done."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Any

from typing_extensions import override

if TYPE_CHECKING or __package__:
    from .legacy_core import Attempt, HealthProbe, Secret, Target, find_key, load_table
    from .legacy_core import ProviderStatus as LiveStatus
    from .legacy_words import can_be_asked, local_time, word_of_attempt, word_of_state
else:  # by its bare name: its folder is on the path, and there is no package
    from legacy_core import Attempt, HealthProbe, Secret, Target, find_key, load_table
    from legacy_core import ProviderStatus as LiveStatus
    from legacy_words import can_be_asked, local_time, word_of_attempt, word_of_state

__all__ = [
    "ProviderConfig",
    "ProviderStatus",
    "ProviderType",
    "configured",
    "health",
    "note",
    "target",
]

_TABLE = "universal_ai_manager"

# How OpenRouter learns which application asks.
_OPENROUTER = {
    "HTTP-Referer": "https://github.com/over7-maker/Advanced-Multi-Agent-Intelligence-System",
    "X-Title": "AMAS Universal AI Manager",
}


class ProviderStatus(Enum):
    """How a provider is doing."""

    ACTIVE = "active"
    FAILED = "failed"
    TESTING = "testing"
    UNKNOWN = "unknown"
    RATE_LIMITED = "rate_limited"
    THROTTLED = "throttled"


class ProviderType(Enum):
    """The protocol that a provider speaks."""

    OPENAI_COMPATIBLE = "openai_compatible"
    GROQ = "groq"
    CEREBRAS = "cerebras"
    GEMINI = "gemini"
    NVIDIA = "nvidia"
    COHERE = "cohere"
    CHUTES = "chutes"
    CODESTRAL = "codestral"


@dataclass
class ProviderConfig:
    """A provider, and how it has done.

    What is assigned to it holds from the next call on. The key is masked wherever it is
    shown; ``api_key.get_secret_value()`` has its text.
    """

    name: str
    api_key: str
    base_url: str
    model: str
    provider_type: ProviderType
    priority: int = 10
    timeout: float = 30
    max_retries: int = 3
    max_tokens: int = 4096
    temperature: float = 0.7
    status: ProviderStatus = ProviderStatus.UNKNOWN
    last_used: datetime | None = None
    success_count: int = 0
    failure_count: int = 0
    avg_response_time: float = 0
    rate_limit_until: datetime | None = None
    consecutive_failures: int = 0
    last_error: str | None = None

    @override
    def __setattr__(self, name: str, value: Any) -> None:
        if name == "api_key" and isinstance(value, str):
            value = Secret(value)
        super().__setattr__(name, value)

    def to_dict(self) -> dict[str, Any]:
        """Describe it in values that JSON knows; the key is not among them."""
        return {
            "name": self.name,
            "api_key_present": bool(self.api_key) and self.api_key != "",
            "base_url": self.base_url,
            "model": self.model,
            "provider_type": self.provider_type.value,
            "priority": self.priority,
            "status": self.status.value,
            "last_used": _iso(self.last_used),
            "success_count": self.success_count,
            "failure_count": self.failure_count,
            "avg_response_time": self.avg_response_time,
            "success_rate": self.get_success_rate(),
            "consecutive_failures": self.consecutive_failures,
            "last_error": self.last_error,
        }

    def get_success_rate(self) -> float:
        """Return the share of its requests that were answered, in percent; 0.0 without any."""
        total = self.success_count + self.failure_count
        return self.success_count / total * 100 if total else 0.0


def configured() -> dict[str, ProviderConfig]:
    """Return the providers that have a key, in the order of priority."""
    return {
        pid: ProviderConfig(
            name=row.name,
            api_key=key,
            base_url=row.base_url,
            model=row.model,
            provider_type=ProviderType[row.type],
            priority=row.priority,
            max_tokens=row.max_tokens or 4096,
        )
        for pid, row in load_table(_TABLE).items()
        if (key := find_key(row.env or "")) is not None
    }


def target(pid: str, config: ProviderConfig) -> Target:
    """Say how a provider is to be asked.

    Args:
        pid: Its name; one that is not in the old table is asked as its type says.
        config: What is known of it.
    """
    row = load_table(_TABLE).get(pid)
    kind = config.provider_type
    by_type = "openai" if kind is ProviderType.OPENAI_COMPATIBLE else kind.value
    protocol = row.provider if row else by_type
    return Target(
        pid=pid,
        provider=protocol,
        base_url=config.base_url,
        model=config.model,
        api_key=Secret(config.api_key),
        timeout=config.timeout,
        max_retries=config.max_retries,
        max_tokens=config.max_tokens,
        temperature=config.temperature,
        # It costs a request of each provider; what calls tell was always enough here.
        health_probe=HealthProbe.OFF,
        headers=_OPENROUTER if protocol == "openrouter" else {},
    )


def note(config: ProviderConfig, attempt: Attempt, wait: float | None) -> None:
    """Count that a provider was asked.

    Args:
        config: The provider.
        attempt: How it ended.
        wait: Seconds for which it is left alone, if it was asked too often.
    """
    config.status = ProviderStatus(word_of_attempt(attempt))
    config.rate_limit_until = None if wait is None else local_time() + timedelta(seconds=wait)
    if config.status is not ProviderStatus.ACTIVE:
        config.failure_count += 1
        config.consecutive_failures += 1
        config.last_error = attempt["error"]
        return
    seconds, average = attempt["latency_ms"] / 1000, config.avg_response_time
    config.avg_response_time = (average + seconds) / 2 if average else seconds
    config.success_count += 1
    config.consecutive_failures = 0
    config.last_used = local_time()


def health(config: ProviderConfig, live: LiveStatus | None, *, active: bool) -> dict[str, Any]:
    """Describe how a provider is doing.

    Args:
        config: The provider.
        live: What the manager says of it; None before it was asked.
        active: Whether it takes part.
    """
    status = _status(config, live)
    limited = status is ProviderStatus.RATE_LIMITED
    return {
        "name": config.name,
        "priority": config.priority,
        "status": status.value,
        "available": active and can_be_asked(live),
        "success_count": config.success_count,
        "failure_count": config.failure_count,
        "success_rate": f"{config.get_success_rate():.1f}%",
        "avg_response_time": f"{config.avg_response_time:.2f}s",
        "consecutive_failures": config.consecutive_failures,
        "last_used": _iso(config.last_used),
        "last_error": config.last_error or _reason(status, live),
        "rate_limited": _iso(config.rate_limit_until) if limited else None,
    }


def _status(config: ProviderConfig, live: LiveStatus | None) -> ProviderStatus:
    word = word_of_state(live)
    if word is not None:
        return ProviderStatus(word)
    # Whoever was told to wait, and has waited, is like one that was never asked.
    over = config.status is ProviderStatus.RATE_LIMITED
    return ProviderStatus.UNKNOWN if over else config.status


def _reason(status: ProviderStatus, live: LiveStatus | None) -> str | None:
    """Say why it is not asked, where no request of its own has told, such as for its key."""
    return live["reason"] if live and status is ProviderStatus.FAILED else None


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
