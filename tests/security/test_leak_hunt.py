"""The leak hunt: many shapes of keys, every way a call can end, everything that is shown of it."""

from __future__ import annotations

import asyncio
import base64
import copy
import html
import io
import json
import logging
import pickle
import random
import string
import sys
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
import yaml
from prometheus_client import generate_latest
from rich.console import Console
from rich.traceback import Traceback
from typer.testing import CliRunner

from amas.config.provider_settings import (
    AuditSettings,
    MetricsSettings,
    ObservabilitySettings,
    SecuritySettings,
)
from amas.providers import (
    LiteLLMProvider,
    ProviderConfig,
    ProviderError,
    ProviderManager,
)
from amas.providers.cli.app import app
from amas.providers.llm.bodies import scrubbed
from amas.providers.llm.http_client import Wire, on_wire
from amas.providers.llm.litellm_runtime import load_runtime
from amas.providers.observability.alerts import Alert
from amas.providers.observability.audit.files import trail_files
from amas.providers.observability.audit.reading import read_records
from amas.providers.secret import MASK, Secret, scrub
from amas.providers.security.master_key import generate
from amas.providers.testing.upstream import Fault, ThreadedUpstream, Upstream

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("uncovered")]

PATHS = {"openai": "/v1", "anthropic": "", "gemini": "/v1beta", "ollama": ""}
WORD = string.ascii_letters + string.digits
HEX = "0123456789abcdef"
# Prefix, characters, length: the vendors' shapes, and others that encodings change.
SHAPES: dict[str, tuple[str, str, int]] = {
    "openai-old": ("sk-", WORD, 48),
    "openai-project": ("sk-proj-", WORD + "-_", 120),
    "openai-service": ("sk-svcacct-", WORD + "-_", 100),
    "openai-admin": ("sk-admin-", WORD + "-_", 100),
    "anthropic": ("sk-ant-api03-", WORD + "-_", 95),
    "anthropic-admin": ("sk-ant-admin01-", WORD + "-_", 95),
    "openrouter": ("sk-or-v1-", HEX, 64),
    "deepseek": ("sk-", HEX, 32),
    "google": ("AIza", WORD + "-_", 35),
    "google-oauth": ("ya29.", WORD + "-_", 60),
    "groq": ("gsk_", WORD, 52),
    "huggingface": ("hf_", string.ascii_letters, 34),
    "replicate": ("r8_", WORD, 37),
    "fireworks": ("fw_", WORD, 22),
    "xai": ("xai-", WORD, 80),
    "perplexity": ("pplx-", WORD, 48),
    "nvidia": ("nvapi-", WORD + "-_", 64),
    "cerebras": ("csk-", string.ascii_lowercase + string.digits, 48),
    "azure": ("", HEX, 32),
    "azure-new": ("", WORD, 84),
    "mistral": ("", WORD, 32),
    "cohere": ("", WORD, 40),
    "together": ("", HEX, 64),
    "aws-id": ("AKIA", string.ascii_uppercase + string.digits, 16),
    "aws-secret": ("", WORD + "+/", 40),
    "github": ("ghp_", WORD, 36),
    "github-fine": ("github_pat_", WORD + "_", 82),
    "uuid-like": ("", HEX + "-", 36),
    "base64": ("", WORD + "+/", 43),
    "percent": ("", WORD + "%", 30),
    "quotes": ("", WORD + "\"'`", 30),
    "backslashes": ("", WORD + "\\/", 30),
    "html": ("", WORD + "<>&", 30),
    "url": ("", WORD + "?#@:=&;,", 30),
    "punctuation": ("", string.punctuation, 30),
    "short": ("", WORD, 8),
}
NAMES = list(SHAPES)
VENDOR_OF = {name: list(PATHS)[number % len(PATHS)] for number, name in enumerate(NAMES)}

