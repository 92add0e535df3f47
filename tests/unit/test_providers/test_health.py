"""The free health check: what a models listing says about asking the provider."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from blockbuster import BlockBuster

from amas.providers import (
    AuthenticationError,
    LiteLLMProvider,
    ProviderConfig,
    ProviderConnectionError,
    ProviderError,
    ProviderTimeoutError,
    ProviderUnavailableError,
)
from amas.providers.llm.health import check_models
from amas.providers.llm.target import resolve_target
from amas.providers.testing.upstream import Upstream

KEY = "test" + "-key" * 5


@pytest.fixture
async def up(no_blocking: BlockBuster) -> AsyncIterator[Upstream]:
    """Run an upstream in the test's own loop."""
    async with Upstream("up") as upstream:
        yield upstream


async def check(status: int, text: str = "") -> None:
    """Check a server that answers its listing like this."""
    config = ProviderConfig("openai", api_key=KEY)
    answer = httpx.MockTransport(lambda _: httpx.Response(status, text=text))
    async with httpx.AsyncClient(transport=answer) as http:
        await check_models(http, resolve_target(config), config, 1.0)


@pytest.mark.parametrize("status", [200, 400, 403, 404, 405, 429])
async def test_answers_of_somebody_who_would_answer(status: int) -> None:
    """No listing, no right to see it, or a busy server: somebody is there."""
    await check(status)


@pytest.mark.parametrize(
    ("status", "text", "kind"),
    [
        (401, "", AuthenticationError),
        (400, "API key not valid. Please pass a valid API key.", AuthenticationError),
        (403, "API KEY NOT VALID", AuthenticationError),
        (500, "", ProviderUnavailableError),
        (503, "", ProviderUnavailableError),
        (302, "", ProviderUnavailableError),
    ],
)
async def test_answers_of_somebody_who_would_not(
    status: int, text: str, kind: type[ProviderError]
) -> None:
    """A refused key, a server in trouble and a redirect are told apart, with their status."""
    with pytest.raises(kind) as caught:
        await check(status, text)
    assert caught.value.status_code == status


HEADERS: dict[str, dict[str, Any]] = {
    "openai": {"path": "/v1", "authorization": f"Bearer {KEY}"},
    "anthropic": {"path": "", "x-api-key": KEY, "anthropic-version": "2023-06-01"},
    "gemini": {"path": "/v1beta", "x-goog-api-key": KEY},
    "cohere": {"path": "/compatibility/v1", "authorization": f"Bearer {KEY}"},
    "ollama": {"path": "", "authorization": f"Bearer {KEY}"},
}


@pytest.mark.parametrize("name", HEADERS)
async def test_probe_shows_the_key_as_the_vendor_wants_it(up: Upstream, name: str) -> None:
    """The listing is asked for once, with the key in the vendor's own header."""
    expected = dict(HEADERS[name])
    path = expected.pop("path")
    provider = LiteLLMProvider(ProviderConfig(name, api_key=KEY, base_url=up.url + path))
    assert await provider.initialize(), provider.last_error
    await provider.shutdown()
    [request] = up.requests
    assert request.endpoint == "models"
    assert {header: request.headers[header] for header in expected} == expected
    assert request.body == b""


async def test_probe_of_a_bad_key(up: Upstream) -> None:
    """A refused key keeps a provider from starting, in any vendor's way of refusing."""
    up.keys = {"another"}
    for name, facts in HEADERS.items():
        config = ProviderConfig(name, api_key=KEY, base_url=up.url + facts["path"])
        provider = LiteLLMProvider(config)
        assert await provider.initialize() is False
        assert type(provider.last_error) is AuthenticationError, name
        assert "check api_key" in provider.last_error.message


async def test_probe_of_a_silent_server(up: Upstream) -> None:
    """A listing that does not come is waited for no longer than the timeout."""
    up.fault(hang=True, on="models")
    provider = LiteLLMProvider(
        ProviderConfig("openai", api_key=KEY, base_url=f"{up.url}/v1", timeout=0.2)
    )
    async with asyncio.timeout(1):
        assert await provider.initialize() is False
    assert type(provider.last_error) is ProviderTimeoutError


async def test_probe_of_nobody(up: Upstream) -> None:
    """A server that is not there is a connection error."""
    address = f"{up.url}/v1"
    await up.stop()
    provider = LiteLLMProvider(ProviderConfig("openai", api_key=KEY, base_url=address))
    assert await provider.initialize() is False
    assert type(provider.last_error) is ProviderConnectionError


async def test_vendors_without_a_listing_are_not_probed(up: Upstream) -> None:
    """Where there is nothing free to ask, nothing is asked."""
    provider = LiteLLMProvider(
        ProviderConfig("perplexity", api_key=KEY, base_url=up.url, model="sonar")
    )
    assert await provider.initialize()
    assert await provider.health_check()
    await provider.shutdown()
    assert up.requests == []
