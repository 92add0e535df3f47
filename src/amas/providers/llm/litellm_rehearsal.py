"""Playing LiteLLM's first requests in advance, nowhere near a network.

At its first request LiteLLM imports some 500 modules more and builds pydantic schemas, which
warn: 0.4 seconds on the loop. So a first request is made beforehand, in a thread: for a provider
that takes LiteLLM's own way when it starts; for a direct one not before a call that needs that
way, since of all this its own takes a hundredth.
"""

from __future__ import annotations

import asyncio
import json
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from importlib import import_module
from typing import Any

import httpx
from typing_extensions import override

from ..base import ProviderConfig
from . import litellm_codec as codec
from .answer import HttpxTransport
from .cloud import CLOUDS
from .collector import collector_at_rest
from .direct.dispatch import DirectDispatch
from .dispatch import Dispatch, OpenStream
from .http_client import NotingTransport, Wire, on_wire
from .litellm_dispatch import LiteLLMDispatch
from .litellm_request import build_call
from .litellm_runtime import Runtime
from .params import Call
from .target import Target

_LINES = "rehearsal"
_WORDS = {"role": "assistant", "content": _LINES}
# An answer that has only words is not LiteLLM's to read.
_WORDS_AND_CALL = {
    **_WORDS,
    "tool_calls": [
        {
            "index": 0,
            "id": "0",
            "type": "function",
            "function": {"name": _LINES, "arguments": "{}"},
        }
    ],
}

_stage = threading.Lock()


class RehearsedDispatch(Dispatch):
    """LiteLLM's own way, rehearsed when it is first taken.

    Args:
        inner: The way.
        runtime: LiteLLM.
        target: Where it leads.
    """

    def __init__(self, inner: Dispatch, runtime: Runtime, target: Target) -> None:
        self._inner = inner
        self._runtime = runtime
        self._target = target

    @override
    async def complete(self, call: Call, *, request_id: str) -> Any:
        await ensure_rehearsed(self._runtime, self._target)
        return await self._inner.complete(call, request_id=request_id)

    @override
    async def open_stream(self, call: Call, *, request_id: str) -> OpenStream:
        await ensure_rehearsed(self._runtime, self._target)
        return await self._inner.open_stream(call, request_id=request_id)


async def ensure_rehearsed(runtime: Runtime, target: Target) -> None:
    """Rehearse a vendor in a thread, unless that has been done; see ``rehearse``."""
    if target.litellm_provider not in runtime.rehearsed:
        await asyncio.to_thread(rehearse, runtime, target)


def rehearse(runtime: Runtime, target: Target) -> None:
    """Play a refused request of a vendor, and an answer and a stream of OpenAI's, once each.

    Blocking, for a thread. The key is none, and the transport answers by itself.

    Args:
        runtime: LiteLLM.
        target: The vendor; the rest of its configuration makes no difference.
    """
    with _on_stage(), collector_at_rest():
        _play_routes(runtime, target)


def rehearse_direct(
    runtime: Runtime, target: Target, config: ProviderConfig, way: DirectDispatch
) -> None:
    """Play an answer, a stream and a refusal of a provider whose calls are direct.

    Blocking, for a thread, and a few milliseconds. What LiteLLM looks up for the model asked by
    default stays looked up.

    Args:
        runtime: LiteLLM.
        target: Where requests go.
        config: The provider's configuration.
        way: How its calls get there; here they get nowhere.
    """
    vendor = target.litellm_provider
    # Only the first of a vendor builds schemas; to touch the process's filters is not free of risk.
    with nullcontext() if vendor in runtime.rehearsed_direct else _on_stage():
        with suppress(Exception):  # what is wrong with the configuration, calls will say
            call = build_call(runtime, target, config, _LINES, {})
            for answer in (_any_answer, _refusal):
                silent = NotingTransport(HttpxTransport(httpx.MockTransport(answer)))
                asyncio.run(_play(way.through(silent), call))
        runtime.rehearsed_direct.add(vendor)


@contextmanager
def _on_stage() -> Iterator[None]:
    """Play one after the other: side by side, all would play the same, and mix up their filters."""
    with _stage, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # LiteLLM's schemas make pydantic warn
        yield


