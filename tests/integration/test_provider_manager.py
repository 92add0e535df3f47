"""The manager over real HTTP: three vendors' formats, every failure, and everything at once."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from blockbuster import BlockBuster

from amas.providers import (
    LiteLLMProvider,
    NoProviderAvailableError,
    ProviderConfig,
    ProviderConfigError,
    ProviderError,
    ProviderManager,
)
from amas.providers.errors import (
    AllProvidersFailedError,
    ContentPolicyError,
    ContextWindowExceededError,
    InvalidRequestError,
    ProviderUnavailableError,
    StreamInterruptedError,
)
from amas.providers.testing import FakeProvider
from amas.providers.testing.upstream import Fault, RecordedRequest, Upstream

ROOT = Path(__file__).parents[2]
VENDORS = {"openai": "/v1", "anthropic": "", "local": ""}
FOREVER: Mapping[str, Any] = {"times": None}

# What LiteLLM does inside makes pydantic warn on the first use of some vendors' modules.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*`ReadOnly` qualifier.*:UserWarning"),
    pytest.mark.usefixtures("uncovered"),
]


@dataclass
class House:
    """Three upstreams, and the configuration of a manager for them."""

    openai: Upstream
    anthropic: Upstream
    local: Upstream
    key: str

    @property
    def upstreams(self) -> list[Upstream]:
        """All three, in fallback order."""
        return [self.openai, self.anthropic, self.local]

    def config(self, *, retries: int = 0, hasty: str = "", **manager: Any) -> dict[str, Any]:
        """Return a whole document: who is hasty times out soon, the rest is ``manager:``'s."""
        rows: dict[str, dict[str, Any]] = {
            name: {"base_url": up.url + VENDORS[name], "timeout": 0.5 if name == hasty else 10}
            for name, up in zip(VENDORS, self.upstreams, strict=True)
        }
        for name in ("openai", "anthropic"):
            rows[name]["api_key"] = f"{self.key}-{name}"
        return {
            "service": {"of": "the host"},
            "providers": {
                "manager": {"max_retries": retries, "deadline": 10} | manager,
                "security": {"plaintext_keys": "allow"},
                "llm": rows,
            },
        }

    def manager(self, **options: Any) -> ProviderManager:
        """Return a manager that is not started yet."""
        return ProviderManager.from_config(self.config(**options))

    def asked(self) -> list[int]:
        """Return how many answers each upstream was asked for."""
        return [
            sum(item.endpoint == "chat" for item in upstream.requests)
            for upstream in self.upstreams
        ]


@pytest.fixture
async def house(fake_key: str) -> AsyncIterator[House]:
    """Run the three upstreams."""
    async with Upstream("openai") as one, Upstream("anthropic") as two, Upstream("local") as three:
        yield House(one, two, three, fake_key)


def ended(request: RecordedRequest) -> bool:
    """Tell whether the upstream is done with a request, one way or the other."""
    return request.aborted or request.completed_at is not None


def left() -> set[str]:
    """Return the names of all tasks of ours; the upstreams run in this loop, too."""
    return {task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("amas-")}


async def read(manager: ProviderManager, text: list[str], **asked: Any) -> Any:
    """Read a stream, keep its text even if it breaks off, and return its last piece."""
    last = None
    async for chunk in manager.stream("hi", **asked):
        text += [chunk.content]
        last = chunk
    return last


async def test_a_plain_answer(house: House) -> None:
    """The first provider answers, with everything that is known about it."""
    async with house.manager() as manager:
        result = await manager.generate("hello there", system_prompt="be nice", temperature=0.5)
    assert result["content"] == "openai says: hello there"
    assert result["provider"] == "openai"
    assert result["usage"] is not None
    assert result["tokens_used"] == result["usage"]["total_tokens"] > 0
    assert result["finish_reason"] == "stop"
    assert result["cost_usd"] is not None
    assert [(item["provider"], item["outcome"]) for item in result["attempts"]] == [
        ("openai", "ok")
    ]
    (request,) = [item for item in house.openai.requests if item.endpoint == "chat"]
    assert request.credential == f"{house.key}-openai"
    assert [item["role"] for item in request.json["messages"]] == ["system", "user"]
    assert house.asked() == [1, 0, 0]
    assert left() == set()


