"""The dashboard and the alert rules: every expression names what is on the page."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from amas.providers.observability.events import (
    AccessDecision,
    AttemptEnded,
    CallEnded,
    CircuitChanged,
    ConfigurationChanged,
    FailedOver,
    KeyChange,
)
from amas.providers.observability.metrics import Metrics
from amas.providers.observability.outcomes import BLAMELESS
from amas.providers.types import Attempt, Outcome, ProviderStatus, Usage

FOLDER = Path(__file__).parents[3] / "configs" / "monitoring"
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "grafana-dashboard.json").read_text())
ALERTS: dict[str, Any] = yaml.safe_load((FOLDER / "prometheus-alerts.yaml").read_text())

PANELS: list[dict[str, Any]] = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
RULES: list[dict[str, Any]] = [rule for group in ALERTS["groups"] for rule in group["rules"]]
VARIABLES: dict[str, dict[str, Any]] = {
    variable["name"]: variable for variable in DASHBOARD["templating"]["list"]
}
QUERIES = [variable for variable in VARIABLES.values() if variable["type"] == "query"]

# What Prometheus adds to every sample when it fetches a page.
TARGET = frozenset({"job", "instance"})
# What Grafana puts in.
FILLED_IN = {"$__rate_interval": "5m", "$__range": "6h", "$provider": ".*", "$caller": ".*"}
LEGEND = re.compile(r"{{\s*(\w+)\s*}}")
LABEL_IN_TEXT = re.compile(r"\$labels\.(\w+)")
LABEL_VALUES = re.compile(r"label_values\((\w+), (\w+)\)")


class Page:
    """What a page with everything on it has: the type, labels and label values of each sample."""

    def __init__(self, text: str) -> None:
        self.types: dict[str, str] = {}
        self.labels: dict[str, frozenset[str]] = {}
        self.values: dict[str, set[str]] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                self.types[sample.name] = family.type
                self.labels[sample.name] = frozenset(sample.labels)
                for label, value in sample.labels.items():
                    self.values.setdefault(label, set()).add(value)
        self.values["outcome"] |= {str(outcome) for outcome in Outcome}

    def check(self, text: str) -> frozenset[str]:
        """Check an expression, and return the labels of what it results in."""
        return self._check(promql_parser.parse(text))

    def _check(self, expr: Any) -> frozenset[str]:
        match expr:
            case promql_parser.VectorSelector():
                labels = self._selected(expr)
            case promql_parser.MatrixSelector():
                labels = self._selected(expr.vector_selector)
            case promql_parser.ParenExpr():
                labels = self._check(expr.expr)
            case promql_parser.AggregateExpr():
                inner = self._check(expr.expr)
                labels = frozenset(expr.modifier.labels if expr.modifier else ())
                assert labels <= inner, f"no labels {set(labels - inner)}"
            case promql_parser.Call():
                labels = self._called(expr)
            case promql_parser.BinaryExpr():
                labels = self._combined(expr)
            case promql_parser.NumberLiteral():
                labels = frozenset()
            case _:
                raise AssertionError(f"nothing is known of {expr}")
        return labels

    def _selected(self, selector: promql_parser.VectorSelector) -> frozenset[str]:
        name = selector.name or ""
        assert name in self.labels, f"no metric {name!r}"
        for matcher in selector.matchers.matchers:
            assert matcher.name in self.labels[name] | TARGET, f"{name} has no {matcher.name!r}"
            wanted = set(matcher.value.split("|")) - {".*"}
            unknown = wanted - self.values[matcher.name]
            assert not unknown, f"{matcher.name!r} is never one of {unknown}"
        return self.labels[name] | TARGET

    def _called(self, call: promql_parser.Call) -> frozenset[str]:
        labels = frozenset[str]().union(*(self._check(arg) for arg in call.args))
        if call.func.name in {"rate", "increase"}:
            name = call.args[0].vector_selector.name
            assert self.types[name] in {"counter", "histogram"}, f"{name} is no counter"
        if call.func.name == "histogram_quantile":
            assert "le" in labels, "a quantile needs the buckets' label le"
            labels -= {"le"}
        return labels

    def _combined(self, expr: promql_parser.BinaryExpr) -> frozenset[str]:
        sides = self._check(expr.lhs), self._check(expr.rhs)
        if any(isinstance(side, promql_parser.NumberLiteral) for side in (expr.lhs, expr.rhs)):
            return sides[0] | sides[1]
        matching = expr.modifier.matching if expr.modifier else None
        ignored = frozenset(matching.labels if matching else ())
        assert sides[0] - ignored == sides[1] - ignored, "the sides do not match"
        return sides[0] - ignored


def bare_counters(text: str, page: Page) -> list[str]:
    """Return the counters of an expression that no ``rate`` or ``increase`` is taken of."""
    taken: list[str] = []
    named: list[str] = []

    def visit(expr: Any) -> None:
        if isinstance(expr, promql_parser.Call) and expr.func.name in {"rate", "increase"}:
            taken.append(expr.args[0].vector_selector.name)
        if isinstance(expr, promql_parser.VectorSelector):
            named.append(expr.name or "")

    promql_parser.walk(promql_parser.parse(text), visit)
    rest = Counter(named) - Counter(taken)
    return [name for name in rest if page.types[name] in {"counter", "histogram"}]


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """Return a page after one event of each kind, with the state of one provider."""
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    usage = Usage(prompt_tokens=1, completion_tokens=1, total_tokens=2)
    ids: Mapping[str, Any] = {"at": 0.0, "request_id": "r", "caller": "agent"}
    answered: Mapping[str, Any] = {"provider": "local", "model": "m", "outcome": "ok"}
    record: Attempt = {
        "provider": "local",
        "model": "m",
        "outcome": "ok",
        "status_code": 200,
        "latency_ms": 1.0,
        "error": None,
    }
    metrics.handle(
        [
            CallEnded(**ids, **answered, usage=usage, cost_usd=0.1),
            CallEnded(**ids, **answered, usage=usage),
            AttemptEnded(**ids, attempt=record, key=1, first_content_ms=1.0),
            FailedOver(**ids, provider="local", outcome="timeout", following="other"),
            AccessDecision(**ids, allowed=False),
            CircuitChanged(at=0.0, provider="local", key=None, before="closed", after="open"),
            KeyChange(at=0.0, provider="local", key=1, changed=True, cause="reload"),
            ConfigurationChanged(at=0.0, taken=True),
        ]
    )
    status: Any = {
        "state": "available",
        "circuit": "closed",
        "in_flight": 0,
        "waiting": 0,
        "keys": [],
    }
    statuses: dict[str, ProviderStatus] = {"local": status}
    metrics.attach(lambda: statuses, lambda: {"metrics": 0}, lambda: None)
    yield Page(generate_latest(registry).decode())
    metrics.close()


def filled_in(text: str) -> str:
    """Return an expression of the dashboard as Grafana sends it."""
    for variable, value in FILLED_IN.items():
        text = text.replace(variable, value)
    assert "$" not in text, f"a variable that is not known in {text}"
    return text


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: str(panel["id"]))
def test_a_panel_shows_what_there_is(page: Page, panel: dict[str, Any]) -> None:
    """Each expression of a panel has metrics, labels and values of the page, its legend as well."""
    assert panel["targets"]
    for target in panel["targets"]:
        labels = page.check(filled_in(target["expr"]))
        assert set(LEGEND.findall(target["legendFormat"])) == labels
        assert not bare_counters(filled_in(target["expr"]), page)
        assert target["datasource"]["uid"] == "${datasource}"


@pytest.mark.parametrize("variable", QUERIES, ids=lambda variable: str(variable["name"]))
def test_a_variable_lists_what_there_is(page: Page, variable: dict[str, Any]) -> None:
    """The values to choose from are those of a label that a metric of the page has."""
    found = LABEL_VALUES.fullmatch(variable["query"]["query"])
    assert found
    metric, label = found.groups()
    assert label == variable["name"]
    assert label in page.labels[metric]
    assert variable["definition"] == variable["query"]["query"]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["alert"]))
def test_a_rule_watches_what_there_is(page: Page, rule: dict[str, Any]) -> None:
    """A rule has metrics, labels and values of the page, and its texts say what is known."""
    labels = page.check(rule["expr"])
    assert not bare_counters(rule["expr"], page)
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert set(rule["annotations"]) == {"summary", "description", "runbook"}
    for text in rule["annotations"].values():
        assert text.strip().endswith(".")
        assert set(LABEL_IN_TEXT.findall(text)) <= labels
    if "for" in rule:
        assert promql_parser.parse_duration(rule["for"])


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("amas_provider_nothing", "no metric"),
        ('amas_provider_up{caller="a"}', "has no 'caller'"),
        ('amas_provider_circuit_state{state="ajar"}', "never one of"),
        ('rate(amas_provider_calls_total{outcome=~"ok|fine"}[5m])', "never one of"),
        ("sum by (model) (amas_provider_up)", "no labels"),
        ("rate(amas_provider_up[5m])", "is no counter"),
        ("histogram_quantile(0.9, rate(amas_provider_call_seconds_sum[5m]))", "needs the buckets"),
        ("amas_provider_up + amas_provider_circuit_state", "do not match"),
        ("amas_provider_up offset", "."),
    ],
)
def test_a_wrong_expression_is_found(page: Page, text: str, mistake: str) -> None:
    """The check above finds each kind of mistake."""
    with pytest.raises((AssertionError, ValueError), match=mistake):
        page.check(text)


def test_a_counter_without_its_rate_is_found(page: Page) -> None:
    """The check above finds a counter that is shown as it is."""
    text = "amas_provider_calls_total + rate(amas_provider_calls_total[5m])"
    assert bare_counters(text, page) == ["amas_provider_calls_total"]


def test_every_metric_is_shown_somewhere(page: Page) -> None:
    """No metric is kept that neither the dashboard nor a rule uses."""
    everything = json.dumps(DASHBOARD) + json.dumps(ALERTS)
    families = {re.sub(r"_(bucket|sum|count|created)$", "", name) for name in page.types}
    unused = {
        name for name in families if name not in everything and f"{name}_total" not in everything
    }
    assert unused == set()


def test_failures_are_the_same_everywhere() -> None:
    """Dashboard and rules leave out what metrics hold to be no failure, and nothing else."""
    everything = json.dumps([panel["targets"] for panel in PANELS]) + json.dumps(RULES)
    excluded = re.findall(r'outcome!~\\+"([^"\\]+)', everything)
    assert len(excluded) == 3
    for each in excluded:
        assert set(each.split("|")) == {"ok", *BLAMELESS}
    assert "outcome!=" not in everything


def test_panels_do_not_clash() -> None:
    """No two panels have one id, or lie on one another; targets of a panel have ids of their own."""
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    squares: Counter[tuple[int, int]] = Counter()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        squares.update(
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        )
        names = [target["refId"] for target in panel.get("targets", ())]
        assert len(set(names)) == len(names)
    assert max(squares.values()) == 1


def test_the_dashboard_can_be_imported_anywhere() -> None:
    """It names no instance of Grafana nor of Prometheus: the data source is chosen when shown."""
    assert DASHBOARD["id"] is None
    assert DASHBOARD["schemaVersion"] >= 38
    assert list(VARIABLES) == ["datasource", "provider", "caller"]
    assert VARIABLES["datasource"]["type"] == "datasource"
    sources = {item["datasource"]["uid"] for item in [*PANELS, *QUERIES]}
    assert sources == {"${datasource}"}


def test_rules_have_names_of_their_own() -> None:
    """No two rules have one name."""
    names = [rule["alert"] for rule in RULES]
    assert len(set(names)) == len(names)
