"""What a call needs, who lacks it, and that only those who can are asked."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pydantic import BaseModel

from amas.config.provider_settings import ManagerSettings
from amas.providers import ProviderManager
from amas.providers.errors import (
    AllProvidersFailedError,
    ContextWindowExceededError,
    InvalidRequestError,
    NoProviderAvailableError,
    ProviderConfigError,
    ProviderUnavailableError,
)
from amas.providers.manager.candidates import fitting
from amas.providers.manager.member import Member
from amas.providers.manager.needs import lacks, needs_of, wants_json
from amas.providers.manager.routing import make_request
from amas.providers.manager.rules import Rules
from amas.providers.testing import FakeProvider
from amas.providers.testing.fake_provider import FakeClock
from amas.providers.types import Capability, Needs, Price, Prompt

STREAM, TOOLS, VISION = Capability.STREAM, Capability.TOOLS, Capability.VISION
JSON_OBJECT, JSON_SCHEMA = Capability.JSON_OBJECT, Capability.JSON_SCHEMA
A_TOOL = {"type": "function", "function": {"name": "f"}}
AN_IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


class Answer(BaseModel):
    """What an answer is to look like."""

    text: str


def user(content: Any) -> list[dict[str, Any]]:
    """Return the messages of one question."""
    return [{"role": "user", "content": content}]


@pytest.mark.parametrize(
    ("params", "needed"),
    [
        ({}, set()),
        ({"tools": [A_TOOL]}, {TOOLS}),
        ({"tools": []}, set()),
        ({"tools": None}, set()),
        ({"tool_choice": "none"}, set()),
        ({"response_format": {"type": "json_object"}}, {JSON_OBJECT}),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, {JSON_SCHEMA}),
        ({"response_format": {"type": "text"}}, set()),
        ({"response_format": Answer}, {JSON_SCHEMA}),
        ({"response_format": None}, set()),
        ({"response_format": {}}, set()),
        ({"response_format": "json_object"}, set()),
        ({"response_format": 5}, set()),
        ({"response_format": ["json_object"]}, set()),
        ({"response_format": {"type": ["json_object"]}}, set()),
        ({"response_format": {"type": None}}, set()),
        ({"response_format": Answer(text="x")}, set()),
        ({"tools": [A_TOOL], "response_format": Answer}, {TOOLS, JSON_SCHEMA}),
    ],
    ids=lambda value: str(sorted(value)),
)
def test_what_the_parameters_need(params: dict[str, Any], needed: set[Capability]) -> None:
    """Tools and formats need a capability each; what is no format needs none."""
    assert needs_of("hi", params).capabilities == needed
    assert wants_json(params) == bool(needed - {TOOLS})


@pytest.mark.parametrize(
    ("prompt", "needed"),
    [
        ("look", set()),
        (user("look"), set()),
        (user([{"type": "text", "text": "look"}]), set()),
        (user([{"type": "text", "text": "look"}, AN_IMAGE]), {VISION}),
        (user([AN_IMAGE]), {VISION}),
        (user((AN_IMAGE,)), {VISION}),
        ([*user([AN_IMAGE]), {"role": "assistant", "content": "a cat"}, *user("sure?")], {VISION}),
        (user("image_url"), set()),
    ],
    ids=repr,
)
def test_an_image_needs_eyes(prompt: Prompt, needed: set[Capability]) -> None:
    """Wherever in the conversation it stands."""
    assert needs_of(prompt, {}).capabilities == needed


@pytest.mark.parametrize(
    ("prompt", "params", "tokens"),
    [
        ("", {}, 0),
        ("x" * 400, {}, 100),
        ("x" * 400, {"system_prompt": "y" * 40}, 110),
        ("x" * 400, {"system_prompt": 5}, 100),
        (user("x" * 400) + user("y" * 40), {}, 110),
        (user([{"type": "text", "text": "x" * 400}, AN_IMAGE]), {}, 1100),
        (user(["x" * 400]), {}, 0),
        ("x" * 400, {"tools": ["y" * 36]}, 110),
        ("x" * 400, {"prediction": {"content": "y" * 385}, "response_format": None}, 200),
        ("日本語" * 100, {}, 315),
        ("\ud800" * 100, {}, 105),
    ],
)
def test_the_length_of_a_prompt_is_estimated(
    prompt: Prompt, params: dict[str, Any], tokens: int
) -> None:
    """Four characters are a token, or one of Japanese; an image is a thousand, whatever its data."""
    assert needs_of(prompt, params).prompt_tokens == tokens


@pytest.mark.parametrize(
    ("params", "tokens"),
    [
        ({}, None),
        ({"max_tokens": 5}, 5),
        ({"max_completion_tokens": 7}, 7),
        ({"max_tokens": 5, "max_completion_tokens": 7}, 7),
        ({"max_tokens": 5, "max_completion_tokens": None}, 5),
        ({"max_tokens": 0}, None),
        ({"max_tokens": -1}, None),
        ({"max_tokens": "5"}, None),
        ({"max_tokens": 5.5}, None),
        ({"max_tokens": 10**400}, 10**9),
    ],
    ids=lambda value: str(value)[:40],
)
def test_the_longest_answer_is_what_was_asked(params: dict[str, Any], tokens: int | None) -> None:
    """What is no number of tokens was not said, and more than any model writes is cut."""
    assert needs_of("hi", params).answer_tokens == tokens


@pytest.mark.parametrize(
    "content",
    [
        None,
        5,
        b"bytes",
        {"type": "image_url"},
        [],
        [None, 5, "text", ["nested"]],
        [{}],
        [{"type": None, "text": None}],
        [{"type": ["image_url"], "text": 5}],
        [{"text": {"text": "deep"}}],
        object(),
    ],
    ids=lambda value: type(value).__name__,
)
def test_malformed_messages_crash_nothing(content: Any) -> None:
    """They are for the provider to refuse; here they need nothing."""
    assert needs_of(user(content), {}) == Needs()
    assert needs_of([{"role": "user"}], {}) == Needs()


async def test_malformed_messages_get_to_whom_they_are_for() -> None:
    """Through the manager, too."""
    async with managing(FakeProvider("a", capabilities=frozenset({STREAM}))) as manager:
        for content in (None, 5, [None, {"text": 5}], {"type": "image_url"}):
            assert (await manager.generate(user(content)))["provider"] == "a"


@pytest.mark.parametrize(
    ("capabilities", "needed", "lacking"),
    [
        (None, {TOOLS, VISION}, set()),
        ({STREAM}, set(), set()),
        ({STREAM}, {TOOLS}, {TOOLS}),
        ({STREAM, TOOLS}, {TOOLS}, set()),
        ({TOOLS}, {TOOLS, VISION}, {VISION}),
        (set(), {TOOLS, VISION}, {TOOLS, VISION}),
        ({JSON_OBJECT}, {JSON_SCHEMA}, {JSON_SCHEMA}),
    ],
)
def test_what_a_provider_lacks(
    capabilities: set[Capability] | None, needed: set[Capability], lacking: set[Capability]
) -> None:
    """What is not known is not lacking."""
    known = None if capabilities is None else frozenset(capabilities)
    provider = FakeProvider("a", capabilities=known)
    assert lacks(provider, Needs(frozenset(needed))) == lacking


@asynccontextmanager
async def managing(*providers: FakeProvider, **settings: Any) -> AsyncIterator[ProviderManager]:
    """Run a manager of these providers."""
    async with ProviderManager(ManagerSettings(**settings)) as manager:
        for provider in providers:
            await manager.register_provider(provider)
        yield manager


def able(name: str, *capabilities: Capability, **options: Any) -> FakeProvider:
    """Return a provider that is known to be able to do this, and nothing else."""
    return FakeProvider(name, capabilities=frozenset(capabilities), **options)


def asked(*providers: FakeProvider) -> list[int]:
    """Return how often each was asked."""
    return [len(provider.calls) for provider in providers]


@pytest.mark.parametrize(
    ("prompt", "params", "needed"),
    [
        ("hi", {"tools": [A_TOOL]}, [TOOLS]),
        ("hi", {"response_format": {"type": "json_object"}}, [JSON_OBJECT]),
        ("hi", {"response_format": Answer}, [JSON_SCHEMA]),
        (user([AN_IMAGE]), {}, [VISION]),
        (user([AN_IMAGE]), {"tools": [A_TOOL]}, [VISION, TOOLS]),
    ],
    ids=["tools", "object", "schema", "image", "image and tools"],
)
@pytest.mark.parametrize("streamed", [False, True])
async def test_only_those_who_can_are_asked(
    prompt: Prompt, params: dict[str, Any], needed: Sequence[Capability], streamed: bool
) -> None:
    """In their order, also as stand-ins; for a plain question everybody is."""
    everything = (STREAM, TOOLS, VISION, JSON_OBJECT, JSON_SCHEMA)
    a = able("a", *(item for item in everything if item is not needed[0]))
    b = able("b", *needed, script=[ProviderUnavailableError("503")])
    c, d = able("c"), able("d", *everything)
    async with managing(a, b, c, d) as manager:
        if streamed:
            chunks = [chunk async for chunk in manager.stream(prompt, **params)]
            assert chunks[-1].provider == "d"
        else:
            assert (await manager.generate(prompt, **params))["provider"] == "d"
        assert asked(a, b, c, d) == [0, 1, 0, 1]
        assert (await manager.generate("hi"))["provider"] == "a"


async def test_what_is_not_known_is_tried() -> None:
    """A provider whose abilities nobody has written down is asked in its turn."""
    a, b, c = able("a", STREAM), FakeProvider("b"), able("c", TOOLS)
    async with managing(a, b, c) as manager:
        assert (await manager.generate("hi", tools=[A_TOOL]))["provider"] == "b"


@pytest.mark.parametrize("params", [{"provider": "b"}, {"model": "b/some-model"}], ids=str)
async def test_whoever_is_asked_for_is_asked_regardless(params: dict[str, Any]) -> None:
    """The caller may know better than the configuration; the others stand in if they can."""
    a, b, c = able("a"), able("b"), able("c", TOOLS)
    async with managing(a, b, c) as manager:
        assert (await manager.generate("hi", tools=[A_TOOL], **params))["provider"] == "b"
        b._default = ProviderUnavailableError("503")
        assert (await manager.generate("hi", tools=[A_TOOL], **params))["provider"] == "c"
    assert asked(a, b, c) == [0, 2, 1]


async def test_whoever_is_asked_for_is_asked_even_if_nobody_else_can() -> None:
    """Its own failure is then the whole story."""
    a, b = able("a"), able("b", default=ProviderUnavailableError("503"))
    async with managing(a, b) as manager:
        with pytest.raises(AllProvidersFailedError):
            await manager.generate("hi", tools=[A_TOOL], provider="b")
    assert asked(a, b) == [0, 1]


async def test_when_nobody_can_the_caller_hears_who_lacks_what() -> None:
    """Nothing is sent, and it counts as nobody's failure."""
    a, b = able("a", TOOLS), able("b", VISION, JSON_SCHEMA)
    async with managing(a, b) as manager:
        with pytest.raises(InvalidRequestError) as raised:
            await manager.generate(user([AN_IMAGE]), tools=[A_TOOL], response_format=Answer)
        status = manager.status()
    assert raised.value.message == (
        "no provider can serve this request: a lacks json_schema and vision, b lacks tools"
    )
    assert raised.value.request_id
    assert raised.value.attempts == ()
    assert asked(a, b) == [0, 0]
    assert [item["failures"] for item in status.values()] == [0, 0]


