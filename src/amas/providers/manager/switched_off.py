"""What stands for a provider that is switched off and could not even be made."""

from __future__ import annotations

from typing import Any, NoReturn

from typing_extensions import override

from ..base import ProviderBase
from ..base.provider_base import disabled
from ..types import Prompt


class SwitchedOff(ProviderBase):
    """A provider that takes no part, so that its row is still seen in ``status()``.

    A variable that is not set may leave a row without its model; that disables
    this provider, never the whole file.
    """

    @override
    async def initialize(self) -> bool:
        """Stay switched off."""
        self.last_error = disabled(self.config)
        return False

    @override
    async def generate(self, prompt: Prompt, **kwargs: Any) -> NoReturn:
        """Refuse."""
        raise disabled(self.config)

    @override
    async def health_check(self) -> bool:
        """Say no."""
        return False

    @override
    async def shutdown(self) -> None:
        """Hold nothing, give back nothing."""
