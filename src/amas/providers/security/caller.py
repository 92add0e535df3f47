"""Who calls: said once for a service, a task or a block, instead of with every call."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import ModuleType


def _shared() -> ContextVar[str | None]:
    """Return the variable that every copy of this module has: ``amas.…`` and ``src.amas.…``."""
    home = vars(sys.modules.setdefault("_amas_caller", ModuleType("_amas_caller")))
    caller: ContextVar[str | None] = home.setdefault("caller", ContextVar("caller", default=None))
    return caller


_caller = _shared()


def set_caller(name: str | None) -> None:
    """Say who calls from here on, in this task and those it starts.

    Args:
        name: Name of the caller, as in the access rules; None for nobody in particular.
    """
    _caller.set(name)


@contextmanager
def calling_as(name: str | None) -> Iterator[None]:
    """Say who calls within a block.

    Args:
        name: Name of the caller, as in the access rules; None for nobody in particular.
    """
    token = _caller.set(name)
    try:
        yield
    finally:
        _caller.reset(token)


def current_caller() -> str | None:
    """Return who was said to call; None if that was not said."""
    return _caller.get()
