"""Which provider is asked, what happens when it fails, and how all of them are doing.

The package also answers to the names of the host's module ``providers/manager.py``, which
it stands in for; see ``host_names``. They load on first use. ``provider_manager`` is our
submodule of that name and, at the same time, what the host knows as its instance: the
module hands on what it does not have itself. ``ProviderManager`` is the host's class;
ours is ``amas.providers.ProviderManager``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .host_names import (
        AIProvider,
        MockProvider,
        ProviderConfig,
        ProviderManager,
        ProviderStatus,
        get_provider_manager,
        validate_environment,
    )

__all__ = [
    "AIProvider",
    "MockProvider",
    "ProviderConfig",
    "ProviderManager",
    "ProviderStatus",
    "get_provider_manager",
    "provider_manager",
    "validate_environment",
]


def __getattr__(name: str) -> Any:
    if name == "provider_manager":
        return import_module(".provider_manager", __name__)
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(".host_names", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
