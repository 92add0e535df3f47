"""The service of old, by its contract: names, arguments, keys, types, and what is mended."""

from __future__ import annotations

import asyncio
import gc
import inspect
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from amas.providers import ProviderError
from amas.providers.observability.audit.reading import read_records
from amas.providers.security.master_key import generate
from amas.providers.testing.upstream import Fault, ThreadedUpstream
from amas.services.llm_service import LLMService, get_api_key

SRC = Path(__file__).parents[3] / "src"
NOBODY = "http://127.0.0.1:9"  # the port of "discard", where nobody listens
HOSTED = ("deepseek", "glm", "grok")


@pytest.fixture
def ollama() -> Iterator[ThreadedUpstream]:
    """Run a server that looks like Ollama."""
    with ThreadedUpstream("ollama") as server:
        yield server


@pytest.fixture
def hosted() -> Iterator[ThreadedUpstream]:
    """Run a server that looks like a vendor with OpenAI's protocol."""
    with ThreadedUpstream("vendor") as server:
        yield server


def service_at(
    url: str, config: Mapping[str, Any] | None = None, vendor: ThreadedUpstream | None = None
) -> LLMService:
    """Return a service whose Ollama is at an address, and whose vendors are all one server."""
    service = LLMService({"llm_service_url": url, **(config or {})})
    if vendor is not None:
        service.api_endpoints = dict.fromkeys(HOSTED, f"{vendor.url}/v1/chat/completions")
    return service


def in_order(signature: inspect.Signature) -> list[tuple[str, Any]]:
    """Return names and defaults of the parameters."""
    return [(name, item.default) for name, item in signature.parameters.items()]


# Section 1.1 and 1.2: names and attributes


def test_get_api_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """It strips; unset and empty are None, and what is only space is an empty text."""
    assert get_api_key("SOME_OLD_VARIABLE") is None
    for value, expected in (("", None), ("  k ", "k"), ("   ", "")):
        monkeypatch.setenv("SOME_OLD_VARIABLE", value)
        assert get_api_key("SOME_OLD_VARIABLE") == expected
    assert in_order(inspect.signature(get_api_key)) == [("env_name", inspect.Parameter.empty)]


def test_the_module_has_its_logger() -> None:
    """It is named after the module."""
    module = sys.modules[LLMService.__module__]
    assert isinstance(module.logger, logging.Logger)
    assert module.logger.name == "amas.services.llm_service"


async def test_attributes_after_construction() -> None:
    """They have the old names, types and defaults, and nothing has been asked yet."""
    config = {"other": 1}
    service = LLMService(config)
    assert service.config is config
    assert service.base_url == "http://localhost:11434"
    assert (service.models, service.current_model) == ([], None)
    assert [getattr(service, f"{name}_api_key") for name in HOSTED] == [None, None, None]
    assert service.api_endpoints == {
        "deepseek": "https://api.deepseek.com/v1/chat/completions",
        "glm": "https://open.bigmodel.cn/api/paas/v4/chat/completions",
        "grok": "https://api.x.ai/v1/chat/completions",
    }
    client = service.client
    assert isinstance(client, httpx.AsyncClient)
    assert service.client is client
    await service.close()
    assert client.is_closed


def test_the_url_is_kept_as_it_was_given() -> None:
    """Also with a slash at its end."""
    assert LLMService({"llm_service_url": "http://h:1/"}).base_url == "http://h:1/"


def test_none_is_no_configuration() -> None:
    """As before, it takes a mapping."""
    with pytest.raises(AttributeError):
        LLMService(None)  # type: ignore[arg-type]


# Section 1.3: methods


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("initialize", []),
        ("health_check", []),
        ("_load_models", []),
        ("close", []),
        (
            "generate_response",
            [
                ("prompt", inspect.Parameter.empty),
                ("model", None),
                ("temperature", 0.7),
                ("max_tokens", 1000),
                ("provider", "ollama"),
            ],
        ),
        ("generate_embedding", [("text", inspect.Parameter.empty), ("model", None)]),
    ],
)
def test_signatures_are_the_old_ones(method: str, expected: list[tuple[str, Any]]) -> None:
    """Names, order and defaults; all of them are coroutines."""
    function = getattr(LLMService, method)
    assert in_order(inspect.signature(function))[1:] == expected
    assert inspect.iscoroutinefunction(function)


