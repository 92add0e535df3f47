"""Where providers come from: the rows of a configuration, and installed plugins."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeAlias

from ...config.provider_settings import ProvidersSettings, load_settings
from ..base import ProviderBase, ProviderConfig
from ..base.factory import Factory, check_options, find_factory, make_provider, usable
from ..base.faults import described
from ..errors import ProviderConfigError
from ..llm.catalog import load_catalog
from ..llm.litellm_provider import LiteLLMProvider
from ..security.keyring import open_keyring
from ..security.sandbox.inspection import inspect
from ..security.sandbox.provider import SandboxedProvider
from ..security.secrets import make_opener
from ..types import Isolation
from .switched_off import SwitchedOff

Source: TypeAlias = str | os.PathLike[str] | Mapping[str, Any]
"""Path of a configuration file, or its content."""

ENTRY_POINT_GROUP = "amas.providers"


def find_plugins() -> dict[str, EntryPoint]:
    """Return the installed entry points of the group ``amas.providers``, by name.

    Each stands for a callable that takes a ``ProviderConfig`` and returns a
    ``ProviderBase``; a subclass of ``ProviderBase`` is one. None is loaded here.
    """
    return {item.name: item for item in entry_points(group=ENTRY_POINT_GROUP)}


def build_provider(config: ProviderConfig, plugins: Mapping[str, EntryPoint]) -> ProviderBase:
    """Make the provider of a configuration row.

    Args:
        config: The row. Its adapter, or a plugin of its ``provider`` or name, is used where
            there is one, in a process of its own unless ``isolation`` is ``none``; every other row
            goes through LiteLLM, in a process of its own if ``isolation`` is ``process``.
        plugins: What ``find_plugins`` found.

    Returns:
        The provider; one that only stands there if the row is switched off and unusable.

    Raises:
        ProviderConfigError: The row or the plugin is unusable.
    """
    try:
        return _build(config, plugins)
    except ProviderConfigError:
        if config.enabled:
            raise
        return SwitchedOff(config)


def _build(config: ProviderConfig, plugins: Mapping[str, EntryPoint]) -> ProviderBase:
    foreign = _foreign(config, plugins)
    if foreign is None:
        return _build_ours(config)
    if config.isolation is not Isolation.NONE:
        # Code that is not ours runs in a process of its own, unless the row says otherwise.
        return SandboxedProvider(config, factory=foreign.where)
    return make_provider(foreign.load(), foreign.where, config)


@dataclass(frozen=True, slots=True)
class _Foreign:
    """Code that is not ours: where it is, and how it is had in this process."""

    where: str
    load: Callable[[], Factory]

    def check(self, config: ProviderConfig) -> None:
        """Make sure that it is there, and that a row's options are what it declares."""
        try:
            if config.isolation is Isolation.NONE:
                check_options(self.load(), config)
            else:
                inspect(self.where, config)
        except ProviderConfigError as error:
            if error.field == "adapter" and config.adapter is None:
                error.field = None  # the row itself does not say it: an installed plugin does
            raise


def _foreign(config: ProviderConfig, plugins: Mapping[str, EntryPoint]) -> _Foreign | None:
    """Return what a row names beside LiteLLM: its adapter, or an installed plugin."""
    plugin = plugins.get(config.provider or config.name)
    where = config.adapter
    if where is not None:
        if plugin is not None:
            raise ProviderConfigError(
                f"is not needed: an installed plugin has the name {config.name!r};"
                " remove it, or give the row another name",
                field="adapter",
                provider=config.name,
            )
        return _Foreign(where, lambda: find_factory(where))
    if plugin is None:
        return None
    return _Foreign(f"{plugin.module}:{plugin.attr}", lambda: _load(plugin, config.name))


def _load(plugin: EntryPoint, provider: str) -> Factory:
    try:
        target = plugin.load()
    except (Exception, SystemExit) as error:
        raise ProviderConfigError(
            f"plugin {plugin.value!r} cannot be used: {described(error)}",
            provider=provider,
        ) from error
    return usable(target, plugin.value)


def _build_ours(config: ProviderConfig) -> ProviderBase:
    provider = LiteLLMProvider(config)  # cheap, and it checks the row
    if config.isolation is not Isolation.PROCESS:
        return provider
    kind = type(provider)
    return SandboxedProvider(config, factory=f"{kind.__module__}:{kind.__qualname__}")


def build_plugins(known: Collection[str]) -> list[ProviderBase]:
    """Make a provider of every installed plugin whose name is not known yet.

    Each gets a process of its own, where it is imported once it is started. Looking for
    them reads files, so call it in a thread where an event loop runs.
    """
    plugins = find_plugins()
    return [
        build_provider(ProviderConfig(name=name), plugins) for name in plugins if name not in known
    ]


def read_settings(
    source: Source, check: Callable[[ProviderConfig], None] | None = None
) -> ProvidersSettings:
    """Read a configuration with whatever its references lead to; see ``load_settings``."""
    return load_settings(
        source,
        check=check,
        known_providers=load_catalog(),
        openers={"keyring": open_keyring},
        sealed=make_opener,
    )


def read_configuration(
    source: Source,
) -> tuple[ProvidersSettings, list[ProviderBase]]:
    """Read a configuration and make its providers, in fallback order.

    Args:
        source: Path of a YAML file, or its content as a mapping.

    Returns:
        The settings and the providers.

    Raises:
        ProviderConfigError: Something in it is wrong; all problems at once.
    """
    plugins = find_plugins()

    def check(config: ProviderConfig) -> None:
        foreign = _foreign(config, plugins)
        if foreign is None:
            LiteLLMProvider.check(config)
        else:
            foreign.check(config)

    settings = read_settings(source, check)
    return settings, [build_provider(config, plugins) for config in settings.provider_configs()]