def _play_routes(runtime: Runtime, target: Target) -> None:
    routes = {target.litellm_provider: target.base_url, "openai": "http://rehearsal.invalid/v1"}
    for vendor, base_url in routes.items():
        if vendor not in runtime.rehearsed:
            if target.cloud == "aws":
                _read_shapes()
            asyncio.run(_play_route(runtime, vendor, base_url, target))
            runtime.rehearsed.add(vendor)


def _read_shapes() -> None:
    """Let LiteLLM read botocore's description of Bedrock's streams, which it keeps."""
    with suppress(ImportError, AttributeError):
        bedrock: Any = import_module("litellm.llms.bedrock.common_utils")
        bedrock.get_bedrock_response_stream_shape()
        bedrock.get_bedrock_stream_event_statuses()


async def _play_route(runtime: Runtime, vendor: str, base_url: str, target: Target) -> None:
    is_same = vendor == target.litellm_provider
    shown = replace(
        target,
        litellm_provider=vendor,
        base_url=base_url,
        entry=target.entry if is_same else None,
    )
    answer = _openai_answer if vendor == "openai" else _refusal
    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
        config = ProviderConfig(_LINES, options=_options(shown))
        client = runtime.client(
            http, key="none", base_url=base_url, azure_version=shown.azure_version(config)
        )
        shared = codec.shared_arguments(shown, config, client)
        way = LiteLLMDispatch(runtime, shown, shared, provider=_LINES)
        await _play(way, Call(target.model, [{"role": "user", "content": _LINES}], {}))


async def _play(way: Dispatch, call: Call) -> None:
    for stream in (False, True):
        # How it ends does not matter, only that LiteLLM has gone through it.
        with suppress(Exception), on_wire(Wire()):
            if stream:
                await _read_to_the_end(await way.open_stream(call, request_id=_LINES))
            else:
                await way.complete(call, request_id=_LINES)


def _options(target: Target) -> dict[str, str]:
    """Return options that stand for those of the configuration: nothing is to be looked up."""
    places = CLOUDS[target.cloud].places if target.cloud else {}
    return {name: example.strip('"') for name, (_, example) in places.items()}


async def _read_to_the_end(stream: OpenStream) -> None:
    with suppress(StopAsyncIteration):
        while True:
            await stream.next()
    await stream.aclose()


def _refusal(_request: httpx.Request) -> httpx.Response:
    return httpx.Response(503, text=_LINES)


def _openai_answer(request: httpx.Request) -> httpx.Response:
    return _answer(request, {})


def _any_answer(request: httpx.Request) -> httpx.Response:
    """Answer in the forms of OpenAI, Anthropic, Gemini and Ollama at once; each reads its own."""
    text = {"text": _LINES}
    shown: dict[str, Any] = {
        "type": "message",
        "role": "assistant",
        "content": [{"type": "text", **text}],
        "stop_reason": "end_turn",
        "candidates": [
            {"content": {"role": "model", "parts": [text]}, "finishReason": "STOP", "index": 0}
        ],
        "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 1, "totalTokenCount": 2},
        "message": _WORDS,
        "done": True,
        "done_reason": "stop",
        "prompt_eval_count": 1,
        "eval_count": 1,
        "usage": {
            "prompt_tokens": 1,
            "completion_tokens": 1,
            "total_tokens": 2,
            "input_tokens": 1,
            "output_tokens": 1,
        },
    }
    return _answer(request, shown)


def _answer(request: httpx.Request, more: dict[str, Any]) -> httpx.Response:
    head: dict[str, Any] = {"id": "0", "created": 0, "model": _LINES, **more}
    if not json.loads(request.content).get("stream"):
        choice = {"index": 0, "message": _WORDS_AND_CALL, "finish_reason": "tool_calls"}
        return httpx.Response(200, json={**head, "object": "chat.completion", "choices": [choice]})
    pieces = [
        {"index": 0, "delta": _WORDS_AND_CALL, "finish_reason": None},
        {"index": 0, "delta": {}, "finish_reason": "stop"},
    ]
    lines = [
        json.dumps({**head, "object": "chat.completion.chunk", "choices": [piece]})
        for piece in pieces
    ]
    body = "".join(f"data: {line}\n\n" for line in [*lines, "[DONE]"])
    return httpx.Response(200, text=body, headers={"content-type": "text/event-stream"})
