"""A provider's limits of requests and tokens per minute, at the door."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .rate_limits import RateLimits


@dataclass(slots=True)
class RateGate:
    """Lets through what the limits allow, and remembers until when they are used up.

    Args:
        limits: Where requests and tokens are counted.
        name: Name of the provider.
        rpm: Requests per minute; no limit if None.
        tpm: Tokens per minute; no limit if None.
        clock: The time in seconds; only differences matter.
        free_at: Until when not even the smallest request is let through.
        refused_for: Seconds after which the request refused last is worth another try.
    """

    limits: RateLimits
    name: str
    rpm: int | None
    tpm: int | None
    clock: Callable[[], float]
    free_at: float = 0.0
    refused_for: float = 0.0

    def wait(self) -> float:
        """Return the seconds until it is worth trying again; 0 or less if that is now."""
        return self.free_at - self.clock()

    async def take(self, tokens: int) -> bool:
        """Take a request of so many tokens, if the limits allow it."""
        wait = await self.limits.take(self.name, rpm=self.rpm, tpm=self.tpm, tokens=tokens)
        least = wait
        if wait > 0 and tokens > 1:
            # A large request that has to wait does not keep away smaller ones that need not.
            least = await self.limits.wait(self.name, rpm=self.rpm, tpm=self.tpm, tokens=1)
        self.free_at = self.clock() + least
        self.refused_for = wait
        return wait <= 0

    async def settle(self, *, estimated: int, used: int) -> None:
        """Count what a request has used beyond the estimate."""
        await self.limits.settle(self.name, tpm=self.tpm, estimated=estimated, used=used)
