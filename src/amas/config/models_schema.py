"""The section ``models:`` as a model: names of one's own, and whom calls by them ask."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from ..providers.base.model_names import model_problem
from .document import label
from .field_types import ChainEntry, Parameters, as_text
from .manager_schema import Strategy
from .section import Section

CHAIN_EXAMPLE: Final = ["groq/llama-3.3-70b-versatile", "cerebras"]


def long_form(value: Any) -> Any:
    """Turn a list that stands alone into a mapping with nothing but this chain."""
    return {"chain": value} if isinstance(value, list | tuple) else value


def _not_empty(chain: tuple[str, ...]) -> tuple[str, ...]:
    if not chain:
        raise PydanticCustomError("empty", "names nobody")
    return chain


# Its length is checked last: an entry that is none is not to look like an empty chain as well.
Chain = Annotated[
    tuple[ChainEntry, ...],
    Field(strict=False, json_schema_extra={"minItems": 1, "uniqueItems": True}),
    AfterValidator(_not_empty),
]


class ModelAlias(Section):
    """One name: the providers that calls by it ask, and defaults for such calls."""

    chain: Chain = Field(
        title="Chain",
        description="Whom to ask, in this order, and nobody else: provider/model, or a provider"
        " alone for its own model.",
        examples=[CHAIN_EXAMPLE],
    )
    params: Parameters = Field(
        default_factory=dict,
        repr=False,  # what is pasted there by mistake stays out of logs
        title="Parameters",
        description="Defaults for the parameters of calls by this name, over the providers' params.",
        examples=[{"temperature": 0.2, "max_tokens": 2000}],
    )
    strategy: Annotated[Strategy, BeforeValidator(as_text)] | None = Field(
        default=None,
        title="Strategy",
        description="How one of the chain is chosen; the order of the chain by default.",
        examples=["weighted"],
    )


Models = Mapping[
    str,
    Annotated[ModelAlias, BeforeValidator(long_form, json_schema_input_type=ModelAlias | Chain)],
]
"""The aliases by name; one may have its chain alone for a value."""


def split_entry(entry: str) -> tuple[str, str | None]:
    """Return the provider of a chain's entry, and the model; None for the provider's own.

    Args:
        entry: ``provider``, or ``provider/model``; a model may have slashes.
    """
    provider, slash, model = entry.partition("/")
    return provider, model if slash else None


def chain_problems(
    chain: Sequence[str], unknown: Callable[[str], str | None] = lambda _provider: None
) -> Iterator[tuple[int, str]]:
    """Find what is wrong with the entries of a chain.

    Args:
        chain: The entries.
        unknown: Says what is wrong with the name of a provider; None if there is one of it.

    Yields:
        The index of an entry, and what is wrong and what to do.
    """
    seen: set[str] = set()
    for index, entry in enumerate(chain):
        provider, model = split_entry(entry)
        problem = (
            _entry_problem(provider, model)
            or (_twice(provider) if provider in seen else None)
            or unknown(provider)
        )
        if problem:
            yield index, problem
        seen.add(provider)


def _entry_problem(provider: str, model: str | None) -> str | None:
    if not provider or model == "":
        return (
            "must be provider/model, or a provider alone for its own model; write for example"
            f" {CHAIN_EXAMPLE[0]} or {CHAIN_EXAMPLE[1]}"
        )
    return model_problem(model) if model else None


def _twice(provider: str) -> str:
    return (
        f"provider {label(provider)!r} is in this chain already; for another model of the same"
        " vendor add a second row of it under providers.llm, with its own name, and name that"
    )
