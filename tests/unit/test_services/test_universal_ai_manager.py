"""The Universal AI Manager: what the old module promised, to the letter, and its bugs, by number."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import json
import logging
import os
import runpy
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from typing_extensions import override

from amas.providers.secret import MASK
from amas.providers.testing.upstream import Fault, RecordedRequest, ThreadedUpstream
from amas.providers.types import Attempt, ProviderStatus
from amas.services import legacy_core, legacy_reply, legacy_words
from amas.services import universal_ai_manager as module
from amas.services.universal_ai_manager import ProviderConfig, ProviderType, UniversalAIManager

ROOT: Final = Path(__file__).parents[3]
SITE: Final = sysconfig.get_paths()["purelib"]
IMPORTS: Final = {
    "amas.services.universal_ai_manager": ROOT / "src",
    "src.amas.services.universal_ai_manager": ROOT,
    "services.universal_ai_manager": ROOT / "src/amas",
    "universal_ai_manager": ROOT / "src/amas/services",
}

# pid: display name, variable, address, model, type, longest answer; in the order of priority.
TABLE: Final = {
    "deepseek": (
        "DeepSeek V3.1",
        "DEEPSEEK_API_KEY",
        "https://api.deepseek.com/v1",
        "deepseek-chat",
        "openai_compatible",
        8192,
    ),
    "glm": (
        "GLM 4.5 Air",
        "GLM_API_KEY",
        "https://open.bigmodel.cn/api/paas/v4",
        "glm-4-flash",
        "openai_compatible",
        8192,
    ),
    "grok": (
        "xAI Grok Beta",
        "GROK_API_KEY",
        "https://openrouter.ai/api/v1",
        "x-ai/grok-beta",
        "openai_compatible",
        4096,
    ),
    "kimi": (
        "MoonshotAI Kimi",
        "KIMI_API_KEY",
        "https://api.moonshot.cn/v1",
        "moonshot-v1-8k",
        "openai_compatible",
        8192,
    ),
    "qwen": (
        "Qwen Plus",
        "QWEN_API_KEY",
        "https://dashscope.aliyuncs.com/compatible-mode/v1",
        "qwen-plus",
        "openai_compatible",
        8192,
    ),
    "gptoss": (
        "GPT OSS",
        "GPTOSS_API_KEY",
        "https://openrouter.ai/api/v1",
        "openai/gpt-4o",
        "openai_compatible",
        4096,
    ),
    "groq": (
        "Groq AI",
        "GROQAI_API_KEY",
        "https://api.groq.com/openai/v1",
        "llama-3.3-70b-versatile",
        "groq",
        8192,
    ),
    "cerebras": (
        "Cerebras AI",
        "CEREBRAS_API_KEY",
        "https://api.cerebras.ai/v1",
        "llama3.1-8b",
        "cerebras",
        8192,
    ),
    "gemini": (
        "Gemini AI",
        "GEMINIAI_API_KEY",
        "https://generativelanguage.googleapis.com/v1beta",
        "gemini-2.0-flash",
        "gemini",
        8192,
    ),
    "codestral": (
        "Codestral",
        "CODESTRAL_API_KEY",
        "https://codestral.mistral.ai/v1",
        "codestral-latest",
        "codestral",
        4096,
    ),
    "nvidia": (
        "NVIDIA AI",
        "NVIDIA_API_KEY",
        "https://integrate.api.nvidia.com/v1",
        "deepseek-ai/deepseek-r1",
        "nvidia",
        4096,
    ),
    "gemini2": (
        "Gemini 2",
        "GEMINI2_API_KEY",
        "https://generativelanguage.googleapis.com/v1beta",
        "gemini-2.0-flash",
        "gemini",
        8192,
    ),
    "groq2": (
        "Groq 2",
        "GROQ2_API_KEY",
        "https://api.groq.com/openai/v1",
        "llama-3.3-70b-versatile",
        "groq",
        8192,
    ),
    "cohere": (
        "Cohere",
        "COHERE_API_KEY",
        "https://api.cohere.ai/compatibility/v1",
        "command-r-plus",
        "cohere",
        4096,
    ),
    "chutes": (
        "Chutes AI",
        "CHUTES_API_KEY",
        "https://llm.chutes.ai/v1",
        "zai-org/GLM-4.5-Air",
        "chutes",
        1024,
    ),
}

SUCCESS: Final = {
    "success": bool,
    "content": str,
    "response_time": float,
    "provider": str,
    "provider_name": str,
    "tokens_used": int,
    "raw_response": dict,
}
FAILURE: Final = {
    "success": bool,
    "error": str,
    "provider": str,
    "provider_name": str,
    "attempts": int,
    "stats": dict,
}
STATS: Final = {
    "total_providers": int,
    "active_providers": int,
    "total_requests": int,
    "successful_requests": int,
    "failed_requests": int,
    "success_rate": str,
    "total_fallbacks": int,
    "average_response_time": str,
    "providers_usage": dict,
    "uptime_seconds": float,
    "last_reset": str,
}
HEALTH: Final = {
    "name": str,
    "priority": int,
    "status": str,
    "available": bool,
    "success_count": int,
    "failure_count": int,
    "success_rate": str,
    "avg_response_time": str,
    "consecutive_failures": int,
    "last_used": str | None,
    "last_error": str | None,
    "rate_limited": str | None,
}

Make = Callable[..., UniversalAIManager]


def assert_shape(given: dict[str, Any], shape: dict[str, Any]) -> None:
    """Check keys and types, and that JSON takes it."""
    assert given.keys() == shape.keys()
    assert [name for name in shape if not isinstance(given[name], shape[name])] == []
    json.dumps(given)


def ask(manager: UniversalAIManager, prompt: str = "hi", **asked: Any) -> dict[str, Any]:
    """Ask in the order of priority, on a loop of its own."""
    return asyncio.run(manager.generate(prompt, **{"strategy": "priority", **asked}))


def until(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    ends = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.02)


def chats(upstream: ThreadedUpstream) -> list[RecordedRequest]:
    """Return the requests for an answer."""
    return [request for request in upstream.requests if request.endpoint == "chat"]


@pytest.fixture
def first() -> Iterator[ThreadedUpstream]:
    """Start an upstream, for the provider of the first priority."""
    with ThreadedUpstream("first") as upstream:
        yield upstream


@pytest.fixture
def second() -> Iterator[ThreadedUpstream]:
    """Start another upstream."""
    with ThreadedUpstream("second") as upstream:
        yield upstream


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch, fake_key: str) -> Iterator[Make]:
    """Return a function that makes a manager of the providers that are given by name."""
    made: list[UniversalAIManager] = []

    def build(**upstreams: ThreadedUpstream) -> UniversalAIManager:
        for pid in upstreams:
            monkeypatch.setenv(TABLE[pid][1], f"{fake_key}-{pid}")
        manager = UniversalAIManager()
        made.append(manager)
        for pid, upstream in upstreams.items():
            manager.providers[pid].base_url = upstream.url
            manager.providers[pid].max_retries = 0  # the pauses between retries take time
        return manager

    yield build
    for manager in made:
        asyncio.run(manager.close())


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Return a function that writes the configuration that the services are told of."""

    def write(**section: Any) -> None:
        path = tmp_path / "providers.yaml"
        path.write_text(yaml.safe_dump({"providers": section}), encoding="utf-8")
        monkeypatch.setenv(legacy_core.CONFIG_VARIABLE, str(path))

    return write


