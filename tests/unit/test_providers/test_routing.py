"""Who is asked in a call, in which order, and with which model."""

from __future__ import annotations

import math
from typing import Any

import pytest

from amas.providers import ProviderConfig
from amas.providers.errors import (
    InvalidRequestError,
    NoProviderAvailableError,
    ProviderConfigError,
    ProviderUnavailableError,
)
from amas.providers.manager.candidates import Search
from amas.providers.manager.member import Member
from amas.providers.manager.routing import (
    concerned,
    make_request,
    own_arguments,
)
from amas.providers.manager.rules import Rules
from amas.providers.manager.selection import priority, round_robin
from amas.providers.testing import FakeProvider
from amas.providers.testing.fake_provider import FakeClock
from amas.providers.types import Request


def chain_of(*names: str, down: str = "", unhealthy: str = "") -> list[Member]:
    """Return members with models m-<name>; those in ``down`` are not ready."""
    chain = []
    for name in names:
        provider = FakeProvider(name, model=f"m-{name}")
        provider.initialized = name not in down
        provider.healthy = provider.initialized and name not in unhealthy
        chain.append(Member(provider, Rules(), FakeClock(), lambda: 0.5))
    return chain


def request(chain: list[Member], **asked: Any) -> Request:
    """Make a request as the manager does."""
    named = {name: asked.pop(name) for name in ("provider", "caller") if name in asked}
    return make_request(
        "hi", asked, known={member.name for member in chain}, now=100.0, seconds=10, **named
    )


def order(chain: list[Member], **asked: Any) -> str:
    """Return the names in the order they are asked."""
    wanted = request(chain, **asked)
    return "".join(
        member.name for member in Search(wanted, chain, priority, lambda: 0.5).candidates()
    )


def models(chain: list[Member], **asked: Any) -> dict[str, Any]:
    """Return which model each candidate is asked for; None for its own."""
    wanted = request(chain, **asked)
    candidates = Search(wanted, chain, priority, lambda: 0.5).candidates()
    arguments = own_arguments(wanted, candidates)
    return {name: values.get("model") for name, values in arguments.items()}


def test_the_fallback_order_is_kept() -> None:
    """Without a wish the providers are asked as configured."""
    assert order(chain_of("a", "b", "c")) == "abc"


def test_who_is_not_ready_is_left_out() -> None:
    """The others close ranks."""
    assert order(chain_of("a", "b", "c", down="b")) == "ac"


def test_the_asked_for_provider_comes_first_and_the_others_stand_in() -> None:
    """A wish changes the order, and excludes nobody."""
    assert order(chain_of("a", "b", "c"), provider="c") == "cab"


def test_the_asked_for_provider_comes_first_even_when_unhealthy() -> None:
    """The caller may know better than a health check."""
    assert order(chain_of("a", "b", "c", unhealthy="c"), provider="c") == "cab"


def test_unhealthy_ones_come_last_but_not_never() -> None:
    """A wrong probe locks nobody out."""
    assert order(chain_of("a", "b", "c", unhealthy="ab")) == "cab"
    assert order(chain_of("a", "b", unhealthy="ab")) == "ab"


def test_who_is_configured_with_the_model_comes_first() -> None:
    """A bare model goes to the provider that is configured with it."""
    chain = chain_of("a", "b", "c")
    assert order(chain, model="m-b") == "bac"
    assert models(chain, model="m-b") == {"b": "m-b", "a": None, "c": None}


def test_a_model_that_nobody_is_configured_with_is_the_first_ones() -> None:
    """The others stand in with their own models."""
    assert models(chain_of("a", "b"), model="gpt-x") == {"a": "gpt-x", "b": None}


def test_a_model_with_a_providers_name_asks_that_provider() -> None:
    """``b/gpt-x`` is ``gpt-x`` at ``b``, and no one else's."""
    chain = chain_of("a", "b")
    assert order(chain, model="b/gpt-x") == "ba"
    assert models(chain, model="b/gpt-x") == {"b": "gpt-x", "a": None}


def test_a_prefix_that_is_no_provider_belongs_to_the_model() -> None:
    """Models of hubs have slashes of their own."""
    assert models(chain_of("a", "b"), model="meta/llama") == {"a": "meta/llama", "b": None}
    with pytest.raises(InvalidRequestError, match="empty"):
        models(chain_of("a", "b"), model="b/")


def test_an_explicit_provider_gets_the_model_as_it_is() -> None:
    """The prefix decides only where ``provider`` does not."""
    found = models(chain_of("a", "b"), provider="b", model="a/gpt-x")
    assert found == {"b": "a/gpt-x", "a": None}


