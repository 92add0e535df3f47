"""Every row of the catalogue against a real server, in a hostile environment."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import pytest_asyncio
from blockbuster import BlockBuster

from amas.providers import (
    LiteLLMProvider,
    ProviderConfig,
    ProviderConfigError,
    ProviderUnavailableError,
    StreamInterruptedError,
)
from amas.providers.llm.catalog import CatalogEntry, load_catalog
from amas.providers.llm.http_client import NotingTransport
from amas.providers.llm.litellm_runtime import load_runtime
from amas.providers.testing.upstream import RecordedRequest, Upstream

# LiteLLM under measurement takes twice as long; the adapter is measured by tests of its own.
pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("uncovered")]

ROWS = list(load_catalog().values())
KEY = "our" + "-key" * 5
FOREIGN = "foreign" + "-key" * 5
TOOL = {
    "type": "function",
    "function": {"name": "look_up", "parameters": {"type": "object", "properties": {}}},
}
KEY_HEADERS = ("authorization", "x-api-key", "x-goog-api-key", "api-key")


def row_id(entry: CatalogEntry) -> str:
    """Name a test by its row."""
    return entry.name


@pytest.fixture(scope="module")
def litellm() -> ModuleType:
    """Import LiteLLM as the adapter does."""
    module: ModuleType = load_runtime().litellm
    return module


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def up() -> AsyncIterator[Upstream]:
    """Run the upstream that is configured, in the loop of the adapter."""
    async with Upstream("ours") as upstream:
        yield upstream


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def elsewhere() -> AsyncIterator[Upstream]:
    """Run an upstream to which only the environment leads; nothing may ever reach it."""
    async with Upstream("foreign") as upstream:
        yield upstream


@pytest.fixture(autouse=True)
def _fresh(up: Upstream, elsewhere: Upstream, no_blocking: BlockBuster) -> None:
    up.clear()
    elsewhere.clear()


@pytest.fixture
def hostile_environment(elsewhere: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set every variable that anybody reads a key or an address from to foreign ones."""
    keys = {"OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "LITELLM_PROXY_API_KEY"}
    addresses = {
        "OPENAI_BASE_URL", "ANTHROPIC_BASE_URL", "LITELLM_PROXY_API_BASE", "OLLAMA_HOST",
        "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy",
    }  # fmt: skip
    for entry in ROWS:
        keys.update(entry.env)
        for name in {entry.name, entry.litellm_provider, *entry.prefixes}:
            stem = name.upper().replace("-", "_")
            keys.update(f"{stem}_{ending}" for ending in ("API_KEY", "KEY", "TOKEN"))
            addresses.update(f"{stem}_{ending}" for ending in ("API_BASE", "BASE_URL"))
    for name in keys:
        monkeypatch.setenv(name, FOREIGN)
    for name in addresses:
        monkeypatch.setenv(name, elsewhere.url)
    for name in ("OPENAI_ORG_ID", "OPENAI_ORGANIZATION", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, f"{FOREIGN}-account")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", f"X-Account: {FOREIGN}\nAuthorization: {FOREIGN}")
    monkeypatch.setenv("USE_LITELLM_PROXY", "True")


@pytest.fixture
def hostile_globals(
    litellm: ModuleType, elsewhere: Upstream, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, Any]]:
    """Use LiteLLM's globals as a host may, for itself; they must be as before afterwards."""
    keys = [
        name for name, value in vars(litellm).items() if name.endswith("_key") and value is None
    ]
    values = dict.fromkeys(keys, FOREIGN) | {
        "api_base": elsewhere.url,
        "gdc_api_base": elsewhere.url,
        "headers": {"Authorization": f"Bearer {FOREIGN}", "X-Account": FOREIGN},
        "organization": FOREIGN,
        "project": FOREIGN,
        "token": FOREIGN,
        "model_fallbacks": [f"openai/{FOREIGN}"],
        "fallbacks": [{"*": [f"openai/{FOREIGN}"]}],
        "default_fallbacks": [f"openai/{FOREIGN}"],
        "model_alias_map": {entry.default_model: FOREIGN for entry in ROWS},
        "num_retries": 2,
        "use_litellm_proxy": True,
    }
    assert {"api_key", "openai_key", "anthropic_key"} <= values.keys()
    for name, value in values.items():
        monkeypatch.setattr(litellm, name, value)
    yield values
    assert {name: getattr(litellm, name) for name in values} == values


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect the address of every request that goes through a client of the adapter's own."""
    addresses: list[str] = []
    send = NotingTransport.handle_async_request

    async def noting(transport: NotingTransport, request: httpx.Request) -> httpx.Response:
        addresses.append(request.url.path)
        return await send(transport, request)

    monkeypatch.setattr(NotingTransport, "handle_async_request", noting)
    return addresses


