"""Providers that we did not write: twenty lines of Python, three lines of YAML, or a package."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from amas.providers import (
    AllProvidersFailedError,
    InvalidRequestError,
    LiteLLMProvider,
    ProviderBase,
    ProviderConfig,
    ProviderConfigError,
    ProviderManager,
)
from amas.providers.testing.upstream import Fault, Upstream
from amas.providers.types import Prompt


class Twenty(ProviderBase):
    """A whole provider: it says yes to being started, and answers."""

    trouble: Exception | None = None

    @override
    async def initialize(self) -> bool:
        return True

    @override
    async def generate(self, prompt: Prompt, **kwargs: Any) -> dict[str, Any]:
        if self.trouble is not None:
            raise self.trouble
        return {"content": f"{self.name} heard: {prompt}"}

    @override
    async def health_check(self) -> bool:
        return True

    @override
    async def shutdown(self) -> None:
        pass


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    """Run a server that speaks OpenAI's protocol."""
    async with Upstream("server") as up:
        yield up


def three_lines(up: Upstream, tmp_path: Path) -> Path:
    """Write the configuration that adds a provider."""
    path = tmp_path / "config.yaml"
    path.write_text(
        f"""
providers:
  llm:
    my_vllm:
      model: openai/qwen3
      base_url: {up.url}/v1
      api_key: none
""",
        encoding="utf-8",
    )
    return path


async def test_three_lines_of_yaml_are_a_provider(upstream: Upstream, tmp_path: Path) -> None:
    """It answers, streams and is healthy, and its model is asked without the prefix."""
    async with ProviderManager.from_config(three_lines(upstream, tmp_path)) as manager:
        assert manager.active_providers == ["my_vllm"]
        result = await manager.generate("hi")
        text = "".join([chunk.content async for chunk in manager.stream("hi")])
        assert await manager.check_health() == {"my_vllm": True}
    assert result["content"] == text == "server says: hi"
    assert upstream.requests[-2].model == "qwen3"


async def test_twenty_lines_of_python_are_a_provider() -> None:
    """What they leave out, the manager fills in."""
    async with ProviderManager() as manager:
        assert await manager.register_provider(Twenty(ProviderConfig("mine", model="m1")))
        assert manager.active_providers == ["mine"]
        result = await manager.generate("hi", temperature=0.5)
        chunks = [chunk async for chunk in manager.stream("hi")]
        assert await manager.check_health() == {"mine": True}
        assert manager.status()["mine"]["successes"] == 2
    assert (result["content"], result["provider"], result["model"]) == (
        "mine heard: hi",
        "mine",
        "m1",
    )
    assert [chunk.content for chunk in chunks] == ["mine heard: hi"]
    assert (chunks[-1].finish_reason, chunks[-1].request_id is None) == ("stop", False)


async def test_both_take_part_in_failover(upstream: Upstream, tmp_path: Path) -> None:
    """Each stands in for the other, in calls and in streams."""
    async with ProviderManager.from_config(three_lines(upstream, tmp_path)) as manager:
        mine = Twenty(ProviderConfig("mine", max_retries=0))
        await manager.register_provider(mine)
        upstream.fault(Fault.model_not_found(times=2))
        assert (await manager.generate("hi"))["provider"] == "mine"
        assert {chunk.provider async for chunk in manager.stream("hi")} == {"mine"}
        manager.fallback_chain.reverse()
        mine.trouble = RuntimeError("its server is down")
        result = await manager.generate("hi")
        assert result["provider"] == "my_vllm"
        assert result["attempts"][0]["outcome"] == "unavailable"
        assert "unexpected RuntimeError" in str(result["attempts"][0]["error"])
        assert {chunk.provider async for chunk in manager.stream("hi")} == {"my_vllm"}


async def test_our_errors_are_the_language_of_everybody() -> None:
    """A provider that raises ours decides what happens next, as ours do."""
    async with ProviderManager() as manager:
        first, second = (Twenty(ProviderConfig(name, max_retries=0)) for name in ("a", "b"))
        await manager.register_provider(first)
        await manager.register_provider(second)
        first.trouble = InvalidRequestError("no such parameter")
        with pytest.raises(InvalidRequestError, match="no such parameter") as raised:
            await manager.generate("hi")
        assert raised.value.provider == "a"
        first.trouble = second.trouble = OSError("gone")
        with pytest.raises(AllProvidersFailedError) as failed:
            await manager.generate("hi")
        assert [item.provider for item in failed.value.errors] == ["a", "b"]