def test_generate_takes_what_its_callers_give() -> None:
    """It never existed, and eight places call it by keyword."""
    signature = inspect.signature(LLMService.generate)
    signature.bind(None, prompt="p", max_tokens=500, temperature=0.7)
    assert signature.return_annotation == "str"


async def test_with_a_local_server_and_no_keys_everything_works(ollama: ThreadedUpstream) -> None:
    """It initializes, lists models, answers and embeds."""
    service = service_at(ollama.url)
    assert await service.initialize() is None  # type: ignore[func-returns-value]
    assert service.models == ["test-model"]
    assert service.current_model == "test-model"
    health = await service.health_check()
    assert health.keys() == {"status", "timestamp", "service"}
    assert (health["status"], health["service"]) == ("healthy", "llm")
    assert datetime.fromisoformat(health["timestamp"]).tzinfo is None
    answer = await service.generate_response("hello")
    assert answer["success"] is True
    assert (answer["response"], answer["content"]) == ("ollama says: hello",) * 2
    assert (answer["model"], answer["provider"]) == ("test-model", "ollama")
    assert isinstance(answer["tokens_used"], int)
    assert answer["tokens_used"] > 0
    assert datetime.fromisoformat(answer["timestamp"]).tzinfo is None
    vector = await service.generate_embedding("text")
    assert vector.keys() == {"success", "embedding", "model", "timestamp"}
    assert vector["success"] is True
    assert all(isinstance(item, float) for item in vector["embedding"])
    assert await service.generate(prompt="hi", max_tokens=5, temperature=0) == "ollama says: hi"
    await service.close()


async def test_with_the_local_server_down_nothing_raises() -> None:
    """Everything says so in what it returns, which goes into JSON."""
    service = service_at(NOBODY)
    await service.initialize()
    assert (service.models, service.current_model) == ([], None)
    health = await service.health_check()
    assert health.keys() == {"status", "error", "timestamp", "service"}
    assert (health["status"], health["service"]) == ("unhealthy", "llm")
    answer = await service.generate_response("hello")
    assert answer.keys() == {"success", "error", "provider", "timestamp"}
    assert (answer["success"], answer["error"]) == (False, "No model available")
    vector = await service.generate_embedding("text")
    assert vector.keys() == {"success", "error", "timestamp"}
    assert (vector["success"], vector["error"]) == (False, "No model available")
    json.dumps([health, answer, vector])
    with pytest.raises(ValueError, match="No model available"):
        await service.generate("hello")
    await service.close()


@pytest.mark.parametrize("pid", HOSTED)
async def test_a_vendor_is_asked_with_its_key(
    pid: str, hosted: ThreadedUpstream, fake_key: str
) -> None:
    """At its endpoint, with one user message and the old defaults."""
    service = service_at(NOBODY, {f"{pid}_api_key": fake_key}, hosted)
    answer = await service.generate_response("hello", provider=pid)
    assert (answer["success"], answer["provider"]) == (True, pid)
    assert answer["response"] == "vendor says: hello"
    assert isinstance(answer["usage"], dict)
    assert answer["usage"]["total_tokens"] == answer["tokens_used"]
    request = [item for item in hosted.requests if item.endpoint == "chat"][-1]
    assert request.headers["authorization"] == f"Bearer {fake_key}"
    body = request.json
    assert body["model"] == {"deepseek": "deepseek-chat", "glm": "glm-4", "grok": "grok-beta"}[pid]
    assert body["messages"] == [{"role": "user", "content": "hello"}]
    assert (body["max_tokens"], body["temperature"]) == (1000, 0.7)
    await service.close()


async def test_unknown_provider_and_missing_key_keep_their_words(
    ollama: ThreadedUpstream,
) -> None:
    """Nobody stands in for them: both are the caller's to mend."""
    service = service_at(ollama.url)
    for provider, error in (
        ("bard", "Unsupported provider: bard"),
        ("deepseek", "DeepSeek API key not configured"),
        ("glm", "GLM API key not configured"),
        ("grok", "Grok API key not configured"),
    ):
        answer = await service.generate_response("hello", provider=provider)
        assert answer.keys() == {"success", "error", "provider", "timestamp"}
        assert (answer["error"], answer["provider"]) == (error, provider)
        with pytest.raises(ValueError, match=error):
            await service.generate("hello", provider=provider)
    await service.close()


