"""Every row of the catalogue, and of every file in configs/, against a real server, in a hostile environment."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import pytest_asyncio
from blockbuster import BlockBuster
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from amas.config.provider_settings import load_settings
from amas.providers import (
    AuthenticationError,
    LiteLLMProvider,
    ProviderConfig,
    ProviderConfigError,
    ProviderUnavailableError,
    RateLimitError,
    StreamInterruptedError,
)
from amas.providers.llm.aiohttp_transport import AiohttpTransport
from amas.providers.llm.answer import Answer
from amas.providers.llm.catalog import CatalogEntry, load_catalog
from amas.providers.llm.litellm_runtime import load_runtime
from amas.providers.secret import reveal
from amas.providers.testing.upstream import RecordedRequest, Upstream

# LiteLLM under measurement takes twice as long; the adapter is measured by tests of its own.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.usefixtures("uncovered"),
]

ROWS = list(load_catalog().values())
KEY = "our" + "-key" * 5
FOREIGN = "foreign" + "-key" * 5
TOOL = {
    "type": "function",
    "function": {"name": "look_up", "parameters": {"type": "object", "properties": {}}},
}
KEY_HEADERS = ("authorization", "x-api-key", "x-goog-api-key", "api-key")


# Where the clouds' SDKs, and LiteLLM for them, look for an identity and an address.
CLOUD_VARIABLES = [
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION"),
    *("AWS_REGION_NAME", "AWS_PROFILE", "AWS_PROFILE_NAME", "AWS_ROLE_NAME", "AWS_SESSION_NAME"),
    *("AWS_WEB_IDENTITY_TOKEN", "AWS_EXTERNAL_ID", "AWS_BEARER_TOKEN_BEDROCK"),
    *("AZURE_AD_TOKEN", "AZURE_OPENAI_AD_TOKEN", "AZURE_TENANT_ID", "AZURE_CLIENT_ID"),
    *("AZURE_CLIENT_SECRET", "AZURE_USERNAME", "AZURE_PASSWORD", "AZURE_API_VERSION"),
    *("VERTEXAI_PROJECT", "VERTEXAI_LOCATION", "VERTEX_LOCATION", "GOOGLE_CLOUD_PROJECT"),
]
CLOUD_ADDRESSES = [
    *("AWS_BEDROCK_RUNTIME_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_STS_ENDPOINT"),
    *("AWS_EC2_METADATA_SERVICE_ENDPOINT", "AWS_CONTAINER_CREDENTIALS_FULL_URI"),
    *("AZURE_AUTHORITY_HOST", "VERTEXAI_API_BASE", "VERTEX_API_BASE", "GCE_METADATA_HOST"),
]
CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
TOKEN = "token-of-upstream"


NEEDY = [row for row in ROWS if row.key == "required" or row.cloud]
KEYLESS = [row for row in ROWS if row not in NEEDY]
# One row of each kind that LiteLLM tells apart.
VENDORS = list({row.litellm_provider: row for row in ROWS}.values())


def row_id(entry: CatalogEntry) -> str:
    """Name a test by its row."""
    return entry.name


@cache
def private_key() -> str:
    """Make the private key of a Google account; slow, so once."""
    key = rsa.generate_private_key(65537, 1024)
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(
        serialization.Encoding.PEM, form, serialization.NoEncryption()
    ).decode()


def google_account(url: str) -> str:
    """Write the credentials file of a Google account whose tokens come from a server."""
    fields = {"client_email": "robot@example.com", "private_key_id": "1", "token_uri": url}
    return json.dumps({"type": "service_account", "private_key": private_key(), **fields})


CLOUD_OPTIONS = {
    None: {},
    "aws": {"aws_region_name": "us-east-1"},
    "azure": {"api_version": "2024-10-21"},
    "google": {"vertex_project": "ours", "vertex_location": "us-east5"},
}


def of_catalogue(entry: CatalogEntry) -> ProviderConfig:
    """Configure a row with the vendor's own address, or one in its form."""
    return ProviderConfig(
        entry.name,
        api_key=None if entry.cloud == "google" else KEY,
        base_url=entry.base_url or "https://ours.example.com",
        model=None if entry.default_model else "test-model",
        options=CLOUD_OPTIONS[entry.cloud],
        timeout=5,
    )


def fake_value(variable: str) -> str:
    """Make up what a variable of a configuration may hold."""
    for word, value in (
        ("JSON", google_account("https://oauth2.example.com/token")),
        ("REDIS", "redis://127.0.0.1:1/0"),
        ("WEBHOOK", "https://hooks.example.com"),
        ("URL", "https://ours.example.com/v1"),
    ):
        if word in variable:
            return value
    return f"{KEY}-{variable.lower().replace('_', '-')}"


