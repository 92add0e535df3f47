"""Where providers come from: rows of a configuration, and plugins."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint
from typing import Any

import pytest
from typing_extensions import override

from amas.providers import LiteLLMProvider, ProviderConfig, ProviderManager
from amas.providers.errors import ProviderConfigError
from amas.providers.manager import discovery
from amas.providers.manager.discovery import build_plugins, build_provider, read_configuration
from amas.providers.manager.switched_off import SwitchedOff
from amas.providers.security.sandbox.provider import SandboxedProvider
from amas.providers.testing import FakeProvider

SERVER = {"model": "openai/x", "base_url": "http://127.0.0.1:9/v1", "api_key": "none"}
HERE = {"isolation": "none"}  # in this process, where fakes can be


class Plugin(FakeProvider):
    """A provider of somebody else's, made from its configuration as plugins are."""

    def __init__(self, config: ProviderConfig) -> None:
        super().__init__(config.name)
        self.config = config


class Entry(EntryPoint):
    """An entry point that stands for a thing at hand."""

    things: Mapping[str, Any]

    @override
    def load(self) -> Any:
        thing = self.things[self.name]
        if isinstance(thing, BaseException):
            raise thing
        return thing


Install = Callable[..., None]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Return a function that installs plugins: names, and what they stand for."""

    def installed(**things: Any) -> None:
        class Here(Entry):
            pass

        Here.things = things
        points = [Here(name, f"somewhere:{name}", "amas.providers") for name in things]
        monkeypatch.setattr(discovery, "entry_points", lambda group: points)

    installed()
    return installed


def read(llm: Mapping[str, Any], **sections: Any) -> list[Any]:
    """Read a configuration with these rows."""
    return list(read_configuration({"providers": {"llm": llm, **sections}})[1])


def test_rows_go_through_litellm(install: Install) -> None:
    """Any vendor is only configuration."""
    providers = read({"openai": {"api_key": "none"}, "mine": SERVER})
    assert [(type(item), item.name) for item in providers] == [
        (LiteLLMProvider, "openai"),
        (LiteLLMProvider, "mine"),
    ]


def test_the_fallback_order_is_that_of_the_configuration(install: Install) -> None:
    """Named ones first, the others as in the file."""
    rows = {"a": SERVER, "b": SERVER, "c": SERVER}
    manager = ProviderManager.from_config(
        {"providers": {"manager": {"fallback_order": ["c"]}, "llm": rows}}
    )
    assert manager.fallback_chain == list(manager.status()) == ["c", "a", "b"]


def test_a_row_with_the_name_of_a_plugin_is_the_plugins(install: Install) -> None:
    """It gets the row's configuration, and nothing in it is LiteLLM's to judge."""
    install(acme=Plugin)
    (provider,) = read({"acme": HERE | {"model": "whatever", "timeout": 7}})
    assert isinstance(provider, Plugin)
    assert (provider.config.model, provider.config.timeout) == ("whatever", 7)


def test_a_row_can_name_a_plugin_as_its_provider(install: Install) -> None:
    """So there can be two of it."""
    install(acme=Plugin)
    providers = read({name: HERE | {"provider": "acme"} for name in ("one", "two")})
    assert [(type(item), item.name) for item in providers] == [(Plugin, "one"), (Plugin, "two")]


def test_a_provider_named_in_the_row_goes_before_its_name(install: Install) -> None:
    """A plugin of the row's name is not used where the row says otherwise."""
    install(acme=Plugin)
    (provider,) = read({"acme": SERVER | {"provider": "openai"}})
    assert isinstance(provider, LiteLLMProvider)


@pytest.mark.parametrize(
    ("thing", "message"),
    [
        (ImportError("no module named acme"), "ImportError: no module named acme"),
        (lambda _config: 1 / 0, "ZeroDivisionError"),
        (lambda _config: object(), "makes a object, not a ProviderBase"),
        (5, "it is a int, and makes no provider"),
        (SystemExit("no licence"), "SystemExit: no licence"),
    ],
    ids=["import", "constructor", "wrong type", "not callable", "exit"],
)
def test_a_broken_plugin_is_a_mistake_of_the_configuration(
    install: Install, thing: Any, message: str
) -> None:
    """The error says which plugin, for which row, and what is wrong with it."""
    install(acme=thing)
    with pytest.raises(ProviderConfigError, match=message) as raised:
        read({"acme": HERE | {"model": "m"}})
    assert "'somewhere:acme'" in str(raised.value)
    assert "acme: " in str(raised.value)


