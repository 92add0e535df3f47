"""The three clocks of a stream: first content, idle, total. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

from ..base import ProviderConfig


@dataclass(slots=True)
class StreamClocks:
    """Knows how long the next piece of a stream may take.

    Args:
        first_content: Seconds from the request to the first content.
        idle: Seconds between two pieces.
        total: Seconds from the request to the end.
        clock: The time in seconds; only differences matter.
    """

    first_content: float
    idle: float
    total: float
    clock: Callable[[], float]
    _started: float = field(init=False)
    _last: float = field(init=False)
    _content: bool = field(init=False, default=False)
    _end: float | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self._started = self._last = self.clock()

    @classmethod
    def of(cls, config: ProviderConfig, clock: Callable[[], float]) -> Self:
        """Take the clocks of a provider's configuration; what it leaves open is its timeout."""
        return cls(
            first_content=config.first_content_timeout or config.timeout,
            idle=config.idle_timeout or config.timeout,
            total=config.stream_timeout or config.timeout,
            clock=clock,
        )

    def tick(self, *, content: bool) -> None:
        """Note that a piece has come, and whether it had content."""
        self._last = self.clock()
        self._content = self._content or content

    def finish(self, seconds: float | None) -> None:
        """Note that what comes now is the end, for which there is this time; None if it was not."""
        self._end = None if seconds is None else self.clock() + seconds

    def limit(self) -> float:
        """Return the seconds until the first of the clocks runs out; negative if one has."""
        now = self.clock()
        ends = [self._started + self.total, self._last + self.idle]
        if not self._content:
            ends.append(self._started + self.first_content)
        if self._end is not None:
            ends.append(self._end)
        return min(ends) - now

    def verdict(self) -> str:
        """Say which clock has run out."""
        now = self.clock()
        if now - self._started >= self.total:
            return f"not complete within {self.total:g} s"
        if not self._content and now - self._started >= self.first_content:
            return f"no content within {self.first_content:g} s"
        return f"silent for {self.idle:g} s"