# How calls end: the rows of the failure table, with the key in what is answered.
ROWS: dict[str, dict[str, Any]] = {
    **{f"status {status}": {"status": status, "echo_key": True}
       for status in (400, 401, 402, 403, 404, 500, 529)},
    **{code: {"code": code, "echo_key": True}
       for code in ("insufficient_quota", "context_length_exceeded")},
    "policy": {"code": "content_filter", "status": 400, "echo_key": True},
    "rate limit": {"status": 429, "retry_after": "Bearer {key}", "echo_key": True},
    "malformed": {"malformed": True},
    "reset": {"reset": True},
    "cut": {"cut_after": 1},
}  # fmt: skip
STREAM_ROWS: dict[str, dict[str, Any]] = {
    "refused": {"status": 401, "echo_key": True},
    "cut": {"cut_after": 1},
    "truncated": {"truncate_after": 1},
    "error": {"stream_error_after": 1, "echo_key": True},
}


def key_of(shape: str) -> str:
    """Make a key up; the same for the same shape."""
    prefix, alphabet, length = SHAPES[shape]
    chosen = random.Random(f"leak hunt {shape}")
    return prefix + "".join(chosen.choices(alphabet, k=length))


def encodings(key: str) -> dict[str, str]:
    """Return a key the ways it may stand in a text; on purpose by other means than ours."""
    quoted = json.dumps(key)[1:-1]
    found = {
        "raw": key,
        "url": quote(key, safe=""),
        "url-form": quote_plus(key),
        "url-lower": "".join(c if c in WORD else f"%{ord(c):02x}" for c in key),
        "url-all": "".join(f"%{ord(c):02X}" for c in key),
        "json": quoted,
        "json-twice": json.dumps(quoted)[1:-1],
        "json-hex": "".join(c if c in WORD else f"\\u{ord(c):04x}" for c in key),
        "json-slash": quoted.replace("/", "\\/"),
        "python": repr(key)[1:-1],
        "html": html.escape(key),
        "html-decimal": "".join(c if c in WORD else f"&#{ord(c)};" for c in key),
        "hex": "".join(f"{ord(c):02x}" for c in key),
        "HEX": "".join(f"{ord(c):02X}" for c in key),
    }
    for before in range(3):
        # What stays the same whatever stands around the key in what was encoded.
        whole = [
            base64.b64encode(f"{filler * before}{key}{filler * 3}".encode()).decode()
            for filler in "\0~"
        ]
        same = [a == b for a, b in zip(*whole, strict=True)]
        start = same.index(True)
        end = same.index(False, start)
        found[f"base64-{before}"] = whole[0][start:end]
        found[f"base64-url-{before}"] = whole[0][start:end].translate(str.maketrans("+/", "-_"))
    return found


