"""Metrics: what events count, and what the page shows of the managers' state."""

from __future__ import annotations

import gc
import logging
import math
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY, CollectorRegistry, Counter, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from amas.providers.errors import ProviderConfigError
from amas.providers.observability.bus import EventBus
from amas.providers.observability.events import (
    AccessDecision,
    AttemptEnded,
    CallEnded,
    CircuitChanged,
    ConfigurationChanged,
    Event,
    FailedOver,
    HealthChanged,
    KeyChange,
)
from amas.providers.observability.metrics import Metrics
from amas.providers.observability.worker import Worker
from amas.providers.secret import Secret
from amas.providers.types import Attempt, KeyStatus, ProviderStatus, Usage

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture
def registry() -> CollectorRegistry:
    """Return a registry of the test's own."""
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> Iterator[Metrics]:
    """Return metrics in that registry."""
    item = Metrics(registry)
    yield item
    item.close()


def read(registry: CollectorRegistry) -> Samples:
    """Return what the official parser reads on the page; no series may be there twice."""
    samples: Samples = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            series = (sample.name, frozenset(sample.labels.items()))
            assert series not in samples
            samples[series] = sample.value
    return samples


def value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    """Return one value of the page; None if it is not there."""
    return read(registry).get((f"amas_provider_{name}", frozenset(labels.items())))


def labels_of(registry: CollectorRegistry, name: str, label: str) -> set[str]:
    """Return every value that a label of a metric has on the page."""
    return {
        dict(labels)[label] for found, labels in read(registry) if found == f"amas_provider_{name}"
    }


def call(**fields: Any) -> CallEnded:
    """Return a call that was answered."""
    given: dict[str, Any] = {
        "at": 0.0,
        "request_id": "r",
        "caller": "agent",
        "provider": "openai",
        "model": "gpt",
        "outcome": "ok",
        "cost_usd": 0.25,
        "latency_ms": 800.0,
        "usage": Usage(prompt_tokens=10, completion_tokens=4, total_tokens=14),
    }
    return CallEnded(**{**given, **fields})


def attempt(first_content_ms: float | None = None, **fields: Any) -> AttemptEnded:
    """Return a request that was answered."""
    given: dict[str, Any] = {
        "provider": "openai",
        "model": "gpt",
        "outcome": "ok",
        "status_code": 200,
        "latency_ms": 700.0,
        "error": None,
    }
    record: Attempt = {**given, **fields}  # type: ignore[typeddict-item]
    return AttemptEnded(
        at=0.0,
        request_id="r",
        caller="agent",
        attempt=record,
        key=1,
        first_content_ms=first_content_ms,
    )


def circuit(before: str, after: str, key: int | None = None) -> CircuitChanged:
    """Return a change of a circuit."""
    return CircuitChanged(at=0.0, provider="openai", key=key, before=before, after=after)


def status(**fields: Any) -> ProviderStatus:
    """Return how a provider is doing that is doing well."""
    given: dict[str, Any] = {
        "state": "available",
        "circuit": "closed",
        "in_flight": 0,
        "waiting": 0,
        "keys": [],
    }
    item: ProviderStatus = {**given, **fields}  # type: ignore[typeddict-item]
    return item


def always(value: Any) -> Callable[[], Any]:
    """Return a function that returns the same each time."""
    return lambda: value


def raising(error: Exception) -> Callable[[], Any]:
    """Return a function that raises."""

    def fail() -> Any:
        raise error

    return fail


def show(
    metrics: Metrics,
    *,
    dropped: Mapping[str, int] | None = None,
    audit: Callable[[], str | None] | None = None,
    **statuses: ProviderStatus,
) -> None:
    """Attach a state that does not change."""
    metrics.attach(always(statuses), always(dropped or {}), audit)


