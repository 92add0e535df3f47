"""Where providers come from: the rows of a configuration, and installed plugins."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from ...config.provider_settings import ProvidersSettings, load_settings
from ..base import ProviderBase, ProviderConfig
from ..errors import ProviderConfigError
from ..llm.catalog import load_catalog
from ..llm.litellm_provider import LiteLLMProvider
from .switched_off import SwitchedOff

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
            one; every other row goes through LiteLLM.
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
        return LiteLLMProvider(config)
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


def build_plugins(known: Collection[str]) -> list[ProviderBase]:
    """Make a provider of every installed plugin whose name is not known yet.

    It imports the plugins, so call it in a thread where an event loop runs.

    Raises:
        ProviderConfigError: One of them is unusable.
    """
    plugins = find_plugins()
    return [
        build_provider(ProviderConfig(name=name), plugins) for name in plugins if name not in known
    ]


def read_configuration(
    source: str | os.PathLike[str] | Mapping[str, Any],
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

    settings = load_settings(source, check=check, known_providers=load_catalog())
    _refuse_what_is_not_enforced(settings)
    return settings, [build_provider(config, plugins) for config in settings.provider_configs()]


def _refuse_what_is_not_enforced(settings: ProvidersSettings) -> None:
    """Fail closed: a rule that this version does not enforce must not look as if it did."""
    asked = {
        "security.access: access rules are not enforced": bool(settings.security.access),
        "audit: the audit trail is not written": settings.audit is not None,
        "alerts: alerts are not sent": settings.alerts is not None,
    }
    problems = [
        f"{settings.source or '<mapping>'}: providers.{what} in this version; remove it"
        for what, present in asked.items()
        if present
    ]
    if problems:
        raise ProviderConfigError(problems=problems)