def provider_at(
    up: Upstream, entry: CatalogEntry, key: str | None = KEY, path: str | None = None
) -> LiteLLMProvider:
    """Configure a row with the vendor's own path, or another, on the upstream's host."""
    config = ProviderConfig(
        entry.name,
        api_key=key,
        base_url=up.url + (urlsplit(entry.base_url or "").path if path is None else path),
        model=None if entry.default_model else "test-model",
        timeout=5,
    )
    return LiteLLMProvider(config)


def credentials(request: RecordedRequest) -> dict[str, str]:
    """Return the headers of a request that may carry a key."""
    return {name: request.headers[name] for name in KEY_HEADERS if name in request.headers}


def text_of(request: RecordedRequest) -> str:
    """Return everything that a request says."""
    query, headers = dict(request.query), dict(request.headers)
    return f"{request.path} {query} {headers} {request.body.decode()}"


def expected_credentials(entry: CatalogEntry, request: RecordedRequest) -> dict[str, str]:
    """Return the header that a row's documentation names, with our key."""
    # Embeddings of all vendors go to an OpenAI-compatible address, which takes a bearer token.
    if entry.auth_header == "authorization" or request.endpoint == "embeddings":
        return {"authorization": f"Bearer {KEY}"}
    return {entry.auth_header: KEY}


@pytest.mark.usefixtures("hostile_environment", "hostile_globals")
@pytest.mark.parametrize("entry", ROWS, ids=row_id)
async def test_own_key_to_own_address(
    entry: CatalogEntry, up: Upstream, elsewhere: Upstream, sent: list[str]
) -> None:
    """Whatever surrounds it, each call is one request with our key, by our client, to our host."""
    provider = provider_at(up, entry)
    target = provider.target
    assert await provider.initialize(), provider.last_error
    try:
        answer = await provider.generate("hello there", system_prompt="be brief")
        pieces = [chunk async for chunk in provider.stream("hello there")]
        vectors = await provider.embed(["one", "two"]) if target.embedding_model else None
    finally:
        await provider.shutdown()
    assert answer["content"] == "ours says: hello there"
    assert "".join(piece.content for piece in pieces) == "ours says: hello there"
    assert len(pieces) > 1
    assert [piece.finish_reason for piece in pieces if piece.finish_reason] == ["stop"]
    assert vectors is None or [len(vector) for vector in vectors["embeddings"]] == [8, 8]

    assert elsewhere.requests == []
    asked = list(up.requests)
    assert [request.path for request in asked] == sent
    if target.models_url:
        assert asked[0].path == urlsplit(target.models_url).path
        assert credentials(asked[0]) == expected_credentials(entry, asked[0])
        assert FOREIGN not in text_of(asked.pop(0))
    endpoints = ["chat", "chat", "embeddings"] if target.embedding_model else ["chat", "chat"]
    assert [request.endpoint for request in asked] == endpoints
    for request in asked:
        assert request.path.startswith(urlsplit(target.base_url).path)
        assert credentials(request) == expected_credentials(entry, request)
        assert text_of(request).count(KEY) == 1
        assert FOREIGN not in text_of(request)
        assert request.endpoint == "embeddings" or request.model == target.model


@pytest.mark.parametrize("entry", {row.litellm_provider: row for row in ROWS}.values(), ids=row_id)
async def test_truncated_stream_is_noticed(entry: CatalogEntry, up: Upstream) -> None:
    """Of no vendor a stream passes for complete that ends without saying so."""
    provider = provider_at(up, entry)
    up.fault(truncate_after=2)
    with pytest.raises(StreamInterruptedError) as caught:
        _ = [chunk async for chunk in provider.stream("hello there")]
    await provider.shutdown()
    assert caught.value.partial_text == "ours says: "


