"""The lifecycle that providers share: validate, set up, check health, give back."""

from __future__ import annotations

import asyncio
from abc import abstractmethod

from typing_extensions import override

from ..errors import ProviderConfigError, ProviderError
from .faults import unexpected
from .provider_interface import ProviderBase, ProviderConfig


class BaseProvider(ProviderBase):
    """A provider with a safe lifecycle; subclasses fill in four steps.

    ``initialize`` runs ``_validate``, ``_set_up`` and ``_probe``. Concurrent
    calls wait for the one under way instead of starting another; a failure
    gives back what was set up, and is told by False and ``last_error``.

    Args:
        config: Its configuration.
    """

    def __init__(self, config: ProviderConfig) -> None:
        super().__init__(config)
        self._lifecycle = asyncio.Lock()

    async def _validate(self) -> None:
        """Raise ``ProviderConfigError`` if the configuration cannot work."""

    @abstractmethod
    async def _set_up(self) -> None:
        """Open what the provider needs, such as its HTTP client."""

    @abstractmethod
    async def _probe(self) -> None:
        """Raise a ``ProviderError`` unless the upstream would answer."""

    @abstractmethod
    async def _tear_down(self) -> None:
        """Close what ``_set_up`` opened; must cope with nothing being open."""

    @override
    async def initialize(self) -> bool:
        """Validate, set up and check health.

        Returns:
            True if the provider is ready. Otherwise False, the reason in
            ``last_error``, and nothing left open.
        """
        async with self._lifecycle:
            if self.initialized:
                return True
            try:
                await self._start()
            except ProviderError as error:
                self.last_error = error
            except Exception as error:  # noqa: BLE001 -- initialize promises False, never a raise
                self.last_error = unexpected(error, provider=self.name)
            else:
                self.initialized = self.healthy = True
                self.last_error = None
            return self.initialized

    async def _start(self) -> None:
        if not self.config.enabled:
            raise disabled(self.config)
        await self._validate()
        ready = False
        try:
            await self._set_up()
            await self._probe()
            ready = True
        finally:
            if not ready:
                await self._tear_down()

    @override
    async def health_check(self) -> bool:
        """Probe the upstream and keep the answer in ``healthy`` and ``last_error``."""
        if not self.initialized:
            self.healthy = False
            return False
        try:
            await self._probe()
        except ProviderError as error:
            self.healthy, self.last_error = False, error
        except Exception as error:  # noqa: BLE001 -- whatever a probe meets, the answer is "not healthy"
            self.healthy, self.last_error = False, unexpected(error, provider=self.name)
        else:
            self.healthy, self.last_error = True, None
        return self.healthy

    @override
    async def shutdown(self) -> None:
        """Give back everything; harmless when repeated or never initialized."""
        async with self._lifecycle:
            self.initialized = self.healthy = False
            await self._tear_down()


def disabled(config: ProviderConfig) -> ProviderConfigError:
    """Make the error of a provider that is switched off, with the reason where there is one."""
    return ProviderConfigError(
        config.disabled_reason or "disabled by its configuration; set enabled: true",
        field="enabled",
        provider=config.name,
    )
