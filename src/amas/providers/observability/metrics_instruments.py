"""The metrics themselves: what events are counted and measured by."""

from __future__ import annotations

import math
import threading
import weakref
from collections import Counter as Count
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from ..types import Outcome
from .events import (
    AccessDecision,
    AttemptEnded,
    CallEnded,
    CircuitChanged,
    ConfigurationChanged,
    Event,
    FailedOver,
    KeyChange,
)
from .metrics_labels import Labels
from .metrics_state import PREFIX, ManagerState, Snapshot
from .outcomes import BLAMELESS, PERHAPS_BILLED

if TYPE_CHECKING:
    from prometheus_client import Counter, Histogram
    from prometheus_client.core import Metric

M = TypeVar("M", "Counter", "Histogram")

# Seconds: from the answer of a cache to the patience of a reasoning model's caller.
BUCKETS: Final = (0.05, 0.1, 0.25, 0.5, 0.75, 1, 1.5, 2.5, 5, 7.5, 10, 15, 20, 30, 60, 120)

# Names that have a label of their own.
_CALLERS: Final = 100
_MODELS: Final = 100
_OUTCOMES: Final = 100
_PROVIDERS: Final = 1000


class _Family(dict[tuple[str, ...], M], Generic[M]):
    """A metric's series by their labels; looked up again they cost a tenth of ``labels()``."""

    def __init__(self, metric: M) -> None:
        super().__init__()
        self._metric: M = metric

    def __missing__(self, labels: tuple[str, ...]) -> M:
        series: M = self._metric.labels(*labels)
        self[labels] = series
        return series


