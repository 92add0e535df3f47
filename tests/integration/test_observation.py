"""A manager that is watched: records, metrics, alerts, spans and logs of real calls, together."""

from __future__ import annotations

import asyncio
import fcntl
import gc
import io
import json
import logging
import socket
import threading
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import REGISTRY, generate_latest
from typing_extensions import override

from amas.config.provider_settings import (
    AccessRule,
    AlertSettings,
    AuditSettings,
    CircuitBreakerSettings,
    ManagerSettings,
    MetricsSettings,
    ObservabilitySettings,
    SecuritySettings,
)
from amas.providers import (
    AuditUnavailableError,
    ProviderConfig,
    ProviderManager,
    Secret,
    configure_logging,
)
from amas.providers.errors import (
    AccessDeniedError,
    AllProvidersFailedError,
    AuthenticationError,
    InvalidRequestError,
    ProviderConfigError,
    ProviderError,
    ProviderUnavailableError,
)
from amas.providers.llm.openai_provider import OpenAIProvider
from amas.providers.manager.observation import audit_key
from amas.providers.observability.alerts import Alert
from amas.providers.observability.audit.files import trail_files
from amas.providers.observability.audit.verification import verify
from amas.providers.observability.events import (
    AttemptEnded,
    CallEnded,
    ConfigurationChanged,
    Event,
    FailedOver,
)
from amas.providers.security.master_key import MasterKey, generate
from amas.providers.testing.fake_provider import FakeProvider
from amas.providers.testing.upstream import Upstream

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("uncovered")]

MASTER = generate()
PROMPT = "the words of a prompt that nobody may read"
ANSWER = "the words of an answer that nobody may read"


