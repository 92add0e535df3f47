"""What happens, as frozen records: one class for each kind of thing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from typing_extensions import override


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened."""

    kind: ClassVar[str]

    @property
    def serious(self) -> bool:
        """Whether somebody should look at it."""
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessDecision(Event):
    """A caller was allowed to make a call, or not.

    Args:
        request_id: Our id of the call.
        caller: Who called; None if that was not said.
        allowed: Whether the call went on.
        rule: The rule that decided.
        reason: Why it was denied.
        provider: The provider asked for by name.
        model: The model asked for by name.
        providers: Names of the providers that it may go to.
    """

    kind: ClassVar[str] = "access"

    request_id: str
    caller: str | None
    allowed: bool
    rule: str | None = None
    reason: str | None = None
    provider: str | None = None
    model: str | None = None
    providers: tuple[str, ...] = ()

    @property
    @override
    def serious(self) -> bool:
        return not self.allowed


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyChange(Event):
    """A provider was given another key, or a new one was not taken.

    Args:
        provider: Name of the provider.
        key: Which of its keys, counted from 1.
        changed: Whether the new one is used now.
        cause: Who or what changed it: ``rotate_key`` or ``reload``.
        reason: Why it was not taken.
    """

    kind: ClassVar[str] = "key"

    provider: str
    key: int
    changed: bool
    cause: str
    reason: str | None = None

    @property
    @override
    def serious(self) -> bool:
        return not self.changed
