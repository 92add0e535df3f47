"""The failure table over real HTTP: what is the caller's own, and what configuration changes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from amas.providers import ProviderManager
from amas.providers.errors import (
    AllProvidersFailedError,
    ContentPolicyError,
    ContextWindowExceededError,
    InvalidRequestError,
    ModelNotFoundError,
    ProviderConfigError,
    ProviderError,
)
from amas.providers.testing.upstream import Fault, Reply, Upstream

# What LiteLLM does inside makes pydantic warn on the first use of some vendors' modules.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("uncovered"),
    pytest.mark.filterwarnings("ignore:.*`ReadOnly` qualifier.*:UserWarning"),
    pytest.mark.usefixtures("uncovered"),  # LiteLLM under measurement takes twice as long
]

VENDORS = {"openai": "/v1", "anthropic": "", "local": ""}
FOREVER: Mapping[str, Any] = {"times": None}


@dataclass
class House:
    """An upstream that misbehaves, and one that would answer."""

    first: Upstream
    second: Upstream
    key: str

    def document(self, vendor: str = "openai", **manager: Any) -> dict[str, Any]:
        """Return a configuration in which the first provider has two keys and three retries."""
        base_url = self.first.url + VENDORS[vendor]
        keys = {} if vendor == "local" else {"api_keys": [f"{self.key}-1", f"{self.key}-2"]}
        return {
            "providers": {
                "manager": {"max_retries": 3, "deadline": 10} | manager,
                "security": {"plaintext_keys": "allow"},
                "llm": {
                    "first": {"provider": vendor, "base_url": base_url, "health_probe": "off"}
                    | keys,
                    "second": {"provider": "openai", "base_url": f"{self.second.url}/v1"}
                    | {"health_probe": "off", "api_key": self.key, "model": "m"},
                },
            }
        }

    def manager(self, *args: Any, **options: Any) -> ProviderManager:
        """Return a manager that is not started yet."""
        return ProviderManager.from_config(self.document(*args, **options))

    def asked(self) -> list[int]:
        """Return how many answers each was asked for."""
        return [
            sum(item.endpoint == "chat" for item in upstream.requests)
            for upstream in (self.first, self.second)
        ]


@pytest.fixture
async def house(fake_key: str) -> AsyncIterator[House]:
    """Run the two upstreams."""
    async with Upstream("first") as first, Upstream("second") as second:
        yield House(first, second, fake_key)


async def ask(manager: ProviderManager, *, streamed: bool = False) -> str:
    """Return who answered."""
    if streamed:
        return [chunk async for chunk in manager.stream("hi")][-1].provider
    return (await manager.generate("hi"))["provider"]


CALLERS: list[tuple[Fault, type[ProviderError], int]] = [
    (Fault(status=400, **FOREVER), InvalidRequestError, 400),
    (Fault(status=422, **FOREVER), InvalidRequestError, 422),
    (Fault.content_policy(status=400, **FOREVER), ContentPolicyError, 400),
    (Fault.context_window(**FOREVER), ContextWindowExceededError, 400),
]


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("vendor", list(VENDORS))
async def test_the_callers_mistake_takes_exactly_one_request(
    house: House, vendor: str, streamed: bool
) -> None:
    """Whatever the retries, keys and other providers; and it counts as nobody's failure."""
    async with house.manager(vendor, circuit_breaker={"failure_threshold": 1}) as manager:
        for provider in manager.providers.values():
            provider.context_window = 100_000
        for number, (fault, error, status) in enumerate(CALLERS, 1):
            # Ollama has no word of its own for a policy.
            filtered = vendor != "local" or error is not ContentPolicyError
            kind = error if filtered else InvalidRequestError
            house.first._faults.clear()
            house.first.fault(fault)
            with pytest.raises(kind) as raised:
                await ask(manager, streamed=streamed)
            assert type(raised.value) is kind
            assert raised.value.status_code == status
            assert raised.value.provider == "first"
            assert raised.value.request_id
            assert [item["provider"] for item in raised.value.attempts] == ["first"]
            assert house.asked() == [number, 0]
        health = manager.status()["first"]
        assert (health["circuit"], health["healthy"], health["success_rate"]) == (
            "closed",
            True,
            None,
        )
        house.first._faults.clear()
        assert await ask(manager, streamed=streamed) == "first"


YES = [
    pytest.param("policy: {content_policy: {failover: yes}}", "", id="the manager's"),
    pytest.param('policy: {content_policy: {failover: "yes"}}', "", id="in quotes"),
    pytest.param("", "policy: {content_policy: {failover: yes}}", id="the provider's"),
    pytest.param(
        "policy: {content_policy: {failover: no}}",
        "policy: {content_policy: {failover: yes}}",
        id="over the manager's",
    ),
]
NO = [
    pytest.param("", "", id="by default"),
    pytest.param(
        "policy: {content_policy: {failover: yes}}",
        "policy: {content_policy: {failover: no}}",
        id="over the manager's",
    ),
    pytest.param("policy: {invalid_request: {failover: yes}}", "", id="another outcome"),
]


def written(house: House, path: Path, manager: str, provider: str) -> Path:
    """Write a configuration with these lines in the section and in the first provider's row."""
    path.write_text(
        f"""
providers:
  manager:
    max_retries: 3
    {manager}
  security: {{plaintext_keys: allow}}
  llm:
    first:
      provider: openai
      base_url: {house.first.url}/v1
      api_key: {house.key}-1
      health_probe: off
      {provider}
    second:
      provider: openai
      base_url: {house.second.url}/v1
      api_key: {house.key}-2
      health_probe: off
""",
        encoding="utf-8",
    )
    return path


