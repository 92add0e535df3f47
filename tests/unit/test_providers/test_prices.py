"""What answers cost is worked out here as LiteLLM does, for every model of its map."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

import pytest

from amas.providers import LiteLLMProvider, ProviderConfig
from amas.providers.llm.direct.plain import Counts
from amas.providers.llm.litellm_runtime import load_runtime
from amas.providers.llm.prices import Prices

# What OpenAI sends beside the counts of an answer that has only text.
DETAILS = {
    "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
}


def chat_models(litellm: Any) -> Iterator[tuple[str, str]]:
    """Yield the vendor and the name of every chat model in LiteLLM's map."""
    for name, entry in litellm.model_cost.items():
        if entry.get("mode") in {"chat", "responses"}:
            yield entry["litellm_provider"], name


def priced(vendor: str) -> Prices:
    """Return the prices of a provider whose models the map has under a vendor's name."""
    config = ProviderConfig("openai", api_key="k" * 9)
    target = replace(LiteLLMProvider(config).target, prices=vendor)
    return Prices(load_runtime(), target, config)


@pytest.mark.filterwarnings("ignore:.*ReadOnly:UserWarning")  # pydantic's, of LiteLLM's types
@pytest.mark.parametrize("counts", [Counts(5, 7, 12), Counts(300_000, 9, 300_009)])
def test_prices_are_litellms_for_every_model_of_its_map(counts: Counts) -> None:
    """A short prompt, and one beyond every step of a price, cost to the last digit what LiteLLM says."""
    litellm = load_runtime().litellm
    usage = litellm.Usage(**asdict(counts), **DETAILS)
    prices: dict[str, Prices] = {}
    plain, different = 0, []
    for vendor, model in chat_models(litellm):
        ours = prices.setdefault(vendor, priced(vendor))
        theirs = litellm.cost_per_token(model=model, custom_llm_provider=vendor, usage_object=usage)
        if ours.cost(model, counts) != sum(theirs):
            different.append((vendor, model))
        plain += ours._is_plain(model, litellm.model_cost[model])
    assert different == []
    assert plain > 1000


def test_names_without_a_value_are_no_price(monkeypatch: pytest.MonkeyPatch) -> None:
    """LiteLLM's Router adds such to a model; a price that the host adds later holds at once."""
    litellm = load_runtime().litellm
    entry: dict[str, Any] = {
        "litellm_provider": "openai",
        "mode": "chat",
        "input_cost_per_token": 1e-6,
        "output_cost_per_token": 2e-6,
        "input_cost_per_token_above_200k_tokens": None,
    }
    monkeypatch.setitem(litellm.model_cost, "gpt-of-a-test", entry)
    prices, counts = priced("openai"), Counts(300_000, 1_000, 301_000)
    assert prices.cost("gpt-of-a-test", counts) == pytest.approx(0.302)
    assert prices._is_plain("gpt-of-a-test", entry)
    del entry["input_cost_per_token_above_200k_tokens"]
    assert prices._is_plain("gpt-of-a-test", entry)
    entry["output_cost_per_token_above_200k_tokens"] = 4e-6
    entry["input_cost_per_token_above_200k_tokens"] = 3e-6
    assert not prices._is_plain("gpt-of-a-test", entry)
