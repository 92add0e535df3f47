"""Alerts posted to an address: a receiver on loopback, which fails in every way."""

from __future__ import annotations

import asyncio
import json
import logging
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from typing_extensions import override

from amas.providers.observability.alerts import Alert, Alerts, Webhook
from amas.providers.observability.alerts.posting import json_body, slack_body
from amas.providers.observability.bus import EventBus
from amas.providers.observability.events import AttemptEnded, CallEnded, CircuitChanged
from amas.providers.observability.worker import Worker
from amas.providers.secret import MASK, Secret
from amas.providers.types import Attempt

NOON = 1_795_608_000.0  # 2026-11-25 12:00:00 UTC
HANG = 0  # for a status: it never answers


@dataclass
class Request:
    path: str
    headers: dict[str, str]
    body: dict[str, Any]


@dataclass
class Receiver:
    """A server that answers as it is told to, one status after the other, and then with 200."""

    statuses: list[int] = field(default_factory=list)
    always: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    arrived: queue.SimpleQueue[None] = field(default_factory=queue.SimpleQueue)
    release: threading.Event = field(default_factory=threading.Event)
    port: int = 0
    path: str = "/hook"

    @property
    def url(self) -> Secret:
        return Secret(f"http://127.0.0.1:{self.port}{self.path}")

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        length = int(handler.headers["Content-Length"])
        body = json.loads(handler.rfile.read(length))
        self.requests.append(Request(handler.path, dict(handler.headers.items()), body))
        status = self.statuses.pop(0) if self.statuses else self.always
        self.arrived.put(None)
        if status == HANG:
            self.release.wait(20)
            return
        handler.send_response(status)
        for name, value in self.headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Start a receiver on loopback."""
    item = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            item.answer(self)

        @override
        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    item.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield item
    item.release.set()
    server.shutdown()
    thread.join()
    server.server_close()


@dataclass
class Pauses:
    """Takes the place of waiting, and notes for how long."""

    taken: list[float] = field(default_factory=list)

    def __call__(self, seconds: float) -> None:
        self.taken.append(seconds)


@pytest.fixture
def pauses() -> Pauses:
    """Return what notes the pauses."""
    return Pauses()


def alert(number: int = 1, **rest: Any) -> Alert:
    """Return an alert."""
    facts: dict[str, Any] = {
        "kind": "circuit_open",
        "subject": f"provider {number}",
        "severity": "warning",
        "firing": True,
        "at": NOON,
        "since": NOON,
        "summary": "It is so.",
        "details": {},
        "id": f"id-{number}",
    }
    return Alert(**{**facts, **rest})


def posted(webhook: Webhook, *alerts: Alert) -> None:
    """Have alerts posted, and wait until each is delivered or given up."""
    for item in alerts:
        webhook.put(item)
    asyncio.run(webhook._worker.flush())


def undelivered(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the log lines about what was not delivered."""
    return [text for text in caplog.messages if text.startswith("alert_undelivered")]


async def test_a_thousand_failures_are_one_alert(receiver: Receiver) -> None:
    """A thousand failing calls of one provider post one alert, and its return one recovery."""

    def tried(outcome: str) -> AttemptEnded:
        record = Attempt(
            provider="openai",
            model=None,
            outcome=outcome,
            status_code=503,
            latency_ms=1.0,
            error="down",
        )
        return AttemptEnded(at=time.time(), request_id="r", caller=None, attempt=record, key=1)

    def called(outcome: str, *attempts: AttemptEnded) -> CallEnded:
        return CallEnded(
            at=time.time(),
            request_id="r",
            caller=None,
            provider=None,
            model=None,
            outcome=outcome,
            attempts=tuple(item.attempt for item in attempts),
        )

    def circuit(before: str, after: str, outcome: str | None = None) -> CircuitChanged:
        return CircuitChanged(
            at=time.time(),
            provider="openai",
            key=None,
            before=before,
            after=after,
            outcome=outcome,
        )

    alerts = Alerts(webhook=Webhook(receiver.url))
    bus = EventBus(workers=[("alerts", Worker("alerts", alerts.handle))])
    for number in range(1000):
        if number < 5 or number % 100 == 0:
            if number >= 5:
                bus.emit(circuit("open", "half_open"))
            failed = tried("unavailable")
            bus.emit(failed)
            if number >= 4:
                bus.emit(circuit("closed" if number == 4 else "half_open", "open", "unavailable"))
            bus.emit(called("all_failed", failed))
        else:
            bus.emit(called("no_provider"))
    await bus.flush()
    bus.emit(circuit("open", "half_open"))
    bus.emit(circuit("half_open", "closed", "ok"))
    bus.emit(tried("ok"))
    bus.emit(called("ok", tried("ok")))
    await bus.close()
    await asyncio.to_thread(alerts.close)
    firing, resolved = (request.body for request in receiver.requests)
    assert (firing["kind"], firing["subject"], firing["status"]) == (
        "circuit_open",
        "openai",
        "firing",
    )
    assert (resolved["kind"], resolved["status"]) == ("circuit_open", "resolved")
    assert firing["id"] == resolved["id"]
    assert firing["since"] == resolved["since"]


