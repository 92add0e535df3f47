"""Where providers come from: the rows of a configuration, and installed plugins."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeAlias

from ...config.provider_settings import ProvidersSettings, load_settings
from ..base import ProviderBase, ProviderConfig
from ..errors import ProviderConfigError
from ..llm.catalog import load_catalog
from ..llm.litellm_provider import LiteLLMProvider
from ..security.keyring import open_keyring
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
        config: The row. A plugin of its ``provider`` or name is used where there is
            one, in a process of its own unless ``isolation`` is ``none``; every other row
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
    plugin = plugins.get(config.provider or config.name)
    if plugin is None:
        return _build_ours(config)
    if config.isolation is not Isolation.NONE:
        # Code that is not ours runs in a process of its own, unless the row says otherwise.
        return SandboxedProvider(config, factory=f"{plugin.module}:{plugin.attr}")
    try:
        provider = plugin.load()(config)
    except Exception as error:
        raise ProviderConfigError(
            f"plugin {plugin.value!r} cannot be used: {type(error).__name__}: {error}",
            provider=config.name,
        ) from error
    if not isinstance(provider, ProviderBase):
        raise ProviderConfigError(
            f"plugin {plugin.value!r} makes a {type(provider).__name__}, not a ProviderBase",
            provider=config.name,
        )
    return provider


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
        if (config.provider or config.name) not in plugins:
            LiteLLMProvider.check(config)

    settings = read_settings(source, check)
    return settings, [build_provider(config, plugins) for config in settings.provider_configs()]
