"""LiteLLM's own way to the wire, for every vendor it knows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

from typing_extensions import override

from ..types import GenerationResult, StreamChunk
from .dispatch import Dispatch, OpenStream
from .litellm_codec import read_chunk, read_result
from .litellm_runtime import Runtime
from .params import Call
from .target import Target

# LiteLLM would hand tools to an MCP gateway, which takes a package that is not installed, and some
# of OpenAI's models to its responses API, with a client and a log of its own.
_NO_DETOURS = {"_skip_mcp_handler": True, "_skip_responses_api_bridge": True}


class LiteLLMDispatch(Dispatch):
    """Sends through ``litellm.completion``.

    Args:
        runtime: LiteLLM.
        target: Where requests go.
        shared: What every request carries.
        provider: Name of the provider.
    """

    def __init__(
        self, runtime: Runtime, target: Target, shared: Mapping[str, Any], *, provider: str
    ) -> None:
        self._runtime = runtime
        self._target = target
        self._shared = shared
        self._provider = provider

    @override
    async def complete(self, call: Call, *, request_id: str) -> tuple[GenerationResult, Any]:
        response = await self._send(call, {}, request_id)
        result = read_result(
            response, target=self._target, provider=self._provider, model=call.model
        )
        return result, getattr(response, "usage", None)

    @override
    async def open_stream(self, call: Call, *, request_id: str) -> OpenStream:
        streaming = {"stream": True, "stream_options": {"include_usage": True}}
        wrapper = await self._send(call, streaming, request_id)
        return LiteLLMStream(
            wrapper,
            target=self._target,
            provider=self._provider,
            model=call.model,
            request_id=request_id,
        )

    async def _send(self, call: Call, streaming: Mapping[str, Any], request_id: str) -> Any:
        """Send one request.

        This is the inside of ``litellm.acompletion``: its outside is a thread hop
        that leaves a coroutine unawaited when the caller is cancelled, and the
        logging that ``SilentLogging`` replaces.
        """
        log = self._runtime.silent_logging(
            model=call.model, messages=call.messages, stream=bool(streaming), id=request_id
        )
        with self._runtime.without_host_globals():
            pending = self._runtime.litellm.completion(
                **self._shared,
                **call.params,
                **streaming,
                # LiteLLM cuts off exactly one prefix; without one it would cut "groq/" of "groq/compound".
                model=f"{self._shared['custom_llm_provider']}/{call.model}",
                messages=call.messages,
                acompletion=True,
                drop_params=True,
                litellm_logging_obj=log,
                **_NO_DETOURS,
            )
        return await pending


class LiteLLMStream(OpenStream):
    """A stream behind LiteLLM's ``CustomStreamWrapper``.

    Args:
        wrapper: LiteLLM's stream.
        target: Whose stream it is.
        provider: Name of the provider.
        model: The model asked.
        request_id: Of the call.
    """

    def __init__(
        self, wrapper: Any, *, target: Target, provider: str, model: str, request_id: str
    ) -> None:
        self._wrapper = wrapper
        self._finished = False
        self._rest: AsyncIterator[Any] | None = None
        self._whose: Any = {
            "target": target,
            "provider": provider,
            "model": model,
            "request_id": request_id,
        }
        # LiteLLM would count the tokens of a stream that breaks, with a tokenizer, on the loop.
        wrapper._record_partial_usage_for_failure = _nothing  # noqa: SLF001 -- no public switch
        # It would break off a table's rule or an array of zeros as "repeating the same chunk".
        wrapper.raise_on_model_repetition = _nothing
        wrapper.safety_checker = _nothing

    @override
    async def next(self) -> StreamChunk | None:
        if self._finished:
            return await self._go_on()
        chunk = read_chunk(await anext(self._wrapper), **self._whose)
        self._finished = chunk is not None and chunk.finish_reason is not None
        return chunk

    async def _go_on(self) -> StreamChunk | None:
        """Return what comes after the finish reason.

        The wrapper itself would go on to count tokens in a thread and to log in tasks of its
        own, so its source is read directly.
        """
        if self._rest is None:
            if self._wrapper.completion_stream is None:
                raise StopAsyncIteration
            self._rest = aiter(self._wrapper.completion_stream)
        raw = await anext(self._rest)
        try:
            piece = self._wrapper.chunk_creator(chunk=raw)
        except StopIteration:
            return None
        if piece is None:
            return None
        self._wrapper.chunks.append(piece)
        return read_chunk(piece, **self._whose)

    @property
    @override
    def truncated(self) -> bool:
        """Whether it has ended without a finish reason of the upstream's.

        LiteLLM then says "stop" of its own accord (its issues 42085, 32686).
        """
        return (
            getattr(self._wrapper, "received_finish_reason", None) is None
            and getattr(self._wrapper, "intermittent_finish_reason", None) is None
        )

    @override
    def usage(self) -> Any:
        # LiteLLM makes one up where the upstream sent none; so the pieces as they came are
        # asked, and not the wrapper's last word. The last one is the sum.
        chunks = self._wrapper.chunks
        reported = [chunk.usage for chunk in chunks if getattr(chunk, "usage", None)]
        return reported[-1] if reported else None

    @override
    async def aclose(self) -> None:
        await self._wrapper.aclose()


def _nothing(*_args: Any, **_kwargs: Any) -> None: ...