COUNTED: list[tuple[Event, str, dict[str, str], float]] = [
    (call(), "calls_total", {"caller": "agent", "provider": "openai", "outcome": "ok"}, 1),
    (
        call(caller=None, provider=None, outcome="no_provider", usage=None),
        "calls_total",
        {"caller": "", "provider": "none", "outcome": "no_provider"},
        1,
    ),
    (call(), "call_seconds_sum", {"provider": "openai", "outcome": "ok"}, 0.8),
    (call(), "call_seconds_bucket", {"provider": "openai", "outcome": "ok", "le": "1.0"}, 1),
    (call(), "call_seconds_bucket", {"provider": "openai", "outcome": "ok", "le": "0.75"}, 0),
    (
        call(outcome="timeout"),
        "call_seconds_count",
        {"provider": "openai", "outcome": "error"},
        1,
    ),
    (
        call(),
        "tokens_total",
        {"caller": "agent", "provider": "openai", "model": "gpt", "kind": "prompt"},
        10,
    ),
    (
        call(),
        "tokens_total",
        {"caller": "agent", "provider": "openai", "model": "gpt", "kind": "completion"},
        4,
    ),
    (call(), "cost_usd_total", {"caller": "agent", "provider": "openai", "model": "gpt"}, 0.25),
    (
        call(cost_usd=0.0),
        "cost_usd_total",
        {"caller": "agent", "provider": "openai", "model": "gpt"},
        0,
    ),
    (
        call(cost_usd=None, model=None),
        "requests_of_unknown_cost_total",
        {"provider": "openai", "model": "none", "outcome": "ok"},
        1,
    ),
    *(
        (
            attempt(outcome=outcome),
            "requests_of_unknown_cost_total",
            {"provider": "openai", "model": "gpt", "outcome": outcome},
            1.0,
        )
        for outcome in ("cancelled", "timeout", "stream_interrupted")
    ),
    *(
        (
            make(outcome=outcome),
            f"{name}_seconds_count",
            {"provider": "openai", "outcome": "other"},
            1,
        )
        for make, name in ((call, "call"), (attempt, "attempt"))
        for outcome in ("cancelled", "context_window")
    ),
    (
        attempt(outcome="timeout"),
        "attempts_total",
        {"provider": "openai", "model": "gpt", "outcome": "timeout"},
        1,
    ),
    (attempt(), "attempt_seconds_sum", {"provider": "openai", "outcome": "ok"}, 0.7),
    (
        attempt(outcome="auth"),
        "attempt_seconds_count",
        {"provider": "openai", "outcome": "error"},
        1,
    ),
    (attempt(first_content_ms=90.0), "first_content_seconds_sum", {"provider": "openai"}, 0.09),
    (
        FailedOver(
            at=0.0,
            request_id="r",
            caller=None,
            provider="openai",
            outcome="timeout",
            following="local",
        ),
        "failovers_total",
        {"provider": "openai", "following": "local", "outcome": "timeout"},
        1,
    ),
    (circuit("closed", "open"), "circuit_openings_total", {"provider": "openai"}, 1),
    (
        AccessDecision(at=0.0, request_id="r", caller="agent", allowed=False),
        "access_denied_total",
        {"caller": "agent"},
        1,
    ),
    (
        KeyChange(at=0.0, provider="openai", key=1, changed=True, cause="reload"),
        "key_changes_total",
        {"provider": "openai", "changed": "true"},
        1,
    ),
    (
        ConfigurationChanged(at=0.0, taken=False),
        "configuration_reloads_total",
        {"taken": "false"},
        1,
    ),
]


@pytest.mark.parametrize(
    ("event", "name", "labels", "expected"),
    [pytest.param(*row, id=f"{number}-{row[1]}") for number, row in enumerate(COUNTED)],
)
def test_an_event_is_counted(
    metrics: Metrics,
    registry: CollectorRegistry,
    event: Event,
    name: str,
    labels: dict[str, str],
    expected: float,
) -> None:
    """Each kind of event is counted under its name, with its labels and its amount."""
    metrics.handle([event])
    assert value(registry, name, **labels) == expected
    metrics.handle([event])
    assert value(registry, name, **labels) == 2 * expected


