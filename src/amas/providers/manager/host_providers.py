"""Real providers in the host's shape, all behind one ``ProviderManager`` of ours."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from typing_extensions import override

from ...config.provider_settings import (
    ManagerSettings,
    ProvidersSettings,
)
from ..base import ProviderBase
from ..base import ProviderConfig as OurConfig
from ..errors import ProviderError
from ..llm.litellm_provider import LiteLLMProvider
from ..security.caller import calling_as, current_caller
from ..types import Attempt, GenerationResult, Outcome
from ..types import ProviderStatus as OurStatus
from .discovery import read_settings
from .host_rows import configure, load_rows, variable
from .host_types import AIProvider, ProviderConfig, ProviderStatus
from .provider_manager import ProviderManager
from .threaded import ThreadedManager

CONFIG_VARIABLE = "AMAS_PROVIDERS_CONFIG"
"""Names the file whose section ``providers.manager`` says how failing providers are treated."""

# The time in seconds; only differences matter.
_clock: Callable[[], float] = time.monotonic

# What says nothing about the provider: it answered, or the caller asked for what cannot be.
# Who calls, as in the access rules, where ``calling_as`` says nothing else.
_CALLER = "provider_manager"

_NO_FAULT = frozenset(
    {
        Outcome.OK,
        Outcome.CANCELLED,
        Outcome.INVALID_REQUEST,
        Outcome.CONTEXT_WINDOW,
        Outcome.CONTENT_POLICY,
        Outcome.ACCESS_DENIED,
    }
)


@dataclass(frozen=True, slots=True)
class State:
    """How a provider is doing, in the host's words.

    Args:
        status: Whether it is to be asked.
        reason: Why not.
        last_resort: Whether our manager would ask it nevertheless, after all others.
    """

    status: ProviderStatus = ProviderStatus.ENABLED
    reason: str | None = None
    last_resort: bool = False


class Crew:
    """The real providers of one manager of the host's: one manager of ours, in its own thread.

    The thread starts with the first question, and ends with ``close``, or when nobody
    uses the crew any more.
    """

    def __init__(self) -> None:
        path = variable(CONFIG_VARIABLE)
        loaded = read_settings(path) if path else ProvidersSettings()
        self.settings = loaded.manager
        self._loaded = loaded
        self._members: dict[str, LiveProvider] = {}
        self._configs: list[OurConfig] = []
        self._outcomes: dict[str, str] = {}
        self._lock = threading.Lock()
        self._threaded: ThreadedManager | None = None

    def add(self, provider: LiveProvider, config: OurConfig) -> None:
        """Take a provider in, after those that are there."""
        self._members[config.name] = provider
        self._configs.append(config)

    def ask(self, provider: LiveProvider, prompt: str, params: Mapping[str, Any]) -> str:
        """Ask one provider, and the others if it fails; blocks until there is an answer.

        Raises:
            ProviderError: Nobody could answer, or the request is wrong.
        """
        name = provider.config.name

        async def generate(manager: ProviderManager) -> GenerationResult:
            return await manager.generate(prompt, provider=name, **params)

        try:
            with calling_as(current_caller() or _CALLER):
                result = self._started().run_sync(generate)
        except ProviderError as error:
            blamed = self._note(error.attempts)
            if name not in blamed and error.outcome not in _NO_FAULT:
                provider.note_error(str(error))
            raise
        self._note(result["attempts"])
        return result["content"]

    def _started(self) -> ThreadedManager:
        with self._lock:
            if self._threaded is None:
                # Nothing that leads back here: who is held by the thread is never given up.
                make = partial(_make_manager, self.settings, self._loaded, tuple(self._configs))
                self._threaded = ThreadedManager(make)
            return self._threaded

    def _note(self, attempts: Sequence[Attempt]) -> set[str]:
        """Tell everybody who was asked how it ended, and return who failed."""
        failed = set()
        for name, attempt in {item["provider"]: item for item in attempts}.items():
            outcome = attempt["outcome"]
            if outcome == Outcome.OK:
                self._members[name].note_success()
            elif outcome not in _NO_FAULT:
                failed.add(name)
                self._outcomes[name] = outcome
                self._members[name].note_error(attempt["error"] or outcome)
        return failed

    def states(self) -> Mapping[str, State]:
        """Return how everybody is doing; nothing before the first question, which asks nobody."""
        threaded = self._threaded
        return {} if threaded is None else threaded.run_sync(self._look)

    async def _look(self, manager: ProviderManager) -> dict[str, State]:
        providers = manager.providers
        return {
            name: self._state(status, providers[name]) for name, status in manager.status().items()
        }

    def _state(self, status: OurStatus, provider: ProviderBase) -> State:
        error, quota = ProviderStatus.ERROR, ProviderStatus.QUOTA_EXCEEDED
        match status["state"]:
            case "circuit_open":
                found = State(error, status["reason"])
            case "cooling_down":
                found = State(quota, status["reason"])
            case "key_refused":
                is_quota = self._outcomes.get(status["name"]) == Outcome.QUOTA
                found = State(quota if is_quota else error, status["reason"])
            case "unavailable" | "unhealthy" if provider.last_error is not None:
                found = State(error, status["reason"], last_resort=True)
            case _:
                # Also one that was set aside and is due: the next call finds out.
                found = State()
        return found

    def close(self, grace: float = 10.0) -> None:
        """Let running calls finish, and give back everything; a later call begins anew.

        Args:
            grace: Seconds that running calls get to finish.
        """
        with self._lock:
            threaded, self._threaded = self._threaded, None
        if threaded is not None:
            threaded.close(grace)


def _make_manager(
    settings: ManagerSettings, loaded: ProvidersSettings, configs: Sequence[OurConfig]
) -> ProviderManager:
    return ProviderManager(
        settings,
        security=loaded.security,
        observability=loaded.observability,
        models=loaded.models,
        providers=[LiteLLMProvider(config) for config in configs],
        clock=_clock,
    )


class LiveProvider(AIProvider):
    """One of the host's providers, with its service behind it.

    ``status`` is what circuits and keys say, so it ends by itself. One set from outside
    (``handle_error``, or an assignment) holds as long as a circuit would stay open;
    ``DISABLED`` holds until it is changed.

    Args:
        api_key: Its key; ``api_key`` shows its mask, ``get_secret_value()`` has it.
        config: What the host says of it.
        crew: Who is asked with it.
    """

    def __init__(self, api_key: str, config: ProviderConfig, crew: Crew) -> None:
        self._crew = crew
        self._noting = threading.Lock()
        super().__init__(api_key, config)
        self.api_key = self._hidden
        crew.add(self, configure(config, api_key))

    @property  # type: ignore[explicit-override]  # mypy does not see it here
    @override
    def status(self) -> ProviderStatus:
        """Whether it is to be asked now."""
        return self.state(self._crew.states()).status

    @status.setter
    def status(self, told: ProviderStatus) -> None:
        circuit = self._crew.settings.circuit_breaker
        lengths = {
            ProviderStatus.ENABLED: -math.inf,
            ProviderStatus.DISABLED: math.inf,
            ProviderStatus.ERROR: circuit.cooldown,
            ProviderStatus.QUOTA_EXCEEDED: circuit.max_cooldown,
        }
        self._told = told
        self._told_until = _clock() + lengths[told]

    def state(self, states: Mapping[str, State]) -> State:
        """Return how it is doing.

        Args:
            states: What ``Crew.states`` returned.
        """
        if _clock() < self._told_until:
            return State(self._told)
        return states.get(self.config.name, State())

    @override
    def is_available(self) -> bool:
        """Tell whether it is to be asked now."""
        return self.status is ProviderStatus.ENABLED

    @override
    def infer(self, prompt: str, **kwargs: Any) -> str:
        """Answer a prompt, or let another provider answer if this one cannot.

        It blocks, also where an event loop runs, and may be called from any thread.

        Args:
            prompt: The text.
            **kwargs: ``system_prompt``, ``model``, ``deadline`` and chat parameters such as
                ``temperature``.

        Returns:
            The answer's text.

        Raises:
            ProviderError: Nobody could answer, or the request is wrong.
        """
        return self._crew.ask(self, prompt, kwargs)

    @override
    def get_provider_info(self) -> dict[str, Any]:
        """Describe it: ``name``, ``type``, ``status`` and ``priority``."""
        return {
            "name": self.config.name,
            "type": load_rows()[self.config.name].provider,
            "status": self.status.value,
            "priority": self.config.priority,
        }

    @override
    def handle_error(self, error: Exception) -> None:
        """Take note of an error that did not come out of ``infer``, which notes its own.

        Args:
            error: What was raised.
        """
        if not isinstance(error, ProviderError):
            with self._noting:
                super().handle_error(error)

    def note_error(self, text: str) -> None:
        """Count a call that it failed; whether it is set aside is for its circuit to say."""
        with self._noting:
            self.error_count += 1
            self.last_error = text

    def note_success(self) -> None:
        """Forget the errors: it has answered."""
        with self._noting:
            self.error_count = 0
            self.last_error = None
            if self._told is not ProviderStatus.DISABLED:
                self._told_until = -math.inf
