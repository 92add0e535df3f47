"""A provider whose code runs in a child process of its own."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Final, Self

from typing_extensions import override

from ...base import BaseProvider, ProviderConfig
from ...errors import ProviderError, ProviderTimeoutError, ProviderUnavailableError
from ...observability.logging import get_logger
from ...types import EmbeddingResult, GenerationResult, Price, Prompt, StreamChunk
from . import answers, portable
from .portable import Facts, SandboxReport
from .process import ChildProcess
from .restarts import Restarts

# The child keeps the times of its configuration by itself; who is this much later hangs.
_GRACE_SECONDS: Final = 0.5

_log = get_logger("amas.providers.sandbox")


class SandboxedProvider(BaseProvider):
    """A provider that lives in a child process, with nothing of the service in its reach.

    Whatever happens to the process is an error of ours for the calls under way, and a
    new process for the next one.

    Args:
        config: Its configuration, handed to the provider there.
        factory: Where to find what makes the provider of a configuration:
            ``package.module:attribute``.
        clock: The time in seconds; only differences matter.
        random: A number from 0 to 1.
    """

    report: SandboxReport | None = None
    """What protects the service from it; known once it has been started."""

    def __init__(
        self,
        config: ProviderConfig,
        *,
        factory: str,
        clock: Callable[[], float] = time.monotonic,
        random: Callable[[], float] = random.random,
    ) -> None:
        super().__init__(config)
        self.factory = factory
        self._clock = clock
        self._random = random
        self._restarts = Restarts(clock, random)
        self._child: ChildProcess | None = None
        self._starting: asyncio.Task[ChildProcess] | None = None
        self._model = config.model
        self._way: str | None = None
        self.capabilities = config.capabilities
        self.context_window = config.context_window

    @property
    @override
    def model(self) -> str | None:
        """The model asked by default."""
        return self._model

    @property
    @override
    def way(self) -> str | None:
        """How its calls get to the wire; known once it is started."""
        return self._way

    @override
    def for_each_key(self) -> Sequence[Self]:
        """Return one provider per key, this one first; each has a process of its own."""
        return (self, *(self.with_key(key) for key in self.config.api_keys[1:]))

    @override
    def with_key(self, key: str) -> Self:
        """Return one like this with another key, and a process of its own."""
        config = replace(self.config, api_key=key, api_keys=())
        return type(self)(config, factory=self.factory, clock=self._clock, random=self._random)

    @override
    def price_of(self, model: str | None) -> Price | None:
        """Return what a model costs: as configured for all of them, else that of its own model."""
        return self.price if self.config.price is not None else super().price_of(model)

    @override
    async def _set_up(self) -> None:
        await self._running()

    @override
    async def _probe(self) -> None:
        if not self.initialized:
            return  # by starting, the child has asked
        child = await self._running()
        state = await child.ask("health_check", {}, self._seconds)
        self._check_ready(state)

    @override
    async def _tear_down(self) -> None:
        starting, self._starting = self._starting, None
        if starting is not None and not starting.get_loop().is_closed():
            starting.cancel()
            await asyncio.wait([starting])
        child, self._child = self._child, None
        if child is not None:
            await self._end(child)

    @staticmethod
    async def _end(child: ChildProcess) -> None:
        if child.loop is asyncio.get_running_loop():
            await child.close()
        else:
            child.abandon()

    @property
    def _seconds(self) -> float:
        return self.config.timeout + _GRACE_SECONDS

    @override
    async def generate(self, prompt: Prompt, **kwargs: Any) -> GenerationResult:
        """Let the child answer a prompt; as ``ProviderBase.generate``."""
        answer = await self._ask("generate", {"prompt": prompt, "kwargs": kwargs})
        return answers.result_from_data(answer, provider=self.name)

    @override
    async def stream(self, prompt: Prompt, **kwargs: Any) -> AsyncIterator[StreamChunk]:
        """Let the child answer a prompt piece by piece; as ``ProviderBase.stream``."""
        child = await self._ready()
        seconds = (self.config.stream_timeout or self.config.timeout) + _GRACE_SECONDS
        pieces: Any = child.stream({"prompt": prompt, "kwargs": kwargs}, seconds)
        async with aclosing(pieces):
            async for piece in pieces:
                self._restarts.answered()
                yield answers.chunk_from_data(piece, provider=self.name)

    @override
    async def embed(self, texts: Sequence[str], *, model: str | None = None) -> EmbeddingResult:
        """Let the child turn texts into vectors; as ``ProviderBase.embed``."""
        answer = await self._ask("embed", {"texts": texts, "model": model})
        return answers.embedding_from_data(answer, provider=self.name)

    @override
    async def verify_key(self) -> None:
        """Let the child make sure of its key; as ``ProviderBase.verify_key``."""
        await self._ask("verify_key", {})

    @override
    async def warm_up(self) -> None:
        """Let the child prepare its first call; as ``ProviderBase.warm_up``."""
        await self._ask("warm_up", {})

    @override
    async def list_models(self) -> list[str]:
        """Let the child name the models that can be asked."""
        return answers.names_from_data(await self._ask("list_models", {}))

    async def _ask(self, do: str, arguments: Mapping[str, Any]) -> Any:
        child = await self._ready()
        answer = await child.ask(do, arguments, self._seconds)
        self._restarts.answered()
        return answer

    async def _ready(self) -> ChildProcess:
        """Start on first use, and again after a crash."""
        if not self.initialized and not await self.initialize():
            raise self.last_error or ProviderError("cannot be started", provider=self.name)
        return await self._running()

    async def _running(self) -> ChildProcess:
        """Return the child, after starting it if there is none.

        Raises:
            ProviderUnavailableError: It ended, and is not to be started again so soon.
            ProviderError: It does not start.
        """
        child = self._child
        if child is not None:
            if child.alive and child.loop is asyncio.get_running_loop():
                return child
            self._child = None
            await self._end(child)
        if self._starting is None or self._starting.get_loop().is_closed():
            if wait := self._restarts.wait():
                raise ProviderUnavailableError(
                    f"its process ended, and is started again in {wait:.1f} s",
                    provider=self.name,
                    retry_after=wait,
                )
            self._starting = asyncio.create_task(self._start_child())
        # Who gives up waiting leaves the start to the others.
        return await asyncio.shield(self._starting)

    async def _start_child(self) -> ChildProcess:
        try:
            child, report = await ChildProcess.start(
                self.factory, self.config, self._restarts.failed
            )
            try:
                state = await child.ask("initialize", {}, self._seconds)
                self._check_ready(state)
            except BaseException:
                await child.close()
                raise
        except ProviderTimeoutError:
            self._restarts.failed()
            raise
        finally:
            self._starting = None
        self._say(report)
        self._learn(portable.facts_from_data(state["facts"]))
        self._child = child
        return child

    def _check_ready(self, state: Any) -> None:
        if not isinstance(state, dict) or state.get("ready") is not True:
            error = state.get("error") if isinstance(state, dict) else None
            if error is None:
                error = {"message": "it is not ready and does not say why"}
            raise portable.error_from_data(error, provider=self.name)

    def _say(self, report: Mapping[str, Any]) -> None:
        first, self.report = self.report is None, portable.report_from_data(report)
        if not first:
            return
        _log.info("sandboxed", provider=self.name, active="; ".join(self.report.active))
        if self.report.missing:
            _log.warning(
                "sandbox_incomplete", provider=self.name, missing="; ".join(self.report.missing)
            )

    def _learn(self, facts: Facts) -> None:
        self._model, self._way = facts.model, facts.way
        self.capabilities = facts.capabilities
        self.capabilities_complete = facts.capabilities_complete
        self.context_window = facts.context_window
        self.price = facts.price
