"""Several keys over real HTTP, and what else a provider's row says: probes, prices, capabilities."""

from __future__ import annotations

import asyncio
import json
import traceback
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from amas.providers import LiteLLMProvider, ProviderManager
from amas.providers.errors import (
    AllProvidersFailedError,
    AuthenticationError,
    InvalidRequestError,
    NoProviderAvailableError,
    ProviderError,
)
from amas.providers.testing.upstream import Fault, RecordedRequest, Upstream

# What LiteLLM does inside makes pydantic warn on the first use of some vendors' modules.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("uncovered"),
    pytest.mark.filterwarnings("ignore:.*`ReadOnly` qualifier.*:UserWarning"),
    pytest.mark.usefixtures("uncovered"),  # LiteLLM under measurement takes twice as long
]

# Nothing in them looks like a key: only by knowing them can they be kept out of texts.
KEYS = [f"correct-horse-{word}-staple" for word in ("battery", "saddle", "fodder")]
OTHER_KEY = "somebody-elses-key"
A_TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


@dataclass
class House:
    """Two upstreams: one with several keys, and one that stands in."""

    one: Upstream
    two: Upstream

    def document(
        self, row: dict[str, Any] | None = None, *, keys: int = 2, alone: bool = False, **more: Any
    ) -> dict[str, Any]:
        """Return a configuration; ``row`` is the first provider's, ``more`` the manager's."""
        several = {"api_keys": KEYS[:keys]} if keys > 1 else {"api_key": KEYS[0]}
        rows = {
            "one": {"provider": "openai", "base_url": f"{self.one.url}/v1", "model": "m1"}
            | {"health_probe": "off"}
            | several
            | (row or {}),
            "two": {"provider": "openai", "base_url": f"{self.two.url}/v1", "model": "m2"}
            | {"health_probe": "off", "api_key": OTHER_KEY},
        }
        if alone:
            del rows["two"]
        return {
            "providers": {
                "manager": {"max_retries": 0, "deadline": 10, "health_check_interval": 600} | more,
                "security": {"plaintext_keys": "allow"},
                "llm": rows,
            }
        }

    def manager(self, *args: Any, **options: Any) -> ProviderManager:
        """Return a manager that is not started yet."""
        return ProviderManager.from_config(self.document(*args, **options))

    def used(self, endpoint: str = "chat") -> list[int]:
        """Return how many requests each key of the first provider has made."""
        count = Counter(item.credential for item in self.one.requests if item.endpoint == endpoint)
        assert set(count) <= {*KEYS}
        return [count[key] for key in KEYS]

    def stood_in(self) -> int:
        """Return how many requests the other provider got."""
        return sum(item.endpoint == "chat" for item in self.two.requests)


@pytest.fixture
async def house() -> AsyncIterator[House]:
    """Run the two upstreams."""
    async with Upstream("one") as one, Upstream("two") as two:
        yield House(one, two)


def of_key(number: int) -> Callable[[RecordedRequest], bool]:
    """Return what tells the requests of one key, counted from 1."""
    return lambda request: request.credential == KEYS[number - 1]


def told(result: Any) -> list[tuple[str, str, int | None]]:
    """Return of each attempt who was asked, how it ended, and with which key."""
    return [(item["provider"], item["outcome"], item.get("key")) for item in result["attempts"]]


def states(manager: ProviderManager) -> list[str]:
    """Return how the keys of the first provider are doing."""
    return [item["state"] for item in manager.status()["one"]["keys"]]


async def ask(manager: ProviderManager, *, streamed: bool = False, **params: Any) -> Any:
    """Get an answer, or the last piece of a stream, in the shape of a result."""
    if not streamed:
        return await manager.generate("hi", **params)
    last = [chunk async for chunk in manager.stream("hi", **params)][-1]
    return {
        "provider": last.provider,
        "attempts": last.attempts,
        "usage": last.usage,
        "cost_usd": last.cost_usd,
    }


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_rate_limited_key_is_followed_by_the_other_in_the_same_call(
    house: House, streamed: bool
) -> None:
    """At once, with one request for each; then the limited one rests as long as it was told."""
    house.one.fault(Fault.rate_limited(retry_after=30, match=of_key(1), times=None))
    async with house.manager() as manager:
        result = await ask(manager, streamed=streamed)
        assert told(result) == [("one", "rate_limited", 1), ("one", "ok", 2)]
        assert house.used() == [1, 1, 0]
        assert states(manager) == ["cooling_down", "available"]
        assert 29 < (manager.status()["one"]["keys"][0]["retry_after"] or 0) <= 30
        for _ in range(3):
            assert told(await ask(manager, streamed=streamed)) == [("one", "ok", 2)]
    assert house.used() == [1, 4, 0]
    assert house.stood_in() == 0


