"""Records as two days of traffic leave them behind, with an outage in them."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

END = datetime(2026, 11, 24, 6, tzinfo=UTC)
START = END - timedelta(days=2)
DOWN = datetime(2026, 11, 24, 1, 40, tzinfo=UTC), datetime(2026, 11, 24, 3, 10, tzinfo=UTC)
SLOW = datetime(2026, 11, 24, 4, 20, tzinfo=UTC)
HOSTILE = "<script>alert(1)</script>\x1b[31m\u202e"

_USUAL_MS = {"openai": 850.0, "anthropic": 1_200.0, "local": 320.0}
_MODELS = {"openai": "gpt-5-mini", "anthropic": "claude-sonnet-5", "local": "qwen3"}
_PRICES = {"openai": 2e-6, "anthropic": 8e-6}  # US dollars a token
_CALLERS = ("osint_agent", "report_writer", "triage", None, HOSTILE)


def time_text(at: datetime) -> str:
    """Write a time as records have it."""
    return at.isoformat(timespec="microseconds").replace("+00:00", "Z")


class Traffic:
    """Makes the records of two days: openai is down for 90 minutes, later anthropic gets slow.

    Args:
        every: Seconds between two calls at noon; at night it is four times that.
    """

    def __init__(self, every: float) -> None:
        self._every = every
        self._chance = random.Random(6)
        self._number = 0

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield the records in the order of time."""
        at, opened = START, False
        while (at := at + self._pause(at)) < END:
            self._number += 1
            down = DOWN[0] <= at < DOWN[1]
            if down and not opened:
                opened = True
                yield self._circuit(at, "closed", "open")
            if opened and not down:
                opened = False
                yield self._circuit(at, "half_open", "closed")
            yield self._refusal(at) if self._number % 400 == 0 else self._call(at, down=down)

    def _pause(self, at: datetime) -> timedelta:
        day = 1 - math.cos(
            2 * math.pi * (at.hour + at.minute / 60) / 24
        )  # 0 at midnight, 2 at noon
        return timedelta(seconds=self._chance.expovariate(1) * self._every * 4 / (1 + 1.5 * day))

    def _attempt(self, provider: str, at: datetime, outcome: str = "ok") -> dict[str, Any]:
        ms = self._chance.lognormvariate(math.log(_USUAL_MS[provider]), 0.35)
        if provider == "anthropic" and at >= SLOW:
            ms *= 5
        if outcome == "timeout":
            ms = 10_000.0
        if outcome == "unavailable":
            ms = 40.0
        return {
            "provider": provider,
            "model": _MODELS[provider],
            "outcome": outcome,
            "ms": round(ms, 3),
        }

    def _call(self, at: datetime, *, down: bool) -> dict[str, Any]:
        chance = self._chance
        first = chance.choices(["openai", "anthropic", "local"], [6, 3, 1])[0]
        attempts = [self._attempt(first, at)]
        if first == "openai" and (down or chance.random() < 0.004):
            outcome = chance.choice(["timeout", "timeout", "unavailable"])
            attempts = [self._attempt("openai", at, outcome), self._attempt("anthropic", at)]
        if chance.random() < 0.003:
            attempts[-1] = self._attempt(attempts[-1]["provider"], at, "content_policy")
        last = attempts[-1]
        record: dict[str, Any] = {
            "time": time_text(at),
            "kind": "call",
            "request_id": f"req_{self._number:06d}",
            "caller": chance.choices(_CALLERS, [50, 30, 15, 4, 1])[0],
            "provider": last["provider"],
            "model": last["model"],
            "outcome": last["outcome"],
            "attempts": attempts,
            "latency_ms": round(sum(each["ms"] for each in attempts) + 0.1, 3),
        }
        if record["caller"] is None:
            del record["caller"]
        if last["outcome"] == "ok":
            total = chance.randrange(200, 4_000)
            record["tokens"] = {
                "prompt": total // 2,
                "completion": total - total // 2,
                "total": total,
            }
            price = _PRICES.get(last["provider"])
            record["cost_usd"] = None if price is None else round(price * total, 8)
            if chance.random() < 0.3:
                record["streamed"] = True
                record["first_content_ms"] = round(record["latency_ms"] / 4, 3)
        return record

    def _refusal(self, at: datetime) -> dict[str, Any]:
        return {
            "time": time_text(at),
            "kind": "access",
            "request_id": f"req_{self._number:06d}",
            "caller": "intern",
            "allowed": False,
            "reason": "there is no rule for this caller",
        }

    def _circuit(self, at: datetime, before: str, after: str) -> dict[str, Any]:
        return {
            "time": time_text(at),
            "kind": "circuit",
            "provider": "openai",
            "before": before,
            "after": after,
            "outcome": "timeout",
            "cause": "calls",
        }


@pytest.fixture(scope="session")
def two_days() -> list[dict[str, Any]]:
    """Give out the records of two days, some 5,000."""
    return list(Traffic(20.0).records())
