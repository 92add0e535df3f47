"""The section ``security:`` as a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError

from .field_types import (
    Count,
    Dollars,
    MasterKeys,
    Texts,
    as_text,
)
from .section import Section

PlaintextPolicy: TypeAlias = Literal["allow", "warn", "forbid"]
MediaPolicy: TypeAlias = Literal["forbid", "allow-list", "allow"]


def _without_null(schema: dict[str, Any]) -> None:
    for field in schema["properties"].values():
        field["anyOf"].remove({"type": "null"})


class AccessRule(Section):
    """What one caller may do; what is left out is not restricted."""

    model_config = ConfigDict(json_schema_extra=_without_null)

    @field_validator("*", mode="before")
    @classmethod
    def _not_empty(cls, value: object) -> object:
        # Elsewhere an empty value is the default; here that would lift the restriction.
        if value is None:
            raise PydanticCustomError("empty", "is empty, which restricts nothing")
        return value

    providers: Texts | None = Field(
        default=None,
        title="Providers",
        description="Names of the providers the caller may use.",
        examples=[["openai", "local"]],
    )
    models: Texts | None = Field(
        default=None,
        title="Models",
        description="Patterns of the models the caller may use, as in a shell.",
        examples=[["openai/*"]],
    )
    max_tokens: Count | None = Field(
        default=None,
        title="Most tokens",
        description="The most tokens the caller may ask for in one answer.",
        examples=[2000],
    )
    budget_usd_per_day: Dollars | None = Field(
        default=None,
        title="Budget",
        description="US dollars the caller may spend in a day (UTC).",
        examples=[5],
    )
    budget_tokens_per_day: Count | None = Field(
        default=None,
        title="Token budget",
        description="Tokens the caller may use in a day (UTC), prompts included.",
        examples=[1000000],
    )
    calls_per_minute: Count | None = Field(
        default=None,
        title="Calls per minute",
        description="Most calls of the caller in a minute.",
        examples=[60],
    )


class SecuritySettings(Section):
    """How keys are kept, and the rules for callers."""

    master_key: MasterKeys = Field(
        default=(),
        title="Master key",
        description="Opens the enc: values; a reference, or several of which the first encrypts.",
        examples=["${AMAS_MASTER_KEY}"],
    )
    plaintext_keys: Annotated[PlaintextPolicy, BeforeValidator(as_text)] = Field(
        default="warn",
        title="Plaintext keys",
        description="What happens when a key stands in the file as plain text.",
        examples=["warn"],
    )
    media_urls: Annotated[MediaPolicy, BeforeValidator(as_text)] = Field(
        default="allow",
        title="Media URLs",
        description="Whether messages may have addresses of media: forbid, allow-list or allow.",
        examples=["allow-list"],
    )
    media_hosts: Texts = Field(
        default=(),
        title="Media hosts",
        description="Hosts that addresses of media may have under media_urls: allow-list.",
        examples=[["images.example.com"]],
    )
    max_prompt_bytes: Count = Field(
        default=33554432,
        title="Longest prompt",
        description="Most bytes of a call's messages and parameters together.",
        examples=[1048576],
    )
    access: Mapping[str, AccessRule] = Field(
        default_factory=dict,
        title="Access",
        description="Rules by caller, * for all others; with rules, whoever has none is refused.",
        examples=[{"osint_agent": {"providers": ["openai", "local"], "max_tokens": 2000}}],
    )
