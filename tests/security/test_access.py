"""Access rules: who may ask whom for what, how much of it, and the record of each decision."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner
from typing_extensions import override

from amas.config.provider_settings import ManagerSettings, SecuritySettings
from amas.providers import ProviderManager
from amas.providers.cli.app import app
from amas.providers.errors import (
    AccessDeniedError,
    AllProvidersFailedError,
    InvalidRequestError,
    ProviderTimeoutError,
    ProviderUnavailableError,
)
from amas.providers.security.access import Rule, find_rule
from amas.providers.security.caller import calling_as, current_caller, set_caller
from amas.providers.testing import Cut, Delay, FakeProvider
from amas.providers.testing.fake_provider import FakeClock
from amas.providers.testing.upstream import ThreadedUpstream
from amas.providers.types import Price
from amas.services.legacy_core import LegacyCore

NOON = 1_800_000_000.0 - 1_800_000_000.0 % 86400 + 12 * 3600


class House:
    """A manager of two providers under some rules, and the time of day."""

    def __init__(self, rules: Mapping[str, Any], *providers: FakeProvider, **more: Any) -> None:
        self.now = NOON
        self.openai, self.local = FakeProvider("openai", model="gpt-x"), FakeProvider("local")
        self.manager = ProviderManager(
            ManagerSettings(max_retries=0, **more),
            security=SecuritySettings(access=rules),
            providers=providers or (self.openai, self.local),
            wall=lambda: self.now,
            clock=FakeClock(),
        )

    async def ask(self, caller: str | None = "agent", /, **asked: Any) -> str:
        """Make a call, and return who answered."""
        result = await self.manager.generate("hello", caller=caller, **asked)
        return result["provider"]

    async def denied(self, caller: str | None = "agent", /, **asked: Any) -> AccessDeniedError:
        """Make a call that must be denied, and return its error."""
        with pytest.raises(AccessDeniedError) as raised:
            await self.ask(caller, **asked)
        return raised.value

    def total(self, name: str) -> float:
        """Return a sum of today."""
        sums: dict[str, tuple[float, float]] = self.manager._members.counters._sums  # type: ignore[attr-defined]
        return sum(total for key, (total, _) in sums.items() if key.startswith(name))


async def test_without_rules_everybody_may_do_everything() -> None:
    """No rules, no restriction, no caller needed."""
    assert await House({}).ask(None, max_tokens=10**6) == "openai"


@pytest.mark.parametrize("caller", [None, "agnet", "*"])
async def test_with_rules_whoever_has_none_is_refused(caller: str | None) -> None:
    """One rule for one caller refuses all others, and those who say nothing."""
    house = House({"agent": {}})
    error = await house.denied(caller)
    assert error.rule == "security.access"
    assert error.request_id
    assert ("did you mean 'agent'" in error.message) == (caller == "agnet")
    assert house.openai.calls == []


@pytest.mark.parametrize("caller", ["", "x" * 201, 5, True, ["agent"], b"agent"], ids=repr)
async def test_a_caller_is_a_text(caller: Any) -> None:
    """Nothing else can be looked up, or recorded; and an empty one is not nobody."""
    house = House({"*": {}, "agent": {"providers": ["local"]}})
    with calling_as("agent"), pytest.raises(InvalidRequestError, match="1 to 200 characters"):
        await house.ask(caller)
    with calling_as(caller), pytest.raises(InvalidRequestError, match="1 to 200 characters"):
        await house.ask(None)


async def test_a_star_is_the_rule_of_all_others() -> None:
    """``*`` holds for who has no rule, and not for who has one."""
    house = House({"*": {"providers": ["local"]}, "agent": {"providers": ["openai"]}})
    assert [await house.ask(caller) for caller in ("agent", "stranger", None)] == [
        "openai",
        "local",
        "local",
    ]


async def test_a_provider_that_is_not_allowed_is_never_asked() -> None:
    """Not in its turn, not by name, and not as the one who stands in."""
    house = House({"agent": {"providers": ["openai"]}})
    house.openai._default = ProviderUnavailableError("down")
    with pytest.raises(AllProvidersFailedError):
        await house.ask()
    error = await house.denied(provider="local")
    assert "caller 'agent' may not use provider 'local'" in error.message
    assert error.rule == "security.access.agent.providers"
    assert (await house.denied(model="local/any")).provider == "local"
    assert house.local.calls == []


async def test_a_rule_for_a_provider_that_is_not_there_leaves_nobody() -> None:
    """A rule with none of the providers says so."""
    error = await House({"agent": {"providers": ["anthropic"]}}).denied()
    assert "any of the providers" in error.message


async def test_a_model_that_is_not_allowed_is_never_asked() -> None:
    """The model named by the caller must match; who would answer with another one is left out."""
    house = House({"agent": {"models": ["openai/gpt-x", "openai/mini-*"]}})
    assert await house.ask() == "openai"
    assert await house.ask(model="mini-1") == "openai"
    error = await house.denied(model="gpt-4o")
    assert "ask for model 'gpt-4o' of openai" in error.message
    assert (await house.denied(model="mini-1", provider="local")).rule == (
        "security.access.agent.models"
    )
    house.openai._default = ProviderUnavailableError("down")
    with pytest.raises(AllProvidersFailedError):
        await house.ask()
    assert house.local.calls == []


async def test_a_rule_that_fits_no_model_names_those_that_there_are() -> None:
    """The error helps to write the rule."""
    error = await House({"agent": {"models": ["claude*"]}}).denied()
    assert "openai/gpt-x, local/" in error.message


def test_a_pattern_with_a_slash_is_of_one_provider_and_one_without_of_all() -> None:
    """``openai/*`` does not mean a model of another vendor whose name begins so."""
    assert Rule("a", models=["openai/*"]).may_ask("openai", "gpt-x")
    assert not Rule("a", models=["openai/*"]).may_ask("together", "openai/gpt-oss")
    assert Rule("a", models=["gpt-*"]).may_ask("together", "gpt-oss")
    assert not Rule("a", models=["gpt-*"]).may_ask("together", None)
    assert Rule("a", models=["mine/*"]).may_ask("mine", None)


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("value", [101, True, "100", 100.5, 0, -1, 10**30], ids=str)
async def test_more_tokens_than_allowed_are_refused(name: str, value: object) -> None:
    """Also what is no number: a vendor may read it in its own way."""
    house = House({"agent": {"max_tokens": 100}})
    error = await house.denied(**{name: value})
    assert error.rule == "security.access.agent.max_tokens"
    assert await house.ask(**{name: 100}) == "openai"


async def test_an_answer_whose_length_nobody_bounds_gets_the_bound_of_the_rule() -> None:
    """It is sent as ``max_tokens``, unless the provider's own defaults are stricter."""
    strict = FakeProvider("strict", [ProviderUnavailableError("down")])
    strict.config = type(strict.config)("strict", max_retries=0, params={"max_tokens": 50})
    loose = FakeProvider("loose")
    loose.config = type(loose.config)("loose", params={"max_tokens": 500})
    await House({"agent": {"max_tokens": 100}}, strict, loose).ask()
    assert "max_tokens" not in strict.calls[0].kwargs
    assert loose.calls[0].kwargs["max_tokens"] == 100


async def test_under_a_budget_every_answer_has_a_bound() -> None:
    """Otherwise a call could cost more than was set aside; and below 1 is no bound."""
    house = House({"agent": {"budget_tokens_per_day": 5000}})
    await house.ask()
    assert house.openai.calls[0].kwargs["max_tokens"] == 4096
    assert (await house.denied(max_tokens=-1)).rule == "security.access.agent.max_tokens"
    assert (await house.denied(max_tokens=10**7)).rule == (
        "security.access.agent.budget_tokens_per_day"
    )


async def test_whatever_goes_into_the_prompt_counts_for_the_budget() -> None:
    """Tools, a schema or a prediction are tokens like any other."""
    house = House({"agent": {"budget_tokens_per_day": 1000, "max_tokens": 10}})
    long = {"content": "word " * 2000}
    for name in ("tools", "prediction", "response_format"):
        error = await house.denied(**{name: [long] if name == "tools" else long})
        assert error.rule == "security.access.agent.budget_tokens_per_day"


async def test_a_request_that_was_overtaken_counts_for_the_budget() -> None:
    """With hedging, what both may cost is set aside, and the slower one may be charged."""
    slow = FakeProvider("slow", [Delay(float("inf"))])
    fast = FakeProvider("fast", ["ok"])
    rule = {"agent": {"budget_tokens_per_day": 50, "max_tokens": 20}}
    house = House(rule, slow, fast, hedge={"after": 0.01, "max_share": 1.0})
    assert await house.ask() == "fast"
    assert house.total("tokens:agent") == 2 + 21
    assert "42 tokens" in (await house.denied()).message


async def test_a_provider_named_with_a_model_that_is_not_allowed_is_denied() -> None:
    """Nobody else answers instead."""
    house = House({"agent": {"models": ["gpt-*"]}})
    assert (await house.denied(provider="local")).rule == "security.access.agent.models"


async def test_calls_per_minute_are_counted_in_a_window_that_slides() -> None:
    """The next minute begins with the share of the last one that lies within 60 seconds."""
    house = House({"agent": {"calls_per_minute": 4}, "other": {"calls_per_minute": 1}})
    for _ in range(4):
        await house.ask()
    error = await house.denied()
    assert (error.rule, error.retry_after) == ("security.access.agent.calls_per_minute", 60)
    assert await house.ask("other") == "openai"
    house.now += 90  # half of the four lie within the last minute
    await house.ask()
    await house.ask()
    await house.denied()
    house.now += 120
    assert await house.ask() == "openai"


def priced(name: str, *script: Any, cost: float | None = None, tokens: int = 0) -> FakeProvider:
    """Return a provider that costs a dollar per token, and says what an answer has cost."""

    class Priced(FakeProvider):
        @override
        async def generate(self, prompt: Any, **kwargs: Any) -> Any:
            result = await super().generate(prompt, **kwargs)
            return {**result, "cost_usd": cost, "tokens_used": tokens, "usage": None}

    provider = Priced(name, *script)
    provider.price = Price(1e6, 1e6)
    return provider


async def test_a_budget_in_dollars_is_kept_and_begins_anew_each_day() -> None:
    """What an answer has really cost counts; at the end of the day (UTC) all is well again."""
    rule = {"agent": {"budget_usd_per_day": 25.0, "max_tokens": 10}}
    house = House(rule, priced("p", cost=9.0))
    await house.ask()
    await house.ask()
    assert house.total("usd:agent") == 18
    error = await house.denied()
    assert error.rule == "security.access.agent.budget_usd_per_day"
    assert "18 of 25 usd" in error.message
    assert error.retry_after == 12 * 3600
    assert house.total("usd:agent") == 18
    house.now += 12 * 3600
    assert await house.ask() == "p"


async def test_a_budget_in_tokens_counts_prompts_and_answers() -> None:
    """The upstream's count counts; without one, the estimate stays."""
    rule = {"agent": {"budget_tokens_per_day": 1000, "max_tokens": 500}}
    house = House(rule, priced("p", tokens=400))
    await house.ask()
    assert house.total("tokens:agent") == 400
    await house.ask()
    assert (await house.denied()).rule == "security.access.agent.budget_tokens_per_day"
    unknown = House(rule, priced("p"))
    await unknown.ask()
    assert unknown.total("tokens:agent") >= 500


async def test_calls_at_the_same_time_cannot_spend_more_than_there_is() -> None:
    """What a call may cost is set aside before it is sent."""
    slow = priced("p", [Delay(0.01, "ok")] * 50, cost=10.0)
    house = House({"agent": {"budget_usd_per_day": 40.0, "max_tokens": 10}}, slow)
    found = await asyncio.gather(*(house.ask() for _ in range(50)), return_exceptions=True)
    assert 1 <= found.count("p") <= 4
    assert all(isinstance(item, AccessDeniedError) for item in found if item != "p")
    assert house.total("usd:agent") <= 40


async def test_a_budget_is_kept_only_with_providers_whose_price_is_known() -> None:
    """One without a price is left out, and if that leaves nobody the error says what to do."""
    rule = {"agent": {"budget_usd_per_day": 500.0, "max_tokens": 10}}
    assert await House(rule, FakeProvider("free"), priced("p", cost=1.0)).ask() == "p"
    error = await House(rule, FakeProvider("free")).denied()
    assert "use free, whose price is not known; set price: for it" in error.message
    error = await House(rule, priced("p")).denied(model="another")
    assert "price" in error.message


async def test_a_budget_that_is_used_up_refuses_even_what_costs_nothing() -> None:
    """At the limit is at the limit."""
    house = House({"agent": {"budget_usd_per_day": 20.0, "max_tokens": 10}}, priced("p", cost=20.0))
    await house.ask()
    house.manager._members.by_name["p"].provider.price = Price(0, 0)
    assert "20 of 20 usd" in (await house.denied()).message


@pytest.mark.parametrize(
    ("step", "kept"),
    [(ProviderUnavailableError("down"), False), (ProviderTimeoutError("slow"), True)],
    ids=["unavailable", "timeout"],
)
async def test_what_was_set_aside_comes_back_unless_a_vendor_may_charge(
    step: Exception, kept: bool
) -> None:
    """A call that failed for sure costs nothing; one that timed out may."""
    house = House({"agent": {"budget_tokens_per_day": 5000}}, FakeProvider("p", [step]))
    with pytest.raises(AllProvidersFailedError):
        await house.ask()
    assert (house.total("tokens:agent") > 0) == kept


async def test_a_call_that_is_cancelled_keeps_what_was_set_aside() -> None:
    """Nobody knows what the vendor will charge."""
    slow = FakeProvider("p", [Delay(float("inf"))])
    house = House({"agent": {"budget_tokens_per_day": 5000}}, slow)
    task = asyncio.create_task(house.ask())
    while not slow.calls:  # noqa: ASYNC110
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert house.total("tokens:agent") > 0


async def test_streams_are_counted_as_answers_are() -> None:
    """Denied before anything is sent, counted at the end, given back if it fails."""
    house = House({"agent": {"budget_tokens_per_day": 5000}, "none": {"providers": ["x"]}})
    last = [chunk async for chunk in house.manager.stream("hello", caller="agent")][-1]
    assert last.usage is not None
    assert house.total("tokens:agent") == last.usage["total_tokens"]
    with pytest.raises(AccessDeniedError):
        await anext(aiter(house.manager.stream("hello", caller="none")))
    broken = House({"agent": {"budget_tokens_per_day": 5000}}, FakeProvider("p", [Cut("a")]))
    with pytest.raises(Exception, match="break off"):
        async for _ in broken.manager.stream("hello", caller="agent"):
            pass
    assert broken.total("tokens:agent") > 0


async def test_who_calls_may_be_said_once() -> None:
    """For a block or a task; what is said with the call itself goes before."""
    house = House({"agent": {}, "other": {"providers": ["local"]}})
    with calling_as("agent"):
        assert await house.ask(None) == "openai"
        assert await house.ask("other") == "local"
    assert current_caller() is None
    await house.denied(None)

    async def task() -> str:
        set_caller("other")
        return await house.ask(None)

    assert await asyncio.create_task(task()) == "local"
    assert current_caller() is None


async def test_who_would_be_asked_is_told_without_a_caller() -> None:
    """``get_available_provider`` asks nobody, so no rule is needed."""
    found = await House({"agent": {}}).manager.get_available_provider()
    assert found is not None
    assert found.name == "openai"


async def test_grants_and_denials_are_recorded(caplog: pytest.LogCaptureFixture) -> None:
    """One line of JSON each: who, what, by which rule, and for a denial why."""
    house = House({"agent": {"providers": ["openai"]}})
    with caplog.at_level(logging.INFO, "amas.audit"):
        await house.ask()
        await house.denied(provider="local")
    records = [json.loads(item.getMessage()) for item in caplog.records]
    granted, denied = (record for record in records if record["kind"] == "access")
    assert granted["request_id"] != denied["request_id"]
    assert {name: granted[name] for name in ("kind", "caller", "allowed", "rule")} == {
        "kind": "access",
        "caller": "agent",
        "allowed": True,
        "rule": "agent",
    }
    assert granted["providers"] == ["openai"]
    assert (denied["allowed"], denied["rule"]) == (False, "security.access.agent.providers")
    assert "may not use provider 'local'" in denied["reason"]
    # What was denied has no record of a call beside it.
    kinds = [item["kind"] for item in records if item["kind"] != "health"]
    assert kinds == ["access", "call", "access"]
    assert [item.levelname for item in caplog.records][-3:] == ["INFO", "INFO", "WARNING"]


async def test_without_rules_no_decision_is_recorded(caplog: pytest.LogCaptureFixture) -> None:
    """There was no decision."""
    with caplog.at_level(logging.INFO, "amas.audit"):
        await House({}).ask()
    assert "access" not in {json.loads(item.getMessage())["kind"] for item in caplog.records}


NAMES = ("a", "b", "c")
MODELS = ("m1", "m2", "x/m1")
PATTERNS = ("a/*", "*/m1", "m*", "m2", "b/m2", "?/x/m1", "*")