async def test_a_yaml_file_is_all_it_takes(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Key from the environment, a provider without its key disabled, the host's sections ignored."""
    monkeypatch.setenv("TEST_HOUSE_KEY", house.key)
    path = tmp_path / "amas_config.yaml"
    path.write_text(
        f"""
service: {{of: the host}}
providers:
  manager: {{strategy: round_robin}}
  llm:
    openai: {{api_key: "${{TEST_HOUSE_KEY}}", base_url: {house.openai.url}/v1}}
    anthropic: {{api_key: "${{TEST_NO_SUCH_KEY}}"}}
    local: {{base_url: {house.local.url}}}
""",
        encoding="utf-8",
    )
    async with ProviderManager.from_config(path) as manager:
        answered = [(await manager.generate("hi"))["provider"] for _ in range(4)]
        status = manager.status()
    assert answered == ["openai", "local", "openai", "local"]
    assert status["anthropic"]["state"] == "disabled"
    assert "TEST_NO_SUCH_KEY" in str(status["anthropic"]["reason"])
    assert any("TEST_NO_SUCH_KEY" in warning for warning in manager.warnings)
    assert house.openai.requests[-1].credential == house.key


FAILING = {
    "503": (Fault(status=503, **FOREVER), "unavailable", 2),
    "500": (Fault(status=500, **FOREVER), "unavailable", 2),
    "429 for long": (Fault.rate_limited(retry_after=30, **FOREVER), "rate_limited", 1),
    "429 without a wish": (Fault.rate_limited(**FOREVER), "rate_limited", 1),
    "no quota": (Fault.quota_exceeded(**FOREVER), "quota", 1),
    "401": (Fault.unauthorized(**FOREVER), "auth", 1),
    "unknown model": (Fault.model_not_found(**FOREVER), "model_not_found", 1),
    "reset": (Fault(reset=True, **FOREVER), "connection", 2),
    "hangs": (Fault(hang=True, **FOREVER), "timeout", 1),
    "malformed": (Fault(malformed=True, **FOREVER), "unavailable", 2),
}


@pytest.mark.parametrize("name", list(FAILING))
async def test_a_failing_primary_is_replaced(house: House, name: str) -> None:
    """The next one answers; what the first one did is on record."""
    fault, outcome, times = FAILING[name]
    house.openai.fault(fault)
    async with house.manager(retries=1, hasty="openai" if name == "hangs" else "") as manager:
        result = await manager.generate("hi")
        in_flight = [item["in_flight"] for item in manager.status().values()]
    assert result["content"] == "anthropic says: hi"
    assert [item["outcome"] for item in result["attempts"]] == [outcome] * times + ["ok"]
    assert house.asked() == [times, 1, 0]
    assert in_flight == [0, 0, 0]


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault(status=400), InvalidRequestError),
        (Fault(status=422), InvalidRequestError),
        (Fault.content_policy(), ContentPolicyError),
        (Fault.context_window(), ContextWindowExceededError),
    ],
    ids=["400", "422", "policy", "window"],
)
async def test_the_callers_mistake_is_the_callers(
    house: House, fault: Fault, error: type[ProviderError]
) -> None:
    """Exactly one request is made, and nobody shops around."""
    house.openai.fault(fault)
    async with house.manager(retries=3, fallback_order=["openai"]) as manager:
        for name in ("anthropic", "local"):
            manager.providers[name].context_window = 1
        with pytest.raises(error) as raised:
            await manager.generate("hi")
    assert raised.value.provider == "openai"
    assert raised.value.request_id
    assert house.asked() == [1, 0, 0]


async def test_a_prompt_that_is_too_long_goes_to_a_larger_window(house: House) -> None:
    """Only the provider whose window is larger is asked."""
    house.openai.fault(Fault.context_window())
    async with house.manager() as manager:
        for name, window in (("openai", 100), ("anthropic", 100), ("local", 1000)):
            manager.providers[name].context_window = window
        assert (await manager.generate("hi"))["provider"] == "local"
    assert house.asked() == [1, 0, 1]


async def test_a_short_retry_after_is_waited_for(house: House) -> None:
    """The same provider answers after the time it asked for."""
    house.openai.fault(Fault.rate_limited(retry_after=0.1))
    async with house.manager(retries=1) as manager:
        result = await manager.generate("hi")
    assert [item["outcome"] for item in result["attempts"]] == ["rate_limited", "ok"]
    assert house.asked() == [2, 0, 0]


