"""LiteLLM as we load it: once, quiet, without the host's globals, with our client and log only."""

from __future__ import annotations

import asyncio
import os
import threading
import warnings
from types import ModuleType
from typing import Any

import httpx
import pytest
from blockbuster import BlockBuster

from amas.providers import InvalidRequestError
from amas.providers.llm.http_client import Wire, on_wire
from amas.providers.llm.litellm_runtime import Runtime, ensure_runtime, load_runtime

KEY = "test" + "-key" * 5
HOSTS = {
    "api_base": "https://host.example.com",
    "api_key": KEY,
    "headers": {"X-Host": "1"},
    "model_alias_map": {"a": "b"},
    "model_fallbacks": ["a"],
    "organization": "org",
    "proxy_auth": object(),
    "use_litellm_proxy": True,
}


@pytest.fixture(scope="module")
def runtime() -> Runtime:
    """Load LiteLLM."""
    return load_runtime()


@pytest.fixture
def hosts_litellm(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Set LiteLLM's globals as a host may, for itself."""
    for name, value in HOSTS.items():
        monkeypatch.setattr(runtime.litellm, name, value)
    monkeypatch.setenv("USE_LITELLM_PROXY", "True")
    module: ModuleType = runtime.litellm
    return module


async def test_loaded_once(runtime: Runtime, no_blocking: BlockBuster) -> None:
    """However many ask, there is one runtime."""
    assert {id(each) for each in await asyncio.gather(*(ensure_runtime() for _ in range(9)))} == {
        id(runtime)
    }
    assert load_runtime() is runtime


def test_host_globals_are_hidden_and_back(runtime: Runtime, hosts_litellm: ModuleType) -> None:
    """Within, LiteLLM is as if the host had set nothing; after it, as the host has set it."""
    with runtime.without_host_globals():
        assert not any(getattr(hosts_litellm, name) for name in HOSTS)
        assert "USE_LITELLM_PROXY" not in os.environ
    assert {name: getattr(hosts_litellm, name) for name in HOSTS} == HOSTS
    assert os.environ["USE_LITELLM_PROXY"] == "True"


def test_host_globals_are_back_after_an_error(runtime: Runtime, hosts_litellm: ModuleType) -> None:
    """Also a request that cannot be made leaves the host's settings."""
    with pytest.raises(ZeroDivisionError), runtime.without_host_globals():
        raise ZeroDivisionError
    assert {name: getattr(hosts_litellm, name) for name in HOSTS} == HOSTS


def test_threads_cannot_restore_each_others_nothing(
    runtime: Runtime, hosts_litellm: ModuleType
) -> None:
    """Providers in several threads never take the hidden state for the host's."""

    def often() -> None:
        for _ in range(200):
            with runtime.without_host_globals():
                assert hosts_litellm.api_base is None

    threads = [threading.Thread(target=often) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {name: getattr(hosts_litellm, name) for name in HOSTS} == HOSTS


def test_without_globals_nothing_is_touched(runtime: Runtime) -> None:
    """Where the host has set nothing there is nothing to hide."""
    before = dict(vars(runtime.litellm))
    with runtime.without_host_globals():
        assert all(vars(runtime.litellm)[name] is value for name, value in before.items())


async def test_silent_logging_records_nothing(runtime: Runtime) -> None:
    """All that LiteLLM would tell its callbacks goes nowhere."""
    log = runtime.silent_logging(model="m", messages=[], stream=False, id="1")
    for name in ("pre_call", "post_call", "success_handler", "failure_handler"):
        assert getattr(log, name)("anything", key=KEY) is None
    for name in (
        "async_success_handler", "async_failure_handler",
        "dispatch_success_handlers", "dispatch_failure_handlers",
    ):  # fmt: skip
        assert await getattr(log, name)("anything", key=KEY) is None
    assert KEY not in repr(vars(log))


async def test_client_is_ours_for_every_route(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It passes for LiteLLM's handler and for openai's client, and both send through ours."""
    for name in ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_BASE_URL"):
        monkeypatch.setenv(name, "https://foreign.example.com")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Foreign: 1")
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={"id": "1", "choices": []})

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
        client = runtime.client(http, key=KEY, base_url="https://ours.example.com/v1")
        await client.post("https://ours.example.com/direct", json={})
        await client.chat.completions.create(model="m", messages=[])
        assert client.api_key == KEY
        with pytest.raises(AttributeError):
            _ = client.no_such_thing
        del client
        assert not http.is_closed
    assert [str(request.url) for request in seen] == [
        "https://ours.example.com/direct",
        "https://ours.example.com/v1/chat/completions",
    ]
    told = " ".join(f"{name}: {value}" for name, value in seen[1].headers.items()).lower()
    assert "foreign" not in told
    assert "openai-organization" not in told


def test_half_made_client_has_no_attributes(runtime: Runtime) -> None:
    """Looking at a client that was never made ends in an error, not in endless recursion."""
    made: Any = runtime.client_class
    client = made.__new__(made)
    with pytest.raises(AttributeError):
        _ = client.anything


async def test_no_second_client_is_made(runtime: Runtime) -> None:
    """LiteLLM's second try after a broken connection is refused with the first one's error."""

    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    async with httpx.AsyncClient(transport=httpx.MockTransport(refuse)) as http:
        client = runtime.client(http, key=KEY, base_url="https://ours.example.com")
        with pytest.raises(httpx.ConnectError, match="refused"):
            await client.post("https://ours.example.com/direct", json={})


def test_other_clients_send_nothing_while_a_call_is_under_way(runtime: Runtime) -> None:
    """LiteLLM's own clients work for the host, and not within a call of ours."""
    handlers: Any = runtime.litellm.module_level_client
    assert isinstance(handlers.client, httpx.Client)
    with on_wire(Wire()), pytest.raises(InvalidRequestError, match="fetch something by itself"):
        handlers.get("http://127.0.0.1:1/image.png")
    handlers.client = handlers.client
    assert isinstance(handlers.client, httpx.Client)


def test_bug_reports_are_for_the_hosts_own_calls(runtime: Runtime) -> None:
    """LiteLLM's bug reports, which read its sources from disk, are not made for our calls."""
    from litellm.litellm_core_utils import exception_mapping_utils

    assert exception_mapping_utils.should_report_bug(ValueError())
    with on_wire(Wire()):
        assert not exception_mapping_utils.should_report_bug(ValueError())


async def test_an_answer_that_does_not_fit_is_not_warned_of(runtime: Runtime) -> None:
    """While a call of ours is under way, no warning shows an upstream's answer; a host's own do."""
    body = {"id": "1", "choices": [{"message": KEY}]}
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json=body))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        async with httpx.AsyncClient(transport=transport) as http:
            client = runtime.client(http, key="none", base_url="http://upstream.invalid/v1")
            answer = await client.chat.completions.create(model="m", messages=[])
            with on_wire(Wire()):
                assert KEY in str(answer.model_dump())
                assert KEY in answer.model_dump_json()
            assert [str(each.message) for each in told if KEY in str(each.message)] == []
            answer.model_dump()
    assert [KEY in str(each.message) for each in told] == [True]
