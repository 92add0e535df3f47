"""Where a configuration's requests go, and what is known of who answers there."""

from __future__ import annotations

from typing import Any

import pytest

from amas.providers import Capability, InvalidRequestError, ProviderConfig, ProviderConfigError
from amas.providers.llm.target import RESERVED_OPTIONS, Target, resolve_target

KEY = "test" + "-key" * 5


def target_of(name: str, **options: Any) -> Target:
    """Resolve a configuration."""
    return resolve_target(ProviderConfig(name, **options))


def test_a_known_name_is_enough() -> None:
    """A row of the catalogue says everything."""
    target = target_of("groq")
    assert target.litellm_provider == "groq"
    assert target.base_url == "https://api.groq.com/openai/v1"
    assert target.models_url == "https://api.groq.com/openai/v1/models"
    assert target.context_window == 131072
    assert Capability.TOOLS in (target.capabilities or ())
    assert not target.is_local
    assert target.speaks_openai


def test_configuration_wins_over_the_catalogue() -> None:
    """Whatever is configured replaces what the catalogue knows."""
    target = target_of(
        "groq",
        base_url="https://proxy:1/v9/",
        model="groq/own-model",
        capabilities=frozenset({Capability.VISION}),
        context_window=7,
        embedding_model="own-embeddings",
    )
    assert (target.base_url, target.model) == ("https://proxy:1/v9", "own-model")
    assert target.capabilities == frozenset({Capability.VISION})
    assert (target.context_window, target.embedding_model) == (7, "own-embeddings")


def test_another_model_is_not_what_the_catalogue_knows() -> None:
    """Capabilities and window are those of the default model only."""
    target = target_of("groq", model="another")
    assert target.capabilities is None
    assert target.context_window is None
    assert target.prices == "groq"


def test_vendor_without_a_row() -> None:
    """LiteLLM's other vendors work with an address; their prices go by their own name."""
    target = target_of("mine", model="snowflake/arctic", base_url="https://x.example/api/v2")
    assert (target.litellm_provider, target.model) == ("snowflake", "arctic")
    assert (target.models_url, target.prices, target.entry) == (None, "snowflake", None)
    assert target.for_embeddings() is target
    assert not target.is_local
    assert not target.speaks_openai
    assert target.model_named("snowflake/other", provider="mine") == "other"


@pytest.mark.parametrize(
    ("options", "field", "says"),
    [
        ({"model": "snowflake/x"}, "base_url", "no address is known"),
        ({"model": "openai/x", "base_url": "nonsense"}, "base_url", "must begin with https"),
        ({"model": "x"}, "provider", "nothing says which service"),
        ({"model": "openai/x", "options": {"api_base": "x"}}, "options", "may not set api_base"),
    ],
)
def test_what_cannot_work_is_refused(options: dict[str, Any], field: str, says: str) -> None:
    """The error names provider and field."""
    with pytest.raises(ProviderConfigError, match=says) as caught:
        target_of("mine", **options)
    assert (caught.value.provider, caught.value.field) == ("mine", field)


def test_reserved_options_are_named_together() -> None:
    """All options that may not be set are told at once."""
    with pytest.raises(ProviderConfigError, match="may not set api_key, stream") as caught:
        target_of("openai", options={"stream": True, "api_key": KEY, "api_version": "1"})
    assert KEY not in str(caught.value)
    assert "api_version" not in RESERVED_OPTIONS


@pytest.mark.parametrize("option", ["headers", "extra_headers"])
@pytest.mark.parametrize(
    "header", ["Host", "AUTHORIZATION", "x-api-key", "api_key", "X-Goog-Api-Key ", "cookie"]
)
def test_reserved_headers_are_refused(option: str, header: str) -> None:
    """No option says in a header with which key, or to which host, a request goes."""
    with pytest.raises(ProviderConfigError, match=f"options.{option} may not set") as caught:
        target_of("openai", options={option: {header: KEY, "X-Title": "a"}})
    assert caught.value.field == "options"
    assert KEY not in str(caught.value)


