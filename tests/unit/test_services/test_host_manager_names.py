"""The host's own ``providers/manager.py``: its names, its callers and its bugs (B41 to B47)."""

from __future__ import annotations

import asyncio
import gc
import inspect
import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import MISSING, fields, replace
from enum import Enum
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
from typing_extensions import override

import amas.providers
from amas.providers.errors import (
    AllProvidersFailedError,
    InvalidRequestError,
    NoProviderAvailableError,
    ProviderError,
)
from amas.providers.llm import catalog as catalog_module
from amas.providers.llm.catalog import load_catalog
from amas.providers.llm.litellm_runtime import load_runtime
from amas.providers.manager import (
    AIProvider,
    MockProvider,
    ProviderConfig,
    ProviderManager,
    ProviderStatus,
    get_provider_manager,
    host_names,
    host_providers,
    host_rows,
    validate_environment,
)
from amas.providers.manager.__main__ import main
from amas.providers.manager.host_providers import LiveProvider
from amas.providers.manager.host_rows import load_rows
from amas.providers.observability.audit.reading import read_records
from amas.providers.security.master_key import generate
from amas.providers.testing.fake_provider import FakeClock
from amas.providers.testing.upstream import Fault, ThreadedUpstream

ROOT = Path(__file__).parents[3]
provider_manager: Any = import_module("amas.providers.manager").provider_manager

# Section 5 of the contract: name, variable, priority, required.
CONTRACT = [
    ("OpenAI", "OPENAI_API_KEY", 1, True),
    ("GeminiAI", "GEMINIAI_API_KEY", 2, True),
    ("GroqAI", "GROQAI_API_KEY", 3, True),
    ("Cohere", "COHERE_API_KEY", 4, False),
    ("Anthropic", "ANTHROPIC_API_KEY", 5, False),
    ("HuggingFace", "HUGGINGFACE_API_KEY", 6, False),
    ("NVIDIAAI", "NVIDIAAI_API_KEY", 7, False),
    ("Replicate", "REPLICATE_API_KEY", 8, False),
    ("TogetherAI", "TOGETHERAI_API_KEY", 9, False),
    ("Perplexity", "PERPLEXITY_API_KEY", 10, False),
    ("DeepSeek", "DEEPSEEK_API_KEY", 11, False),
    ("MistralAI", "MISTRALAI_API_KEY", 12, False),
    ("Ollama", "OLLAMA_API_KEY", 13, False),
    ("LocalAI", "LOCALAI_API_KEY", 14, False),
    ("Custom", "CUSTOM_API_KEY", 15, False),
]
SIGNATURES: list[tuple[Callable[..., Any], str]] = [
    (ProviderConfig, "name env_key required=False priority=0 max_retries=3 timeout=30"),
    (AIProvider, "api_key config"),
    (AIProvider.is_available, "self"),
    (AIProvider.infer, "self prompt **kwargs"),
    (AIProvider.get_provider_info, "self"),
    (AIProvider.handle_error, "self error"),
    (MockProvider, "api_key config"),
    (MockProvider.infer, "self prompt **kwargs"),
    (ProviderManager, ""),
    (ProviderManager.get_available_providers, "self"),
    (ProviderManager.get_provider, "self name"),
    (ProviderManager.get_best_provider, "self"),
    (ProviderManager.get_provider_status, "self"),
    (ProviderManager.validate_environment, "self"),
    (ProviderManager._create_provider, "self config api_key"),
    (get_provider_manager, ""),
    (validate_environment, ""),
]
STATUS_TYPES = {
    "status": str,
    "available": bool,
    "error_count": int,
    "last_error": str | None,
    "priority": int,
}
VALIDATION_TYPES = {
    "valid": bool,
    "enabled_providers": int,
    "total_configured": int,
    "missing_required": list,
    "warnings": list,
    "recommendations": list,
}


