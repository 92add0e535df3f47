"""The direct way to the wire."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from functools import lru_cache
from typing import Any, Self

import httpx
from typing_extensions import override

from ...types import GenerationResult
from ..answer import REFUSALS, Answer
from ..dispatch import Dispatch, OpenStream
from ..http_client import NotingTransport, address_of, wire_under_way
from ..litellm_codec import make_result, read_result
from ..litellm_runtime import Runtime
from ..params import Call
from ..target import Target
from .stream import DirectStream
from .translation import NotDirectError, Outgoing, Translation
from .vendors import AnthropicTranslation, GeminiTranslation, OpenAITranslation

ROUTES: Mapping[str, type[Translation]] = {
    "openai_sdk": OpenAITranslation,
    "http": Translation,
    "anthropic": AnthropicTranslation,
    "gemini": GeminiTranslation,
}
"""The catalogue's ``route``: how LiteLLM itself gets to the vendor."""


class DirectDispatch(Dispatch):
    """Sends what LiteLLM's translations make over the provider's own connections.

    Args:
        runtime: LiteLLM.
        target: Where requests go.
        transport: The provider's connections.
        otherwise: LiteLLM's own way, for calls of which it does more than translate.
        key: The key that is shown.
        headers: What every request carries.
        provider: Name of the provider.
    """

    def __init__(
        self,
        runtime: Runtime,
        target: Target,
        transport: NotingTransport,
        otherwise: Dispatch,
        *,
        key: str,
        headers: Mapping[str, str],
        provider: str,
    ) -> None:
        assert target.entry is not None
        self._runtime = runtime
        self._target = target
        self._transport = transport
        self._otherwise = otherwise
        self._provider = provider
        with runtime.without_host_globals():
            self._translation = ROUTES[target.entry.route](
                runtime, target, key=key, headers=headers
            )

    def through(self, transport: NotingTransport) -> Self:
        """Return the same way over other connections."""
        other = copy(self)
        other._transport = transport  # noqa: SLF001 -- of its own class
        return other

    @override
    async def complete(self, call: Call, *, request_id: str) -> tuple[GenerationResult, Any]:
        try:
            asked = self._request(call, stream=False)
        except NotDirectError:
            return await self._otherwise.complete(call, request_id=request_id)
        answer = await self._send(asked)
        body = await answer.read()
        if answer.status >= REFUSALS:
            raise self._refusal(asked, answer, body)
        whose: Any = {"target": self._target, "provider": self._provider, "model": call.model}
        if not answer.packed:
            wire_under_way().look(body)
            plain = self._translation.plain_answer(asked, body)
            if plain is not None:
                return make_result(plain.text, plain.finish_reason, plain, **whose), plain.usage
        response = self._translation.answer(asked, _as_httpx(asked, answer, body))
        return read_result(response, **whose), getattr(response, "usage", None)

    @override
    async def open_stream(self, call: Call, *, request_id: str) -> OpenStream:
        try:
            asked = self._request(call, stream=True)
        except NotDirectError:
            return await self._otherwise.open_stream(call, request_id=request_id)
        answer = await self._send(asked)
        if answer.status >= REFUSALS:
            raise self._refusal(asked, answer, await answer.read())
        return DirectStream(
            answer,
            self._translation,
            asked,
            self._target,
            provider=self._provider,
            request_id=request_id,
        )

    def _request(self, call: Call, *, stream: bool) -> Outgoing:
        with self._runtime.without_host_globals():
            return self._translation.request(call, stream=stream)

    async def _send(self, asked: Outgoing) -> Answer:
        _check_headers(asked.headers)
        return await self._transport.send("POST", _encoded(asked.url), asked.headers, asked.body)

    def _refusal(self, asked: Outgoing, answer: Answer, body: bytes) -> Exception:
        return self._translation.refusal(asked, _as_httpx(asked, answer, body))


def _as_httpx(asked: Outgoing, answer: Answer, body: bytes) -> httpx.Response:
    response = answer.as_httpx(body)
    response.request = httpx.Request("POST", asked.url)
    return response


def _check_headers(headers: Mapping[str, Any]) -> None:
    """Refuse what is no text, or has letters that no header can have, in httpx's words."""
    for value in headers.values():
        if not isinstance(value, str):
            raise TypeError(f"Header value must be str or bytes, not {type(value)}")
        value.encode("ascii")


@lru_cache(maxsize=256)
def _encoded(url: str) -> str:
    """Encode an address as httpx does; a provider has one, or one for each of its models."""
    return address_of(httpx.URL(url))