class Hunt:
    """Looks for keys in whatever it is shown, and notes where it has found which.

    Args:
        keys: The keys.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        self.found: list[str] = []
        self._forms = [(how, form) for key in keys for how, form in encodings(key).items()]

    def look(self, where: str, shown: str | bytes) -> None:
        """Look at a text."""
        text = shown.decode("latin-1") if isinstance(shown, bytes) else shown
        self.found += [f"{where} ({how})" for how, form in self._forms if form in text]

    def look_at(self, where: str, thing: Any) -> None:
        """Look at an object in the ways that objects are shown and sent."""
        self.look(f"{where}: repr", f"{thing!r} {thing}")
        self.look(f"{where}: vars", repr(getattr(thing, "__dict__", None)))
        self.look(f"{where}: pickle", pickle.dumps(thing))
        self.look(f"{where}: copy", repr(copy.deepcopy(thing)))

    def look_at_error(self, where: str, error: BaseException, *, rich: bool = False) -> None:
        """Look at an error, its causes, and the locals of every frame that they refer to."""
        self.look(f"{where}: repr", f"{error!r} {error} {vars(error)!r}")
        self.look(f"{where}: pickle", pickle.dumps(error.with_traceback(error.__traceback__)))
        told = traceback.TracebackException.from_exception(error, capture_locals=True)
        self.look(f"{where}: traceback", "".join(told.format()))
        logged = io.StringIO()
        handler = logging.StreamHandler(logged)
        record = logging.LogRecord("x", 40, "x", 1, "failed", (), (type(error), error, None))
        handler.emit(record)
        self.look(f"{where}: log", logged.getvalue())
        for frame in frames_of(error):
            for package in ("litellm", "openai", "aiohttp", "httpx"):
                if f"site-packages/{package}/" in frame:
                    self.found.append(f"{where}: a frame of {package} can be reached")
        if rich:
            drawn = Console(file=io.StringIO(), width=100_000)
            drawn.print(
                Traceback.from_exception(
                    type(error),
                    error,
                    error.__traceback__,
                    show_locals=True,
                    locals_max_string=10**6,
                )
            )
            assert isinstance(drawn.file, io.StringIO)
            self.look(f"{where}: rich", drawn.file.getvalue())


def frames_of(error: BaseException) -> Iterator[str]:
    """Yield the files of all frames that an error or what it came from refers to."""
    seen: set[int] = set()
    pending: list[BaseException | None] = [error]
    while pending:
        current = pending.pop()
        if current is not None and id(current) not in seen:
            seen.add(id(current))
            pending += [current.__cause__, current.__context__]
            for frame, _ in traceback.walk_tb(current.__traceback__):
                yield frame.f_code.co_filename


@contextmanager
def everything_logged(*, litellm: bool = True) -> Iterator[io.StringIO]:
    """Log as a host does that debugs everything, and has installed no filter of ours.

    LiteLLM's log takes as long as its calls do, and has the same lines for every key.
    """
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(logging.Formatter("%(name)s %(message)s"))
    names = ["", "openai", "httpx", "aiohttp", *(["LiteLLM"] if litellm else [])]
    loggers = [logging.getLogger(name) for name in names]
    before = [(each, each.level, each.handlers[:]) for each in loggers]
    # Handlers of pytest's live on, with what another test has put on them.
    filtered = [(each, each.filters[:]) for each in logging.root.handlers]
    try:
        for sink, _ in filtered:
            sink.filters.clear()
        for each in loggers:
            each.setLevel(logging.DEBUG)
            if not each.propagate or each is logging.root:
                each.addHandler(handler)
        yield written
    finally:
        for each, level, handlers in before:
            each.setLevel(level)
            each.handlers[:] = handlers
        for sink, filters in filtered:
            sink.filters[:] = filters


async def error_of(work: Awaitable[Any]) -> BaseException | None:
    """Return what some work ends in; in a frame that knows no key."""
    try:
        await work
    except (ProviderError, asyncio.CancelledError, TimeoutError) as error:
        return error
    return None


async def all_of(stream: AsyncIterator[Any]) -> list[Any]:
    """Read a stream."""
    return [piece async for piece in stream]


def provider_at(up: Upstream, shape: str, **options: Any) -> LiteLLMProvider:
    """Configure a provider with a key of a shape, which is also in a header of its own."""
    vendor = VENDOR_OF[shape]
    given: dict[str, Any] = {
        "api_key": key_of(shape),
        "provider": vendor,
        "base_url": up.url + PATHS[vendor],
        "options": {"headers": {"X-Gateway-Key": key_of(shape)}},
        "timeout": 5,
        "max_retries": 0,
    }
    return LiteLLMProvider(ProviderConfig(shape, **(given | options)))


def fault_of(row: dict[str, Any], key: str) -> dict[str, Any]:
    """Fill the key into a fault: raw in a header, in every encoding in the message."""
    filled = dict(row)
    if "retry_after" in row:
        filled["retry_after"] = row["retry_after"].format(key=key)
    if row.get("echo_key"):
        basic = base64.b64encode(f"user:{key}".encode()).decode()
        filled["message"] = " ".join([f"Basic {basic}", *encodings(key).values()])
    return filled


@pytest.fixture
async def up() -> AsyncIterator[Upstream]:
    """Run the upstream."""
    async with Upstream("up", reply="Fine, thank you.") as upstream:
        yield upstream


async def hunt_calls(up: Upstream, shape: str, hunt: Hunt, dispatch: str = "auto") -> int:
    """Let one provider's calls end in every way; return how many have failed."""
    failed = 0
    provider = provider_at(up, shape, dispatch=dispatch)
    assert await provider.initialize(), provider.last_error
    hunt.look_at(f"{shape}: config", provider.config)
    hunt.look(f"{shape}: asdict", json.dumps(asdict(provider.config), default=str))
    hunt.look(f"{shape}: result", json.dumps(await provider.generate("hello")))
    hunt.look(f"{shape}: pieces", repr(await all_of(provider.stream("hello"))))
    calls: list[tuple[str, dict[str, Any], Callable[[], Awaitable[Any]]]] = [
        *((name, row, lambda: provider.generate("hello")) for name, row in ROWS.items()),
        *((f"stream {name}", row, lambda: all_of(provider.stream("hello")))
          for name, row in STREAM_ROWS.items()),
        ("embed", ROWS["status 401"] | {"on": "embeddings"}, lambda: provider.embed(["hello"])),
        ("models", ROWS["status 401"] | {"on": "models"}, provider.list_models),
    ]  # fmt: skip
    for name, row, call in calls:
        up.fault(**fault_of(row, key_of(shape)))
        error = await error_of(call())
        up.clear()
        if error is not None:
            failed += 1
            hunt.look_at_error(f"{shape}: {name}", error)
    await provider.shutdown()
    return failed


