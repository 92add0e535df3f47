"""Alerts posted to an address: a receiver on loopback, which fails in every way."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import queue
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from typing_extensions import override

from amas.providers.observability.alerts import Alert, Alerts, Webhook
from amas.providers.observability.alerts.outbox import Outbox
from amas.providers.observability.alerts.posting import (
    Reply,
    Source,
    json_body,
    slack_body,
    this_process,
)
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
class Clock:
    """Takes the place of waiting, and notes for how long."""

    now: float = 0.0
    pauses: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now

    def runs(self, outbox: Outbox) -> None:
        """Have an outbox work until nothing is left, as a thread does."""
        while (pause := outbox.work()) is not None:
            self.pauses.append(pause)
            self.now += pause


@pytest.fixture
def clock() -> Clock:
    """Return a clock that is set by hand."""
    return Clock()


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


def posted(webhook: Webhook, clock: Clock, *alerts: Alert) -> None:
    """Have alerts posted in this thread, until each is delivered or given up."""
    for item in alerts:
        webhook._outbox.put(item)
    clock.runs(webhook._outbox)


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


def test_what_is_posted(receiver: Receiver, clock: Clock) -> None:
    """An alert is posted as JSON with all its fields, in order, to the path that is configured."""
    receiver.path = "/hook?room=7"
    webhook = Webhook(receiver.url, service="osint")
    posted(webhook, clock, alert(1, details={"outcome": "timeout", "used": 1.5}), alert(2))
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
        "source": {
            "name": "amas-providers",
            "service": "osint",
            "host": socket.gethostname(),
            "pid": os.getpid(),
        },
        "id": "id-1",
    }
    assert receiver.requests[1].body["id"] == "id-2"


@pytest.mark.parametrize(
    ("program", "name"),
    [("/srv/osint/run.py", "run.py"), ("/srv/osint/__main__.py", "osint"), ("", "python")],
    ids=["a script", "a package", "an interpreter"],
)
def test_the_service_is_named(monkeypatch: pytest.MonkeyPatch, program: str, name: str) -> None:
    """Alerts name the program that they come from, where no other name was given."""
    monkeypatch.setattr(sys, "argv", [program])
    assert this_process().service == name
    assert this_process("osint").service == "osint"


@pytest.mark.parametrize(
    ("rest", "sign"),
    [
        ({}, ":warning:"),
        ({"severity": "critical"}, ":rotating_light:"),
        ({"severity": "critical", "firing": False}, ":white_check_mark:"),
    ],
    ids=["warning", "critical", "resolved"],
)
def test_slack(rest: dict[str, Any], sign: str) -> None:
    """In Slack's form an alert is one text without mentions or links, with a short id and where."""
    item = alert(summary='<!channel> & "you"', id="0123456789abcdef", **rest)
    assert json.loads(slack_body(item, Source("osint", "h<1>", 7))) == {
        "text": f'{sign} &lt;!channel&gt; &amp; "you" [01234567] (osint on h&lt;1&gt;, pid 7)'
    }


def test_slack_is_posted(receiver: Receiver, clock: Clock) -> None:
    """The form that is configured is what is posted."""
    posted(Webhook(receiver.url, "slack"), clock, alert())
    assert list(receiver.requests[0].body) == ["text"]


def test_secrets_in_alerts(fake_key: str) -> None:
    """Whatever stands in an alert, no secret is posted; texts of any characters are."""
    item = alert(
        subject=f"s {fake_key}", summary=f"it said {fake_key} \ud800", details={"reason": fake_key}
    )
    source = Source(fake_key, "h", 7)
    for body in (json_body(item, source), slack_body(item, source)):
        assert fake_key not in body.decode()
        assert MASK in body.decode()
    assert json.loads(json_body(item, source))["summary"] == f"it said {MASK} \ud800"


def test_a_receiver_that_comes_back(receiver: Receiver, clock: Clock) -> None:
    """What is refused for the moment is posted again, with growing pauses, until it is taken."""
    receiver.statuses = [503, 408, 429, 500]
    posted(Webhook(receiver.url, clock=clock, random=lambda: 0.5), clock, alert())
    assert [request.body["id"] for request in receiver.requests] == ["id-1"] * 5
    assert clock.pauses == [1.0, 4.0, 15.0, 15.0]


