"""A provider's connections, and what is asked over them for free. LiteLLM is not needed for either."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from ..base import ProviderConfig
from .guard import guard
from .http_client import HttpClient, Wire
from .opening import open_connections
from .target import Target

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")

# A free request that only lists models: who takes longer is not well.
_LISTING_SECONDS = 5.0


class Connections:
    """The connections of one provider with one key; they live no longer than their event loop.

    Args:
        target: Where they lead.
        config: The provider's configuration.

    Attributes:
        http: What requests are sent through; None while nothing is open.
    """

    def __init__(self, target: Target, config: ProviderConfig) -> None:
        self._target = target
        self._config = config
        self._loop: asyncio.AbstractEventLoop | None = None
        self.http: HttpClient | None = None

    async def open(self) -> None:
        """Open them on this event loop; what was open on an earlier one is lost.

        Raises:
            ProviderConfigError: Calls are to be direct, and cannot be.
        """
        self._loop = asyncio.get_running_loop()
        self.http = await asyncio.to_thread(open_connections, self._target, self._config)

    @property
    def are_lost(self) -> bool:
        """Whether their event loop is closed: a service that calls asyncio.run once more."""
        return self._loop is not None and self._loop.is_closed()

    @property
    def can_list(self) -> bool:
        """Whether there is somebody to ask for models."""
        return self.http is not None and self._target.models_url is not None

    async def list(
        self,
        ask: Callable[[httpx.AsyncClient, Target, ProviderConfig, float], Coroutine[Any, Any, T]],
        *,
        model: str | None = None,
    ) -> T:
        """Make a free request for the models, within a few seconds.

        Args:
            ask: Makes it.
            model: The model that an error is told to be of.

        Raises:
            ProviderError: It has failed.
        """
        assert self.http is not None
        seconds = min(self._config.timeout, _LISTING_SECONDS)
        work = ask(self.http, self._target, self._config, seconds)
        return await guard(work, Wire(), seconds=seconds, provider=self._config.name, model=model)

    async def warm_up(self) -> None:
        """Open one ahead of a call; nothing is sent over it, so no key is shown and nothing is paid."""
        if self.http is not None:
            await self.http.transport.connect(self._target.base_url)

    async def close(self) -> None:
        """Give them back."""
        http, self.http = self.http, None
        loop, self._loop = self._loop, None
        if http is not None and loop is not None and not loop.is_closed():
            await http.aclose()
