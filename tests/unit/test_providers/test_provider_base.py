"""The lifecycle that providers share, and what the interface gives for free."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from typing_extensions import override

from amas.providers import (
    BaseProvider,
    InvalidRequestError,
    ProviderBase,
    ProviderConfig,
    ProviderConfigError,
    ProviderConnectionError,
    ProviderError,
    ProviderUnavailableError,
)
from amas.providers.types import Prompt


class Scripted(BaseProvider):
    """Counts its steps, and fails where it is told to."""

    def __init__(self, **failures: BaseException) -> None:
        super().__init__(ProviderConfig("p", model="m"))
        self.failures = failures
        self.steps: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def step(self, name: str) -> None:
        """Note a step, wait for the gate, and fail if so told."""
        self.steps.append(name)
        await self.gate.wait()
        if name in self.failures:
            raise self.failures[name]

    @override
    async def _validate(self) -> None:
        await self.step("validate")

    @override
    async def _set_up(self) -> None:
        await self.step("set_up")

    @override
    async def _probe(self) -> None:
        await self.step("probe")

    @override
    async def _tear_down(self) -> None:
        self.steps.append("tear_down")

    @override
    async def generate(self, prompt: Prompt, **kwargs: Any) -> dict[str, Any]:
        return {"content": f"re: {prompt!r}"}


async def test_initialize_takes_each_step_once() -> None:
    """Validate, set up, probe; then ready, without an error."""
    provider = Scripted()
    assert await provider.initialize()
    assert await provider.initialize()
    assert provider.steps == ["validate", "set_up", "probe"]
    assert (provider.initialized, provider.healthy, provider.last_error) == (True, True, None)


async def test_concurrent_initialize_waits_for_the_one_under_way() -> None:
    """Many callers, one set-up."""
    provider = Scripted()
    provider.gate.clear()
    waiting = [asyncio.create_task(provider.initialize()) for _ in range(9)]
    await asyncio.sleep(0)
    provider.gate.set()
    assert all(await asyncio.gather(*waiting))
    assert provider.steps == ["validate", "set_up", "probe"]


@pytest.mark.parametrize(
    ("step", "steps"),
    [
        ("validate", ["validate"]),
        ("set_up", ["validate", "set_up", "tear_down"]),
        ("probe", ["validate", "set_up", "probe", "tear_down"]),
    ],
)
async def test_failed_step_is_told_and_given_back(step: str, steps: list[str]) -> None:
    """A failure is False and last_error, never a raise, and what was set up is given back."""
    failure = ProviderConnectionError("refused")
    provider = Scripted(**{step: failure})
    assert await provider.initialize() is False
    assert provider.last_error is failure
    assert provider.steps == steps
    assert not provider.initialized
    provider.failures.clear()
    assert await provider.initialize()
    assert provider.healthy


async def test_unexpected_exceptions_become_ours() -> None:
    """Whatever a step raises, initialize and health_check keep their promise."""
    provider = Scripted(set_up=ZeroDivisionError("oops"))
    assert await provider.initialize() is False
    assert isinstance(provider.last_error, ProviderUnavailableError)
    assert str(provider.last_error).startswith("p: unexpected ZeroDivisionError: oops (test_")
    provider = Scripted()
    assert await provider.initialize()
    provider.failures["probe"] = OSError("disk")
    assert await provider.health_check() is False
    assert str(provider.last_error).startswith("p: unexpected OSError: disk (test_")


async def test_cancelled_initialize_gives_back() -> None:
    """A cancellation passes through, after what was set up is given back."""
    provider = Scripted()
    provider.gate.clear()
    task = asyncio.create_task(provider.initialize())
    await asyncio.sleep(0)
    provider.gate.set()
    provider.failures["probe"] = asyncio.CancelledError()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert provider.steps[-1] == "tear_down"
    provider.failures.clear()
    assert await provider.initialize()


@pytest.mark.parametrize(
    ("reason", "says"), [(None, "set enabled: true"), ("GROQ_API_KEY is not set", "is not set")]
)
async def test_disabled_provider_says_why(reason: str | None, says: str) -> None:
    """A disabled provider takes no step and tells the reason."""
    provider = Scripted()
    provider.config = ProviderConfig("p", enabled=False, disabled_reason=reason)
    assert await provider.initialize() is False
    assert isinstance(provider.last_error, ProviderConfigError)
    assert says in provider.last_error.message
    assert provider.last_error.field == "enabled"
    assert provider.steps == []


async def test_health_check() -> None:
    """The verdict is kept; who is not initialized is not healthy and is not probed."""
    provider = Scripted()
    assert await provider.health_check() is False
    assert provider.steps == []
    assert await provider.initialize()
    failure = ProviderConnectionError("gone")
    provider.failures["probe"] = failure
    assert await provider.health_check() is False
    assert (provider.healthy, provider.last_error) == (False, failure)
    provider.failures.clear()
    assert await provider.health_check() is True
    assert provider.last_error is None


async def test_shutdown_is_harmless_at_any_time() -> None:
    """Before, after and twice: shutdown gives back, and the provider can start again."""
    provider = Scripted()
    await provider.shutdown()
    assert await provider.initialize()
    await provider.shutdown()
    await provider.shutdown()
    assert (provider.initialized, provider.healthy) == (False, False)
    assert await provider.initialize()
    assert provider.steps.count("set_up") == 2


class Minimal(ProviderBase):
    """What somebody writes who has a model of his own."""

    def __init__(self, answer: dict[str, Any]) -> None:
        super().__init__(ProviderConfig("mine", model="m1"))
        self.answer = answer

    @override
    async def initialize(self) -> bool:
        return True

    @override
    async def generate(self, prompt: Prompt, **kwargs: Any) -> dict[str, Any]:
        return self.answer

    @override
    async def health_check(self) -> bool:
        return True

    @override
    async def shutdown(self) -> None: ...


async def test_default_stream_is_the_whole_answer() -> None:
    """A provider that only generates can be streamed from, in one piece that is the last."""
    provider = Minimal({"content": "hello", "tool_calls": [{"id": "1"}], "cost_usd": 0.5})
    [piece] = [piece async for piece in provider.stream("x")]
    assert (piece.content, piece.finish_reason, piece.provider) == ("hello", "stop", "mine")
    assert (piece.model, piece.tool_calls, piece.cost_usd) == ("m1", ({"id": "1"},), 0.5)
    bare = [piece async for piece in Minimal({"content": ""}).stream("x")]
    assert (bare[0].content, bare[0].usage) == ("", None)


async def test_default_embed_refuses() -> None:
    """A provider without embeddings says so."""
    provider = Minimal({})
    with pytest.raises(InvalidRequestError, match="cannot embed 2 texts") as caught:
        await provider.embed(["a", "b"], model="e")
    assert isinstance(caught.value, ProviderError)
    assert (caught.value.provider, caught.value.model) == ("mine", "e")
    assert (provider.name, provider.model) == ("mine", "m1")
