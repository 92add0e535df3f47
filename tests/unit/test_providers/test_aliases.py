"""Aliases: a call by one's own name for models asks its chain, in its order, and nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
import yaml
from typing_extensions import override

from amas.config.provider_settings import (
    HedgeSettings,
    ManagerSettings,
    ModelAlias,
    SecuritySettings,
    load_settings,
)
from amas.providers import LiteLLMProvider, ProviderConfig, ProviderManager
from amas.providers.errors import (
    AccessDeniedError,
    AllProvidersFailedError,
    ContextWindowExceededError,
    InvalidRequestError,
    NoProviderAvailableError,
    ProviderConfigError,
    ProviderUnavailableError,
)
from amas.providers.manager import lifecycle, missed_aliases
from amas.providers.manager.discovery import read_settings
from amas.providers.manager.host_providers import Crew
from amas.providers.observability.audit.records import keep_nothing, to_record
from amas.providers.observability.events import AccessDecision, CallEnded, Event
from amas.providers.testing import Cut, Delay, FakeProvider
from amas.providers.types import Capability, Price, Prompt
from amas.services.legacy_core import LegacyCore

EventT = TypeVar("EventT", bound=Event)

DOWN = ProviderUnavailableError("down")
SHORT = {"fast": ["b/m-x", "a"]}


def aliases(models: Mapping[str, Any]) -> dict[str, ModelAlias]:
    """Return aliases as the loader makes them: a list stands for a chain."""
    return {
        name: ModelAlias.model_validate(value if isinstance(value, dict) else {"chain": value})
        for name, value in models.items()
    }


HOUSES: list[House] = []


@pytest.fixture(autouse=True)
async def _close_houses() -> AsyncIterator[None]:
    """Shut down what a test has not."""
    yield
    while HOUSES:
        await HOUSES.pop().manager.shutdown()


class House:
    """A manager of the providers a, b and c with some aliases."""

    def __init__(self, models: Mapping[str, Any] = SHORT, **more: Any) -> None:
        rules = more.pop("rules", {})
        self.events: list[Event] = []
        self.a, self.b, self.c = (FakeProvider(name, model=f"m-{name}") for name in "abc")
        self.manager = ProviderManager(
            ManagerSettings(max_retries=0, **more),
            security=SecuritySettings(access=rules),
            models=aliases(models),
            providers=(self.a, self.b, self.c),
            observers=[self],
        )
        HOUSES.append(self)

    def observe(self, events: Sequence[Event]) -> None:
        """Keep what happens."""
        self.events += events

    async def told(self, kind: type[EventT]) -> EventT:
        """Return the one event of a kind, once all have been told."""
        await self.manager.flush()
        await self.manager.shutdown()
        (found,) = [event for event in self.events if isinstance(event, kind)]
        return found

    def asked(self) -> str:
        """Return who was asked, one letter a call."""
        return "".join(item.name * len(item.calls) for item in (self.a, self.b, self.c))


def fail(*providers: FakeProvider) -> None:
    """Have providers fail from now on."""
    for provider in providers:
        provider._default = DOWN


# --- whom it asks -----------------------------------------------------------------------------------


async def test_a_call_by_an_alias_asks_the_first_of_its_chain_for_the_chains_model() -> None:
    """The fallback order of the manager does not matter, and the answer names the real model."""
    house = House()
    result = await house.manager.generate("hi", model="fast")
    assert (result["provider"], result["model"]) == ("b", "m-x")
    assert house.b.calls[0].kwargs == {"model": "m-x"}
    assert result["attempts"][0]["model"] == "m-x"
    assert house.asked() == "b"


async def test_the_next_of_the_chain_stands_in_with_the_model_the_chain_has_for_it() -> None:
    """A provider alone means its own model, which is not named to it."""
    house = House()
    fail(house.b)
    result = await house.manager.generate("hi", model="fast")
    assert (result["provider"], result["model"]) == ("a", "m-a")
    assert house.a.calls[0].kwargs == {}
    assert [item["model"] for item in result["attempts"]] == ["m-x", "m-a"]


async def test_nobody_outside_the_chain_is_asked() -> None:
    """When all of the chain have failed the call has failed, and its error names the alias."""
    house = House()
    fail(house.a, house.b)
    with pytest.raises(AllProvidersFailedError) as raised:
        await house.manager.generate("hi", model="fast")
    assert house.asked() == "ab"
    assert "all providers failed for model 'fast' (alias: b, a)" in raised.value.message


async def test_a_stream_by_an_alias_keeps_to_its_chain() -> None:
    """It fails over before its first content, and its pieces name the real model."""
    house = House()
    fail(house.b)
    chunks = [chunk async for chunk in house.manager.stream("hi", model="fast")]
    assert {chunk.provider for chunk in chunks} == {"a"}
    assert chunks[-1].model == "m-a"
    assert house.asked() == "ab"


async def test_a_stream_that_breaks_off_is_taken_over_within_the_chain() -> None:
    """Whoever takes over is asked for the chain's model as well."""
    house = House({"fast": ["b", "c/m-y"]}, stream_recovery="restart")
    house.b._default = Cut("half an")
    chunks = [chunk async for chunk in house.manager.stream("hi", model="fast")]
    assert chunks[-1].provider == "c"
    assert house.c.calls[0].kwargs == {"model": "m-y"}
    assert house.asked() == "bc"