# --- 2.1: names ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("get_api_key", {"env_name": ...}),
        ("get_universal_ai_manager", {}),
        (
            "generate_ai_response",
            {"prompt": ..., "system_prompt": None, "strategy": "intelligent", "kwargs": ...},
        ),
        ("test_universal_ai_manager", {}),
        ("UniversalAIManager", {}),
        (
            "UniversalAIManager.generate",
            {
                "self": ...,
                "prompt": ...,
                "system_prompt": None,
                "strategy": "intelligent",
                "max_attempts": None,
                "kwargs": ...,
            },
        ),
        ("UniversalAIManager.get_stats", {"self": ...}),
        ("UniversalAIManager.get_provider_health", {"self": ...}),
        ("UniversalAIManager.reset_stats", {"self": ...}),
        ("UniversalAIManager.get_config_summary", {"self": ...}),
        ("UniversalAIManager._initialize_providers", {"self": ...}),
        ("UniversalAIManager._is_provider_available", {"self": ..., "provider_id": ...}),
        (
            "UniversalAIManager._make_request",
            {"self": ..., "provider_id": ..., "messages": ..., "kwargs": ...},
        ),
        ("ProviderConfig.to_dict", {"self": ...}),
        ("ProviderConfig.get_success_rate", {"self": ...}),
    ],
)
def test_a_name_has_its_signature(name: str, parameters: dict[str, Any]) -> None:
    """Each name is there, with its arguments in their order and with their defaults."""
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part)
    given = inspect.signature(found).parameters
    defaults = {
        key: ... if value.default is inspect.Parameter.empty else value.default
        for key, value in given.items()
    }
    assert list(defaults.items()) == list(parameters.items())
    if "kwargs" in given:
        assert given["kwargs"].kind is inspect.Parameter.VAR_KEYWORD


@pytest.mark.parametrize(
    "name", ["generate_ai_response", "test_universal_ai_manager", "UniversalAIManager"]
)
def test_what_was_awaited_is_awaited(name: str) -> None:
    """The coroutines of the old module are coroutines."""
    found = getattr(module, name)
    assert inspect.iscoroutinefunction(getattr(found, "generate", found))


def test_the_enumerations() -> None:
    """Statuses and types have the old names and values."""
    statuses = {item.name: item.value for item in module.ProviderStatus}
    assert statuses == {
        name.upper(): name
        for name in ("active", "failed", "testing", "unknown", "rate_limited", "throttled")
    }
    types = [item.name for item in module.ProviderType]
    assert types == [
        "OPENAI_COMPATIBLE",
        "GROQ",
        "CEREBRAS",
        "GEMINI",
        "NVIDIA",
        "COHERE",
        "CHUTES",
        "CODESTRAL",
    ]
    assert all(item.value == item.name.lower() for item in module.ProviderType)


def config(**given: Any) -> ProviderConfig:
    """Make a provider of which only some fields matter."""
    return ProviderConfig(
        **{
            "name": "A",
            "api_key": "abc" * 4,
            "base_url": "http://a",
            "model": "m",
            "provider_type": ProviderType.GROQ,
            **given,
        }
    )


def test_the_fields_of_a_provider() -> None:
    """A provider's fields have their order and defaults."""
    fields = {
        item.name: ... if item.default is dataclasses.MISSING else item.default
        for item in dataclasses.fields(ProviderConfig)
    }
    assert list(fields.items()) == [
        ("name", ...),
        ("api_key", ...),
        ("base_url", ...),
        ("model", ...),
        ("provider_type", ...),
        ("priority", 10),
        ("timeout", 30),
        ("max_retries", 3),
        ("max_tokens", 4096),
        ("temperature", 0.7),
        ("status", module.ProviderStatus.UNKNOWN),
        ("last_used", None),
        ("success_count", 0),
        ("failure_count", 0),
        ("avg_response_time", 0),
        ("rate_limit_until", None),
        ("consecutive_failures", 0),
        ("last_error", None),
    ]
    positional = ProviderConfig("A", "key", "http://a", "m", ProviderType.GROQ)
    assert positional.api_key == "key"
    assert isinstance(positional.api_key, str)


def test_a_provider_as_plain_values() -> None:
    """``to_dict`` has the old keys, and tells of a key only that there is one."""
    moment = datetime(2026, 1, 2)  # noqa: DTZ001 -- as the old module has it
    one = config(success_count=3, failure_count=1, last_used=moment)
    assert one.to_dict() == {
        "name": "A",
        "api_key_present": True,
        "base_url": "http://a",
        "model": "m",
        "provider_type": "groq",
        "priority": 10,
        "status": "unknown",
        "last_used": "2026-01-02T00:00:00",
        "success_count": 3,
        "failure_count": 1,
        "avg_response_time": 0,
        "success_rate": 75.0,
        "consecutive_failures": 0,
        "last_error": None,
    }
    assert config().get_success_rate() == 0.0
    assert config(api_key="").to_dict()["api_key_present"] is False
    assert config(api_key=None).to_dict()["api_key_present"] is False


