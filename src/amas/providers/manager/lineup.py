"""Whom one call may still ask, in order; worked out only as far as somebody looks. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from .member import Member


class Others(Protocol):
    """Who can stand in for the first."""

    def is_any_free(self) -> bool:
        """Tell whether one of them may be asked now."""
        ...

    def work_out(self) -> list[Member]:
        """Return all of them, in order."""
        ...


class Lineup:
    """Whom a call may ask.

    As a rule the first one answers. So the others may be left open until they are needed; with
    hundreds of providers, to put them in order takes longer than all else.

    Args:
        members: Whom to ask first, in order.
        others: Who comes after them; nobody if None.
    """

    def __init__(self, members: Iterable[Member] = (), others: Others | None = None) -> None:
        self._left = list(members)
        self._all = list(self._left)
        self._others = others

    def __bool__(self) -> bool:
        return bool(self._left) or bool(self.left())

    def left(self) -> list[Member]:
        """Return who has not been asked yet, in order."""
        if self._others is not None:
            found = self._others.work_out()
            self._others = None
            self._left += found
            self._all += found
        return self._left

    def everyone(self) -> list[Member]:
        """Return all, whether asked or not, in order."""
        self.left()
        return self._all

    def first_free(self) -> Member | None:
        """Return who is asked first, unless too many wait there; None if nobody can be asked."""
        known = next((member for member in self._left if member.available()), None)
        if known is not None:
            return known
        return next((member for member in self.left() if member.available()), None)

    def take_next(self) -> Member:
        """Take out whom to ask next: the first with a free slot; if all are full, the first to wait for."""
        if self._left and _is_open(self._left[0]):
            return self._left.pop(0)
        left = self.left()
        open_now = [item for item in left if item.available()]
        chosen = next(
            (item for item in open_now if item.bulkhead.has_room),
            next((item for item in open_now if item.bulkhead.may_wait), left[0]),
        )
        left.remove(chosen)
        return chosen

    def is_followed(self) -> bool:
        """Tell whether somebody who has not been asked yet may be asked now."""
        if any(item.available() for item in self._left):
            return True
        return self._others is not None and self._others.is_any_free()

    def keep(self, members: list[Member]) -> None:
        """Ask no others than these of those who have not been asked yet."""
        self._left = members


def _is_open(member: Member) -> bool:
    return member.available() and member.bulkhead.has_room