def test_a_plugins_own_verdict_is_kept(install: Install) -> None:
    """A plugin may refuse its configuration in our own terms; the text is in the error."""

    def refuse(config: ProviderConfig) -> Plugin:
        raise ProviderConfigError("needs a region", field="options")

    install(acme=refuse)
    with pytest.raises(ProviderConfigError, match="needs a region"):
        read({"acme": HERE | {"model": "m"}})


def test_a_key_in_a_plugins_exception_is_masked(install: Install, fake_key: str) -> None:
    """Whatever a plugin says in its trouble."""

    def leak(config: ProviderConfig) -> Plugin:
        raise ValueError(f"bad {config.key_value}")

    install(acme=leak)
    with pytest.raises(ProviderConfigError) as raised:
        build_provider(
            ProviderConfig("acme", api_key=fake_key, isolation="none"), discovery.find_plugins()
        )
    assert fake_key not in str(raised.value)


UNUSABLE: list[dict[str, Any]] = [
    {},
    {"model": "nonsense"},
    {"model": "openai/x", "base_url": "http://a b"},
    {"provider": "acme", "isolation": "none"},
]


@pytest.mark.parametrize("row", UNUSABLE, ids=str)
def test_an_unusable_row_that_is_switched_off_breaks_nothing(
    install: Install, row: dict[str, Any]
) -> None:
    """It is listed as disabled; switched on it is an error."""
    install(acme=ImportError("gone"))
    manager = ProviderManager.from_config(
        {"providers": {"llm": {"off": row | {"enabled": False}, "mine": SERVER}}}
    )
    assert isinstance(manager.providers["off"], SwitchedOff)
    assert manager.status()["off"]["state"] == "disabled"
    with pytest.raises(ProviderConfigError):
        read({"off": row, "mine": SERVER})


@pytest.mark.parametrize("field", ["model", "base_url", "provider"])
def test_a_missing_variable_disables_one_provider_never_the_file(
    install: Install, field: str
) -> None:
    """Even when the row cannot be understood without it."""
    row = SERVER | {field: "${NOT_SET_ANYWHERE}"}
    manager = ProviderManager.from_config({"providers": {"llm": {"off": row, "mine": SERVER}}})
    assert manager.status()["off"]["state"] == "disabled"
    assert "NOT_SET_ANYWHERE" in str(manager.status()["off"]["reason"])
    assert any("NOT_SET_ANYWHERE" in warning for warning in manager.warnings)


async def test_one_that_only_stands_there_answers_nothing() -> None:
    """It refuses everything, with the reason."""
    provider = SwitchedOff(ProviderConfig("a", enabled=False, disabled_reason="no variable"))
    assert await provider.initialize() is False
    assert await provider.health_check() is False
    assert isinstance(provider.last_error, ProviderConfigError)
    with pytest.raises(ProviderConfigError, match="no variable"):
        await provider.generate("hi")
    await provider.shutdown()


def test_plugins_are_built_with_their_names(install: Install) -> None:
    """Those that are known already are left out."""
    install(acme=Plugin, other=Plugin)
    assert [item.name for item in build_plugins(known={"other"})] == ["acme"]


def test_a_plugin_gets_a_process_of_its_own(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless its row says otherwise; it is not even imported here, nor for its options."""
    tried: list[tuple[str, str]] = []
    monkeypatch.setattr(discovery, "inspect", lambda where, row: tried.append((where, row.name)))
    install(acme=ImportError("imported in the service"))
    rows = {"acme": {"model": "m"}, "second": {"provider": "acme", "isolation": "process"}}
    for provider in read(rows):
        assert isinstance(provider, SandboxedProvider)
        assert provider.factory == "somewhere:acme"
    assert tried == [("somewhere:acme", "acme"), ("somewhere:acme", "second")]


def test_litellm_gets_a_process_of_its_own_on_request(install: Install) -> None:
    """Its row is checked at once all the same."""
    (provider,) = read({"mine": SERVER | {"isolation": "process"}})
    assert isinstance(provider, SandboxedProvider)
    assert provider.factory == "amas.providers.llm.litellm_provider:LiteLLMProvider"
    with pytest.raises(ProviderConfigError):
        read({"mine": {"model": "nonsense", "isolation": "process"}})


async def test_discovering_registers_every_plugin_once(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And starts them; one that does not start keeps none of the others back."""

    def child(config: ProviderConfig, factory: str) -> Plugin:
        provider = Plugin(config)
        provider.ready = factory != "somewhere:broken"
        return provider

    monkeypatch.setattr(discovery, "SandboxedProvider", child)
    install(acme=Plugin, broken=Plugin, other=Plugin)
    manager = ProviderManager()
    await manager.register_provider(FakeProvider("other"))
    assert await manager.discover() == {"acme": True, "broken": False}
    assert await manager.discover() == {}
    assert manager.active_providers == ["other", "acme"]
    await manager.shutdown()
