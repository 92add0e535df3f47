"""How many calls run, and when none does any more."""

from __future__ import annotations

import asyncio


class Running:
    """Counts calls that are under way."""

    def __init__(self) -> None:
        self.count = 0
        self.quiet = asyncio.Event()
        self.quiet.set()

    def enter(self) -> None:
        """Count one more."""
        self.count += 1
        self.quiet.clear()

    def leave(self) -> None:
        """Count one less."""
        self.count -= 1
        if not self.count:
            self.quiet.set()