rule_strategy = st.fixed_dictionaries(
    {},
    optional={
        "providers": st.lists(st.sampled_from(NAMES), min_size=1, unique=True),
        "models": st.lists(st.sampled_from(PATTERNS), min_size=1, unique=True),
        "max_tokens": st.integers(1, 20),
    },
)


def expected(
    rules: Mapping[str, Any], chain: Sequence[tuple[str, str]], asked: Mapping[str, Any]
) -> str | None:
    """Say who answers, by the book and without any of the code; None if the call is denied."""
    if not rules:
        rule: Mapping[str, Any] = {}
    else:
        found = rules.get(asked["caller"] or "*", rules.get("*"))
        if found is None or asked["caller"] == "*":
            return None
        rule = found
    if asked.get("max_tokens") is not None and asked["max_tokens"] > rule.get("max_tokens", 99):
        return None
    allowed = [item for item in chain if item[0] in rule.get("providers", NAMES)]
    by_name = asked.get("provider")
    if by_name is not None and by_name not in [name for name, _ in allowed]:
        return None
    if by_name is not None:
        allowed.sort(key=lambda item: item[0] != by_name)
    elif asked.get("model") is not None:
        allowed.sort(key=lambda item: item[1] != asked["model"])
    patterns = rule.get("models")
    for place, (name, own) in enumerate(allowed):
        named = asked.get("model")
        model = named if named is not None and (place == 0 or own == named) else own
        fits = patterns is None or any(
            fnmatchcase(f"{name}/{model}", item) if "/" in item else fnmatchcase(model, item)
            for item in patterns
        )
        if fits:
            return name
        if place == 0 and (named is not None or by_name is not None):
            return None
    return None


