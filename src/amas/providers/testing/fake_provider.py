"""A provider for tests: answers, errors and delays by script, no network; and a clock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from typing_extensions import override

from ..base import ProviderBase, ProviderConfig
from ..errors import ProviderUnavailableError, StreamInterruptedError
from ..types import Capability, GenerationResult, Prompt, StreamChunk, Usage

Step: TypeAlias = "str | Exception | Delay | Cut | Callable[[Prompt], str]"
"""What one call gets: an answer, an error to raise, a delayed step, or a stream that is cut."""


@dataclass(frozen=True, slots=True)
class Delay:
    """A step after a pause; ``inf`` seconds is a provider that hangs."""

    seconds: float
    then: str | Exception = ""


@dataclass(frozen=True, slots=True)
class Cut:
    """A stream that breaks off after this text; a plain call fails."""

    text: str


@dataclass(frozen=True, slots=True)
class RecordedCall:
    """What a call asked."""

    prompt: Prompt
    kwargs: dict[str, Any]
    stream: bool


class FakeClock:
    """A clock that moves only when told to, or when slept on; for whatever takes a clock.

    Args:
        now: The time it begins with, in seconds.
    """

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now
        self.slept: list[float] = []

    def __call__(self) -> float:
        """Return the time."""
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Let that many seconds pass at once, and others run."""
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


class FakeProvider(ProviderBase):
    """A provider that follows a script.

    Each call takes the next step of the script; after the last one it answers
    with ``default``. Every call is kept in ``calls``.

    Args:
        name: Its name.
        script: Steps for the first calls.
        default: Answer, or error, for all further calls; an echo of the prompt if None.
        model: Its model.
        ready: Whether ``initialize`` succeeds.
        healthy: What ``health_check`` says.
        capabilities: What it can do; unknown if None.
        context_window: Tokens it takes in; unknown if None.
        max_retries: How often the manager may ask it again.
        sleep: Waits a number of seconds.
        keys: How many keys it has; each call uses one of them.
    """

    def __init__(
        self,
        name: str = "fake",
        script: Iterable[Step] = (),
        *,
        default: Step | None = None,
        model: str = "fake-model",
        ready: bool = True,
        healthy: bool = True,
        capabilities: frozenset[Capability] | None = None,
        context_window: int | None = None,
        max_retries: int = 0,
        sleep: Callable[[float], Any] = asyncio.sleep,
        keys: int = 1,
    ) -> None:
        secrets = [f"{name}-key-{number}" for number in range(1, keys + 1)] if keys > 1 else []
        config = ProviderConfig(name, model=model, max_retries=max_retries, api_keys=secrets)
        super().__init__(config)
        self.capabilities = capabilities
        self.context_window = context_window
        self.calls: list[RecordedCall] = []
        self.shutdowns = 0
        self.health_checks = 0
        self.ready = ready
        self.answers_health = healthy
        self._script = list(script)
        self._default = default
        self._sleep = sleep
        self._others: tuple[FakeProvider, ...] = ()

    @override
    def for_each_key(self) -> Sequence[FakeProvider]:
        """Return one provider per key; they follow one script, and keep their calls together."""
        if not self._others:
            self._others = tuple(self.with_key(key) for key in self.config.api_keys[1:])
        return (self, *self._others)

    @override
    def with_key(self, key: str) -> FakeProvider:
        """Return a copy that follows the same script, and keeps its calls with this one's."""
        other = copy(self)
        other.initialized = other.healthy = False
        other.config = replace(self.config, api_key=key, api_keys=())
        return other

    @override
    async def initialize(self) -> bool:
        """Become ready, or not, as told."""
        self.initialized = self.healthy = self.ready
        self.last_error = (
            None
            if self.ready
            else ProviderUnavailableError("told not to be ready", provider=self.name)
        )
        return self.ready

    @override
    async def health_check(self) -> bool:
        """Say what it was told to say."""
        self.health_checks += 1
        self.healthy = self.answers_health
        return self.healthy

    @override
    async def shutdown(self) -> None:
        """Count how often it was shut down."""
        self.shutdowns += 1
        self.initialized = self.healthy = False

    @override
    async def generate(self, prompt: Prompt, **kwargs: Any) -> GenerationResult:
        """Take the next step of the script."""
        step = await self._next(prompt, kwargs, stream=False)
        if isinstance(step, Cut):
            raise ProviderUnavailableError("told to break off", provider=self.name)
        return self._result(step, kwargs.get("model"))

    @override
    async def stream(self, prompt: Prompt, **kwargs: Any) -> AsyncIterator[StreamChunk]:
        """Take the next step of the script, word by word."""
        step = await self._next(prompt, kwargs, stream=True)
        text = step.text if isinstance(step, Cut) else step
        model = kwargs.get("model") or self.model
        for word in _words(text):
            yield StreamChunk(word, self.name, model)
        if isinstance(step, Cut):
            raise StreamInterruptedError(
                "told to break off", partial_text=text, provider=self.name, model=model
            )
        yield StreamChunk("", self.name, model, "stop", usage=_usage(text))

    async def _next(self, prompt: Prompt, kwargs: dict[str, Any], *, stream: bool) -> str | Cut:
        self.calls.append(RecordedCall(prompt, kwargs, stream))
        step = self._script.pop(0) if self._script else self._default
        if isinstance(step, Delay):
            await self._sleep(step.seconds)
            step = step.then or None
        if isinstance(step, Exception):
            # Raised again and again, it would pile up the traces of every earlier raise.
            raise step.with_traceback(None)
        if step is None:
            return f"{self.name} says: {_last_text(prompt)}"
        return step(prompt) if callable(step) else step

    def _result(self, content: str, model: str | None) -> GenerationResult:
        usage = _usage(content)
        return GenerationResult(
            content=content,
            tokens_used=usage["total_tokens"],
            provider=self.name,
            model=model or self.model,
            usage=usage,
            finish_reason="stop",
            tool_calls=[],
            reasoning_content=None,
            latency_ms=0.0,
            cost_usd=None,
            request_id=None,
            attempts=[],
            dropped_params=[],
        )


def _words(text: str) -> Sequence[str]:
    """Split a text so that the pieces joined are the text again."""
    words = text.split(" ")
    return [word + " " for word in words[:-1]] + [words[-1]]


def _usage(text: str) -> Usage:
    count = len(text.split())
    return Usage(prompt_tokens=1, completion_tokens=count, total_tokens=1 + count)


def _last_text(prompt: Prompt) -> str:
    return prompt if isinstance(prompt, str) else str(prompt[-1].get("content"))