async def test_failures_read_as_before(
    ollama: ThreadedUpstream, hosted: ThreadedUpstream, fake_key: str
) -> None:
    """The status alone for Ollama, with what the vendor says for the others."""
    service = service_at(ollama.url, {"glm_api_key": fake_key}, hosted)
    ollama.fault(Fault(status=400, times=None))
    hosted.fault(Fault(status=400, times=None))
    assert (await service.generate_response("hello"))["error"] == "HTTP 400"
    answer = await service.generate_response("hello", provider="glm")
    assert answer["error"].startswith("HTTP 400: ")
    assert answer["provider"] == "glm"
    await service.close()


async def test_it_can_be_closed_twice_and_says_so_afterwards(ollama: ThreadedUpstream) -> None:
    """What is asked of a closed service fails in its answer, without raising."""
    service = service_at(ollama.url)
    await service.initialize()
    await service.close()
    await service.close()
    assert (await service.generate_response("hello"))["success"] is False
    assert (await service.generate_embedding("hello"))["success"] is False
    assert (await service.health_check())["status"] == "unhealthy"
    await service.initialize()


# Failover


async def test_others_stand_in_for_an_outage(hosted: ThreadedUpstream, fake_key: str) -> None:
    """Ollama is down, DeepSeek has a key: its answer says who gave it."""
    service = service_at(NOBODY, {"deepseek_api_key": fake_key}, hosted)
    answer = await service.generate_response("hello")
    assert (answer["success"], answer["provider"]) == (True, "deepseek")
    assert answer["model"] == "deepseek-chat"
    assert await service.generate("hello") == "vendor says: hello"
    await service.close()