async def test_a_slow_one_is_hedged_within_the_chain() -> None:
    """The second provider asked beside it is one of the chain."""
    house = House({"fast": ["b", "c"]}, hedge=HedgeSettings(after=0.01, max_share=1))
    house.b._default = Delay(float("inf"))
    result = await house.manager.generate("hi", model="fast")
    assert result["provider"] == "c"
    assert house.asked() == "bc"


async def test_other_names_of_models_mean_what_they_did() -> None:
    """A model of nobody's alias is asked of the first provider, and ``provider/model`` of that one."""
    house = House()
    assert (await house.manager.generate("hi", model="other"))["provider"] == "a"
    named = await house.manager.generate("hi", model="c/fast")
    assert [(item["provider"], item["model"]) for item in named["attempts"]] == [("c", "fast")]
    assert house.c.calls[0].kwargs == {"model": "fast"}


async def test_a_model_may_have_slashes_and_a_provider_dots() -> None:
    """The part before the first slash is the provider."""
    provider = FakeProvider("my.row")
    models = aliases({"fast": ["my.row/vendor/model:free"]})
    manager = ProviderManager(models=models, providers=[provider])
    await manager.generate("hi", model="fast")
    assert provider.calls[0].kwargs == {"model": "vendor/model:free"}


# --- names that miss an alias -----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["fsat", "FAST", "fasr", "fastt", "fst"])
async def test_a_misspelt_alias_is_no_model_of_whoever_comes_first(name: str) -> None:
    """Nobody is asked, a stream neither; the error has the alias, and how a model would be named."""
    house = House()
    for _ in range(2):
        with pytest.raises(InvalidRequestError) as raised:
            await house.manager.generate("hi", model=name)
        assert raised.value.message == (
            f"there is no alias or configured model '{name}'; did you mean 'fast'? A model of that"
            f" very name is asked for as PROVIDER/{name}"
        )
    with pytest.raises(InvalidRequestError):
        _ = [chunk async for chunk in house.manager.stream("hi", model=name)]
    assert house.asked() == ""
    assert (await house.manager.generate("hi", model=f"c/{name}"))["provider"] == "c"


async def test_a_model_that_is_configured_is_not_taken_for_a_misspelt_alias() -> None:
    """Of a provider, by itself or behind a prefix, for embeddings, or in a chain."""
    house = House({"fast": ["b/fart"]})
    for name, model in {"own": "fest", "prefixed": "groq/fist"}.items():
        await house.manager.register_provider(FakeProvider(name, model=model))
    embeds = FakeProvider("embeds")
    embeds.config = replace(embeds.config, embedding_model="last")
    await house.manager.register_provider(embeds)
    for model in ("fest", "fist", "last", "fart"):
        assert house.manager._request("hi", {"model": model}).model == model
    with pytest.raises(InvalidRequestError):
        house.manager._request("hi", {"model": "fost"})