class Seen:
    """An observer that keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def observe(self, events: Sequence[Event]) -> None:
        self.events += events

    def of(self, kind: type[Any]) -> list[Any]:
        """Return the events of a kind."""
        return [event for event in self.events if isinstance(event, kind)]


def section(path: Path, **more: Any) -> ObservabilitySettings:
    """Ask for an audit trail in a folder."""
    return ObservabilitySettings(audit=AuditSettings(path=str(path / "audit.jsonl"), **more))


def manager_of(*providers: Any, **more: Any) -> ProviderManager:
    """Make a manager with a master key."""
    more.setdefault("security", SecuritySettings(master_key=(MASTER,)))
    return ProviderManager(more.pop("settings", None), providers=providers, **more)


def records(path: Path, kind: str | None = None) -> list[dict[str, Any]]:
    """Read the records of a trail."""
    lines = [line for file in trail_files(path) for line in file.read_text().splitlines()]
    found = [json.loads(line) for line in lines]
    return [record for record in found if kind in {None, record["kind"]}]


def is_sound(path: Path) -> bool:
    """Verify a trail."""
    return verify(trail_files(path), [audit_key(MasterKey(MASTER))]).ok


def text_of(*files: Path) -> str:
    """Read files."""
    return "".join(file.read_text() for file in files)


def set_mode(path: Path, mode: int) -> None:
    """Say who may do what with a file."""
    path.chmod(mode)


def write(path: Path, document: dict[str, Any]) -> None:
    """Write a configuration."""
    path.write_text(yaml.safe_dump({"providers": document}))


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what a thread brings about."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 -- there is no event of it
            await asyncio.sleep(0.02)


@pytest.fixture
def trail(tmp_path: Path) -> Path:
    """Say where the trail is."""
    return tmp_path / "audit.jsonl"


async def test_every_call_is_a_record(tmp_path: Path, trail: Path) -> None:
    """Who asked which model, with what outcome, at what cost; answers, streams and failures."""
    failing = FakeProvider("a", default=ProviderUnavailableError("down", status_code=503))
    manager = manager_of(failing, FakeProvider("b"), observability=section(tmp_path))
    async with manager:
        await manager.generate("hi", caller="tester", model="m7")
        async for _ in manager.stream("hi"):
            pass
        with pytest.raises(AllProvidersFailedError):
            await manager.generate("hi", max_providers=1, provider="a")
    answered, streamed, failed = records(trail, "call")
    assert answered["caller"] == "tester"
    assert answered["asked_model"] == "m7"
    assert (answered["provider"], answered["outcome"]) == ("b", "ok")
    tried = [(item["provider"], item["outcome"]) for item in answered["attempts"]]
    assert tried == [("a", "unavailable"), ("b", "ok")]
    assert answered["attempts"][0]["status"] == 503
    assert answered["latency_ms"] >= 0
    assert answered["cost_usd"] is None
    assert streamed["streamed"] is True
    assert streamed["first_content_ms"] >= 0
    assert (failed["provider"], failed["outcome"]) == ("a", "all_failed")
    assert is_sound(trail)


async def test_keys_are_named_by_keyed_fingerprints(
    tmp_path: Path, trail: Path, fake_key: str
) -> None:
    """Which can be compared, and neither guessed nor used."""
    async with Upstream() as upstream:
        config = ProviderConfig("openai", api_key=fake_key, base_url=f"{upstream.url}/v1")
        manager = manager_of(OpenAIProvider(config), observability=section(tmp_path))
        async with manager:
            await manager.generate("hi")
            await manager.rotate_key("openai", fake_key[::-1])
            await manager.generate("hi")
    first, second = records(trail, "call")
    master = MasterKey(MASTER)
    assert first["key"] == master.fingerprint(Secret(fake_key))
    assert second["key"] == master.fingerprint(Secret(fake_key[::-1]))
    (change,) = records(trail, "key")
    assert (change["changed"], change["fingerprint"]) == (True, second["key"])
    assert fake_key not in text_of(trail)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("content", ["none", "hash", "full"])
async def test_content_is_recorded_by_policy(
    tmp_path: Path, trail: Path, content: str, fake_key: str, *, streamed: bool
) -> None:
    """Nothing, a keyed hash that shows which are alike, or everything but the secrets in it."""
    provider = FakeProvider("a", default=ANSWER)
    manager = manager_of(provider, observability=section(tmp_path, content=content))
    prompt = [{"role": "user", "content": f"{PROMPT} {fake_key}"}]
    async with manager:
        for _ in range(2):
            if streamed:
                async for _ in manager.stream(prompt, system_prompt="be brief"):
                    pass
            else:
                await manager.generate(prompt, system_prompt="be brief")
    first, second = records(trail, "call")
    names = {"prompt", "answer", "prompt_hash", "answer_hash"} & first.keys()
    if content == "full":
        assert names == {"prompt", "answer"}
        assert [item["role"] for item in json.loads(first["prompt"])] == ["system", "user"]
        assert PROMPT in first["prompt"]
        assert first["answer"] == ANSWER
    elif content == "hash":
        assert names == {"prompt_hash", "answer_hash"}
        assert {first[name] for name in names} == {second[name] for name in names}
    else:
        assert names == set()
    assert fake_key not in text_of(trail)
    if content != "full":
        assert PROMPT not in text_of(trail)
        assert ANSWER not in text_of(trail)


async def test_an_answer_waits_for_its_record_where_that_is_asked_for(
    tmp_path: Path, trail: Path
) -> None:
    """With fsync: always it is on the disk before the answer is given out; so are failures."""
    provider = FakeProvider("a", ["one", ProviderUnavailableError("down")])
    manager = manager_of(provider, observability=section(tmp_path, fsync="always"))
    async with manager:
        await manager.generate("hi")
        assert len(records(trail, "call")) == 1
        with pytest.raises(AllProvidersFailedError):
            await manager.generate("hi")
        assert len(records(trail, "call")) == 2
        async for chunk in manager.stream("hi"):
            assert len(records(trail, "call")) == (3 if chunk.finish_reason else 2)


async def test_no_call_without_its_record_where_that_is_asked_for(
    tmp_path: Path, trail: Path
) -> None:
    """While records cannot be written calls are refused; then they go on, and nothing is lost."""
    alerts: list[Alert] = []
    settings = section(tmp_path, when_unwritable="block")
    manager = manager_of(FakeProvider("a"), observability=settings, on_alert=alerts.append)
    async with manager:
        await manager.generate("one")
        set_mode(trail, 0o400)
        with pytest.raises(AuditUnavailableError, match=r"when_unwritable: block.*read-only"):
            await manager.generate("two")
        with pytest.raises(AuditUnavailableError):
            await manager.generate("three")
        asked = [call.prompt for call in manager.providers["a"].calls]  # type: ignore[attr-defined]
        assert asked == ["one", "two"]
        set_mode(trail, 0o600)
        watched = manager._observation
        await until(lambda: watched._trouble() is None)
        await manager.generate("four")
    assert len(records(trail, "call")) == 3
    assert [(alert.kind, alert.firing) for alert in alerts] == [
        ("records", True),
        ("records", False),
    ]
    assert is_sound(trail)


async def test_calls_go_on_without_records_by_default(tmp_path: Path, trail: Path) -> None:
    """An alert is given, and what was to be recorded meanwhile is written later."""
    alerts: list[Alert] = []
    manager = manager_of(FakeProvider("a"), observability=section(tmp_path), on_alert=alerts.append)
    async with manager:
        await manager.generate("one")
        await manager.flush()
        set_mode(trail, 0o400)
        for _ in range(20):
            await manager.generate("more")
        await manager.flush()
        await manager.flush()
        assert [(alert.kind, alert.firing) for alert in alerts] == [("records", True)]
        assert len(records(trail, "call")) == 1
        set_mode(trail, 0o600)
    assert len(records(trail, "call")) == 21
    assert is_sound(trail)


async def test_what_there_was_no_room_for_is_told_in_the_trail(tmp_path: Path, trail: Path) -> None:
    """How many, and when; and an alert is given."""
    alerts: list[Alert] = []
    manager = manager_of(FakeProvider("a"), observability=section(tmp_path), on_alert=alerts.append)
    async with manager:
        await manager.flush()
        writer, worker = manager._observation._trail, manager._observation._records
        assert writer is not None
        assert worker is not None
        worker._queue._capacity = 5
        with writer._lock:  # a disk that is slow
            for _ in range(100):
                await manager.generate("hi")
        await manager.flush()
    dropped = sum(record["count"] for record in records(trail, "dropped"))
    # Other events than calls may be among them.
    assert 100 <= dropped + len(records(trail, "call")) <= 110
    assert dropped >= 80
    assert "records" in {alert.kind for alert in alerts}
    assert is_sound(trail)


async def test_a_disk_that_hangs_blocks_nobody_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call waits for its record until its deadline."""
    hold = threading.Event()
    settings = section(tmp_path, fsync="always", when_unwritable="block")
    manager = manager_of(FakeProvider("a"), observability=settings)
    monkeypatch.setattr("amas.providers.manager.observation._LEAST_WAIT", 0.05)
    async with manager:
        worker = manager._observation._records
        assert worker is not None
        monkeypatch.setattr(worker._queue, "_handle", lambda _items: hold.wait(10))
        with pytest.raises(AuditUnavailableError, match="not written in time"):
            await manager.generate("hi", deadline=0.2)
        hold.set()


