"""Where in its trail a chain may stand: it is bound to its name. Pure."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path

from .files import ChainName, slot_of


@dataclass(frozen=True, slots=True)
class Place:
    """Where a chain stands.

    Args:
        base: What the names of all chains of its trail begin with.
        slots: Which of them it may be, counted from 1.
    """

    base: str
    slots: frozenset[int]

    def mistake(self, name: ChainName, written: object) -> str | None:
        """Return what is wrong if a chain was written as another one of its trail.

        Args:
            name: Its names.
            written: Which one it was written as.
        """
        if written in self.slots:
            return None
        stem = self.base if written == 1 else f"{self.base}-{written}"
        return f"was written as {stem}{name.suffix}"


def place_of(name: ChainName, trail: Path | None, others: Container[ChainName]) -> Place:
    """Return where a chain stands.

    Args:
        name: Its names.
        trail: The file that is configured; None if only files are given.
        others: The chains that are given.
    """
    if trail is not None:
        return Place(trail.stem, frozenset({slot_of(name, trail)}))
    slots = {name.slot}
    if ChainName(name.folder, name.base, name.suffix) not in others:
        # A trail of its own may have a name that ends so.
        slots.add(1)
    return Place(name.base, frozenset(slots))