@pytest.mark.slow
@pytest.mark.parametrize("vendor", PATHS)
async def test_calls_leak_nothing(up: Upstream, vendor: str, uncovered: None) -> None:
    """However a call ends, nothing that is shown of it has the key in any encoding."""
    shapes = [name for name in NAMES if VENDOR_OF[name] == vendor]
    hunt = Hunt([key_of(shape) for shape in shapes])
    failed, logged = [], ""
    for number, shape in enumerate(shapes):
        with everything_logged(litellm=number < 2) as written:
            failed.append(await hunt_calls(up, shape, hunt))
        logged += written.getvalue()
    hunt.look("log", logged)
    assert hunt.found == []
    # Not all fail: some vendors have no embeddings, and LiteLLM skips what it cannot read.
    assert min(failed) >= len(ROWS) + len(STREAM_ROWS) - 2
    assert "Request options" in logged or vendor != "openai"


async def test_managers_leak_nothing(up: Upstream, uncovered: None) -> None:
    """Status, attempts, errors, audit and logs of a manager with all keys have none of them."""
    rotated = key_of("mistral")[::-1]
    hunt = Hunt([rotated, *map(key_of, NAMES)])
    everything = " ".join(map(key_of, NAMES))
    with everything_logged() as written:
        async with ProviderManager() as manager:
            for shape in NAMES:
                await manager.register_provider(provider_at(up, shape))
            hunt.look("result", json.dumps(await manager.generate("hello")))
            for row in ({"status": 500}, {"status": 401}):
                up.fault(**row, times=None, echo_key=True, message=everything)
                error = await error_of(manager.generate("hello"))
                assert error is not None
                hunt.look_at_error(str(row), error, rich=True)
                up.clear()
            hunt.look("status", json.dumps(manager.status(), default=str))
            hunt.look("manager", repr(manager))
            await manager.rotate_key("mistral", rotated)
            up.fault(status=401, on="any", echo_key=True)
            refused = await error_of(manager.rotate_key("mistral", key_of("mistral")))
            assert refused is not None
            hunt.look_at_error("rotate", refused)
    hunt.look("log", written.getvalue())
    assert "amas.audit" in written.getvalue()
    assert hunt.found == []