class Vendors(NamedTuple):
    """OpenAI on one server, all other vendors on a second one."""

    openai: ThreadedUpstream
    others: ThreadedUpstream


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give each test the one instance anew, and leave no thread behind."""
    monkeypatch.setattr(host_names, "_instance", None)
    yield
    made = host_names._instance
    if made is not None:
        made.close()


@pytest.fixture
def vendors(monkeypatch: pytest.MonkeyPatch) -> Iterator[Vendors]:
    """Let every vendor of the catalogue live on this machine."""
    load_runtime()  # beforehand: on a busy machine the import takes longer than a start may
    with ThreadedUpstream("openai") as first, ThreadedUpstream("others") as second:
        known = catalog_module.catalog()
        moved = {
            name: replace(
                entry, base_url=(first if name == "openai" else second).url + entry.api_root
            )
            for name, entry in known.entries.items()
        }
        prefixes = {prefix: moved[entry.name] for prefix, entry in known.prefixes.items()}
        patched = replace(
            known, entries=MappingProxyType(moved), prefixes=MappingProxyType(prefixes)
        )
        monkeypatch.setattr(catalog_module, "catalog", lambda: patched)
        yield Vendors(first, second)


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch, fake_key: str) -> Callable[..., None]:
    """Return what puts keys of the named providers into the environment."""
    variables = {name: variable for name, variable, _, _ in CONTRACT}

    def put(*names: str) -> None:
        for name in names:
            monkeypatch.setenv(variables[name], fake_key)

    return put


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeClock:
    """Set failing providers aside at once, by a clock that moves only when told to."""
    clock = FakeClock()
    monkeypatch.setattr(host_providers, "_clock", clock)
    circuit = "{failure_threshold: 1, cooldown: 30, max_cooldown: 40}"
    path = tmp_path / "config.yaml"
    path.write_text(f"providers: {{manager: {{circuit_breaker: {circuit}}}}}\n", encoding="utf-8")
    monkeypatch.setenv("AMAS_PROVIDERS_CONFIG", str(path))
    return clock


def until(condition: Callable[[], bool]) -> None:
    """Wait for something that is to happen by itself."""
    ends = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < ends, "it did not happen"
        time.sleep(0.02)


def start() -> None:
    """Start everybody, so that on a slow machine nobody stands in for who is not ready yet."""

    async def all_ready(manager: amas.providers.ProviderManager) -> bool:
        return all((await manager.initialize_all_providers()).values())

    assert get_provider_manager()._crew._started().run_sync(all_ready)


def asked(upstream: ThreadedUpstream) -> list[str | None]:
    """Return the models that were asked for an answer, in order."""
    return [item.model for item in upstream.requests if item.endpoint == "chat"]


def live(name: str = "OpenAI") -> LiveProvider:
    """Return a provider of the one instance."""
    provider = get_provider_manager().get_provider(name)
    assert isinstance(provider, LiveProvider)
    return provider


# --- the names, row by row ------------------------------------------------------------------


@pytest.mark.parametrize(("item", "expected"), SIGNATURES)
def test_signature_is_the_hosts(item: Callable[..., Any], expected: str) -> None:
    """Every function and constructor takes what it took: names, order, defaults."""
    names = [
        f"{'**' if given.kind is given.VAR_KEYWORD else ''}{given.name}"
        + ("" if given.default is given.empty else f"={given.default}")
        for given in inspect.signature(item).parameters.values()
    ]
    assert " ".join(names) == expected


def test_config_is_a_dataclass_with_the_hosts_defaults() -> None:
    """ProviderConfig has the host's fields, and needs only the first two."""
    config = ProviderConfig("OpenAI", "OPENAI_API_KEY")
    assert config == ProviderConfig("OpenAI", "OPENAI_API_KEY", False, 0, 3, 30)
    config.timeout = 5
    assert [item.name for item in fields(ProviderConfig) if item.default is MISSING] == [
        "name",
        "env_key",
    ]


def test_status_is_an_enum_with_the_hosts_values() -> None:
    """ProviderStatus has the host's members, and is no text itself."""
    assert issubclass(ProviderStatus, Enum)
    assert {item.name: item.value for item in ProviderStatus} == {
        "ENABLED": "enabled",
        "DISABLED": "disabled",
        "ERROR": "error",
        "QUOTA_EXCEEDED": "quota_exceeded",
    }
    assert not isinstance(ProviderStatus.ENABLED, str)


def test_ai_provider_is_abstract_in_three_methods() -> None:
    """A subclass of the host's has to bring what it always had to."""
    assert AIProvider.__abstractmethods__ == {"is_available", "infer", "get_provider_info"}
    with pytest.raises(TypeError):
        AIProvider("key", ProviderConfig("X", "X_API_KEY"))  # type: ignore[abstract]


def test_mock_provider_answers_as_ever() -> None:
    """MockProvider has the host's attributes, canned text and description."""
    config = ProviderConfig("X", "X_API_KEY", priority=7)
    mock = MockProvider("key", config)
    assert (mock.api_key, mock.config, mock.status) == ("key", config, ProviderStatus.ENABLED)
    assert (mock.error_count, mock.last_error, mock.is_available()) == (0, None, True)
    assert mock.infer("x" * 60, temperature=1) == f"Mock response to: {'x' * 50}..."
    assert mock.get_provider_info() == {
        "name": "X",
        "type": "mock",
        "status": "enabled",
        "priority": 7,
    }


def test_handle_error_counts_and_judges_as_ever(fake_key: str) -> None:
    """The third error means ERROR, one with the word quota QUOTA_EXCEEDED; no key is kept."""
    mock = MockProvider(fake_key, ProviderConfig("X", "X_API_KEY"))
    mock.handle_error(ValueError(f"broken with {fake_key}"))
    assert (mock.error_count, mock.status) == (1, ProviderStatus.ENABLED)
    assert mock.last_error == "broken with **********"
    mock.handle_error(ValueError("Quota is used up"))
    assert (mock.error_count, mock.status) == (2, ProviderStatus.QUOTA_EXCEEDED)
    mock.handle_error(ValueError("broken"))
    assert (mock.error_count, mock.status) == (3, ProviderStatus.ERROR)


