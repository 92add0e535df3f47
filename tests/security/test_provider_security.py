"""Where keys may not go: to other hosts, into errors, texts, pickles and tracebacks, or out at import."""

from __future__ import annotations

import asyncio
import copy
import gc
import json
import logging
import os
import pickle
import subprocess
import sys
import traceback
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from blockbuster import BlockBuster

from amas.providers import (
    InvalidRequestError,
    LiteLLMProvider,
    ProviderConfig,
    ProviderConnectionError,
    ProviderError,
    ProviderUnavailableError,
)
from amas.providers.llm.litellm_runtime import load_runtime
from amas.providers.secret import MASK
from amas.providers.testing.upstream import Upstream

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("uncovered")]

# Looks like no vendor's key: only exact match can find it.
KEY = "zq9" + "Lm4vXe7" * 3
PATHS = {"openai": "/v1", "anthropic": "", "gemini": "/v1beta", "mistral": "/v1", "ollama": ""}
Ask = Callable[[LiteLLMProvider], Coroutine[Any, Any, Any]]


@pytest.fixture
async def up(no_blocking: BlockBuster) -> AsyncIterator[Upstream]:
    """Run the upstream that is configured."""
    async with Upstream("up") as upstream:
        yield upstream


@pytest.fixture
async def elsewhere(no_blocking: BlockBuster) -> AsyncIterator[Upstream]:
    """Run an upstream of another origin; nothing may ever reach it."""
    async with Upstream("elsewhere") as upstream:
        yield upstream


def provider_at(up: Upstream, name: str, **options: Any) -> LiteLLMProvider:
    """Configure a provider for the upstream."""
    given: dict[str, Any] = {"api_key": KEY, "base_url": up.url + PATHS[name], "timeout": 5}
    return LiteLLMProvider(ProviderConfig(name, **(given | options)))


async def generate(provider: LiteLLMProvider) -> None:
    """Ask for an answer."""
    await provider.generate("hello")


async def stream(provider: LiteLLMProvider) -> None:
    """Ask for a stream and read it."""
    _ = [chunk async for chunk in provider.stream("hello")]


async def embed(provider: LiteLLMProvider) -> None:
    """Ask for embeddings."""
    await provider.embed(["hello"])


async def failure(ask: Ask, provider: LiteLLMProvider) -> ProviderError:
    """Return the error that a request ends in."""
    try:
        await ask(provider)
    except ProviderError as error:
        return error
    raise AssertionError("the request did not fail")


# --- other hosts -----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize("name", PATHS)
async def test_redirects_are_not_followed(
    up: Upstream, elsewhere: Upstream, name: str, status: int
) -> None:
    """Neither key nor prompt reaches the host that an upstream redirects to."""
    provider = provider_at(up, name)
    assert await provider.initialize()
    up.clear()
    up.fault(redirect=elsewhere.url, redirect_status=status, on="any", times=None)
    asked: list[Ask] = [generate, stream, *([] if name == "anthropic" else [embed])]
    for ask in asked:
        error = await failure(ask, provider)
        assert isinstance(error, ProviderUnavailableError), error
        assert (error.status_code, "redirected" in error.message) == (status, True)
    assert not await provider.health_check()
    assert "redirected" in str(provider.last_error)
    await provider.shutdown()
    assert elsewhere.requests == []
    assert len(up.requests) == len(asked) + 1