@settings(max_examples=300, deadline=None)
@given(
    rules=st.dictionaries(st.sampled_from(("u", "v", "*")), rule_strategy, max_size=3),
    own=st.tuples(*[st.sampled_from(MODELS)] * 3),
    caller=st.sampled_from(("u", "v", "w", "*", None)),
    provider=st.sampled_from((*NAMES, None)),
    model=st.sampled_from(("m1", "m2", "m9", None)),
    max_tokens=st.one_of(st.none(), st.integers(1, 25)),
)
def test_any_rules_and_any_call_are_decided_by_the_book(
    rules: Mapping[str, Any],
    own: Sequence[str],
    caller: str | None,
    provider: str | None,
    model: str | None,
    max_tokens: int | None,
) -> None:
    """Random rules and calls against a reference that shares no code with the rules."""
    chain = list(zip(NAMES, own, strict=True))
    providers = [FakeProvider(name, model=item) for name, item in chain]
    asked = {"caller": caller, "provider": provider, "model": model, "max_tokens": max_tokens}

    denials: list[AccessDeniedError] = []

    async def decide() -> str | None:
        house = House(rules, *providers)
        try:
            return await house.ask(caller, provider=provider, model=model, max_tokens=max_tokens)
        except AccessDeniedError as error:
            denials.append(error)
            return None

    answered = asyncio.run(decide())
    assert all(error.rule and error.rule in error.message for error in denials)
    assert answered == expected(rules, chain, asked)
    assert [item.name for item in providers if item.calls] == ([answered] if answered else [])