def test_a_receiver_that_stays_down(
    receiver: Receiver, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """After five tries an alert is given up and logged once; the next one is tried anew."""
    receiver.statuses = [503] * 5
    webhook = Webhook(receiver.url, clock=clock, random=lambda: 0.0)
    posted(webhook, clock, alert(1))
    posted(webhook, clock, alert(2))
    assert [request.body["id"] for request in receiver.requests] == ["id-1"] * 5 + ["id-2"]
    assert clock.pauses == [0.5] * 4
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
def test_retry_after(receiver: Receiver, clock: Clock, asked: str, pause: float) -> None:
    """A wait that the receiver asks for is kept, up to a minute; what is none is passed over."""
    receiver.statuses = [429]
    receiver.headers = {"Retry-After": asked}
    webhook = Webhook(receiver.url, clock=clock, random=lambda: 1.0, wall=lambda: NOON)
    posted(webhook, clock, alert())
    assert len(receiver.requests) == 2
    assert clock.pauses == [pause]


@pytest.mark.parametrize("status", [400, 404, 410, 302])
def test_what_is_refused_for_good(
    receiver: Receiver, clock: Clock, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Any other answer is logged once, and not tried again; a redirect is not followed."""
    receiver.statuses = [status]
    receiver.headers = {"Location": "/elsewhere"}
    posted(Webhook(receiver.url, clock=clock), clock, alert())
    assert [request.path for request in receiver.requests] == ["/hook"]
    assert clock.pauses == []
    (line,) = undelivered(caplog)
    assert f"the receiver answered {status}" in line
    assert ("redirects are not followed" in line) is (status == 302)


def test_a_receiver_that_hangs(
    receiver: Receiver, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """A try that is not answered in time is made again, after all others have had their turn."""
    receiver.statuses = [HANG]
    webhook = Webhook(receiver.url, timeout=0.1, clock=clock)
    posted(webhook, clock, *(alert(number) for number in range(1, 5)))
    order = [request.body["id"] for request in receiver.requests]
    assert order == ["id-1", "id-2", "id-3", "id-4", "id-1"]
    assert undelivered(caplog) == []


def test_nobody_there(receiver: Receiver, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """Where no connection comes about it is tried again, and the log says why it failed."""
    url = Secret(f"http://127.0.0.1:1{receiver.path}")
    posted(Webhook(url, clock=clock), clock, alert())
    assert len(clock.pauses) == 4
    (line,) = undelivered(caplog)
    assert "ConnectError" in line
    assert "(try 5)" in line


def test_an_address_that_is_none(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """An address that cannot be read gives up what is to be posted there, and raises nothing."""
    posted(Webhook(Secret("http://127.0.0.1:port/path-of-it"), clock=clock), clock, alert())
    assert clock.pauses == []
    (line,) = undelivered(caplog)
    assert "InvalidURL" in line
    assert "path-of-it" not in line


def test_login_in_the_address(receiver: Receiver, clock: Clock) -> None:
    """A user and password in the address are sent as a login."""
    posted(Webhook(Secret(f"http://user:pass@127.0.0.1:{receiver.port}/hook")), clock, alert())
    assert receiver.requests[0].headers["Authorization"] == "Basic dXNlcjpwYXNz"


def test_the_address_is_in_no_log(
    receiver: Receiver, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """At any level, neither our logs nor those of the HTTP library have the address's path."""
    caplog.set_level(logging.DEBUG)
    part = "T0" + "x9" * 8
    receiver.path = f"/services/{part}"
    receiver.statuses = [503, 400]
    posted(Webhook(receiver.url, clock=clock), clock, alert(1))
    assert receiver.requests[-1].path == receiver.path
    posted(Webhook(Secret(f"http://127.0.0.1:1/{part}"), clock=clock), clock, alert(3))
    assert len(undelivered(caplog)) == 2
    assert part not in caplog.text


def test_errors_that_name_the_address(
    receiver: Receiver,
    clock: Clock,
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
    posted(Webhook(receiver.url, clock=clock), clock, alert())
    (line,) = undelivered(caplog)
    assert f"ConnectError: cannot reach {MASK}" in line
    assert part not in caplog.text


def test_errors_without_words(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An error that says nothing is logged by its name."""
    import httpx

    def fail(self: httpx.HTTPTransport, request: httpx.Request) -> httpx.Response:
        raise httpx.ReadError("")

    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", fail)
    posted(Webhook(Secret("http://127.0.0.1:1"), clock=clock), clock, alert())
    assert "reason='ReadError (try 5)'" in undelivered(caplog)[0]


class Flaky:
    """Posts nothing: each try takes a while, and fails as often as it is told to."""

    def __init__(self, clock: Clock, failures: dict[str, int], seconds: float = 10.0) -> None:
        self.tried: list[tuple[str, bool]] = []
        self._clock, self._failures, self._seconds = clock, failures, seconds

    @contextmanager
    def connected(self) -> Iterator[Callable[[Alert, float], Reply]]:
        yield self._post

    def _post(self, alert: Alert, _seconds: float) -> Reply:
        self.tried.append((alert.subject, alert.firing))
        if self._failures.get(alert.subject, 0):
            self._failures[alert.subject] -= 1
            self._clock.now += self._seconds
            return Reply(delivered=False, again=True, reason="it hung")
        return Reply(delivered=True)


def order_of(clock: Clock, failures: dict[str, int], *alerts: Alert) -> list[tuple[str, bool]]:
    """Return in which order alerts are tried: subject, firing."""
    flaky = Flaky(clock, failures)
    outbox = Outbox(flaky, timeout=10.0, grace=3.0, random=lambda: 0.0, clock=clock)
    for item in alerts:
        outbox.put(item)
    clock.runs(outbox)
    return flaky.tried


def test_critical_alerts_go_first(clock: Clock) -> None:
    """Before warnings that came earlier; a critical one that hangs lets them pass meanwhile."""
    tried = order_of(
        clock,
        {"worst": 1},
        alert(1, subject="small"),
        alert(2, subject="worst", severity="critical"),
        alert(3, subject="bad", severity="critical"),
    )
    assert [subject for subject, _ in tried] == ["worst", "bad", "small", "worst"]


def test_waiting_alerts_take_turns(clock: Clock) -> None:
    """However long each try hangs, nobody is tried twice before all others were tried once."""
    tried = order_of(clock, dict.fromkeys("abc", 9), *(alert(1, subject=s, id=s) for s in "abc"))
    assert [subject for subject, _ in tried] == ["a", "b", "c"] * 5


@pytest.mark.parametrize(("failures", "tries"), [(1, 2), (9, 5)], ids=["delivered", "given up"])
def test_a_recovery_follows_its_alert(clock: Clock, failures: int, tries: int) -> None:
    """Receivers get pairs, in order: a recovery waits for its alert, and comes in any case."""
    tried = order_of(clock, {"a": failures}, alert(1, subject="a"), alert(1, firing=False))
    assert tried == [("a", True)] * tries + [("provider 1", False)]


def test_what_is_given_up_twice_is_logged_once(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever closes gives up what the thread has under way; its failure then is no news."""

    class Closed:
        @contextmanager
        def connected(self) -> Iterator[Callable[[Alert, float], Reply]]:
            def post(alert: Alert, seconds: float) -> Reply:
                outbox.give_up()
                return Reply(delivered=False, reason="refused")

            yield post

    outbox = Outbox(Closed(), timeout=1.0, grace=1.0, random=lambda: 0.0, clock=clock)
    outbox.put(alert())
    assert outbox.work() is None
    (line,) = undelivered(caplog)
    assert "no time left" in line


def test_what_comes_during_a_pause_is_posted_at_once(receiver: Receiver) -> None:
    """The pause of one alert holds up no other."""
    receiver.statuses = [503]
    receiver.headers = {"Retry-After": "60"}
    webhook = Webhook(receiver.url)
    webhook.put(alert(1))
    receiver.arrived.get(timeout=10)
    webhook.put(alert(2))
    receiver.arrived.get(timeout=10)
    assert [request.body["id"] for request in receiver.requests] == ["id-1", "id-2"]
    webhook.close()


def test_a_fork_posts_nothing_twice(receiver: Receiver) -> None:
    """What waits in the parent when a process is forked is the parent's to post."""
    webhook = Webhook(receiver.url)
    webhook._outbox.put(alert(1))
    webhook._pid = -1  # as a child sees it
    webhook.put(alert(2))
    webhook.close()
    assert [request.body["id"] for request in receiver.requests] == ["id-2"]


def test_close_in_a_pause(receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    """Closing ends all pauses at once: what is left is tried once more, then logged as undelivered."""
    receiver.always = 503
    webhook = Webhook(receiver.url, random=lambda: 1.0)
    for number in (1, 2):
        webhook.put(alert(number))
        receiver.arrived.get(timeout=10)
    began = time.monotonic()
    webhook.close()
    assert time.monotonic() - began < 1.5, "the pause was 2 seconds"
    assert [request.body["id"] for request in receiver.requests] == ["id-1", "id-2"] * 2
    assert sorted("id-1" in line for line in undelivered(caplog)) == [False, True]


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
    webhook = Webhook(receiver.url, random=lambda: 0.0)
    webhook.close()
    receiver.statuses = [503]
    webhook.put(alert())
    receiver.arrived.get(timeout=10)
    receiver.arrived.get(timeout=10)
    webhook.close()
    assert len(receiver.requests) == 2


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
