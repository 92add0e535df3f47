"""What lets out of LiteLLM only answers, errors of ours, and cancellations."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from ..errors import ProviderError, ProviderTimeoutError
from .http_client import Wire, on_wire
from .litellm_errors import translate, without_traces

T = TypeVar("T")


async def guard(
    work: Coroutine[Any, Any, T], wire: Wire, *, seconds: float, provider: str, model: str | None
) -> T:
    """Run one piece of work within a time, and let out only errors of ours.

    LiteLLM's exceptions hold the key in the frames of their tracebacks, so the error is
    raised outside the handler: it refers to nothing of theirs. A cancellation, which has
    come through those frames, forgets them.

    Args:
        work: The work.
        wire: Notes what is sent and received meanwhile.
        seconds: How long it may take.
        provider: Name of the provider, for the error.
        model: The model that is asked, for the error.

    Raises:
        ProviderError: What went wrong.
    """
    error: BaseException
    timer = asyncio.timeout(seconds)
    try:
        with on_wire(wire):
            async with timer:
                return await work
    except ProviderError as raised:
        raised.provider, raised.model = raised.provider or provider, raised.model or model
        error = raised
    except asyncio.CancelledError as raised:
        error = raised
    except TimeoutError as raised:
        error = (
            ProviderTimeoutError(
                f"no answer within {seconds:.3g} s", provider=provider, model=model
            )
            if timer.expired()
            else translate(raised, wire, provider=provider, model=model)
        )
    except Exception as raised:  # noqa: BLE001 -- LiteLLM raises what its vendors' code raises
        error = translate(raised, wire, provider=provider, model=model)
    raise without_traces(error)
