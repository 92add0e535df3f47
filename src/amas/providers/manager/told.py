"""What a call is made within, so that all is told of it."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from ..errors import AuditUnavailableError, ProviderError
from ..types import Request
from .call_notice import CallNotice

if TYPE_CHECKING:
    from .observation import Observation


class Told:
    """Watches one call: begins with it, and ends with its answer or its error.

    Args:
        observation: Whose call it is.
        request: The call.
        streamed: Whether its answer is asked for piece by piece.
    """

    __slots__ = ("_call", "_observation", "_request", "_streamed")
    _call: CallNotice

    def __init__(self, observation: Observation, request: Request, streamed: bool) -> None:
        self._observation = observation
        self._request = request
        self._streamed = streamed

    async def __aenter__(self) -> CallNotice:
        """Begin."""
        self._call = self._observation.notice(self._request, streamed=self._streamed)
        return self._call

    async def __aexit__(self, _: object, error: BaseException | None, __: object) -> None:
        """Tell how it ended, and wait for its record where an answer does."""
        if error is not None:
            self._call.failed(error)
        if not self._observation.waits:
            return
        if error is None:
            await self._observation.recorded(self._request)
        elif isinstance(error, ProviderError):
            with suppress(AuditUnavailableError):  # there is no answer to withhold
                await self._observation.recorded(self._request)