async def test_without_failover_the_one_who_can_is_the_only_one() -> None:
    """Whoever cannot is not the one provider of the call."""
    a, b = able("a"), able("b", TOOLS)
    async with managing(a, b, failover_enabled=False) as manager:
        assert (await manager.generate("hi", tools=[A_TOOL]))["provider"] == "b"


async def test_whoever_could_and_is_away_makes_no_mistake_of_the_callers() -> None:
    """It is told as what it is: nobody can be asked now."""
    a, b = able("a"), able("b", TOOLS, ready=False)
    async with managing(a, b) as manager:
        with pytest.raises(NoProviderAvailableError) as raised:
            await manager.generate("hi", tools=[A_TOOL])
        assert "b is away (told not to be ready)" in raised.value.message
        assert "a lacks tools" in raised.value.message
        with pytest.raises(NoProviderAvailableError, match="b is away"):
            await manager.generate("hi", tools=[A_TOOL], provider="b")
        b.ready = True
        await manager.check_health()
        assert (await manager.generate("hi", tools=[A_TOOL]))["provider"] == "b"
    assert asked(a) == [0]


async def test_whoever_could_and_needs_its_owner_does_not_count() -> None:
    """Nobody who waits would be helped."""
    a, b = able("a"), able("b", TOOLS, ready=False)
    async with managing(a, b) as manager:
        b.last_error = ProviderConfigError("no API key")
        with pytest.raises(InvalidRequestError, match="a lacks tools"):
            await manager.generate("hi", tools=[A_TOOL])


