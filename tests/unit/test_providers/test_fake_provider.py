"""The provider and the clock that tests are made of."""

from __future__ import annotations

import asyncio

import pytest

from amas.providers.errors import ProviderUnavailableError, StreamInterruptedError
from amas.providers.testing import Cut, Delay, FakeProvider
from amas.providers.testing.fake_provider import FakeClock
from amas.providers.types import Capability, Prompt


async def read(provider: FakeProvider, into: list[str]) -> None:
    """Read a stream, and keep what came even if it breaks off."""
    async for chunk in provider.stream("hi"):
        into += [chunk.content]


def shout(prompt: Prompt) -> str:
    """Answer a text in capitals."""
    return str(prompt).upper()


async def test_it_follows_its_script_and_then_echoes() -> None:
    """Texts, functions and errors in turn; every call is recorded."""
    error = ProviderUnavailableError("503")
    provider = FakeProvider("a", ["one", shout, error])
    assert (await provider.generate("hi"))["content"] == "one"
    assert (await provider.generate("hi"))["content"] == "HI"
    with pytest.raises(ProviderUnavailableError):
        await provider.generate("hi")
    echo = await provider.generate([{"role": "user", "content": "hello"}], temperature=0.5)
    assert echo["content"] == "a says: hello"
    assert [call.kwargs for call in provider.calls] == [{}, {}, {}, {"temperature": 0.5}]
    assert not any(call.stream for call in provider.calls)


async def test_the_default_is_for_all_further_calls() -> None:
    """An error as the default is raised each time, without piling up its traces."""
    error = ProviderUnavailableError("down")
    provider = FakeProvider("a", ["one"], default=error)
    await provider.generate("hi")
    depths = []
    for _ in range(3):
        with pytest.raises(ProviderUnavailableError) as raised:
            await provider.generate("hi")
        depths.append(len(raised.traceback))
    assert len(set(depths)) == 1


async def test_a_delay_is_slept_before_its_step() -> None:
    """With the sleep that was given, so that a test need not wait."""
    clock = FakeClock()
    provider = FakeProvider(
        "a",
        [Delay(5), Delay(7, "late"), Delay(9, ProviderUnavailableError("503"))],
        sleep=clock.sleep,
    )
    assert (await provider.generate("hi"))["content"] == "a says: hi"
    assert (await provider.generate("hi"))["content"] == "late"
    with pytest.raises(ProviderUnavailableError):
        await provider.generate("hi")
    assert clock.slept == [5, 7, 9]
    assert clock() == 1021.0


async def test_a_delay_without_end_hangs_until_it_is_cancelled() -> None:
    """That is a provider that never answers."""
    provider = FakeProvider("a", [Delay(float("inf"))])
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(provider.generate("hi"), 0.01)


@pytest.mark.parametrize("text", ["", "one", "one two", " two  spaces "])
async def test_the_words_of_a_stream_joined_are_the_text(text: str) -> None:
    """Whatever spaces there are."""
    chunks = [chunk async for chunk in FakeProvider("a", [text]).stream(text)]
    assert "".join(chunk.content for chunk in chunks) == text
    assert chunks[-1].finish_reason == "stop"
    assert chunks[-1].usage is not None


async def test_a_cut_breaks_a_stream_off_and_fails_a_call() -> None:
    """The text that came is in the error."""
    provider = FakeProvider("a", [Cut("one two"), Cut("one two")])
    seen: list[str] = []
    with pytest.raises(StreamInterruptedError) as raised:
        await read(provider, seen)
    assert "".join(seen) == raised.value.partial_text == "one two"
    with pytest.raises(ProviderUnavailableError, match="break off"):
        await provider.generate("hi")


async def test_it_answers_with_the_model_it_was_asked_for() -> None:
    """In a call and in a stream alike; else with its own."""
    provider = FakeProvider("a", model="m", capabilities=frozenset({Capability.TOOLS}))
    assert (await provider.generate("hi"))["model"] == "m"
    assert (await provider.generate("hi", model="x"))["model"] == "x"
    models = {chunk.model async for chunk in provider.stream("hi", model="x")}
    assert models == {"x"}
    assert provider.calls[-1].stream
    assert provider.capabilities == frozenset({Capability.TOOLS})


async def test_it_starts_and_is_healthy_as_told() -> None:
    """Each with its reason, and each can be changed during a test."""
    provider = FakeProvider("a", ready=False, healthy=False)
    assert not await provider.initialize()
    assert "told not to be ready" in str(provider.last_error)
    provider.ready = True
    assert await provider.initialize()
    assert provider.last_error is None
    assert not await provider.health_check()
    provider.answers_health = True
    assert await provider.health_check()
    assert provider.health_checks == 2
    await provider.shutdown()
    assert (provider.shutdowns, provider.initialized, provider.healthy) == (1, False, False)