async def test_when_every_key_is_limited_the_next_provider_answers(house: House) -> None:
    """After one request per key; then nobody is asked in vain, and the error says until when."""
    for number, seconds in ((1, 30), (2, 20), (3, 40)):
        house.one.fault(Fault.rate_limited(retry_after=seconds, match=of_key(number), times=None))
    async with house.manager(keys=3) as manager:
        result = await ask(manager)
        assert told(result) == [
            ("one", "rate_limited", 1),
            ("one", "rate_limited", 2),
            ("one", "rate_limited", 3),
            ("two", "ok", None),
        ]
        assert told(await ask(manager)) == [("two", "ok", None)]
        assert house.used() == [1, 1, 1]
        manager.trip("two", 60)
        with pytest.raises(NoProviderAvailableError, match="one is cooling down") as raised:
            await ask(manager)
        assert 19 < (raised.value.retry_after or 0) <= 20
        assert manager.status()["one"]["circuit"] == "closed"


@pytest.mark.parametrize(
    ("fault", "outcome"), [(Fault.unauthorized, "auth"), (Fault.quota_exceeded, "quota")]
)
async def test_a_refused_key_is_set_aside_and_the_others_serve(
    house: House, fault: Callable[..., Fault], outcome: str
) -> None:
    """It is asked once and no more, the others share the calls evenly."""
    house.one.fault(fault(match=of_key(2), times=None))
    async with house.manager(keys=3) as manager:
        results = [await ask(manager) for _ in range(9)]
        assert [item["provider"] for item in results] == ["one"] * 9
        outcomes = Counter(item[1:] for result in results for item in told(result))
        assert outcomes[outcome, 2] == 1
        assert sorted(outcomes.values()) == [1, 4, 5]
        assert states(manager) == ["available", "set_aside", "available"]
        status = manager.status()["one"]
        assert (status["state"], status["circuit"], status["healthy"]) == (
            "available",
            "closed",
            True,
        )
    assert sorted(house.used()) == [1, 4, 5]
    assert house.used()[1] == 1


async def test_when_every_key_is_refused_the_next_provider_answers(house: House) -> None:
    """Each is tried once in the same call, and none in the next one."""
    house.one.fault(Fault.unauthorized(times=None))
    async with house.manager() as manager:
        result = await ask(manager)
        assert told(result) == [("one", "auth", 1), ("one", "auth", 2), ("two", "ok", None)]
        assert told(await ask(manager)) == [("two", "ok", None)]
        status = manager.status()["one"]
        assert (status["state"], status["healthy"]) == ("key_refused", False)
        assert states(manager) == ["set_aside", "set_aside"]
        assert 590 < (status["retry_after"] or 0) <= 600
    assert house.used() == [1, 1, 0]


async def test_a_refused_key_comes_back_after_its_cooldown(house: House) -> None:
    """One request finds out: still refused, it rests again; accepted, it serves as before."""
    house.one.fault(Fault.unauthorized(match=of_key(1), times=2))
    breaker = {"cooldown": 0.1, "max_cooldown": 0.1}
    async with house.manager(circuit_breaker=breaker) as manager:
        for expected in ("auth", "auth", "ok"):
            result = await ask(manager)
            assert told(result)[0] == ("one", expected, 1)
            assert result["provider"] == "one"
            if expected == "auth":
                assert told(await ask(manager)) == [("one", "ok", 2)]
                await asyncio.sleep(0.11)
                # A key that rested is well again once it was looked at.
                assert await manager.check_health() == {"one": True, "two": True}
        assert states(manager) == ["available", "available"]
        used = house.used()
        for _ in range(4):
            await ask(manager)
        assert [after - before for before, after in zip(used, house.used(), strict=True)] == [
            2,
            2,
            0,
        ]


