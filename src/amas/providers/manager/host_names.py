"""What the host's own module ``providers/manager.py`` gave its callers, with real providers.

The host calls ``provider_manager.get_best_provider()`` and that provider's ``infer``,
which is synchronous, in a running event loop. Here ``infer`` goes through the manager of
this package, in a thread of its own: with failover, circuits and masked keys.

Beware of two names: ``amas.providers.manager.ProviderManager`` is the host's, of this
module, made from the environment and synchronous; ``amas.providers.ProviderManager``
(which is ``amas.providers.manager.provider_manager.ProviderManager``) is ours.
"""

from __future__ import annotations

import logging
import os
import threading
from typing import Any

from ..secret import Secret, scrub
from .host_providers import Crew, LiveProvider, State
from .host_rows import load_rows
from .host_types import AIProvider, MockProvider, ProviderConfig, ProviderStatus

__all__ = [
    "AIProvider",
    "MockProvider",
    "ProviderConfig",
    "ProviderManager",
    "ProviderStatus",
    "get_provider_manager",
    "validate_environment",
]

# From so many enabled providers on nobody needs more of them.
_REDUNDANT, _PLENTY = 2, 5

_FIELDS = frozenset({"logger", "providers", "provider_configs"})

_lock = threading.Lock()
_instance: ProviderManager | None = None


