"""What a reload does to calls under way, to settings, and to what was known of providers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, ClassVar

import pytest
from typing_extensions import override

from amas.config.differences import MOST_DIFFERENCES, differences
from amas.config.provider_settings import ProvidersSettings, load_settings
from amas.config.transitions import losses
from amas.providers import BaseProvider, ProviderConfig, ProviderManager
from amas.providers.errors import (
    AllProvidersFailedError,
    NoProviderAvailableError,
    ProviderConfigError,
    ProviderConnectionError,
)
from amas.providers.manager.health_monitor import begin_check
from amas.providers.observability.alerts.outages import Outages
from amas.providers.observability.events import (
    CircuitChanged,
    ConfigurationChanged,
    Event,
    HealthChanged,
)
from amas.providers.security.master_key import generate

HERE = {"adapter": f"{__name__}:Gate", "isolation": "none", "max_retries": 0}


class Gate(BaseProvider):
    """Answers once it may; keeps what is open."""

    opened: ClassVar[list[Gate]] = []
    may: ClassVar[asyncio.Event]
    asked: ClassVar[asyncio.Event]
    slow: ClassVar[asyncio.Event | None] = None
    fails: ClassVar[bool] = False
    ill: ClassVar[str | None] = None

    def __init__(self, config: ProviderConfig) -> None:
        super().__init__(config)
        self.calls = 0

    @override
    async def _set_up(self) -> None:
        Gate.opened.append(self)
        if self.slow is not None and self.config.options.get("slow"):
            await self.slow.wait()

    @override
    async def _probe(self) -> None:
        if self.name == self.ill:
            raise ProviderConnectionError("ill")

    @override
    async def _tear_down(self) -> None:
        if self in Gate.opened:
            Gate.opened.remove(self)

    @override
    async def generate(self, prompt: Any, **kwargs: Any) -> dict[str, Any]:
        self.asked.set()
        await self.may.wait()
        if not self.initialized:
            raise ProviderConnectionError("asked although it is shut down")
        if self.fails:
            raise ProviderConnectionError("down")
        return {"content": f"{self.name} {self.config.timeout:g}"}


@pytest.fixture(autouse=True)
def gates() -> None:
    """Let everybody answer, and nobody be open."""
    Gate.opened, Gate.may, Gate.asked, Gate.fails = [], asyncio.Event(), asyncio.Event(), False
    Gate.slow = None
    Gate.may.set()


class House:
    """A manager, and the configuration that it was made of."""

    def __init__(self) -> None:
        self.manager_section: dict[str, Any] = {"health_check_interval": 600}
        self.llm: dict[str, Any] = {"one": HERE | {"timeout": 1}}
        self.more: dict[str, Any] = {}
        self.document: dict[str, Any] = {}
        self.seen: list[Event] = []
        self.fill()
        self.manager = ProviderManager.from_config(self.document, observers=[self])

    def observe(self, events: Any) -> None:
        """Keep events."""
        self.seen += events

    def fill(self) -> None:
        """Bring the document up to date."""
        sections = {"manager": self.manager_section, "llm": self.llm} | self.more
        self.document["providers"] = sections

    async def reload(self) -> Any:
        """Bring the document up to date, and have it read."""
        self.fill()
        return await self.manager.reload()


@pytest.fixture
async def house() -> AsyncIterator[House]:
    """Start a manager of one provider; see that nothing is left open."""
    house = House()
    async with house.manager:
        yield house
    assert Gate.opened == []


async def until(count: int) -> None:
    """Wait until so many providers are open."""
    async with asyncio.timeout(5):
        while len(Gate.opened) != count:  # noqa: ASYNC110 -- nobody tells
            await asyncio.sleep(0)


async def test_a_call_that_waits_for_its_turn_is_not_lost(house: House) -> None:
    """Its provider is replaced while it has a plan and no request: the old one answers it."""
    house.llm["one"] |= {"max_concurrency": 1, "max_queue": 5}
    await house.reload()
    Gate.may.clear()
    calls = [asyncio.create_task(house.manager.generate("a")) for _ in range(3)]
    await Gate.asked.wait()
    house.llm["one"] |= {"timeout": 2}
    assert (await house.reload()).changed == ["one"]
    new = asyncio.create_task(house.manager.generate("a"))
    Gate.may.set()
    assert [(await call)["content"] for call in calls] == ["one 1"] * 3
    assert (await new)["content"] == "one 2"
    await until(1)


async def test_calls_go_to_the_old_provider_while_the_new_one_starts(house: House) -> None:
    """And to the new one from the moment that it is in its place."""
    Gate.slow = asyncio.Event()
    house.llm["one"] = HERE | {"timeout": 2, "options": {"slow": True}}
    reload = asyncio.create_task(house.reload())
    await until(2)
    assert (await house.manager.generate("a"))["content"] == "one 1"
    Gate.slow.set()
    await reload
    assert (await house.manager.generate("a"))["content"] == "one 2"


async def test_a_reload_that_is_given_up_leaves_all_as_it_was(house: House) -> None:
    """What it has started by then is closed again, and the next one does all of it."""
    Gate.slow = asyncio.Event()
    house.llm = {"two": HERE | {"options": {"slow": True}}}
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(house.reload(), 0.05)
    assert list(house.manager.providers) == ["one"]
    await until(1)
    Gate.slow.set()
    changes = await house.reload()
    assert (changes.added, changes.removed) == (["two"], ["one"])


async def test_a_shutdown_meanwhile_ends_a_reload() -> None:
    """Nothing is left open by a reload that is done only then."""
    house = House()
    Gate.slow = asyncio.Event()
    house.llm["two"] = HERE | {"options": {"slow": True}}
    async with house.manager:
        reload = asyncio.create_task(house.reload())
        await until(2)
        await house.manager.shutdown()
        with pytest.raises(NoProviderAvailableError, match="shut down"):
            await reload
        await until(0)


async def test_the_section_manager_holds_at_once(house: House) -> None:
    """But for where the state is kept, which the result names."""
    house.manager_section |= {"deadline": 5, "strategy": "fastest", "state_prefix": "other"}
    changes = await house.reload()
    assert changes.pending == ["manager.state_prefix"]
    assert (house.manager.settings.deadline, house.manager.settings.strategy) == (5, "fastest")
    assert house.manager.settings.state_prefix == "amas-providers"
    assert changes.changed == []


async def test_a_new_master_key_seals_records_from_the_next_start_on() -> None:
    """The result says so, as long as there is a trail that it would seal."""
    house = House()
    house.more = {"audit": {}, "security": {"master_key": generate().get_secret_value()}}
    house.fill()
    manager = ProviderManager.from_config(house.document)
    house.more["security"] = {"master_key": generate().get_secret_value()}
    house.fill()
    assert (await manager.reload()).pending == ["security.master_key"]
    await manager.shutdown()


async def test_rules_of_the_section_manager_set_providers_up_anew(house: House) -> None:
    """They hold as if the service had been started with them."""
    house.manager_section |= {"circuit_breaker": {"failure_threshold": 1}}
    assert (await house.reload()).changed == ["one"]
    Gate.fails = True
    with pytest.raises(AllProvidersFailedError):
        await house.manager.generate("a")
    assert house.manager.status()["one"]["circuit"] == "open"


async def test_a_manager_can_be_switched_off_and_on(house: House) -> None:
    """Calls are refused in between, and a reload is not."""
    house.manager_section |= {"enabled": False}
    await house.reload()
    with pytest.raises(NoProviderAvailableError, match="disabled"):
        await house.manager.generate("a")
    house.manager_section |= {"enabled": True}
    await house.reload()
    assert (await house.manager.generate("a"))["provider"] == "one"


async def test_who_is_removed_tells_nothing_any_more(house: House) -> None:
    """A call that ends late opens no circuit that nobody would ever see closed."""
    house.manager_section |= {"circuit_breaker": {"failure_threshold": 1}}
    await house.reload()
    Gate.may.clear()
    Gate.fails = True
    late = asyncio.create_task(house.manager.generate("a"))
    await Gate.asked.wait()
    house.llm = {"two": HERE}
    await house.reload()
    Gate.may.set()
    with pytest.raises(AllProvidersFailedError):
        await late
    await house.manager.flush()
    assert [event for event in house.seen if isinstance(event, CircuitChanged)] == []


async def test_who_is_removed_is_not_started_again(house: House) -> None:
    """Not by a round of health checks, either, that it was part of before."""
    member = house.manager._members.by_name["one"]
    house.llm = {"two": HERE}
    await house.reload()
    await until(1)
    assert await begin_check(member.lanes[0]) is False
    assert [item.name for item in Gate.opened] == ["two"]


def test_late_calls_to_the_removed_do_not_count_as_somebody_left() -> None:
    """An outage of all others is one; who is added again counts again."""
    outages = Outages()
    for name in ("one", "two"):
        outages.begin(name)
    outages.remove("one")
    outages.attempted("one", 1, "ok", 0.0)
    assert outages.opened("two", None)
    outages.closed("two", None)
    outages.begin("one")
    assert not outages.opened("two", None)


async def test_the_record_says_what_has_changed(house: House, fake_key: str) -> None:
    """Field by field; of keys only that."""
    house.llm["one"] |= {"timeout": 7, "params": {"temperature": 0.5}}
    house.more["security"] = {"access": {"*": {"providers": ["one"]}}}
    house.manager_section |= {"deadline": 60}
    await house.reload()
    house.llm["one"] |= {"api_key": fake_key}
    await house.reload()
    await house.manager.flush()
    told = [event for event in house.seen if isinstance(event, ConfigurationChanged)]
    assert sorted(told[0].differences) == [
        "providers.llm.one.params.temperature: nothing -> 0.5",
        "providers.llm.one.timeout: 1 -> 7",
        "providers.manager.deadline: 120 -> 60",
        "providers.security.access.*: added",
    ]
    assert told[1].differences == ("providers.llm.one.api_key: (changed)",)


def settings(**sections: Any) -> ProvidersSettings:
    """Load a configuration."""
    return load_settings({"providers": sections})


def test_differences_have_no_secret_and_no_end_that_is_lost(fake_key: str) -> None:
    """Also not in a vendor's options, in the address of a Redis or of an alert."""
    word = "correct-horse-battery"
    old = settings(llm={"one": {"options": {"headers": {"X": f"{word}-1"}}}})
    new = settings(
        manager={"state": f"redis://:{word}@h:1/0", "response_checks": ["json", "not_empty"]},
        alerts={"webhook": f"https://h.example/{word}"},
        security={"master_key": word},
        llm={"two": {}, "one": {"api_key": fake_key, "options": {"headers": {"X": f"{word}-2"}}}},
    )
    found = differences(old, new)
    assert found == (
        "providers.manager.state: (changed)",
        'providers.manager.response_checks: [] -> ["json", "not_empty"]',
        "providers.security.master_key: (changed)",
        "providers.alerts: added",
        "providers.llm.one.api_key: (changed)",
        "providers.llm.one.options.headers.X: (changed)",
        "providers.llm.two: added",
    )
    assert word not in str(found)
    assert differences(new, new) == ()


