"""The adapter: any provider, by configuration alone, through LiteLLM."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from typing_extensions import override

from ..base import BaseProvider, ProviderConfig
from ..base.model_names import model_problem
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
from .dispatch import Dispatch, OpenStream
from .guard import guard
from .health import check_models, list_models, proves_key
from .http_client import HttpClient, Wire
from .litellm_rehearsal import rehearse
from .litellm_request import build_call
from .litellm_runtime import Runtime, ensure_runtime
from .litellm_stream import broken_off, finish_reason, read_stream
from .opening import open_all
from .params import Call
from .prices import Prices
from .target import Target, resolve_target

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")

# A free request that only lists models: who takes longer is not well.
_PROBE_SECONDS = 5.0

# How long a finished stream may take to say what it has cost, and to end.
_DRAIN_SECONDS = 1.0


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
        self._http: HttpClient | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._runtime: Runtime | None = None
        self._dispatch: Dispatch | None = None
        self._prices: Prices | None = None
        self._shared_for_embeddings: dict[str, Any] = {}
        self.detour: str | None = None

    @classmethod
    def _resolve(cls, config: ProviderConfig) -> Target:
        return resolve_target(config, default_row=cls.row)

    @classmethod
    def check(cls, config: ProviderConfig) -> None:
        """Raise ``ProviderConfigError``, with its ``field``, if a configuration cannot work."""
        cls._resolve(config)

    @property
    @override
    def model(self) -> str | None:
        """The model asked by default."""
        return self.target.model

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
        self._runtime = await ensure_runtime()
        await asyncio.to_thread(rehearse, self._runtime, self.target)
        self._learn(self._runtime)
        await self._open()

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

    async def _open(self) -> None:
        assert self._runtime is not None
        self._loop = asyncio.get_running_loop()
        opened = await asyncio.to_thread(open_all, self._runtime, self.target, self.config)
        self._http, self._dispatch = opened.http, opened.dispatch
        self._shared_for_embeddings = opened.for_embeddings
        self.detour = opened.detour

    @override
    async def _probe(self) -> None:
        """List models, where the vendor offers that; it costs nothing and checks the key."""
        if self.config.health_probe is HealthProbe.PAID and self.initialized:
            await self.generate("ping", max_tokens=1)
            return
        if (
            self._http is None
            or self.target.models_url is None
            or self.config.health_probe is HealthProbe.OFF
        ):
            return
        try:
            await self._listing(check_models, self._http, model=self.model)
        except ProviderConfigError as error:
            # Its host resolves to what is refused. That may pass, so it is to be tried again.
            raise ProviderConnectionError(error.message, provider=self.name) from None

    @override
    async def verify_key(self) -> None:
        """List models, or where that proves nothing of the key, ask for one token.

        Raises:
            ProviderError: The upstream does not accept the key, or does not answer.
        """
        await self._ready()
        if (
            self._http is not None
            and self.target.models_url is not None
            and await self._listing(proves_key, self._http)
        ):
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
        await self._ready()
        if self._http is None or self.target.models_url is None:
            return await super().list_models()
        return await self._listing(list_models, self._http)

    async def _listing(
        self,
        ask: Callable[[httpx.AsyncClient, Target, ProviderConfig, float], Coroutine[Any, Any, T]],
        http: httpx.AsyncClient,
        *,
        model: str | None = None,
    ) -> T:
        """Make a free request for the models, within a few seconds."""
        seconds = min(self.config.timeout, _PROBE_SECONDS)
        work = ask(http, self.target, self.config, seconds)
        return await guard(work, Wire(), seconds=seconds, provider=self.name, model=model)

    @override
    async def _tear_down(self) -> None:
        http, self._http = self._http, None
        self._dispatch, self._shared_for_embeddings = None, {}
        loop, self._loop = self._loop, None
        if http is not None and loop is not None and not loop.is_closed():
            await http.aclose()

    async def _ready(self) -> Runtime:
        """Start on first use, so that a provider also works without a manager."""
        if not self.initialized and not await self.initialize():
            # Of its own class, but without the traces of an earlier raise.
            raise self.last_error or ProviderError("cannot be started", provider=self.name)
        if self._loop is not None and self._loop.is_closed():
            # A service that calls asyncio.run once more: connections do not survive that.
            await self._open()
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
        request_id, started = uuid.uuid4().hex, time.monotonic()
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
        response = await self._dispatch.complete(call, request_id=request_id)
        error = broken_off(wire, provider=self.name, model=call.model)
        if error is not None:
            raise error
        result = codec.read_result(response, self.target, provider=self.name, model=call.model)
        result["finish_reason"] = finish_reason(wire, result["finish_reason"])
        if result["usage"] is not None:
            result["cost_usd"] = self._cost(call.model, response.usage)
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
        request_id = uuid.uuid4().hex
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
                    yield replace(chunk, request_id=request_id)
                    continue
                await self._drain(opened, clocks, call.model)
                usage = opened.usage()
                yield replace(
                    chunk,
                    request_id=request_id,
                    usage=codec.read_usage(usage),
                    cost_usd=self._cost(call.model, usage),
                )
        finally:
            # Leaving early ends the upstream's work at once (litellm-facts.md, 2.6).
            await opened.aclose()

    async def _drain(self, stream: OpenStream, clocks: StreamClocks, model: str) -> None:
        """Read a finished stream's usage; what goes wrong with that takes no answer back."""
        with suppress(ProviderError):
            seconds = min(_DRAIN_SECONDS, clocks.limit())
            await guard(stream.drain(), Wire(), seconds=seconds, provider=self.name, model=model)

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
        if isinstance(texts, str) or not texts or not all(isinstance(text, str) for text in texts):
            raise InvalidRequestError(
                "texts must be a list of at least one text", provider=self.name, model=model
            )
        if problem := model_problem(model):
            raise InvalidRequestError(problem, provider=self.name)
        runtime = await self._ready()
        started = time.monotonic()
        response = await guard(
            codec.embed(
                runtime, model, texts, self._shared_for_embeddings, request_id=uuid.uuid4().hex
            ),
            Wire(),
            seconds=self.config.timeout,
            provider=self.name,
            model=model,
        )
        return EmbeddingResult(
            embeddings=codec.read_embeddings(response),
            provider=self.name,
            model=response.model or model,
            usage=codec.read_usage(response.usage),
            latency_ms=round((time.monotonic() - started) * 1000, 3),
            cost_usd=self._cost(model, response.usage),
        )