async def test_an_open_circuit_is_no_lack() -> None:
    """Whoever can and is set aside is told with the time to try again."""
    a, b = able("a"), able("b", TOOLS)
    async with managing(a, b) as manager:
        manager.trip("b", 20)
        with pytest.raises(NoProviderAvailableError, match="b is circuit open") as raised:
            await manager.generate("hi", tools=[A_TOOL])
    assert 19 < (raised.value.retry_after or 0) <= 20
    assert "a cannot serve this request; b is" in raised.value.message


def fits(windows: dict[str, int | None], tokens: int, provider: str | None = None) -> str:
    """Return who may be asked for a prompt of so many tokens."""
    chain = [
        Member(FakeProvider(name, context_window=window), Rules(), FakeClock(), lambda: 0.5)
        for name, window in windows.items()
    ]
    request = make_request(
        "x" * 4 * tokens, {}, known=windows, now=0.0, seconds=1, provider=provider
    )
    return "".join(member.name for member in fitting(chain, request))


@pytest.mark.parametrize(
    ("windows", "tokens", "who"),
    [
        ({"a": 10, "b": 20, "c": 30}, 5, "abc"),
        ({"a": 10, "b": 20, "c": 30}, 10, "abc"),
        ({"a": 10, "b": 20, "c": 30}, 11, "bc"),
        ({"a": 10, "b": 20, "c": 30}, 31, "c"),
        ({"a": 10, "b": 30, "c": 30}, 31, "bc"),
        ({"a": 10, "b": None, "c": 30}, 11, "bc"),
        ({"a": 10, "b": None, "c": 30}, 99, "b"),
        ({}, 5, ""),
    ],
)
def test_a_long_prompt_goes_where_it_fits(
    windows: dict[str, int | None], tokens: int, who: str
) -> None:
    """Unknown windows may fit; where none does the largest one gets it: it is an estimate."""
    assert fits(windows, tokens) == who


