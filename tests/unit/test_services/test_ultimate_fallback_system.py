"""The Ultimate Fallback System: what the old module promised, to the letter, and its bugs."""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import runpy
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from amas.providers import AllProvidersFailedError, NoProviderAvailableError
from amas.providers.secret import MASK
from amas.providers.testing.upstream import ThreadedUpstream
from amas.services import legacy_core
from amas.services import ultimate_fallback_system as module
from amas.services.ultimate_fallback_system import ProviderStatus, UltimateFallbackSystem

ROOT: Final = Path(__file__).parents[3]
SITE: Final = sysconfig.get_paths()["purelib"]
IMPORTS: Final = {
    "amas.services.ultimate_fallback_system": ROOT / "src",
    "src.amas.services.ultimate_fallback_system": ROOT,
    "services.ultimate_fallback_system": ROOT / "src/amas",
    "ultimate_fallback_system": ROOT / "src/amas/services",
}
OPENROUTER: Final = "https://openrouter.ai/api/v1"

# pid: display name, variable, address, model; in the order of priority.
TABLE: Final = {
    "deepseek": (
        "DeepSeek V3.1",
        "DEEPSEEK_API_KEY",
        OPENROUTER,
        "deepseek/deepseek-chat-v3.1:free",
    ),
    "glm": ("GLM 4.5 Air", "GLM_API_KEY", OPENROUTER, "z-ai/glm-4.5-air:free"),
    "grok": ("xAI Grok 4 Fast", "GROK_API_KEY", OPENROUTER, "x-ai/grok-4-fast:free"),
    "kimi": ("MoonshotAI Kimi K2", "KIMI_API_KEY", OPENROUTER, "moonshotai/kimi-k2:free"),
    "qwen": ("Qwen3 Coder", "QWEN_API_KEY", OPENROUTER, "qwen/qwen3-coder:free"),
    "gptoss": ("OpenAI GPT-OSS 120B", "GPTOSS_API_KEY", OPENROUTER, "openai/gpt-oss-120b:free"),
    "groq": (
        "Groq AI",
        "GROQAI_API_KEY",
        "https://api.groq.com/openai/v1",
        "llama-3.3-70b-versatile",
    ),
    "cerebras": (
        "Cerebras AI",
        "CEREBRAS_API_KEY",
        "https://api.cerebras.ai/v1",
        "qwen-3-235b-a22b-instruct-2507",
    ),
    "gemini": (
        "Gemini AI",
        "GEMINIAI_API_KEY",
        "https://generativelanguage.googleapis.com/v1beta",
        "gemini-2.5-flash",
    ),
}

SUCCESS: Final = {
    "success": bool,
    "provider": str,
    "provider_name": str,
    "response": dict,
    "content": str,
    "response_time": float,
    "tokens_used": int,
}
FAILURE: Final = {
    "success": bool,
    "provider": str,
    "provider_name": str,
    "error": str,
    "fallback_stats": dict,
}
KEPT: Final = {
    "total_requests": int,
    "successful_requests": int,
    "failed_requests": int,
    "fallback_usage": dict,
    "provider_performance": dict,
    "average_response_time": int | float,
    "last_reset": str,
    "random_selection_count": int,
    "priority_selection_count": int,
}
STATS: Final = {
    "total_requests": int,
    "successful_requests": int,
    "failed_requests": int,
    "success_rate": str,
    "average_response_time": str,
    "fallback_usage": dict,
    "provider_performance": dict,
    "active_providers": int,
    "provider_names": list,
    "provider_status": dict,
    "random_selection_count": int,
    "priority_selection_count": int,
    "last_reset": str,
}
HEALTH: Final = {
    "name": str,
    "status": str,
    "success_count": int,
    "failure_count": int,
    "success_rate": str,
    "average_response_time": str,
    "last_used": str | None,
    "priority": int,
    "rate_limited_until": float | None,
}
PROVIDER: Final = {
    "name": str,
    "api_key": str | None,
    "base_url": str,
    "model": str,
    "priority": int,
    "timeout": int,
    "max_retries": int,
    "status": ProviderStatus,
    "last_used": str | None,
    "success_count": int,
    "failure_count": int,
    "response_time": int | float,
    "rate_limit_until": float | None,
}

Make = Callable[..., UltimateFallbackSystem]


def assert_shape(given: dict[str, Any], shape: dict[str, Any]) -> None:
    """Check keys and types."""
    assert given.keys() == shape.keys()
    assert [name for name in shape if not isinstance(given[name], shape[name])] == []