def of_file(path: Path) -> list[ProviderConfig]:
    """Load a file with all its variables set, and return the providers that are enabled."""
    names = re.findall(r"\$\{(\w+)\}", path.read_text(encoding="utf-8"))
    settings = load_settings(path, environ={name: fake_value(name) for name in names})
    assert settings.disabled == {}
    return [config for config in settings.provider_configs() if config.enabled]


CASES = [pytest.param(of_catalogue(entry), id=entry.name) for entry in ROWS] + [
    pytest.param(config, id=f"{path.name}-{config.name}")
    for path in CONFIGS
    for config in of_file(path)
]


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
def hostile_environment(
    elsewhere: Upstream, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
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
    for name in CLOUD_VARIABLES:
        monkeypatch.setenv(name, FOREIGN)
    for name in CLOUD_ADDRESSES:
        monkeypatch.setenv(name, elsewhere.url)
    account = tmp_path / "account.json"
    account.write_text(google_account(f"{elsewhere.url}/token"))
    login = tmp_path / "credentials"
    login.write_text(f"[default]\naws_access_key_id={FOREIGN}\naws_secret_access_key={FOREIGN}\n")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(account))
    monkeypatch.setenv("VERTEXAI_CREDENTIALS", str(account))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(login))


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
    send = AiohttpTransport.send

    async def noting(
        transport: AiohttpTransport, method: str, url: str, *asked: Any, **how: Any
    ) -> Answer:
        addresses.append(httpx.URL(url).path)
        return await send(transport, method, url, *asked, **how)

    monkeypatch.setattr(AiohttpTransport, "send", noting)
    return addresses


def provider_of(up: Upstream, config: ProviderConfig) -> LiteLLMProvider:
    """Configure a provider as it is, but with the upstream for its host and its token endpoint."""
    path = urlsplit(LiteLLMProvider(with_account(up, config)).target.base_url).path
    moved = replace(with_account(up, config), base_url=up.url + path, allowed_hosts=(), proxy=None)
    return LiteLLMProvider(moved)


def with_account(up: Upstream, config: ProviderConfig) -> ProviderConfig:
    """Give a Google account tokens of the upstream."""
    if "vertex_project" not in config.options:
        return config
    account = {"vertex_credentials": google_account(f"{up.url}/token")}
    return replace(config, options={**config.options, **account})


def provider_at(
    up: Upstream, entry: CatalogEntry, key: str | None = KEY, path: str | None = None
) -> LiteLLMProvider:
    """Configure a row with the vendor's own path, or another, on the upstream's host."""
    config = replace(with_account(up, of_catalogue(entry)), base_url=f"{up.url}{path or ''}")
    if path is None:
        config = replace(config, base_url=up.url + urlsplit(entry.base_url or "").path)
    if entry.cloud == "google" and key is None:
        places = {"vertex_project": "ours", "vertex_location": "us-east5"}
        return LiteLLMProvider(replace(config, options=places))
    return LiteLLMProvider(config if entry.cloud == "google" else replace(config, api_key=key))


def credentials(request: RecordedRequest) -> dict[str, str]:
    """Return the headers of a request that may carry a key."""
    return {name: request.headers[name] for name in KEY_HEADERS if name in request.headers}


def text_of(request: RecordedRequest) -> str:
    """Return everything that a request says."""
    query, headers = dict(request.query), dict(request.headers)
    return f"{request.path} {query} {headers} {request.body.decode()}"


def assert_own_credentials(provider: LiteLLMProvider, request: RecordedRequest) -> None:
    """See that a request shows what the configuration says, where the documentation says."""
    target, key = provider.target, provider.config.key_value
    if target.cloud == "google":
        found = {name: shown for name, shown in credentials(request).items() if shown != "none"}
        assert found == {"authorization": f"Bearer {TOKEN}"}
    elif target.cloud == "aws" and key is None:
        assert credentials(request).keys() == {"authorization"}
        assert request.credential == reveal(provider.config.options)["aws_access_key_id"]
    elif key in {None, "none"}:
        assert request.credential in {None, "none"}
    else:
        name = target.entry.auth_header if target.entry else "authorization"
        if request.endpoint == "embeddings" and target.for_embeddings() is not target:
            # To an OpenAI-compatible address, which takes a bearer token.
            name = "authorization"
        shown = f"Bearer {key}" if name == "authorization" else key
        assert credentials(request) == {name: shown}
        assert text_of(request).count(str(key)) == 1


