"""Playing LiteLLM's first requests in advance, nowhere near a network.

At its first request LiteLLM imports some 500 modules more and builds pydantic
schemas, which warn: 0.4 seconds on the loop. So a first request is made at once,
in the thread of the import.
"""

from __future__ import annotations

import asyncio
import json
import warnings
from contextlib import suppress
from dataclasses import replace
from importlib import import_module
from typing import Any

import httpx

from ..base import ProviderConfig
from . import litellm_codec as codec
from .cloud import CLOUDS
from .dispatch import OpenStream
from .http_client import Wire, on_wire
from .litellm_dispatch import LiteLLMDispatch
from .litellm_runtime import Runtime
from .params import Call
from .target import Target

_LINES = "rehearsal"


def rehearse(runtime: Runtime, target: Target) -> None:
    """Play a refused request of a vendor, and an answer and a stream of OpenAI's, once each.

    Blocking, for a thread. The key is none, and the transport answers by itself.

    Args:
        runtime: LiteLLM.
        target: The vendor; the rest of its configuration makes no difference.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # LiteLLM's schemas make pydantic warn
        _play_routes(runtime, target)


def _play_routes(runtime: Runtime, target: Target) -> None:
    routes = {target.litellm_provider: target.base_url, "openai": "http://rehearsal.invalid/v1"}
    for vendor, base_url in routes.items():
        if vendor not in runtime.rehearsed:
            if target.cloud == "aws":
                _read_shapes()
            asyncio.run(_play(runtime, vendor, base_url, target))
            runtime.rehearsed.add(vendor)


def _read_shapes() -> None:
    """Let LiteLLM read botocore's description of Bedrock's streams, which it keeps."""
    with suppress(ImportError, AttributeError):
        bedrock: Any = import_module("litellm.llms.bedrock.common_utils")
        bedrock.get_bedrock_response_stream_shape()
        bedrock.get_bedrock_stream_event_statuses()


async def _play(runtime: Runtime, vendor: str, base_url: str, target: Target) -> None:
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
        call = Call(target.model, [{"role": "user", "content": _LINES}], {})
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
        while (chunk := await stream.next()) is None or chunk.finish_reason is None:
            pass
    await stream.drain()
    await stream.aclose()


def _refusal(_request: httpx.Request) -> httpx.Response:
    return httpx.Response(503, text=_LINES)


def _openai_answer(request: httpx.Request) -> httpx.Response:
    head: dict[str, Any] = {"id": "0", "created": 0, "model": _LINES}
    words = {"role": "assistant", "content": _LINES}
    if not json.loads(request.content).get("stream"):
        choice = {"index": 0, "message": words, "finish_reason": "stop"}
        return httpx.Response(200, json={**head, "object": "chat.completion", "choices": [choice]})
    pieces = [
        {"index": 0, "delta": words, "finish_reason": None},
        {"index": 0, "delta": {}, "finish_reason": "stop"},
    ]
    lines = [
        json.dumps({**head, "object": "chat.completion.chunk", "choices": [piece]})
        for piece in pieces
    ]
    body = "".join(f"data: {line}\n\n" for line in [*lines, "[DONE]"])
    return httpx.Response(200, text=body, headers={"content-type": "text/event-stream"})