def test_rows_are_those_of_the_contract() -> None:
    """All fifteen providers are there, with names, variables and places as they were."""
    rows = list(load_rows().values())
    assert [(row.name, row.env, row.priority, row.required) for row in rows] == CONTRACT
    assert all(row.provider in load_catalog() for row in rows)


@pytest.mark.parametrize(("name", "variable", "priority", "required"), CONTRACT)
def test_key_alone_enables_a_provider(
    name: str,
    variable: str,
    priority: int,
    required: bool,
    monkeypatch: pytest.MonkeyPatch,
    fake_key: str,
) -> None:
    """Each variable switches on its provider, which is ready to be asked, and nobody else."""
    monkeypatch.setenv(variable, fake_key)
    monkeypatch.setenv("CUSTOM_BASE_URL", "http://127.0.0.1:1")
    manager = ProviderManager()
    assert list(manager.providers) == manager.get_available_providers() == [name]
    provider = manager.get_provider(name)
    assert isinstance(provider, LiveProvider)
    assert manager.get_best_provider() is provider
    assert provider.get_provider_info() == {
        "name": name,
        "type": load_rows()[name].provider,
        "status": "enabled",
        "priority": priority,
    }
    config = ProviderConfig(name, variable, required=required, priority=priority)
    assert provider.config == config
    assert config in manager.provider_configs
    assert provider.api_key == fake_key


def test_manager_has_the_hosts_attributes(keys: Callable[..., None]) -> None:
    """Attributes logger, providers and provider_configs are of the host's types."""
    keys("OpenAI")
    manager = ProviderManager()
    assert isinstance(manager.logger, logging.Logger)
    assert manager.logger.name == "amas.providers.manager"
    assert all(isinstance(item, AIProvider) for item in manager.providers.values())
    assert [item.name for item in manager.provider_configs] == [row[0] for row in CONTRACT]
    assert manager.get_provider("openai") is None


@pytest.mark.parametrize("asked_before", [False, True])
def test_status_has_keys_and_types_of_the_contract(
    asked_before: bool, vendors: Vendors, keys: Callable[..., None], fake_key: str
) -> None:
    """The status names all fifteen, before and after somebody was asked, and goes into JSON."""
    keys("OpenAI", "GroqAI")
    if asked_before:
        start()
        live().infer("hello")
    status = get_provider_manager().get_provider_status()
    assert list(status) == [row[0] for row in CONTRACT]
    for info in status.values():
        assert list(info) == list(STATUS_TYPES)
        assert all(isinstance(info[name], kind) for name, kind in STATUS_TYPES.items())
    assert status["OpenAI"]["status"] == "enabled"
    assert status["Cohere"] == {
        "status": "missing_key",
        "available": False,
        "error_count": 0,
        "last_error": None,
        "priority": 4,
    }
    assert fake_key not in json.dumps(status)


@pytest.mark.parametrize(
    ("names", "missing"),
    [
        (["OpenAI", "GeminiAI", "GroqAI"], []),
        (["OpenAI"], ["GeminiAI", "GroqAI"]),
        (["Cohere", "GroqAI", "DeepSeek", "Perplexity", "MistralAI"], ["OpenAI", "GeminiAI"]),
    ],
)
def test_environment_is_valid_only_with_all_three(
    names: list[str], missing: list[str], keys: Callable[..., None]
) -> None:
    """The result has the host's keys and types, and is valid with all required keys only."""
    keys(*names)
    result = validate_environment()
    assert list(result) == list(VALIDATION_TYPES)
    assert all(isinstance(result[name], kind) for name, kind in VALIDATION_TYPES.items())
    assert (result["valid"], result["missing_required"]) == (not missing, missing)
    assert (result["enabled_providers"], result["total_configured"]) == (len(names), 15)
    alone = "Only 1 provider enabled - consider adding more for redundancy"
    assert result["warnings"] == ([alone] if len(names) == 1 else [])
    plenty = "Excellent redundancy! You have 5+ providers enabled"
    assert result["recommendations"] == ([plenty] if len(names) >= 5 else [])


def test_create_provider_may_be_overridden(keys: Callable[..., None], fake_key: str) -> None:
    """A subclass makes its own providers, leaves some out, and breaks nobody by failing."""
    keys("OpenAI", "GeminiAI", "GroqAI", "Cohere")

    class Sleeping(MockProvider):
        @override
        def is_available(self) -> bool:
            return False

    class Own(ProviderManager):
        @override
        def _create_provider(self, config: ProviderConfig, api_key: str) -> AIProvider | None:
            assert api_key == fake_key
            match config.name:
                case "OpenAI":
                    raise ValueError(f"cannot use {api_key}")
                case "GeminiAI":
                    return None
                case "GroqAI":
                    return Sleeping(api_key, config)
                case _:
                    return MockProvider(api_key, config)

    manager = Own()
    assert manager.get_available_providers() == ["Cohere"]
    best = manager.get_best_provider()
    assert best is not None
    assert best.infer("hi") == "Mock response to: hi..."
    best.handle_error(ValueError("Quota"))
    status = manager.get_provider_status()
    assert status["Cohere"] == {
        "status": "quota_exceeded",
        "available": True,
        "error_count": 1,
        "last_error": "Quota",
        "priority": 4,
    }
    assert manager.get_best_provider() is None
    assert status["OpenAI"]["status"] == "disabled"
    assert status["OpenAI"]["last_error"] == "cannot use **********"
    assert status["GroqAI"]["last_error"] == "its key is set, but it is not available"
    result = manager.validate_environment()
    assert result["missing_required"] == ["OpenAI", "GeminiAI", "GroqAI"]
    assert "Only 0 providers enabled - consider adding more for redundancy" in result["warnings"]