async def test_a_provider_that_is_named_may_have_a_model_of_a_near_name() -> None:
    """The call says in full whom it asks; but in other letters the alias itself is meant."""
    house = House()
    await house.manager.generate("hi", model="fasts", provider="c")
    assert house.c.calls[0].kwargs == {"model": "fasts"}
    with pytest.raises(InvalidRequestError, match="did you mean 'fast'"):
        await house.manager.generate("hi", model="Fast", provider="c")


async def test_what_is_remembered_of_names_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that passes on what its users type keeps its memory."""
    monkeypatch.setattr(missed_aliases, "_MOST_REMEMBERED", 3)
    house = House()
    for number in range(8):
        house.manager._request("hi", {"model": f"other-{number}"})
    assert len(house.manager._missed._meant) <= 3


async def test_a_provider_alone_means_its_own_model_as_in_a_chain() -> None:
    """It is asked first, and the others stand in; with a provider named it is a model's name."""
    house = House()
    result = await house.manager.generate("hi", model="c")
    assert (result["provider"], result["model"]) == ("c", "m-c")
    assert house.c.calls[0].kwargs == {}
    fail(house.c)
    assert (await house.manager.generate("hi", model="c"))["provider"] == "a"
    await house.manager.generate("hi", model="c", provider="b")
    await house.manager.generate("hi", model="c/x", provider="b")
    assert [call.kwargs for call in house.b.calls] == [{"model": "c"}, {"model": "c/x"}]


# --- what else the call says ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "sent"),
    [
        ({}, {"temperature": 0.2, "max_tokens": 9}),
        ({"temperature": 1}, {"temperature": 1, "max_tokens": 9}),
        ({"temperature": None, "seed": 3}, {"temperature": 0.2, "max_tokens": 9, "seed": 3}),
        ({"max_completion_tokens": 5}, {"temperature": 0.2, "max_completion_tokens": 5}),
    ],
    ids=str,
)
async def test_an_aliass_parameters_are_defaults_of_the_call(
    call: dict[str, Any], sent: dict[str, Any]
) -> None:
    """What the call says goes first; None says nothing, and one bound of the length is enough."""
    params = {"temperature": 0.2, "max_tokens": 9}
    house = House({"fast": {"chain": ["b/m-x"], "params": params}})
    await house.manager.generate("hi", model="fast", **call)
    assert house.b.calls[0].kwargs == {**sent, "model": "m-x"}


async def test_the_managers_strategy_does_not_reorder_a_chain() -> None:
    """A chain is asked in its order, unless the call or the alias says otherwise."""
    models = {"fast": ["b", "a"], "turns": {"chain": ["b", "a"], "strategy": "round_robin"}}
    house = House(models, strategy="round_robin")
    named = [(await house.manager.generate("hi", model="fast"))["provider"] for _ in range(3)]
    own = [(await house.manager.generate("hi", model="turns"))["provider"] for _ in range(4)]
    call = await house.manager.generate("hi", model="fast", strategy="round_robin")
    over = await house.manager.generate("hi", model="turns", strategy="priority")
    assert named == ["b", "b", "b"]
    assert own == ["a", "b", "a", "b"]
    assert [call["provider"], over["provider"]] == ["a", "b"]


async def test_the_cheapest_is_found_by_the_price_of_the_chains_model() -> None:
    """What a provider's own model costs says nothing of another one."""

    class Priced(FakeProvider):
        @override
        def price_of(self, model: str | None) -> Price | None:
            return Price(1, 1) if model == "small" else Price(50, 50)

    dear, mean = Priced("dear"), FakeProvider("mean")
    dear.price, mean.price = Price(50, 50), Price(2, 2)
    models = aliases({"fast": {"chain": ["mean", "dear/small"], "strategy": "cheapest"}})
    manager = ProviderManager(models=models, providers=[dear, mean])
    assert (await manager.generate("hi", model="fast"))["provider"] == "dear"


async def test_a_provider_of_the_chain_may_be_asked_first() -> None:
    """It is asked for the chain's model, and the others of the chain stand in."""
    house = House()
    fail(house.a)
    result = await house.manager.generate("hi", model="fast", provider="a")
    assert result["provider"] == "b"
    assert house.asked() == "ab"