async def test_without_failover_it_behaves_as_of_old(
    hosted: ThreadedUpstream, fake_key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``failover_enabled: false``: only the provider asked for is asked."""
    file = tmp_path / "providers.yaml"
    file.write_text("providers: {manager: {failover_enabled: false}}", encoding="utf-8")
    monkeypatch.setenv("AMAS_PROVIDERS_CONFIG", str(file))
    service = service_at(NOBODY, {"deepseek_api_key": fake_key}, hosted)
    answer = await service.generate_response("hello")
    assert (answer["success"], answer["error"]) == (False, "No model available")
    answer = await service.generate_response("hello", model="m")
    assert (answer["success"], answer["provider"]) == (False, "ollama")
    assert [item.endpoint for item in hosted.requests if item.endpoint == "chat"] == []
    await service.close()


async def test_without_failover_nobody_is_set_aside(
    ollama: ThreadedUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One request for each call, however many have failed, and an answer as soon as it is well."""
    file = tmp_path / "providers.yaml"
    file.write_text("providers: {manager: {failover_enabled: false}}", encoding="utf-8")
    monkeypatch.setenv("AMAS_PROVIDERS_CONFIG", str(file))
    service = service_at(ollama.url)
    await service.initialize()
    for status in (500, 500, 500, 500, 500, 500, 401, 429):
        ollama.fault(Fault(status=status, times=1))
        assert (await service.generate_response("hello"))["error"] == f"HTTP {status}"
    assert (await service.generate_response("hello"))["success"] is True
    assert sum(item.endpoint == "chat" for item in ollama.requests) == 9
    await service.close()


async def test_a_circuit_that_is_open_is_not_healthy(ollama: ThreadedUpstream) -> None:
    """Health says what a call would find: models are listed, and nobody answers."""
    service = service_at(ollama.url)
    await service.initialize()
    ollama.fault(Fault(status=500, times=None))
    for _ in range(2):
        assert (await service.generate_response("hello"))["success"] is False
    assert (await service.health_check())["status"] == "unhealthy"
    await service.close()


async def test_what_a_stand_in_says_is_told_with_its_name(
    hosted: ThreadedUpstream, fake_key: str
) -> None:
    """Its status is not Ollama's, and its words are not lost."""
    service = service_at(NOBODY, {"glm_api_key": fake_key}, hosted)
    hosted.fault(Fault(status=400, times=None))
    error = (await service.generate_response("hello"))["error"]
    assert error.startswith("glm: HTTP 400: ")
    assert error.count("HTTP 400") == 1
    await service.close()


async def test_an_endpoint_taken_out_is_the_old_one(fake_key: str) -> None:
    """Whoever replaces ``api_endpoints`` by fewer of them breaks nobody else."""
    service = service_at(NOBODY, {"glm_api_key": fake_key})
    service.api_endpoints = {}
    assert [item.base_url for item in service._targets()][1] == (
        "https://open.bigmodel.cn/api/paas/v4"
    )
    await service.close()


async def test_providers_of_the_configuration_stand_in_too(
    hosted: ThreadedUpstream, fake_key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of the file that ``AMAS_PROVIDERS_CONFIG`` names come after the old ones."""
    file = tmp_path / "providers.yaml"
    row = {"model": "openai/x", "base_url": hosted.url, "api_key": fake_key}
    file.write_text(json.dumps({"providers": {"llm": {"mine": row}}}), encoding="utf-8")
    monkeypatch.setenv("AMAS_PROVIDERS_CONFIG", str(file))
    service = service_at(NOBODY)
    assert (await service.generate_response("hello"))["provider"] == "mine"
    assert (await service.health_check())["status"] == "healthy"
    await service.close()


async def test_calls_of_the_old_service_are_recorded_too(
    hosted: ThreadedUpstream, fake_key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The audit trail of that file has them, under the service's name."""
    file, trail = tmp_path / "providers.yaml", tmp_path / "audit.jsonl"
    sections = {
        "security": {"master_key": generate().get_secret_value()},
        "audit": {"path": str(trail)},
        "llm": {"mine": {"model": "openai/x", "base_url": hosted.url, "api_key": fake_key}},
    }
    file.write_text(json.dumps({"providers": sections}), encoding="utf-8")
    monkeypatch.setenv("AMAS_PROVIDERS_CONFIG", str(file))
    service = service_at(NOBODY)
    await service.generate_response("hello")
    await service.close()
    calls = [record for record in read_records([trail]) if record["kind"] == "call"]
    assert [(call["caller"], call["provider"]) for call in calls] == [("llm_service", "mine")]


async def test_a_broken_configuration_is_told_and_raises_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host goes on; health and answers say where the mistake is."""
    file = tmp_path / "providers.yaml"
    file.write_text("providers: {llm: [}", encoding="utf-8")
    monkeypatch.setenv("AMAS_PROVIDERS_CONFIG", str(file))
    service = service_at(NOBODY)
    await service.initialize()
    assert "providers.yaml:1:" in (await service.health_check())["error"]
    assert "providers.yaml:1:" in (await service.generate_response("hello"))["error"]
    await service.close()


# Section 8.1: consumers


@pytest.mark.parametrize(
    ("max_tokens", "temperature"),
    [(500, 0.7), (300, 0.5), (1500, 0.3), (800, 0.3), (300, 0.3)],
)
async def test_json_callers_get_what_they_parse(
    ollama: ThreadedUpstream, max_tokens: int, temperature: float
) -> None:
    """Agents feed the text to ``json.loads``, fenced or not (react_agent, link_analysis, RAG)."""
    service = service_at(ollama.url)
    for reply in ('{"next_action": "search", "actions": []}', '```json\n{"next_action": "x"}\n```'):
        ollama.upstream.reply = reply
        text = await service.generate(prompt="p", max_tokens=max_tokens, temperature=temperature)
        assert type(text) is str
        assert "next_action" in json.loads(text)
    await service.close()


@pytest.mark.parametrize("max_tokens", [1000, 1200, 1500])
async def test_text_callers_get_the_text_and_failures_raise(
    ollama: ThreadedUpstream, max_tokens: int
) -> None:
    """Synthesis stores it as it is, code included; an exception is logged and raised again."""
    service = service_at(ollama.url)
    ollama.upstream.reply = "First:\n```python\nprint(1)\n```\nand then this."
    text = await service.generate(prompt="p", max_tokens=max_tokens, temperature=0.3)
    assert text == ollama.upstream.reply
    ollama.upstream.reply = "```\nnot json\n```"
    assert await service.generate(prompt="p", max_tokens=max_tokens) == ollama.upstream.reply
    ollama.fault(Fault(status=400, times=None))
    with pytest.raises(ProviderError):
        await service.generate(prompt="p", max_tokens=max_tokens, temperature=0.3)
    await service.close()


async def test_the_service_manager_gets_what_it_reads(ollama: ThreadedUpstream) -> None:
    """Health by ``.get`` and as JSON, models as attributes."""
    service = service_at(ollama.url, dict.fromkeys((f"{name}_api_key" for name in HOSTED), None))
    await service.initialize()
    health = await service.health_check()
    assert health.get("status") == "healthy"
    json.dumps(health)
    assert {"models": service.models, "current": service.current_model} == {
        "models": ["test-model"],
        "current": "test-model",
    }
    await service.close()


# Section 1.6: bugs


def test_b2_none_in_the_configuration_does_not_hide_the_environment(
    monkeypatch: pytest.MonkeyPatch, fake_key: str
) -> None:
    """B2: the service manager always passes the three keys, mostly None."""
    monkeypatch.setenv("DEEPSEEK_API_KEY", fake_key)
    monkeypatch.setenv("AI_GLM_API_KEY", fake_key)
    service = LLMService({"deepseek_api_key": None, "glm_api_key": ""})
    assert (service.deepseek_api_key, service.glm_api_key) == (fake_key, fake_key)


def test_b3_keys_are_stripped_and_masked(fake_key: str) -> None:
    """B3: space around a key made every request fail; and it shows nowhere."""
    service = LLMService({"glm_api_key": f" {fake_key} "})
    assert service.glm_api_key == fake_key
    assert fake_key not in f"{service.glm_api_key!r} {service.glm_api_key}"


@pytest.mark.parametrize(
    ("value", "seconds"), [(None, 300), ("45", 45), ("0.5", 0.5), ("x", 300), ("-1", 300)]
)
def test_b4_the_timeout_is_that_of_the_settings(
    monkeypatch: pytest.MonkeyPatch, value: str | None, seconds: float
) -> None:
    """B4: 30 seconds are not enough for a large model; AMAS_LLM_TIMEOUT was ignored."""
    if value is not None:
        monkeypatch.setenv("AMAS_LLM_TIMEOUT", value)
    local = LLMService({})._targets()[0]
    assert (local.pid, local.timeout) == ("ollama", seconds)


async def test_b4_a_server_that_hangs_is_given_up_in_time(
    ollama: ThreadedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """B4: the limit really holds."""
    monkeypatch.setenv("AMAS_LLM_TIMEOUT", "0.2")
    service = service_at(ollama.url)
    await service.initialize()
    ollama.fault(Fault(hang=True, times=None))
    answer = await asyncio.wait_for(service.generate_response("hello"), 5)
    assert answer["success"] is False
    await service.close()


async def test_b5_all_providers_count_alike(
    ollama: ThreadedUpstream, hosted: ThreadedUpstream, fake_key: str
) -> None:
    """B5: both ``tokens_used`` and ``usage`` are there, and the prompt counts."""
    service = service_at(ollama.url, {"grok_api_key": fake_key}, hosted)
    for provider in ("ollama", "grok"):
        answer = await service.generate_response("hello", provider=provider)
        assert answer["tokens_used"] == answer["usage"]["total_tokens"]
        assert answer["usage"]["prompt_tokens"] > 0
    await service.close()


async def test_b6_a_cloud_only_deployment_is_healthy(
    hosted: ThreadedUpstream, fake_key: str
) -> None:
    """B6: health was that of Ollama alone."""
    service = service_at(NOBODY, {"deepseek_api_key": fake_key}, hosted)
    assert (await service.health_check())["status"] == "healthy"
    await service.close()


@pytest.mark.parametrize(
    ("models", "chat", "embedding"),
    [
        (["nomic-embed-text:latest", "llama3.1:8b"], "llama3.1:8b", "nomic-embed-text:latest"),
        (["all-minilm", "bge-m3"], "all-minilm", "all-minilm"),
        (["llama3.1:8b"], "llama3.1:8b", "llama3.1:8b"),
    ],
)
async def test_b7_b8_models_for_embeddings_embed_and_do_not_chat(
    ollama: ThreadedUpstream, models: list[str], chat: str, embedding: str
) -> None:
    """B7, B8: the first model listed was taken for both, whatever it can do."""
    ollama.upstream.models = models
    service = service_at(ollama.url)
    await service.initialize()
    assert (service.models, service.current_model) == (models, chat)
    assert (await service.generate_embedding("text"))["model"] == embedding
    assert (await service.generate_embedding("text", "mine"))["model"] == "mine"
    await service.close()


async def test_b9_an_error_does_not_tell_keys(hosted: ThreadedUpstream, fake_key: str) -> None:
    """B9: what the upstream echoed went into ``error`` as it came."""
    service = service_at(NOBODY, {"glm_api_key": fake_key}, hosted)
    hosted.fault(Fault(status=401, times=None, echo_key=True))
    answer = await service.generate_response("hello", provider="glm")
    assert answer["error"].startswith("HTTP 401")
    assert fake_key not in answer["error"]
    await service.close()


async def test_b12_an_empty_answer_is_a_failure(
    ollama: ThreadedUpstream, hosted: ThreadedUpstream, fake_key: str
) -> None:
    """B12: it was a success without content; now somebody else answers, if anybody can."""
    ollama.upstream.reply = " "
    service = service_at(ollama.url)
    answer = await service.generate_response("hello")
    assert (answer["success"], answer["error"]) == (False, "the answer is empty")
    await service.close()
    service = service_at(ollama.url, {"glm_api_key": fake_key}, hosted)
    assert (await service.generate_response("hello"))["provider"] == "glm"
    await service.close()


# The environment


@pytest.mark.parametrize(
    ("given", "host", "port", "expected"),
    [
        (None, "h", "1", "http://h:1"),
        (None, "h", "", "http://h:11434"),
        (None, "", "1", "http://localhost:1"),
        ("http://localhost:11434", "h", "1", "http://h:1"),
        ("http://other:2", "h", "1", "http://other:2"),
        (None, "", "", "http://localhost:11434"),
    ],
)
def test_the_environment_counts_where_the_default_was_left(
    monkeypatch: pytest.MonkeyPatch, given: str | None, host: str, port: str, expected: str
) -> None:
    """AMAS_LLM_HOST and AMAS_LLM_PORT, which the old service ignored."""
    monkeypatch.setenv("AMAS_LLM_HOST", host)
    monkeypatch.setenv("AMAS_LLM_PORT", port)
    assert LLMService({} if given is None else {"llm_service_url": given}).base_url == expected


async def test_the_model_of_the_environment_is_the_current_one(
    ollama: ThreadedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AMAS_LLM_MODEL goes before the first of the list."""
    monkeypatch.setenv("AMAS_LLM_MODEL", "llama3.1:70b")
    service = service_at(ollama.url)
    assert (await service.generate_response("hello"))["model"] == "llama3.1:70b"
    assert service.current_model == "llama3.1:70b"
    await service.close()


# Threads, loops, names


def test_two_hundred_calls_of_eight_threads(ollama: ThreadedUpstream) -> None:
    """B10: each call may come from an event loop of its own, through one service."""
    service = service_at(ollama.url)

    def ask(number: int) -> str:
        return asyncio.run(service.generate(f"question {number}"))

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(200)))
    assert answers == [f"ollama says: question {number}" for number in range(200)]
    asyncio.run(service.close())
    assert not [item for item in threading.enumerate() if item.name.startswith("amas")]


