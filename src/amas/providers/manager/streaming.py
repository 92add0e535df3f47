"""A stream within the failover loop: opened up to its first content, then followed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable
from dataclasses import dataclass, replace

from ..base.faults import unexpected
from ..errors import (
    BadResponseError,
    ProviderError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    StreamInterruptedError,
)
from ..observability.logging import get_logger
from ..types import Outcome, Request, ResponseCheck, StreamChunk
from .attempt import OpenAttempt, is_cancelled
from .member import Member

CONTENT_FILTER = "content_filter"
"""Finish reason of an answer that the vendor's content policy refuses, or cuts short."""

_log = get_logger("amas.providers.streaming")


@dataclass(slots=True)
class OpenStream:
    """A stream that has brought its first content."""

    source: AsyncIterator[StreamChunk]
    head: list[StreamChunk]


async def open_stream(member: Member, stream: AsyncIterable[StreamChunk]) -> OpenStream:
    """Read a stream up to its first content; until then another provider can take over.

    Raises:
        ProviderUnavailableError: It ended, or broke off, without any.
        BadResponseError: It said that it is finished before any, and that is checked.
        ProviderError: What the provider raised.
    """
    not_empty = ResponseCheck.NOT_EMPTY in member.rules.response_checks
    source = aiter(stream)
    head: list[StreamChunk] = []
    opened = False
    try:
        async for chunk in source:
            head.append(chunk)
            begun = _has_begun(chunk, blank_counts=not not_empty)
            if not_empty and not begun and chunk.finish_reason not in {None, CONTENT_FILTER}:
                raise BadResponseError("the answer is empty", provider=member.name)
            if begun or chunk.finish_reason:
                opened = True
                return OpenStream(source, head)
    except StreamInterruptedError as error:
        raise ProviderUnavailableError(
            error.message, provider=member.name, model=error.model, status_code=error.status_code
        ) from None
    finally:
        if not opened:
            await close(source)
    raise ProviderUnavailableError("the stream ended without content", provider=member.name)


def _has_begun(chunk: StreamChunk, *, blank_counts: bool) -> bool:
    """Tell whether an answer begins with a chunk, for which blanks may be too little."""
    content = chunk.content if blank_counts else str(chunk.content or "").strip()
    return bool(content or chunk.tool_calls or chunk.reasoning_content)


async def close(source: AsyncIterator[StreamChunk]) -> None:
    """Close a stream, so that its upstream request ends now and not at garbage collection.

    What goes wrong with that changes nothing any more: it is only logged.
    """
    aclose = getattr(source, "aclose", None)
    if aclose is None:
        return
    try:
        await aclose()
    except Exception as error:  # noqa: BLE001 -- any provider may raise anything
        _log.warning("closing_a_stream_failed", error=f"{error!r}")


async def follow(
    opened: OpenAttempt[OpenStream], request: Request, clock: Callable[[], float]
) -> AsyncGenerator[StreamChunk, None]:
    """Yield an open stream to its end, and settle its attempt.

    The last chunk is given out after the attempt is settled, and carries the
    records of all attempts.

    Raises:
        StreamInterruptedError: It broke off; the text so far is in ``partial_text``.
    """
    outcome, error = Outcome.CANCELLED, None
    text: list[str] = []
    last: StreamChunk | None = None
    failure: StreamInterruptedError | None = None
    try:
        while (chunk := await _pull(opened.value, request, clock)) is not None:
            named = replace(chunk, provider=opened.member.name, request_id=request.id)
            if named.finish_reason is not None or last is not None:
                last = named if last is None else _merge(last, named)
                continue
            text.append(str(named.content or ""))
            given = clock()
            yield named
            opened.held += clock() - given
        outcome = Outcome.OK
    except ProviderError as raised:
        error = raised
    except Exception as raised:  # noqa: BLE001 -- any provider may raise anything
        error = unexpected(raised, provider=opened.member.name)
    finally:
        if error is not None and last is not None:
            # It has said that it is finished: the answer is complete.
            outcome, error = Outcome.OK, None
        if error is not None:
            failure = _interrupted(error, "".join(text), opened, request)
            outcome = failure.outcome
        attempts = opened.settle(outcome, failure, usage=last.usage if last else None)
        await close(opened.value.source)
    if failure is not None:
        failure.attempts = tuple(attempts)
        raise failure
    end = last or StreamChunk("", opened.member.name, opened.member.provider.model)
    yield replace(
        end,
        finish_reason=end.finish_reason or "stop",
        request_id=request.id,
        attempts=tuple(attempts),
    )


async def _pull(
    stream: OpenStream, request: Request, clock: Callable[[], float]
) -> StreamChunk | None:
    """Return the next chunk, None at the end; never later than the call's deadline."""
    if stream.head:
        return stream.head.pop(0)
    timer = asyncio.timeout(request.deadline - clock())
    try:
        async with timer:
            return await anext(stream.source, None)
    except TimeoutError:
        what = "the deadline passed" if timer.expired() else "timed out"
        raise ProviderTimeoutError(f"{what} in mid-stream") from None
    except asyncio.CancelledError:
        if is_cancelled():
            raise
        raise ProviderUnavailableError("cancelled from within") from None


def _merge(last: StreamChunk, more: StreamChunk) -> StreamChunk:
    """Add what a provider sends after its finish reason, such as usage, to the last chunk."""
    return replace(
        last,
        content=last.content + more.content,
        usage=more.usage or last.usage,
        cost_usd=last.cost_usd if more.cost_usd is None else more.cost_usd,
    )


def _interrupted(
    error: ProviderError, text: str, opened: OpenAttempt[OpenStream], request: Request
) -> StreamInterruptedError:
    if isinstance(error, StreamInterruptedError):
        # A provider of somebody else's may not say who it is, and what the consumer has seen.
        error.provider = error.provider or opened.member.name
        error.partial_text = text
        error.request_id = request.id
        return error
    return StreamInterruptedError(
        f"the stream broke off after {len(text)} characters: {error.message}",
        partial_text=text,
        provider=opened.member.name,
        model=error.model or opened.member.provider.model,
        status_code=error.status_code,
        request_id=request.id,
    )