async def test_a_provider_outside_the_chain_contradicts_the_alias() -> None:
    """The error says who is in the chain, and nobody is asked."""
    house = House()
    with pytest.raises(
        InvalidRequestError, match=r"'c' is not one of model 'fast' \(alias: b, a\)"
    ):
        await house.manager.generate("hi", model="fast", provider="c")
    assert house.asked() == ""


async def test_the_most_providers_of_a_call_hold_for_a_chain() -> None:
    """With one allowed, the second of the chain is not asked."""
    house = House()
    fail(house.b)
    with pytest.raises(AllProvidersFailedError):
        await house.manager.generate("hi", model="fast", max_providers=1)
    assert house.asked() == "b"


async def test_without_failover_only_the_first_of_the_chain_is_asked() -> None:
    """The chain is an order then, not a chain of those who stand in."""
    house = House(failover_enabled=False)
    fail(house.b)
    with pytest.raises(ProviderUnavailableError):
        await house.manager.generate("hi", model="fast")
    assert house.asked() == "b"


# --- who cannot be asked ----------------------------------------------------------------------------


async def test_who_of_the_chain_is_not_ready_is_skipped() -> None:
    """The next one is asked at once."""
    house = House()
    house.b.ready = False
    assert (await house.manager.generate("hi", model="fast"))["provider"] == "a"


async def test_a_chain_of_nobody_who_is_ready_says_so_and_why() -> None:
    """The error names the alias and each of its providers, and no other."""
    house = House()
    house.b.ready = house.a.ready = False
    with pytest.raises(NoProviderAvailableError) as raised:
        await house.manager.generate("hi", model="fast")
    text = raised.value.message
    assert text.startswith("no provider can be asked for model 'fast' (alias: b, a): b is ")
    assert text.count("told not to be ready") == 2
    assert "c is" not in text


async def test_a_chain_of_providers_that_are_not_registered_says_so() -> None:
    """A manager made in code may have aliases before their providers."""
    house = House({"fast": ["later", "latest/m"]})
    with pytest.raises(NoProviderAvailableError, match=r"'fast' .*none of them is registered"):
        await house.manager.generate("hi", model="fast")
    await house.manager.register_provider(FakeProvider("latest"))
    assert (await house.manager.generate("hi", model="fast"))["provider"] == "latest"


