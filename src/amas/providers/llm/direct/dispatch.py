"""The direct way to the wire, and which providers may take it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import httpx
from typing_extensions import override

from ...base import ProviderConfig
from ...types import DispatchMode
from ..dispatch import Dispatch, OpenStream
from ..http_client import NotingTransport
from ..litellm_runtime import Runtime
from ..params import Call
from ..target import Target
from .stream import DirectStream
from .translation import NotDirectError, Outgoing, Translation
from .vendors import AnthropicTranslation, GeminiTranslation, OpenAITranslation

TESTED = (1, 106)
"""The version of LiteLLM that the differential test has proven equal, without the last number."""

ROUTES: Mapping[str, type[Translation]] = {
    "openai_sdk": OpenAITranslation,
    "http": Translation,
    "anthropic": AnthropicTranslation,
    "gemini": GeminiTranslation,
}
"""The catalogue's ``route``: how LiteLLM itself gets to the vendor."""

# The options that are nothing but sent along; all others are LiteLLM's to read.
_PLAIN_OPTIONS = frozenset({"headers"})
_REFUSALS = 300


def why_not_direct(target: Target, config: ProviderConfig, installed: str) -> str | None:
    """Say why a provider's calls take LiteLLM's own way; None if they are direct.

    Args:
        target: Where they go.
        config: Its configuration.
        installed: The version of LiteLLM.
    """
    entry, options = target.entry, sorted(config.options.keys() - _PLAIN_OPTIONS)
    tested = ".".join(map(str, TESTED))
    reasons = {
        "dispatch: litellm": config.dispatch is DispatchMode.LITELLM,
        "it is not in the catalogue": entry is None,
        "its requests are signed on the way": target.cloud is not None,
        "not proven equal": entry is not None and entry.route is None,
        f"options: {', '.join(options)}": bool(options),
        f"LiteLLM {installed} is not {tested}": not installed.startswith(f"{tested}."),
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


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
        assert target.entry.route is not None
        self._runtime = runtime
        self._target = target
        self._transport = transport
        self._otherwise = otherwise
        self._provider = provider
        with runtime.without_host_globals():
            self._translation = ROUTES[target.entry.route](
                runtime, target, key=key, headers=headers
            )

    @override
    async def complete(self, call: Call, *, request_id: str) -> Any:
        try:
            asked = self._request(call, stream=False)
        except NotDirectError:
            return await self._otherwise.complete(call, request_id=request_id)
        response = await self._send(asked)
        await response.aread()
        self._refuse(asked, response)
        return self._translation.answer(asked, response)

    @override
    async def open_stream(self, call: Call, *, request_id: str) -> OpenStream:
        try:
            asked = self._request(call, stream=True)
        except NotDirectError:
            return await self._otherwise.open_stream(call, request_id=request_id)
        response = await self._send(asked)
        try:
            if response.status_code >= _REFUSALS:
                await response.aread()
                self._refuse(asked, response)
        except BaseException:
            await response.aclose()
            raise
        return DirectStream(
            response, self._translation, asked, self._target, provider=self._provider
        )

    def _request(self, call: Call, *, stream: bool) -> Outgoing:
        with self._runtime.without_host_globals():
            return self._translation.request(call, stream=stream)

    async def _send(self, asked: Outgoing) -> httpx.Response:
        url = _parsed(asked.url)
        request = httpx.Request("POST", url, headers=asked.headers, content=asked.body)
        response = await self._transport.handle_async_request(request)
        response.request = request
        return response

    def _refuse(self, asked: Outgoing, response: httpx.Response) -> None:
        if response.status_code >= _REFUSALS:
            raise self._translation.refusal(asked, response)


@lru_cache(maxsize=256)
def _parsed(url: str) -> httpx.URL:
    """Read an address; a provider has one, or one for each of its models."""
    return httpx.URL(url)
