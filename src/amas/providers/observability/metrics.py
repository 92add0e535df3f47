"""Metrics for Prometheus: what events tell, and how providers are doing now."""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING

from ..errors import ProviderConfigError
from ..types import ProviderStatus
from .events import Event
from .metrics_instruments import Instruments
from .metrics_state import ManagerState

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry


class _Shared:
    """The instruments of one registry, kept as long as it is, and who uses them now."""

    def __init__(self) -> None:
        self.instruments = Instruments()
        self.users: weakref.WeakSet[Metrics] = weakref.WeakSet()
        self.shown = False


@dataclass(frozen=True, slots=True)
class _Home:
    """What is in use, by the registry it is shown in."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    in_use: weakref.WeakKeyDictionary[CollectorRegistry, _Shared] = field(
        default_factory=weakref.WeakKeyDictionary
    )


def _common_home() -> _Home:
    """Return what every copy of this module has: ``amas.…`` and ``src.amas.…``."""
    module = vars(sys.modules.setdefault("_amas_metrics", ModuleType("_amas_metrics")))
    home: _Home = module.setdefault("home", _Home())
    return home


_home = _common_home()


class Metrics:
    """Counts what happens in one manager, in a registry that others may use as well.

    Whoever has the same registry in one process shares the metrics: they count together.

    Args:
        registry: Where they are shown; the default registry of ``prometheus_client`` if None.

    Raises:
        ProviderConfigError: ``prometheus_client`` is missing, or the registry has metrics of
            the same names from somebody else.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._registry = default_registry() if registry is None else registry
        self._state: ManagerState | None = None
        with _home.lock:
            shared = _home.in_use.get(self._registry)
            if shared is None:
                shared = _home.in_use[self._registry] = _Shared()
        self._shared = shared
        self._join()

    def _join(self) -> None:
        with _home.lock:
            if not self._shared.shown:
                _register(self._shared.instruments, self._registry)
                self._shared.shown = True
            self._shared.users.add(self)

    @property
    def handle(self) -> Callable[[Sequence[Event]], None]:
        """What counts events: for a ``Worker``, whose thread then does not hold the manager."""
        return self._shared.instruments.count

    def attach(
        self,
        status: Callable[[], Mapping[str, ProviderStatus]],
        dropped: Callable[[], Mapping[str, int]],
        audit_trouble: Callable[[], str | None] | None = None,
    ) -> None:
        """Show how a manager is doing, instead of one attached before; also after ``close``.

        Each is called in the thread that asks for the page, whenever it does; what it raises is
        logged the first time.

        Args:
            status: How its providers are doing, by name.
            dropped: How many events each of its observers had no room for, by name.
            audit_trouble: Why its audit trail cannot be written, None while it can; None in its
                place if it has no trail.

        Raises:
            ProviderConfigError: After ``close``, if somebody else has taken the names meanwhile.
        """
        self._detach()
        self._join()
        self._state = ManagerState(status, dropped, audit_trouble)
        self._shared.instruments.attach(self._state)

    def _detach(self) -> None:
        state, self._state = self._state, None
        if state is not None:
            self._shared.instruments.detach(state)

    def close(self) -> None:
        """Show the manager no longer; the last one takes the metrics out of the registry.

        What was counted stays counted, should a manager come again.
        """
        self._detach()
        shared = self._shared
        with _home.lock:
            shared.users.discard(self)
            if shared.shown and not shared.users:
                self._registry.unregister(shared.instruments)
                shared.shown = False


def default_registry() -> CollectorRegistry:
    """Return the registry of ``prometheus_client``.

    Raises:
        ProviderConfigError: The package is missing.
    """
    try:
        from prometheus_client import REGISTRY  # noqa: PLC0415 -- an extra
    except ImportError:
        raise ProviderConfigError(
            "metrics need the package prometheus-client: pip install 'amas-providers[metrics]'"
        ) from None
    return REGISTRY


def _register(instruments: Instruments, registry: CollectorRegistry) -> None:
    try:
        registry.register(instruments)
    except ValueError:
        raise ProviderConfigError(
            "metrics: the registry has metrics named amas_provider_… already that are not ours;"
            " rename those, or give us another registry"
        ) from None