def test_other_headers_are_kept_out_of_sight() -> None:
    """Headers of one's own pass, and no text of theirs is shown; anything but a mapping is refused."""
    config = ProviderConfig("openai", options={"headers": {"X-Custom": "a title of mine"}})
    assert resolve_target(config).model
    assert "a title of mine" not in repr(config)
    with pytest.raises(ProviderConfigError, match="must be a mapping"):
        target_of("openai", options={"extra_headers": "Host: x"})


@pytest.mark.parametrize(
    ("name", "options", "needed"),
    [
        ("openai", {}, True),
        ("openai", {"api_key": KEY}, False),
        ("openai", {"api_key": "none"}, False),
        ("ollama", {}, False),
        ("custom", {"model": "m", "base_url": "https://host"}, False),
        ("mine", {"model": "snowflake/x", "base_url": "https://host"}, True),
        ("wandb", {}, True),
    ],
)
def test_keys_where_they_are_needed(name: str, options: dict[str, Any], *, needed: bool) -> None:
    """Without a key nothing starts, unless the row or the configuration says it needs none."""
    config = ProviderConfig(name, **options)
    target = resolve_target(config)
    if not needed:
        target.require_key(config)
        return
    with pytest.raises(ProviderConfigError, match=r'set api_key: "\$\{') as caught:
        target.require_key(config)
    assert (caught.value.field, caught.value.provider) == ("api_key", name)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("openai", {"authorization": f"Bearer {KEY}"}),
        ("anthropic", {"x-api-key": KEY, "anthropic-version": "2023-06-01"}),
        ("gemini", {"x-goog-api-key": KEY}),
    ],
)
def test_auth_headers(name: str, expected: dict[str, str]) -> None:
    """The key is shown in the vendor's own header, and only if there is one."""
    assert target_of(name).auth_headers(ProviderConfig(name, api_key=KEY)) == expected
    without = target_of(name).auth_headers(ProviderConfig(name))
    assert KEY not in str(without)
    assert without.keys() <= {"anthropic-version"}


def test_auth_headers_without_a_row() -> None:
    """Who has no row is shown a bearer token."""
    target = target_of("mine", model="snowflake/x", base_url="https://host")
    headers = target.auth_headers(ProviderConfig("mine", api_key=KEY))
    assert headers == {"authorization": f"Bearer {KEY}"}


def test_embeddings_may_go_elsewhere_at_the_same_vendor() -> None:
    """Where LiteLLM's own embeddings would go round our client, another of its ways is taken."""
    target = target_of("gemini").for_embeddings()
    assert target.litellm_provider == "openai"
    assert target.base_url == "https://generativelanguage.googleapis.com/v1beta/openai"
    assert target_of("openai").for_embeddings() == target_of("openai")


@pytest.mark.parametrize(
    ("asked", "model"),
    [
        (None, "openai/gpt-oss-120b"),
        ("groq/llama", "llama"),
        ("llama", "llama"),
        ("openai/gpt-oss-20b", "openai/gpt-oss-20b"),
        ("groq/compound", "groq/compound"),
    ],
)
def test_models_named_by_a_caller(asked: str | None, model: str) -> None:
    """A caller may name a model with or without the prefix."""
    assert target_of("groq").model_named(asked, provider="p") == model


@pytest.mark.parametrize("asked", ["", "  ", 5, ["m"]])
def test_what_is_no_name_of_a_model(asked: object) -> None:
    """Anything but a text is refused."""
    with pytest.raises(InvalidRequestError, match="name of a model"):
        target_of("groq").model_named(asked, provider="p")


def test_parameters_of_a_row_are_checked_like_those_of_a_call() -> None:
    """A name that nobody takes, or a key that slipped in, is refused with the field."""
    for name in ("bogus", "api_key"):
        with pytest.raises(ProviderConfigError, match=name) as raised:
            resolve_target(ProviderConfig("openai", api_key="none", params={name: 1}))
        assert raised.value.field == "params"