async def test_a_server_that_dies_is_replaced_and_comes_back(house: House) -> None:
    """Refused connections lead to the next one; the first one is asked again when it is up."""
    breaker = {"failure_threshold": 2, "cooldown": 0.1}
    async with house.manager(retries=1, circuit_breaker=breaker) as manager:
        await house.openai.stop()
        result = await manager.generate("hi")
        assert [item["outcome"] for item in result["attempts"]] == ["connection"] * 2 + ["ok"]
        assert manager.status()["openai"]["state"] == "circuit_open"
        assert len((await manager.generate("hi"))["attempts"]) == 1
        await house.openai.start()
        await asyncio.sleep(0.15)
        assert (await manager.generate("hi"))["provider"] == "openai"
        assert manager.status()["openai"]["circuit"] == "closed"


async def test_when_all_are_down_every_attempt_is_told(house: House) -> None:
    """Then, with every circuit open, the error says when to retry; no key is in either."""
    for upstream in house.upstreams:
        upstream.fault(Fault(status=503, **FOREVER))
    breaker = {"failure_threshold": 2, "cooldown": 20}
    async with house.manager(retries=1, circuit_breaker=breaker) as manager:
        with pytest.raises(AllProvidersFailedError) as raised:
            await manager.generate("hi")
        assert [item.provider for item in raised.value.errors] == [
            name for name in VENDORS for _ in range(2)
        ]
        assert [item["status_code"] for item in raised.value.attempts] == [503] * 6
        assert raised.value.retry_after is not None
        with pytest.raises(NoProviderAvailableError) as waiting:
            await manager.generate("hi")
        assert await manager.get_available_provider() is None
    assert waiting.value.retry_after is not None
    assert 15 < waiting.value.retry_after <= 24
    assert all(f"{name} is circuit open" in str(waiting.value) for name in VENDORS)
    assert house.key not in f"{raised.value}{raised.value.attempts}{waiting.value}"
    assert house.asked() == [2, 2, 2]


async def test_a_stream_and_its_end(house: House) -> None:
    """The last piece has finish reason, usage, price, id and records."""
    async with house.manager() as manager:
        text: list[str] = []
        last = await read(manager, text)
    assert "".join(text) == "openai says: hi"
    assert len(text) > 2
    assert (last.finish_reason, last.provider) == ("stop", "openai")
    assert last.usage["total_tokens"] > 0
    assert last.cost_usd is not None
    assert last.request_id
    assert [item["outcome"] for item in last.attempts] == ["ok"]


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=503, **FOREVER),
        Fault(hang=True, **FOREVER),
        Fault(cut_after=0, **FOREVER),
        Fault(truncate_after=0, **FOREVER),
        Fault(stream_error_after=0, **FOREVER),
    ],
    ids=["503", "hangs", "cut", "truncated", "error event"],
)
async def test_a_stream_that_fails_before_its_first_content_is_taken_over(
    house: House, fault: Fault
) -> None:
    """The consumer sees only the stream of the next provider."""
    house.openai.fault(fault)
    async with house.manager(hasty="openai" if fault.hang else "") as manager:
        text: list[str] = []
        last = await read(manager, text)
    assert "".join(text) == "anthropic says: hi"
    assert [item["provider"] for item in last.attempts] == ["openai", "anthropic"]


@pytest.mark.parametrize("name", list(VENDORS))
@pytest.mark.parametrize(
    "fault",
    [
        Fault(cut_after=3),
        Fault(truncate_after=3),
        Fault(stream_error_after=3),
        Fault(stall_after=3),
    ],
    ids=["cut", "truncated", "error event", "stalls"],
)
async def test_a_stream_that_fails_later_is_told_with_its_text(
    house: House, name: str, fault: Fault
) -> None:
    """Nobody begins it anew; the slot is free again."""
    upstream = getattr(house, name)
    upstream.reply = "one two three four five"
    upstream.fault(fault)
    async with house.manager(hasty=name if fault.stall_after else "") as manager:
        text: list[str] = []
        with pytest.raises(StreamInterruptedError) as raised:
            await read(manager, text, provider=name)
        assert raised.value.partial_text == "".join(text) == "one two three "
        assert raised.value.provider == name
        assert manager.status()[name]["in_flight"] == 0
        assert manager.status()[name]["failures"] == 1
    assert sum(house.asked()) == 1


