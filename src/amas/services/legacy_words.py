"""How the old services put things: the manager's results and states, in their words."""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING or __package__:
    from .legacy_core import Attempt, GenerationResult, Outcome, ProviderStatus
else:  # by its bare name: its folder is on the path, and there is no package
    from legacy_core import Attempt, GenerationResult, Outcome, ProviderStatus

__all__ = ["can_be_asked", "local_time", "openai_form", "word_of_attempt", "word_of_state"]


def local_time() -> datetime:
    """Return the local time without its zone: callers compare it with times of that kind."""
    return datetime.now()  # noqa: DTZ005 -- as the old services told it


def openai_form(result: GenerationResult) -> dict[str, Any]:
    """Return an answer in the form in which OpenAI sends it."""
    message: dict[str, Any] = {"role": "assistant", "content": result["content"]}
    if result["tool_calls"]:
        message["tool_calls"] = result["tool_calls"]
    answer = {
        "id": result["request_id"],
        "object": "chat.completion",
        "created": int(time.time()),
        "model": result["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": result["finish_reason"]}],
    }
    return answer | ({"usage": dict(result["usage"])} if result["usage"] else {})


# What a state means in the words of the old services; any other is "failed".
_WORDS = {
    "cooling_down": "rate_limited",
    "limit_reached": "throttled",
    "busy": "throttled",
    "full": "throttled",
}

# An upstream that is well, and has too much to do.
_OVERLOADED = 529


def word_of_attempt(attempt: Attempt) -> str:
    """Say in the old services' words how a request ended."""
    if attempt["status_code"] == _OVERLOADED:
        return "throttled"
    words = {Outcome.OK: "active", Outcome.RATE_LIMITED: "rate_limited"}
    return words.get(Outcome(attempt["outcome"]), "failed")


def word_of_state(status: ProviderStatus | None) -> str | None:
    """Say in the old services' words what speaks against asking a provider now.

    Args:
        status: How it is doing; None if nobody has been asked yet.

    Returns:
        The word; None if nothing speaks against it.
    """
    if status is None:
        return None
    starting = status["state"] == "unavailable" and status["check_ms"] is None
    if starting or status["circuit"] == "half_open":
        return "testing"
    return None if status["state"] == "available" else _WORDS.get(status["state"], "failed")


def can_be_asked(status: ProviderStatus | None) -> bool:
    """Tell whether a provider would be asked now, if its turn came."""
    return status is None or status["state"] in {"available", "busy", "unhealthy"}