async def test_observers_leak_nothing(up: Upstream, tmp_path: Path, uncovered: None) -> None:
    """An audit trail with content and all, metrics and alerts of such a manager have none either.

    Though keys stand in the wrong place as well: as prompts, models and callers.
    """
    trail = tmp_path / "audit.jsonl"
    watched = ObservabilitySettings(
        audit=AuditSettings(path=str(trail), content="full"), metrics=MetricsSettings(enabled=True)
    )
    security = SecuritySettings(master_key=(generate(),))
    alerts: list[Alert] = []
    hunt = Hunt([*map(key_of, NAMES)])
    everything = " ".join(map(key_of, NAMES))
    async with ProviderManager(
        security=security, observability=watched, on_alert=alerts.append
    ) as manager:
        for shape in NAMES:
            await manager.register_provider(provider_at(up, shape))
        up.fault(status=401, times=None, echo_key=True, message=everything)
        assert await error_of(manager.generate("hello")) is not None
        up.clear()
        for shape in NAMES:
            manager.reset(shape)
            key = key_of(shape)
            await error_of(manager.generate(key, model=key, caller=key))
        await manager.flush()
        hunt.look("metrics", generate_latest().decode())
    records = list(read_records(trail_files(trail)))
    hunt.look("trail", json.dumps(records))
    hunt.look("alerts", repr(alerts))
    # What cannot be a model's name is refused before it is a call.
    assert sum(record["kind"] == "call" for record in records) >= len(NAMES) - 2
    assert {alert.kind for alert in alerts} >= {"key_rejected"}
    assert hunt.found == []


@pytest.mark.parametrize("vendor", ["openai", "anthropic"])  # LiteLLM's two ways of sending
@pytest.mark.parametrize("way", ["cancelled", "late", "own timeout"])
async def test_ended_calls_leak_nothing(up: Upstream, vendor: str, way: str) -> None:
    """A call that is cancelled, or runs out of time, leaves no frame behind that has the key."""
    shape = next(name for name in NAMES if VENDOR_OF[name] == vendor)
    hunt = Hunt([key_of(shape)])
    provider = provider_at(up, shape, timeout=0.05 if way == "own timeout" else 5)
    await provider.initialize()
    for fault, call in (
        ({"hang": True}, lambda: provider.generate("hello")),
        ({"hang": True}, lambda: all_of(provider.stream("hello"))),
        ({"stall_after": 1}, lambda: all_of(provider.stream("hello"))),
    ):
        up.clear()
        up.fault(**fault)
        error = await error_of(_ended(up, way, call()))
        assert isinstance(error, asyncio.CancelledError | TimeoutError | ProviderError)
        hunt.look_at_error(way, error)
    await provider.shutdown()
    assert hunt.found == []


async def _ended(up: Upstream, way: str, work: Awaitable[Any]) -> Any:
    if way == "late":
        async with asyncio.timeout(0.05):
            return await work
    task = asyncio.ensure_future(work)
    if way == "cancelled":
        await up.wait_for(lambda request: request.endpoint == "chat")
        task.cancel()
    return await task


@pytest.mark.parametrize("vendor", PATHS)
async def test_answers_stay_as_they_are(up: Upstream, vendor: str) -> None:
    """An answer that has the key in it is the caller's, and reaches nobody's log."""
    shape = next(name for name in NAMES if VENDOR_OF[name] == vendor)
    up.reply = f"It is {key_of(shape)}."
    hunt = Hunt([key_of(shape)])
    provider = provider_at(up, shape)
    with everything_logged() as written:
        result = await provider.generate("hello")
        pieces = await all_of(provider.stream("hello"))
    await provider.shutdown()
    assert result["content"] == "".join(piece.content for piece in pieces) == up.reply
    hunt.look("log", written.getvalue())
    assert hunt.found == []


