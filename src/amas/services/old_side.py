"""The old implementation of a service: found by its import path, and made when it is needed."""

from __future__ import annotations

import asyncio
import copy
import threading
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..providers.errors import ProviderConfigError
    from ..providers.observability.logging import get_logger
    from .feature_flags import Choice, Decision
else:
    if __package__:
        from .feature_flags import Choice, Decision
        from .location import take
    else:
        from feature_flags import Choice, Decision
        from location import take

    take(globals(), "providers.errors", "ProviderConfigError")
    take(globals(), "providers.observability.logging", "get_logger")

__all__ = ["NEW_MARK", "OldSide"]

NEW_MARK = "_amas_flagged_service"
"""Attribute of every class that obeys a flag: such a class is no old implementation."""

_logger = get_logger("amas.services.flags")


class OldSide:
    """The old implementation behind one object of the new one; may be used from any thread.

    Args:
        service: Name of the service.
        class_name: Name of the class, where the import path does not say.
        args: What the new object was made with.
        kwargs: The same, by name.
    """

    def __init__(
        self, service: str, class_name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> None:
        self._service = service
        self._class_name = class_name
        self._args = args
        self._kwargs = kwargs
        self._lock = threading.RLock()
        self._made: dict[str, Any] = {}
        self._broken: set[str] = set()

    def path(self, decision: Decision) -> str:
        """Return the import path that holds for a decision."""
        return decision.settings.old or f"legacy.{self._service}"

    def get(self, decision: Decision) -> Any:
        """Return the old object; the first time, it imports and makes it.

        Returns:
            The object; None if there is none and the new one may stand in.

        Raises:
            ProviderConfigError: There is none, and the flag is ``off``.
        """
        path = self.path(decision)
        if self._is_settled(path, decision):
            return self._made.get(path)
        try:
            return self._take(path, self._find(path), decision)
        except Exception as error:  # noqa: BLE001 -- an old module may raise anything
            return self._without(path, error, decision)

    async def aget(self, decision: Decision) -> Any:
        """Do what ``get`` does, but import without blocking the event loop."""
        path = self.path(decision)
        if self._is_settled(path, decision):
            return self._made.get(path)
        try:
            return self._take(path, await asyncio.to_thread(self._find, path), decision)
        except Exception as error:  # noqa: BLE001 -- an old module may raise anything
            return self._without(path, error, decision)

    def existing(self) -> list[Any]:
        """Return the old objects that were made so far."""
        return list(self._made.values())

    def _is_settled(self, path: str, decision: Decision) -> bool:
        return path in self._made or (path in self._broken and not decision.strict)

    def _take(self, path: str, found: Any, decision: Decision) -> Any:
        with self._lock:
            if path not in self._made:
                args, kwargs = self._args, self._kwargs
                if decision.choice is Choice.SHADOW:
                    args, kwargs = _copied((args, kwargs))
                self._made[path] = found(*args, **kwargs)
            return self._made[path]

    def _without(self, path: str, error: Exception, decision: Decision) -> None:
        """Go on without the old implementation, if that is allowed; it is said once."""
        if decision.strict:
            raise error
        if path not in self._broken:
            self._broken.add(path)
            _logger.error("the new implementation answers instead of the old", error=str(error))

    def _find(self, path: str) -> Any:
        """Return the old class.

        Raises:
            ProviderConfigError: It cannot be had.
        """
        module, _, name = path.partition(":")
        name = name or self._class_name
        try:
            found = getattr(import_module(module), name)
        except Exception as error:
            raise self._unusable(path, f"{type(error).__name__}: {error}") from error
        if getattr(found, NEW_MARK, None):
            raise self._unusable(path, "this is the new implementation itself")
        return found

    def _unusable(self, path: str, why: str) -> ProviderConfigError:
        setting = f"providers.migration.{self._service}.old"
        return ProviderConfigError(
            f"{setting}: the old {self._class_name} cannot be taken from {path!r} ({why}); set it"
            f" to the import path of the old module, or set the flag {self._service} to on"
        )


def _copied(value: Any) -> Any:
    """Return a deep copy; what cannot be copied is shared."""
    try:
        return copy.deepcopy(value)
    except Exception:  # noqa: BLE001 -- an object's own __deepcopy__ may raise anything
        return value
