"""What a process waits for before its first call, and what it does not wait for."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from inspect import signature

import openai
import pytest

from amas.providers import LiteLLMProvider, ProviderConfig, ProviderError
from amas.providers.base.looking import looking_only
from amas.providers.llm import litellm_provider, litellm_runtime
from amas.providers.llm.collector import collector_at_rest
from amas.providers.llm.direct.vendors import _order_of_parameters
from amas.providers.llm.http_client import open_http
from amas.providers.llm.litellm_runtime import Runtime, ensure_runtime, load_runtime
from amas.providers.security.egress import Egress
from amas.providers.testing.upstream import Upstream
from amas.providers.types import DispatchMode

KEY = "test" + "-key" * 5


@pytest.fixture
def unloaded(monkeypatch: pytest.MonkeyPatch) -> Iterator[Runtime]:
    """Let it seem that LiteLLM has not been imported; return what its import brings."""
    runtime = load_runtime()
    monkeypatch.setattr(litellm_runtime, "_loaded", None)
    monkeypatch.setattr(litellm_runtime, "_loading", None)
    yield runtime
    for thread in threading.enumerate():
        if thread.name == "amas-litellm":
            thread.join(5)


async def test_one_thread_imports_and_none_waits(
    unloaded: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While LiteLLM is imported for many providers, the loop's own threads are free."""
    go = threading.Event()
    imports: list[str] = []

    def slowly() -> Runtime:
        imports.append(threading.current_thread().name)
        go.wait(5)
        return unloaded

    monkeypatch.setattr(litellm_runtime, "load_runtime", slowly)
    waiting = [asyncio.create_task(ensure_runtime()) for _ in range(50)]
    assert await asyncio.to_thread(lambda: "free") == "free"
    waiting.pop().cancel()
    await asyncio.sleep(0)
    go.set()
    assert {id(each) for each in await asyncio.gather(*waiting)} == {id(unloaded)}
    assert imports == ["amas-litellm"]


