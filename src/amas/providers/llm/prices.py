"""What answers cost, and what else is known of a model: as configured, else by LiteLLM's map."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ..base import ProviderConfig
from ..types import Price
from .direct.plain import Counts
from .litellm_codec import read_usage
from .litellm_runtime import Runtime
from .target import Target

_INPUT, _OUTPUT = "input_cost_per_token", "output_cost_per_token"
# Prices of the map that depend on more than the number of tokens: on their kind, on the length
# of the prompt, on the hour. Those are for LiteLLM to work out.
_INTRICATE = re.compile(r"cost.*(above|hit|character|second|image|query|page|pixel)|tier|off_peak")
# It bills searches beside tokens.
_INTRICATE_VENDORS = frozenset({"perplexity"})
_MOST_SEEN = 256
_DETAILS = ("prompt_tokens_details", "completion_tokens_details")


class Prices:
    """The prices of one provider's models.

    Args:
        runtime: LiteLLM, with its bundled map.
        target: Whose models they are.
        config: The provider's configuration.
    """

    def __init__(self, runtime: Runtime, target: Target, config: ProviderConfig) -> None:
        self._litellm = runtime.litellm
        self._target = target
        self._seen: dict[str, tuple[Mapping[str, Any], int, bool]] = {}
        self._configured = config.price if isinstance(config.price, Price) else None

    def known(self, model: str) -> tuple[int | None, Price | None]:
        """Return context window and price of a model, as LiteLLM's bundled map knows them."""
        known = self._entry(model)
        window = known.get("max_input_tokens")
        window = window if isinstance(window, int) and window > 0 else None
        costs = [known.get(name) for name in (_INPUT, _OUTPUT)]
        numbers = [
            cost * 1_000_000 for cost in costs if isinstance(cost, int | float) and cost >= 0
        ]
        # Nothing at all is rather a price that the map does not know.
        return window, Price(*numbers) if len(numbers) == len(costs) and any(numbers) else None

    def cost(self, model: str, usage: Any) -> float | None:
        """Compute what an answer costs in USD; None if that is not known.

        A server on one's own machine costs nothing, unless a price says otherwise.

        Args:
            model: The model that was asked.
            usage: LiteLLM's count of tokens, or None.
        """
        counts = read_usage(usage)
        if counts is not None and self._configured is not None:
            return self._configured.of(counts["prompt_tokens"], counts["completion_tokens"])
        if self._target.is_local:
            return 0.0
        return None if counts is None else self._looked_up(model, usage)

    def _looked_up(self, model: str, usage: Any) -> float | None:
        """Return the price of the map. Only models that it knows are looked up.

        For others LiteLLM asks the server, blocking the loop.
        """
        entry = self._entry(model)
        if not entry:
            return None
        if self._is_plain(model, entry) and not _has_details(usage):
            # As LiteLLM does, which takes a good hundred times as long to find out.
            prompt, completion = usage.prompt_tokens or 0, usage.completion_tokens or 0
            return float(prompt * entry[_INPUT] + completion * entry[_OUTPUT])
        if isinstance(usage, Counts):
            usage = self._litellm.Usage(**asdict(usage))
        try:
            prompt, completion = self._litellm.cost_per_token(
                model=model, custom_llm_provider=self._target.prices, usage_object=usage
            )
        except Exception:  # noqa: BLE001 -- a price that cannot be computed is unknown; the answer stands
            return None
        return float(prompt + completion)

    def _is_plain(self, model: str, entry: Mapping[str, Any]) -> bool:
        """Whether tokens of prompt and answer have one price each; the host may change its map."""
        seen, size, plain = self._seen.get(model, (None, 0, False))
        if seen is not entry or size != len(entry):
            plain = _is_plain(entry)
            if len(self._seen) >= _MOST_SEEN:
                self._seen.clear()
            self._seen[model] = entry, len(entry), plain
        return plain

    def _entry(self, model: str) -> Mapping[str, Any]:
        """Return what LiteLLM's bundled map says of a model; nothing if it does not know it."""
        known = self._litellm.model_cost
        for name in (model, f"{self._target.prices}/{model}"):
            entry: Mapping[str, Any] = known.get(name, {})
            if (
                self._target.prices is not None
                and entry.get("litellm_provider") == self._target.prices
            ):
                return entry
        return {}


def _is_plain(entry: Mapping[str, Any]) -> bool:
    """Whether tokens of prompt and answer have one price each."""
    return (
        entry.get("litellm_provider") not in _INTRICATE_VENDORS
        and isinstance(entry.get(_INPUT), int | float)
        and isinstance(entry.get(_OUTPUT), int | float)
        # LiteLLM's Router adds all the names that there are, without a value.
        and not any(_INTRICATE.search(name) for name, value in entry.items() if value is not None)
    )


def _has_details(usage: Any) -> bool:
    """Whether some of the tokens are of a kind that may have a price of its own."""
    for name in _DETAILS:
        details = getattr(usage, name, None)
        kinds = vars(details) if details is not None else {}
        if any(count for kind, count in kinds.items() if kind != "text_tokens"):
            return True
    return False