@pytest.mark.usefixtures("hostile_environment", "hostile_globals")
@pytest.mark.parametrize("entry", [row for row in ROWS if row.key == "required"], ids=row_id)
async def test_nothing_is_sent_without_a_key(
    entry: CatalogEntry, up: Upstream, elsewhere: Upstream
) -> None:
    """Where a key is needed and none is configured, the error says what to set; no request leaves."""
    provider = provider_at(up, entry, key=None)
    assert await provider.initialize() is False
    error = provider.last_error
    assert isinstance(error, ProviderConfigError)
    assert error.field == "api_key"
    assert f'api_key: "${{{entry.env[0] if entry.env else "THE_API_KEY"}}}"' in error.message
    assert (entry.docs or "") in error.message
    with pytest.raises(ProviderConfigError):
        await provider.generate("hello")
    with pytest.raises(ProviderConfigError):
        await anext(provider.stream("hello"))
    if provider.target.embedding_model:
        with pytest.raises(ProviderConfigError):
            await provider.embed(["hello"])
    assert up.requests == elsewhere.requests == []


@pytest.mark.usefixtures("hostile_environment", "hostile_globals")
@pytest.mark.parametrize("entry", [row for row in ROWS if row.key != "required"], ids=row_id)
async def test_no_key_is_borrowed(
    entry: CatalogEntry, up: Upstream, elsewhere: Upstream, sent: list[str]
) -> None:
    """A server that needs no key gets none of the environment's, and nothing blocks the loop."""
    provider = provider_at(up, entry, key=None)
    up.fault(status=500, match=lambda request: b"fail" in request.body)
    try:
        plain = await provider.generate("hello", model="a-model-nobody-knows")
        pieces = [chunk async for chunk in provider.stream("hello")]
        called = await provider.generate("hello", tools=[TOOL])
        with pytest.raises(ProviderUnavailableError):
            await provider.generate("fail")
    finally:
        await provider.shutdown()
    assert plain["content"] == "".join(piece.content for piece in pieces) == "ours says: hello"
    assert called["content"] == "ours says: hello"
    assert elsewhere.requests == []
    assert [request.path for request in up.requests] == sent
    assert [request.endpoint for request in up.requests] == ["models", *["chat"] * 4]
    for request in up.requests:
        assert request.credential in {None, "none"}
        assert FOREIGN not in text_of(request)


ADDRESSES = {
    "openai": ["", "/", "/v1", "/v1/", "/v1/chat/completions", "/v1/models/"],
    "anthropic": ["", "/", "/v1", "/v1/", "/v1/messages", "/v1/messages/"],
    "gemini": ["", "/", "/v1beta", "/v1beta/", "/v1beta/models/m:generateContent"],
    "ollama": ["", "/", "/v1", "/v1/", "/api/chat", "/api/", "/api/generate"],
    "mistral": ["", "/", "/v1", "/v1/", "/v1/chat/completions", "//v1//"],
    "deepseek": ["", "/", "/chat/completions", "/chat/completions/"],
}


@pytest.mark.parametrize("name", ADDRESSES)
async def test_ways_to_write_an_address(name: str, up: Upstream) -> None:
    """With or without version, slash or the whole path, requests reach the same address."""
    entry = load_catalog()[name]
    for path in ADDRESSES[name]:
        provider = provider_at(up, entry, path=path)
        await provider.generate("hello")
        _ = [chunk async for chunk in provider.stream("hello")]
        await provider.shutdown()
    asked = {request.path for request in up.requests if not request.stream}
    streamed = {request.path for request in up.requests if request.stream}
    vendor = urlsplit(entry.base_url or "").path
    chat = vendor + entry.chat_path.format(model=entry.default_model)
    assert asked == {chat, f"{vendor}/{entry.models_path}"}
    assert streamed == {chat.replace(":generateContent", ":streamGenerateContent")}
