"""The one core of the three old services: their tables, turned into a provider manager.

Nothing is decided here: which provider is asked, how often and after whom is the manager's
business. The core keeps a manager in step with what a service says of its providers, and
lets every thread and event loop use it, as the old services could be.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from ..config.provider_settings import ManagerSettings, ProvidersSettings
    from ..providers import (
        AllProvidersFailedError,
        GenerationResult,
        LiteLLMProvider,
        NoProviderAvailableError,
        ProviderBase,
        ProviderConfig,
        ProviderConfigError,
        ProviderError,
        ProviderManager,
        ProviderStatus,
    )
    from ..providers.manager.discovery import read_configuration
    from ..providers.manager.switched_off import SwitchedOff
    from ..providers.manager.threaded import ThreadedManager
    from ..providers.secret import Secret
    from ..providers.security.caller import calling_as, current_caller
    from ..providers.types import Attempt, HealthProbe, Outcome, ResponseCheck
    from .legacy_table import Row, get_api_key, load_table
else:
    if __package__:
        from .legacy_table import Row, get_api_key, load_table
        from .location import take
    else:
        from legacy_table import Row, get_api_key, load_table
        from location import take

    take(globals(), "config.provider_settings", "ManagerSettings", "ProvidersSettings")
    take(
        globals(),
        "providers",
        "AllProvidersFailedError",
        "GenerationResult",
        "LiteLLMProvider",
        "NoProviderAvailableError",
        "ProviderBase",
        "ProviderConfig",
        "ProviderConfigError",
        "ProviderError",
        "ProviderManager",
        "ProviderStatus",
    )
    take(globals(), "providers.manager.discovery", "read_configuration")
    take(globals(), "providers.manager.switched_off", "SwitchedOff")
    take(globals(), "providers.manager.threaded", "ThreadedManager")
    take(globals(), "providers.secret", "Secret")
    take(globals(), "providers.security.caller", "calling_as", "current_caller")
    take(globals(), "providers.types", "Attempt", "HealthProbe", "Outcome", "ResponseCheck")

__all__ = [
    "CONFIG_VARIABLE",
    "AllProvidersFailedError",
    "Attempt",
    "GenerationResult",
    "HealthProbe",
    "LegacyCore",
    "NoProviderAvailableError",
    "Outcome",
    "ProviderConfigError",
    "ProviderError",
    "ProviderManager",
    "ProviderStatus",
    "Row",
    "Secret",
    "Target",
    "find_key",
    "get_api_key",
    "load_table",
]

T = TypeVar("T")

logger = logging.getLogger(__name__)

CONFIG_VARIABLE = "AMAS_PROVIDERS_CONFIG"
"""Names the file whose ``providers:`` section says how the services' managers behave."""

# Seconds in which whoever has just been given a manager gets to call it.
_HANDOVER = 1.0


# A circuit that nothing opens, and cooldowns of no time.
_NEVER = {"failure_threshold": 1_000_000_000, "max_cooldown": 0.0}
_NOBODY_SET_ASIDE = {"auth": {"circuit": "neutral"}, "quota": {"circuit": "neutral"}}


@dataclass(frozen=True, slots=True)
class Target:
    """How one provider is to be asked now; a change takes effect with the next call."""

    pid: str
    provider: str
    base_url: str
    model: str
    api_key: Secret
    timeout: float = 30
    max_retries: int = 3
    max_tokens: int | None = None
    temperature: float | None = None
    health_probe: HealthProbe = HealthProbe.FREE
    headers: Mapping[str, str] = field(default_factory=dict)


def find_key(env_name: str) -> Secret | None:
    """Return a key by the old name of its variable, or that of the settings (``AI_…``)."""
    key = get_api_key(env_name) or get_api_key(f"AI_{env_name}")
    return Secret(key) if key else None