def test_logs_of_the_host_stay_as_they_are() -> None:
    """What a library logs outside calls of ours is the host's affair, and its filters'."""
    load_runtime()
    held = Secret("plain words")
    with everything_logged() as written:
        logging.getLogger("httpx").info("the %s", held.get_secret_value())
        with on_wire(Wire()):
            logging.getLogger("httpx").info("our %s", held.get_secret_value())
    assert written.getvalue() == f"httpx the plain words\nhttpx our {MASK}\n"


def test_bytes_that_are_no_text_are_scrubbed() -> None:
    """A refusal in an unknown encoding is scrubbed, and otherwise comes as it was."""
    held = Secret(key_of("mistral"))
    assert scrubbed(b"\xff" + held.get_secret_value().encode()) == b"\xff" + MASK.encode()
    assert scrubbed(b"\xff\xfe") == b"\xff\xfe"


def test_commands_leak_nothing(tmp_path: Path) -> None:
    """What the command prints has no key, whatever is wrong."""
    shapes = ["openai-project", "punctuation", "mistral"]
    hunt = Hunt([key_of(shape) for shape in shapes])
    with ThreadedUpstream("vendor") as vendor:
        llm = {
            shape: {"provider": "openai", "api_key": key_of(shape), "base_url": vendor.url,
                    "max_retries": 0}
            for shape in shapes
        }  # fmt: skip
        path = tmp_path / "providers.yaml"
        path.write_text(yaml.safe_dump({"providers": {"llm": llm}}), encoding="utf-8")
        message = " ".join(map(key_of, shapes))
        for arguments in (
            ["generate", "hello"], ["generate", "hello", "--stream", "--json"], ["providers"],
            ["status", "--json"], ["check"],
        ):  # fmt: skip
            vendor.fault(Fault(status=401, on="any", times=None, echo_key=True, message=message))
            done = CliRunner().invoke(app, [*arguments, "-c", str(path)])
            vendor.clear()
            assert done.output, arguments
            hunt.look(" ".join(arguments), done.stdout + done.stderr)
            if done.exception is not None:
                told = traceback.TracebackException.from_exception(
                    done.exception, capture_locals=False
                )
                hunt.look(" ".join(arguments), "".join(told.format()))
    assert hunt.found == []


async def test_hunt_finds_leaks_when_masking_is_off(
    up: Upstream, monkeypatch: pytest.MonkeyPatch, uncovered: None
) -> None:
    """Without masking the same hunt finds keys: in errors, logs, tracebacks and configurations."""
    for name, module in list(sys.modules.items()):
        if name.startswith("amas.") and vars(module).get("scrub") is scrub:
            monkeypatch.setattr(module, "scrub", lambda text: text)
    monkeypatch.setattr(Secret, "__repr__", lambda secret: repr(secret.get_secret_value()))
    hunt = Hunt([key_of("mistral")])
    with everything_logged() as written:
        assert await hunt_calls(up, "mistral", hunt, "litellm") > len(ROWS)
    hunt.look("log", written.getvalue())
    places = {found.split(" (")[0] for found in hunt.found}
    assert {
        "log", "mistral: config: repr", "mistral: status 401: repr", "mistral: status 401: pickle",
        "mistral: status 401: traceback", "mistral: status 401: log", "mistral: status 500: repr",
        "mistral: stream error: repr", "mistral: embed: repr",
    } <= places  # fmt: skip


def test_hunt_knows_encodings() -> None:
    """The hunt's own encodings of a key: what it looks for is what encoders write."""
    key = key_of("punctuation")
    hunt = Hunt([key])
    for text in (key, json.dumps(f"x{key}"), quote(f"x{key}", safe=""), repr(f"x{key}"),
                 html.escape(f"x{key}"), base64.b64encode(f"user:{key}".encode()).decode(),
                 f"{key}x".encode().hex()):  # fmt: skip
        before = len(hunt.found)
        hunt.look("x", text)
        assert len(hunt.found) > before, text
    hunt.look("x", MASK)
    assert len(set(encodings(key).values())) > 10
