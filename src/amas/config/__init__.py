"""Settings of the host and the schema of the ``providers:`` section.

The host's settings load on first use, so that the schema needs no pydantic-settings.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .settings import AMASConfig, get_settings

__all__ = ["AMASConfig", "get_settings"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(".settings", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