def test_a_key_is_not_shown(fake_key: str) -> None:
    """Neither repr nor a copy in JSON has the key, also after an assignment."""
    one = config(api_key=fake_key)
    one.api_key = fake_key + "2"
    shown = repr(one) + json.dumps(dataclasses.asdict(one), default=str) + json.dumps(one.to_dict())
    assert fake_key not in shown
    assert MASK in shown
    assert one.api_key == fake_key + "2"


def test_no_key_is_an_exception_of_construction() -> None:
    """Without keys the constructor raises a plain Exception, and so does the shared instance."""
    with pytest.raises(Exception, match=r"^No active AI providers configured$") as raised:
        UniversalAIManager()
    assert type(raised.value) is Exception
    with pytest.raises(Exception, match="No active AI providers configured"):
        module.get_universal_ai_manager()
    assert module._universal_ai_manager is None


def test_the_shared_manager(
    make: Make, first: ThreadedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shared manager is made once, and generate_ai_response passes everything on to it."""
    mine = make(deepseek=first, glm=first)
    monkeypatch.setattr(module, "_universal_ai_manager", None)
    shared = module.get_universal_ai_manager()
    assert shared is module.get_universal_ai_manager()
    assert shared is module._universal_ai_manager
    monkeypatch.setattr(module, "_universal_ai_manager", mine)
    first.fault(status=500, times=None)
    result = asyncio.run(
        module.generate_ai_response("hi", "be kind", "priority", max_attempts=1, max_tokens=7)
    )
    assert result["attempts"] == 1
    (request,) = chats(first)
    assert request.json["max_tokens"] == 7
    assert request.json["messages"][0] == {"role": "system", "content": "be kind"}


def test_the_demonstration(
    make: Make,
    first: ThreadedUpstream,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The demonstration shows answers, failures, statistics and health."""
    monkeypatch.setattr(module, "_universal_ai_manager", make(deepseek=first))
    first.fault(status=400)
    asyncio.run(module.test_universal_ai_manager())
    shown = capsys.readouterr().out
    assert "❌ intelligent: All AI providers failed" in shown
    assert "✅ priority: first says" in shown
    assert "total_requests: 3" in shown


# --- 2.2 and 2.7: attributes, and the table ---------------------------------------------------


def test_every_row_of_the_table_b23(make: Make, first: ThreadedUpstream, fake_key: str) -> None:
    """B23: names, models and limits are the old ones; the addresses are those that exist."""
    make(**dict.fromkeys(TABLE, first))
    manager = UniversalAIManager()  # this one with the addresses of the table
    assert manager.active_providers == list(TABLE)
    for priority, (pid, row) in enumerate(TABLE.items(), 1):
        one = manager.providers[pid]
        given = (one.name, row[1], one.base_url, one.model, one.provider_type.value, one.max_tokens)
        assert given == row
        assert (one.priority, one.timeout, one.temperature, one.max_retries) == (
            priority,
            30,
            0.7,
            3,
        )
        assert one.api_key == f"{fake_key}-{pid}"
        assert one.status is module.ProviderStatus.UNKNOWN


@pytest.mark.parametrize("pid", TABLE)
def test_every_provider_answers(make: Make, first: ThreadedUpstream, pid: str) -> None:
    """Each row of the table can be asked: with its key, its model, and its own protocol."""
    result = ask(make(**{pid: first}), "hello", max_tokens=5)
    assert result["content"] == "first says: hello"
    assert result["provider_name"] == TABLE[pid][0]
    (request,) = first.requests
    assert request.model == TABLE[pid][3]
    assert request.credential is not None
    assert request.credential.endswith(pid)


def test_attributes(make: Make, first: ThreadedUpstream, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only providers with a key exist; a key under the settings' name counts, too."""
    monkeypatch.setenv("AI_GLM_API_KEY", "from" + "-settings")
    monkeypatch.setenv("GROK_API_KEY", "   ")
    manager = make(groq=first)
    assert manager.active_providers == ["glm", "groq"]
    assert set(manager.providers) == {"glm", "groq"}
    assert manager.current_index == 0
    assert manager.global_stats.keys() == {
        "total_requests",
        "successful_requests",
        "failed_requests",
        "total_fallbacks",
        "providers_usage",
        "average_response_time",
        "total_response_time",
        "last_reset",
        "uptime",
    }
    assert isinstance(manager.global_stats["last_reset"], datetime)
    assert isinstance(manager.global_stats["uptime"], datetime)


def test_what_is_assigned_holds_from_the_next_call_on(
    make: Make, first: ThreadedUpstream, second: ThreadedUpstream, fake_key: str
) -> None:
    """Address, model, key, limit and temperature of a provider may be changed at any time."""
    manager = make(deepseek=first)
    ask(manager)
    one = manager.providers["deepseek"]
    one.base_url, one.model, one.api_key = second.url, "other-model", fake_key + "-new"
    one.max_tokens, one.temperature = 11, 0.1
    assert ask(manager)["content"] == "second says: hi"
    (request,) = second.requests
    assert request.credential == fake_key + "-new"
    body = request.json
    assert (body["model"], body["max_tokens"], body["temperature"]) == ("other-model", 11, 0.1)


def test_who_is_added_is_asked(make: Make, first: ThreadedUpstream, fake_key: str) -> None:
    """A provider that is not in the table is asked as its type says; one without a key is not."""
    manager = make(deepseek=first)
    for kind, pid in ((ProviderType.GROQ, "mine"), (ProviderType.OPENAI_COMPATIBLE, "ours")):
        manager.providers[pid] = config(
            name=pid.title(), api_key=fake_key, base_url=first.url, model="m", provider_type=kind
        )
        manager.active_providers = ["deepseek", pid]
        manager.providers["deepseek"].api_key = None  # type: ignore[assignment]
        assert ask(manager)["provider_name"] == pid.title()


def test_a_provider_that_cannot_work_stops_no_other(
    make: Make, first: ThreadedUpstream, caplog: pytest.LogCaptureFixture
) -> None:
    """A key with a space in it, or a wrong address, switches off that provider alone."""
    manager = make(deepseek=first, glm=first)
    manager.providers["deepseek"].api_key = "a key"
    assert ask(manager)["provider"] == "glm"
    info = manager.get_provider_health()["deepseek"]
    assert (info["status"], info["available"], info["failure_count"]) == ("failed", False, 0)
    assert "characters that no key has" in info["last_error"]
    assert "deepseek is switched off: api_key has characters" in caplog.text
    manager.providers["glm"].base_url = "nonsense"
    assert ask(manager)["success"] is False


# --- 2.3 and 2.4: methods, and results ---------------------------------------------------------


def test_the_result_of_a_success(make: Make, first: ThreadedUpstream) -> None:
    """A success has the old keys and types; raw_response is an answer in OpenAI's form."""
    result = ask(make(deepseek=first), "hello there")
    assert_shape(result, SUCCESS)
    assert result["success"] is True
    assert (result["provider"], result["provider_name"]) == ("deepseek", "DeepSeek V3.1")
    assert 0 < result["response_time"] < 10
    raw = result["raw_response"]
    assert raw["object"] == "chat.completion"
    assert raw["choices"][0]["message"] == {"role": "assistant", "content": result["content"]}
    assert raw["usage"]["total_tokens"] == result["tokens_used"] > 0


def test_the_result_of_a_failure(make: Make, first: ThreadedUpstream) -> None:
    """A failure is told in the old words, and not raised."""
    first.fault(status=503, times=None)
    manager = make(deepseek=first, glm=first)
    result = ask(manager)
    assert_shape(result, FAILURE)
    assert result["success"] is False
    assert result["error"] == "All AI providers failed"
    assert (result["provider"], result["provider_name"]) == ("none", "All Providers Failed")
    assert result["attempts"] == 2
    assert result["stats"]["failed_requests"] == 1
    assert result["stats"].keys() == STATS.keys()


@pytest.mark.parametrize("prompt", ["", "  ", None, 7])
def test_a_prompt_that_is_none_is_told(make: Make, first: ThreadedUpstream, prompt: Any) -> None:
    """What cannot be asked is a failure like any other, and is not sent to anybody."""
    assert ask(make(deepseek=first), prompt)["attempts"] == 0
    assert first.requests == []


def test_only_two_further_arguments_count(make: Make, first: ThreadedUpstream) -> None:
    """max_tokens and temperature are sent; others are ignored, and None means the default."""
    manager = make(groq=first)
    ask(manager, max_tokens=None, temperature=0.2, model="other", top_p=0.5, api_key="x", foo=1)
    (request,) = first.requests
    assert request.json["max_tokens"] == 8192
    assert request.json["temperature"] == 0.2
    assert request.model == "llama-3.3-70b-versatile"
    assert "top_p" not in request.json


def test_the_statistics(make: Make, first: ThreadedUpstream, second: ThreadedUpstream) -> None:
    """Statistics have the old keys and types, and follow from what was sent."""
    manager = make(deepseek=first, glm=second)
    assert manager.get_stats()["success_rate"] == "0.0%"
    first.fault(status=500)
    assert ask(manager)["provider"] == "glm"
    second.fault(status=400)
    first.fault(status=400)
    assert ask(manager)["success"] is False
    stats = manager.get_stats()
    assert_shape(stats, STATS)
    assert stats["total_providers"] == stats["active_providers"] == 2
    assert (stats["total_requests"], stats["successful_requests"]) == (2, 1)
    assert stats["failed_requests"] == stats["total_fallbacks"] == 1
    assert stats["success_rate"] == "50.0%"
    assert stats["average_response_time"].endswith("s")
    assert stats["providers_usage"] == {"glm": 1}
    stats["providers_usage"]["glm"] = 99
    assert manager.get_stats()["providers_usage"] == {"glm": 1}


def test_the_health(make: Make, first: ThreadedUpstream, second: ThreadedUpstream) -> None:
    """Health has the old keys and types, and reading it changes and asks nothing."""
    manager = make(deepseek=first, glm=second)
    fresh = manager.get_provider_health()
    for info in fresh.values():
        assert_shape(info, HEALTH)
        assert (info["status"], info["available"]) == ("unknown", True)
    first.fault(status=500)
    ask(manager)
    ask(manager)
    health = manager.get_provider_health()
    assert health == manager.get_provider_health()
    assert [health[pid]["status"] for pid in health] == ["failed", "active"]
    bad, good = health["deepseek"], health["glm"]
    assert (bad["failure_count"], bad["consecutive_failures"], bad["success_rate"]) == (
        1,
        1,
        "0.0%",
    )
    assert bad["last_error"].startswith("HTTP 500")
    assert bad["last_used"] is None
    assert (good["success_count"], good["success_rate"]) == (2, "100.0%")
    datetime.fromisoformat(good["last_used"])
    assert len(first.requests) == 1


def test_resetting_statistics(make: Make, first: ThreadedUpstream) -> None:
    """A reset zeroes the counters, keeps uptime, status, last use and limits, and returns None."""
    manager = make(deepseek=first)
    ask(manager)
    one, uptime = manager.providers["deepseek"], manager.global_stats["uptime"]
    first.fault(status=429, retry_after=60)
    ask(manager)
    kept = (one.status, one.last_used, one.rate_limit_until)
    manager.reset_stats()
    assert (one.status, one.last_used, one.rate_limit_until) == kept
    assert (one.success_count, one.failure_count, one.consecutive_failures) == (0, 0, 0)
    assert (one.avg_response_time, one.last_error) == (0, None)
    assert manager.global_stats["uptime"] == uptime
    assert manager.get_stats()["total_requests"] == 0
    assert manager.get_provider_health()["deepseek"]["available"] is False


def test_a_reset_takes_failed_providers_back(make: Make, first: ThreadedUpstream) -> None:
    """As the host's guide says: after reset_stats a provider that was set aside is asked again."""
    manager = make(deepseek=first, glm=first)
    manager.active_providers = ["deepseek"]
    first.fault(status=503, times=5)
    for _ in range(5):
        ask(manager)
    assert ask(manager)["attempts"] == 0
    assert manager._is_provider_available("deepseek") is False
    manager.reset_stats()
    assert manager._is_provider_available("deepseek") is True
    assert ask(manager)["success"] is True


def test_the_summary(make: Make, first: ThreadedUpstream) -> None:
    """The summary has its frame, the totals, and who is active and who is not."""
    manager = make(deepseek=first, groq=first)
    lines = manager.get_config_summary().splitlines()
    assert lines[0] == lines[2] == lines[-1] == "=" * 80
    assert "UNIVERSAL AI MANAGER - CONFIGURATION SUMMARY" in lines[1]
    assert lines[3:5] == ["Total Providers: 2", "Active Providers: 2"]
    assert f"  [ 1] {'DeepSeek V3.1':25s} | {'deepseek-chat':35s} | openai_compatible" in lines
    assert any("All providers configured!" in line for line in lines)
    manager.active_providers.remove("groq")
    assert "  ❌ Groq AI (API key not configured)" in manager.get_config_summary()


def test_one_request_to_one_provider(make: Make, first: ThreadedUpstream) -> None:
    """_make_request asks that provider alone, counts nothing, and tells failures."""
    manager = make(deepseek=first, glm=first)
    first.fault(status=500)
    messages = [{"role": "user", "content": "hello"}]
    failed = asyncio.run(manager._make_request("glm", messages, max_tokens=3))
    assert failed.keys() == {"success", "error", "response_time", "provider"}
    assert (failed["success"], failed["provider"]) == (False, "glm")
    good = asyncio.run(manager._make_request("glm", messages, max_tokens=3, foo=1))
    assert_shape(good, SUCCESS)
    assert [request.model for request in first.requests] == ["glm-4-flash"] * 2
    assert manager.get_stats()["total_requests"] == 0


def test_is_provider_available(make: Make, first: ThreadedUpstream) -> None:
    """_is_provider_available is true for who would be asked."""
    manager = make(deepseek=first)
    assert manager._is_provider_available("deepseek") is True
    assert manager._is_provider_available("glm") is False


# --- 2.5: selection -----------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["priority", "nonsense", "cheapest", None, ["x"]])
def test_priority_and_whatever_is_unknown(
    make: Make, first: ThreadedUpstream, strategy: Any
) -> None:
    """Priority asks the first, and so does any strategy that there never was."""
    manager = make(deepseek=first, glm=first, groq=first)
    assert [ask(manager, strategy=strategy)["provider"] for _ in range(3)] == ["deepseek"] * 3


def test_round_robin_takes_turns(make: Make, first: ThreadedUpstream) -> None:
    """Round robin asks one after the other, and counts its turns."""
    manager = make(deepseek=first, glm=first, groq=first)
    asked = [ask(manager, strategy="round_robin")["provider"] for _ in range(6)]
    assert asked == ["deepseek", "glm", "groq"] * 2
    assert manager.current_index == 6


def test_intelligent_is_the_default_and_spreads(make: Make, first: ThreadedUpstream) -> None:
    """Without a strategy everybody is asked sooner or later."""
    manager = make(deepseek=first, glm=first)

    async def many() -> set[str]:
        return {(await manager.generate("hi"))["provider"] for _ in range(40)}

    assert asyncio.run(many()) == {"deepseek", "glm"}


def test_fastest_gets_to_know_everybody_b24(
    make: Make, first: ThreadedUpstream, second: ThreadedUpstream
) -> None:
    """B24: fastest tries who is unknown, and then asks the faster one."""
    manager = make(deepseek=first, glm=second)
    first.fault(delay=0.15, times=None)
    asked = [ask(manager, strategy="fastest")["provider"] for _ in range(4)]
    assert set(asked[:2]) == {"deepseek", "glm"}
    assert asked[2:] == ["glm", "glm"]


@pytest.mark.parametrize(("most", "sent"), [(None, 3), (0, 3), (1, 1), (2, 2), (9, 3), (-1, 0)])
def test_the_most_attempts_b20(
    make: Make, first: ThreadedUpstream, most: int | None, sent: int
) -> None:
    """B20: max_attempts is how many providers may be asked, and 0 or None means all."""
    first.fault(status=500, times=None)
    manager = make(deepseek=first, glm=first, groq=first)
    assert ask(manager, max_attempts=most)["attempts"] == sent
    assert len(first.requests) == sent


# --- 8.2: consumers -----------------------------------------------------------------------------


def test_the_orchestrator_of_the_host(make: Make, first: ThreadedUpstream) -> None:
    """universal_multi_agent_orchestrator.py gets what it reads, on success and on failure."""
    manager = make(deepseek=first, glm=first)
    assert f"{len(manager.active_providers)}" == "2"
    for strategy in ("intelligent", "priority", "round_robin", "fastest"):
        result = asyncio.run(
            manager.generate(
                prompt="Context from previous analysis:\nx\n\nTask: y",
                system_prompt="You are an analyst.",
                strategy=strategy,
                max_tokens=2000,
                temperature=0.7,
            )
        )
        assert result["success"]
        assert result["provider_name"]
        assert float(f"{result['response_time']:.2f}") >= 0
        assert result["content"][:10] == "first says"
    first.fault(status=500, times=None)
    result = asyncio.run(manager.generate(prompt="p", system_prompt="s", max_attempts=5))
    assert result["success"] is False
    assert f"failed: {result['error']}" == "failed: All AI providers failed"
    stats = manager.get_stats()
    told = [
        stats[name]
        for name in (
            "total_requests",
            "success_rate",
            "average_response_time",
            "total_fallbacks",
            "active_providers",
        )
    ]
    assert told[0] == 5
    assert told[1] == "80.0%"
    for info in manager.get_provider_health().values():
        if info["success_count"] > 0 or info["failure_count"] > 0:
            assert info["available"] in {True, False}
            assert info["status"] in {"active", "failed"}
            assert info["success_rate"].endswith("%")
            assert info["avg_response_time"].endswith("s")
    assert isinstance(manager.get_config_summary(), str)


def test_the_integration_guide_of_the_host(
    make: Make, first: ThreadedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What integrate_universal_ai_manager.py writes into other scripts works."""
    monkeypatch.setattr(module, "_universal_ai_manager", make(deepseek=first))
    shared = module.get_universal_ai_manager()
    result = asyncio.run(
        module.generate_ai_response(
            prompt="Your prompt here", system_prompt="Optional", strategy="intelligent"
        )
    )
    assert result["content"]
    result = asyncio.run(
        shared.generate(
            prompt="Your prompt here",
            system_prompt=None,
            strategy="intelligent",
            max_attempts=5,
            max_tokens=4096,
            temperature=0.7,
        )
    )
    assert result["success"]
    shared.reset_stats()
    health = shared.get_provider_health()
    assert [info["last_error"] for info in health.values() if not info["available"]] == []
    assert [f"{key}: {value}" for key, value in shared.get_stats().items()]


# --- the bugs, by their numbers -----------------------------------------------------------------


def isolated(code: str, *paths: Path, options: tuple[str, ...] = (), **environ: str) -> str:
    """Run code where only the given folders and the installed packages can be imported."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    path = os.pathsep.join([*map(str, paths), SITE])
    done = subprocess.run(
        [sys.executable, "-S", *options, "-c", code],
        env={**kept, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(("name", "folder"), IMPORTS.items())
def test_all_four_names_b13_b27(name: str, folder: Path, fake_key: str) -> None:
    """B13, B27: it imports by each name, without keys, network or logging; then it works."""
    out = isolated(
        f"""
import asyncio, importlib, logging, os, sys
module = importlib.import_module({name!r})
assert logging.getLogger().handlers == [], "logging was set up"
assert "litellm" not in sys.modules and "openai" not in sys.modules
assert module._universal_ai_manager is None
try:
    module.UniversalAIManager()
except Exception as error:
    print(type(error).__name__, error)
os.environ["GROQAI_API_KEY"] = {fake_key!r}
manager = module.get_universal_ai_manager()
async def names(inner):
    return list(inner.providers)
health = manager.get_provider_health()
print(asyncio.run(manager._core.use(names)))
print(health["groq"]["status"], manager.providers["groq"])
""",
        folder,
    )
    lines = out.splitlines()
    assert lines[:2] == ["Exception No active AI providers configured", "['groq']"]
    assert lines[2].startswith("unknown ")
    assert fake_key not in out


def test_priority_goes_on_to_the_next_b14(
    make: Make, first: ThreadedUpstream, second: ThreadedUpstream
) -> None:
    """B14: whoever has failed is not asked again in the same call; the next one is."""
    first.fault(status=500, times=None)
    for strategy in ("priority", "fastest", "intelligent", "round_robin"):
        manager = make(deepseek=first, glm=second)
        assert ask(manager, strategy=strategy)["provider"] == "glm"
    assert len(first.requests) <= 4


def test_who_never_answered_comes_back_b15(
    make: Make, first: ThreadedUpstream, configured: Callable[..., None]
) -> None:
    """B15, B33: a provider that was set aside before it ever answered is asked again in time."""
    configured(manager={"circuit_breaker": {"failure_threshold": 2, "cooldown": 0.5}})
    manager = make(deepseek=first)
    first.fault(status=503, times=2)
    ask(manager)
    ask(manager)
    info = manager.get_provider_health()["deepseek"]
    assert (info["status"], info["available"], info["last_used"]) == ("failed", False, None)
    until(lambda: manager._is_provider_available("deepseek"))
    assert ask(manager)["success"] is True
    assert manager.get_provider_health()["deepseek"]["status"] == "active"


def test_availability_knows_of_days_b16(make: Make, first: ThreadedUpstream) -> None:
    """B16: no count of seconds within a day keeps a provider away for ever."""
    manager = make(deepseek=first)
    one = manager.providers["deepseek"]
    one.consecutive_failures, one.last_used = 9, datetime.now() - timedelta(days=2)  # noqa: DTZ005
    assert manager._is_provider_available("deepseek") is True
    assert ask(manager)["success"] is True


@pytest.mark.parametrize("pid", ["gemini", "cohere"])
def test_gemini_and_cohere_get_everything_b17_b18(
    make: Make, first: ThreadedUpstream, pid: str
) -> None:
    """B17, B18: Gemini and Cohere get system prompt and limits, and their tokens are counted."""
    result = ask(make(**{pid: first}), "ask me", system_prompt="be brief", max_tokens=9)
    assert result["tokens_used"] > 0
    (request,) = first.requests
    sent = json.dumps(request.json)
    assert "be brief" in sent
    assert "ask me" in sent
    limits = request.json.get("generationConfig", request.json)
    assert 9 in {limits.get("max_tokens"), limits.get("max_output_tokens")}
    assert limits["temperature"] == 0.7


@pytest.mark.parametrize("empty", [True, "content"])
def test_an_answer_without_content_b19(
    make: Make, first: ThreadedUpstream, second: ThreadedUpstream, empty: bool | str
) -> None:
    """B19: no choice, or none with content, is a failure of that provider, and the next answers."""
    first.fault(empty=empty, times=None)
    result = ask(make(deepseek=first, glm=second))
    assert result["content"] == "second says: hi"
    manager = make(deepseek=first)
    manager.active_providers = ["deepseek"]
    assert ask(manager)["success"] is False


class _WithoutUsage(BaseHTTPRequestHandler):
    """An upstream that knows only one answer, and counts no tokens."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        choice = {"index": 0, "message": {"role": "assistant", "content": "good"}}
        body = json.dumps({"choices": [choice], "usage": None}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    @override
    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def test_an_answer_without_usage_b19(make: Make, first: ThreadedUpstream) -> None:
    """B19: an answer whose usage is null is a good answer."""
    manager = make(deepseek=first)
    with HTTPServer(("127.0.0.1", 0), _WithoutUsage) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            manager.providers["deepseek"].base_url = f"http://127.0.0.1:{server.server_port}/v1"
            result = ask(manager)
        finally:
            server.shutdown()
            thread.join()
    assert (result["content"], result["tokens_used"]) == ("good", 0)
    assert "usage" not in result["raw_response"]


def test_a_timeout_has_words_b21(make: Make, first: ThreadedUpstream) -> None:
    """B21: a provider's timeout holds, and its error says what happened."""
    manager = make(deepseek=first)
    manager.providers["deepseek"].timeout = 0.1
    first.fault(hang=True)
    began = time.monotonic()
    assert ask(manager)["success"] is False
    assert time.monotonic() - began < 5
    error = manager.get_provider_health()["deepseek"]["last_error"]
    assert isinstance(error, str)
    assert "no answer" in error


def test_a_long_timeout_gets_its_time(make: Make, first: ThreadedUpstream) -> None:
    """A timeout above that of the whole call makes the whole call longer, unless configured."""
    manager = make(deepseek=first)
    manager.providers["deepseek"].timeout = 100
    ask(manager)

    async def deadline(inner: Any) -> float:
        return float(inner.settings.deadline)

    assert manager._core.use_sync(deadline) == 200


def test_statuses_tell_what_is_b22(
    make: Make,
    first: ThreadedUpstream,
    second: ThreadedUpstream,
    configured: Callable[..., None],
) -> None:
    """B22: rate_limited, throttled and testing are told when they are so."""
    configured(manager={"circuit_breaker": {"failure_threshold": 1, "cooldown": 0.5}})
    manager = make(deepseek=first, glm=second)
    second.fault(status=429, retry_after=0.5)
    first.fault(status=529)
    ask(manager)
    assert manager.providers["deepseek"].status is module.ProviderStatus.THROTTLED
    assert manager.providers["glm"].status is module.ProviderStatus.RATE_LIMITED
    assert manager.get_provider_health()["glm"]["status"] == "rate_limited"
    until(lambda: manager._is_provider_available("glm"))
    info = manager.get_provider_health()["glm"]
    assert (info["status"], info["rate_limited"]) == ("unknown", None)
    until(lambda: manager._is_provider_available("deepseek"))
    first.fault(delay=0.4)

    async def probe() -> set[str]:
        running = asyncio.create_task(manager.generate("hi", strategy="priority"))
        told = set()
        while not running.done():
            await asyncio.sleep(0.02)
            told.add(str(manager.get_provider_health()["deepseek"]["status"]))
        return told

    assert "testing" in asyncio.run(probe())


@pytest.mark.parametrize(
    ("state", "circuit", "checked", "word", "asked"),
    [
        ("available", "closed", 1.0, None, True),
        ("unhealthy", "open", 1.0, "failed", True),
        ("busy", "closed", 1.0, "throttled", True),
        ("full", "closed", 1.0, "throttled", False),
        ("limit_reached", "closed", 1.0, "throttled", False),
        ("cooling_down", "closed", 1.0, "rate_limited", False),
        ("circuit_open", "open", 1.0, "failed", False),
        ("circuit_open", "half_open", 1.0, "testing", False),
        ("key_refused", "closed", 1.0, "failed", False),
        ("unavailable", "closed", None, "testing", False),
        ("unavailable", "closed", 1.0, "failed", False),
        ("disabled", "closed", None, "failed", False),
    ],
)
def test_the_words_for_states_b22(
    state: str, circuit: str, checked: float | None, word: str | None, asked: bool
) -> None:
    """B22: each state of the manager has its word, and its answer to whether one is asked."""
    status: Any = {"state": state, "circuit": circuit, "check_ms": checked}
    told: ProviderStatus = status
    assert legacy_words.word_of_state(told) == word
    assert legacy_words.can_be_asked(told) is asked


def test_nobody_asked_is_no_attempt_b25(make: Make, first: ThreadedUpstream) -> None:
    """B25: attempts counts who was asked; where all have to wait that is nobody."""
    manager = make(deepseek=first, glm=first, groq=first)
    first.fault(status=429, retry_after=60, times=None)
    assert ask(manager)["attempts"] == 3
    assert ask(manager)["attempts"] == 0
    assert len(first.requests) == 3


def test_connections_are_kept_b26(make: Make, fake_key: str) -> None:
    """B26: one connection serves one call after the other, of several event loops."""

    class _Kept(_WithoutUsage):
        protocol_version = "HTTP/1.1"

    accepted = []

    class _Server(HTTPServer):
        @override
        def get_request(self) -> Any:
            accepted.append(1)
            return super().get_request()

    with ThreadedUpstream() as unused:
        manager = make(deepseek=unused)
    with _Server(("127.0.0.1", 0), _Kept) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            manager.providers["deepseek"].base_url = f"http://127.0.0.1:{server.server_port}/v1"
            assert [ask(manager)["content"] for _ in range(5)] == ["good"] * 5
            asyncio.run(manager.close())
        finally:
            server.shutdown()
            thread.join()
    assert len(accepted) == 1


def test_threads_lose_no_count_b28(make: Make, first: ThreadedUpstream) -> None:
    """B28: 50 calls from each of 4 threads, each on a loop of its own, are all counted."""
    manager = make(deepseek=first, glm=first)
    answers: list[bool] = []

    def work() -> None:
        for _ in range(50):
            answers.append(asyncio.run(manager.generate("hi"))["success"])
            manager.get_provider_health()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [True] * 200
    stats = manager.get_stats()
    assert stats["total_requests"] == stats["successful_requests"] == 200
    assert sum(stats["providers_usage"].values()) == 200
    assert sum(one.success_count for one in manager.providers.values()) == 200


def test_a_refused_key_is_left_alone_b29(
    make: Make, first: ThreadedUpstream, second: ThreadedUpstream
) -> None:
    """B29: a provider that refuses the key is not asked again and again."""
    manager = make(deepseek=first, glm=second)
    first.fault(status=401, times=None)
    for _ in range(4):
        assert ask(manager)["provider"] == "glm"
    assert len(first.requests) == 1
    info = manager.get_provider_health()["deepseek"]
    assert (info["status"], info["available"]) == ("failed", False)
    manager.reset_stats()
    ask(manager)
    assert len(first.requests) == 2


def test_retry_after_is_kept_b30(make: Make, first: ThreadedUpstream) -> None:
    """B30: a provider is left alone for as long as it asked, and health says until when."""
    manager = make(deepseek=first)
    first.fault(status=429, retry_after=100)
    ask(manager)
    info = manager.get_provider_health()["deepseek"]
    end = datetime.fromisoformat(info["rate_limited"])
    assert 90 < (end - datetime.now()).total_seconds() <= 100  # noqa: DTZ005
    assert manager.providers["deepseek"].rate_limit_until == end


# --- what is new: configuration, closing, clean ends ----------------------------------------------


def test_failover_can_be_switched_off(
    make: Make,
    first: ThreadedUpstream,
    second: ThreadedUpstream,
    configured: Callable[..., None],
) -> None:
    """failover_enabled: false of the configuration means one provider and no more."""
    configured(manager={"failover_enabled": False})
    first.fault(status=500)
    assert ask(make(deepseek=first, glm=second))["success"] is False
    assert second.requests == []


def test_configured_providers_stand_in(
    make: Make,
    first: ThreadedUpstream,
    second: ThreadedUpstream,
    configured: Callable[..., None],
) -> None:
    """Providers of the configuration come after those of the table, under their own names."""
    row = {"model": "openai/m", "base_url": f"{second.url}/v1", "api_key": "none"}
    configured(llm={"mine": row, "deepseek": row})
    first.fault(status=500)
    manager = make(deepseek=first)
    result = ask(manager)
    assert (result["provider"], result["provider_name"]) == ("mine", "mine")
    assert manager.get_stats()["providers_usage"] == {"mine": 1}
    assert set(manager.get_provider_health()) == {"deepseek"}


def test_a_wrong_configuration_is_told(
    make: Make,
    first: ThreadedUpstream,
    configured: Callable[..., None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A configuration that cannot be read fails the call, and the log says why."""
    configured(nonsense=1)
    manager = make(deepseek=first)
    assert ask(manager)["attempts"] == 0
    assert "nonsense" in caplog.text
    assert manager.get_provider_health()["deepseek"]["available"] is True


def test_closing(make: Make, first: ThreadedUpstream) -> None:
    """A closed manager tells of failures, closing twice is harmless, and nothing is left."""
    manager = make(deepseek=first)
    ask(manager)
    asyncio.run(manager.close())
    asyncio.run(manager.close())
    assert ask(manager)["attempts"] == 0
    assert manager.get_provider_health()["deepseek"]["success_count"] == 1
    failed = asyncio.run(manager._make_request("deepseek", [{"role": "user", "content": "x"}]))
    assert "closed" in failed["error"]
    manager.reset_stats()


def test_closed_while_health_is_read(make: Make, first: ThreadedUpstream) -> None:
    """Health that is read while the service is being closed or changed raises nothing."""
    manager = make(deepseek=first)
    ask(manager)
    threaded = manager._core._threaded
    assert threaded is not None
    threaded.close()
    assert manager.get_provider_health()["deepseek"]["status"] == "active"


def test_a_call_that_is_cancelled(make: Make, first: ThreadedUpstream) -> None:
    """Whoever is cancelled hears of it, and the call is neither a success nor a failure."""
    manager = make(deepseek=first)
    ask(manager)
    first.fault(hang=True)

    async def leave() -> None:
        task = asyncio.create_task(manager.generate("hi"))
        await asyncio.sleep(0.05)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(leave())
    stats = manager.get_stats()
    assert (stats["total_requests"], stats["failed_requests"]) == (2, 0)


def test_how_it_ended_with_each_provider(make: Make, first: ThreadedUpstream) -> None:
    """A provider counts once in a call, retries included; what says nothing of it does not."""

    def attempt(provider: str, outcome: str, status: int | None = None) -> Attempt:
        return Attempt(
            provider=provider,
            model=None,
            outcome=outcome,
            status_code=status,
            latency_ms=1.0,
            error=None,
        )

    given = [
        attempt("a", "unavailable", 500),
        attempt("a", "ok"),
        attempt("b", "cancelled"),
        attempt("c", "invalid_request"),
        attempt("d", "invalid_request", 400),
    ]
    assert legacy_reply._last_of_each(given) == [given[1], given[4]]
    manager = make(deepseek=first)
    one = manager.providers["deepseek"]
    one.max_retries = 1
    first.fault(status=500)
    assert ask(manager)["success"] is True
    assert len(first.requests) == 2
    assert (one.success_count, one.failure_count) == (1, 0)
    assert manager.get_stats()["total_fallbacks"] == 0


def test_tool_calls_are_in_the_raw_response(make: Make, first: ThreadedUpstream) -> None:
    """raw_response has tool calls where the answer has them."""
    manager = make(deepseek=first)
    ask(manager)

    async def tools(inner: Any) -> Any:
        tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
        choice = {"type": "function", "function": {"name": "f"}}
        return await inner.generate("hi", tools=[tool], tool_choice=choice)

    raw = manager._success(manager._core.use_sync(tools))["raw_response"]
    assert raw["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "f"


@pytest.mark.slow
def test_it_ends_cleanly_without_close(first: ThreadedUpstream, fake_key: str) -> None:
    """A process that closes neither service ends without warnings, also in development mode."""
    out = isolated(
        f"""
import asyncio, logging, os
logging.disable()
import universal_ai_manager
from ultimate_fallback_system import ultimate_fallback_system
manager = universal_ai_manager.get_universal_ai_manager()
manager.providers["groq"].base_url = {first.url!r}
ultimate_fallback_system.providers["groq"]["base_url"] = {first.url!r}
print(asyncio.run(manager.generate("hi"))["content"])
print(ultimate_fallback_system.query_with_fallback("ho"))
""",
        ROOT / "src/amas/services",
        options=("-X", "dev", "-W", "error"),
        GROQAI_API_KEY=fake_key,
    )
    assert out == "first says: hi\nfirst says: ho\n"


def test_it_runs_as_a_program(fake_key: str) -> None:
    """``python -m`` shows the demonstration; without keys it says that there are none."""
    done = subprocess.run(
        [sys.executable, "-m", "src.amas.services.universal_ai_manager"],
        cwd=ROOT,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.endswith("Exception: No active AI providers configured\n")


def test_faults_are_logged_and_keys_are_not(
    make: Make, first: ThreadedUpstream, caplog: pytest.LogCaptureFixture, fake_key: str
) -> None:
    """The log says why a call failed, and nowhere has a key that an upstream repeats."""
    caplog.set_level(logging.DEBUG)
    first.fault(Fault(echo_key=True))
    manager = make(deepseek=first)
    result = ask(manager)
    assert "All AI providers failed: " in caplog.text
    shown = caplog.text + json.dumps(result) + json.dumps(manager.get_provider_health())
    assert fake_key not in shown


def test_it_runs_by_its_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """It runs as a script in its folder, where there is no package."""
    folder = ROOT / "src/amas/services"
    monkeypatch.syspath_prepend(str(folder))
    try:
        with pytest.raises(Exception, match="No active AI providers configured"):
            runpy.run_path(str(folder / "universal_ai_manager.py"), run_name="__main__")
    finally:
        for name in {path.stem for path in folder.glob("*.py")}:
            sys.modules.pop(name, None)