def test_differences_show_no_text_of_parameters_and_options() -> None:
    """There a text may be anything; numbers and truth values are shown."""
    params = {"temperature": 0.5, "user": "anna", "stop": ["x"], "n": 1}
    old = settings(llm={"one": {"params": params}}, models={"fast": {"chain": ["one"]}})
    params = {"temperature": 0.7, "user": "bert", "stop": ["y"]}
    alias = {"chain": ["one"], "params": {"user": "cleo"}}
    options = {"region": "mars", "tls": True, "deep": {"a": ["b"]}}
    row = {"params": params, "options": options, "model": "openai/m"}
    assert differences(old, settings(llm={"one": row}, models={"fast": alias})) == (
        "providers.llm.one.model: nothing -> openai/m",
        "providers.llm.one.params.temperature: 0.5 -> 0.7",
        "providers.llm.one.params.user: (changed)",
        "providers.llm.one.params.stop: (changed)",
        "providers.llm.one.params.n: 1 -> nothing",
        "providers.llm.one.options.region: (changed)",
        "providers.llm.one.options.tls: nothing -> true",
        "providers.llm.one.options.deep: added",
        "providers.models.fast.params.user: (changed)",
    )


def test_many_differences_are_counted() -> None:
    """A record is no file; and an order is one difference."""
    rows: dict[str, Any] = {f"p{number}": {} for number in range(MOST_DIFFERENCES + 9)}
    found = differences(settings(llm={}), settings(llm=rows))
    assert (len(found), found[-1]) == (MOST_DIFFERENCES, "and 10 more")
    few = {name: rows[name] for name in ("p1", "p2")}
    turned = {name: rows[name] for name in ("p2", "p1")}
    assert differences(settings(llm=few), settings(llm=turned)) == (
        "providers.llm: the order is now p2, p1",
    )