async def test_a_provider_without_embeddings_says_so() -> None:
    """It is the caller's mistake to ask it."""
    with pytest.raises(InvalidRequestError, match="no embeddings"):
        await Twenty(ProviderConfig("mine")).embed(["hi"])


PLUGIN = """
from amas.providers import ProviderBase


class Acme(ProviderBase):
    async def initialize(self):
        return True

    async def generate(self, prompt, **kwargs):
        return {"content": f"{self.name} with {self.config.model} and {self.config.timeout} s"}

    async def health_check(self):
        return True

    async def shutdown(self):
        pass


def broken(config):
    raise RuntimeError("no licence found")


def nonsense(config):
    return "a provider"
"""


def declare(points: Path, target: str) -> None:
    """Write what the plugin acme stands for."""
    points.write_text(f"[amas.providers]\nacme = {target}\n", encoding="utf-8")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Install a package with a plugin, as far as Python can tell; return its entry points."""
    site = tmp_path / "site"
    info = site / "acme_plugin-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "acme_plugin.py").write_text(PLUGIN, encoding="utf-8")
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: acme-plugin\nVersion: 1.0\n", encoding="utf-8"
    )
    points = info / "entry_points.txt"
    declare(points, "acme_plugin:Acme")
    monkeypatch.syspath_prepend(str(site))
    yield points
    sys.modules.pop("acme_plugin", None)
    importlib.invalidate_caches()


async def test_an_installed_plugin_is_used_for_rows_of_its_name(
    package: Path, upstream: Upstream
) -> None:
    """With the row's configuration; other rows go through LiteLLM as ever."""
    rows = {
        "acme": {"model": "rocket-1", "timeout": 7},
        "second": {"provider": "acme", "model": "rocket-2"},
        "my_vllm": {"model": "openai/qwen3", "base_url": upstream.url, "api_key": "none"},
    }
    async with ProviderManager.from_config({"providers": {"llm": rows}}) as manager:
        answers = [(await manager.generate("hi", provider=name))["content"] for name in rows]
        assert isinstance(manager.providers["my_vllm"], LiteLLMProvider)
    assert answers == [
        "acme with rocket-1 and 7.0 s",
        "second with rocket-2 and 30.0 s",
        "server says: hi",
    ]


async def test_installed_plugins_can_be_discovered(package: Path) -> None:
    """Without any configuration."""
    async with ProviderManager() as manager:
        assert await manager.discover() == {"acme": True}
        assert (await manager.generate("hi"))["provider"] == "acme"


@pytest.mark.parametrize(
    ("target", "what"),
    [
        ("acme_plugin:broken", "RuntimeError: no licence found"),
        ("acme_plugin:nonsense", "makes a str, not a ProviderBase"),
        ("acme_plugin:missing", "AttributeError|has no 'missing'"),
        ("acme_plugin_that_is_gone:Acme", "ModuleNotFoundError|there is no module"),
    ],
)
async def test_a_broken_plugin_is_an_error_that_names_it(
    package: Path, target: str, what: str
) -> None:
    """In this process and in one of its own; where nobody asks for it, it does no harm."""
    declare(package, target)
    row = {"model": "m", "isolation": "none"}
    with pytest.raises(ProviderConfigError, match=what) as raised:
        ProviderManager.from_config({"providers": {"llm": {"acme": row}}})
    assert target in str(raised.value)
    manager = ProviderManager()
    assert await manager.discover() == {"acme": False}
    error = manager.providers["acme"].last_error
    assert isinstance(error, ProviderConfigError)
    assert target in str(error)
    assert re.search(what, str(error))
    ProviderManager.from_config({"providers": {"llm": {"openai": {"api_key": "none"}}}})
    await manager.shutdown()


def test_plugins_are_not_loaded_in_the_service(package: Path) -> None:
    """By default they are imported where they run: in a process of their own."""
    ProviderManager.from_config({"providers": {"llm": {"acme": {"model": "m"}}}})
    assert "acme_plugin" not in sys.modules
