"""One call as it is told: its requests while they end, and at last how it ended itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from ..errors import ProviderError
from ..observability.events import (
    NOBODY_ANSWERS,
    AttemptEnded,
    CallEnded,
    Content,
    FailedOver,
)
from ..types import Attempt, GenerationResult, Outcome, Request, StreamChunk, Usage
from .lane import Lane
from .latency import milliseconds
from .notices import Notices
from .watch import Watch

if TYPE_CHECKING:
    from ..observability.tracing import AttemptSpan, Tracing


class CallNotice(Watch):
    """Watches one call, and tells of it.

    Args:
        notices: Takes the events on.
        request: The call.
        clock: The time in seconds; only differences matter.
        streamed: Whether its answer is asked for piece by piece.
        with_content: Whether prompt and answer are told as well.
        tracing: Makes spans of the call and its requests; None if nobody wants them.
    """

    def __init__(
        self,
        notices: Notices,
        request: Request,
        clock: Callable[[], float],
        *,
        streamed: bool = False,
        with_content: bool = False,
        tracing: Tracing | None = None,
    ) -> None:
        self._notices = notices
        self._request = request
        self._clock = clock
        self._began = clock()
        self._listening = notices.bus.listening
        self._streamed = streamed
        self._with_content = with_content
        self._span = tracing.call(request, streamed=streamed) if tracing is not None else None
        self._lane: Lane | None = None
        self._held = 0.0
        self._first_content: float | None = None
        self._answer: list[str] = []
        self._ended = False
        self.attempts: Sequence[Attempt] = ()

    @override
    def begin(self, lane: Lane, model: str | None) -> AttemptSpan | None:
        if self._span is None:
            return None
        provider = lane.provider
        return self._span.attempt(
            provider=provider.name, vendor=provider.config.provider, model=model
        )

    @override
    def active(self, request: AttemptSpan | None) -> AbstractContextManager[None]:
        return nullcontext() if request is None else request.active()

    @override
    def attempted(
        self,
        request: AttemptSpan | None,
        lane: Lane,
        record: Attempt,
        *,
        opened_after: float | None = None,
        held: float = 0.0,
        usage: Usage | None = None,
    ) -> None:
        self._lane = lane
        self._held += held
        first = milliseconds(opened_after) if self._streamed else None
        if request is not None:
            request.end(record, usage, first)
        if self._listening:
            self._notices.bus.emit(
                AttemptEnded(
                    at=self._notices.wall(),
                    request_id=self._request.id,
                    caller=self._request.caller,
                    attempt=record,
                    key=lane.number,
                    first_content_ms=first,
                )
            )

    @override
    def failed_over(self, failed: str, outcome: Outcome, following: str) -> None:
        if self._listening:
            self._notices.bus.emit(
                FailedOver(
                    at=self._notices.wall(),
                    request_id=self._request.id,
                    caller=self._request.caller,
                    provider=failed,
                    outcome=str(outcome),
                    following=following,
                )
            )

    def has_begun(self) -> None:
        """Be told that the first content of a stream is there."""
        if self._first_content is None:
            self._first_content = self._clock() - self._began

    def heard(self, chunk: StreamChunk) -> None:
        """Be told of a piece of the answer."""
        if not self._with_content:
            return
        if chunk.event == "restart":
            self._answer.clear()
        self._answer.append(_text_of(chunk.content, chunk.tool_calls))

    def answered(self, result: GenerationResult) -> None:
        """Tell that the call was answered."""
        self.attempts = result["attempts"]
        if self._with_content:
            self._answer.append(_text_of(result["content"], result["tool_calls"]))
        self._end(
            Outcome.OK, result["provider"], result["model"], result["usage"], result["cost_usd"]
        )

    def finished(self, chunk: StreamChunk) -> None:
        """Tell that a stream has come to its end, with its last piece."""
        self.attempts = chunk.attempts
        self._end(Outcome.OK, chunk.provider, chunk.model, chunk.usage, chunk.cost_usd)

    def failed(self, error: BaseException) -> None:
        """Tell that the call has failed, or was given up by its caller."""
        last = self.attempts[-1] if self.attempts else None
        provider = last["provider"] if last else None
        model = last["model"] if last else None
        if isinstance(error, ProviderError):
            self.attempts = error.attempts or self.attempts
            self._end(
                error.outcome,
                error.provider or provider,
                error.model or model,
                status_code=error.status_code or (last["status_code"] if last else None),
            )
        else:
            self._end(Outcome.CANCELLED, provider, model)

    def _end(
        self,
        outcome: Outcome,
        provider: str | None,
        model: str | None,
        usage: Usage | None = None,
        cost_usd: float | None = None,
        *,
        status_code: int | None = None,
    ) -> None:
        if self._ended:
            return
        self._ended = True
        if not (self._listening or self._span is not None or outcome in NOBODY_ANSWERS):
            return  # nobody wants to know
        latency = milliseconds(self._clock() - self._began - self._held)
        call = CallEnded(
            at=self._notices.wall(),
            request_id=self._request.id,
            caller=self._request.caller,
            provider=provider,
            model=model,
            outcome=str(outcome),
            status_code=status_code,
            streamed=self._streamed,
            attempts=tuple(self.attempts),
            usage=usage,
            cost_usd=cost_usd,
            latency_ms=latency or 0.0,
            first_content_ms=milliseconds(self._first_content),
            asked_provider=self._request.provider,
            asked_model=self._request.model,
            alias=self._request.alias_name,
            fingerprint=self._notices.fingerprint(self._lane) if self._lane else None,
            content=self._content() if self._with_content else None,
        )
        if self._span is not None:
            self._span.end(call)
        self._notices.call(call)

    def _content(self) -> Content:
        asked: Any = self._request.prompt
        system = self._request.params.get("system_prompt")
        if not isinstance(asked, str) or system is not None:
            messages = [{"role": "user", "content": asked}] if isinstance(asked, str) else asked
            first = [] if system is None else [{"role": "system", "content": system}]
            asked = json.dumps([*first, *messages], ensure_ascii=False, default=str)
        return Content(asked, "".join(self._answer) if self._answer else None)


def _text_of(content: str, tool_calls: Sequence[Any]) -> str:
    """Return an answer, or a piece of one, as one text."""
    if not tool_calls:
        return content
    return content + json.dumps(list(tool_calls), ensure_ascii=False, default=str)