class LegacyCore:
    """A provider manager for a service, in step with what the service says of its providers.

    Args:
        targets: Gives the service's providers, in their order of priority; asked before
            each call.
        caller: Who calls, as in the access rules, where ``calling_as`` says nothing else.
    """

    def __init__(self, targets: Callable[[], Sequence[Target]], caller: str) -> None:
        self._targets = targets
        self._caller = caller
        self._lock = threading.Lock()
        self._built: tuple[Target, ...] = ()
        self._threaded: ThreadedManager | None = None
        self._closed = False

    def _current(self) -> ThreadedManager:
        targets = tuple(self._targets())
        with self._lock:
            if self._closed:
                raise NoProviderAvailableError("the service is closed")
            if self._threaded is None or targets != self._built:
                before = self._threaded
                self._threaded = ThreadedManager(lambda: _make_manager(targets))
                self._built = targets
                if before is not None:
                    # Running calls finish with what they began with, or are about to.
                    drain = threading.Timer(_HANDOVER, before.close)
                    drain.daemon = True
                    drain.start()
            return self._threaded

    async def use(self, work: Callable[[ProviderManager], Coroutine[Any, Any, T]]) -> T:
        """Do something with the manager, from whatever loop.

        Args:
            work: Called with the manager, on the manager's loop.

        Raises:
            NoProviderAvailableError: The service is closed.
        """
        with calling_as(current_caller() or self._caller):
            return await self._current().run(work)

    def use_sync(self, work: Callable[[ProviderManager], Coroutine[Any, Any, T]]) -> T:
        """Do something with the manager, and block until it is done; see ``use``."""
        with calling_as(current_caller() or self._caller):
            return self._current().run_sync(work)

    async def ask(self, prompt: str, **asked: Any) -> GenerationResult:
        """Ask whoever can answer; the arguments are those of ``ProviderManager.generate``.

        Raises:
            ProviderError: Nobody could.
        """
        return await self.use(lambda manager: manager.generate(prompt, **asked))

    def status(self) -> dict[str, ProviderStatus]:
        """Return how all are doing, as far as calls have told; nobody is asked or started."""
        return self._look(lambda manager: manager.status())

    def take_back(self) -> None:
        """Take back whoever is set aside for failures; who was told to wait goes on waiting."""
        self._look(_take_back)

    def _look(
        self, work: Callable[[ProviderManager], dict[str, ProviderStatus]]
    ) -> dict[str, ProviderStatus]:
        """Do something with the manager if there is one."""

        async def look(manager: ProviderManager) -> dict[str, ProviderStatus]:
            return work(manager)

        with self._lock:
            threaded = self._threaded
        try:
            return threaded.run_sync(look) if threaded is not None else {}
        except ProviderError:  # it was closed meanwhile, or cannot be made
            return {}

    async def health(self) -> dict[str, ProviderStatus]:
        """Ask each provider for its health, for free, and return how all are doing."""

        async def check(manager: ProviderManager) -> dict[str, ProviderStatus]:
            await manager.check_health()
            return manager.status()

        return await self.use(check)

    async def close(self) -> None:
        """Take no more calls, let running ones finish, and give back everything."""
        with self._lock:
            self._closed = True
            threaded, self._threaded = self._threaded, None
        if threaded is not None:
            await threaded.aclose()


def _take_back(manager: ProviderManager) -> dict[str, ProviderStatus]:
    for name, status in manager.status().items():
        if status["circuit"] != "closed" or status["state"] == "key_refused":
            manager.reset(name)
    return manager.status()


def _make_manager(targets: Sequence[Target]) -> ProviderManager:
    """Make the manager of a service: its own providers, then those of the configuration."""
    path = os.getenv(CONFIG_VARIABLE)
    others: Sequence[ProviderBase] = ()
    configured = ProvidersSettings()
    if path:
        configured, others = read_configuration(path)
        settings = configured.manager
    else:
        # Time for the slowest, and as much for those who stand in.
        longest = max((target.timeout for target in targets), default=0)
        settings = ManagerSettings(deadline=max(ManagerSettings().deadline, 2 * longest))
    if not settings.failover_enabled:
        # As of old: one request for a call, and nobody is set aside.
        never = settings.circuit_breaker.model_copy(update=_NEVER)
        settings = settings.model_copy(
            update={"circuit_breaker": never, "policy": {**settings.policy, **_NOBODY_SET_ASIDE}}
        )
        targets = [replace(target, max_retries=0) for target in targets]
    own = _make_providers(targets)
    names = {provider.name for provider in own}
    providers = [*own, *(item for item in others if item.name not in names)]
    return ProviderManager(
        settings,
        security=configured.security,
        observability=configured.observability,
        models=configured.models,
        providers=providers,
    )


def _make_providers(targets: Sequence[Target]) -> list[ProviderBase]:
    """Make the providers; one that cannot work, such as for its key, stops none of the others.

    Raises:
        ProviderConfigError: None of them can work.
    """
    made: list[ProviderBase] = []
    errors = []
    for target in targets:
        try:
            made.append(_make_provider(target))
        except ProviderConfigError as error:
            logger.warning("%s is switched off: %s", target.pid, error.message)
            errors.append(error)
            off = ProviderConfig(target.pid, enabled=False, disabled_reason=error.message)
            made.append(SwitchedOff(off))
    if errors and len(errors) == len(targets):
        raise errors[0]
    return made


def _make_provider(target: Target) -> LiteLLMProvider:
    given = {"max_tokens": target.max_tokens, "temperature": target.temperature}
    return LiteLLMProvider(
        ProviderConfig(
            name=target.pid,
            provider=target.provider,
            api_key=target.api_key,
            base_url=target.base_url,
            model=target.model,
            timeout=target.timeout,
            max_retries=target.max_retries,
            params={name: value for name, value in given.items() if value is not None},
            options={"headers": target.headers} if target.headers else {},
            health_probe=target.health_probe,
            # Callers of old take whatever comes for content.
            response_checks=frozenset({ResponseCheck.NOT_EMPTY}),
        )
    )