async def test_an_import_that_failed_is_tried_again(
    unloaded: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All who wait hear why LiteLLM cannot be imported; who comes later has it tried again."""
    go = threading.Event()
    outcomes: list[Runtime | Exception] = [ImportError("broken"), unloaded]

    def load() -> Runtime:
        go.wait(5)
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(litellm_runtime, "load_runtime", load)
    waiting = [asyncio.create_task(ensure_runtime()) for _ in range(2)]
    await asyncio.sleep(0)
    go.set()
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert [str(each) for each in found] == ["broken", "broken"]
    assert await ensure_runtime() is unloaded


def test_the_collector_rests_and_goes_on() -> None:
    """Within, no garbage is looked for; after it, what has come is old and the collector runs."""
    with collector_at_rest():
        assert not gc.isenabled()
        with collector_at_rest():
            pass
        assert not gc.isenabled()
        kept = [[] for _ in range(5000)]  # type: ignore[var-annotated]
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0
    assert gc.get_count()[0] < len(kept)


def test_the_hosts_collector_stays_as_it_is() -> None:
    """A collector that is off stays off, and what the host has frozen stays frozen."""
    gc.disable()
    try:
        with collector_at_rest():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
    gc.freeze()
    try:
        with collector_at_rest():
            pass
        assert gc.get_freeze_count()
    finally:
        gc.unfreeze()


def test_order_of_parameters_is_the_sdks() -> None:
    """Parameters are sent in the order of openai's own signature, without its import."""
    create = openai.resources.chat.completions.AsyncCompletions.create
    extra = {"self", "extra_headers", "extra_query", "extra_body", "timeout"}
    names = [name for name in signature(create).parameters if name not in extra]
    assert list(_order_of_parameters()) == names


async def test_certificates_are_read_once() -> None:
    """However many providers there are, they share what is trusted, and nothing else."""
    egress = Egress.of("https://api.example.com/v1")
    one, two = (
        await asyncio.to_thread(open_http, egress),
        await asyncio.to_thread(open_http, egress),
    )
    inner = [each.transport._inner for each in (one, two)]
    assert inner[0] is not inner[1]
    assert inner[0]._ssl_context is inner[1]._ssl_context  # type: ignore[attr-defined]
    await asyncio.gather(one.aclose(), two.aclose())


async def test_litellms_own_way_is_rehearsed_when_it_is_needed() -> None:
    """A direct provider starts without the rehearsal; its embeddings, which need it, wait for it."""
    runtime = await ensure_runtime()
    runtime.rehearsed.clear()
    async with Upstream() as up:
        config = ProviderConfig(
            "openai",
            api_key=KEY,
            base_url=f"{up.url}/v1",
            local=True,
            dispatch=DispatchMode.DIRECT,
        )
        provider = LiteLLMProvider(config)
        await provider.generate("hello")
        assert runtime.rehearsed == set()
        assert (await provider.embed(["hello"]))["embeddings"]
        assert runtime.rehearsed == {"openai"}
        await provider.shutdown()


async def test_a_look_takes_no_litellm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who only looks starts a provider and lists its models; a call then fetches what it needs."""
    asked: list[str] = []

    async def noted() -> Runtime:
        asked.append("runtime")
        return await ensure_runtime()

    monkeypatch.setattr(litellm_provider, "ensure_runtime", noted)
    async with Upstream() as up:
        config = ProviderConfig("openai", api_key=KEY, base_url=f"{up.url}/v1", local=True)
        provider = LiteLLMProvider(config)
        with looking_only():
            assert await provider.initialize()
            assert await provider.list_models()
            assert await provider.health_check()
            assert asked == []
        answers = await asyncio.gather(provider.generate("hello"), provider.generate("hello"))
        assert all(answer["content"] for answer in answers)
        assert asked == ["runtime"]
        await provider.shutdown()


async def test_a_look_finds_the_same_faults() -> None:
    """A refused key is found by a look, too."""
    async with Upstream() as up:
        up.fault(status=401, on="any", times=None)
        config = ProviderConfig("openai", api_key=KEY, base_url=f"{up.url}/v1", local=True)
        provider = LiteLLMProvider(config)
        with looking_only():
            assert not await provider.initialize()
        assert isinstance(provider.last_error, ProviderError)
        assert provider.last_error.status_code == 401


FIRST_CALLS = """
import asyncio, gc, sys
from amas.providers import LiteLLMProvider, ProviderConfig, ProviderError
from amas.providers.testing.upstream import Upstream

PATHS = {"anthropic": "", "gemini": "/v1beta", "ollama": "", "mistral": "/v1", "openai": "/v1"}
searches = []
gc.callbacks.append(lambda phase, info: searches.append(info["generation"]))

async def main(up, name):
    config = ProviderConfig(name, api_key="k" * 20, base_url=up.url + PATHS[name], local=True)
    provider = LiteLLMProvider(config)
    assert await provider.initialize(), provider.last_error
    assert provider.way == "direct"
    before = set(sys.modules)
    await provider.generate("hello")
    _ = [chunk async for chunk in provider.stream("hello")]
    for status in (429, 500):
        up.fault(status=status)
        try:
            await provider.generate("hello")
        except ProviderError:
            pass
        else:
            raise SystemExit("no error")
    if name != "ollama":
        await provider.generate("hello", temperature=0.5, max_tokens=5)
    late = sys.modules.keys() - before
    assert not late, (name, late)
    await provider.shutdown()

async def all():
    async with Upstream() as up:
        for name in PATHS:
            if name == "anthropic":
                searches.clear()
            await main(up, name)
            if name == "anthropic":
                assert 2 not in searches, "a full search for garbage"
    assert "openai.resources" not in sys.modules

asyncio.run(all())
"""


@pytest.mark.slow
def test_first_calls_import_nothing() -> None:
    """All that first calls, streams and errors need is there when a direct provider has started.

    And no full search for garbage, which holds up every thread, comes in between.
    """
    kept = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME"}}
    done = subprocess.run(
        [sys.executable, "-c", FIRST_CALLS],
        env=kept,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