def until(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    ends = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.02)


def ask(system: UltimateFallbackSystem, prompt: Any = "hi", **asked: Any) -> dict[str, Any]:
    """Ask on a loop of its own."""
    return asyncio.run(system.generate_response(prompt, **asked))


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
    """Return a function that makes a system in priority mode, of the providers given by name."""
    made: list[UltimateFallbackSystem] = []

    def build(**upstreams: ThreadedUpstream) -> UltimateFallbackSystem:
        for pid in upstreams:
            monkeypatch.setenv(TABLE[pid][1], f"{fake_key}-{pid}")
        system = UltimateFallbackSystem()
        made.append(system)
        system.reset_fallback_order()
        for pid, upstream in upstreams.items():
            system.providers[pid]["base_url"] = upstream.url
            system.providers[pid]["max_retries"] = 0  # the pauses between retries take time
        return system

    yield build
    for system in made:
        asyncio.run(system.close())


@pytest.fixture
def shared(
    make: Make, first: ThreadedUpstream, monkeypatch: pytest.MonkeyPatch
) -> UltimateFallbackSystem:
    """Put a system of one provider in the place of the shared instance."""
    system = make(deepseek=first)
    monkeypatch.setitem(vars(module), "ultimate_fallback_system", system)
    return system


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Return a function that writes the configuration that the services are told of."""

    def write(**section: Any) -> None:
        path = tmp_path / "providers.yaml"
        path.write_text(yaml.safe_dump({"providers": section}), encoding="utf-8")
        monkeypatch.setenv(legacy_core.CONFIG_VARIABLE, str(path))

    return write


# --- 3.1: names ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "parameters", "awaited"),
    [
        ("generate_ai_response", ["prompt", "kwargs"], True),
        ("get_fallback_stats", [], False),
        ("get_provider_health", [], False),
        ("reset_fallback_order", [], False),
        ("test_ultimate_fallback", [], True),
        ("get_api_key", ["env_name"], False),
        ("UltimateFallbackSystem", [], False),
        ("UltimateFallbackSystem.generate_response", ["self", "prompt", "kwargs"], True),
        ("UltimateFallbackSystem.query_with_fallback", ["self", "prompt"], False),
        ("UltimateFallbackSystem.get_fallback_stats", ["self"], False),
        ("UltimateFallbackSystem.get_provider_health", ["self"], False),
        ("UltimateFallbackSystem.reset_fallback_order", ["self"], False),
    ],
)
def test_a_name_has_its_signature(name: str, parameters: list[str], awaited: bool) -> None:
    """Each name is there with its arguments, none of which has a default."""
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part)
    given = inspect.signature(found).parameters
    assert list(given) == parameters
    assert all(value.default is inspect.Parameter.empty for value in given.values())
    assert inspect.iscoroutinefunction(found) is awaited


def test_the_statuses() -> None:
    """The statuses are the old ones; there is no throttled."""
    assert {item.name: item.value for item in ProviderStatus} == {
        "ACTIVE": "active",
        "FAILED": "failed",
        "TESTING": "testing",
        "UNKNOWN": "unknown",
        "RATE_LIMITED": "rate_limited",
    }


def test_the_shared_instance_comes_on_first_use(
    monkeypatch: pytest.MonkeyPatch, fake_key: str
) -> None:
    """The module's instance is made when first asked for, once; without keys that raises."""
    assert "ultimate_fallback_system" not in vars(module)
    for use in (
        lambda: module.ultimate_fallback_system,
        module.get_fallback_stats,
        module.get_provider_health,
        module.reset_fallback_order,
        UltimateFallbackSystem,
        lambda: asyncio.run(module.generate_ai_response("hi")),
    ):
        with pytest.raises(Exception, match=r"^No active AI providers found! Please set") as raised:
            use()
        assert type(raised.value) is Exception
    monkeypatch.setenv("GLM_API_KEY", fake_key)
    try:
        made = module.ultimate_fallback_system
        assert isinstance(made, UltimateFallbackSystem)
        assert module.ultimate_fallback_system is made
        module.reset_fallback_order()
        assert made.random_mode is False
        assert module.get_fallback_stats()["provider_names"] == ["GLM 4.5 Air"]
    finally:
        monkeypatch.delitem(vars(module), "ultimate_fallback_system")
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        _ = module.nonsense