def test_further_providers_need_their_maker(monkeypatch: pytest.MonkeyPatch) -> None:
    """A subclass's own row without _create_provider is disabled, and says what to do."""

    class Own(ProviderManager):
        @override
        def _get_provider_configs(self) -> list[ProviderConfig]:
            return [ProviderConfig("Mine", "MINE_API_KEY")]

    monkeypatch.setenv("MINE_API_KEY", "key-of-mine")
    with pytest.raises(RuntimeError, match="Mine: nothing is known of its service"):
        Own()


# --- what stands behind the names -----------------------------------------------------------


def test_custom_needs_an_address(
    monkeypatch: pytest.MonkeyPatch, keys: Callable[..., None]
) -> None:
    """Without CUSTOM_BASE_URL, or with one that is none, Custom is disabled and says why."""
    keys("OpenAI", "Custom")
    status = ProviderManager().get_provider_status()["Custom"]
    assert (status["status"], status["available"]) == ("disabled", False)
    assert status["last_error"] == "CUSTOM_BASE_URL: is not set; it has to give the address"
    monkeypatch.setenv("CUSTOM_BASE_URL", "nowhere")
    manager = ProviderManager()
    why = "CUSTOM_BASE_URL: the base_url is no address"
    assert why in manager.get_provider_status()["Custom"]["last_error"]
    assert why in manager.validate_environment()["warnings"][0]


def test_row_that_cannot_work_says_why(
    monkeypatch: pytest.MonkeyPatch, keys: Callable[..., None]
) -> None:
    """What is wrong with a row other than its address is told as it is."""
    keys("OpenAI")
    row = host_rows.Row("OpenAI", "OPENAI_API_KEY", 1, "nowhere")
    monkeypatch.setattr(host_rows, "load_rows", lambda: {"OpenAI": row})
    with pytest.raises(RuntimeError, match="OpenAI: unknown provider 'nowhere'"):
        ProviderManager()


def test_key_that_is_none_disables_with_a_reason(
    monkeypatch: pytest.MonkeyPatch, keys: Callable[..., None]
) -> None:
    """A key with a space in it is told from a missing one, and not repeated."""
    keys("GroqAI")
    monkeypatch.setenv("OPENAI_API_KEY", "no such-key-at-all")
    status = ProviderManager().get_provider_status()["OpenAI"]
    assert status["status"] == "disabled"
    assert status["last_error"].startswith("api_key has characters that no key has")
    assert "such-key" not in status["last_error"]


def test_addresses_and_models_of_local_servers_can_be_set(
    monkeypatch: pytest.MonkeyPatch, vendors: Vendors, keys: Callable[..., None], fake_key: str
) -> None:
    """Variables give address and model; Ollama's key is a switch, and never sent in the clear."""
    keys("Ollama", "LocalAI", "Custom")
    monkeypatch.setenv("OLLAMA_API_KEY", "yes please")
    monkeypatch.setenv("OLLAMA_MODEL", "qwen3:4b")
    monkeypatch.setenv("LOCALAI_BASE_URL", vendors.openai.url)
    monkeypatch.setenv("CUSTOM_BASE_URL", f"{vendors.openai.url}/v1/chat/completions")
    monkeypatch.setenv("CUSTOM_MODEL", "my-model")
    start()
    assert live("Ollama").infer("a") == "others says: a"
    assert live("LocalAI").infer("b") == live("Custom").infer("b") == "openai says: b"
    assert asked(vendors.others) == ["qwen3:4b"]
    assert asked(vendors.openai) == ["gpt-4", "my-model"]
    assert "yes please" not in str([dict(item.headers) for item in vendors.others.requests])
    sent = {item.headers.get("Authorization") for item in vendors.openai.requests}
    assert sent == {f"Bearer {fake_key}"}


def test_ollamas_key_goes_to_an_https_address(
    monkeypatch: pytest.MonkeyPatch, fake_key: str
) -> None:
    """Where Ollama is no local server, its key is a key."""
    monkeypatch.setenv("OLLAMA_API_KEY", fake_key)
    monkeypatch.setenv("OLLAMA_BASE_URL", "https://ollama.invalid")
    manager = ProviderManager()
    assert manager._crew._configs[0].key_value == fake_key


