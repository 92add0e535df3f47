"""What happens to a stream that breaks off after content: raise, begin again, or go on elsewhere."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol

from ..errors import ProviderError, StreamInterruptedError
from ..types import Attempt, Capability, Prompt, Request, StreamChunk
from .attempt import OpenAttempt
from .lineup import Lineup
from .member import Member
from .streaming import OpenStream, follow


class Opener(Protocol):
    """Opens a stream with whichever of some providers can."""

    def __call__(
        self, lineup: Lineup, prompt: Prompt, attempts: tuple[Attempt, ...]
    ) -> Awaitable[OpenAttempt[OpenStream]]:
        """Open it.

        Args:
            lineup: Whom to ask, in order.
            prompt: What to ask.
            attempts: The records of the call so far.

        Raises:
            ProviderError: Nobody could.
        """
        ...


@dataclass(slots=True)
class Recovery:
    """One streamed call, with all the streams that it takes.

    Args:
        mode: ``raise``, ``restart`` or ``continue``.
        request: The call.
        open_with: Opens a further stream.
        clock: The time in seconds; only differences matter.
    """

    mode: str
    request: Request
    open_with: Opener
    clock: Callable[[], float]
    _before: str = ""
    _only_text: bool = True

    async def chunks(self, opened: OpenAttempt[OpenStream]) -> AsyncGenerator[StreamChunk, None]:
        """Yield a stream to its end, and what takes over where it breaks off.

        Args:
            opened: The first stream, up to its first content.

        Raises:
            StreamInterruptedError: It broke off, and nothing took over.
        """
        broken: StreamInterruptedError | None = None
        while True:
            if broken is not None:
                opened = await self._take_over(broken, opened)
            try:
                async with aclosing(follow(opened, self.request, self.clock)) as chunks:
                    async for chunk in chunks:
                        self._only_text = self._only_text and not chunk.tool_calls
                        yield chunk
            except StreamInterruptedError as error:
                error.partial_text = self._before + error.partial_text
                broken = error
            else:
                return

    async def _take_over(
        self, broken: StreamInterruptedError, opened: OpenAttempt[OpenStream]
    ) -> OpenAttempt[OpenStream]:
        """Open a stream elsewhere; raise what broke off if that cannot be."""
        if self.mode == "raise":
            raise broken
        going_on = self.mode == "continue" and bool(broken.partial_text)
        candidates = [item for item in opened.rest.left() if not going_on or self._can_go_on(item)]
        if not candidates:
            raise broken
        prompt = self._continued(broken.partial_text) if going_on else self.request.prompt
        try:
            found = await self.open_with(Lineup(candidates), prompt, broken.attempts)
        except ProviderError as error:
            broken.attempts = error.attempts or broken.attempts
            raise broken from None
        self._before = broken.partial_text if going_on else ""
        self._only_text = True
        event = "continue" if going_on else "restart"
        # In front of its content, so that a consumer who leaves here leaves nothing open.
        found.value.head.insert(0, StreamChunk("", found.member.name, event=event))
        return found

    def _can_go_on(self, member: Member) -> bool:
        """Tell whether a provider goes on with an answer that somebody else has begun."""
        return self._only_text and Capability.PREFILL in (member.provider.capabilities or ())

    def _continued(self, text: str) -> Prompt:
        prompt = self.request.prompt
        messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
        return [*messages, {"role": "assistant", "content": text}]