async def test_the_only_keys_come_back_without_being_looked_at(house: House) -> None:
    """Where every key was refused, each one is tried again after its cooldown."""
    house.one.fault(Fault.unauthorized(times=2))
    breaker = {"cooldown": 0.3, "max_cooldown": 0.3}
    async with house.manager(alone=True, circuit_breaker=breaker) as manager:
        with pytest.raises(AllProvidersFailedError) as raised:
            await ask(manager)
        assert [type(error) for error in raised.value.errors] == [AuthenticationError] * 2
        with pytest.raises(NoProviderAvailableError, match="one is key refused") as nobody:
            await ask(manager)
        assert 0 < (nobody.value.retry_after or 0) <= 0.3
        await asyncio.sleep(0.31)
        assert told(await ask(manager)) == [("one", "ok", 1)]
    assert house.used() == [2, 1, 0]


async def test_trouble_of_the_server_is_not_blamed_on_a_key(house: House) -> None:
    """The other key is not tried for it, and counts as well as before."""
    house.one.fault(status=503)
    async with house.manager() as manager:
        assert told(await ask(manager)) == [("one", "unavailable", 1), ("two", "ok", None)]
        assert states(manager) == ["available", "available"]
    assert house.used() == [1, 0, 0]


@pytest.mark.parametrize("vendor", ["openai", "anthropic"])
async def test_each_key_is_shown_as_its_vendor_wants_it(house: House, vendor: str) -> None:
    """In its own header and nowhere else, in turns, also in the free health check."""
    header = {"openai": "Authorization", "anthropic": "x-api-key"}[vendor]
    row = {"provider": vendor, "base_url": house.one.url, "health_probe": "free"}
    async with house.manager(row, keys=3) as manager:
        for _ in range(6):
            await ask(manager)
    assert house.used("models") == [1, 1, 1]
    assert house.used() == [2, 2, 2]
    for request in house.one.requests:
        shown = {name: value for name, value in request.headers.items() if _has_key(value)}
        assert [name.lower() for name in shown] == [header.lower()]
        (value,) = shown.values()
        assert value.removeprefix("Bearer ") in KEYS
        assert not _has_key(request.path + request.body.decode() + json.dumps(dict(request.query)))


def _has_key(text: str) -> bool:
    return any(key in text for key in (*KEYS, OTHER_KEY))