def test_infer_takes_chat_parameters(vendors: Vendors, keys: Callable[..., None]) -> None:
    """Keyword arguments reach the model; an unknown one is refused, and nobody's failure."""
    keys("OpenAI")
    provider = live()
    provider.infer("hello", system_prompt="Be brief.", temperature=0.5, model="gpt-5.4")
    body = vendors.openai.requests[-1].json
    assert body["model"] == "gpt-5.4"
    assert body["temperature"] == 0.5
    assert body["messages"][0]["content"] == "Be brief."
    with pytest.raises(InvalidRequestError, match="api_key"):
        provider.infer("hello", api_key="mine")
    with pytest.raises(InvalidRequestError, match="colour"):
        provider.infer("hello", colour="red")
    assert (provider.error_count, provider.last_error) == (0, None)


def test_threads_share_one_manager(vendors: Vendors, keys: Callable[..., None]) -> None:
    """Eight threads, half of them with an event loop, are all answered through one thread."""
    keys("OpenAI")
    provider = live()

    async def in_a_loop(text: str) -> str:
        return provider.infer(text)

    def one(number: int) -> str:
        text = f"t{number}"
        return asyncio.run(in_a_loop(text)) if number % 2 else provider.infer(text)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(one, range(40)))
    assert answers == [f"openai says: t{number}" for number in range(40)]
    names = [thread.name for thread in threading.enumerate()]
    assert names.count("amas-providers") == 1


def test_close_gives_back_the_thread(vendors: Vendors, keys: Callable[..., None]) -> None:
    """After close nothing is left running, and a later call begins anew."""
    keys("OpenAI")
    manager = get_provider_manager()
    for _ in range(2):
        assert live().infer("hello") == "openai says: hello"
        manager.close()
        assert "amas-providers" not in [thread.name for thread in threading.enumerate()]
    manager.close()
    assert manager.get_available_providers() == ["OpenAI"]


def test_forgotten_manager_gives_back_its_thread(
    vendors: Vendors, keys: Callable[..., None]
) -> None:
    """A manager that nobody holds any more ends its thread by itself."""
    keys("OpenAI")
    manager = ProviderManager()
    manager.providers["OpenAI"].infer("hello")
    del manager
    gc.collect()
    until(lambda: "amas-providers" not in [thread.name for thread in threading.enumerate()])


def test_status_set_by_hand_is_obeyed(keys: Callable[..., None]) -> None:
    """DISABLED holds until it is changed, and takes the provider out of the choice."""
    keys("OpenAI", "GroqAI")
    manager = get_provider_manager()
    live().status = ProviderStatus.DISABLED
    assert manager.get_available_providers() == ["GroqAI"]
    assert manager.get_best_provider() is live("GroqAI")
    assert not live().is_available()
    live().status = ProviderStatus.ENABLED
    assert manager.get_best_provider() is live()


def test_answer_leaves_a_provider_disabled_by_hand(
    clock: FakeClock, vendors: Vendors, keys: Callable[..., None]
) -> None:
    """An answer ends an ERROR told from outside, and no DISABLED."""
    keys("OpenAI")
    provider = live()
    for told, after in (("ERROR", "ENABLED"), ("DISABLED", "DISABLED")):
        provider.status = ProviderStatus[told]
        provider.infer("hello")
        assert provider.status is ProviderStatus[after]


def test_manager_section_of_the_configuration_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, vendors: Vendors, keys: Callable[..., None]
) -> None:
    """AMAS_PROVIDERS_CONFIG says how failures are treated, such as: without failover."""
    keys("OpenAI", "GroqAI")
    path = tmp_path / "config.yaml"
    path.write_text("providers: {manager: {failover_enabled: false}}\n", encoding="utf-8")
    monkeypatch.setenv("AMAS_PROVIDERS_CONFIG", str(path))
    vendors.openai.fault(status=401, times=None)
    with pytest.raises(ProviderError):
        live().infer("hello")
    assert not asked(vendors.others)


# --- the callers of section 8.5 -------------------------------------------------------------


async def test_orchestrator_gets_a_text_in_a_running_loop(
    vendors: Vendors, keys: Callable[..., None]
) -> None:
    """orchestrator.py:220: the best provider answers synchronously, and its text is read."""
    keys("OpenAI")
    provider = provider_manager.get_best_provider()
    assert provider
    response = provider.infer("Analyse the target and recommend.")
    assert isinstance(response, str)
    assert len(response) > 0
    assert "recommend" in response.lower()


def test_orchestrator_reports_provider_status(keys: Callable[..., None]) -> None:
    """orchestrator.py:294: the enabled ones are counted, and the whole is returned as JSON."""
    keys("OpenAI", "GeminiAI")
    status = provider_manager.get_provider_status()
    assert len([info for info in status.values() if info["available"]]) == 2
    assert json.loads(json.dumps(status)) == status