def test_another_providers_own_model_is_asked_there_too() -> None:
    """A model named for one provider is also right at another that is configured with it."""
    chain = chain_of("a", "b")
    chain[0].provider.config = ProviderConfig("a", model="m-b")
    assert models(chain, provider="b", model="m-b") == {"b": "m-b", "a": "m-b"}


def test_who_stands_in_for_an_absent_provider_answers_with_its_own_model() -> None:
    """The model was meant for the provider asked for, not for whoever comes first."""
    assert models(chain_of("a", "b", down="b"), provider="b", model="gpt-x") == {"a": None}
    assert models(chain_of("a", "b", down="b"), model="b/gpt-x") == {"a": None}


def test_parameters_go_to_everybody() -> None:
    """Each candidate gets a copy of its own."""
    chain = chain_of("a", "b")
    arguments = own_arguments(request(chain, temperature=0.5), chain)
    assert arguments == {"a": {"temperature": 0.5}, "b": {"temperature": 0.5}}
    assert arguments["a"] is not arguments["b"]


def test_round_robin_turns_among_those_ready() -> None:
    """Who is away takes no turn."""
    chain = chain_of("a", "b", "c", down="b")
    firsts = []
    for call in range(1, 5):
        first = Search(request(chain), chain, round_robin, lambda: 0.5).candidates()[0]
        first.last_picked = call
        firsts.append(first.name)
    assert firsts == ["a", "c", "a", "c"]


@pytest.mark.parametrize(
    ("asked", "hint"), [("opnai", "did you mean 'openai'"), ("zz", "there are")]
)
def test_an_unknown_provider_is_a_mistake(asked: str, hint: str) -> None:
    """The error names those there are, and the one that was perhaps meant."""
    chain = chain_of("openai", "local")
    with pytest.raises(InvalidRequestError, match=hint) as raised:
        concerned(request(chain, provider=asked), chain, failover=True)
    assert "openai, local" in str(raised.value)
    assert raised.value.request_id


def test_an_unknown_provider_among_none_is_a_mistake() -> None:
    """The error says that there are none."""
    with pytest.raises(InvalidRequestError, match="there are none"):
        concerned(request([], provider="a"), [], failover=True)


def test_a_misconfigured_provider_asked_for_is_not_replaced() -> None:
    """Its owner has to know; nobody stands in for it."""
    chain = chain_of("a", "b", down="a")
    chain[0].provider.last_error = ProviderConfigError("no API key")
    with pytest.raises(
        NoProviderAvailableError, match=r"'a' cannot be asked: no API key"
    ) as raised:
        concerned(request(chain, provider="a"), chain, failover=True)
    assert raised.value.provider == "a"


def test_a_provider_that_is_merely_away_is_replaced() -> None:
    """Failover is for outages, with or without a wish."""
    chain = chain_of("a", "b", down="a")
    chain[0].provider.last_error = ProviderUnavailableError("down")
    assert concerned(request(chain, provider="a"), chain, failover=True) == chain


def test_without_failover_only_the_asked_for_one_is_concerned() -> None:
    """A wish without failover is an order."""
    chain = chain_of("a", "b")
    assert concerned(request(chain, provider="b"), chain, failover=False) == [chain[1]]
    assert concerned(request(chain), chain, failover=False) == chain


@pytest.mark.parametrize("seconds", [0, -1, math.nan, True, "5", None])
def test_a_deadline_must_be_one(seconds: Any) -> None:
    """Seconds above zero, and nothing else."""
    with pytest.raises(InvalidRequestError, match="deadline"):
        make_request("hi", {}, known=(), now=0.0, seconds=seconds)


def test_a_request_knows_its_deadline_and_its_caller() -> None:
    """The deadline is a time of the clock; each request has an id of its own."""
    one = make_request("hi", {}, known=(), now=100.0, seconds=0.5, caller="agent")
    two = make_request("hi", {}, known=(), now=100.0, seconds=math.inf, system_prompt="be nice")
    assert (one.deadline, one.caller, dict(one.params)) == (100.5, "agent", {})
    assert (two.deadline, dict(two.params)) == (math.inf, {"system_prompt": "be nice"})
    assert one.id != two.id


@pytest.mark.parametrize("model", [5, "", None, ["m"]])
def test_whatever_the_model_is_the_provider_decides(model: Any) -> None:
    """What is no name of a model is not judged here."""
    assert request(chain_of("a"), model=model).model == model