def test_a_long_prompt_goes_to_whom_it_was_meant_for() -> None:
    """Whoever is asked for decides that itself."""
    assert fits({"a": 10, "b": 20}, 15, provider="a") == "ab"


async def test_a_prompt_longer_than_every_window_is_the_callers_mistake() -> None:
    """The largest one is asked, and what it says is told."""
    too_long = ContextWindowExceededError("too long", status_code=400)
    a, b = FakeProvider("a", context_window=10), FakeProvider("b", context_window=20)
    b._default = too_long
    async with managing(a, b) as manager:
        with pytest.raises(ContextWindowExceededError, match="too long"):
            await manager.generate("x" * 400)
        assert (await manager.generate("hi"))["provider"] == "a"
    assert asked(a, b) == [1, 1]


async def test_a_long_system_prompt_counts() -> None:
    """It takes its place in the window as well."""
    a, b = FakeProvider("a", context_window=10), FakeProvider("b", context_window=200)
    async with managing(a, b) as manager:
        assert (await manager.generate("hi", system_prompt="x" * 400))["provider"] == "b"


@pytest.mark.parametrize("strategy", ["cheapest", "intelligent", "fastest"])
async def test_no_number_of_a_callers_breaks_the_choice(strategy: str) -> None:
    """However long the answer or the deadline that is asked for."""
    a, b = FakeProvider("a"), FakeProvider("b")
    a.price, b.price = Price(2.0, 2.0), Price(1.0, 1.0)
    async with managing(a, b, strategy=strategy) as manager:
        answer = await manager.generate("hi", max_tokens=10**400, deadline=10**400)
    assert answer["content"].endswith("says: hi")


async def test_where_only_the_catalogue_says_no_it_is_asked_all_the_same() -> None:
    """The catalogue names what a model surely has; somebody who surely has it goes before."""
    chain = [FakeProvider(name, capabilities=frozenset({Capability.STREAM})) for name in "ab"]
    for provider in chain:
        provider.capabilities_complete = False
    async with ProviderManager(providers=chain) as manager:
        result = await manager.generate("hi", tools=[{"type": "function"}])
        assert result["provider"] == "a"
        able = FakeProvider("c", capabilities=frozenset({Capability.TOOLS}))
        await manager.register_provider(able)
        assert (await manager.generate("hi", tools=[{"type": "function"}]))["provider"] == "c"