def test_what_is_posted(receiver: Receiver) -> None:
    """An alert is posted as JSON with all its fields, in order, to the path that is configured."""
    receiver.path = "/hook?room=7"
    posted(Webhook(receiver.url), alert(1, details={"outcome": "timeout", "used": 1.5}), alert(2))
    assert receiver.requests[0].path == "/hook?room=7"
    assert receiver.requests[0].headers["Content-Type"] == "application/json"
    assert receiver.requests[0].body == {
        "kind": "circuit_open",
        "subject": "provider 1",
        "severity": "warning",
        "status": "firing",
        "at": "2026-11-25T12:00:00.000Z",
        "since": "2026-11-25T12:00:00.000Z",
        "summary": "It is so.",
        "details": {"outcome": "timeout", "used": 1.5},
        "source": "amas-providers",
        "id": "id-1",
    }
    assert receiver.requests[1].body["id"] == "id-2"


@pytest.mark.parametrize(
    ("rest", "sign"),
    [
        ({}, ":warning:"),
        ({"severity": "critical"}, ":rotating_light:"),
        ({"severity": "critical", "firing": False}, ":white_check_mark:"),
    ],
    ids=["warning", "critical", "resolved"],
)
def test_slack(receiver: Receiver, rest: dict[str, Any], sign: str) -> None:
    """In Slack's form an alert is one text, in which nothing can be a mention or a link."""
    posted(Webhook(receiver.url, "slack"), alert(summary='<!channel> & "you"', **rest))
    assert receiver.requests[0].body == {"text": f'{sign} &lt;!channel&gt; &amp; "you"'}


def test_secrets_in_alerts(fake_key: str) -> None:
    """Whatever stands in an alert, no secret is posted; texts of any characters are."""
    item = alert(
        subject=f"s {fake_key}", summary=f"it said {fake_key} \ud800", details={"reason": fake_key}
    )
    for body in (json_body(item), slack_body(item)):
        assert fake_key not in body.decode()
        assert MASK in body.decode()
    assert json.loads(json_body(item))["summary"] == f"it said {MASK} \ud800"


def test_a_receiver_that_comes_back(receiver: Receiver, pauses: Pauses) -> None:
    """What is refused for the moment is posted again, with growing pauses, until it is taken."""
    receiver.statuses = [503, 408, 429, 500]
    posted(Webhook(receiver.url, sleep=pauses, random=lambda: 0.5), alert())
    assert [request.body["id"] for request in receiver.requests] == ["id-1"] * 5
    assert pauses.taken == [1.0, 4.0, 15.0, 15.0]


def test_a_receiver_that_stays_down(
    receiver: Receiver, pauses: Pauses, caplog: pytest.LogCaptureFixture
) -> None:
    """After five tries an alert is given up and logged once; the next one is tried anew."""
    receiver.statuses = [503] * 5
    posted(Webhook(receiver.url, sleep=pauses, random=lambda: 0.0), alert(1), alert(2))
    assert [request.body["id"] for request in receiver.requests] == ["id-1"] * 5 + ["id-2"]
    assert pauses.taken == [0.5] * 4
    (line,) = undelivered(caplog)
    assert "subject='provider 1' status='firing' alert_id='id-1'" in line
    assert "the receiver answered 503 (try 5)" in line