@pytest.mark.parametrize("streamed", [False, True])
async def test_no_key_is_in_anything_that_is_told(
    house: House, streamed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Although the upstream repeats each key in its refusal: not in errors, status or logs."""
    house.one.fault(echo_key=True, times=2)
    house.two.fault(echo_key=True)
    texts: list[str] = []
    # What the OpenAI client logs of an answer's headers, for debugging, is not ours to change.
    with caplog.at_level("INFO"), caplog.at_level("DEBUG", logger="amas"):
        async with house.manager() as manager:
            with pytest.raises(AllProvidersFailedError) as raised:
                await ask(manager, streamed=streamed)
            for error in (raised.value, *raised.value.errors):
                assert isinstance(error, ProviderError)
                texts += [str(error), repr(error), str(vars(error))]
                texts += traceback.format_exception(error)
                texts += [str(error.__cause__), str(error.__context__)]
            assert len(raised.value.errors) == 3
            texts += [str(raised.value.attempts), json.dumps(manager.status())]
            texts += [
                repr(item.config) + str(vars(item.config)) for item in manager.providers.values()
            ]
            with pytest.raises(NoProviderAvailableError) as nobody:
                await ask(manager, streamed=streamed)
            texts += [str(nobody.value), str(vars(nobody.value))]
    assert house.used() == [1, 1, 0]
    texts += [record.getMessage() + str(vars(record)) for record in caplog.records]
    assert any("attempt_failed" in text for text in texts)
    assert [text for text in texts if _has_key(text)] == []


@pytest.mark.parametrize(
    ("probe", "started", "models", "chats"),
    [("off", 0, 0, 0), ("free", 2, 2, 0), ("paid", 2, 0, 2)],
)
async def test_a_health_check_costs_what_was_allowed(
    house: House, probe: str, started: int, models: int, chats: int
) -> None:
    """Nothing at all, a listing, or one token, with each key; to start with, never a token."""
    async with house.manager({"health_probe": probe}, alone=True) as manager:
        assert (sum(house.used("models")), house.used()) == (started, [0, 0, 0])
        assert await manager.check_health() == {"one": True}
        assert sum(house.used("models")) - started == models
        assert house.used() == [chats // 2, chats // 2, 0]
        for request in house.one.requests:
            if request.endpoint == "chat":
                assert request.json["max_tokens"] == 1
        house.one.fault(status=500, on="any", times=None)
        assert await manager.check_health() == {"one": probe == "off"}
        assert manager.status()["one"]["healthy"] == (probe == "off")


async def test_a_provider_in_use_is_not_probed(house: House) -> None:
    """Traffic tells as much, for nothing."""
    async with house.manager({"health_probe": "paid"}, keys=1, alone=True) as manager:
        await ask(manager)
        await manager._monitor.check()
        assert house.used() == [1, 0, 0]


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_price_of_the_configuration_is_what_an_answer_costs(
    house: House, streamed: bool
) -> None:
    """Dollars per million tokens, of prompt and answer; free of charge is 0, unknown is None."""
    house.one.reply = "three little words"
    for price, cost in (
        ({"input": 2, "output": 8}, (2 * 1 + 8 * 3) / 1_000_000),
        ({"input": 0, "output": 0}, 0.0),
        (None, None),
    ):
        row = {} if price is None else {"price": price}
        async with house.manager(row, keys=1, alone=True) as manager:
            result = await ask(manager, streamed=streamed)
        assert result["usage"]["prompt_tokens"] == 1
        assert result["usage"]["completion_tokens"] == 3
        assert result["cost_usd"] == (None if cost is None else pytest.approx(cost))


async def test_the_cheapest_by_configuration_is_asked_first(house: House) -> None:
    """Whoever has no known price comes last."""
    document = house.document({"price": {"input": 3, "output": 3}}, strategy="cheapest")
    document["providers"]["llm"]["two"]["price"] = {"input": 1, "output": 1}
    async with ProviderManager.from_config(document) as manager:
        assert (await ask(manager))["provider"] == "two"
    del document["providers"]["llm"]["two"]["price"]
    async with ProviderManager.from_config(document) as manager:
        assert (await ask(manager))["provider"] == "one"


@pytest.mark.parametrize(
    ("row", "asked"),
    [
        # Of the first one's model the catalogue says only that it streams: nothing is known.
        ({"provider": "digitalocean", "model": None}, [1, 0]),
        ({"provider": "digitalocean", "model": None, "capabilities": ["stream"]}, [0, 1]),
        ({"provider": "digitalocean", "model": None, "capabilities": ["tools"]}, [1, 0]),
        # The catalogue knows this one, and that it takes no tools; of another model it knows nothing.
        ({"provider": "codestral", "model": None}, [0, 1]),
        ({"provider": "codestral", "model": "other"}, [1, 0]),
        ({"provider": "codestral", "model": None, "capabilities": ["tools"]}, [1, 0]),
    ],
    ids=["only stream", "configured", "configured to", "known", "another model", "overruled"],
)
async def test_capabilities_are_the_configurations_else_the_catalogues(
    house: House, row: dict[str, Any], asked: list[int]
) -> None:
    """A call with tools goes to the first one unless it is known not to take them."""
    row = {name: value for name, value in row.items() if value is not None}
    document = house.document(row, keys=1)
    if "model" not in row:
        del document["providers"]["llm"]["one"]["model"]
    async with ProviderManager.from_config(document) as manager:
        await ask(manager, tools=[A_TOOL])
        assert [sum(house.used()), house.stood_in()] == asked
        assert (await ask(manager))["provider"] == "one"
        # Whoever is asked for is asked regardless.
        assert (await ask(manager, tools=[A_TOOL], provider="one"))["provider"] == "one"


async def test_nobody_able_is_told_before_anything_is_sent(house: House) -> None:
    """By the names of the providers, and what each of them lacks."""
    async with house.manager({"capabilities": ["stream"]}, alone=True) as manager:
        with pytest.raises(InvalidRequestError, match="one lacks tools"):
            await ask(manager, tools=[A_TOOL])
    assert house.one.requests == []


async def test_every_key_has_a_client_of_its_own_and_all_are_given_back(house: House) -> None:
    """A shutdown leaves no connection, whichever key it was made with."""
    async with house.manager(keys=3) as manager:
        for _ in range(3):
            await ask(manager)
        lanes = manager._members.by_name["one"].lanes
        providers = [lane.provider for lane in lanes]
        clients = {id(vars(provider)["_connections"].http) for provider in providers}
        assert len(clients) == 3
    assert all(
        isinstance(item, LiteLLMProvider) and item._connections.http is None for item in providers
    )
    assert [lane.in_flight for lane in lanes] == [0, 0, 0]
