"""How providers are doing now, as gauges that are made when somebody asks for the page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeVar

from ..types import ProviderStatus
from .logging import get_logger
from .metrics_labels import Labels, clean

if TYPE_CHECKING:
    from prometheus_client.core import Metric

T = TypeVar("T")

PREFIX: Final = "amas_provider_"

# Best first: of a provider that several managers have, the worst is shown.
_CIRCUIT_STATES: Final = ("closed", "half_open", "open")
_KEY_STATES: Final = ("available", "cooling_down", "set_aside", "unavailable")

# What the state of a provider with a single key, whose status lists no keys, says of that key.
_ONLY_KEY: Final = {
    "cooling_down": "cooling_down",
    "key_refused": "set_aside",
    "unavailable": "unavailable",
    "disabled": "unavailable",
}
# A call is sent to it, or waits for it.
_UP: Final = frozenset({"available", "busy"})

_log = get_logger("amas.providers.observability")


@dataclass(slots=True, eq=False, weakref_slot=True)
class ManagerState:
    """Where the state of one manager is read, in whatever thread asks for it.

    Args:
        status: How its providers are doing, by name.
        dropped: How many events each of its observers had no room for, by name.
        audit_trouble: Why its audit trail cannot be written, None while it can; None in its
            place if there is no trail.
    """

    status: Callable[[], Mapping[str, ProviderStatus]]
    dropped: Callable[[], Mapping[str, int]]
    audit_trouble: Callable[[], str | None] | None
    _complained: bool = False

    def read(self, what: Callable[[], T], otherwise: T) -> T:
        """Return what a function returns; if it raises, something else, logged the first time."""
        try:
            return what()
        except Exception as error:  # noqa: BLE001 -- the rest of the page is worth having
            if not self._complained:
                self._complained = True
                _log.warning("metrics_incomplete", error=f"{error!r}")
            return otherwise


@dataclass(slots=True)
class _Provider:
    """One provider, as all managers that have it see it together."""

    up: bool = True
    in_flight: int = 0
    waiting: int = 0
    circuit: str = _CIRCUIT_STATES[0]
    keys: dict[str, str] = field(default_factory=dict)

    def add(self, status: ProviderStatus) -> None:
        self.up = self.up and status["state"] in _UP
        self.in_flight += status["in_flight"]
        self.waiting += status["waiting"]
        self.circuit = _worse(_CIRCUIT_STATES, self.circuit, status["circuit"])
        for number, state in _key_states(status).items():
            known = self.keys.get(number, _KEY_STATES[0])
            self.keys[number] = _worse(_KEY_STATES, known, state)


def _key_states(status: ProviderStatus) -> dict[str, str]:
    if not status["keys"]:
        return {"1": _ONLY_KEY.get(status["state"], _KEY_STATES[0])}
    return {str(key["key"]): key["state"] for key in status["keys"]}


def _worse(order: Sequence[str], one: str, other: str) -> str:
    return max(one, other, key=order.index)


class Snapshot:
    """The state of all managers together, at one moment.

    Args:
        labels: The labels of providers.
        dropped: Events that were dropped in managers that are gone, by observer.
    """

    def __init__(self, labels: Labels, dropped: Mapping[str, int]) -> None:
        self._labels = labels
        self._providers: dict[str, _Provider] = {}
        self._dropped = Counter(dropped)
        self._audit_working: bool | None = None

    def add(self, state: ManagerState) -> None:
        """Add one manager; what of it cannot be read is left out, and nothing is raised."""
        state.read(lambda: self._add_providers(state.status()), None)
        state.read(lambda: self._dropped.update(state.dropped()), None)
        if state.audit_trouble is not None:
            unknown: str | None = "it cannot be told"
            trouble = state.read(state.audit_trouble, unknown)
            self._audit_working = self._audit_working is not False and trouble is None

    def _add_providers(self, statuses: Mapping[str, ProviderStatus]) -> None:
        for name, status in statuses.items():
            self._providers.setdefault(self._labels[name], _Provider()).add(status)

    @property
    def providers(self) -> Sequence[str]:
        """The labels of the providers."""
        return tuple(self._providers)

    def metrics(self) -> Iterator[Metric]:
        """Yield it in the form of ``prometheus_client``; metrics without a value are there, too."""
        from prometheus_client.core import CounterMetricFamily  # noqa: PLC0415 -- an extra

        providers = self._providers.items()
        yield _gauge(
            "up",
            "1 while calls are sent to it or wait for it, 0 while they are not.",
            ("provider",),
            {(name,): provider.up for name, provider in providers},
        )
        yield _gauge(
            "in_flight",
            "Requests under way.",
            ("provider",),
            {(name,): provider.in_flight for name, provider in providers},
        )
        yield _gauge(
            "waiting",
            "Calls that wait for room at a provider.",
            ("provider",),
            {(name,): provider.waiting for name, provider in providers},
        )
        yield _gauge(
            "circuit_state",
            "1 for the state that the circuit is in, 0 for the others.",
            ("provider", "state"),
            {
                (name, state): state == provider.circuit
                for name, provider in providers
                for state in _CIRCUIT_STATES
            },
        )
        yield _gauge(
            "key_state",
            "1 for the state that a key is in, 0 for the others; keys are counted from 1.",
            ("provider", "key", "state"),
            {
                (name, number, state): state == present
                for name, provider in providers
                for number, present in provider.keys.items()
                for state in _KEY_STATES
            },
        )
        dropped = CounterMetricFamily(
            f"{PREFIX}dropped_events",
            "Events that an observer had no room for.",
            labels=("observer",),
        )
        for observer, count in self._dropped.items():
            dropped.add_metric((clean(observer),), count)
        yield dropped
        working = self._audit_working
        yield _gauge(
            "audit_working",
            "1 while the audit trail can be written, 0 while not; absent without a trail.",
            (),
            {} if working is None else {(): working},
        )


def _gauge(
    name: str, text: str, labels: Sequence[str], values: Mapping[tuple[str, ...], float]
) -> Metric:
    from prometheus_client.core import GaugeMetricFamily  # noqa: PLC0415 -- an extra

    family = GaugeMetricFamily(f"{PREFIX}{name}", text, labels=labels)
    for label_values, value in values.items():
        family.add_metric(label_values, float(value))
    return family