@pytest.mark.parametrize("name", PATHS)
async def test_no_second_try_by_another_client(
    up: Upstream,
    elsewhere: Upstream,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A refused or broken connection is not tried again, least of all through a proxy."""
    for variable in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
        monkeypatch.setenv(variable, elsewhere.url)
    closer = await asyncio.start_server(_close_at_once, "127.0.0.1", 0)
    port = closer.sockets[0].getsockname()[1]
    provider = provider_at(up, name)
    assert await provider.initialize()
    await up.stop()
    broken = provider_at(up, name, base_url=f"http://127.0.0.1:{port}{PATHS[name]}")
    broken._probe = _no_probe  # type: ignore[method-assign]
    assert await broken.initialize()
    for ask in (generate, stream):
        for target in (provider, broken):
            error = await failure(ask, target)
            assert isinstance(error, ProviderConnectionError), error
            assert error.status_code is None
    await provider.shutdown()
    await broken.shutdown()
    closer.close()
    await closer.wait_closed()
    assert elsewhere.requests == []
    assert len(_closed) == 2
    _closed.clear()


_closed: list[bytes] = []


async def _close_at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Take a request and hang up without a word."""
    _closed.append(await reader.readuntil(b"\r\n\r\n"))
    writer.close()


async def _no_probe() -> None: ...


@pytest.mark.parametrize(
    "option",
    ["api_base", "api_key", "base_url", "client", "custom_llm_provider", "fallbacks", "model",
     "mock_response", "num_retries", "stream"],
)  # fmt: skip
def test_reserved_options(option: str) -> None:
    """Options cannot reroute what the adapter has decided."""
    with pytest.raises(ProviderError, match=f"options may not set {option}"):
        LiteLLMProvider(ProviderConfig("openai", options={option: "x"}))


# --- errors ----------------------------------------------------------------------------------------


def frames_of(error: BaseException) -> Iterator[FrameType]:
    """Walk all frames that an error or what it came from refers to."""
    seen: set[int] = set()
    pending: list[BaseException | None] = [error]
    while pending:
        current = pending.pop()
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        pending += [current.__cause__, current.__context__]
        step = current.__traceback__
        while step is not None:
            yield step.tb_frame
            step = step.tb_next


FAULTS: dict[str, dict[str, Any]] = {
    "echo": {"echo_key": True},
    "server": {"status": 500},
    "reset": {"reset": True},
    "broken": {"malformed": True},
    "empty": {"empty": True},
}


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("ask", [generate, stream], ids=["generate", "stream"])
async def test_errors_hold_no_key(up: Upstream, name: str, ask: Ask) -> None:
    """Neither text nor attributes nor the frames that an error refers to have the key in them."""
    provider = provider_at(up, name)
    assert await provider.initialize()
    for fault in FAULTS.values():
        if "malformed" in fault and ask is stream and name != "openai":
            continue  # LiteLLM skips what it cannot read in these vendors' streams
        up.fault(**fault)
        try:
            error = await failure(ask, provider)
        except AssertionError:
            assert "empty" in fault  # some vendors' answers are empty and yet complete
            continue
        assert type(error).__module__.startswith("amas.")
        assert error.__cause__ is None
        assert error.__context__ is None
        told = "".join(traceback.format_exception(error)) + repr(vars(error)) + repr(error)
        assert KEY not in told
        for frame in frames_of(error):
            assert KEY not in repr(list(frame.f_locals.values())), frame
            assert "site-packages/litellm" not in frame.f_code.co_filename
            assert "site-packages/openai" not in frame.f_code.co_filename
    await provider.shutdown()


@pytest.mark.parametrize("name", PATHS)
async def test_echoed_key_is_masked(up: Upstream, name: str) -> None:
    """An upstream that repeats the key, in body or header, cannot make us repeat it."""
    provider = provider_at(up, name)
    assert await provider.initialize()
    for ask in (generate, stream):
        up.fault(echo_key=True)
        error = await failure(ask, provider)
        assert MASK in error.message
        assert KEY not in str(error)
    up.fault(echo_key=True, on="models")
    assert not await provider.health_check()
    assert KEY not in f"{provider.last_error} {vars(provider.last_error)}"
    await provider.shutdown()


async def test_last_error_of_a_failed_start_holds_no_key(up: Upstream) -> None:
    """The error that initialize keeps, and generate raises again, is as clean."""
    up.fault(echo_key=True, on="models", times=None)
    provider = provider_at(up, "openai")
    assert not await provider.initialize()
    for _ in range(3):
        error = await failure(generate, provider)
        for frame in frames_of(error):
            assert KEY not in repr(list(frame.f_locals.values()))


async def test_nothing_is_logged(
    up: Upstream, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither key nor prompt is logged."""
    # Another test may have imported LiteLLM as a host does; then its log is the host's affair.
    monkeypatch.setattr(logging.getLogger("LiteLLM"), "disabled", True)
    provider = provider_at(up, "openai")
    assert await provider.initialize()
    caplog.set_level(logging.INFO)
    await provider.generate("a-secret-prompt")
    up.fault(echo_key=True)
    await failure(generate, provider)
    await provider.shutdown()
    assert KEY not in caplog.text
    assert "a-secret-prompt" not in caplog.text


async def test_litellm_keeps_nothing(up: Upstream) -> None:
    """No client, key or prompt of ours stays in LiteLLM's caches or on its callback lists."""
    litellm = load_runtime().litellm
    names = ("callbacks", "success_callback", "failure_callback", "_async_success_callback")
    before = {name: list(getattr(litellm, name)) for name in names}
    cached = set(litellm.in_memory_llm_clients_cache.cache_dict)
    for name in PATHS:
        provider = provider_at(up, name)
        await provider.generate("hello")
        await stream(provider)
        await provider.shutdown()
    assert {name: getattr(litellm, name) for name in names} == before
    assert set(litellm.in_memory_llm_clients_cache.cache_dict) == cached
    assert litellm.api_key is litellm.api_base is None


# --- configurations --------------------------------------------------------------------------------


def test_key_is_hidden_wherever_a_configuration_is_shown() -> None:
    """A configuration shows no key: not printed, as data, pickled, copied, nor in a traceback."""
    config = ProviderConfig(
        "openai",
        api_key=KEY,
        options={"aws_secret_access_key": KEY, "headers": {"X-Api-Key": KEY}, "list": [KEY[:3]]},
    )
    shown = [
        repr(config),
        f"{config} {config.api_key} {config.api_key!r}",
        json.dumps(asdict(config), default=str),
        pickle.dumps(config).decode("latin-1"),
        repr(copy.copy(config)),
        repr(copy.deepcopy(config)),
        repr(vars(config)),
    ]
    try:
        _fail_with(config)
    except ZeroDivisionError as error:
        text = traceback.TracebackException.from_exception(error, capture_locals=True)
        shown.append("".join(text.format()))
    for text_shown in shown:
        assert KEY not in text_shown
    assert copy.deepcopy(config).key_value == KEY
    assert pickle.loads(pickle.dumps(config)).api_key is None


def _fail_with(config: ProviderConfig) -> None:
    key = config.api_key
    options = config.options
    raise ZeroDivisionError(f"{key} {options}")


async def test_hidden_options_reach_the_upstream(up: Upstream) -> None:
    """What is masked in the configuration is sent in the clear, nested or not."""
    other = "another" + "-secret" * 2
    provider = provider_at(up, "openai", options={"headers": {"X-Gateway-Key": other}})
    assert other not in repr(provider.config)
    await provider.generate("hello")
    await provider.shutdown()
    assert up.requests[-1].headers["X-Gateway-Key"] == other


@pytest.mark.parametrize("name", PATHS)
async def test_callers_cannot_reroute(up: Upstream, elsewhere: Upstream, name: str) -> None:
    """No parameter of a call changes key, address, vendor or client (CVE-2024-6587)."""
    provider = provider_at(up, name)
    assert await provider.initialize()
    up.clear()
    for parameter in (
        "api_base", "api_key", "base_url", "custom_llm_provider", "extra_headers", "headers",
        "extra_body", "fallbacks", "client", "mock_response", "metadata", "num_retries", "timeout",
        "litellm_params", "model_list", "functions", "stream", "acompletion",
    ):  # fmt: skip
        with pytest.raises(InvalidRequestError, match="unknown parameter"):
            await provider.generate("hello", **{parameter: elsewhere.url})
    await provider.shutdown()
    assert up.requests == elsewhere.requests == []


# --- importing -------------------------------------------------------------------------------------

HEAVY = ("litellm", "openai", "aiohttp", "httpx")


def run(code: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python code in a process of its own, with a user's environment."""
    kept = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME"}}
    coverage = {name: value for name, value in os.environ.items() if name.startswith("COV")}
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd,
        env=kept | coverage | environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )


def test_importing_the_package_is_light(tmp_path: Path) -> None:
    """Importing amas.providers imports no LiteLLM, no openai and no HTTP client."""
    done = run(
        f"import sys, amas.providers; print([name for name in {HEAVY} if name in sys.modules])",
        tmp_path,
    )
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


WATCHED_IMPORT = """
import logging, os, socket

def refuse(*args, **kwargs):
    calls.append(args[:2])
    raise OSError("no network here")

calls = []
socket.getaddrinfo = refuse
socket.socket.connect = refuse
socket.socket.connect_ex = refuse
before = dict(os.environ)
from amas.providers import LiteLLMProvider, ProviderConfig
from amas.providers.llm.litellm_rehearsal import rehearse
from amas.providers.llm.litellm_runtime import load_runtime
runtime = load_runtime()
for name in ("openai", "anthropic", "gemini", "ollama", "huggingface"):
    rehearse(runtime, LiteLLMProvider(ProviderConfig(name)).target)
changed = {name for name in before.keys() | os.environ.keys()
           if before.get(name) != os.environ.get(name)}
# TIKTOKEN_CACHE_DIR says where LiteLLM's own copy of a tokenizer lies.
assert changed <= {"TIKTOKEN_CACHE_DIR"}, changed
assert not calls, calls
logger = logging.getLogger("LiteLLM")
assert not logger.propagate
assert {type(handler) for handler in logger.handlers} == {logging.NullHandler}
assert "PLANTED_API_KEY" not in os.environ
"""


@pytest.mark.slow
def test_loading_litellm_is_quiet_offline_and_leaves_the_environment(tmp_path: Path) -> None:
    """LiteLLM's import reads no .env file, reaches no network, prints nothing and sets nothing."""
    (tmp_path / ".env").write_text("PLANTED_API_KEY=planted\n", encoding="utf-8")
    done = run(WATCHED_IMPORT, tmp_path)
    assert (done.stdout, done.stderr) == ("", "")


FAILING_CALL = """
import asyncio
from amas.providers import LiteLLMProvider, ProviderConfig, ProviderError

async def main():
    for name in ("openai", "anthropic", "ollama"):
        provider = LiteLLMProvider(
            ProviderConfig(name, api_key="k" * 12, base_url="http://127.0.0.1:1"))
        provider._probe = nothing
        for ask in (provider.generate, provider.embed):
            try:
                await ask("hello" if ask == provider.generate else ["hello"])
            except ProviderError:
                continue
            raise SystemExit("no error")
        await provider.shutdown()

async def nothing():
    pass

asyncio.run(main())
"""


@pytest.mark.slow
def test_failing_calls_print_nothing(tmp_path: Path) -> None:
    """An error brings no "Give Feedback" and no complaint about what was left open."""
    done = run(FAILING_CALL, tmp_path, PYTHONWARNINGS="always::ResourceWarning")
    assert (done.stdout, done.stderr) == ("", "")


async def test_memory_lets_go_of_keys(up: Upstream) -> None:
    """When a provider is gone, so is its key: nothing of LiteLLM's keeps it alive."""
    provider = provider_at(up, "openai")
    await provider.generate("hello")
    await provider.shutdown()
    del provider
    gc.collect()
    holders = [
        item
        for item in gc.get_objects()
        if isinstance(item, ProviderConfig) and item.key_value == KEY
    ]
    assert holders == []