class Instruments:
    """All metrics of one registry, for every manager that uses it; a collector for it.

    It holds no manager: what is attached is let go when its owner lets it go.
    """

    def __init__(self) -> None:
        self._callers = Labels(_CALLERS, "")
        self._models = Labels(_MODELS, "none")
        self._outcomes = Labels(_OUTCOMES, "none")
        self._providers = Labels(_PROVIDERS, "none")
        self._lock = threading.Lock()
        self._states: weakref.WeakSet[ManagerState] = weakref.WeakSet()
        self._dropped_before: Count[str] = Count()
        self._metrics: list[Counter | Histogram] = []
        self._calls = self._counter("calls", "Calls.", "caller", "provider", "outcome")
        self._attempts = self._counter(
            "attempts", "Requests sent to upstreams.", "provider", "model", "outcome"
        )
        self._failovers = self._counter(
            "failovers",
            "Calls that went on with another provider, by who failed, who followed and why.",
            *("provider", "following", "outcome"),
        )
        self._call_seconds = self._histogram(
            "call_seconds", "Seconds of whole calls, failovers included.", "provider", "outcome"
        )
        self._attempt_seconds = self._histogram(
            "attempt_seconds", "Seconds of single requests.", "provider", "outcome"
        )
        self._first_content = self._histogram(
            "first_content_seconds",
            "Seconds from a request to the first content of its stream.",
            "provider",
        )
        self._tokens = self._counter(
            "tokens", "Tokens as upstreams count them.", "caller", "provider", "model", "kind"
        )
        self._cost = self._counter(
            "cost_usd", "US dollars, where the price is known.", "caller", "provider", "model"
        )
        self._unknown_cost = self._counter(
            "requests_of_unknown_cost",
            "Requests that were answered without a known price, or ended early and may be billed.",
            *("provider", "model", "outcome"),
        )
        self._denied = self._counter("access_denied", "Calls that access rules denied.", "caller")
        self._key_changes = self._counter(
            "key_changes", "New keys that were taken, and that were not.", "provider", "changed"
        )
        self._openings = self._counter("circuit_openings", "Circuits that opened.", "provider")
        self._reloads = self._counter(
            "configuration_reloads", "Configurations that were read again.", "taken"
        )
        # By their words, which all copies of the package have in common.
        self._counting: dict[str, Callable[[Any], None]] = {
            CallEnded.kind: self._count_call,
            AttemptEnded.kind: self._count_attempt,
            FailedOver.kind: self._count_failover,
            CircuitChanged.kind: self._count_circuit,
            AccessDecision.kind: self._count_access,
            KeyChange.kind: self._count_key,
            ConfigurationChanged.kind: self._count_reload,
        }

    def _counter(self, name: str, text: str, *labels: str) -> _Family[Counter]:
        from prometheus_client import Counter  # noqa: PLC0415 -- an extra

        counter = Counter(f"{PREFIX}{name}", text, labels, registry=None)
        self._metrics.append(counter)
        return _Family(counter)

    def _histogram(self, name: str, text: str, *labels: str) -> _Family[Histogram]:
        from prometheus_client import Histogram  # noqa: PLC0415 -- an extra

        histogram = Histogram(f"{PREFIX}{name}", text, labels, registry=None, buckets=BUCKETS)
        self._metrics.append(histogram)
        return _Family(histogram)

    def count(self, events: Sequence[Event]) -> None:
        """Count what has happened.

        Raises:
            Exception: An event could not be read; all others are counted.
        """
        trouble: Exception | None = None
        for event in events:
            counting = self._counting.get(event.kind)
            if counting is None:
                continue
            try:
                counting(event)
            except Exception as error:  # noqa: BLE001 -- what a foreign provider answers is not checked
                trouble = error
        if trouble is not None:
            raise trouble

    def _count_call(self, event: CallEnded) -> None:
        caller = self._callers[event.caller]
        provider = self._providers[event.provider]
        self._calls[caller, provider, self._outcomes[event.outcome]].inc()
        seconds = self._call_seconds[provider, _verdict(event.outcome)]
        seconds.observe(event.latency_ms / 1000)
        model = self._models[event.model]
        cost, usage = event.cost_usd, event.usage
        # A cost that is no amount would spoil the sum for good.
        if cost is not None and 0 <= cost < math.inf:
            self._cost[caller, provider, model].inc(cost)
        elif event.ok:
            self._unknown_cost[provider, model, "ok"].inc()
        if usage is not None:
            prompt, completion = usage["prompt_tokens"], usage["completion_tokens"]
            self._tokens[caller, provider, model, "prompt"].inc(_amount(prompt))
            self._tokens[caller, provider, model, "completion"].inc(_amount(completion))

    def _count_attempt(self, event: AttemptEnded) -> None:
        attempt = event.attempt
        provider = self._providers[attempt["provider"]]
        outcome = attempt["outcome"]
        model = self._models[attempt["model"]]
        self._attempts[provider, model, self._outcomes[outcome]].inc()
        seconds = self._attempt_seconds[provider, _verdict(outcome)]
        seconds.observe(attempt["latency_ms"] / 1000)
        if outcome in PERHAPS_BILLED:
            self._unknown_cost[provider, model, outcome].inc()
        if event.first_content_ms is not None:
            self._first_content[provider,].observe(event.first_content_ms / 1000)

    def _count_failover(self, event: FailedOver) -> None:
        provider, following = self._providers[event.provider], self._providers[event.following]
        self._failovers[provider, following, self._outcomes[event.outcome]].inc()

    def _count_circuit(self, event: CircuitChanged) -> None:
        # A failed probe goes on with what was opened before; keys have states of their own.
        if event.key is None and event.before == "closed" and event.after == "open":
            self._openings[self._providers[event.provider],].inc()

    def _count_access(self, event: AccessDecision) -> None:
        if not event.allowed:
            self._denied[self._callers[event.caller],].inc()

    def _count_key(self, event: KeyChange) -> None:
        self._key_changes[self._providers[event.provider], _word(event.changed)].inc()

    def _count_reload(self, event: ConfigurationChanged) -> None:
        self._reloads[_word(event.taken),].inc()

    def attach(self, state: ManagerState) -> None:
        """Show the state of a manager, for as long as somebody else holds it."""
        with self._lock:
            self._states.add(state)

    def detach(self, state: ManagerState) -> None:
        """Show it no longer; what its observers dropped stays counted, as a counter has to."""
        with self._lock:
            self._states.remove(state)
            nothing: Mapping[str, int] = {}
            self._dropped_before.update(state.read(state.dropped, nothing))

    def describe(self) -> Iterator[Metric]:
        """Yield every metric without its values, for the registry to know the names."""
        for metric in self._metrics:
            yield from metric.describe()
        yield from Snapshot(self._providers, {}).metrics()

    def collect(self) -> Iterator[Metric]:
        """Yield every metric, for the page."""
        with self._lock:
            states, dropped = tuple(self._states), dict(self._dropped_before)
        snapshot = Snapshot(self._providers, dropped)
        for state in states:
            snapshot.add(state)
        for provider in snapshot.providers:
            # There from the start, so that the first opening is seen as a rise.
            _ = self._openings[provider,]
        for metric in self._metrics:
            yield from metric.collect()
        yield from snapshot.metrics()


def _verdict(outcome: str) -> str:
    """Return ``ok``, ``error``, or ``other`` for what does not speak against who was asked."""
    if outcome == Outcome.OK:
        return "ok"
    return "other" if outcome in BLAMELESS else "error"


def _word(value: bool) -> str:
    return "true" if value else "false"


def _amount(value: float) -> float:
    """Return what can be added to a sum without spoiling it for good."""
    return value if 0 <= value < math.inf else 0