async def test_a_manager_can_be_started_again(tmp_path: Path, trail: Path) -> None:
    """Its trail goes on, and so do its metrics."""
    settings = ObservabilitySettings(
        audit=AuditSettings(path=str(trail)), metrics=MetricsSettings(enabled=True)
    )
    manager = manager_of(FakeProvider("again"), observability=settings)
    for _ in range(2):
        async with manager:
            await manager.generate("hi")
            await manager.flush()
            assert b'provider="again"' in generate_latest(REGISTRY)
    assert [item["kind"] for item in records(trail)].count("start") == 2
    assert len(records(trail, "call")) == 2
    assert is_sound(trail)
    assert b"amas_provider" not in generate_latest(REGISTRY)


async def test_observers_see_every_step() -> None:
    """Of calls, requests, changes from one to the next; those of the host as ours."""
    seen = Seen()
    failing = FakeProvider("a", default=ProviderUnavailableError("down", status_code=503))
    async with manager_of(failing, FakeProvider("b"), observers=[seen]) as manager:
        await manager.generate("hi", caller="tester")
        await manager.flush()
        assert [(item.attempt["provider"], item.key) for item in seen.of(AttemptEnded)] == [
            ("a", 1),
            ("b", 1),
        ]
        (over,) = seen.of(FailedOver)
        assert (over.provider, over.outcome, over.following) == ("a", "unavailable", "b")
        (call,) = seen.of(CallEnded)
        assert (call.provider, call.caller, call.content) == ("b", "tester", None)
    kinds = [event.kind for event in seen.events]
    assert kinds == ["health", "health", "attempt", "failover", "attempt", "call"]