async def test_a_first_call_waits_for_its_chain_rather_than_for_anybody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Others are ready at once; nobody in the chain is yet, and that is who counts."""
    monkeypatch.setattr(lifecycle, "PATIENCE", 0.0)

    class Slow(FakeProvider):
        @override
        async def initialize(self) -> bool:
            await asyncio.sleep(0.01)
            return await super().initialize()

    manager = ProviderManager(models=aliases(SHORT), providers=[FakeProvider("c"), Slow("b")])
    assert (await manager.generate("hi", model="fast"))["provider"] == "b"
    await manager.shutdown()


async def test_who_lacks_what_the_call_needs_is_skipped_unless_another_model_is_named() -> None:
    """What a provider can do is said of its own model alone."""
    house = House({"own": ["b", "a"], "other": ["b/m-x", "a"], "none": ["b"]})
    house.b.capabilities = frozenset({Capability.STREAM})
    tools = [{"type": "function", "function": {"name": "f"}}]
    own = await house.manager.generate("hi", model="own", tools=tools)
    other = await house.manager.generate("hi", model="other", tools=tools)
    assert (own["provider"], other["provider"]) == ("a", "b")
    with pytest.raises(InvalidRequestError, match=r"for model 'none' \(alias: b\): b lacks tools"):
        await house.manager.generate("hi", model="none", tools=tools)


async def test_needs_that_the_alias_brings_count_as_the_calls() -> None:
    """A default response_format goes to whoever can do it."""
    form = {"response_format": {"type": "json_object"}}
    house = House({"json": {"chain": ["b", "a"], "params": form}})
    house.b.capabilities = frozenset({Capability.STREAM})
    assert (await house.manager.generate("hi", model="json"))["provider"] == "a"


async def test_the_window_of_the_chains_model_decides_whether_a_prompt_fits() -> None:
    """A small window of its own model bars no provider that is asked for another one."""

    class Wide(FakeProvider):
        @override
        def window_of(self, model: str | None) -> int | None:
            return 100_000 if model == "wide" else self.context_window

    wide, small = Wide("wide", context_window=10), FakeProvider("small", context_window=20)
    models = aliases({"long": ["small", "wide/wide"], "short": ["wide/wide", "small"]})
    manager = ProviderManager(models=models, providers=[small, wide])
    assert (await manager.generate("word " * 100, model="long"))["provider"] == "wide"
    wide._default = ContextWindowExceededError("too long")
    with pytest.raises(ContextWindowExceededError):  # the other one is smaller
        await manager.generate("hi", model="short")
    small._default = ContextWindowExceededError("too long")
    wide._default = "wide enough"
    assert (await manager.generate("hi", model="long"))["provider"] == "wide"


# --- rules and records ------------------------------------------------------------------------------


async def test_access_rules_hold_for_the_real_models() -> None:
    """Who asks by an alias may ask no more than by the names behind it; the alias opens nothing."""
    house = House(rules={"agent": {"models": ["a/*", "fast"]}})
    result = await house.manager.generate("hi", model="fast", caller="agent")
    assert result["provider"] == "a"
    with pytest.raises(AccessDeniedError, match="'m-x' of b"):
        await house.manager.generate("hi", model="fast", provider="b", caller="agent")
    closed = House(rules={"agent": {"models": ["fast"]}})
    with pytest.raises(AccessDeniedError, match="b/m-x, a/m-a"):
        await closed.manager.generate("hi", model="fast", caller="agent")
    assert closed.asked() == ""


async def test_a_chain_that_a_rule_closes_is_named_in_the_denial() -> None:
    """And the record of the denial has the alias."""
    house = House(rules={"agent": {"providers": ["c"]}})
    with pytest.raises(AccessDeniedError, match=r"any of those of model 'fast' \(alias: b, a\)"):
        await house.manager.generate("hi", model="fast", caller="agent")
    decision = await house.told(AccessDecision)
    assert (decision.allowed, decision.alias, decision.model) == (False, "fast", None)


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize(("own", "sent"), [(50, 10), (5, 5)])
async def test_a_rule_bounds_the_length_that_an_alias_asks(name: str, own: int, sent: int) -> None:
    """The caller has not asked for it, so it is cut to the bound rather than denied."""
    models = {"fast": {"chain": ["b"], "params": {name: own}}}
    house = House(models, rules={"agent": {"max_tokens": 10}})
    await house.manager.generate("hi", model="fast", caller="agent")
    assert house.b.calls[0].kwargs == {name: sent}


async def test_the_record_of_a_call_has_the_alias_beside_the_real_model() -> None:
    """Of a call that names a model it is as before."""
    house = House()
    await house.manager.generate("hi", model="fast")
    event = await house.told(CallEnded)
    record = to_record(event, str, keep_nothing)
    assert record is not None
    assert (record["alias"], record["provider"], record["model"]) == ("fast", "b", "m-x")
    assert record["attempts"][0]["model"] == "m-x"
    assert "asked_model" not in record
    plain = to_record(replace(event, alias=None), str, keep_nothing)
    assert plain is not None
    assert "alias" not in plain


async def test_the_record_of_a_failed_call_names_the_chains_model() -> None:
    """Not the provider's own one, which nobody has asked for."""
    house = House({"fast": ["b/m-x"]})
    fail(house.b)
    with pytest.raises(AllProvidersFailedError):
        await house.manager.generate("hi", model="fast")
    event = await house.told(CallEnded)
    assert (event.alias, event.model) == ("fast", "m-x")


# --- the section ------------------------------------------------------------------------------------

LLM = """providers:
  llm:
    openai: {api_key: none}
    local: {}
    gone: {provider: openai, api_key: none, enabled: false}
"""


def load(tmp_path: Path, models: str) -> Any:
    """Load a file with this section, whose first line is the seventh."""
    path = tmp_path / "c.yaml"
    path.write_text(f"{LLM}  models:\n    {models}\n", encoding="utf-8")
    return read_settings(path, _check)


def _check(config: ProviderConfig) -> None:
    LiteLLMProvider.check(config)