@pytest.mark.parametrize(
    "event",
    [
        pytest.param(circuit("half_open", "open"), id="a failed probe"),
        pytest.param(circuit("closed", "open", key=2), id="the circuit of a key"),
        pytest.param(circuit("open", "closed"), id="a circuit that closes"),
        pytest.param(
            AccessDecision(at=0.0, request_id="r", caller="agent", allowed=True), id="an allowance"
        ),
        pytest.param(HealthChanged(at=0.0, provider="openai", key=1, healthy=False), id="a check"),
    ],
)
def test_an_event_is_not_counted(
    metrics: Metrics, registry: CollectorRegistry, event: Event
) -> None:
    """What is no new opening and no denial counts nowhere."""
    before = read(registry)
    metrics.handle([event])
    assert read(registry) == before


@pytest.mark.parametrize(
    ("fields", "unknown"),
    [
        pytest.param({"cost_usd": None}, 1, id="answered"),
        pytest.param({"cost_usd": None, "outcome": "timeout", "usage": None}, None, id="failed"),
        pytest.param({"cost_usd": math.nan}, 1, id="nan"),
        pytest.param({"cost_usd": math.inf}, 1, id="infinite"),
        pytest.param({"cost_usd": -1.0}, 1, id="negative"),
    ],
)
def test_an_unknown_cost_is_no_amount(
    metrics: Metrics, registry: CollectorRegistry, fields: dict[str, Any], unknown: float | None
) -> None:
    """A cost that is not known, or no amount, is counted as unknown and added to no sum."""
    metrics.handle([call(**fields)])
    metrics.handle([call()])
    known = {"provider": "openai", "model": "gpt"}
    assert value(registry, "requests_of_unknown_cost_total", outcome="ok", **known) == unknown
    assert value(registry, "cost_usd_total", caller="agent", **known) == 0.25


def test_tokens_that_are_no_amount_are_not_added(
    metrics: Metrics, registry: CollectorRegistry
) -> None:
    """A count of tokens below zero, or without end, does not spoil the sum."""
    strange: Any = {"prompt_tokens": -5, "completion_tokens": math.inf, "total_tokens": 0}
    metrics.handle([call(usage=strange), call()])
    labels = {"caller": "agent", "provider": "openai", "model": "gpt"}
    assert value(registry, "tokens_total", kind="prompt", **labels) == 10
    assert value(registry, "tokens_total", kind="completion", **labels) == 4


def test_a_broken_event_costs_no_other(metrics: Metrics, registry: CollectorRegistry) -> None:
    """An event that cannot be read is reported once all the others have been counted."""
    strange: Any = {"prompt_tokens": "ten", "completion_tokens": 1, "total_tokens": 1}
    with pytest.raises(TypeError):
        metrics.handle([call(usage=strange), circuit("closed", "open")])
    assert value(registry, "circuit_openings_total", provider="openai") == 1


async def test_events_come_by_way_of_the_bus(metrics: Metrics, registry: CollectorRegistry) -> None:
    """The handler counts what a bus hands it through a worker's queue."""
    bus = EventBus(workers=[("metrics", Worker("metrics", metrics.handle, linger=0))])
    bus.emit(attempt())
    bus.emit(call())
    await bus.close()
    assert labels_of(registry, "calls_total", "caller") == {"agent"}
    assert labels_of(registry, "attempts_total", "provider") == {"openai"}


@pytest.mark.parametrize(
    ("name", "label", "limit", "event"),
    [
        pytest.param("calls_total", "caller", 100, lambda name: call(caller=name), id="callers"),
        pytest.param("cost_usd_total", "model", 100, lambda name: call(model=name), id="models"),
        pytest.param(
            "circuit_openings_total",
            "provider",
            1000,
            lambda name: CircuitChanged(
                at=0.0, provider=name, key=None, before="closed", after="open"
            ),
            id="providers",
        ),
    ],
)
def test_labels_are_bounded(
    metrics: Metrics,
    registry: CollectorRegistry,
    name: str,
    label: str,
    limit: int,
    event: Callable[[str], Event],
) -> None:
    """The first names have a label each, all further ones share one, and none is lost."""
    metrics.handle([event(f"name-{number}") for number in range(limit + 20)])
    metrics.handle([event("name-0")])
    expected = {f"name-{number}" for number in range(limit)} | {"__other__"}
    assert labels_of(registry, name, label) == expected
    found = {
        dict(labels)[label]: count
        for (metric, labels), count in read(registry).items()
        if metric == f"amas_provider_{name}"
    }
    assert found["name-0"] / found["name-1"] == 2
    assert found["__other__"] / found["name-1"] == 20