@pytest.mark.parametrize(("manager", "provider"), YES)
async def test_content_policy_goes_shopping_when_told_to(
    house: House, tmp_path: Path, manager: str, provider: str
) -> None:
    """As it is written in a file, where a bare ``yes`` is a truth value; one request for each."""
    house.first.fault(Fault.content_policy(**FOREVER))
    path = written(house, tmp_path / "config.yaml", manager, provider)
    async with ProviderManager.from_config(path) as running:
        assert await ask(running) == "second"
        assert await ask(running, streamed=True) == "second"
        assert running.status()["first"]["circuit"] == "closed"
    assert house.asked() == [2, 2]


@pytest.mark.parametrize(("manager", "provider"), NO)
async def test_content_policy_does_not_go_shopping_otherwise(
    house: House, tmp_path: Path, manager: str, provider: str
) -> None:
    """The refusal is the caller's to hear, plain and streamed."""
    house.first.fault(Fault.content_policy(**FOREVER))
    path = written(house, tmp_path / "config.yaml", manager, provider)
    async with ProviderManager.from_config(path) as running:
        for streamed in (False, True):
            with pytest.raises(ContentPolicyError):
                await ask(running, streamed=streamed)
    assert house.asked() == [2, 0]


@pytest.mark.parametrize("vendor", ["openai", "anthropic"])
async def test_a_refusal_within_an_answer_does_not_go_shopping_either(
    house: House, vendor: str
) -> None:
    """An answer that the vendor's filter has emptied is no empty answer of a broken provider."""
    house.first.reply = lambda _: Reply(None, finish_reason="content_filter")
    checks = {"response_checks": ["not_empty"], "circuit_breaker": {"failure_threshold": 1}}
    async with house.manager(vendor, **checks) as manager:
        result = await manager.generate("hi")
        assert (result["provider"], result["finish_reason"]) == ("first", "content_filter")
        assert await ask(manager, streamed=True) == "first"
        assert manager.status()["first"]["success_rate"] == 1.0
    assert house.asked() == [2, 0]


@pytest.mark.parametrize(
    ("fault", "policy", "asked"),
    [
        (lambda: Fault(status=503, **FOREVER), {"unavailable": {"retry": "no"}}, [1, 1]),
        (lambda: Fault(status=503, **FOREVER), {"unavailable": {"retry": "once"}}, [2, 1]),
        (lambda: Fault(status=400, **FOREVER), {"invalid_request": {"failover": "yes"}}, [1, 1]),
        (lambda: Fault.context_window(**FOREVER), {"context_window": {"failover": "yes"}}, [1, 1]),
        (lambda: Fault(reset=True, **FOREVER), {"connection": {"retry": "no"}}, [1, 1]),
    ],
    ids=["503 not again", "503 once", "400 goes on", "window goes on", "reset not again"],
)
async def test_rows_of_the_table_can_be_changed(
    house: House, fault: Callable[[], Fault], policy: dict[str, dict[str, str]], asked: list[int]
) -> None:
    """How often the same provider is asked, and whether the next one is."""
    house.first.fault(fault())
    async with house.manager(policy=policy) as manager:
        assert await ask(manager) == "second"
    assert house.asked() == asked


@pytest.mark.parametrize(
    ("fault", "outcome", "kind"),
    [
        (lambda: Fault.model_not_found(**FOREVER), "model_not_found", ModelNotFoundError),
        (lambda: Fault(malformed=True, **FOREVER), "unavailable", ProviderError),
    ],
    ids=["unknown model", "malformed"],
)
async def test_failover_can_be_switched_off_for_an_outcome(
    house: House, fault: Callable[[], Fault], outcome: str, kind: type[ProviderError]
) -> None:
    """Then the error is the provider's own."""
    house.first.fault(fault())
    policy = {outcome: {"failover": "no", "retry": "no"}}
    async with house.manager(policy=policy) as manager:
        with pytest.raises(kind) as raised:
            await ask(manager)
    assert not isinstance(raised.value, AllProvidersFailedError)
    assert house.asked() == [1, 0]


async def test_what_counts_for_the_circuit_can_be_changed(house: House) -> None:
    """A vendor whose unknown models mean that it is broken is set aside for them."""
    house.first.fault(Fault.model_not_found(**FOREVER))
    policy = {"model_not_found": {"circuit": "failure"}}
    breaker = {"failure_threshold": 2}
    async with house.manager(policy=policy, circuit_breaker=breaker) as manager:
        for _ in range(2):
            result = await manager.generate("hi", provider="first")
            assert result["provider"] == "second"
        assert manager.status()["first"]["circuit"] == "open"
        await ask(manager)
    assert house.asked() == [2, 3]


@pytest.mark.parametrize(
    ("policy", "hint"),
    [
        ({"content_polcy": {"failover": "yes"}}, "content_policy"),
        ({"content_policy": {"failover": "perhaps"}}, "failover"),
        ({"content_policy": {"fail_over": "yes"}}, "failover"),
        ({"ok": {"failover": "yes"}}, "policy"),
        ({"cancelled": {"retry": "once"}}, "policy"),
    ],
    ids=["outcome", "value", "part", "ok", "cancelled"],
)
def test_a_policy_that_is_none_is_refused(policy: dict[str, dict[str, str]], hint: str) -> None:
    """Before anything is sent, with what there is instead."""
    document = {"providers": {"manager": {"policy": policy}, "llm": {"local": {}}}}
    with pytest.raises(ProviderConfigError, match=hint):
        ProviderManager.from_config(document)