def test_the_short_form_is_its_chain_and_the_long_form_has_more(tmp_path: Path) -> None:
    """Both give the same kind of alias, and neither is warned about."""
    text = "fast: [openai/gpt-x, local]\n    smart: {chain: [local], params: {temperature: 0.2},"
    settings = load(tmp_path, f"{text} strategy: weighted}}")
    assert settings.models == aliases(
        {
            "fast": ["openai/gpt-x", "local"],
            "smart": {"chain": ["local"], "params": {"temperature": 0.2}, "strategy": "weighted"},
        }
    )
    assert settings.warnings == ()


def test_a_chain_of_disabled_providers_is_warned_about(tmp_path: Path) -> None:
    """It is no mistake: elsewhere they may be enabled."""
    (warning,) = load(tmp_path, "fast: [gone]").warnings
    assert "7:" in warning
    assert "providers.models.fast: none of its providers is enabled" in warning


MISTAKES = [
    ("fast: [opnai/gpt, local]", 12, "fast.chain[0]", "no provider 'opnai' is configured; did you"),
    ("fast: [local, gpt-4o]", 19, "fast.chain[1]", "an entry is provider/model, or a provider"),
    ("fast: [openai/a, local, openai]", 29, "fast.chain[2]", "add a second row of it"),
    ("fast: [openai/]", 12, "fast.chain[0]", "must be provider/model"),
    ("fast: [/gpt]", 12, "fast.chain[0]", "must be provider/model"),
    ("fast: [openai/a?b]", 12, "fast.chain[0]", "must be the name of a model"),
    ("fast: ['openai/ gpt']", 12, "fast.chain[0]", "without blanks"),
    ("fast: [local, OpenAI]", 19, "fast.chain[1]", "did you mean 'openai'?"),
    ("{fast: [slow], slow: [local]}", 13, "fast.chain[0]", "an alias cannot name one"),
    ("{fast: [slow/x], slow: [local]}", 13, "fast.chain[0]", "'slow' is an alias"),
    ("fast: [3]", 12, "fast.chain[0]", "write it in quotes"),
    ('fast: ["${NO_SUCH}", local]', 12, "fast.chain[0]", "${NO_SUCH} is not set"),
    ("fast: []", 11, "fast.chain", "names nobody; write for example `chain: [groq/"),
    ("fast:", 5, "fast", "must be a list of providers, not nothing"),
    ("fast: openai", 11, "fast", "write for example `fast: [openai/model, …]`"),
    ("fast: {}", 5, "fast.chain", "is missing"),
    ("fast: {chain: openai}", 19, "fast.chain", "must be a list, not a text"),
    ("fast: {chian: [local]}", 12, "fast.chian", "did you mean 'chain'?"),
    ("openai: [local]", 5, "openai", "also the name of a provider"),
    ("a/b: [local]", 5, "a/b", "begins with a letter or digit"),
    ("s: {chain: [local], strategy: fastets}", 35, "s.strategy", "did you mean 'fastest'?"),
    ("s: {chain: [local], params: {temprature: 1}}", 33, "s.params", "mean 'temperature'?"),
    ("s: {chain: [local], params: {api_base: x}}", 33, "s.params", "may not have 'api_base'"),
    ("s: {chain: [local], params: {temperature: hot}}", 47, "s.params.temperature", "not a text;"),
    ("s: {chain: [local], params: [1]}", 33, "s.params", "must be a mapping"),
]


@pytest.mark.parametrize(
    ("text", "column", "path", "phrase"), MISTAKES, ids=[m[0] for m in MISTAKES]
)
def test_a_mistake_in_an_alias_is_reported_at_its_place(
    tmp_path: Path, text: str, column: int, path: str, phrase: str
) -> None:
    """With line and column, the field, what is wrong and what to do."""
    with pytest.raises(ProviderConfigError) as raised:
        load(tmp_path, text)
    found = [line for line in raised.value.problems if f"providers.models.{path}: " in line]
    assert any(f"c.yaml:7:{column}: " in line and phrase in line for line in found), (
        raised.value.problems
    )


@pytest.mark.parametrize("models", [[], "fast", 3])
def test_the_section_is_a_mapping(models: object) -> None:
    """Anything else is one mistake, not one for each of its items."""
    with pytest.raises(ProviderConfigError, match="models: must be a mapping") as raised:
        load_settings({"providers": {"llm": {"local": {}}, "models": models}})
    assert len(raised.value.problems) == 1