def test_main_reads_validation_and_status(keys: Callable[..., None]) -> None:
    """__main__.py:55 and 95: it ends with 1 unless valid, else prints a line per provider."""
    keys("OpenAI")
    validation = validate_environment()
    assert not validation["valid"]
    assert validation["missing_required"] == ["GeminiAI", "GroqAI"]
    lines = [
        f"{name:15} {info['status'].upper():12} (Priority: {info['priority']})"
        for name, info in provider_manager.get_provider_status().items()
    ]
    assert lines[0] == "OpenAI          ENABLED      (Priority: 1)"
    assert lines[1] == "GeminiAI        MISSING_KEY  (Priority: 2)"


def test_validate_env_script_prints_everything(keys: Callable[..., None]) -> None:
    """scripts/validate_env.py: all six results and each provider's fields can be printed."""
    keys("OpenAI", "GeminiAI", "GroqAI", "Cohere", "DeepSeek")
    result = validate_environment()
    assert result["valid"]
    assert (result["enabled_providers"], result["total_configured"]) == (5, 15)
    for name in ("missing_required", "warnings", "recommendations"):
        assert all(isinstance(line, str) for line in result[name])
    assert all(
        f"{name:15} {info['status']:12} {info['priority']}"
        for name, info in provider_manager.get_provider_status().items()
    )


def test_name_alone_costs_nothing() -> None:
    """api/server.py:144 tests the name for truth; without keys that raises nothing."""
    assert provider_manager


# --- the name provider_manager --------------------------------------------------------------


def test_module_answers_like_the_instance(keys: Callable[..., None]) -> None:
    """What our module does not have itself is the one instance's, also the hook."""
    keys("OpenAI")
    instance = get_provider_manager()
    assert provider_manager.providers is instance.providers
    assert provider_manager.get_best_provider() is instance.providers["OpenAI"]
    assert provider_manager._create_provider == instance._create_provider
    for name in ("logger", "provider_configs", *vars(ProviderManager)):
        if not name.startswith("__"):
            assert getattr(provider_manager, name) == getattr(instance, name)


def test_module_stays_our_module() -> None:
    """It still has our class, lacks what neither has, and makes nothing to find that out."""
    from amas.providers.manager.provider_manager import ProviderManager as Ours

    assert Ours is amas.providers.ProviderManager
    assert ProviderManager.__module__ == "amas.providers.manager.host_names"
    for name in ("nothing", "_nothing", "__path__", "__wrapped__"):
        assert not hasattr(provider_manager, name)
    assert host_names._instance is None
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = import_module("amas.providers.manager").nothing


def test_names_are_listed() -> None:
    """The package lists the host's names, and exports them with a star."""
    package = import_module("amas.providers.manager")
    assert set(package.__all__) <= set(dir(package))
    starred: dict[str, Any] = {}
    exec("from amas.providers.manager import *", starred)
    assert starred["ProviderManager"] is ProviderManager
    assert starred["provider_manager"] is provider_manager


PROGRAM = """
import sys
from importlib import import_module
root, first = sys.argv[1:]
if first:
    import_module(f"{root}.providers.manager.{first}")
package = import_module(f"{root}.providers.manager")
assert first or "yaml" not in sys.modules
exec(f"from {root}.providers.manager import provider_manager, validate_environment")
exec(f"from {root}.providers.manager.provider_manager import ProviderManager as Ours")
assert Ours.__init__.__kwdefaults__ and Ours.from_config
try:
    provider_manager.get_best_provider()
except RuntimeError as error:
    print(error)
import os
os.environ["GROQAI_API_KEY"] = "test-key-of-groq"
print(provider_manager.get_best_provider().config.name, validate_environment()["valid"])
assert package.provider_manager is provider_manager
assert not {"litellm", "openai"} & sys.modules.keys()
"""


@pytest.mark.slow
@pytest.mark.parametrize(("root", "path"), [("amas", ROOT / "src"), ("src.amas", ROOT)])
@pytest.mark.parametrize("first", ["", "provider_manager", "host_names", "threaded"])
def test_names_work_whatever_was_imported_first(root: str, path: Path, first: str) -> None:
    """Under both names of the package, and in any order, without a warning and without LiteLLM."""
    ended = run("-c", PROGRAM, root, first, path=path)
    assert (ended.returncode, ended.stderr.count("\n")) == (0, 2), ended.stderr
    assert ended.stdout.splitlines() == [
        "No AI provider API keys found. Please add at least one key to .env or secrets.",
        "Required: OPENAI_API_KEY, GEMINIAI_API_KEY, GROQAI_API_KEY",
        "GroqAI False",
    ]