async def test_a_cancelled_call_is_told_as_well() -> None:
    """With the request that it had under way; so is a stream that was left."""
    seen = Seen()

    class Slow(FakeProvider):
        @override
        async def generate(self, prompt: Any, **kwargs: Any) -> Any:
            await asyncio.sleep(30)

    async with manager_of(Slow("a"), FakeProvider("b"), observers=[seen]) as manager:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(manager.generate("hi"), 0.02)
        stream = manager.stream("hi", provider="b")
        await anext(aiter(stream))
        await stream.aclose()  # type: ignore[attr-defined]
        await manager.flush()
    first, second = seen.of(CallEnded)
    assert (first.outcome, first.provider, len(first.attempts)) == ("cancelled", "a", 1)
    assert (second.outcome, second.provider, len(second.attempts)) == ("cancelled", "b", 1)


class Receiver:
    """A webhook that keeps what is posted to it."""

    def __init__(self) -> None:
        self.posted: list[dict[str, Any]] = []
        received = self.posted

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers["content-length"])
                received.append(json.loads(self.rfile.read(length)))
                self.send_response(200)
                self.end_headers()

            @override
            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Run a webhook on loopback."""
    found = Receiver()
    thread = threading.Thread(target=found.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield found
    found.server.shutdown()
    thread.join()
    found.server.server_close()


@pytest.mark.usefixtures("uncovered")
@pytest.mark.parametrize("others", [0, 1])
async def test_a_thousand_failures_are_one_alert(receiver: Receiver, others: int) -> None:
    """And one recovery, once it answers again; whether another one stands in or not."""
    ours = FakeProvider("a", default=ProviderUnavailableError("down", status_code=503))
    rest = [FakeProvider(f"b{number}") for number in range(others)]
    settings = ManagerSettings(
        circuit_breaker=CircuitBreakerSettings(cooldown=0.001, max_cooldown=0.001)
    )
    alerts = ObservabilitySettings(alerts=AlertSettings(webhook=Secret(receiver.url)))
    manager = manager_of(ours, *rest, settings=settings, observability=alerts)
    failures = 0
    async with manager:
        while failures < 1000:
            try:
                await manager.generate("hi", provider="a")
            except ProviderError:
                await asyncio.sleep(0)
            failures = len(ours.calls)
            manager._members.named("a").doubted_until = 0.0
        ours._default = "well again"
        await asyncio.sleep(0.002)
        assert (await manager.generate("hi", provider="a"))["provider"] == "a"
    told = [(item["kind"], item["subject"], item["status"]) for item in receiver.posted]
    assert told == [("circuit_open", "a", "firing"), ("circuit_open", "a", "resolved")]


async def test_a_refused_key_is_told_and_so_is_its_end(tmp_path: Path) -> None:
    """An alert names the provider and its key, not the key itself."""
    alerts: list[Alert] = []
    ours = FakeProvider("a", [AuthenticationError("no", status_code=401)])
    async with manager_of(ours, FakeProvider("b"), on_alert=alerts.append) as manager:
        await manager.generate("hi")
        manager.reset("a")
    assert [(alert.kind, alert.firing) for alert in alerts] == [
        ("key_rejected", True),
        ("key_rejected", False),
    ]
    assert "a" in alerts[0].subject


async def test_a_budget_is_told_when_it_comes_to_its_end() -> None:
    """At 80 and at 100 percent of it, each once a day."""
    alerts: list[Alert] = []

    class Costly(FakeProvider):
        @override
        async def generate(self, prompt: Any, **kwargs: Any) -> Any:
            usage = {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30}
            return {"content": "yes", "usage": usage}

    rule = AccessRule(budget_tokens_per_day=100, max_tokens=10)
    security = SecuritySettings(access={"agent": rule})
    manager = manager_of(Costly("a"), security=security, on_alert=alerts.append)
    async with manager:
        for _ in range(10):
            try:
                await manager.generate("hi", caller="agent")
            except AccessDeniedError:
                break
    assert [alert.kind for alert in alerts] == ["budget_80", "budget_100"]


@asynccontextmanager
async def configured(path: Path, document: dict[str, Any]) -> AsyncIterator[tuple[Any, Seen]]:
    """Run a manager from a file."""
    write(path, document)
    seen = Seen()
    async with ProviderManager.from_config(path, observers=[seen]) as manager:
        yield manager, seen


async def test_a_configuration_that_was_read_again_is_told(tmp_path: Path) -> None:
    """With what has changed, or with what is wrong; and the trail has it."""
    file, trail = tmp_path / "c.yaml", tmp_path / "t" / "audit.jsonl"
    local = {"base_url": "http://127.0.0.1:9", "provider": "ollama", "health_probe": "off"}
    document: dict[str, Any] = {
        "audit": {"path": str(trail)},
        "security": {"master_key": MASTER.get_secret_value()},
        "llm": {"one": local},
    }
    async with configured(file, document) as (manager, seen):
        document["llm"]["two"] = local
        document["alerts"] = {"min_interval": 5}
        write(file, document)
        changes = await manager.reload()
        assert (changes.problems, changes.pending) == ([], ["alerts"])
        document["llm"]["one"] = {"timeout": "soon"}
        write(file, document)
        with pytest.raises(ProviderConfigError):
            await manager.reload()
        await manager.flush()
        good, bad = seen.of(ConfigurationChanged)
    assert (good.taken, good.added, good.pending) == (True, ("two",), ("alerts",))
    assert bad.taken is False
    assert "timeout" in bad.problems[0]
    assert [item["taken"] for item in records(trail, "configuration")] == [True, False]
    assert is_sound(trail)


async def test_metrics_are_served_as_long_as_a_manager_runs(unused_tcp_port: int) -> None:
    """At a port of their own, which managers of one process share."""
    metrics = ObservabilitySettings(metrics=MetricsSettings(enabled=True, port=unused_tcp_port))
    url = f"http://127.0.0.1:{unused_tcp_port}/metrics"

    def page() -> str:
        with urllib.request.urlopen(url, timeout=5) as response:
            return str(response.read().decode())

    async with manager_of(FakeProvider("served"), observability=metrics) as manager:
        async with manager_of(FakeProvider("other"), observability=metrics) as second:
            await manager.generate("hi", caller="tester")
            await second.generate("hi")
            await manager.flush()
            await second.flush()
            text = await asyncio.to_thread(page)
        assert 'provider="served"' in await asyncio.to_thread(page)
    labels = '{caller="tester",outcome="ok",provider="served"}'
    assert f"amas_provider_calls_total{labels} 1.0" in text
    assert 'amas_provider_up{provider="other"} 1.0' in text
    with pytest.raises(OSError, match="refused"):
        await asyncio.to_thread(page)


async def test_a_port_that_is_taken_stops_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """Calls work, and the log says why there is no page."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        metrics = ObservabilitySettings(metrics=MetricsSettings(enabled=True, port=port))
        async with manager_of(FakeProvider("a"), observability=metrics) as manager:
            await manager.generate("hi")
    assert "metrics_not_served" in caplog.text
    assert "it is taken" in caplog.text