def test_the_name_of_the_star_is_no_caller() -> None:
    """Whoever calls itself ``*`` does not get the rule of all others."""
    with pytest.raises(AccessDeniedError):
        find_rule({"*": Rule("*")}, "*")


@pytest.fixture
def ruled_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a configuration of one provider with a rule for one of the old services."""
    with ThreadedUpstream() as upstream:
        row = {"base_url": f"{upstream.url}/v1", "model": "m", "api_key": "none"}
        document = {
            "security": {"access": {"llm_service": {}, "provider_manager": {}}},
            "llm": {"one": {"provider": "openai", **row}},
        }
        path = tmp_path / "providers.yaml"
        path.write_text(yaml.safe_dump({"providers": document}))
        monkeypatch.setenv("AMAS_PROVIDERS_CONFIG", str(path))
        yield path


@pytest.mark.usefixtures("ruled_file")
def test_the_old_services_call_under_their_own_names() -> None:
    """A rule for a service holds for it; ``calling_as`` names somebody else."""

    async def ask(core: LegacyCore) -> str:
        return (await core.ask("hello"))["provider"]

    async def both() -> None:
        known, unknown = (LegacyCore(list, name) for name in ("llm_service", "other"))
        try:
            assert await ask(known) == "one"
            with pytest.raises(AccessDeniedError, match="caller 'other'"):
                await ask(unknown)
            with calling_as("llm_service"):
                assert await ask(unknown) == "one"
        finally:
            await known.close()
            await unknown.close()

    asyncio.run(both())


def test_the_command_says_who_asks(ruled_file: Path) -> None:
    """``generate --caller`` is for configurations with rules."""
    runner = CliRunner()
    asked = ["generate", "hello", "--config", str(ruled_file)]
    refused = runner.invoke(app, asked)
    assert refused.exit_code == 1
    assert "no rule in security.access" in refused.stderr
    answered = runner.invoke(app, [*asked, "--caller", "llm_service"])
    assert answered.exit_code == 0
    assert "hello" in answered.stdout