def run(*arguments: str, path: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a process of its own, where every warning is an error."""
    return subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", *arguments],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
        cwd=path,
        env={**os.environ, "PYTHONPATH": str(path), "PYTHONIOENCODING": "utf-8", **environ},
    )


@pytest.mark.slow
def test_answer_leaves_no_warning_at_exit(vendors: Vendors, fake_key: str) -> None:
    """A program that asks inside a loop and simply ends does so in silence."""
    program = (
        "import asyncio, logging\nlogging.getLogger('asyncio').setLevel(logging.ERROR)\n"
        "from amas.providers.manager import provider_manager\n"
        "async def main():\n    return provider_manager.get_best_provider().infer('hello')\n"
        "print(asyncio.run(main()))\n"
    )
    ended = run(
        "-c",
        program,
        path=ROOT / "src",
        CUSTOM_API_KEY=fake_key,
        CUSTOM_BASE_URL=vendors.openai.url,
    )
    assert ended.stdout == "openai says: hello\n"
    assert ended.stderr == "missing required providers: OpenAI, GeminiAI, GroqAI\n"


# --- the command ----------------------------------------------------------------------------


def test_command_shows_validation_and_status(
    keys: Callable[..., None], capsys: pytest.CaptureFixture[str], fake_key: str
) -> None:
    """It prints what the host's did, and ends with 0 also where something is missing."""
    keys("OpenAI")
    assert main(["--validate", "--status"]) == 0
    out = capsys.readouterr().out
    assert "\n🔍 Environment Validation Results:\nValid: False\nEnabled Providers: 1\n" in out
    assert "Missing Required: ['GeminiAI', 'GroqAI']\nWarnings: ['Only 1 provider" in out
    assert (
        "\n📊 Provider Status:\n✅ OpenAI: enabled (Priority: 1)\n❌ GeminiAI: missing_key" in out
    )
    assert "Recommendations" not in out
    assert fake_key not in out
    assert main([]) == 0
    assert not capsys.readouterr().out


def test_command_ends_with_one_without_any_key() -> None:
    """Without keys it says what to do, without a traceback."""
    ended = run("-m", "amas.providers.manager", "--status", path=ROOT / "src")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "No AI provider API keys found" in ended.stderr
    assert "Traceback" not in ended.stderr


# --- the bugs -------------------------------------------------------------------------------


def test_b41_nothing_is_raised_before_first_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """B41: names can be had without keys; using them raises, until there is a key."""
    exec("from amas.providers.manager import provider_manager, get_provider_manager")
    uses: list[Callable[[], Any]] = [
        ProviderManager,
        get_provider_manager,
        validate_environment,
        _show_status,
    ]
    for use in uses:
        with pytest.raises(RuntimeError, match="No AI provider API keys found"):
            use()
    monkeypatch.setenv("OPENAI_API_KEY", "a-key")
    for use in uses:
        use()


def _show_status() -> None:
    """Use the name, as the host's scripts do."""
    provider_manager.get_provider_status()


@pytest.mark.parametrize("blank", ["", " ", "\t\n"])
def test_b42_blank_key_is_no_key(blank: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """B42: a blank variable enables nobody; space around a key is cut off."""
    monkeypatch.setenv("OPENAI_API_KEY", blank)
    with pytest.raises(RuntimeError):
        ProviderManager()
    monkeypatch.setenv("GROQAI_API_KEY", " a-key \n")
    manager = ProviderManager()
    assert manager.get_available_providers() == ["GroqAI"]
    assert manager.providers["GroqAI"].api_key == "a-key"
    assert manager.get_provider_status()["OpenAI"]["status"] == "missing_key"


@pytest.mark.parametrize("name", [row[0] for row in CONTRACT])
def test_b43_every_provider_is_real(
    name: str,
    vendors: Vendors,
    keys: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    fake_key: str,
) -> None:
    """B43: each of the fifteen sends the prompt with its key to its service, none is a mock."""
    keys(name)
    monkeypatch.setenv("CUSTOM_BASE_URL", vendors.others.url)
    upstream = vendors.openai if name == "OpenAI" else vendors.others
    answer = live(name).infer("hello")
    assert answer == f"{upstream.upstream.name} says: hello"
    request = next(item for item in upstream.requests if item.endpoint == "chat")
    assert (fake_key in str(dict(request.headers))) is (name != "Ollama")


def test_b44_others_stand_in_and_the_error_is_kept(
    vendors: Vendors, keys: Callable[..., None], fake_key: str
) -> None:
    """B44: a failure is counted for who failed, and another provider answers."""
    keys("OpenAI", "GroqAI")
    start()
    vendors.openai.fault(status=503, times=None, message=f"down, {fake_key}")
    assert live().infer("hello") == "others says: hello"
    status = get_provider_manager().get_provider_status()
    assert status["OpenAI"]["error_count"] == 1
    assert "503" in status["OpenAI"]["last_error"]
    assert fake_key not in status["OpenAI"]["last_error"]
    assert (status["GroqAI"]["error_count"], status["GroqAI"]["last_error"]) == (0, None)
    vendors.openai.clear()
    assert live().infer("hello") == "openai says: hello"
    assert (live().error_count, live().last_error) == (0, None)


def test_b44_asked_for_provider_is_asked_first(vendors: Vendors, keys: Callable[..., None]) -> None:
    """B44: failover does not change who is asked as long as that one answers."""
    keys("OpenAI", "GroqAI")
    start()
    assert live("GroqAI").infer("hello") == "others says: hello"
    assert not asked(vendors.openai)


def test_b44_total_failure_raises(
    vendors: Vendors, keys: Callable[..., None], fake_key: str
) -> None:
    """B44: where nobody can answer, infer raises; no text stands for an error, no key is shown."""
    keys("OpenAI", "GroqAI")
    start()
    vendors.openai.fault(Fault.unauthorized(times=None, echo_key=True))
    vendors.others.fault(Fault.unauthorized(times=None))
    with pytest.raises(AllProvidersFailedError) as caught:
        live().infer("hello")
    assert fake_key not in f"{caught.value!r} {live()!r} {vars(live())!r}"
    assert live().error_count == live("GroqAI").error_count == 1
    live().handle_error(caught.value)
    assert live().error_count == 1, "an error of infer's has been counted"
    assert get_provider_manager().get_available_providers() == []


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (Fault(status=503, times=None), "error"),
        (Fault.unauthorized(times=None), "error"),
        (Fault.quota_exceeded(times=None), "quota_exceeded"),
        (Fault.rate_limited(30, times=None), "quota_exceeded"),
    ],
)
def test_b45_being_set_aside_ends_by_itself(
    fault: Fault, status: str, clock: FakeClock, vendors: Vendors, keys: Callable[..., None]
) -> None:
    """B45, B46: ERROR and QUOTA_EXCEEDED last as long as circuit or key says, also of the only one."""
    keys("OpenAI")
    manager = get_provider_manager()
    vendors.openai.fault(fault)
    with pytest.raises(ProviderError):
        live().infer("hello")
    info = manager.get_provider_status()["OpenAI"]
    assert (info["status"], info["available"], info["error_count"]) == (status, False, 1)
    assert info["last_error"]
    assert manager.get_best_provider() is None
    with pytest.raises(NoProviderAvailableError):
        live().infer("hello")
    vendors.openai.clear()
    clock.now += 41
    assert manager.get_best_provider() is live()
    assert live().infer("hello") == "openai says: hello"
    assert live().status is ProviderStatus.ENABLED
    assert live().error_count == 0