def test_a_manager_that_is_forgotten_keeps_nothing(tmp_path: Path, trail: Path) -> None:
    """No thread, no file; and its records are there."""

    async def work() -> None:
        manager = manager_of(FakeProvider("a"), observability=section(tmp_path))
        await manager.generate("hi")

    asyncio.run(work())
    gc.collect()
    assert [item.name for item in threading.enumerate() if item.name.startswith("amas-")] == []
    assert len(records(trail, "call")) == 1
    with trail.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


async def test_a_call_that_is_refused_for_what_it_asks_is_recorded(
    tmp_path: Path, trail: Path
) -> None:
    """An auditor wants to know who reaches for keys and addresses."""
    async with manager_of(FakeProvider("a"), observability=section(tmp_path)) as manager:
        with pytest.raises(InvalidRequestError) as raised:
            await manager.generate("hi", caller="evil", api_key="x")
        with pytest.raises(InvalidRequestError):
            await manager.generate("hi", caller=7)  # type: ignore[arg-type]
        with pytest.raises(InvalidRequestError):
            async for _ in manager.stream(None, caller="big"):  # type: ignore[arg-type]
                pass
    found = records(trail, "call")
    assert [(item.get("caller"), item["outcome"]) for item in found] == [
        ("evil", "invalid_request"),
        (None, "invalid_request"),
        ("big", "invalid_request"),
    ]
    assert found[0]["request_id"] == raised.value.request_id