async def test_a_reload_that_would_leave_nobody_changes_nothing(house: House) -> None:
    """As if the file had lost its end; to switch the last one off it is enough to say so."""
    house.llm = {"two": HERE | {"enabled": False}}
    with pytest.raises(ProviderConfigError, match=r"nothing has changed.*shut the manager down"):
        await house.reload()
    assert (await house.manager.generate("a"))["provider"] == "one"
    house.llm["one"] = HERE | {"enabled": False}
    assert (await house.reload()).changed == ["one"]


async def test_what_stays_as_it_was_is_neither_a_difference_nor_a_warning(
    house: House, monkeypatch: pytest.MonkeyPatch, fake_key: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A key that is lost disables nobody who has it; what else has changed is told."""
    monkeypatch.setenv("ONE_KEY", fake_key)
    house.llm["one"]["api_key"] = "${ONE_KEY}"
    await house.reload()
    monkeypatch.delenv("ONE_KEY")
    house.manager_section |= {"deadline": 60}
    caplog.clear()
    changes = await house.reload()
    assert changes.differences == ["providers.manager.deadline: 120 -> 60"]
    assert "one stays as it is" in changes.problems[0]
    assert house.manager.warnings == ()
    assert [item.levelname for item in caplog.records] == ["WARNING"]
    monkeypatch.setenv("ONE_KEY", fake_key)
    assert (await house.reload()).differences == []


async def test_health_that_is_as_it_was_is_no_news(
    house: House, fake_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether a provider is added, set up anew or gets a key; that one is well again is news."""
    house.llm["two"] = HERE
    house.llm["one"] = HERE | {"timeout": 2}
    await house.reload()
    house.llm["two"] = HERE | {"api_key": fake_key}
    assert (await house.reload()).rekeyed == ["two"]
    monkeypatch.setattr(Gate, "ill", "one")
    await house.manager.check_health()
    monkeypatch.setattr(Gate, "ill", None)
    house.llm["one"] = HERE | {"timeout": 3}
    await house.reload()
    await house.manager.flush()
    told = [(item.provider, item.healthy) for item in house.seen if isinstance(item, HealthChanged)]
    assert told == [("one", True), ("one", False), ("one", True)]  # the first one as it started


def test_what_is_gone_from_a_configuration_is_named(fake_key: str) -> None:
    """A provider, a rule, a limit, an alias, the end of a chain; not what has another value."""
    rule = {"providers": ["one"], "max_tokens": 5}
    old: dict[str, Any] = {
        "manager": {"deadline": 60},
        "security": {"plaintext_keys": "allow", "access": {"a": rule, "b": rule}},
        "llm": {"one": {"model": "openai/m", "timeout": 3}, "two": {"api_key": fake_key}},
        "models": {"fast": ["one", "two"], "slow": ["two"]},
    }
    old["llm"]["one"]["api_key"] = old["llm"]["two"]["api_key"]
    new: dict[str, Any] = {
        "manager": {"deadline": 30},
        "security": {"access": {"a": {"providers": ["one"]}}},
        "llm": {"one": {"model": "openai/n", "api_key": f"{fake_key}x"}},
        "models": {"fast": ["one"]},
    }
    assert set(losses(settings(**old), settings(**new))) == {
        "providers.security.plaintext_keys",
        "providers.security.access.a.max_tokens",
        "providers.security.access.b",
        "providers.llm.one.timeout",
        "providers.llm.two",
        "providers.models.fast.chain",
        "providers.models.slow",
    }
    lost = old | {"llm": old["llm"] | {"two": {"api_key": "${NOT_SET_ANYWHERE}"}}}
    assert losses(settings(**old), settings(**lost)) == ()