def test_the_attributes(make: Make, first: ThreadedUpstream, fake_key: str) -> None:
    """All nine providers are there as dictionaries; who has a key is active, others failed."""
    system = make(groq=first, glm=first)
    assert list(system.providers) == list(TABLE)
    for one in system.providers.values():
        assert_shape(one, PROVIDER)
    assert system.active_providers == ["glm", "groq"]
    statuses = {pid: one["status"] for pid, one in system.providers.items()}
    assert statuses == {
        pid: ProviderStatus.ACTIVE if pid in {"glm", "groq"} else ProviderStatus.FAILED
        for pid in TABLE
    }
    assert_shape(system.fallback_stats, KEPT)
    assert system.current_provider_index == 0
    assert UltimateFallbackSystem().random_mode is True
    assert system.providers["glm"]["api_key"] == f"{fake_key}-glm"
    assert fake_key not in repr(system.providers)
    assert MASK in repr(system.providers)


def test_every_row_of_the_table(make: Make, first: ThreadedUpstream) -> None:
    """Names, addresses, models, priorities and limits are the old ones."""
    make(**dict.fromkeys(TABLE, first))
    system = UltimateFallbackSystem()
    for priority, (pid, row) in enumerate(TABLE.items(), 1):
        one = system.providers[pid]
        assert (one["name"], row[1], one["base_url"], one["model"]) == row
        assert (one["priority"], one["timeout"], one["max_retries"]) == (priority, 30, 3)


@pytest.mark.parametrize("pid", TABLE)
def test_one_request_to_whom_it_belongs_b32(make: Make, first: ThreadedUpstream, pid: str) -> None:
    """B32, B39: one call is one upstream request, with key and model; no test is sent before."""
    result = ask(make(**{pid: first}), "hello")
    assert result["content"] == "first says: hello"
    assert result["provider_name"] == TABLE[pid][0]
    (request,) = first.requests
    assert request.model == TABLE[pid][3]
    assert request.credential is not None
    assert request.credential.endswith(pid)


# --- 3.2: results -------------------------------------------------------------------------------


@pytest.mark.parametrize("pid", ["deepseek", "groq", "cerebras", "gemini"])
def test_the_result_of_a_success_b39(make: Make, first: ThreadedUpstream, pid: str) -> None:
    """B39: a success has the old keys and types, and JSON takes it, whoever has answered."""
    result = ask(make(**{pid: first}))
    assert_shape(result, SUCCESS)
    assert json.loads(json.dumps(result)) == result
    assert (result["success"], result["provider"]) == (True, pid)
    response = result["response"]
    assert response["choices"][0]["message"]["content"] == result["content"]
    assert response["usage"]["total_tokens"] == result["tokens_used"] > 0


def test_the_result_of_a_failure_b37(make: Make, first: ThreadedUpstream) -> None:
    """B37: a failure is told in the old words, with a copy of the statistics."""
    system = make(deepseek=first)
    first.fault(status=500)
    result = ask(system)
    assert_shape(result, FAILURE)
    assert json.loads(json.dumps(result)) == result
    assert result["success"] is False
    assert (result["provider"], result["provider_name"]) == ("none", "All Providers Failed")
    assert result["error"] == "All AI providers failed"
    told = result["fallback_stats"]
    assert_shape(told, KEPT)
    assert told["failed_requests"] == 1
    ask(system)
    assert told["total_requests"] == 1
    assert told["provider_performance"]["deepseek"]["success_count"] == 0


def test_the_statistics_b38(make: Make, first: ThreadedUpstream, second: ThreadedUpstream) -> None:
    """B38: statistics have the old keys and types, and count failures of each provider as well."""
    system = make(deepseek=first, glm=second)
    assert system.get_fallback_stats()["success_rate"] == "0.0%"
    assert system.get_fallback_stats()["average_response_time"] == "0.00s"
    first.fault(status=500)
    assert ask(system)["provider"] == "glm"
    stats = system.get_fallback_stats()
    assert_shape(stats, STATS)
    json.dumps(stats)
    assert (stats["total_requests"], stats["successful_requests"]) == (1, 1)
    assert stats["success_rate"] == "100.0%"
    assert stats["fallback_usage"] == {"glm": 1}
    assert stats["active_providers"] == 2
    assert stats["provider_names"] == ["DeepSeek V3.1", "GLM 4.5 Air"]
    assert stats["priority_selection_count"] == 2
    performance = stats["provider_performance"]
    assert performance["deepseek"] == {
        "success_count": 0,
        "failure_count": 1,
        "total_response_time": 0,
        "average_response_time": 0,
    }
    good = performance["glm"]
    assert (good["success_count"], good["failure_count"]) == (1, 0)
    assert good["average_response_time"] == good["total_response_time"] > 0
    assert system.fallback_stats["average_response_time"] == good["average_response_time"]
    assert stats["provider_status"] == {
        pid: "active" if pid == "glm" else "failed" for pid in TABLE
    }
    assert system.current_provider_index == 1
    stats["fallback_usage"]["glm"] = 99
    assert system.get_fallback_stats()["fallback_usage"] == {"glm": 1}


