"""The page of metrics over HTTP."""

from __future__ import annotations

import logging
import socket
import sys
import threading
import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.parser import text_string_to_metric_families

from amas.providers.errors import ProviderConfigError
from amas.providers.observability import metrics_server
from amas.providers.observability.metrics_server import MetricsServer, serve


@pytest.fixture(autouse=True)
def _closing_quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test wait for servers to end."""
    monkeypatch.setattr(metrics_server, "_POLL", 0.01)


@pytest.fixture
def registry() -> CollectorRegistry:
    """Return a registry with one metric."""
    registry = CollectorRegistry()
    Gauge("answer", "Of everything.", registry=registry).set(42)
    return registry


@pytest.fixture
def server(registry: CollectorRegistry) -> Iterator[MetricsServer]:
    """Serve that registry at any free port."""
    item = serve(0, registry=registry)
    yield item
    item.close()


def fetch(port: int, host: str = "127.0.0.1") -> dict[str, float]:
    """Return the values of a served page."""
    with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=5) as answer:
        page = answer.read().decode()
    return {
        sample.name: sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


def test_the_page_is_served(server: MetricsServer, capfd: pytest.CaptureFixture[str]) -> None:
    """The page has the values of the registry, and asking for it writes nothing anywhere."""
    assert fetch(server.port) == {"answer": 42}
    assert capfd.readouterr() == ("", "")


def test_nothing_is_left_when_closed(registry: CollectorRegistry) -> None:
    """Closing, even twice, ends the thread and frees the port for another server."""
    before = set(threading.enumerate())
    server = serve(0, registry=registry)
    assert {thread.name for thread in set(threading.enumerate()) - before} == {
        "amas-metrics-server"
    }
    server.close()
    server.close()
    assert set(threading.enumerate()) <= before
    again = serve(server.port, registry=registry)
    assert fetch(again.port) == {"answer": 42}
    again.close()


def test_a_port_that_is_taken(server: MetricsServer, registry: CollectorRegistry) -> None:
    """A port that somebody has already is an error that says so."""
    with pytest.raises(ProviderConfigError, match=f"port {server.port} at 127.0.0.1.* is taken"):
        serve(server.port, registry=registry)


def test_a_host_that_is_not_ours(registry: CollectorRegistry) -> None:
    """An address that no interface of this machine has is an error that gives the reason."""
    with pytest.raises(ProviderConfigError, match=r"cannot be opened: .*assign"):
        serve(0, "192.0.2.1", registry)


def test_ipv6(registry: CollectorRegistry) -> None:
    """An address of IPv6 can be listened at."""
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            pass
    except OSError as error:
        pytest.skip(f"there is no IPv6 on this machine: {error}")
    server = serve(0, "::1", registry)
    assert fetch(server.port, "[::1]") == {"answer": 42}
    server.close()


def test_who_says_nothing_is_hung_up_on(
    registry: CollectorRegistry,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """A client that connects and sends nothing is let go after a while, without a traceback."""
    monkeypatch.setattr(metrics_server._Handler, "timeout", 0.01)
    server = serve(0, registry=registry)
    with (
        caplog.at_level(logging.DEBUG, "amas.providers.observability"),
        socket.create_connection(("127.0.0.1", server.port), timeout=5) as client,
    ):
        assert client.recv(1) == b""
    server.close()
    assert "metrics_request_failed error=\"TimeoutError('timed out')\"" in caplog.messages
    assert capfd.readouterr() == ("", "")


def test_the_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra, the error says what to install."""
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(ProviderConfigError, match=r"pip install 'amas-providers\[metrics\]'"):
        serve(0)