@pytest.mark.parametrize(
    ("texts", "status"), [(["Quota is used up"], "quota_exceeded"), (["broken"] * 3, "error")]
)
def test_b45_errors_told_from_outside_are_forgiven(
    texts: list[str], status: str, clock: FakeClock, keys: Callable[..., None]
) -> None:
    """B45: what handle_error is told counts as ever, and no longer for ever."""
    keys("OpenAI")
    for text in texts:
        live().handle_error(ValueError(text))
    info = get_provider_manager().get_provider_status()["OpenAI"]
    assert (info["status"], info["error_count"]) == (status, len(texts))
    assert get_provider_manager().get_best_provider() is None
    clock.now += 41
    assert live().is_available()


def test_b46_provider_thought_unwell_is_still_asked(
    vendors: Vendors, keys: Callable[..., None]
) -> None:
    """B46: the only provider, down when it was started, is tried again and answers."""
    keys("OpenAI")
    manager = get_provider_manager()
    vendors.openai.fault(status=503, times=None, on="any")
    with pytest.raises(NoProviderAvailableError):
        live().infer("hello")
    assert manager.get_provider_status()["OpenAI"]["status"] == "error"
    assert (live().error_count, manager.get_available_providers()) == (1, [])
    vendors.openai.clear()
    best = manager.get_best_provider()
    assert best is live()
    assert best.infer("hello") == "openai says: hello"
    assert live().status is ProviderStatus.ENABLED


def test_b46_a_healthy_provider_goes_before_an_unwell_one(
    vendors: Vendors, keys: Callable[..., None]
) -> None:
    """B46: the first priority is passed over while another one is well, and says why."""
    keys("OpenAI", "GroqAI")
    vendors.openai.fault(status=503, times=None, on="any")
    assert live().infer("hello") == "others says: hello"
    manager = get_provider_manager()
    assert manager.get_best_provider() is live("GroqAI")
    info = manager.get_provider_status()["OpenAI"]
    assert (info["status"], info["error_count"]) == ("error", 0)
    assert "503" in info["last_error"]


def test_b47_names_stay_as_they_are(keys: Callable[..., None]) -> None:
    """B47: the names are not those of the other managers, and stay, for callers show them."""
    keys("OpenAI")
    assert provider_manager.get_provider("OpenAI") is not None
    assert provider_manager.get_provider("openai") is None


def test_calls_of_the_hosts_names_are_recorded_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, vendors: Vendors, keys: Callable[..., None]
) -> None:
    """The audit trail of AMAS_PROVIDERS_CONFIG has them."""
    keys("OpenAI")
    file, trail = tmp_path / "config.yaml", tmp_path / "audit.jsonl"
    master = generate().get_secret_value()
    file.write_text(
        f"providers: {{security: {{master_key: {master}}}, audit: {{path: {trail}}}}}\n",
        encoding="utf-8",
    )
    monkeypatch.setenv("AMAS_PROVIDERS_CONFIG", str(file))
    live().infer("hello")
    get_provider_manager()._crew.close()
    assert [record["kind"] for record in read_records([trail])].count("call") == 1