@pytest.mark.parametrize("name", list(VENDORS))
async def test_a_consumer_who_leaves_ends_the_work_upstream(house: House, name: str) -> None:
    """The connection is closed at once, not when the stream would have ended."""
    upstream = getattr(house, name)
    upstream.reply = "word " * 200
    upstream.chunk_delay = 0.02
    async with house.manager() as manager:
        async with aclosing(manager.stream("hi", provider=name)) as stream:  # type: ignore[type-var]
            async for _ in stream:
                break
        await upstream.wait_for(lambda item: item.aborted, within=0.2)
        assert manager.status()[name]["in_flight"] == 0
        assert manager.status()[name]["circuit"] == "closed"


@pytest.mark.parametrize("name", list(VENDORS))
async def test_a_cancelled_call_is_seen_upstream(house: House, name: str) -> None:
    """Within a fifth of a second the request is aborted there; nobody else is asked."""
    upstream = getattr(house, name)
    upstream.fault(Fault(hang=True))
    async with house.manager() as manager:
        call = asyncio.create_task(manager.generate("hi", provider=name))
        await upstream.wait_for(lambda item: item.endpoint == "chat")
        call.cancel()
        await upstream.wait_for(lambda item: item.aborted, within=0.2)
        with pytest.raises(asyncio.CancelledError):
            await call
        assert manager.status()[name]["in_flight"] == 0
    assert sum(house.asked()) == 1


async def test_a_deadline_is_kept_over_all_attempts(house: House) -> None:
    """Hanging servers do not take longer together than the call may."""
    for upstream in house.upstreams:
        upstream.fault(Fault(hang=True, **FOREVER))
    async with house.manager() as manager:
        began = asyncio.get_running_loop().time()
        with pytest.raises(AllProvidersFailedError, match="the deadline passed after 3 attempts"):
            await manager.generate("hi", deadline=0.4)
        assert 0.39 < asyncio.get_running_loop().time() - began < 2


async def test_status_and_health(house: House) -> None:
    """Plain values for each provider; a check asks each one's listing, which costs nothing."""
    async with house.manager() as manager:
        await manager.generate("hi")
        house.local.fault(Fault(on="models", status=503))
        assert await manager.check_health() == {"openai": True, "anthropic": True, "local": False}
        status = manager.status()
        assert json.loads(json.dumps(status)) == status
        assert [item["state"] for item in status.values()] == [
            "available",
            "available",
            "unhealthy",
        ]
        assert status["openai"]["successes"] == 1
        assert status["openai"]["latency_ms"] is not None
        assert status["openai"]["check_ms"] is not None
        assert "503" in str(status["local"]["reason"])
        assert manager.active_providers == ["openai", "anthropic"]
        assert await manager.check_health() == dict.fromkeys(VENDORS, True)
    assert house.asked() == [1, 0, 0]
    assert house.key not in str(status)


async def test_asking_for_a_provider_or_a_model(house: House) -> None:
    """The one asked for answers; if it is down, the others do with their own models."""
    async with house.manager() as manager:
        assert (await manager.generate("hi", provider="local"))["provider"] == "local"
        result = await manager.generate("hi", model="anthropic/claude-x")
        assert (result["provider"], house.anthropic.requests[-1].model) == ("anthropic", "claude-x")
        house.anthropic.fault(Fault(status=503))
        result = await manager.generate("hi", model="anthropic/claude-x")
        assert result["provider"] == "openai"
        assert house.openai.requests[-1].model == manager.providers["openai"].model
        own = manager.providers["local"].model
        assert (await manager.generate("hi", model=own))["provider"] == "local"
        with pytest.raises(InvalidRequestError, match="did you mean 'openai'"):
            await manager.generate("hi", provider="opnai")


async def test_a_misconfigured_provider_is_told_and_not_replaced(house: House) -> None:
    """Without its key it is never asked, and who asks for it hears why."""
    config = house.config()
    del config["providers"]["llm"]["openai"]["api_key"]
    async with ProviderManager.from_config(config) as manager:
        assert (await manager.generate("hi"))["provider"] == "anthropic"
        with pytest.raises(NoProviderAvailableError, match="OPENAI_API_KEY"):
            await manager.generate("hi", provider="openai")
        assert set(await manager.check_health()) == {"anthropic", "local"}
    assert house.openai.requests == []