async def test_flushing_has_an_end() -> None:
    """An observer that hangs holds nobody up for ever."""
    hold = threading.Event()

    class Hanging:
        def observe(self, events: Sequence[Event]) -> None:
            hold.wait(10)

    async with manager_of(FakeProvider("a"), observers=[Hanging()]) as manager:
        await manager.generate("hi")
        assert await manager.flush(0.05) is False
        hold.set()
        assert await manager.flush() is True


async def test_who_has_nobody_to_ask_is_told_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """As a warning, with a trail and without; an answered call is no warning."""
    async with manager_of(FakeProvider("a", ["yes", ProviderUnavailableError("down")])) as manager:
        with caplog.at_level("WARNING"):
            await manager.generate("hi")
            assert caplog.messages == []
            with pytest.raises(AllProvidersFailedError):
                await manager.generate("hi")
    (message,) = caplog.messages
    assert json.loads(message)["outcome"] == "all_failed"


async def test_nothing_of_content_and_keys_is_shown_anywhere(
    tmp_path: Path, trail: Path, monkeypatch: pytest.MonkeyPatch, fake_key: str
) -> None:
    """Neither in logs, metrics, spans nor records, though upstreams quote all of it in errors."""
    exporter, source, log = InMemorySpanExporter(), TracerProvider(), io.StringIO()
    source.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: source)
    amas = logging.getLogger("amas")
    before = amas.handlers[:], amas.level, amas.propagate
    handler = configure_logging("DEBUG", stream=log)

    class Quoting(FakeProvider):
        @override
        async def generate(self, prompt: Any, **kwargs: Any) -> Any:
            raise ValueError(f"cannot read {prompt!r} with {fake_key}")

    async with Upstream() as upstream:
        upstream.fault(status=503, message=f"no: {PROMPT} {fake_key}", times=2)
        config = ProviderConfig(
            "openai", api_key=fake_key, base_url=f"{upstream.url}/v1", max_retries=0
        )
        document = {
            "audit": {"path": str(trail)},
            "security": {"master_key": MASTER},
            "metrics": {"enabled": True},
            "tracing": {"enabled": True},
            "manager": {"circuit_breaker": {"failure_threshold": 1}},
            "llm": {},
        }
        alerts: list[Alert] = []
        manager = ProviderManager.from_config({"providers": document}, on_alert=alerts.append)
        for provider in (Quoting("q"), OpenAIProvider(config), FakeProvider("b", default=ANSWER)):
            await manager.register_provider(provider)
        async with manager:
            first = await manager.generate(PROMPT, caller="tester")
            for _ in range(8):
                await manager.generate(PROMPT, caller="tester")
                async for _ in manager.stream([{"role": "user", "content": PROMPT}]):
                    pass
            await manager.flush()
            page = generate_latest(REGISTRY).decode()
    handler.close()
    amas.handlers[:], amas.level, amas.propagate = before
    quoted = [str(attempt["error"]) for attempt in first["attempts"]]
    assert [PROMPT in text for text in quoted] == [True, True, False]
    spans = "".join(span.to_json() for span in exporter.get_finished_spans())
    shown = {
        "log": log.getvalue(),
        "metrics": page,
        "spans": spans,
        "records": text_of(*trail_files(trail)),
        "alerts": repr(alerts),
    }
    assert [name for name, text in shown.items() if len(text) < 50] == []
    for secret in (PROMPT, PROMPT[4:20], ANSWER, ANSWER[:12], fake_key, fake_key[:20]):
        assert [name for name, text in shown.items() if secret in text] == []