def test_the_health(make: Make, first: ThreadedUpstream, second: ThreadedUpstream) -> None:
    """Health has the old keys and types for all nine, and reading it changes and asks nothing."""
    system = make(deepseek=first, glm=second)
    fresh = system.get_provider_health()
    assert list(fresh) == list(TABLE)
    for info in fresh.values():
        assert_shape(info, HEALTH)
    assert [info["status"] for info in fresh.values()].count("active") == 2
    first.fault(status=500)
    ask(system)
    health = system.get_provider_health()
    assert health == system.get_provider_health()
    json.dumps(health)
    bad, good = health["deepseek"], health["glm"]
    assert (bad["status"], bad["failure_count"], bad["success_rate"]) == ("failed", 1, "0.0%")
    assert (good["status"], good["success_count"], good["success_rate"]) == ("active", 1, "100.0%")
    datetime.fromisoformat(good["last_used"])
    assert len(first.requests) == 1


def test_defaults_of_a_call(make: Make, first: ThreadedUpstream) -> None:
    """Answers have up to 2000 tokens at temperature 0.7; both may be given, the rest is ignored."""
    system = make(groq=first)
    ask(system)
    ask(system, max_tokens=5, temperature=0.1, model="other", top_p=0.5, foo=1)
    bodies = [request.json for request in first.requests]
    assert [(body["max_tokens"], body["temperature"]) for body in bodies] == [(2000, 0.7), (5, 0.1)]
    assert {request.model for request in first.requests} == {"llama-3.3-70b-versatile"}
    assert "top_p" not in bodies[1]


def test_what_is_assigned_holds_from_the_next_call_on(
    make: Make, first: ThreadedUpstream, second: ThreadedUpstream, fake_key: str
) -> None:
    """Address, model and key of a provider may be changed, and providers may be added."""
    system = make(deepseek=first)
    ask(system)
    system.providers["deepseek"].update(base_url=second.url, model="a/b", api_key=fake_key + "-new")
    assert ask(system)["content"] == "second says: hi"
    (request,) = second.requests
    assert (request.model, request.credential) == ("a/b", fake_key + "-new")
    system.providers["mine"] = system.providers["deepseek"] | {
        "name": "Mine",
        "base_url": f"{first.url}/v1",
    }
    system.active_providers = ["mine"]
    assert ask(system)["provider_name"] == "Mine"
    system.providers["mine"]["api_key"] = None
    assert ask(system)["success"] is False


# --- 3.4: selection -----------------------------------------------------------------------------


def test_random_mode(make: Make, first: ThreadedUpstream) -> None:
    """In random mode everybody is asked sooner or later, and the selections are counted."""
    system = make(deepseek=first, glm=first)
    system.reset_fallback_order()
    assert system.random_mode is True

    async def many() -> set[str]:
        return {(await system.generate_response("hi"))["provider"] for _ in range(40)}

    assert asyncio.run(many()) == {"deepseek", "glm"}
    stats = system.get_fallback_stats()
    assert (stats["random_selection_count"], stats["priority_selection_count"]) == (40, 0)
    assert system.current_provider_index == 0


def test_priority_mode(make: Make, first: ThreadedUpstream) -> None:
    """In priority mode the first is asked; a reset of the order changes the mode and its time."""
    system = make(deepseek=first, glm=first)
    assert [ask(system)["provider"] for _ in range(3)] == ["deepseek"] * 3
    before = system.fallback_stats["last_reset"]
    system.current_provider_index = 1
    system.reset_fallback_order()
    assert (system.random_mode, system.current_provider_index) == (True, 0)
    assert system.fallback_stats["last_reset"] > before
    assert system.providers["deepseek"]["status"] is ProviderStatus.ACTIVE


# --- 8.3: consumers -----------------------------------------------------------------------------