class ProviderManager:
    """The providers whose keys are in the environment, as the host's callers know them.

    Nothing is sent before the first ``infer``.

    Raises:
        RuntimeError: There is none.
    """

    def __init__(self) -> None:
        self.logger = logging.getLogger(__package__)
        self.providers: dict[str, AIProvider] = {}
        self.provider_configs = self._get_provider_configs()
        self._unusable: dict[str, str] = {}
        self._crew = Crew()
        self._discover_providers()

    def _get_provider_configs(self) -> list[ProviderConfig]:
        """Return all providers that there may be; a hook for subclasses."""
        return [
            ProviderConfig(row.name, row.env, required=row.required, priority=row.priority)
            for row in load_rows().values()
        ]

    def _discover_providers(self) -> None:
        """Make a provider of each key that is there."""
        for config in self.provider_configs:
            key = os.environ.get(config.env_key, "").strip()
            if key:
                self._enable(config, key)
            else:
                self.logger.info("%s: %s is not set", config.name, config.env_key)
        missing = self._missing_required()
        if missing:
            self.logger.warning("missing required providers: %s", ", ".join(missing))
        if not self.providers:
            reasons = "".join(f"\n{name}: {why}" for name, why in self._unusable.items())
            names = [config.env_key for config in self.provider_configs if config.required]
            raise RuntimeError(
                "No AI provider API keys found. Please add at least one key to .env or secrets."
                f"\nRequired: {', '.join(names)}{reasons}"
            )
        self.logger.info(
            "%d of %d providers enabled", len(self.providers), len(self.provider_configs)
        )

    def _enable(self, config: ProviderConfig, key: str) -> None:
        hidden = Secret(key)
        why = "its key is set, but it is not available"
        try:
            provider = self._create_provider(config, hidden.get_secret_value())
            usable = provider is not None and provider.is_available()
        except Exception as error:  # noqa: BLE001 -- whatever is wrong with one, the others are there
            provider, usable, why = None, False, scrub(getattr(error, "message", str(error)))
        if provider is not None and usable:
            self.providers[config.name] = provider
        else:
            self._unusable[config.name] = why
            self.logger.warning("%s cannot be used: %s", config.name, why)

    def _create_provider(self, config: ProviderConfig, api_key: str) -> AIProvider | None:
        """Make a provider; a hook for subclasses, which may return one of their own.

        Args:
            config: What is known of it.
            api_key: Its key.

        Returns:
            The provider; None if there is none.
        """
        return LiveProvider(api_key, config, self._crew)

    def _missing_required(self) -> list[str]:
        return [
            config.name
            for config in self.provider_configs
            if config.required and config.name not in self.providers
        ]

    def _states(self) -> dict[str, State]:
        """Look at everybody at the same moment."""
        states = self._crew.states()
        return {
            name: provider.state(states)
            if isinstance(provider, LiveProvider)
            else State(provider.status)
            for name, provider in self.providers.items()
        }

    def get_available_providers(self) -> list[str]:
        """Return the names of those that are enabled now."""
        return [
            name for name, state in self._states().items() if state.status is ProviderStatus.ENABLED
        ]

    def get_provider(self, name: str) -> AIProvider | None:
        """Return a provider by the name that ``get_provider_status`` shows, if there is one."""
        return self.providers.get(name)

    def get_best_provider(self) -> AIProvider | None:
        """Return the enabled provider of the first priority.

        Where none is, one that is only thought to be unwell will do; None if all are set
        aside, which ends by itself.
        """
        states = self._states()
        places = {config.name: config.priority for config in self.provider_configs}
        names = sorted((name for name in states if name in places), key=places.__getitem__)
        enabled = (name for name in names if states[name].status is ProviderStatus.ENABLED)
        unwell = (name for name in names if states[name].last_resort)
        best = next(enabled, None) or next(unwell, None)
        return None if best is None else self.providers[best]

    def get_provider_status(self) -> dict[str, dict[str, Any]]:
        """Describe every provider that there may be, in plain values.

        Returns:
            By name: ``status`` (``"missing_key"`` without a key, ``"disabled"`` if it cannot
            be used with it), ``available``, ``error_count``, ``last_error``, ``priority``.
        """
        states = self._states()
        return {
            config.name: self._describe(config, states.get(config.name))
            for config in self.provider_configs
        }

    def _describe(self, config: ProviderConfig, state: State | None) -> dict[str, Any]:
        provider = self.providers.get(config.name)
        if provider is None or state is None:
            why = self._unusable.get(config.name)
            status = "missing_key" if why is None else ProviderStatus.DISABLED.value
            available, count, last_error = False, 0, why
        else:
            status = state.status.value
            available = (
                state.status is ProviderStatus.ENABLED
                if isinstance(provider, LiveProvider)
                else provider.is_available()
            )
            count, last_error = provider.error_count, provider.last_error or state.reason
        return {
            "status": status,
            "available": available,
            "error_count": count,
            "last_error": last_error,
            "priority": config.priority,
        }

    def validate_environment(self) -> dict[str, Any]:
        """Tell whether the keys are there that the host requires.

        Returns:
            ``valid``, ``enabled_providers``, ``total_configured``, ``missing_required``,
            ``warnings``, ``recommendations``.
        """
        enabled = len(self.get_available_providers())
        missing = self._missing_required()
        warnings = [f"{name} cannot be used: {why}" for name, why in self._unusable.items()]
        recommendations = []
        if enabled < _REDUNDANT:
            noun = "provider" if enabled == 1 else "providers"
            warnings.append(f"Only {enabled} {noun} enabled - consider adding more for redundancy")
        if enabled >= _PLENTY:
            recommendations.append("Excellent redundancy! You have 5+ providers enabled")
        return {
            "valid": not missing,
            "enabled_providers": enabled,
            "total_configured": len(self.provider_configs),
            "missing_required": missing,
            "warnings": warnings,
            "recommendations": recommendations,
        }

    def close(self) -> None:
        """Let running calls finish, and give back everything; a later call begins anew."""
        self._crew.close()


def get_provider_manager() -> ProviderManager:
    """Return the one instance, which ``provider_manager`` stands for; made on first use.

    Raises:
        RuntimeError: No provider is enabled; asked again, it looks again.
    """
    global _instance  # noqa: PLW0603 -- one per process, behind the lock
    with _lock:
        if _instance is None:
            _instance = ProviderManager()
        return _instance


def validate_environment() -> dict[str, Any]:
    """Tell whether the keys are there that the host requires; see ``ProviderManager``.

    Raises:
        RuntimeError: No provider is enabled.
    """
    return get_provider_manager().validate_environment()


def attribute_of_instance(name: str, module: str) -> Any:
    """Return an attribute of the one instance, for the module that is taken for it.

    Args:
        name: The attribute.
        module: Name of the module, for the error.

    Raises:
        AttributeError: It has none of this name; to find that out, nothing is made.
        RuntimeError: No provider is enabled.
    """
    if name not in _FIELDS and not hasattr(ProviderManager, name):
        raise AttributeError(f"module {module!r} has no attribute {name!r}")
    return getattr(get_provider_manager(), name)