NAMES = {
    "amas.services.llm_service": SRC,
    "src.amas.services.llm_service": SRC.parent,
    "services.llm_service": SRC / "amas",
    "llm_service": SRC / "amas" / "services",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_it_is_imported_by_all_its_names(name: str) -> None:
    """Section 7; each with nothing on the path but what that name needs."""
    asked = "print(LLMService({}).base_url, get_api_key('NOT_SET'))"
    assert run_alone(name, asked) == "http://localhost:11434 None\n"


@pytest.mark.slow
def test_by_its_bare_name_it_answers_and_need_not_be_closed(ollama: ThreadedUpstream) -> None:
    """Nothing is printed, nothing warned of, and nobody else's package is started."""
    asked = f"""
service = LLMService({{"llm_service_url": {ollama.url!r}}})
print(asyncio.run(service.generate("hello")), "amas" in sys.modules)
"""
    assert run_alone("llm_service", asked) == "ollama says: hello False\n"


def run_alone(name: str, asked: str) -> str:
    """Run a program that imports the service by a name, and return what it prints."""
    program = f"""
import asyncio, sys
sys.path[:] = [{str(NAMES[name])!r}] + [item for item in sys.path if not item.startswith({str(SRC)!r})]
sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in repr(finder).lower()]
from {name} import LLMService, get_api_key
{asked}"""
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd="/",
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout


def test_nobody_has_to_close_it(ollama: ThreadedUpstream) -> None:
    """A service that is dropped ends its thread."""
    with closing(asyncio.new_event_loop()) as loop:
        service = service_at(ollama.url)
        loop.run_until_complete(service.generate("hello"))
    before = {item for item in threading.enumerate() if item.name == "amas-providers"}
    assert before
    del service
    gc.collect()
    for thread in before:
        thread.join(5)
    assert not any(thread.is_alive() for thread in before)