@pytest.mark.parametrize("most", [500, 2000, 3000, 4000])
def test_the_scripts_of_the_host(
    shared: UltimateFallbackSystem, first: ThreadedUpstream, most: int
) -> None:
    """The two issue responders and the integration script get what they read."""
    first.upstream.reply = json.dumps({"type": "bug"})
    health = module.get_provider_health()
    active = [pid for pid, info in health.items() if info["status"] == "active"]
    assert active == ["deepseek"]
    assert all(isinstance(info["name"], str) for info in health.values())
    assert module.get_fallback_stats()["active_providers"] == 1
    result = asyncio.run(module.generate_ai_response("analyse", max_tokens=most))
    assert first.requests[-1].json["max_tokens"] == most
    assert result["success"]
    assert json.loads(result["content"]) == {"type": "bug"}
    assert (result["provider"], result["provider_name"]) == ("deepseek", "DeepSeek V3.1")
    assert float(f"{result['response_time']:.2f}") >= 0
    first.fault(status=500)
    failed = asyncio.run(module.generate_ai_response("analyse", max_tokens=most))
    assert (failed["success"], failed["error"]) == (False, "All AI providers failed")
    stats = module.get_fallback_stats()
    assert stats.get("total_requests", 0) == 2
    assert stats["success_rate"] == "50.0%"
    assert stats["average_response_time"].endswith("s")
    assert stats["random_selection_count"] + stats["priority_selection_count"] == 2
    (info,) = [info for info in module.get_provider_health().values() if info["success_count"]]
    assert (info["name"], info["success_rate"]) == ("DeepSeek V3.1", "50.0%")


def test_the_code_review_of_the_host_b40(make: Make, first: ThreadedUpstream) -> None:
    """B40: query_with_fallback answers with a text, also within a running loop, or raises."""
    system = make(deepseek=first)
    assert system.query_with_fallback("review this") == "first says: review this"
    assert first.requests[-1].json["max_tokens"] == 2000

    async def review() -> str:
        return system.query_with_fallback("and this")

    assert asyncio.run(review()) == "first says: and this"
    first.fault(status=500)
    with pytest.raises(AllProvidersFailedError):
        system.query_with_fallback("and that")
    stats = system.get_fallback_stats()
    assert (stats["total_requests"], stats["failed_requests"]) == (3, 1)


def test_the_demonstration(
    shared: UltimateFallbackSystem, first: ThreadedUpstream, capsys: pytest.CaptureFixture[str]
) -> None:
    """The demonstration shows an answer, or a failure, with statistics and health."""
    asyncio.run(module.test_ultimate_fallback())
    first.fault(status=500)
    asyncio.run(module.test_ultimate_fallback())
    shown = capsys.readouterr().out
    assert "✅ DeepSeek V3.1" in shown
    assert "❌ All AI providers failed" in shown
    assert "DeepSeek V3.1: failed (50.0%)" in shown