async def test_registering_providers(house: House) -> None:
    """Any provider, under a name that is free; who cannot start yet is tried again later."""
    async with house.manager() as manager:
        assert await manager.register_provider(FakeProvider("fake"))
        assert manager.fallback_chain == [*VENDORS, "fake"]
        assert manager.active_providers == [*VENDORS, "fake"]
        assert (await manager.generate("hi", provider="fake"))["content"] == "fake says: hi"
        late = FakeProvider("late", ready=False)
        assert await manager.register_provider(late) is False
        late.ready = True
        assert (await manager.check_health())["late"]
        with pytest.raises(ProviderConfigError, match="registered already") as raised:
            await manager.register_provider(FakeProvider("openai"))
        assert raised.value.field == "name"
        for wrong in ("openai", None, FakeProvider, object()):
            with pytest.raises(ProviderConfigError, match="a provider is a ProviderBase"):
                await manager.register_provider(wrong)  # type: ignore[arg-type]
        assert len(manager.providers) == 5


async def test_registering_starts_the_provider_also_before_anything_else(house: House) -> None:
    """A manager can be put together by hand."""
    manager = ProviderManager()
    config = ProviderConfig("mine", api_key="none", model="openai/x", base_url=house.openai.url)
    assert await manager.register_provider(LiteLLMProvider(config))
    assert await manager.get_available_provider() is manager.providers["mine"]
    assert (await manager.generate("hi"))["content"] == "openai says: hi"
    await manager.shutdown()
    assert left() == set()


async def test_the_fallback_chain_can_be_changed_at_run_time(house: House) -> None:
    """The next call goes by the new order; who is not named comes last, who is unknown nowhere."""
    async with house.manager() as manager:
        manager.fallback_chain[:] = ["local", "nobody", "local"]
        assert (await manager.generate("hi"))["provider"] == "local"
        assert manager.active_providers == ["local", "openai", "anthropic"]
        provider = await manager.get_available_provider()
        assert provider is manager.providers["local"]
        house.local.fault(Fault(status=503, **FOREVER))
        assert (await manager.generate("hi"))["provider"] == "openai"
        manager.fallback_chain = ["anthropic"]
        assert (await manager.generate("hi"))["provider"] == "anthropic"


async def test_without_failover_the_error_is_the_providers_own(house: House) -> None:
    """Over real HTTP, too, exactly one is asked."""
    house.openai.fault(Fault(status=503, **FOREVER))
    async with house.manager(failover_enabled=False) as manager:
        with pytest.raises(ProviderUnavailableError) as raised:
            await manager.generate("hi")
    assert raised.value.status_code == 503
    assert house.asked() == [1, 0, 0]


async def test_a_shutdown_cuts_what_hangs(house: House) -> None:
    """After the grace period the connections are closed, the calls end, and nothing is left."""
    for upstream in house.upstreams:
        upstream.fault(Fault(hang=True, **FOREVER))
    manager = house.manager()
    await manager.initialize_all_providers()
    calls = [
        asyncio.create_task(manager.generate("hi", provider=name)) for name in VENDORS for _ in "12"
    ]
    for upstream in house.upstreams:
        await upstream.wait_for(lambda item: item.endpoint == "chat")
    async with asyncio.timeout(2):
        await manager.shutdown(grace=0.05)
    assert all(call.done() for call in calls)
    for ending in await asyncio.gather(*calls, return_exceptions=True):
        assert isinstance(ending, ProviderError)
    for name, upstream in zip(VENDORS, house.upstreams, strict=True):
        await upstream.wait_for(lambda item: item.aborted)
        provider = manager.providers[name]
        assert isinstance(provider, LiteLLMProvider)
        assert provider._connections.http is None
        assert manager.status()[name]["in_flight"] == 0
    assert left() == set()


async def test_everything_at_once_without_blocking_the_loop(
    house: House, no_blocking: BlockBuster
) -> None:
    """Answers, streams, failures and health checks side by side; every call gets its own answer."""
    house.openai.fault(Fault(status=503, times=10))
    house.anthropic.fault(Fault(status=500, times=5))

    async def answer(manager: ProviderManager, number: int) -> bool:
        result = await manager.generate(f"question {number}", provider=list(VENDORS)[number % 3])
        return result["content"] == f"{result['provider']} says: question {number}"

    async def stream(manager: ProviderManager, number: int) -> bool:
        text = ""
        who = set()
        async for chunk in manager.stream(f"question {number}"):
            text += chunk.content
            who.add(chunk.provider)
        return text == f"{who.pop()} says: question {number}" and not who

    breaker = {"failure_threshold": 1000}
    async with await asyncio.to_thread(
        house.manager, retries=1, circuit_breaker=breaker
    ) as manager:
        answers = await asyncio.gather(
            *(answer(manager, number) for number in range(60)),
            *(stream(manager, number) for number in range(60)),
            *(manager.check_health() for _ in range(5)),
        )
        assert all(answers)
        status = manager.status().values()
        assert sum(item["successes"] for item in status) == 120
        assert sum(item["failures"] for item in status) == 15
        assert [item["in_flight"] for item in status] == [0, 0, 0]
    assert left() == set()