@pytest.mark.parametrize(
    ("asked", "pause"),
    [
        ("7", 7.0),
        ("3600", 60.0),
        ("0", 0.5),
        ("-3", 0.5),
        (format_datetime(datetime.fromtimestamp(NOON, UTC) + timedelta(seconds=20)), 20.0),
        ("soon", 2.0),
        ("inf", 2.0),
    ],
    ids=["seconds", "too long", "at once", "in the past", "a date", "a word", "for ever"],
)
def test_retry_after(receiver: Receiver, pauses: Pauses, asked: str, pause: float) -> None:
    """A wait that the receiver asks for is kept, up to a minute; what is none is passed over."""
    receiver.statuses = [429]
    receiver.headers = {"Retry-After": asked}
    posted(Webhook(receiver.url, sleep=pauses, random=lambda: 1.0, wall=lambda: NOON), alert())
    assert len(receiver.requests) == 2
    assert pauses.taken == [pause]


@pytest.mark.parametrize("status", [400, 404, 410, 302])
def test_what_is_refused_for_good(
    receiver: Receiver, pauses: Pauses, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Any other answer is logged once, and not tried again; a redirect is not followed."""
    receiver.statuses = [status]
    receiver.headers = {"Location": "/elsewhere"}
    posted(Webhook(receiver.url, sleep=pauses), alert())
    assert [request.path for request in receiver.requests] == ["/hook"]
    assert pauses.taken == []
    (line,) = undelivered(caplog)
    assert f"the receiver answered {status}" in line
    assert ("redirects are not followed" in line) is (status == 302)


def test_a_receiver_that_hangs(
    receiver: Receiver, pauses: Pauses, caplog: pytest.LogCaptureFixture
) -> None:
    """A receiver that does not answer in time is tried again."""
    receiver.statuses = [HANG]
    posted(Webhook(receiver.url, timeout=0.1, sleep=pauses), alert())
    assert len(receiver.requests) == 2
    assert undelivered(caplog) == []


def test_nobody_there(receiver: Receiver, pauses: Pauses, caplog: pytest.LogCaptureFixture) -> None:
    """Where no connection comes about it is tried again, and the log says why it failed."""
    url = Secret(f"http://127.0.0.1:1{receiver.path}")
    posted(Webhook(url, sleep=pauses), alert())
    assert len(pauses.taken) == 4
    (line,) = undelivered(caplog)
    assert "ConnectError" in line
    assert "(try 5)" in line


def test_an_address_that_is_none(pauses: Pauses, caplog: pytest.LogCaptureFixture) -> None:
    """An address that cannot be read gives up what is to be posted there, and raises nothing."""
    webhook = Webhook(Secret("http://127.0.0.1:port/path-of-it"), sleep=pauses)
    posted(webhook, alert())
    assert webhook._worker.failures == 0
    assert pauses.taken == []
    (line,) = undelivered(caplog)
    assert "InvalidURL" in line
    assert "path-of-it" not in line


def test_login_in_the_address(receiver: Receiver) -> None:
    """A user and password in the address are sent as a login."""
    posted(Webhook(Secret(f"http://user:pass@127.0.0.1:{receiver.port}/hook")), alert())
    assert receiver.requests[0].headers["Authorization"] == "Basic dXNlcjpwYXNz"


def test_the_address_is_in_no_log(
    receiver: Receiver, pauses: Pauses, caplog: pytest.LogCaptureFixture
) -> None:
    """At any level, neither our logs nor those of the HTTP library have the address's path."""
    caplog.set_level(logging.DEBUG)
    part = "T0" + "x9" * 8
    receiver.path = f"/services/{part}"
    receiver.statuses = [503, 400]
    posted(Webhook(receiver.url, sleep=pauses), alert(1), alert(2))
    assert receiver.requests[-1].path == receiver.path
    posted(Webhook(Secret(f"http://127.0.0.1:1/{part}"), sleep=pauses), alert(3))
    assert len(undelivered(caplog)) == 2
    assert part not in caplog.text


def test_errors_that_name_the_address(
    receiver: Receiver,
    pauses: Pauses,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An error of the HTTP library that quotes the path is logged without it."""
    import httpx

    part = "T0" + "x9" * 8

    def fail(self: httpx.HTTPTransport, request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError(f"cannot reach {request.url.path}")

    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", fail)
    receiver.path = f"/{part}"
    posted(Webhook(receiver.url, sleep=pauses), alert())
    (line,) = undelivered(caplog)
    assert f"ConnectError: cannot reach {MASK}" in line
    assert part not in caplog.text


def test_errors_without_words(
    pauses: Pauses, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An error that says nothing is logged by its name."""
    import httpx

    def fail(self: httpx.HTTPTransport, request: httpx.Request) -> httpx.Response:
        raise httpx.ReadError("")

    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", fail)
    posted(Webhook(Secret("http://127.0.0.1:1"), sleep=pauses), alert())
    assert "reason='ReadError (try 5)'" in undelivered(caplog)[0]


def test_close_in_a_pause(receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    """Closing ends a pause at once: what is left is tried once more, then logged as undelivered."""
    receiver.always = 503
    webhook = Webhook(receiver.url, random=lambda: 1.0)
    webhook.put(alert(1))
    receiver.arrived.get(timeout=10)
    webhook.put(alert(2))
    began = time.monotonic()
    webhook.close()
    assert time.monotonic() - began < 1.5, "the pause was 2 seconds"
    assert [request.body["id"] for request in receiver.requests] == ["id-1", "id-1", "id-2"]
    assert ["id-1" in line for line in undelivered(caplog)] == [True, False]


def test_close_delivers_what_is_left(receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    """What waits when it is closed is delivered if the receiver takes it."""
    receiver.statuses = [503]
    webhook = Webhook(receiver.url, random=lambda: 1.0)
    webhook.put(alert(1))
    receiver.arrived.get(timeout=10)
    webhook.close()
    assert len(receiver.requests) == 2
    assert undelivered(caplog) == []


def test_close_while_it_hangs(receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    """Closing waits for a receiver that hangs no longer than the grace, and tells what is left."""
    receiver.statuses = [HANG]
    webhook = Webhook(receiver.url, grace=0.0)
    webhook.put(alert(1))
    receiver.arrived.get(timeout=10)
    webhook.put(alert(2))
    began = time.monotonic()
    webhook.close()
    assert time.monotonic() - began < 3, "a try may take 10 seconds"
    assert [f"id-{number}" in line for number, line in enumerate(undelivered(caplog), 1)] == [
        True,
        True,
    ]
    (old,) = [item for item in threading.enumerate() if item.name == "amas-alerts-webhook"]
    receiver.release.set()
    old.join(10)
    assert len(receiver.requests) == 1
    assert len(undelivered(caplog)) == 2, "each is told once"


def test_close_with_no_time_left(receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    """What cannot be tried any more is logged by the thread itself."""
    receiver.statuses = [503]
    webhook = Webhook(receiver.url, grace=0.0)
    webhook.put(alert(1))
    receiver.arrived.get(timeout=10)
    webhook.close()
    assert len(receiver.requests) == 1
    assert len(undelivered(caplog)) == 1


def test_it_goes_on_after_closing(receiver: Receiver) -> None:
    """What comes after it was closed is posted, with all its tries."""
    webhook = Webhook(receiver.url, sleep=Pauses())
    webhook.close()
    receiver.statuses = [503, 503]
    posted(webhook, alert())
    assert len(receiver.requests) == 3


def test_too_many_alerts(receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    """Of alerts for which there is no room each is logged as undelivered."""
    receiver.statuses = [HANG]
    webhook = Webhook(receiver.url, grace=0.0)
    webhook.put(alert(0))
    receiver.arrived.get(timeout=10)
    for number in range(1, 1003):
        webhook.put(alert(number))
    lines = undelivered(caplog)
    assert len(lines) == 2
    assert "id-1001" in lines[0]
    assert "1000 alerts wait already" in lines[0]
    webhook.close()
    assert len(undelivered(caplog)) == 1003, "those that waited are told as well"


def test_nobody_holds_it_any_more(receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    """A webhook that is dropped in a pause tries once more, and its thread ends."""
    receiver.always = 503
    webhook = Webhook(receiver.url, random=lambda: 1.0)
    webhook.put(alert(1))
    receiver.arrived.get(timeout=10)
    began = time.monotonic()
    del webhook
    assert time.monotonic() - began < 1.5, "the pause was 2 seconds"
    assert len(receiver.requests) == 2
    assert len(undelivered(caplog)) == 1
    assert "amas-alerts-webhook" not in [item.name for item in threading.enumerate()]


def test_nothing_is_imported_for_nothing() -> None:
    """The HTTP library is not imported until something is posted."""
    code = (
        "import sys; from amas.providers.observability.alerts import Alerts, Webhook;"
        "from amas.providers.secret import Secret;"
        "Alerts(webhook=Webhook(Secret('http://127.0.0.1:1/')));"
        "sys.exit('httpx' in sys.modules or 'litellm' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
