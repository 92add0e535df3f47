"""Where the provider layer is, whatever name a service was imported by.

The old modules go by up to four names: ``amas.services.X``, ``src.amas.services.X``,
``services.X`` and bare ``X``. Only the first two have a package above them to import from.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

# Stands for the package ``amas`` where nobody has imported it: its own __init__, which in a
# host application starts much more than providers, is not run.
_STAND_IN = "_amas"


def amas_package(package: str | None) -> str:
    """Return the name of the package ``amas`` to import from.

    Args:
        package: ``__package__`` of the module that asks.
    """
    parent, _, _ = (package or "").rpartition(".")
    if parent:
        return parent
    for name in ("amas", "src.amas"):
        if name in sys.modules:
            return name
    if _STAND_IN not in sys.modules:
        module = ModuleType(_STAND_IN)
        module.__path__ = [str(Path(__file__).resolve().parents[1])]
        sys.modules[_STAND_IN] = module
    return _STAND_IN


def take(into: dict[str, Any], module: str, *names: str) -> None:
    """Import names of the provider layer, as ``from ..<module> import <names>`` would.

    Args:
        into: ``globals()`` of the module that asks.
        module: Name of the module below ``amas``.
        *names: What to take from it.
    """
    found = import_module(f"{amas_package(into['__package__'])}.{module}")
    into.update({name: getattr(found, name) for name in names})