async def test_a_thousand_calls_cancelled_at_random_leave_nothing(house: House) -> None:
    """No task, no slot, no place in a queue, no probe and no connection, whenever it happens."""
    rng = random.Random(20240614)
    for upstream in house.upstreams:
        upstream.reply = "word " * 20
        upstream.chunk_delay = 0.01
    house.openai.fault(Fault(hang=True, times=20))
    house.openai.fault(Fault(status=503, times=20))
    house.anthropic.fault(Fault(delay=0.05, **FOREVER))
    house.local.fault(Fault(stall_after=3, times=20))
    breaker = {"failure_threshold": 5, "cooldown": 0.02, "max_cooldown": 0.02}
    document = house.config(retries=2, circuit_breaker=breaker, hedge={"after": 0.05})
    for row in document["providers"]["llm"].values():
        row |= {"max_concurrency": 40, "max_queue": 100}
    manager = ProviderManager.from_config(document)
    await manager.initialize_all_providers()

    async def one(number: int) -> None:
        name = list(VENDORS)[number % 3]
        if number % 2:
            await read(manager, [], provider=name)
        else:
            await manager.generate("hi", provider=name)

    async def cancel(call: asyncio.Task[None]) -> None:
        await asyncio.sleep(rng.uniform(0, 0.5))
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)

    async def begin_and_cancel(number: int) -> None:
        await asyncio.sleep(rng.uniform(0, 0.5))
        await cancel(asyncio.create_task(one(number)))

    hanging = [asyncio.create_task(one(3 * number)) for number in range(20)]
    await house.openai.wait_for(lambda _: house.asked()[0] == 20)
    await asyncio.gather(*map(cancel, hanging), *map(begin_and_cancel, range(980)))
    assert [item["in_flight"] + item["waiting"] for item in manager.status().values()] == [0] * 3
    for upstream in house.upstreams:
        await upstream.wait_for(lambda _, up=upstream: all(map(ended, up.requests)))  # type: ignore[misc]
    assert sum(item.aborted for item in house.openai.requests) >= 20
    for upstream in house.upstreams:
        upstream._faults.clear()
    await asyncio.sleep(0.05)
    transports: list[Any] = []
    for name in VENDORS:
        # A probe slot that had leaked would refuse this until its lease is over.
        assert (await manager.generate("hi", provider=name))["provider"] == name
        assert manager.status()[name]["circuit"] == "closed"
        http: Any = vars(manager.providers[name])["_connections"].http
        transports.append(http._transport._inner)
    await manager.shutdown()
    sockets = [socket for transport in transports for socket in transport._sockets]
    assert [socket for socket in sockets if socket.fileno() >= 0] == []
    assert left() == set()


def test_several_event_loops_one_after_the_other(fake_key: str) -> None:
    """Each has a manager of its own; nothing of the first one disturbs the second."""

    async def once() -> str:
        async with Upstream("alpha") as up:
            row = {"model": "openai/x", "base_url": up.url, "api_key": fake_key}
            document = {
                "providers": {"security": {"plaintext_keys": "allow"}, "llm": {"mine": row}}
            }
            async with ProviderManager.from_config(document) as manager:
                await asyncio.gather(*(manager.generate("hi") for _ in range(5)))
                return (await manager.generate("hi"))["content"]

    assert [asyncio.run(once()) for _ in range(3)] == ["alpha says: hi"] * 3


def test_it_is_usable_as_src_amas_providers() -> None:
    """From the root of a host's tree, without anything installed under that name."""
    program = """
import asyncio
import src.amas.providers as p
from src.amas.providers.testing import FakeProvider

async def main():
    async with p.ProviderManager() as manager:
        assert await manager.register_provider(FakeProvider("a"))
        return (await manager.generate("hi"))["content"]

print(p.ProviderManager.__module__, asyncio.run(main()))
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
        cwd=ROOT,
    )
    assert done.stdout == "src.amas.providers.manager.provider_manager a says: hi\n"
