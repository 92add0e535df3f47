"""Which way a provider's calls take, and what is said of it."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator
from typing import Any

import pytest

from amas.config.provider_settings import load_settings
from amas.providers import LiteLLMProvider, ProviderConfig, ProviderConfigError
from amas.providers.llm import way
from amas.providers.llm.catalog import load_catalog
from amas.providers.security.sandbox.portable import facts_from_data, facts_to_data
from amas.providers.testing import FakeProvider

KEY = "test" + "-key" * 5
UNTESTED = f"{way.TESTED[0]}.{way.TESTED[1]}0.3"
PLACE = {"aws_region_name": "us-east-1"}


@pytest.fixture
def untested(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Install a LiteLLM that the differential test has not seen."""
    monkeypatch.setattr(way, "installed_litellm", lambda: UNTESTED)
    way.tell_untested.cache_clear()
    yield
    way.tell_untested.cache_clear()


def provider_of(name: str, **options: Any) -> LiteLLMProvider:
    """Make a provider, which is not started."""
    return LiteLLMProvider(ProviderConfig(name, api_key=KEY, **options))


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("openai", {}, "direct"),
        ("openai", {"dispatch": "direct"}, "direct"),
        ("openai", {"dispatch": "litellm"}, "litellm: as configured"),
        ("mine", {"provider": "openai", "model": "m", "base_url": "https://a.example"}, "direct"),
        ("groq", {"options": {"headers": {"X-Team": "a"}}}, "direct"),
        ("ollama", {"options": {"num_ctx": 9}}, "litellm: LiteLLM reads its options (num_ctx)"),
        ("bedrock", {"options": PLACE}, "litellm: its requests are signed"),
        (
            "mine",
            {"model": "snowflake/arctic", "base_url": "https://a.example"},
            "litellm: it is not in the catalogue",
        ),
    ],
)
def test_the_way_is_known_before_a_start(name: str, options: dict[str, Any], said: str) -> None:
    """Direct where that is proven; else LiteLLM's own, with the reason."""
    assert provider_of(name, **options).way == said


def test_nobody_is_direct_with_an_untested_litellm(untested: None) -> None:
    """Its version is the reason then; who is to be direct goes no other way."""
    assert provider_of("openai").way == f"litellm: LiteLLM {UNTESTED} is not the tested 1.106"
    assert provider_of("openai", dispatch="direct").way == "direct"


def test_a_provider_of_another_kind_has_no_way() -> None:
    """Only where there are two ways is it told which is taken."""
    assert FakeProvider("a").way is None


def test_a_process_of_its_own_tells_the_way() -> None:
    """What a provider in a sandbox says of its way reaches the service."""
    told = facts_from_data(facts_to_data(provider_of("openai")))
    assert told.way == "direct"


def test_what_cannot_be_direct_is_found_when_a_file_is_read(tmp_path: Any) -> None:
    """With its place in the file."""
    path = tmp_path / "c.yaml"
    path.write_text("providers:\n  llm:\n    ollama: {dispatch: direct, options: {num_ctx: 9}}\n")
    with pytest.raises(ProviderConfigError) as caught:
        load_settings(path, check=LiteLLMProvider.check, known_providers=load_catalog())
    assert f"{path}:3:24: providers.llm.ollama.dispatch" in str(caught.value)
    assert "cannot be direct: LiteLLM reads its options (num_ctx); write auto" in str(caught.value)


async def test_an_untested_litellm_stops_who_is_to_be_direct(
    untested: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new version of LiteLLM makes no file unreadable: only that provider does not start."""
    monkeypatch.setattr("amas.providers.llm.opening.installed_litellm", lambda: UNTESTED)
    provider = provider_of("openai", dispatch="direct", base_url="http://127.0.0.1:9", local=True)
    assert not await provider.initialize()
    assert f"cannot be direct: LiteLLM {UNTESTED} is not" in str(provider.last_error)


def test_an_untested_litellm_is_warned_of_once(
    untested: None, caplog: pytest.LogCaptureFixture
) -> None:
    """However many providers there are."""
    for _ in range(3):
        way.tell_untested(UNTESTED)
    way.tell_untested(f"{way.TESTED[0]}.{way.TESTED[1]}.99")
    (told,) = caplog.records
    assert (told.levelname, told.name) == ("WARNING", "amas.providers.llm")
    assert f"LiteLLM {UNTESTED} is not the tested" in told.getMessage()


def test_the_installed_version_is_read_without_an_import() -> None:
    """The version is that of the package's own record."""
    assert way.installed_litellm() == importlib.metadata.version("litellm")


def test_clouds_are_not_direct() -> None:
    """What signs requests, or fetches tokens for them, is not on the direct way."""
    rows = load_catalog().values()
    assert [row.name for row in rows if row.cloud] == [row.name for row in rows if row.detour]
