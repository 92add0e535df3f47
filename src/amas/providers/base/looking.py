"""Starting providers for a look at them only: whatever calls alone need is left for later."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_looking: ContextVar[bool] = ContextVar("amas_looking", default=False)


@contextmanager
def looking_only() -> Iterator[None]:
    """Let providers that are started within leave out what only a call needs, such as LiteLLM.

    Health checks and listings of models do without. A call works all the same, and waits for it.
    """
    token = _looking.set(True)
    try:
        yield
    finally:
        _looking.reset(token)


def is_looking_only() -> bool:
    """Tell whether it is likely that nobody is going to make a call."""
    return _looking.get()
