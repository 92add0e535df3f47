"""The adapter: any provider, by configuration alone, through LiteLLM."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import replace
from secrets import token_hex
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from typing_extensions import override

from ..base import BaseProvider, ProviderConfig
from ..base.looking import is_looking_only
from ..errors import (
    BadResponseError,
    InvalidRequestError,
    ModelNotFoundError,
    ProviderConfigError,
    ProviderConnectionError,
    ProviderError,
)
from ..types import (
    Attempt,
    EmbeddingResult,
    GenerationResult,
    HealthProbe,
    Outcome,
    Price,
    Prompt,
    StreamChunk,
)
from . import litellm_codec as codec
from .clocks import StreamClocks
from .connections import Connections
from .dispatch import Dispatch
from .embeddings import check_embedding, read_vectors, send_texts
from .guard import guard
from .health import check_models, list_models, proves_key
from .http_client import Wire
from .litellm_rehearsal import ensure_rehearsed
from .litellm_request import build_call
from .litellm_runtime import Runtime, ensure_runtime
from .litellm_stream import broken_off, finish_reason, read_stream
from .opening import open_ways
from .params import Call
from .prices import Prices
from .target import Target, resolve_target
from .way import check_way, way_of

if TYPE_CHECKING:
    pass

T = TypeVar("T")


class LiteLLMProvider(BaseProvider):
    """A provider behind LiteLLM.

    It owns its HTTP client, sends its own key to its own address and nothing
    else, makes one upstream request per call, and follows no redirects.

    Args:
        config: Its configuration; what it leaves open comes from the catalogue.

    Raises:
        ProviderConfigError: The configuration names no provider, model or usable address.
    """

    row: ClassVar[str | None] = None
    """The catalogue's row that a preset stands for."""

    def __init__(self, config: ProviderConfig) -> None:
        super().__init__(config)
        self.target = self._resolve(config)
        self.capabilities = self.target.capabilities
        # The catalogue names what a model surely has; it may have more.
        self.capabilities_complete = config.capabilities is not None
        self.context_window = self.target.context_window
        self._connections = Connections(self.target, config)
        self._runtime: Runtime | None = None
        self._dispatch: Dispatch | None = None
        self._prices: Prices | None = None
        self._shared_for_embeddings: dict[str, Any] = {}

    @classmethod
    def _resolve(cls, config: ProviderConfig) -> Target:
        target = resolve_target(config, default_row=cls.row)
        check_way(target, config)
        return target

    @classmethod
    def check(cls, config: ProviderConfig) -> None:
        """Raise ``ProviderConfigError``, with its ``field``, if a configuration cannot work."""
        cls._resolve(config)

    @property
    @override
    def model(self) -> str | None:
        """The model asked by default."""
        return self.target.model

    @property
    @override
    def way(self) -> str | None:
        """``direct``, or ``litellm`` and why; known before it is started."""
        return way_of(self.target, self.config)

    @override
    def for_each_key(self) -> Sequence[LiteLLMProvider]:
        """Return one provider per key, this one first; each has a client of its own."""
        return (
            self,
            *(
                type(self)(replace(self.config, api_key=key, api_keys=()))
                for key in self.config.api_keys[1:]
            ),
        )

    @override
    async def _validate(self) -> None:
        self.target.require_key(self.config)

    @override
    async def _set_up(self) -> None:
        await self._connect()
        if not is_looking_only():
            await self._prepare()

    def _learn(self, runtime: Runtime) -> None:
        """Take from LiteLLM's map what neither configuration nor catalogue says of the model."""
        self._prices = Prices(runtime, self.target, self.config)
        window, price = self._prices.known(self.target.model)
        self.context_window = self.target.context_window or window
        if self.config.price is None:
            self.price = Price(0, 0) if self.target.is_local else price

    @override
    def price_of(self, model: str | None) -> Price | None:
        """Return what a model costs: as configured for all of them, else as LiteLLM's map says."""
        if model is None or self.config.price is not None or self._prices is None:
            return self.price
        named = self.target.model_named(model, provider=self.name)
        return Price(0, 0) if self.target.is_local else self._prices.known(named)[1]

    def _cost(self, model: str, usage: Any) -> float | None:
        return None if self._prices is None else self._prices.cost(model, usage)

    @override
    def window_of(self, model: str | None) -> int | None:
        """Return what a model takes in: as configured for all of them, else as LiteLLM's map says."""
        if model is None or self.config.context_window is not None or self._prices is None:
            return self.context_window
        named = self.target.model_named(model, provider=self.name)
        return self.context_window if named == self.target.model else self._prices.known(named)[0]

    async def _connect(self) -> None:
        self._dispatch = None
        await self._connections.open()

    async def _prepare(self) -> None:
        """Import LiteLLM, and make the way that calls take, unless that has been done."""
        http = self._connections.http
        if self._dispatch is not None or http is None:
            return
        self._runtime = await ensure_runtime()
        self._learn(self._runtime)
        ways = await asyncio.to_thread(open_ways, self._runtime, self.target, self.config, http)
        self._dispatch, self._shared_for_embeddings = ways.dispatch, ways.for_embeddings

    @override
    async def _probe(self) -> None:
        """List models, where the vendor offers that; it costs nothing and checks the key."""
        if self.config.health_probe is HealthProbe.PAID and self.initialized:
            await self.generate("ping", max_tokens=1)
            return
        if self.config.health_probe is HealthProbe.OFF or not self._connections.can_list:
            return
        try:
            await self._connections.list(check_models, model=self.model)
        except ProviderConfigError as error:
            # Its host resolves to what is refused. That may pass, so it is to be tried again.
            raise ProviderConnectionError(error.message, provider=self.name) from None

    @override
    async def warm_up(self) -> None:
        """Open a connection; nothing is sent over it, so no key is shown and nothing is paid."""
        await self._connections.warm_up()

    @override
    async def verify_key(self) -> None:
        """List models, or where that proves nothing of the key, ask for one token.

        Raises:
            ProviderError: The upstream does not accept the key, or does not answer.
        """
        await self._opened()
        if self._connections.can_list and await self._connections.list(proves_key):
            return
        with suppress(InvalidRequestError, ModelNotFoundError, BadResponseError):
            # Who finds fault with the request has accepted the key.
            await self.generate("ping", max_tokens=1)

    @override
    async def list_models(self) -> list[str]:
        """Ask the upstream which models there are; for free.

        Raises:
            ProviderError: It does not say, or cannot be reached.
        """
        await self._opened()
        if not self._connections.can_list:
            return await super().list_models()
        return await self._connections.list(list_models)

    @override
    async def _tear_down(self) -> None:
        self._dispatch, self._shared_for_embeddings = None, {}
        await self._connections.close()

    async def _opened(self) -> None:
        """Start on first use, so that a provider also works without a manager."""
        if not self.initialized and not await self.initialize():
            # Of its own class, but without the traces of an earlier raise.
            raise self.last_error or ProviderError("cannot be started", provider=self.name)
        if self._connections.are_lost:
            await self._connect()

    async def _ready(self) -> Runtime:
        """Be ready for a call."""
        await self._opened()
        if self._dispatch is None:
            async with self._lifecycle:
                await self._prepare()
        return self._runtime or await ensure_runtime()

    @override
    async def generate(self, prompt: Prompt, **kwargs: Any) -> GenerationResult:
        """Answer a prompt with one upstream request.

        Args:
            prompt: A text, or chat messages in OpenAI's form.
            **kwargs: ``system_prompt``, ``model`` and chat parameters; those that the model
                does not take are left out and named in the result's ``dropped_params``.

        Returns:
            The answer, with usage and price where they are known.

        Raises:
            InvalidRequestError: The request is wrong; nothing was sent.
            ProviderError: What the upstream answered, or that it did not.
        """
        runtime = await self._ready()
        call = build_call(runtime, self.target, self.config, prompt, kwargs)
        request_id, started = token_hex(16), time.monotonic()
        wire = Wire()
        result = await guard(
            self._complete(call, wire, request_id),
            wire,
            seconds=self.config.timeout,
            provider=self.name,
            model=call.model,
        )
        result["latency_ms"] = round((time.monotonic() - started) * 1000, 3)
        result["request_id"] = request_id
        result["dropped_params"] = list(call.dropped)
        result["attempts"] = [self._attempt(result)]
        return result

    async def _complete(self, call: Call, wire: Wire, request_id: str) -> GenerationResult:
        assert self._dispatch is not None
        result, usage = await self._dispatch.complete(call, request_id=request_id)
        error = broken_off(wire, provider=self.name, model=call.model)
        if error is not None:
            raise error
        result["finish_reason"] = finish_reason(wire, result["finish_reason"])
        if result["usage"] is not None:
            result["cost_usd"] = self._cost(call.model, usage)
        return result

    def _attempt(self, result: GenerationResult) -> Attempt:
        return Attempt(
            provider=self.name,
            model=result["model"],
            outcome=str(Outcome.OK),
            status_code=None,
            latency_ms=result["latency_ms"],
            error=None,
        )

    @override
    async def stream(self, prompt: Prompt, **kwargs: Any) -> AsyncIterator[StreamChunk]:
        """Answer a prompt piece by piece, with one upstream request.

        Args:
            prompt: As for ``generate``.
            **kwargs: As for ``generate``.

        Yields:
            The pieces; the last one has ``finish_reason`` and ``usage``.

        Raises:
            StreamInterruptedError: It broke off, or ended without saying that it is
                finished, after content had come; ``partial_text`` has that.
            ProviderError: As for ``generate``, before any content.
        """
        runtime = await self._ready()
        call = build_call(runtime, self.target, self.config, prompt, kwargs)
        request_id = token_hex(16)
        clocks = StreamClocks.of(self.config, time.monotonic)
        wire = Wire(self.target.end_marker)
        assert self._dispatch is not None
        opened = await guard(
            self._dispatch.open_stream(call, request_id=request_id),
            wire,
            seconds=clocks.limit(),
            provider=self.name,
            model=call.model,
        )
        try:
            async for chunk in read_stream(
                opened, clocks, wire, provider=self.name, model=call.model
            ):
                if chunk.finish_reason is None:
                    yield chunk
                    continue
                usage = opened.usage()
                yield replace(
                    chunk,
                    usage=codec.read_usage(usage),
                    cost_usd=self._cost(call.model, usage),
                )
        finally:
            # Leaving early ends the upstream's work at once (litellm-facts.md, 2.6).
            await opened.aclose()

    @override
    async def embed(self, texts: Sequence[str], *, model: str | None = None) -> EmbeddingResult:
        """Turn texts into vectors.

        Args:
            texts: One or more texts.
            model: Embedding model; the configured one, or the catalogue's, if None.

        Returns:
            One vector per text, in their order.

        Raises:
            InvalidRequestError: There is nothing to embed, or no embedding model.
            ProviderError: What the upstream answered, or that it did not.
        """
        model = model or self.target.embedding_model
        if model is None:
            return await super().embed(texts, model=model)
        check_embedding(texts, model, provider=self.name)
        runtime = await self._ready()
        await ensure_rehearsed(runtime, self.target)
        started = time.monotonic()
        response = await guard(
            send_texts(runtime, model, texts, self._shared_for_embeddings),
            Wire(),
            seconds=self.config.timeout,
            provider=self.name,
            model=model,
        )
        result = read_vectors(response, provider=self.name, model=model)
        result["latency_ms"] = round((time.monotonic() - started) * 1000, 3)
        result["cost_usd"] = self._cost(model, response.usage)
        return result