@pytest.mark.usefixtures("hostile_environment", "hostile_globals")
@pytest.mark.parametrize("config", CASES)
async def test_contract(
    config: ProviderConfig, up: Upstream, elsewhere: Upstream, sent: list[str]
) -> None:
    """Every provider answers, streams, lists, embeds and fails as it should, with its own key at its own address."""
    provider = provider_of(up, config)
    target = provider.target
    assert await provider.initialize(), provider.last_error
    try:
        answer = await provider.generate("hello there", system_prompt="be brief")
        pieces = [chunk async for chunk in provider.stream("hello there")]
        vectors = await provider.embed(["one", "two"]) if target.embedding_model else None
        asked = list(up.requests)
        listed = await provider.list_models()
        failures = await failures_of(provider, up)
    finally:
        await provider.shutdown()
    assert answer["content"] == "ours says: hello there"
    assert "".join(piece.content for piece in pieces) == "ours says: hello there"
    assert len(pieces) > 1
    assert [piece.finish_reason for piece in pieces if piece.finish_reason] == ["stop"]
    assert vectors is None or [len(vector) for vector in vectors["embeddings"]] == [8, 8]
    assert listed == ["test-model" if target.models_url else provider.model]
    assert failures == [AuthenticationError, RateLimitError, ProviderUnavailableError] * 2

    assert elsewhere.requests == []
    assert [request.path for request in up.requests] == sent
    assert all(FOREIGN not in text_of(request) for request in up.requests)
    asked = [request for request in asked if request.endpoint != "token"]
    if target.models_url:
        assert asked[0].path == urlsplit(target.models_url).path
        assert_own_credentials(provider, asked.pop(0))
    endpoints = ["chat", "chat", "embeddings"] if target.embedding_model else ["chat", "chat"]
    assert [request.endpoint for request in asked] == endpoints
    for request in asked:
        assert request.path.startswith(urlsplit(target.base_url).path)
        assert_own_credentials(provider, request)
        assert request.endpoint == "embeddings" or request.model == target.model


FAULTS: dict[str, dict[str, Any]] = {
    "refuse me": {"status": 401},
    "slow me down": {"status": 429, "retry_after": 7},
    "be down": {"status": 503},
}


async def failures_of(provider: LiteLLMProvider, up: Upstream) -> list[type[BaseException]]:
    """Provoke the faults, whole and streamed, at the same time; return what is raised."""

    async def streamed(prompt: str) -> None:
        async for _ in provider.stream(prompt):
            raise AssertionError("there is nothing to stream")

    for prompt, fault in FAULTS.items():
        up.fault(times=None, match=_with_prompt(prompt), **fault)
    raised = await asyncio.gather(
        *map(provider.generate, FAULTS), *map(streamed, FAULTS), return_exceptions=True
    )
    limited = [error for error in raised if isinstance(error, RateLimitError)]
    assert [error.retry_after for error in limited] == [7, 7]
    return [type(error) for error in raised if isinstance(error, BaseException)]


def _with_prompt(prompt: str) -> Callable[[RecordedRequest], bool]:
    return lambda request: prompt.encode() in request.body


@pytest.mark.parametrize("entry", VENDORS, ids=row_id)
async def test_truncated_stream_is_noticed(entry: CatalogEntry, up: Upstream) -> None:
    """Of no vendor a stream passes for complete that ends without saying so."""
    provider = provider_at(up, entry)
    up.fault(truncate_after=2)
    with pytest.raises(StreamInterruptedError) as caught:
        _ = [chunk async for chunk in provider.stream("hello there")]
    await provider.shutdown()
    assert caught.value.partial_text == "ours says: "


@pytest.mark.usefixtures("hostile_environment", "hostile_globals")
@pytest.mark.parametrize("entry", NEEDY, ids=row_id)
async def test_nothing_is_sent_without_a_key(
    entry: CatalogEntry, up: Upstream, elsewhere: Upstream
) -> None:
    """Where a key is needed and none is configured, the error says what to set; no request leaves."""
    provider = provider_at(up, entry, key=None)
    assert await provider.initialize() is False
    error = provider.last_error
    assert isinstance(error, ProviderConfigError)
    if entry.cloud == "google":
        assert error.field == "options.vertex_credentials"
        assert "file:/path" in error.message
    else:
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
@pytest.mark.parametrize("entry", KEYLESS, ids=row_id)
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