@pytest.mark.parametrize("chain", [["a", "a/x"], ["a/"], ["a/x?y"]], ids=str)
def test_a_manager_made_in_code_checks_its_chains(chain: Sequence[str]) -> None:
    """What no file has said has no line, but the same words."""
    with pytest.raises(ProviderConfigError) as raised:
        House({"fast": chain})
    assert raised.value.field == f"models.fast.chain[{len(chain) - 1}]"


# --- the manager, and who else makes one ------------------------------------------------------------


def document(models: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration of two local providers with these aliases."""
    row = {"provider": "local", "model": "m", "health_probe": "off"}
    return {"providers": {"llm": {"one": row, "two": row}, "models": models}}


async def test_a_reload_takes_aliases_over_at_once(tmp_path: Path) -> None:
    """New ones hold from the next call on, and a wrong one changes nothing."""
    path = tmp_path / "c.yaml"

    def write(models: Mapping[str, Any]) -> None:
        path.write_text(yaml.safe_dump(document(models)), encoding="utf-8")

    write({"fast": ["one/x"]})
    manager = ProviderManager.from_config(path)
    assert manager.models == {"fast": ["one/x"]}
    before = manager._request("hi", {"model": "fast"})
    write({"fast": ["two", "one"], "new": {"chain": ["one"]}})
    changes = await manager.reload()
    assert changes.pending == []
    assert manager.models == {"fast": ["two", "one"], "new": ["one"]}
    write({"fast": ["three"]})
    with pytest.raises(ProviderConfigError, match="no provider 'three' is configured"):
        await manager.reload()
    assert manager.models == {"fast": ["two", "one"], "new": ["one"]}
    assert before.alias is not None  # a call that runs goes on as it began
    assert dict(before.alias.models) == {"one": "x"}
    await manager.shutdown()


async def test_an_alias_that_a_reload_removes_is_no_model(tmp_path: Path) -> None:
    """Who asked nobody but its chain does not come to ask anybody, unless it is a model now."""
    path = tmp_path / "c.yaml"

    async def reload(content: Mapping[str, Any]) -> None:
        path.write_text(yaml.safe_dump(content), encoding="utf-8")
        await manager.reload()

    path.write_text(yaml.safe_dump(document({"smart": ["one"], "fast": ["two"]})))
    manager = ProviderManager.from_config(path)
    await reload(document({"fast": ["two"]}))
    for provider in (None, "one"):
        with pytest.raises(InvalidRequestError, match="'smart' is no alias any more; take another"):
            manager._request("hi", {"model": "smart"}, provider=provider)
    await reload(document({}))
    with pytest.raises(InvalidRequestError, match="'fast' is no alias any more"):
        manager._request("hi", {"model": "fast"})
    changed = document({"fast": ["two"]})
    changed["providers"]["llm"]["one"] = {"provider": "local", "model": "smart"}
    await reload(changed)
    assert manager._request("hi", {"model": "smart"}).model == "smart"
    assert manager._request("hi", {"model": "fast"}).alias is not None
    await manager.shutdown()


async def test_a_call_under_way_keeps_its_chain() -> None:
    """Whoever is exchanged meanwhile, it asks those of the alias it began with."""
    house = House({"fast": ["b", "c"]})

    def exchange(_prompt: Prompt) -> str:
        house.manager._aliases = {}
        raise DOWN

    house.b._default = exchange
    assert (await house.manager.generate("hi", model="fast"))["provider"] == "c"


def test_the_old_services_have_the_aliases_of_their_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file that says how their managers behave says this as well."""
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump(document({"fast": ["one/x"]})), encoding="utf-8")
    monkeypatch.setenv("AMAS_PROVIDERS_CONFIG", str(path))

    async def look(manager: ProviderManager) -> dict[str, list[str]]:
        return manager.models

    core, crew = LegacyCore(list, "service"), Crew()
    try:
        assert core.use_sync(look) == {"fast": ["one/x"]}
        assert crew._started().run_sync(look) == {"fast": ["one/x"]}
    finally:
        crew.close()
        core._current().close()