# --- the bugs, by their numbers -----------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("name", "folder"), IMPORTS.items())
def test_all_four_names_b31(name: str, folder: Path, fake_key: str) -> None:
    """B31: it imports by each name, without keys, vendors' SDKs, network or logging; then works."""
    code = f"""
import asyncio, importlib, logging, os, sys
module = importlib.import_module({name!r})
assert logging.getLogger().handlers == [], "logging was set up"
assert not sys.modules.keys() & {{"groq", "cerebras", "google.genai", "aiohttp", "litellm"}}
assert "ultimate_fallback_system" not in vars(module)
exec("from {name} import *")
try:
    exec("from {name} import ultimate_fallback_system")
except Exception as error:
    print(type(error).__name__, error)
os.environ["GROQAI_API_KEY"] = {fake_key!r}
exec("from {name} import ultimate_fallback_system, generate_ai_response, get_fallback_stats")
system = module.ultimate_fallback_system
async def names(inner):
    return list(inner.providers)
print(system._core.use_sync(names))
print(system.providers)
"""
    kept = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
    path = f"{folder}{os.pathsep}{SITE}"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env={**kept, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[:2] == [
        "Exception No active AI providers found! Please set at least one API key.",
        "['groq']",
    ]
    assert fake_key not in done.stdout


def test_nothing_is_permanent_b33_b34(make: Make, first: ThreadedUpstream) -> None:
    """B33, B34: after a round of 429, providers are asked again when their time has come."""
    system = make(deepseek=first, glm=first)
    first.fault(status=429, retry_after=0.6, times=1)
    first.fault(status=429, retry_after=100, times=1)
    assert ask(system)["success"] is False
    health = system.get_provider_health()
    assert [health[pid]["status"] for pid in ("deepseek", "glm")] == ["rate_limited"] * 2
    end = health["glm"]["rate_limited_until"]
    assert end == system.providers["glm"]["rate_limit_until"]
    assert 90 < end - time.time() <= 100
    until(lambda: system.get_provider_health()["deepseek"]["status"] == "active")
    info = system.get_provider_health()["deepseek"]
    assert (info["status"], info["rate_limited_until"]) == ("active", None)
    assert ask(system)["provider"] == "deepseek"
    assert system.get_fallback_stats()["provider_status"]["glm"] == "rate_limited"


def test_a_failed_provider_comes_back_b33(
    make: Make, first: ThreadedUpstream, configured: Callable[..., None]
) -> None:
    """B33: a provider that was set aside is asked again, and is active when it answers."""
    configured(manager={"circuit_breaker": {"failure_threshold": 1, "cooldown": 0.1}})
    system = make(deepseek=first)
    first.fault(status=529)
    ask(system)
    assert system.get_provider_health()["deepseek"]["status"] == "failed"
    until(lambda: bool(ask(system)["success"]))
    assert system.get_provider_health()["deepseek"]["status"] == "active"


@pytest.mark.parametrize("pid", ["groq", "cerebras", "gemini"])
def test_nothing_blocks_the_loop_b35(make: Make, first: ThreadedUpstream, pid: str) -> None:
    """B35: while a slow provider is asked the loop goes on; address and timeout are kept."""
    system = make(**{pid: first})
    ask(system)
    first.fault(hang=True)
    system.providers[pid]["timeout"] = 0.5

    async def beside() -> int:
        running = asyncio.create_task(system.generate_response("hi"))
        turns = 0
        while not running.done():
            await asyncio.sleep(0.01)
            turns += 1
        assert running.result()["success"] is False
        return turns

    assert asyncio.run(beside()) > 5


def test_gemini_gets_everything_b36(make: Make, first: ThreadedUpstream) -> None:
    """B36: Gemini gets the limits, and its tokens are counted."""
    result = ask(make(gemini=first), "ask me", max_tokens=9, temperature=0.1)
    (request,) = first.requests
    assert request.json["generationConfig"] == {"max_output_tokens": 9, "temperature": 0.1}
    assert result["tokens_used"] > 0


def test_threads_lose_no_count(make: Make, first: ThreadedUpstream) -> None:
    """50 calls from each of 4 threads, each on a loop of its own, are all counted."""
    system = make(deepseek=first, glm=first)
    answers: list[bool] = []

    def work() -> None:
        for _ in range(25):
            answers.append(asyncio.run(system.generate_response("hi"))["success"])
            answers.append(bool(system.query_with_fallback("ho")))
            system.get_provider_health()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [True] * 200
    stats = system.get_fallback_stats()
    assert stats["total_requests"] == stats["successful_requests"] == 200
    assert sum(stats["fallback_usage"].values()) == 200
    assert sum(one["success_count"] for one in system.providers.values()) == 200


# --- what is new: configuration, and closing ------------------------------------------------------


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
    configured(llm={"mine": {"model": "openai/m", "base_url": second.url, "api_key": "none"}})
    first.fault(status=500)
    system = make(deepseek=first)
    result = ask(system)
    assert (result["provider"], result["provider_name"]) == ("mine", "mine")
    assert system.get_fallback_stats()["fallback_usage"] == {"mine": 1}
    assert system.current_provider_index == 0


def test_closing(make: Make, first: ThreadedUpstream) -> None:
    """A closed system tells of failures or raises them, and closing twice is harmless."""
    system = make(deepseek=first)
    ask(system)
    asyncio.run(system.close())
    asyncio.run(system.close())
    assert ask(system)["success"] is False
    with pytest.raises(NoProviderAvailableError, match="closed"):
        system.query_with_fallback("hi")


def test_it_runs_by_its_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """It runs as a script in its folder, where there is no package."""
    folder = ROOT / "src/amas/services"
    monkeypatch.syspath_prepend(str(folder))
    try:
        with pytest.raises(Exception, match="No active AI providers found"):
            runpy.run_path(str(folder / "ultimate_fallback_system.py"), run_name="__main__")
    finally:
        for name in {path.stem for path in folder.glob("*.py")}:
            sys.modules.pop(name, None)
