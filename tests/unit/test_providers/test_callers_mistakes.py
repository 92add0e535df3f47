"""What is the caller's own mistake counts as nobody's failure, and what a manager owes every provider."""

from __future__ import annotations

import time
from typing import Any

import pytest

from amas.config.provider_settings import load_settings
from amas.providers import (
    InvalidRequestError,
    ProviderConfigError,
    ProviderManager,
    ProviderUnavailableError,
    StreamInterruptedError,
)
from amas.providers.base import ProviderConfig
from amas.providers.testing import Cut, Delay, FakeProvider


async def manager_of(*providers: FakeProvider) -> ProviderManager:
    """Return a manager of these providers."""
    manager = ProviderManager()
    for provider in providers:
        await manager.register_provider(provider)
    return manager


@pytest.mark.parametrize("prompt", [None, 5, [], ["text"], [{"content": "no role"}], b"bytes"])
async def test_what_is_no_prompt_reaches_nobody(prompt: Any) -> None:
    """Three wrong prompts neither reach a provider nor open its circuit."""
    fake = FakeProvider("fake")
    manager = await manager_of(fake)
    for _ in range(3):
        with pytest.raises(InvalidRequestError, match="a prompt is a text or a list"):
            await manager.generate(prompt)
    assert fake.calls == []
    assert (await manager.generate("hi"))["provider"] == "fake"
    await manager.shutdown()


@pytest.mark.parametrize("name", ["api_key", "api_base", "base_url", "headers", "extra_body"])
async def test_callers_cannot_route_to_any_provider(name: str) -> None:
    """A provider of somebody else's is not given what would redirect a request either."""
    fake = FakeProvider("fake")
    manager = await manager_of(fake)
    given: dict[str, Any] = {name: "x"}
    with pytest.raises(InvalidRequestError, match=f"a caller may not set {name}"):
        await manager.generate("hi", **given)
    assert fake.calls == []
    await manager.shutdown()


async def test_timeout_holds_for_every_provider() -> None:
    """A provider that keeps no time itself is left after its timeout, not after half the deadline."""
    slow = FakeProvider("slow", [Delay(60), Delay(60)])
    slow.config = ProviderConfig("slow", timeout=0.1, max_retries=0)
    manager = await manager_of(slow, FakeProvider("quick"))
    began = time.monotonic()
    result = await manager.generate("hi", deadline=20)
    assert [item["outcome"] for item in result["attempts"]] == ["timeout", "ok"]
    assert time.monotonic() - began < 5
    await manager.shutdown()


async def test_every_error_has_the_attempts() -> None:
    """Who was asked before is told also where nobody else is asked any more."""
    manager = await manager_of(
        FakeProvider("down", [ProviderUnavailableError("down")]),
        FakeProvider("strict", [InvalidRequestError("no", status_code=400)]),
    )
    with pytest.raises(InvalidRequestError) as caught:
        await manager.generate("hi")
    assert [item["provider"] for item in caught.value.attempts] == ["down", "strict"]
    await manager.shutdown()


async def test_interrupted_stream_has_the_attempts() -> None:
    """The record of a stream that broke off says so."""
    manager = await manager_of(FakeProvider("fake", [Cut("some text")]))
    with pytest.raises(StreamInterruptedError) as caught:
        _ = [chunk async for chunk in manager.stream("hi")]
    assert [item["outcome"] for item in caught.value.attempts] == ["stream_interrupted"]
    await manager.shutdown()


def test_nested_references_cost_linear_time() -> None:
    """A value of many unfinished references is refused at once."""
    began = time.monotonic()
    with pytest.raises(ProviderConfigError):
        load_settings({"providers": {"llm": {"openai": {"api_key": "${A:-" * 20_000}}}}, environ={})
    assert time.monotonic() - began < 2