def test_a_caller_named_other_is_no_other(metrics: Metrics, registry: CollectorRegistry) -> None:
    """The rest has a name that nobody has."""
    metrics.handle([call(caller=f"name-{number}") for number in range(99)])
    metrics.handle([call(caller="other"), call(caller="one too many")])
    labels = {"provider": "openai", "outcome": "ok"}
    assert value(registry, "calls_total", caller="other", **labels) == 1
    assert value(registry, "calls_total", caller="__other__", **labels) == 1


def test_labels_are_bounded_in_many_threads(
    metrics: Metrics, registry: CollectorRegistry, uncovered: None
) -> None:
    """Threads that count at once neither pass the bound nor lose a call."""
    start = threading.Barrier(4)

    def work(first: int) -> None:
        start.wait()
        for number in range(300):
            metrics.handle([call(caller=f"name-{first + number}")])

    threads = [threading.Thread(target=work, args=(first,)) for first in (0, 100, 200, 300)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    calls = [
        count for (name, _), count in read(registry).items() if name == "amas_provider_calls_total"
    ]
    assert len(calls) == 101
    assert sum(calls) == 1200


def test_no_secret_becomes_a_label(
    metrics: Metrics, registry: CollectorRegistry, fake_key: str
) -> None:
    """A key that was pasted as a name, by its shape or because it is known, is masked."""
    known = Secret("the-" + "word-of-the-house")
    metrics.handle(
        [
            call(caller=fake_key, model=f"openai/{fake_key}"),
            call(caller="the-word-of-the-house", provider=fake_key),
            call(caller=known),
        ]
    )
    page = generate_latest(registry).decode()
    assert fake_key not in page
    assert known.get_secret_value() not in page


@pytest.mark.parametrize(
    ("name", "label"),
    [
        pytest.param('a "b"\\c\nd', 'a "b"\\c\nd', id="escaped"),
        pytest.param("half \ud800 pair", "half ? pair", id="no Unicode"),
        pytest.param("é" * 1000, "é" * 120, id="long"),
    ],
)
def test_odd_names_do_not_break_the_page(
    metrics: Metrics, registry: CollectorRegistry, name: str, label: str
) -> None:
    """Whatever a caller calls itself, the page can be read."""
    metrics.handle([call(caller=name)])
    assert labels_of(registry, "calls_total", "caller") == {label}


def test_state_is_read_when_the_page_is(metrics: Metrics, registry: CollectorRegistry) -> None:
    """The page shows the state of the moment in which it is asked for."""
    now = {"local": status(in_flight=2, waiting=1)}
    metrics.attach(lambda: now, always({}))
    assert value(registry, "in_flight", provider="local") == 2
    assert value(registry, "waiting", provider="local") == 1
    now["local"] = status(circuit="open", state="circuit_open")
    assert value(registry, "in_flight", provider="local") == 0
    shown = {
        state: value(registry, "circuit_state", provider="local", state=state)
        for state in ("closed", "half_open", "open")
    }
    assert shown == {"closed": 0, "half_open": 0, "open": 1}


@pytest.mark.parametrize(
    ("state", "up", "key"),
    [
        ("available", 1, "available"),
        ("busy", 1, "available"),
        ("full", 0, "available"),
        ("limit_reached", 0, "available"),
        ("circuit_open", 0, "available"),
        ("unhealthy", 0, "available"),
        ("cooling_down", 0, "cooling_down"),
        ("key_refused", 0, "set_aside"),
        ("unavailable", 0, "unavailable"),
        ("disabled", 0, "unavailable"),
    ],
)
def test_state_of_a_provider_with_one_key(
    metrics: Metrics, registry: CollectorRegistry, state: str, up: int, key: str
) -> None:
    """A provider is up while calls go to it or wait, and its only key has its state."""
    show(metrics, local=status(state=state))
    assert value(registry, "up", provider="local") == up
    shown = {
        item: value(registry, "key_state", provider="local", key="1", state=item)
        for item in ("available", "cooling_down", "set_aside", "unavailable")
    }
    assert [item for item, found in shown.items() if found == 1] == [key]
    assert sum(found or 0 for found in shown.values()) == 1


def test_state_of_several_keys(metrics: Metrics, registry: CollectorRegistry) -> None:
    """Each of several keys has its own state."""
    keys = [
        KeyStatus(key=1, state="set_aside", retry_after=1.0),
        KeyStatus(key=2, state="available", retry_after=None),
    ]
    show(metrics, local=status(keys=keys))
    assert value(registry, "key_state", provider="local", key="1", state="set_aside") == 1
    assert value(registry, "key_state", provider="local", key="2", state="set_aside") == 0
    assert value(registry, "key_state", provider="local", key="2", state="available") == 1


def test_openings_begin_with_zero(metrics: Metrics, registry: CollectorRegistry) -> None:
    """The counter of a provider's openings is there before the first one, which is a rise then."""
    show(metrics, local=status())
    assert value(registry, "circuit_openings_total", provider="local") == 0


@pytest.mark.parametrize(
    ("audit", "expected"),
    [
        pytest.param(None, None, id="no trail"),
        pytest.param(always(None), 1, id="working"),
        pytest.param(always("disk full"), 0, id="in trouble"),
        pytest.param(raising(OSError("gone")), 0, id="unreadable"),
    ],
)
def test_audit_trail(
    metrics: Metrics,
    registry: CollectorRegistry,
    audit: Callable[[], str | None] | None,
    expected: float | None,
) -> None:
    """Whether the trail works is shown where there is one; one that cannot say so does not."""
    show(metrics, audit=audit)
    assert value(registry, "audit_working") == expected


def test_state_that_cannot_be_read(
    metrics: Metrics, registry: CollectorRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    """What raises is left out of the page, the rest is there, and it is logged once."""
    metrics.handle([call()])
    metrics.attach(raising(RuntimeError("changed while read")), always({"tracing": 3}))
    with caplog.at_level(logging.WARNING, "amas.providers"):
        read(registry)
        samples = read(registry)
    assert samples["amas_provider_dropped_events_total", frozenset({("observer", "tracing")})] == 3
    assert any(name == "amas_provider_calls_total" for name, _ in samples)
    assert not any(name == "amas_provider_up" for name, _ in samples)
    assert [record.getMessage() for record in caplog.records] == [
        """metrics_incomplete error="RuntimeError('changed while read')\""""
    ]


def test_managers_share_a_registry(metrics: Metrics, registry: CollectorRegistry) -> None:
    """Managers count together; of a provider that both have, the worse state is shown."""
    second = Metrics(registry)
    metrics.handle([call()])
    second.handle([call()])
    keys = [KeyStatus(key=number, state="available", retry_after=None) for number in (1, 2)]
    show(metrics, local=status(in_flight=1, circuit="open", state="circuit_open"), dropped={"a": 1})
    show(
        second,
        local=status(in_flight=2, circuit="half_open", keys=keys),
        other=status(),
        dropped={"a": 2, "b": 0},
        audit=always(None),
    )
    agent = {"caller": "agent", "provider": "openai", "outcome": "ok"}
    assert value(registry, "calls_total", **agent) == 2
    assert value(registry, "in_flight", provider="local") == 3
    assert value(registry, "up", provider="local") == 0
    assert value(registry, "up", provider="other") == 1
    assert value(registry, "circuit_state", provider="local", state="open") == 1
    assert value(registry, "circuit_state", provider="local", state="half_open") == 0
    assert value(registry, "dropped_events_total", observer="a") == 3
    assert value(registry, "audit_working") == 1
    second.close()
    second.close()
    assert value(registry, "in_flight", provider="local") == 1
    assert value(registry, "up", provider="other") is None
    assert value(registry, "audit_working") is None
    assert value(registry, "dropped_events_total", observer="a") == 3
    assert value(registry, "calls_total", **agent) == 2


def test_one_trail_in_trouble_is_trouble(metrics: Metrics, registry: CollectorRegistry) -> None:
    """Of several trails all have to work."""
    others = [Metrics(registry), Metrics(registry)]
    for item, trouble in zip([*others, metrics], [None, "disk full", None], strict=True):
        show(item, audit=always(trouble))
    assert value(registry, "audit_working") == 0
    for item in others:
        item.close()


def test_the_last_one_clears_up() -> None:
    """Once the last manager has closed, the registry is as before; the next goes on counting."""
    registry = CollectorRegistry()
    first, second = Metrics(registry), Metrics(registry)
    first.handle([call()])
    first.close()
    assert read(registry)
    second.close()
    assert read(registry) == {}
    again = Metrics(registry)
    again.handle([call()])
    agent = {"caller": "agent", "provider": "openai", "outcome": "ok"}
    assert value(registry, "calls_total", **agent) == 2
    again.close()


def test_a_manager_that_starts_again_is_shown_again(registry: CollectorRegistry) -> None:
    """After closing, attaching shows the state again, and the same handler goes on counting."""
    metrics = Metrics(registry)
    handle = metrics.handle
    show(metrics, local=status())
    metrics.close()
    show(metrics, local=status())
    handle([call()])
    assert value(registry, "up", provider="local") == 1
    assert labels_of(registry, "calls_total", "caller") == {"agent"}
    metrics.close()
    assert read(registry) == {}


def test_attaching_again_replaces(metrics: Metrics, registry: CollectorRegistry) -> None:
    """Only the state attached last is shown."""
    show(metrics, old=status())
    show(metrics, new=status())
    assert labels_of(registry, "up", "provider") == {"new"}


async def test_a_forgotten_manager_is_let_go(registry: CollectorRegistry) -> None:
    """A manager that nobody has closed is not kept by the registry, nor by a worker's thread."""

    class Manager:
        def __init__(self) -> None:
            self.metrics = Metrics(registry)
            self.metrics.attach(self.status, always({}))
            self.worker = Worker[Event]("metrics", self.metrics.handle, linger=0)

        def status(self) -> dict[str, ProviderStatus]:
            return {"local": status()}

    manager = Manager()
    manager.worker.put(call())
    await manager.worker.flush()
    assert value(registry, "up", provider="local") == 1
    gone = weakref.ref(manager)
    del manager
    gc.collect()
    assert gone() is None
    assert value(registry, "up", provider="local") is None
    last = Metrics(registry)
    last.close()
    assert read(registry) == {}


def test_the_default_registry() -> None:
    """Without a registry the metrics are in the one that ``prometheus_client`` serves."""
    metrics = Metrics()
    metrics.handle([call()])
    assert "agent" in labels_of(REGISTRY, "calls_total", "caller")
    metrics.close()
    assert labels_of(REGISTRY, "calls_total", "caller") == set()


def test_the_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra, the error says what to install."""
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(ProviderConfigError, match=r"pip install 'amas-providers\[metrics\]'"):
        Metrics()


def test_two_copies_of_the_package_share() -> None:
    """Under its two names the package is there twice, and counts together all the same."""
    code = """
import importlib
for name in ("amas", "src.amas"):
    observability = f"{name}.providers.observability"
    events = importlib.import_module(f"{observability}.events")
    metrics = importlib.import_module(f"{observability}.metrics").Metrics()
    denial = events.AccessDecision(at=0.0, request_id="r", caller="agent", allowed=False)
    metrics.handle([denial])
    metrics.attach(dict, dict)
from prometheus_client import REGISTRY
print(REGISTRY.get_sample_value("amas_provider_access_denied_total", {"caller": "agent"}))
"""
    root = Path(__file__).parents[3]
    found = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": f"{root}:{root / 'src'}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (found.stdout, found.stderr) == ("2.0\n", "")


@pytest.mark.parametrize(
    "name", ["amas_provider_calls", "amas_provider_call_seconds_count", "amas_provider_up"]
)
def test_names_that_are_taken(name: str) -> None:
    """Metrics of the same name from somebody else are an error, and nothing is left registered."""
    registry = CollectorRegistry()
    theirs = Counter(name, "Not ours.", registry=registry)
    with pytest.raises(ProviderConfigError, match="that are not ours"):
        Metrics(registry)
    registry.unregister(theirs)
    Metrics(registry).close()
